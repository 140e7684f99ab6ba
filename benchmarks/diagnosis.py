"""Whether the diagnosis is right: on trainings whose truth is known and that no threshold has seen.

    python benchmarks/diagnosis.py [--quick] [--only unseen|calibration] [--fit]

Three kinds of runs. Games in worlds whose modes can be counted, hundreds at once (`diagnosis.worlds`): the truth is
counted in the world, with rules that use none of the probes (`happened`). VAEs on small images of known settings. And
samples that nobody trained: the training set itself, half of its classes, held-out images, a grid laid over them.

Settings are drawn anew for each run: world, widths, rates, momentum, cost, penalty, number of training points, seed.
The calibration runs and the unseen runs have other worlds, other widths and other seeds, and so has each unseen draw:
the first had seed 2 and widths 24 and 48, the second 3, 20 and 40. How many runs a plan has was settled on runs with
other seeds, so that each verdict is true of 8 unseen ones and half of all are healthy. Confidence is fitted on the
former alone (`--fit` prints the table for `findings.CALIBRATION`), and what is reported comes from the latter.

    recall        of the runs of which a verdict is true, the share that it is given to
    false alarms  of the healthy runs, the share that any fault is found in
    calibration   of the findings of faults with a confidence around c, the share that is true

Each with a Wilson interval (95 %). Runs in which no fault is true and which are yet not healthy (a generator whose
points are mostly off, say) count in neither rate; how many they are is reported. The last line is one JSON object; the
full run writes benchmarks/results/diagnosis.json and docs/images/calibration.svg (and .es.svg).
"""

import argparse
import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from finished import finished
from latente.config import DataConfig, Images, override
from latente.data.datasets import Dataset, ImageSet, load
from latente.data.points import World
from latente.data.stream import see
from latente.diagnosis.findings import CALIBRATION, Finding
from latente.diagnosis.history import History, of_rows, of_run
from latente.diagnosis.panel import Panel
from latente.diagnosis.verdicts import judge
from latente.diagnosis.worlds import Played, Toy, history, play
from latente.evaluation.likelihood import elbo
from latente.evaluation.subject import wilson as interval
from latente.objectives.reconstruction import kl_standard_normal
from latente.presets_vae import vae
from latente.run import Run

RESULT = Path(__file__).parent / "results" / "diagnosis.json"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
CHARTS = {"en": IMAGES / "calibration.svg", "es": IMAGES / "calibration.es.svg"}
BARS = {"recall_low": 0.85, "false_alarms_high": 0.08, "each_verdict": 0.7, "unseen": 300, "healthy": 0.5, "cases": 8}
FAULTS = (
    *("divergence", "mode-collapse-full", "mode-collapse-partial", "mode-cycling", "saturated-critic", "oscillation"),
    *("critic-memorising", "generator-memorising", "posterior-collapse", "over-regularised", "under-regularised"),
    *("blurred", "checkerboard"),
)


class Truth(NamedTuple):
    """What is known of a run without any diagnosis."""

    faults: frozenset[str] = frozenset()  # that must be named
    healthy: bool = False
    also: frozenset[str] = frozenset()  # that are there in part, or by another name: neither asked for nor an error


_OTHER_NAME = {  # of a verdict, that is as good where the truth is at the border between the two
    **{"oscillation": "mode-cycling", "mode-collapse-partial": "mode-collapse-full"},
}
NOTES = ("undertrained", "past-best")  # no faults, and yet verdicts


@dataclass(frozen=True)
class Case:
    """A run: what is true of it, and what was said of it."""

    kind: str  # plan that it was drawn from
    truth: Truth
    said: tuple[Finding, ...]

    def named(self, what: str) -> bool:
        """Whether the diagnosis calls it a fault of the run; a suspicion (a note) is not enough."""
        names = {finding.what for finding in self.said if finding.severity == "fault" or finding.what in NOTES}
        return what in names or _OTHER_NAME.get(what) in names & self.truth.also

    def right(self, finding: Finding) -> bool:
        """Whether a finding is true of the run."""
        return finding.what in self.truth.faults | self.truth.also


# ---- Games in known worlds ------------------------------------------------------------------------------------------


def ring(k: int, sd: float) -> World:
    """k Gaussians on a circle."""
    angles = 2 * np.pi * np.arange(k) / k
    return World(f"ring{k}", 2, sd, 0.8 * np.stack([np.cos(angles), np.sin(angles)], 1), np.full(k, 1 / k))


def grid(side: int, sd: float) -> World:
    """side x side Gaussians in a square."""
    x, y = np.meshgrid(*2 * [np.linspace(-0.8, 0.8, side)])
    k = side * side
    return World(f"grid{k}", 2, sd, np.stack([x, y], 2).reshape(k, 2), np.full(k, 1 / k))


def scattered(k: int, d: int, sd: float, rng: np.random.Generator) -> World:
    """k Gaussians anywhere, none within 8 standard deviations of another."""
    centres: list[Any] = []
    while len(centres) < k:
        new = rng.uniform(-0.85, 0.85, d)
        if all(np.linalg.norm(new - old) > 8 * sd for old in centres):
            centres.append(new)
    return World(f"scattered{k}", d, sd, np.array(centres), np.full(k, 1 / k))


def line(rng: np.random.Generator) -> World:
    """Two Gaussians in one dimension."""
    apart = float(rng.uniform(0.3, 0.5))
    return World("line", 1, float(rng.uniform(0.08, 0.12)), np.array([[-apart], [apart]]), np.full(2, 0.5))


def broad(k: int, d: int, rng: np.random.Generator) -> World:
    """k Gaussians that overlap, in more dimensions than a few points can fill."""
    return World(f"broad{k}", d, 0.3, rng.uniform(-0.5, 0.5, (k, d)), np.full(k, 1 / k))


def happened(game: Played) -> Truth:
    """The faults that a game had, from what only the world's maker can count."""
    if game.broken is not None or not np.isfinite(game.places).all():
        return Truth(frozenset({"divergence"}))
    found, also = set(), set()
    k, half = game.shares.shape[1], len(game.clocks) // 2
    late, last = game.shares[half:], game.shares[-len(game.clocks) // 3 :]  # [., k]
    kinds = float(np.median(_kinds(last)))  # that are made at one moment
    present = float(np.median((last >= 0.2 / k).sum(1)))  # modes with a fifth of their due
    good = float(game.good[-len(game.clocks) // 6 :].mean())
    leaders = late.argmax(1)[late.max(1) >= 0.4]
    switches = int((np.diff(leaders) != 0).sum())
    passes, before, after = swings(game)
    goes_round = passes >= 4 and after >= max(0.4, before / 2)
    clump = np.median(game.places[half:].std(1).max(1)) / game.toy.world.centres.std()  # type: ignore[union-attr]
    away = thrown(game)
    near = good >= 0.2 and not away  # which mode is nearest says little of points near none
    if away:
        also |= {"divergence", "oscillation", "mode-cycling"}
    if k > 2 and clump <= 1 and not away and kinds <= 0.45 * k and switches >= 5:
        found.add("mode-cycling")
        also.add("oscillation")
    elif goes_round and not away:
        found.add("oscillation")
        also |= {"mode-cycling"} if kinds <= 0.75 * k or k == 2 else set()  # of two kinds it is the same
    elif clump <= 0.1 or (near and kinds <= 1.2 and passes < 2):
        (also if away and passes >= 2 else found).add("mode-collapse-full")
    elif passes >= 2 and after >= 0.3:  # to and fro, but dying out or too slow to be sure of
        also |= {"oscillation", "mode-cycling"}
    elif near and present <= 0.8 * k and not (game.toy.image and game.copying <= 0.65):  # copies of a few are few
        found.add("mode-collapse-partial")
        also |= {"mode-collapse-full"} if kinds <= 2.5 else set()
    if present < k or kinds <= 0.75 * k or filled(game) < 0.35:
        also.add("mode-collapse-partial")
    if game.sure >= 0.8:
        found.add("saturated-critic")
    if game.ahead >= 0.7:
        found.add("critic-memorising")
    if game.toy.image and game.copying <= 0.8:
        (found if game.copying <= 0.65 else also).add("generator-memorising")
    return Truth(frozenset(found), not found | also and good >= 0.4, frozenset(also))


def filled(game: Played) -> float:
    """How far made points lie from the nearest other one, over the same of as many of the world's own (medians): 1 for
    modes that are filled, near 0 for modes made as threads and dots."""
    made = game.places[-len(game.clocks) // 6 :: 3].astype(float)  # [S, m, d]
    rng = np.random.default_rng(0)
    own = [_apart(game.toy.world.sample(made.shape[1], rng)) for _ in range(20)]
    return float(np.mean([_apart(points) for points in made]) / np.mean(own))


def _apart(points: Any) -> float:
    """The median distance of points [m, d] to the nearest other one."""
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(np.median(apart.min(1)))


def thrown(game: Played) -> bool:
    """Whether most made points lie farther from every mode than the modes lie apart, beyond what a mode's own points
    do (sqrt(d) standard deviations in d dimensions)."""
    world = game.toy.world
    assert world.centres is not None
    made = game.places[-1].astype(float)  # [m, d]
    nearest = float(np.median(np.linalg.norm(made[:, None] - world.centres, axis=2).min(1)))
    radius = np.linalg.norm(world.centres - world.centres.mean(0), axis=1).max()
    return nearest > radius + world.sd * math.sqrt(world.dimensions)


def _kinds(shares: Any) -> Any:
    """exp of the entropy of shares [T, k]: how many modes, equally often, would be as uneven. [T]"""
    return np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum(1))


def swings(game: Played) -> tuple[int, float, float]:
    """How the middle of the made points goes to and fro in the last half: how often it passes from one side of where it
    mostly is to the other, by a third of the data's spread on both, and how widely it moves in the third and in the
    last quarter (standard deviations, over the data's)."""
    centre = game.places[len(game.clocks) // 2 :].astype(float).mean(1)  # [S, d]
    world = game.toy.world
    size = math.sqrt(world.centres.var(0).mean() + world.sd**2)  # type: ignore[union-attr]
    centre = (centre - np.median(centre, 0)) / size
    x = centre @ np.linalg.svd(centre, full_matrices=False)[2][0]  # along the way it moves most
    sides = np.sign(x[np.abs(x) >= 0.3])
    before, after = (float(part.std()) for part in np.array_split(x, 2))
    return int((np.diff(sides) != 0).sum()), before, after


@dataclass(frozen=True)
class Split:
    """What is drawn from for one half of the benchmark; the halves share no world and no width."""

    name: str
    seed: int
    widths: tuple[tuple[int, ...], ...]
    worlds: Callable[[np.random.Generator], World]
    codes: int  # dimensions of the worlds that are shown as images
    images: tuple[str, ...]  # sets that VAEs and synthetic samples are made from
    resolution: int


def _calibration_world(rng: np.random.Generator) -> World:
    sd = float(rng.uniform(0.03, 0.06))
    k = int(_pick(rng, 6, 8, 10))
    return [ring(k, sd), grid(3, sd), scattered(6, 2, sd, rng)][rng.integers(3)]


def _unseen_world(rng: np.random.Generator) -> World:
    sd = float(rng.uniform(0.03, 0.06))
    k = int(_pick(rng, 5, 7, 9, 11, 12))
    return [ring(k, sd), grid(4, 0.7 * sd), scattered(min(k, 9), 2, sd, rng)][rng.integers(3)]


CALIBRATION_RUNS = Split("calibration", 1, ((32, 32), (64, 64)), _calibration_world, 9, ("fashion-mnist",), 16)
UNSEEN_RUNS = Split("unseen", 4, ((28, 28), (56, 56)), _unseen_world, 16, ("mnist",), 16)


def _rates(rng: np.random.Generator, lr: float, critic_lr: float, spread: float = 1.5) -> dict[str, float]:
    """Rates of both players, each up to `spread` times larger or smaller."""
    factors = np.exp(rng.uniform(-math.log(spread), math.log(spread), 2))
    return {"lr": float(lr * factors[0]), "critic_lr": float(critic_lr * factors[1])}


def _pick(rng: np.random.Generator, *options: Any) -> Any:
    return options[rng.integers(len(options))]


def _penalised(rng: np.random.Generator, base: Toy) -> Toy:
    cost = _pick(rng, "relativistic", "non-saturating", "minimax", "wasserstein")
    gamma, beta1 = float(np.exp(rng.uniform(math.log(0.02), math.log(0.1)))), _pick(rng, 0.0, 0.5)
    penalty = _pick(rng, "r1", "r1+r2")
    return replace(base, cost=cost, penalty=penalty, gamma=gamma, beta1=beta1, final=0.05, **_rates(rng, 3e-3, 6e-3))


def _plain(rng: np.random.Generator, base: Toy) -> Toy:
    cost = _pick(rng, "relativistic", "non-saturating", "minimax", "wasserstein")
    return replace(base, cost=cost, final=0.05, **_rates(rng, 1e-2, 1e-2, 1.2))


def _carried(rng: np.random.Generator, base: Toy) -> Toy:
    """Momentum and a generator that is too fast: it runs from mode to mode."""
    cost = _pick(rng, "relativistic", "non-saturating", "least-squares", "wasserstein")
    return replace(base, cost=cost, beta1=0.9, **_rates(rng, 2e-2, 1e-3))


def _dead(rng: np.random.Generator, base: Toy) -> Toy:
    """Steps so large that the generator's units die."""
    if rng.random() < 0.5:
        return replace(base, cost="least-squares", **_rates(rng, 1.0, 1.0))
    return replace(base, cost="minimax", beta1=0.9, **_rates(rng, 3e-2, 3e-2))


def _sure(rng: np.random.Generator, base: Toy) -> Toy:
    """Minimax has no slope where the critic is sure."""
    return replace(base, cost="minimax", beta1=_pick(rng, 0.0, 0.9), **_rates(rng, 3e-2, 2e-3))


def _slow(rng: np.random.Generator, base: Toy) -> Toy:
    """A generator that is too slow for its critic gets stuck on a part."""
    cost = _pick(rng, "non-saturating", "minimax", "least-squares")
    return replace(base, cost=cost, beta1=_pick(rng, 0.0, 0.9), **_rates(rng, 1e-4, 3e-2))


def _turning(rng: np.random.Generator, base: Toy) -> Toy:
    """Wasserstein's game without a bound, and momentum: Dirac's circle (Mescheder et al. 2018)."""
    return replace(base, cost="wasserstein", beta1=_pick(rng, 0.85, 0.9, 0.95), **_rates(rng, 5e-4, 3e-3))


def _resting(rng: np.random.Generator, base: Toy) -> Toy:
    """The same world without momentum and with a penalty."""
    cost = _pick(rng, "wasserstein", "non-saturating", "relativistic")
    return replace(base, cost=cost, penalty="r1", gamma=0.1, final=0.05, **_rates(rng, 5e-4, 3e-3))


def _exploding(rng: np.random.Generator, base: Toy) -> Toy:
    return replace(base, cost=_pick(rng, "least-squares", "wasserstein", "relativistic"), **_rates(rng, 1e9, 1e9))


def _few(rng: np.random.Generator, base: Toy) -> Toy:
    """A critic that can learn its points by heart."""
    cost = _pick(rng, "non-saturating", "relativistic", "hinge")
    return replace(base, cost=cost, train=int(rng.integers(50, 100)), **_rates(rng, 1e-3, 4e-3))


def _copied(rng: np.random.Generator, base: Toy) -> Toy:
    """A generator that has time to learn a few points by heart."""
    cost, penalty = _pick(rng, ("relativistic", "r1+r2"), ("non-saturating", "r1"))
    game = {"cost": cost, "penalty": penalty, "gamma": 0.003, "final": 0.05}
    return replace(base, train=int(rng.integers(20, 40)), **game, **_rates(rng, 3e-3, 6e-3))


def _many(rng: np.random.Generator, base: Toy) -> Toy:
    return replace(_penalised(rng, base), train=8_000)


PLANS: dict[str, tuple[Callable[[np.random.Generator, Toy], Toy], str, int, int]] = {
    # name -> how it is drawn, in which kind of world, runs for calibration, unseen runs
    "penalised": (_penalised, "plane", 40, 290),
    "plain": (_plain, "plane", 20, 100),
    "carried": (_carried, "plane", 16, 20),
    "dead": (_dead, "plane", 14, 54),
    "sure": (_sure, "plane", 14, 20),
    "slow": (_slow, "plane", 14, 22),
    "turning": (_turning, "line", 16, 22),
    "resting": (_resting, "line", 10, 66),
    "exploding": (_exploding, "plane", 6, 12),
    "few": (_few, "codes", 10, 12),
    "copied": (_copied, "codes", 12, 20),
    "many": (_many, "codes", 12, 70),
}


def toys(split: Split, share: float = 1.0, steps: int = 1_500) -> list[tuple[str, Toy]]:
    """The games of one half, a `share` of them: (plan, game)."""
    found = []
    for at, (name, (draw, where, calibration, unseen)) in enumerate(PLANS.items()):
        n = max(round(share * (calibration if split.name == "calibration" else unseen)), 1)
        for i in range(n):
            rng = np.random.default_rng([split.seed, at, i])
            width = split.widths[i % len(split.widths)]
            base = Toy(world=split.worlds(rng), hidden=width, critic_hidden=width, steps=steps)
            if where == "codes":
                world = broad(int(rng.integers(2, 5)), split.codes, rng)
                base = replace(base, world=world, image=True, latent=8)
            elif where == "line":
                base = replace(base, world=line(rng), latent=1, zoom=2.0)
            found.append((name, draw(rng, replace(base, seed=100_000 * split.seed + 1_000 * at + i))))
    return found


def games(split: Split, share: float = 1.0, steps: int = 1_500) -> list[Case]:
    """All games of one half, played, judged and held against the truth."""
    drawn = toys(split, share, steps)
    cases = []
    for (plan, _), game in zip(
        drawn, play([toy for _, toy in drawn], lambda far: print(split.name, far, flush=True)), strict=True
    ):
        cases.append(Case(plan, happened(game), tuple(judge(history(game)))))
    return cases


# ---- VAEs on small images -------------------------------------------------------------------------------------------

CODES: dict[str, tuple[Callable[[np.random.Generator], dict[str, Any]], int, int]] = {
    # plan -> settings, runs for calibration, unseen runs
    "balanced": (lambda rng: {"objective.beta": float(rng.uniform(0.8, 1.25))}, 6, 58),
    "pressed": (lambda rng: {"objective.beta": float(rng.uniform(5, 12))}, 4, 18),
    "loose": (lambda rng: {"objective.beta": float(10 ** rng.uniform(-2, -1))}, 4, 12),
    "coarse": (
        lambda rng: {"objective.sigma": "fixed", "objective.sigma-value": float(rng.uniform(0.45, 0.75))},
        4,
        14,
    ),
    "mute": (lambda rng: {"objective.sigma": "fixed", "objective.sigma-value": float(rng.uniform(2, 5))}, 4, 12),
}
_VERDICT = {"pressed": "over-regularised", "coarse": "blurred"}  # what an error that is too large is called
_SHOWN = 50_000  # images: with fewer, MNIST's usual errors are so large that nothing is a quarter worse


def coded(split: Split, work: Path, share: float = 1.0, shown: int = _SHOWN) -> list[Case]:
    """VAEs of one half. What is true of one is read from its code and its errors on held-out images, beside those of a
    balanced one with the same networks: rules that know no settings but which of two names a large error has."""
    cases = []
    for at, (plan, (draw, calibration, unseen)) in enumerate(CODES.items()):
        n = max(round(share * (calibration if split.name == "calibration" else unseen)), 1)
        for i in range(n):
            rng = np.random.default_rng([split.seed, 50 + at, i])
            network = (int(rng.integers(96, 257)), int(rng.integers(8, 25)), float(rng.uniform(1e-3, 3e-3)))
            seed = 10_000 * split.seed + 100 * at + i
            run, error, nats, explained = _coded(split, work, network, draw(rng), seed, shown)
            truth: set[str] = set()
            if plan != "balanced":
                _, usual, usual_nats, _ = _coded(split, work, network, {}, seed, shown)
                if explained < 0.05:
                    truth.add("posterior-collapse")
                elif error >= 1.25 * usual and plan in _VERDICT:
                    truth.add(_VERDICT[plan])
                elif nats >= 1.5 * usual_nats:
                    truth.add("under-regularised")
            cases.append(Case(plan, Truth(frozenset(truth), plan == "balanced"), tuple(judge(of_run(run)))))
        print(split.name, plan, n, flush=True)
    return cases


def _learned_by_heart(
    split: Split, work: Path, network: tuple[int, int, float], seed: int, few: int, shown: int
) -> tuple[Run, float]:
    """A VAE that is given few images, and its bound on others, in nats."""
    hidden, latent, lr = network
    whole = load(DataConfig(source=split.images[seed % len(split.images)], resolution=split.resolution))
    settings = {
        **{"data.source": str(_few(whole, few, work / split.name / f"{seed}.npz")), "model.kind": "mlp"},
        **{"model.hidden": (hidden,), "model.latent": latent, "optim.lr": lr, "optim.decay": "none"},
        **{"training.images": Images(shown), "training.ema-halflife": Images(0), "training.seed": seed},
        **{"training.precision": "float32", "training.batch": 32},
    }
    run = finished(work / split.name / f"{seed}-{shown}-{few}", override(vae(), settings))
    images = see(whole.test.gather(np.arange(len(whole.test) - 2_000, len(whole.test))))
    return run, float(elbo(run.network(averaged=False), images).bound.mean())


def _coded(
    split: Split, work: Path, network: tuple[int, int, float], asked: dict[str, Any], seed: int, shown: int
) -> tuple[Run, float, float, float]:
    """A trained VAE; on held-out images its root mean square error, its KL in nats, and the share of their variance
    that its reconstructions explain."""
    hidden, latent, lr = network
    settings = {
        **{"data.source": split.images[seed % len(split.images)], "data.resolution": split.resolution},
        **{"model.kind": "mlp", "model.hidden": (hidden,), "model.latent": latent, "optim.lr": lr},
        **{"training.images": Images(shown), "training.ema-halflife": Images(0), "training.seed": seed},
        **{"training.precision": "float32"},
    }
    whole = load(DataConfig(source=settings["data.source"], resolution=split.resolution))
    name = "-".join(map(str, (seed, shown, *asked.values())))
    run = finished(work / split.name / name, override(vae(), settings | asked))
    net = run.network(averaged=False)
    images = see(whole.test.gather(np.arange(len(whole.test) - 2_000, len(whole.test))))
    with torch.no_grad():
        posterior = net.posterior(images)
        squares = (net.decode(posterior.mean) - images).square().mean()
        nats = kl_standard_normal(posterior.mean, posterior.logvar).sum(1).mean()
        explained = 1 - squares / (images - images.mean(0)).square().mean()
    return run, math.sqrt(float(squares)), float(nats), float(explained)


TIMED = {"short": ("undertrained", 4, 12), "overlong": ("past-best", 4, 12)}  # plan -> truth, runs, unseen runs


def _few(whole: Dataset, few: int, path: Path) -> Path:
    """A set of the first training images of another, and of the first of its held-out ones."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = (whole.train.images[:few], whole.test.images[:1_000])
        given, kept = (part.transpose(0, 2, 3, 1) for part in parts)
        np.savez(path, x_train=given, x_test=kept)
    return path


def timed(split: Split, work: Path, share: float = 1.0) -> list[Case]:
    """VAEs that stop too early, or that have a few images and go on for too long. What is true of one is read from
    images that none of them was given, beside the same training at another length (its rate does not fall, so that one
    is the beginning of the other): a twentieth less error with twice as many images shown, or two nats more of the
    bound after a quarter of them."""
    cases = []
    for at, (plan, (what, calibration, unseen)) in enumerate(TIMED.items()):
        for i in range(max(round(share * (calibration if split.name == "calibration" else unseen)), 1)):
            rng = np.random.default_rng([split.seed, 70 + at, i])
            network = (int(rng.integers(96, 257)), int(rng.integers(8, 25)), float(rng.uniform(1e-3, 3e-3)))
            seed, asked = 10_000 * split.seed + 1_000 + 100 * at + i, {"optim.decay": "none"}
            if plan == "short":
                shown = int(rng.integers(2_000, 5_000))
                run, error, *_ = _coded(split, work, network, asked | {"training.batch": 32}, seed, shown)
                _, later, *_ = _coded(split, work, network, asked | {"training.batch": 32}, seed, 2 * shown)
                true = later <= 0.95 * error
            else:
                few, length = int(rng.integers(100, 400)), 48_000
                run, bound = _learned_by_heart(split, work, network, seed, few, length)
                _, earlier = _learned_by_heart(split, work, network, seed, few, length // 4)
                true = earlier >= bound + 2
            cases.append(Case(plan, Truth(frozenset({what} if true else ())), tuple(judge(of_run(run)))))
        print(split.name, plan, flush=True)
    return cases


# ---- Samples that nobody trained ------------------------------------------------------------------------------------


class Sham:
    """A generator that shows given images."""

    def __init__(self, pool: torch.Tensor, rng: np.random.Generator) -> None:
        self.pool, self.rng = pool, rng

    def prior(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.from_numpy(self.rng.choice(len(self.pool), n, replace=len(self.pool) < n))

    def decode(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.pool[z]


SHAMS = {  # plan -> what is true of it, runs for calibration, unseen runs
    "training set": (frozenset({"generator-memorising"}), 6, 10),
    "half the classes": (frozenset({"mode-collapse-partial"}), 6, 12),
    "a grid": (frozenset({"checkerboard"}), 6, 12),
    "held out": (frozenset(), 8, 64),
}


def shams(split: Split, share: float = 1.0) -> list[Case]:
    """Panels that are shown real images as if they were made: a part of the set for training, the rest held out."""
    cases = []
    for at, (plan, (truth, calibration, unseen)) in enumerate(SHAMS.items()):
        n = max(round(share * (calibration if split.name == "calibration" else unseen)), 1)
        for i in range(n):
            rng = np.random.default_rng([split.seed, 80 + at, i])
            cases.append(Case(plan, Truth(truth, not truth), tuple(judge(_sham(split, plan, rng, i)))))
    return cases


def _sham(split: Split, plan: str, rng: np.random.Generator, i: int) -> History:
    source = load(DataConfig(source=split.images[i % len(split.images)])).train  # in full size: a grid needs room
    chosen = rng.permutation(len(source))[: int(rng.integers(4_000, 8_000))]
    assert source.labels is not None
    images, labels = source.images[np.sort(chosen)], source.labels[np.sort(chosen)]
    third = len(images) // 3
    order = rng.permutation(len(images))
    train, test, other = np.split(order, [third, 2 * third])
    sets = [
        ImageSet(name, images[part], labels[part], source.classes, None)
        for name, part in (("train", train), ("test", test))
    ]
    pool = see(torch.from_numpy(images[train if plan == "training set" else other]))
    if plan == "half the classes":
        k = len(source.classes)
        pool = pool[torch.from_numpy(np.isin(labels[other], rng.permutation(k)[: k // 2]))]
    if plan == "a grid":
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in pool.shape[2:]), indexing="ij")
        pool = pool + float(rng.uniform(0.3, 0.6)) * (-1.0) ** (rows + columns)
    panel = Panel(Dataset(sets[0], sets[1], {}, Path()), torch.device("cpu"))
    slopes = torch.from_numpy(rng.standard_normal(pool[0].numel(), dtype=np.float32))
    critic = _Linear(slopes)
    rows_ = [{"images": 10_000.0 * (t + 1), **panel.game(Sham(pool, rng), critic)} for t in range(6)]
    facts = {"family": "dcgan", "kind": "images", "until": 60_000, "stopped": "finished", "train": third}
    return History(of_rows(rows_), facts)


class _Linear(torch.nn.Module):
    """A critic that knows nothing of anybody's training set."""

    def __init__(self, slopes: torch.Tensor) -> None:
        super().__init__()
        self.slopes = slopes

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return x.flatten(1) @ self.slopes


# ---- Rates ----------------------------------------------------------------------------------------------------------


def wilson(right: int, n: int) -> list[Any]:
    """The share right / n and its 95 % interval (Wilson 1927): [share, low, high]; None without any."""
    if n == 0:
        return [None] * 3
    share = right / n
    return [round(value, 4) for value in (share, *interval(share, n))]


def faults(case: Case) -> list[Finding]:
    """The faults that were found."""
    return [finding for finding in case.said if finding.severity == "fault"]


def rates(cases: Sequence[Case]) -> dict[str, Any]:
    """Recall a verdict and pooled, false alarms, and what the confidence of findings is worth."""
    verdicts: dict[str, Any] = {}
    named = asked = 0
    for what in (*FAULTS, *NOTES):
        true = [case for case in cases if what in case.truth.faults]
        hit = sum(case.named(what) for case in true)
        said = [(case, f) for case in cases for f in faults(case) if f.what == what]
        verdicts[what] = {
            **{"true": len(true), "named": hit, "recall": wilson(hit, len(true))},
            "suspected": sum(any(f.what == what and f.severity == "note" for f in case.said) for case in true)
            - hit * (what in NOTES),
            "precision": wilson(sum(case.right(f) for case, f in said), len(said)),
        }
        named, asked = named + hit, asked + len(true)
    healthy = [case for case in cases if case.truth.healthy]
    alarmed = [case for case in healthy if faults(case)]
    return {
        **{"runs": len(cases), "faulty": sum(bool(case.truth.faults) for case in cases), "healthy": len(healthy)},
        "neither": sum(not case.truth.faults and not case.truth.healthy for case in cases),
        **{"recall": wilson(named, asked), "false_alarms": wilson(len(alarmed), len(healthy))},
        "alarmed_by": _counts(finding.what for case in alarmed for finding in faults(case)),
        "verdicts": verdicts,
        "confidence": reliability(cases),
        "plans": _plans(cases),
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _plans(cases: Sequence[Case]) -> dict[str, Any]:
    """What each plan led to and what was said of it."""
    found: dict[str, Any] = {}
    for plan in dict.fromkeys(case.kind for case in cases):
        own = [case for case in cases if case.kind == plan]
        found[plan] = {
            **{"runs": len(own), "healthy": sum(case.truth.healthy for case in own)},
            "true": _counts(what for case in own for what in sorted(case.truth.faults)),
            "said": _counts(finding.what for case in own for finding in case.said if finding.severity == "fault"),
        }
    return found


def reliability(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Findings of faults by their confidence, in fifths from 0.5 on: how many, their mean confidence, share right."""
    pairs = [(finding.confidence, case.right(finding)) for case in cases for finding in faults(case)]
    rows = []
    for low, high in ((0.0, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        own = [(c, right) for c, right in pairs if low <= c < high]
        if own:
            mean = sum(c for c, _ in own) / len(own)
            row = {"from": low, "to": min(high, 1.0), "findings": len(own), "confidence": round(mean, 3)}
            rows.append(row | {"right": wilson(sum(right for _, right in own), len(own))})
    return rows


def fitted(cases: Sequence[Case]) -> dict[str, tuple[float, float]]:
    """a and b of 1 / (1 + exp(-(a + b score))) for each way to a verdict, from calibration runs.

    Maximum a posteriori by Newton's steps. A way that was seldom taken stays near the prior: as often right as not at
    the threshold, with standard deviations of 1.5 and 1; b is not below 0. Suspicions take part: that they are notes is
    what the last table made of them."""
    found = {}
    prior = (0.0, 2.0)
    for way in CALIBRATION:
        own = [
            (f.score, case.right(f))
            for case in cases
            for f in case.said
            if f.way == way and (f.what in FAULTS or (f.what in NOTES and case.kind in TIMED))
        ]
        if not own:
            continue
        x = np.stack([np.ones(len(own)), np.minimum([score for score, _ in own], 2.0)], 1)  # [n, 2]
        y = np.array([right for _, right in own], float)
        centre, weight = np.array(prior), np.diag([1 / 1.5**2, 1.0])
        theta = centre.copy()
        for _ in range(50):
            p = 1 / (1 + np.exp(-x @ theta))
            slope = x.T @ (y - p) - weight @ (theta - centre)
            theta = theta + np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + weight, slope)
        found[way] = (round(float(theta[0]), 2), round(max(float(theta[1]), 0.0), 2))
    return found


# ---- The whole ------------------------------------------------------------------------------------------------------


def half(split: Split, work: Path, quick: bool) -> list[Case]:
    """All runs of one half. The games of calibration are drawn twice: rules were mended with the first draw in sight,
    and then with the second."""
    share, steps = (0.05, 120) if quick else (1.0, 1_500)
    cases = games(split, share, steps)
    if split is CALIBRATION_RUNS and not quick:
        cases += games(replace(split, seed=11), share, steps)
    cases += coded(split, work, share, 1_000 if quick else _SHOWN) + timed(split, work, share)
    return cases + shams(split, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs, and short ones; stores nothing")
    parser.add_argument("--only", choices=("calibration", "unseen"), help="one half; the other stays as it is stored")
    parser.add_argument("--fit", action="store_true", help="print what confidence should be, from the calibration runs")
    parser.add_argument("--work", type=Path, default=Path("runs/diagnosis"), help="where the run folders are")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    work = asked.work / ("quick" if asked.quick else "full")
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {}
    result: dict[str, Any] = stored | {"benchmark": "diagnosis", "quick": asked.quick, "bars": BARS}
    result |= {"protocol": __doc__.split("\n\n")[0]}
    for split in (CALIBRATION_RUNS, UNSEEN_RUNS):
        if asked.only not in (None, split.name) or (asked.quick and asked.only is None and split is CALIBRATION_RUNS):
            continue
        begin = time.process_time()
        cases = half(split, work, asked.quick)
        kept(cases, work / f"{split.name}.jsonl")
        found = {"cpu_minutes": round((time.process_time() - begin) / 60, 1), "seeds": split.seed, "machine": machine()}
        result[split.name] = rates(cases) | found
        if split is CALIBRATION_RUNS and asked.fit:
            for way, (a, b) in fitted(cases).items():
                print(f'    "{way}": ({a}, {b}),')
    if "unseen" in result:
        result["held"] = held(result["unseen"])
    if not asked.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not asked.quick and "unseen" in result:
        for lang in CHARTS:
            CHARTS[lang].write_text(chart(result["unseen"], lang), encoding="utf-8")
    print(json.dumps(result))


def kept(cases: Sequence[Case], path: Path) -> None:
    """Every case in a line, to look at one by one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for case in cases:
            said = [(f.what, f.severity, round(f.confidence, 3), round(f.score, 3)) for f in case.said]
            truth = {"true": sorted(case.truth.faults), "also": sorted(case.truth.also), "healthy": case.truth.healthy}
            file.write(json.dumps({"plan": case.kind, **truth, "said": said}) + "\n")


def machine() -> dict[str, Any]:
    """What it ran on."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return versions | {"cores": os.cpu_count(), "threads": 1, "date": datetime.now(UTC).date().isoformat()}


def held(found: dict[str, Any]) -> bool:
    """Whether the unseen runs meet the bars."""
    each = found["verdicts"].values()
    return bool(
        found["runs"] >= BARS["unseen"]
        and found["healthy"] >= BARS["healthy"] * found["runs"]
        and min(row["true"] for row in each) >= BARS["cases"]
        and found["recall"][1] >= BARS["recall_low"]
        and found["false_alarms"][2] <= BARS["false_alarms_high"]
        and min(row["recall"][0] for row in each) >= BARS["each_verdict"]
    )


SAID = {
    "en": (
        "of the findings, the share that is right",
        "confidence that they were given with",
        "of the runs that have it, named",
    ),
    "es": (
        "de los hallazgos, la parte acertada",
        "confianza con que se dieron",
        "de las corridas que lo tienen, nombradas",
    ),
}

SPANISH = {
    **{"divergence": "divergencia", "mode-collapse-full": "colapso total", "mode-collapse-partial": "colapso parcial"},
    **{"mode-cycling": "modas por turnos", "saturated-critic": "crítico saturado", "oscillation": "oscilación"},
    **{"critic-memorising": "crítico que memoriza", "generator-memorising": "generador que memoriza"},
    **{"posterior-collapse": "colapso de la posterior", "over-regularised": "regularización de más"},
    **{"under-regularised": "regularización de menos", "blurred": "borroneado", "checkerboard": "cuadrícula"},
    **{"undertrained": "poco entrenamiento", "past-best": "pasado de su mejor punto"},
}


def chart(found: dict[str, Any], lang: str) -> str:
    """Left: of the findings given with a confidence, the share that is right. Right: recall of each verdict."""
    parts = ['<rect width="820" height="420" fill="#fff"/>']
    right, given, named_ = SAID[lang]

    def x(value: float) -> float:
        return 60 + 280 * value

    def y(value: float) -> float:
        return 350 - 290 * value

    def written(value: float) -> str:
        return f"{value:g}".replace(".", "," if lang == "es" else ".")

    parts.append(f'<path d="M{x(0)} {y(0)}H{x(1)}M{x(0)} {y(0)}V{y(1)}" stroke="#999" fill="none"/>')
    parts.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#999" stroke-dasharray="4 4"/>')
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<text x="{x(value)}" y="370" text-anchor="middle">{written(value)}</text>')
        parts.append(f'<text x="{x(0) - 8}" y="{y(value) + 4}" text-anchor="end">{written(value)}</text>')
    for row in found["confidence"]:
        share, low, high = row["right"]
        at = x(row["confidence"])
        parts.append(f'<path d="M{at:.1f} {y(low):.1f}V{y(high):.1f}" stroke="#2f6f9f" stroke-width="2"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{y(share):.1f}" r="4.5" fill="#2f6f9f"/>')
        parts.append(f'<text x="{at + 7:.1f}" y="{y(share) + 15:.1f}" fill="#2f6f9f">{row["findings"]}</text>')
    parts.append(f'<text x="200" y="34" text-anchor="middle">{right}</text>')
    parts.append(f'<text x="200" y="398" text-anchor="middle">{given}</text>')
    parts.append(f'<text x="660" y="34" text-anchor="middle">{named_}</text>')
    named = [(what, row) for what, row in found["verdicts"].items() if row["true"]]
    for i, (what, row) in enumerate(named):
        top = 62 + i * 288 / max(len(named) - 1, 1)
        share, low, high = (590 + 160 * value for value in row["recall"])
        label = SPANISH[what] if lang == "es" else what.replace("-", " ")
        parts.append(f'<text x="580" y="{top + 4:.1f}" text-anchor="end">{label}</text>')
        parts.append(f'<path d="M590 {top:.1f}H750" stroke="#ddd"/>')
        parts.append(f'<path d="M{low:.1f} {top:.1f}H{high:.1f}" stroke="#b3541e" stroke-width="2"/>')
        parts.append(f'<circle cx="{share:.1f}" cy="{top:.1f}" r="4" fill="#b3541e"/>')
        parts.append(f'<text x="762" y="{top + 4:.1f}">{row["named"]}/{row["true"]}</text>')
    style = 'font-family="sans-serif" font-size="13" fill="#333"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 420" {style}>{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
