"""The families, and what everything outside training may rely on. They are described here, not inherited from."""

from typing import Protocol

import torch
from torch import Tensor

from latente.config import AutoencoderModel, AutoencoderObjective, RunConfig, VAEModel, VAEObjective
from latente.models.autoencoder import Autoencoder
from latente.models.vae import VAE


class ImageDecoder(Protocol):
    """A point in latent space -> an image."""

    latent: int
    image_shape: tuple[int, int, int]  # (C, H, W)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Latents [n, d] to make new images from."""

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, d] (and labels [n]) -> images [n, C, H, W] in [-1, 1]; deterministic."""


class ImageEncoder(Protocol):
    """An image -> its point in latent space."""

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, C, H, W] in [-1, 1] -> codes or posterior means [n, d]; deterministic."""


Network = Autoencoder | VAE


def build(config: RunConfig, image_shape: tuple[int, int, int], classes: int) -> Network:
    """The network of a configuration, freshly initialised from torch's global generator."""
    match config.model, config.objective:
        case AutoencoderModel() as model, AutoencoderObjective():
            return Autoencoder(model, image_shape)
        case VAEModel() as model, VAEObjective() as objective:
            return VAE(model, objective, image_shape, classes)
        case _:
            raise AssertionError(f"a {type(config.model).__name__} with a {type(config.objective).__name__}")
