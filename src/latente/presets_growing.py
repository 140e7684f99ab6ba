"""Games between networks that grow, and their descendant that does not: complete configurations, each naming its
paper."""

from collections.abc import Callable
from dataclasses import replace

from latente.config import (
    AdversarialObjective,
    AdversarialOptim,
    CureConfig,
    Images,
    ProGANModel,
    RunConfig,
    StyleGAN2Model,
    StyleGANModel,
    TrainingConfig,
)


def progan() -> RunConfig:
    """The paper's game: the earth mover's distance with a penalty on the critic's gradient and a small one on its
    scores, one step of the critic for each of the generator. Sized for two CPU cores at 32 pixels; the paper has
    600,000 images a phase in place of 60,000 and, for 12 million images on GPUs, --model.width 512 --model.widest 512
    --model.latent 512. Averages are StyleGAN's, with a half-life of 10,000 images."""
    return RunConfig(
        preset="progan",
        paper="Karras et al. 2018, Progressive Growing of GANs (1710.10196)",
        model=ProGANModel(latent=64, width=16, widest=64),
        objective=AdversarialObjective(cost="wasserstein", penalty="wgan-gp", gamma=10.0, drift=1e-3),
        cure=CureConfig(minibatch_stddev=True),
        optim=AdversarialOptim(lr=1e-3, beta1=0.0, beta2=0.99),
        training=TrainingConfig(images=Images(600_000), batch=64, ema_halflife=Images(10_000)),
    )


def progan_r1() -> RunConfig:
    """The same networks with the cost that StyleGAN has: non-saturating with R1, every eighth step (StyleGAN2).

    Gamma is 1 and not StyleGAN's 10, which is for 1024 pixels: R1 adds up over pixels, and of two images with the same
    difference in every pixel those of 32 pixels are 32 times closer, so that the critic's slope between them is 32
    times steeper and its square 1000 times larger. That alone would be 0.01; few images and steps want it stronger. The
    rate is 5 times the paper's: equalised weights are near 1, and a tenth as many steps have to take them as far.
    """
    return replace(
        progan(),
        preset="progan-r1",
        paper="Karras et al. 2018 (1710.10196), with the cost of Mescheder et al. 2018 (1801.04406)",
        objective=AdversarialObjective(cost="non-saturating", penalty="r1", gamma=1.0, every=8),
        optim=AdversarialOptim(lr=5e-3, beta1=0.0, beta2=0.99),
    )


def stylegan() -> RunConfig:
    """The paper's configuration F, sized for two CPU cores at 32 pixels.

    64 and 128 pixels: --model.width 64 --model.widest 128, on a GPU. 256 and more, the paper's: --model.width 512
    --model.widest 512 --model.latent 512 --optim.lr 0.001 --objective.gamma 10 --objective.every 1 --images 25M, and
    --model.hold-images and --model.fade-images of 600k. Gamma and rate: see `progan_r1`. On `caras`, 500,000 images
    with gamma 0.2 and the paper's rate ended with a recall of 0 and stripes; 60,000 with these settings came as far.
    """
    return RunConfig(
        preset="stylegan",
        paper="Karras et al. 2019, A Style-Based Generator Architecture for GANs (1812.04948)",
        model=StyleGANModel(latent=64, width=16, widest=64),
        objective=AdversarialObjective(cost="non-saturating", penalty="r1", gamma=1.0, every=8),
        cure=CureConfig(minibatch_stddev=True),
        optim=AdversarialOptim(lr=5e-3, beta1=0.0, beta2=0.99),
        training=TrainingConfig(images=Images(500_000), batch=32, ema_halflife=Images(10_000)),
    )


def stylegan2() -> RunConfig:
    """The paper's configuration F, sized for two CPU cores at 32 pixels, with R1 every 16th step and the path length
    penalty every 4th.

    64 and 128 pixels: --model.width 64 --model.widest 128, on a GPU. 256 and more, the paper's: --model.width 1024
    --model.widest 512 --model.latent 512 --optim.lr 0.002 --objective.gamma 10, 25 million images.
    """
    return replace(
        stylegan(),
        preset="stylegan2",
        paper="Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN (1912.04958)",
        model=StyleGAN2Model(latent=64, width=16, widest=64),
        objective=AdversarialObjective(
            cost="non-saturating", penalty="r1", gamma=1.0, every=16, path_length=2.0, path_every=4
        ),
        training=TrainingConfig(images=Images(300_000), batch=32, ema_halflife=Images(10_000)),
    )


GROWING: dict[str, Callable[[], RunConfig]] = {
    "progan": progan,
    "progan-r1": progan_r1,
    "stylegan": stylegan,
    "stylegan2": stylegan2,
}
