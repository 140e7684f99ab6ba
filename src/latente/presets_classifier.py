"""Networks that read images: complete configurations, each naming its paper."""

from collections.abc import Callable
from dataclasses import replace

from latente.config import ClassifierModel, Images, OptimConfig, RunConfig, SupervisedObjective, TrainingConfig


def classifier() -> RunConfig:
    """A small convolutional network that reads labels: it counts the modes of others and lends them its features."""
    return RunConfig(
        preset="classifier",
        paper="LeCun et al. 1998, Gradient-Based Learning; Ioffe and Szegedy 2015 (1502.03167)",
        model=ClassifierModel(),
        objective=SupervisedObjective(shift=2),
        optim=OptimConfig(name="adam", lr=3e-3, decay="cosine", final=0.01),
        training=TrainingConfig(images=Images(400_000), batch=128),
    )


def classifier_rotations() -> RunConfig:
    """The same network learns which way up images are: features of a set without labels."""
    return replace(
        classifier(),
        preset="classifier-rotations",
        paper="Gidaris, Singh and Komodakis 2018, Unsupervised Representation Learning (1803.07728)",
        objective=SupervisedObjective(task="rotations", shift=2),
    )


def classifier_factors() -> RunConfig:
    """The same network reads what each image was made from, a head a factor: where something lies is among it, so
    nothing is shifted or dropped, and the heads read the maps themselves."""
    return replace(
        classifier(),
        preset="classifier-factors",
        paper="Caruana 1997, Multitask Learning; Ioffe and Szegedy 2015 (1502.03167)",
        model=ClassifierModel(hidden=(), dropout=0.0),
        objective=SupervisedObjective(task="factors"),
        training=TrainingConfig(images=Images(400_000), batch=64),
    )


CLASSIFIERS: dict[str, Callable[[], RunConfig]] = {
    "classifier": classifier,
    "classifier-rotations": classifier_rotations,
    "classifier-factors": classifier_factors,
}
