"""What can be measured of a model in a fraction of a second: plain functions, tensors in, floats out.

Images are compared by few features (`features`): their pixels averaged over large blocks. That is no perception, but it
costs nothing, is the same for every run, and sees what probes look for: whether images differ, repeat each other,
repeat a training image, or leave a part of the data out. Points are compared by their coordinates.

Legend
    x      images [n, C, H, W] in [-1, 1], or points [n, d, 1, 1]
    f      features of them [n, F]
    fakes, reals    new images of a model; images of the data
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = 8  # averages a side, about
CLOSE = 0.01  # quantile of the reals' nearest distances: what is closer is a duplicate
COPIED = 0.05  # share of held-out images that are called copies
VOTERS = 5  # training images that say which class a fake is of
AROUND = 50  # neighbours that say how far apart training images are there (Carlini et al. 2023)
ACTIVE = 0.01  # variance of a posterior mean above which its latent is active (Burda et al. 2016)
_AT_ONCE = 128  # rows of the distances to all training images


def features(x: Tensor) -> Tensor:
    """Images [n, C, H, W] -> means of blocks, flattened [n, F]: 28x28 gives 7x7 a channel, 32x32 and 64x64 8x8."""
    height, width = x.shape[2:]
    block = (max(round(height / BLOCKS), 1), max(round(width / BLOCKS), 1))
    return F.avg_pool2d(x.float(), block, ceil_mode=True).flatten(1)


# ---- How different the fakes are ------------------------------------------------------------------------------------


def distances(f: Tensor, g: Tensor) -> Tensor:
    """Euclidean distances [n, m] of rows [n, F] and [m, F], exact for rows that are equal."""
    return torch.cdist(f, g, compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(apart: Tensor) -> float:
    """Mean over pairs of different rows of a matrix of distances [n, n]."""
    n = len(apart)
    return float(apart.double().sum()) / (n * (n - 1))


def diversity(fakes: Tensor, reals: Tensor) -> float:
    """Mean distance of fakes over that of reals, from their distances [n, n] and [m, m]: 1 is as diverse."""
    real = mean_distance(reals)
    return mean_distance(fakes) / real if real else math.nan


def nearest(apart: Tensor) -> Tensor:
    """Distance of each row to its nearest other one [n], from distances [n, n]."""
    return (apart + torch.diag(torch.full((len(apart),), math.inf, device=apart.device))).amin(1)


def closeness(apart: Tensor) -> float:
    """The distance below which two images count as one, from the distances among reals [n, n].

    The CLOSE quantile of their nearest distances, which depends on n: compare as many fakes. Never less than 1e-4 of
    their mean distance, so that reals with exact copies among them set a threshold too.
    """
    quantile = float(torch.quantile(nearest(apart), CLOSE))
    return max(quantile, 1e-4 * mean_distance(apart))


def duplicates(apart: Tensor, closer: float) -> float:
    """Share of images with another one closer than `closer`, from distances [n, n]."""
    return float((nearest(apart) < closer).double().mean())


def support(apart: Tensor, closer: float) -> float:
    """How many distinct images a model makes, by the birthday paradox (Arora & Zhang 2017, 1706.08224); inf if none
    repeats.

    Two images of a model with M equally likely ones are the same with probability 1 / M: m = s (s - 1) / (2 M) of the
    pairs among s images are expected to be. The estimate is M = s (s - 1) / (2 m); where images are not equally likely
    it is that of 1 / sum p^2, the number of equally likely ones that would repeat as often.
    """
    s = len(apart)
    pairs = (int((apart < closer).sum()) - int((apart.diagonal() < closer).sum())) // 2
    return s * (s - 1) / (2 * pairs) if pairs else math.inf


def class_shares(labels: Tensor, classes: int) -> list[float]:
    """The share of each class among labels [n], as somebody reads them."""
    counted: list[float] = (torch.bincount(labels, minlength=classes).double() / len(labels)).tolist()
    return counted


# ---- Whether they copy the training set -----------------------------------------------------------------------------


class Nearby(NamedTuple):
    """The training images that rows lie next to."""

    apart: Tensor  # [n, around] distances, in no order
    which: Tensor  # [n, around] their indices


def nearby(f: Tensor, training: Tensor, squares: Tensor, around: int = AROUND) -> Nearby:
    """The `around` nearest of the training images to each row. f [n, F], training [N, F], squares [N]: their squared
    lengths."""
    around = min(around, len(training))
    apart, which = [], []
    for part in torch.split(f, _AT_ONCE):
        ordered = torch.addmm(squares, part, training.T, alpha=-2)  # [n, N], less |f|^2, which orders nothing
        which.append(ordered.topk(around, largest=False, sorted=False).indices)
        apart.append((part[:, None] - training[which[-1]]).norm(dim=2))  # exact
    return Nearby(torch.cat(apart), torch.cat(which))


def likeness(near: Nearby) -> Tensor:
    """How much closer each row is to its nearest training image than such images lie to each other there: [n].

    The distance to the nearest over the mean distance to those around (Carlini et al. 2023, 2301.13188, equation 1): 0
    for a copy, near 1 for an image that resembles many alike. Unlike the bare distance it is not fooled by blurred
    images or by simple ones, which are close to everything.
    """
    return near.apart.amin(1) / near.apart.mean(1).clamp_min(1e-12)


def vote(near: Nearby, labels: Tensor, classes: int) -> Tensor:
    """The commonest label among the VOTERS nearest training images of each row, the nearest one's where some are as
    common: labels [N] of them all -> [n]."""
    nearest = near.apart.topk(min(VOTERS, near.apart.shape[1]), largest=False).indices  # nearest first
    given = labels[near.which.gather(1, nearest)]  # [n, voters]
    counts = F.one_hot(given, classes).sum(1).double()  # [n, K]
    counts.scatter_add_(1, given[:, :1], torch.full_like(counts[:, :1], 0.5))
    return counts.argmax(1)


def copying(likeness_of_reals: Tensor) -> float:
    """The likeness below which an image is a copy: COPIED of held-out images [n] are below it."""
    return float(torch.quantile(likeness_of_reals, COPIED))


def below(values: Tensor, threshold: float) -> float:
    """Share of values [n] below a threshold."""
    return float((values < threshold).double().mean())


# ---- The critic -----------------------------------------------------------------------------------------------------


def ranked_above(one: Tensor, other: Tensor) -> float:
    """P(a > b) + P(a = b) / 2 of a random a of one [n] and b of other [m]: the area under the ROC curve, Mann and
    Whitney's U over n m.

    Only the order counts, so it is right for critics whose logits have no zero.
    """
    ordered = other.sort().values
    less = torch.searchsorted(ordered, one, right=False)  # of the others, below each
    at_most = torch.searchsorted(ordered, one, right=True)
    return float((less + at_most).double().mean()) / (2 * len(other))


# ---- Where it is going ----------------------------------------------------------------------------------------------


def place(f: Tensor, reals: Tensor, directions: int) -> list[float]:
    """Where fakes [n, F] are on average, along fixed random directions in units of the reals' spread there.

    Reals [m, F] have mean 0 and standard deviation 1 along each. The directions are Gaussian and depend on F alone.
    """
    w = torch.randn(f.shape[1], directions, generator=torch.Generator().manual_seed(0)).to(f.device)  # [F, directions]
    along = (reals @ w).double()
    found: list[float] = (((f @ w).double().mean(0) - along.mean(0)) / along.std(0)).tolist()
    return found


def cosine(one: Tensor, other: Tensor) -> float:
    """Cosine of the angle between two vectors; NaN if one of them is 0."""
    a, b = one.double(), other.double()
    return float(a @ b / (a.norm() * b.norm()))


# ---- The code of an image -------------------------------------------------------------------------------------------


def active_units(means: Tensor) -> int:
    """Latents whose posterior mean [n, d] varies over images: variance above ACTIVE (Burda et al. 2016, section 5)."""
    return int((means.double().var(0, correction=0) > ACTIVE).sum())


def finite(columns: Mapping[str, float]) -> dict[str, float]:
    """The columns that have a number: what cannot be said is left out."""
    return {name: value for name, value in columns.items() if math.isfinite(value)}
