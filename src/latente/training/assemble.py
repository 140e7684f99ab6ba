"""The wiring: a configuration -> networks, optimizer, step. The only file of training that names the families."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latente import models
from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    AutoencoderModel,
    AutoencoderObjective,
    ClassifierModel,
    Model,
    OptimConfig,
    ProGANModel,
    RunConfig,
    StyleGAN2Model,
    StyleGANModel,
    SupervisedObjective,
    VAEModel,
    VAEObjective,
)
from latente.data.datasets import Dataset, ImageSet
from latente.data.stream import Batch, Binarisation, condition, known, lasting, see
from latente.diagnosis.panel import panel_of
from latente.messages import Problem
from latente.models import autoencoder, classifier, progan, stylegan, vae
from latente.objectives import Terms
from latente.training import precision
from latente.training.adversarial import Adversarial, Growing, lazily, memory, scored
from latente.training.loop import Step
from latente.training.minimise import Minimise, measured
from latente.training.probing import probe
from latente.training.schedule import seed_at
from latente.training.state import TrainState, averaged_copy

_CODES = 10_000  # training images whose codes a prior is fitted to
COMPARED = 4  # decisions that the minibatch standard deviation compares
_REFIT, _REFITS = 250, 8  # latents at once, and times, that batch norm's statistics are estimated from


@dataclass(frozen=True)
class Assembly:
    """Everything that the loop needs and does not know."""

    state: TrainState
    step: Step
    measured: Callable[[TrainState, Batch], dict[str, Tensor]]  # on held-out images, [n] each
    decoder: str | None  # the network that makes images
    binarisation: Binarisation
    conditional: bool  # batches bring labels, or factors
    settle: Callable[[nn.Module, ImageSet], None]  # brings the decoder up to date before it is shown or saved
    probe: Callable[[TrainState], dict[str, float]]  # measurements for the diagnosis
    batch_at: Callable[[int], int]  # images of the batch that is shown at a clock


def assemble(config: RunConfig, dataset: Dataset, device: torch.device) -> Assembly:
    """Networks initialised from the run's seed, their optimizers, and the step that trains them."""
    shape = image_shape(dataset)
    classes = len(dataset.train.classes)
    told = getattr(config.model, "conditional", False)
    if told and not classes:
        raise Problem("train.no_labels", source=config.data.source)
    config = described(config, dataset)
    if isinstance(config.objective, SupervisedObjective):
        told = config.objective.task != "rotations"
    torch.manual_seed(seed_at(config.training.seed, -1, 0))  # no step has rank -1
    nets = nn.ModuleDict(models.build(config, shape, classes))
    for net in nets.values():
        if isinstance(net, vae.VAE):
            net.start_from(mean_image(dataset.train))
        elif isinstance(net, classifier.Classifier):
            net.start_from(known(dataset.train))
    nets = nets.to(device)
    if channels_last(config, nets):
        nets = nets.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = TrainState(nets, {name: optimizer(optim_of(config, name), net, device) for name, net in nets.items()})
    decoder = models.decoder_of(config)
    if config.training.ema_halflife:
        name = decoder or "net"
        state.averaged = averaged_copy(nets[name], name)
    numbers: precision.Precision = "bfloat16" if config.training.precision == "bfloat16" else "float32"
    autocast = precision.autocast(numbers, device)
    settle: Callable[[nn.Module, ImageSet], None] = _nothing_to_settle
    probes = partial(probe, panel=panel_of(config, dataset, device))
    binarisation: Binarisation = "none"
    batch_at: Callable[[int], int] = lambda images: config.training.batch  # noqa: E731
    if isinstance(config.objective, AdversarialObjective):
        assert config.cure is not None and isinstance(config.optim, AdversarialOptim)
        state.memory = {k: v.to(device) for k, v in memory(config.cure, shape, told).items()}
        length, growing, growth = int(config.training.images), None, growth_of(config.model, shape[1])
        if growth is not None:
            batch_at = partial(growth.batch, default=config.training.batch)
            growing = Growing(growth.at, progan.fade_reals, growth.restarts)
        toll = stylegan.path_penalty if config.objective.path_length else None
        game = Adversarial(config.objective, config.cure, config.optim, length, autocast, growing, toll)
        if config.training.ema_halflife:
            settle = partial(refit_batch_norm, conditional=told)
        held_out = scored(config.cure.packing, COMPARED if compares(config) else 1)
        return Assembly(state, game, held_out, decoder, binarisation, told, settle, probes, batch_at)
    terms: Callable[[Any, Batch, int], Terms]
    match config.model, config.objective:
        case AutoencoderModel(), AutoencoderObjective() as objective:
            terms, settle = autoencoder.terms(objective), fit_prior
        case VAEModel() as model, VAEObjective() as objective:
            terms = vae.terms(objective)
            if objective.likelihood == "bernoulli":
                binarisation = objective.binarisation
            if model.prior == "mixture":
                settle = partial(fit_prior, binarisation=lasting(binarisation))
        case ClassifierModel(), SupervisedObjective() as objective:
            terms = classifier.terms(objective)
        case _:
            raise AssertionError(f"a {type(config.model).__name__} with a {type(config.objective).__name__}")
    _rehearse(nets["net"], terms, dataset.train, told, device)
    step = Minimise(terms, config.optim, config.training.accumulate, autocast)
    held_out = measured(terms, decoder is not None)
    return Assembly(state, step, held_out, decoder, binarisation, told, settle, probes, batch_at)


def compares(config: RunConfig) -> bool:
    """Whether the critic is told the standard deviation within groups of the batch."""
    always = isinstance(config.model, ProGANModel | StyleGANModel | StyleGAN2Model)
    return always or (config.cure is not None and config.cure.minibatch_stddev)


def growth_of(model: Model, resolution: int) -> progan.Growth | None:
    """When networks grow; None for those that do not."""
    return progan.Growth(model, resolution) if isinstance(model, ProGANModel | StyleGANModel) else None


def described(config: RunConfig, dataset: Dataset) -> RunConfig:
    """The configuration that says which factors there are to be read, if that is its task."""
    objective = config.objective
    if not isinstance(objective, SupervisedObjective) or objective.task != "factors":
        return config
    train, test = known(dataset.train), known(dataset.test)
    if not train:
        raise Problem("classifier.no_factors", source=config.data.source)
    found = classifier.described({name: np.concatenate([train[name], test[name]]) for name in train})
    if objective.factors not in ("", found):
        raise Problem("classifier.other_factors", given=objective.factors, found=found)
    return replace(config, objective=replace(objective, factors=found))


def _rehearse(
    net: nn.Module, terms: Callable[[Any, Batch, int], Terms], images: ImageSet, told: bool, device: torch.device
) -> None:
    """Take the losses of two images once: settings that do not go together are refused before a run is created."""
    indices = np.array([0, len(images) - 1])
    asked = condition(images, indices, device) if told else None
    with torch.no_grad():
        terms(net.eval(), Batch(see(images.gather(indices), device=device), asked), 0)
    net.train()


def optim_of(config: RunConfig, player: str) -> OptimConfig:
    """The optimizer's settings of one player."""
    optim = config.optim
    if not isinstance(optim, AdversarialOptim):
        return optim
    assert isinstance(config.objective, AdversarialObjective)
    share, lr = lazily(config.objective, player), optim.critic_lr if player == "critic" else 0.0
    return replace(optim, lr=lr or optim.lr, beta1=optim.beta1**share, beta2=optim.beta2**share)


def optimizer(optim: OptimConfig, net: nn.Module, device: torch.device) -> Optimizer:
    """The optimizer of one player; fused where torch has such a kernel."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    fused = True if device.type in ("cpu", "cuda") else None
    betas = (optim.beta1, optim.beta2)
    match optim.name:
        case "adam":
            return torch.optim.Adam(
                parameters, optim.lr, betas, optim.eps, optim.weight_decay, fused=fused, foreach=None if fused else True
            )
        case "nadam":
            return torch.optim.NAdam(parameters, optim.lr, betas, optim.eps, optim.weight_decay, foreach=True)
        case "adagrad":
            return torch.optim.Adagrad(
                parameters, optim.lr, weight_decay=optim.weight_decay, eps=optim.eps, foreach=True
            )
        case "sgd":
            return torch.optim.SGD(parameters, optim.lr, optim.beta1, weight_decay=optim.weight_decay, foreach=True)


def channels_last(config: RunConfig, net: nn.Module) -> bool:
    """Whether images and weights are laid out channels last: asked for, and there are convolutions to gain by it."""
    return config.training.channels_last and any(p.dim() == 4 for p in net.parameters())


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W)."""
    _, channels, height, width = dataset.train.images.shape
    return channels, height, width


def mean_image(images: ImageSet) -> Tensor:
    """The mean of (at most ten thousand) training images, [C, H, W] in [-1, 1]."""
    indices = images.spread(10_000)
    mean: Tensor = images.gather(indices).double().mean(0).div(127.5).sub(1).float()
    return mean


def fit_prior(net: nn.Module, images: ImageSet, binarisation: Binarisation = "none") -> None:
    """Fit a prior to the codes of the training set: an autoencoder's, or samples of a VAE's posteriors."""
    assert isinstance(net, autoencoder.Autoencoder | vae.VAE)
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(0)
    indices = images.spread(_CODES)
    codes = []
    with torch.no_grad():
        for part in np.array_split(indices, -(-len(indices) // 500)):
            x = see(images.gather(part), binarisation, indices=part, device=device)
            if isinstance(net, autoencoder.Autoencoder):
                codes.append(net.encode(x))
            else:
                labels = None if images.labels is None else torch.from_numpy(images.labels[part]).to(device)
                mean, logvar = net.posterior(x, labels)
                codes.append(mean + (logvar / 2).exp() * torch.randn(mean.shape, generator=generator).to(device))
    found = torch.cat(codes)
    if torch.isfinite(found).all():  # weights that broke are noticed elsewhere; nothing can be fitted to them
        net.fit_prior(found)


def refit_batch_norm(net: nn.Module, images: ImageSet, conditional: bool) -> None:
    """Estimate the statistics of batch norm anew, from fixed latents: those of the current weights do not fit averaged
    ones."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(0)
    classes = len(images.classes)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.no_grad():
        for i in range(_REFITS):
            z = net.prior(_REFIT, generator).to(device)  # type: ignore[operator]
            labels = torch.arange(i * _REFIT, (i + 1) * _REFIT, device=device) % classes if conditional else None
            net(z, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _nothing_to_settle(net: nn.Module, images: ImageSet) -> None:
    pass
