"""What the two players minimise: logits in, one number a pair or an image out.

C(x) is the critic's logit, larger for what it takes to be real, and D(x) = sigmoid(C(x)) the probability that it gives.
Row i of `real` and row i of `fake` are the pair that shares row i of a cost; [n] logits, n decisions of the critic.

Three games that are easily taken for one another:

- minimax, equation 1 of Goodfellow et al. 2014. What one player gains the other loses, a zero-sum game: the generator
  minimises log(1 - D(G(z))), which the critic maximises. Where the critic is sure, that cost is flat.
- non-saturating, section 3 of the same paper: the generator minimises -log D(G(z)) instead. This is what code that says
  "label 1 for the generator" computes. It has the same fixed points and a strong gradient where the fakes are bad, but
  it is no longer a zero-sum game, and the generator no longer minimises the Jensen-Shannon divergence.
- all the others below have costs of their own; of these, Wasserstein's alone is zero-sum.

All is written with softplus(t) = log(1 + e^t) = -log sigmoid(-t), which overflows nowhere.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHED = ("minimax", "non-saturating", "least-squares")  # the costs that have a label to smooth


def critic_cost(cost: str, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """What the critic minimises, from its logits on real and fake images: [n], [n] -> [n], the parts summed.

    `smoothing`: real images are labelled 1 - smoothing and fakes remain 0 (one-sided label smoothing, Salimans et al.
    2016, section 3.4). ValueError: a cost without labels is to be smoothed, lengths differ, or nobody knows the cost.
    """
    if smoothing and cost not in SMOOTHED:
        raise ValueError(f"{cost} has no labels to smooth")
    if real.shape != fake.shape:
        raise ValueError(f"real and fake logits come in pairs: {tuple(real.shape)} and {tuple(fake.shape)}")
    match cost:
        case "minimax" | "non-saturating":  # these differ for the generator alone
            return cross_entropy_real(real, smoothing) + cross_entropy_fake(fake)
        case "least-squares":
            return least_squares(real, 1 - smoothing) + least_squares(fake, 0)
        case "hinge":
            return hinge_real(real) + hinge_fake(fake)
        case "wasserstein":
            return fake - real
        case "relativistic":
            return relativistic(real, fake)
    raise ValueError(f"no cost is called {cost}")


def generator_cost(cost: str, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """What the generator minimises, from the critic's logits on its images: [n] -> [n].

    `real`: the logits of the real images in the pairs, which the relativistic cost needs (ValueError without them) and
    no other uses.
    """
    match cost:
        case "minimax":
            return -cross_entropy_fake(fake)
        case "non-saturating":
            return cross_entropy_real(fake)
        case "least-squares":
            return least_squares(fake, 1)
        case "hinge" | "wasserstein":
            return -fake
        case "relativistic":
            if real is None or real.shape != fake.shape:
                raise ValueError("the relativistic cost compares each fake with a real image")
            return relativistic(fake, real)
    raise ValueError(f"no cost is called {cost}")


def cross_entropy_real(logits: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log D(x), the first term of equation 1 of Goodfellow et al. 2014; for fakes, their section 3's -log D(G(z)).

    With a label of 1 - s it is -(1 - s) log D(x) - s log(1 - D(x)) = -log D(x) + s C(x).
    """
    return F.softplus(-logits) + smoothing * logits


def cross_entropy_fake(logits: Tensor) -> Tensor:
    """-log(1 - D(G(z))), the second term of equation 1 of Goodfellow et al. 2014."""
    return F.softplus(logits)


def least_squares(logits: Tensor, target: float) -> Tensor:
    """(C - target)^2 / 2 (Mao et al. 2017, equation 9: b = c = 1 is real, a = 0 fake). No sigmoid: C is the answer."""
    return (logits - target).square() / 2


def hinge_real(logits: Tensor) -> Tensor:
    """max(0, 1 - C(x)) (Lim & Ye 2017; Miyato et al. 2018, equation 16): nothing is gained beyond the margin."""
    return F.relu(1 - logits)


def hinge_fake(logits: Tensor) -> Tensor:
    """max(0, 1 + C(G(z))) (Lim & Ye 2017; Miyato et al. 2018, equation 16)."""
    return F.relu(1 + logits)


def relativistic(wanted: Tensor, other: Tensor) -> Tensor:
    """-log sigmoid(C(wanted) - C(other)) of each pair (Jolicoeur-Martineau 2018, "RSGAN"; Huang et al. 2024, eq. 2).

    The critic wants the real image of a pair above the fake, the generator the fake above the real.
    """
    return F.softplus(other - wanted)


def advantage(real: Tensor, fake: Tensor) -> Tensor:
    """V + log 4 in nats, V = E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, equation 1): [n], [m] -> [].

    0 where the critic tells nothing apart (D = 1/2), log 4 where it is right and sure. It is at most 2 JSD(p || p_g),
    and equal to that under the best critic (their theorem 1): how much the critic has found, whatever it minimises.
    """
    return math.log(4) - cross_entropy_real(real).mean() - cross_entropy_fake(fake).mean()


def belief(cost: str, logits: Tensor, middle: Tensor) -> Tensor:
    """D of a critic's outputs [n] -> [n]: the probability that it gives to an image being real.

    Least squares is asked for the probability itself (Mao et al. 2017, with labels 0 and 1). Where only differences
    matter, to the cost or at its end (relativistic, Wasserstein, hinge), logits are taken from `middle`, the mean on
    generated images.
    """
    if cost == "least-squares":
        return logits.clamp(0, 1)
    return torch.sigmoid(logits - middle if cost in ("relativistic", "wasserstein", "hinge") else logits)
