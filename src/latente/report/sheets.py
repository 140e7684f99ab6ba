"""The pictures of a run folder, taken apart, put together anew and packed into the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latente import pictures
from latente.run import Run

BUDGET = 4_200_000  # characters of base64 that the pictures of the album may take together
EVIDENCE_BUDGET = 300_000  # and those that bear out findings and measurements
_COLUMNS, _GAP = 8, 2  # of the sheets in a run folder
_SHEETS, _MOMENTS, _TIMES = 12, 8, 4  # of samples, of the same codes, of reconstructions: at most so many
_ROWS = 8  # codes that are followed over time
_EVIDENCE = 24  # images that are shown of a sheet that bears out a finding
_SMALLEST, _LARGEST = 96, 128  # pixels a side of an image on the page
_QUALITIES = (
    (None, 1),
    (90, 1),
    (75, 1),
    (50, 1),
    (30, 1),
    (50, 2),
    (50, 4),
)  # WebP (None: no loss), and sides divided by

Cells = NDArray[np.uint8]  # [N, 3, H, W]
T = TypeVar("T")


@dataclass
class Shown:
    """One picture of the page."""

    images: int  # shown when it was made
    count: int  # images in it
    picture: Image.Image
    url: str = ""  # data:


@dataclass(frozen=True)
class Album:
    """All the pictures of the page."""

    samples: list[Shown]  # oldest first
    moments: list[Shown]  # columns of the same codes
    originals: list[Shown]  # one row, or nothing
    reconstructions: list[Shown]
    reals: list[Shown]  # one sheet, or nothing
    unreadable: list[str]


def album(run: Run, budget: int = BUDGET) -> Album:
    """Every picture that the page shows, encoded so that all together stay within `budget` characters."""
    _, height, width = run.dataset["image_shape"]
    size = (int(height), int(width))
    unreadable: list[str] = []
    sheets = _read(on_record(run, "samples"), size, _SHEETS, unreadable)
    pairs = _read(on_record(run, "reconstructions"), size, _TIMES, unreadable)
    reals = _open(run.folder / "reals.png", size, unreadable)
    samples = [_sheet(clock, cells, _COLUMNS) for clock, cells in sheets]
    moments = [_sheet(clock, cells[:_ROWS], 1) for clock, cells in spread(sheets, _MOMENTS)]
    originals = [_sheet(clock, cells[: len(cells) // 2], len(cells) // 2) for clock, cells in pairs[-1:]]
    again = [_sheet(clock, cells[len(cells) // 2 :], len(cells) // 2) for clock, cells in pairs]
    shown_reals = [] if reals is None else [_sheet(0, reals, _COLUMNS)]
    everything = [*samples, *moments, *originals, *again, *shown_reals]
    for shown, url in zip(everything, encode([shown.picture for shown in everything], budget), strict=True):
        shown.url = url
    return Album(samples, moments, originals, again, shown_reals, unreadable)


def _sheet(clock: int, cells: Cells, columns: int) -> Shown:
    return Shown(clock, len(cells), pictures.grid(_fitted(cells), columns))


def spread(all_of_them: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(all_of_them) - 1, min(len(all_of_them), most)).round().astype(int)
    return [all_of_them[i] for i in places]


def encode(images: Sequence[Image.Image], budget: int) -> list[str]:
    """data: URLs, without loss if they fit in `budget` characters, else at the best quality that does, else smaller."""
    for quality, reduction in _QUALITIES:
        urls: list[str] = []
        for image in images:
            urls.append(_url(image.reduce(reduction), quality))
            if sum(map(len, urls)) > budget:
                break
        else:
            return urls
    raise ValueError(f"{len(images)} pictures do not fit in {budget} characters")


def _url(image: Image.Image, quality: int | None) -> str:
    file = io.BytesIO()
    if quality is None:
        image.save(file, format="WEBP", lossless=True, quality=60)
    else:
        image.save(file, format="WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def on_record(run: Run, kind: str) -> list[Path]:
    """The pictures of a folder of the run ("samples", "reconstructions"), oldest first. Where training went back,
    those later than the present are of a branch that is none any more."""
    files = sorted((p for p in (run.folder / kind).glob("*.png") if p.stem.isdigit()), key=lambda p: int(p.stem))
    if not run.branch():
        return files
    now = max(row.get("to", row["images"]) for row in (*run.line(), *run.interventions()[-1:], *run.events()[-1:]))
    return [path for path in files if int(path.stem) <= now]


def evidence(run: Run, paths: Sequence[str], budget: int = EVIDENCE_BUDGET) -> dict[str, Shown]:
    """Pictures by their paths inside the run folder, small: of a sheet of samples the first images, of points their
    portrait, of anything else all of it. What is not there, not whole, or of an abandoned branch is left out."""
    present = on_record(run, "samples")
    there = [path for path in paths if (run.folder / path).is_file()]
    there = [path for path in there if run.folder / path in present or not path.startswith("samples/")]
    good = [path for path in there if whole(run.folder / path, [])]
    shown = {path: _small(run, path) for path in good}
    for one, url in zip(shown.values(), encode([one.picture for one in shown.values()], budget), strict=True):
        one.url = url
    return shown


def _small(run: Run, path: str) -> Shown:
    _, height, width = run.dataset["image_shape"]
    name = Path(path)
    if name.parent.name == "samples" and run.dataset.get("kind") != "points":
        cells = _open(run.folder / path, (height, width), [])
        if cells is not None:
            return _sheet(int(name.stem), cells[:_EVIDENCE], _COLUMNS)
    with Image.open(run.folder / path) as image:
        return Shown(int(name.stem.rpartition("-")[2]), 1, image.convert("RGB"))


def _read(files: list[Path], size: tuple[int, int], most: int, unreadable: list[str]) -> list[tuple[int, Cells]]:
    """(images shown, cells) of some of these sheets, oldest first."""
    good = [path for path in files if whole(path, unreadable)]
    found = [(int(path.stem), _open(path, size, unreadable)) for path in spread(good, most)]
    return [(clock, cells) for clock, cells in found if cells is not None]


def whole(path: Path, unreadable: list[str]) -> bool:
    """Whether a PNG is all there: a process that is killed while it writes one leaves half of it."""
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError):
        unreadable.append(path.name)
        return False
    return True


def _open(path: Path, size: tuple[int, int], unreadable: list[str]) -> Cells | None:
    """The images of a sheet in their own size, [N, 3, H, W]; None if it is missing or cannot be read."""
    if not path.exists() or not whole(path, unreadable):
        return None
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    scale = max(1, 64 // max(size))  # as `pictures.grid` enlarges
    height, width = size[0] * scale + _GAP, size[1] * scale + _GAP
    rows, columns = (sheet.shape[0] - _GAP) // height, (sheet.shape[1] - _GAP) // width
    if not rows * columns or sheet.shape[:2] != (rows * height + _GAP, columns * width + _GAP):
        unreadable.append(path.name)
        return None
    cells = (
        sheet[_GAP:, _GAP:].reshape(rows, height, columns, width, 3).transpose(0, 2, 4, 1, 3)
    )  # [rows, columns, 3, ...]
    cells = cells[..., :-_GAP:scale, :-_GAP:scale].reshape(-1, 3, *size)
    while len(cells) > 1 and (cells[-1] == 255).all():  # the empty places of the last row
        cells = cells[:-1]
    return cells


def _fitted(cells: Cells) -> Cells:
    """Small images enlarged by a whole number, so that pixels stay square and sharp; large ones reduced."""
    side = max(cells.shape[2:])
    scale = -(-_SMALLEST // side) if side < 64 else 1
    if side <= _LARGEST:
        return cells.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = (max(1, n * _LARGEST // side) for n in cells.shape[2:])
    small = [Image.fromarray(c.transpose(1, 2, 0)).resize((width, height), Image.Resampling.LANCZOS) for c in cells]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in small])
