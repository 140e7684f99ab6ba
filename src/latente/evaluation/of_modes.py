"""Metrics of worlds whose modes can be counted, and of classes that a classifier reads."""

import math
from typing import Any

import numpy as np
import torch

from latente.data import points
from latente.data.stream import see
from latente.evaluation import equilibrium, modes, stacked
from latente.evaluation.subject import AT_ONCE, Rows, Subject, name_of, wilson
from latente.messages import Problem
from latente.run import Run


def point_modes(subject: Subject) -> Rows:
    """Modes found, share of good samples, spread and KL, with the same of real samples beside them."""
    world = points.parse(subject.run.config.data.source)
    n = modes.SAMPLES
    here, real = modes.count_modes(subject.samples(n), world), modes.reference(world)
    protocol = subject.protocol(samples=n, radius_sd=modes.RADIUS, least_share=modes.SHARE)
    good = {"interval": wilson(here.high_quality, n), "interval_is": "95 %, Wilson, over samples"}
    said = modes.remark(here)
    own: Rows = {
        "modes": {"of": here.total},
        "high_quality": good,
        "spread": {"remark": said} if said else {},
        "kl": {},
    }
    units = {"modes": "modes", "high_quality": "share of samples", "spread": "ratio to the truth", "kl": "nats"}
    return {
        name: {
            "value": _plain(getattr(here, name)),
            "unit": unit,
            "real": _plain(getattr(real, name)),
            **own[name],
            "protocol": protocol,
        }
        for name, unit in units.items()
    }


def stacked_modes(subject: Subject) -> Rows:
    """Modes of Stacked MNIST (seen once, five times) and KL to all alike, beside those of real stacks, which are held
    out and read by the same classifier."""
    classifier = subject.classifier
    if classifier is None:
        raise Problem("evaluate.needs_classifier", source="mnist")
    height, width = subject.run.dataset["image_shape"][1:]
    net, n = _reading(classifier, [1, height, width], 10), stacked.SAMPLES
    test = subject.dataset.test
    assert test.labels is not None
    true = np.asarray(test.labels)
    here = stacked.coverage(stacked.read_digits(torch.from_numpy(subject.samples(n)), net).numpy(), true)
    parts = np.array_split(np.arange(min(n, len(test))), -(-len(test) // 1000))
    reals = torch.cat([stacked.read_digits(see(test.gather(part)), net) for part in parts])
    floor = stacked.coverage(reals.numpy(), true)
    protocol = subject.protocol(**here["protocol"], **subject.real(), **name_of(classifier, net))
    units = {"modes": "modes", "modes_5": "modes of five samples", "kl_uniform": "nats, to all alike"}
    return {
        name.removesuffix("_uniform"): {"value": here[name], "unit": unit, "real": floor[name], "protocol": protocol}
        for name, unit in units.items()
    }


def class_shares(subject: Subject) -> Rows:
    """The share of each class among 10 000 samples, as a classifier reads them."""
    run, classifier = subject.run, subject.classifier
    if classifier is None:
        raise Problem("evaluate.needs_classifier", source=run.config.data.source)
    n, classes = modes.SAMPLES, run.dataset["classes"]
    net = _reading(classifier, run.dataset["image_shape"], len(classes))
    images = torch.from_numpy(subject.samples(n))
    read = torch.cat([net.predict(part) for part in torch.split(images, AT_ONCE)]).numpy()
    shares = np.bincount(read, minlength=len(classes)) / n
    protocol = subject.protocol(samples=n, **name_of(classifier, net))
    least, counts = float(shares.min()), run.dataset.get("class_counts")
    return {
        "classes": {
            "value": least,
            "unit": "share of samples in the rarest class",
            "interval": wilson(least, n),
            "interval_is": "95 %, Wilson, over samples, of this class",
            "real": min(counts) / sum(counts) if counts else None,
            "shares": {name: float(share) for name, share in zip(classes, shares, strict=True)},
            "protocol": protocol,
        }
    }


def _reading(classifier: Run, shape: list[int], classes: int) -> Any:
    """A run's network, which must tell so many classes apart in images of that shape [C, H, W]."""
    family, facts = classifier.config.model.family, classifier.dataset
    task = getattr(classifier.config.objective, "task", None)
    if (family, task, facts["image_shape"], len(facts["classes"])) != ("classifier", "labels", shape, classes):
        wanted = "x".join(map(str, shape[::-1]))
        raise Problem("evaluate.wrong_classifier", folder=classifier.folder, wanted=wanted, classes=classes)
    return classifier.network()


def balance(subject: Subject) -> Rows:
    """What is left of the game in one dimension."""
    here = equilibrium.of_run(subject.run, subject.clock, seed=subject.seed)
    protocol = subject.protocol(critic="as it stands")
    rows: Rows = {name: {"value": value, "protocol": protocol} for name, value in here._asdict().items()}
    for name, row in rows.items():
        row["unit"] = "nats" if name in ("advantage", "jsd") else "mean distance of two probabilities"
    error = rows.pop("advantage_error")["value"]
    rows["advantage"]["interval"] = [here.advantage - 1.96 * error, here.advantage + 1.96 * error]
    rows["advantage"]["interval_is"] = "95 %, normal, over samples of the best response"
    return rows


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
