"""`caras`: the embedded data set, cartoon faces whose true factors are known.

Face `index` of a split is a pure function of (seed, split, index), and its picture of that and the size: the same face
exists at every size, whatever was asked for before it. Factors come from a hash with a counter in integers, so that
they never change with numpy's random streams.

`keep_out` names combinations that no *training* face shows; the held-out split keeps them, so that a model that draws
one has invented it. Each combination is a tuple of words (`WORDS`), and `parse` reads them from text:
``no-glasses-with-beard,no-hair-red`` -> ``(("glasses", "beard"), ("hair-red",))``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.data import caras_drawing as drawing
from latente.data.caras_hair import HAIR
from latente.messages import Problem, nearest

TRAIN, TEST = 20_000, 5_000
SIZES = (32, 256)
KeepOut = tuple[tuple[str, ...], ...]
Shown = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Factor:
    """One thing that a face is drawn from: a choice among `values`, or, without them, a number uniform on [-1, 1)."""

    name: str
    values: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()  # how often each value comes; () for equally often

    @property
    def kind(self) -> str:
        return "discrete" if self.values else "continuous"

    @property
    def shares(self) -> tuple[int, ...]:
        return self.weights or (1,) * len(self.values)


FACTORS = (
    Factor("skin", tuple(drawing.SKIN)),
    Factor("hair", tuple(HAIR)),
    Factor("hair_colour", tuple(drawing.HAIR_COLOUR), (2, 2, 2, 2, 2, 1, 1)),
    Factor("eyes", drawing.EYES),
    Factor("eye_colour", tuple(drawing.EYE_COLOUR)),
    Factor("mouth"),  # -1 sad, 1 happy
    Factor("glasses", drawing.GLASSES, (5, 2, 2, 1)),
    Factor("beard", drawing.BEARD, (6, 1, 1, 1)),
    Factor("clothes", tuple(drawing.CLOTHES)),
    Factor("background", tuple(drawing.BACKGROUND)),
    Factor("pose_x"),  # -1 to the left of the picture, 1 to the right
    Factor("pose_y"),  # -1 up, 1 down
    Factor("tilt"),  # -1 towards the left shoulder of the picture, 1 towards the right
)
BY_NAME = {factor.name: factor for factor in FACTORS}


def sample_factors(split: str, start: int, stop: int, seed: int = 0, keep_out: KeepOut = ()) -> dict[str, NDArray[Any]]:
    """The factors of faces `start` to `stop` (not included) of a split ("train" or "test").

    Name -> [N]: int64, an index into the factor's values, or float32 in [-1, 1]. A training face that shows a
    combination of `keep_out` is drawn again, with the next counter, until it shows none; all others stay as they are.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split is "train" or "test", not {split!r}')
    index = np.arange(start, stop, dtype=np.uint64)
    factors = _drawn(split, index, seed, attempt=0)
    if split == "test" or not keep_out:
        return factors
    probe = _drawn("train", np.arange(4096, dtype=np.uint64), seed=0, attempt=0)
    if _excluded(probe, keep_out).mean() > 0.98:  # else the loop below ends: each turn redraws at most 98 of 100
        raise Problem("caras.nothing_left", given=",".join("no-" + "-with-".join(words) for words in keep_out))
    for attempt in count():
        again = np.flatnonzero(_excluded(factors, keep_out))
        if not len(again):
            break
        for name, values in _drawn(split, index[again], seed, attempt + 1).items():
            factors[name][again] = values
    return factors


def _drawn(split: str, index: NDArray[np.uint64], seed: int, attempt: int) -> dict[str, NDArray[Any]]:
    key = np.uint64(0)
    for part in (seed % (1 << 64), ("train", "test").index(split), attempt):
        key = _mixed(key ^ np.uint64(part))
    faces = _mixed(index ^ key)  # [N]
    factors: dict[str, NDArray[Any]] = {}
    for number, factor in enumerate(FACTORS):
        bits = _mixed(faces ^ _mixed(np.uint64(number + 1))) >> np.uint64(40)  # [N], 24 bits
        if factor.values:
            table = np.repeat(np.arange(len(factor.values)), factor.shares)
            factors[factor.name] = table[(bits * np.uint64(len(table))) >> np.uint64(24)].astype(np.int64)
        else:
            factors[factor.name] = bits.astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return factors


def _mixed(number: Any) -> Any:
    """splitmix64 (Steele, Lea and Flood 2014): one step of the counter, then the finaliser."""
    with np.errstate(over="ignore"):
        z = number + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def generate(
    split: str, start: int, stop: int, size: int, seed: int = 0, keep_out: KeepOut = ()
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Faces `start` to `stop` of a split: pictures [N, 3, size, size], and their factors (`sample_factors`)."""
    factors = sample_factors(split, start, stop, seed, keep_out)
    return draw(factors, size), factors


def draw(factors: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.uint8]:
    """Draw faces from factors, sampled or made by hand: name -> [N] -> [N, 3, size, size], size from 32 to 256."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise Problem("caras.size", given=size, smallest=SIZES[0], largest=SIZES[1])
    if set(factors) != set(BY_NAME):
        raise ValueError(f"a face needs exactly the factors {sorted(BY_NAME)}, not {sorted(factors)}")
    if len({len(values) for values in factors.values()}) > 1:
        raise ValueError("every factor needs one value a face")
    for name, values in factors.items():
        low, high = (0, len(BY_NAME[name].values) - 1) if BY_NAME[name].values else (-1, 1)
        if len(values) and not (low <= np.min(values) and np.max(values) <= high):
            raise ValueError(f"{name} lies between {low} and {high}")
    return drawing.draw(factors, size)


def _words() -> dict[str, Shown]:
    def value(name: str, number: int) -> Shown:
        return lambda factors: np.equal(factors[name], number)

    words: dict[str, Shown] = {
        "glasses": lambda factors: factors["glasses"] > 0,
        "beard": lambda factors: factors["beard"] > 0,
        "smile": lambda factors: factors["mouth"] > 1 / 3,
        "frown": lambda factors: factors["mouth"] < -1 / 3,
    }
    prefixes = {"hair_colour": "hair", "eye_colour": "eyes"}
    for factor in FACTORS:
        for number, name in enumerate(factor.values):
            words[f"{prefixes.get(factor.name, factor.name)}-{name}"] = value(factor.name, number)
    return words


# What a spec can name, and whether a face shows it: glasses, beard (any kind), smile, frown (the outer thirds of the
# mouth's range), and FACTOR-VALUE for each value: skin-dark, hair-curly, hair-red, eyes-almond, eyes-green,
# glasses-round, glasses-none, beard-full, clothes-hoodie, background-navy, ...
WORDS = _words()


def _excluded(factors: Mapping[str, NDArray[Any]], keep_out: KeepOut) -> NDArray[np.bool_]:
    shown = np.zeros(len(factors["skin"]), dtype=np.bool_)
    for words in keep_out:
        shown |= np.logical_and.reduce([WORDS[word](factors) for word in words])
    return shown


def parse(spec: str) -> KeepOut:
    """Read what follows ``caras:``: combinations ``no-A-with-B-with-...`` joined by "," or "+"; "" for none."""
    combinations = [text.strip() for text in spec.lower().replace("+", ",").split(",")]
    if combinations == [""]:
        return ()
    keep_out = []
    for text in combinations:
        if not text.startswith("no-"):
            raise Problem("caras.constraint", given=text)
        words = tuple(text.removeprefix("no-").split("-with-"))
        for word in words:
            if word not in WORDS:
                raise Problem("caras.word", given=word, combination=text, nearest=nearest(word, WORDS))
        keep_out.append(words)
    return tuple(keep_out)
