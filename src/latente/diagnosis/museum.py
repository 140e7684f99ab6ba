"""The failure museum: for each thing that goes wrong a training that does it on purpose, and a healthy twin.

An exhibit is a configuration like any other. Its twin is the same one but for the settings in `cure`, so that what is
seen is what they do. Toy worlds take half a minute on two cores, images at most five. What each shows in words is in
the messages (`museum.show_NAME`).

Two exhibits are of the course: `one-garment`, a generator that makes one kind of garment until the critic catches up,
moves to another and forgets the first; and `oscillation`, weights that go round. `dirac` is no training of networks
but the smallest game there is (`dirac.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from latente.config import Images, RunConfig, override
from latente.data.datasets import load
from latente.diagnosis.history import of_run
from latente.messages import Problem, nearest
from latente.portraits import INK, PAPER, SOFT, Colour, stroke
from latente.presets import PRESETS, suited
from latente.run import Run

DIRAC = "dirac"
_HELD_OUT = 2_000  # images that a small set is held against
_READ = 6_000  # images that the reader of classes learns from
COLOURS: tuple[Colour, ...] = (
    *((31, 95, 191), (230, 159, 0), (24, 134, 75), (204, 70, 80), (127, 90, 180)),
    *((86, 180, 233), (240, 215, 70), (140, 200, 120), (235, 150, 170), (150, 150, 150)),
)
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A training that goes wrong, and what would have saved it."""

    verdict: str  # what the diagnosis should say of it
    preset: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    cure: Mapping[str, Any] = field(default_factory=dict)  # the twin's
    few: int = 0  # training images, taken from the source; 0: all
    minutes: float = 0.5  # on two cores, about
    classes: bool = False  # the share of each class is drawn over time


_TOY = {
    **{"model.hidden": (64, 64), "model.critic-hidden": (64, 64), "training.ema-halflife": Images(0)},
    **{"training.batch": 128, "training.images": Images(200_000)},
}
_RING = _TOY | {
    **{"objective.cost": "relativistic", "objective.penalty": "r1+r2"},
    **{"objective.gamma": 0.064, "objective.gamma-final": 0.0032},
}
_LINE = {"training.images": Images(200_000), "training.batch": 128, "training.ema-halflife": Images(0)}
_SMALL = {"data.resolution": 16, "training.ema-halflife": Images(0)}
_CODES = {
    **{"model.kind": "mlp", "model.hidden": (256,), "model.latent": 16, "training.images": Images(100_000)},
    **_SMALL,
}


_FEW = {"training.batch": 32, "optim.decay": "none", "training.images": Images(48_000)}
_GARMENTS = {  # fully connected networks on small pictures: they make a garment in seconds
    **{"model.hidden": (128, 128), "model.critic-hidden": (128, 128), "model.maxout": 0, "model.dropout": 0.0},
    **{"training.images": Images(60_000), **_SMALL},
}
_HEART = _GARMENTS | {  # a critic that has time to learn a few pictures by heart, and a generator that follows it
    **{"objective.cost": "relativistic", "objective.penalty": "r1+r2", "objective.gamma": 0.01, "model.latent": 16},
    **{"optim.lr": 1e-3, "optim.critic-lr": 2e-3, "optim.beta1": 0.0},
}
_DCGAN = {"model.width": 16, "training.images": Images(40_000), **_SMALL}


def _toy(verdict: str, settings: Mapping[str, Any], cure: Mapping[str, Any], source: str = "points:ring8") -> Exhibit:
    return Exhibit(verdict=verdict, preset="gan", source=source, settings=settings, cure=cure)


def _codes(verdict: str, settings: Mapping[str, Any], cure: Mapping[str, Any], few: int = 0) -> Exhibit:
    asked = _CODES | dict(settings)
    return Exhibit(
        verdict=verdict, preset="vae", source="fashion-mnist", settings=asked, cure=cure, few=few, minutes=0.3
    )


def _game(verdict: str, preset: str, settings: Mapping[str, Any], cure: Mapping[str, Any], **more: Any) -> Exhibit:
    return Exhibit(verdict=verdict, preset=preset, source="fashion-mnist", settings=settings, cure=cure, **more)


_OPTIMAL = {"objective.sigma": "optimal"}

EXHIBITS: dict[str, Exhibit] = {
    "mode-collapse": _toy(
        "mode-collapse-full",
        _TOY | {"objective.cost": "least-squares", "optim.lr": 1.0, "optim.critic-lr": 1.0},
        {"optim.lr": 5e-3, "optim.critic-lr": 5e-3},
    ),
    "partial-collapse": _toy(
        "mode-collapse-partial",
        _TOY | {"objective.cost": "non-saturating", "optim.lr": 1e-4, "optim.critic-lr": 3e-2},
        {"optim.lr": 5e-3, "optim.critic-lr": 5e-3},
    ),
    "cycling": _toy(
        "mode-cycling",
        _RING | {"optim.lr": 2e-2, "optim.critic-lr": 1e-3, "optim.beta1": 0.9, "optim.decay": "none"},
        {"optim.lr": 2e-3, "optim.beta1": 0.0},
    ),
    "one-garment": _game(
        "mode-cycling",
        "gan",
        {
            **{**_GARMENTS, "objective.cost": "relativistic", "objective.penalty": "r1+r2", "objective.gamma": 1.0},
            **{"optim.lr": 1e-3, "optim.critic-lr": 3e-4, "optim.beta1": 0.9, "training.sample-every": Images(2_000)},
        },
        {"optim.lr": 2e-4, "optim.beta1": 0.0},
        classes=True,
        minutes=0.4,
    ),
    "oscillation": _toy(
        "oscillation",
        _LINE | {"objective.cost": "wasserstein", "optim.decay": "none", "optim.beta1": 0.9},
        {"optim.beta1": 0.0},
        "points:line",
    ),
    "saturated-critic": _toy(
        "saturated-critic",
        _RING | {"objective.cost": "minimax", "optim.lr": 0.1, "optim.critic-lr": 0.1},
        {"optim.lr": 2e-3, "optim.critic-lr": 4e-3},
    ),
    "critic-memorising": _game("critic-memorising", "gan", _HEART | {"training.images": Images(80_000)}, {}, few=64),
    "generator-memorising": _game(
        "generator-memorising", "gan", _HEART | {"training.images": Images(130_000)}, {}, few=24
    ),
    "posterior-collapse": _codes(
        "posterior-collapse", {"objective.sigma": "fixed", "objective.sigma-value": 2.0}, _OPTIMAL
    ),
    "over-regularised": _codes("over-regularised", {"objective.beta": 8.0}, {"objective.beta": 1.0}),
    "under-regularised": _codes("under-regularised", {"objective.beta": 0.02}, {"objective.beta": 1.0}),
    "blurred": _codes("blurred", {"objective.sigma": "fixed", "objective.sigma-value": 0.4}, _OPTIMAL),
    "checkerboard": _game(
        "checkerboard", "dcgan", _DCGAN | {"optim.lr": 1.0, "optim.critic-lr": 2e-4}, {"optim.lr": 2e-4}, minutes=1.0
    ),
    "divergence": _codes("divergence", {"optim.lr": 5.0}, {"optim.lr": 2e-3}),
    "undertrained": _codes(
        "undertrained",
        {"training.images": Images(10_000)},
        {"training.images": Images(400_000), "training.checkpoint-every": Images(10_000)},  # measured from early on
    ),
    "past-best": _codes("past-best", _FEW, {}, few=150),
}


def exhibit(name: str) -> Exhibit:
    """An exhibit by its name; a Problem that names the nearest if there is none such."""
    if name not in EXHIBITS:
        raise Problem("museum.unknown", given=name, near=nearest(name, [*EXHIBITS, DIRAC]))
    return EXHIBITS[name]


def config(name: str, twin: bool = False, seed: int = 0, source: str | None = None) -> RunConfig:
    """What an exhibit or its twin trains; `source`: the small set that was made of its own (`few`)."""
    shown = exhibit(name)
    asked = {"data.source": source or shown.source, "training.seed": seed} | dict(shown.settings)
    return override(suited(PRESETS[shown.preset](), shown.source), asked | (dict(shown.cure) if twin else {}))


def few(name: str, folder: Path) -> Path:
    """The small set of an exhibit: its first training images and some held-out ones, as an npz for `data.source`."""
    shown = exhibit(name)
    wanted = config(name).data
    path = folder / f"{shown.source}-{wanted.resolution}-{shown.few}.npz"
    if not path.exists():
        dataset = load(wanted)
        folder.mkdir(parents=True, exist_ok=True)
        parts = (dataset.train.images[: shown.few], dataset.test.images[:_HELD_OUT])
        given, kept = (part.transpose(0, 2, 3, 1) for part in parts)
        np.savez(path, x_train=given, x_test=kept)
    return path


# ---- Which kind a generator makes, over time ------------------------------------------------------------------------


class Discriminant(NamedTuple):
    """A linear reader of images: crude, fitted in a second, and enough to tell a trouser from a bag."""

    weights: Floats  # [D + 1, K]
    right: float  # share of held-out images that it reads right

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Images [n, C, H, W] -> labels [n]."""
        labels: NDArray[np.int64] = (_rows(images) @ self.weights).argmax(1)
        return labels


def discriminant(
    images: NDArray[np.uint8], labels: NDArray[np.int64], held_out: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> Discriminant:
    """Least squares onto the labels, with a ridge of a hundredth of the pixels' mean square."""
    x, k = _rows(images), int(labels.max()) + 1
    gram = x.T @ x
    ridge = 0.01 * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ np.eye(k)[labels])
    reader = Discriminant(weights, 0.0)
    return reader._replace(right=float((reader(held_out[0]) == held_out[1]).mean()))


def _rows(images: NDArray[np.uint8]) -> Floats:
    """uint8 [n, C, H, W] -> pixels in [-1, 1] and a 1, [n, D + 1]."""
    pixels = images.reshape(len(images), -1) / 127.5 - 1
    return np.concatenate([pixels, np.ones((len(images), 1))], 1)


def sheet(picture: NDArray[np.uint8], shape: Sequence[int], columns: int = 8, gap: int = 2) -> NDArray[np.uint8]:
    """A sheet as `pictures.grid` draws it, [H, W, 3], -> the images on it, [n, C, H, W]."""
    channels, height, width = shape
    scale = max(1, 64 // max(height, width))
    down, across = height * scale + gap, width * scale + gap
    rows = (picture.shape[0] - gap) // down
    cells = [
        picture[gap + r * down : (r + 1) * down : scale, gap + c * across : (c + 1) * across : scale]
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack([cell[:height, :width, :channels].transpose(2, 0, 1) for cell in cells])


class Reign(NamedTuple):
    """A time in which one class holds more of the fakes than any other, and at least a part of them."""

    label: int
    begin: float  # clocks
    end: float
    peak: float  # its largest share
    after: float  # its smallest share in the next reign; NaN of the last


def reigns(clocks: Floats, shares: Floats, least: float = 0.4) -> list[Reign]:
    """Who dominates and when, from shares [T, K] at clocks [T]: dominance is a reign, a switch is the next one, and a
    class is forgotten if little of it is left in that."""
    leaders = [int(row.argmax()) if row.max() >= least else None for row in shares]
    found: list[Reign] = []
    spans: list[tuple[int, int]] = []  # rows of each reign
    for t, leader in enumerate(leaders):
        if leader is None:
            continue
        peak = float(shares[t, leader])
        if found and found[-1].label == leader:
            found[-1] = found[-1]._replace(end=float(clocks[t]), peak=max(found[-1].peak, peak))
            spans[-1] = (spans[-1][0], t)
        else:
            found.append(Reign(leader, float(clocks[t]), float(clocks[t]), peak, float("nan")))
            spans.append((t, t))
    for i in range(len(found) - 1):
        first, last = spans[i + 1]
        found[i] = found[i]._replace(after=float(shares[first : last + 1, found[i].label].min()))
    return found


class Course(NamedTuple):
    """What kinds a run's generator made over time, as its sheets of samples show."""

    classes: tuple[str, ...]
    clocks: Floats  # [T]
    shares: Floats  # [T, K]
    right: float  # share of real images that the reader reads right
    reigns: list[Reign]
    beats: tuple[Floats, Floats]  # clocks and values: how surely the critic tells held-out reals from fakes


def course(run: Run) -> Course:
    """Read the sheets in a run's folder with a linear discriminant of its data; a Problem if the data are gone."""
    dataset = load(run.config.data)
    train, test = dataset.train, dataset.test
    if train.labels is None or test.labels is None:
        raise ValueError(f"{run.config.data.source} has no labels")
    some = train.spread(_READ)
    kept = slice(0, _READ // 4)
    reader = discriminant(train.images[some], train.labels[some], (test.images[kept], test.labels[kept]))
    sheets = sorted(p for p in (run.folder / "samples").glob("*.png") if p.stem.isdigit())
    shares = []
    for path in sheets:
        with Image.open(path) as picture:
            shown = sheet(np.asarray(picture.convert("RGB")), run.dataset["image_shape"])
        shares.append(np.bincount(reader(shown), minlength=len(train.classes)) / len(shown))
    clocks = np.array([float(path.stem) for path in sheets])
    found = np.stack(shares)
    watched = of_run(run).get("probe/critic/beats")
    beats = (watched.images, watched.values) if watched is not None else (np.zeros(0), np.zeros(0))
    # At the start all fakes are noise, and noise has some class too.
    return Course(train.classes, clocks, found, reader.right, reigns(clocks[1:], found[1:]), beats)


def draw(shown: Course) -> Image.Image:
    """The share of each class among the fakes over time, one upon the other; the line is the critic's success, from
    half of the pairs told apart at the foot to all of them at the top."""
    width, height, left, top, right, foot = 900, 420, 56, 20, 170, 40
    fine = 3
    sheet_ = Image.new("RGB", (width * fine, height * fine), PAPER)
    pen = ImageDraw.Draw(sheet_)
    inner, tall = width - left - right, height - top - foot
    end = float(shown.clocks[-1]) or 1.0

    def at(clock: float, share: float) -> tuple[float, float]:
        return (left + clock / end * inner) * fine, (top + (1 - share) * tall) * fine

    below = np.zeros(len(shown.clocks))
    font = ImageFont.load_default(14 * fine)
    for k, name in enumerate(shown.classes):
        above = below + shown.shares[:, k]
        lower = [at(t, s) for t, s in zip(shown.clocks, below, strict=True)]
        upper = [at(t, s) for t, s in zip(shown.clocks, above, strict=True)]
        colour = COLOURS[k % len(COLOURS)]
        if len(lower) > 1:
            pen.polygon([*lower, *upper[::-1]], colour)
        y = (height - foot - (k + 0.5) * tall / len(shown.classes)) * fine
        pen.rectangle([(width - right + 14) * fine, y - 7 * fine, (width - right + 28) * fine, y + 7 * fine], colour)
        pen.text(((width - right + 36) * fine, y), name, INK, font, "lm")
        below = above
    if len(shown.beats[0]) > 1:
        points = [at(t, 2 * max(v, 0.5) - 1) for t, v in zip(*shown.beats, strict=True)]
        stroke(pen, points, PAPER, 5 * fine)
        stroke(pen, points, INK, 2.2 * fine)
    for share in (0.0, 0.5, 1.0):
        pen.text((at(0, share)[0] - 8 * fine, at(0, share)[1]), f"{share:.0%}", SOFT, font, "rm")
    for clock in (0.0, end / 2, end):
        pen.text((at(clock, 0)[0], at(clock, 0)[1] + 8 * fine), f"{clock / 1000:.0f}k", SOFT, font, "ma")
    return sheet_.reduce(fine)
