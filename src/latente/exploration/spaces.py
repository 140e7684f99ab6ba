"""The spaces that a generator is moved about in.

z      what its prior draws [N, d]; every generator that does not encode has it
w      styles [N, d], of generators that map z to w first: edits of one thing disturb others less than in z
w+     a style of its own for each layer [N, L, d] (Abdal et al. 2019): reaches what no w reaches
codes  what an autoencoder or a VAE makes of an image [N, d]
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latente.data.datasets import Dataset, load
from latente.messages import Problem
from latente.models import ImageEncoder, StyleDecoder, decoder_of
from latente.run import Run

_AT_ONCE = 256  # images made together


def spaces(net: Any) -> tuple[str, ...]:
    """The spaces of a generator, the one that its prior draws from first."""
    if isinstance(net, StyleDecoder):
        return ("z", "w", "w+")
    return ("codes",) if isinstance(net, ImageEncoder) else ("z",)


def home(net: Any) -> str:
    """The space in which directions are looked for, and walked along."""
    return "w" if isinstance(net, StyleDecoder) else spaces(net)[0]


def grown(net: Any) -> int | None:
    """Pixels a side that a network which grows has reached, None of any other and of one that is full grown."""
    stage = getattr(net, "grown", None)  # level and its weight
    if stage is None:
        return None
    reached = 4 << int(stage[0])
    return reached if reached < net.image_shape[1] else None


def generator_of(run: Run) -> Any:
    """The network of a run that makes images. Problem if it makes none."""
    if decoder_of(run.config) is None or run.dataset.get("kind") == "points":
        raise Problem("run.no_images", folder=run.folder)
    return run.network()


def dataset_of(run: Run) -> Dataset:
    """The images of a run. Problem if they are gone, or are not those that it was trained on."""
    dataset = load(run.config.data)
    if run.dataset.get("content") not in (None, dataset.facts["content"]):
        raise Problem("train.data_changed", source=run.config.data.source, folder=run.folder)
    return dataset


def labels_of(run: Run, n: int, label: int | None = None) -> Tensor | None:
    """Labels [n] for a conditional generator: all of one class, or every class in turn; None for any other."""
    conditional, classes = getattr(run.config.model, "conditional", False), run.dataset["classes"]
    if label is not None and not conditional:
        raise Problem("run.not_conditional", folder=run.folder)
    if label is not None and not 0 <= label < len(classes):
        raise Problem("run.no_such_label", label=label, last=len(classes) - 1)
    if not conditional:
        return None
    return torch.arange(n) % len(classes) if label is None else torch.full((n,), label)


def show(
    net: Any, space: str, latent: Tensor, labels: Tensor | None = None, noise: Sequence[Tensor | None] | None = None
) -> Tensor:
    """Latents [N, d] (w+: [N, L, d]) -> images [N, C, H, W] of the full size, differentiable in latents and noise.

    noise: of a generator of styles, a map a layer, None for a layer without; None: the fixed ones.
    """
    if not isinstance(net, StyleDecoder):
        images: Tensor = net.decode(latent, labels)
        return images
    if space == "z":
        latent = net.mapping(latent, labels)
    ws = latent if space == "w+" else net.broadcast(latent)  # [N, L, d]
    images = net.synthesis(ws, None if noise is None else list(noise))
    size = net.image_shape[1:]  # type: ignore[attr-defined]
    return images if images.shape[2:] == size else F.interpolate(images, size)  # not yet grown: doubled up


def raised(net: Any, latent: Tensor, space: str, wanted: str, labels: Tensor | None = None) -> Tensor:
    """Latents [N, d] of one space -> the same images' in a richer one: z in w, w in w+ [N, L, d]."""
    if space == "z" and wanted != "z":
        latent, space = net.mapping(latent, labels), "w"
    return net.broadcast(latent) if (space, wanted) == ("w", "w+") else latent


def fixed_noise(net: Any) -> list[Tensor]:
    """The maps [1, 1, h, w] of each layer with which a generator of styles shows what it knows."""
    return [getattr(net, f"noise_{layer}") for layer in range(net.layers)]


@torch.no_grad()
def drawn(net: Any, n: int, seed: int = 0, labels: Tensor | None = None) -> Tensor:
    """n latents [n, d] of the home space, as the prior has them."""
    z: Tensor = net.prior(n, torch.Generator().manual_seed(seed))
    return net.mapping(z, labels) if isinstance(net, StyleDecoder) else z


@torch.no_grad()
def shown(
    net: Any, space: str, latents: Tensor, labels: Tensor | None = None, noise: Sequence[Tensor] | None = None
) -> Tensor:
    """The same images as `show`, in [-1, 1], a few at a time: no gradients. noise: maps [N, 1, h, w]."""
    parts = []
    for start in range(0, len(latents), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        maps = None if noise is None else [m[part] for m in noise]
        parts.append(show(net, space, latents[part], None if labels is None else labels[part], maps).clamp(-1, 1))
    return torch.cat(parts)
