"""A finding in words, in either language: for the terminal, the report and whoever listens."""

from __future__ import annotations

from typing import Any, NamedTuple

from latente.diagnosis.findings import Finding
from latente.diagnosis.tables import NAMES
from latente.messages import catalogue, language, punctuated, say

_SURE = ((0.9, "certain"), (0.75, "sure"), (0.6, "likely"), (0.0, "possible"))


class Words(NamedTuple):
    """What is said of a finding."""

    name: str
    severity: str
    since: str  # "" where it is not known
    confidence: str  # in words and per cent
    why: str
    evidence: list[str]
    remedy: str  # what to do
    flag: str  # the same as it is typed: "--cure.replay 3200"; "" without a setting of ours
    does: str  # what that setting does; ""
    expect: str


def words(finding: Finding, unit: str = "images", lang: str | None = None) -> Words:
    """A finding in the language `lang`, or the one in force; `unit`: what the clock counts."""
    key = finding.what.replace("-", "_")
    code = lang or language()
    since = ""
    if finding.since is not None:
        since = say(f"diagnosis.since_{unit}", lang=code, n=number(finding.since, code))
    flag, does = "", ""
    for name, value in finding.remedy.items():
        flag = typed(name, value)
        does = say(f"diagnosis.does_{name.replace('.', '_').replace('-', '_')}", lang=code, value=_plain(value, code))
    return Words(
        name=say(f"diagnosis.finding_{key}", lang=code),
        severity=say(f"diagnosis.severity_{finding.severity}", lang=code),
        since=since,
        confidence=sureness(finding.confidence, code),
        why=say(f"diagnosis.why_{key}", lang=code),
        evidence=[_said(name, value, unit, code) for name, value in finding.evidence.items()],
        remedy=say(f"diagnosis.remedy_{key}", lang=code),
        flag=flag,
        does=does,
        expect=say(f"diagnosis.expect_{key}", lang=code),
    )


def sureness(confidence: float, lang: str | None = None) -> str:
    """0.83 -> quite sure (83 %)."""
    word = next(word for least, word in _SURE if confidence >= least)
    return say(f"diagnosis.confidence_{word}", lang=lang, percent=round(100 * confidence))


def typed(name: str, value: Any) -> str:
    """A setting as it is typed on the command line."""
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return "--images " + text if name == "training.images" else f"--{name} {text}"


def moment(clock: float, unit: str, lang: str | None = None) -> str:
    """1,500,000 images; epoch 12."""
    return say(f"diagnosis.moment_{unit}", lang=lang, n=number(round(clock), lang))


def number(value: float, lang: str | None = None) -> str:
    """A number as the reader's language writes it, three significant digits for fractions."""
    whole = isinstance(value, int) or 1000 <= abs(value) < 1e12 or value == round(value)
    text = f"{round(value):,}" if whole else f"{value:.3g}"
    return punctuated(text, lang)


def _said(name: str, value: float | str, unit: str, lang: str) -> str:
    """One piece of evidence."""
    if name == "term" or name == "measure":
        return say(f"diagnosis.evidence_{name}", lang=lang, value=column(str(value), lang))
    if name == "best":
        return say("diagnosis.evidence_best", lang=lang, value=moment(float(value), unit, lang))
    if name == "period":
        span = say(f"diagnosis.span_{unit}", lang=lang, n=number(float(value), lang))
        return say("diagnosis.evidence_period", lang=lang, value=span)
    return say(f"diagnosis.evidence_{name}", lang=lang, value=_plain(value, lang))


def column(name: str, lang: str | None = None) -> str:
    """A column in words, where it has a name of its own."""
    key = name.replace("/", "_").replace("-", "_")
    known = name in NAMES or f"column_{key}" in catalogue("en", "diagnosis")
    return say(f"diagnosis.column_{key}", lang=lang) if known else name


def _plain(value: Any, lang: str) -> str:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value, lang) if numeric else str(value)
