"""Lengths of ways against finite differences; separability against entropies by hand."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from latente import paths
from latente.evaluation import smoothness
from latente.messages import Problem
from styles import Styles


def ways(net: nn.Module, n: int = 5, how: str = "slerp") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(net.prior(n, generator).double() for _ in range(2))  # type: ignore[operator,return-value]


@pytest.mark.parametrize("how", ["slerp", "lerp"])
def test_derivatives_are_finite_differences(how: str) -> None:
    """In float64 the small step that float32 cannot take can be taken."""
    net = Styles().double()
    a, b = ways(net)
    go = getattr(paths, how)

    def show(t: Tensor) -> Tensor:
        return net.decode(go(a, b, t)).flatten(1)

    t = torch.tensor([0.0, 0.1, 0.5, 0.7, 1.0], dtype=torch.float64)
    step = 1e-4
    with torch.no_grad():
        expected = ((show(t + step / 2) - show(t - step / 2)) / step).square().sum(1)
    np.testing.assert_allclose(smoothness.speeds(show, t), expected, rtol=1e-6)
    np.testing.assert_allclose(smoothness.twice_backwards(show, t).square().sum(1).detach(), expected, rtol=1e-6)


def test_a_layer_without_a_forward_derivative_is_differentiated_twice_backwards() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x**3

        @staticmethod
        def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)  # type: ignore[attr-defined]

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
            (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return 3 * x**2 * grad  # type: ignore[no-any-return]

    t = torch.tensor([0.5, 2.0])
    found = smoothness.speeds(lambda t: torch.stack([Cube.apply(t), t], 1), t)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(found, [0.75**2 + 1, 144 + 1])


def test_an_even_way_has_an_even_speed() -> None:
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    t = torch.linspace(0, 1, 5)
    places = paths.slerp(a.expand(5, 2), b.expand(5, 2), t)
    np.testing.assert_allclose(places.norm(dim=1), 3, rtol=1e-5)
    np.testing.assert_allclose(places[2], [3 / math.sqrt(2)] * 2, rtol=1e-5)
    speed = smoothness.speeds(lambda t: paths.slerp(a.expand(5, 2), b.expand(5, 2), t), t)
    np.testing.assert_allclose(speed, (3 * math.pi / 2) ** 2, rtol=1e-4)
    np.testing.assert_allclose(
        smoothness.speeds(lambda t: paths.lerp(a.expand(5, 2), b.expand(5, 2), t), t), 18, rtol=1e-5
    )


def test_the_same_latent_twice_is_no_way() -> None:
    a = torch.randn(3, 4)
    speed = smoothness.speeds(lambda t: paths.slerp(a, a, t), torch.rand(3))
    assert speed.isfinite().all() and float(speed.max()) < 1e-3


def test_the_mean_leaves_out_both_ends_and_its_interval_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.r_[np.arange(100.0), 1e9]
    value, (low, high) = smoothness.trimmed(lengths)
    assert value == pytest.approx(np.arange(1, 100).mean(), abs=0.6) and low < value < high
    draws, truth = np.random.default_rng(0).exponential(2, (30, 400)), trimmed_mean()
    monkeypatch.setattr(smoothness, "_RESAMPLED", 200)
    inside = [low < truth < high for _, (low, high) in map(smoothness.trimmed, draws)]
    assert np.mean(inside) > 0.8


def trimmed_mean() -> float:
    """Of an exponential distribution of mean 2, between its 1 % and 99 % quantiles."""
    x = np.random.default_rng(1).exponential(2, 1_000_000)
    low, high = np.quantile(x, [0.01, 0.99])
    return float(x[(x >= low) & (x <= high)].mean())


# ---- Separability ---------------------------------------------------------------------------------------------------


def test_entropy_by_hand() -> None:
    """Six on one side, of which four show it; two on the other, of which one does: 6/8 H(2/3) + 2/8 log 2."""
    side = np.array([True] * 6 + [False] * 2)
    truth = np.array([True] * 4 + [False] * 2 + [True, False])
    by_hand = 6 / 8 * -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) + 2 / 8 * math.log(2)
    assert smoothness.conditional_entropy(truth, side) == pytest.approx(by_hand)
    assert smoothness.conditional_entropy(truth, truth) == 0 == smoothness.conditional_entropy(truth, ~truth)
    nothing_known = smoothness.conditional_entropy(truth, np.ones(8, bool))
    assert nothing_known == pytest.approx(entropy([5, 3]))


def test_planes_part_what_is_linear_and_nothing_else() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 5))
    linear, ring = x[:, 0] - x[:, 3], (x**2).sum(1) - 4.35
    value, each = smoothness.separability(x, {"linear": linear, "ring": ring, "never": np.full(4000, -1.0)})
    assert set(each) == {"linear", "ring"} and value == pytest.approx(math.exp(sum(each.values())))
    assert each["linear"] < 0.05 and each["ring"] == pytest.approx(math.log(2), abs=0.1)


def test_only_the_surer_half_counts() -> None:
    """Where those near the border are decided by chance, the others are parted all the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    unsure = np.abs(x[:, 0]) < 0.6
    score = np.where(unsure, 0.1 * rng.choice([-1, 1], 4000), x[:, 0])
    _, each = smoothness.separability(x, {"a": score})
    assert each["a"] < 0.05


def test_what_is_missing() -> None:
    with pytest.raises(Problem) as problem:
        smoothness.separability(np.zeros((40, 2)), {"a": np.ones(40)})
    assert problem.value.key == "smoothness.nothing_to_part"


def test_separability_needs_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Problem) as problem:
        smoothness.separability(np.zeros((40, 2)), {"a": np.ones(40)})
    assert problem.value.key == "smoothness.needs_sklearn"
