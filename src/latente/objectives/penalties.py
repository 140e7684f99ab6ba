"""What the critic pays for being steep: penalties on its gradient with respect to its input, one number a decision.

`critic` is called with images and their condition and gives logits [n]. One backward of the sum of the logits gives
each image the gradient of its own decision, because the critics decide on each row alone. Batch normalisation (and, by
design, minibatch discrimination) ties the rows together, and what comes out is then how all decisions depend on one
image: penalties want a critic without batch normalisation.

All keep the graph, so that the penalty can be differentiated with respect to the critic's parameters. Weights belong to
the step: gamma / 2 for R1 and R2 as in the papers, gamma for the others. Random numbers: torch's global generator.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Critic = Callable[[Tensor, Tensor | None], Tensor]


def squared_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """||d logits / dx||^2 of each decision: logits [n], x [N, C, H, W] that requires gradients -> [n].

    On real images it is R1 and on fakes R2 (Mescheder et al. 2018, equations 9 and 10), without their gamma / 2. What
    lies between x and the logits, augmentation and packing, is differentiated too. A decision about m packed images,
    which must be m rows of x that follow one another, pays for all their pixels: n = N / m.
    """
    return _slopes(logits, x).square().sum(1)


def zero_centred(
    critic: Critic, x: Tensor, condition: Tensor | None = None, transform: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """`squared_gradient` of critic(transform(x)) at x [N, C, H, W], in a forward pass of its own: [n]."""
    x = x.detach().requires_grad_()
    return squared_gradient(critic(x if transform is None else transform(x), condition), x)


def wgan_gp(critic: Critic, real: Tensor, fake: Tensor, condition: Tensor | None = None) -> Tensor:
    """(||gradient|| - 1)^2 at a random point between a real and a fake image (Gulrajani et al. 2017, equation 3): [n].

    Each pair [n, C, H, W] (packed, if the critic is) has its own point, uniform on the line between the two.
    """
    share = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)  # [n, 1, 1, 1]
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    return _away_from_one(_slopes(critic(between, condition), between))


def dragan(critic: Critic, real: Tensor, condition: Tensor | None = None) -> Tensor:
    """(||gradient|| - 1)^2 near real images [n, C, H, W] (Kodali et al. 2017): [n].

    Near: x + s/2 u, s the standard deviation of all numbers of the batch and u uniform in [0, 1) for each. The paper
    writes Gaussian noise; this is what its authors' code does.
    """
    real = real.detach()
    near = (real + real.std(correction=0) / 2 * torch.rand_like(real)).requires_grad_()
    return _away_from_one(_slopes(critic(near, condition), near))


@torch.no_grad()
def clip_weights_(critic: nn.Module, limit: float) -> None:
    """Bring every parameter of the critic into [-limit, limit], after its step (Arjovsky et al. 2017, algorithm 1)."""
    if limit <= 0:
        raise ValueError(f"a limit of {limit} leaves the critic no weights")
    for parameter in critic.parameters():
        parameter.clamp_(-limit, limit)


def _slopes(logits: Tensor, x: Tensor) -> Tensor:
    """The gradient of each decision, as a row: logits [n], x [N, ...] -> [n, N / n x numbers of an image]."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.reshape(len(logits), -1)


def _away_from_one(slopes: Tensor) -> Tensor:
    """(||slopes|| - 1)^2 of each row. torch's norm has the gradient 0 at 0, where that of a square root is infinite."""
    norm: Tensor = torch.linalg.vector_norm(slopes, dim=1)
    return (norm - 1).square()
