"""Variational autoencoders: AEVB (arXiv 1312.6114), IWAE (1509.00519), sigma-VAE (2006.13202).

Legend
    x       image [N, C, H, W] in [-1, 1]
    z       code [N, d], d = `latent`; its prior p(z) is N(0, I)
    q(z|x)  posterior of the encoder, N(mean, diag e^logvar)
    output  what the decoder says before the likelihood reads it [N, C, H, W]: logits of the pixels' means, or the means
            in [-1, 1] themselves (a Gaussian with `mean` linear), or means and log scales of a logistic [N, 2C, H, W]
    L, k    samples of z an image (AEVB's L, IWAE's k), always the first dimension: [L, N, ...]
    label   one-hot [N, classes] of a conditional model
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import VAEModel, VAEObjective
from latente.layers import MixturePrior
from latente.messages import Problem
from latente.objectives import Terms
from latente.objectives.reconstruction import (
    bernoulli_nll,
    discretised_logistic_nll,
    free_bits,
    gaussian_nll,
    importance_bound,
    kl_standard_normal,
    log_normal,
    optimal_sigma,
    squared_error,
)

if TYPE_CHECKING:
    from latente.data.stream import Batch

SIGMA_HALFLIFE = 10_000  # images; of the running optimal sigma^2


class Posterior(NamedTuple):
    """q(z|x), one Gaussian an image."""

    mean: Tensor  # [N, d]
    logvar: Tensor  # [N, d]


# --- The networks of the papers: fully connected --------------------------------------------------------------------


def hidden_layers(widths: tuple[int, ...], activation: str) -> nn.Sequential:
    """A linear layer and an activation between each width and the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Tanh() if activation == "tanh" else nn.ReLU()]
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    """AEVB, appendix C.2: h = tanh(W3 x + b3); mean and logvar are linear in h (one layer holds both)."""

    def __init__(self, model: VAEModel, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        widths = (math.prod(image_shape) + classes, *model.hidden)
        self.hidden = hidden_layers(widths, model.activation)
        self.last = nn.Linear(widths[-1], 2 * model.latent)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        h = (x.flatten(1) + 1) / 2  # [N, CHW] in [0, 1], as the papers' pixels are: their initialisation counts on it
        q: Tensor = self.last(self.hidden(h if label is None else torch.cat([h, label], 1)))  # [N, 2d]
        return q


class MLPDecoder(nn.Module):
    """AEVB, appendix C.1: the output is linear in tanh(W1 z + b1)."""

    def __init__(self, model: VAEModel, output_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        widths = (model.latent + classes, *reversed(model.hidden))
        self.hidden = hidden_layers(widths, model.activation)
        self.last = nn.Linear(widths[-1], math.prod(output_shape))
        self.output_shape = output_shape

    def forward(self, z: Tensor) -> Tensor:
        output: Tensor = self.last(self.hidden(z))
        return output.view(-1, *self.output_shape)  # [N, C, H, W]


# --- The convolutional network: strided convolutions, residual blocks where the maps are small ----------------------


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), [N, c, h, w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + change


def pyramid(image_shape: tuple[int, int, int], width: int) -> list[tuple[int, int, int]]:
    """(channels, height, width) of the image and of every level below it: halved until the shorter side is under 8.

    28 -> 14 -> 7; 32 -> 16 -> 8 -> 4; odd sides are rounded up (9 -> 5). Channels double from `width` to 4 x `width`.
    """
    levels = [image_shape]
    while not levels[1:] or min(levels[-1][1:]) >= 8:
        _, height, wide = levels[-1]
        levels.append((width * 2 ** min(len(levels) - 1, 2), -(-height // 2), -(-wide // 2)))
    return levels


def downwards(level: tuple[int, int, int], coarser: tuple[int, int, int]) -> nn.Conv2d:
    """From one level to the next coarser one; an odd side is padded by one more."""
    return nn.Conv2d(level[0], coarser[0], 4, stride=2, padding=(1 + level[1] % 2, 1 + level[2] % 2))


def upwards(level: tuple[int, int, int], finer: tuple[int, int, int]) -> nn.ConvTranspose2d:
    """The way back: the mirror image of `downwards`."""
    odd = (finer[1] % 2, finer[2] % 2)
    padding = (1 + odd[0], 1 + odd[1])
    return nn.ConvTranspose2d(level[0], finer[0], 4, stride=2, padding=padding, output_padding=odd)


class ConvEncoder(nn.Module):
    """An image halved level by level, residual blocks on the smallest level, and a fully connected end."""

    def __init__(self, model: VAEModel, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        levels = pyramid(image_shape, model.width)
        self.first = downwards(levels[0], levels[1])
        self.label = nn.Linear(classes, levels[1][0], bias=False) if classes else None  # as if by one-hot planes
        self.down = nn.Sequential()
        for level, coarser in pairwise(levels[1:]):
            self.down += nn.Sequential(nn.ReLU(), downwards(level, coarser))
        channels = levels[-1][0]
        self.blocks = nn.Sequential(*[Residual(channels) for _ in range(model.blocks)], nn.ReLU())
        widths = (math.prod(levels[-1]), *model.hidden)
        self.hidden = hidden_layers(widths, model.activation)
        self.last = nn.Linear(widths[-1], 2 * model.latent)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        h = self.first(x)  # [N, width, H/2, W/2]
        if self.label is not None and label is not None:
            h = h + self.label(label)[:, :, None, None]
        h = self.blocks(self.down(h))  # [N, c, h, w]
        q: Tensor = self.last(self.hidden(h.flatten(1)))  # [N, 2d]
        return q


class ConvDecoder(nn.Module):
    """The encoder in a mirror. The last layer says four pixels a place (pixel shuffle): fast, without a chequerboard.

    The hidden layer is what makes samples good: without it the maps are linear in z, and images made from the prior are
    smoky mixtures although the reconstructions are sharper.
    """

    def __init__(self, model: VAEModel, output_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        levels = pyramid(output_shape, model.width)[::-1]
        self.smallest = levels[0]
        widths = (model.latent + classes, *reversed(model.hidden))
        self.hidden = hidden_layers(widths, model.activation)
        self.first = nn.Linear(widths[-1], math.prod(self.smallest))
        self.blocks = nn.Sequential(*[Residual(self.smallest[0]) for _ in range(model.blocks)])
        self.up = nn.Sequential()
        for level, finer in pairwise(levels[:-1]):
            self.up += nn.Sequential(nn.ReLU(), upwards(level, finer))
        self.output_shape = output_shape
        self.last = nn.Conv2d(levels[-2][0], 4 * output_shape[0], 3, padding=1)  # four pixels a place

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(self.hidden(z)).view(-1, *self.smallest)  # [N, c, h, w]
        h = self.last(F.relu(self.up(self.blocks(h))))  # [N, 4C, H/2, W/2]
        _, height, width = self.output_shape
        return F.pixel_shuffle(h, 2)[..., :height, :width]  # [N, C, H, W]


# --- The model ------------------------------------------------------------------------------------------------------


class VAE(nn.Module):
    """Encoder q(z|x), prior N(0, I), decoder p(x|z).

    The bound is always that of N(0, I). Where the codes of the images leave holes in it, new images come out better
    from a mixture fitted to the codes afterwards (Ghosh et al. 2020, section 4), which `model.prior` asks for.
    The objective is asked for because the likelihood decides what the decoder says. `classes` counts when
    `model.conditional` is set: then every method wants the labels, int64 [N].
    """

    sigma2: Tensor  # of a Gaussian that does not learn it

    def __init__(
        self, model: VAEModel, objective: VAEObjective, image_shape: tuple[int, int, int], classes: int = 0
    ) -> None:
        super().__init__()
        if model.conditional and classes == 0:
            raise Problem("vae.no_labels")
        self.image_shape = image_shape
        self.latent = model.latent
        self.classes = classes if model.conditional else 0
        self.likelihood = objective.likelihood
        self.logits = self.likelihood == "bernoulli" or (self.likelihood == "gaussian" and model.mean == "sigmoid")
        channels, height, width = image_shape
        output_shape = (2 * channels if self.likelihood == "logistic" else channels, height, width)
        self.encoder: MLPEncoder | ConvEncoder
        self.decoder: MLPDecoder | ConvDecoder
        if model.kind == "mlp":
            self.encoder = MLPEncoder(model, image_shape, self.classes)
            self.decoder = MLPDecoder(model, output_shape, self.classes)
        else:
            self.encoder = ConvEncoder(model, image_shape, self.classes)
            self.decoder = ConvDecoder(model, output_shape, self.classes)
        self.init = "he" if model.kind == "conv" else model.init
        initialise(self, self.init)
        # One sigma for all pixels, in units of pixels in [0, 1].
        if self.likelihood == "gaussian" and objective.sigma == "learned":
            self.log_sigma = nn.Parameter(torch.tensor(math.log(0.2)))  # near the spread of images around their mean
        elif self.likelihood == "gaussian":
            start = 1.0 if objective.sigma == "optimal" else objective.sigma_value**2
            self.register_buffer("sigma2", torch.tensor(start))
        self.mixture = MixturePrior(model.latent) if model.prior == "mixture" else None

    def label(self, condition: Tensor | None) -> Tensor | None:
        """int64 [N] -> one-hot [N, classes]; None for a model that is told no label."""
        if self.classes == 0:
            return None
        if condition is None:
            raise ValueError("a conditional VAE needs the labels")
        return F.one_hot(condition, self.classes).float()

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Posterior:
        """q(z|x) of images [N, C, H, W]."""
        mean, logvar = self.encoder(x, self.label(condition)).float().chunk(2, 1)
        return Posterior(mean, logvar.clamp(-20, 10))  # e^logvar stays finite; no trained posterior goes there

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the decoder says of codes [N, d], as the likelihood wants it (see the legend)."""
        label = self.label(condition)
        output: Tensor = self.decoder(z if label is None else torch.cat([z, label], 1)).float()
        return output

    def mean_image(self, output: Tensor) -> Tensor:
        """E[x|z] of an output [..., C or 2C, H, W] -> [..., C, H, W].

        A Gaussian's mean may go through a sigmoid, as AEVB has it for the Frey faces (section 5): black and white are
        then within reach of every code, and samples keep a clean background.
        """
        if self.logits:
            return torch.tanh(output / 2)  # 2 sigmoid(output) - 1
        return output.narrow(-3, 0, self.image_shape[0])

    def log_likelihood(self, x: Tensor, output: Tensor, sigma: Tensor | None = None) -> Tensor:
        """log p(x|z): images [N, C, H, W], outputs [N, ...] or [L, N, ...] -> [N] or [L, N] nats.

        Bernoulli and logistic give the log of a probability, the Gaussian that of a density over [0, 1]^D, with the
        model's own sigma unless another is given.
        """
        if self.likelihood == "bernoulli":
            return -bernoulli_nll(output, x)
        if self.likelihood == "logistic":
            mean, log_scale = output.chunk(2, -3)
            return -discretised_logistic_nll(mean, log_scale, x)
        return -gaussian_nll(self.mean_image(output), x, self.sigma() if sigma is None else sigma)

    def sigma(self) -> Tensor:
        """The Gaussian's standard deviation, pixels in [0, 1]: []. When optimal, the running one of training."""
        if hasattr(self, "log_sigma"):
            return (F.softplus(self.log_sigma + 6) - 6).exp()  # its log is clipped softly at -6: it cannot run away
        return self.sigma2.sqrt()

    @torch.no_grad()
    def remember(self, sigma: Tensor, images: int, n: int) -> None:
        """Take the optimal sigma of a batch of n, shown after `images` others, into the running one."""
        rate = max(n / (images + n), 1 - 0.5 ** (n / SIGMA_HALFLIFE))  # the first batch replaces the start value
        self.sigma2.lerp_(sigma.square(), rate)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] -> posterior means [N, d]."""
        return self.posterior(x, condition).mean

    def fit_prior(self, codes: Tensor) -> None:
        """Fit the mixture to codes [n, d] sampled from the posteriors of the training set."""
        assert self.mixture is not None, "this model's prior is N(0, I)"
        self.mixture.fit(codes)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, d] from N(0, I), or from the mixture that was fitted; drawn on the generator's device."""
        if self.mixture is not None:
            return self.mixture.sample(n, generator)
        return torch.randn(n, self.latent, generator=generator, device=generator.device)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Codes [N, d] -> mean images [N, C, H, W] in [-1, 1]."""
        return self.mean_image(self.output(z, condition)).clamp(-1, 1)

    @torch.no_grad()
    def start_from(self, mean_image: Tensor) -> None:
        """Let the output start at the training set's mean image [C, H, W] in [-1, 1], as IWAE's code does.

        Networks with init "aevb" (the paper draws the output bias like the rest) or "torch" are left as they are.
        """
        if self.init in ("aevb", "torch"):
            return
        bias = self.decoder.last.bias
        assert isinstance(bias, Tensor)
        pixels = ((mean_image + 1) / 2).flatten()
        if self.init == "he":  # a convolution has one bias a channel, for each of the four pixels of a place
            pixels = ((mean_image + 1) / 2).mean((1, 2)).repeat_interleave(4)
        pixels = pixels.clamp(0.001, 0.999)
        mean = pixels.logit() if self.logits else 2 * pixels - 1
        bias[: len(mean)] = mean.to(bias)  # the rest are log scales


def initialise(net: nn.Module, how: str) -> None:
    """Draw all weights: "aevb", "glorot" and "torch" for fully connected networks, "he" for the convolutional one."""
    if how == "torch":
        return
    if how == "aevb":  # "initialized by random sampling from N(0, 0.01)": read as the variance, standard deviation 0.1
        for parameter in net.parameters():
            nn.init.normal_(parameter, 0, 0.1)
        return
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            if how == "glorot" or isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            else:
                inputs = module.weight[0].numel()  # that reach one output
                if isinstance(module, nn.ConvTranspose2d):
                    inputs = module.in_channels * 4  # a 4x4 kernel of stride 2 meets an output pixel in 2x2 places
                nn.init.normal_(module.weight, 0, math.sqrt(2 / inputs))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, Residual):
            module.second.weight.data *= 0.1  # a block starts near the identity; not at it, or `first` had no gradient


# --- The objective --------------------------------------------------------------------------------------------------


def terms(objective: VAEObjective) -> Callable[[VAE, "Batch", int], Terms]:
    """The function a training step calls: (net, batch, images shown) -> Terms.

    Per image: "reconstruction" -log p(x|z), "kl", "bound" (their sum, the negative ELBO whatever the weights; -L_k for
    iwae), all in nats, and "mse" (pixels in [0, 1]).
    """
    check(objective)

    def vae_terms(net: VAE, batch: "Batch", images: int) -> Terms:
        x = batch.images
        q = net.posterior(x, batch.condition)
        noise = torch.randn(objective.samples, *q.mean.shape, device=x.device)  # [L, N, d]
        z = q.mean + (q.logvar / 2).exp() * noise  # AEVB, section 2.4
        condition = None if batch.condition is None else batch.condition.repeat(objective.samples)
        output = net.output(z.flatten(0, 1), condition)  # [LN, C, H, W]
        output = output.view(*z.shape[:2], *output.shape[1:])  # [L, N, C, H, W]
        recorded: dict[str, Tensor] = {}
        per_image: dict[str, Tensor] = {}
        if net.likelihood != "bernoulli" or not net.training:  # a Bernoulli's would cost as much as its likelihood
            with torch.no_grad():
                mean = net.mean_image(output)
                per_image["mse"] = squared_error(mean, x).mean(0)  # [N]
        sigma = net.sigma() if net.likelihood == "gaussian" else None
        if sigma is not None and objective.sigma == "optimal" and net.training:
            sigma = optimal_sigma(mean, x)
            net.remember(sigma, images, len(x))
        log_px = net.log_likelihood(x, output, sigma)  # [L, N]
        if sigma is not None:
            recorded["sigma"] = sigma.detach()

        if objective.estimator == "B":  # AEVB, eq. 7: the KL in closed form
            kl = kl_standard_normal(q.mean, q.logvar)  # [N, d]
            log_ratio = kl[None]
        else:  # AEVB, eq. 6: log q(z|x) - log p(z) at the samples
            log_ratio = log_normal(z, q.mean, q.logvar) - log_normal(z)  # [L, N, d]
            kl = log_ratio.mean(0)
        reconstruction = -log_px.mean(0)  # [N]
        per_image |= {"reconstruction": reconstruction, "kl": kl.sum(1)}
        if objective.estimator == "iwae":
            per_image["bound"] = -importance_bound(log_px - log_ratio.sum(-1))
            return Terms(per_image, recorded, {"bound": 1.0})
        per_image["bound"] = (reconstruction + per_image["kl"]).detach()
        weight = objective.beta * ramp(images, objective.warmup)
        if objective.capacity > 0:  # Burgess et al. 2018 (1804.03599), section 5
            target = objective.capacity * ramp(images, objective.capacity_images)
            recorded["kl_capacity"] = (per_image["kl"].mean() - target).abs()
            return Terms(per_image, recorded, {"reconstruction": 1.0, "kl_capacity": weight})
        if objective.free_bits > 0:
            recorded["kl_free_bits"] = free_bits(kl, objective.free_bits)
            return Terms(per_image, recorded, {"reconstruction": 1.0, "kl_free_bits": weight})
        return Terms(per_image, recorded, {"reconstruction": 1.0, "kl": weight})

    return vae_terms


def ramp(images: int, length: int) -> float:
    """From 0 to 1 over the first `length` images; 1 where there is no ramp."""
    return min(1.0, images / length) if length > 0 else 1.0


def check(objective: VAEObjective) -> None:
    """Refuse an objective that has no meaning, with a Problem that says which part."""
    if objective.samples < 1:
        raise Problem("vae.samples", given=objective.samples)
    if objective.sigma_value <= 0:
        raise Problem("vae.sigma", given=objective.sigma_value)
    for name in ("beta", "free_bits", "capacity"):
        if getattr(objective, name) < 0:
            raise Problem("vae.negative", name=name.replace("_", "-"), given=getattr(objective, name))
    if objective.free_bits > 0 and objective.capacity > 0:
        raise Problem("vae.free_bits_or_capacity")
    plain = objective.beta == 1 and objective.warmup == objective.free_bits == objective.capacity == 0
    if objective.estimator == "iwae" and not plain:
        raise Problem("vae.iwae_has_no_kl")
