"""Smooth generators of styles, small enough to be followed by hand."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.layers import EqualLinear


class Styles(nn.Module):
    """z -> w -> 8x8 images in three layers. Each layer shifts and scales its maps by its own style, and adds noise.

    `share` of the noise is what shows of it.
    """

    def __init__(self, latent: int = 6, channels: int = 1, share: float = 0.05) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.latent, self.image_shape, self.layers, self.share = latent, (channels, 8, 8), 3, share
        self.first = EqualLinear(latent, latent)
        self.styles = nn.ModuleList(EqualLinear(latent, 16) for _ in range(self.layers))
        self.constant = nn.Parameter(torch.randn(1, 8, 8, 8))
        self.mixes = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(self.layers))
        self.colours = nn.Conv2d(8, channels, 1)
        self.register_buffer("w_avg", torch.zeros(latent))
        for layer in range(self.layers):
            self.register_buffer(f"noise_{layer}", torch.randn(1, 1, 8, 8))
        self.requires_grad_(False).eval()

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent, generator=generator)

    def mapping(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        w: Tensor = self.first(z).tanh()
        return w

    def broadcast(self, w: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        return (self.w_avg + psi * (w - self.w_avg))[:, None].repeat(1, self.layers, 1)

    def noise_maps(self, n: int, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(n, 1, 8, 8, generator=generator) for _ in range(self.layers)]

    def synthesis(self, ws: Tensor, noise: Sequence[Tensor | None] | None = None, stage: None = None) -> Tensor:
        maps = noise or [getattr(self, f"noise_{layer}") for layer in range(self.layers)]
        h = self.constant.expand(len(ws), -1, -1, -1)
        for layer in range(self.layers):
            s, b = self.styles[layer](ws[:, layer])[:, :, None, None].chunk(2, 1)
            extra = maps[layer]
            h = (1 + s) * self.mixes[layer](h) + b
            h = F.softplus(h if extra is None else h + self.share * extra)
        x: Tensor = self.colours(h - 1).tanh()
        return x

    def decode(self, z: Tensor, condition: Tensor | None = None, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        return self.synthesis(self.broadcast(self.mapping(z), psi, cutoff))


class Plane(nn.Module):
    """A generator without layers in between: images are a linear function of z, 1x4x4 pixels."""

    def __init__(self, latent: int = 3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.latent, self.image_shape = latent, (1, 4, 4)
        self.linear = nn.Linear(latent, 16)
        self.linear.weight.data.mul_(0.2)
        self.requires_grad_(False).eval()

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent, generator=generator)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.linear(z).view(-1, 1, 4, 4)  # type: ignore[no-any-return]
