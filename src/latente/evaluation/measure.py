"""`latente evaluate`: every metric that applies to a run, each with the protocol that its value hangs on."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latente import models
from latente.data import names, points
from latente.data.datasets import load
from latente.data.stream import see
from latente.evaluation import equilibrium, modes, stacked
from latente.messages import Problem
from latente.run import Run, append, now

_AT_ONCE = 500  # samples decoded together

Rows = dict[str, dict[str, Any]]  # metric -> {value, unit, interval?, ..., protocol}


def evaluate(run: Run, metrics: tuple[str, ...] = (), *, seed: int = 0, classifier: Run | None = None) -> Rows:
    """Measure a run at its newest checkpoint, and write a row a value to its evaluations.jsonl.

    metrics: names out of `applicable`; all of them if none are given. classifier: a run of the `classifier` family that
    reads the images, for metrics that need one (`reader`). Problem if a metric does not apply."""
    known = applicable(run)
    for name in metrics:
        if name not in known:
            raise Problem("evaluate.not_applicable", given=name, folder=run.folder, known=", ".join(known) or "-")
    found: Rows = {}
    for name in metrics or known:
        found |= known[name](run, seed, classifier)
    try:
        for name, row in found.items():
            clock = run.checkpoints()[-1]
            append(run.folder / "evaluations.jsonl", {"metric": name, "images": clock, "at": now(), **row})
    except OSError as error:
        raise Problem("evaluate.cannot_write", folder=run.folder, reason=error.strerror or error) from None
    return found


def applicable(run: Run) -> dict[str, Callable[[Run, int, Run | None], Rows]]:
    """The metrics that make sense of a run, by name."""
    config = run.config
    found: dict[str, Callable[[Run, int, Run | None], Rows]] = {}
    if models.decoder_of(config) is None or not run.checkpoints():
        return {}
    source, cure = config.data.source, config.cure
    if points.is_points(source):
        if points.parse(source).centres is not None:
            found["modes"] = point_modes
        alone = cure and (cure.packing, cure.minibatch_discrimination, cure.minibatch_stddev) == (1, 0, False)
        if points.parse(source).dimensions == 1 and getattr(config.model, "latent", 0) == 1 and alone:
            found["equilibrium"] = balance  # of a critic that judges each point by itself
    elif names.known(source) == "stacked-mnist":
        if run.dataset["image_shape"][0] == 3:
            found["modes"] = stacked_modes
    elif len(run.dataset["classes"]) > 1:
        found["classes"] = class_shares
    return found


def reader(run: Run, metrics: tuple[str, ...] = ()) -> str | None:
    """The set whose classifier the metrics need: they are read by a run of the `classifier` family trained on it."""
    needed = {"stacked_modes": "mnist", "class_shares": run.config.data.source}
    wanted = [known.__name__ for name, known in applicable(run).items() if not metrics or name in metrics]
    return next((needed[name] for name in wanted if name in needed), None)


def point_modes(run: Run, seed: int, classifier: Run | None) -> Rows:
    """Modes found, share of good samples, spread and KL, with the same of real samples beside them."""
    world = points.parse(run.config.data.source)
    n = modes.SAMPLES
    here, real = modes.count_modes(samples(run, n, seed), world), modes.reference(world)
    protocol = {"samples": n, "seed": seed, "radius_sd": modes.RADIUS, "least_share": modes.SHARE, "weights": "shown"}
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


def stacked_modes(run: Run, seed: int, classifier: Run | None) -> Rows:
    """Modes of Stacked MNIST (seen once, five times) and KL to all alike, beside those of real stacks, which are held
    out and read by the same classifier."""
    if classifier is None:
        raise Problem("evaluate.needs_classifier", source="mnist")
    height, width = run.dataset["image_shape"][1:]
    net, n = _reading(classifier, [1, height, width], 10), stacked.SAMPLES
    test = load(run.config.data).test
    assert test.labels is not None
    true = np.asarray(test.labels)
    here = stacked.coverage(stacked.read_digits(torch.from_numpy(samples(run, n, seed)), net).numpy(), true)
    parts = np.array_split(np.arange(min(n, len(test))), -(-len(test) // 1000))
    reals = torch.cat([stacked.read_digits(see(test.gather(part)), net) for part in parts])
    floor = stacked.coverage(reals.numpy(), true)
    protocol = here["protocol"] | {"seed": seed, "weights": "shown", "classifier": classifier.folder.name}
    units = {"modes": "modes", "modes_5": "modes of five samples", "kl_uniform": "nats, to all alike"}
    return {
        name.removesuffix("_uniform"): {"value": here[name], "unit": unit, "real": floor[name], "protocol": protocol}
        for name, unit in units.items()
    }


def class_shares(run: Run, seed: int, classifier: Run | None) -> Rows:
    """The share of each class among 10 000 samples, as a classifier reads them."""
    if classifier is None:
        raise Problem("evaluate.needs_classifier", source=run.config.data.source)
    n, classes = modes.SAMPLES, run.dataset["classes"]
    net = _reading(classifier, run.dataset["image_shape"], len(classes))
    images = torch.from_numpy(samples(run, n, seed))
    read = torch.cat([net.predict(part) for part in torch.split(images, _AT_ONCE)]).numpy()
    shares = np.bincount(read, minlength=len(classes)) / n
    protocol = {"samples": n, "seed": seed, "classifier": str(classifier.folder.name), "weights": "shown"}
    least = float(shares.min())
    return {
        "classes": {
            "value": least,
            "unit": "share of samples in the rarest class",
            "interval": wilson(least, n),
            "interval_is": "95 %, Wilson, over samples",
            "shares": {name: float(share) for name, share in zip(classes, shares, strict=True)},
            "protocol": protocol,
        }
    }


def _reading(classifier: Run, shape: list[int], classes: int) -> Any:
    """A run's network, which must tell so many classes apart in images of that shape [C, H, W]."""
    family, facts = classifier.config.model.family, classifier.dataset
    if (family, facts["image_shape"], len(facts["classes"])) != ("classifier", shape, classes):
        wanted = "x".join(map(str, shape[::-1]))
        raise Problem("evaluate.wrong_classifier", folder=classifier.folder, wanted=wanted, classes=classes)
    return classifier.network()


def balance(run: Run, seed: int, classifier: Run | None) -> Rows:
    """What is left of the game in one dimension."""
    here = equilibrium.of_run(run, seed=seed)
    protocol = {"seed": seed, "weights": "shown", "critic": "as it stands"}
    rows: Rows = {name: {"value": value, "protocol": protocol} for name, value in here._asdict().items()}
    for name, row in rows.items():
        row["unit"] = "nats" if name in ("advantage", "jsd") else "mean distance of two probabilities"
    error = rows.pop("advantage_error")["value"]
    rows["advantage"]["interval"] = [here.advantage - 1.96 * error, here.advantage + 1.96 * error]
    rows["advantage"]["interval_is"] = "95 %, normal, over samples of the best response"
    return rows


@torch.no_grad()
def samples(run: Run, n: int, seed: int) -> NDArray[np.float32]:
    """`n` images [n, C, H, W] in [-1, 1], or points, as the shown weights make them."""
    net = run.network()
    z = net.prior(n, torch.Generator().manual_seed(seed))
    conditional = getattr(run.config.model, "conditional", False)
    labels = torch.arange(n) % len(run.dataset["classes"]) if conditional else None
    parts = []
    for start in range(0, n, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        parts.append(net.decode(z[part], None if labels is None else labels[part]).numpy())
    return np.concatenate(parts)


def wilson(share: float, n: int) -> list[float]:
    """Wilson's 95 % interval of a share of n independent samples."""
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [max(middle - half, 0.0), min(middle + half, 1.0)]  # beyond them by rounding alone


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
