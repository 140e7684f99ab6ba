"""Metrics of new images beside real ones: how far apart the two sets are, how alike they are among themselves, and
whether any was copied."""

from typing import Any

import numpy as np
import torch

from latente import pictures
from latente.data.caras import KeepOut
from latente.data.caras import parse as parse_caras
from latente.data.stream import see
from latente.evaluation import distances, neighbours, similarity
from latente.evaluation.invention import Reference, invention, shows
from latente.evaluation.parzen import parzen
from latente.evaluation.selfcheck import said
from latente.evaluation.subject import SIDE, Rows, Subject, name_of, of_mean, smaller, wilson
from latente.messages import Problem
from latente.models import ImageEncoder
from latente.run import Run

_GROUPS = 10  # of the jackknife
_NEIGHBOURS = 5000  # images of each set among which neighbours are looked for: this does not stream
_COPIES = 2000  # new images that are looked for among the training images
_PAIRS = 2000  # new images compared two by two
_SHOWN = 10  # likeliest copies in the picture
_PARZEN = 1000  # held-out images, half of them for the width of the window


def set_distances(subject: Subject) -> Rows:
    """Fréchet and kernel distance between new images and held-out ones; beside each the same of training images, which
    no model can be expected to beat, and of reconstructions, which no sampler of this decoder can. With them goes what
    the feature network sees and for what it is blind."""
    fake, real = subject.features("fakes"), subject.features("held_out")
    beside = {"floor": subject.features("trained_on")}
    if isinstance(subject.net, ImageEncoder):
        beside["reconstruction"] = subject.features("again")
    known = distances.moments(real)
    frechet = distances.frechet_estimate(distances.grouped(fake, _GROUPS), distances.grouped(real, _GROUPS))
    rows: Rows = {
        "frechet": {
            **_estimated(frechet, "95 %, delete-a-group jackknife over images"),
            "unit": "squared distance of features",
            "bias": frechet.bias,
            **{name: distances.frechet(distances.moments(x), known) for name, x in beside.items()},
        },
        "kernel": {
            **_estimated(distances.kernel_distance(fake, real), "95 %, jackknife over images"),
            "unit": "squared distance in the kernel's space",
            **{name: distances.kernel_distance(x, real).value for name, x in beside.items()},
        },
    }
    for row in rows.values():
        row["selfcheck"] = {check.name: check.ordered for check in subject.checks}
        row["protocol"] = subject.judged(samples=len(fake), real_images=len(real))
    if subject.checks:
        rows["frechet"]["remark"] = " ".join(said(subject.eyes, subject.checks))
    return rows


def _estimated(found: distances.Estimate, how: str) -> dict[str, Any]:
    return {"value": found.value, "interval": list(found.interval), "interval_is": how}


def set_neighbours(subject: Subject) -> Rows:
    """Precision, recall, density and coverage, beside those of training images."""
    fake, real, train = (subject.features(of) for of in ("fakes", "held_out", "trained_on"))
    n = min(len(fake), len(real), len(train), _NEIGHBOURS)
    real, train = (x[np.linspace(0, len(x) - 1, n).astype(np.int64)] for x in (real, train))
    fake = fake[:n]  # labels take turns: every other one would be half of the classes
    here, floor = neighbours.neighbourhoods(real, fake), neighbours.neighbourhoods(real, train)
    half = 1.96 * here.density_error
    of_density = {
        "unit": "neighbourhoods of real images around a sample",
        "interval": [max(here.density - half, 0.0), here.density + half],
        "interval_is": "95 %, normal, over images of both sets",
    }
    rows: Rows = {}
    for name in ("precision", "recall", "density", "coverage"):
        value = getattr(here, name)
        of_share = {"unit": "share of images", "interval_is": "95 %, Wilson, over images; the other set held fixed"}
        rows[name] = {
            "value": value,
            **(of_density if name == "density" else of_share | {"interval": wilson(value, n)}),
            "floor": getattr(floor, name),
            "protocol": subject.judged(samples=n, real_images=n, k=5 if name in ("density", "coverage") else 3),
        }
    return rows


def set_diversity(subject: Subject) -> Rows:
    """How alike new images are, two by two, beside real ones: a model that collapsed makes them more alike."""
    test = subject.dataset.test
    sets = subject.fakes[: 2 * _PAIRS], test.gather(test.spread(2 * _PAIRS)).numpy()
    found, real = (similarity.diversity(x / 255.0, seed=subject.seed) for x in sets)
    samples, real_images = 2 * found.parts, 2 * real.parts
    how = {"window": similarity.WINDOW, "scales": similarity.scales(*subject.fakes.shape[2:])}
    return {
        "ms_ssim": {
            **_estimated(found, "95 %, over pairs"),
            "unit": "mean similarity of two samples, 1 for the same",
            "real": real.value,
            "protocol": subject.protocol(samples=samples, real_images=real_images, **subject.real(), **how),
        }
    }


def memory(subject: Subject) -> Rows:
    """The share of new images that lean to a training image as only one held-out image in twenty does, in pixels, and
    a picture of the likeliest copies, each above the training image that it is nearest to."""
    train, test = subject.dataset.train, subject.dataset.test
    fakes = subject.fakes[:_COPIES]
    held_out = test.spread(_COPIES)
    chunks = (_flat(train.gather(part)) for part in subject.parts(np.arange(len(train))))
    found = neighbours.copies(_flat(torch.from_numpy(fakes)), _flat(test.gather(held_out)), chunks)
    first = found.lean.argsort(kind="stable")[:_SHOWN]
    path = f"evaluations/copies-{subject.clock:09d}.png"
    pairs = np.concatenate([fakes[first], train.gather(found.indices[first]).numpy()])
    pictures.save(pictures.grid(pairs, len(first)), subject.run.folder / path)
    counts = {"samples": len(fakes), "real_images": len(held_out), "train": len(train)}
    return {
        "copies": {
            "value": found.share,
            "unit": "share of samples",
            "interval": wilson(found.share, found.samples),
            "interval_is": "95 %, Wilson, over images of both sets",
            "real": found.level,
            "picture": path,
            "protocol": subject.protocol(
                **counts, **subject.real(), features="pixels", features_prepare=f"means, at most {SIDE} a side"
            ),
        }
    }


def _flat(images: torch.Tensor) -> torch.Tensor:
    """uint8 [n, C, H, W] -> pixels [n, F], of large images those of a smaller one."""
    return smaller(see(images)).flatten(1)


def windows(subject: Subject) -> Rows:
    """Parzen windows on samples, as the GAN paper of 2014 has them, with the warning that they deserve. Their width is
    found on other held-out images, so it belongs to the value and not to the protocol."""
    test = see(subject.dataset.test.gather(subject.dataset.test.spread(_PARZEN)))
    found = parzen(see(torch.from_numpy(subject.fakes)), test[::2], test[1::2])
    row = of_mean(found.log_likelihood.double().numpy())
    facts = {"unit": "nats an image, of a density", "sigma": found.sigma, "remark": found.remark}
    protocol = subject.protocol(samples=len(subject.fakes), real_images=len(test) // 2, **subject.real())
    return {"parzen": {**row, **facts, "protocol": protocol}}


def kept_out(source: str) -> KeepOut:
    """The combinations of factors that `caras:...` keeps out of training; () of any other set."""
    name, _, rule = source.partition(":")
    return parse_caras(rule) if name == "caras" and rule else ()


def factor_reader(subject: Subject) -> Run:
    """The run that reads the factors of the subject's images. Problem if there is none, or it reads others."""
    reader = subject.classifier
    if reader is None:
        raise Problem("evaluate.needs_classifier", source=subject.run.config.data.source)
    facts, shape = reader.dataset, subject.run.dataset["image_shape"]
    if getattr(reader.config.objective, "task", None) != "factors" or facts["image_shape"] != shape:
        raise Problem("evaluate.wrong_reader", folder=reader.folder, wanted="x".join(map(str, shape[::-1])))
    return reader


def inventions(subject: Subject) -> Rows:
    """The share of new faces that show a combination which no training face shows, as a reader of factors sees it."""
    reader = factor_reader(subject)
    net, test = reader.network(), subject.dataset.test
    rule = kept_out(subject.run.config.data.source)
    truth = {name: np.asarray(values)[subject.held_out] for name, values in (test.factors or {}).items()}
    world = net.predict_factors(see(test.gather(subject.held_out)))  # faces that the reader has not learned from
    without = {name: values[~shows(truth, rule)] for name, values in world.items()}
    found = invention(net.predict_factors(see(torch.from_numpy(subject.fakes))), rule, Reference(without, world, truth))
    return {
        "invention": {
            "value": found.corrected,
            "unit": "share of samples that show what was never shown",
            "interval": found.corrected_interval,
            "interval_is": "95 %, Lang and Reiczigel 2014",
            "raw": found.raw,
            "raw_interval": found.raw_interval,
            "floor": found.floor,
            "real": found.ceiling,
            "sensitivity": found.sensitivity,
            "protocol": subject.protocol(
                samples=found.samples, real_images=len(subject.held_out), **subject.real(), **name_of(reader, net)
            ),
        }
    }
