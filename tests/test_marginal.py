"""The AEVB paper's appendix D against models whose log p(x) is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from known import bernoulli, linear_gaussian, on_grid
from latente.config import VAEModel, VAEObjective
from latente.evaluation.marginal import kernel_density, marginal_likelihood
from latente.messages import Problem
from latente.models.vae import VAE


def test_two_latents_against_an_integral_on_a_grid():
    net, x = bernoulli()
    exact = on_grid(net, x)
    estimate, effective = marginal_likelihood(net, x, 400, chains=40, steps=25, seed=1, chunk=10_000)
    assert (estimate - exact).abs().max() < 0.1
    assert ((1 < effective) & (effective < 400)).all()


def test_probabilistic_pca_is_within_a_tenth_of_a_nat():
    net, x, exact = linear_gaussian(3, (1, 2, 4), 10)
    estimate, _ = marginal_likelihood(net, x, 400, chains=40, steps=40, seed=0, chunk=10_000)
    assert abs((estimate - exact).mean()) < 0.1
    assert (estimate - exact).abs().max() < 0.4


def test_the_kernels_are_scipys_when_the_centres_stay_where_they_are():
    """Of the same width and covariance: scipy is told the shrunk centres, which have a smaller covariance."""
    generator = torch.Generator().manual_seed(0)
    fitted = torch.randn((60, 3), generator=generator, dtype=torch.float64) @ torch.randn(
        (3, 3), generator=generator, dtype=torch.float64
    )
    z = torch.randn((20, 3), generator=generator, dtype=torch.float64)
    h = (4 / (60 * 5)) ** (1 / 7)
    shrink = math.sqrt(1 - h**2)
    centres = shrink * (fitted - fitted.mean(0)) + fitted.mean(0)
    scipys = gaussian_kde(centres.T.numpy(), bw_method=h / shrink)
    np.testing.assert_allclose(kernel_density(fitted, z).numpy(), scipys.logpdf(z.T.numpy()), rtol=1e-9)


def test_the_fitted_density_integrates_to_one_and_has_the_samples_covariance():
    generator = torch.Generator().manual_seed(3)
    fitted = torch.randn((40, 1), generator=generator, dtype=torch.float64) * 2 + 1
    grid = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    q = kernel_density(fitted, grid[:, None]).exp() * 0.01
    mean = (q * grid).sum()
    assert float(q.sum()) == pytest.approx(1, abs=1e-9)
    assert float(mean) == pytest.approx(float(fitted.mean()), abs=1e-6)
    biased = (1 - (4 / 120) ** 0.4) * 39 / 40 + (4 / 120) ** 0.4  # of centres (n - 1) / n, of kernels all
    assert float((q * (grid - mean) ** 2).sum()) == pytest.approx(float(fitted.var()) * biased, rel=1e-6)


def test_same_seed_same_numbers():
    net, x = bernoulli()
    one, two, other = (marginal_likelihood(net, x, 20, chains=5, steps=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.estimate, two.estimate) and not torch.equal(one.estimate, other.estimate)


def test_refuses_many_latents_and_too_few_samples():
    net = VAE(VAEModel(kind="mlp", hidden=(4,), latent=11), VAEObjective(likelihood="bernoulli"), (1, 2, 2))
    with pytest.raises(Problem, match="11"):
        marginal_likelihood(net, torch.ones(1, 1, 2, 2))
    net, x = bernoulli()
    for samples in (10, 25):  # no more than the chains; no multiple of them
        with pytest.raises(ValueError, match="multiple"):
            marginal_likelihood(net, x, samples, chains=10)
