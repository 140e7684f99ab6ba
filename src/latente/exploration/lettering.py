"""Words on pictures, in Spanish too: Pillow's own font has no letters with accents, so they are put together here.

A letter is taken apart into itself and its marks (Unicode's decomposition); the mark is drawn over the letter. The
signs that open a question or an exclamation are those that close it, upside down.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

INK, SOFT, PAPER = (29, 35, 48), (105, 113, 128), (255, 255, 255)
_TURNED = {"¿": "?", "¡": "!"}
_ALIKE = {"−": "-", "–": "-", "—": "-", "×": "x", "σ": "sigma", "ψ": "psi"}  # what the font lacks
_FINER = 4  # marks are drawn so many times larger and reduced: smooth edges
_MARKS = {"\u0301": "acute", "\u0303": "tilde", "\u0308": "dots"}


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType draws no words"
    return font


def _letters(text: str) -> list[tuple[str, str]]:
    """(letter, its mark or ""); what the font cannot write becomes a question mark."""
    plain = "".join(_ALIKE.get(sign, sign) for sign in text)
    found: list[tuple[str, str]] = []
    for sign in unicodedata.normalize("NFD", plain):
        if sign in _MARKS and found:
            found[-1] = (found[-1][0], _MARKS[sign])
        elif not unicodedata.combining(sign):
            found.append((sign if sign in _TURNED or _has(sign) else "?", ""))
    return found


@cache
def _has(sign: str) -> bool:
    missing, drawn = (bytes(_font(24).getmask(one)) for one in ("\uffff", sign))
    return drawn != missing


def width(text: str, size: int) -> int:
    """Pixels that a line takes."""
    return int(sum(_font(size).getlength(_TURNED.get(letter, letter)) for letter, _ in _letters(text)) + 0.999)


def height(size: int) -> int:
    """Pixels from one line to the next."""
    return round(1.35 * size)


def wrapped(text: str, size: int, most: int) -> list[str]:
    """The lines of a text, none wider than `most` pixels unless one word is."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and width(longer, size) > most:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def write(
    picture: Image.Image, place: tuple[int, int], text: str, size: int, colour: tuple[int, int, int] = INK
) -> None:
    """One line whose top left corner is `place`; accents of capitals reach a little above it."""
    font, pen = _font(size), ImageDraw.Draw(picture)
    x = float(place[0])
    for letter, mark in _letters(text):
        at = (round(x), place[1])
        if letter in _TURNED or (letter in "ij" and mark):
            shape = _turned(_TURNED[letter], size) if letter in _TURNED else _dotless(letter, size)
            picture.paste(colour, at, Image.fromarray(shape))
        else:
            pen.text(at, letter, colour, font)
        if mark:
            picture.paste(colour, (at[0] - size // 2, at[1] - size), _mark(letter, mark, size))
        x += font.getlength(_TURNED.get(letter, letter))


def _shape(letter: str, size: int) -> NDArray[np.uint8]:
    """The ink of a letter, [line, width] from the top left corner of its place."""
    wide = int(_font(size).getlength(letter) + 1.999)
    canvas = Image.new("L", (wide, height(size)))
    ImageDraw.Draw(canvas).text((0, 0), letter, 255, _font(size))
    return np.array(canvas)


def _turned(letter: str, size: int) -> NDArray[np.uint8]:
    """Upside down within its own height, then lowered as far as it hangs below the line in print."""
    shape = _shape(letter, size)
    rows = np.flatnonzero(shape.any(1))
    top, end = rows[0], rows[-1] + 1
    low = min(end + size // 5, len(shape))
    turned = np.zeros_like(shape)
    turned[low - (end - top) : low] = shape[top:end][::-1, ::-1]
    return turned


def _dotless(letter: str, size: int) -> NDArray[np.uint8]:
    """An i without its dot: the ink above its lowest gap goes."""
    shape = _shape(letter, size)
    rows = (shape.max(1) > 0).tolist()  # which lines have ink
    gaps = [y for y in range(1, len(rows)) if rows[y] and not rows[y - 1]]
    shape[: gaps[-1]] = 0
    return shape


def _mark(letter: str, mark: str, size: int) -> Image.Image:
    """A stroke that rises, a wave, or two dots, over the middle of the letter's ink; its place begins `size` above the
    letter's."""
    ink = _dotless(letter, size) if letter in "ij" else _shape(letter, size)
    columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
    fine = _FINER * size
    canvas = Image.new("L", (ink.shape[1] * _FINER + fine, 2 * fine))  # half a size to the left and to the right
    pen = ImageDraw.Draw(canvas)
    x, low = (columns[0] + columns[-1] + 1) / 2 * _FINER + fine / 2, rows[0] * _FINER + 0.9 * fine
    thick = max(round(0.085 * fine), 1)
    if mark == "acute":
        pen.line([(x - 0.05 * fine, low), (x + 0.12 * fine, low - 0.17 * fine)], 255, thick)
    elif mark == "tilde":
        far = np.linspace(-0.22, 0.22, 25)
        wave = [(x + at * fine, low - (0.06 + 0.055 * np.sin(at / 0.22 * np.pi)) * fine) for at in far]
        pen.line(wave, 255, round(0.8 * thick), joint="curve")
    else:
        radius = 0.065 * fine
        for middle in (x - 0.14 * fine, x + 0.14 * fine):
            pen.ellipse([middle - radius, low - 2 * radius, middle + radius, low], 255)
    return canvas.reduce(_FINER)
