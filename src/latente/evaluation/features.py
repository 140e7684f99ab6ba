"""Images -> features: what a trained critic, classifier or encoder makes of them, for classical models to work on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente import models
from latente.config import DataConfig
from latente.data.datasets import ImageSet, load
from latente.data.stream import see
from latente.messages import Problem
from latente.run import Run

_AT_ONCE = 500


def write(run: Run, data: DataConfig, out: Path) -> dict[str, Any]:
    """Features of both splits of a set into an .npz: train, test [n, F] float32, and their labels where there are any.

    Problem if the run has no features, or the images have another shape than those it was trained on."""
    net = extractor(run)
    dataset = load(data)
    shape = list(dataset.train.images.shape[1:])
    if shape != run.dataset["image_shape"]:
        wanted, given = ("x".join(map(str, each[::-1])) for each in (run.dataset["image_shape"], shape))
        raise Problem("evaluate.other_shape", folder=run.folder, wanted=wanted, given=given)
    arrays: dict[str, NDArray[Any]] = {}
    for part, images in (("train", dataset.train), ("test", dataset.test)):
        arrays[part] = features(net, images)
        if images.labels is not None:
            arrays[f"{part}_labels"] = np.asarray(images.labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return {"train": len(arrays["train"]), "test": len(arrays["test"]), "size": arrays["train"].shape[1]}


def extractor(run: Run) -> Any:
    """The network of a run that has features: a function images [n, C, H, W] -> [n, F]."""
    players = models.build(run.config, tuple(run.dataset["image_shape"]), len(run.dataset["classes"]))
    for name, net in players.items():
        if hasattr(net, "features"):
            return run.network(player=name).features
        if hasattr(net, "encode"):
            return run.network(player=name).encode
    raise Problem("evaluate.no_features", folder=run.folder, family=run.config.model.family)


@torch.no_grad()
def features(net: Any, images: ImageSet) -> NDArray[np.float32]:
    """[N, F], a few images at a time."""
    parts: list[Tensor] = []
    for indices in np.array_split(np.arange(len(images)), -(-len(images) // _AT_ONCE)):
        parts.append(net(see(images.gather(indices))).float())
    return torch.cat(parts).numpy()
