"""Parzen windows against scikit-learn's kernel density."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.neighbors import KernelDensity
from torch import Tensor

from latente.evaluation.parzen import parzen, window_log_likelihood
from latente.messages import say, set_language


def images(n: int, seed: int) -> Tensor:
    """[n, 1, 2, 3] in [-1, 1]: two blots and noise."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[-0.5, 0.5, 0.0, 0.2, -0.8, 0.3], [0.6, -0.4, 0.1, -0.7, 0.5, 0.0]])
    x = centres[torch.arange(n) % 2] + 0.2 * torch.randn((n, 6), generator=generator)
    return x.view(n, 1, 2, 3)


def sklearns(samples: Tensor, x: Tensor, sigma: float) -> np.ndarray:
    """Pixels in [0, 1], as the papers count them. One leaf: its trees cut corners far from all samples."""
    fitted = KernelDensity(bandwidth=sigma, leaf_size=10_000).fit((samples.flatten(1).double().numpy() + 1) / 2)
    return fitted.score_samples((x.flatten(1).double().numpy() + 1) / 2)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_is_scikit_learns_kernel_density(chunk: int):
    samples, x = images(23, 0), images(11, 1)
    found = window_log_likelihood(samples, x, [0.05, 0.2, 1.0], chunk=chunk)
    for row, sigma in zip(found, (0.05, 0.2, 1.0), strict=True):
        np.testing.assert_allclose(row.numpy(), sklearns(samples, x, sigma), rtol=1e-9)


def test_far_away_images_do_not_underflow():
    samples, x = torch.full((3, 1, 8, 8), -1.0), torch.full((2, 1, 8, 8), 1.0)
    found = window_log_likelihood(samples, x, [0.01])
    expected = -64 * (1 / (2 * 0.01**2) + math.log(0.01 * math.sqrt(2 * math.pi)))
    torch.testing.assert_close(found, torch.full((1, 2), expected, dtype=torch.float64))


def test_sigma_is_chosen_on_validation_images_alone():
    samples, validation, test = images(200, 0), images(50, 1), images(60, 2)
    sigmas = [0.02, 0.05, 0.1, 0.2, 0.4]
    found = parzen(samples, validation, test, sigmas)
    curve = [sklearns(samples, validation, sigma).mean() for sigma in sigmas]
    np.testing.assert_allclose(found.validation.numpy(), curve, rtol=1e-9)
    assert found.sigma == sigmas[int(np.argmax(curve))] and found.sigma in sigmas[1:-1]
    each = sklearns(samples, test, found.sigma)
    assert found.value == pytest.approx(each.mean()) and found.log_likelihood.shape == (60,)
    assert found.error == pytest.approx(each.std(ddof=1) / math.sqrt(60))
    elsewhere = parzen(samples, validation, test + 0.5, sigmas)
    assert elsewhere.sigma == found.sigma and elsewhere.value < found.value


def test_the_warning_goes_with_the_value_and_says_where_the_grid_ends():
    samples, validation, test = images(50, 0), images(20, 1), images(20, 2)
    for language in ("es", "en"):
        set_language(language)
        assert parzen(samples, validation, test, [0.05, 0.1, 0.5]).remark == say("likelihood.parzen")
        end = {"es": "0,5", "en": "0.5"}[language]
        assert end in parzen(samples, validation, test, [0.5, 1.0]).remark


def test_cluster_centres_beat_real_images_as_the_warning_says():
    """Theis et al. 2016: the reason for the warning, in 36 dimensions."""
    generator = torch.Generator().manual_seed(0)
    train, validation, test = torch.split(
        0.3 * torch.randn((900, 1, 6, 6), generator=generator).clamp(-3, 3), [500, 200, 200]
    )
    centres = KMeans(20, n_init=1, random_state=0).fit(train.flatten(1).numpy()).cluster_centers_
    real = parzen(train[:20], validation, test).value
    cheat = parzen(torch.from_numpy(centres).view(20, 1, 6, 6), validation, test).value
    assert cheat > real + 1


def test_refuses_what_is_no_window():
    for sigmas, n in (([], 3), ([0.0], 3), ([0.1], 0)):
        with pytest.raises(ValueError, match="sigma"):
            window_log_likelihood(images(n, 0), images(2, 1), sigmas)
