"""Leapfrog and its moves: reversible, volume-preserving, of second order, and true to the density."""

import math

import pytest
import torch
from torch import Tensor

from latente.evaluation.hamiltonian import Spot, force, leapfrog, log_density, transition

A = torch.tensor([[3.0, 0.8], [0.8, 1.5]], dtype=torch.float64)
CENTRE = torch.tensor([1.0, -0.5], dtype=torch.float64)


def gaussian(u: Tensor) -> Spot:
    """r(u) = -(u - c) A (u - c) / 2: f is then a Gaussian of precision I + beta A."""
    away = u - CENTRE
    return Spot(u, -0.5 * (away @ A * away).sum(1), -away @ A)


def banana(u: Tensor) -> Spot:
    """A ratio that is not quadratic, so that leapfrog is not linear."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        ratio = -3 * (u[:, 1] - u[:, 0].square()).square() + torch.sin(u[:, 0])
        [slope] = torch.autograd.grad(ratio.sum(), u)
    return Spot(u.detach(), ratio.detach(), slope)


def drawn(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, momentum = torch.randn((2, n, 2), generator=generator, dtype=torch.float64)
    return u, momentum


def test_force_is_the_slope_of_the_log_density():
    u, _ = drawn(5)
    for beta in (0.0, 0.4, 1.0):
        for j in range(2):
            h = torch.zeros(2, dtype=torch.float64)
            h[j] = 1e-5
            slope = (log_density(banana(u + h), beta) - log_density(banana(u - h), beta)) / 2e-5
            torch.testing.assert_close(force(banana(u), beta)[:, j], slope, atol=1e-7, rtol=1e-6)


def test_leapfrog_leads_back_when_the_momentum_is_turned_round():
    u, momentum = drawn(20)
    step = torch.linspace(0.05, 0.15, 20, dtype=torch.float64)[:, None]
    there, arriving = leapfrog(banana, banana(u), momentum, step, 0.7, 12)
    assert (there.u - u).norm(dim=1).min() > 0.05
    back, returning = leapfrog(banana, there, -arriving, step, 0.7, 12)
    torch.testing.assert_close(back.u, u, atol=1e-9, rtol=0)
    torch.testing.assert_close(-returning, momentum, atol=1e-9, rtol=0)


def test_leapfrog_keeps_volumes():
    """The determinant of the Jacobian of (u, m) -> (u', m') by finite differences is 1."""
    u, momentum = drawn(1)
    base = torch.cat([u, momentum], 1)  # [1, 4]
    moved = torch.cat([base + 1e-5 * torch.eye(4), base - 1e-5 * torch.eye(4)])  # [8, 4]
    step = torch.full((8, 1), 0.15, dtype=torch.float64)
    there, arriving = leapfrog(banana, banana(moved[:, :2]), moved[:, 2:], step, 0.9, 7)
    ends = torch.cat([there.u, arriving], 1)
    jacobian = (ends[:4] - ends[4:]).T / 2e-5
    assert (jacobian - torch.eye(4)).abs().max() > 0.5
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-6)


def test_the_energy_error_is_of_second_order_and_moves_are_accepted_as_the_step_shrinks():
    u, momentum = drawn(200)

    def error(step: float) -> float:
        leaps = round(1.2 / step)
        there, arriving = leapfrog(banana, banana(u), momentum, torch.full((200, 1), step).double(), 1.0, leaps)
        before = 0.5 * momentum.square().sum(1) - log_density(banana(u), 1.0)
        after = 0.5 * arriving.square().sum(1) - log_density(there, 1.0)
        return float((after - before).abs().median())

    assert error(0.02) / error(0.01) == pytest.approx(4, rel=0.1)
    generator = torch.Generator().manual_seed(1)
    rates = [
        float(transition(banana, banana(u), torch.full((200,), step).double(), 1.0, 5, generator)[1].mean())
        for step in (1.0, 0.3, 0.001)
    ]
    assert rates[0] < 0.8 and rates[0] < rates[1] < rates[2] and rates[2] > 0.9999


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_moves_leave_a_gaussian_as_it_is(beta: float):
    """Chains that start in it stay in it: mean and covariance, with a step large enough that many are refused."""
    precision = torch.eye(2).double() + beta * A
    mean, covariance = torch.linalg.solve(precision, beta * A @ CENTRE), precision.inverse()
    n = 20_000
    u = mean + drawn(n)[0] @ torch.linalg.cholesky(covariance).T
    spot, generator = gaussian(u), torch.Generator().manual_seed(2)
    for _ in range(8):
        step = torch.full((n,), 1.5 / math.sqrt(1 + 3.3 * beta)).double()
        spot, probability = transition(gaussian, spot, step, beta, 3, generator)
    assert 0.3 < probability.mean() < 0.97 and (spot.u - u).norm(dim=1).median() > 0.5
    torch.testing.assert_close(spot.u.mean(0), mean, atol=4 / math.sqrt(n), rtol=0)
    torch.testing.assert_close(spot.u.T.cov(), covariance, atol=6 / math.sqrt(n), rtol=0)
    kept = gaussian(spot.u)  # what travels with u is what is there
    torch.testing.assert_close(spot.ratio, kept.ratio)
    torch.testing.assert_close(spot.slope, kept.slope)


def test_moves_reach_a_gaussian_from_far_away():
    n = 5000
    spot, generator = gaussian(torch.full((n, 2), 6.0).double()), torch.Generator().manual_seed(3)
    for _ in range(25):
        spot, _ = transition(gaussian, spot, torch.full((n,), 0.3).double(), 1.0, 3, generator)
    precision = torch.eye(2).double() + A
    torch.testing.assert_close(spot.u.mean(0), torch.linalg.solve(precision, A @ CENTRE), atol=0.03, rtol=0)
    torch.testing.assert_close(spot.u.T.cov(), precision.inverse(), atol=0.03, rtol=0)


def test_a_trajectory_that_runs_off_is_refused():
    u, _ = drawn(10)
    spot, probability = transition(
        banana, banana(u), torch.full((10,), 1e6).double(), 1.0, 30, torch.Generator().manual_seed(0)
    )
    assert torch.equal(probability, torch.zeros(10).double())
    assert torch.equal(spot.u, u) and torch.isfinite(spot.slope).all()
