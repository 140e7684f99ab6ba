import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, entropy

from latente.data.points import World, world
from latente.evaluation import modes


def by_hand(x: np.ndarray, w: World) -> tuple[list[int], int, list[list[np.ndarray]]]:
    """Good samples of each mode, one by one."""
    assert w.centres is not None
    held: list[list[np.ndarray]] = [[] for _ in w.centres]
    for point in x:
        gaps = [math.dist(point, centre) for centre in w.centres]
        best = min(range(len(gaps)), key=gaps.__getitem__)
        if gaps[best] <= 3 * w.sd:
            held[best].append(point)
    return [len(points) for points in held], sum(map(len, held)), held


@pytest.mark.parametrize("name", ["grid25", "ring8", "line"])
def test_counting_against_a_loop(name: str) -> None:
    w, rng = world(name), np.random.default_rng(0)
    assert w.centres is not None and w.weights is not None
    k = len(w.centres)
    biased = w.centres[rng.choice(k, 800, p=np.arange(1, k + 1) / (k * (k + 1) / 2))]
    x = np.concatenate(
        [biased + 1.7 * w.sd * rng.standard_normal(biased.shape), rng.uniform(-1, 1, (100, w.dimensions))]
    )
    found = modes.count_modes(x, w)
    counts, good, held = by_hand(x, w)
    assert list(found.counts) == counts and found.total == k
    assert found.high_quality == pytest.approx(good / 900)
    assert found.modes == sum(count >= 0.2 * 900 / k for count in counts)
    assert found.kl == pytest.approx(entropy(np.array(counts) / good, w.weights))
    deviations = sum(np.square(np.array(p) - np.mean(p, 0)).sum() for p in held if p)
    freedom = sum(count - 1 for count in counts if count)
    true = w.sd * math.sqrt(chi2.cdf(9, w.dimensions + 2) / chi2.cdf(9, w.dimensions))
    assert found.spread == pytest.approx(math.sqrt(deviations / freedom / w.dimensions) / true)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7])
def test_truncation_against_the_chi_squared_distribution(d: int) -> None:
    for radius in (0.5, 1.0, 3.0):
        expected = math.sqrt(chi2.cdf(radius**2, d + 2) / chi2.cdf(radius**2, d))
        assert modes.truncated_deviation(d, radius) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "good"), [("grid25", 1 - math.exp(-4.5)), ("ring8", 1 - math.exp(-4.5)), ("line", 0.9973)]
)
def test_real_samples_score_what_they_must(name: str, good: float) -> None:
    w = world(name)
    found = modes.reference(w)
    assert w.centres is not None and found.modes == found.total == len(w.centres)
    assert found.high_quality == pytest.approx(good, abs=0.003)
    assert found.spread == pytest.approx(1, abs=0.015) and found.kl < 0.003
    assert modes.reference(w) == found and modes.remark(found) is None


def test_one_mode_one_point_and_nothing() -> None:
    w = world("grid25")
    assert w.centres is not None
    one = modes.count_modes(np.repeat(w.centres[:1], 100, 0), w)
    assert (one.modes, one.high_quality) == (1, 1.0) and one.kl == pytest.approx(math.log(25))
    assert one.spread == pytest.approx(0, abs=1e-9)
    off = modes.count_modes(np.repeat(w.centres[:1] + w.sd, 100, 0), w)
    assert off.spread == pytest.approx(0, abs=1e-9)  # about its own mean: away from the centre is not wide
    none = modes.count_modes(np.full((10, 2), 5.0), w)
    assert (none.modes, none.high_quality) == (0, 0.0) and math.isnan(none.spread) and math.isnan(none.kl)
    broken = modes.count_modes(np.full((10, 2), np.nan), w)
    assert (broken.modes, broken.high_quality) == (0, 0.0)


def test_a_mode_with_a_fifth_of_its_share_is_found_and_one_with_less_is_not() -> None:
    w = world("line")
    assert w.centres is not None
    for few, expected in ((100, 2), (99, 1)):
        x = np.concatenate([np.repeat(w.centres[:1], few, 0), np.repeat(w.centres[1:], 1000 - few, 0)])
        assert modes.count_modes(x, w).modes == expected


def test_images_of_points_and_tensors_are_counted_too() -> None:
    w = world("ring8")
    x = w.sample(500, np.random.default_rng(0))
    assert modes.count_modes(torch.from_numpy(x)[..., None, None], w) == modes.count_modes(x, w)
    for wrong in (np.zeros((0, 2)), np.zeros((5, 3)), np.zeros(5)):
        with pytest.raises(ValueError, match="ring8"):
            modes.count_modes(wrong, w)
    with pytest.raises(ValueError, match="spiral"):
        modes.count_modes(x, world("spiral"))


def test_narrow_and_wide_modes_are_said() -> None:
    w, rng = world("grid25"), np.random.default_rng(0)
    assert w.centres is not None
    noise = rng.uniform(-1, 1, (10_000, 2)) * 2.1 * w.sd  # as wide as fits, with no tails
    centres = w.centres[rng.integers(25, size=10_000)]
    narrow, wide = (modes.count_modes(centres + factor * noise, w) for factor in (0.2, 1.0))
    said = modes.remark(narrow)
    assert narrow.spread < 0.5 and said is not None and f"{narrow.spread:.2f}" in said
    assert wide.spread == pytest.approx(2.1 / math.sqrt(3) / modes.truncated_deviation(2, 3), rel=0.02)
    said = modes.remark(wide._replace(spread=1.6))
    assert said is not None and "1.60" in said


def test_labels_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(0, 40, 120), rng.uniform(1, 2, 50)
    counts = [sum(int(label) == mode for label in labels) for mode in range(50)]
    found = modes.label_modes(torch.from_numpy(labels), 50, weights)
    assert found.found == sum(count >= 1 for count in counts) and found.found5 == sum(count >= 5 for count in counts)
    assert found.kl == pytest.approx(entropy(np.array(counts) / 120, weights / weights.sum()))
    assert modes.label_modes(labels, 50).kl == pytest.approx(entropy(np.array(counts) / 120, np.full(50, 0.02)))


def test_labels_of_the_true_distribution_and_of_none() -> None:
    drawn = np.random.default_rng(0).integers(0, 1000, 26_000)
    found = modes.label_modes(drawn, 1000)
    assert found.found == found.found5 == 1000 and found.kl == pytest.approx(999 / 52_000, rel=0.15)
    assert modes.label_modes([0], 2, [0, 1]).kl == math.inf
    for wrong in ([], [3]):
        with pytest.raises(ValueError, match="0 to 2"):
            modes.label_modes(wrong, 3)
