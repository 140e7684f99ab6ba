"""Worlds of points on a line or in the plane, small enough to see and with modes that can be counted.

Each is a distribution with a name, made on the spot: `points:grid25` for the command line. All of them lie in [-1, 1],
as images do. The mixtures are those of the literature, made smaller by the factor that follows each:

    ring8    8 Gaussians on a circle of radius 2, standard deviation 0.02 (Metz et al. 2017); divided by 2.5
    grid25   25 Gaussians 2 apart in a square, standard deviation 0.05 (Dumoulin et al. 2017, Srivastava et al. 2017,
             Lin et al. 2018); divided by 5, so that centres are 0.4 apart and the standard deviation is 0.01
    spiral   two turns of an Archimedean spiral, evenly covered, with Gaussian noise of standard deviation 0.02
    line     two Gaussians in one dimension at -2 and 2, standard deviation 0.5; divided by 5
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.messages import Problem, nearest

TRAIN, TEST = 200_000, 10_000
PREFIX = "points:"
_FORMAT = 1  # of what is drawn; a change draws other points
_TURNS, _INNER, _OUTER = 2.0, 0.1, 0.8  # of the spiral

Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A distribution of points: a mixture of k Gaussians with one standard deviation, or noise around a curve."""

    name: str
    dimensions: int
    sd: float
    centres: Array | None  # [k, d]; None: not a mixture
    weights: Array | None  # [k], sum 1

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n points [n, d]."""
        if self.centres is None:
            places = _spiral(rng.random(n))
        else:
            places = self.centres[rng.choice(len(self.centres), n, p=self.weights)]
        return places + self.sd * rng.standard_normal((n, self.dimensions))

    def density(self, x: Array) -> Array:
        """Density at x [n, d] -> [n], in closed form.

        Raises:
            ValueError: this world is no mixture, and has no closed form.
        """
        if self.centres is None or self.weights is None:
            raise ValueError(f"{self.name} has no density in closed form")
        squares = np.square((x[:, None] - self.centres) / self.sd).sum(2)  # [n, k]
        peak = (2 * math.pi * self.sd**2) ** (-self.dimensions / 2)
        total: Array = peak * (np.exp(-squares / 2) @ self.weights)  # [n]
        return total


def _mixture(name: str, centres: Array, sd: float) -> World:
    k, dimensions = centres.shape
    return World(name, dimensions, sd, centres, np.full(k, 1 / k))


def _ring8() -> World:
    angles = 2 * np.pi * np.arange(8) / 8
    return _mixture("ring8", 2 / 2.5 * np.stack([np.cos(angles), np.sin(angles)], 1), 0.02 / 2.5)


def _grid25() -> World:
    steps = np.arange(-4, 5, 2)
    x, y = np.meshgrid(steps, steps)
    return _mixture("grid25", np.stack([x, y], 2).reshape(25, 2) / 5, 0.05 / 5)


def _spiral(share: Array) -> Array:
    """Share of the spiral's length passed, [n] in [0, 1] -> places [n, 2].

    Its radius grows with the angle, so its length grows almost with the square of the radius.
    """
    radius = np.sqrt(_INNER**2 + share * (_OUTER**2 - _INNER**2))
    angle = 2 * np.pi * _TURNS * (radius - _INNER) / (_OUTER - _INNER)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


_WORLDS: dict[str, Callable[[], World]] = {
    "ring8": _ring8,
    "grid25": _grid25,
    "spiral": lambda: World("spiral", 2, 0.02, None, None),
    "line": lambda: _mixture("line", np.array([[-2.0], [2.0]]) / 5, 0.5 / 5),
}
NAMES = tuple(PREFIX + name for name in _WORLDS)


def world(name: str) -> World:
    """A world by its name, without the prefix; a Problem that names the nearest if there is none such."""
    if name not in _WORLDS:
        raise Problem("points.unknown", given=PREFIX + name, near=nearest(PREFIX + name, NAMES))
    return _WORLDS[name]()


def is_points(source: str) -> bool:
    """Whether a source means a world of points."""
    return source.startswith(PREFIX)


def parse(source: str) -> World:
    """ "points:grid25" -> the world; a Problem if there is none such."""
    if not is_points(source):
        raise ValueError(f"{source!r} does not begin with {PREFIX}")
    return world(source.removeprefix(PREFIX))


def draw(source: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Points and what is known about them: float32 [N, d, 1, 1] in [-1, 1], and the facts of `datasets.Dataset`.

    200 000 for training, then 10 000 held out, the same every time. Without labels: which component a point comes from
    is the evaluation's business. Six decimals, so that the last bits of another machine's sines change no point.
    """
    found = parse(source)
    points = found.sample(TRAIN + TEST, np.random.default_rng([_FORMAT, *found.name.encode()]))
    images = points.round(6).clip(-1, 1).astype(np.float32)[..., None, None]  # [N, d, 1, 1]
    digest = hashlib.blake2b(images.tobytes(), digest_size=10).hexdigest()
    facts = {
        **{"source": source, "kind": "points", "key": digest, "content": digest},
        **{"resolution": None, "channels": "points", "filter": None, "shape": [found.dimensions, 1, 1]},
        **{"count": TRAIN + TEST, "train": TRAIN, "test": TEST, "split": {"rule": "drawn"}},
        **{"classes": [], "class_counts": [], "duplicates": {"extra": 0, "across": 0}},
        **{"sizes": {}, "size_count": 0, "modes": {}, "formats": {}, "converted": {}, "ignored": {}},
        **{"left_out": [], "left_out_count": 0, "files": {}},
    }
    return images, facts
