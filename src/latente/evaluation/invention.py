"""Invention against memory: how often samples show a combination that no training image shows.

On `caras` with combinations kept out (`caras:no-glasses-with-beard`) a model that draws one has put together what it
never saw together. The samples are read by a network (`Classifier.predict_factors`), and a reader errs: it sees the
combination where there is none, or misses it. Both rates are measured on real faces, and the share is corrected for
them (Rogan and Gladen 1978, "Estimating prevalence from the results of a screening test").

The rates are those on real faces. On samples that look like none (blurred, broken) the reader may err more often, and
no correction knows of it: look at the samples that it names (`shows`).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latente.data.caras import WORDS, KeepOut
from latente.evaluation.subject import wilson
from latente.messages import Problem

Factors = Mapping[str, NDArray[Any]]  # name -> [N]
_Z = 1.96


class Reference(NamedTuple):
    """Real faces, best such as the reader has not learned from: what it has read in them, and what is true."""

    without: Factors  # read in faces of the training world, none of which shows a kept-out combination
    world: Factors  # read in faces of the world that has them: the held-out split keeps them
    truth: Factors  # what those show in truth


class Invention(NamedTuple):
    """Shares of samples (of faces) that show at least one of the kept-out combinations. Intervals: 95 %."""

    raw: float  # as the reader says
    raw_interval: list[float]  # Wilson
    corrected: float  # for what the reader mistakes and misses; within [0, 1]
    corrected_interval: list[float]  # Lang and Reiczigel 2014: the error rates are estimates too
    floor: float  # share of the faces without, in which the reader sees one by mistake
    sensitivity: float  # share of the faces that do show one, in which the reader sees it
    ceiling: float  # share of the faces of the whole world that show one: what `corrected` is of a model of it
    samples: int


def shows(factors: Factors, kept_out: KeepOut) -> NDArray[np.bool_]:
    """Whether each face shows at least one of the combinations, bool [N]: all of its words (`data.caras.WORDS`)."""
    found = [np.logical_and.reduce([WORDS[word](factors) for word in words]) for words in kept_out]
    shown: NDArray[np.bool_] = np.logical_or.reduce(found)
    return shown


def invention(read: Factors, kept_out: KeepOut, reference: Reference) -> Invention:
    """How many of the samples, whose factors were `read`, show what the model was never shown.

    kept_out: the rule of the training set, `data.caras.parse` of what follows "caras:". Problem if nothing was kept
    out, if no face of the world shows it, or if the reader does not clearly see it more often where it is than where it
    is not (their Wilson intervals meet)."""
    rule = ", ".join(" + ".join(words) for words in kept_out)
    if not kept_out:
        raise Problem("invention.nothing_kept_out")
    truth = shows(reference.truth, kept_out)
    if not truth.any():
        raise Problem("invention.none_in_the_world", n=len(truth), rule=rule)
    seen = shows(read, kept_out)
    mistaken, noticed = shows(reference.without, kept_out), shows(reference.world, kept_out)[truth]
    raw, floor, sensitivity = (float(share.mean()) for share in (seen, mistaken, noticed))
    if wilson(sensitivity, len(noticed))[0] <= wilson(floor, len(mistaken))[1]:
        raise Problem("invention.blind", rule=rule, sensitivity=f"{sensitivity:.0%}", floor=f"{floor:.0%}")
    corrected = min(max((raw - floor) / (sensitivity - floor), 0.0), 1.0)  # their equation 1
    counts = (seen.sum(), len(seen)), (noticed.sum(), len(noticed)), ((~mistaken).sum(), len(mistaken))
    return Invention(
        raw=raw,
        raw_interval=wilson(raw, len(seen)),
        corrected=corrected,
        corrected_interval=_interval(*((int(k), n) for k, n in counts)),
        floor=floor,
        sensitivity=sensitivity,
        ceiling=float(truth.mean()),
        samples=len(seen),
    )


def _interval(positive: tuple[int, int], sensitive: tuple[int, int], specific: tuple[int, int]) -> list[float]:
    """The 95 % interval of a corrected share (Lang and Reiczigel 2014, "Confidence limits for prevalence of disease
    adjusted for estimated sensitivity and specificity"), from (successes, trials): samples read as positive, positives
    read as such, negatives read as such."""
    n, m_se, m_sp = positive[1] + _Z * _Z, sensitive[1] + 2, specific[1] + 2
    p, se, sp = (positive[0] + _Z * _Z / 2) / n, (sensitive[0] + 1) / m_se, (specific[0] + 1) / m_sp
    youden = se + sp - 1
    share = (p + sp - 1) / youden
    of_se, of_sp = se * (1 - se) / m_se, sp * (1 - sp) / m_sp
    half = _Z * math.sqrt(p * (1 - p) / n + share**2 * of_se + (1 - share) ** 2 * of_sp) / youden
    middle = share + 2 * _Z * _Z * (share * of_se - (1 - share) * of_sp)
    return [min(max(end, 0.0), 1.0) for end in (middle - half, middle + half)]
