"""Metrics of latents: how long the ways between images are, and how well planes part latents by what images show."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.evaluation import smoothness
from latente.evaluation.of_samples import factor_reader, set_neighbours
from latente.evaluation.subject import Rows, Subject, name_of
from latente.messages import Problem, say
from latente.models import ImageEncoder, StyleDecoder
from latente.models.classifier import Classifier, sizes
from latente.paths import lerp, slerp

_WAYS = 1000  # pairs of latents
_AT_ONCE = 50  # ways: each is differentiated
_PAIRS = 1000  # of real images: the unit of a length
_PARTED = 10_000  # samples, of which the surer half counts


def path_lengths(subject: Subject) -> Rows:
    """Perceptual path length in z and, of a generator of styles, in w: over whole ways, and at their beginnings. Its
    unit is the squared distance of two real images, so that it does not hang on the scale of the features. Recall goes
    with it: a collapsed generator is perfectly smooth."""
    net = subject.net
    real = subject.features("held_out").astype(np.float64)[: 2 * _PAIRS]
    real = np.random.default_rng(0).permutation(real)  # folders are often sorted by class
    pairs = len(real) // 2
    unit = float(np.square(real[:pairs] - real[pairs : 2 * pairs]).sum(1).mean())
    recall = set_neighbours(subject)["recall"]["value"]
    generator = torch.Generator().manual_seed(subject.seed)
    a, b = net.prior(_WAYS, generator), net.prior(_WAYS, generator)
    t = torch.rand(_WAYS, generator=generator)
    conditional = getattr(subject.run.config.model, "conditional", False)
    labels = torch.arange(_WAYS) % len(subject.run.dataset["classes"]) if conditional else None
    round_ = not isinstance(net, ImageEncoder) and getattr(subject.run.config.model, "prior", "normal") == "normal"
    ways: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor, str]] = {
        "z": (_shown(net), a, b, "slerp" if round_ else "lerp")
    }
    if isinstance(net, StyleDecoder):
        with torch.no_grad():
            ways["w"] = (_of_style(net), net.mapping(a, labels), net.mapping(b, labels), "lerp")
    rows: Rows = {}
    for space, (show, begin, end, how) in ways.items():
        for part, places in (("full", t), ("end", torch.zeros(_WAYS))):
            lengths = _lengths(subject, show, begin, end, how, places, labels) / unit
            value, interval = smoothness.trimmed(lengths, subject.seed)
            rows[f"path_{space}_{part}"] = {
                "value": value,
                "interval": interval,
                "interval_is": "95 %, bootstrap over ways",
                "unit": "squared speed along the way, in squared distances of two real images",
                "recall": recall,
                "remark": say("smoothness.recall", recall=f"{100 * recall:.0f} %"),
                "protocol": subject.judged(ways=_WAYS, way=how, at=part, trimmed=0.01, derivative="exact"),
            }
    return rows


def _shown(net: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    def show(z: Tensor, labels: Tensor | None) -> Tensor:
        images: Tensor = net.decode(z, labels)
        return images

    return show


def _of_style(net: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    """w -> images of the full size."""

    def show(w: Tensor, labels: Tensor | None) -> Tensor:
        images = net.synthesis(net.broadcast(w))
        size = net.image_shape[1:]
        images = images if images.shape[2:] == size else torch.nn.functional.interpolate(images, size)
        return images.clamp(-1, 1)

    return show


def _lengths(
    subject: Subject,
    show: Callable[..., Tensor],
    begin: Tensor,
    end: Tensor,
    how: str,
    places: Tensor,
    labels: Tensor | None,
) -> NDArray[np.float64]:
    """Squared speeds [N] of features along N ways."""
    go = slerp if how == "slerp" else lerp
    parts = []
    for rows in torch.split(torch.arange(len(places)), _AT_ONCE):
        a, b, told = begin[rows], end[rows], None if labels is None else labels[rows]

        def seen(t: Tensor, a: Tensor = a, b: Tensor = b, told: Tensor | None = told) -> Tensor:
            return subject.eyes.read(show(go(a, b, t), told))

        parts.append(smoothness.speeds(seen, places[rows]))
    return torch.cat(parts).numpy()


def separabilities(subject: Subject) -> Rows:
    """Linear separability of binary attributes of `caras` in z (of what encodes, in its codes) and in w."""
    reader = factor_reader(subject)
    net, read = subject.net, reader.network()
    z = net.prior(_PARTED, torch.Generator().manual_seed(subject.seed))
    latents, scored = {"z": z}, []
    with torch.no_grad():
        if isinstance(net, StyleDecoder):
            latents["w"] = net.mapping(z)
        for part in torch.split(z, 250):
            scored.append(attributes(read, net.decode(part)))
    scores = {name: np.concatenate([part[name] for part in scored]) for name in scored[0]}
    rows: Rows = {}
    for space, x in latents.items():
        value, each = smoothness.separability(x.double().numpy(), scores, subject.seed)
        rows[f"separability_{space}"] = {
            "value": value,
            "unit": "exp of nats unknown of the attributes once the side is known",
            "entropies": each,
            "protocol": subject.protocol(
                samples=_PARTED, kept="surer half", attributes=sorted(each), **name_of(reader, read)
            ),
        }
    return rows


@torch.no_grad()
def attributes(reader: Classifier, images: Tensor) -> dict[str, NDArray[np.float64]]:
    """Binary attributes of images [n, C, H, W] as a reader of factors scores them: above 0 where one is shown.

    Of a factor with values it is whether it has any but the first (glasses, a beard) where the first is the commonest,
    in log odds; of a number whether it is above its mean, in standard deviations."""
    outputs = torch.split(reader(images).double(), sizes(reader.factors), 1)
    found: dict[str, NDArray[np.float64]] = {}
    for (name, values), out in zip(reader.factors.items(), outputs, strict=True):
        if not values:
            found[name] = out[:, 0].numpy()
        elif name in ("glasses", "beard"):
            found[name] = (out[:, 1:].logsumexp(1) - out[:, 0]).numpy()
    if not found:
        raise Problem("smoothness.nothing_to_part")
    return found
