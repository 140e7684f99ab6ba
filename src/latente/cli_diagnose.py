"""The verb that judges: diagnose. numpy and everything heavy is imported inside it."""

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, FOUND, opened, parse_words
from latente.messages import Problem, say

if TYPE_CHECKING:
    from latente.diagnosis.findings import Finding
    from latente.diagnosis.history import History
    from latente.run import Run

_WIDEST = 100  # characters of a line


def diagnose(argv: list[str]) -> int:
    """What is wrong with a run, or with the training that a table is of."""
    argv, typed = _columns(argv)
    options = parse_words(argv, {"--json": None}, ("run",))
    if options["run"] is None:
        raise Problem("cli.needs_argument", verb="diagnose", what=say("diagnosis.a_run_or_table"))
    from latente.diagnosis.history import of_run
    from latente.diagnosis.tables import read
    from latente.diagnosis.verdicts import judge

    path = Path(options["run"])
    if path.is_dir():
        if typed:
            raise Problem("diagnosis.column_of_run", given=next(iter(typed)))
        run = opened(options["run"], "diagnose")
        history = _looked_at(run, of_run(run))
    else:
        history = read(path, typed)
    findings = judge(history)
    if options["json"]:
        print(_as_json(path, history, findings))
    else:
        _say(path, history, findings)
    return FOUND if any(finding.severity == "fault" for finding in findings) else DONE


def _columns(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """--column ours=theirs, as often as one likes, taken out of the arguments."""
    left: list[str] = []
    found: dict[str, str] = {}
    waiting = iter(argv)
    for word in waiting:
        if word != "--column" and not word.startswith("--column="):
            left.append(word)
            continue
        given = word.removeprefix("--column=") if word != "--column" else next(waiting, None)
        if given is None:
            raise Problem("cli.needs_value", flag="--column")
        ours, equals, theirs = given.partition("=")
        if not (ours and equals and theirs):
            raise Problem("diagnosis.column_form", given=given)
        found[ours] = theirs
    return left, found


def _looked_at(run: "Run", history: "History") -> "History":
    """A run that was not probed while it trained is probed now, at its newest checkpoint."""
    if not history.columns and history.facts.get("stopped") != "non-finite":
        raise Problem("diagnosis.nothing_measured", folder=run.folder)
    clocks = [clock for clock in run.checkpoints() if clock > 0]
    if history.some("probe/") or not clocks or run.config.model.family == "classifier":
        return history
    from latente.diagnosis.afterwards import measure
    from latente.diagnosis.history import History, of_rows
    from latente.diagnosis.words import number

    print(say("diagnosis.looking", images=number(clocks[-1])), file=sys.stderr)
    try:
        row = measure(run, clocks[-1])
    except Problem as problem:  # its data are gone, say: what was recorded is judged all the same
        print(f"latente: {problem}", file=sys.stderr)
        return history
    return History({**history.columns, **of_rows([{"images": clocks[-1], **row}])}, history.facts, history.unit)


def _as_json(path: Path, history: "History", findings: "list[Finding]") -> str:
    from dataclasses import asdict

    from latente.diagnosis.words import words

    listed = [asdict(finding) | {"words": words(finding, history.unit)._asdict()} for finding in findings]
    return json.dumps({"of": str(path), "unit": history.unit, "findings": listed}, ensure_ascii=False)


def _say(path: Path, history: "History", findings: "list[Finding]") -> None:
    """A paragraph a finding, as wide as the terminal."""
    from latente.diagnosis.words import moment, words

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    read = say("diagnosis.read", of=path, columns=len(history.columns), end=moment(history.end, history.unit))
    print(textwrap.fill(read, width))
    labels = {name: say(f"diagnosis.label_{name}") for name in ("why", "measured", "do", "type", "expect", "look")}
    indent = 2 + max(len(label) for label in labels.values()) + 2
    for finding in findings:
        told = words(finding, history.unit)
        print()
        print(textwrap.fill(f"{told.severity}  {told.name}", width))
        print(textwrap.indent(textwrap.fill(", ".join(w for w in (told.confidence, told.since) if w), width - 2), "  "))
        lines = {"why": told.why, "measured": "\n".join(told.evidence)}
        if finding.what != "healthy":
            lines |= {"do": told.remedy, "type": _typed(finding, told.flag, path, told.does), "expect": told.expect}
        lines["look"] = str(path / finding.picture) if finding.picture else ""
        for name, line in lines.items():
            if line:
                _paragraph(labels[name], line, indent, width)


def _typed(finding: "Finding", flag: str, path: Path, does: str) -> str:
    """The flag, and what it does; a longer run is the same one resumed."""
    if finding.what == "undertrained" and flag:
        return f"latente resume {path} {flag}"
    return f"{flag}\n{does}" if flag else ""


def _paragraph(label: str, text: str, indent: int, width: int) -> None:
    """The label at the left, the text beside it; what is to be typed stays on one line."""
    first, *rest = text.split("\n")
    whole: Any = {"break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(first, width - indent, **whole)
    for more in rest:
        lines += textwrap.wrap(more, width - indent, **whole)
    print(f"  {label:{indent - 2}}{lines[0]}")
    for line in lines[1:]:
        print(" " * indent + line)
