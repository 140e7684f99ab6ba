"""A picture that reads without explanation: images in rows and columns, each with its label, under a title."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latente import pictures
from latente.exploration import lettering
from latente.messages import punctuated

Cell = NDArray[np.uint8] | None  # [C, H, W]; None leaves the place empty

_TITLE, _HEADING, _LABEL = 21, 17, 15  # pixels of type
_MARGIN, _GAP, _BETWEEN = 18, 4, 16  # around all, between images, between blocks
_LARGEST, _WIDEST = 128, 1100  # pixels: side of an enlarged image, width of a row of them
_NARROWEST = 420  # pixels of a sheet: a title needs room
_ROW_LABEL = 190  # pixels before a row's label is broken into lines
_MOST = 16  # images beside one another


@dataclass(frozen=True)
class Block:
    """Rows and columns of images of one shape."""

    cells: list[list[Cell]]  # [rows][columns]
    rows: list[str]  # a label for each, "" for none
    columns: list[str]
    heading: str = ""


@dataclass(frozen=True)
class Sheet:
    """Blocks one below another, and what there is to say about them."""

    title: str
    blocks: list[Block]
    notes: list[str] = field(default_factory=list)


def number(value: float, digits: int = 2) -> str:
    """A number for a label, without zeros at its end, as the language in force writes it."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = "0" if text == "-0" else text
    return punctuated(text)


def draw(sheet: Sheet) -> Image.Image:
    """Everything on white, as wide as it takes: no word is cut off, and small images are enlarged by a whole number."""
    blocks = [_block(part) for block in sheet.blocks for part in folded(block)]
    wide = max(_NARROWEST, *(block.width for block in blocks))
    title = lettering.wrapped(sheet.title, _TITLE, wide)
    notes = [line for note in sheet.notes for line in lettering.wrapped(note, _LABEL, wide)]
    tall = len(title) * lettering.height(_TITLE) + _GAP + len(notes) * lettering.height(_LABEL) + _GAP
    tall += sum(block.height + _BETWEEN for block in blocks)
    picture = Image.new("RGB", (wide + 2 * _MARGIN, tall + 2 * _MARGIN), lettering.PAPER)
    y = _written(picture, _MARGIN, title, _TITLE, lettering.INK)
    y = _written(picture, y, notes, _LABEL, lettering.SOFT) + 2 * _GAP
    for block in blocks:
        picture.paste(block, (_MARGIN, y))
        y += block.height + _BETWEEN
    return picture


def _written(
    picture: Image.Image, y: int, lines: list[str], size: int, colour: tuple[int, int, int], x: int = _MARGIN
) -> int:
    """Lines one below another; where the next one would begin."""
    for line in lines:
        lettering.write(picture, (x, y), line, size, colour)
        y += lettering.height(size)
    return y


def enlargement(height: int, width: int, columns: int) -> int:
    """By how much images are enlarged, a whole number."""
    return max(1, min(_LARGEST // max(height, width), _WIDEST // (columns * width)))


def folded(block: Block) -> list[Block]:
    """A block of more than `_MOST` columns as several of the same width, to be read like the lines of a text."""
    n = len(block.columns)
    wide = -(-n // -(-n // _MOST))  # as even as can be
    parts = []
    for i in range(0, n, wide):
        columns = [*block.columns[i : i + wide], *[""] * (i + wide - n)]  # a negative number of "" is none
        cells = [row[i : i + wide] for row in block.cells]
        parts.append(Block(cells, block.rows, columns, "" if i else block.heading))
    return parts


def _block(block: Block) -> Image.Image:
    shown = next(cell for row in block.cells for cell in row if cell is not None)
    scale = enlargement(shown.shape[1], shown.shape[2], max(len(block.columns), 1))
    high, wide = shown.shape[1] * scale, shown.shape[2] * scale
    words = [word for label in block.columns for word in label.split()]
    pitch = max(wide, *(lettering.width(word, _LABEL) + _GAP for word in words or [""])) + _GAP
    columns = [lettering.wrapped(label, _LABEL, pitch - _GAP) for label in block.columns]
    rows = [lettering.wrapped(label, _LABEL, _ROW_LABEL) for label in block.rows]
    left = max((lettering.width(line, _LABEL) for lines in rows for line in lines), default=0)
    left += 2 * _GAP if left else 0
    line = lettering.height(_LABEL)
    head = lettering.wrapped(block.heading, _HEADING, max(_NARROWEST, left + pitch * len(columns)))
    head = head if block.heading else []
    above = max((len(lines) for lines in columns if any(lines)), default=0) * line + _GAP
    top = len(head) * lettering.height(_HEADING) + above
    steps = [max(high, len(lines) * line if any(lines) else 0) + _GAP for lines in rows]
    right = max(left + pitch * len(block.columns), *(lettering.width(text, _HEADING) for text in head or [""]))
    picture = Image.new("RGB", (right, top + sum(steps)), lettering.PAPER)
    _written(picture, 0, head, _HEADING, lettering.INK, x=0)
    for j, lines in enumerate(columns):
        for i, text in enumerate(lines):  # the last line stands just above the images
            x = left + j * pitch + (pitch - _GAP - lettering.width(text, _LABEL)) // 2
            y = top - _GAP - (len(lines) - i) * line
            lettering.write(picture, (x, y), text, _LABEL, lettering.INK)
    y = top
    for lines, cells, step in zip(rows, block.cells, steps, strict=True):
        begin = y + (step - _GAP - len(lines) * line) // 2
        _written(picture, begin, lines, _LABEL, lettering.INK, x=0)
        for j, cell in enumerate(cells):
            if cell is not None:
                image = pictures.on_white(cell.repeat(scale, 1).repeat(scale, 2))
                picture.paste(image, (left + j * pitch + (pitch - _GAP - wide) // 2, y + (step - _GAP - high) // 2))
        y += step
    return picture
