"""Values of several runs side by side, ranked only where that can be answered for.

What is read is the newest row of each metric in evaluations.jsonl. Two values are ranked when
  - nothing that they hang on differs: their protocols, their unit, the data of the runs (`differences`);
  - the metric has a better and a worse (`BETTER`; a row may say "better": "higher" or "lower" itself);
  - their difference is clear: its interval leaves zero out (`_difference`).
The interval of a row holds the truth with 95 %. Where more than two are ranked, each difference is held to a stricter
level, so that all of a metric are right together with 95 % (Bonferroni).

Runs that differ in nothing but training.seed are seeds of one configuration: what is compared is the mean over them,
and its interval (Student's t) is how far other seeds would move it. An interval within one run says how far other
samples would move its value, not how far another training would; so a configuration of one seed is marked as such.

For a writer of rows: values of single images, for a paired comparison
    "value"       the mean of the values
    "per_image"   the path of a .npy file inside the run's folder, with forward slashes, and the clock in its name:
                  "evaluations/mse-000300000.npy". float64 [N], finite, N > 1, in the order of the references
    "protocol"    has "references": a checksum of those N references in their order (for reconstructions of held-out
                  images, that of the images as the network sees them)
Rows with the same protocol are then compared image by image: the interval is that of the mean difference, which is far
narrower than what two separate intervals allow. A file that is gone is done without; one that does not agree with its
row is a Problem.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path, PurePosixPath
from statistics import NormalDist, fmean, stdev
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latente.config import from_json, to_json
from latente.messages import Problem
from latente.run import Run, rows

LEVEL = 0.95
Better = Literal["higher", "lower"]
BETTER: dict[str, Better] = {
    **dict.fromkeys(("mse", "error", "nll", "bits_per_dimension", "frechet", "kernel", "kl", "jsd"), "lower"),
    **dict.fromkeys(("advantage", "best_data", "best_samples", "half_data", "half_samples"), "lower"),
    **dict.fromkeys(("bound", "elbo", "log_likelihood", "accuracy"), "higher"),
    **dict.fromkeys(("precision", "recall", "density", "coverage"), "higher"),
    **dict.fromkeys(("modes", "modes_5", "high_quality"), "higher"),
    **dict.fromkeys(("mig", "sap", "disentanglement", "completeness", "informativeness"), "higher"),
}  # a name with more after a slash ("frechet/pixels") is read by what stands before it

Row = dict[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in nothing but their training seed."""

    label: str  # A, B, ...
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    images: int  # the clock of the newest evaluation

    @property
    def one_seed(self) -> bool:
        return len(self.runs) == 1


class Value(NamedTuple):
    """A metric of one configuration."""

    value: float  # of several seeds, the mean
    interval: Interval | None  # 95 %; of several seeds, of the mean over all possible seeds
    spread: float | None  # standard deviation over the seeds; None for one
    seeds: int  # how many of them have it
    real: float | None  # the same of real data
    images: int  # the clock it was measured at


class Pair(NamedTuple):
    """Two configurations, the better one first where the difference is clear."""

    first: str
    second: str
    difference: float  # value of the first less that of the second
    interval: Interval
    how: str  # "paired" or "intervals"
    n: int  # images that were paired, or 0

    @property
    def clear(self) -> bool:
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True)
class Metric:
    """One metric of all configurations."""

    name: str
    unit: str
    better: Better | None
    values: Mapping[str, Value]  # label -> value; those that have none are left out
    order: tuple[tuple[str, ...], ...] = ()  # best first; those that cannot be told apart together; () if not compared
    pairs: tuple[Pair, ...] = ()
    reason: str | None = None  # why it is not ranked, or not wholly: a key of the messages
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ranked(self) -> bool:
        """Whether every one has its place."""
        return bool(self.order) and all(len(place) == 1 for place in self.order)


@dataclass(frozen=True)
class Comparison:
    configurations: tuple[Configuration, ...]
    metrics: tuple[Metric, ...]


def compare(runs: Sequence[Run], metrics: Sequence[str] = ()) -> Comparison:
    """Put the runs side by side; metrics: names of those to compare, all that any run has if none are given.

    Problem for fewer than two runs, one without evaluations, a training given twice, a metric that no run has, a file
    of values of single images that does not agree with its row."""
    runs = list({run.folder.resolve(): run for run in runs}.values())
    if len(runs) < 2:
        raise Problem("compare.too_few")
    measured = {run.folder: newest(run) for run in runs}
    known = list(dict.fromkeys(name for found in measured.values() for name in found))
    for name in metrics:
        if name not in known:
            raise Problem("compare.unknown_metric", given=name, known=", ".join(known))
    configurations = grouped(runs, measured)
    chosen = list(dict.fromkeys(metrics)) or known
    return Comparison(configurations, tuple(_metric(name, configurations, measured) for name in chosen))


def newest(run: Run) -> dict[str, Row]:
    """The newest row of each metric of a run, by name; Problem if there is none."""
    found = {row["metric"]: row for row in rows(run.folder / "evaluations.jsonl") if "metric" in row and "value" in row}
    if not found:
        raise Problem("compare.no_evaluations", folder=run.folder)
    return found


def grouped(runs: Sequence[Run], measured: Mapping[Path, Mapping[str, Row]]) -> tuple[Configuration, ...]:
    """The configurations, in the order given; Problem for one with the same seed twice, which says nothing new."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        tree, facts = to_json(from_json(run.tree)), run.dataset  # as created, whatever was treated since
        seed = tree["training"].pop("seed")
        del tree["paper"]  # words
        clock = max(row["images"] for row in measured[run.folder].values())
        same = {"tree": tree, "content": facts.get("content"), "shape": facts["image_shape"], "clock": clock}
        key = json.dumps(same | {"start_from": run.tree.get("start_from")}, sort_keys=True)
        for other in groups.setdefault(key, []):
            if other.config.training.seed == seed:
                raise Problem("compare.same_training", first=other.folder, second=run.folder)
        groups[key].append(run)
    return tuple(
        Configuration(
            label=label,
            runs=tuple(group),
            seeds=tuple(run.config.training.seed for run in group),
            images=max(row["images"] for row in measured[group[0].folder].values()),
        )
        for label, group in zip(_labels(), groups.values(), strict=False)
    )


def _labels() -> Iterator[str]:
    """A, B, ..., Z, AA, AB, ..."""
    letters = [chr(ord("A") + i) for i in range(26)]
    yield from letters
    yield from (a + b for a in letters for b in letters)


def _metric(name: str, configurations: Sequence[Configuration], measured: Mapping[Path, Mapping[str, Row]]) -> Metric:
    found: dict[str, list[tuple[Run, Row]]] = {}
    for one in configurations:
        have = [(run, measured[run.folder][name]) for run in one.runs if name in measured[run.folder]]
        have = [(run, row) for run, row in have if row["value"] is not None and math.isfinite(row["value"])]
        if have:
            found[one.label] = have
    values = {label: _value([row for _, row in have]) for label, have in found.items()}
    first = next(
        measured[run.folder][name] for one in configurations for run in one.runs if name in measured[run.folder]
    )
    better = first.get("better", BETTER.get(name.partition("/")[0]))
    plain = Metric(name, first.get("unit", ""), better, values)
    if len(values) < 2:
        return _unranked(plain, "compare.alone", labels=list(values))
    unlike = differences(found)
    if unlike:
        return _unranked(plain, "compare.protocols_differ", differences=unlike)
    if better is None:
        return _unranked(plain, "compare.no_direction")
    without = [label for label, value in values.items() if value.interval is None]
    pairs = _pairs(found, values, better)
    if pairs is None:
        return _unranked(plain, "compare.no_interval", labels=without)
    order = _places(values, pairs, better)
    unclear = [[pair.first, pair.second] for pair in pairs if not pair.clear]
    reason = "compare.not_clear" if unclear else None
    fields = {"pairs": unclear} if unclear else {}
    return Metric(name, plain.unit, better, values, order, tuple(pairs), reason, fields)


def _unranked(plain: Metric, reason: str, **fields: Any) -> Metric:
    return Metric(plain.name, plain.unit, plain.better, plain.values, reason=reason, fields=fields)


def _value(found: Sequence[Row]) -> Value:
    """Of one seed its row; of several their mean, its interval over seeds, and their spread."""
    values = [float(row["value"]) for row in found]
    real = next((float(row[key]) for row in found for key in ("real", "floor") if row.get(key) is not None), None)
    mean, interval, spread = fmean(values), None, None
    if len(values) > 1:
        spread = stdev(values)
        half = student(LEVEL, len(values) - 1) * spread / math.sqrt(len(values))
        interval = (mean - half, mean + half)
    elif found[0].get("interval"):
        interval = (float(found[0]["interval"][0]), float(found[0]["interval"][1]))
    return Value(mean, interval, spread, len(values), real, max(row["images"] for row in found))


def differences(found: Mapping[str, Sequence[tuple[Run, Row]]]) -> dict[str, list[tuple[Any, list[str]]]]:
    """What the values hang on and is not the same for all: name -> each value that it has, and the labels that have it.

    Nested protocols have dotted names; what one does not say at all is None. Seeds of one configuration must have been
    measured at the same clock besides."""
    said: list[tuple[str, dict[str, Any]]] = []
    sources: dict[Any, str] = {}
    for label, have in found.items():
        clocks = {row["images"] for _, row in have}
        for run, row in have:
            tree = dict(_flat(row.get("protocol") or {})) | {"unit": row.get("unit"), "better": row.get("better")}
            source, content = run.config.data.source, run.dataset.get("content")
            tree |= {"data": content or source, "image_shape": run.dataset["image_shape"]}
            sources[tree["data"]] = f"{source} ({content[:8]})" if content else source
            said.append((label, tree | ({"images": row["images"]} if len(clocks) > 1 else {})))
    unlike: dict[str, list[tuple[Any, list[str]]]] = {}
    for key in dict.fromkeys(key for _, tree in said for key in tree):
        by_value: dict[str, tuple[Any, list[str]]] = {}
        for label, tree in said:
            if key == "images" and key not in tree:
                continue
            value = tree.get(key)
            _, labels = by_value.setdefault(json.dumps(value, sort_keys=True), (value, []))
            if label not in labels:
                labels.append(label)
        if len(by_value) > 1:
            unlike[key] = list(by_value.values())
    if "data" in unlike:  # compared by their content, named by their source
        unlike["data"] = [(sources[value], labels) for value, labels in unlike["data"]]
    return unlike


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


# --- Which differences are clear --------------------------------------------------------------------------------------


def _pairs(
    found: Mapping[str, Sequence[tuple[Run, Row]]], values: Mapping[str, Value], better: Better
) -> list[Pair] | None:
    """Every two, the better first; None where any two can be compared neither image by image nor by their intervals."""
    couples = list(combinations(values, 2))
    level = 1 - (1 - LEVEL) / len(couples)
    per_image = {label: _per_image(*have[0]) for label, have in found.items() if len(have) == 1}
    pairs = []
    for a, b in couples:
        if (values[a].value > values[b].value) != (better == "higher"):
            a, b = b, a
        of_a, of_b = per_image.get(a), per_image.get(b)
        if of_a is not None and of_b is not None and len(of_a) == len(of_b):
            interval, how, n = paired(of_a - of_b, level), "paired", len(of_a)
        elif values[a].interval is None or values[b].interval is None:
            return None
        else:
            interval, how, n = _apart(values[a], values[b], level), "intervals", 0
        pairs.append(Pair(a, b, values[a].value - values[b].value, interval, how, n))
    return pairs


def _places(values: Mapping[str, Value], pairs: Iterable[Pair], better: Better) -> tuple[tuple[str, ...], ...]:
    """Best first; a place ends only where everything before is clearly better than everything after."""
    line = sorted(values, key=lambda label: values[label].value, reverse=better == "higher")
    unclear = {frozenset((pair.first, pair.second)) for pair in pairs if not pair.clear}
    places: list[tuple[str, ...]] = []
    begin = 0
    for end in range(1, len(line) + 1):
        if not any(frozenset((a, b)) in unclear for a in line[begin:end] for b in line[end:]):
            places.append(tuple(line[begin:end]))
            begin = end
    return tuple(places)


def paired(differences: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Interval of the mean of differences [N], image by image: mean -+ t s / sqrt(N)."""
    mean = float(differences.mean())
    half = student(level, len(differences) - 1) * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return mean - half, mean + half


def _apart(a: Value, b: Value, level: float) -> Interval:
    """Interval of a - b from theirs, taken as independent (which is careful where they share references).

    The distances from each value to the ends of its interval add as squares, end by end, so that intervals may be
    lopsided (Zou and Donner 2008; for two Wilson intervals it is Newcombe's, 1998, method 10)."""
    (a_low, a_high), (b_low, b_high) = _arms(a, level), _arms(b, level)
    difference = a.value - b.value
    return difference - math.hypot(a_low, b_high), difference + math.hypot(a_high, b_low)


def _arms(value: Value, level: float) -> tuple[float, float]:
    """How far the interval reaches below the value and above it, stretched from 95 % to `level`."""
    assert value.interval is not None
    low, high = value.interval
    arms = value.value - low, high - value.value
    if min(arms) < 0:  # a biased interval beside its value: its width, at least, is known
        arms = (high - low) / 2, (high - low) / 2
    if value.seeds > 1:
        stretch = student(level, value.seeds - 1) / student(LEVEL, value.seeds - 1)
    else:
        stretch = NormalDist().inv_cdf((1 + level) / 2) / NormalDist().inv_cdf((1 + LEVEL) / 2)
    return arms[0] * stretch, arms[1] * stretch


def _per_image(run: Run, row: Row) -> NDArray[np.float64] | None:
    """The values of single images [N] of a row that has them; None if it has none or the file is gone."""
    name, references = row.get("per_image"), (row.get("protocol") or {}).get("references")
    if not name or not references:
        return None
    path = run.folder.joinpath(*PurePosixPath(name).parts)
    if not path.resolve().is_relative_to(run.folder.resolve()):
        raise Problem("compare.per_image", path=name, folder=run.folder, metric=row["metric"])
    if not path.is_file():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        values = np.empty(0)
    fit = values.ndim == 1 and len(values) > 1 and values.dtype == np.float64 and bool(np.isfinite(values).all())
    if not fit or not math.isclose(values.mean(), row["value"], rel_tol=1e-6, abs_tol=1e-9):
        raise Problem("compare.per_image", path=name, folder=run.folder, metric=row["metric"])
    found: NDArray[np.float64] = values
    return found


def student(level: float, freedom: int) -> float:
    """t with P(|T| <= t) = level, of Student's distribution with a whole number of degrees of freedom.

    From its finite series (Abramowitz and Stegun, 26.7.3 and 26.7.4); above 200, from the normal quantile (26.7.5)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    if freedom > 200:
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, math.pi / 2  # of theta = atan(t / sqrt(freedom))
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(theta: float, freedom: int) -> float:
    """P(|T| <= sqrt(freedom) tan theta)."""
    odd = freedom % 2
    term, total = (math.cos(theta) if odd else 1.0), 0.0
    for i in range(freedom // 2):
        total += term
        term *= math.cos(theta) ** 2 * (2 * i + 1 + odd) / (2 * i + 2 + odd)
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total
