"""Densities and divergences against torch.distributions, sums over all levels, and Monte Carlo."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from latente.objectives.reconstruction import (
    bernoulli_nll,
    discretised_logistic_nll,
    free_bits,
    gaussian_nll,
    importance_bound,
    kl_standard_normal,
    log_normal,
    optimal_sigma,
    squared_error,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) * 2 - 1


def test_bernoulli_is_torchs() -> None:
    logits, x = 4 * torch.randn(5, 2, 3, 4), images(5, 2, 3, 4).sign().float()
    expected = -Bernoulli(logits=logits).log_prob((x + 1) / 2).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)


def test_bernoulli_stays_finite_far_out() -> None:
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(bernoulli_nll(torch.full((2, 1, 1, 1), 500.0), x), torch.tensor([0.0, 500.0]))


def test_grey_bernoulli_has_a_floor_above_zero() -> None:
    grey = torch.tensor(0.5).view(1, 1, 1, 1)  # a pixel of 0.75
    floor = bernoulli_nll(torch.tensor(0.75).logit().view(1, 1, 1, 1), grey).item()
    assert floor == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), rel=1e-5)


def test_gaussian_is_a_density_over_pixels_from_zero_to_one() -> None:
    mean, x = images(5, 3, 4, 4), images(5, 3, 4, 4)
    expected = -Normal((mean + 1) / 2, 0.3).log_prob((x + 1) / 2).sum((1, 2, 3))
    torch.testing.assert_close(gaussian_nll(mean, x, 0.3), expected)
    torch.testing.assert_close(gaussian_nll(mean, x, torch.tensor(0.3, dtype=torch.float64)), expected)


def test_optimal_sigma_is_the_best_one() -> None:
    mean, x = images(6, 1, 5, 5), images(6, 1, 5, 5)
    sigma = optimal_sigma(mean, x)
    best = gaussian_nll(mean, x, sigma).mean()
    assert sigma.square().item() == pytest.approx(squared_error(mean, x).mean().item())
    for other in (0.98 * sigma, 1.02 * sigma):
        assert gaussian_nll(mean, x, other).mean() > best
    torch.testing.assert_close(best, 25 / 2 * ((2 * math.pi * squared_error(mean, x).mean()).log() + 1))


def test_optimal_sigma_gives_the_gradient_of_the_log_of_the_error() -> None:
    mean, x = images(6, 1, 5, 5).requires_grad_(), images(6, 1, 5, 5)
    (ours,) = torch.autograd.grad(gaussian_nll(mean, x, optimal_sigma(mean, x)).mean(), mean)
    (expected,) = torch.autograd.grad(25 / 2 * squared_error(mean, x).mean().log(), mean)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 1.0])
@pytest.mark.parametrize("mean", [-1.3, -0.4, 0.9921, 1.0])
def test_logistic_masses_of_all_levels_sum_to_one(mean: float, log_scale: float) -> None:
    levels = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).view(256, 1, 1, 1)
    nll = discretised_logistic_nll(torch.full_like(levels, mean), torch.full_like(levels, log_scale), levels)
    assert nll.isfinite().all()
    assert (-nll).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_logistic_mass_is_a_difference_of_sigmoids() -> None:
    x = (torch.randint(1, 255, (4, 2, 3, 3)) / 127.5 - 1).double()
    mean, log_scale = images(4, 2, 3, 3), images(4, 2, 3, 3) / 2 - 1  # wide enough for the naive form
    inside = [((x + half - mean) / log_scale.exp()).sigmoid() for half in (1 / 255, -1 / 255)]
    expected = -(inside[0] - inside[1]).log().sum((1, 2, 3))
    torch.testing.assert_close(discretised_logistic_nll(mean, log_scale, x), expected)


def test_logistic_learns_in_the_tails() -> None:
    mean = torch.tensor(-1.0).view(1, 1, 1, 1).requires_grad_()
    nll = discretised_logistic_nll(mean, torch.full((1, 1, 1, 1), -7.0), torch.zeros(1, 1, 1, 1))  # 1097 scales away
    (gradient,) = torch.autograd.grad(nll.sum(), mean)
    assert nll.isfinite().all()
    assert gradient.item() == pytest.approx(-math.exp(7), rel=1e-3)


def test_samples_broadcast_over_one_batch() -> None:
    x, outputs = images(4, 1, 3, 3), images(7, 4, 1, 3, 3)
    for density in (bernoulli_nll, lambda o, x: gaussian_nll(o, x, 0.2)):
        torch.testing.assert_close(density(outputs, x), torch.stack([density(o, x) for o in outputs]))


def test_kl_is_torchs_and_monte_carlos() -> None:
    torch.manual_seed(0)
    mean, logvar = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    q = Normal(mean, (logvar / 2).exp())
    kl = kl_standard_normal(mean, logvar)
    torch.testing.assert_close(kl, kl_divergence(q, Normal(0.0, 1.0)).double(), rtol=1e-6, atol=1e-6)
    z = q.sample((40_000,))
    ratio = log_normal(z, mean, logvar) - log_normal(z)  # [40000, 3, 2]
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - kl).abs() < 5 * error).all()


def test_log_normal_is_torchs() -> None:
    z, mean, logvar = torch.randn(3, 5, 4)
    torch.testing.assert_close(log_normal(z, mean, logvar), Normal(mean, (logvar / 2).exp()).log_prob(z))
    torch.testing.assert_close(log_normal(z), Normal(0.0, 1.0).log_prob(z))


def test_free_bits_latent_by_latent() -> None:
    kl = torch.rand(6, 4) * torch.tensor([0.1, 1.0, 2.0, 5.0])
    expected = sum(max(0.5, sum(kl[i, j].item() for i in range(6)) / 6) for j in range(4))
    assert free_bits(kl, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_importance_bound_is_the_log_of_the_mean_weight() -> None:
    log_w = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(importance_bound(log_w), log_w.exp().mean(0).log())
    torch.testing.assert_close(importance_bound(log_w - 2000), log_w.exp().mean(0).log() - 2000)


def test_importance_bound_has_the_papers_gradient() -> None:
    log_w = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(importance_bound(log_w).sum(), log_w)
    torch.testing.assert_close(gradient, (log_w.exp() / log_w.exp().sum(0)).detach())  # normalised weights
