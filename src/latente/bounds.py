"""What settings can mean: numbers out of their bounds, and settings that do not go together, are refused in a sentence
before anything is trained."""

from math import inf, prod

from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    AutoencoderObjective,
    CureConfig,
    DCGANModel,
    Model,
    ProGANModel,
    RunConfig,
    StyleGAN2Model,
    StyleGANModel,
    TrainingConfig,
    settings,
)
from latente.messages import Problem, punctuated

_BOUNDS: dict[str, tuple[float, float]] = {  # both ends are allowed
    "model.latent": (1, 2**20),
    "model.width": (1, 2**12),
    "model.blocks": (0, 100),
    "model.hashing": (0, inf),
    "objective.noise-level": (0, inf),
    "objective.sparsity-weight": (0, inf),
    "objective.sparsity-target": (1e-6, 1 - 1e-6),
    "objective.contractive": (0, inf),
    "model.maxout": (0, 100),
    "model.dropout": (0, 1 - 1e-9),
    "model.zoom": (1e-9, inf),
    "model.mapping": (0, 100),
    "model.mixing": (0, 1),
    "model.crossovers": (1, 100),
    "model.widest": (1, 2**12),
    "model.groups": (1, 2**12),
    "objective.gamma": (0, inf),
    "objective.every": (1, 10**6),
    "objective.drift": (0, inf),
    "objective.clip": (0, inf),
    "objective.path-length": (0, inf),
    "objective.path-every": (1, 10**6),
    "objective.shift": (0, 100),
    "objective.smoothing": (0, 1 - 1e-9),
    "cure.replay": (0, 10**9),
    "cure.replay-share": (0, 1),
    "cure.minibatch-discrimination": (0, 10**4),
    "cure.packing": (1, 64),
    "cure.label-smoothing": (0, 1),
    "cure.instance-noise": (0, inf),
    "cure.augment-target": (-1, 1),
    "cure.augment-most": (0, 1),
    "optim.critic-lr": (0, inf),
    "optim.critic-steps": (1, 1000),
    "optim.lr": (0, inf),
    "optim.beta1": (0, 1 - 1e-9),
    "optim.beta2": (0, 1 - 1e-9),
    "optim.eps": (0, inf),
    "optim.weight-decay": (0, inf),
    "optim.final": (0, 1),
    "optim.clip": (0, inf),
    "training.seed": (0, 2**63 - 1),
}
_SMOOTHED = ("minimax", "non-saturating", "least-squares")  # costs with a label to smooth
_GROWN = 0.8  # of a run, at most, before its last level is fully in
_MOST = 2**30  # bytes that the store of past fakes may take: it is part of every checkpoint


def check(config: RunConfig, image_shape: tuple[int, int, int]) -> None:
    """Problem for the first setting that cannot be."""
    known = settings(config)
    for name, (low, high) in _BOUNDS.items():
        if name in known and not low <= known[name][1] <= high:
            given = known[name][1]
            raise Problem("train.out_of_bounds", name=f"--{name}", given=given, low=f"{low:g}", high=f"{high:g}")
    for setting in ("hidden", "critic_hidden"):
        widths = getattr(config.model, setting, ())
        if any(width < 1 for width in widths):
            flag = f"--model.{setting.replace('_', '-')}"
            raise Problem("train.widths", name=flag, given=" ".join(map(str, widths)))
    objective, optim = config.objective, config.optim
    if isinstance(objective, AutoencoderObjective) and objective.noise == "dropout" and objective.noise_level >= 1:
        given = objective.noise_level
        raise Problem("train.out_of_bounds", name="--objective.noise-level", given=given, low="0", high="1")
    if isinstance(objective, AdversarialObjective) and isinstance(optim, AdversarialOptim) and config.cure:
        _check_penalty(objective)
        for name, batch in _batches(config.model, config.training):
            _check_batch(config, optim, config.cure, name, batch)
        _check_growth(config, config.cure, image_shape[-1])
        _check_cures(objective, config.cure, config.training, image_shape)


def _check_penalty(objective: AdversarialObjective) -> None:
    clips, penalty = objective.clip > 0, objective.penalty
    if clips and penalty != "clip":
        raise Problem("train.clip_and_penalty", clip=objective.clip, penalty=penalty)
    if penalty == "clip" and not clips:
        raise Problem("train.clip_needs_limit")
    if penalty not in ("none", "clip") and objective.gamma <= 0:
        raise Problem("train.penalty_needs_gamma", penalty=penalty)
    if objective.gamma > 0 and penalty in ("none", "clip"):
        raise Problem("train.gamma_without_penalty", gamma=objective.gamma, penalty=penalty)


def _batches(model: Model, training: TrainingConfig) -> list[tuple[str, int]]:
    """The sizes of batches, each with the setting that it comes from."""
    if isinstance(model, ProGANModel | StyleGANModel) and model.batches:
        return [("--model.batches", batch) for batch in model.batches]
    return [("--training.batch", training.batch)]


def _check_batch(config: RunConfig, optim: AdversarialOptim, cure: CureConfig, name: str, batch: int) -> None:
    if config.training.accumulate > 1:
        raise Problem("train.no_accumulate", given=config.training.accumulate)
    if batch < 1:
        raise Problem("train.out_of_bounds", name=name, given=batch, low="1", high="inf")
    if batch % optim.critic_steps:
        raise Problem("train.critic_steps", name=name, batch=batch, steps=optim.critic_steps)
    seen = batch // optim.critic_steps
    if seen % cure.packing:
        raise Problem("train.packing", name=name, packing=cure.packing, batch=seen)
    if isinstance(config.model, DCGANModel) and seen < 2:
        raise Problem("train.batch_norm", batch=seen)
    compares = cure.minibatch_stddev or cure.minibatch_discrimination
    if compares and seen // cure.packing < 2:
        raise Problem("train.compares", name=name, batch=seen)


def _check_growth(config: RunConfig, cure: CureConfig, resolution: int) -> None:
    """What networks that grow, and their equalised layers, cannot be asked; what nobody else can be asked."""
    model, objective = config.model, config.objective
    styles = isinstance(model, StyleGANModel | StyleGAN2Model)
    if isinstance(objective, AdversarialObjective) and objective.path_length and not styles:
        raise Problem("train.path_length", family=model.family)
    if cure.spectral_norm and (styles or isinstance(model, ProGANModel)):
        raise Problem("train.equalised", family=model.family)
    if not isinstance(model, ProGANModel | StyleGANModel) or model.start <= 0:
        return
    doublings = (resolution // model.start).bit_length() - 1
    if doublings > 0 and cure.replay:
        raise Problem("train.replay_growing", replay=cure.replay, resolution=resolution)
    images, phase = config.training.images, model.hold_images + model.fade_images
    if doublings > 0 and doublings * phase > _GROWN * images:
        facts = {"start": model.start, "resolution": resolution, "grown": doublings * phase, "images": images}
        raise Problem("train.growth", **facts, most=int(_GROWN * images / doublings))


def _check_cures(
    objective: AdversarialObjective, cure: CureConfig, training: TrainingConfig, image_shape: tuple[int, int, int]
) -> None:
    if cure.label_smoothing and objective.cost not in _SMOOTHED:
        raise Problem("train.smoothing", cost=objective.cost, costs=", ".join(_SMOOTHED))
    if cure.augment != "none" and image_shape[1:] == (1, 1):
        raise Problem("train.augment_points", augment=cure.augment)
    if cure.replay:
        size = 4 * prod(image_shape) * cure.replay
        if cure.replay < training.batch:
            raise Problem("train.replay_small", replay=cure.replay, batch=training.batch)
        if size > _MOST:
            most = _MOST // (4 * prod(image_shape))
            raise Problem("train.replay_large", replay=cure.replay, gib=punctuated(f"{size / 2**30:.1f}"), most=most)
