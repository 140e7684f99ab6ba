"""Checkpoints: safetensors for tensors, JSON for the rest; written aside and renamed, checked when read. No pickle."""

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor

_STATE = "state.json"


class Damaged(Exception):
    """A checkpoint that is cut short or altered."""


def save(folder: Path, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Write a checkpoint folder as a whole or not at all.

    The part of a tensor's name before the first "/" is the file that holds it. An OSError (full disk, no permission)
    leaves nothing behind and is the caller's to explain.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        files: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            files.setdefault(group, {})[rest] = tensor.detach().cpu().contiguous()  # refused otherwise
        sums = {}
        for group, contents in files.items():
            path = aside / f"{group}.safetensors"
            path.write_bytes(serialised(contents))  # safetensors' own writing hides the OSError of a full disk
            sums[path.name] = _checksum(path)
        (aside / _STATE).write_text(json.dumps(plain | {"files": sums}, indent=1), encoding="utf-8")
        for path in (*aside.iterdir(), aside):
            _to_disk(path)
        if folder.exists():  # the same clock written twice, after a resume
            shutil.rmtree(folder)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _to_disk(folder.parent)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and plain values; `Damaged` where anything is missing or differs from what was written."""
    try:
        plain: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = {}
        for name, written in plain.pop("files").items():
            if _checksum(folder / name) != written:
                raise Damaged(str(folder / name))
            group = name.removesuffix(".safetensors")
            tensors |= {f"{group}/{key}": value for key, value in load_file(folder / name).items()}
    except (OSError, ValueError, KeyError) as error:  # ValueError: no JSON
        raise Damaged(f"{folder}: {error}") from error
    return tensors, plain


def prune(folder: Path, clocks: list[int], *worth: int | None) -> None:
    """Keep the newest two of the checkpoints at `clocks` (images shown, oldest first), the first, one for each doubling
    of the clock, and those that are `worth` it (the best, the last healthy one); remove the others and what a killed
    process left half-written."""
    keep = {*clocks[-2:], *clocks[:1]} | {clock for clock in worth if clock is not None}
    for older in clocks[1:]:  # the last one below each power of two
        if not any(older < later and later.bit_length() == older.bit_length() for later in clocks):
            keep.add(older)
    for path in folder.iterdir():
        if path.is_dir() and (path.name.startswith(".") or (path.name.isdigit() and int(path.name) not in keep)):
            shutil.rmtree(path, ignore_errors=True)  # what cannot go now (open elsewhere) goes the next time


def _checksum(path: Path) -> str:
    total, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total, size = zlib.crc32(block, total), size + len(block)
    return f"crc32:{total:08x}:{size}"


def _to_disk(path: Path) -> None:
    if os.name == "posix":  # Windows cannot sync a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
