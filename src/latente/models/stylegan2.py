"""StyleGAN2: Karras et al. 2020 (arXiv 1912.04958), styles as scales of the weights; nothing grows.

AdaIN sets the mean and the variance of every map, and with them it throws away how strong maps are to each other; the
generator smuggles that past it in blobs (the paper's figure 1). Here a style scales what a convolution reads, and what
that does to the variance *on average* is divided out of its weights. Every level adds to one image of all sizes, and
the critic is residual, so that all levels learn from the start.

Legend
    z        latents [N, d], d = `latent`, from N(0, I); the mapping puts them on a sphere
    w        mapped latents [N, d]; ws: one for each layer [N, L, d]
    L        layers = style inputs, 2 log2(resolution) - 2: the convolutions and, last, the colours of the last level
    level k  maps of 4 * 2^k pixels a side; c_k channels; convolutions 2k - 1 and 2k (level 0: only 0)
    s        a style: a scale of every map that a convolution reads, [N, c]

The paper's networks are `width` 1024 and `widest` = `latent` = 512 (configuration F).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import CureConfig, StyleGAN2Model
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
)
from latente.models.progan import GAIN, LEAK, Stage, channels, side
from latente.models.stylegan import W_AVG, Mapping, lengths_of_paths, mixed, sources, truncated

# --- Generator ------------------------------------------------------------------------------------------------------


def modulated(x: Tensor, weight: Tensor, s: Tensor, doubles: bool = False) -> Tensor:
    """Convolution of maps [N, c, H, W] by weights that each image has scaled for itself: w'_ijk = s_i w_ijk (eq. 1).

    s_i can as well scale the i-th map that is read: then one convolution does for the batch.
    """
    x = x * s.to(x.dtype)[:, :, None, None]
    return double_and_convolve(x, weight) if doubles else F.conv2d(x, weight, padding=weight.shape[2] // 2)


def demodulation(weight: Tensor, s: Tensor) -> Tensor:
    """1 / sqrt(sum_ik (s_i w_ijk)^2 + eps), [N, C]: maps that were made with it have unit variance if those that were
    read had (eq. 3). It scales the j-th map that is made, as `s` those that are read."""
    return (s.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()


class StyledConv(nn.Module):
    """A 3x3 convolution with a style, then noise, bias and leaky ReLU outside its reach (figure 2c): [N, c, H, W] ->
    [N, C, H, W], or twice the size, blurred."""

    def __init__(self, inputs: int, outputs: int, latent: int, doubles: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.scale = 1 / math.sqrt(inputs * 9)
        self.style = EqualLinear(latent, inputs, start=1.0)
        self.strength = nn.Parameter(torch.zeros(()))  # of the noise: one number a layer
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.doubles = doubles

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        weight = self.weight * self.scale
        with torch.autocast(x.device.type, enabled=False):
            s = self.style(w)  # [N, c]
            d = demodulation(weight, s)  # [N, C]
        x = modulated(x, weight, s, self.doubles)
        if self.doubles:
            x = blur(x)  # per map, as demodulation is: their order does not matter
        # The gain after the leaky ReLU is taken before it, where it costs nothing.
        x = torch.addcmul((GAIN * self.bias).to(x.dtype)[:, None, None], x, (GAIN * d).to(x.dtype)[:, :, None, None])
        if noise is not None:  # [N or 1, 1, h, w]
            x = x + (GAIN * self.strength * noise).to(x.dtype)
        return F.leaky_relu(x, LEAK)


class ToRGB(nn.Module):
    """Maps [N, c, H, W] -> their share of the image [N, C, H, W], with a style, without demodulation."""

    def __init__(self, inputs: int, outputs: int, latent: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.scale = 1 / math.sqrt(inputs)
        self.style = EqualLinear(latent, inputs, start=1.0)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            s = self.style(w)
        rgb = modulated(x, self.weight * self.scale, s)
        return rgb + self.bias.to(rgb.dtype)[:, None, None]


class Generator(nn.Module):
    """Latents -> images: `mapping`, then `synthesis`, whose image is a sum over levels (figure 7b). It knows no labels.

    In training `forward` mixes styles, draws noise and follows the mean of w; everything else is without chance.
    """

    w_avg: Tensor  # [d]: running mean of w
    path_mean: Tensor  # []: running mean of the lengths of paths

    def __init__(self, model: StyleGAN2Model, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent = model.latent
        self.mixing, self.crossovers = model.mixing, model.crossovers
        c = channels(model, image_shape)
        self.layers = 2 * len(c)
        self.styles = Mapping(model.latent, model.mapping)
        self.constant = nn.Parameter(torch.randn(1, c[0], 4, 4))
        self.first = StyledConv(c[0], c[0], model.latent, doubles=False)
        self.up = nn.ModuleList(StyledConv(coarse, fine, model.latent, doubles=True) for coarse, fine in pairwise(c))
        self.keep = nn.ModuleList(StyledConv(fine, fine, model.latent, doubles=False) for fine in c[1:])
        self.to_rgb = nn.ModuleList(ToRGB(count, image_shape[0], model.latent) for count in c)
        self.register_buffer("w_avg", torch.zeros(model.latent))
        self.register_buffer("path_mean", torch.zeros(()))
        for layer, size in enumerate(self.sides()):
            self.register_buffer(f"noise_{layer}", torch.randn(1, 1, size, size))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I), drawn on the generator's device."""
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def sides(self) -> list[int]:
        """Pixels a side of each layer's maps."""
        return [side((layer + 1) // 2) for layer in range(self.layers - 1)] + [self.image_shape[1]]

    def noise_maps(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Fresh noise for n images, [n, 1, h, w] for each layer, drawn where the generator lives.

        The last layer makes colours and has no noise: its map is there so that layers are counted alike everywhere.
        """
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
        """Styles [N, L, d] -> images [N, C, H, W]; nothing keeps them within [-1, 1].

        `noise`: for each layer a map [N or 1, 1, h, w] or None, which is without; None: the fixed maps. `stage` is not
        looked at: nothing grows.
        """
        if noise is None:
            noise = [getattr(self, f"noise_{layer}") for layer in range(self.layers)]
        h = self.constant.expand(len(ws), -1, -1, -1)  # [N, c_0, 4, 4]
        h = self.first(h, ws[:, 0], noise[0])
        x: Tensor = self.to_rgb[0](h, ws[:, 1])  # [N, C, 4, 4]
        for k in range(1, self.layers // 2):
            layer = 2 * k - 1
            h = self.up[k - 1](h, ws[:, layer], noise[layer])  # [N, c_k, 2s, 2s]
            h = self.keep[k - 1](h, ws[:, layer + 1], noise[layer + 1])
            x = blur(double(x)) + self.to_rgb[k](h, ws[:, layer + 2])  # colours share a style with what follows
        return x

    def forward(self, z: Tensor, condition: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W], as they are trained."""
        w = self.mapping(z)
        if not self.training:
            return self.synthesis(self.broadcast(w))
        with torch.no_grad():
            self.w_avg.lerp_(w.mean(0), 1 - W_AVG)
        ws = self.broadcast(w)
        if self.mixing:
            ws = mixed(sources(self, w, self.layers), self.mixing, self.layers, active=self.layers)
        return self.synthesis(ws, [torch.randn(len(z), 1, s, s, device=z.device) for s in self.sides()])

    def decode(self, z: Tensor, condition: Tensor | None = None, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W] in [-1, 1], with the fixed noise."""
        return self.synthesis(self.broadcast(self.mapping(z), psi, cutoff)).clamp(-1, 1)

    def path_lengths(self, ws: Tensor, stage: Stage | None = None) -> Tensor:
        """|J_w^T y| at styles [N, L, d], for y drawn from torch's global generator and the fixed noise -> [N]."""
        ws = ws if ws.requires_grad else ws.detach().requires_grad_()
        return lengths_of_paths(self.synthesis(ws), ws, active=self.layers)


# --- Critic ---------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """[N, c, H, W] -> [N, C, H/2, W/2]: two convolutions, and beside them one of 1x1 on what came in (figure 7c).

    The sum of two things of unit variance is divided by sqrt(2). Maps are filtered by [1, 3, 3, 1] before every second
    pixel is taken: that is `blur`, then `halve`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = EqualConv2d(inputs, inputs, 3, GAIN)
        self.down = EqualConv2d(inputs, outputs, 3, GAIN)
        self.skip = EqualConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = blur(F.leaky_relu(self.keep(x), LEAK))
        h = F.leaky_relu(convolve_and_halve(h, self.down.weight * self.down.scale, self.down.bias), LEAK)
        shortcut: Tensor = self.skip(halve(blur(x)))
        return (h + shortcut) / math.sqrt(2)


class Critic(nn.Module):
    """Images -> logits, larger for real ones. It always has the minibatch standard deviation before its last
    convolution. `image_shape` is that of one image, however many are packed."""

    def __init__(
        self, model: StyleGAN2Model, image_shape: tuple[int, int, int], classes: int = 0, cure: CureConfig | None = None
    ) -> None:
        super().__init__()
        cure = cure or CureConfig()
        c = channels(model, image_shape)
        self.from_rgb = EqualConv2d(cure.packing * image_shape[0], c[-1], 1, GAIN)
        self.levels = nn.ModuleList(Residual(fine, coarse) for fine, coarse in pairwise(c[::-1]))
        self.last = EqualConv2d(c[0] + 1, c[0], 3, GAIN)
        self.dense = EqualLinear(c[0] * 16, c[0], GAIN)
        kernels = cure.minibatch_discrimination
        self.discrimination = MinibatchDiscrimination(c[0], kernels) if kernels else None
        self.logit = EqualLinear(c[0] + kernels, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        """Images [N, C, H, W], or packed ones [N / m, m C, H, W] -> logits [N] or [N / m]. `stage` is not looked at."""
        h = F.leaky_relu(self.from_rgb(x), LEAK)  # [N, c, H, W]
        for level in self.levels:
            h = level(h)
        h = F.leaky_relu(self.last(minibatch_stddev(h)), LEAK)  # [N, c_0, 4, 4]
        h = F.leaky_relu(self.dense(h.flatten(1)), LEAK)  # [N, c_0]
        if self.discrimination is not None:
            h = torch.cat([h, self.discrimination(h)], 1)
        logit: Tensor = self.logit(h).squeeze(1)
        return logit
