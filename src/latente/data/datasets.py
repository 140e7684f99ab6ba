"""A name or a path -> images, ready to be gathered by index.

`load` is what the rest of the package calls. A set is prepared once (`prepare`), kept in the cache (`cache`) and mapped
into memory from there; `examine` in `check` says what is wrong with it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latente.config import DataConfig
from latente.data import cache, caras, names, points, prepare
from latente.data.arrays import Arrays
from latente.data.decoding import Settings
from latente.data.reading import open_path
from latente.messages import Problem, nearest, say

if TYPE_CHECKING:
    from torch import Tensor

_MOST_BAD = 0.1  # share of unusable files that is still taken for an accident
_CARAS_SIZE = 32
_LARGEST = 4096  # pixels a side


@dataclass(frozen=True)
class ImageSet:
    """One split of a set."""

    name: str
    images: NDArray[Any]  # uint8 [N, C, H, W], memory-mapped; of points, float32 [N, d, 1, 1] in [-1, 1]
    labels: NDArray[np.int64] | None  # [N]
    classes: tuple[str, ...]  # label -> name; () without labels
    factors: Mapping[str, NDArray[Any]] | None  # ground truth, name -> [N]; caras only

    def __len__(self) -> int:
        return len(self.images)

    def spread(self, most: int) -> NDArray[np.int64]:
        """At most so many indices, evenly spaced: folders are often sorted by class."""
        return np.linspace(0, len(self) - 1, min(len(self), most)).astype(np.int64)

    def gather(self, indices: NDArray[np.int64]) -> "Tensor":
        """[n] indices -> uint8 [n, C, H, W] (points: float32 [n, d, 1, 1]); a copy, in the order asked for."""
        import torch  # late: slow to import

        return torch.from_numpy(np.take(self.images, indices, axis=0))


@dataclass(frozen=True)
class Dataset:
    """A set in two splits, and what is known about it.

    `facts` (JSON-able): source, kind, key (of the cache), content (hash of the images in their order), resolution,
    channels, filter, shape [C, H, W], count, train, test, split {rule: official, folders or content}, classes,
    class_counts, duplicates {extra: copies beyond the first, across: held-out images that are also in training},
    sizes, modes, formats {what: images}, converted {code: images}, ignored {code: files}, left_out [{file, reason}]
    (the first thousand), left_out_count, files {name: bytes}. The sentence of a code is `data.did_CODE` or
    `data.bad_CODE`; `remarks` renders them all.
    """

    train: ImageSet
    test: ImageSet
    facts: Mapping[str, Any]
    folder: Path  # in the cache; of points, which are drawn anew each time, there is none


def load(config: DataConfig) -> Dataset:
    """Find a set, prepare it unless that has been done, and map it into memory.

    Raises:
        Problem: there is no such set, it has no or too few usable images, too many of its files are bad, its images
            differ in size and no resolution was asked for, it cannot be downloaded, or the cache cannot be written.
    """
    if points.is_points(config.source):
        return _points(config)
    if config.resolution is not None and not 1 <= config.resolution <= _LARGEST:
        raise Problem("data.resolution", given=config.resolution, largest=_LARGEST)
    source, name = find(config)
    settings = Settings(config.resolution, config.channels, config.filter)
    if isinstance(source, prepare.Caras):
        settings = settings._replace(resolution=config.resolution or _CARAS_SIZE)
        if not caras.SIZES[0] <= (settings.resolution or 0) <= caras.SIZES[1]:
            raise Problem("caras.size", given=settings.resolution, smallest=caras.SIZES[0], largest=caras.SIZES[1])
    text = repr((cache.FORMAT, source.kind, source.fingerprint, tuple(settings)))
    key = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=10).hexdigest()
    folder = cache.prepared_in(name, key)
    facts = cache.read_facts(folder) or cache.build(folder, lambda part: prepare.fill(part, source, settings, name))
    facts |= {"source": config.source, "kind": source.kind, "key": key, "resolution": settings.resolution}
    facts |= {"channels": {1: "grey", 3: "rgb", 4: "rgba"}[facts["shape"][0]], "filter": config.filter}
    _judge(facts, config)
    return _mapped(folder, facts)


def _points(config: DataConfig) -> Dataset:
    """A world of points, drawn: it has no pixels and no colours to choose."""
    for name, given, default in (("resolution", config.resolution, None), ("data.channels", config.channels, "auto")):
        if given != default:
            raise Problem("points.no_pixels", source=config.source, name=f"--{name}", given=given)
    images, facts = points.draw(config.source)
    train, test = images[: facts["train"]], images[facts["train"] :]
    return Dataset(ImageSet("train", train, None, (), None), ImageSet("test", test, None, (), None), facts, Path())


def find(config: DataConfig) -> tuple[prepare.Source, str]:
    """What a name or a path means, and a short name for it."""
    base, _, spec = config.source.partition(":")
    if names.known(base) == "caras":
        return prepare.Caras(_caras_version() + repr(caras.parse(spec)), caras.parse(spec)), "caras"
    name = names.known(config.source)
    if name is not None:
        return names.open_named(name), name
    path = Path(os.path.expanduser(config.source))
    if not os.path.exists(path) and path.name == config.source and not path.suffix:
        raise Problem(
            "data.unknown_name", given=config.source, near=nearest(config.source, (*names.NAMES, *points.NAMES))
        )
    source = open_path(path)
    relative = names.known(path.name)
    if source.kind == "idx" and relative in names.NAMED and isinstance(source, Arrays):
        source = names.with_classes(source, relative)  # a folder called fashion_mnist holds what its name says
    return source, path.resolve().name.split(".")[0][:40] or "images"


def _caras_version() -> str:
    """Changes when the code that draws the faces does."""
    files = sorted(Path(caras.__file__).parent.glob("caras*.py"))
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=10).hexdigest()


def _judge(facts: Mapping[str, Any], config: DataConfig) -> None:
    bad, total = facts["left_out_count"], facts["left_out_count"] + facts["count"]
    if not bad or config.on_bad == "skip" or (config.on_bad == "auto" and bad <= _MOST_BAD * total):
        return
    first = facts["left_out"][0]
    reason = say(f"data.bad_{first['reason']}")
    key = "data.bad_stop" if config.on_bad == "stop" else "data.too_many_bad"
    raise Problem(key, bad=bad, total=total, file=first["file"], reason=reason, source=config.source)


def _mapped(folder: Path, facts: dict[str, Any]) -> Dataset:
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy", mmap_mode="r") if "labels.npy" in facts["files"] else None
    factors = {
        name.removeprefix("factor_").removesuffix(".npy"): np.load(folder / name, mmap_mode="r")
        for name in facts["files"]
        if name.startswith("factor_")
    }

    def part(name: str, rows: slice) -> ImageSet:
        found = {factor: values[rows] for factor, values in factors.items()} if factors else None
        return ImageSet(name, images[rows], None if labels is None else labels[rows], tuple(facts["classes"]), found)

    return Dataset(part("train", slice(0, facts["train"])), part("test", slice(facts["train"], None)), facts, folder)


def remarks(facts: Mapping[str, Any]) -> list[str]:
    """What was done to the images of a set, in sentences: conversions, and files left out with their reasons."""
    said = [say(f"data.did_{code}", count=count) for code, count in facts["converted"].items()]
    reasons: dict[str, list[str]] = {}
    for item in facts["left_out"]:
        reasons.setdefault(item["reason"], []).append(item["file"])
    for code, files in reasons.items():
        shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        said.append(say("data.left_out", count=len(files), reason=say(f"data.bad_{code}"), files=shown))
    return said


def listing() -> list[dict[str, Any]]:
    """Every set with a name: {name, present: a copy is on this machine, licence}."""
    found = []
    for name in names.NAMES:
        files = "mnist" if name == "stacked-mnist" else name
        present = name == "caras" or (files in names.NAMED and names.present(files))
        if name == "digits":
            from importlib.util import find_spec

            present = find_spec("sklearn") is not None
        licence = names.NAMED[files].licence if files in names.NAMED else {"caras": "MIT", "digits": "CC BY 4.0"}[name]
        found.append({"name": name, "present": present, "licence": licence})
    return found + [{"name": name, "present": True, "licence": "MIT"} for name in points.NAMES]
