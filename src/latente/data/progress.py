"""What a person sees while images are prepared: nothing for a second, then a bar, or lines without a terminal."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from latente.messages import say

_PATIENCE = 1.0  # seconds without a word
_BETWEEN_LINES = 10.0  # seconds


class Progress:
    """Counts things done out of `total` (None: unknown), on standard error."""

    def __init__(self, title: str, total: int | None, unit: str = "images") -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._start = time.monotonic()
        self._next_line = self._start + _PATIENCE
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() >= self._next_line:
            if sys.stderr.isatty():
                self._open_bar()
            else:
                self._next_line = time.monotonic() + _BETWEEN_LINES
                self._line()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.done)

    def _line(self) -> None:
        shown, total = (self.done, self.total)
        if self.unit == "bytes":
            shown, total = shown >> 20, total and total >> 20
        known = "data.progress" if total else "data.progress_open"
        unit = say(f"data.unit_{self.unit}")
        print(say(known, title=self.title, done=shown, total=total, unit=unit), file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
