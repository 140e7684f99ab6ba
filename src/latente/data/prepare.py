"""A set -> uint8 images of one shape in a folder of the cache, with labels, hashes, names and facts.

`images.npy` [N, C, H, W] holds the training images first and the held-out ones last; `labels.npy`, `hashes.npy`,
`names.txt` and `factor_NAME.npy` follow the same order. Everything is streamed: memory holds a few images at a time.
"""

import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.data import caras
from latente.data.arrays import Arrays
from latente.data.decoding import Fault, Picture, Settings, decode, fit_block, strict_pillow
from latente.data.progress import Progress
from latente.data.reading import Entry, Files, printable, read_image_file
from latente.data.store import Labels, Store, divide, write_labels
from latente.messages import Problem, say

_MOST_LISTED = 1000  # files left out that are named one by one, and different sizes that are counted
_TRAIN_FOLDERS = {"train", "training"}
_TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")  # the first one there is held out


@dataclass(frozen=True)
class Caras:
    """The embedded set; `size` comes from the settings."""

    fingerprint: str
    keep_out: caras.KeepOut
    kind: str = "caras"
    path: Path | None = None


Source = Files | Arrays | Caras


@dataclass
class Record:
    """What is learned about a set while it is read."""

    sizes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: list[dict[str, str]] = field(default_factory=list)
    left_out_count: int = 0

    def read(self, picture: Picture) -> None:
        size = "{}x{}".format(*picture.size)
        self.sizes[size if size in self.sizes or len(self.sizes) < _MOST_LISTED else "..."] += 1
        self.modes[picture.mode] += 1
        self.formats[picture.format] += 1
        self.converted.update(picture.changes)

    def leave_out(self, name: str, code: str) -> None:
        if code in ("hidden", "ignored"):
            self.ignored["hidden" if code == "hidden" else "not_an_image"] += 1
            return
        self.left_out_count += 1
        if len(self.left_out) < _MOST_LISTED:
            self.left_out.append({"file": printable(name), "reason": code})


def fill(folder: Path, source: Source, settings: Settings, name: str) -> dict[str, Any]:
    """Read a whole set into an empty folder; returns the facts about it."""
    record = Record()
    with Store(folder, _expected(source)) as store:
        match source:
            case Files():
                _fill_from_files(store, source, settings, record, name)
            case Arrays():
                _fill_from_arrays(store, source, settings, record, name)
            case Caras():
                _fill_from_caras(store, source, settings, record, name)
        if store.images is None:
            raise _nothing(source, record)
    images = store.finished()
    if len(images) == 1:
        raise Problem("data.one_image", path=source.path)
    labels, held_out, rule = _labels_and_split(store, source, len(images))
    facts, moved = divide(folder, images, held_out, rule)
    facts |= {
        "shape": list(images.shape[1:]),
        "count": len(images),
        "classes": labels.classes if labels else [],
        "class_counts": write_labels(folder, labels, moved) if labels else [],
        "sizes": dict(record.sizes.most_common(20)),
        "size_count": len(record.sizes),
        "modes": dict(record.modes),
        "formats": dict(record.formats),
        "converted": dict(sorted(record.converted.items())),
        "ignored": dict(sorted(record.ignored.items())),
        "left_out": record.left_out,
        "left_out_count": record.left_out_count,
    }
    return facts


def _expected(source: Source) -> int | None:
    """How many images there are at most; None where only reading to the end would tell."""
    match source:
        case Files():
            return source.count
        case Arrays():
            return sum(part.shape[0] for part in (*source.train, *source.test))
        case Caras():
            return caras.TRAIN + caras.TEST


def _nothing(source: Source, record: Record) -> Problem:
    if record.left_out:
        first = record.left_out[0]
        reason = say(f"data.bad_{first['reason']}")
        return Problem("data.all_bad", path=source.path, count=record.left_out_count, file=first["file"], reason=reason)
    if isinstance(source, Files) and source.kind == "folder":
        for path in sorted(source.path.iterdir()):
            if path.suffix.lower() in (".zip", ".tar", ".tgz", ".gz", ".npz", ".npy"):
                return Problem("data.no_images_but", path=source.path, file=path)
    return Problem("data.no_images", path=source.path)


# Filling


def _fill_from_files(store: Store, source: Files, settings: Settings, record: Record, name: str) -> None:
    first: tuple[int, int] | None = None
    mixed = [False]  # once sizes differ and no resolution was asked for, only sizes are read
    with Progress(say("data.preparing", name=name), source.count) as progress, strict_pillow():
        for entry, outcome in _decoded(source.entries(), settings, mixed):
            progress.advance(1)
            if isinstance(outcome, Fault):
                record.leave_out(entry.name, outcome.code)
                continue
            record.read(outcome)
            first = first or outcome.size
            mixed[0] |= settings.resolution is None and outcome.size != first
            if outcome.pixels is not None and not mixed[0]:
                store.add(outcome.pixels[None])
                store.name(entry.name)
    if mixed[0]:
        common = ", ".join(f"{size} ({count})" for size, count in record.sizes.most_common(4))
        raise Problem(
            "data.sizes", path=source.path, kinds=len(record.sizes), common=common, advice=_advice(record.sizes)
        )
    channels = store.images.row[0] if store.images else 0
    greys = sum(count for mode, count in record.modes.items() if mode in ("1", "L", "LA") or mode.startswith("I"))
    if settings.channels == "auto" and channels == 3 and greys:
        record.converted["grey_to_colour"] = greys
    if settings.channels == "auto" and channels == 1 and greys < record.modes.total():
        record.converted["colourless"] = record.modes.total() - greys


def _advice(sizes: Counter[str]) -> int:
    """A resolution to suggest: the power of two that most images reach."""
    sides = sorted(min(map(int, size.split("x"))) for size in sizes.elements() if size != "...")
    low = sides[len(sides) // 4]
    return max([side for side in (16, 32, 64, 128) if side <= low], default=16)


def _decoded(
    entries: Iterable[Entry], settings: Settings, mixed: list[bool]
) -> Iterator[tuple[Entry, Picture | Fault]]:
    """Entries in order, decoded by a few threads (Pillow lets go of the lock), never more than a few at a time."""
    workers = min(8, os.cpu_count() or 1)

    def work(entry: Entry) -> tuple[Entry, Picture | Fault]:
        try:
            return entry, decode(read_image_file(entry), entry.name, settings, size_only=mixed[0])
        except Fault as fault:
            return entry, fault

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        try:
            for entry in entries:
                waiting.append(pool.submit(work, entry))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fill_from_arrays(store: Store, source: Arrays, settings: Settings, record: Record, name: str) -> None:
    with Progress(say("data.preparing", name=name), store.expected) as progress:
        for part in (*source.train, *source.test):
            count, height, width, bands = part.shape
            record.sizes[f"{width}x{height}"] += count
            record.modes[{1: "L", 3: "RGB", 4: "RGBA"}[bands]] += count
            record.formats[source.kind] += count
            if settings.resolution is not None and height != width:
                record.converted["cropped"] += count
            if settings.resolution is not None and min(height, width) < settings.resolution:
                record.converted["enlarged"] += count
            if bands == 4 and settings.channels != "rgba":
                record.converted["transparency"] += count
            if bands > 1 and settings.channels == "grey":
                record.converted["colour_to_grey"] += count
            for block in part.blocks():
                store.add(fit_block(block, settings))
                progress.advance(len(block))


def _fill_from_caras(store: Store, source: Caras, settings: Settings, record: Record, name: str) -> None:
    size = settings.resolution or 32
    total = caras.TRAIN + caras.TEST
    pieces: dict[str, list[NDArray[Any]]] = {}
    with Progress(say("data.drawing", name=name), total) as progress:
        for split, count in (("train", caras.TRAIN), ("test", caras.TEST)):
            for start in range(0, count, 250):
                stop = min(start + 250, count)
                images, factors = caras.generate(split, start, stop, size, keep_out=source.keep_out)
                store.add(fit_block(images.transpose(0, 2, 3, 1), settings._replace(resolution=None)))
                for factor, values in factors.items():
                    pieces.setdefault(factor, []).append(values)
                progress.advance(len(images))
    for factor, found in pieces.items():
        np.save(store.folder / f"factor_{factor}.npy", np.concatenate(found))
    record.sizes[f"{size}x{size}"] = record.modes["RGB"] = record.formats["caras"] = total


# Labels and splits


def _labels_and_split(store: Store, source: Source, count: int) -> tuple[Labels | None, NDArray[np.bool_] | None, str]:
    """(labels if there are any, who is held out or None, the rule of the split)."""
    if isinstance(source, Caras):
        return None, np.arange(count) >= caras.TRAIN, "official"
    if isinstance(source, Files):
        return _from_folders(store.folder / "names.txt", count)
    parts = (*source.train, *source.test)
    official = sum(part.shape[0] for part in source.train)
    held_out = np.arange(count) >= official if source.test else None
    rule = "official" if source.test else "content"
    found = [part.labels for part in parts if part.labels is not None]
    if len(found) < len(parts):
        return None, held_out, rule
    labels = np.concatenate(found)
    values = np.unique(labels)
    if source.classes and labels.dtype.kind in "iu" and 0 <= values[0] and values[-1] < len(source.classes):
        return Labels(labels, np.arange(len(source.classes)), list(source.classes)), held_out, rule
    names = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
    return Labels(labels, values, names), held_out, rule


def _read_names(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def _from_folders(path: Path, count: int) -> tuple[Labels | None, NDArray[np.bool_] | None, str]:
    """Labels, and a split if there is one, from the first folders in which the images differ.

    Folders around everything (``png/72/``) mean nothing. ``train`` and ``test`` (or ``val``, which trains if there is a
    ``test``) are splits. After them, if every image lies in a folder and there are two or more, these are classes.
    """
    depth, tops = _first_difference(path, 0)
    held_out, rule = None, "content"
    known = {top.lower() for top in tops}
    if known & _TRAIN_FOLDERS and known & set(_TEST_FOLDERS) and known <= _TRAIN_FOLDERS | set(_TEST_FOLDERS):
        held = next(name for name in _TEST_FOLDERS if name in known)
        held_out = np.fromiter((name.split("/")[depth].lower() == held for name in _read_names(path)), np.bool_, count)
        rule = "folders"
        depth, tops = _first_difference(path, depth + 1)
    classes = sorted(top for top in tops if top)
    if "" in tops or len(classes) < 2:
        return None, held_out, rule
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.fromiter((numbers[name.split("/")[depth]] for name in _read_names(path)), np.int32, count)
    return Labels(labels, np.arange(len(classes)), classes), held_out, rule


def _first_difference(path: Path, depth: int) -> tuple[int, set[str]]:
    """The first level of folders, from `depth` on, that is not one and the same for all; "" stands for no folder."""
    while True:
        tops = {name.split("/")[depth] if name.count("/") > depth else "" for name in _read_names(path)}
        if len(tops) != 1 or "" in tops:
            return depth, tops
        depth += 1
