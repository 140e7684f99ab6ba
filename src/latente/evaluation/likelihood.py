"""How likely a latent-variable model finds images: the ELBO and the importance-weighted bound.

Both are lower bounds of log p(x), in nats per image, of the image as the network sees it: say how it was binarised.

    L_1 = E_q[log p(x|z)] - KL(q(z|x) || p(z))           the ELBO (Kingma & Welling 2013, eq. 3)
    L_k = E[log 1/k sum_i w_i],  w_i = p(x, z_i) / q(z_i|x)   (Burda et al. 2015, eq. 8); L_k <= L_k+1 -> log p(x)

N images, k samples of each, d latents; mu, logvar: mean and log-variance of the posterior q(z|x), both [N, d].
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from latente.messages import say

BURDA_THRESHOLD = 0.01  # Burda et al. 2015, section 5.2: a latent with more variance than this is active


class LatentModel(Protocol):
    """What is needed of a network: a prior N(0, I) over z, q(z|x) and p(x|z)."""

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]: ...  # mean, logvar

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor: ...

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor: ...  # [N], nats per image


class Importance(NamedTuple):
    """Importance sampling of log p(x), image by image."""

    bound: Tensor  # [N] log of the mean weight, nats
    effective: Tensor  # [N] effective sample size (sum w)^2 / sum w^2, from 1 to k


class Elbo(NamedTuple):
    """The evidence lower bound in its two terms, image by image."""

    reconstruction: Tensor  # [N] mean of log p(x|z) over q(z|x), nats
    kl: Tensor  # [N] KL(q(z|x) || N(0, I)), nats, in closed form

    @property
    def bound(self) -> Tensor:
        return self.reconstruction - self.kl  # [N]


@torch.no_grad()
def importance_sampling(
    vae: LatentModel, x: Tensor, k: int, *, chunk: int = 500, seed: int = 0, condition: Tensor | None = None
) -> Importance:
    """log 1/k sum_i w_i and the effective sample size of each image of x [N, C, H, W], with k samples of z each.

    Every image is encoded once; `chunk` decoder passes are in memory at a time, whatever k is. The network should be in
    evaluation mode. The same seed and chunk give the same numbers.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k and chunk are at least 1, not {k} and {chunk}")
    generator = torch.Generator(x.device).manual_seed(seed)
    parts = []
    for start in range(0, len(x), chunk):
        images = x[start : start + chunk]
        labels = None if condition is None else condition[start : start + chunk]
        parts.append(_stream(vae, images, k, min(k, chunk // len(images)), generator, labels))
    return Importance(torch.cat([part.bound for part in parts]), torch.cat([part.effective for part in parts]))


def importance_bound(
    vae: LatentModel, x: Tensor, k: int, *, chunk: int = 500, seed: int = 0, condition: Tensor | None = None
) -> Tensor:
    """L_k of each image, [N], in nats: `importance_sampling` without the effective sample size. -mean() is the NLL."""
    return importance_sampling(vae, x, k, chunk=chunk, seed=seed, condition=condition).bound


def _stream(
    vae: LatentModel, x: Tensor, k: int, at_once: int, generator: torch.Generator, condition: Tensor | None
) -> Importance:
    """One chunk of images, `at_once` samples of each in a pass: a running log-sum-exp of log w and of 2 log w."""
    mu, logvar = vae.posterior(x, condition)
    n = len(x)
    # The weights are summed in float64 (which Apple's GPUs lack); the networks run in the precision of x.
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    top = torch.full((n,), -math.inf, dtype=exact, device=x.device)  # [n] largest log w so far
    total, squares = torch.zeros_like(top), torch.zeros_like(top)  # [n] sums of exp(log w - top), of its square
    several = _several(at_once, x, mu, logvar, condition)
    done = 0
    while done < k:
        if k - done < at_once:  # what is left over
            at_once = k - done
            several = _several(at_once, x, mu, logvar, condition)
        xs, mus, logvars, labels = several  # [s n, ...], s = at_once; row i n + j is sample i of image j
        eps = torch.randn(mus.shape, generator=generator, dtype=mus.dtype, device=mus.device)  # [s n, d]
        z = mus + torch.exp(0.5 * logvars) * eps
        # log p(z) - log q(z|x): the constants of the two Gaussians cancel
        log_ratio = 0.5 * (eps.square() - z.square() + logvars).sum(1)
        log_w = vae.log_likelihood(xs, vae.output(z, labels)) + log_ratio  # [s n]
        log_w = log_w.to(exact).view(at_once, n)
        higher = torch.maximum(top, log_w.amax(0))
        shrink, w = torch.exp(top - higher), torch.exp(log_w - higher)
        total, squares = total * shrink + w.sum(0), squares * shrink.square() + w.square().sum(0)
        top = higher
        done += at_once
    return Importance(top + torch.log(total) - math.log(k), total.square() / squares)


def _several(
    at_once: int, x: Tensor, mu: Tensor, logvar: Tensor, condition: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """A chunk repeated once a sample: made once, used in every pass."""
    if at_once == 1:
        return x, mu, logvar, condition
    labels = None if condition is None else condition.repeat(at_once)
    return x.repeat(at_once, *[1] * (x.ndim - 1)), mu.repeat(at_once, 1), logvar.repeat(at_once, 1), labels


@torch.no_grad()
def elbo(
    vae: LatentModel, x: Tensor, samples: int = 1, *, chunk: int = 500, seed: int = 0, condition: Tensor | None = None
) -> Elbo:
    """The ELBO of each image of x [N, C, H, W]; the reconstruction is a mean over `samples` draws, never z = mu."""
    if samples < 1 or chunk < 1:
        raise ValueError(f"samples and chunk are at least 1, not {samples} and {chunk}")
    generator = torch.Generator(x.device).manual_seed(seed)
    parts = []
    for start in range(0, len(x), chunk):
        images = x[start : start + chunk]
        labels = None if condition is None else condition[start : start + chunk]
        mu, logvar = vae.posterior(images, labels)
        reconstruction = torch.zeros(len(images), dtype=torch.float32, device=x.device)
        for _ in range(samples):
            eps = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
            output = vae.output(mu + torch.exp(0.5 * logvar) * eps, labels)
            reconstruction += vae.log_likelihood(images, output) / samples
        parts.append(Elbo(reconstruction, 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)))
    return Elbo(torch.cat([part.reconstruction for part in parts]), torch.cat([part.kl for part in parts]))


@torch.no_grad()
def activity(vae: LatentModel, x: Tensor, *, chunk: int = 500, condition: Tensor | None = None) -> Tensor:
    """A_u = Var_x(E_q[z_u|x]) of each latent, [d] (Burda et al. 2015, section 5.2): active above `BURDA_THRESHOLD`.

    Their code looks at 500 images; 10 000 are better.
    """
    means = []
    for start in range(0, len(x), chunk):
        labels = None if condition is None else condition[start : start + chunk]
        means.append(vae.posterior(x[start : start + chunk], labels)[0])
    return torch.cat(means).var(0)


def standard_error(values: Tensor) -> float:
    """Standard error of the mean over images of values [N], N > 1: how far another test set would be."""
    return float(values.double().std() / math.sqrt(len(values)))


def bits_per_dim(nats: float, dims: int, bin_width: float | None = None) -> float:
    """log p(x) of an image of `dims` values (C H W), in nats, as bits a value: -log p / (dims log 2). Less is better.

    Only the probability of whole levels can be compared: that of the discretised logistic (`bin_width` None; at most 8
    for a model of 256 levels that learned anything), or a bound of it. A density p over dequantised data, x + u with u
    uniform over one level, gives one: log P(x) >= E_u[log p(x + u)] + dims log(bin_width), with `bin_width` the width
    of a level in the unit of the density, 1/256 over [0, 1] (Theis et al. 2016, 1511.01844, section 3.1).
    """
    if dims < 1 or (bin_width is not None and bin_width <= 0):
        raise ValueError(f"dims is at least 1 and a bin has some width, not {dims} and {bin_width}")
    log_probability = nats if bin_width is None else nats + dims * math.log(bin_width)
    return -log_probability / (dims * math.log(2))


def bits_refused(likelihood: str, dequantised: bool = False) -> str | None:
    """Why a model of this likelihood has no bits per dimension, as a sentence; None where it has.

    A Gaussian density of 8-bit pixels grows without end as sigma shrinks onto the levels: no code has that length.
    """
    return say("likelihood.density_has_no_bits") if likelihood == "gaussian" and not dequantised else None
