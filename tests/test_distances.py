"""Fréchet and kernel distance against torchmetrics, scipy's matrix root, loops, and what is known in closed form."""

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from latente.evaluation import distances
from latente.evaluation.distances import (
    Estimate,
    Moments,
    frechet,
    frechet_estimate,
    frechet_floor,
    grouped,
    kernel_blocks,
    kernel_distance,
    merge,
    moments,
)

Array = np.ndarray


def drawn(n: int, size: int, seed: int = 0, shift: float = 0.0) -> Array:
    """Features that lean on each other, as those of a network do: [n, F] float64."""
    mix = np.random.default_rng(99).standard_normal((size, size)) / np.arange(1, size + 1)
    return np.random.default_rng(seed).standard_normal((n, size)) @ mix + shift


def in_parts(x: Array, *lengths: int) -> Iterator[Array]:
    yield from np.split(x, np.cumsum(lengths))


def normal(mean: Array, covariance: Array) -> Moments:
    """The moments of so many images that their number does not matter."""
    return Moments(10**6, np.asarray(mean, float), np.asarray(covariance, float) * (10**6 - 1))


class Features(nn.Module):
    """Torchmetrics' way to be given features."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_moments_are_those_of_numpy() -> None:
    x = drawn(300, 7, shift=3.0)
    found = moments(x)
    assert found.count == 300
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("lengths", [(1, 1, 50), (100,), (299,), (7,) * 42])
def test_moments_of_chunks_are_those_of_the_whole(lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(300, 7, shift=1e4)  # a common offset: sums of squares would lose eight digits
    monkeypatch.setattr(distances, "_ROWS", 64)
    whole, parts = moments(x), moments(in_parts(x, *lengths))
    assert parts.count == 300
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(whole.covariance, np.cov((x - 1e4).T), rtol=1e-9, atol=1e-9)


def test_features_come_as_tensors_and_in_single_precision() -> None:
    x = drawn(50, 4).astype(np.float32)
    for given in (torch.from_numpy(x), [torch.from_numpy(x[:20]), torch.from_numpy(x[20:])]):
        found = moments(given)
        assert found.mean.dtype == np.float64
        np.testing.assert_allclose(found.scatter, moments(x.astype(np.float64)).scatter, rtol=1e-12)


def test_the_order_of_a_merge_does_not_matter() -> None:
    a, b = moments(drawn(10, 3)), moments(drawn(1, 3, 1, shift=5))
    one, two = merge(a, b), merge(b, a)
    np.testing.assert_allclose(one.scatter, two.scatter, rtol=1e-12)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros(5),
        np.zeros((0, 5)),
        [],
        np.full((3, 2), np.nan),
        [np.zeros((2, 3)), np.zeros((2, 4))],
        np.zeros((2, 3, 4)),
    ],
)
def test_what_are_no_features(given: object) -> None:
    with pytest.raises(ValueError, match="features"):
        moments(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "size"), [(500, 24), (200, 3), (400, 1)])
def test_frechet_against_torchmetrics(n: int, size: int) -> None:
    x, y = drawn(n, size), 1.3 * drawn(n + 50, size, 1, shift=0.2) + 0.1
    oracle = FrechetInceptionDistance(feature=Features(size)).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(x), real=True)
    oracle.update(torch.from_numpy(y), real=False)
    assert frechet(moments(x), moments(y)) == pytest.approx(float(oracle.compute()), rel=1e-6)


def test_frechet_against_the_root_of_the_product() -> None:
    x, y = drawn(300, 12), drawn(300, 12, 1) ** 3
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(moments(x), moments(y)) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_covariances_that_share_their_axes() -> None:
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    a, b = np.array([4.0, 1.0, 0.25, 0.0, 9.0]), np.array([1.0, 1.0, 4.0, 2.0, 0.0])
    gap = np.array([1.0, 0, -2, 0, 0.5])
    found = frechet(normal(gap, turned * a @ turned.T), normal(np.zeros(5), turned * b @ turned.T))
    assert found == pytest.approx(np.square(gap).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum(), rel=1e-12)


def test_frechet_in_one_dimension() -> None:
    assert frechet(normal([2.0], [[9.0]]), normal([-1.0], [[4.0]])) == pytest.approx(9 + 1, rel=1e-12)


def test_frechet_of_fewer_images_than_features() -> None:
    """Off the space that the images span nothing is added: the distance is that within it."""
    low_x, low_y = drawn(9, 4), 2 * drawn(8, 4, 1, shift=0.5)
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((40, 4)))[0]  # [40, 4]
    found = frechet(moments(low_x @ axes.T), moments(low_y @ axes.T))
    assert found == pytest.approx(frechet(moments(low_x), moments(low_y)), rel=1e-9)
    x, y = drawn(10, 60), drawn(12, 60, 1)  # the images of each set span another space
    a, b = (x - x.mean(0)) / 3, (y - y.mean(0)) / math.sqrt(11)
    overlap = np.linalg.norm(a @ b.T, "nuc")  # tr (C_a C_b)^(1/2) for C = a^T a
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * overlap
    assert frechet(moments(x), moments(y)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "size"), [(200, 16), (8, 32), (2, 5)])
def test_identical_sets_are_at_no_distance(n: int, size: int) -> None:
    x = drawn(n, size, shift=3.0)
    x[:, 1] = 7  # a feature that says nothing
    assert frechet(moments(x), moments(x)) == 0
    assert frechet(moments(x), moments(x[::-1])) == pytest.approx(0, abs=1e-11)
    assert frechet(moments(x), moments(x + 2)) == pytest.approx(4 * size, rel=1e-9)


def test_constant_features_are_points() -> None:
    x = np.full((5, 3), 2.0)
    assert frechet(moments(x), moments(x)) == 0
    assert frechet(moments(x), moments(x + 1)) == 3
    y = drawn(50, 3)
    expected = np.square(y.mean(0) - 2).sum() + np.cov(y.T).trace()
    assert frechet(moments(x), moments(y)) == pytest.approx(expected, rel=1e-12)


def test_distances_of_what_cannot_be_compared() -> None:
    a, b = drawn(20, 3), drawn(20, 4)
    for far in (kernel_distance, lambda x, y: frechet(moments(x), moments(y)), lambda x, y: kernel_blocks(x, y, 5)):
        with pytest.raises(ValueError, match="one set has 3 features an image, the other 4"):
            far(a, b)
    with pytest.raises(ValueError, match="2 images"):
        frechet(moments(a[:1]), moments(a))
    with pytest.raises(ValueError, match="3 images"):
        kernel_distance(a[:1], a)
    with pytest.raises(ValueError, match="3 whole blocks of 6"):
        kernel_blocks(a, a, 6)
    with pytest.raises(ValueError, match="at least 2 images"):
        kernel_blocks(a, a, 1)
    with pytest.raises(ValueError, match="at least 4 groups"):
        grouped(a, 3)
    with pytest.raises(ValueError, match="20 images are too few for 11 groups"):
        grouped(a, 11)


def test_groups_hold_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.eye(64)  # an image's own feature says where it went
    monkeypatch.setattr(distances, "_ROWS", 10)
    whole, streamed = grouped(x, 5), grouped(in_parts(x, 1, 13, 20), 5)
    went = np.array([group.mean * group.count for group in whole])  # [5, 64]
    np.testing.assert_allclose(went.sum(0), 1)
    assert [group.count for group in whole] == [round(g) for g in went.sum(1)]
    assert {group.count for group in whole} == {12, 13}
    for one, other in zip(whole, streamed, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    assert len({tuple(went[0, i : i + 5].round()) for i in range(0, 60, 5)}) > 2  # not every fifth image


def test_groups_do_not_follow_labels_in_turn() -> None:
    """A conditional generator's labels 0, 1, ... 9, 0, 1, ...: every tenth image would be a class."""
    x = np.tile(np.arange(10.0), 100)[:, None]
    means = [float(group.mean[0]) for group in grouped(x, 10)]
    assert max(means) - min(means) < 3 and min(group.covariance[0, 0] for group in grouped(x, 10)) > 5


def test_the_jackknife_against_its_definition() -> None:
    x, y = drawn(60, 3), 1.2 * drawn(75, 3, 1)
    parts = np.array_split(x, 5), np.array_split(y, 5)
    found = frechet_estimate(*([moments(part) for part in both] for both in parts))
    whole, variance, bias = frechet(moments(x), moments(y)), 0.0, 0.0
    for side in (0, 1):
        without = []
        for i in range(5):
            rest = [x, y]
            rest[side] = np.concatenate([part for j, part in enumerate(parts[side]) if j != i])
            without.append(frechet(moments(rest[0]), moments(rest[1])))
        variance += 4 * np.var(without)
        bias += 4 * (np.mean(without) - whole)
    assert found.value == pytest.approx(whole, rel=1e-12)
    assert (found.standard_error, found.bias) == pytest.approx((math.sqrt(variance), bias), rel=1e-9)
    assert found.parts == 5
    low, high = found.interval
    assert high - found.value == pytest.approx(
        stats.t.ppf(0.975, 4) * found.standard_error, rel=3e-3
    )  # 4 degrees: the expansion's worst but one
    assert (low + high) / 2 == pytest.approx(found.value)


@pytest.mark.parametrize(("degrees", "error"), [(3, 0.01), (4, 0.003), (9, 2e-4), (30, 1e-5), (10_000, 1e-6)])
def test_students_quantile(degrees: int, error: float) -> None:
    assert distances._student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=error)


@pytest.mark.parametrize(
    "measured",
    [
        lambda x, y: frechet_estimate(grouped(x, 8), grouped(y, 8)),
        kernel_distance,
        lambda x, y: kernel_blocks(x, y, 10),
    ],
)
def test_the_intervals_hold_what_they_say(measured: Callable[[Array, Array], Estimate]) -> None:
    """Of 40 pairs of sets, about 95 % of the intervals hold the mean of the distances, at this count."""
    found = [measured(drawn(100, 3, 2 * seed), 1.3 * drawn(100, 3, 2 * seed + 1)) for seed in range(40)]
    middle = np.mean([one.value for one in found])
    assert sum(one.interval[0] <= middle <= one.interval[1] for one in found) >= 34
    spread = np.std([one.value for one in found])
    assert 0.6 < np.mean([one.standard_error for one in found]) / spread < 1.6


@pytest.mark.parametrize(("n", "m"), [(200, 200), (60, 400), (10, 20)])
def test_the_floor_is_what_perfect_samples_score(n: int, m: int) -> None:
    size, scale = 8, 1 / np.arange(1, 9)
    reference = normal(np.zeros(size), np.diag(scale**2))
    rng = np.random.default_rng(0)
    sets = [[moments(rng.standard_normal((k, size)) * scale) for k in (n, m)] for _ in range(150)]
    found = [frechet(*pair) for pair in sets]
    error = np.std(found) / math.sqrt(150)
    assert frechet_floor(reference, n, m) == pytest.approx(np.mean(found), abs=3 * error, rel=0.05)


def test_the_bias_of_the_jackknife_is_the_floor_for_perfect_samples() -> None:
    x = [drawn(2000, 4, seed) for seed in range(6)]
    found = np.mean([frechet_estimate(grouped(a), grouped(b)).bias for a, b in zip(x[::2], x[1::2], strict=True)])
    assert found == pytest.approx(frechet_floor(moments(np.concatenate(x)), 2000, 2000), rel=0.3)


def test_the_floor_in_one_dimension() -> None:
    """The means differ by a variance of v (1/n + 1/m), the deviations by one of v / 2 (1/(n-1) + 1/(m-1))."""
    expected = 4 * (1 / 50 + 1 / 80) + 4 / 2 * (1 / 49 + 1 / 79)
    assert frechet_floor(normal([1.0], [[4.0]]), 50, 80) == pytest.approx(expected, rel=1e-12)


def test_a_floor_needs_images() -> None:
    with pytest.raises(ValueError, match="2 images, not 1"):
        frechet_floor(normal([0.0], [[1.0]]), 1, 50)


def looped(x: Array, y: Array) -> float:
    """The unbiased MMD^2, pair by pair."""

    def kernel(a: Array, b: Array) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    own = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + other - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("n", [40, 130])
def test_kernel_distance_against_torchmetrics(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_ROWS", 32)
    x, y = drawn(n, 9), drawn(n, 9, 1, shift=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "will save all extracted features in buffer"
        oracle = KernelInceptionDistance(feature=Features(9), subsets=1, subset_size=n)
    oracle.update(torch.from_numpy(x), real=True)
    oracle.update(torch.from_numpy(y), real=False)
    assert kernel_distance(x, y).value == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_kernel_distance_of_unequal_sets_against_a_loop() -> None:
    x, y = drawn(12, 4), drawn(17, 4, 1)
    assert kernel_distance(x, y).value == pytest.approx(looped(x, y), rel=1e-10)
    assert kernel_distance(y, x).value == pytest.approx(looped(x, y), rel=1e-10)


def test_kernel_distance_does_not_hang_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(70, 5), drawn(51, 5, 1)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(distances, "_ROWS", 16)
    assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(whole, rel=1e-9)


def test_the_error_of_the_kernel_distance_is_the_jackknifes() -> None:
    x, y = drawn(9, 3), drawn(11, 3, 1)
    without_x = [looped(np.delete(x, i, 0), y) for i in range(9)]
    without_y = [looped(x, np.delete(y, i, 0)) for i in range(11)]
    expected = math.sqrt(8 * np.var(without_x) + 10 * np.var(without_y))
    assert kernel_distance(x, y).standard_error == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_is_unbiased() -> None:
    """Of sets of the same law it is as often below 0 as above."""
    found = [kernel_distance(drawn(20, 4, seed), drawn(20, 4, 1000 + seed)).value for seed in range(120)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(120)
    assert min(found) < 0


def test_kernel_blocks_are_disjoint_blocks_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(43, 4), drawn(47, 4, 1)
    each = [looped(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]
    monkeypatch.setattr(distances, "_ROWS", 7)
    for found in (kernel_blocks(x, y, 10), kernel_blocks(in_parts(x, 3, 21), in_parts(y, 30), 10)):
        assert found.value == pytest.approx(np.mean(each), rel=1e-9)
        assert found.standard_error == pytest.approx(np.std(each, ddof=1) / 2, rel=1e-9)
        assert found.parts == 4
