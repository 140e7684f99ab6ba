"""Images -> features: what a trained critic, classifier or encoder makes of them, for classical models to work on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente import models
from latente.config import DataConfig, RunConfig, VAEObjective
from latente.data.datasets import ImageSet, load
from latente.data.stream import Binarisation, see, seen_as
from latente.messages import Problem
from latente.run import Run

_AT_ONCE = 500


def write(run: Run, data: DataConfig, out: Path) -> dict[str, Any]:
    """Features of both splits of a set into an .npz: train, test [n, F] float32, and their labels where there are any.

    Problem if the run has no features, or the images have another shape than those it was trained on, or other labels
    where the network is told them."""
    net, seen, told = extractor(run), seen_as(run.config), _told(run.config)
    dataset = load(data)
    shape = list(dataset.train.images.shape[1:])
    if shape != run.dataset["image_shape"]:
        wanted, given = ("x".join(map(str, each[::-1])) for each in (run.dataset["image_shape"], shape))
        raise Problem("evaluate.other_shape", folder=run.folder, wanted=wanted, given=given)
    if told and list(dataset.train.classes) != run.dataset["classes"]:
        classes = ", ".join(run.dataset["classes"])
        raise Problem("evaluate.other_labels", folder=run.folder, source=data.source, classes=classes)
    arrays: dict[str, Any] = {}
    for part, images in (("train", dataset.train), ("test", dataset.test)):
        arrays[part] = features(net, images, seen, told)
        if images.labels is not None:
            arrays[f"{part}_labels"] = np.asarray(images.labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        np.savez(file, **arrays)
    return {"train": len(arrays["train"]), "test": len(arrays["test"]), "size": arrays["train"].shape[1]}


def extractor(run: Run) -> Any:
    """The network of a run that has features: a function images [n, C, H, W] -> [n, F], that of a model which encodes
    by label takes the labels [n] too."""
    players = models.build(run.config, tuple(run.dataset["image_shape"]), len(run.dataset["classes"]))
    for name, net in players.items():
        if hasattr(net, "features"):
            if run.config.cure is not None and run.config.cure.packing > 1:
                raise Problem("evaluate.packed_features", folder=run.folder, packing=run.config.cure.packing)
            return run.network(player=name).features
        if hasattr(net, "encode"):
            return run.network(player=name).encode
    raise Problem("evaluate.no_features", folder=run.folder, family=run.config.model.family)


@torch.no_grad()
def features(net: Any, images: ImageSet, seen: Binarisation = "none", told: bool = False) -> NDArray[np.float32]:
    """[N, F], a few images at a time, in their order; `told`: the network is given the labels."""
    parts: list[Tensor] = []
    for indices in np.array_split(np.arange(len(images)), -(-len(images) // _AT_ONCE)):
        x = see(images.gather(indices), seen, indices=indices)
        labels = [torch.from_numpy(np.asarray(images.labels)[indices])] if told else []
        parts.append(net(x, *labels).float())
    return torch.cat(parts).numpy()


def _told(config: RunConfig) -> bool:
    """Whether the features depend on the label: those of a critic do not."""
    return isinstance(config.objective, VAEObjective) and bool(getattr(config.model, "conditional", False))
