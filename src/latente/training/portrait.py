"""What a generator and its critic look like in a world of points: evaluated on grids and drawn.

The same latents and the same real points every time, so that portraits of one run make a film.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from latente import portraits
from latente.objectives.adversarial import belief

WINDOW = (-1.1, 1.1)  # the data lie in [-1, 1], most of them well inside
_POINTS, _ARROWS = 500, 160  # generated points that are drawn; how many of them with the critic's gradient
_REALS = 1500
_FINE = 128  # places a side where the critic is asked
_PLACES = 401  # on a line
_LATENTS = 8001  # of a one-dimensional prior
_PAIRS = 27  # arrows from latents to where they go
_AT_ONCE = 512  # a critic that compares the points of a batch has work that grows with its square

Floats = NDArray[np.float64]
Critic = Callable[[Tensor], Tensor]  # [n, d, 1, 1] -> logits [n]


class Generator(Protocol):
    """A generator of points."""

    latent: int

    def prior(self, n: int, generator: torch.Generator) -> Tensor: ...  # [n, latent]

    def __call__(self, z: Tensor) -> Tensor: ...  # [n, d, 1, 1]


class World(Protocol):
    """A world in one dimension whose density is known; of others nothing is asked."""

    def density(self, x: Floats) -> Floats: ...  # [n, 1] -> [n]


def portrait(
    generator: Generator,
    critic: Critic,
    dataset_points: Tensor,
    world: World,
    cost: str,
    device: torch.device,
) -> Image.Image:
    """The plane with both players, or Goodfellow's Figure 1 for a world in one dimension.

    Both players in evaluation mode, on `device`; dataset_points [n, d, 1, 1], d 1 or 2. D is what the
    critic's logits say under its cost (`belief`).
    Nothing is drawn from the global generators.
    """
    source = torch.Generator().manual_seed(0)
    z = generator.prior(_POINTS, source).to(device)
    with torch.no_grad():
        fakes = generator(z)  # [n, d, 1, 1]
    middle = _logits(critic, fakes).mean()

    def believed(x: Tensor) -> Floats:
        return _numpy(belief(cost, _logits(critic, x), middle))

    if fakes.shape[1] == 1:
        return _line(generator, believed, world, source, device)
    axis = torch.linspace(*WINDOW, _FINE, device=device)
    down, across = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    surface = believed(torch.stack([across, down], -1).view(-1, 2, 1, 1)).reshape(_FINE, _FINE)
    starts = fakes[:_ARROWS].detach().requires_grad_()
    with torch.enable_grad():
        (field,) = torch.autograd.grad(critic(starts).sum(), starts)  # [k, 2, 1, 1]
    reals = dataset_points[:: max(len(dataset_points) // _REALS, 1)][:_REALS]
    arrows = (_numpy(starts.flatten(1)), _numpy(field.flatten(1)))
    return portraits.plane(_numpy(reals.flatten(1)), _numpy(fakes.flatten(1)), surface, arrows, WINDOW)


def _line(
    generator: Generator,
    believed: Callable[[Tensor], Floats],
    world: World,
    source: torch.Generator,
    device: torch.device,
) -> Image.Image:
    edges = np.linspace(*WINDOW, _PLACES + 1)
    x = (edges[1:] + edges[:-1]) / 2
    critic = believed(torch.tensor(x, dtype=torch.float32, device=device).view(-1, 1, 1, 1))

    def made(z: Tensor) -> Floats:
        with torch.no_grad():
            return _numpy(generator(z.to(device)).flatten())

    if generator.latent == 1:
        grid, mass = portraits.latents(_LATENTS, getattr(generator, "uniform", False))
        places = made(torch.tensor(grid, dtype=torch.float32)[:, None])
        density = portraits.push_forward(mass, places, edges)
        shares = (np.arange(_PAIRS) + 0.5) / _PAIRS  # each arrow stands for the same share of the latents
        chosen = np.searchsorted(np.cumsum(mass), shares)
        pairs = (grid[chosen], places[chosen])
    else:  # several latents: counted, and there is no one axis to draw arrows from
        sampled = made(generator.prior(40 * _PLACES, source))
        density = np.histogram(sampled, edges)[0] / (len(sampled) * np.diff(edges))
        pairs = (np.zeros(0), np.zeros(0))
    return portraits.line(x, world.density(x[:, None]), density, critic, pairs, WINDOW)


@torch.no_grad()
def _logits(critic: Critic, x: Tensor) -> Tensor:
    return torch.cat([critic(part) for part in torch.split(x, _AT_ONCE)])


def _numpy(x: Tensor) -> Floats:
    return x.detach().cpu().double().numpy()
