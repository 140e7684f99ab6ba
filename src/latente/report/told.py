"""The configuration of a run, told in sentences."""

from collections.abc import Iterator
from typing import Any

from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    AutoencoderModel,
    AutoencoderObjective,
    ClassifierModel,
    CureConfig,
    DCGANModel,
    GANModel,
    Model,
    OptimConfig,
    ProGANModel,
    R3GANModel,
    RunConfig,
    StyleGAN2Model,
    StyleGANModel,
    SupervisedObjective,
    VAEModel,
    VAEObjective,
)
from latente.report.words import Field, Text, name_of, text

_OPTIMIZERS = {"adam": "Adam", "nadam": "NAdam", "adagrad": "Adagrad", "sgd": "SGD"}


def configuration(config: RunConfig, dataset: dict[str, Any]) -> list[list[Text]]:
    """Paragraphs of sentences: the data, the model, what it minimises, how it is trained."""
    return [
        list(_data(config, dataset)),
        list(_model(config.model, dataset["image_shape"][-1])),
        [*_objective(config), *(_cures(config.cure) if config.cure else ())],
        [*_optimizer(config), *_training(config, dataset)],
    ]


def _data(config: RunConfig, dataset: dict[str, Any]) -> Iterator[Text]:
    channels, height, width = dataset["image_shape"]
    if dataset.get("kind") == "points":
        name = name_of(config.data.source)
        yield text("data_points", data=name, train=dataset["train"], test=dataset["test"], dimensions=channels)
        return
    known = channels in (1, 3, 4)
    shape: dict[str, Field] = {
        "height": height,
        "width": width,
        "channels": text(f"channels_{channels}") if known else text("channels_other", channels=channels),
    }
    data = name_of(config.data.source)
    if "train" in dataset and "test" in dataset:
        yield text("data", data=data, train=dataset["train"], test=dataset["test"], **shape)
    else:
        yield text("data_plain", data=data, **shape)
    if config.data.resolution is not None and not data.startswith("caras"):
        yield text("resized", filter=config.data.filter)
    rule = dataset.get("split", {}).get("rule")
    if rule in ("official", "content", "folders"):
        yield text(f"split_{rule}")
    if dataset.get("classes"):
        yield text("classes", n=len(dataset["classes"]))


def _model(model: Model, resolution: int) -> Iterator[Text]:
    hidden = ", ".join(map(str, getattr(model, "hidden", ())))
    match model:
        case VAEModel():
            yield from _vae(model, hidden)
        case AutoencoderModel():
            yield from _autoencoder(model, hidden)
        case GANModel():
            critic = ", ".join(map(str, model.critic_hidden))
            yield text("gan", hidden=hidden, critic=critic, latent=model.latent)
        case DCGANModel():
            yield text("dcgan", width=model.width, latent=model.latent)
            yield text(f"critic_norm_{model.critic_norm}")
        case R3GANModel():
            yield text("r3gan", width=model.width, blocks=model.blocks, latent=model.latent)
        case ProGANModel():
            yield text("progan", width=model.width, widest=model.widest, latent=model.latent)
        case StyleGANModel() | StyleGAN2Model():
            yield text(model.family, width=model.width, widest=model.widest, latent=model.latent, mapping=model.mapping)
            if isinstance(model, StyleGANModel):
                yield from _ladder(model)
            if model.mixing:
                yield text("mixing", share=model.mixing)
                if model.crossovers > 1:
                    between = 2 * resolution.bit_length() - 5  # two layers for each size, the first of 4 pixels
                    yield text("crossovers", crossovers=min(model.crossovers, between))
        case ClassifierModel():
            yield text("classifier" if hidden else "classifier_plain", width=model.width, hidden=hidden)
            if model.dropout:
                yield text("classifier_dropout", share=model.dropout)
    if isinstance(model, ProGANModel | StyleGANModel):
        yield from _growing(model, resolution)
    if isinstance(model, DCGANModel | R3GANModel) and model.conditional:
        yield text("gan_conditional")


def _ladder(model: StyleGANModel) -> Iterator[Text]:
    if not model.constant:
        yield text("no_constant")
    if not model.noise:
        yield text("no_noise")


def _growing(model: ProGANModel | StyleGANModel, resolution: int) -> Iterator[Text]:
    if not 0 < model.start < resolution:
        yield text("growing_none")
        return
    facts: dict[str, Field] = {"start": model.start, "hold": model.hold_images, "fade": model.fade_images}
    yield text("growing", resolution=resolution, **facts)
    if model.batches:
        yield text("growing_batches", batches=", ".join(map(str, model.batches)))
    if model.restart:
        yield text("growing_restart")
    if model.blur:
        yield text("growing_blur")


def _vae(model: VAEModel, hidden: str) -> Iterator[Text]:
    if model.kind == "conv":
        yield text("vae_conv", width=model.width, blocks=model.blocks, latent=model.latent)
    else:
        yield text("vae_mlp", hidden=hidden, activation=model.activation, latent=model.latent)
        yield text(f"init_{model.init}")
    yield text(f"prior_{model.prior}")
    if model.conditional:
        yield text("vae_conditional")


def _autoencoder(model: AutoencoderModel, hidden: str) -> Iterator[Text]:
    one = model.kind == "dense" and not model.hidden
    yield text("ae_dense_one" if one else f"ae_{model.kind}", hidden=hidden, latent=model.latent)
    if model.tied:
        yield text("ae_tied")
    if model.hashing:
        yield text("ae_hashing", hashing=model.hashing)
    elif model.activation == "sigmoid" and model.kind in ("dense", "conv"):
        yield text("ae_sigmoid")


def _objective(config: RunConfig) -> Iterator[Text]:
    match config.objective:
        case VAEObjective() as objective:
            yield from _of_a_vae(objective)
        case AutoencoderObjective() as objective:
            yield from _of_an_autoencoder(objective)
        case AdversarialObjective() as objective:
            yield from _of_a_game(objective, config.optim)
        case SupervisedObjective() as objective:
            yield text("supervised" if objective.task == "labels" else f"supervised_{objective.task}")
            if objective.smoothing:
                yield text("supervised_smoothing", share=objective.smoothing)
            if objective.shift:
                yield text("supervised_shift", shift=objective.shift)


def _of_a_game(o: AdversarialObjective, optim: OptimConfig) -> Iterator[Text]:
    yield text("game")
    yield text(f"cost_{o.cost.replace('-', '_')}")
    if o.penalty == "clip":
        yield text("penalty_clip", clip=o.clip)
    elif o.penalty != "none":
        yield text("penalty", name=o.penalty, gamma=o.gamma)
        if o.gamma_final >= 0:
            yield text("penalty_falls", final=o.gamma_final, images=o.gamma_images)
        if o.every > 1:
            yield text("penalty_every", every=o.every)
    if o.path_length:
        yield text("path_length", weight=o.path_length, every=o.path_every)
    if o.drift:
        yield text("drift", weight=o.drift)
    if isinstance(optim, AdversarialOptim):
        if optim.critic_steps > 1:
            yield text("critic_steps", steps=optim.critic_steps)
        if optim.critic_lr:
            yield text("critic_lr", lr=optim.critic_lr)


def _cures(cure: CureConfig) -> Iterator[Text]:
    if cure.replay:
        yield text("cure_replay", replay=cure.replay, share=cure.replay_share)
    if cure.minibatch_discrimination:
        yield text("cure_discrimination", kernels=cure.minibatch_discrimination)
    if cure.minibatch_stddev:
        yield text("cure_stddev")
    if cure.packing > 1:
        yield text("cure_packing", packing=cure.packing)
    if cure.spectral_norm:
        yield text("cure_spectral")
    if cure.label_smoothing:
        yield text("cure_smoothing", label=1 - cure.label_smoothing)
    if cure.instance_noise:
        yield text("cure_noise", sd=cure.instance_noise, images=cure.instance_noise_images)
    if cure.augment != "none":
        yield text(f"cure_{cure.augment}")


def _of_an_autoencoder(o: AutoencoderObjective) -> Iterator[Text]:
    yield text("ae_error")
    if o.noise != "none":
        yield text(f"ae_{o.noise}", level=o.noise_level)
    if o.sparsity != "none":
        yield text(f"ae_{o.sparsity}", weight=o.sparsity_weight, target=o.sparsity_target)
    if o.contractive:
        yield text("ae_contractive", weight=o.contractive)
    if o.greedy_images:
        yield text("ae_greedy", images=o.greedy_images)


def _of_a_vae(o: VAEObjective) -> Iterator[Text]:
    if o.likelihood == "gaussian":
        yield text(f"gaussian_{o.sigma}", sigma=o.sigma_value)
    elif o.likelihood == "bernoulli":
        yield text(f"bernoulli_{o.binarisation}")
    else:
        yield text("logistic")
    yield text(f"estimator_{o.estimator}", samples=o.samples)
    if o.estimator == "iwae":
        return
    if not o.capacity:
        yield text("beta", beta=o.beta)
    if o.warmup:
        yield text("warmup", images=o.warmup)
    if o.free_bits:
        yield text("free_bits", nats=o.free_bits)
    if o.capacity:
        yield text("capacity", nats=o.capacity, images=o.capacity_images, beta=o.beta)


def _optimizer(config: RunConfig) -> Iterator[Text]:
    optim = config.optim
    yield text("optim", name=_OPTIMIZERS[optim.name], lr=optim.lr)
    if optim.decay == "none":
        yield text("optim_constant")
    else:
        yield text(f"optim_{optim.decay}", images=optim.decay_images, final=optim.final)
        if optim.decay_from:
            yield text("optim_from", images=optim.decay_from)
    if optim.weight_decay:
        yield text("optim_decay", decay=optim.weight_decay)
    if optim.clip:
        yield text("optim_clip", clip=optim.clip)


def _training(config: RunConfig, dataset: dict[str, Any]) -> Iterator[Text]:
    t = config.training
    shown: dict[str, Field] = {"batch": t.batch, "images": t.images, "seed": str(t.seed)}
    if dataset.get("train"):
        yield text("training_passes", passes=float(f"{t.images / dataset['train']:.2g}"), **shown)
    else:
        yield text("training", **shown)
    if t.accumulate > 1:
        yield text("accumulate", parts=t.accumulate)
    yield text("averaged", images=t.ema_halflife) if t.ema_halflife else text("not_averaged")
    if t.precision != "auto":
        yield text(f"precision_{t.precision}")
