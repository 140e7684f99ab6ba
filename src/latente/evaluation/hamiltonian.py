"""Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011, arXiv 1206.1901), many chains side by side.

The densities are all of one form, a standard normal bent by a ratio r that is turned on with beta in [0, 1]:

    f(u) = N(u; 0, I) e^(beta r(u)),     H(u, m) = -log f(u) + |m|^2 / 2,     m ~ N(0, I)

M chains, d dimensions; u and the momentum m are [M, d]. r(u) and its slope do not depend on beta: they travel with u,
so that a chain may go on at another beta without asking the network again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

JITTER = 0.5  # every trajectory's step is up to so much longer or shorter: a fixed length falls in with a period


class Spot(NamedTuple):
    """Where the chains are, and what r is there."""

    u: Tensor  # [M, d]
    ratio: Tensor  # [M] r(u), nats
    slope: Tensor  # [M, d] dr/du


Look = Callable[[Tensor], Spot]  # u [M, d] -> r and its slope there: one pass through the network, and back


def log_density(spot: Spot, beta: float) -> Tensor:
    """log f(u) but for a constant: [M] nats."""
    return beta * spot.ratio - 0.5 * spot.u.square().sum(1)


def force(spot: Spot, beta: float) -> Tensor:
    """The gradient of `log_density` with respect to u: [M, d]."""
    return beta * spot.slope - spot.u


def leapfrog(look: Look, spot: Spot, momentum: Tensor, step: Tensor, beta: float, leaps: int) -> tuple[Spot, Tensor]:
    """`leaps` steps of Hamilton's equations (Neal 2011, section 2.3): where the chains arrive, with what momentum.

    step: [M, 1], each chain its own. Half a step of the momentum, then whole ones of either in turn, and half a step
    back at the end: the map keeps volumes, and with the momentum turned round it leads back to where it began.
    """
    momentum = momentum + step / 2 * force(spot, beta)
    for _ in range(leaps):
        spot = look(spot.u + step * momentum)
        momentum = momentum + step * force(spot, beta)
    return spot, momentum - step / 2 * force(spot, beta)


def transition(
    look: Look, spot: Spot, step: Tensor, beta: float, leaps: int, generator: torch.Generator
) -> tuple[Spot, Tensor]:
    """One move of every chain that leaves f as it is, and the probability with which it was accepted: [M].

    step: [M]. Momenta are drawn anew, `leapfrog` proposes, and min(1, e^-dH) accepts (Neal 2011, section 3.2).
    """
    momentum = torch.randn(spot.u.shape, generator=generator, dtype=spot.u.dtype, device=spot.u.device)  # [M, d]
    shake, luck = torch.rand((2, len(step)), generator=generator, dtype=step.dtype, device=step.device)  # [M] each
    step = step * (1 + JITTER * (2 * shake - 1))
    there, arriving = leapfrog(look, spot, momentum, step[:, None], beta, leaps)
    before = 0.5 * momentum.square().sum(1) - log_density(spot, beta)  # [M] H
    after = 0.5 * arriving.square().sum(1) - log_density(there, beta)
    # A trajectory that ran off has an H of infinity or NaN: it is refused.
    probability = (before - after).clamp(max=0).exp().nan_to_num(0)
    accepted = luck < probability  # [M]
    u = torch.where(accepted[:, None], there.u, spot.u)
    slope = torch.where(accepted[:, None], there.slope, spot.slope)
    return Spot(u, torch.where(accepted, there.ratio, spot.ratio), slope), probability
