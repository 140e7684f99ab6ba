"""Variational autoencoders: complete configurations, each naming its paper."""

from collections.abc import Callable

from latente.config import Images, OptimConfig, RunConfig, TrainingConfig, VAEModel, VAEObjective


def vae() -> RunConfig:
    """A residual convolutional VAE, 28 to 128 px, whose sigma follows its error: there is no weight to choose."""
    return RunConfig(
        preset="vae",
        paper="Kingma and Welling 2013 (1312.6114); Rybkin et al. 2021, sigma-VAE (2006.13202)",
        model=VAEModel(
            kind="conv",
            latent=32,
            width=16,
            blocks=1,
            hidden=(256,),
            activation="relu",
            mean="sigmoid",
            prior="mixture",
        ),
        objective=VAEObjective(likelihood="gaussian", sigma="optimal"),
        optim=OptimConfig(name="adam", lr=2e-3, decay="cosine", final=0.05),
        training=TrainingConfig(images=Images(1_000_000), batch=128, ema_halflife=Images(5_000)),
    )


def vae_mlp() -> RunConfig:
    """The paper's network and optimizer (section 5): 784-500-Nz, tanh, Adagrad, M = 100, L = 1, binarised pixels.

    Its N(0, I) prior on the weights (maximum a posteriori, the loss averaged over N images) is a weight decay of 1/N;
    N is MNIST's 60 000 here. Of its three step sizes (0.01, 0.02, 0.1) the first learns fastest on MNIST.
    """
    return RunConfig(
        preset="vae-mlp",
        paper="Kingma and Welling 2013, Auto-Encoding Variational Bayes (1312.6114)",
        model=VAEModel(kind="mlp", latent=20, hidden=(500,), activation="tanh", init="aevb"),
        objective=VAEObjective(likelihood="bernoulli", binarisation="dynamic", estimator="B", samples=1),
        optim=OptimConfig(name="adagrad", lr=0.01, eps=1e-10, weight_decay=1 / 60_000),
        training=TrainingConfig(images=Images(3_000_000), batch=100),
    )


def iwae() -> RunConfig:
    """The paper's one-layer network (section 5): 784-200-200-50, tanh, Glorot, k = 50, the bias from the mean image.

    The paper shows 196 million images in eight stages of falling learning rate, 20 at a time. This is a shorter plan:
    100 at a time, cosine decay. `--objective.samples 5` is its other setting; estimator B with 1 sample is its VAE.
    """
    return RunConfig(
        preset="iwae",
        paper="Burda, Grosse and Salakhutdinov 2015, Importance Weighted Autoencoders (1509.00519)",
        model=VAEModel(kind="mlp", latent=50, hidden=(200, 200), activation="tanh", init="glorot"),
        objective=VAEObjective(likelihood="bernoulli", binarisation="dynamic", estimator="iwae", samples=50),
        optim=OptimConfig(name="adam", lr=1e-3, eps=1e-4, decay="cosine", final=0.025),
        training=TrainingConfig(images=Images(3_000_000), batch=100),
    )


VAES: dict[str, Callable[[], RunConfig]] = {"vae": vae, "vae-mlp": vae_mlp, "iwae": iwae}
