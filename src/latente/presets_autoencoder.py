"""Autoencoders of chapter 17 of the course's book: complete configurations, each naming its section and its paper.

The book: Géron, Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow, 3rd edition (2022). Networks, noise
and penalties are the book's, and so is the number of images shown (its epochs have 55 000). It trains with Nadam at
1e-3, 32 images at a time; here Adam's step falls along a cosine, which allows larger steps and often larger batches.
"""

from collections.abc import Callable
from dataclasses import replace

from latente.config import AutoencoderModel, AutoencoderObjective, Images, OptimConfig, RunConfig, TrainingConfig

_EPOCH = 55_000
_BOOK = "Géron 2022, Hands-On Machine Learning, chapter 17"
_STACK = AutoencoderModel(kind="dense", hidden=(100,), latent=30)
_SIGMOID_CODE = AutoencoderModel(kind="dense", hidden=(100,), latent=300, activation="sigmoid")


def _config(
    preset: str,
    paper: str,
    model: AutoencoderModel,
    objective: AutoencoderObjective | None = None,
    *,
    epochs: int,
    batch: int = 64,
    lr: float = 2e-3,
    clip: float = 0.0,
) -> RunConfig:
    return RunConfig(
        preset=preset,
        paper=paper,
        model=model,
        objective=objective or AutoencoderObjective(),
        optim=OptimConfig(name="adam", lr=lr, beta2=0.99, decay="cosine", final=0.02, clip=clip),
        training=TrainingConfig(images=Images(epochs * _EPOCH), batch=batch, precision="float32"),
    )


def linear() -> RunConfig:
    """No activation at all: learns the subspace of the first principal components, as many as the code has numbers."""
    paper = f"{_BOOK}, Performing PCA with an Undercomplete Linear Autoencoder; Baldi and Hornik 1989"
    return _config("ae-linear", paper, AutoencoderModel(kind="linear", hidden=(), latent=30), epochs=10)


def stacked() -> RunConfig:
    """784-100-30-100-784."""
    paper = f"{_BOOK}, Stacked Autoencoders; Hinton and Salakhutdinov 2006"
    return _config("ae-stacked", paper, _STACK, epochs=20)


def tied() -> RunConfig:
    """The same, the decoder's weights being the encoder's, transposed."""
    model = AutoencoderModel(kind="dense", hidden=(100,), latent=30, tied=True)
    return _config("ae-tied", f"{_BOOK}, Tying Weights; Vincent et al. 2010", model, epochs=10)


def greedy() -> RunConfig:
    """The same, one layer at a time: 10 epochs the outer, 10 the inner, 5 both together."""
    paper = f"{_BOOK}, Training One Autoencoder at a Time; Hinton and Salakhutdinov 2006"
    objective = AutoencoderObjective(greedy_images=Images(20 * _EPOCH))
    config = _config("ae-greedy", paper, _STACK, objective, epochs=25)
    # The rate falls while all learn together: fallen before, it would leave the joint epochs nothing to do.
    return replace(config, optim=replace(config.optim, decay_from=Images(20 * _EPOCH)))


def conv() -> RunConfig:
    """Three convolutions with pooling, 30 averaged maps as the code, three transposed convolutions."""
    paper = f"{_BOOK}, Convolutional Autoencoders; Masci et al. 2011"
    model = AutoencoderModel(kind="conv", hidden=(16, 32, 64), latent=30)
    return _config("ae-conv", paper, model, epochs=10, batch=32)


def recurrent() -> RunConfig:
    """LSTMs that read and write the image row by row."""
    paper = f"{_BOOK}, Recurrent Autoencoders; Srivastava et al. 2015 (1502.04681)"
    model = AutoencoderModel(kind="recurrent", hidden=(100,), latent=30)
    return _config("ae-recurrent", paper, model, epochs=10, batch=32, lr=3e-3, clip=1.0)


def denoising() -> RunConfig:
    """Half of the pixels are put out; all must come back."""
    paper = f"{_BOOK}, Denoising Autoencoders; Vincent et al. 2008"
    objective = AutoencoderObjective(noise="dropout", noise_level=0.5)
    return _config("ae-denoising", paper, _STACK, objective, epochs=10)


def sparse_l1() -> RunConfig:
    """A wide code whose activity costs."""
    paper = f"{_BOOK}, Sparse Autoencoders"
    objective = AutoencoderObjective(sparsity="l1", sparsity_weight=1e-4)
    return _config("ae-sparse-l1", paper, _SIGMOID_CODE, objective, epochs=10, batch=32)


def sparse_kl() -> RunConfig:
    """A wide code each unit of which should be active a tenth of the time.

    The weight is the book's 5e-3 divided by its batch of 32, as Keras 2 does.
    """
    paper = f"{_BOOK}, Sparse Autoencoders; Ng 2011, CS294A lecture notes"
    objective = AutoencoderObjective(sparsity="kl", sparsity_weight=1.5625e-4, sparsity_target=0.1)
    return _config("ae-sparse-kl", paper, _SIGMOID_CODE, objective, epochs=10, batch=32)


def contractive() -> RunConfig:
    """One wide layer, tied, whose code moves little when the image does. Not in the book's text."""
    model = AutoencoderModel(kind="dense", hidden=(), latent=300, activation="sigmoid", tied=True)
    objective = AutoencoderObjective(contractive=1e-4)
    return _config("ae-contractive", "Rifai et al. 2011, Contractive Auto-Encoders", model, objective, epochs=10)


def hashing() -> RunConfig:
    """Sixteen bits an image, forced by noise of the book's standard deviation, 15: like images get like codes."""
    paper = f"{_BOOK}, hashing autoencoder of its notebook; Salakhutdinov and Hinton 2009, Semantic Hashing"
    model = AutoencoderModel(kind="dense", hidden=(100,), latent=16, hashing=15.0)
    return _config("ae-hashing", paper, model, epochs=10, lr=4e-3)


AUTOENCODERS: dict[str, Callable[[], RunConfig]] = {
    "ae-linear": linear,
    "ae-stacked": stacked,
    "ae-tied": tied,
    "ae-greedy": greedy,
    "ae-conv": conv,
    "ae-recurrent": recurrent,
    "ae-denoising": denoising,
    "ae-sparse-l1": sparse_l1,
    "ae-sparse-kl": sparse_kl,
    "ae-contractive": contractive,
    "ae-hashing": hashing,
}
