"""What a finding leads to: words, an end, another try from the last healthy checkpoint, or that with its remedy."""

import json
import shutil
from dataclasses import dataclass, field
from typing import Any

from latente.bounds import check
from latente.config import RunConfig, override, settings
from latente.diagnosis.findings import Finding
from latente.diagnosis.remedies import NEW_RUN
from latente.messages import Problem
from latente.run import Run
from latente.training.resolve import lengths

CONFIDENT = 0.8  # a finding is told and acted on from here on, while a run goes on
MOST = 3  # times that a run goes back
KEPT = 3  # healthy checkpoints to go back to


@dataclass(frozen=True)
class Decision:
    """Training stops for a finding, or goes back to the clock `to` and on from there."""

    finding: str
    to: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # changed by it: dotted name -> value


def decide(run: Run, findings: list[Finding]) -> Decision | None:
    """What is done about the gravest fault, as the run's configuration has it; None: nothing.

    What a run was stopped for is not acted on again in the same branch: who resumes it wants it to go on."""
    config, branch = run.config, run.branch()
    policy = config.training.on_finding
    stops = [row for row in run.events() if row["kind"] == "stop" and row.get("branch") == branch]
    heeded = {row["finding"] for row in stops if row["reason"] == "finding"}
    sure = [f for f in findings if f.severity == "fault" and f.confidence >= CONFIDENT and f.what not in heeded]
    if policy == "warn" or not sure:
        return None
    finding = sure[0]
    if policy == "stop" or branch >= MOST:
        return Decision(finding.what)
    well = [clock for clock in healthy(run) if finding.since is None or clock < finding.since]
    remedy = treatment(config, finding.remedy, run.dataset["image_shape"]) if policy == "treat" else {}
    return Decision(finding.what, max(well, default=0), remedy)


def treatment(config: RunConfig, remedy: dict[str, Any], shape: list[int]) -> dict[str, Any]:
    """The settings that a remedy changes, with what follows from it (a ramp gets its length); {} if it cannot be taken
    in the middle of a run."""
    if set(remedy) & set(NEW_RUN):
        return {}
    try:
        treated = lengths(override(config, remedy))
        check(treated, tuple(shape))  # type: ignore[arg-type]
    except Problem:
        return {}
    before = settings(config)
    return {name: value for name, (_, value) in settings(treated).items() if value != before[name][1]}


def healthy(run: Run) -> list[int]:
    """Clocks of the checkpoints at which nothing was wrong: the first one, and those that the diagnosis passed."""
    return [clock for clock in run.checkpoints() if clock == 0 or _said(run, clock).get("healthy")]


def abandon(run: Run) -> None:
    """Set the newest checkpoint that training went back behind aside, to be looked at, and remove the others."""
    went_back = run.interventions()[-1:]
    if not went_back:
        return
    to, branch = went_back[0]["to"], went_back[0]["branch"]
    behind = [clock for clock in run.checkpoints() if clock > to and _said(run, clock).get("branch", branch) < branch]
    for clock in behind[:-1]:
        shutil.rmtree(run.checkpoint(clock))
    for clock in behind[-1:]:
        aside = run.folder / "checkpoints" / f"abandoned-{branch - 1}-{clock:09d}"
        shutil.rmtree(aside, ignore_errors=True)
        run.checkpoint(clock).rename(aside)


def _said(run: Run, clock: int) -> dict[str, Any]:
    """What a checkpoint says of itself; nothing if it cannot be read."""
    try:
        said: dict[str, Any] = json.loads((run.checkpoint(clock) / "state.json").read_text(encoding="utf-8"))
        return {"branch": 0} | said
    except (OSError, ValueError):
        return {}
