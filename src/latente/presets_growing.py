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
    """The paper's configuration F, sized for two CPU cores at 32 pixels. For so few images two layers map and not
    eight: behind eight that hardly learn, w has only 7 of its 64 dimensions; and nothing is filtered between sizes, for
    which 8 pixels are few. Gamma and rate: see `progan_r1`; the rate falls in the second half.

    64 and 128 pixels: --model.width 64, on a GPU. 256 and more, the paper's: --model.width 512 --model.widest 512
    --model.latent 512 --model.mapping 8 --model.blur true --training.batch 32 --optim.lr 0.001 --optim.decay none
    --objective.gamma 10 --objective.every 1 --images 25M, and --model.hold-images and --model.fade-images of 600k.
    """
    return RunConfig(
        preset="stylegan",
        paper="Karras et al. 2019, A Style-Based Generator Architecture for GANs (1812.04948)",
        model=StyleGANModel(
            latent=64,
            mapping=2,
            width=16,
            widest=128,
            hold_images=Images(20_000),
            fade_images=Images(20_000),
            blur=False,
        ),
        objective=AdversarialObjective(cost="non-saturating", penalty="r1", gamma=1.0, every=8),
        cure=CureConfig(minibatch_stddev=True),
        optim=AdversarialOptim(lr=3e-3, beta1=0.0, beta2=0.99, decay="linear", final=0.1, decay_from=Images(240_000)),
        training=TrainingConfig(images=Images(480_000), batch=16, ema_halflife=Images(10_000)),
    )


def stylegan_r3gan() -> RunConfig:
    """The same networks with R3GAN's game: each fake against a real one, and a penalty on both."""
    return replace(
        stylegan(),
        preset="stylegan-r3gan",
        paper="Karras et al. 2019 (1812.04948), with the cost of Huang et al. 2024 (2501.05441)",
        objective=AdversarialObjective(cost="relativistic", penalty="r1+r2", gamma=1.0, every=8),
    )


def stylegan_mixing() -> RunConfig:
    """`stylegan-r3gan` for exchanging styles at 32 pixels: every layer of a mixed image has a style of its own.

    With one crossover, as in the paper, what decides a thing may be spread over all layers, and is. Where any layer may
    follow anyone, that would make faces that are nobody's, so each thing gets decided in few layers. All sizes are
    there from the start, so that nothing is decided at 8 pixels for want of finer layers.
    """
    config = stylegan_r3gan()
    assert isinstance(config.model, StyleGANModel) and isinstance(config.optim, AdversarialOptim)
    return replace(
        config,
        preset="stylegan-mixing",
        model=replace(config.model, start=0, width=48, widest=48, crossovers=100),
        optim=replace(config.optim, decay_from=Images(75_000)),
        training=replace(config.training, images=Images(150_000)),
    )


def stylegan2() -> RunConfig:
    """The paper's configuration F, sized for two CPU cores at 32 pixels, with R1 every 16th step and the path length
    penalty every 4th.

    64 and 128 pixels: --model.width 64, on a GPU. 256 and more, the paper's: --model.width 1024
    --model.widest 512 --model.latent 512 --model.mapping 8 --optim.lr 0.002 --optim.decay none --objective.gamma 10, 25
    million images.
    """
    return replace(
        stylegan(),
        preset="stylegan2",
        paper="Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN (1912.04958)",
        model=StyleGAN2Model(latent=64, mapping=2, width=16, widest=128),
        objective=AdversarialObjective(
            cost="non-saturating", penalty="r1", gamma=1.0, every=16, path_length=2.0, path_every=4
        ),
        optim=replace(stylegan().optim, decay_from=Images(150_000)),
        training=TrainingConfig(images=Images(300_000), batch=32, ema_halflife=Images(10_000)),
    )


GROWING: dict[str, Callable[[], RunConfig]] = {
    "progan": progan,
    "progan-r1": progan_r1,
    "stylegan": stylegan,
    "stylegan-r3gan": stylegan_r3gan,
    "stylegan-mixing": stylegan_mixing,
    "stylegan2": stylegan2,
}
