"""Which KL weight? One objective, in all the ways that codebases write it down. Imports no torch."""

import math
from typing import NamedTuple

from latente.config import VAEObjective
from latente.messages import punctuated, say


class KLWeight(NamedTuple):
    """One objective, in the ways that codebases write it down. None: not fixed beforehand, or no such thing."""

    sigma: float | None  # of the Gaussian, pixels in [0, 1]
    beta: float
    sigma_at_beta_1: float | None  # the same minimum is reached with beta = 1 and this sigma
    weight_with_sum: float | None  # the same as (sum of squared errors, or the cross entropy) + this x KL
    weight_with_mean: float | None  # the same as (mean over the pixels) + this x KL
    pixels: int  # D = C x H x W


def equivalent(objective: VAEObjective, image_shape: tuple[int, int, int], sigma: float | None = None) -> KLWeight:
    """The KL weight of an objective in all its disguises: a SSE + b KL <=> beta = 1 with sigma^2 = b / (2a).

    `sigma` is the one a learned or optimal model arrived at, where it is known. The error is in pixels in [0, 1].
    """
    pixels, beta = math.prod(image_shape), objective.beta
    if objective.likelihood != "gaussian":
        return KLWeight(None, beta, None, beta, beta / pixels, pixels)
    if objective.sigma == "fixed":
        sigma = objective.sigma_value
    if sigma is None:
        return KLWeight(None, beta, None, None, None, pixels)
    weight = 2 * sigma**2 * beta
    return KLWeight(sigma, beta, sigma * math.sqrt(beta), weight, weight / pixels, pixels)


def explain(objective: VAEObjective, image_shape: tuple[int, int, int], sigma: float | None = None) -> str:
    """`equivalent` in words, in the language in force: what `latente train` prints."""
    known = equivalent(objective, image_shape, sigma)
    if objective.estimator == "iwae":
        return say("vae.weight_iwae", samples=objective.samples)
    if objective.likelihood != "gaussian":
        mean = punctuated(f"{known.weight_with_mean:.3g}")
        return say("vae.weight_probability", beta=punctuated(f"{known.beta:g}"), mean=mean, pixels=known.pixels)
    if known.sigma is None:
        return say(f"vae.weight_{objective.sigma}", beta=punctuated(f"{known.beta:g}"), pixels=known.pixels)
    numbers = {name: punctuated(f"{value:.3g}") for name, value in known._asdict().items() if name != "pixels"}
    return say("vae.weight_gaussian", **numbers, pixels=known.pixels)
