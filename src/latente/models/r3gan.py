"""R3GAN: residual networks without normalisation, for a relativistic game with R1 and R2 (Huang et al. 2024,
arXiv 2501.05441).

Legend
    z       latents [N, d], d = `latent`, from N(0, I)
    x       images [N, C, H, W] in [-1, 1]
    level   maps of one size: the smallest has 4 to 7 pixels on its shorter side, and each is twice the one before
    L       residual blocks of a whole network: the more there are, the less each begins with
    phi     what the critic's last layer reads, one number a channel [N, c]
    label   int64 [N], of a conditional model

Layers: the paper's section 3.3 and appendix. The size on the paper's GPUs, for 32 pixels, is `width` = `widest` = 768,
2 blocks a level, 96 groups; our defaults are what a CPU can train.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from latente.config import CureConfig, R3GANModel
from latente.layers import MinibatchDiscrimination, minibatch_stddev, spectrally_normalise
from latente.messages import Problem

LEAK = 0.2  # slope of the leaky ReLU below 0
GAIN = math.sqrt(2 / (1 + LEAK**2))  # of a layer before it, so that variance is kept (He et al. 2015, eq. 15)


# --- Sizes ----------------------------------------------------------------------------------------------------------


def pyramid(model: R3GANModel, image_shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(channels, height, width) of every level, the smallest first: 32 -> 4, 8, 16, 32; 28 -> 7, 14, 28.

    Channels are `width` where maps have 32 pixels, twice as many at each halving, and at most `widest`; a side that is
    no power of two counts as the nearest one (28 as 32), which keeps them numbers that a CPU is quick with.
    """
    _, height, width = image_shape
    doublings = max(min(height, width).bit_length() - 3, 0)
    if min(height, width) < 4 or height % 2**doublings or width % 2**doublings:
        good = (m * 2**k for m in (4, 5, 6, 7) for k in range(12))
        near = min(good, key=lambda side: abs(side - min(height, width)))
        raise Problem("r3gan.size", height=height, width=width, near=near)
    nominal = 2 ** round(math.log2(min(height, width)))
    levels = []
    for level in range(doublings + 1):
        scale = 2 ** (doublings - level)
        channels = max(min(model.width * 32 * scale // nominal, model.widest), 1)
        if 2 * channels % groups(model, channels):
            raise Problem("r3gan.groups", groups=model.groups, width=model.width, widest=model.widest)
        levels.append((channels, height // scale, width // scale))
    return levels


def groups(model: R3GANModel, channels: int) -> int:
    """Groups of a level's 3x3 convolutions: `groups` where maps are widest, elsewhere in proportion, as in the paper's
    256 pixel networks (96 of 768 channels, 12 of 96)."""
    return max(model.groups * channels // model.widest, 1)


# --- Layers of both networks ----------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + y(x), [N, c, h, w] -> the same; y: 1x1 to 2c, leaky ReLU, 3x3 in groups, leaky ReLU, 1x1 to c.

    No activation after the sum. y begins at 0, and its first two layers smaller the more blocks there are (Fixup,
    Zhang et al. 2019): without normalisation the variance would otherwise grow with depth.
    """

    def __init__(self, channels: int, groups: int, total: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=groups)
        self.reduce = nn.Conv2d(2 * channels, channels, 1, bias=False)
        for layer in (self.expand, self.mix):
            draw(layer, GAIN * total**-0.25)
        nn.init.zeros_(self.reduce.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.expand(x), LEAK)  # [N, 2c, h, w]
        y = F.leaky_relu(self.mix(y), LEAK)
        change: Tensor = self.reduce(y)  # [N, c, h, w]
        return x + change


def blocks(model: R3GANModel, levels: list[tuple[int, int, int]]) -> nn.ModuleList:
    """The residual blocks of every level."""
    total = model.blocks * len(levels)
    stack = []
    for channels, _, _ in levels:
        stack.append(nn.Sequential(*[Residual(channels, groups(model, channels), total) for _ in range(model.blocks)]))
    return nn.ModuleList(stack)


def draw(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """Weights from N(0, gain^2 / inputs), biases 0."""
    nn.init.normal_(layer.weight, 0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def plain(inputs: int, outputs: int) -> nn.Module:
    """A 1x1 convolution that changes the number of channels, or nothing where there is nothing to change."""
    if inputs == outputs:
        return nn.Identity()
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    draw(layer)
    return layer


def up(x: Tensor) -> Tensor:
    """[N, c, h, w] -> [N, c, 2h, 2w]: zeros put before every pixel, then [1, 2, 1] / 2 along each axis.

    That is each pixel, and before it the mean of it and its neighbour (edges are repeated). As sums, because a
    depthwise convolution's second derivative is slow on a CPU; with channels last, which keeps the copies in one piece.
    """
    x = x.permute(0, 2, 3, 1)  # [N, h, w, c]
    for axis in (1, 2):
        between = (x + before(x, x, axis)) / 2
        x = torch.stack([between, x], axis + 1).flatten(axis, axis + 1)
    return x.permute(0, 3, 1, 2)


def down(x: Tensor) -> Tensor:
    """[N, c, h, w] -> [N, c, h/2, w/2]: [1, 2, 1] / 4 along each axis around every second pixel (edges are repeated).

    The counterpart of `up`, as sums too.
    """
    for axis in (2, 3):
        even, odd = torch.unflatten(x, axis, (-1, 2)).unbind(axis + 1)
        x = even / 2 + (odd + before(even, odd, axis)) / 4
    return x


def before(first: Tensor, x: Tensor, axis: int) -> Tensor:
    """x moved one place on along an axis; the place that falls vacant is taken from `first`."""
    return torch.cat([first.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)], axis)


# --- Generator ------------------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """Latents -> images. A conditional one is told the labels. The paper has no tanh: `decode` clamps."""

    def __init__(self, model: R3GANModel, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent = model.latent
        self.classes = known_classes(model, classes)
        levels = pyramid(model, image_shape)
        smallest = levels[0]
        self.embed = nn.Embedding(self.classes, model.latent) if self.classes else None  # N(0, 1), as the latents are
        self.basis = nn.Parameter(torch.randn(smallest))  # [c, m, m]
        self.stem = nn.Linear(model.latent * (2 if self.classes else 1), smallest[0], bias=False)
        draw(self.stem)
        self.widen = nn.ModuleList([nn.Identity()])  # before the resampling that leads to a level
        self.widen += [plain(coarse[0], fine[0]) for coarse, fine in pairwise(levels)]
        self.levels = blocks(model, levels)
        self.rgb = nn.Conv2d(levels[-1][0], image_shape[0], 1, bias=False)
        draw(self.rgb)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I), drawn on the generator's device."""
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W], as they are trained: nothing keeps them within [-1, 1]."""
        if self.embed is not None:
            assert condition is not None, "a conditional generator needs the labels"
            z = torch.cat([z, self.embed(condition)], 1)  # [N, 2d]
        h = self.basis * self.stem(z)[:, :, None, None]  # [N, c, m, m]
        for number, (widen, level) in enumerate(zip(self.widen, self.levels, strict=True)):
            h = level(up(widen(h)) if number else h)
        x: Tensor = self.rgb(h)
        return x

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W] in [-1, 1]."""
        return self.forward(z, condition).clamp(-1, 1)


# --- Critic ---------------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """A depthwise convolution over the whole smallest map, [N, c, m, m] -> [N, c], as a product and a sum."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, height, width) / math.sqrt(height * width))

    def forward(self, h: Tensor) -> Tensor:
        return (h * self.weight).sum((2, 3))


class Critic(nn.Module):
    """Images -> logits, larger for real ones. A conditional one is told the labels by projection.

    logit = psi(phi) + <embed(label), phi> (Miyato & Koyama 2018, eq. 3), psi linear. With packing (Lin et al. 2018) a
    decision is on m images, each label with the embedding of its place. `image_shape` is that of one image.
    """

    def __init__(
        self, model: R3GANModel, image_shape: tuple[int, int, int], classes: int = 0, cure: CureConfig | None = None
    ) -> None:
        super().__init__()
        cure = cure or CureConfig()
        self.image_shape = image_shape
        self.classes = known_classes(model, classes)
        self.packing = cure.packing
        self.stddev = cure.minibatch_stddev
        levels = pyramid(model, image_shape)[::-1]  # the largest first
        self.rgb = nn.Conv2d(cure.packing * image_shape[0], levels[0][0], 1, bias=False)
        draw(self.rgb)
        self.widen = nn.ModuleList([nn.Identity()])  # after the resampling that leads to a level
        self.widen += [plain(fine[0], coarse[0]) for fine, coarse in pairwise(levels)]
        self.levels = blocks(model, levels)
        channels, height, width = levels[-1]
        features, kernels = channels + self.stddev, cure.minibatch_discrimination
        self.head = Head(features, height, width)
        self.discrimination = MinibatchDiscrimination(features, kernels) if kernels else None
        self.psi = nn.Linear(features + kernels, 1)
        draw(self.psi)
        self.embed = nn.Embedding(self.classes * cure.packing, features) if self.classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0, 1 / math.sqrt(features))  # as psi's
        if cure.spectral_norm:
            for module in self.modules():
                if isinstance(module, Residual):
                    draw(module.reduce)  # a layer of zeros has no norm that it could be divided by
            spectrally_normalise(self)
            spectral_norm(self.head)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W], or packed ones [N / m, m C, H, W] -> logits [N] or [N / m].

        `condition`: labels [N], in the order in which the images were packed.
        """
        h = self.rgb(x)  # [N, c, H, W]
        for number, (widen, level) in enumerate(zip(self.widen, self.levels, strict=True)):
            h = level(widen(down(h)) if number else h)
        phi = self.head(minibatch_stddev(h) if self.stddev else h)  # [N, c]
        read = phi if self.discrimination is None else torch.cat([phi, self.discrimination(phi)], 1)
        logit: Tensor = self.psi(read).squeeze(1)  # [N]
        if self.embed is not None:
            assert condition is not None, "a conditional critic needs the labels"
            place = torch.arange(self.packing, device=x.device) * self.classes  # of an image in its pack: [m]
            embedded = self.embed(condition.view(-1, self.packing) + place).sum(1)  # [N, c]
            logit = logit + (embedded * phi).sum(1)
        return logit


def known_classes(model: R3GANModel, classes: int) -> int:
    """How many labels the players are told: 0 unless the model is conditional, and then it must have some."""
    if model.conditional and classes == 0:
        raise Problem("r3gan.no_labels")
    return classes if model.conditional else 0
