"""Complete named configurations, one function each, each naming its paper."""

from collections.abc import Callable
from typing import Any

from latente import presets_gan
from latente.config import AdversarialObjective, Images, RunConfig, override, settings
from latente.messages import Problem
from latente.presets_autoencoder import AUTOENCODERS
from latente.presets_classifier import CLASSIFIERS
from latente.presets_gan import GANS
from latente.presets_growing import GROWING
from latente.presets_vae import VAES, vae

PRESETS: dict[str, Callable[[], RunConfig]] = {**VAES, **AUTOENCODERS, **GANS, **GROWING, **CLASSIFIERS}

# Lengths of ramps, decays and growing: a shorter run shortens them in proportion.
_SCALED = (
    "objective.warmup",
    "objective.capacity-images",
    "objective.greedy-images",
    "objective.gamma-images",
    "model.hold-images",
    "model.fade-images",
    "cure.instance-noise-images",
    "optim.decay-from",
    "optim.decay-images",
)


def demo() -> RunConfig:
    """The small VAE of `latente demo`: the preset `vae` on the embedded faces at 32 pixels."""
    return override(
        vae(),
        {
            "data.source": "caras",
            "data.resolution": 32,
            "training.batch": 64,
            "training.images": Images(100_000),
        },
    )


def scaled(config: RunConfig, images: int, keep: set[str]) -> tuple[RunConfig, list[str]]:
    """The configuration with another length, and the names of the ramps, decays and phases that were scaled with it.

    Those named in `keep` stay as they are. Rounded down: phases that left room for the last size still do.
    """
    known = settings(config)
    changes: dict[str, Any] = {}
    for name in _SCALED:
        if name in known and name not in keep and known[name][1]:
            changes[name] = Images(known[name][1] * images // config.training.images)
    changes = {name: value for name, value in changes.items() if value != known[name][1]}
    return override(config, changes | {"training.images": Images(images)}), list(changes)


def suited(config: RunConfig, source: str) -> RunConfig:
    """The configuration as it suits its data: a preset for images becomes the same game for points.

    Problem if the preset knows images alone."""
    if not source.startswith("points:"):
        return config
    if not isinstance(config.objective, AdversarialObjective):
        raise Problem("train.no_points", preset=config.preset, source=source, presets=", ".join((*GANS, *GROWING)))
    return presets_gan.on_points(config, dimensions=1 if source == "points:line" else 2)
