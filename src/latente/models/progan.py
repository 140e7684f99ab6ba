"""Progressive growing of GANs: Karras, Aila, Laine and Lehtinen 2018 (arXiv 1710.10196).

Both players begin with images of a few pixels; layers for twice the size are added again and again, each faded in
smoothly (the paper's figure 2). All levels exist from the start, and a stage says which of them are in use, so nothing
is ever added to a network, its average or its optimizer.

Legend
    z        latents [N, d], d = `latent`, from N(0, I); the generator puts them on a sphere
    x        images [N, C, H, W] in [-1, 1]
    level k  maps and images of 4 * 2^k pixels a side; c_k channels
    stage    (level, alpha): the newest level in use and its weight, from 0 to 1
    logit    what the critic says [N]; larger means more real
    m        images a decision (packing): the critic then reads [N / m, m C, H, W] and says [N / m]

The paper's networks are `width` = `widest` = `latent` = 512 (appendix A, table 2). Its critic always has the minibatch
standard deviation before its last convolution, whatever `cure.minibatch_stddev` says.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import CureConfig, ProGANModel, StyleGAN2Model, StyleGANModel
from latente.layers import (
    EqualConv2d,
    EqualLinear,
    MinibatchDiscrimination,
    blur,
    convolve_and_halve,
    double,
    double_and_convolve,
    halve,
    minibatch_stddev,
    pixel_norm,
)
from latente.messages import Problem

LEAK = 0.2  # slope of the leaky ReLU below 0
GAIN = math.sqrt(2)  # of a layer before it: the paper's constant, He et al. 2015 for a ReLU

Growing = ProGANModel | StyleGANModel


# --- Growing --------------------------------------------------------------------------------------------------------


class Stage(NamedTuple):
    """How far networks have grown."""

    level: int  # the newest in use; its images have 4 * 2^level pixels a side
    alpha: float  # its weight: 0, as if it were not there; 1, fully in


class Growth:
    """When what is grown, as pure functions of the images shown (section 2 and appendix A).

    The first level is held for `hold_images`; then each next one is faded in over `fade_images` and held as long.
    """

    def __init__(self, model: Growing, resolution: int) -> None:
        """Problem if `start` is no size of a level that images of `resolution` pixels have; 0 is theirs."""
        self.last = level_of(resolution)
        start = model.start or resolution
        if start & (start - 1) or not 4 <= start <= resolution:
            possible = ", ".join(str(side(level)) for level in range(self.last + 1))
            raise Problem("progan.start", given=model.start, resolution=resolution, possible=possible)
        self.first = start.bit_length() - 3
        self.hold, self.fade = int(model.hold_images), int(model.fade_images)
        self.batches, self.restart = model.batches, model.restart

    def at(self, images: int) -> Stage:
        """The stage of a batch that begins when so many images have been shown."""
        since = images - self.hold  # the second level began to fade in
        if since < 0 or self.first == self.last:
            return Stage(self.first, 1.0)
        number, within = divmod(since, self.fade + self.hold) if self.fade + self.hold else (self.last, 0)
        level = self.first + 1 + number
        if level > self.last:
            return Stage(self.last, 1.0)
        return Stage(level, min(within / self.fade, 1.0) if self.fade else 1.0)

    def begins(self, images: int, n: int) -> bool:
        """Whether a batch of n images at this clock is the last one before a level appears."""
        return self.at(images + n).level > self.at(images).level

    def restarts(self, images: int, n: int) -> bool:
        """Whether optimizers begin anew after a batch of n images at this clock."""
        return self.restart and self.begins(images, n)

    def batch(self, images: int, default: int) -> int:
        """Images of the batch at this clock: by level where `batches` says so."""
        if not self.batches:
            return default
        return self.batches[min(self.at(images).level - self.first, len(self.batches) - 1)]


def side(level: int) -> int:
    """Pixels a side of a level."""
    return 4 << level


def level_of(resolution: int) -> int:
    """The level of images with so many pixels a side."""
    return resolution.bit_length() - 3


def channels(model: Growing | StyleGAN2Model, image_shape: tuple[int, int, int]) -> list[int]:
    """Channels of every level, the smallest first: `width` where maps have 32 pixels, twice as many at each halving, at
    most `widest`. Images that are not square, or whose side is no power of two from 8 to 1024, are a Problem."""
    _, height, width = image_shape
    if height != width or height & (height - 1) or not 8 <= height <= 1024:
        near = min(max(2 ** round(math.log2(max(height, width))), 8), 1024)
        raise Problem("progan.size", height=height, width=width, near=near)
    return [max(min(model.width * 32 // side(level), model.widest), 1) for level in range(level_of(height) + 1)]


def fade_reals(x: Tensor, stage: Stage) -> Tensor:
    """Images as the critic is shown them at a stage: [N, C, H, W] -> [N, C, s, s], s the side of its newest level.

    While that level fades in, images are blended with themselves at half the size, as the generator's are (appendix A).
    """
    while x.shape[-1] > side(stage.level):
        x = halve(x)
    if stage.alpha == 1:
        return x
    return torch.lerp(double(halve(x)), x, stage.alpha)


# --- Generator ------------------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """Latents -> images of the stage's size, by doublings and pairs of 3x3 convolutions (table 2, left).

    No tanh at the end: `decode` clamps. This network knows no labels; `classes` and `condition` are there because
    every family's are asked alike.
    """

    grown: Tensor  # [2]: level and alpha of the stage that it was last trained at

    def __init__(self, model: ProGANModel, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent = model.latent
        self.blur = model.blur
        c = channels(model, image_shape)
        self.dense = EqualLinear(model.latent, c[0] * 16, GAIN / 4)
        self.first = EqualConv2d(c[0], c[0], 3, GAIN)
        self.up = nn.ModuleList(EqualConv2d(coarse, fine, 3, GAIN) for coarse, fine in pairwise(c))
        self.keep = nn.ModuleList(EqualConv2d(fine, fine, 3, GAIN) for fine in c[1:])
        self.to_rgb = nn.ModuleList(EqualConv2d(count, image_shape[0], 1) for count in c)
        self.register_buffer("grown", torch.tensor(Growth(model, image_shape[1]).at(0)))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I), drawn on the generator's device."""
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def forward(self, z: Tensor, condition: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, s, s] of the stage's size, as they are trained: nothing keeps them within
        [-1, 1]."""
        level, alpha = stage or stage_of(self)
        h = self.dense(pixel_norm(z)).view(len(z), -1, 4, 4)  # [N, c_0, 4, 4]
        h = activated(self.first(activated(h)))
        before = h
        for k in range(level):
            before, h = h, doubled(h, self.up[k], self.blur)  # [N, c_k+1, 2s, 2s]
            h = activated(h)
            h = activated(self.keep[k](h))
        x: Tensor = self.to_rgb[level](h)  # [N, C, s, s]
        if alpha < 1:
            x = torch.lerp(double(self.to_rgb[level - 1](before)), x, alpha)
        return x

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W] in [-1, 1]; a stage of fewer pixels is doubled up."""
        x = self.forward(z)
        while x.shape[-1] < self.image_shape[-1]:
            x = double(x)
        return x.clamp(-1, 1)


def doubled(h: Tensor, layer: Any, smooth: bool) -> Tensor:
    """Doubling, convolution and, if asked for, the binomial filter: [N, c, s, s] -> [N, c', 2s, 2s]."""
    h = double_and_convolve(h, layer.weight * layer.scale)
    bias: Tensor = layer.bias.to(h.dtype)[:, None, None]
    return (blur(h) if smooth else h) + bias


def activated(h: Tensor) -> Tensor:
    """Leaky ReLU, then features of unit length at each place (section 4.2)."""
    return pixel_norm(F.leaky_relu(h, LEAK))


def stage_of(net: nn.Module) -> Stage:
    """The stage kept in a network's buffer `grown`; the host waits for the device."""
    level, alpha = net.grown.tolist()  # type: ignore[operator]
    return Stage(int(level), alpha)


# --- Critic ---------------------------------------------------------------------------------------------------------


def halved(h: Tensor, layer: Any, smooth: bool) -> Tensor:
    """The binomial filter, if asked for, convolution and halving: [N, c, s, s] -> [N, c', s/2, s/2]."""
    return convolve_and_halve(blur(h) if smooth else h, layer.weight * layer.scale, layer.bias)


class Critic(nn.Module):
    """Images -> logits, by pairs of 3x3 convolutions and halvings (table 2, right), the generator's mirror.

    As in the authors' code, which calls it fused, maps are halved before the activation and not after it. With `blur`
    they are filtered first. `image_shape` is that of one image, however many are packed.
    """

    grown: Tensor  # [2]: level and alpha of the stage that it was last trained at

    def __init__(
        self, model: Growing, image_shape: tuple[int, int, int], classes: int = 0, cure: CureConfig | None = None
    ) -> None:
        super().__init__()
        cure = cure or CureConfig()
        self.blur = model.blur
        c = channels(model, image_shape)
        self.from_rgb = nn.ModuleList(EqualConv2d(cure.packing * image_shape[0], count, 1, GAIN) for count in c)
        self.keep = nn.ModuleList(EqualConv2d(fine, fine, 3, GAIN) for fine in c[1:])
        self.down = nn.ModuleList(EqualConv2d(fine, coarse, 3, GAIN) for coarse, fine in pairwise(c))
        self.last = EqualConv2d(c[0] + 1, c[0], 3, GAIN)
        self.dense = EqualLinear(c[0] * 16, c[0], GAIN)
        kernels = cure.minibatch_discrimination
        self.discrimination = MinibatchDiscrimination(c[0], kernels) if kernels else None
        self.logit = EqualLinear(c[0] + kernels, 1)
        self.register_buffer("grown", torch.tensor(Growth(model, image_shape[1]).at(0)))

    def forward(self, x: Tensor, condition: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        """Images [N, C, s, s], or packed ones [N / m, m C, s, s] -> logits [N] or [N / m].

        With a stage, images are as its generator makes them; larger ones, as `decode` gives them, are brought to its
        size. Without, real images of full size are first made those of the stage that the critic was last trained at.
        """
        if stage is None:
            stage = stage_of(self)
            x = fade_reals(x, stage)
        level, alpha = stage
        while x.shape[-1] > side(level):
            x = halve(x)
        h = F.leaky_relu(self.from_rgb[level](x), LEAK)  # [N, c_level, s, s]
        for k in reversed(range(level)):
            h = F.leaky_relu(self.keep[k](h), LEAK)
            h = F.leaky_relu(halved(h, self.down[k], self.blur), LEAK)  # [N, c_k, s/2, s/2]
            if k == level - 1 and alpha < 1:
                h = torch.lerp(F.leaky_relu(self.from_rgb[k](halve(x)), LEAK), h, alpha)
        h = F.leaky_relu(self.last(minibatch_stddev(h)), LEAK)  # [N, c_0, 4, 4]
        h = F.leaky_relu(self.dense(h.flatten(1)), LEAK)  # [N, c_0]
        if self.discrimination is not None:
            h = torch.cat([h, self.discrimination(h)], 1)  # [N, c_0 + kernels]
        logit: Tensor = self.logit(h).squeeze(1)  # [N]
        return logit
