"""What a feature network can be trusted with: does a distance on its features grow as images grow worse?

Held-out images are made worse step by step, and at each step their Fréchet distance from training images is taken.
The held-out images fall into three parts that share none; only if the distance rises at every step in each part is
that kind of fault "seen", for else chance could have ordered them. A distance between distributions is blind to copies
of training images by its nature (a set of copies is the nearest there is); the distances to the nearest training
image must tell copies, even slightly retouched ones, from new images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latente.data.datasets import ImageSet
from latente.evaluation.distances import frechet, moments
from latente.evaluation.judges import Judge, chunks_of, features_of
from latente.messages import Problem, say

IMAGES = 2000  # of training and as many held out; ten times as many are read in all
BLUR = (0.5, 1.0, 2.0)  # standard deviations in pixels
NOISE = (0.05, 0.1, 0.2)  # standard deviations; pixels in [0, 1]
RETOUCH = (0.5, 0.02)  # blur and noise of a copy that is not exact
ALARM = 0.05  # share of held-out images that may be taken for copies where half of the copies are found
_PARTS = 3  # of two steps each, chance orders all in one of 216
_LEAST = 100  # held-out images, for parts that are more than chance
_LEAST_CLASS = 30  # images of the class that is left alone

Features = NDArray[np.float32]  # [n, F]


@dataclass(frozen=True)
class Check:
    """One kind of fault, growing."""

    name: str  # blur, noise, classes or modes, copies; by nearest neighbours: near (exact copies), retouched
    ordered: bool  # each value is above the one before it, in every part
    values: tuple[float, ...]  # means over the parts; squared units of the features; of the last two, plain ones
    levels: tuple[str, ...]  # of what each value is


def selfcheck(judge: Judge, train: ImageSet, test: ImageSet, images: int = IMAGES, seed: int = 0) -> list[Check]:
    """Blur, noise, dropped classes (modes, where there are no labels) and copies, each with what the judge makes of it.

    train: the distance is taken from `images` of these. test: images that the judge has not learned from; at most
    `images` of them are used, at least 100. The same for the same seed. Problem if the judge cannot read them or they
    are too few."""
    if min(len(train), len(test)) < _LEAST:
        raise Problem("judges.too_few", train=len(train), test=len(test), least=_LEAST)
    rng = np.random.default_rng(seed)
    known = rng.permutation(len(train))[:images]
    held = rng.permutation(len(test))[: len(known)]
    reference = _read(judge, train, known)
    clean = _read(judge, test, held)
    blurs = [_read(judge, test, held, partial(blurred, sigma=sigma)) for sigma in BLUR]
    noises = [_read(judge, test, held, partial(noisy, deviation=sd, generator=_drawn(seed))) for sd in NOISE]
    kind, levels, rows = _fewer(test, images, rng)
    fewer = [_read(judge, test, indices) for indices in rows]
    found = [
        _by_distance("blur", ("held-out", *(f"{sigma:g} px" for sigma in BLUR)), reference, [clean, *blurs]),
        _by_distance("noise", ("held-out", *(f"{sd:g}" for sd in NOISE)), reference, [clean, *noises]),
        _by_distance(kind, levels, reference, fewer),
    ]
    copies = reference[: len(clean)]
    mixed = np.where(np.arange(len(copies))[:, None] % 2, copies, clean)
    found.append(_by_distance("copies", ("held-out", "half copies", "copies"), reference, [clean, mixed, copies]))
    generator = _drawn(seed)
    touched = _read(judge, train, known[: len(clean)], lambda x: noisy(blurred(x, RETOUCH[0]), RETOUCH[1], generator))
    far = nearest(clean, reference)
    new = [_parts(far, lambda part: np.quantile(part, ALARM)), _parts(far, np.median)]
    for name, features in (("near", copies), ("retouched", touched)):
        levels = ("copies, median", f"held-out, nearest {ALARM:.0%}", "held-out, median")
        found.append(_rising(name, levels, [_parts(nearest(features, reference), np.median), *new]))
    return found


def said(judge: Judge, checks: list[Check]) -> list[str]:
    """In words: what distances on these features see, and for what they are blind."""
    sentences = []
    for key, ordered in (("judges.sees", True), ("judges.blind", False)):
        what = ", ".join(say(f"judges.check_{check.name}") for check in checks if check.ordered == ordered)
        if what:
            sentences.append(say(key, name=judge.name, what=what))
    return sentences


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Images [n, C, H, W] under a Gaussian of `sigma` pixels, cut off at 4 sigma; edges are repeated."""
    reach = max(round(4 * sigma), 1)
    weight = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    kernel = (weight / weight.sum()).to(x)
    channels = x.shape[1]
    for shape, padding in (((1, 1, -1, 1), (0, 0, reach, reach)), ((1, 1, 1, -1), (reach, reach, 0, 0))):
        padded = F.pad(x, padding, mode="replicate")
        x = F.conv2d(padded, kernel.view(shape).repeat(channels, 1, 1, 1), groups=channels)
    return x


def noisy(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Images in [-1, 1] and Gaussian noise, clamped; the deviation is of pixels in [0, 1]."""
    return (x + 2 * deviation * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def nearest(features: Features, reference: Features) -> NDArray[np.float64]:
    """Distance of each of features [n, F] to the nearest of reference [m, F] -> [n]."""
    among = torch.from_numpy(reference).double()
    parts = torch.split(torch.from_numpy(features).double(), 500)
    found: NDArray[np.float64] = torch.cat([torch.cdist(part, among).amin(1) for part in parts]).numpy()
    return found


def distance(a: Features, b: Features) -> float:
    """Fréchet distance of features [n, F] and [m, F], without covariances [F, F] where F is large.

    With X the centred features over (n - 1)^(1/2), C = X^T X, and tr (C_a C_b)^(1/2) is the sum of the singular values
    of X_a X_b^T [n, m]."""
    if a.shape[1] <= min(len(a), len(b)):
        return frechet(moments(a), moments(b))
    means = [each.mean(0, dtype=np.float64) for each in (a, b)]
    x, y = ((each - mean) / np.sqrt(len(each) - 1) for each, mean in zip((a, b), means, strict=True))
    gap = np.square(means[0] - means[1]).sum()
    return float(gap + np.square(x).sum() + np.square(y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def _fewer(
    test: ImageSet, images: int, rng: np.random.Generator
) -> tuple[str, tuple[str, ...], list[NDArray[np.int64]]]:
    """Indices of as many images each, of fewer and fewer classes; where there are no labels or too few images of each,
    of images nearer and nearer to one, by their pixels."""
    order = rng.permutation(len(test))
    if test.labels is not None:
        labels = np.asarray(test.labels)
        present, counts = np.unique(labels, return_counts=True)
        present = present[np.argsort(-counts, kind="stable")]  # the most frequent one is left at the end
        n = min(images, int(counts.max()))
        if len(present) > 1 and n >= _LEAST_CLASS:
            kept = list(dict.fromkeys((len(present), (len(present) + 1) // 2, 1)))
            rows = [order[np.isin(labels[order], present[:k])][:n] for k in kept]
            return "classes", tuple(f"{k} of {len(present)} classes" for k in kept), rows
    order = order[: 4 * images]
    one = next(chunks_of(test, order[:1]))
    away = np.concatenate([(x - one).square().flatten(1).sum(1).numpy() for x in chunks_of(test, order)])
    by_distance = order[np.argsort(away, kind="stable")]
    n = len(order) // 4
    rows = [rng.permutation(by_distance[: len(order) // share])[:n] for share in (1, 2, 4)]
    return "modes", ("all", "nearest half", "nearest quarter"), rows


def _read(
    judge: Judge, images: ImageSet, indices: NDArray[np.int64], change: Callable[[Tensor], Tensor] | None = None
) -> Features:
    """Features [n, F] of the images at `indices`, changed if that is asked for."""
    chunks: Iterator[Tensor] = chunks_of(images, indices)
    return np.concatenate(list(features_of(judge, chunks if change is None else map(change, chunks))))


def _drawn(seed: int) -> torch.Generator:
    """The same noise at every step, but for its size."""
    return torch.Generator().manual_seed(seed)


def _by_distance(name: str, levels: tuple[str, ...], reference: Features, sets: list[Features]) -> Check:
    return _rising(name, levels, [_parts(each, lambda part: distance(reference, part)) for each in sets])


def _parts(values: NDArray[np.floating], measure: Callable[[NDArray[np.floating]], float]) -> list[float]:
    """A measure of each part."""
    return [float(measure(part)) for part in np.array_split(values, _PARTS)]


def _rising(name: str, levels: tuple[str, ...], measured: list[list[float]]) -> Check:
    """measured: level by level, a value for each part."""
    table = np.array(measured)  # [levels, parts]
    values = tuple(float(value) for value in table.mean(1))
    return Check(name, bool((np.diff(table, axis=0) > 0).all()), values, levels)
