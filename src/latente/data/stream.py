"""A position in training -> the batch shown there: a pure function, so that a run can go on where it was cut."""

from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.config import RunConfig, VAEObjective
from latente.data.datasets import ImageSet

Binarisation = Literal["none", "dynamic", "fixed", "threshold", "grey"]
_BLOCK = 16_384  # positions whose order is computed at once


class Batch(NamedTuple):
    """What a step learns from."""

    images: Tensor  # [n, C, H, W], float32 in [-1, 1]
    condition: Tensor | None  # labels [n], int64; of a set without labels, its factors [n, K], float32


@dataclass(frozen=True)
class Stream:
    """An endless, shuffled reading of an image set: every epoch shows every image once, in another order.

    The order is computed from (seed, epoch), not stored: memory does not grow with the number of images.
    """

    images: ImageSet
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    binarisation: Binarisation = "none"
    conditional: bool = False
    channels_last: bool = False
    _order: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)  # the newest two blocks

    def take(self, position: int, n: int, rank: int = 0, world: int = 1) -> Batch:
        """The `n` images at `position` (counted over all processes); process `rank` of `world` gets every world-th."""
        indices = self._indices(position, n)[rank::world]
        images = self.images.gather(indices)  # [n, C, H, W], uint8 but for points
        shown = see(
            images,
            self.binarisation,
            seed=self.seed,
            indices=indices,
            position=position + rank,
            device=self.device,
        )
        if self.channels_last:
            shown = shown.contiguous(memory_format=torch.channels_last)
        return Batch(shown, condition(self.images, indices, self.device) if self.conditional else None)

    def _indices(self, position: int, n: int) -> NDArray[np.int64]:
        parts, stop = [], position + n
        while position < stop:
            number, offset = divmod(position, _BLOCK)
            if number not in self._order:
                if len(self._order) == 2:
                    self._order.pop(min(self._order))
                self._order[number] = shuffled(
                    np.arange(number * _BLOCK, (number + 1) * _BLOCK), len(self.images), self.seed
                )
            part = self._order[number][offset : offset + stop - position]
            parts.append(part)
            position += len(part)
        return np.concatenate(parts)


def known(images: ImageSet) -> dict[str, NDArray[Any]]:
    """What is known of each image of a set, name -> [N]: its label, or the factors it was made from; {} if nothing
    is."""
    return {"label": images.labels} if images.labels is not None else dict(images.factors or {})


def condition(images: ImageSet, indices: NDArray[np.int64], device: torch.device | str = "cpu") -> Tensor | None:
    """What a network is told or asked of the images at `indices`: labels [n], or factors [n, K] in their order."""
    found = [values[indices] for values in known(images).values()]
    if not found:
        return None
    told = found[0] if images.labels is not None else np.stack(found, 1).astype(np.float32)
    return torch.from_numpy(told).to(device)


def lasting(binarisation: Binarisation) -> Binarisation:
    """How to show images the same way every time: bits that training draws anew are drawn once for ever."""
    return "fixed" if binarisation == "dynamic" else binarisation


def seen_as(config: RunConfig) -> Binarisation:
    """How the network of a run saw its images: bits that training draws anew are drawn once, as for held-out images."""
    objective = config.objective
    if not isinstance(objective, VAEObjective) or objective.likelihood != "bernoulli":
        return "none"
    return lasting(objective.binarisation)


def see(
    images: Tensor,
    binarisation: Binarisation = "none",
    *,
    seed: int = 0,
    indices: NDArray[np.int64] | None = None,
    position: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """uint8 [n, C, H, W] in memory -> what a network sees, float32 in [-1, 1], on `device`. Points are floats already.

    Bernoulli models see {-1, 1}: "dynamic" draws every pixel anew with P(1) = pixel / 255 each time that an image is
    shown, "fixed" draws it once for ever from (seed, index of the image), "threshold" cuts at 127.5. "grey" and "none"
    leave the grey levels.
    """
    if images.is_floating_point():
        return images.to(device)
    if binarisation in ("none", "grey"):
        return images.to(device).float().div_(127.5).sub_(1)
    if binarisation == "threshold":
        ones = images > 127
    else:
        shape = tuple(images.shape)
        if binarisation == "dynamic":
            noise = np.random.Generator(np.random.SFC64([seed, position])).integers(0, 65_535, shape, np.uint16)
        else:
            assert indices is not None, "fixed binarisation needs to know which images these are"
            pixels = np.arange(images[0].numel(), dtype=np.uint64)
            counters = indices.astype(np.uint64)[:, None] * np.uint64(len(pixels)) + pixels
            noise = (_hash(counters, seed) % np.uint64(65_535)).astype(np.uint16).reshape(shape)
        # Uniform on 0 .. 65534: P(noise < 257 pixel) = 257 pixel / 65535 = pixel / 255, exactly.
        ones = torch.from_numpy(noise < images.numpy().astype(np.uint16) * np.uint16(257))
    return ones.to(device).float().mul_(2).sub_(1)


def shuffled(positions: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Position -> index in [0, size): within each epoch of `size` positions, a permutation of the indices.

    A Feistel network on Z_a x Z_b with a b >= size, walked until it lands below size (Black and Rogaway, "Ciphers with
    arbitrary finite domains", 2002, methods 2 and 3).
    """
    a = isqrt(max(size - 1, 0)) + 1
    b = -(-size // a)
    epoch, found = np.divmod(positions.astype(np.uint64), np.uint64(size))
    outside = np.arange(len(found))
    while len(outside):
        left, right = np.divmod(found[outside], np.uint64(b))  # [0, a), [0, b)
        for turn in range(4):
            key = epoch[outside] * np.uint64(8) + np.uint64(2 * turn)
            left = (left + _hash(right ^ (key << np.uint64(32)), seed) % np.uint64(a)) % np.uint64(a)
            right = (right + _hash(left ^ ((key + np.uint64(1)) << np.uint64(32)), seed) % np.uint64(b)) % np.uint64(b)
        found[outside] = left * np.uint64(b) + right
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def _hash(x: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """64 well-mixed bits a counter (splitmix64: Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64((seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
