"""What was left open in a configuration is decided when its run is created, and written into config.json."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from latente.bounds import check
from latente.config import AdversarialObjective, Images, RunConfig
from latente.data import cache, names
from latente.data.datasets import Dataset
from latente.data.stream import Stream
from latente.messages import Problem
from latente.presets import suited
from latente.training import precision
from latente.training.assemble import assemble, channels_last, described, image_shape


def resolve(config: RunConfig, dataset: Dataset, device: torch.device) -> RunConfig:
    """The configuration with everything decided: absolute counts, the path, the precision."""
    t = config.training
    if t.images < 1 or t.batch < 1 or not 1 <= t.accumulate <= t.batch:
        raise Problem("train.nothing_to_do", images=t.images, batch=t.batch, accumulate=t.accumulate)
    suited(config, config.data.source)  # refuses points to presets that know images alone
    check(config, image_shape(dataset))
    config = described(config, dataset)
    config = lengths(config)
    t = config.training
    config = replace(config, data=replace(config.data, source=located(config.data.source)))
    if t.precision == "auto":
        chosen = precision.choose(
            lambda p: _one_step(config, dataset, device, p),
            device,
            cache.cache_root() / "precision.json",
            _signature(config, dataset),
        )
        config = replace(config, training=replace(t, precision=chosen))
    elif t.precision == "bfloat16" and not precision.has_bfloat16(device):
        raise Problem("train.no_bfloat16", device=device)
    return config


def located(source: str) -> str:
    """A path as an absolute one; a name as it is."""
    named = names.known(source.partition(":")[0]) is not None  # a folder may bear the name of a set
    return str(Path(source).resolve()) if Path(source).exists() and not named else source


def lengths(config: RunConfig) -> RunConfig:
    """Every interval, decay and ramp that was left open, in images."""
    t, optim, objective, cure = config.training, config.optim, config.objective, config.cure
    t = replace(
        t,
        sample_every=t.sample_every or Images(max(t.images // 8, 1)),
        checkpoint_every=t.checkpoint_every or Images(max(t.images // 4, 1)),
        tick=t.tick or Images(max(t.images // 60, 1)),
        probe_every=t.probe_every or Images(max(t.images // 30, 1)),
    )
    if optim.decay != "none" and not optim.decay_images:
        optim = replace(optim, decay_images=Images(max(t.images - optim.decay_from, 1)))
    if isinstance(objective, AdversarialObjective) and objective.gamma_final >= 0 and not objective.gamma_images:
        objective = replace(objective, gamma_images=t.images)
    if cure is not None and cure.instance_noise and not cure.instance_noise_images:
        cure = replace(cure, instance_noise_images=t.images)
    return replace(config, training=t, optim=optim, objective=objective, cure=cure)


def _one_step(
    config: RunConfig, dataset: Dataset, device: torch.device, numbers: precision.Precision
) -> Callable[[], object]:
    trial = replace(config, training=replace(config.training, precision=numbers))
    assembly = assemble(trial, dataset, device)
    last = channels_last(config, assembly.state.nets)
    stream = Stream(dataset.train, device=device, conditional=assembly.conditional, channels_last=last)
    assembly.state.images = config.training.images  # networks that grow have done so: that is most of the time
    batch = stream.take(0, assembly.batch_at(assembly.state.images))
    return lambda: assembly.step(assembly.state, batch)


def _signature(config: RunConfig, dataset: Dataset) -> str:
    t = config.training
    sizes = f"batch {t.batch} / {t.accumulate}, channels last {t.channels_last}"
    return f"{config.model} {config.objective} {config.cure} {image_shape(dataset)} {sizes}"
