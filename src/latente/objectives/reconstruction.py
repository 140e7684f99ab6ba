"""How well an output explains an image, and what the code costs: densities in nats, one number per image.

Images x and means are in [-1, 1], [..., C, H, W]; the leading dimensions broadcast, so that L samples [L, N, C, H, W]
can be held against one batch [N, C, H, W]. Codes are [..., d].
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PIXELS = (-3, -2, -1)  # the dimensions of one image


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) of independent Bernoulli pixels (AEVB, appendix C.1): [...] nats.

    x in {-1, 1} stands for {0, 1}. Grey x is accepted, as many codebases do, but then this is a cross entropy and no
    likelihood: it does not reach 0 at a perfect reconstruction.
    """
    nll: Tensor = _BernoulliNLL.apply(logits, x)  # type: ignore[no-untyped-call]
    return nll


class _BernoulliNLL(torch.autograd.Function):
    """sum softplus(l) - (x + 1) l / 2, written as (|l| - x l) / 2 - log sigmoid(|l|): half the passes over the pixels
    that autograd would make of it, and in a small network they cost as much as the matrix products."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        size = logits.abs()
        away = size.sum(PIXELS) - (x * logits).sum(PIXELS)
        return away / 2 - size.sigmoid_().log_().sum(PIXELS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, x = ctx.saved_tensors
        return (logits / 2).tanh_().sub_(x).mul_(gradient[..., None, None, None] / 2), None  # sigmoid(l) - (x + 1) / 2


def squared_error(mean: Tensor, x: Tensor) -> Tensor:
    """Mean squared error over the pixels, pixels counted in [0, 1]: [...]."""
    return (x - mean).square().mean(PIXELS) / 4  # in [-1, 1] differences are twice as large


def gaussian_nll(mean: Tensor, x: Tensor, sigma: Tensor | float) -> Tensor:
    """-log N(x; mean, sigma^2 I): [...] nats.

    The density is over pixels in [0, 1]^D, and sigma is in that unit; over [-1, 1]^D it would be D log 2 nats more. It
    is a density: it falls below zero once sigma is small, and says nothing in bits until the pixels are dequantised.
    """
    log_sigma = sigma.log() if isinstance(sigma, Tensor) else math.log(sigma)
    pixels = math.prod(x.shape[-3:])
    return pixels * (squared_error(mean, x) / (2 * sigma**2) + log_sigma + 0.5 * math.log(2 * math.pi))


def optimal_sigma(mean: Tensor, x: Tensor) -> Tensor:
    """The sigma under which this batch is most likely: sigma^2 = its mean squared error (sigma-VAE, 2006.13202): [].

    Without gradient: at the optimum the derivative with respect to sigma is zero, so that `gaussian_nll` with it has
    the value and the gradient of D/2 (log(2 pi MSE) + 1).
    """
    return squared_error(mean, x).detach().mean().clamp(min=1e-8).sqrt()


def discretised_logistic_nll(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    """-log of the mass that a logistic puts on each of 256 levels, edges open (PixelCNN++, eq. 2): [...] nats.

    A probability, not a density: divided by D log 2 it is bits per dimension. The mass sigmoid(b) - sigmoid(a) of a bin
    of width d = b - a is written as sigmoid(a) sigmoid(-b) (e^d - 1), which stays exact far out in the tails, where the
    difference of the two sigmoids would be 0.
    """
    scale = log_scale.clamp(min=-7).exp()
    below, above = (x - 1 / 255 - mean) / scale, (x + 1 / 255 - mean) / scale
    inside = F.logsigmoid(below) + F.logsigmoid(-above) + torch.expm1(2 / 255 / scale).log()
    log_mass = torch.where(
        x < -1 + 1 / 255, F.logsigmoid(above), torch.where(x > 1 - 1 / 255, F.logsigmoid(-below), inside)
    )
    return -log_mass.sum(PIXELS)


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, e^logvar) || N(0, 1)) of each latent (AEVB, appendix B): [..., d] nats; an image's KL is their sum."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def log_normal(z: Tensor, mean: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """log N(z; mean, e^logvar) of each latent: [..., d] nats. The standard normal unless told otherwise."""
    variance = logvar.exp() if isinstance(logvar, Tensor) else math.exp(logvar)
    return -0.5 * (math.log(2 * math.pi) + logvar + (z - mean).square() / variance)


def free_bits(kl: Tensor, free: float) -> Tensor:
    """sum_j max(free, batch mean of KL_j) of kl [N, d] (IAF, 1606.04934): [] nats. A latent below `free` is let be."""
    return kl.mean(0).clamp(min=free).sum()


def importance_bound(log_w: Tensor) -> Tensor:
    """L_k = log (1/k) sum_i w_i of log weights [k, N] (IWAE, eq. 8): [N] nats.

    Autograd through logsumexp gives the paper's gradient: sum_i w~_i grad log w_i with normalised weights w~.
    """
    return log_w.logsumexp(0) - math.log(len(log_w))
