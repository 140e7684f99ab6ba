"""A photo -> the latent whose image comes nearest to it (Karras et al. 2020, StyleGAN2, appendix D).

Distances are squared distances of features of a network, and of pixels, divided by what they are, in the mean, between
two images that the generator makes: 0 is the same image, 1 is as far as any two. Half of the loss is the one, half the
other. Without a network both are the pixels.

Latents are moved in units of their own spread around their own mean, so that one learning rate suits every space and
every family. Each image of a batch is looked for by itself.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latente.exploration.spaces import show, shown, spaces
from latente.models import StyleDecoder
from latente.pictures import to_pixels

STEPS = 500
_LR, _RAMP_UP, _RAMP_DOWN = 0.1, 0.05, 0.25  # Adam; shares of the steps
_SHAKE, _SHAKEN = 0.05, 0.75  # noise on the latent, in its spread, and the share of the steps in which it fades
_NOISE_WEIGHT = 1e5  # of what keeps the noise maps free of signal
_MEAN_OF = 10_000  # latents for mean and spread
_TRIED = 256  # latents among which z begins, and whose images give distances their unit
_PULL = 0.1  # holds z within the ball that the prior draws from

Watch = Callable[[int, dict[str, Any]], None]  # (steps done, numbers)


class Eyes(NamedTuple):
    """Who looks: a name, and images [N, C, H, W] in [-1, 1] -> features [N, F], differentiable."""

    name: str
    read: Callable[[Tensor], Tensor]


PIXELS = Eyes("pixels", lambda images: images.flatten(1))


@dataclass(frozen=True)
class Projection:
    """N images found again in one space."""

    space: str
    latent: Tensor  # [N, d]; of w+ [N, L, d]
    images: NDArray[np.uint8]  # [N, C, H, W], what the generator makes of it
    distance: NDArray[np.float64]  # [N] of features: 0 the same, 1 as far as two samples
    mse: NDArray[np.float64]  # [N] squared error a pixel, pixels in [0, 1]
    seconds: float  # for all of them together, of this space alone
    noise: list[Tensor] = field(default_factory=list)  # a map a layer [N, 1, h, w]; [] where there is none
    labels: Tensor | None = None  # [N], what a conditional generator is told
    steps: int = 0
    eyes: str = "pixels"


def project(
    net: Any,
    photos: Tensor,
    space: str,
    *,
    eyes: Eyes | None = None,
    steps: int = STEPS,
    seed: int = 0,
    labels: Tensor | None = None,
    start: Projection | None = None,
    watch: Watch = lambda step, row: None,
) -> Projection:
    """Look for photos [N, C, H, W] in [-1, 1] in one space of a generator.

    z begins at the nearest of a few samples, w and w+ at the mean of w, codes at what the encoder says; with `start`, a
    projection of another space is gone on from (w+ from w). `steps` 0 tells how near the beginning is.
    """
    generator = torch.Generator().manual_seed(seed)
    ruler = _ruler(net, photos, eyes or PIXELS, labels, generator)
    search = _Search(net, space, ruler, labels, *_ground(net, space, labels, generator))
    began = time.perf_counter()
    noise: list[Tensor] = []
    if isinstance(net, StyleDecoder):
        noise = [m.clone() for m in start.noise] if start else net.noise_maps(len(photos), generator)
    latent, noise = search.descend(search.beginning(start), noise, steps, generator, watch)
    images = search.images(latent, noise)
    far, mse = ruler.distances(images)
    return Projection(
        space=space,
        latent=latent,
        images=to_pixels(images.numpy()),
        distance=far.double().numpy(),
        mse=mse.double().numpy(),
        seconds=time.perf_counter() - began,
        noise=noise,
        labels=labels,
        steps=steps,
        eyes=ruler.eyes.name,
    )


def project_all(net: Any, photos: Tensor, which: Iterable[str] = (), **how: Any) -> dict[str, Projection]:
    """The projections into several spaces (all of a generator, if none is named), w+ beginning where w ended.

    Of a network that encodes: "encoder", what its encoder says alone, and "codes", the same gone on by gradient."""
    found: dict[str, Projection] = {}
    for space in tuple(which) or spaces(net):
        if space == "codes":
            found["encoder"] = project(net, photos, space, **(how | {"steps": 0}))
        found[space] = project(net, photos, space, start=found.get("w") if space == "w+" else None, **how)
    return found


# ---- How near -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ruler:
    """Distances to the photos in units of the distance of two samples."""

    photos: Tensor
    features: Tensor  # [N, F] of the photos
    eyes: Eyes
    of_features: float  # mean squared distance of two samples
    of_pixels: float
    tried: Tensor = field(repr=False)  # latents of the prior
    known: Tensor = field(repr=False)  # features of their images
    seen: Tensor = field(repr=False)  # the images

    def distances(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] -> squared distance of features in those units [N], squared error a pixel [N]."""
        far = (self.eyes.read(images) - self.features).square().mean(1) / self.of_features
        return far, (images - self.photos).square().flatten(1).mean(1) / 4

    def loss(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [N], and the distance of features [N]."""
        far, mse = self.distances(images)
        return (far + 4 * mse / self.of_pixels) / 2, far


@torch.no_grad()
def _ruler(net: Any, photos: Tensor, eyes: Eyes, labels: Tensor | None, generator: torch.Generator) -> _Ruler:
    z = net.prior(_TRIED, generator)
    seen = shown(net, spaces(net)[0], z, _in_turn(labels, _TRIED))
    known = torch.cat([eyes.read(part) for part in torch.split(seen, 64)])
    of_features, of_pixels = (max(float((x[::2] - x[1::2]).square().mean()), 1e-12) for x in (known, seen.flatten(1)))
    return _Ruler(photos, eyes.read(photos), eyes, of_features, of_pixels, z, known, seen)


@torch.no_grad()
def _ground(net: Any, space: str, labels: Tensor | None, generator: torch.Generator) -> tuple[Tensor, float]:
    """Mean [d] and spread of the latents of a space: the root mean square of a coordinate around the mean."""
    z = net.prior(_MEAN_OF, generator)
    if space in ("w", "w+"):
        z = net.mapping(z, _in_turn(labels, _MEAN_OF))
    return z.mean(0), max(float((z - z.mean(0)).square().mean().sqrt()), 1e-8)


def _in_turn(labels: Tensor | None, n: int) -> Tensor | None:
    return None if labels is None else labels[torch.arange(n) % len(labels)]


# ---- The way there --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Search:
    """A space of a generator, and what is looked for in it."""

    net: Any
    space: str
    ruler: _Ruler
    labels: Tensor | None
    centre: Tensor  # [d]
    spread: float

    @torch.no_grad()
    def images(self, latent: Tensor, noise: list[Tensor]) -> Tensor:
        """The images of latents, in [-1, 1]."""
        return show(self.net, self.space, latent, self.labels, noise or None).clamp(-1, 1)

    @torch.no_grad()
    def beginning(self, start: Projection | None) -> Tensor:
        """Where to begin: [N, d], or [N, L, d]."""
        net, ruler = self.net, self.ruler
        if start is not None:
            return net.broadcast(start.latent) if (start.space, self.space) == ("w", "w+") else start.latent.clone()
        if self.space == "codes":
            code: Tensor = net.encode(ruler.photos, self.labels)
            return code
        if self.space == "z":
            far = torch.cdist(ruler.features, ruler.known).square() / (ruler.known.shape[1] * ruler.of_features)
            pixels = torch.cdist(ruler.photos.flatten(1), ruler.seen.flatten(1)).square() / ruler.seen[0].numel()
            return ruler.tried[(far + pixels / ruler.of_pixels).argmin(1)]
        w = self.centre.repeat(len(ruler.photos), 1)
        return w if self.space == "w" else net.broadcast(w).clone()

    def descend(
        self, first: Tensor, noise: list[Tensor], steps: int, generator: torch.Generator, watch: Watch
    ) -> tuple[Tensor, list[Tensor]]:
        """Adam from `first` on -> latents and noise maps. What ended farther away than it began is left where it was.

        The latent is shaken only where nothing is known of where to look: at the mean of w and at samples of z.
        """
        unit = ((first - self.centre) / self.spread).detach().requires_grad_()  # [N, d] or [N, L, d]
        maps = [m.detach().clone().requires_grad_() for m in noise]
        adam = torch.optim.Adam([unit, *maps], lr=_LR)
        length = math.sqrt(unit.shape[-1]) if self.space in ("z", "w") else 0.0  # of a latent, in units of the spread
        for step in range(steps):
            t = step / steps
            adam.param_groups[0]["lr"] = _LR * rate(t)
            shake = _SHAKE * length * max(0.0, 1 - t / _SHAKEN) ** 2
            moved = self.centre + self.spread * (unit + shake * torch.randn(unit.shape, generator=generator))
            loss, far = self.ruler.loss(show(self.net, self.space, moved, self.labels, maps or None))  # [N]
            total = loss.sum() + _NOISE_WEIGHT * correlation(maps)
            if self.space == "z":
                total = total + _PULL * F.relu(unit.square().mean(1) - 1).square().sum()
            adam.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            adam.step()
            _normalise(maps)
            watch(step + 1, {"distance": float(far.detach().mean())})
        latent = self.centre + self.spread * unit.detach()
        return self._nearer((first, *noise), (latent, *(m.detach() for m in maps)))

    @torch.no_grad()
    def _nearer(self, old: tuple[Tensor, ...], new: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        """Image by image, whichever of two (latent, *maps) is nearer to its photo."""
        before, after = (self.ruler.loss(self.images(latent, maps))[0] for latent, *maps in (old, new))
        worse = ~(after <= before)  # [N]; what is no number is worse too
        latent, *maps = (torch.where(worse.view(-1, *[1] * (b.dim() - 1)), a, b) for a, b in zip(old, new, strict=True))
        return latent, maps


def rate(t: float) -> float:
    """The learning rate at t in [0, 1) as a share of the highest: a linear rise, then a fall along a cosine."""
    fall = min(1.0, (1 - t) / _RAMP_DOWN)
    return min(1.0, t / _RAMP_UP) * (0.5 - 0.5 * math.cos(math.pi * fall))


def correlation(maps: list[Tensor]) -> Tensor:
    """What noise maps [N, 1, h, w] hold that is not noise: squared correlations of neighbours at every scale down to 8
    pixels (StyleGAN2, appendix D), summed over maps and images."""
    total = torch.zeros(())
    for m in maps:
        while True:
            for axis in (2, 3):
                total = total + (m * m.roll(1, axis)).mean((1, 2, 3)).square().sum()
            if m.shape[2] <= 8:
                break
            m = 2 * F.avg_pool2d(m, 2)  # of independent values it has the same variance again
    return total


@torch.no_grad()
def _normalise(maps: list[Tensor]) -> None:
    """Each map of each image back to mean 0 and variance 1."""
    for m in maps:
        m -= m.mean((1, 2, 3), keepdim=True)
        m *= (m.square().mean((1, 2, 3), keepdim=True) + 1e-12).rsqrt()
