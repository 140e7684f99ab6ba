"""How alike two images are in structure, and how alike the fakes of a generator are: MS-SSIM (Wang et al. 2003).

Images are [n, C, H, W] in [0, 1] (arrays, or tensors on the CPU). Channels are compared one by one and averaged, as are
places; only places where the whole window fits count, at every scale, as in the authors' code.

The window is a Gaussian of 11 pixels and standard deviation 1.5, and there are as many of the paper's five scales as it
fits into: 5 from 176 pixels on, 4 from 88, 3 from 44, 2 from 22, 1 below. The weights of the scales that remain are
divided by their sum. Images smaller than 11 pixels have a window of their own size, its deviation shrunk alike. Values
compare only between images of one size.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latente.evaluation.distances import Estimate

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first (Wang et al. 2003, section 3.2)
WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # (K L)^2 for L = 1
_PAIRS = 64  # compared together

Array = NDArray[np.float64]


def scales(height: int, width: int) -> int:
    """How many scales images of that size are compared at, 1 to 5: each halves the sides, rounded down."""
    return max(1, sum(min(height, width) >> j >= WINDOW for j in range(len(WEIGHTS))))


def ms_ssim(x: ArrayLike, y: ArrayLike) -> Array:
    """[n]: the similarity of each image of x to that of y, 1 if they are the same, 0 if they have nothing in common.

    Wang et al. 2003, eq. 7: the product of the mean contrast-structure terms of the finer scales and of the mean SSIM
    of the coarsest, each to the power of its weight; a negative mean counts as 0. ValueError if the shapes differ or
    are not [n, C, H, W], or values lie beyond 0 and 1."""
    a, b = _images(x), _images(y)
    if a.shape != b.shape:
        raise ValueError(f"images of one shape are compared, not {list(a.shape)} and {list(b.shape)}")
    levels = scales(*a.shape[2:])
    found, total = np.ones(len(a)), sum(WEIGHTS[:levels])
    for level, weight in enumerate(WEIGHTS[:levels]):
        if level:
            a, b = _halved(a), _halved(b)
        structure, luminance = _compared(a, b)  # [n, C, h, w]
        terms = structure * luminance if level == levels - 1 else structure
        found *= np.maximum(terms.mean((1, 2, 3)), 0) ** (weight / total)
    return found


def diversity(images: ArrayLike, pairs: int | None = None, seed: int = 0) -> Estimate:
    """Mean MS-SSIM of random pairs of fakes (Odena et al. 2017, section 4.2): 1 if all are the same image; reals beside
    it say how low it may be. Of one class, or of the whole set.

    No image is in two pairs, so that they are independent and the standard error is right: at most n // 2, which is the
    default. ValueError for fewer than two pairs or more than there are."""
    x = np.asarray(images)
    pairs = len(x) // 2 if pairs is None else pairs
    if not 2 <= pairs <= len(x) // 2:
        raise ValueError(f"{len(x)} images make 2 to {len(x) // 2} pairs of different images, not {pairs}")
    order = np.random.default_rng(seed).permutation(len(x))[: 2 * pairs].reshape(-1, 2)  # [pairs, 2]
    parts = (order[i : i + _PAIRS] for i in range(0, pairs, _PAIRS))
    values = np.concatenate([ms_ssim(x[part[:, 0]], x[part[:, 1]]) for part in parts])
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(pairs), pairs)


def _images(images: ArrayLike) -> Array:
    x = np.asarray(images, np.float64)
    if x.ndim != 4:
        raise ValueError(f"images are [n, C, H, W], not {list(x.shape)}")
    if x.size and not (x.min() >= -1e-6 and x.max() <= 1 + 1e-6):
        raise ValueError(f"images are in [0, 1], not in [{x.min():.3g}, {x.max():.3g}]")
    return x


def _compared(a: Array, b: Array) -> tuple[Array, Array]:
    """Contrast-structure and luminance [n, C, h, w] where the window fits (Wang et al. 2003, eq. 1 to 3)."""
    rows, columns = (_window(side, min(a.shape[2:])) for side in a.shape[2:])

    def blurred(x: Array) -> Array:
        return np.asarray(rows @ x @ columns.T)

    mean_a, mean_b = blurred(a), blurred(b)
    variances = blurred(a * a + b * b) - mean_a**2 - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    structure = (2 * covariance + C2) / (variances + C2)
    return structure, (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)


def _window(side: int, least: int) -> Array:
    """[side - size + 1, side]: the Gaussian at each place where it fits, as a matrix to multiply a side with."""
    size = min(WINDOW, least)
    places = np.arange(size) - (size - 1) / 2
    weights = np.exp(-((places / (SIGMA * size / WINDOW)) ** 2) / 2)
    matrix = np.zeros((side - size + 1, side))
    for i in range(len(matrix)):
        matrix[i, i : i + size] = weights / weights.sum()
    return matrix


def _halved(x: Array) -> Array:
    """The mean of each 2x2 pixels; an odd last row or column is dropped."""
    n, channels, height, width = x.shape
    even = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return np.asarray(even.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5)))
