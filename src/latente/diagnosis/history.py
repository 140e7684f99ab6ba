"""What a diagnosis reads: every number that a training wrote down, as series over time, and the facts of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.config import settings
from latente.run import Run

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One measurement in order of time."""

    images: Numbers  # [T] clocks
    values: Numbers  # [T]; NaN and infinities are kept: they are evidence

    def __len__(self) -> int:
        return len(self.values)

    def finite(self) -> Series:
        """The same without what is no number."""
        good = np.isfinite(self.values)
        return Series(self.images[good], self.values[good])

    def after(self, clock: float) -> Series:
        """From `clock` on."""
        late = self.images >= clock
        return Series(self.images[late], self.values[late])


@dataclass(frozen=True)
class History:
    """The columns of a training, by name, and the facts that a verdict may need (any may be absent).

    Facts: family, preset, cost, settings (dotted name -> value), until (images planned), stopped ("finished",
    "interrupted", "non-finite"), term and since (what became non-finite, where), checkpoints and pictures (clocks),
    classes (names), class_shares (of the real images), latent, image_shape, kind ("points", "images", "codes"), train
    (number of training images), measure (what the best checkpoint is best by), foreign (a table of another tool).
    """

    columns: Mapping[str, Series]
    facts: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "images"  # or "step", "epoch", "row"

    def get(self, name: str, least: int = 1) -> Series | None:
        """The finite part of a column; None without it, or with fewer than `least` numbers."""
        found = self.columns.get(name)
        if found is None:
            return None
        found = found.finite()
        return found if len(found) >= least else None

    def some(self, prefix: str, least: int = 1) -> dict[str, Series]:
        """The columns whose name begins so, spreads ("/sd") left out."""
        names = [name for name in self.columns if name.startswith(prefix) and not name.endswith("/sd")]
        found = {name: self.get(name, least) for name in names}
        return {name: series for name, series in found.items() if series is not None}

    @property
    def begin(self) -> float:
        """The first clock of all columns; 0 without any."""
        return min((float(s.images[0]) for s in self.columns.values() if len(s)), default=0.0)

    @property
    def end(self) -> float:
        """The last clock of all columns; 0 without any."""
        return max((float(s.images[-1]) for s in self.columns.values() if len(s)), default=0.0)

    @property
    def over(self) -> bool:
        """Whether training came to its end, as far as anybody knows; False while it goes on."""
        until = self.facts.get("until")
        if self.facts.get("stopped") == "finished" or until is None:
            return True
        return self.end >= 0.99 * float(until)

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting of the run by its dotted name; `default` where it is not known."""
        return self.facts.get("settings", {}).get(name, default)


def of_run(run: Run) -> History:
    """A run folder as it stands: the rows that led to the present (`Run.line`: what training went back behind is left
    out), and its facts. Reads no network."""
    line = run.line()
    return History(of_rows(line), facts(run, max((row["images"] for row in line), default=0)))


def of_rows(rows: Iterable[dict[str, Any]], clock: str = "images") -> dict[str, Series]:
    """Rows in order of time -> columns. Of two values at one time the later row's stays; words are passed over."""
    seen: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name in (clock, "branch", "end") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            seen.setdefault(name, {})[float(row[clock])] = float(value)
    return {name: Series(np.array(list(at)), np.array(list(at.values()))) for name, at in seen.items()}


def facts(run: Run, now: float) -> dict[str, Any]:
    """What is known of a run besides its numbers; pictures later than `now` are of an abandoned branch."""
    config, events, dataset = run.config, run.events(), run.dataset
    counts = dataset.get("class_counts") or []
    found: dict[str, Any] = {
        "family": config.model.family,
        "preset": config.preset,
        "cost": getattr(config.objective, "cost", None),
        "settings": {name: value for name, (_, value) in settings(config).items()},
        "until": next((row["until"] for row in reversed(events) if "until" in row), int(config.training.images)),
        "stopped": run.stopped(),
        "branch": run.branch(),
        "checkpoints": run.checkpoints(),
        "pictures": sorted(
            int(p.stem) for p in (run.folder / "samples").glob("*.png") if p.stem.isdigit() and int(p.stem) <= now
        ),
        "classes": list(dataset.get("classes", [])),
        "class_shares": [count / sum(counts) for count in counts] if sum(counts) else [],
        "latent": getattr(config.model, "latent", None),
        "image_shape": tuple(dataset["image_shape"]),
        "kind": "points" if dataset.get("kind") == "points" else "images",
        "train": dataset.get("train"),
        "measure": run.measure(),
    }
    stop = next((row for row in reversed(events) if row["kind"] == "stop"), None)
    if found["stopped"] == "non-finite" and stop is not None:
        found |= {"term": str(stop.get("term", "?")), "since": stop["images"]}
    return {name: value for name, value in found.items() if value is not None}
