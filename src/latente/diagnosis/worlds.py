"""Hundreds of small games at once, in worlds whose modes are known, so that what a diagnosis says meets the truth.

The networks are those of the family `gan`, the costs and the order of moves those of training. One game is written down
as functions of its flat weights, and `torch.func.vmap` plays B of them side by side, each with rates, weights and a
seed of its own; what decides the shape of a computation (widths, batch, length) is the same in a group.

Each game has two records. The columns are what training would have written: ticks of the step and probes of the panel.
The truth is what only somebody who knows the world can count: the share of each mode and of good points over time,
where the generator's points are, and at the end how the networks treat fresh points. Verdicts read the first alone.

Legend
    B      games of a group; P weights of a network
    x      points [n, C, H, W]: d numbers a point, as [d, 1, 1], or as an image [1, s, s], which probes hold against the
           training set
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from latente.config import GANModel
from latente.data.datasets import Dataset, ImageSet
from latente.data.points import World
from latente.diagnosis import probes
from latente.diagnosis.history import History, Series
from latente.diagnosis.panel import Panel
from latente.evaluation.modes import RADIUS
from latente.models.gan import Critic, Generator
from latente.objectives.adversarial import critic_cost, generator_cost

TICKS, PROBES = 60, 30  # rows of a game, as a run's
_LOOKS = 120  # moments of the truth
_LOOKED = 512  # points that are counted each time
_BLOCK = 32  # steps whose points and latents are drawn at once
_SURE = math.log(99)  # a logit that means 0.99
_EPS = 1e-8
_SIGNED = ("minimax", "non-saturating", "hinge")
_HELD_OUT = 2_000  # points that nobody trains on

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A game and all it depends on."""

    world: World
    train: int = 4_000  # training points
    image: bool = False  # points are shown as images of one channel; their number of coordinates is a square
    cost: str = "non-saturating"
    penalty: str = "none"  # or r1, r2, r1+r2
    gamma: float = 0.0
    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (64, 64)
    latent: int = 2
    zoom: float = 4.0
    lr: float = 1e-3
    critic_lr: float = 1e-3
    beta1: float = 0.0
    beta2: float = 0.99
    final: float = 1.0  # share of both rates at the end, fallen to along a cosine
    batch: int = 64
    steps: int = 2_000
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one point."""
        d = self.world.dimensions
        return (1, math.isqrt(d), math.isqrt(d)) if self.image else (d, 1, 1)

    @property
    def model(self) -> GANModel:
        return GANModel(latent=self.latent, hidden=self.hidden, critic_hidden=self.critic_hidden, zoom=self.zoom)

    @property
    def group(self) -> tuple[Any, ...]:
        """What games must share to be played side by side."""
        sizes = (self.hidden, self.critic_hidden, self.latent, self.zoom, self.batch, self.steps)
        return (self.shape, *sizes)


@dataclass
class Played:
    """A game that is over: its columns, and the truth about it."""

    toy: Toy
    columns: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # name -> clocks [T], values [T]
    broken: float | None = None  # the clock of the first loss that was no number
    clocks: Floats = field(default_factory=lambda: np.zeros(0))  # [S], of the truth
    shares: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # [S, k], of points whose nearest mode it is
    good: Floats = field(default_factory=lambda: np.zeros(0))  # [S], share within RADIUS standard deviations of a mode
    places: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))  # [S, m, d], of the same few latents
    ahead: float = math.nan  # P(the critic ranks a training point above a fresh one), over all of the first
    copying: float = math.nan  # median distance of made points to the training set over that of fresh points
    sure: float = math.nan  # share of pairs of fresh points that the critic tells apart to 0.99, at the end
    beats: float = math.nan  # P(the critic ranks a fresh point above a made one), at the end


def play(toys: Sequence[Toy], said: Callable[[str], None] | None = None) -> list[Played]:
    """All the games, in the order asked for; `said` hears how far it is."""
    played: dict[int, Played] = {}
    order = sorted(range(len(toys)), key=lambda i: repr(toys[i].group))
    for _, members in groupby(order, key=lambda i: toys[i].group):
        own = list(members)
        played |= dict(zip(own, Table([toys[i] for i in own]).play(), strict=True))
        if said is not None:
            said(f"{len(played)}/{len(toys)}")
    return [played[i] for i in range(len(toys))]


def history(played: Played) -> History:
    """What a diagnosis may read of a game: its columns and its settings, and nothing of the truth."""
    toy = played.toy
    settings = {
        **{"objective.cost": toy.cost, "objective.penalty": toy.penalty, "objective.gamma": toy.gamma},
        **{"optim.lr": toy.lr, "optim.critic-lr": toy.critic_lr, "optim.beta1": toy.beta1, "optim.beta2": toy.beta2},
        **{"training.batch": toy.batch, "training.images": toy.steps * toy.batch, "training.seed": toy.seed},
    }
    facts = {
        **{"family": "gan", "preset": "gan", "cost": toy.cost, "settings": settings, "latent": toy.latent},
        **{"until": toy.steps * toy.batch, "stopped": "finished" if played.broken is None else "non-finite"},
        **{"image_shape": toy.shape, "kind": "images" if toy.image else "points", "train": toy.train},
    }
    if played.broken is not None:
        facts |= {"term": "critic/loss", "since": int(played.broken)}
    return History({name: Series(*rows) for name, rows in played.columns.items()}, facts)


class Flat:
    """A network as a function of one row of weights."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.names = [name for name, _ in net.named_parameters()]
        self.shapes = [p.shape for p in net.parameters()]
        self.sizes = [p.numel() for p in net.parameters()]

    def __call__(self, weights: Tensor, x: Tensor) -> Tensor:
        """weights [P], x -> what the network makes of it."""
        parts = torch.split(weights, self.sizes)
        named = {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}
        found: Tensor = functional_call(self.net, named, (x,))
        return found

    def loaded(self, weights: Tensor) -> nn.Module:
        """The network itself, with these weights [P]."""
        torch.nn.utils.vector_to_parameters(weights, self.net.parameters())
        return self.net


class Adam:
    """Kingma and Ba 2015 for B rows of weights at once, each with rates and betas of its own."""

    def __init__(self, weights: Tensor, lr: Sequence[float], beta1: Sequence[float], beta2: Sequence[float]) -> None:
        self.weights = weights  # [B, P], changed in place
        self.lr, self.beta1, self.beta2 = (torch.tensor(v).float()[:, None] for v in (lr, beta1, beta2))  # [B, 1]
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.step = 0

    def move(self, gradient: Tensor, share: Tensor) -> None:
        """One step down gradients [B, P], at a share [B, 1] of the rates."""
        self.step += 1
        self.mean.lerp_(gradient, 1 - self.beta1)
        self.square.mul_(self.beta2).addcmul_(gradient * (1 - self.beta2), gradient)
        rate = self.lr * share / (1 - self.beta1**self.step)
        deviation = self.square.sqrt().div_((1 - self.beta2**self.step).sqrt()).add_(_EPS)
        self.weights.sub_(rate * self.mean / deviation)


class Table:
    """Games that are played side by side."""

    def __init__(self, toys: Sequence[Toy]) -> None:
        first = toys[0]
        assert all(toy.group == first.group for toy in toys)
        self.toys, self.b, self.first = toys, len(toys), first
        self.sources = [np.random.default_rng([2, toy.seed]) for toy in toys]
        pools = [np.random.default_rng([1, toy.seed]) for toy in toys]
        self.train = [self._points(toy, rng, toy.train) for toy, rng in zip(toys, pools, strict=True)]
        self.fresh = [self._points(toy, rng, _HELD_OUT) for toy, rng in zip(toys, pools, strict=True)]
        self.costs = tuple(dict.fromkeys(toy.cost for toy in toys))
        self.which = torch.tensor([[toy.cost == cost for cost in self.costs] for toy in toys])  # [B, costs]
        self.penalised = any(toy.penalty != "none" for toy in toys)
        self.paid = torch.tensor([self._paid(toy) for toy in toys])  # [B, 2], on real and on made points
        generators, critics = zip(*(self._networks(toy) for toy in toys), strict=True)
        self.generator, self.critic = Flat(generators[0]), Flat(critics[0])
        self.g = self._player(generators, [toy.lr for toy in toys])
        self.c = self._player(critics, [toy.critic_lr for toy in toys])
        self.made = vmap(self.generator)  # [B, P], [B, n, latent] -> [B, n, C, H, W]
        self.judged = vmap(self.critic)  # [B, P], [B, n, C, H, W] -> [B, n]
        self.critic_learns = vmap(grad(self._critic_loss, has_aux=True))
        self.generator_learns = vmap(grad(self._generator_loss, has_aux=True))

    def _player(self, nets: Sequence[nn.Module], rates: Sequence[float]) -> Adam:
        """The weights of B networks and what moves them."""
        rows = [nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets]
        return Adam(torch.stack(rows), rates, [toy.beta1 for toy in self.toys], [toy.beta2 for toy in self.toys])

    def _points(self, toy: Toy, rng: np.random.Generator, n: int) -> Tensor:
        return torch.from_numpy(toy.world.sample(n, rng).astype(np.float32)).view(n, *toy.shape)

    def _paid(self, toy: Toy) -> list[float]:
        return [toy.gamma * (toy.penalty in names) for names in (("r1", "r1+r2"), ("r2", "r1+r2"))]

    def _networks(self, toy: Toy) -> tuple[Generator, Critic]:
        """As training begins, from the game's own seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(toy.seed)
            return Generator(toy.model, toy.shape), Critic(toy.model, toy.shape)

    # ---- One game

    def _critic_loss(
        self, weights: Tensor, real: Tensor, fake: Tensor, which: Tensor, paid: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """weights [P], points [n, C, H, W] of both kinds -> loss [] and, per pair, logits, cost and penalty [n]."""

        def judged(x: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.critic(weights, x)
            return logits.sum(), logits

        squares = torch.zeros(())
        if self.penalised:  # half of gamma, as in the papers
            (up, on_real), (down, on_fake) = (grad(judged, has_aux=True)(x) for x in (real, fake))
            squares = sum(w / 2 * s.flatten(1).square().sum(1) for w, s in zip(paid, (up, down), strict=True))
        else:
            on_real, on_fake = judged(real)[1], judged(fake)[1]
        costs = torch.stack([critic_cost(cost, on_real, on_fake) for cost in self.costs])  # [costs, n]
        cost = torch.where(which[:, None], costs, 0).sum(0)
        return (cost + squares).mean(), (on_real, on_fake, cost, squares.expand_as(cost))

    def _generator_loss(
        self, weights: Tensor, critic: Tensor, z: Tensor, scores: Tensor, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        """weights [P], latents [n, latent], the critic's scores of real points [n] -> loss [] and cost [n]."""
        logits = self.critic(critic, self.generator(weights, z))
        costs = torch.stack([generator_cost(cost, logits, scores) for cost in self.costs])
        cost = torch.where(which[:, None], costs, 0).sum(0)
        return cost.mean(), cost

    # ---- All of them

    def play(self) -> list[Played]:
        """To the end."""
        record = Record(self)
        steps = self.first.steps
        final = torch.tensor([toy.final for toy in self.toys])[:, None]
        for step in range(steps):
            if step % _BLOCK == 0:
                reals, latents = self._drawn(min(_BLOCK, steps - step))
            share = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * step / steps))
            record.add(self._step(reals[:, step % _BLOCK], latents[:, step % _BLOCK], share), step + 1)
        return record.finished()

    def _step(self, real: Tensor, z: Tensor, share: Tensor) -> dict[str, Tensor]:
        """The critic's move and then the generator's, with the same latents: name -> [B, n] or [B]."""
        fake = self.made(self.g.weights, z)
        gradient, (on_real, on_fake, cost, paid) = self.critic_learns(self.c.weights, real, fake, self.which, self.paid)
        self.c.move(gradient, share)
        norm = gradient.norm(dim=1)
        scores = self.judged(self.c.weights, real)
        gradient, loss = self.generator_learns(self.g.weights, self.c.weights, z, scores, self.which)
        self.g.move(gradient, share)
        return {
            **{"critic/loss": cost, "critic/real": on_real, "critic/fake": on_fake, "critic/penalty": paid},
            **{"critic/margin": on_real - on_fake, "generator/loss": loss},
            **{"gradient/critic": norm, "gradient/generator": gradient.norm(dim=1)},
        }

    def _drawn(self, steps: int) -> tuple[Tensor, Tensor]:
        """Points [B, steps, n, C, H, W] and latents [B, steps, n, latent] of the next steps; each game has its dice."""
        n, reals, latents = self.first.batch, [], []
        for rng, train in zip(self.sources, self.train, strict=True):
            reals.append(train[torch.from_numpy(rng.integers(0, len(train), (steps, n)))])
            latents.append(rng.standard_normal((steps, n, self.first.latent), dtype=np.float32))
        return torch.stack(reals), torch.from_numpy(np.stack(latents))


class Record:
    """What is written down while games are played."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: list[dict[str, list[tuple[float, float]]]] = [{} for _ in table.toys]
        self.broken: list[float | None] = [None] * table.b
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.count = 0
        self.looks: list[tuple[float, Floats]] = []  # clock, points [B, m, d]
        draws = torch.Generator().manual_seed(1)
        self.z = torch.randn(_LOOKED, table.first.latent, generator=draws).expand(table.b, -1, -1)  # [B, m, latent]
        self.panels = [_panel(toy, *sets) for toy, *sets in zip(table.toys, table.train, table.fresh, strict=True)]
        self.followed: list[tuple[Tensor, Tensor | None]] = [(p.weights.clone(), None) for p in (table.c, table.g)]

    def add(self, seen: dict[str, Tensor], step: int) -> None:
        """What a step measured, [B, n] or [B]; rows, probes and looks where their time has come."""
        steps = self.table.first.steps
        for name, value in (seen | self._sure(seen)).items():
            wide = value.view(len(value), -1)
            mean, square = wide.mean(1), wide.square().mean(1)  # [B]
            before = self.sums.get(name, (torch.zeros_like(mean), torch.zeros_like(mean)))
            self.sums[name] = (before[0] + mean, before[1] + square)
        self.count += 1
        if _due(step, steps, TICKS):
            self._tick(step)
        if _due(step, steps, PROBES):
            self._probe(step)
        if _due(step, steps, _LOOKS):
            made = self.table.made(self.table.g.weights, self.z)
            self.looks.append((self._clock(step), made.flatten(2).double().numpy()))

    def _clock(self, step: int) -> float:
        return float(step * self.table.first.batch)

    def _sure(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pairs that each critic tells apart to 0.99, [B, n]; for costs whose logits are odds (others drop it)."""
        apart = (seen["critic/real"] > _SURE) & (seen["critic/fake"] < -_SURE)
        beyond = seen["critic/margin"] > _SURE
        compares = torch.tensor([toy.cost == "relativistic" for toy in self.table.toys])[:, None]
        return {"critic/saturated": torch.where(compares, beyond, apart).float()}

    def _tick(self, step: int) -> None:
        clock = self._clock(step)
        for name, (total, squares) in self.sums.items():
            mean = (total / self.count).double()
            sd = ((squares / self.count).double() - mean.square()).clamp(min=0).sqrt()
            for i, toy in enumerate(self.table.toys):
                if name == "critic/saturated" and toy.cost not in (*_SIGNED, "relativistic"):
                    continue
                if name == "critic/penalty" and toy.penalty == "none":
                    continue
                self._write(i, name, clock, float(mean[i]))
                if not name.startswith("gradient/"):
                    self._write(i, f"{name}/sd", clock, float(sd[i]))
                if self.broken[i] is None and not math.isfinite(float(mean[i])):
                    self.broken[i] = clock
        self.sums, self.count = {}, 0

    def _write(self, i: int, name: str, clock: float, value: float) -> None:
        """A number of game i; training that has met a loss that is no number is over."""
        broken = self.broken[i]
        if broken is None or clock <= broken:
            self.rows[i].setdefault(name, []).append((clock, value))

    def _probe(self, step: int) -> None:
        table, clock = self.table, self._clock(step)
        turns: list[dict[str, float]] = [{} for _ in table.toys]
        for at, (player, name) in enumerate(((table.c, "critic"), (table.g, "generator"))):
            before, move = self.followed[at]
            moved = player.weights - before
            if move is not None:
                for i in range(table.b):
                    turns[i][f"probe/turn/{name}"] = probes.cosine(moved[i], move[i])
            self.followed[at] = (player.weights.clone(), moved)
        for i, panel in enumerate(self.panels):
            if self.broken[i] is not None or not (
                table.g.weights[i].isfinite().all() and table.c.weights[i].isfinite().all()
            ):
                continue
            generator, critic = table.generator.loaded(table.g.weights[i]), table.critic.loaded(table.c.weights[i])
            for name, value in (panel.game(generator, critic) | probes.finite(turns[i])).items():
                self._write(i, name, clock, value)

    # ---- The truth

    def finished(self) -> list[Played]:
        """Columns and truth of each game."""
        clocks = np.array([clock for clock, _ in self.looks])
        found = []
        for i, toy in enumerate(self.table.toys):
            columns = {name: tuple(np.array(rows).T) for name, rows in self.rows[i].items()}
            played = Played(toy, columns, self.broken[i], clocks)
            made = np.stack([points[i] for _, points in self.looks])  # [S, m, d]
            played.shares, played.good = counted(made, toy.world)
            played.places = made[:, :64].astype(np.float32)
            self._endings(i, played, made[-1])
            found.append(played)
        return found

    def _endings(self, i: int, played: Played, made: Floats) -> None:
        """How both networks treat points that nobody has seen."""
        table = self.table
        if not np.isfinite(made).all():
            return
        with torch.no_grad():
            critic = table.critic.loaded(table.c.weights[i])
            train, fresh = table.train[i], table.fresh[i]
            points = torch.from_numpy(made.astype(np.float32)).view(len(made), *played.toy.shape)
            on_train, on_fresh, on_made = critic(train), critic(fresh), critic(points)
            played.ahead = probes.ranked_above(on_train, on_fresh)
            played.beats = probes.ranked_above(on_fresh, on_made)
            pairs = on_fresh[: len(on_made)] - on_made
            apart = (on_fresh[: len(on_made)] > _SURE) & (on_made < -_SURE)
            played.sure = float((pairs > _SURE if played.toy.cost == "relativistic" else apart).float().mean())
            to_made, to_fresh = (
                probes.distances(x.flatten(1), train.flatten(1)).amin(1).median() for x in (points, fresh)
            )
            played.copying = float(to_made / to_fresh)


def counted(points: Floats, world: World) -> tuple[Floats, Floats]:
    """Points [S, m, d] -> share of those whose nearest mode it is, [S, k], and share of good ones, [S]."""
    assert world.centres is not None
    k = len(world.centres)
    apart = np.linalg.norm(points[:, :, None] - world.centres, axis=3)  # [S, m, k]
    nearest = apart.argmin(2)
    # In d dimensions points of a mode lie about sqrt(d) standard deviations from its centre.
    reach = world.sd * (RADIUS + math.sqrt(max(world.dimensions - 2, 0)))
    good = apart.min(2) <= reach
    return np.stack([np.bincount(row, minlength=k) / points.shape[1] for row in nearest]), good.mean(1)


def _due(step: int, steps: int, rows: int) -> bool:
    """Whether one of `rows` evenly spaced moments has come."""
    return step * rows // steps > (step - 1) * rows // steps


def _panel(toy: Toy, train: Tensor, fresh: Tensor) -> Panel:
    """The panel of a run whose data these points are."""
    shown, held_out = (ImageSet(name, x.numpy(), None, (), None) for name, x in (("train", train), ("test", fresh)))
    return Panel(Dataset(shown, held_out, {}, Path()), torch.device("cpu"), at_once=toy.batch)
