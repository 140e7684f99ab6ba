"""The players' costs against the papers' formulas written out, known optima, and the Jensen-Shannon divergence."""

import math
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from latente.config import AdversarialObjective
from latente.objectives.adversarial import SMOOTHED, advantage, critic_cost, generator_cost

COSTS = get_args(get_type_hints(AdversarialObjective)["cost"])
LOG4 = math.log(4)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def logits(n: int = 7) -> tuple[Tensor, Tensor]:
    real, fake = 3 * torch.randn(2, n, dtype=torch.float64)
    return real.requires_grad_(), fake.requires_grad_()


def d(c: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-c))


# The papers' formulas, with nothing rearranged.
CRITIC = {
    "minimax": lambda r, f: -(torch.log(d(r)) + torch.log(1 - d(f))),
    "non-saturating": lambda r, f: -(torch.log(d(r)) + torch.log(1 - d(f))),
    "least-squares": lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2,
    "hinge": lambda r, f: torch.clamp(1 - r, min=0) + torch.clamp(1 + f, min=0),
    "wasserstein": lambda r, f: -(r - f),
    "relativistic": lambda r, f: -torch.log(d(r - f)),
}
GENERATOR = {
    "minimax": lambda r, f: torch.log(1 - d(f)),
    "non-saturating": lambda r, f: -torch.log(d(f)),
    "least-squares": lambda r, f: 0.5 * (f - 1) ** 2,
    "hinge": lambda r, f: -f,
    "wasserstein": lambda r, f: -f,
    "relativistic": lambda r, f: -torch.log(d(f - r)),
}


def test_every_cost_of_the_configuration_is_tested() -> None:
    assert set(COSTS) == set(CRITIC) == set(GENERATOR)


@pytest.mark.parametrize("cost", COSTS)
def test_costs_are_the_papers_formulas(cost: str) -> None:
    real, fake = logits()
    torch.testing.assert_close(critic_cost(cost, real, fake), CRITIC[cost](real, fake))
    torch.testing.assert_close(generator_cost(cost, fake, real), GENERATOR[cost](real, fake))


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_are_finite_differences(cost: str) -> None:
    real, fake = logits()
    assert torch.autograd.gradcheck(lambda r, f: critic_cost(cost, r, f), (real, fake))
    assert torch.autograd.gradcheck(lambda f: generator_cost(cost, f, real.detach()), (fake,))


@pytest.mark.parametrize("cost", COSTS)
def test_extreme_logits_stay_finite_and_teach(cost: str) -> None:
    for r, f in ((1e4, -1e4), (-1e4, 1e4), (1e4, 1e4)):
        real, fake = (torch.tensor([value]).requires_grad_() for value in (r, f))
        for value in (critic_cost(cost, real, fake), generator_cost(cost, fake, real)):
            gradients = torch.autograd.grad(value.sum(), (real, fake), allow_unused=True)
            assert all(g.isfinite().all() for g in (value, *gradients) if g is not None)
    wrong = torch.tensor([-1e4]).requires_grad_()
    critic_cost(cost, wrong, -wrong.detach()).sum().backward()
    assert wrong.grad is not None and wrong.grad < 0  # a real image that is called fake is pulled up, however far


@pytest.mark.parametrize(
    ("cost", "critic", "generator"),
    [
        ("minimax", LOG4, -math.log(2)),
        ("non-saturating", LOG4, math.log(2)),
        ("relativistic", math.log(2), math.log(2)),
        ("hinge", 2.0, 0.0),
        ("wasserstein", 0.0, 0.0),
        ("least-squares", 0.5, 0.5),
    ],
)
def test_a_critic_that_answers_nothing(cost: str, critic: float, generator: float) -> None:
    nothing = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(critic_cost(cost, nothing, nothing), torch.full_like(nothing, critic))
    torch.testing.assert_close(generator_cost(cost, nothing, nothing), torch.full_like(nothing, generator))


@pytest.mark.parametrize("cost", COSTS)
def test_zero_sum_is_minimax_and_wasserstein_alone(cost: str) -> None:
    """Zero-sum: what moves the generator is the critic's own gradient on the fakes, turned round."""
    real, fake = logits()
    (critic,) = torch.autograd.grad(critic_cost(cost, real, fake).sum(), fake)
    (generator,) = torch.autograd.grad(generator_cost(cost, fake, real).sum(), fake)
    assert torch.allclose(generator, -critic) == (cost in ("minimax", "wasserstein"))


def test_where_the_critic_is_sure_minimax_is_flat_and_non_saturating_steep() -> None:
    fake = torch.tensor([-20.0], requires_grad=True)
    (flat,) = torch.autograd.grad(generator_cost("minimax", fake).sum(), fake)
    (steep,) = torch.autograd.grad(generator_cost("non-saturating", fake).sum(), fake)
    assert -1e-8 < flat < 0 and steep == pytest.approx(-1, abs=1e-6)


def distributions(atoms: int = 6) -> tuple[Tensor, Tensor]:
    p, q = torch.rand(2, atoms, dtype=torch.float64).softmax(1)
    return p, q


def best_critic(cost: str, p: Tensor, q: Tensor) -> Tensor:
    """The logit of each atom that minimises E_p[real part] + E_q[fake part], by Newton's method."""
    c, nothing = torch.zeros_like(p), torch.zeros_like(p)
    for _ in range(30):
        c = c.detach().requires_grad_()
        expected = p * critic_cost(cost, c, nothing) + q * critic_cost(cost, nothing, c)  # and what does not hang on c
        (slope,) = torch.autograd.grad(expected.sum(), c, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), c)
        c = c - slope / bend
    return c.detach()


def jsd(p: Tensor, q: Tensor) -> float:
    m = (p + q) / 2
    return float((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2


def test_the_best_critic_is_p_over_p_plus_q_and_costs_log_4_less_2_jsd() -> None:
    p, q = distributions()
    c = best_critic("minimax", p, q)
    torch.testing.assert_close(d(c), p / (p + q))
    sure = torch.full_like(c, 1e3)  # the other part costs nothing
    value = p @ critic_cost("minimax", c, -sure) + q @ critic_cost("minimax", sure, c)
    assert float(value) == pytest.approx(LOG4 - 2 * jsd(p, q), abs=1e-12)


def test_the_best_least_squares_critic_is_p_over_p_plus_q_itself() -> None:
    p, q = distributions()
    c = best_critic("least-squares", p, q)
    torch.testing.assert_close(c, p / (p + q))  # Mao et al. 2017, equation 5 with b = 1, a = 0


def test_the_best_hinge_critic_is_a_sign_and_costs_2_less_twice_the_total_variation() -> None:
    """Lim & Ye 2017. The cost is linear in each atom's logit between the margins: its least lies on one of them."""
    p, q = distributions()
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None].expand(-1, len(p))
    real = critic_cost("hinge", grid, torch.full_like(grid, -1))  # fake part 0
    fake = critic_cost("hinge", torch.ones_like(grid), grid)  # real part 0
    least, where = (p * real + q * fake).min(0)
    torch.testing.assert_close(grid[where, 0], torch.sign(p - q), atol=1e-9, rtol=0)
    assert float(least.sum()) == pytest.approx(2 - float((p - q).abs().sum()), abs=1e-12)


def test_relativistic_sees_differences_alone() -> None:
    real, fake = logits()
    torch.testing.assert_close(critic_cost("relativistic", real + 5, fake + 5), critic_cost("relativistic", real, fake))
    torch.testing.assert_close(critic_cost("relativistic", real, fake), generator_cost("relativistic", real, fake))


def test_smoothed_labels_are_the_two_terms_of_the_cross_entropy() -> None:
    real, fake = logits()
    expected = -(0.9 * torch.log(d(real)) + 0.1 * torch.log(1 - d(real))) - torch.log(1 - d(fake))
    for cost in ("minimax", "non-saturating"):
        torch.testing.assert_close(critic_cost(cost, real, fake, smoothing=0.1), expected)
    expected = 0.5 * (real - 0.9) ** 2 + 0.5 * fake**2
    torch.testing.assert_close(critic_cost("least-squares", real, fake, smoothing=0.1), expected)


def test_under_smoothed_labels_the_best_answer_on_a_real_image_is_the_label() -> None:
    best = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64, requires_grad=True)
    fake = torch.zeros(1, dtype=torch.float64)
    (slope,) = torch.autograd.grad(critic_cost("non-saturating", best, fake, smoothing=0.1).sum(), best)
    assert float(slope) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("cost", [cost for cost in COSTS if cost not in SMOOTHED])
def test_a_cost_without_labels_is_not_smoothed(cost: str) -> None:
    real, fake = logits()
    with pytest.raises(ValueError, match="no labels"):
        critic_cost(cost, real, fake, smoothing=0.1)


def test_what_cannot_be_meant_is_refused() -> None:
    real, fake = logits()
    with pytest.raises(ValueError, match="pairs"):
        critic_cost("hinge", real, fake[1:])
    for missing in (None, real[1:]):
        with pytest.raises(ValueError, match="compares each fake"):
            generator_cost("relativistic", fake, missing)
    with pytest.raises(ValueError, match="no cost is called"):
        critic_cost("mystery", real, fake)
    with pytest.raises(ValueError, match="no cost is called"):
        generator_cost("mystery", fake)


def test_advantage_is_nothing_at_first_log_4_at_most_and_2_jsd_for_the_best_critic() -> None:
    nothing, sure = torch.zeros(4, dtype=torch.float64), torch.full((4,), 1e4, dtype=torch.float64)
    assert float(advantage(nothing, nothing)) == pytest.approx(0, abs=1e-15)
    assert float(advantage(sure, -sure)) == pytest.approx(LOG4)
    counts_p, counts_q = torch.tensor([5, 3, 2]), torch.tensor([1, 2, 7])  # 10 reals, 10 fakes on three atoms
    p, q = counts_p.double() / 10, counts_q.double() / 10
    c = (p / q).log()
    real, fake = c.repeat_interleave(counts_p), c.repeat_interleave(counts_q)
    assert float(advantage(real, fake)) == pytest.approx(2 * jsd(p, q), abs=1e-12)
    assert advantage(real, fake[:4]).shape == ()  # other numbers of reals and fakes
