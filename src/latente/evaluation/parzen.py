"""Parzen windows: the likelihood that the GAN paper of 2014 gives of samples (Goodfellow et al., 1406.2661, section 5;
Breuleux, Bengio & Vincent 2011).

    p(x) ~ 1/n sum_i N(x; s_i, sigma^2 I),    s_1 ... s_n samples of the model

sigma is the one on a grid under which validation images are likeliest. Here for comparison with the figures of that
time only, as `WARNING` says: the value ranks models wrongly. The centres of k-means score better than as many real
images (Theis, van den Oord & Bethge 2016, 1511.01844).

Pixels are counted in [0, 1], as the papers' are: nats per image, of a density over [0, 1]^D; sigma is in that unit.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from latente.evaluation.likelihood import standard_error
from latente.messages import punctuated, say

SIGMAS = tuple(10 ** (k / 10 - 1.5) for k in range(16))  # 0.03 to 1; the paper's code tries 10 from 0.1 to 1
WARNING = "likelihood.parzen"  # the sentence to print with every value


class Parzen(NamedTuple):
    """The Parzen window log-likelihood of test images."""

    value: float  # mean, nats per image
    error: float  # standard error of the mean over the test images
    sigma: float  # chosen on the validation images, pixels in [0, 1]
    log_likelihood: Tensor  # [N] of each test image, nats
    validation: Tensor  # [S] mean over the validation images for each sigma, nats
    remark: str  # what to make of the value, in the language in force


def parzen(
    samples: Tensor, validation: Tensor, test: Tensor, sigmas: Sequence[float] = SIGMAS, *, chunk: int = 1000
) -> Parzen:
    """Of samples [n, C, H, W], validation images [V, C, H, W] and test images [N, C, H, W], all in [-1, 1].

    The papers take n = 10 000; with other n the value is another: it rises with n. Validation and test must not share
    images. The remark also says if the best sigma lies at an end of the grid.
    """
    curve = window_log_likelihood(samples, validation, sigmas, chunk=chunk).mean(1)  # [S]
    best = int(curve.argmax())
    found = window_log_likelihood(samples, test, [sigmas[best]], chunk=chunk)[0]
    remark = say(WARNING)
    if best in (0, len(sigmas) - 1) and len(sigmas) > 1:
        remark += " " + say("likelihood.parzen_end", sigma=punctuated(f"{sigmas[best]:.3g}"))
    return Parzen(float(found.mean()), standard_error(found), sigmas[best], found, curve, remark)


def window_log_likelihood(samples: Tensor, x: Tensor, sigmas: Sequence[float], *, chunk: int = 1000) -> Tensor:
    """log 1/n sum_i N(x; s_i, sigma^2 I) for each sigma and image x [N, C, H, W]: [S, N] nats, float64.

    samples [n, C, H, W], both in [-1, 1]. `chunk` images against `chunk` samples are in memory at a time.
    """
    if not sigmas or min(sigmas) <= 0 or chunk < 1 or not len(samples):
        raise ValueError("every sigma is above 0, chunk is at least 1, and there is at least one sample")
    pixels = math.prod(x.shape[1:])
    sigma = torch.tensor(sigmas, dtype=torch.float64)[:, None, None]  # [S, 1, 1]
    totals = []
    for images in torch.split(x, chunk):
        total = torch.full((len(sigmas), len(images)), -math.inf, dtype=torch.float64)  # [S, m] log of the sum so far
        for some in torch.split(samples, chunk):
            # [m, k] squared distances of pixels in [0, 1], which are half as far apart as in [-1, 1]; float64, because
            # |a|^2 + |b|^2 - 2ab cancels
            squared = torch.cdist(images.flatten(1).double().cpu(), some.flatten(1).double().cpu()).square() / 4
            for total_of, s in zip(total, sigma, strict=True):
                torch.logaddexp(total_of, (squared / (-2 * s**2)).logsumexp(1), out=total_of)
        totals.append(total)
    constant = math.log(len(samples)) + pixels * (sigma[:, 0].log() + 0.5 * math.log(2 * math.pi))  # [S, 1]
    return torch.cat(totals, 1) - constant
