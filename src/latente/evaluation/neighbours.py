"""Neighbours in feature space: are samples like real images, are real images matched, are samples copies.

Features are [n, F] in any unit (arrays, or tensors on the CPU); all distances are Euclidean, in float64. A matrix of
distances is never held whole, only blocks of it.

    neighbourhoods   improved precision and recall, density and coverage, of reals and fakes that are held in memory
    nearest          the nearest of a training set of any length, which is read once, chunk by chunk
    copies           whether fakes lie closer to the training set than they should, beside held-out images

All four shares of `neighbourhoods` change with the counts and with k: values compare only if those agree.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latente.evaluation.distances import Features, chunks

_ROWS = 4096  # queries whose distances to a chunk are in memory at once
_ROUNDING = 1e-13  # of a squared distance, over the squared lengths of the two vectors

Array = NDArray[np.float64]


class Neighbourhoods(NamedTuple):
    """What neighbourhoods of n reals and m fakes say.

    Wilson's interval of a share of m or of n images holds the other set and the radii fixed; sets that are both drawn
    anew spread by up to 1.3 times as much."""

    precision: float  # share of the m fakes that lie in the neighbourhood of a real
    recall: float  # share of the n reals that lie in the neighbourhood of a fake
    density: float  # neighbourhoods of reals around a fake, over k: 1 for fakes like reals, and it may be more
    coverage: float  # share of the n reals with a fake in their neighbourhood
    density_error: float  # standard error of the density, over fakes and reals


class Copies(NamedTuple):
    """How fakes lean to the training set, and how held-out images do. Per-image arrays are in the order of the fakes.

    The lean of an image is d / (d + h), d its distance to the nearest training image, h to the nearest held-out image
    (another one): 0 for a copy, 1/2 for an image that is no nearer to what was trained on than to what was not."""

    share: float  # of the fakes that lean as far as the utmost `level` of the held-out images; `level` if healthy
    level: float
    threshold: float  # the lean below which those are
    samples: int  # independent images that the share is worth: measure.wilson(share, samples) is its interval
    lean: Array  # [n] of the fakes, 0 to 1
    distances: Array  # [n] to the nearest training image
    indices: NDArray[np.int64]  # [n] of the nearest training image, in the order of the chunks


def neighbourhoods(real: ArrayLike, fake: ArrayLike, *, k: int = 3, k_density: int = 5) -> Neighbourhoods:
    """Precision and recall of k neighbours (Kynkäänniemi et al. 2019, eq. 1 and 2), density and coverage of k_density
    (Naeem et al. 2020, section 3).

    real [n, F], fake [m, F]. The neighbourhood of an image is the ball up to its k-th nearest neighbour in its own set,
    itself not counted; its edge is outside, as in the authors' code of the latter (identical sets: density 1), so
    images that occur more than k times have none. ValueError if F differs, or a set has no more than k images."""
    x, y = np.asarray(real), np.asarray(fake)
    most = max(k, k_density)
    if min(k, k_density) < 1 or min(len(x), len(y)) <= most:
        raise ValueError(f"{most} neighbours need {most + 1} images, not {min(len(x), len(y))}")
    radii_real, radii_fake = nearest(x, x, most + 1)[0], nearest(y, y, k + 1)[0]  # [., .]; column 0 is itself
    ball, wide, own = radii_real[:, k], radii_real[:, k_density], radii_fake[:, k]
    precise, recalled = np.zeros(len(y), bool), np.zeros(len(x), bool)
    around, within = np.zeros(len(y)), np.zeros(len(x))  # neighbourhoods around each fake, fakes within each
    closest = np.full(len(x), np.inf)
    for rows, columns, square, error in _squares(x, y):
        square += error  # what lies on an edge is outside, whatever the rounding
        precise[columns] |= (square < (ball[rows] ** 2)[:, None]).any(0)
        recalled[rows] |= (square < own[columns] ** 2).any(1)
        inside = square < (wide[rows] ** 2)[:, None]
        around[columns] += inside.sum(0)
        within[rows] += inside.sum(1)
        closest[rows] = np.minimum(closest[rows], square.min(1))
    by_real = within * len(x) / len(y)  # both have the mean k * density
    error = (around.var(ddof=1) / len(y) + by_real.var(ddof=1) / len(x)) ** 0.5 / k_density
    density, coverage = float(around.mean()) / k_density, float((closest < wide**2).mean())
    return Neighbourhoods(float(precise.mean()), float(recalled.mean()), density, coverage, float(error))


def nearest(queries: ArrayLike, train: Features, k: int = 1) -> tuple[Array, NDArray[np.int64]]:
    """Distances and indices [n, k] of the k nearest of a training set, nearest first, in one pass over its chunks.

    queries [n, F]. An index counts the images of the chunks from 0. A distance below the rounding error of the two
    vectors' length is 0. ValueError if F differs or there are fewer than k training images."""
    x = np.asarray(queries)
    found, indices = np.full((len(x), k), np.inf), np.full((len(x), k), -1)  # squares
    for rows, columns, square, error in _squares(x, train):
        square[square < error] = 0
        least = min(k, square.shape[1])
        near = np.argpartition(square, least - 1, 1)[:, :least]  # [rows, least]
        every = np.concatenate([found[rows], np.take_along_axis(square, near, 1)], 1)  # the best before, and of these
        names = np.concatenate([indices[rows], columns.start + near], 1)
        best = every.argsort(1, kind="stable")[:, :k]
        found[rows], indices[rows] = np.take_along_axis(every, best, 1), np.take_along_axis(names, best, 1)
    if (indices < 0).any():
        raise ValueError(f"{k} neighbours of fewer training images")
    return np.sqrt(found), indices


def copies(fakes: ArrayLike, held_out: ArrayLike, train: Features, *, level: float = 0.05) -> Copies:
    """The share of fakes that lean to the training set as only `level` of the held-out images do: 0.05 if none is
    copied, 1 if all are, in one pass over the chunks of the training set.

    fakes [n, F], held_out [m, F]. Near to the training set alone says little: blurred images are near to everything.
    So each distance is set against that to the nearest held-out image, which nobody was trained on, and both against
    the same of the held-out images themselves (a three-sample test in the spirit of Meehan et al. 2020). What an image
    shares with many, it has from neither. ValueError if F differs or there are fewer than 1 / level held-out images."""
    x, y = np.asarray(fakes), np.asarray(held_out)
    last = int(level * (len(y) + 1) + 1e-9)  # of so many, one more lies beyond the k-th with probability k / (m + 1)
    if last < 1:
        raise ValueError(f"{len(y)} held-out images are too few for the utmost {level:.0%}")
    distances, indices = nearest(np.concatenate([x, y]), train)
    fresh = np.concatenate([nearest(x, y)[0][:, 0], nearest(y, y, 2)[0][:, 1]])  # [n + m]; a held-out image, itself not
    total = distances[:, 0] + fresh
    lean = np.divide(distances[:, 0], total, out=np.full(len(total), 0.5), where=total > 0)
    threshold = float(np.sort(lean[len(x) :])[last - 1])
    share = float((lean[: len(x)] <= threshold).mean())
    samples = len(x) * len(y) // (len(x) + len(y))  # the threshold is a sample's too: variances 1/n and 1/m add
    return Copies(share, level, threshold, samples, lean[: len(x)], distances[: len(x), 0], indices[: len(x), 0])


def _squares(queries: NDArray[Any], train: Features) -> Iterator[tuple[slice, slice, Array, Array]]:
    """Squared distances [rows, columns] of blocks of the queries to each chunk, and their rounding error [rows, 1].

    About the mean of the queries, so that a common offset costs no digits."""
    size, start = queries.shape[1], 0
    origin = queries.mean(0, dtype=np.float64)
    for part in chunks(train):
        if part.shape[1] != size:
            raise ValueError(f"one set has {size} features an image, the other {part.shape[1]}")
        y = part - origin
        lengths = np.square(y).sum(1)  # [columns]
        for first in range(0, len(queries), _ROWS):
            x = queries[first : first + _ROWS].astype(np.float64) - origin
            own = np.square(x).sum(1)[:, None]  # [rows, 1]
            square = x @ y.T
            square *= -2
            square += own
            square += lengths
            error = _ROUNDING * (own + lengths.max())
            yield slice(first, first + len(x)), slice(start, start + len(y)), np.maximum(square, 0, out=square), error
        start += len(part)
