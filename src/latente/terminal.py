"""Progress in a terminal: a bar with images per second and time left, or plain lines where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from latente.messages import punctuated, say

Watch = Callable[[int, dict[str, Any]], None]  # (images shown, newest numbers)
_LINE_EVERY = 5.0  # seconds
_SHOWN = ("loss", "distance", "mse", "kl", "error", "critic/loss", "generator/loss", "test/mse", "test/error")


def number(value: float) -> str:
    """A number as the reader's language writes it: 1.234.567 or 1,234,567; four significant digits for fractions."""
    small = 0 < abs(value) < 1e-4
    text = f"{value:,}" if isinstance(value, int) else f"{value:.2e}" if small else f"{value:.4g}"
    return punctuated(text)


def duration(seconds: float) -> str:
    """1 h 02 min, 3 min 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def figures(row: dict[str, Any]) -> str:
    """The numbers worth a glance, under the names that they have in metrics.jsonl; a distance is in no such file."""
    names = {"distance": say("project.distance")}
    return "  ".join(f"{names.get(name, name)} {number(row[name])}" for name in _SHOWN if name in row)


@contextmanager
def progress(begin: int, until: int, training: bool = True) -> Iterator[Watch]:
    """Inside, the function given shows how far a run has come; it starts to count at `begin` images. Of other work than
    training it counts steps, on standard error, where it is in nobody's way."""
    file = sys.stdout if training else sys.stderr
    if Console(file=file).is_terminal:
        yield from _bar(begin, until, training, file)
    else:
        yield _lines(begin, until, training, file)


def _bar(begin: int, until: int, training: bool, file: TextIO) -> Iterator[Watch]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}% {task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    clock = time.perf_counter()
    with Progress(*columns, console=Console(file=file), refresh_per_second=4) as bar:
        task = bar.add_task(
            say("train.training" if training else "edit.working"), total=until, completed=begin, rate="", figures=""
        )

        def watch(images: int, row: dict[str, Any]) -> None:
            rate = (images - begin) / max(time.perf_counter() - clock, 1e-9)
            shown = say("train.rate" if training else "edit.rate", rate=number(round(rate)))
            bar.update(task, completed=min(images, until), rate=shown, figures=figures(row))

        yield watch


def _lines(begin: int, until: int, training: bool, file: TextIO) -> Watch:
    clock = last = time.perf_counter()

    def watch(images: int, row: dict[str, Any]) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last < _LINE_EVERY and images < until:
            return
        last = now
        rate = (images - begin) / max(now - clock, 1e-9)
        left = duration((until - images) / rate) if rate > 0 and images < until else "0 s"
        facts = {"images": number(images), "until": number(until), "rate": number(round(rate)), "left": left}
        line = say("train.line" if training else "edit.line", **facts, figures=figures(row))
        print(line, file=file, flush=True)

    return watch
