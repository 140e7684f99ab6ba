"""A run folder -> one page that explains it: report.html, self-contained, in every language. Imports no torch."""

import os
from pathlib import Path

from latente.run import Run


def write(run: Run) -> Path:
    """Write report.html into the run folder and return its path.

    The page is complete in itself (no network, under 5 MB), holds both languages, and opens in the one in force. A run
    that has only begun, or was killed, gets a page that says what is missing.
    """
    from latente.report.page import page

    path = run.folder / "report.html"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(page(run), encoding="utf-8")
    aside.replace(path)
    return path
