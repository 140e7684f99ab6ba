"""What was asked: one tree of frozen dataclasses, saved with every run. Imports nothing heavy: the command line needs
it."""

import dataclasses
import types
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
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
    probe_every: Images = Images(0)  # measurements for the diagnosis; 0: a thirtieth of the run
    on_finding: Literal["warn", "stop", "rollback", "treat"] = "warn"  # what a fault that the diagnosis finds leads to
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True


@dataclass(frozen=True, kw_only=True)
class GANModel:
    """The fully connected generator and critic of 2014, for images and for points."""

    family: Literal["gan"] = "gan"
    latent: int = 100
    prior: Literal["normal", "uniform"] = "normal"  # of the latents; uniform has the same variance
    hidden: tuple[int, ...] = (256, 512)  # widths of the generator's layers, the latents' end first
    critic_hidden: tuple[int, ...] = (512, 256)  # of the critic's, the images' end first
    maxout: int = 0  # pieces of each unit of the critic (Goodfellow et al. 2013); 0: leaky ReLU
    dropout: float = 0.0  # share of the critic's units dropped
    zoom: float = 1.0  # what the critic's input is multiplied by: how fine the differences are that it sees


@dataclass(frozen=True, kw_only=True)
class DCGANModel:
    """The convolutional generator and critic of Radford et al. 2015."""

    family: Literal["dcgan"] = "dcgan"
    latent: int = 100
    width: int = 32  # channels where maps have 32 pixels a side; twice as many at each halving
    critic_norm: Literal["batch", "none"] = "batch"  # penalties on gradients want none
    conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class R3GANModel:
    """Residual networks without normalisation (Huang et al. 2024)."""

    family: Literal["r3gan"] = "r3gan"
    latent: int = 64
    width: int = 8  # channels where maps have 32 pixels a side; twice as many at each halving (the paper: 768)
    widest: int = 64  # channels at most
    blocks: int = 1  # residual blocks a level
    groups: int = 1  # of the 3x3 convolutions
    conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class ProGANModel:
    """Networks that grow while they learn (Karras et al. 2018)."""

    family: Literal["progan"] = "progan"
    latent: int = 64
    width: int = 32  # channels where maps have 32 pixels a side; twice as many at each halving (the paper: 512)
    widest: int = 64  # channels at most (the paper: 512)
    start: int = 4  # pixels a side at the beginning; 0, or the images' own: no growing
    hold_images: Images = Images(60_000)  # a level is trained by itself before the next fades in (the paper: 600k)
    fade_images: Images = Images(60_000)  # the next level fades in (the paper: 600k)
    batches: tuple[int, ...] = ()  # batch of each level from `start` on, the last for all further ones; (): as training
    restart: bool = True  # Adam begins anew when a level appears
    blur: bool = False  # a binomial filter at every doubling and halving: bilinear (StyleGAN's configuration B)


@dataclass(frozen=True, kw_only=True)
class StyleGANModel:
    """A generator controlled by styles (Karras et al. 2019), with ProGAN's critic and its growing."""

    family: Literal["stylegan"] = "stylegan"
    latent: int = 64  # of z and of w (the paper: 512)
    mapping: int = 8  # layers from z to w
    width: int = 32
    widest: int = 64
    start: int = 8
    hold_images: Images = Images(60_000)
    fade_images: Images = Images(60_000)
    batches: tuple[int, ...] = ()
    restart: bool = True
    blur: bool = True
    constant: bool = True  # synthesis begins with a learned constant; else with z, as ProGAN (configuration D)
    noise: bool = True  # a map of noise in every layer, its strength learned (configuration E)
    mixing: float = 0.9  # share of training images made from more than one w (configuration F)
    crossovers: int = 1  # layers from which such an image follows another w; 100: as many as there are


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Model:
    """Styles as scales of the weights, skips and residuals instead of growing (Karras et al. 2020)."""

    family: Literal["stylegan2"] = "stylegan2"
    latent: int = 64
    mapping: int = 8
    width: int = 32
    widest: int = 64
    mixing: float = 0.9
    crossovers: int = 1


@dataclass(frozen=True, kw_only=True)
class ClassifierModel:
    """A small convolutional classifier."""

    family: Literal["classifier"] = "classifier"
    width: int = 16  # channels of the finest level
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.3


@dataclass(frozen=True, kw_only=True)
class AdversarialObjective:
    """The game between critic and generator, and what is asked of the critic besides."""

    cost: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"] = (
        "non-saturating"
    )
    penalty: Literal["none", "r1", "r2", "r1+r2", "wgan-gp", "dragan", "clip"] = "none"
    gamma: float = 0.0  # weight of the penalty
    gamma_final: float = -1.0  # its weight at the end of `gamma_images`; negative: as at the start
    gamma_images: Images = Images(0)  # geometric from gamma to gamma_final; 0: over the whole run
    every: int = 1  # steps from one penalty to the next; above 1 it is a step of its own, `every` times as strong
    drift: float = 0.0  # weight of the squared logits of real images (ProGAN has 0.001 beside wgan-gp)
    path_length: float = 0.0  # weight of the generator's path length penalty (stylegan, stylegan2: 2 in the paper)
    path_every: int = 4  # steps from one path length penalty to the next, `path_every` times as strong
    clip: float = 0.0  # largest weight of the critic, with penalty "clip"


@dataclass(frozen=True, kw_only=True)
class SupervisedObjective:
    """Cross-entropy with what is known of each image; squared error where that is a number."""

    task: Literal["labels", "rotations", "factors"] = "labels"  # the label; which way up; the factors it was made from
    factors: str = ""  # task "factors": name and number of values of each; written out when the run is created
    shift: int = 0  # pixels that images are shifted by at most, in training
    smoothing: float = 0.0  # share of the label spread evenly over all classes


@dataclass(frozen=True, kw_only=True)
class CureConfig:
    """What helps against mode collapse and oscillation."""

    replay: int = 0  # past fakes that are kept; 0: none
    replay_share: float = 0.5  # of the critic's fakes that come from the past
    minibatch_discrimination: int = 0  # kernels of 5 dimensions (Salimans et al. 2016 take 100)
    minibatch_stddev: bool = False
    packing: int = 1  # images a decision of the critic (Lin et al. 2018)
    spectral_norm: bool = False
    label_smoothing: float = 0.0  # real images are labelled 1 minus this
    instance_noise: float = 0.0  # standard deviation of the noise on all that the critic sees, falling to 0
    instance_noise_images: Images = Images(0)  # 0: over the whole run
    augment: Literal["none", "diffaugment", "ada"] = "none"
    augment_target: float = 0.6  # ada: mean sign of the critic on real images that is aimed at
    augment_images: Images = Images(500_000)  # ada: images in which its strength can go from 0 to 1
    augment_most: float = 0.3  # ada with a cost whose logits have no sign: strength at the end of the run


@dataclass(frozen=True, kw_only=True)
class AdversarialOptim(OptimConfig):
    """The optimizers of the two players: the generator's settings, and where the critic's differ."""

    critic_lr: float = 0.0  # 0: as the generator's
    critic_steps: int = 1  # a batch is cut into as many parts, one for each


Model = (
    AutoencoderModel
    | VAEModel
    | GANModel
    | DCGANModel
    | R3GANModel
    | ProGANModel
    | StyleGANModel
    | StyleGAN2Model
    | ClassifierModel
)
Objective = AutoencoderObjective | VAEObjective | AdversarialObjective | SupervisedObjective


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that a run depends on."""

    preset: str
    paper: str
    model: Model
    objective: Objective
    data: DataConfig = field(default_factory=DataConfig)
    cure: CureConfig | None = None  # of a game between two players
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_BY_FAMILY: dict[str, tuple[type[Model], type[Objective]]] = {
    "autoencoder": (AutoencoderModel, AutoencoderObjective),
    "vae": (VAEModel, VAEObjective),
    "gan": (GANModel, AdversarialObjective),
    "dcgan": (DCGANModel, AdversarialObjective),
    "r3gan": (R3GANModel, AdversarialObjective),
    "progan": (ProGANModel, AdversarialObjective),
    "stylegan": (StyleGANModel, AdversarialObjective),
    "stylegan2": (StyleGAN2Model, AdversarialObjective),
    "classifier": (ClassifierModel, SupervisedObjective),
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
    adversarial = objective is AdversarialObjective
    sections: dict[str, type[Any]] = {
        "model": model,
        "objective": objective,
        "data": DataConfig,
        "optim": AdversarialOptim if adversarial else OptimConfig,
        "training": TrainingConfig,
    }
    if adversarial:
        sections["cure"] = CureConfig
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
    for section in ("data", "model", "objective", "cure", "optim", "training"):
        part = getattr(config, section)
        if part is None:
            continue
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
