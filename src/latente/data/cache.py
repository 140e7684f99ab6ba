"""The cache of prepared images: folders that are either complete or not there.

A folder is written under another name and renamed when it is whole, so two processes may prepare the same set at once:
one of them wins, the other takes the winner's. `facts.json` is written last and holds the size of every file.
"""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latente.messages import Problem

FORMAT = 2  # of what lies in the cache; a change makes everything prepared before invisible
_STALE = 24 * 3600  # seconds after which an unfinished folder is taken for abandoned


def cache_root() -> Path:
    """`$LATENTE_CACHE`, or the platform's folder for such things."""
    if os.environ.get("LATENTE_CACHE"):
        return Path(os.environ["LATENTE_CACHE"]).expanduser()
    import pooch  # late: slow to import

    return Path(pooch.os_cache("latente"))


def prepared_in(name: str, key: str) -> Path:
    """Where the images with this key are or will be; `name` is only there for people who look into the cache."""
    return cache_root() / "prepared" / f"{name}-{key}"


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of a complete folder; None if it is not there or not whole."""
    try:
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in facts["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # the folder is not a cache entry (any more): it will be prepared again
    return facts if whole else None


def build(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Make a folder with what `fill` writes into an empty one, and the facts it returns."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        part = folder.parent / f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}"
        part.mkdir()
    except OSError as error:
        raise Problem("data.cache_unwritable", folder=cache_root(), error=error.strerror) from None
    try:
        facts = dict(fill(part))
        facts["files"] = {path.name: path.stat().st_size for path in sorted(part.iterdir())}
        (part / "facts.json").write_text(json.dumps(facts, ensure_ascii=True), encoding="utf-8")
        for path in part.iterdir():
            _to_disk(path)
        return _put(part, folder, facts)
    except OSError as error:
        raise Problem("data.cache_failed", folder=cache_root(), error=error.strerror or str(error)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Rename; if another process was quicker, its folder stands."""
    for _ in range(2):
        with contextlib.suppress(OSError):  # the folder exists
            part.rename(folder)
            return facts
        theirs = read_facts(folder)
        if theirs is not None:
            return theirs
        shutil.rmtree(folder, ignore_errors=True)  # damaged: files missing or cut short
    part.rename(folder)
    return facts


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(".*"):
        with contextlib.suppress(OSError):  # another process may be removing it
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path, ignore_errors=True)


class RowFile:
    """An .npy file to which rows are appended; their number need not be known before."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str) -> None:
        self.path, self.row, self.dtype, self.rows = path, row, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def _header(self) -> None:
        # numpy pads the header so that the first axis can grow in place
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.row)}
        np.lib.format.write_array_header_1_0(self._file, fields)

    def append(self, rows: NDArray[Any]) -> None:
        """rows: [n, *row]."""
        assert rows.shape[1:] == self.row and rows.dtype == self.dtype, (rows.shape, rows.dtype)
        self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def close(self) -> None:
        """Write the header, now that the number of rows is known; closing again does nothing."""
        if self._file.closed:
            return
        self._file.seek(0)
        self._header()
        assert self._file.tell() == self._start
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
