"""The probes of a run that is over, from its folder: also of one that was trained before there were any."""

import torch

from latente.data.datasets import load
from latente.diagnosis.panel import panel_of
from latente.messages import Problem
from latente.run import Run


def measure(run: Run, images: int | None = None, classifier: Run | None = None) -> dict[str, float]:
    """The columns "probe/..." of a checkpoint, the newest unless `images` says; what needs two moments is left out.

    classifier: a run of the `classifier` family on the same classes, for "probe/class/K". {} for a run that makes no
    images. Problem if the data changed since, the classifier knows other classes, or there is no checkpoint."""
    config = run.config
    dataset = load(config.data)
    if dataset.facts["content"] != run.dataset["content"]:
        raise Problem("train.data_changed", source=config.data.source, folder=run.folder)
    reader = None
    if classifier is not None:
        family, facts, shape = classifier.config.model.family, classifier.dataset, run.dataset["image_shape"]
        wanted = (shape, run.dataset["classes"])
        if family != "classifier" or (facts["image_shape"], facts["classes"]) != wanted:
            size = "x".join(map(str, shape[::-1]))
            classes = len(run.dataset["classes"])
            raise Problem("evaluate.wrong_classifier", folder=classifier.folder, wanted=size, classes=classes)
        reader = classifier.network().predict
    panel = panel_of(config, dataset, torch.device("cpu"), reader)
    net = run.network(images, averaged=False)
    if config.cure is not None:
        return panel.game(net, run.network(images, averaged=False, player="critic"))
    return panel.codes(net) if hasattr(net, "decode") else {}
