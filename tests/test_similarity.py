"""MS-SSIM against torchmetrics' terms, a loop over places, and images whose similarity is known."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from latente.evaluation.similarity import C1, C2, WEIGHTS, diversity, ms_ssim, scales

Array = np.ndarray


def pair(n: int, channels: int, height: int, width: int, noise: float = 0.3) -> tuple[Array, Array]:
    """Images of a few waves, and the same with noise, in [0, 1]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    phases = rng.uniform(0, 6, (n, channels, 1, 1))
    a = 0.5 + 0.3 * np.sin(x / 5 + phases) + 0.2 * np.cos(y / 3 - phases)
    return a, np.clip(a + noise * rng.standard_normal(a.shape), 0, 1)


@pytest.mark.parametrize(
    ("side", "count"), [(256, 5), (176, 5), (175, 4), (88, 4), (64, 3), (32, 2), (28, 2), (21, 1), (11, 1), (4, 1)]
)
def test_scales_into_which_the_window_fits(side: int, count: int) -> None:
    assert scales(side, side) == scales(side, 500) == scales(500, side) == count


def from_torchmetrics(a: Array, b: Array, betas: tuple[float, ...]) -> Array:
    """MS-SSIM from torchmetrics' maps at each scale, of the places where the whole window fits.

    Its own mean of the coarsest scale takes in places beyond the edge, where it mirrors the image."""
    x, y, total = torch.from_numpy(a), torch.from_numpy(b), torch.ones(len(a), dtype=torch.float64)
    for level, beta in enumerate(betas):
        options = {"data_range": 1.0, "reduction": "none"}
        if level == len(betas) - 1:
            full = ssim(x, y, return_full_image=True, **options)[1]
            term = full[..., 5:-5, 5:-5].mean((1, 2, 3))
        else:
            term = ssim(x, y, return_contrast_sensitivity=True, **options)[1]
        total *= torch.relu(term) ** beta
        x, y = torch.nn.functional.avg_pool2d(x, 2), torch.nn.functional.avg_pool2d(y, 2)
    return total.numpy()


@pytest.mark.parametrize(("height", "width"), [(32, 28), (45, 51), (16, 16), (90, 88)])
def test_against_the_terms_of_torchmetrics(height: int, width: int) -> None:
    a, b = pair(2, 2 if height < 64 else 1, height, width)
    weights = np.array(WEIGHTS[: scales(height, width)])
    expected = from_torchmetrics(a, b, tuple(weights / weights.sum()))
    np.testing.assert_allclose(ms_ssim(a, b), expected, rtol=1e-6)
    assert (expected < 0.95).all()


def details(rng: np.random.Generator, side: int, levels: int) -> Array:
    """[2, 1, side, side]: patterns of 2, 4, ... pixels, each of which a halving leaves nothing of."""
    total = np.zeros((2, 1, side, side))
    for level in range(levels):
        small = rng.uniform(-0.1, 0.1, (2, 1, side >> level + 1, side >> level + 1))
        total += np.kron(np.kron(small, [[[[1, -1], [-1, 1]]]]), np.ones((1, 1, 2**level, 2**level)))
    return total


def test_against_torchmetrics_where_the_edge_says_nothing() -> None:
    """At the coarsest scale, where torchmetrics takes in places beyond the edge, these images are the same."""
    rng = np.random.default_rng(0)
    levels, side = 3, 48
    base = 0.5 + 0.2 * np.sin(np.arange(side) / 7)
    a = base + details(rng, side, levels - 1)
    b = base + 0.5 * (a - base) + details(rng, side, levels - 1)
    weights = np.array(WEIGHTS[:levels]) / sum(WEIGHTS[:levels])
    oracle = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0, reduction="none", betas=tuple(weights.tolist()))
    expected = oracle(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert scales(side, side) == levels and (expected < 0.9).all()
    np.testing.assert_allclose(ms_ssim(a, b), expected, rtol=1e-6)


def test_one_scale_against_a_loop_over_places() -> None:
    a, b = pair(1, 1, 13, 12)
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for i in range(3):
        for j in range(2):
            p, q = a[0, 0, i : i + 11, j : j + 11], b[0, 0, i : i + 11, j : j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + C1) * (2 * cov + C2) / ((mp**2 + mq**2 + C1) * (vp + vq + C2)))
    assert ms_ssim(a, b)[0] == pytest.approx(np.mean(values), rel=1e-9)


def test_a_window_as_small_as_the_image() -> None:
    """Of 4 pixels, one place: deviation 1.5 * 4 / 11."""
    a, b = pair(1, 1, 4, 4)
    w = np.exp(-(np.array([-1.5, -0.5, 0.5, 1.5]) ** 2) / (2 * (1.5 * 4 / 11) ** 2))
    w = np.outer(w, w) / w.sum() ** 2
    mp, mq = (w * a[0, 0]).sum(), (w * b[0, 0]).sum()
    cov = (w * a[0, 0] * b[0, 0]).sum() - mp * mq
    spread = (w * (a[0, 0] ** 2 + b[0, 0] ** 2)).sum() - mp**2 - mq**2
    expected = (2 * mp * mq + C1) * (2 * cov + C2) / ((mp**2 + mq**2 + C1) * (spread + C2))
    assert ms_ssim(a, b)[0] == pytest.approx(expected, rel=1e-9)


def test_known_similarities() -> None:
    a, _ = pair(2, 3, 24, 24)
    np.testing.assert_allclose(ms_ssim(a, a), 1, rtol=1e-12)
    np.testing.assert_array_equal(ms_ssim(a, 1 - a), 0)  # its negative: no structure in common
    black, white = np.zeros((1, 1, 8, 8)), np.ones((1, 1, 8, 8))
    assert ms_ssim(black, white)[0] == pytest.approx(C1 / (1 + C1), rel=1e-12)
    assert ms_ssim(torch.from_numpy(black).float(), black) == pytest.approx(1)


def test_more_noise_is_less_alike() -> None:
    found = [ms_ssim(*pair(4, 1, 32, 32, noise)).mean() for noise in (0, 0.05, 0.2, 0.5)]
    assert found == sorted(found, reverse=True) and found[0] == pytest.approx(1) and found[-1] < 0.6


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((2, 1, 8, 8)), np.zeros((3, 1, 8, 8)), "one shape"),
        (np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), r"\[n, C, H, W\]"),
        (np.full((2, 1, 8, 8), -1.0), np.zeros((2, 1, 8, 8)), r"in \[0, 1\], not in \[-1, -1\]"),
        (np.zeros((2, 1, 8, 8)), np.full((2, 1, 8, 8), 255), "not in"),
        (np.full((2, 1, 8, 8), np.nan), np.zeros((2, 1, 8, 8)), "not in"),
    ],
)
def test_what_cannot_be_compared(x: Array, y: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ms_ssim(x, y)


def test_diversity_is_the_mean_of_disjoint_pairs() -> None:
    """The images' brightness tells which pairs were compared: each image once."""
    levels = np.linspace(0.1, 1, 21)
    images = np.broadcast_to(levels[:, None, None, None], (21, 1, 8, 8))
    found = diversity(images, seed=3)
    order = np.random.default_rng(3).permutation(21)[:20].reshape(-1, 2)
    p, q = levels[order].T
    each = (2 * p * q + C1) / (p**2 + q**2 + C1)
    assert len(set(order.ravel().tolist())) == 20
    assert found.value == pytest.approx(each.mean(), rel=1e-9)
    assert found.standard_error == pytest.approx(each.std(ddof=1) / math.sqrt(10), rel=1e-9)
    assert found.parts == 10
    assert diversity(images, 4, seed=3).value == pytest.approx(each[:4].mean(), rel=1e-9)
    assert diversity(images, seed=4) != found == diversity(images, seed=3)


def test_the_diversity_of_one_image_is_none() -> None:
    images = np.repeat(pair(1, 1, 16, 16)[0], 12, 0)
    found = diversity(images)
    assert found.value == pytest.approx(1) and found.standard_error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "pairs"), [(1, None), (3, None), (10, 6), (10, 1)])
def test_diversity_needs_pairs(n: int, pairs: int | None) -> None:
    with pytest.raises(ValueError, match=f"{n} images make"):
        diversity(np.zeros((n, 1, 8, 8)), pairs)
