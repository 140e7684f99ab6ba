"""What the diagnosis says of a run, in full: the section that comes right after how it stands."""

import shlex
from html import escape

from latente.diagnosis.findings import Finding
from latente.diagnosis.history import of_run
from latente.diagnosis.verdicts import judge
from latente.diagnosis.words import Words, words
from latente.messages import LANGUAGES
from latente.report.history import address
from latente.report.parts import image, p, section, typed
from latente.report.sheets import Shown
from latente.report.words import Text, html, text
from latente.run import Run

_SIGNS = {"fault": "▲", "note": "●", "healthy": "✓"}


def found(run: Run) -> list[Finding]:
    """The findings, most serious first; none of a run in which nothing was measured."""
    history = of_run(run)
    return judge(history) if history.columns else []


def diagnosis(run: Run, findings: list[Finding], evidence: dict[str, Shown]) -> str:
    """One block a finding; `evidence` has the pictures, by their paths inside the run folder, each shown once."""
    if not findings:
        return section("diagnosis", p(text("diagnosis_none")))
    left = dict(evidence)
    blocks = [_block(run, one, left.pop(one.picture or "", None)) for one in findings]
    probed = any(name.startswith("probe/") for row in run.line() for name in row)
    if not probed and run.checkpoints() and run.config.model.family != "classifier":
        blocks.append(p(text("diagnosis_unprobed")))
        blocks.append(typed(f"latente diagnose {shlex.quote(address(run.folder))}"))
    return section("diagnosis", *blocks)


def pictured(findings: list[Finding]) -> list[str]:
    """The pictures that bear findings out; that nothing is wrong needs none: the newest samples stand below."""
    return list(dict.fromkeys(one.picture for one in findings if one.picture and one.what != "healthy"))


def _block(run: Run, finding: Finding, picture: Shown | None) -> str:
    told = {lang: words(finding, "images", lang) for lang in LANGUAGES}
    kind = "healthy" if finding.what == "healthy" else finding.severity
    severity = text("severity_healthy") if kind == "healthy" else _said(told, "severity")
    doubt = {lang: ", ".join(word for word in (one.confidence, one.since) if word) for lang, one in told.items()}
    evidence = "".join(
        f"<li>{html({lang: one.evidence[i] for lang, one in told.items()})}</li>" for i in range(len(finding.evidence))
    )
    parts = [
        f'<h3><span class="severity">{_SIGNS[kind]} {html(severity)}</span> {html(_said(told, "name"))}</h3>',
        p(doubt, "soft"),
        p(_said(told, "why")),
        f"<ul>{evidence}</ul>" if evidence else "",
    ]
    if kind != "healthy":
        parts += _cure(run, finding, told)
    figure = ""
    if picture is not None:
        alt = text("evidence_alt", n=picture.count, images=picture.images)
        caption = f"<figcaption>{html(text('evidence', images=picture.images))}</figcaption>"
        figure = f"<figure>{image(picture, alt)}{caption}</figure>"
    return f'<article class="verdict {kind}"><div>{"".join(parts)}</div>{figure}</article>'


def _cure(run: Run, finding: Finding, told: dict[str, Words]) -> list[str]:
    """What to do, what to type for it, what to expect."""
    parts = [_labelled("do", _said(told, "remedy"))]
    flag = next(iter(told.values())).flag
    if flag and finding.what == "undertrained":
        flag = f"latente resume {shlex.quote(address(run.folder))} {flag}"
    if flag:
        does = _said(told, "does")
        why = f" ({html(does)})" if all(does.values()) else ""
        parts.append(f"<p><b>{html(text('diagnosis.label_type'))}:</b> <code>{escape(flag)}</code>{why}</p>")
    return [*parts, _labelled("expect", _said(told, "expect"))]


def _labelled(label: str, what: Text) -> str:
    return f"<p><b>{html(text(f'diagnosis.label_{label}'))}:</b> {html(what)}</p>"


def _said(told: dict[str, Words], part: str) -> Text:
    return {lang: getattr(one, part) for lang, one in told.items()}
