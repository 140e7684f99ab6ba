"""How long a preset would take on this machine: its floating-point operations over a measured rate."""

import time
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latente.bounds import check
from latente.config import AdversarialObjective, RunConfig
from latente.data.datasets import Dataset, ImageSet
from latente.data.stream import Stream
from latente.messages import Problem
from latente.presets import PRESETS
from latente.training.assemble import assemble, growth_of

_BATCH = 20
_MOMENTS = 50  # of a run of networks that grow
_LARGEST = 50_000_000  # pixels x units of the widest dense layer: larger networks are not built for an estimate


def times(image_shape: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
    """preset -> images of its default length, GFLOP an image and estimated seconds; presets that cannot take the shape
    or would be huge with it are left out. An estimate is good to a factor of two or three."""
    found: dict[str, dict[str, Any]] = {}
    dense, conv = dense_rate(), conv_rate()
    for name, preset in PRESETS.items():
        config = preset()
        if (
            getattr(config.model, "kind", "") != "conv"
            and prod(image_shape) * max(widths(config), default=1) > _LARGEST
        ):
            continue
        try:
            check(config, image_shape)
            flops, convolutional = step_flops(config, image_shape)
        except Problem:  # a network that has no such size, or no time to grow to it, says so
            continue
        images = int(config.training.images)
        seconds = images * flops / (conv if convolutional else dense)
        found[name] = {"images": images, "gflop_per_image": round(flops / 1e9, 4), "seconds": round(seconds, 1)}
    return found


def widths(config: RunConfig) -> tuple[int, ...]:
    """The widths of fully connected layers that an image goes into, or comes out of."""
    found: tuple[int, ...] = getattr(config.model, "hidden", ())
    return found if config.model.family != "classifier" else ()


def step_flops(config: RunConfig, image_shape: tuple[int, int, int]) -> tuple[float, bool]:
    """Floating-point operations an image of one training step, forward and backward, and whether most are
    convolutions."""
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, *image_shape), np.uint8)
    labels = np.arange(_BATCH, dtype=np.int64) % 2
    shown = ImageSet(name="noise", images=images, labels=labels, classes=("0", "1"), factors=None)
    config = replace(config, training=replace(config.training, precision="float32", accumulate=1))
    penalised = 0.0
    if isinstance(config.objective, AdversarialObjective) and config.objective.penalty not in ("none", "clip"):
        penalised = 1 / config.objective.every  # it differentiates the critic twice: about a step's worth again
        config = replace(config, objective=replace(config.objective, penalty="none", gamma=0.0))
    assembly = assemble(config, Dataset(train=shown, test=shown, facts={}, folder=Path()), torch.device("cpu"))
    stream = Stream(shown, conditional=assembly.conditional, binarisation=assembly.binarisation)
    batch = stream.take(0, _BATCH)
    counted, convolved = 0.0, 0.0
    for clock, share in _clocks(config, image_shape[1]).items():
        assembly.state.images = clock
        with FlopCounterMode(display=False) as counter:
            assembly.step(assembly.state, batch)
        by_kind = counter.get_flop_counts()["Global"]
        counted += share * counter.get_total_flops()
        convolved += share * sum(count for kind, count in by_kind.items() if "conv" in str(kind))
    flops = (1 + penalised) * counted / _BATCH + _recurrent(assembly.state.nets, rows=image_shape[1])
    return flops, 2 * convolved > counted


def _clocks(config: RunConfig, resolution: int) -> dict[int, float]:
    """Moments of a run, and the share of its images that cost about as much as those: networks that grow take a
    multiple at each level."""
    growth = growth_of(config.model, resolution)
    if growth is None:
        return {0: 1.0}
    moments = [int((i + 0.5) / _MOMENTS * config.training.images) for i in range(_MOMENTS)]
    alike: dict[tuple[int, bool], list[int]] = {}
    for images in moments:
        stage = growth.at(images)
        alike.setdefault((stage.level, stage.alpha < 1), []).append(images)
    return {same[0]: len(same) / _MOMENTS for same in alike.values()}


def _recurrent(net: nn.Module, rows: int) -> int:
    """Operations an image of the LSTMs, which torch does not count: four gates, forward and backward (three times the
    forward products), a step a row."""
    lstms = [module for module in net.modules() if isinstance(module, nn.LSTM)]
    return sum(3 * 2 * rows * 4 * m.hidden_size * (m.input_size + m.hidden_size) for m in lstms)


def dense_rate() -> float:
    """Operations a second of this machine in a training step of a dense network (128 x 784 x 400)."""
    return _rate(nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 784)), torch.rand(128, 784))


def conv_rate() -> float:
    """Operations a second of this machine in a training step of 3x3 convolutions (32 channels, 16 pixels, batch 64)."""
    net = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
    return _rate(net, torch.rand(64, 32, 16, 16))


def _rate(net: nn.Module, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        net(x).square().mean().backward()
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        net(x).square().mean().backward()
        seconds.append(time.perf_counter() - began)
    rate: float = counter.get_total_flops() / min(seconds)  # what others do on the machine meanwhile does not count
    return rate
