"""A bare table of any tool's training, CSV or JSON lines -> a history: columns by their usual names.

NaN has two meanings in tables. Where a column has numbers in most rows, a NaN is a number that broke: the table is
refused with the row at which it began, for nothing that comes after can be judged (and that row is the diagnosis).
Where a column is mostly NaN between numbers (a distance measured now and then), it is an empty cell.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latente.diagnosis.history import History, Series
from latente.messages import Problem, nearest

# Our name of a column -> what others call it, in lower case without punctuation.
NAMES: dict[str, tuple[str, ...]] = {
    "critic/loss": (
        *(
            "dloss",
            "lossd",
            "discriminatorloss",
            "discloss",
            "criticloss",
            "lossdiscriminator",
            "losscritic",
            "lossdisc",
        ),
        *("errd", "lossesd", "dtotalloss", "totaldloss", "lossdtotal", "lossdloss", "netdloss", "critic", "ld"),
    ),
    "generator/loss": (
        *("gloss", "lossg", "generatorloss", "genloss", "lossgenerator", "lossgen", "errg", "lossesg", "gtotalloss"),
        *("totalgloss", "lossgtotal", "lossgloss", "netgloss", "generator", "actorloss", "lg", "lossgadv", "ggan"),
    ),
    "critic/real": ("dreal", "dx", "realscore", "scoresreal", "realscores", "lossscoresreal", "dxreal", "logitsreal"),
    "critic/fake": ("dfake", "dgz", "fakescore", "scoresfake", "fakescores", "lossscoresfake", "dgz1", "logitsfake"),
    "critic/penalty": ("gp", "gradientpenalty", "r1", "r1penalty", "lossgp", "lossr1", "lossdreg", "lossdr1"),
    "loss": ("loss", "totalloss", "trainloss", "elboloss", "vaeloss", "trainingloss", "losstotal", "negelbo", "nelbo"),
    "reconstruction": (
        *(
            "recon",
            "reconstruction",
            "reconloss",
            "reconstructionloss",
            "rec",
            "recloss",
            "lossrecon",
            "lossrec",
            "nll",
        ),
        *("bce", "trainrecon", "trainreconloss", "mseloss", "lossreconstruction", "reconstloss", "trainreconstruction"),
    ),
    "kl": (
        *("kl", "kld", "klloss", "kldloss", "losskl", "losskld", "kldivergence", "kldiv", "trainkl", "trainkld"),
        "regularisation",
    ),
    "mse": ("mse", "trainmse"),
    "test/loss": ("testloss", "valloss", "validationloss", "evalloss", "lossval", "losstest", "lossvalidation"),
    "test/reconstruction": ("valrecon", "testrecon", "valreconloss", "valreconstruction", "valreconstructionloss"),
    "test/kl": ("valkl", "testkl", "valkld", "testkld", "valklloss"),
    "test/mse": ("valmse", "testmse"),
    "fid": ("fid", "fid50k", "fid50kfull", "fid10k", "fid5k", "metricsfid", "metricsfid50kfull", "fidscore", "frechet"),
    "lr": ("lr", "learningrate", "lrg", "lrd"),
    "gradient/generator": ("gradnormg", "ggradnorm", "gradg", "generatorgradnorm"),
    "gradient/critic": ("gradnormd", "dgradnorm", "gradd", "discriminatorgradnorm", "criticgradnorm"),
}
# In the order in which they serve as the clock, with what one of them counts.
CLOCKS: dict[str, tuple[tuple[str, ...], str, float]] = {
    "images": (("images", "imgs", "samples", "nimg", "curnimg", "nimages", "imagesseen", "imagesshown"), "images", 1.0),
    "kimg": (("kimg", "curkimg", "progresskimg", "tickkimg", "nkimg"), "images", 1000.0),
    "step": (("step", "steps", "globalstep", "trainerglobalstep"), "step", 1.0),
    "iteration": (
        ("iteration", "iterations", "iter", "iters", "it", "niter", "batch", "batches", "update"),
        "step",
        1.0,
    ),
    "epoch": (("epoch", "epochs", "ep"), "epoch", 1.0),
}
_EMPTY = ("", "-", "na", "n/a", "none", "null")
_BROKEN = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "-nan")
_MOST = 2**28  # bytes of a table


def read(path: Path, typed: Mapping[str, str] | None = None) -> History:
    """A table -> its history; `typed`: our name of a column (critic, generator, kl, images...) -> the table's.

    Problem, one sentence each: no such file or nothing that could be a table; empty; one row; no column that we know;
    words where numbers should be; numbers that broke."""
    rows = _rows(path)
    if not rows:
        raise Problem("diagnosis.table_empty", path=path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    chosen = _chosen(path, names, typed or {})
    measured = [name for name in chosen if name not in CLOCKS]
    if not measured:
        listed = ", ".join(names[:8])
        raise Problem("diagnosis.table_unknown", path=path, names=listed, near=nearest(_bare(names[0]), _SHORT))
    if len(rows) == 1:
        raise Problem("diagnosis.table_one_row", path=path)
    clock, unit = _clock(path, rows, chosen)
    columns = {}
    for ours in measured:
        values = np.array([_number(path, row.get(chosen[ours], ""), chosen[ours], i) for i, row in enumerate(rows, 1)])
        columns[ours] = _column(path, chosen[ours], clock, values, [str(row.get(chosen[ours], "")) for row in rows])
    columns = {name: series for name, series in columns.items() if len(series)}
    if not any(len(series) > 1 for series in columns.values()):
        raise Problem("diagnosis.table_one_row", path=path)
    return History(_as_logits(columns), {"foreign": True, "columns": dict(chosen)}, unit)


# ---- Text -> rows ---------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file (comma, semicolon or tab) or of JSON lines."""
    try:
        if path.stat().st_size > _MOST:
            raise Problem("diagnosis.table_large", path=path, mib=_MOST // 2**20)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Problem("diagnosis.missing", path=path) from None
    except (OSError, UnicodeDecodeError):
        raise Problem("diagnosis.no_table", path=path) from None
    if "\0" in text:
        raise Problem("diagnosis.no_table", path=path)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    return _json_rows(path, lines) if lines[0].lstrip()[0] in "{[" else _csv_rows(path, lines)


def _json_rows(path: Path, lines: list[str]) -> list[dict[str, Any]]:
    try:
        found = json.loads("\n".join(lines)) if lines[0].lstrip()[0] == "[" else [json.loads(line) for line in lines]
    except ValueError:
        raise Problem("diagnosis.no_table", path=path) from None
    rows = [_flat(row) for row in found if isinstance(row, dict)]
    if len(rows) < len(found):
        raise Problem("diagnosis.no_table", path=path)
    return rows


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """{"loss": {"d": 1}} -> {"loss/d": 1}; of {"mean": 1, "std": 2} (StyleGAN's stats) the mean."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            inner = {before + name: value["mean"]} if "mean" in value else _flat(value, f"{before}{name}/")
            found |= inner
        else:
            found[before + name] = value
    return found


def _csv_rows(path: Path, lines: list[str]) -> list[dict[str, Any]]:
    separator = max(";\t,", key=lines[0].count)
    read_in = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True))
    header, *body = read_in
    header = [name.strip() for name in header]
    if all(_is_number(name) for name in header):
        raise Problem("diagnosis.table_no_header", path=path)
    decimal_comma = separator != ","
    found = []
    for cells in body:
        cells = [cell.strip() for cell in cells]
        if decimal_comma:
            cells = [
                cell.replace(",", ".") if re.fullmatch(r"[-+]?\d+,\d+(e[-+]?\d+)?", cell, re.I) else cell
                for cell in cells
            ]
        found.append(dict(zip(header, cells, strict=False)))
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---- Which column is which ------------------------------------------------------------------------------------------


def _bare(name: str) -> str:
    """Lower case, letters and digits alone: "Loss/D", "d_loss" and "D-loss" lose what tells them apart."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_NAME = {bare: ours for ours, others in NAMES.items() for bare in (_bare(ours), *others)}
_BY_NAME |= {bare: clock for clock, (others, _, _) in CLOCKS.items() for bare in others}
_SHORT = (*(name for name in NAMES), *CLOCKS)  # what is offered to the person


def _chosen(path: Path, names: Sequence[str], typed: Mapping[str, str]) -> dict[str, str]:
    """Our name -> the table's. What was typed comes first, then the first column with a usual name; columns that our
    own runs write (probe/coverage, critic/saturated) are taken as they are."""
    found: dict[str, str] = {}
    for given, name in typed.items():
        ours = _BY_NAME.get(_bare(given), given if "/" in given else "")
        if not ours:
            raise Problem("diagnosis.column_ours", given=given, near=nearest(given, _SHORT))
        if name not in names:
            raise Problem("diagnosis.column_theirs", path=path, given=name, near=nearest(name, names))
        found[ours] = name
    taken = set(found.values())
    for name in names:
        ours = _BY_NAME.get(_bare(name), "")
        if not ours and re.match(r"(probe|critic|generator|test|gradient)/", name) and not name.endswith("/sd"):
            ours = name
        if ours and name not in taken:
            found.setdefault(ours, name)
    return found


def _clock(
    path: Path, rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, str]
) -> tuple[np.ndarray[Any, Any], str]:
    """The time of each row [T], rising, and its unit; the number of the row where there is none that rises."""
    for name, (_, unit, scale) in CLOCKS.items():
        if name not in chosen:
            continue
        values = np.array([_number(path, row.get(chosen[name], ""), chosen[name], i) for i, row in enumerate(rows, 1)])
        good = np.isfinite(values)
        if good.all() and (np.diff(values) >= 0).all() and values[-1] > values[0]:
            if len(np.unique(values)) == len(values):
                return values * scale, unit
            if unit == "epoch":  # many rows an epoch: spread evenly within it
                return _within(values), unit
    return np.arange(1, len(rows) + 1, dtype=np.float64), "row"


def _within(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[1, 1, 2, 2] -> [1, 1.5, 2, 2.5]."""
    _, first, count = np.unique(values, return_index=True, return_counts=True)
    return np.concatenate([values[i] + np.arange(n) / n for i, n in zip(first, count, strict=True)])


# ---- Cells -> numbers -----------------------------------------------------------------------------------------------


def _number(path: Path, cell: Any, name: str, row: int) -> float:
    """A cell's number; NaN if it is empty or is none."""
    if cell is None or isinstance(cell, int | float):
        return math.nan if cell is None else float(cell)
    text = str(cell).strip().lower()
    if text in _EMPTY or text in _BROKEN:
        return float(text) if text in _BROKEN else math.nan
    tensor = re.fullmatch(r"tensor\(([^,()]+).*\)", text)  # what print() leaves in logs
    try:
        return float(tensor[1] if tensor else text)
    except ValueError:
        raise Problem("diagnosis.table_word", path=path, name=name, row=row, given=str(cell)[:30]) from None


def _column(
    path: Path, name: str, clock: np.ndarray[Any, Any], values: np.ndarray[Any, Any], cells: Sequence[str]
) -> Series:
    """The series of a column without its empty cells; Problem with the row where its numbers broke."""
    broken = np.array([cell.strip().lower() in _BROKEN for cell in cells])
    good = np.isfinite(values)
    if broken.any():
        last = int(np.flatnonzero(good)[-1]) if good.any() else -1
        between = broken[: last + 1].sum()  # of NaN that numbers follow
        ends = int(broken[last + 1 :].sum())
        now_and_then = between > good.sum() or (
            0 < between and ends <= _longest(broken[: last + 1]) and good.mean() < 0.5
        )
        if not now_and_then:
            first = int(np.flatnonzero(broken)[0]) + 1
            raise Problem("diagnosis.table_nan", path=path, name=name, row=first, rows=len(values))
    return Series(clock[good].astype(np.float64), values[good].astype(np.float64))


def _longest(broken: np.ndarray[Any, Any]) -> int:
    """The longest unbroken stretch of True."""
    longest = here = 0
    for one in broken:
        here = here + 1 if one else 0
        longest = max(longest, here)
    return longest


def _as_logits(columns: dict[str, Series]) -> dict[str, Series]:
    """D(x) as a probability -> its logit, where both scores lie in [0, 1]."""
    scores = [columns[name] for name in ("critic/real", "critic/fake") if name in columns]
    if not scores or any(s.values.min() < 0 or s.values.max() > 1 for s in scores):
        return columns
    found = dict(columns)
    for name in ("critic/real", "critic/fake"):
        if name in found:
            p = np.clip(found[name].values, 1e-6, 1 - 1e-6)
            found[name] = Series(found[name].images, np.log(p / (1 - p)))
    return found
