"""What was asked: one tree of frozen dataclasses, saved with every run. Imports nothing heavy: the command line needs
it."""

import dataclasses
import types
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import inf
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from latente.messages import Problem, nearest, say


class Images(int):
    """A number of images shown: the unit of all time. Written 300k or 2M on the command line."""


def count(text: str) -> Images:
    """Read 300k, 1.5M, 60000 as a number of images; anything else, or a negative number, is a Problem."""
    scale = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        value = Decimal(text[:-1] if scale > 1 else text) * scale  # exact: 2.01M is a whole number
    except InvalidOperation:
        raise Problem("cli.not_a_count", given=text) from None
    if not value.is_finite() or not 0 <= value < 10**15 or value != int(value):
        raise Problem("cli.not_a_count", given=text)
    return Images(value)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the networks are shown."""

    source: str = "caras"  # a name, or a path
    resolution: int | None = None  # pixels a side; None: as they are (32 for caras)
    channels: Literal["auto", "grey", "rgb", "rgba"] = "auto"
    on_bad: Literal["auto", "skip", "stop"] = "auto"  # auto: skip, but stop when more than 10 % are bad
    filter: Literal["lanczos", "bicubic", "bilinear", "box"] = "lanczos"  # Pillow's, all antialiased when reducing


@dataclass(frozen=True, kw_only=True)
class AutoencoderModel:
    """Networks of chapter 17 of the course's book."""

    family: Literal["autoencoder"] = "autoencoder"
    kind: Literal["linear", "dense", "conv", "recurrent"] = "dense"
    hidden: tuple[int, ...] = (100,)  # widths between image and code, encoder's order
    latent: int = 30
    activation: Literal["relu", "sigmoid"] = "relu"  # of the code; hidden layers are ReLU
    tied: bool = False  # the decoder uses the encoder's weights, transposed
    hashing: float = 0.0  # standard deviation of the noise below a sigmoid code, in training; 0: no hashing


@dataclass(frozen=True, kw_only=True)
class AutoencoderObjective:
    """Squared error, and what is asked of the code besides."""

    noise: Literal["none", "gaussian", "dropout"] = "none"  # put on the input: denoising
    noise_level: float = 0.2  # standard deviation (pixels in [0, 1]) or share dropped
    sparsity: Literal["none", "l1", "kl"] = "none"
    sparsity_weight: float = 0.0
    sparsity_target: float = 0.1  # mean activity wished for, KL only
    contractive: float = 0.0  # weight of the encoder's squared Jacobian norm
    greedy_images: Images = Images(0)  # layers are trained one by one over so many images, then all; 0: all at once


@dataclass(frozen=True, kw_only=True)
class VAEModel:
    """An encoder of a Gaussian posterior and a decoder."""

    family: Literal["vae"] = "vae"
    kind: Literal["conv", "mlp"] = "conv"
    latent: int = 32
    width: int = 32  # channels of the finest level (conv)
    blocks: int = 1  # residual blocks on the smallest level (conv)
    hidden: tuple[int, ...] = (256,)  # widths of the fully connected layers, encoder's order
    activation: Literal["tanh", "relu"] = "relu"  # of the fully connected layers
    mean: Literal["linear", "sigmoid"] = "linear"  # what a Gaussian's mean goes through
    init: Literal["aevb", "glorot", "torch"] = "aevb"  # (mlp) N(0, 0.01) as the paper has it, Glorot, or torch's own
    prior: Literal["normal", "mixture"] = "normal"  # codes of new images: N(0, I), or a mixture fitted to the codes
    conditional: bool = False  # encoder and decoder are told the label


@dataclass(frozen=True, kw_only=True)
class VAEObjective:
    """The bound that is maximised."""

    likelihood: Literal["bernoulli", "gaussian", "logistic"] = "gaussian"
    binarisation: Literal["dynamic", "fixed", "threshold", "grey"] = "dynamic"  # Bernoulli only
    sigma: Literal["fixed", "learned", "optimal"] = "optimal"  # Gaussian only
    sigma_value: float = 0.1  # fixed sigma, pixels in [0, 1]
    estimator: Literal["A", "B", "iwae"] = "B"  # SGVB estimators of the AEVB paper; the importance-weighted bound
    samples: int = 1  # L, or k for iwae
    beta: float = 1.0
    warmup: Images = Images(0)  # the weight of the KL rises from 0 to beta over so many images
    free_bits: float = 0.0  # nats a latent that cost nothing
    capacity: float = 0.0  # nats; above 0: |KL - C| with weight beta, C rising over `capacity_images`
    capacity_images: Images = Images(0)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and its learning rate over time."""

    name: Literal["adam", "nadam", "adagrad", "sgd"] = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay: Literal["none", "cosine", "linear"] = "none"
    final: float = 0.05  # share of lr at the end of the decay
    decay_from: Images = Images(0)
    decay_images: Images = Images(0)  # 0: until the end of training, written out when the run is created
    clip: float = 0.0  # largest gradient norm; 0: no clipping


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Time, in images shown, and how the machine is used."""

    images: Images = Images(300_000)
    batch: int = 128
    accumulate: int = 1  # parts a batch is cut into, to save memory
    seed: int = 0
    ema_halflife: Images = Images(0)  # of the averaged weights; 0: no averaging
    sample_every: Images = Images(0)  # 0: an eighth of the run, written out when it is created
    checkpoint_every: Images = Images(0)  # 0: a quarter of the run
    tick: Images = Images(0)  # a row of metrics; 0: a sixtieth of the run
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True


Model = AutoencoderModel | VAEModel
Objective = AutoencoderObjective | VAEObjective


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that a run depends on."""

    preset: str
    paper: str
    model: Model
    objective: Objective
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_BY_FAMILY: dict[str, tuple[type[Model], type[Objective]]] = {
    "autoencoder": (AutoencoderModel, AutoencoderObjective),
    "vae": (VAEModel, VAEObjective),
}


def to_json(config: RunConfig) -> dict[str, Any]:
    """The tree as plain values."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def from_json(tree: dict[str, Any]) -> RunConfig:
    """The inverse of `to_json`; an unknown key or a wrong type is a Problem."""
    family = tree.get("model", {}).get("family", "?")
    if family not in _BY_FAMILY:
        raise Problem("cli.unknown_family", given=family, families=", ".join(_BY_FAMILY))
    model, objective = _BY_FAMILY[family]
    sections = {
        "model": model,
        "objective": objective,
        "data": DataConfig,
        "optim": OptimConfig,
        "training": TrainingConfig,
    }
    read = {name: _read(kind, tree.get(name, {}), name) for name, kind in sections.items()}
    return RunConfig(preset=str(tree["preset"]), paper=str(tree["paper"]), **read)


def _read(kind: type[Any], values: dict[str, Any], section: str) -> Any:
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise Problem("cli.unknown_setting", given=f"{section}.{name}", near=nearest(name, hints))
    return kind(**{name: _plain(value, hints[name], f"{section}.{name}") for name, value in values.items()})


def _plain(value: Any, hint: Any, name: str) -> Any:
    """A value that came from JSON, checked against its annotation."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal and value in get_args(option):
            return value
        if get_origin(option) is tuple and isinstance(value, list | tuple) and all(isinstance(v, int) for v in value):
            return tuple(value)
        if option is Images and isinstance(value, int) and not isinstance(value, bool):
            return Images(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option in (int, str, bool) and type(value) is option:
            return value
        if option is type(None) and value is None:
            return None
    raise Problem("cli.bad_value", name=name, given=value, expected=expected(hint))


def settings(config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Every setting by its dotted name on the command line -> (annotation, value)."""
    found = {}
    for section in ("data", "model", "objective", "optim", "training"):
        part = getattr(config, section)
        for name, hint in get_type_hints(type(part)).items():
            if name != "family":
                found[f"{section}.{name.replace('_', '-')}"] = (hint, getattr(part, name))
    return found


def parse(text: str, hint: Any, name: str) -> Any:
    """A setting's value typed by a person -> the value, or a Problem that says what was expected."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if option is Images:
            return count(text)
        if option is type(None) and text.lower() == "none":
            return None
        try:
            if get_origin(option) is Literal and text in get_args(option):
                return text
            if get_origin(option) is tuple:
                return tuple(int(part) for part in text.replace(",", " ").split())
            if option is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
                return text.lower() in ("true", "yes", "1")
            if option in (int, float):
                value = option(text)
                if value == value and abs(value) != float("inf"):
                    return value
            if option is str:
                return text
        except ValueError:
            continue
    raise Problem("cli.bad_value", name=name, given=text, expected=expected(hint))


def expected(hint: Any) -> str:
    """What a setting takes, in a word or a list of words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(expected(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if get_origin(hint) is tuple:
        return say("cli.kind_list")
    kinds = {Images: "count", int: "whole", float: "number", bool: "truth", str: "text", type(None): "none"}
    return say(f"cli.kind_{kinds[hint]}")


def override(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The configuration with dotted settings replaced, values as `parse` gives them."""
    known = settings(config)
    for dotted, value in changes.items():
        if dotted not in known:
            raise Problem("cli.unknown_setting", given=dotted, near=nearest(dotted, known))
        section, name = dotted.split(".")
        part = dataclasses.replace(getattr(config, section), **{name.replace("-", "_"): value})
        config = dataclasses.replace(config, **{section: part})
    return config


_BOUNDS: dict[str, tuple[float, float]] = {  # both ends are allowed
    "model.latent": (1, 2**20),
    "model.width": (1, 2**12),
    "model.blocks": (0, 100),
    "model.hashing": (0, inf),
    "objective.noise-level": (0, inf),
    "objective.sparsity-weight": (0, inf),
    "objective.sparsity-target": (1e-6, 1 - 1e-6),
    "objective.contractive": (0, inf),
    "optim.lr": (0, inf),
    "optim.beta1": (0, 1 - 1e-9),
    "optim.beta2": (0, 1 - 1e-9),
    "optim.eps": (0, inf),
    "optim.weight-decay": (0, inf),
    "optim.final": (0, 1),
    "optim.clip": (0, inf),
    "training.seed": (0, 2**63 - 1),
}


def check_bounds(config: RunConfig) -> None:
    """Refuse a number that lies outside what its setting can mean."""
    known = settings(config)
    bounds = {name: (*known[name], *ends) for name, ends in _BOUNDS.items() if name in known}
    for name, (_, value, low, high) in bounds.items():
        if not low <= value <= high:
            raise Problem("train.out_of_bounds", name=f"--{name}", given=value, low=f"{low:g}", high=f"{high:g}")
    if any(width < 1 for width in config.model.hidden):
        raise Problem("train.widths", given=" ".join(map(str, config.model.hidden)))
    if isinstance(config.objective, AutoencoderObjective):
        if config.objective.noise == "dropout" and config.objective.noise_level >= 1:
            given = config.objective.noise_level
            raise Problem("train.out_of_bounds", name="--objective.noise-level", given=given, low="0", high="1")
