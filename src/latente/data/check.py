"""What is wrong with a set, before hours are spent on it: `latente data check`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.config import DataConfig
from latente.data import caras
from latente.data.arrays import block_rows
from latente.data.datasets import Dataset, load, remarks
from latente.data.reading import printable
from latente.messages import Problem, say

HASH_BITS = 3  # near duplicates: difference hashes at most so many bits apart,
PIXEL_RMS = 0.05  # and pixels so close, as a share of their range
_BANDS = 4  # of 16 bits: two hashes at most 3 bits apart are equal in at least one
_NEIGHBOURS = 16  # in the order of each band
_BLANK = 8  # grey levels between darkest and brightest pixel, below which an image shows nothing
_FEW = 100
_IMBALANCE = 10
_SHOWN = 5
_ONES_IN_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.int64)


def examine(config: DataConfig) -> dict[str, Any]:
    """Prepare a set (if need be) and look at all of it.

    Returns (JSON-able): the facts of `datasets.Dataset`, and `near` {images, across, examples, hash_bits, pixel_rms},
    `blank` (images of one colour), `disk` (bytes), `folder`; where the images differ in size, `needs_resolution`
    {kinds, common, advice}. If there is nothing to look at, only `source` and `problem` {key, fields}. Of a world of
    points: its facts, with `dimensions` for `shape`.

    Raises:
        Problem: there is no such set at all.
    """
    config = replace(config, on_bad="skip")
    needs: dict[str, Any] | None = None
    try:
        try:
            data = load(config)
        except Problem as problem:
            if problem.key != "data.sizes":
                raise
            needs = {name: problem.fields[name] for name in ("kinds", "common", "advice")}
            data = load(replace(config, resolution=needs["advice"]))
    except Problem as problem:
        if problem.key not in (
            "data.no_images",
            "data.no_images_but",
            "data.one_image",
            "data.all_bad",
            "data.all_same",
        ):
            raise
        fields = {name: value if isinstance(value, int) else str(value) for name, value in problem.fields.items()}
        return {"source": config.source, "problem": {"key": problem.key, "fields": fields}}
    if data.facts["kind"] == "points":
        return {"dimensions": data.facts["shape"][0]} | {k: v for k, v in data.facts.items() if k != "shape"}
    hashes, blank = difference_hashes(np.load(data.folder / "images.npy", mmap_mode="r"))
    report = {name: value for name, value in data.facts.items() if name != "files"}
    report |= {
        "near": _near(data, hashes, blank),
        "blank": int(blank.sum()),
        "disk": sum(data.facts["files"].values()),
        "folder": str(data.folder.parent),
    }
    if data.train.factors is not None:
        report["factors"] = list(data.train.factors)
    return report | ({"needs_resolution": needs} if needs else {})


def difference_hashes(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """[N, C, H, W] -> (64 bits an image, whether it shows nothing), [N] each.

    The image is averaged down to 8 x 9 grey cells; a bit says whether a cell is brighter than the one to its left.
    """
    count, channels, height, width = images.shape
    colours = min(channels, 3)  # transparency is no brightness
    rows, columns = _averages(height, 8), _averages(width, 9)  # [8, H], [9, W]
    hashes, blank = np.zeros(count, np.uint64), np.zeros(count, np.bool_)
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    step = block_rows(channels * height * width)
    for start in range(0, count, step):
        block = images[start : start + step, :colours]
        flat = block.reshape(len(block), colours, -1)
        blank[start : start + step] = (flat.max(2) - flat.min(2) < _BLANK).all(1)
        grey = block.mean(1, dtype=np.float32)  # [n, H, W]
        cells = rows @ grey @ columns.T  # [n, 8, 9]
        bits = (cells[:, :, 1:] > cells[:, :, :-1] + 1e-3).reshape(len(block), 64)
        hashes[start : start + step] = (bits * powers).sum(1, dtype=np.uint64)
    return hashes, blank


def _averages(size: int, cells: int) -> NDArray[np.float32]:
    """[cells, size]: each row averages the pixels that its cell covers, in part where it covers them in part."""
    edges = np.linspace(0, size, cells + 1)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(covered, 0, None)
    averages: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return averages


def near_pairs(hashes: NDArray[np.uint64], left_out: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of rows [m, 2] whose hashes are at most `HASH_BITS` apart, in time N log N.

    For each of four 16-bit bands, the hashes are sorted with that band first and each is compared with the 16 that
    follow. Hashes at most 3 bits apart agree in some band whole; a pair can be missed only where 16 or more others lie
    between the two in each such order.
    """
    rows = np.flatnonzero(~left_out)
    found = [np.zeros(0, np.int64)]  # a pair as one number, which sorts faster
    for band in range(_BANDS):
        turned = np.bitwise_or(hashes[rows] << np.uint64(16 * band), hashes[rows] >> np.uint64((64 - 16 * band) % 64))
        order = rows[np.argsort(turned, kind="stable")]
        for offset in range(1, _NEIGHBOURS + 1):
            one, other = order[:-offset], order[offset:]
            close = _ones(hashes[one] ^ hashes[other]) <= HASH_BITS
            one, other = one[close], other[close]
            found.append(np.minimum(one, other) * len(hashes) + np.maximum(one, other))
    return np.stack(np.divmod(np.unique(np.concatenate(found)), len(hashes)), axis=1)


def _ones(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[N] -> how many bits are set."""
    ones: NDArray[np.int64] = _ONES_IN_BYTE[numbers.view(np.uint8).reshape(-1, 8)].sum(1)
    return ones


def _near(data: Dataset, hashes: NDArray[np.uint64], blank: NDArray[np.bool_]) -> dict[str, Any]:
    images = np.load(data.folder / "images.npy", mmap_mode="r")
    content = np.load(data.folder / "hashes.npy", mmap_mode="r")
    pairs = near_pairs(hashes, blank)
    pairs = pairs[content[pairs[:, 0]] != content[pairs[:, 1]]]  # exact duplicates are counted elsewhere
    step = block_rows(4 * images[0].nbytes)
    close = [np.zeros(0, np.bool_)]
    for start in range(0, len(pairs), step):
        one, other = (images[pairs[start : start + step, side]].astype(np.float32) for side in (0, 1))
        close.append(np.sqrt(np.square((one - other) / 255).mean((1, 2, 3))) <= PIXEL_RMS)
    pairs = pairs[np.concatenate(close)]
    train = data.facts["train"]
    shown = pairs[:_SHOWN].tolist()
    called = _names(data, {row for pair in shown for row in pair})
    return {
        "images": len(np.unique(pairs)),
        "across": int(((pairs[:, 0] < train) & (pairs[:, 1] >= train)).sum()),
        "examples": [[called[one], called[other]] for one, other in shown],
        "hash_bits": HASH_BITS,
        "pixel_rms": PIXEL_RMS,
    }


def _names(data: Dataset, rows: set[int]) -> dict[int, str]:
    """The files that some rows came from; their numbers where there are no files."""
    train = data.facts["train"]
    called = {row: f"train {row}" if row < train else f"test {row - train}" for row in rows}
    if "names.txt" in data.facts["files"]:
        with (data.folder / "names.txt").open(encoding="ascii") as file:
            called |= {number: printable(json.loads(line)) for number, line in enumerate(file) if number in rows}
    return called


def verdict(report: Mapping[str, Any], times: Mapping[str, str] | None = None) -> tuple[list[str], bool]:
    """A report of `examine` in sentences, the verdict last, and whether there is a fault.

    times: preset -> estimated training time, in words.
    """
    if "problem" in report:
        sentence = say(report["problem"]["key"], **report["problem"]["fields"])
        return [say("data.check_fault", problem=sentence), say("data.check_bad")], True
    if report["kind"] == "points":
        fields = {name: report[name] for name in ("source", "dimensions", "train", "test")}
        return [say("points.check", **fields), say("data.check_good")], False
    faults, notes = list(_faults(report)), list(_notes(report))
    said = [*_findings(report), *notes]
    if times:
        said += [
            say("data.check_times"),
            *(say("data.check_time", preset=name, time=time) for name, time in times.items()),
        ]
    said += [*faults, say("data.check_bad" if faults else "data.check_notes" if notes else "data.check_good")]
    return said, bool(faults)


def _findings(report: Mapping[str, Any]) -> Iterator[str]:
    _, height, width = report["shape"]
    channels, rule = say(f"data.check_channels_{report['channels']}"), say(f"data.check_rule_{report['split']['rule']}")
    fields = {name: report[name] for name in ("count", "train", "test")}
    yield say("data.check_count", **fields, width=width, height=height, channels=channels, rule=rule)
    sizes, modes = _counts(report["sizes"].items()), _counts(report["modes"].items())
    yield say("data.check_sizes", sizes=sizes, modes=modes)
    if report["class_counts"]:
        ranked = sorted(zip(report["class_counts"], report["classes"], strict=True))
        (least, smallest), (most, largest) = ranked[0], ranked[-1]
        yield say("data.check_classes", classes=len(ranked), largest=largest, most=most, smallest=smallest, least=least)
    else:
        yield say("data.check_no_classes")
    if "factors" in report:
        yield say("data.check_factors")
        yield from (_in_words(caras.BY_NAME[name]) for name in report["factors"])
    yield say("data.check_duplicates", **report["duplicates"])
    near = report["near"]
    method = say("data.check_method", bits=near["hash_bits"], rms=f"{near['pixel_rms']:.0%}".replace("%", " %"))
    if near["images"]:
        yield say("data.check_near", images=near["images"], across=near["across"], method=method)
        yield from (say("data.check_near_example", one=one, other=other) for one, other in near["examples"][:2])
    else:
        yield say("data.check_none_near", method=method)
    yield from remarks(report)
    hidden, others = report["ignored"].get("hidden", 0), report["ignored"].get("not_an_image", 0)
    if hidden or others:
        yield say("data.check_ignored", hidden=hidden, others=others)
    yield say("data.check_memory", disk=max(1, round(report["disk"] / 1e6)), folder=report["folder"])


def _in_words(factor: caras.Factor) -> str:
    """A factor of caras and its values, or the two ends of a continuous one."""
    ends = [say(f"caras.{factor.name}_low"), say(f"caras.{factor.name}_high")] if not factor.values else []
    values = ends or [say(f"caras.{factor.name}_{value}") for value in factor.values]
    return f"  {say(f'caras.{factor.name}')}: {(' ... ' if ends else ', ').join(values)}"


def _counts(items: Iterable[tuple[str, int]]) -> str:
    ranked = sorted(items, key=lambda item: -item[1])
    more = ", ..." if len(ranked) > _SHOWN else ""
    return ", ".join(f"{name} ({count})" for name, count in islice(ranked, _SHOWN)) + more


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    """Things to know that stop nobody."""
    if "needs_resolution" in report:
        yield say("data.check_needs_resolution", **report["needs_resolution"])
    if report["count"] < _FEW:
        yield say("data.check_few", count=report["count"])
    if report["blank"]:
        yield say("data.check_blank", count=report["blank"])
    counts = report["class_counts"]
    if counts and max(counts) > _IMBALANCE * max(1, min(counts)):
        yield say("data.check_imbalance", ratio=round(max(counts) / max(1, min(counts))))
    if report["duplicates"]["across"]:
        yield say("data.check_leak", across=report["duplicates"]["across"])


def _faults(report: Mapping[str, Any]) -> Iterator[str]:
    bad, total = report["left_out_count"], report["left_out_count"] + report["count"]
    if bad > 0.1 * total:
        yield say("data.check_fault_bad", bad=bad, total=total, share=round(100 * bad / total))
