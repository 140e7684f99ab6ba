"""Numbers, durations and progress as people read them."""

import pytest

from latente.messages import set_language
from latente.terminal import duration, figures, number, progress


@pytest.fixture(autouse=True)
def english():
    set_language("en")
    yield
    set_language(None)


@pytest.mark.parametrize(
    ("value", "english", "spanish"),
    [(1234567, "1,234,567", "1.234.567"), (0.012345, "0.01235", "0,01235"), (1234.5, "1234", "1234"), (0, "0", "0")],
)
def test_numbers_are_written_as_the_language_writes_them(value, english, spanish):
    assert number(value) == english
    set_language("es")
    assert number(value) == spanish


def test_tiny_numbers_keep_their_digits():
    assert number(0.0) == "0"
    assert number(1.234e-5) == "1.23e-05"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3725, "1 h 02 min"), (7199.9, "2 h 00 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_only_a_few_figures_are_shown():
    assert figures({"kl": 2.0, "kl/sd": 1.0, "mse": 0.5, "other": 3.0}) == "mse 0.5  kl 2"


def test_a_distance_is_a_word():
    assert figures({"distance": 0.5}) == "distance 0.5"
    set_language("es")
    assert figures({"distance": 0.5}) == "distancia 0,5"


def test_without_a_terminal_there_are_plain_lines(capsys):
    with progress(0, 100) as watch:
        watch(10, {})
        watch(20, {})
        watch(100, {"loss": 1.5})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1, "one line every few seconds, and always the last one"
    assert lines[0].startswith("100 of 100 images") and "loss 1.5" in lines[0]
