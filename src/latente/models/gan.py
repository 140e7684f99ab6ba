"""Generative adversarial networks, fully connected: Goodfellow et al. 2014 (arXiv 1406.2661).

Two players. The generator G turns latents into images; the critic C is shown images, real ones and G's, and says how
real each looks. C learns to tell them apart, G learns to make C wrong. At the end of a game played perfectly G's images
are distributed as the real ones, and C can only guess (proposition 2). The costs are not here: any will do.

Legend
    z      latents [N, d], d = `latent`; their prior p(z) has mean 0 and variance 1
    x      image [N, C, H, W] in [-1, 1], or points [N, d, 1, 1] anywhere
    logit  what the critic says [N]; larger means more real, and the paper's D(x) = sigmoid(logit)
    m      images a decision (packing): the critic then reads [N / m, m C, H, W] and says [N / m]
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from latente.config import CureConfig, GANModel
from latente.layers import Maxout, MinibatchDiscrimination, minibatch_stddev, spectrally_normalise

LEAK = 0.2  # slope of the critic's leaky ReLU below 0


class Generator(nn.Module):
    """z -> image: ReLU layers, then tanh. Points may lie anywhere, so their output is linear.

    This network knows no labels; `classes` and `condition` are there because every family's are asked alike.
    """

    def __init__(self, model: GANModel, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent = model.latent
        self.uniform = model.prior == "uniform"
        self.points = image_shape[1:] == (1, 1)
        widths = (model.latent, *model.hidden)
        self.hidden = nn.Sequential()
        for inputs, units in pairwise(widths):
            self.hidden += nn.Sequential(nn.Linear(inputs, units), nn.ReLU())
        self.last = nn.Linear(widths[-1], math.prod(image_shape))
        initialise(self.hidden, "relu")
        initialise(self.last, "linear")

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n latents [n, d] from N(0, I), or uniform with the same variance; drawn on the generator's device."""
        if self.uniform:
            return (torch.rand(n, self.latent, generator=generator, device=generator.device) * 2 - 1) * math.sqrt(3)
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W], as they are trained."""
        x: Tensor = self.last(self.hidden(z)).view(-1, *self.image_shape)  # [N, C, H, W]
        return x if self.points else x.tanh()

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents [N, d] -> images [N, C, H, W] in [-1, 1], or points [N, d, 1, 1] as they are."""
        x = self.forward(z)
        return x if self.points else x.clamp(-1, 1)


class Critic(nn.Module):
    """Image -> logit: leaky ReLU or maxout layers, dropout if asked for, and a linear end.

    The first layer's biases are spread for points: with biases near 0 all its kinks pass through the origin, and
    nothing in the plane sets one place apart from another. `zoom` multiplies the input, so that a function with the
    same weights varies over smaller distances. `image_shape` is that of one image, however many are packed.
    """

    def __init__(
        self, model: GANModel, image_shape: tuple[int, int, int], classes: int = 0, cure: CureConfig | None = None
    ) -> None:
        super().__init__()
        cure = cure or CureConfig()
        self.zoom = model.zoom
        widths = (cure.packing * math.prod(image_shape), *model.critic_hidden)
        self.hidden = nn.Sequential()
        for inputs, units in pairwise(widths):
            if model.maxout:
                self.hidden.append(Maxout(inputs, units, model.maxout))
            else:
                self.hidden += nn.Sequential(nn.Linear(inputs, units), nn.LeakyReLU(LEAK))
            if model.dropout:
                self.hidden.append(nn.Dropout(model.dropout))
        initialise(self.hidden, "linear" if model.maxout else "leaky_relu")
        if image_shape[1:] == (1, 1) and model.critic_hidden:
            first = next(module for module in self.hidden.modules() if isinstance(module, nn.Linear))
            nn.init.normal_(first.bias)

        features, kernels = widths[-1], cure.minibatch_discrimination
        self.discrimination = MinibatchDiscrimination(features, kernels) if kernels else None
        self.stddev = cure.minibatch_stddev
        self.last = nn.Linear(features + kernels + self.stddev, 1)
        initialise(self.last, "linear")
        if cure.spectral_norm:
            spectrally_normalise(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W], or packed [N / m, m C, H, W] -> logits [N] or [N / m]."""
        h = self.hidden(self.zoom * x.flatten(1))  # [N, F]
        features = minibatch_stddev(h) if self.stddev else h  # [N, F + 1]
        if self.discrimination is not None:
            features = torch.cat([features, self.discrimination(h)], 1)  # [N, F + 1 + kernels]
        logit: Tensor = self.last(features).squeeze(1)  # [N]
        return logit


def initialise(net: nn.Module, activation: str) -> None:
    """He et al. 2015: variances that keep the signal's size through the activation; biases 0.

    Maxout takes that of linear layers: the larger of two standard normals has a second moment of 1 already.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, LEAK, nonlinearity=activation)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)
