"""A run folder: create, open, list, read its record, load its network. The contract between the trainer and all the
rest."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from latente.config import RunConfig, from_json, to_json
from latente.messages import Problem


@dataclass(frozen=True)
class Run:
    """A folder; nothing is held here that the folder lacks."""

    folder: Path

    @cached_property
    def tree(self) -> dict[str, Any]:
        """config.json as it stands: the configuration, and the facts of its data under "dataset"."""
        tree: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return tree

    @property
    def config(self) -> RunConfig:
        """The configuration in force: the one the run was created with, what interventions have changed since, and
        where its data are now."""
        tree = copy.deepcopy(self.tree)
        for row in self.events():
            if row["kind"] == "moved":
                tree["data"]["source"] = row["source"]
        for row in self.interventions():
            for dotted, value in row["settings"].items():
                section, _, name = dotted.partition(".")
                tree[section][name.replace("-", "_")] = value
        return from_json(tree)

    def interventions(self) -> list[dict[str, Any]]:
        """Every time that training went back: "images" (when), "to" (the clock gone back to), "branch" (which began
        there), "settings" (changed by it), "finding" (why), in order."""
        return [row for row in self.events() if row["kind"] == "intervention"]

    def branch(self) -> int:
        """The branch that training is on: how often it went back."""
        return len(self.interventions())

    @property
    def dataset(self) -> dict[str, Any]:
        """Facts of the data: image_shape, classes, key, counts, filter."""
        facts: dict[str, Any] = self.tree["dataset"]
        return facts

    def checkpoints(self) -> list[int]:
        """Clocks (images shown) of the checkpoints, oldest first."""
        folder = self.folder / "checkpoints"
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []

    def checkpoint(self, images: int) -> Path:
        """The folder of one checkpoint."""
        return self.folder / "checkpoints" / f"{images:09d}"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return list(rows(self.folder / "metrics.jsonl"))

    def line(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl that led to the present: those that training went back behind are left out."""
        went_back = [(row["branch"], row["to"]) for row in self.interventions()]
        return [
            row
            for row in self.metrics()
            if all(row["images"] <= to for branch, to in went_back if branch > row.get("branch", 0))
        ]

    def timing(self) -> list[dict[str, Any]]:
        """The rows of timing.jsonl."""
        return list(rows(self.folder / "timing.jsonl"))

    def events(self) -> list[dict[str, Any]]:
        """The rows of events.jsonl."""
        return list(rows(self.folder / "events.jsonl"))

    def record_event(self, kind: str, images: int, **facts: Any) -> None:
        """Append to events.jsonl what happened, when."""
        append(self.folder / "events.jsonl", {"kind": kind, "images": images, "at": now(), **facts})

    def stopped(self) -> str | None:
        """Why training last stopped: "finished", "interrupted", "finding", "non-finite"; None while it goes on or after
        a kill."""
        last = [row for row in self.events() if row["kind"] in ("start", "resume", "stop")][-1:]
        return last[0]["reason"] if last and last[0]["kind"] == "stop" else None

    def best(self) -> int | None:
        """The clock of the best checkpoint: least `measure()` on the held-out images; None before the first
        measurement."""
        clocks, measure = set(self.checkpoints()), self.measure()
        values = [(row[measure], row["images"]) for row in self.line() if measure in row and row["images"] in clocks]
        return int(min(values)[1]) if values else None

    def measure(self) -> str:
        """What the best checkpoint is best by: the bound, the error of a classifier, or the squared error. A game of
        two has no such measure."""
        known = {name for row in self.metrics() for name in row}
        return next((name for name in ("test/bound", "test/error") if name in known), "test/mse")

    def network(self, images: int | None = None, averaged: bool = True, player: str | None = None) -> Any:
        """A network of a checkpoint (the newest, unless `images` says), in evaluation mode: the one that makes images,
        or the `player` of that name (a critic). Problem if it is damaged: an older one in its place would pass for
        it."""
        from latente import checkpoint, models

        clocks = self.checkpoints()
        if not clocks:
            raise Problem("run.no_checkpoint", folder=self.folder)
        clock = clocks[-1] if images is None else images
        try:
            tensors, _ = checkpoint.load(self.checkpoint(clock))
        except checkpoint.Damaged:
            known = ", ".join(str(other) for other in clocks if other != clock)
            if not known:
                raise Problem("run.no_checkpoint", folder=self.folder) from None
            raise Problem("run.damaged_checkpoint", folder=self.folder, images=clock, known=known) from None
        config = self.config
        name = player or models.decoder_of(config) or "net"
        net = models.build(config, tuple(self.dataset["image_shape"]), len(self.dataset["classes"]))[name]
        kept = averaged and any(key.startswith(f"averaged/{name}.") for key in tensors)
        prefix = f"{'averaged' if kept else 'nets'}/{name}."
        net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        return net.eval().requires_grad_(False)


def create(out: Path, config: RunConfig, dataset: dict[str, Any], start_from: str | None = None) -> Run:
    """A new numbered folder in `out`, with config.json; `start_from` is the run whose weights it begins with."""
    source = re.sub(r"[^a-z0-9]+", "-", Path(config.data.source).stem.lower()).strip("-")[:30] or "images"
    try:
        out.mkdir(parents=True, exist_ok=True)
        number = max((int(p.name[:5]) for p in out.iterdir() if re.match(r"\d{5}-", p.name)), default=-1) + 1
        while (folder := _claim(out / f"{number:05d}-{config.preset}-{source}")) is None:
            number += 1  # another process took it
        write(folder / "config.json", to_json(config) | {"dataset": dataset, "start_from": start_from})
    except (FileExistsError, NotADirectoryError):
        raise Problem("run.not_a_folder", folder=out) from None
    except OSError as error:
        raise Problem("run.cannot_write", folder=out, reason=error.strerror) from None
    return Run(folder)


def _claim(folder: Path) -> Path | None:
    """Make a run's folder; None if its number is taken."""
    if any(folder.parent.glob(f"{folder.name[:5]}-*")):
        return None
    try:
        folder.mkdir()
    except FileExistsError:
        return None
    return folder


def open_run(folder: str | Path) -> Run:
    """The run in `folder`, or a Problem."""
    folder = Path(folder)
    if not folder.is_dir():
        raise Problem("run.missing", folder=folder)
    if not _is_run(folder):
        raise Problem("run.no_run", folder=folder)
    return Run(folder)


def _is_run(folder: Path) -> bool:
    try:
        tree = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return bool(tree["preset"] and tree["dataset"]["image_shape"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def runs(out: Path) -> list[Run]:
    """All the runs in `out`, by number; other folders are passed over."""
    return [Run(p.parent) for p in sorted(out.glob("*/config.json")) if _is_run(p.parent)] if out.is_dir() else []


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file; a line that a killed process left unfinished is passed over."""
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield row


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a JSON-lines file, on a line of its own even after one that was left unfinished."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
        torn = end > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + json.dumps(row, ensure_ascii=False).encode() + b"\n")


def cut(path: Path, images: int, branch: int = 0) -> None:
    """Drop the rows of a branch that are later than `images`, those written only because the run ended, and an
    unfinished last line. What was recorded before training went back stays."""
    if path.exists():
        kept = [
            row
            for row in rows(path)
            if row.get("branch", 0) < branch or (row["images"] <= images and not row.get("end"))
        ]
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
        aside.replace(path)


def write(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file as a whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
