"""Stacked MNIST: three digits in the three channels of one image, so that there are 1000 modes, which can be counted.

128 000 stacks for training and 26 000 that are held out (Lin et al. 2018, "PacGAN", section 4.2, after Metz et al.
2016); ours are made of the training digits and of the test digits, so that no digit is on both sides.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from latente.data.arrays import Arrays, Part, block_rows

TRAIN = 128_000
TEST = 26_000
CLASSES = tuple(f"{label:03}" for label in range(1000))  # label 100 a + 10 b + c: a in the first channel, c in the last
_SEED = 1701


def stack(mnist: Arrays) -> Arrays:
    """The digits -> their stacks: each of three digits drawn at random with replacement, always the same draws."""
    train = _part(mnist.train[0], TRAIN, (_SEED, 0))
    test = _part(mnist.test[0], TEST, (_SEED, 1))
    fingerprint = f"{mnist.fingerprint}\n{TRAIN} {TEST} {_SEED}"
    return Arrays("stacked", mnist.path, fingerprint, [train], [test], CLASSES)


def _part(digits: Part, count: int, seed: tuple[int, int]) -> Part:
    assert digits.labels is not None and digits.shape[3] == 1
    number, height, width, _ = digits.shape
    drawn = np.random.default_rng(seed).integers(0, number, (count, 3))

    def blocks() -> Iterator[NDArray[np.uint8]]:
        every = np.concatenate(list(digits.blocks()))[..., 0]  # [number, H, W]: 47 MB of training digits
        step = block_rows(3 * height * width)
        for start in range(0, count, step):
            yield every[drawn[start : start + step]].transpose(0, 2, 3, 1)  # [n, 3, H, W] -> [n, H, W, 3]

    labels = digits.labels.astype(np.int64)[drawn] @ np.array([100, 10, 1])
    return Part((count, height, width, 3), blocks, labels)
