"""What a verdict is made of: the thresholds in one table with their reasons, the confidence that they earn, and a
finding."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from latente.diagnosis import signs
from latente.diagnosis.history import History, Series
from latente.diagnosis.remedies import remedy


class Limit(NamedTuple):
    """Where a measure leaves its healthy range, and where there is no doubt left. `score` is 0 at one, 1 at the
    other."""

    at: float
    far: float
    why: str

    def score(self, value: float) -> float:
        """How far past: negative while healthy."""
        return (value - self.at) / (self.far - self.at)


LIMITS = {
    # mode collapse
    "diversity": Limit(0.4, 0.1, "fakes closer to each other than 0.4 of reals: one or two kinds of a many-kinded set"),
    "coverage": Limit(0.15, 0.03, "reals with a fake near by; 0.97 for reals themselves at k = 5 (Naeem 2020)"),
    "spread": Limit(0.7, 0.4, "coverage over that of as many good fakes that lie as the reals do: quality cancels"),
    "narrow": Limit(0.7, 0.4, "diversity again: 0.9 and more where all kinds are made, however badly"),
    "missing": Limit(0.1, 0.5, "share of the classes with under a fifth of their due"),
    "recall": Limit(0.4, 0.1, "reals inside the fakes' manifold (Kynkaanniemi 2019); where there is no coverage"),
    "duplicates": Limit(0.15, 0.5, "0.01 for reals by construction; one in seven is seen by eye in a sheet of 64"),
    # cycling
    "low": Limit(0.7, 0.3, "diversity at each moment of a generator that shows one part at a time"),
    "travel": Limit(0.45, 1.0, "mean move between probes, in the reals' standard deviations; 0.05 for a settled one"),
    "turns": Limit(3, 8, "changes of the class that holds most of the fakes, in the last half"),
    # critic
    "saturated": Limit(0.5, 0.9, "share of images on which D is past 0.99 both ways; under 0.05 in games that go well"),
    "beats": Limit(0.9, 1.0, "share of pairs (real, fake) that the critic ranks right; below, it is not sure"),
    "d_loss": Limit(-1.0, -2.5, "log10 of the critic's loss; 1.39 at the end of the game, 0.02 at D = 0.99"),
    "ahead": Limit(0.7, 0.95, "P(critic ranks a training image above a held-out one); 0.5 if it learned the kind"),
    "gap": Limit(1.0, 3.0, "the same in logits of training images' spread; where nothing else was measured"),
    "copies": Limit(0.3, 0.7, "share of fakes as close to a training image as 1 in 20 held-out reals is"),
    # oscillation
    "rhythm": Limit(1.7, 3.0, "-log10 p of the test against red noise: p = 0.02"),
    "restless": Limit(0.45, 1.0, "as travel, where the moves lead back; 0.3 for good fakes in 16 dimensions"),
    "turn": Limit(-0.3, -0.8, "cosine of successive moves of the weights; 0 for noise, -1 for to and fro"),
    # latents
    "active": Limit(0.1, 0.0, "share of latents in use (Burda 2016: variance of the mean above 0.01)"),
    "nats": Limit(-0.3, -3.0, "log10 of the KL in nats an image: half a nat tells hardly two kinds apart"),
    "nats_table": Limit(-1.5, -4.0, "the same in a table, where it may be a mean over latents: 32 of them, a nat"),
    "sigma_over": Limit(0.4, 1.2, "log of (sigma sqrt(beta) / error): KL weighed for a coarser error than is reached"),
    "sigma_under": Limit(-0.7, -1.6, "the same the other way: detail is bought at any price of KL"),
    "checkerboard": Limit(3.0, 10.0, "energy at the frequencies of stride 2, over the reals' (Odena 2016)"),
    # time
    "explosion": Limit(2.0, 4.0, "log10 of the last stretch over the largest of the first half"),
    "better": Limit(0.03, 0.15, "share of all that was gained, gained in the last quarter"),
    "good": Limit(0.5, 0.1, "density: reals' balls that a fake lies in, over k; 1 for reals"),
    "worse": Limit(0.05, 0.25, "lost since the best, as a share of all that was gained and lost"),
}

# Confidence of a finding: 1 / (1 + exp(-(a + b score))), the two numbers fitted on runs that no threshold has seen
# (benchmarks/diagnosis.py). A name after "/" is a way to the verdict that is believed less.
CALIBRATION: dict[str, tuple[float, float]] = {
    "divergence": (0.19, 2.09),
    "divergence/nan": (0.99, 2.44),
    "mode-collapse-full": (0.84, 1.63),
    "mode-collapse-partial": (0.21, 2.14),
    "mode-cycling": (2.52, 2.33),
    "saturated-critic": (1.04, 2.53),
    "saturated-critic/losses": (0.2, 1.5),
    "saturated-critic/stuck": (0.2, 1.0),
    "oscillation": (1.07, 2.24),
    "oscillation/losses": (0.0, 1.5),
    "critic-memorising": (1.31, 2.65),
    "critic-memorising/logits": (-0.2, 1.0),
    "generator-memorising": (2.06, 2.41),
    "posterior-collapse": (1.11, 2.16),
    "posterior-collapse/table": (0.4, 1.5),
    "over-regularised": (0.7, 2.2),
    "under-regularised": (0.43, 2.21),
    "blurred": (-0.3, 2.18),
    "checkerboard": (0.83, 2.26),
    "undertrained": (0.3, 2.18),
    "undertrained/far": (0.0, 1.5),
    "past-best": (0.09, 2.08),
    "healthy": (-0.8, 3.0),
}


@dataclass(frozen=True)
class Finding:
    """A verdict on a run. Words: messages area `diagnosis`, keys finding_, why_, remedy_ and expect_ with the name."""

    what: str
    severity: Literal["note", "fault"]
    since: int | None  # clock at which the measure left its healthy range
    evidence: dict[str, float | str]
    confidence: float  # in [0, 1]
    remedy: dict[str, Any] = field(default_factory=dict)  # at most one setting of ours -> value
    picture: str | None = None  # inside the run folder
    score: float = 0.0  # how far past the threshold, in units of LIMITS: what CALIBRATION reads
    way: str = ""  # the entry of CALIBRATION


def confidence(way: str, score: float) -> float:
    """How often such a finding is right; the score counts up to 2."""
    a, b = CALIBRATION[way]
    return 1 / (1 + math.exp(-(a + b * min(score, 2.0))))


_NOTES = ("undertrained", "past-best", "healthy")


def finding(
    history: History,
    what: str,
    score: float,
    since: float | None,
    evidence: dict[str, float | str],
    way: str = "",
    cure: str = "",
) -> Finding:
    clock = None if since is None else int(since)
    sure = confidence(way or what, score)
    return Finding(
        what=what,
        severity="note" if what in _NOTES or sure < 0.5 else "fault",  # more often wrong than right: a suspicion
        since=clock,
        evidence=evidence,
        confidence=sure,
        remedy=remedy(cure or what, history),
        picture=_picture(history, None if what == "past-best" else clock),
        score=score,
        way=way or what,
    )


def _picture(history: History, clock: int | None) -> str | None:
    """The newest sheet of samples that is on disk, or the first from `clock` on."""
    sheets = history.facts.get("pictures", [])
    later = [sheet for sheet in sheets if clock is not None and sheet >= clock]
    chosen = later[:1] or sheets[-1:]
    return f"samples/{chosen[0]:09d}.png" if chosen else None


def settled(history: History, column: Series) -> bool:
    """Whether there is something to judge: a generator that has just begun makes one thing too. Four measurements and
    a twelfth of the run, unless it is over."""
    until = float(history.facts.get("until", history.end))
    return history.over or (len(column) >= 4 and column.images[-1] >= until / 12)


def also(history: History, *names: str) -> dict[str, float]:
    found = {name: history.get(f"probe/{name}") for name in names}
    return {name: signs.level(series) for name, series in found.items() if series is not None}
