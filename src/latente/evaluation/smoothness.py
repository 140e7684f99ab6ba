"""How evenly a generator's images change along a way through its latents, and how well planes part its latents.

Perceptual path length (Karras et al. 2019, StyleGAN, section 4.1) is the mean squared distance of two images a small
step apart, over the square of the step. In the limit of no step that is the squared length of a derivative, and the
derivative is taken exactly, as a Jacobian-vector product, instead of from two images that differ by less than float32
can tell.

Linear separability (section 4.2) asks how much is still unknown of a binary attribute of an image once it is known on
which side of the best plane its latent lies.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.messages import Problem

_TRIM = 0.01  # share of the longest and of the shortest steps that is left out, as the paper's authors do
_RESAMPLED = 1000  # times, for an interval


def speeds(show: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """|d show / dt|^2, [N]. show: places t [N] on N ways -> features [N, F], each row of its own t alone.

    By forward differentiation; where a layer lacks it, by differentiating twice backwards.
    """
    try:
        with warnings.catch_warnings():  # torch calls a way of its own out of date
            warnings.simplefilter("ignore", DeprecationWarning)
            velocity: Tensor = torch.func.jvp(show, (t,), (torch.ones_like(t),))[1]
    except (NotImplementedError, RuntimeError):
        velocity = twice_backwards(show, t)
    squared: Tensor = velocity.double().square().sum(1)
    return squared.detach()


def twice_backwards(show: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d show / dt [N, F]: v^T J is linear in v, and its derivative in v along ones is J 1."""
    t = t.detach().requires_grad_()
    y = show(t)  # [N, F]
    v = torch.zeros_like(y, requires_grad=True)
    (pulled,) = torch.autograd.grad(y, t, v, create_graph=True)  # [N]
    (velocity,) = torch.autograd.grad(pulled.sum(), v)
    return velocity


def trimmed(lengths: NDArray[np.float64], seed: int = 0) -> tuple[float, list[float]]:
    """The mean of lengths [N] without the longest and the shortest hundredth, and its 95 % interval, by the percentiles
    of resampled sets (Efron and Tibshirani 1993, chapter 13)."""
    rng = np.random.default_rng(seed)
    again = [_trimmed(lengths[rng.integers(0, len(lengths), len(lengths))]) for _ in range(_RESAMPLED)]
    low, high = np.percentile(again, [2.5, 97.5])
    return _trimmed(lengths), [float(low), float(high)]


def _trimmed(lengths: NDArray[np.float64]) -> float:
    low, high = np.quantile(lengths, [_TRIM, 1 - _TRIM], method="lower")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


# ---- Separability ---------------------------------------------------------------------------------------------------


def conditional_entropy(truth: NDArray[np.bool_], side: NDArray[np.bool_]) -> float:
    """H(Y | X) in nats of two binary arrays [N], by their counts: what is unknown of Y where X is known."""
    unknown = 0.0
    for value in (False, True):
        here = truth[side == value]
        for count in (here.sum(), (~here).sum()):
            if count:
                unknown -= count / len(truth) * math.log(count / len(here))
    return unknown


def separability(
    latents: NDArray[Any], scores: dict[str, NDArray[np.float64]], seed: int = 0
) -> tuple[float, dict[str, float]]:
    """exp of the sum of H(Y | X) over attributes, and each H. latents: [N, d]. scores: attribute -> [N], above 0 where
    it is shown, the farther from 0 the surer.

    As in the paper the surer half is kept and a plane fitted to it; unlike there, to one half of that half, and the
    entropy is taken on the other: a plane through few points parts those that it was fitted to in any case. An
    attribute that fewer than ten show, or fail to, is left out."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise Problem("smoothness.needs_sklearn") from None
    found: dict[str, float] = {}
    rng = np.random.default_rng(seed)
    for name, score in scores.items():
        sure = np.argsort(-np.abs(score), kind="stable")[: len(score) // 2]
        sure = rng.permutation(sure)
        fitting, rest = sure[: len(sure) // 2], sure[len(sure) // 2 :]
        truth = score > 0
        if min(truth[fitting].sum(), (~truth[fitting]).sum()) < 10:
            continue
        centre, scale = latents[fitting].mean(0), latents[fitting].std(0) + 1e-12
        plane = LogisticRegression(max_iter=1000).fit((latents[fitting] - centre) / scale, truth[fitting])
        side = plane.predict((latents[rest] - centre) / scale)
        found[name] = conditional_entropy(truth[rest], side)
    if not found:
        raise Problem("smoothness.nothing_to_part")
    return math.exp(sum(found.values())), found
