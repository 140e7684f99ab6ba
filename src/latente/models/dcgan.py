"""Deep convolutional GAN: Radford, Metz and Chintala 2015 (arXiv 1511.06434).

The two players of gan.py as convolutional networks, by the paper's guidelines (section 3): strides instead of pooling,
batch normalisation, no hidden layer that is fully connected, ReLU in the generator, leaky ReLU in the critic. With 64
pixels and width 64 the networks are those of the paper's figure 1 at half its width, which is how PyTorch's tutorial
has them.

Legend
    z          latents [N, d], d = `latent`, from N(0, I)
    x          image [N, C, H, W] in [-1, 1]
    level      (channels, height, width) of the maps of one size, from the image down to maps of 4 to 7 pixels a side
    label      int64 [N] of a conditional model
    logit      what the critic says [N]; larger means more real
    m          images a decision (packing): the critic then reads [N / m, m C, H, W] and says [N / m]
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import CureConfig, DCGANModel
from latente.layers import MinibatchDiscrimination, minibatch_stddev, spectrally_normalise
from latente.messages import Problem

Level = tuple[int, int, int]

NARROW = 64  # features that minibatch discrimination reads at most


def levels(image_shape: tuple[int, int, int], width: int) -> list[Level]:
    """The image's level and those below it, each half as large, until the shorter side has 4 to 7 pixels.

    28 -> 14 -> 7; 64 -> 32 -> 16 -> 8 -> 4. `width` is the channels of maps with 32 pixels on the shorter side; they
    double when the side is halved. Sides that cannot be halved so are a Problem.
    """
    channels, height, wide = image_shape
    side = min(height, wide)
    halvings = (side // 4).bit_length() - 1
    if halvings < 1 or height % 2**halvings or wide % 2**halvings:
        below = max(side >> halvings << halvings, 8) if halvings > 0 else 8
        above = below + 2 ** (max(halvings, 1))
        raise Problem("dcgan.size", given=f"{wide}x{height}", below=below, above=above)
    found = [image_shape]
    for halving in range(1, halvings + 1):
        size = (height >> halving, wide >> halving)
        found.append((max(8, round(width * 32 / min(size))), *size))
    return found


class Generator(nn.Module):
    """z -> the smallest maps -> ... -> image, by transposed convolutions with batch normalisation and ReLU, then tanh.

    A conditional one is given an embedding of the label beside z.
    """

    def __init__(self, model: DCGANModel, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.classes = known_classes(model, classes)
        self.image_shape = image_shape
        self.latent = model.latent
        embedded = min(self.classes, 64)  # a one-hot label says no more in more numbers
        self.embedding = nn.Embedding(self.classes, embedded) if self.classes else None
        levels_up = levels(image_shape, model.width)[::-1]
        self.layers = nn.Sequential(
            nn.Linear(model.latent + embedded, math.prod(levels_up[0]), bias=False),
            nn.Unflatten(1, levels_up[0]),  # the same as a transposed convolution whose kernel covers the map, faster
        )
        for level, finer in pairwise(levels_up):
            self.layers += nn.Sequential(
                nn.BatchNorm2d(level[0]),
                nn.ReLU(),
                nn.ConvTranspose2d(level[0], finer[0], 4, stride=2, padding=1, bias=False),
            )
        initialise(self)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I); drawn on the generator's device."""
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] (and labels [N]) -> images [N, C, H, W] in [-1, 1]."""
        if self.embedding is not None:
            assert condition is not None, "a conditional generator needs the labels"
            z = torch.cat([z, self.embedding(condition)], 1)
        x: Tensor = self.layers(z).tanh()  # [N, C, H, W]
        return x

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] (and labels [N]) -> images [N, C, H, W] in [-1, 1]; deterministic in evaluation mode."""
        return self.forward(z, condition).clamp(-1, 1)


class Critic(nn.Module):
    """Image -> ... -> the smallest maps -> logit, by strided convolutions with batch normalisation and leaky ReLU.

    Batch normalisation makes a logit depend on the whole batch, which penalties on the gradient of one logit do not
    expect: `critic_norm` "none" leaves it out. A conditional critic adds <embedding of the label, features> to the
    logit (projection; Miyato & Koyama 2018, eq. 3), the features being all that the last layer reads. `image_shape` is
    that of one image, however many are packed.
    """

    def __init__(
        self, model: DCGANModel, image_shape: tuple[int, int, int], classes: int = 0, cure: CureConfig | None = None
    ) -> None:
        super().__init__()
        cure = cure or CureConfig()
        self.classes = known_classes(model, classes)
        self.packing = cure.packing
        levels_down = levels(image_shape, model.width)
        batch_norm = model.critic_norm == "batch"
        self.layers = nn.ModuleList()
        for level, coarser in pairwise(levels_down):
            first = level == levels_down[0]
            inputs = cure.packing * level[0] if first else level[0]
            layer = nn.Sequential(nn.Conv2d(inputs, coarser[0], 4, stride=2, padding=1, bias=not batch_norm))
            if batch_norm and not first:
                layer.append(nn.BatchNorm2d(coarser[0]))
            self.layers.append(layer.append(nn.LeakyReLU(0.2)))

        channels, height, wide = levels_down[-1]
        flat, kernels = channels * height * wide, cure.minibatch_discrimination
        self.stddev = cure.minibatch_stddev
        features = (channels + self.stddev) * height * wide + kernels
        self.last = nn.Linear(features, 1, bias=False)  # the paper's last convolution: its kernel covers the map
        self.embedding = nn.Embedding(self.classes * cure.packing, features) if self.classes else None
        initialise(self)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0, 0.02)
        self.discrimination: nn.Sequential | None = None
        if kernels:  # through few features: its tensor would be by far the largest layer otherwise
            narrow = nn.Linear(flat, NARROW, bias=False) if flat > NARROW else nn.Identity()
            self.discrimination = nn.Sequential(narrow, MinibatchDiscrimination(min(flat, NARROW), kernels))
        if cure.spectral_norm:
            spectrally_normalise(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W], or packed [N / m, m C, H, W] -> logits [N] or [N / m].

        `condition`: labels [N], in the order in which the images were packed.
        """
        for layer in self.layers:
            x = layer(x)  # [N, c, h, w]
        features = (minibatch_stddev(x) if self.stddev else x).flatten(1)  # [N, F]
        if self.discrimination is not None:
            features = torch.cat([features, self.discrimination(x.flatten(1))], 1)
        logit: Tensor = self.last(features).squeeze(1)  # [N]
        if self.embedding is not None:
            assert condition is not None, "a conditional critic needs the labels"
            place = torch.arange(self.packing, device=x.device) * self.classes  # of an image in its pack: [m]
            embedded = self.embedding(condition.view(-1, self.packing) + place).sum(1)  # [N, F]
            logit = logit + (embedded * features).sum(1)
        return logit

    def features(self, x: Tensor) -> Tensor:
        """What all layers see of images, for other tasks: [N, C, H, W] -> [N, F] (section 5.1).

        The maps of each layer, reduced to 4x4 by their largest values, all flattened together. In evaluation mode.
        """
        assert not self.training, "features of an image must not depend on the other images of its batch"
        found = []
        for layer in self.layers:
            x = layer(x)  # [N, c, h, w]
            found.append(F.adaptive_max_pool2d(x, 4).flatten(1))  # [N, 16 c]
        return torch.cat(found, 1)


def known_classes(model: DCGANModel, classes: int) -> int:
    """How many labels the players are told: 0 unless the model is conditional, and then it must have some."""
    if model.conditional and classes == 0:
        raise Problem("dcgan.no_labels")
    return classes if model.conditional else 0


def initialise(net: nn.Module) -> None:
    """Weights from N(0, 0.02) (section 4), batch normalisation's scales from N(1, 0.02), biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
