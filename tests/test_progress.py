"""Progress: silent when quick, lines without a terminal, a bar with one."""

import io
import sys

import pytest

from latente.data import progress
from latente.data.progress import Progress


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_quick_work_says_nothing(clock, capsys):
    with Progress("Preparing x", 100) as shown:
        for _ in range(100):
            clock.now += 0.005
            shown.advance(1)
    assert capsys.readouterr() == ("", "")


def test_lines_come_after_a_second_and_then_rarely(clock, capsys):
    with Progress("Preparing x", 100) as shown:
        for _ in range(100):
            clock.now += 0.3
            shown.advance(1)
    out, err = capsys.readouterr()
    assert not out  # standard output belongs to --json
    assert err.splitlines() == [f"Preparing x: {done} of 100 images" for done in (4, 38, 72)]


def test_unknown_total_and_bytes(clock, capsys):
    with Progress("Downloading x", None, "bytes") as shown:
        clock.now += 2
        shown.advance(5 << 20)
    assert capsys.readouterr().err == "Downloading x: 5 MB\n"


def test_bar_on_a_terminal(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("Preparing x", 10) as shown:
        for _ in range(10):
            clock.now += 0.5
            shown.advance(1)
    assert "Preparing x" in terminal.getvalue() and "100%" in terminal.getvalue()
