"""Which images are held out, when nobody said: chosen by content, so that no order of files matters.

Everything here reads the sorted 64-bit content hashes of the prepared images piece by piece, from disk: memory does not
grow with their number. Images with the same pixels have the same hash, and go to the same side together.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SHARE = 0.05  # held out
MOST = 5000
_PIECE = 1 << 16


def content_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """[N, C, H, W] -> 64 bits an image: BLAKE2b of its pixels. Two of a million that differ share one with p = 3e-8."""
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in images)
    return np.frombuffer(digests, np.uint64)


def groups(ordered: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Sorted hashes -> pieces of (different hashes, how often each occurs); a group is never cut in two."""
    start = 0
    while start < len(ordered):
        last = ordered[min(start + _PIECE, len(ordered)) - 1]
        stop = int(np.searchsorted(ordered, last, side="right"))
        yield np.unique(ordered[start:stop], return_counts=True)
        start = stop


def choose(ordered: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hashes of the images to hold out: the lowest, until 5 % of the images (at least 1, at most 5000) are reached.

    A group of duplicates that would not fit whole stays in the training split; if none fits, the smallest is held out.
    Returns an empty array if there are fewer than two different images.
    """
    room = max(1, min(MOST, round(SHARE * len(ordered))))
    chosen: list[int] = []
    smallest: tuple[int, int] | None = None  # size, hash
    different = 0
    for values, counts in groups(ordered):
        different += len(values)
        smallest = min([(int(counts.min()), int(values[counts.argmin()])), *([smallest] if smallest else [])])
        for value, count in zip(values[counts <= room].tolist(), counts[counts <= room].tolist(), strict=True):
            if count <= room:
                chosen.append(value)
                room -= count
            if not room:
                return np.array(chosen, np.uint64) if _another(ordered, chosen) else np.zeros(0, np.uint64)
    if different < 2 or smallest is None:
        return np.zeros(0, np.uint64)
    return np.array(chosen or [smallest[1]], np.uint64)


def _another(ordered: NDArray[np.uint64], chosen: list[int]) -> bool:
    """Whether a hash is left for training."""
    return ordered[0] != ordered[-1] and len(chosen) < len(ordered)


def extra_copies(ordered: NDArray[np.uint64]) -> int:
    """How many images could go without losing any content."""
    return len(ordered) - sum(len(values) for values, _ in groups(ordered))


def swaps(held_out: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to exchange, [m] with [m], so that the held-out ones become the last ones."""
    train = int(len(held_out) - held_out.sum())
    return np.flatnonzero(held_out[:train]), train + np.flatnonzero(~held_out[train:])
