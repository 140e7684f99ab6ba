"""The folder of a prepared set while it is written: rows appended, then put in the order of the split."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from latente.data import splits
from latente.data.arrays import block_rows
from latente.data.cache import RowFile
from latente.messages import Problem, punctuated


class Store:
    """The folder being filled: rows of images, widened from grey to colour when the first coloured image comes."""

    def __init__(self, folder: Path, expected: int | None) -> None:
        self.folder, self.expected = folder, expected
        self.images: RowFile | None = None
        self.names: IO[str] | None = None

    def add(self, block: NDArray[np.uint8]) -> None:
        """block: [n, C, H, W]; C may differ from that of the blocks before."""
        if self.images is None:
            self._room_for(block)
            self.images = RowFile(self.folder / "images.npy", block.shape[1:], "|u1")
        have = self.images.row[0]
        if block.shape[1] > have:
            self._widen(block.shape[1])
        elif block.shape[1] < have:
            block = np.repeat(block, have, axis=1)
        self.images.append(block)

    def name(self, name: str) -> None:
        if self.names is None:
            self.names = (self.folder / "names.txt").open("w", encoding="ascii")
        self.names.write(json.dumps(name) + "\n")

    def _room_for(self, block: NDArray[np.uint8]) -> None:
        needed = (self.expected or 1) * block[0].nbytes
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise Problem(
                "data.no_room",
                needed=punctuated(f"{needed / 1e9:.1f}"),
                free=punctuated(f"{free / 1e9:.1f}"),
                folder=self.folder.parent,
            )

    def _widen(self, channels: int) -> None:
        """Grey rows become rows of `channels` equal channels."""
        assert self.images is not None
        self.images.close()
        narrow = self.folder / "narrow.npy"
        os.replace(self.images.path, narrow)
        old = np.load(narrow, mmap_mode="r")
        self.images = RowFile(self.folder / "images.npy", (channels, *self.images.row[1:]), "|u1")
        step = block_rows(old[0].nbytes)
        for start in range(0, len(old), step):
            self.images.append(np.repeat(old[start : start + step], channels, axis=1))
        del old  # Windows does not remove a file that is mapped
        narrow.unlink()

    def finished(self) -> NDArray[np.uint8]:
        """All images, mapped so that they can be moved; [N, C, H, W]. Writes their hashes."""
        assert self.images is not None
        images: NDArray[np.uint8] = np.load(self.images.path, mmap_mode="r+")
        step = block_rows(images[0].nbytes)
        with RowFile(self.folder / "hashes.npy", (), "<u8") as hashes:
            for start in range(0, len(images), step):  # only now, as a set that turns to colour changes its hashes
                hashes.append(splits.content_hashes(images[start : start + step]))
        return images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.images is not None:
            self.images.close()
        if self.names is not None:
            self.names.close()


def divide(
    folder: Path, images: NDArray[np.uint8], held_out: NDArray[np.bool_] | None, rule: str
) -> tuple[dict[str, Any], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Put the held-out images last, in every file; returns the facts about it, and the rows exchanged."""
    hashes = np.load(folder / "hashes.npy", mmap_mode="r+")
    scratch = folder / "ordered.npy"
    shutil.copyfile(folder / "hashes.npy", scratch)
    ordered = np.load(scratch, mmap_mode="r+")
    ordered.sort()  # in place, in the file
    extra = splits.extra_copies(ordered)
    if held_out is None:
        chosen = splits.choose(ordered)
        if not len(chosen):
            raise Problem("data.all_same", count=len(images))
        held_out = np.zeros(len(images), np.bool_)
        for start in range(0, len(images), 1 << 16):
            held_out[start : start + (1 << 16)] = np.isin(hashes[start : start + (1 << 16)], chosen)
    test = int(held_out.sum())
    one, other = splits.swaps(held_out)
    step = block_rows(images[0].nbytes)
    for start in range(0, len(one), step):
        for rows in (images, hashes):
            _swap(rows, one[start : start + step], other[start : start + step])
    images.flush()  # type: ignore[attr-defined]
    hashes.flush()
    train_hashes, test_hashes = hashes[: len(images) - test], hashes[len(images) - test :]
    seen = np.zeros(test, np.bool_)
    if rule != "content":  # which keeps duplicates together
        for start in range(0, len(train_hashes), 1 << 16):
            seen |= np.isin(test_hashes, train_hashes[start : start + (1 << 16)])
    del ordered
    scratch.unlink()
    if (folder / "names.txt").exists() and len(one):
        _swap_lines(folder / "names.txt", dict(zip((*one, *other), (*other, *one), strict=True)))
    share = {"share": splits.SHARE, "most": splits.MOST} if rule == "content" else {}
    facts = {
        "train": len(images) - test,
        "test": test,
        "content": hashlib.blake2b(hashes.tobytes(), digest_size=10).hexdigest(),  # the images, in their order
        "split": {"rule": rule, **share},
        "duplicates": {"extra": extra, "across": int(seen.sum())},
    }
    return facts, (one, other)


def _swap(rows: NDArray[Any], one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    kept = rows[one]
    rows[one] = rows[other]
    rows[other] = kept


def _swap_lines(path: Path, source: dict[int, int]) -> None:
    """Line i becomes the line source[i] of before."""
    moved = {}
    wanted = set(source.values())
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file):
            if number in wanted:
                moved[number] = line
    fresh = path.with_suffix(".new")
    with path.open(encoding="ascii") as file, fresh.open("w", encoding="ascii") as out:
        for number, line in enumerate(file):
            out.write(moved[source[number]] if number in source else line)
    fresh.replace(path)


class Labels(NamedTuple):
    """What a set says about the class of each image."""

    raw: NDArray[Any]  # [N], as found
    values: NDArray[Any]  # sorted: raw[i] == values[label]
    classes: list[str]  # label -> name


def write_labels(folder: Path, labels: Labels, moved: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[int]:
    """labels.npy in the order of the split; returns how many images each class has."""
    counts = np.zeros(len(labels.classes), np.int64)
    with RowFile(folder / "labels.npy", (), "<i8") as file:
        for start in range(0, len(labels.raw), 1 << 16):
            numbers = np.searchsorted(labels.values, labels.raw[start : start + (1 << 16)]).astype(np.int64)
            counts += np.bincount(numbers, minlength=len(counts))
            file.append(numbers)
    rows = np.load(folder / "labels.npy", mmap_mode="r+")
    _swap(rows, *moved)
    rows.flush()
    return [int(count) for count in counts]
