"""Probes against closed forms, other libraries, sets whose size is known, and loops that anybody can check."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from latente.diagnosis import probes, spectrum
from toy import drawn


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- Features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "blocks"), [(8, 8), (28, 7), (32, 8), (64, 8), (1, 1)])
def test_features_are_means_of_blocks(side: int, blocks: int) -> None:
    x = normal(3, 2, side, side)
    f = probes.features(x)
    assert f.shape == (3, 2 * blocks * blocks)
    size = side // blocks
    assert f[1, 0].item() == pytest.approx(x[1, 0, :size, :size].mean().item(), abs=1e-6)
    assert f[2, -1].item() == pytest.approx(x[2, 1, -size:, -size:].mean().item(), abs=1e-6)
    assert f.mean().item() == pytest.approx(x.mean().item(), abs=1e-6)


def test_sides_that_blocks_do_not_divide_lose_no_pixel() -> None:
    x = torch.zeros(1, 1, 30, 20)
    x[0, 0, -1, -1] = 1
    assert probes.features(x).sum() > 0


# ---- Diversity, duplicates, support ---------------------------------------------------------------------------------


def test_distances_and_their_mean_against_a_loop() -> None:
    f = normal(9, 5)
    apart = probes.distances(f, f)
    oracle = cdist(f.numpy().astype(float), f.numpy().astype(float))
    assert np.allclose(apart.numpy(), oracle, atol=1e-5)
    assert probes.mean_distance(apart) == pytest.approx(oracle[~np.eye(9, dtype=bool)].mean(), rel=1e-5)
    np.fill_diagonal(oracle, np.inf)
    assert np.allclose(probes.nearest(apart).numpy(), oracle.min(1), atol=1e-5)


def test_diversity_is_a_ratio_of_sizes() -> None:
    """Of images that differ a third as much it is a third, wherever they are and however many."""
    reals = normal(40, 6)
    fakes = reals / 3 + 7
    apart = [probes.distances(f, f) for f in (fakes, reals)]
    assert probes.diversity(*apart) == pytest.approx(1 / 3, rel=1e-4)
    assert math.isnan(probes.diversity(apart[0], torch.zeros(4, 4)))  # reals that are all one


def test_duplicates_are_counted() -> None:
    f = normal(100, 10)
    closer = probes.closeness(probes.distances(f, f))
    f[90:] = f[:10]
    assert probes.duplicates(probes.distances(f, f), closer) == pytest.approx(0.2, abs=0.03)
    fresh = normal(100, 10, seed=1)
    assert probes.duplicates(probes.distances(fresh, fresh), closer) <= 0.05


def test_reals_with_copies_among_them_still_set_a_threshold() -> None:
    f = normal(50, 4)
    f[25:] = f[:25]
    closer = probes.closeness(probes.distances(f, f))
    assert closer > 0
    one = torch.zeros(20, 4)
    assert probes.duplicates(probes.distances(one, one), closer) == 1


@pytest.mark.parametrize("pool", [300, 1000, 5000])
def test_support_of_a_pool_is_its_size(pool: int) -> None:
    """512 draws with replacement from `pool` images: the mean of the inverse over draws is 1 / pool."""
    rng = np.random.default_rng(0)
    images = normal(pool, 8)
    found = []
    for _ in range(40):
        f = images[rng.integers(pool, size=512)]
        found.append(1 / probes.support(probes.distances(f, f), 1e-6))
    # m is near Poisson with mean s (s - 1) / (2 pool): so far may the mean of 40 be off, at three sigma
    assert np.mean(found) * pool == pytest.approx(1, abs=3 / math.sqrt(40 * 512 * 511 / 2 / pool))


def test_support_where_images_are_not_equally_likely() -> None:
    """1 / sum p^2: 4 images, one of them with half of the mass."""
    counts = [256, 86, 85, 85]
    f = torch.eye(4).repeat_interleave(torch.tensor(counts), 0)
    pairs = sum(n * (n - 1) // 2 for n in counts)
    assert probes.support(probes.distances(f, f), 0.1) == pytest.approx(512 * 511 / 2 / pairs)
    assert probes.support(probes.distances(normal(9, 3), normal(9, 3)), 1e-6) == math.inf
    assert probes.support(torch.zeros(30, 30), 0.1) == 1


def test_shares_of_classes() -> None:
    assert probes.class_shares(torch.tensor([0, 2, 2, 2]), 4) == [0.25, 0, 0.75, 0]


# ---- Copies ---------------------------------------------------------------------------------------------------------


def against(training: Tensor) -> tuple[Tensor, Tensor]:
    return training, training.square().sum(1)


def test_likeness_against_a_loop() -> None:
    training, f = normal(70, 5), normal(6, 5, seed=1)
    oracle = np.sort(cdist(f.numpy(), training.numpy()), 1)[:, :10]
    found = probes.likeness(probes.nearby(f, *against(training), around=10))
    assert np.allclose(found.numpy(), oracle[:, 0] / oracle.mean(1), rtol=1e-4)
    everything = np.sort(cdist(f.numpy(), training.numpy()), 1)  # fewer images than the neighbours asked for
    found = probes.likeness(probes.nearby(f, *against(training), around=100))
    assert np.allclose(found.numpy(), everything[:, 0] / everything.mean(1), rtol=1e-4)


def test_copies_are_called_and_new_images_are_not() -> None:
    """A copy, even a noisy one, is called; blurred images and those of one simple class, which lie close to everything,
    are not, although their bare distances are the smallest."""
    training, held_out = normal(2000, 12), normal(400, 12, seed=1)
    training[:400] *= 0.1  # a class of simple images
    held_out[:80] *= 0.1
    calibrated = probes.copying(probes.likeness(probes.nearby(held_out, *against(training))))

    def copies(f: Tensor) -> float:
        return probes.below(probes.likeness(probes.nearby(f, *against(training))), calibrated)

    assert copies(held_out) == pytest.approx(0.05, abs=0.003)
    assert copies(normal(400, 12, seed=2)) < 0.1
    assert copies(training[::5]) == 1
    assert copies(training[400:800] + 0.05 * normal(400, 12, seed=3)) > 0.95
    simple, blurred = 0.1 * normal(400, 12, seed=4), normal(400, 12, seed=5) * 0.6
    assert copies(simple) < 0.15
    assert copies(blurred) < 0.15
    assert copies(torch.cat([training[:40], normal(360, 12, seed=6)])) == pytest.approx(0.1 + 0.9 * 0.05, abs=0.04)


def test_the_vote_of_neighbours_against_scikit_learn() -> None:
    """scikit-learn breaks ties by the smaller label and ours by the nearest image, so ties are checked apart."""
    training, f = normal(300, 6), normal(40, 6, seed=1)
    labels = torch.from_numpy(np.random.default_rng(2).integers(0, 4, 300))
    near = probes.nearby(f, *against(training))
    votes = probes.vote(near, labels, 4).numpy()
    order = np.argsort(cdist(f.numpy(), training.numpy()), 1)[:, :5]
    for row, vote in zip(labels.numpy()[order], votes, strict=True):
        counts = np.bincount(row, minlength=4)
        best = np.flatnonzero(counts == counts.max())
        assert vote == (row[0] if row[0] in best else best[0])
    oracle = KNeighborsClassifier(5).fit(training.numpy(), labels.numpy()).predict(f.numpy())
    counts = [np.sort(np.bincount(row, minlength=4)) for row in labels.numpy()[order]]
    clear = np.array([count[-1] > count[-2] for count in counts])
    assert clear.sum() > 15 and (votes == oracle)[clear].all()


def test_a_copy_is_exact_even_far_from_the_origin() -> None:
    """What rounding leaves of a matrix product would be a tenth here."""
    training = normal(500, 8) + 100
    assert probes.likeness(probes.nearby(training[:5], *against(training))).max() == 0


def test_a_set_with_duplicates_is_copied_too() -> None:
    half = normal(300, 8)
    training = torch.cat([half, half])
    assert probes.likeness(probes.nearby(half, *against(training))).max() == 0


# ---- The critic -----------------------------------------------------------------------------------------------------


def test_ranked_above_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, 80), rng.integers(0, 5, 50)  # many ties
    truth = roc_auc_score([1] * 80 + [0] * 50, np.concatenate([one, other]))
    found = probes.ranked_above(torch.tensor(one).float(), torch.tensor(other).float())
    assert found == pytest.approx(truth, abs=1e-12)
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in one for b in other])
    assert found == pytest.approx(wins, abs=1e-12)


def test_only_the_order_of_logits_counts() -> None:
    a, b = normal(40), normal(30, seed=1) - 0.5
    assert probes.ranked_above(a, b) == probes.ranked_above(3 * a - 100, 3 * b - 100)
    assert probes.ranked_above(a, b) + probes.ranked_above(b, a) == pytest.approx(1)
    assert probes.ranked_above(a + 10, b) == 1
    assert probes.ranked_above(a, a) == 0.5


# ---- Where it is going ----------------------------------------------------------------------------------------------


def test_place_is_in_units_of_the_reals() -> None:
    reals = normal(200, 5) * torch.tensor([1.0, 5, 0.1, 2, 3]) + 4
    again = probes.place(reals, reals, 8)
    assert again == pytest.approx([0.0] * 8, abs=1e-5)
    w = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).double().numpy()
    along = reals.double().numpy() @ w
    step = reals.double().numpy().mean(0) + 1
    assert probes.place(reals + 1, reals, 8) == pytest.approx(
        list((step @ w - along.mean(0)) / along.std(0, ddof=1)), rel=1e-4
    )
    bigger = probes.place(10 * (reals + 1), 10 * reals, 8)  # another scale of features changes nothing
    assert bigger == pytest.approx(probes.place(reals + 1, reals, 8), rel=1e-4)


def test_cosines() -> None:
    a = normal(50)
    assert probes.cosine(a, 2 * a) == pytest.approx(1)
    assert probes.cosine(a, -a) == pytest.approx(-1)
    assert probes.cosine(torch.tensor([1.0, 0]), torch.tensor([1.0, 1])) == pytest.approx(math.sqrt(0.5))
    assert math.isnan(probes.cosine(a, 0 * a))


def test_active_units() -> None:
    """Standard deviations 0.2, 0.09, 0 and 1: variance above 0.01 is active."""
    means = normal(5000, 4) * torch.tensor([0.2, 0.09, 0.0, 1.0])
    assert probes.active_units(means) == 2


def test_what_cannot_be_said_is_left_out() -> None:
    assert probes.finite({"a": 1.0, "b": math.nan, "c": math.inf}) == {"a": 1.0}


# ---- Spectra --------------------------------------------------------------------------------------------------------


def smooth(n: int, size: int, seed: int = 0) -> Tensor:
    """Blobs, and a little noise as photos have."""
    x = torch.from_numpy(drawn(n, (1, size, size), seed)[0]).float() / 127.5 - 1
    return x + 0.02 * normal(*x.shape, seed=seed)


@pytest.mark.parametrize(("pattern", "size"), [((2, 2), 28), ((2, 0), 32), ((4, 2), 28), ((0, 4), 16)])
def test_energy_of_a_pattern_in_closed_form(pattern: tuple[int, int], size: int) -> None:
    """a cos(2 pi y / p) cos(2 pi x / q) on grey: by Parseval's theorem H W times the energy of what the window leaves,
    sum w^2 a^2 cos^2 cos^2, all of it on the lattice, within a step of its frequency; elsewhere nothing."""
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    wave = 0.1 * torch.ones(size, size, dtype=torch.float64)
    for period, axis in zip(pattern, (y, x), strict=True):
        if period:
            wave = wave * torch.cos(2 * math.pi * axis / period)
    window = torch.hann_window(size, dtype=torch.float64)
    windowed = wave * torch.outer(window, window)
    energy = spectrum.energies((0.3 + wave).float().expand(2, 3, size, size))
    band = spectrum.bands(size, size)
    expected = 3 * size**2 * windowed.square().sum().item()  # three channels; the mean of two images alike
    assert energy[band.lattice].sum().item() == pytest.approx(expected, rel=1e-4)
    assert energy[band.between].sum().item() < 1e-8 * expected
    assert energy[band.fine].sum().item() < 1e-8 * expected


def test_a_checkerboard_of_period_two_adds_its_energy() -> None:
    """Of sign +-a it has H W a^2 (3 H / 8)(3 W / 8), since sum w^2 = 3 N / 8; energies add up, being at other phases on
    average (here the images come with both signs, so that it is exact)."""
    reals, a, size = smooth(40, 28), 0.2, 28
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pattern = a * (1 - 2 * ((x + y) % 2)).float()
    fakes = torch.cat([reals + pattern, reals - pattern])
    band = spectrum.bands(size, size)
    energy = spectrum.energies(reals)
    own = energy[band.lattice].sum().item()
    added = size**2 * a**2 * (3 * size / 8) ** 2
    assert spectrum.checkerboard(fakes, reals) == pytest.approx(1 + added / own, rel=1e-3)
    assert spectrum.checkerboard(reals, reals) == 1
    assert spectrum.sharpness(fakes, reals) == pytest.approx(1, rel=1e-3)  # a checkerboard is not sharp


def test_upsampling_without_a_filter_is_seen() -> None:
    """Nearest-neighbour upsampling of noise repeats its spectrum; a smooth one of the same noise does not. And noise of
    full resolution, however strong, is no checkerboard."""
    noise, reals = normal(60, 1, 14, 14), normal(60, 1, 28, 28, seed=1)
    blocky = torch.nn.functional.interpolate(noise, scale_factor=2, mode="nearest")
    fine = torch.nn.functional.interpolate(noise, scale_factor=2, mode="bicubic")
    zeros = torch.zeros(60, 1, 28, 28)
    zeros[..., ::2, ::2] = noise + 1  # what a transposed convolution starts from
    assert spectrum.checkerboard(blocky, smooth(60, 28)) > spectrum.checkerboard(fine, smooth(60, 28))
    assert spectrum.checkerboard(zeros, reals) > 4
    assert spectrum.checkerboard(3 * normal(60, 1, 28, 28, seed=2), reals) == pytest.approx(1, abs=0.1)


def test_blur_lowers_sharpness() -> None:
    reals = normal(30, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(reals, 3, 1, 1)
    assert spectrum.sharpness(blurred, reals) < 0.2
    assert spectrum.sharpness(2 * reals, reals) == pytest.approx(4, rel=1e-5)
    assert spectrum.sharpness(reals, blurred) == pytest.approx(1 / spectrum.sharpness(blurred, reals))


def test_edges_are_no_detail() -> None:
    """A ramp jumps from one edge to the other; without a window that jump has energy at all frequencies."""
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    band = spectrum.bands(32, 32)
    plain = torch.fft.fft2(ramp).abs().square()[0, 0]
    assert spectrum.energies(ramp)[band.fine].sum() < 1e-3 * plain[band.fine].sum()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 28), (28, 20), (30, 17), (64, 32)])
def test_bands_do_not_overlap(height: int, width: int) -> None:
    band = spectrum.bands(height, width)
    assert not (band.lattice & band.between).any() and not (band.fine & ~band.between).any()
    assert not band.lattice[0, 0] and band.between.any() and band.fine.any()
    assert band.lattice[round(height / 2), 0] and band.lattice[0, round(width / 4)]
