"""The hair of `caras`. Every style is drawn in two goes: what lies behind the face, and what lies on it.

Frame: the origin in the middle of the head, the head 0.94 wide and 1.12 high; x to the right, y down.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from latente.data.caras_shapes import Colour, Plane, Sheet, both, box, circle, either, ellipse, paint, paint_line, taper


def head(x: Plane, y: Plane) -> Plane:
    """The face's outline: an ellipse that narrows towards the chin."""
    below = np.maximum(y, 0)
    return ellipse(x, y, 0, 0, 0.485 - 0.2 * below * below, 0.56)


def _shine(sheet: Sheet, hair: Plane, colour: Colour, cx: float = 0.0, cy: float = 0.0, r: float = 0.44) -> None:
    """A streak of light on the upper left of the hair, along a circle."""
    u, v = sheet.x - cx, sheet.y - cy
    ring = np.abs(np.sqrt(u * u + v * v) - r) - 0.028
    streak = both(ring, u + 0.1 * r, -(u + 0.62 * r), v, hair + 0.03)
    paint(sheet, streak, np.minimum(colour * 1.12 + 26, 255))


def _fill(sheet: Sheet, hair: Plane, colour: Colour, cx: float = -0.16, cy: float = -0.1, r: float = 0.6) -> None:
    """Hair in two tones: the light comes from the upper left, and falls in a circle."""
    paint(sheet, hair, colour)
    paint(sheet, both(hair, -circle(sheet.x, sheet.y, cx, cy, r)), _shade(colour))


def _shade(colour: Colour) -> Colour:
    return colour * np.asarray([0.78, 0.76, 0.82], dtype=np.float32)


def _cap(x: Plane, y: Plane, grow: float, opening: Plane, bottom: float) -> Plane:
    """Hair that follows the skull, thicker by `grow`, down to `bottom`, with an opening for the face."""
    return both(head(x, y) - grow, -opening, y - bottom)


def _nothing(sheet: Sheet, colour: Colour) -> None:
    pass


def _bald(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    streak = both(np.abs(circle(x, y, 0, -0.05, 0.4)) - 0.024, x + 0.06, -x - 0.26, y)
    paint(sheet, streak, (255, 255, 255), 0.45)


def _buzz(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    hair = _cap(x, y, 0.025, ellipse(x, y, 0, 0.14, 0.42, 0.47), 0.02)
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour)


def _parted(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    opening = both(ellipse(x, y, 0, 0.16, 0.415, 0.56), -ellipse(x, y, 0.14, -0.42, 0.46, 0.26))
    opening = both(opening, -ellipse(x, y, -0.47, -0.36, 0.25, 0.28))
    top = ellipse(x, y, 0.06, -0.34, 0.52, 0.33)
    hair = either(_cap(x, y, 0.045, opening, 0.06), both(top, -opening))
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour, 0.06, -0.02, 0.5)
    paint(sheet, taper(x, y, -0.3, -0.6, -0.25, -0.27, 0.004, 0.014), _shade(colour))


def _quiff(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    sides = _cap(x, y, 0.03, ellipse(x, y, 0, 0.14, 0.415, 0.5), 0.03)
    paint(sheet, sides, _shade(colour))
    wave = either(
        ellipse(x, y, 0.02, -0.52, 0.43, 0.22), ellipse(x, y, -0.16, -0.62, 0.27, 0.19), circle(x, y, 0.3, -0.5, 0.17)
    )
    _fill(sheet, wave, colour, -0.12, -0.76, 0.5)
    _shine(sheet, wave, colour, -0.1, -0.25, 0.45)
    paint(sheet, taper(x, y, 0.2, -0.62, 0.34, -0.44, 0.022, 0.004), _shade(colour))
    paint(sheet, taper(x, y, 0.02, -0.62, 0.2, -0.42, 0.022, 0.004), _shade(colour))


def _spiky(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    hair = _cap(x, y, 0.03, ellipse(x, y, 0, 0.16, 0.42, 0.5), 0.05)
    for tip, height, foot in (
        (-0.62, -0.42, -0.36), (-0.5, -0.72, -0.27), (-0.24, -0.86, -0.14), (0.06, -0.88, 0.0),
        (0.34, -0.82, 0.15), (0.57, -0.66, 0.27), (0.64, -0.38, 0.36),
    ):  # fmt: skip
        hair = either(hair, taper(x, y, foot, -0.36, tip, height, 0.17, 0.002))
    for tip, foot in ((-0.3, -0.26), (-0.13, -0.06), (0.06, 0.12), (0.27, 0.3)):
        hair = either(hair, taper(x, y, foot, -0.38, tip, -0.17, 0.1, 0.002))
    _fill(sheet, hair, colour, -0.35, -0.5, 0.76)
    _shine(sheet, hair, colour, 0, -0.05, 0.5)


AFRO = [(-0.52, 0.02), (-0.6, -0.2), (-0.52, -0.44), (-0.34, -0.62), (-0.11, -0.72), (0.13, -0.72), (0.35, -0.61),
        (0.53, -0.43), (0.6, -0.19), (0.52, 0.03)]  # fmt: skip
CURLS = [(-0.34, -0.3), (-0.16, -0.36), (0.04, -0.37), (0.23, -0.33), (0.37, -0.24)]


def _curly_back(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    hair = either(ellipse(x, y, 0, -0.2, 0.62, 0.56), *(circle(x, y, cx, cy, 0.17) for cx, cy in AFRO))
    _fill(sheet, hair, colour)


def _curly(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    hair = either(*(circle(x, y, cx, cy, 0.125) for cx, cy in CURLS))
    hair = either(hair, _cap(x, y, 0.0, ellipse(x, y, 0, 0.16, 0.44, 0.53), -0.1))
    paint(sheet, hair, colour)
    for cx, cy in ((-0.36, -0.5), (-0.1, -0.58), (0.17, -0.56), (0.4, -0.42), (-0.5, -0.26), (0.02, -0.38)):
        curl = both(np.abs(circle(x, y, cx, cy, 0.085)) - 0.016, y - cy - 0.02)
        paint(sheet, curl, np.minimum(colour * 1.12 + 22, 255), 0.8)


def _bob_outline(x: Plane, y: Plane) -> Plane:
    return either(ellipse(x, y, 0, -0.12, 0.59, 0.53), box(x, y, 0, 0.14, 0.6, 0.36, 0.14))


def _bob_back(sheet: Sheet, colour: Colour) -> None:
    paint(sheet, _bob_outline(sheet.x, sheet.y), _shade(colour))


def _bob(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    hair = both(_bob_outline(x, y), -box(x, y, 0, 0.4, 0.395, 0.6, 0.12))
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour, 0, -0.02, 0.46)
    for at in (-0.16, 0.1):
        paint(sheet, taper(x, y, at, -0.34, at + 0.01, -0.2, 0.002, 0.012), _shade(colour))


def _long_outline(x: Plane, y: Plane) -> Plane:
    return either(ellipse(x, y, 0, -0.12, 0.58, 0.53), box(x, y, 0, 0.36, 0.61, 0.5, 0.2))


def _long_back(sheet: Sheet, colour: Colour) -> None:
    paint(sheet, _long_outline(sheet.x, sheet.y), _shade(colour))


def _long(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    side = np.abs(x)
    opening = either(ellipse(side, y, 0.16, 0.2, 0.26, 0.62), box(x, y, 0, 0.6, 0.38, 0.5, 0.16))
    hair = both(_long_outline(x, y), -opening)
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour, 0, -0.02, 0.48)
    paint(sheet, taper(side, y, 0.49, 0.2, 0.51, 0.7, 0.002, 0.014), _shade(colour))


def _pulled(sheet: Sheet, colour: Colour) -> None:
    """Hair combed back over the skull, with its hairline high."""
    x, y = sheet.x, sheet.y
    hair = _cap(x, y, 0.04, ellipse(x, y, 0, 0.12, 0.43, 0.47), 0.0)
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour)


def _bun_back(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    bun = circle(x, y, 0, -0.68, 0.21)
    paint(sheet, bun, colour)
    paint(sheet, both(bun, -circle(x, y, -0.06, -0.74, 0.2)), _shade(colour))
    paint_line(sheet, np.abs(circle(x, y, 0.03, -0.66, 0.12)), 0.014, _shade(colour))


def _pigtails_back(sheet: Sheet, colour: Colour) -> None:
    x, y = np.abs(sheet.x), sheet.y
    tail = either(ellipse(x, y, 0.66, -0.1, 0.18, 0.24), taper(x, y, 0.66, -0.05, 0.74, 0.32, 0.17, 0.02))
    paint(sheet, tail, colour)
    paint(sheet, both(tail, -circle(sheet.x, y, -0.2, -0.3, 0.62), -circle(x, y, 0.58, -0.1, 0.2)), _shade(colour))
    paint(sheet, circle(x, y, 0.53, -0.26, 0.075), (240, 92, 104))


def _pigtails(sheet: Sheet, colour: Colour) -> None:
    x, y = sheet.x, sheet.y
    side = np.abs(x)
    hair = _cap(x, y, 0.04, either(ellipse(side, y, 0.17, 0.12, 0.26, 0.5), ellipse(x, y, 0, 0.3, 0.43, 0.5)), 0.0)
    _fill(sheet, hair, colour)
    _shine(sheet, hair, colour)
    paint(sheet, taper(x, y, 0, -0.61, 0, -0.3, 0.008, 0.012), _shade(colour))


class Style(NamedTuple):
    behind: Callable[[Sheet, Colour], None]  # what lies behind the face and the shoulders
    on: Callable[[Sheet, Colour], None]  # what lies on the face
    reach: float  # how far down it comes: nothing below is touched


HAIR: Mapping[str, Style] = {
    "bald": Style(_nothing, _bald, 0.0),
    "buzz": Style(_nothing, _buzz, 0.05),
    "parted": Style(_nothing, _parted, 0.1),
    "quiff": Style(_nothing, _quiff, 0.05),
    "spiky": Style(_nothing, _spiky, 0.1),
    "curly": Style(_curly_back, _curly, 0.4),
    "bob": Style(_bob_back, _bob, 0.55),
    "long": Style(_long_back, _long, 0.9),
    "bun": Style(_bun_back, _pulled, 0.05),
    "pigtails": Style(_pigtails_back, _pigtails, 0.4),
}
