"""How far a generator of points on a line is from the end of the game (Goodfellow et al. 2014, section 4).

With one latent and one output the generator's density q is known exactly, and the data's density p has a closed form.
At the end of the game p = q and nobody can do better than D = 1/2 (proposition 2). Three measures, in nats:

    JSD(p || q) by integration                          0 at the end, log 2 at most
    the trained critic against 1/2 and against p/(p+q), which is the best critic (proposition 1)
    best response: what a fresh critic, trained to its end against the frozen generator, finds,
        V + log 4 = E_p log D + E_q log(1 - D) + log 4 <= 2 JSD(p || q)     (theorem 1)

The first knows the densities. The last needs samples alone, and says what an opponent could still gain.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latente.config import AdversarialObjective
from latente.data.points import world
from latente.objectives.adversarial import advantage, belief, cross_entropy_fake, cross_entropy_real
from latente.portraits import latents, push_forward
from latente.run import Run

Floats = NDArray[np.float64]
Generator = Callable[[Tensor], Tensor]  # z [n, 1] -> points [n, 1, 1, 1]
Critic = Callable[[Tensor], Tensor]  # points [n, 1, 1, 1] -> [n], larger for real
Sampler = Callable[[int], Tensor]  # n -> [n], fresh at every call

WINDOW = (-2.0, 2.0)  # where densities are integrated; the data lie in [-1, 1]
_BINS = 8_000
_LATENTS = 40_001
_SAMPLES = 200_000  # of each, for means
_STEPS, _BATCH = 1_000, 512  # of the fresh critic
_KNOTS, _WAVES, _UNITS = 128, 32, 64  # what it is told of a place, and its hidden units


class World(Protocol):
    """Data in one dimension whose density is known."""

    def sample(self, n: int, rng: np.random.Generator) -> Floats: ...  # [n, 1]

    def density(self, x: Floats) -> Floats: ...  # [n, 1] -> [n]


class Equilibrium(NamedTuple):
    """What is left of the game; all but the distances in nats. D is a probability."""

    advantage: float  # V + log 4 of the best response, on fresh samples
    advantage_error: float  # its standard error
    jsd: float  # JSD(p || q), by integration: the advantage is at most twice this
    half_data: float  # mean |D - 1/2| of the trained critic, on data
    half_samples: float  # the same on generated points
    best_data: float  # mean |D - p/(p+q)| of the trained critic, on data
    best_samples: float


def equilibrium(
    generator: Generator,
    critic: Critic,
    data: World,
    *,
    cost: str = "non-saturating",
    uniform: bool = False,
    seed: int = 0,
    steps: int = _STEPS,
    samples: int = _SAMPLES,
    device: torch.device | None = None,
) -> Equilibrium:
    """Everything above for two frozen players; a few seconds.

    uniform: the latent's prior is uniform with variance 1, else N(0, 1). cost: what the critic was trained with, which
    decides how its output is read (`belief`). steps: of the fresh critic; samples: of each, that means are taken over.
    The same seed gives the same numbers.
    """
    device = device or torch.device("cpu")
    edges = np.linspace(*WINDOW, _BINS + 1)
    p, q = data.density(_centres(edges)[:, None]), density(generator, edges, uniform=uniform, device=device)
    rng, draws = np.random.default_rng([seed, 0]), torch.Generator().manual_seed(seed)

    def real(n: int) -> Tensor:
        return torch.tensor(data.sample(n, rng), dtype=torch.float32, device=device).flatten()

    def made(n: int) -> Tensor:
        z = torch.rand(n, 1, generator=draws) * 2 - 1 if uniform else torch.randn(n, 1, generator=draws)
        with torch.no_grad():
            return generator((z * math.sqrt(3) if uniform else z).to(device)).flatten()

    advantage, error = best_response(real, made, steps=steps, samples=samples, seed=seed)
    x, y = real(samples), made(samples)  # [n]
    with torch.no_grad():
        on_data, on_samples = (critic(points.view(-1, 1, 1, 1)) for points in (x, y))
    middle = on_samples.mean()
    best = p / np.maximum(p + q, 1e-300)
    found = []
    for points, logits in ((x, on_data), (y, on_samples)):
        d = belief(cost, logits, middle)
        wanted = torch.tensor(np.interp(points.cpu().numpy(), _centres(edges), best), dtype=d.dtype, device=device)
        found += [float((d - 0.5).abs().mean()), float((d - wanted).abs().mean())]
    half_data, best_data, half_samples, best_samples = found
    left = jensen_shannon(p, q, edges)
    return Equilibrium(advantage, error, left, half_data, half_samples, best_data, best_samples)


def of_run(run: Run, images: int | None = None, seed: int = 0) -> Equilibrium:
    """`equilibrium` of a run on a world in one dimension with one latent; the newest checkpoint unless `images` says.

    Averaged weights, where the run has them, as everything else that is shown of it.
    """
    config = run.config
    if not isinstance(config.objective, AdversarialObjective) or getattr(config.model, "latent", 0) != 1:
        raise ValueError("the density is known for a generator of one latent")
    kind, _, name = config.data.source.partition(":")
    if kind != "points" or run.dataset["image_shape"] != [1, 1, 1]:
        raise ValueError(f"{config.data.source} is no world in one dimension")
    generator, critic = run.network(images), run.network(images, player="critic")
    uniform = getattr(config.model, "prior", "normal") == "uniform"
    return equilibrium(generator, critic, world(name), cost=config.objective.cost, uniform=uniform, seed=seed)


def density(
    generator: Generator, edges: Floats, *, uniform: bool = False, device: torch.device | None = None
) -> Floats:
    """The generator's density on bins [m], by push-forward of a fine grid of its latent; edges [m + 1]."""
    z, mass = latents(_LATENTS, uniform)
    with torch.no_grad():
        x = generator(torch.tensor(z, dtype=torch.float32, device=device)[:, None]).flatten()
    return push_forward(mass, x.cpu().double().numpy(), edges)


def jensen_shannon(p: Floats, q: Floats, edges: Floats) -> float:
    """JSD of two densities on bins [m], in nats; edges [m + 1].

    What a density has outside the bins counts as found nowhere in the other: log 2 for each half of it.
    """
    width = np.diff(edges)
    mean = np.maximum((p + q) / 2, 1e-300)
    inside = sum(float(np.sum(width * a * np.log(np.maximum(a, 1e-300) / mean))) for a in (p, q))
    outside = sum(max(1 - float(np.sum(width * a)), 0.0) for a in (p, q))
    return (inside + outside * math.log(2)) / 2


def best_response(
    real: Sampler, made: Sampler, *, steps: int = _STEPS, samples: int = _SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The advantage V + log 4 in nats of a fresh critic over two distributions on the line, and its standard error.

    Trained by the cross-entropy with fresh samples at every step and a learning rate that falls to 0, and judged by
    samples that it has not seen: no critic scores above 2 JSD but by luck.
    """
    net = _Fresh(torch.cat([real(10_000), made(10_000)]), seed)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3, (0.9, 0.99))
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    for _ in range(steps):
        on_data, on_samples = net(torch.cat([real(_BATCH), made(_BATCH)])).split(_BATCH)
        loss = (cross_entropy_real(on_data) + cross_entropy_fake(on_samples)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    with torch.no_grad():
        on_data, on_samples = (net(sample(samples)).double() for sample in (real, made))
    spread = cross_entropy_real(on_data).var() + cross_entropy_fake(on_samples).var()
    return float(advantage(on_data, on_samples)), math.sqrt(float(spread) / samples)


class _Fresh(nn.Module):
    """A critic on the line that sees fine differences wherever there are points, however close together.

    x [n] is first replaced by its rank among points seen before, from 0 to 1 (linear between 128 quantiles), and that
    by 32 pairs of waves, which networks follow better than a ramp (Tancik et al. 2020). Then two layers of 64 units.
    """

    knots: Tensor  # [K]

    def __init__(self, seen: Tensor, seed: int) -> None:
        super().__init__()
        knots = torch.quantile(seen.cpu().double(), torch.linspace(0, 1, _KNOTS, dtype=torch.float64))
        room = 0.05 * float(knots[-1] - knots[0]) + 1e-6
        self.register_buffer("knots", torch.unique(torch.cat([knots[:1] - room, knots, knots[-1:] + room])))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                *(nn.Linear(2 * _WAVES, _UNITS), nn.ReLU(), nn.Linear(_UNITS, _UNITS), nn.ReLU(), nn.Linear(_UNITS, 1))
            )
        self.to(seen.device)

    def forward(self, x: Tensor) -> Tensor:
        cell = (torch.searchsorted(self.knots, x.to(self.knots)) - 1).clamp(0, len(self.knots) - 2)  # [n]
        low, high = self.knots[cell], self.knots[cell + 1]
        rank = ((cell + ((x - low) / (high - low)).clamp(0, 1)) / (len(self.knots) - 1)).float()
        phases = math.pi * rank[:, None] * torch.arange(1, _WAVES + 1, device=x.device)  # [n, W]
        logits: Tensor = self.net(torch.cat([phases.sin(), phases.cos()], 1)).squeeze(1)  # [n]
        return logits


def _centres(edges: Floats) -> Floats:
    centres: Floats = (edges[1:] + edges[:-1]) / 2
    return centres
