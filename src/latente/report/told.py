"""The configuration of a run, told in sentences."""

from collections.abc import Iterator
from typing import Any

from latente.config import AutoencoderModel, AutoencoderObjective, RunConfig, VAEModel, VAEObjective
from latente.report.words import Field, Text, name_of, text

_OPTIMIZERS = {"adam": "Adam", "nadam": "NAdam", "adagrad": "Adagrad", "sgd": "SGD"}


def configuration(config: RunConfig, dataset: dict[str, Any]) -> list[list[Text]]:
    """Paragraphs of sentences: the data, the model, what it minimises, how it is trained."""
    return [
        list(_data(config, dataset)),
        list(_model(config.model)),
        list(_objective(config.objective)),
        [*_optimizer(config), *_training(config, dataset)],
    ]


def _data(config: RunConfig, dataset: dict[str, Any]) -> Iterator[Text]:
    channels, height, width = dataset["image_shape"]
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


def _model(model: AutoencoderModel | VAEModel) -> Iterator[Text]:
    hidden = ", ".join(map(str, model.hidden))
    if isinstance(model, VAEModel):
        if model.kind == "conv":
            yield text("vae_conv", width=model.width, blocks=model.blocks, latent=model.latent)
        else:
            yield text("vae_mlp", hidden=hidden, activation=model.activation, latent=model.latent)
            yield text(f"init_{model.init}")
        yield text(f"prior_{model.prior}")
        if model.conditional:
            yield text("vae_conditional")
        return
    one = model.kind == "dense" and not model.hidden
    yield text("ae_dense_one" if one else f"ae_{model.kind}", hidden=hidden, latent=model.latent)
    if model.tied:
        yield text("ae_tied")
    if model.hashing:
        yield text("ae_hashing", hashing=model.hashing)
    elif model.activation == "sigmoid" and model.kind in ("dense", "conv"):
        yield text("ae_sigmoid")


def _objective(objective: AutoencoderObjective | VAEObjective) -> Iterator[Text]:
    yield from _of_a_vae(objective) if isinstance(objective, VAEObjective) else _of_an_autoencoder(objective)


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
