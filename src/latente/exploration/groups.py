"""Groups of latents whose mean is taken: sources by name, or all images of which something is true.

`3,5,test:8` is a list of sources. `glasses=1`, `smile=0`, `hair=curly`, `pose_x=-1` or `label=boot` say what is true of
an image; several, joined by commas, have to be true at once. An encoder's group are the codes of training images that
are known to be so; a generator's without one are latents of samples that a classifier reads so.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.data.caras import BY_NAME, WORDS
from latente.data.stream import condition, see, seen_as
from latente.data.stream import known as known_of
from latente.exploration.sources import Ground, named, source
from latente.exploration.spaces import shown
from latente.messages import Problem, nearest, say
from latente.run import Run

MOST = 500  # images whose codes are averaged, at most
SAMPLES = 2000  # new images that are read
FEWEST = 5  # images that make a group
_AT_ONCE = 250

Known = Mapping[str, NDArray[Any]]  # name -> [N]
Reader = Callable[[], Run]  # a run of the classifier family, trained when it is first asked for


class Group(NamedTuple):
    """Latents that have something in common."""

    name: str  # for a label, in the language in force
    latents: Tensor  # [n, d]


def group(place: Ground, text: str, space: str, reader: Reader | None = None) -> Group:
    """A group as it was typed. `reader` is asked for only where samples have to be read.

    Problem: there is no such source, factor, value or class, or too few images are so.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise Problem("explore.no_source", given=text)
    if "=" not in text:
        found = [source(place, word) for word in words]
        name = named(found)
        return Group(name if len(found) == 1 else say("explore.mean_of", names=name), place.all_of(found, space))
    classes = list(place.run.dataset["classes"])
    if place.encodes:
        facts: Known = known_of(place.dataset.train)
        which = _chosen(place, facts, classes, words)
        latents = _codes(place, which)
    else:
        facts, latents = _read(place, space, reader)
        latents = latents[torch.from_numpy(_chosen(place, facts, classes, words))]
    told = ", ".join(said(facts, classes, word) for word in words)
    return Group(say("explore.group", what=told, n=len(latents)), latents)


def holds(facts: Known, classes: list[str], condition: str) -> NDArray[np.bool_]:
    """Of which images a condition NAME=VALUE is true: [N].

    label: a class by its name or number. A word of `caras` (glasses, beard, smile, hair-red): 1 or 0. A factor with
    values: one of them. A factor that is a number: 1, 0 or -1 for the upper, middle and lower third of its range.
    """
    name, _, value = condition.partition("=")
    found: NDArray[np.bool_]
    if name == "label" and "label" in facts:
        wanted = classes.index(value) if value in classes else int(value) if value.isdecimal() else -1
        if not 0 <= wanted < len(classes):
            raise Problem("explore.no_class", given=value, near=nearest(value, classes))
        found = np.equal(facts["label"], wanted)
        return found
    faces = set(facts) >= set(BY_NAME)
    words = WORDS if faces else {}
    if name in words and value in ("0", "1"):
        found = words[name](facts) == (value == "1")
        return found
    if name not in facts:
        raise Problem("explore.no_factor", given=name, near=nearest(name, [*facts, *words]))
    values = np.asarray(facts[name])
    if np.issubdtype(values.dtype, np.integer):
        names = BY_NAME[name].values if faces else tuple(str(i) for i in range(int(values.max()) + 1))
        if value not in names:
            allowed = ", ".join((*names, *(("0", "1") if name in words else ())))
            raise Problem("explore.no_value", name=name, given=value, values=allowed)
        found = values == names.index(value)
        return found
    thirds = {"1": values > 1 / 3, "0": np.abs(values) <= 1 / 3, "-1": values < -1 / 3}
    if value not in thirds:
        raise Problem("explore.no_value", name=name, given=value, values="-1, 0, 1")
    found = thirds[value]
    return found


def said(facts: Known, classes: list[str], condition: str) -> str:
    """A condition that `holds` has taken, as a label says it in the language in force: "hair: curly"."""
    name, _, value = condition.partition("=")
    if name == "label" and "label" in facts:
        return say("explore.class", name=value if value in classes else classes[int(value)])
    if not set(facts) >= set(BY_NAME):
        return say("explore.is", factor=name, value=value)
    if name in ("glasses", "beard") and value in ("0", "1"):
        return say(
            "explore.is", factor=say(f"caras.{name}"), value=say("explore.yes" if value == "1" else "explore.no")
        )
    key = "explore.is" if name in BY_NAME or value == "1" else "explore.is_not"
    if name in WORDS and name not in BY_NAME:
        name, value = _factor_of(name)
    elif not BY_NAME[name].values:
        value = {"1": "high", "0": "middle", "-1": "low"}[value]
    told = say("explore.middle") if value == "middle" else say(f"caras.{name}_{value}")
    return say(key, factor=say(f"caras.{name}"), value=told)


def _factor_of(word: str) -> tuple[str, str]:
    """A word of `caras` that is no factor itself -> the factor and the value (or the end) that it names."""
    if word in ("smile", "frown"):
        return "mouth", "high" if word == "smile" else "low"
    prefix, _, value = word.partition("-")
    names = {"hair": ("hair", "hair_colour"), "eyes": ("eyes", "eye_colour")}.get(prefix, (prefix,))
    return next(name for name in names if value in BY_NAME[name].values), value


def _chosen(place: Ground, facts: Known, classes: list[str], words: list[str]) -> NDArray[np.int64]:
    """Indices of the images of which all conditions are true."""
    if not facts:
        raise Problem("explore.nothing_known", folder=place.run.folder, source=place.run.config.data.source)
    for word in words:
        if "=" not in word:
            raise Problem("explore.no_condition", given=word)
    which = np.flatnonzero(np.logical_and.reduce([holds(facts, classes, word) for word in words]))
    if len(which) < FEWEST:
        raise Problem("explore.too_few", given=",".join(words), n=len(which), least=FEWEST)
    return which


@torch.no_grad()
def _codes(place: Ground, which: NDArray[np.int64]) -> Tensor:
    """Codes of training images, at most `MOST` of them, evenly spaced -> [n, d]."""
    train = place.dataset.train
    which = which[np.linspace(0, len(which) - 1, min(len(which), MOST)).astype(np.int64)]
    parts = []
    for some in np.array_split(which, -(-len(which) // _AT_ONCE)):
        seen = see(train.gather(some), seen_as(place.run.config), indices=some)
        told = condition(train, some) if place.label is not None else None
        parts.append(place.net.encode(seen, told))
    return torch.cat(parts)


def _read(place: Ground, space: str, reader: Reader | None) -> tuple[Known, Tensor]:
    """What a classifier reads in samples, and their latents [SAMPLES, d]."""
    if place.label is not None:
        raise Problem("explore.told_the_class", folder=place.run.folder)
    if reader is None:
        raise Problem("explore.nothing_known", folder=place.run.folder, source=place.run.config.data.source)
    judge = reader()
    task, wanted = getattr(judge.config.objective, "task", None), place.run.dataset["image_shape"]
    if task not in ("labels", "factors") or judge.dataset["image_shape"] != wanted:
        raise Problem("explore.wrong_reader", folder=judge.folder, wanted="x".join(map(str, wanted[::-1])))
    z = place.net.prior(SAMPLES, torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = place.net.mapping(z) if space == "w" else z
        images, net = shown(place.net, space, latents), judge.network()
        if task == "factors":
            return net.predict_factors(images), latents
        return {"label": torch.cat([net.predict(part) for part in torch.split(images, _AT_ONCE)]).numpy()}, latents
