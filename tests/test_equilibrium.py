"""What is left of the game, against closed forms and quadrature."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from latente.config import Images, override
from latente.data.points import world
from latente.evaluation.equilibrium import best_response, density, equilibrium, jensen_shannon, of_run
from latente.objectives.adversarial import belief
from latente.portraits import latents, push_forward
from latente.presets import PRESETS, suited
from latente.training import train

EDGES = np.linspace(-3, 3, 1201)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def divergence(p, q, low: float, high: float) -> float:
    """JSD in nats by adaptive quadrature."""

    def integrand(x: float) -> float:
        a, b = p(x), q(x)
        return (a * math.log(2 * a / (a + b)) if a > 0 else 0.0) + (b * math.log(2 * b / (a + b)) if b > 0 else 0.0)

    return integrate.quad(integrand, low, high, limit=500, points=[0.0])[0] / 2


def points(f) -> object:
    return lambda z: f(z).view(-1, 1, 1, 1)


def sampler(draw):
    return lambda n: torch.tensor(draw(n), dtype=torch.float32)


# Push-forward


def test_the_identity_gives_back_the_prior() -> None:
    assert density(points(lambda z: z), EDGES) == pytest.approx(np.diff(stats.norm.cdf(EDGES)) / 0.005, abs=1e-5)


def test_an_affine_map_moves_and_widens() -> None:
    found = density(points(lambda z: 0.4 - 0.25 * z), EDGES)
    assert found == pytest.approx(np.diff(stats.norm(0.4, 0.25).cdf(EDGES)) / 0.005, abs=1e-4)


def test_a_map_that_turns_back_adds_its_branches() -> None:
    edges = np.linspace(0.05, 6, 500)
    found = density(points(lambda z: z.square()), edges)
    wanted = np.diff(stats.chi2(1).cdf(edges)) / np.diff(edges)
    assert found == pytest.approx(wanted, rel=2e-3)


def test_a_uniform_latent_has_variance_one_and_sharp_ends() -> None:
    z, mass = latents(1001, uniform=True)
    assert np.sum(mass * ((z[1:] + z[:-1]) / 2) ** 2) == pytest.approx(1, abs=1e-5)
    found = density(points(lambda z: z), EDGES, uniform=True)
    inside = np.abs(CENTRES) < math.sqrt(3) - 0.01
    assert found[inside] == pytest.approx(1 / (2 * math.sqrt(3)), rel=1e-4)
    assert (found[np.abs(CENTRES) > math.sqrt(3) + 0.01] == 0).all()


def test_a_normal_latent_has_the_mass_of_the_normal() -> None:
    z, mass = latents(601)
    assert mass.sum() == pytest.approx(1, abs=1e-12)
    assert mass == pytest.approx(np.diff(stats.norm.cdf(z)), abs=2e-9)


def test_all_mass_on_one_point_stays_in_its_bin() -> None:
    z, mass = latents(1001)
    found = push_forward(mass, np.full(1001, 0.1025), EDGES)
    assert found.argmax() == np.searchsorted(EDGES, 0.1025) - 1
    assert found.max() * 0.005 == pytest.approx(1, abs=1e-6)
    assert np.sum(found) * 0.005 == pytest.approx(1, abs=1e-6)


def test_mass_outside_the_bins_is_not_counted() -> None:
    _, mass = latents(1001)
    assert push_forward(mass, np.full(1001, 7.0), EDGES).sum() == 0
    assert push_forward(mass, np.full(1001, -7.0), EDGES).sum() == 0
    z, mass = latents(20_001)
    assert push_forward(mass, z, EDGES).sum() * 0.005 == pytest.approx(stats.norm.cdf(3) - stats.norm.cdf(-3), abs=1e-6)


def test_the_density_of_a_random_network_is_that_of_its_samples() -> None:
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    edges = np.linspace(-3, 3, 31)
    with torch.no_grad():
        samples = net(torch.randn(400_000, 1)).flatten().numpy()
    counted = np.histogram(samples, edges)[0] / 400_000 / 0.2
    assert density(points(net), edges) == pytest.approx(counted, abs=0.03 + 0.02 * counted.max())


# Divergence


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.5, 1.0), (2.0, 0.5), (0.0, 0.2)])
def test_divergence_of_two_gaussians_is_that_of_quadrature(mean: float, sd: float) -> None:
    edges = np.linspace(-9, 9, 18_001)
    centres = (edges[1:] + edges[:-1]) / 2
    p, q = stats.norm(0, 1).pdf, stats.norm(mean, sd).pdf
    assert jensen_shannon(p(centres), q(centres), edges) == pytest.approx(divergence(p, q, -9, 9), abs=1e-6)


def test_divergence_is_log_two_where_nothing_is_shared() -> None:
    p, q = np.where(CENTRES < 0, 1 / 3, 0), np.where(CENTRES > 0, 1 / 3, 0)
    assert jensen_shannon(p, q, EDGES) == pytest.approx(math.log(2))
    assert jensen_shannon(p, p, EDGES) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, np.zeros_like(p), EDGES) == pytest.approx(math.log(2))  # the other is somewhere else


# The best response


def test_the_best_response_finds_what_there_is_and_no_more() -> None:
    rng = np.random.default_rng(0)
    p, q = stats.norm(0, 1), stats.norm(0.5, 1)
    found, error = best_response(
        sampler(lambda n: rng.normal(0, 1, n)), sampler(lambda n: rng.normal(0.5, 1, n)), steps=250, samples=20_000
    )
    most = 2 * divergence(p.pdf, q.pdf, -9, 9)
    assert 0 < error < 0.005
    assert most - 0.01 < found < most + 4 * error


def test_the_best_response_sees_fine_gaps() -> None:
    """q is p with every second hundredth left out: half of p's mass is where q has none."""
    rng = np.random.default_rng(0)

    def gapped(n: int) -> np.ndarray:
        x = rng.random(n)
        return np.floor(x * 10) / 10 + (x * 10 % 1) / 20

    found, _ = best_response(sampler(lambda n: rng.random(n)), sampler(gapped), steps=300, samples=20_000)
    most = 2 * (0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2)))
    assert 0.75 * most < found < most + 0.01


def test_nothing_is_left_where_both_are_the_same() -> None:
    rng = np.random.default_rng(0)
    draw = sampler(lambda n: rng.normal(0.3, 0.1, n))
    found, error = best_response(draw, draw, steps=60, samples=20_000)
    assert abs(found) < 0.004
    assert error < 0.002


def test_two_single_points_are_told_apart() -> None:
    found, _ = best_response(
        lambda n: torch.full((n,), 0.5), lambda n: torch.full((n,), -0.5), steps=250, samples=20_000
    )
    assert found == pytest.approx(math.log(4), abs=0.05)


# All of it


def perfect(z: Tensor) -> Tensor:
    """The inverse of the line's distribution function at the normal's: its density is the line's."""
    line = world("line")
    grid = np.linspace(-1, 1, 20_001)
    below = np.mean([stats.norm(float(c), line.sd).cdf(grid) for c in line.centres.flatten()], 0)
    found = np.interp(stats.norm.cdf(z.flatten().double().numpy()), below, grid)
    return torch.tensor(found, dtype=torch.float32).view(-1, 1, 1, 1)


def test_a_game_that_is_over() -> None:
    found = equilibrium(perfect, lambda x: torch.zeros(len(x)), world("line"), steps=20, samples=20_000)
    assert found.jsd == pytest.approx(0, abs=1e-4)
    assert found.half_data == found.half_samples == 0
    assert found.best_data < 0.01 and found.best_samples < 0.01
    assert found == equilibrium(perfect, lambda x: torch.zeros(len(x)), world("line"), steps=20, samples=20_000)


def test_a_game_that_has_just_begun() -> None:
    """All fakes at 0.4 +- 0.1, one of two modes: p/(p+q) is 1/3 there, and 1 at the other."""
    line = world("line")
    p, q = stats.norm(-0.4, 0.1).pdf, stats.norm(0.4, 0.1).pdf
    most = divergence(lambda x: (p(x) + q(x)) / 2, q, -2, 2)

    def critic(x: Tensor) -> Tensor:  # the best there is
        a, b = (torch.exp(-0.5 * ((x.flatten() - c) / 0.1) ** 2).double() for c in (-0.4, 0.4))
        return (torch.log(0.5 * (a + b) + 1e-30) - torch.log(b + 1e-30)).float()

    found = equilibrium(points(lambda z: 0.4 + 0.1 * z), critic, line, steps=20, samples=20_000)
    assert found.jsd == pytest.approx(most, abs=1e-4)
    assert found.half_samples == pytest.approx(0.5 - 1 / 3, abs=0.002)
    assert found.half_data == pytest.approx(0.5 * 0.5 + 0.5 * (0.5 - 1 / 3), abs=0.01)
    assert found.best_data < 0.001 and found.best_samples < 0.001


def test_a_critic_is_read_as_its_cost_means_it() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0])
    assert belief("minimax", logits, logits.mean()).tolist() == pytest.approx(logits.sigmoid().tolist())
    assert belief("least-squares", logits, logits.mean()).tolist() == [0, 0.5, 1]
    for cost in ("relativistic", "wasserstein", "hinge"):
        assert belief(cost, logits, torch.tensor(0.5)).tolist() == pytest.approx((logits - 0.5).sigmoid().tolist())


def test_a_run_is_measured_by_the_networks_that_it_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latente.evaluation.equilibrium.equilibrium", lambda *given, **more: (given, more))
    config = suited(PRESETS["gan"](), "points:line")
    small = {"data.source": "points:line", "training.images": Images(64), "training.batch": 32, "model.hidden": (4,)}
    run = train(override(config, small | {"model.prior": "uniform"}), out=tmp_path)
    (generator, critic, line), more = of_run(run, seed=3)
    assert more == {"cost": "non-saturating", "uniform": True, "seed": 3}
    assert line.name == "line"
    z = torch.randn(5, 1)
    assert torch.equal(generator(z), run.network()(z)) and not generator.training
    x = torch.randn(5, 1, 1, 1)
    assert torch.equal(critic(x), run.network(player="critic")(x)) and not critic.training


@pytest.mark.parametrize(("source", "changes"), [("points:grid25", {}), ("points:line", {"model.latent": 2})])
def test_what_has_no_known_density_is_refused(tmp_path: Path, source: str, changes: dict[str, int]) -> None:
    small = {"data.source": source, "training.images": Images(64), "training.batch": 32, "model.hidden": (4,)}
    run = train(override(suited(PRESETS["gan"](), source), small | changes), out=tmp_path)
    with pytest.raises(ValueError, match="one latent"):
        of_run(run)
