"""What happened, into the run folder: metrics, timing, pictures. Sums stay on the device; one synchronisation a
tick."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from latente.run import Run, append
from latente.training.state import Metrics, TrainState


class NonFinite(Exception):
    """A term of the loss, or a weight, became NaN or infinite."""

    def __init__(self, term: str, images: int) -> None:
        super().__init__(term, images)
        self.term, self.images = term, images


@dataclass
class Recorder:
    """Gathers each step's metrics and writes a row a tick."""

    run: Run
    watch: Callable[[int, dict[str, Any]], None]  # (images, last row), a few times a second
    row: dict[str, Any] = field(default_factory=dict)
    _watched: float = 0.0
    _tick: tuple[float, int] = (0.0, 0)  # when the tick began, and at how many images

    def start(self, state: TrainState) -> None:
        """Begin to measure time."""
        self._tick = (time.perf_counter(), state.images)

    def add(self, state: TrainState, metrics: Metrics) -> None:
        """Add one step's metrics to the tick's sums, which belong to the state: a checkpoint inside a tick keeps
        them."""
        accumulate(state.totals, metrics)
        if time.perf_counter() - self._watched > 0.2:
            self._watched = time.perf_counter()
            self.watch(state.images, self.row)

    def check(self, state: TrainState) -> None:
        """Raise `NonFinite` if a metric of this tick or a weight is not finite."""
        require_finite(summary(state.totals), state.images)
        for name, weight in state.nets.state_dict().items():
            if not torch.isfinite(weight).all():
                raise NonFinite(name, state.images)

    def tick(self, state: TrainState) -> None:
        """One row of metrics.jsonl (deterministic) and one of timing.jsonl (not)."""
        row = summary(state.totals)
        require_finite(row, state.images)
        state.totals.clear()
        self.write(state, row)
        began, images = self._tick
        seconds = time.perf_counter() - began
        timing: dict[str, Any] = {"images": state.images, "branch": state.branch, "seconds": round(seconds, 4)}
        timing["memory_mib"] = memory_mib()
        if seconds > 0:
            timing["images_per_second"] = round((state.images - images) / seconds, 1)
        append(self.run.folder / "timing.jsonl", timing)
        self._tick = (time.perf_counter(), state.images)

    def write(self, state: TrainState, row: dict[str, float]) -> None:
        """A row of metrics.jsonl at the present clock."""
        append(self.run.folder / "metrics.jsonl", {"images": state.images, "branch": state.branch, **row})
        self.row |= row

    def pause(self) -> Callable[[], None]:
        """Stop the clock of images per second; calling the result starts it again (after pictures and checkpoints)."""
        began = time.perf_counter()

        def go_on() -> None:
            start, images = self._tick
            self._tick = (start + time.perf_counter() - began, images)

        return go_on


def require_finite(row: dict[str, float], images: int) -> None:
    """Raise `NonFinite` for the first term that is not finite; the loss, which inherits it, is named last."""
    for name in sorted(row, key=lambda name: name.startswith("loss")):
        if not math.isfinite(row[name]):
            raise NonFinite(name.removesuffix("/sd"), images)


def accumulate(totals: dict[str, Tensor], metrics: Metrics) -> None:
    """Add count, sum and sum of squares of each metric, in float64, to its row in `totals`."""
    by_length: dict[int, list[str]] = {}
    for name, value in metrics.items():
        by_length.setdefault(value.numel(), []).append(name)
    for n, names in by_length.items():
        values = torch.stack([metrics[name].reshape(-1) for name in names])  # [metrics, n]
        values = values.to(torch.float32 if values.device.type == "mps" else torch.float64)  # Apple's has no float64
        counts = torch.full((len(names),), float(n), dtype=values.dtype, device=values.device)
        sums = torch.stack([counts, values.sum(1), values.square().sum(1)], 1)  # [metrics, 3]
        known = [name for name in names if name in totals]
        if len(known) == len(names):
            torch._foreach_add_([totals[name] for name in names], list(sums.unbind()))
        else:
            for name, row in zip(names, sums.clone().unbind(), strict=True):
                totals[name] = totals[name] + row if name in totals else row.clone()


def summary(totals: dict[str, Tensor]) -> dict[str, float]:
    """name -> mean, name/sd -> standard deviation over what was added; by name, whatever the order they came in."""
    row = {}
    for name in sorted(totals):
        n, total, squares = totals[name].tolist()
        row[name] = total / n
        row[f"{name}/sd"] = math.sqrt(max(squares / n - (total / n) ** 2, 0.0)) if math.isfinite(total) else math.nan
    return row


def memory_mib() -> int | None:
    """The most memory this process has held, MiB; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most / 2**20 if sys.platform == "darwin" else most / 2**10)
