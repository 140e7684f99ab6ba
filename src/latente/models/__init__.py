"""The families, and what everything outside training may rely on. They are described here, not inherited from."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latente.config import (
    AdversarialObjective,
    AutoencoderModel,
    AutoencoderObjective,
    ClassifierModel,
    CureConfig,
    DCGANModel,
    GANModel,
    ProGANModel,
    R3GANModel,
    RunConfig,
    StyleGAN2Model,
    StyleGANModel,
    SupervisedObjective,
    VAEModel,
    VAEObjective,
)
from latente.models import dcgan, gan, progan, r3gan, stylegan, stylegan2
from latente.models.autoencoder import Autoencoder
from latente.models.classifier import Classifier
from latente.models.vae import VAE


class ImageDecoder(Protocol):
    """A point in latent space -> an image."""

    latent: int
    image_shape: tuple[int, int, int]  # (C, H, W)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Latents [n, d] to make new images from."""

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, d] (and labels [n]) -> images [n, C, H, W] in [-1, 1]; deterministic."""


@runtime_checkable
class ImageEncoder(Protocol):
    """An image -> its point in latent space."""

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, C, H, W] in [-1, 1] -> codes or posterior means [n, d]; deterministic."""


@runtime_checkable
class StyleDecoder(Protocol):
    """A decoder in two halves: z -> w, the space of styles, and w -> image, one w for each of L layers."""

    layers: int  # L
    w_avg: Tensor  # [d], the mean of w

    def mapping(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, d] -> w [n, d]."""

    def broadcast(self, w: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """w [n, d] -> ws [n, L, d], the first `cutoff` layers (None: all) at w_avg + psi (w - w_avg)."""

    def synthesis(self, ws: Tensor, noise: Any = None, stage: Any = None) -> Tensor:
        """ws [n, L, d] -> images [n, C, h, w]. noise: a list of L maps [n or 1, 1, h, w]; None: the fixed ones."""

    def noise_maps(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Fresh noise for all L layers."""


Decoder = (
    Autoencoder
    | VAE
    | gan.Generator
    | dcgan.Generator
    | r3gan.Generator
    | progan.Generator
    | stylegan.Generator
    | stylegan2.Generator
)


def build(config: RunConfig, image_shape: tuple[int, int, int], classes: int) -> dict[str, nn.Module]:
    """The networks of a configuration by name, freshly initialised from torch's global generator."""
    known = classes if getattr(config.model, "conditional", False) else 0
    cure = config.cure or CureConfig()
    match config.model, config.objective:
        case AutoencoderModel() as model, AutoencoderObjective():
            return {"net": Autoencoder(model, image_shape)}
        case VAEModel() as model, VAEObjective() as objective:
            return {"net": VAE(model, objective, image_shape, classes)}
        case GANModel() as model, AdversarialObjective():
            return {"generator": gan.Generator(model, image_shape), "critic": gan.Critic(model, image_shape, 0, cure)}
        case DCGANModel() as model, AdversarialObjective():
            generator = dcgan.Generator(model, image_shape, known)
            return {"generator": generator, "critic": dcgan.Critic(model, image_shape, known, cure)}
        case R3GANModel() as model, AdversarialObjective():
            deep = r3gan.Generator(model, image_shape, known)
            return {"generator": deep, "critic": r3gan.Critic(model, image_shape, known, cure)}
        case ProGANModel() as model, AdversarialObjective():
            growing = progan.Generator(model, image_shape)
            return {"generator": growing, "critic": progan.Critic(model, image_shape, 0, cure)}
        case StyleGANModel() as model, AdversarialObjective():
            styled = stylegan.Generator(model, image_shape)
            return {"generator": styled, "critic": stylegan.Critic(model, image_shape, 0, cure)}
        case StyleGAN2Model() as model, AdversarialObjective():
            modulated = stylegan2.Generator(model, image_shape)
            return {"generator": modulated, "critic": stylegan2.Critic(model, image_shape, 0, cure)}
        case ClassifierModel() as model, SupervisedObjective() as objective:
            return {"net": Classifier(model, image_shape, classes, objective)}
        case _:
            raise AssertionError(f"a {type(config.model).__name__} with a {type(config.objective).__name__}")


def decoder_of(config: RunConfig) -> str | None:
    """The name of the network that makes images; None for a classifier."""
    match config.objective:
        case AdversarialObjective():
            return "generator"
        case SupervisedObjective():
            return None
        case _:
            return "net"
