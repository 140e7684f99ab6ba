"""Small games side by side: each must be the game that training plays alone, and the truth must be counted rightly."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from latente.config import AdversarialObjective, AdversarialOptim, CureConfig
from latente.data.points import World
from latente.data.stream import Batch
from latente.diagnosis import worlds
from latente.diagnosis.worlds import Adam, Flat, Table, Toy, counted, play
from latente.models.gan import Critic, Generator
from latente.training.adversarial import Adversarial
from latente.training.state import TrainState

SQUARE = World("square", 2, 0.05, np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]), np.full(4, 0.25))
TINY = Toy(world=SQUARE, train=64, hidden=(8,), critic_hidden=(8,), batch=8, steps=6, lr=3e-3, critic_lr=5e-3)
COSTS = ("minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic")


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What torch imports on the first call takes longer than all tests here."""
    torch.func.vmap(torch.func.grad(torch.sum))(torch.ones(2, 2))


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the rows."""
    for name, rows in (("TICKS", 6), ("PROBES", 3), ("_LOOKS", 12)):
        monkeypatch.setattr(worlds, name, rows)


def alone(toy: Toy, reals: torch.Tensor, latents: torch.Tensor) -> tuple[TrainState, list[dict[str, torch.Tensor]]]:
    """The same game by training's own step: its networks, and what each step measured."""
    torch.manual_seed(toy.seed)
    nets = nn.ModuleDict({"generator": Generator(toy.model, toy.shape), "critic": Critic(toy.model, toy.shape)})
    betas = (toy.beta1, toy.beta2)
    optimizers = {name: torch.optim.Adam(nets[name].parameters(), betas=betas) for name in nets}
    state = TrainState(nets, dict(optimizers))
    objective = AdversarialObjective(cost=toy.cost, penalty=toy.penalty, gamma=toy.gamma)  # type: ignore[arg-type]
    optim = AdversarialOptim(lr=toy.lr, critic_lr=toy.critic_lr, beta1=toy.beta1, beta2=toy.beta2)
    step = Adversarial(objective, CureConfig(), optim, toy.steps * toy.batch, contextlib.nullcontext)
    seen = []
    for real, z in zip(reals, latents, strict=True):
        nets["generator"].prior = lambda n, generator, z=z: z  # type: ignore[assignment]
        seen.append(step(state, Batch(real, None)))
        state.iteration += 1
    return state, seen


@pytest.mark.parametrize("penalty", ["none", "r1", "r2", "r1+r2"])
def test_each_game_is_the_one_that_training_plays_alone(penalty: str) -> None:
    """All costs in one group, with rates of their own, against `training.adversarial` with the same points."""
    toys = [
        replace(
            TINY, cost=cost, penalty=penalty, gamma=0.1 * (penalty != "none"), seed=i, beta1=0.1 * i, lr=1e-3 * (i + 1)
        )
        for i, cost in enumerate(COSTS)
    ]
    table = Table(toys)
    reals, latents = table._drawn(4)
    share = torch.ones(len(toys), 1)
    measured = [table._step(reals[:, i], latents[:, i], share) for i in range(4)]
    for i, toy in enumerate(toys):
        state, seen = alone(toy, reals[i], latents[i])
        for player, weights in (("generator", table.g.weights[i]), ("critic", table.c.weights[i])):
            own = nn.utils.parameters_to_vector(state.nets[player].parameters())
            assert torch.allclose(weights, own, atol=2e-6), (toy.cost, player)
        for here, there in zip(measured, seen, strict=True):
            names = set(here) - ({"critic/penalty"} if penalty == "none" else set())
            for name in names:  # the step gives the penalty without its weight
                weight = toy.gamma / 2 if name == "critic/penalty" else 1.0
                assert torch.allclose(here[name][i], weight * there[name], atol=1e-4, rtol=1e-4), (toy.cost, name)


def test_adam_is_torchs() -> None:
    torch.manual_seed(0)
    weights, gradients = torch.randn(2, 5), torch.randn(7, 2, 5)
    rates, beta1, beta2 = (1e-2, 3e-3), (0.0, 0.9), (0.99, 0.999)
    ours = Adam(weights.clone(), rates, beta1, beta2)
    theirs = [nn.Parameter(row.clone()) for row in weights]
    optimizers = [
        torch.optim.Adam([p], lr=lr, betas=(a, b)) for p, lr, a, b in zip(theirs, rates, beta1, beta2, strict=True)
    ]
    for gradient in gradients:
        ours.move(gradient, torch.ones(2, 1))
        for row, parameter, optimizer in zip(gradient, theirs, optimizers, strict=True):
            parameter.grad = row.clone()
            optimizer.step()
    assert torch.allclose(ours.weights, torch.stack([p.detach() for p in theirs]), atol=1e-6)


def test_a_game_does_not_depend_on_its_company() -> None:
    one, other = replace(TINY, seed=1), replace(TINY, seed=2, lr=1e-2)
    together, lonely = play([one, other]), play([other])[0]
    assert np.allclose(together[1].places, lonely.places, atol=1e-5)
    assert not np.allclose(together[0].places, together[1].places, atol=1e-2)
    for name, (clocks, values) in lonely.columns.items():
        assert np.array_equal(clocks, together[1].columns[name][0])
        assert np.allclose(values, together[1].columns[name][1], atol=1e-3), name


def test_games_of_several_groups_come_back_in_order() -> None:
    toys = [replace(TINY, seed=1, steps=2), replace(TINY, hidden=(4,), steps=2), replace(TINY, seed=3, steps=2)]
    assert [game.toy for game in play(toys)] == toys


def test_columns_are_those_of_a_run() -> None:
    """Names, cadence and clock; odds are left out where logits are none, and the penalty where there is none."""
    games = play([replace(TINY, steps=13, cost=cost) for cost in ("minimax", "wasserstein")])
    for game, odds in zip(games, (True, False), strict=True):
        clocks, _ = game.columns["critic/loss"]
        assert len(clocks) == worlds.TICKS and clocks[-1] == 13 * 8
        assert len(game.columns["probe/diversity"][0]) == worlds.PROBES
        assert len(game.columns["probe/turn/critic"][0]) == worlds.PROBES - 1
        assert ("critic/saturated" in game.columns) is odds and "critic/penalty" not in game.columns
        assert {"critic/margin", "gradient/critic", "probe/critic/ahead", "probe/path/7"} <= set(game.columns)
        assert "critic/real/sd" in game.columns and "gradient/critic/sd" not in game.columns


def test_a_game_that_breaks_says_where_and_stops() -> None:
    (game,) = play([replace(TINY, cost="least-squares", lr=1e12, critic_lr=1e12, steps=30)])
    assert game.broken is not None and game.broken < 30 * 8
    assert game.columns["critic/loss"][0][-1] <= game.broken


def test_what_is_counted_is_where_the_points_are() -> None:
    """Three points at the first mode, one of them far off, and one at the last."""
    points = np.array([[[0.5, 0.5], [0.51, 0.5], [0.9, 0.9], [0.5, -0.5]]])
    shares, good = counted(points, SQUARE)
    assert shares.tolist() == [[0.75, 0, 0, 0.25]] and good.tolist() == [0.75]


def test_weights_in_a_row_are_the_network() -> None:
    net = Critic(TINY.model, TINY.shape)
    row = nn.utils.parameters_to_vector(net.parameters()).detach()
    x = torch.randn(3, 2, 1, 1)
    expected = net(x)
    flat = Flat(net)
    assert torch.equal(flat(row, x), expected)
    assert torch.equal(flat.loaded(2 * row)(x), flat(2 * row, x))


def test_a_world_shown_as_images_is_looked_at_for_copies() -> None:
    rng = np.random.default_rng(0)
    world = World("sixteen", 16, 0.1, rng.normal(0, 0.4, (3, 16)), np.full(3, 1 / 3))
    (game,) = play([replace(TINY, world=world, image=True, train=60, steps=8)])
    assert "probe/copies" in game.columns and game.copying > 0
    assert 0 <= game.ahead <= 1 and 0 <= game.beats <= 1
