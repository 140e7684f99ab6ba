"""Toy images, and every preset at a size that trains in a fraction of a second."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    AutoencoderModel,
    AutoencoderObjective,
    CureConfig,
    DataConfig,
    Images,
    RunConfig,
    SupervisedObjective,
    TrainingConfig,
    VAEModel,
)
from latente.data.datasets import ImageSet
from latente.presets import PRESETS

CONDITIONAL = ("vae conditional", "vae-mlp conditional")
GAMES = tuple(name for name, preset in PRESETS.items() if isinstance(preset().objective, AdversarialObjective))
CURED = ("dcgan conditional", "r3gan conditional", *(f"{name} cured" for name in GAMES))
READERS = tuple(name for name, preset in PRESETS.items() if isinstance(preset().objective, SupervisedObjective))
NAMES = (*(name for name in PRESETS if name not in (*GAMES, *READERS)), *CONDITIONAL)  # encoders and decoders
EVERY = (*NAMES, *GAMES, *CURED, *READERS)


def drawn(n: int, shape: tuple[int, int, int], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n images [n, C, H, W], a soft blob each on a dark ground, and labels [n] of 3 classes: the third it lies in."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    centre = rng.random((n, 2))
    tint = rng.uniform(0.4, 1, (n, channels, 1, 1))
    y, x = np.mgrid[:height, :width]
    away = (x / width - centre[:, 0, None, None]) ** 2 + (y / height - centre[:, 1, None, None]) ** 2  # [n, H, W]
    images = 255 * tint * np.exp(-12 * away)[:, None]
    return np.round(images).astype(np.uint8), (centre[:, 0] * 3).astype(np.int64)


def image_set(n: int = 24, shape: tuple[int, int, int] = (1, 8, 8), labels: bool = True, seed: int = 0) -> ImageSet:
    """A set in memory."""
    images, found = drawn(n, shape, seed)
    return ImageSet("toy", images, found if labels else None, ("left", "middle", "right") if labels else (), None)


def factor_set(n: int = 24, size: int = 8, seed: int = 0) -> ImageSet:
    """A set of square colour images that says what they were made from: which third the blob lies in, how far down it
    lies (in pixels), and whether it is bright."""
    rng = np.random.default_rng(seed)
    third, down, bright = rng.integers(0, 3, n), rng.uniform(1, size - 1, n).astype(np.float32), rng.integers(0, 2, n)
    y, x = np.mgrid[:size, :size] + 0.5
    away = (x / size - (third[:, None, None] + 0.5) / 3) ** 2 + ((y - down[:, None, None]) / size) ** 2  # [n, H, W]
    images = (100 + 155 * bright)[:, None, None] * np.exp(-20 * away)
    factors = {"third": third, "down": down, "bright": bright}
    return ImageSet("factors", np.repeat(np.round(images).astype(np.uint8)[:, None], 3, 1), None, (), factors)


def toy(name: str, source: Path | str = "nowhere", **training: Any) -> RunConfig:
    """A preset ("vae"; "vae conditional" is told the labels; "dcgan cured" has replay, adaptive augmentation and a lazy
    penalty) made small, every mechanism of it still at work.

    8 steps; a tick ends after every 3, checkpoints fall at 24, 40 and 64 images, so that one lies inside a tick.
    """
    preset, _, variant = name.partition(" ")
    config = PRESETS[preset]()
    conditional = variant == "conditional"
    widths = {key: getattr(config.model, key, ()) for key in ("hidden", "critic_hidden")}
    small: dict[str, Any] = {key: tuple(8 - i for i in range(len(value))) for key, value in widths.items() if value}
    if hasattr(config.model, "latent"):
        small["latent"] = 4
    if hasattr(config.model, "width"):
        small["width"] = 4
    if hasattr(config.model, "conditional"):
        small["conditional"] = conditional
    grows = hasattr(config.model, "hold_images")
    if grows:  # from 4 to 8 pixels: a checkpoint and a tick lie inside the fade
        small |= {"start": 4, "hold_images": Images(16), "fade_images": Images(16)}
    objective: dict[str, Any] = {}
    optim, cure = config.optim, config.cure
    if isinstance(config.model, AutoencoderModel):
        assert isinstance(config.objective, AutoencoderObjective)
        objective["greedy_images"] = Images(32 if config.objective.greedy_images else 0)
    elif isinstance(config.model, VAEModel):
        objective["samples"] = min(config.objective.samples, 3)
    elif isinstance(optim, AdversarialOptim):
        optim = replace(optim, critic_steps=min(optim.critic_steps, 2))
        if variant == "cured":
            cure = CureConfig(
                replay=0 if grows else 16, augment="ada", augment_images=Images(64), minibatch_stddev=True
            )
            own = config.objective.penalty  # type: ignore[union-attr]
            objective |= {"penalty": "wgan-gp" if own == "wgan-gp" else "r1+r2", "clip": 0.0}
            objective |= {"gamma": 0.5, "gamma_final": 0.1, "every": 3}
    time = {"images": 64, "sample_every": 32, "checkpoint_every": 20, "tick": 24, "probe_every": 16, "ema_halflife": 16}
    rest = {"batch": 8, "seed": 5, "precision": "float32", "channels_last": True, "device": "cpu"}
    return replace(
        config,
        data=DataConfig(source=str(source)),
        model=replace(config.model, **small),
        objective=replace(config.objective, **objective),
        optim=optim,
        cure=cure,
        training=TrainingConfig(**{key: Images(value) for key, value in time.items()} | rest | training),
    )
