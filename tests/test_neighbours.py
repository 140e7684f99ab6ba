"""Neighbourhoods, nearest training images and copies against the authors' code, loops, and worlds made for it."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.spatial.distance import cdist

from latente.evaluation import distances, neighbours
from latente.evaluation.neighbours import copies, nearest, neighbourhoods

Array = np.ndarray


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 queries and chunks of 13."""
    monkeypatch.setattr(distances, "_ROWS", 13)
    monkeypatch.setattr(neighbours, "_ROWS", 16)


def drawn(n: int, size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, size))


@pytest.mark.parametrize(("n", "m", "shift"), [(120, 120, 0.0), (90, 130, 0.7), (130, 60, 1.2)])
def test_neighbourhoods_against_the_authors_code(
    n: int, m: int, shift: float, small_blocks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    real, fake = drawn(n, 6), 0.8 * drawn(m, 6, 1) + shift
    found = neighbourhoods(real, fake)
    three, five = compute_prdc(real, fake, 3), compute_prdc(real, fake, 5)
    assert (found.precision, found.recall) == pytest.approx((three["precision"], three["recall"]), rel=1e-12)
    assert (found.density, found.coverage) == pytest.approx((five["density"], five["coverage"]), rel=1e-12)
    assert 0 < found.precision < 1 and 0 < found.coverage < 1


def looped(real: Array, fake: Array, k: int, k_density: int) -> tuple[float, float, float, float]:
    """The definitions, image by image."""

    def radius(images: Array, i: int, k: int) -> float:
        return sorted(math.dist(images[i], other) for j, other in enumerate(images) if j != i)[k - 1]

    precise = [any(math.dist(y, x) < radius(real, i, k) for i, x in enumerate(real)) for y in fake]
    recalled = [any(math.dist(x, y) < radius(fake, j, k) for j, y in enumerate(fake)) for x in real]
    within = [[math.dist(y, x) < radius(real, i, k_density) for y in fake] for i, x in enumerate(real)]
    density = np.sum(within) / (k_density * len(fake))
    return float(np.mean(precise)), float(np.mean(recalled)), float(density), float(np.any(within, 1).mean())


@pytest.mark.parametrize(("k", "k_density"), [(1, 2), (4, 1), (3, 5)])
def test_neighbourhoods_against_a_loop(k: int, k_density: int, small_blocks: None) -> None:
    real, fake = drawn(30, 2), 0.7 * drawn(20, 2, 1) + 0.5
    found = neighbourhoods(real, fake, k=k, k_density=k_density)
    assert found[:4] == pytest.approx(looped(real, fake, k, k_density), rel=1e-12)


def test_the_error_of_the_density_is_that_of_two_means(small_blocks: None) -> None:
    real, fake = drawn(50, 3), drawn(40, 3, 1)
    within = cdist(real, fake) < np.sort(cdist(real, real), 1)[:, [5]]
    of_fakes = (within.sum(0) / 5).std(ddof=1) / math.sqrt(40)
    of_reals = (within.mean(1) * 50 / 5).std(ddof=1) / math.sqrt(50)
    assert neighbourhoods(real, fake).density_error == pytest.approx(math.hypot(of_fakes, of_reals), rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_identical_sets_match_wholly(offset: float, small_blocks: None) -> None:
    """Each fake lies on the edge of neighbourhoods: which side rounding puts it on must not be of account."""
    x = drawn(100, 6) + offset
    x[:, 2] = 3  # a feature that says nothing
    found = neighbourhoods(x, x[np.random.default_rng(5).permutation(100)])
    assert found[:4] == (1, 1, 1, 1)


def test_a_collapsed_generator() -> None:
    real = drawn(100, 4)
    found = neighbourhoods(real, np.repeat(real[:1], 80, 0))
    assert found.precision == 1 and found.recall == 0  # fakes have no neighbourhood
    assert found.coverage < 0.25


def test_strangers_share_nothing() -> None:
    found = neighbourhoods(drawn(30, 4), drawn(25, 4, 1) + 100)
    assert found == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(("n", "m", "k"), [(5, 50, 3), (50, 5, 3), (50, 50, 0), (1, 1, 3)])
def test_neighbourhoods_need_neighbours(n: int, m: int, k: int) -> None:
    with pytest.raises(ValueError, match="neighbours need"):
        neighbourhoods(drawn(n, 2), drawn(m, 2, 1), k=k)


def test_features_of_two_kinds_do_not_compare() -> None:
    three, four = drawn(40, 3), drawn(40, 4)
    for far in (neighbourhoods, nearest, lambda x, y: copies(x, x, y)):
        with pytest.raises(ValueError, match="one set has . features an image, the other ."):
            far(three, four)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_nearest_against_all_distances(k: int, small_blocks: None) -> None:
    queries, train = drawn(37, 5), drawn(61, 5, 1)
    every = cdist(queries, train)
    order = every.argsort(1)[:, :k]
    for given in (train, torch.from_numpy(train), [train[:1], train[1:40], train[40:]], iter([train[:60], train[60:]])):
        found, indices = nearest(queries, given, k)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_allclose(found, np.take_along_axis(every, order, 1), rtol=1e-9)


def test_one_image_and_one_neighbour() -> None:
    found, indices = nearest(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]))
    assert (found.tolist(), indices.tolist()) == ([[5.0]], [[0]])
    with pytest.raises(ValueError, match="2 neighbours of fewer"):
        nearest(np.zeros((1, 2)), np.zeros((1, 2)), 2)


def test_a_copy_is_at_no_distance(small_blocks: None) -> None:
    train = 1e4 + drawn(50, 700, 2).astype(np.float32)
    found, indices = nearest(train[10:30], train)
    assert (found == 0).all() and indices[:, 0].tolist() == list(range(10, 30))
    found, _ = nearest(train[:5].astype(np.float64) + 1e-3 / math.sqrt(700), train)
    np.testing.assert_allclose(found, 1e-3, rtol=1e-4)  # and what is not quite a copy is


def world(size: int = 8) -> tuple[Array, Array, Array]:
    """Training, held-out and fresh images of the same law: [600, F], [200, F], [300, F]."""
    x = drawn(1100, size, 7) / np.arange(1, size + 1)
    return x[:600], x[600:800], x[800:]


def test_held_out_images_are_no_copies() -> None:
    shares = []
    for seed in range(20):
        x = drawn(700, 4, seed)
        shares.append(copies(x[:200], x[200:400], x[400:]).share)
    assert 0.03 < np.mean(shares) < 0.07
    assert max(shares) < 0.15


def test_the_held_out_images_themselves_give_the_level() -> None:
    train, held_out, _ = world()
    for level in (0.05, 0.2):
        found = copies(held_out, held_out, train, level=level)
        assert (found.lean == 1).all()  # each has a held-out image at no distance: itself
        fresh, near = np.sort(cdist(held_out, held_out), 1)[:, 1], cdist(held_out, train).min(1)
        assert (near / (near + fresh) <= found.threshold).sum() == int(level * 201)


@pytest.mark.parametrize("as_chunks", [False, True])
def test_copies_of_the_training_set(as_chunks: bool) -> None:
    train, held_out, _ = world()
    given: Any = iter([train[:100], train[100:]]) if as_chunks else train
    found = copies(train[50:350], held_out, given)
    assert found.share == 1 and (found.lean == 0).all() and (found.distances == 0).all()
    assert found.indices.tolist() == list(range(50, 350))
    assert found.samples == 300 * 200 // 500


def test_half_copied_and_copied_with_noise() -> None:
    train, held_out, fresh = world()
    assert copies(np.concatenate([train[:150], fresh[:150]]), held_out, train).share == pytest.approx(0.525, abs=0.04)
    assert copies(train[:300] + 0.02 * drawn(300, 8, 3), held_out, train).share > 0.95


def test_what_is_near_to_everything_is_no_copy() -> None:
    """Blurred images are nearer to the training images than held-out ones are, and as near to the latter."""
    train, held_out, fresh = world()
    blurred = 0.4 * fresh
    near = np.quantile(nearest(held_out, train)[0], 0.05)
    assert (nearest(blurred, train)[0] <= near).mean() > 0.2  # the bare distance would call them copies
    assert copies(blurred, held_out, train).share < 0.08


def test_lean_against_its_definition() -> None:
    train, held_out, fresh = world()
    found = copies(fresh, held_out, train)
    d, h = cdist(fresh, train).min(1), cdist(fresh, held_out).min(1)
    np.testing.assert_allclose(found.lean, d / (d + h), rtol=1e-9)
    np.testing.assert_allclose(found.distances, d, rtol=1e-9)
    assert found.share == (found.lean <= found.threshold).mean()


def test_images_that_both_sets_hold_lean_nowhere() -> None:
    train, held_out, _ = world()
    shared = np.concatenate([held_out, train[:40]])
    found = copies(train[:40], shared, train)
    assert (found.lean == 0.5).all() and found.share == 0


def test_too_few_held_out_images() -> None:
    train, held_out, fresh = world()
    assert copies(fresh, held_out[:19], train).threshold >= 0
    with pytest.raises(ValueError, match="18 held-out images are too few for the utmost 5%"):
        copies(fresh, held_out[:18], train)
