"""StyleGAN: Karras, Laine and Aila 2019 (arXiv 1812.04948), a generator that is controlled by styles.

Latents are mapped to an intermediate space, and what comes of it is not fed in at the bottom: it sets the mean and the
variance of every map, layer by layer. Chance that no style explains comes in as noise. The critic is ProGAN's, and the
networks grow as ProGAN's do.

Legend
    z        latents [N, d], d = `latent`, from N(0, I); the mapping puts them on a sphere
    w        mapped latents [N, d]; ws: one for each layer [N, L, d]
    L        layers = style inputs: two for each level, 2 log2(resolution) - 2
    level k  maps and images of 4 * 2^k pixels a side; c_k channels; layers 2k and 2k + 1
    stage    (level, alpha): the newest level in use and its weight, from 0 to 1
    (s, b)   a style: scale and bias of every map, [N, c] each

The paper's networks are `width` = `widest` = `latent` = 512. Its ladder (table 1): C is `constant` false, `noise` false
and `mixing` 0; D adds the constant, E the noise, F the mixing. B is ProGAN with `blur`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import StyleGANModel
from latente.layers import EqualConv2d, EqualLinear, blur, double, double_and_convolve, pixel_norm
from latente.models.progan import GAIN, LEAK, Critic, Growth, Stage, channels, fade_reals, side, stage_of

__all__ = ["Critic", "Generator", "Growth", "Stage", "fade_reals"]

SLOW = 0.01  # learning rate of the mapping, relative to the others' (appendix C)
W_AVG = 0.995  # share of the running mean of w that stays after a batch (the authors' code)
PATH_DECAY = 0.01  # share by which the running mean of path lengths moves (Karras et al. 2020, appendix B)


# --- Styles ---------------------------------------------------------------------------------------------------------


class Mapping(nn.Module):
    """z -> w, [N, d] -> [N, d]: onto a sphere, then fully connected layers (figure 1b, left)."""

    def __init__(self, latent: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(latent, latent, GAIN, SLOW) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        """Always in float32: it costs next to nothing, and everything hangs on it."""
        with torch.autocast(z.device.type, enabled=False):
            w: Tensor = pixel_norm(z)
            for layer in self.layers:
                w = F.leaky_relu(layer(w), LEAK)
        return w


def truncated(w: Tensor, mean: Tensor, layers: int, psi: float, cutoff: int | None) -> Tensor:
    """[N, d] -> [N, L, d]: w' = mean + psi (w - mean) in the first `cutoff` layers, w in the others (appendix B)."""
    nearer = torch.lerp(mean, w, psi) if psi != 1 else w
    first = torch.arange(layers, device=w.device) < (layers if cutoff is None else cutoff)  # [L]
    return torch.where(first[:, None], nearer[:, None], w[:, None])


def sources(generator: Any, w: Tensor, active: int) -> Tensor:
    """w [N, d] and new ones beside it, [N, S, d]: one more than the crossovers that `active` layers have room for."""
    n, more = len(w), min(generator.crossovers, active - 1)
    others = generator.mapping(torch.randn(n * more, generator.latent, device=w.device, dtype=w.dtype))
    return torch.cat([w[:, None], others.view(n, more, -1)], 1)


def mixed(many: Tensor, share: float, layers: int, active: int) -> Tensor:
    """Mixing regularisation: S sources for each image [N, S, d] -> [N, L, d] (section 3.1, where S is 2).

    In a `share` of the images, the layers from a crossover on follow the next source. There are S - 1 crossovers, no
    two at one place, anywhere between the first and the last of the `active` layers; as many as there is room for leave
    every layer a source of its own. Draws come from torch's global generator.
    """
    n, s, _ = many.shape
    crossed = torch.rand(n, active - 1).argsort(1) < s - 1  # [N, active - 1]: s - 1 places of each, at random
    crossed &= (torch.rand(n) < share)[:, None]
    source = F.pad(crossed, (1, layers - active)).cumsum(1)  # [N, L]: which one
    return many[torch.arange(n)[:, None], source.to(many.device)]


def lengths_of_paths(x: Tensor, ws: Tensor, active: int) -> Tensor:
    """How far images [N, C, h, w] move for a step of their styles ws [N, L, d], in a random direction y: |J^T y|, [N].

    Karras et al. 2020, section 3.2, with y ~ N(0, I) / sqrt(h w) so that it does not grow with the image; as in the
    authors' code, squares are summed over d and averaged over layers: over the `active` ones, since those that have not
    grown yet move nothing. Differentiable again.
    """
    y = torch.randn_like(x) / math.sqrt(x.shape[2] * x.shape[3])
    (gradient,) = torch.autograd.grad((x * y).sum(), ws, create_graph=True)  # [N, L, d]
    return gradient[:, :active].square().sum(2).mean(1).sqrt()


def path_penalty(generator: Any, n: int, condition: Tensor | None = None, stage: Any = None) -> Tensor:
    """(|J_w^T y| - a)^2 for n new latents, [n]; a is the running mean of the lengths, which moves (Karras et al. 2020,
    eq. 4)."""
    z = generator.prior(n, torch.default_generator).to(generator.w_avg)
    ws = generator.broadcast(generator.mapping(z))
    lengths: Tensor = generator.path_lengths(ws, stage)
    generator.path_mean.lerp_(lengths.detach().mean(), PATH_DECAY)
    away: Tensor = lengths - generator.path_mean
    return away.square()


# --- Generator ------------------------------------------------------------------------------------------------------


class Epilogue(nn.Module):
    """What follows every convolution: noise, bias, leaky ReLU, AdaIN. [N, c, h, w] -> the same (figure 1b, right)."""

    def __init__(self, channels: int, latent: int, noise: bool) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels)) if noise else None  # the paper's B
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = EqualLinear(latent, 2 * channels)  # the paper's A

    def forward(self, h: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        h = h + self.bias.to(h.dtype)[:, None, None]
        if noise is not None and self.strength is not None:  # noise [N or 1, 1, h, w]
            h = torch.addcmul(h, self.strength.to(h.dtype)[:, None, None], noise.to(h.dtype))
        s, b = self.style(w)[:, :, None, None].chunk(2, 1)  # [N, c, 1, 1] each
        return adain(F.leaky_relu(h, LEAK), s, b)


def adain(h: Tensor, s: Tensor, b: Tensor) -> Tensor:
    """Every map of every image gets mean b and standard deviation s + 1: (s + 1) (h - mean) / std + b (eq. 1).

    The paper writes y_s; as in the authors' code it is s + 1, so that a style of 0 leaves maps alone.
    """
    centred = h - h.mean((2, 3), keepdim=True)
    scale = (s + 1) * (centred.square().mean((2, 3), keepdim=True) + 1e-8).rsqrt()
    return torch.addcmul(b.to(h.dtype), centred, scale.to(h.dtype))


class Generator(nn.Module):
    """Latents -> images of the stage's size: `mapping`, then `synthesis`. It knows no labels.

    In training `forward` mixes styles, draws noise and follows the mean of w; everything else is without chance.
    """

    grown: Tensor  # [2]: level and alpha of the stage that it was last trained at
    w_avg: Tensor  # [d]: running mean of w
    path_mean: Tensor  # []: running mean of the lengths of paths

    def __init__(self, model: StyleGANModel, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent = model.latent
        self.blur, self.mixing, self.crossovers = model.blur, model.mixing, model.crossovers
        c = channels(model, image_shape)
        self.layers = 2 * len(c)
        self.styles = Mapping(model.latent, model.mapping)
        self.constant = nn.Parameter(torch.ones(1, c[0], 4, 4)) if model.constant else None
        self.dense = None if model.constant else EqualLinear(model.latent, c[0] * 16, GAIN / 4)
        self.first = EqualConv2d(c[0], c[0], 3, GAIN, bias=False)
        self.up = nn.ModuleList(EqualConv2d(coarse, fine, 3, GAIN, bias=False) for coarse, fine in pairwise(c))
        self.keep = nn.ModuleList(EqualConv2d(fine, fine, 3, GAIN, bias=False) for fine in c[1:])
        self.epilogues = nn.ModuleList(Epilogue(count, model.latent, model.noise) for count in c for _ in range(2))
        self.to_rgb = nn.ModuleList(EqualConv2d(count, image_shape[0], 1) for count in c)
        self.register_buffer("w_avg", torch.zeros(model.latent))
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("grown", torch.tensor(Growth(model, image_shape[1]).at(0)))
        for layer, size in enumerate(self.sides()):
            self.register_buffer(f"noise_{layer}", torch.randn(1, 1, size, size))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I), drawn on the generator's device."""
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def sides(self) -> list[int]:
        """Pixels a side of each layer's maps."""
        return [side(layer // 2) for layer in range(self.layers)]

    def noise_maps(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Fresh noise for n images, [n, 1, h, w] for each layer, drawn where the generator lives."""
        maps = [torch.randn(n, 1, s, s, generator=generator, device=generator.device) for s in self.sides()]
        return [one.to(self.w_avg.device) for one in maps]

    def mapping(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z -> w, [N, d] -> [N, d]."""
        w: Tensor = self.styles(z)
        return w

    def broadcast(self, w: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """[N, d] -> a w for each layer [N, L, d], drawn to the mean by psi in the first `cutoff` layers (None: all)."""
        return truncated(w, self.w_avg, self.layers, psi, cutoff)

    def synthesis(self, ws: Tensor, noise: Sequence[Tensor | None] | None = None, stage: Stage | None = None) -> Tensor:
        """Styles [N, L, d] -> images [N, C, s, s] of the stage's size; nothing keeps them within [-1, 1].

        `noise`: for each layer a map [N or 1, 1, h, w] or None, which is without; None: the fixed maps.
        """
        level, alpha = stage or stage_of(self)
        if noise is None:
            noise = [getattr(self, f"noise_{layer}") for layer in range(self.layers)]
        if self.constant is not None:
            h = self.constant.expand(len(ws), -1, -1, -1)  # [N, c_0, 4, 4]
        else:  # as in the authors' code, where w stands in for ProGAN's z
            assert self.dense is not None
            h = self.dense(ws[:, 0]).view(len(ws), -1, 4, 4)
        h = self.epilogues[0](h, ws[:, 0], noise[0])
        h = self.epilogues[1](self.first(h), ws[:, 1], noise[1])
        before = h
        for k in range(1, level + 1):
            up, before, layer = self.up[k - 1], h, 2 * k
            h = double_and_convolve(h, up.weight * up.scale)  # type: ignore[operator]  # [N, c_k, 2s, 2s]
            h = self.epilogues[layer](blur(h) if self.blur else h, ws[:, layer], noise[layer])
            h = self.epilogues[layer + 1](self.keep[k - 1](h), ws[:, layer + 1], noise[layer + 1])
        x: Tensor = self.to_rgb[level](h)  # [N, C, s, s]
        if alpha < 1:
            x = torch.lerp(double(self.to_rgb[level - 1](before)), x, alpha)
        return x

    def forward(self, z: Tensor, condition: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, s, s] of the stage's size, as they are trained."""
        w = self.mapping(z)
        if not self.training:
            return self.synthesis(self.broadcast(w), stage=stage)
        stage = Stage(*(stage or stage_of(self)))
        with torch.no_grad():
            self.w_avg.lerp_(w.mean(0), 1 - W_AVG)
        active, ws = 2 * stage.level + 2, self.broadcast(w)
        if self.mixing:
            ws = mixed(sources(self, w, active), self.mixing, self.layers, active)
        maps = [torch.randn(len(z), 1, s, s, device=z.device) for s in self.sides()[:active]]
        return self.synthesis(ws, maps, stage)

    def decode(self, z: Tensor, condition: Tensor | None = None, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W] in [-1, 1], with the fixed noise; fewer pixels are doubled up."""
        x = self.synthesis(self.broadcast(self.mapping(z), psi, cutoff))
        while x.shape[-1] < self.image_shape[-1]:
            x = double(x)
        return x.clamp(-1, 1)

    def path_lengths(self, ws: Tensor, stage: Stage | None = None) -> Tensor:
        """|J_w^T y| at styles [N, L, d], for y drawn from torch's global generator and the fixed noise -> [N]."""
        ws = ws if ws.requires_grad else ws.detach().requires_grad_()
        stage = Stage(*(stage or stage_of(self)))
        return lengths_of_paths(self.synthesis(ws, stage=stage), ws, active=2 * stage.level + 2)
