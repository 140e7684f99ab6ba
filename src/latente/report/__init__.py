"""A run folder -> one page that explains it: report.html, self-contained, in every language. Imports no torch."""

import os
from pathlib import Path

from latente.messages import Problem
from latente.run import Run


def write(run: Run) -> Path:
    """Write report.html into the run folder and return its path.

    The page is complete in itself (no network, under 5 MB), holds both languages, and opens in the one in force. A run
    that has only begun, or was killed, gets a page that says what is missing. Problem if it cannot be written.
    """
    from latente.report.page import page

    path = run.folder / "report.html"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    text = page(run)
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise Problem("run.no_report", path=path, reason=error.strerror or error) from error
    return path
