"""Models whose log p(x) is known: probabilistic PCA in closed form, and two latents integrated on a grid."""

import math
from itertools import product

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from latente.config import VAEModel, VAEObjective
from latente.models.vae import VAE


def linear_gaussian(
    latents: int = 2, shape: tuple[int, int, int] = (1, 2, 3), n: int = 100, sigma: float = 0.1
) -> tuple[VAE, Tensor, Tensor]:
    """Probabilistic PCA as a VAE with an encoder that is wrong in mean and variance; 2 latents and 6 pixels.

    Returns it, images drawn from it [n, 1, 2, 3] in [-1, 1] units, and their exact log p(x) [n] (pixels in [0, 1]).
    """
    torch.manual_seed(0)
    d, pixels = latents, math.prod(shape)
    model = VAEModel(kind="mlp", hidden=(), latent=d, init="torch")
    net = VAE(model, VAEObjective(likelihood="gaussian", sigma="fixed", sigma_value=sigma), shape).eval()
    encoder, decoder = linear(net.encoder), linear(net.decoder)
    with torch.no_grad():
        nn.init.normal_(decoder.weight, 0, 0.5)
        nn.init.normal_(decoder.bias, 0, 0.1)
        w, b = decoder.weight / 2, (decoder.bias + 1) / 2  # [6, 2], [6]: pixels in [0, 1]
        precision = w.T @ w / sigma**2 + torch.eye(d)  # of the true posterior, [2, 2]
        gain = torch.linalg.solve(precision, w.T) / sigma**2  # [2, 6]
        spread = precision.inverse().diagonal().sqrt()  # [2]
        encoder.weight.zero_()
        encoder.weight[:d] = gain
        shift = torch.tensor([0.5, -0.4]).repeat(d)[:d]
        encoder.bias[:d] = -gain @ b + shift * spread  # shifted by half a standard deviation
        encoder.bias[d:] = torch.log(1.8 * spread**2)  # inflated, and without the true correlation
        z = torch.randn(n, d)
        x = z @ w.T + b + sigma * torch.randn(n, pixels)  # [n, 6]
        exact = MultivariateNormal(b, w @ w.T + sigma**2 * torch.eye(pixels)).log_prob(x)
    return net, (2 * x - 1).view(-1, *shape), exact


def linear(network: nn.Module) -> nn.Linear:
    """The only layer of a network without hidden ones."""
    [layer] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layer


def bernoulli() -> tuple[VAE, Tensor]:
    """A Bernoulli VAE with 2 latents and all the 16 images of 2x2 binary pixels."""
    torch.manual_seed(1)
    net = VAE(VAEModel(kind="mlp", hidden=(8,), latent=2), VAEObjective(likelihood="bernoulli"), (1, 2, 2)).eval()
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.normal_(0, 1.5)
        for parameter in net.encoder.parameters():
            parameter.normal_(0, 0.3)
    return net, torch.tensor(list(product((-1.0, 1.0), repeat=4))).view(16, 1, 2, 2)


@torch.no_grad()
def on_grid(net: VAE, x: Tensor) -> Tensor:
    """log p(x) of a model of 2 latents, by an integral on a grid: [N] nats."""
    side = torch.linspace(-7, 7, 141)
    z = torch.cartesian_prod(side, side)  # [141^2, 2]
    log_px = net.log_likelihood(x[:, None], net.output(z)[None])  # [N, 141^2]
    log_pz = Independent(Normal(torch.zeros(2), torch.ones(2)), 1).log_prob(z)
    return (log_px.double() + log_pz).logsumexp(1) + 2 * math.log(14 / 140)
