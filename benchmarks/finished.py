"""What the benchmarks that train have in common: a run that goes on where an interrupted one stopped."""

from pathlib import Path

from latente import run
from latente.config import RunConfig
from latente.run import Run
from latente.training import resume, train


def finished(folder: Path, config: RunConfig, start_from: Run | None = None) -> Run:
    """The run in `folder` at its end: begun, gone on with, or found there. KeyboardInterrupt if it stops before."""
    found = run.runs(folder)
    here = found[-1] if found else train(config, out=folder, start_from=start_from)
    if found and here.stopped() not in ("finished", "finding", "non-finite"):
        here = resume(here)
    if here.stopped() == "interrupted":
        raise KeyboardInterrupt  # the same command goes on
    return here
