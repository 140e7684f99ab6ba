"""From measurements to findings: what goes wrong, since when, how sure, and what to do about it.

One function a verdict, History -> Finding or None, each with its reason. All are read by `judge`. They work from
whatever columns there are: the probes' (prefix probe/), the steps', or the two losses of another tool's table, which
say less and are believed less. A verdict looks at the last stretch (medians), never at one row.

Faults are all but undertrained, past-best and healthy. Blur is a fault: the setting that makes it is known, and so is
the one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from latente.diagnosis import signs
from latente.diagnosis.codes import blurred, over_regularised, posterior_collapse, under_regularised
from latente.diagnosis.findings import CALIBRATION, LIMITS, Finding, also, confidence, finding, settled
from latente.diagnosis.games import (
    critic_memorising,
    generator_memorising,
    mode_collapse_full,
    mode_collapse_partial,
    mode_cycling,
    oscillation,
    saturated_critic,
)
from latente.diagnosis.history import History, Series

__all__ = ["CALIBRATION", "LIMITS", "ORDER", "VERDICTS", "Finding", "confidence", "judge"]


_BEGINNING = 1500  # steps


def judge(history: History) -> list[Finding]:
    """All that can be said, most serious first; never empty. Of a run that has hardly begun, only whether its numbers
    broke: every generator starts with one kind of blot."""
    asked = VERDICTS if begun(history) else (divergence,)
    found = {one.what: one for verdict in asked if (one := verdict(history)) is not None}
    for what, spared in _HIDES.items():
        if what in found:
            for other in spared:
                found.pop(other, None)
    if not set(found) - set(_BENIGN):
        found["healthy"] = healthy(history)
    return [found[what] for what in ORDER if what in found]


_BENIGN = ("undertrained", "past-best")


def begun(history: History) -> bool:
    """Whether a run that goes on has come so far that a fault can be told from a beginning: a fifth of its length, or
    1500 steps, whichever is less."""
    steps = _BEGINNING * history.setting("training.batch", 1)
    return history.over or history.end >= min(steps, 0.2 * float(history.facts.get("until", 0)))


ORDER = (
    *("divergence", "mode-collapse-full", "mode-cycling", "posterior-collapse", "saturated-critic"),
    *("generator-memorising", "mode-collapse-partial", "critic-memorising", "oscillation", "under-regularised"),
    *("over-regularised", "blurred", "checkerboard", "past-best", "undertrained", "healthy"),
)
_HIDES = {  # a verdict -> those that are its consequence, or a weaker name for it
    "mode-cycling": (
        "mode-collapse-full",
        "mode-collapse-partial",
        "undertrained",
    ),  # and where kinds are few, it oscillates
    "mode-collapse-full": ("mode-collapse-partial", "oscillation", "undertrained"),
    "oscillation": ("mode-collapse-partial", "undertrained"),  # fakes on their way cover little
    "generator-memorising": ("mode-collapse-partial",),  # copies of a few images are near few others
    "mode-collapse-partial": ("undertrained",),
    "posterior-collapse": ("over-regularised", "blurred", "undertrained"),
    "saturated-critic": ("undertrained",),
    "past-best": ("undertrained",),
    # Last: a generator that travels is no full collapse. One that broke and makes one image is both.
    "divergence": tuple(w for w in ORDER if w not in ("divergence", "mode-collapse-full", "past-best")),
}


# ---- Numbers that broke ---------------------------------------------------------------------------------------------

_LOSSES = ("critic/loss", "generator/loss", "loss", "reconstruction", "kl", "mse", "test/loss")


def divergence(history: History) -> Finding | None:
    """A loss that is no number any more, or a hundred times what it ever was in the first half; a KL of a hundred nats
    a latent, where a useful one has a few: what was thrown there in the first steps explodes no more."""
    facts = history.facts
    if facts.get("stopped") == "non-finite":
        evidence: dict[str, float | str] = {"term": str(facts.get("term", "?"))}
        return finding(history, "divergence", 1.0, facts.get("since"), evidence, "divergence/nan")
    for name in _LOSSES:
        column = history.columns.get(name)
        if column is not None and len(column) and not np.isfinite(column.values[-1]):
            whole = np.flatnonzero(np.isfinite(column.values))
            first = whole[-1] + 1 if len(whole) else 0
            return finding(history, "divergence", 1.0, float(column.images[first]), {"term": name}, "divergence/nan")
    best: tuple[float, str, float | None] | None = None
    for name in (*_LOSSES, "critic/real", "critic/fake", "gradient/generator", "gradient/critic"):
        column = history.get(name, least=8)
        if column is None:
            continue
        sizes = np.abs(column.values)
        before = max(float(sizes[: len(sizes) // 2].max()), 1.0)
        last = abs(signs.level(column, 0.1))
        grown = math.log10(max(last, 1e-300) / before)
        if best is None or grown > best[0]:
            best = grown, name, signs.left(Series(column.images, sizes), bad_above=10 * before)
    kl, latents = history.get("probe/kl"), history.get("probe/latents")
    if kl is not None and latents is not None and settled(history, kl):
        each = math.log10(max(signs.level(kl) / max(signs.level(latents), 1), 1e-12))
        if (score := LIMITS["explosion"].score(each)) >= 0:
            since = signs.left(kl, bad_above=signs.level(latents) * 10 ** LIMITS["explosion"].at)
            thrown: dict[str, float | str] = {"kl": signs.level(kl), "latents": signs.level(latents)}
            return finding(history, "divergence", score, since, thrown)
    if best is None or (score := LIMITS["explosion"].score(best[0])) < 0:
        return None
    return finding(history, "divergence", score, best[2], {"term": best[1], "times": 10 ** best[0]})


# ---- Pictures and time ----------------------------------------------------------------------------------------------


def checkerboard(history: History) -> Finding | None:
    """More energy at the frequencies of upsampling by 2 than pictures have (Odena et al. 2016)."""
    column = history.get("probe/checkerboard")
    if column is None or not settled(history, column):
        return None
    value = signs.level(column)
    if (score := LIMITS["checkerboard"].score(value)) < 0:
        return None
    since = signs.left(column, bad_above=LIMITS["checkerboard"].at)
    return finding(history, "checkerboard", score, since, {"checkerboard": value})


class Measure(NamedTuple):
    """What a training is to be judged by over time, so turned that less is better."""

    name: str
    series: Series
    least: float = 0.0  # a change that counts, in its own units


def measure(history: History) -> Measure | None:
    """The measure on held-out images; a distance of samples; coverage; in this order, with four values or more."""
    named = [history.facts.get("measure"), "test/bound", "test/error", "test/loss", "test/mse", "fid"]
    for name in named:
        if name and (series := history.get(name, 4)) is not None:
            return Measure(name, series)
    coverage = history.get("probe/coverage", 8)
    if coverage is None:
        return None
    return Measure("coverage", Series(coverage.images, 1 - signs.medians(coverage.values)), 0.15)


def _gained(series: Series) -> float:
    """What was gained in all: from the start to the best."""
    return float(series.values[0] - series.values.min())


def _unrest(series: Series) -> float:
    """How far the measure jumps from one value to the next without going anywhere: less than that says nothing."""
    jumps = np.diff(series.values[len(series) // 2 :])
    return 3 * float(np.median(np.abs(jumps - np.median(jumps)))) if len(jumps) >= 3 else 0.0


def undertrained(history: History) -> Finding | None:
    """The measure was still falling when training ended: a last quarter that brings a fair share of all that was
    gained. Or nothing is broken, and still most fakes are like no real image."""
    if not history.over or history.facts.get("stopped") == "non-finite":
        return None
    found = measure(history)
    if found is not None and (gained := _gained(found.series)) > 0:
        series = found.series
        begin = series.images[-1] - (series.images[-1] - history.begin) / 4
        before = float(np.interp(begin - 1e-9, series.images, series.values))
        change = (before - float(series.values[-1])) / gained
        if (score := LIMITS["better"].score(change)) >= 0 and change * gained > max(_unrest(series), found.least):
            return finding(history, "undertrained", score, None, {"measure": found.name, "better": change})
    density = history.get("probe/density")
    if density is not None and (score := LIMITS["good"].score(signs.level(density))) >= 0:
        evidence: dict[str, float | str] = {"density": signs.level(density), **also(history, "precision")}
        return finding(history, "undertrained", score, None, evidence, "undertrained/far")
    return None


def past_best(history: History) -> Finding | None:
    """The measure has been getting worse since a checkpoint: that is the one to keep. What was lost counts against all
    that was gained and lost: the best may be the first that was measured."""
    found = measure(history)
    if found is None:
        return None
    series, gained = found.series, _gained(found.series)
    best = int(series.values.argmin())
    after = series.values[best + 1 :]
    if len(after) < 2:
        return None
    lost = float(np.median(after[-2:])) - float(series.values[best])
    change = lost / max(gained + lost, 1e-12)
    if (score := LIMITS["worse"].score(change)) < 0 or lost < max(_unrest(series), found.least):
        return None
    clock = float(series.images[best])
    best_known = History(history.columns, {**history.facts, "best": clock}, history.unit)
    evidence: dict[str, float | str] = {"measure": found.name, "best": clock, "worse": change}
    return finding(best_known, "past-best", score, clock, evidence)


def healthy(history: History) -> Finding:
    """Nothing found. How much that says depends on what was measured: losses alone show no mode collapse."""
    watched = ("probe/diversity", "probe/coverage", "probe/copies", "probe/critic/ahead", "probe/kl", "probe/active")
    measured = sum(history.get(name) is not None for name in watched)
    told = sum(history.get(name, 8) is not None for name in ("critic/loss", "generator/loss", "loss", "kl", "test/mse"))
    score = min(0.5 * measured, 1.0) + min(0.15 * told, 0.3)
    density = history.get("probe/density")
    if density is not None:  # nothing found, but fakes like no real image: not much of a health
        score -= max(LIMITS["good"].score(signs.level(density)), 0.0)
    evidence: dict[str, float | str] = dict(also(history, "coverage", "diversity", "active", "kl"))
    if not measured:
        evidence["unseen"] = float(told)
    return finding(history, "healthy", score, None, evidence)


VERDICTS: tuple[Callable[[History], Finding | None], ...] = (
    *(divergence, mode_collapse_full, mode_collapse_partial, mode_cycling, saturated_critic, critic_memorising),
    *(generator_memorising, oscillation, posterior_collapse, over_regularised, under_regularised, blurred),
    *(checkerboard, undertrained, past_best),
)
