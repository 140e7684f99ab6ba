"""How far the features of one set of images lie from those of another: Fréchet and kernel distance.

Features are [n, F] in any unit (arrays, or tensors on the CPU), or an iterable of such chunks, read once; sums are in
float64 and do not grow with n.

    frechet                two normal distributions fitted to the features; squared units of a feature. Biased: a
                           perfect generator has about `frechet_floor`, and only values of equal counts compare
    frechet_estimate       the same with its standard error and its bias, from groups of images left out in turn
    kernel_distance        unbiased MMD^2, without unit, of all pairs: O(n^2) time. Unbiased: it may be below 0
    kernel_blocks          the same in one pass: the mean over disjoint blocks, less precise and as unbiased
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROWS = 1024  # images whose features are in float64 at once
_PARTS = 4  # groups or blocks whose spread says anything

Features = ArrayLike | Iterable[ArrayLike]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What `frechet` needs to know of features, however many they were."""

    count: int
    mean: Array  # [F]
    scatter: Array  # [F, F], sum of the outer products of the deviations from the mean

    @property
    def covariance(self) -> Array:
        """[F, F], unbiased (divided by count - 1). ValueError below two images."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, not {self.count}")
        covariance: Array = self.scatter / (self.count - 1)
        return covariance


class Estimate(NamedTuple):
    """A value and how far chance may have moved it."""

    value: float
    standard_error: float
    parts: int  # groups, blocks, pairs behind the standard error; the images themselves if each was left out
    bias: float = 0.0  # estimated; that of the kernel distance is 0 by construction

    @property
    def interval(self) -> tuple[float, float]:
        """95 %: where the value lies for other images as many as these. Student's t with parts - 1 degrees."""
        half = _student(self.parts - 1) * self.standard_error
        return self.value - half, self.value + half


def chunks(features: Features) -> Iterator[Array]:
    """Features as float64 [m, F], m at most 1024. ValueError if they are not [n, F], not finite, or there are none."""
    size, some = None, False
    for given in [features] if hasattr(features, "shape") else cast(Iterable[ArrayLike], features):
        chunk = np.asarray(given)
        if chunk.ndim != 2:
            raise ValueError(f"features are [n, F], not {list(chunk.shape)}")
        size = chunk.shape[1] if size is None else size
        _same_size(size, chunk.shape[1])
        for start in range(0, len(chunk), _ROWS):
            part = chunk[start : start + _ROWS].astype(np.float64)
            if not np.isfinite(part).all():
                raise ValueError("some features are not finite")
            yield part
            some = True
    if not some:
        raise ValueError("there are no features")


def moments(features: Features) -> Moments:
    """Count, mean and scatter in one pass: chunk by chunk, each about its own mean, so that nothing cancels."""
    return reduce(merge, map(_of_chunk, chunks(features)))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together (Chan, Golub & LeVeque 1983). ValueError if F differs."""
    _same_size(len(a.mean), len(b.mean))
    count, gap = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(gap, gap) * (a.count * b.count / count)
    return Moments(count, a.mean + gap * (b.count / count), scatter)


def grouped(features: Features, groups: int = 10, seed: int = 0) -> list[Moments]:
    """Moments of that many random groups of nearly the same size, in one pass; merged they are those of all images.

    Of every `groups` images in a row each goes to another group, at random: no order of labels makes groups differ,
    and where a chunk ends is of no account. ValueError below 4 groups or 2 images a group."""
    if groups < _PARTS:
        raise ValueError(f"at least {_PARTS} groups, not {groups}")
    rng, kept = np.random.default_rng(seed), dict[int, Moments]()
    dealt = np.empty(0, np.int64)  # the groups of the coming images
    for part in chunks(features):
        while len(dealt) < len(part):
            dealt = np.concatenate([dealt, rng.permutation(groups)])
        now, dealt = dealt[: len(part)], dealt[len(part) :]
        for group in np.unique(now).tolist():
            here = _of_chunk(part[now == group])
            kept[group] = merge(kept[group], here) if group in kept else here
    if len(kept) < groups or min(group.count for group in kept.values()) < 2:
        raise ValueError(f"{sum(g.count for g in kept.values())} images are too few for {groups} groups of 2 or more")
    return [kept[group] for group in range(groups)]


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), Heusel et al. 2017 eq. 6 (Dowson & Landau 1982).

    The trace of the root is the sum of the singular values of R_a^T R_b, where R R^T = C: no root of a product that is
    not symmetric, and no root of a rounding error. What lies below the rounding error of the sum is 0. Right for
    counts below F too. ValueError if F differs, or for fewer than two images."""
    return _frechet(a, _root(a.covariance), b, _root(b.covariance))


def frechet_estimate(a: Sequence[Moments], b: Sequence[Moments]) -> Estimate:
    """Fréchet distance with its standard error and bias: the delete-a-group jackknife of two samples (Efron &
    Tibshirani 1993, chapter 11; a and b are drawn apart, so their variances and biases add).

    a, b: `grouped` features. The value is that of `frechet` for all images. The interval is about what the distance is
    on average at these counts; value - bias estimates that of infinitely many images (errors of order 1 / count^2, fit
    where the counts are well above F)."""
    whole = reduce(merge, a), reduce(merge, b)
    roots = _root(whole[0].covariance), _root(whole[1].covariance)
    value, variance, bias = _frechet(whole[0], roots[0], whole[1], roots[1]), 0.0, 0.0
    for groups, other, root in ((a, whole[1], roots[1]), (b, whole[0], roots[0])):
        k, rest = len(groups), (reduce(merge, [*groups[:i], *groups[i + 1 :]]) for i in range(len(groups)))
        without = np.array([_frechet(some, _root(some.covariance), other, root) for some in rest])
        variance += (k - 1) / k * float(np.square(without - without.mean()).sum())
        bias += (k - 1) * float(without.mean() - value)
    return Estimate(value, math.sqrt(variance), min(len(a), len(b)), bias)


def frechet_floor(reference: Moments, n: int, m: int) -> float:
    """What `frechet` of n against m images is on average if both come from N(mean, covariance) of the reference.

    To second order in the errors of mean and covariance, with l the eigenvalues of the covariance,

        (1/n + 1/m) tr C + (1/(n-1) + 1/(m-1)) / 2 (sum_ij l_i l_j / (l_i + l_j) + tr C / 2)

    from E[dC_ij^2] = l_i l_j / (n-1) (twice that if i = j) and d^2(C, C + dC) = sum_ij dC_ij^2 / (l_i + l_j) / 2.
    Within a few per cent from counts of F / 2 on. Features are not normal: train against test says more."""
    if min(n, m) < 2:
        raise ValueError(f"a covariance needs at least 2 images, not {min(n, m)}")
    values = np.clip(np.linalg.eigvalsh(reference.covariance), 0, None)  # [F]
    values = values[values > 0]
    pairs = (values[:, None] * values / (values[:, None] + values)).sum()
    trace = values.sum()
    return float((1 / n + 1 / m) * trace + (1 / (n - 1) + 1 / (m - 1)) / 2 * (pairs + trace / 2))


def kernel_distance(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Unbiased MMD^2 of all pairs (Gretton et al. 2012, eq. 3) with the kernel (x.y/F + 1)^3 (Binkowski et al. 2018).

    a [n, F], b [m, F]: arrays, which are read block against block (they may be memory-mapped). The standard error is
    the jackknife's, each image left out in turn, which the sums of each image's kernels give for nothing; it errs on
    the wide side where the two sets are alike. ValueError if F differs or a set has fewer than 3 images."""
    x, y = np.asarray(a), np.asarray(b)
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise ValueError(f"an unbiased estimate and its error need at least 3 images, not {min(n, m)}")
    within_x, within_y, (across_x, across_y) = _within(x), _within(y), _across(x, y)
    value = _mmd(within_x.sum(), n, within_y.sum(), m, across_x.sum())
    variance = 0.0
    for own, k, other, size, cross in ((within_x, n, within_y, m, across_x), (within_y, m, within_x, n, across_y)):
        without = _mmd(own.sum() - 2 * own, k - 1, other.sum(), size, cross.sum() - cross)  # [k], without each image
        variance += (k - 1) / k * float(np.square(without - without.mean()).sum())
    return Estimate(float(value), math.sqrt(variance), min(n, m))


def kernel_blocks(a: Features, b: Features, size: int = 1000) -> Estimate:
    """The mean of the unbiased MMD^2 of disjoint blocks of `size` images (Zaremba et al. 2013), in one pass.

    The blocks are independent, so their spread gives the standard error; images beyond the last whole block of either
    set are left out. It has the mean of `kernel_distance` and more variance. The images must come in no order: those
    sorted by label make blocks that differ. ValueError if F differs or there are fewer than 4 whole blocks."""
    if size < 2:
        raise ValueError(f"a block has at least 2 images, not {size}")
    found = []
    for x, y in zip(_blocks(a, size), _blocks(b, size), strict=False):
        found.append(_mmd(_within(x).sum(), size, _within(y).sum(), size, _across(x, y)[0].sum()))
    if len(found) < _PARTS:
        raise ValueError(f"{len(found)} whole blocks of {size} images in both sets; a spread needs at least {_PARTS}")
    values = np.array(found)
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values))


def _of_chunk(part: Array) -> Moments:
    mean = part.mean(0)  # [F]
    deviations = part - mean
    return Moments(len(part), mean, deviations.T @ deviations)


def _root(covariance: Array) -> Array:
    """[F, r]: R with R R^T = covariance, of its rank r; eigenvalues that are rounding errors are left out."""
    values, vectors = np.linalg.eigh(covariance)
    real = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    root: Array = vectors[:, real] * np.sqrt(values[real])
    return root


def _frechet(a: Moments, root_a: Array, b: Moments, root_b: Array) -> float:
    _same_size(len(a.mean), len(b.mean))
    gap = float(np.square(a.mean - b.mean).sum())
    traces = float(np.square(root_a).sum() + np.square(root_b).sum())
    product = root_a.T @ root_b  # [r_a, r_b]
    overlap = float(np.linalg.svd(product, compute_uv=False).sum()) if product.size else 0.0
    value = gap + traces - 2 * overlap
    return value if value > len(a.mean) * np.finfo(np.float64).eps * traces else 0.0


def _kernel(x: Array, y: Array) -> Array:
    """[n, m]: (x.y / F + 1)^3."""
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1
    kernel *= kernel * kernel
    return kernel


def _within(a: NDArray[Any]) -> Array:
    """[n]: the sum of the kernel of each image with all the others."""
    sums = np.zeros(len(a))
    for i, x in enumerate(chunks(a)):
        first = i * _ROWS
        for j, y in enumerate(chunks(a[first:])):  # each pair of blocks once
            start, kernel = first + j * _ROWS, _kernel(x, y)
            if j == 0:
                np.fill_diagonal(kernel, 0)
            else:
                sums[start : start + len(y)] += kernel.sum(0)
            sums[first : first + len(x)] += kernel.sum(1)
    return sums


def _across(a: NDArray[Any], b: NDArray[Any]) -> tuple[Array, Array]:
    """[n], [m]: the sums of the kernel of each image of one set with all of the other."""
    rows, columns = np.zeros(len(a)), np.zeros(len(b))
    for i, x in enumerate(chunks(a)):
        for j, y in enumerate(chunks(b)):
            _same_size(x.shape[1], y.shape[1])
            kernel = _kernel(x, y)
            rows[i * _ROWS : i * _ROWS + len(x)] += kernel.sum(1)
            columns[j * _ROWS : j * _ROWS + len(y)] += kernel.sum(0)
    return rows, columns


def _mmd(within_a: ArrayLike, n: int, within_b: ArrayLike, m: int, across: ArrayLike) -> Array:
    """From the sums over pairs of different images of a, of b, and over pairs of one of each."""
    own = np.asarray(within_a) / (n * (n - 1)) + np.asarray(within_b) / (m * (m - 1))
    return np.asarray(own - 2 * np.asarray(across) / (n * m), np.float64)


def _blocks(features: Features, size: int) -> Iterator[Array]:
    """Whole blocks [size, F]."""
    rows = (row for part in chunks(features) for row in part)
    while len(block := list(islice(rows, size))) == size:
        yield np.stack(block)


def _same_size(a: int, b: int) -> None:
    if a != b:
        raise ValueError(f"one set has {a} features an image, the other {b}")


def _student(degrees: int) -> float:
    """97.5 % quantile of Student's t: Cornish and Fisher's expansion (Abramowitz & Stegun 1964, eq. 26.7.5)."""
    z, v = 1.959964, float(degrees)
    terms = (
        z**3 + z,
        (5 * z**5 + 16 * z**3 + 3 * z) / 24,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 96,
    )
    return z + sum(term / 4 / v ** (i + 1) for i, term in enumerate(terms))
