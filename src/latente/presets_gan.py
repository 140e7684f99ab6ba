"""Games between a generator and a critic: complete configurations, each naming its paper."""

from collections.abc import Callable
from dataclasses import replace

from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    CureConfig,
    DCGANModel,
    GANModel,
    Images,
    R3GANModel,
    RunConfig,
    TrainingConfig,
)


def gan() -> RunConfig:
    """Goodfellow's networks with the cost that everybody uses: the generator's fakes are labelled 1. Adam in place of
    momentum, and a tanh for pixels in [-1, 1]."""
    return RunConfig(
        preset="gan",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets, section 3 (1406.2661)",
        model=GANModel(latent=100, prior="uniform", hidden=(256, 512), critic_hidden=(240, 240), maxout=5, dropout=0.3),
        objective=AdversarialObjective(cost="non-saturating"),
        cure=CureConfig(),
        optim=AdversarialOptim(lr=2e-4, beta1=0.5),
        training=TrainingConfig(images=Images(1_500_000), batch=64, ema_halflife=Images(5_000)),
    )


def gan_minimax() -> RunConfig:
    """The zero-sum game of the paper's equation 1: the generator minimises what the critic maximises."""
    return replace(
        gan(),
        preset="gan-minimax",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets, equation 1 (1406.2661)",
        objective=AdversarialObjective(cost="minimax"),
    )


def dcgan() -> RunConfig:
    """The paper's architecture, initialisation and optimizer; its width is a quarter (--model.width 64 is the one of
    PyTorch's tutorial)."""
    return RunConfig(
        preset="dcgan",
        paper="Radford, Metz and Chintala 2015 (1511.06434)",
        model=DCGANModel(latent=100, width=32),
        objective=AdversarialObjective(cost="non-saturating"),
        cure=CureConfig(),
        optim=AdversarialOptim(lr=2e-4, beta1=0.5),
        training=TrainingConfig(images=Images(1_500_000), batch=64, ema_halflife=Images(5_000)),
    )


def lsgan() -> RunConfig:
    """DCGAN with squared errors in place of cross-entropies."""
    return replace(
        dcgan(),
        preset="lsgan",
        paper="Mao et al. 2017, Least Squares Generative Adversarial Networks (1611.04076)",
        objective=AdversarialObjective(cost="least-squares"),
    )


def wgan() -> RunConfig:
    """The earth mover's distance, its critic kept in bounds by clipping weights: of historical interest. Adam in place
    of the paper's RMSProp."""
    return replace(
        dcgan(),
        preset="wgan",
        paper="Arjovsky, Chintala and Bottou 2017, Wasserstein GAN (1701.07875)",
        objective=AdversarialObjective(cost="wasserstein", penalty="clip", clip=0.01),
        optim=AdversarialOptim(lr=2e-4, beta1=0.0, beta2=0.9, critic_steps=5),
        training=TrainingConfig(images=Images(3_000_000), batch=320, ema_halflife=Images(5_000)),
    )


def wgan_gp() -> RunConfig:
    """The earth mover's distance with a penalty on the critic's gradient, and no batch norm in the critic. The rate is
    twice the paper's."""
    return replace(
        wgan(),
        preset="wgan-gp",
        paper="Gulrajani et al. 2017, Improved Training of Wasserstein GANs (1704.00028)",
        model=DCGANModel(latent=100, width=32, critic_norm="none"),
        objective=AdversarialObjective(cost="wasserstein", penalty="wgan-gp", gamma=10.0),
    )


def r3gan() -> RunConfig:
    """Relativistic pairing with R1 and R2 on residual networks without normalisation: the modern baseline. The paper
    has the penalties in every step; every eighth is twice as fast (--objective.every 1 is the paper's). On a GPU:
    --model.width 768 --model.widest 768 --model.blocks 2 --model.groups 96."""
    return RunConfig(
        preset="r3gan",
        paper="Huang et al. 2024, The GAN is dead; long live the GAN! (2501.05441)",
        model=R3GANModel(),
        objective=AdversarialObjective(cost="relativistic", penalty="r1+r2", gamma=0.5, gamma_final=0.05, every=8),
        cure=CureConfig(),
        optim=AdversarialOptim(lr=5e-4, beta1=0.0, beta2=0.99, decay="cosine", final=0.1),
        training=TrainingConfig(images=Images(1_500_000), batch=64, ema_halflife=Images(5_000)),
    )


GANS: dict[str, Callable[[], RunConfig]] = {
    "gan": gan,
    "gan-minimax": gan_minimax,
    "dcgan": dcgan,
    "lsgan": lsgan,
    "wgan": wgan,
    "wgan-gp": wgan_gp,
    "r3gan": r3gan,
}


def on_points(config: RunConfig, dimensions: int) -> RunConfig:
    """The same game in a world of points: small networks, and the length and rates that suit them.

    On the line the critic is six times as fast as the generator, which has one hidden layer: then its density follows
    the critic instead of growing spikes that the critic has not yet seen.
    """
    assert isinstance(config.objective, AdversarialObjective) and isinstance(config.optim, AdversarialOptim)
    optim = replace(config.optim, beta1=0.0, beta2=0.99, decay="cosine")
    objective = replace(config.objective, path_length=0.0)  # which is of styles
    line, penalised = dimensions == 1, objective.penalty == "r1+r2"
    steps, shown = 12_000 if line else 10_000 if penalised else 14_000, 256 * optim.critic_steps
    if line:
        model = GANModel(latent=1, hidden=(32,), critic_hidden=(64, 64), zoom=2.0)
        optim = replace(optim, lr=5e-4, critic_lr=3e-3, final=0.01)
    else:
        model = GANModel(latent=2, hidden=(128, 128, 128, 128), critic_hidden=(128, 128, 128), zoom=12.5)
        optim = replace(optim, lr=2e-3 if penalised else 1e-3, critic_lr=4e-3 if penalised else 0.0, final=0.02)
    length = Images(steps * shown)
    if penalised:  # in units of points in [-1, 1]
        weight, last = (5e-3, 1e-6) if line else (0.064, 0.0032)
        falls = Images(length if line else 3 * length // 5)
        objective = replace(objective, gamma=weight, gamma_final=last, gamma_images=falls, every=1)
    return replace(
        config,
        model=model,
        objective=objective,
        optim=optim,
        training=TrainingConfig(images=length, batch=shown, ema_halflife=Images(length // 20)),
    )
