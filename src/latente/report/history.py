"""How a run stands, what happened to it, and what can be done with it next, in words."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latente.diagnosis.words import sureness, typed
from latente.messages import LANGUAGES, catalogue
from latente.report.words import Text, join, moment, same, text
from latente.run import Run

_LISTED = 10  # files left out that are named, for each reason
_STATES = {"finished", "interrupted", "finding", "non-finite"}


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    kind: str  # finished, interrupted, finding, non-finite, other, unknown, empty
    headline: Text
    sentence: Text
    images: int  # shown
    until: int  # where it was to end


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at: str
    sentence: Text
    details: list[Text] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)  # settings that it changed, as they are typed


def status(run: Run) -> Status:
    """Finished, interrupted, stopped by a number, or nobody knows."""
    events = run.events()
    until = next((row["until"] for row in reversed(events) if "until" in row), int(run.config.training.images))
    reason = run.stopped()
    facts: dict[str, Any] = {"until": until}
    if reason is None:
        kind = "unknown" if events or run.checkpoints() or run.metrics() else "empty"
        clocks = [row.get("to", row["images"]) for row in (*run.line()[-1:], *events[-1:])]
        facts["images"] = max(clocks + ([] if run.branch() else run.checkpoints()[-1:]), default=0)
        facts["at"] = moment(events[-1]["at"]) if events else "?"
    else:
        kind = reason if reason in _STATES else "other"
        stop = [row for row in events if row["kind"] == "stop"][-1]
        facts["images"] = stop["images"]
        facts |= {
            "finding": _finding(stop),
            "reason": reason,
            "term": str(stop.get("term", "?")),
            "checkpoint": stop.get("checkpoint", 0),
        }
    key = kind.replace("-", "_")
    sentence = text(f"status_{key}", **facts)
    return Status(kind, text(f"state_{key}"), sentence, facts["images"], until)


def events(run: Run) -> list[Event]:
    """What is on record, oldest first; checkpoints are left to `Run.checkpoints`, files left out are one event."""
    rows = [row for row in run.events() if row["kind"] != "checkpoint"]
    left_out = [row for row in rows if row["kind"] == "left-out"]
    found = []
    for row in rows:
        match row["kind"]:
            case "left-out":
                if row is left_out[0]:
                    found.append(_left_out(left_out, run.dataset.get("left_out_count", len(left_out))))
            case "converted":
                found.append(_converted(row))
            case "intervention":
                changes = [typed(name, value) for name, value in row["settings"].items()]
                found.append(Event(row["at"], went_back(row), typed=changes))
            case _:
                found.append(Event(row["at"], _sentence(row)))
    return found


def _sentence(row: dict[str, Any]) -> Text:
    match row:
        case {"kind": "start", "start_from": str(source)}:
            return text("event_start_from", source=Path(source).name, until=row["until"])
        case {"kind": "start"}:
            return text("event_start", until=row["until"])
        case {"kind": "resume"}:
            what = join(_known(f"report.differs_{name}", name) for name in row.get("differs", []))
            key = "event_resume_differs" if row.get("differs") else "event_resume"
            return text(key, images=row["images"], until=row["until"], what=what)
        case {"kind": "stop", "reason": "finished" | "interrupted" as reason}:
            return text(f"event_{reason}", images=row["images"])
        case {"kind": "stop", "reason": "non-finite"}:
            return text("event_non_finite", images=row["images"], term=row["term"], checkpoint=row["checkpoint"])
        case {"kind": "stop", "reason": "finding"}:
            return text("event_stopped_by", images=row["images"], finding=_finding(row))
        case {"kind": "stop"}:
            return text("event_stop_other", images=row["images"], reason=str(row["reason"]))
        case {"kind": "finding", "confidence": float(confidence)}:
            sure = {lang: sureness(confidence, lang) for lang in LANGUAGES}
            return text("event_finding", images=row["images"], finding=_finding(row, "what"), confidence=sure)
        case {"kind": "moved"}:
            return text("event_moved", images=row["images"], source=row["source"])
        case {"kind": "damaged"}:
            return text("event_damaged", images=row["images"], what=str(row["what"]))
    facts = ", ".join(f"{name}: {value}" for name, value in _facts(row))
    return text("event_other", images=row["images"], kind=str(row["kind"]), facts=facts)


def went_back(row: dict[str, Any]) -> Text:
    """An intervention: where training was, where it went back to, and why."""
    key = "event_treated" if row["settings"] else "event_went_back"
    return text(key, images=row["images"], to=row["to"], finding=_finding(row))


def _finding(row: dict[str, Any], key: str = "finding") -> Text:
    """The name of a finding that an event is about."""
    what = str(row.get(key, "?"))
    return _known(f"diagnosis.finding_{what.replace('-', '_')}", what)


def _facts(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in row.items() if name not in ("kind", "images", "at"))


def _left_out(rows: list[dict[str, Any]], count: int) -> Event:
    files: dict[str, list[str]] = {}
    for row in rows:
        files.setdefault(str(row.get("reason", "?")), []).append(str(row.get("file", "?")))
    details = []
    for code, names in files.items():
        listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
        details.append(text("left_out", reason=_known(f"data.bad_{code}", code), n=len(names), files=listed))
    return Event(rows[0]["at"], text("event_left_out", n=count), details)


def _converted(row: dict[str, Any]) -> Event:
    details = []
    for code, n in _facts(row):
        known = _has(f"data.did_{code}")
        details.append(text(f"data.did_{code}", count=n) if known else text("counted", what=code, n=n))
    return Event(row["at"], text("event_converted"), details)


def _known(key: str, otherwise: str) -> Text:
    return text(key) if _has(key) else same(otherwise)


def _has(key: str) -> bool:
    area, _, name = key.partition(".")
    return name in catalogue("en", area)


def commands(run: Run, stands: Status) -> list[tuple[Text, str]]:
    """(what for, command line) of what to do next, ready to be pasted."""
    folder = shlex.quote(address(run.folder))
    again = (text("next_report"), f"latente report {folder}")
    if not run.checkpoints():
        return [(text("next_begin"), _training(run, {})), again]
    if stands.kind == "non-finite":
        slower = f"{run.config.optim.lr / 3:.3g}"
        first = (text("next_again"), _training(run, {"--optim.lr": slower}))
    elif stands.kind == "finding":
        first = (text("next_all_the_same"), f"latente resume {folder}")
    elif stands.kind == "finished":
        first = (text("next_longer"), f"latente resume {folder} --images {_count(2 * stands.until)}")
    else:
        first = (text("next_resume"), f"latente resume {folder}")
    if run.dataset.get("kind") == "points":
        second = (text("next_evaluate"), f"latente evaluate {folder}")
    elif run.config.model.family == "classifier":
        second = (text("next_features"), f"latente features {folder} --out features.npz")
    else:
        second = (text("next_sample"), f"latente sample {folder} --n 64 --out grid.png")
    return [first, second, again]


def _training(run: Run, changes: dict[str, str]) -> str:
    """The command that began the run, with some settings changed."""
    words = [str(word) for word in environment(run).get("command", [])]
    if words[:1] != ["train"]:
        config = run.config
        words = ["train", config.preset, "--data", config.data.source, "--images", _count(config.training.images)]
    for name in changes:
        while name in words:
            place = words.index(name)
            del words[place : place + 2]
    return shlex.join(["latente", *words, *(word for change in changes.items() for word in change)])


def environment(run: Run) -> dict[str, Any]:
    """environment.json: the machine that trained, {} if the file is missing."""
    path = run.folder / "environment.json"
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return recorded


def address(folder: Path) -> str:
    """A folder as it is best typed: from here if it lies below, else in full."""
    whole, here = folder.resolve(), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) and whole != here else str(whole)


def _count(images: int) -> str:
    """300000 -> 300k."""
    return f"{images // 1000}k" if images % 1000 == 0 and images else str(images)
