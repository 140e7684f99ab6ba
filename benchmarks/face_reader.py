"""What the benchmarks of `caras` share: a generator and who reads its faces, and when two readings are the same."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finished import finished
from latente.config import count, override
from latente.models.classifier import sizes
from latente.presets import PRESETS, scaled
from latente.run import Run, open_run

Readings = Mapping[str, NDArray[Any]]  # factor -> [N]
NEAR = 0.25  # numbers lie in [-1, 1]; an eighth of that apart they are the same
FAR = 0.5  # and at least this far apart they are different
AT_ONCE = 100
COLOURS = ("skin", "hair_colour", "eye_colour", "background")


def arguments(description: str, work: str) -> argparse.ArgumentParser:
    """What both benchmarks are asked."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny networks and few faces; stores nothing")
    parser.add_argument("--run", type=Path, help="a run of stylegan or stylegan2 on caras; otherwise one is trained")
    parser.add_argument("--classifier", type=Path, help="a run of classifier-factors on caras of the same size")
    parser.add_argument("--work", type=Path, default=Path(work), help="where run folders and interim results are")
    return parser


def networks(asked: argparse.Namespace) -> tuple[Run, Run]:
    """The run of styles and the one that reads factors: given, or trained at their presets' length."""
    found = []
    for given, preset in ((asked.run, "stylegan"), (asked.classifier, "classifier-factors")):
        if given is not None:
            found.append(open_run(given))
            continue
        config = override(PRESETS[preset](), {"data.source": "caras"})
        if asked.quick:
            config = scaled(config, count("1k"), keep=set())[0]
        found.append(finished(asked.work / ("quick" if asked.quick else "") / preset, config))
    generator, reader = found
    if generator.dataset["image_shape"] != reader.dataset["image_shape"]:
        raise SystemExit(f"{reader.folder} reads other sizes than {generator.folder} makes")
    return generator, reader


def read(net: Any, images: Tensor) -> Readings:
    """Images [N, C, H, W] in [-1, 1] -> what a reader of factors says of them."""
    with torch.no_grad():
        found: Readings = net.predict_factors(images)
    return found


def same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether two readings of a factor agree, [N]."""
    agree: NDArray[np.bool_] = a == b if np.issubdtype(a.dtype, np.integer) else np.abs(a - b) <= NEAR
    return agree


def differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether two faces are clearly different in a factor, [N]."""
    clear: NDArray[np.bool_] = a != b if np.issubdtype(a.dtype, np.integer) else np.abs(a - b) >= FAR
    return clear


def nearer(net: Any, images: Tensor, known: Readings, a: Readings, b: Readings) -> dict[str, NDArray[np.bool_]]:
    """Of two sources that each of N images, already read, may follow, whether it is the second, factor by factor, [N]:
    the one whose value the reader finds likelier; of numbers, the one that is nearer."""
    with torch.no_grad():
        outputs = torch.cat([net(part) for part in images.split(AT_ONCE)])
    found = {name: follows(known[name], a[name], b[name]) == 1 for name in known}
    for name, scores in zip(net.factors, outputs.split(sizes(net.factors), 1), strict=True):
        if net.factors[name]:  # a category
            of_a, of_b = (scores.gather(1, torch.from_numpy(values[name])[:, None]) for values in (a, b))
            found[name] = (of_b > of_a)[:, 0].numpy()
    return found


def follows(mixed: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """Which of two sources each mix is like in a factor: 0 the first, 1 the second, -1 neither."""
    if np.issubdtype(a.dtype, np.integer):
        return np.where(mixed == b, 1, np.where(mixed == a, 0, -1))
    return np.where(np.abs(mixed - b) < np.abs(mixed - a), 1, 0)
