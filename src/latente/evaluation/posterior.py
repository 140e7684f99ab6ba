"""What the codes of a VAE say of its images: KL latent by latent, and the KL cut in two.

    mean_x KL(q(z|x) || p(z)) = I_q(x; z) + KL(q(z) || p(z)),    q(z) = 1/N sum_x q(z|x)

(Hoffman and Johnson 2016, "ELBO surgery".) I, the mutual information, is what a code says of which of the N
images it is of: at most log N. The rest, the gap of the aggregate posterior q(z), is how far the codes of all images
together are from the prior that new images are drawn from. Everything is in nats.

N images, d latents; mean, logvar: of the posteriors q(z|x) = N(mean, diag e^logvar), both [N, d]; p(z) = N(0, I).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from latente.evaluation.likelihood import LatentModel
from latente.messages import punctuated, say

_AT_ONCE = 500  # codes compared with all posteriors together
_CLOSE = 1.0  # nats below log N where the N images are too few to know I


class Posteriors(NamedTuple):
    """q(z|x) of N images."""

    mean: Tensor  # [N, d]
    logvar: Tensor  # [N, d]


class Surgery(NamedTuple):
    """The KL of N images in its two parts, in nats; kl = information + gap."""

    kl: float  # mean over images of KL(q(z|x) || p(z)), in closed form
    information: float  # I_q(x; z) of these N images, at most log N; of all possible images it is at least this
    error: float  # standard error of `information` and of `gap` from drawing z
    gap: float  # KL(q(z) || p(z)) of these N images; of all possible images it is at most this
    most: float  # and of all possible images, the mutual information is at most this
    images: int  # N

    @property
    def limit(self) -> float:
        """log N."""
        return math.log(self.images)


@torch.no_grad()
def posteriors(vae: LatentModel, x: Tensor, *, chunk: int = 500, condition: Tensor | None = None) -> Posteriors:
    """q(z|x) of images [N, C, H, W] as the network sees them, a few at a time."""
    parts = []
    for start in range(0, len(x), chunk):
        labels = None if condition is None else condition[start : start + chunk]
        parts.append(vae.posterior(x[start : start + chunk], labels))
    return Posteriors(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))


def kl_per_dimension(mean: Tensor, logvar: Tensor) -> Tensor:
    """[N, d] -> [d], mean over images of KL(q(z_i|x) || N(0, 1)) = (mean^2 + e^logvar - 1 - logvar) / 2, in nats.

    Their sum is the KL term of the bound (Kingma and Welling 2013, appendix B).
    """
    mean, logvar = _exact(mean), _exact(logvar)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(0)


@torch.no_grad()
def surgery(mean: Tensor, logvar: Tensor, *, samples: int = 1, seed: int = 0, chunk: int = _AT_ONCE) -> Surgery:
    """Cut the KL of N posteriors into I_q(x; z) and the gap KL(q(z) || p(z)).

        I = 1/N sum_i E_q(z|x_i)[log q(z|x_i) - log 1/N sum_j q(z|x_j)]

    over `samples` draws of z an image; the sum over j is whole, not over a minibatch, so nothing is biased but by N
    itself. No draw exceeds log N, since j = i is in the sum. Without it (Poole et al. 2019, 1905.06922) the mean is at
    least the information about an image out of all possible ones instead, and so is the KL: `most` is the lesser.

    N^2 d work, `chunk` x N numbers in memory at a time; the chunk does not change the answer.
    """
    if len(mean) < 2 or samples < 1:
        raise ValueError(f"at least two images and one sample are needed, not {len(mean)} and {samples}")
    mean, logvar = _exact(mean), _exact(logvar)  # [N, d]
    n = len(mean)
    generator = torch.Generator().manual_seed(seed)
    told, told_others = [], []
    for _ in range(samples):
        eps = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        for start in range(0, n, chunk):
            i = slice(start, start + chunk)
            z = mean[i] + (0.5 * logvar[i]).exp() * eps[i]  # [m, d]
            log_q = _log_densities(z, mean, logvar)  # [m, N]
            rows = torch.arange(len(z))
            own = log_q[rows, start + rows].clone()  # [m] log q(z|x_i)
            log_q[rows, start + rows] = -math.inf
            others = log_q.logsumexp(1)  # [m]
            told.append(own - torch.logaddexp(others, own) + math.log(n))
            told_others.append(own - others + math.log(n - 1))
    each = torch.cat(told).view(samples, n).mean(0)  # [N]
    kl = float(kl_per_dimension(mean, logvar).sum())
    information = float(each.mean())
    return Surgery(
        kl=kl,
        information=information,
        error=float(each.std() / math.sqrt(n)),
        gap=kl - information,
        most=min(float(torch.cat(told_others).mean()), kl),
        images=n,
    )


def remark(found: Surgery) -> str | None:
    """A sentence where N images are too few to know the information; None where they are enough."""
    if found.information < found.limit - _CLOSE:
        return None
    limit, most = (punctuated(f"{nats:.2f}") for nats in (found.limit, found.most))
    return say("posterior.too_few", n=found.images, limit=limit, most=most)


def _log_densities(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """z [m, d] under each of N Gaussians [N, d] -> [m, N], by two matrix products instead of [m, N, d] numbers."""
    precision = (-logvar).exp()  # [N, d]
    square = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    log_q: Tensor = -0.5 * (square + (logvar + math.log(2 * math.pi)).sum(1))
    return log_q


def _exact(values: Tensor) -> Tensor:
    """In float64, on the processor: Apple's GPUs have none."""
    return values.detach().cpu().double()
