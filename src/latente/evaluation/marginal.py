"""The marginal likelihood estimator of the AEVB paper (Kingma & Welling 2013, arXiv 1312.6114, appendix D).

For models of few latents. It asks nothing of an encoder: the paper compares AEVB with wake-sleep and Monte Carlo EM.

    1. L samples z of the posterior p(z|x), by Hamiltonian Monte Carlo on log p(z) + log p(x|z)
    2. a density q(z) fitted to them
    3. L new samples of the posterior, and   p(x) ~ [1/L sum_l q(z_l) / (p(z_l) p(x|z_l))]^-1

The mean is one of 1 / p(x): its log errs upwards in expectation, where the AIS of annealing.py errs downwards. Where q
is large and the posterior small a single z decides it, and where no sample went it sees nothing; in few dimensions q
can be made to fit, and the paper trusts it below 5 latents.

The paper does not say which density. Here it is a kernel estimate with the samples' covariance, its centres drawn
towards their mean so that kernels and centres together have that covariance, not more (West 1993): tails lighter than
the posterior's are what a mean of reciprocals needs.

N images, L samples of z an image from K chains, d latents.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from latente.evaluation.annealing import Path, SizedModel, log_mean_exp, pilot, portions, schedule
from latente.evaluation.hamiltonian import transition
from latente.messages import Problem
from latente.objectives.reconstruction import log_normal

MOST_LATENTS = 10  # twice what the paper trusts; beyond, the figure is off by nats and looks like any other


class Marginal(NamedTuple):
    """The estimator of appendix D, image by image."""

    estimate: Tensor  # [N] log p(x), nats
    effective: Tensor  # [N] effective sample size (sum v)^2 / sum v^2 of v = q(z) / p(x, z), from 1 to L


@torch.no_grad()
def marginal_likelihood(
    model: SizedModel,
    x: Tensor,
    samples: int = 500,
    *,
    chains: int = 10,
    steps: int = 50,
    leaps: int = 4,
    seed: int = 0,
    condition: Tensor | None = None,
    chunk: int = 500,
) -> Marginal:
    """log p(x) of images x [N, C, H, W], as the network sees them, by the paper's appendix D.

    samples: L, of each of the two lots; the paper takes 50 and 4 leapfrog steps. The chains reach the posterior from
    the prior through `steps` steps of annealing, and find their step sizes on the way. Problem above 10 latents. The
    network should be in evaluation mode. The same seed and chunk give the same numbers.
    """
    if model.latent > MOST_LATENTS:
        raise Problem("likelihood.too_many_latents", latents=model.latent, most=MOST_LATENTS)
    if min(chains, steps, leaps, chunk) < 1 or samples <= max(chains, model.latent) or samples % chains:
        raise ValueError(f"samples are a multiple of the chains and more than the latents, not {samples} of {chains}")
    generator = torch.Generator(x.device).manual_seed(seed)
    parts = []
    for part in portions(len(x), chains, chunk):
        path = Path(model, x[part], chains, None if condition is None else condition[part], "prior")
        z, log_joint = posterior_samples(path, 2 * samples, steps, leaps, generator)
        log_q = torch.stack([kernel_density(each[:samples], each[samples:]) for each in z.unbind(1)], 1)  # [L, n]
        log_v = log_q - log_joint[samples:]  # [L, n]
        mean = log_mean_exp(log_v)
        parts.append(Marginal(-mean, (2 * mean - log_mean_exp(2 * log_v)).exp() * samples))
    return Marginal(*(torch.cat(values) for values in zip(*parts, strict=True)))


def posterior_samples(
    path: Path, samples: int, steps: int, leaps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """z of p(z|x), [samples, n, d], all chains' first ones first, and log p(z) p(x|z) of them, [samples, n]: float64.

    From a path that starts at the prior: what its chains carry is then log p(x|z).
    """
    spot, sizes = pilot(path, schedule(steps), leaps, generator)
    z, log_joint = [], []
    for _ in range(samples // path.chains):
        spot, _ = transition(path.look, spot, sizes[-1].repeat(path.chains), 1.0, leaps, generator)
        z.append(path.codes(spot))  # [K, n, d]
        log_joint.append((spot.ratio + log_normal(spot.u).sum(1)).view(path.chains, path.n))
    return torch.cat(z).double(), torch.cat(log_joint).double()


def kernel_density(fitted: Tensor, z: Tensor) -> Tensor:
    """log q(z), [L'], of z [L', d]: Gaussian kernels of width h (Silverman's) on the samples `fitted` [L, d]."""
    count, d = fitted.shape
    h = (4 / (count * (d + 2))) ** (1 / (d + 4))
    mean, root = fitted.mean(0), torch.linalg.cholesky(fitted.T.cov().view(d, d))  # [d], [d, d]
    centres, here = (torch.linalg.solve_triangular(root, (each - mean).T, upper=False).T for each in (fitted, z))
    distance = torch.cdist(math.sqrt(1 - h**2) * centres, here) / h  # [L, L'], in standard deviations of a kernel
    log_kernel = -0.5 * distance.square() - d * math.log(h * math.sqrt(2 * math.pi)) - root.diagonal().log().sum()
    return log_mean_exp(log_kernel)
