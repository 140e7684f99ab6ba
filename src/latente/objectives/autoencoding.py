"""What chapter 17 of the course's book minimises: the squared error, and what is asked of the code besides it.

N images; D numbers an image; d numbers a code h. Pixels are in [0, 1].
"""

import torch
from torch import Tensor


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the D numbers of (output - target)^2 -> [N]: the book's "mse"; its weights keep their meaning."""
    return (output.float() - target.float()).square().flatten(1).mean(1)


def sparsity_l1(h: Tensor) -> Tensor:
    """Sum over the code of |h|: [N, d] -> [N].

    Its mean over images is what Keras 2, which the book used, makes of ``ActivityRegularization(l1=...)``: it sums over
    units and images and divides by the number of images. The book's weight of 1e-4 is therefore ours.
    """
    return h.float().abs().sum(1)


def sparsity_kl(h: Tensor, target: float) -> Tensor:
    """Sum over the code of KL(p || q) between two coins, p the target, q the unit's mean over the batch: [N, d] -> [].

    h must lie in [0, 1]. A term of the whole batch, in nats. Keras 2 divides the book's regularizer by the batch size
    (32), although it is a mean already: the book's weight of 5e-3 is 1.56e-4 here.
    """
    q = h.float().mean(0).clamp(1e-6, 1 - 1e-6)  # [d]; a unit that is always off would cost infinitely much
    p = torch.full_like(q, target)
    return (torch.xlogy(p, p / q) + torch.xlogy(1 - p, (1 - p) / (1 - q))).sum()


def contraction(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    """Squared Frobenius norm of the encoder's Jacobian dh/dx -> [N] (Rifai et al. 2011, equation 4).

    `weights`: W_1 [d_1, D], W_2 [d_2, d_1], ... of the layers; `slopes`: their activations' derivatives, [N, d_i] each.
    J = diag(s_L) W_L ... diag(s_1) W_1. With J = M W_1 the norm is tr(M G M^T), G = W_1 W_1^T, and nothing of size
    d x D is made for an image. With one layer M is diag(s_1), and this is the paper's sum over units of s_j^2 |W_j|^2.
    """
    gram = weights[0] @ weights[0].T  # [d_1, d_1]
    if len(weights) == 1:
        return slopes[0].square() @ gram.diagonal()
    m = torch.diag_embed(slopes[0])  # [N, d_1, d_1]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        m = slope.unsqueeze(2) * (weight @ m)  # [N, d_i, d_1]
    return ((m @ gram) * m).sum((1, 2))
