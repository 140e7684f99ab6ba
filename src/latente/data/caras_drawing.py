"""Factors -> pictures: the drawing of `caras`, at any size from 32 to 256 pixels.

Three frames: the picture (2 x 2, origin in its middle, y down), the head (moved and tilted by the pose), and its
features, which slide over the head a little further than it moves, as they do when a head turns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latente.data.caras_hair import HAIR, head
from latente.data.caras_shapes import (
    Colour,
    Plane,
    Sheet,
    both,
    box,
    circle,
    distance,
    either,
    ellipse,
    lens,
    paint,
    paint_line,
    taper,
    window,
)

SKIN = {
    "pale": (255, 228, 209),
    "light": (247, 203, 168),
    "golden": (232, 178, 124),
    "tan": (201, 140, 90),
    "brown": (162, 104, 66),
    "dark": (122, 78, 58),
}
HAIR_COLOUR = {
    "black": (40, 35, 48),
    "brown": (80, 47, 36),
    "blond": (236, 192, 98),
    "red": (212, 84, 40),
    "grey": (184, 187, 198),
    "pink": (240, 128, 166),
    "blue": (70, 112, 200),
}
EYES = ("round", "almond", "sleepy", "cat")
EYE_COLOUR = {"brown": (110, 64, 34), "blue": (58, 128, 214), "green": (62, 152, 92), "amber": (222, 146, 30)}
GLASSES = ("none", "round", "square", "sunglasses")
BEARD = ("none", "moustache", "goatee", "full")
CLOTHES = {
    "jumper": (226, 84, 80),
    "shirt": (244, 246, 250),
    "hoodie": (54, 150, 138),
    "stripes": (248, 244, 236),
    "turtleneck": (240, 176, 52),
    "tee": (122, 96, 190),
}
BACKGROUND = {
    "sky": (158, 212, 246),
    "mint": (172, 226, 190),
    "lemon": (252, 226, 132),
    "peach": (252, 188, 150),
    "rose": (248, 180, 202),
    "lavender": (198, 186, 240),
    "teal": (92, 186, 184),
    "navy": (70, 84, 132),
}
STRIPE = (52, 74, 128)
INK = (58, 38, 44)
WHITE = (255, 255, 255)
BLUSH = np.asarray([244, 96, 92], dtype=np.float32)
OPEN = 0.125  # how far the happiest mouth opens
HEAD = 1.1  # the size of the head, against the frame of the picture
PIXELS_AT_ONCE = 1 << 17  # a chunk's planes should stay in the processor's cache


def draw(factors: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.uint8]:
    """Draw faces: factors name -> [N] -> [N, 3, size, size]."""
    count = len(factors["skin"])
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    step = max(1, PIXELS_AT_ONCE // (size * size))
    for start in range(0, count, step):
        chunk = {name: values[start : start + step] for name, values in factors.items()}
        images[start : start + step] = _faces(chunk, size)
    return images


def _faces(factors: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.uint8]:
    count = len(factors["skin"])
    skin = _palette(SKIN, factors["skin"])
    hair = _palette(HAIR_COLOUR, factors["hair_colour"])
    turn_x, turn_y, tilt, mouth = (
        np.asarray(factors[name], dtype=np.float32).reshape(-1, 1, 1) for name in ("pose_x", "pose_y", "tilt", "mouth")
    )
    at = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1  # centres of the pixels
    pixels = np.empty((count, 3, size, size), dtype=np.float32)
    shape = (count, size, size)
    picture = Sheet(pixels, np.broadcast_to(at, shape), np.broadcast_to(at[:, None], shape), 2 / size)
    below = window(size, -1, 0.28, 1, 1)
    bust = picture.moved(0.03 * turn_x, 0.05).cut(below)
    skull = _tilted(picture.moved(0.075 * turn_x, 0.045 * turn_y), 0.055 * tilt)
    ears = skull.moved(-0.02 * turn_x, 0)
    features = skull.moved(0.045 * turn_x, 0.03 * turn_y)
    nose = features.moved(0.016 * turn_x, 0.01 * turn_y)

    _backdrop(picture, _palette(BACKGROUND, factors["background"]))
    _hair(skull, True, factors["hair"], hair)
    _shoulders(bust, factors["clothes"])
    _neck(bust, skull.cut(below), skin)
    _collar(bust, factors["clothes"])
    _ears(ears.cut(_window(size, -0.6, -0.1, 0.6, 0.2)), skin)
    _head(skull, skin)
    _cheeks(features.cut(_window(size, -0.4, 0.1, 0.4, 0.35)), skin)
    _nose(nose.cut(_window(size, -0.1, 0.1, 0.1, 0.25)), skin)
    _beard(skull, features, factors["beard"], skin, hair, mouth)
    _mouth(features.cut(_window(size, -0.3, 0.25, 0.3, 0.55)), mouth, skin)
    _moustache(features.cut(_window(size, -0.25, 0.2, 0.25, 0.35)), factors["beard"], hair)
    _eyes(features.cut(_window(size, -0.45, -0.15, 0.45, 0.2)), factors, skin, turn_x, turn_y)
    _hair(skull, False, factors["hair"], hair)
    _brows(features.cut(_window(size, -0.35, -0.25, 0.35, -0.1)), hair, skin, mouth)
    _glasses(features.cut(_window(size, -0.5, -0.15, 0.5, 0.25)), factors["glasses"])
    return (np.clip(pixels, 0, 255) + 0.5).astype(np.uint8)


def _palette(colours: Mapping[str, tuple[int, int, int]], values: NDArray[Any]) -> Colour:
    table = np.asarray(list(colours.values()), dtype=np.float32)
    return np.asarray(table[values])


def _tilted(sheet: Sheet, half: Plane) -> Sheet:
    """Turned by 2 atan(half) about the foot of the neck: a rotation without a sine, whose last bit would differ."""
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = sheet.x / HEAD, sheet.y / HEAD - 0.55
    return Sheet(sheet.pixels, cos * x + sin * y, cos * y - sin * x + 0.55, sheet.pixel / HEAD)


def _window(size: int, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """The pixels that a rectangle of the head's frame can reach in any pose."""
    return window(size, HEAD * left - 0.2, HEAD * top - 0.2, HEAD * right + 0.2, HEAD * bottom + 0.2)


def _which(values: NDArray[Any], wanted: int) -> NDArray[np.intp]:
    return np.flatnonzero(values == wanted)


def _deeper(colour: Colour, by: float = 1.0) -> Colour:
    """A colour in the shade: darker, and warmer."""
    return colour * np.asarray([1 - 0.12 * by, 1 - 0.2 * by, 1 - 0.2 * by], dtype=np.float32)


def _folded(cloth: Colour) -> Colour:
    """The shade on cloth: darker, and cooler."""
    return cloth * np.asarray([0.82, 0.82, 0.87], dtype=np.float32)


def _backdrop(sheet: Sheet, colour: Colour) -> None:
    sheet.pixels[...] = colour[:, :, None, None]
    paint(sheet, circle(sheet.x, sheet.y, 0, 0.06, 0.84), colour + (255 - colour) * 0.32)


def _shoulders(sheet: Sheet, clothes: NDArray[Any]) -> None:
    x, y = sheet.x, sheet.y
    colour = _palette(CLOTHES, clothes)
    trunk = box(x, y, 0, 1.28, 0.74, 0.6, 0.4)
    hood = _which(clothes, list(CLOTHES).index("hoodie"))
    if len(hood):
        part = sheet.of(hood)
        paint(part, ellipse(part.x, part.y, 0, 0.66, 0.44, 0.2), _folded(colour[hood]) * 0.9)
        sheet.put(hood, part)
    paint(sheet, trunk, colour)
    striped = _which(clothes, list(CLOTHES).index("stripes"))
    if len(striped):
        part = sheet.of(striped)
        for height in (0.76, 0.92):
            paint(part, both(np.abs(part.y - height) - 0.04, trunk[striped]), STRIPE)
        sheet.put(striped, part)
    sleeve = np.abs(np.abs(x) - 0.52 - 0.1 * (1 - y))
    paint(sheet, both(sleeve - 0.012, 0.83 - y, trunk), _folded(colour))


def _hair(sheet: Sheet, behind: bool, style: NDArray[Any], colour: Colour) -> None:
    for value, (back, front, reach) in enumerate(HAIR.values()):
        faces = _which(style, value)
        if len(faces):
            close = sheet.cut(_window(sheet.pixels.shape[-1], -1, -1, 1, reach))
            part = close.of(faces)
            (back if behind else front)(part, colour[faces])
            close.put(faces, part)


def _neck(bust: Sheet, skull: Sheet, skin: Colour) -> None:
    x, y = bust.x, bust.y
    neck = either(box(x, y, 0, 0.5, 0.17, 0.26, 0.1), ellipse(x, y, 0, 0.7, 0.25, 0.12))
    paint(bust, neck, skin)
    paint(bust, both(neck, head(skull.x, skull.y - 0.09)), _deeper(skin, 1.2))


def _collar(sheet: Sheet, clothes: NDArray[Any]) -> None:
    colour = _palette(CLOTHES, clothes)
    for value, name in enumerate(CLOTHES):
        faces = _which(clothes, value)
        if not len(faces):
            continue
        part = sheet.of(faces)
        x, y, cloth = part.x, part.y, colour[faces]
        ring = both(np.abs(ellipse(x, y, 0, 0.68, 0.25, 0.14)), 0.68 - y)
        if name == "turtleneck":
            roll = box(x, y, 0, 0.69, 0.26, 0.145, 0.07)
            paint(part, roll, cloth)
            paint(part, both(roll, 0.73 - y), _folded(cloth))
        elif name == "shirt":
            side = np.abs(x)
            paint(part, taper(side, y, 0.21, 0.66, 0.1, 0.86, 0.06, 0.035), _folded(cloth))
            paint(part, taper(side, y, 0.22, 0.64, 0.12, 0.82, 0.06, 0.03), cloth)
            paint(part, taper(x, y, 0, 0.82, 0, 1.0, 0.05, 0.075), (74, 104, 190))
        elif name == "hoodie":
            paint(part, ring - 0.045, _folded(cloth))
            paint(part, taper(np.abs(x), y, 0.12, 0.8, 0.13, 0.94, 0.016, 0.016), WHITE)
        else:
            paint(part, ring - 0.03, _folded(cloth) if name != "stripes" else STRIPE)
        sheet.put(faces, part)


def _ears(sheet: Sheet, skin: Colour) -> None:
    side = np.abs(sheet.x)
    paint(sheet, ellipse(side, sheet.y, 0.48, 0.07, 0.085, 0.115), skin)
    paint(sheet, ellipse(side, sheet.y, 0.495, 0.075, 0.04, 0.065), _deeper(skin))


def _head(sheet: Sheet, skin: Colour) -> None:
    face = head(sheet.x, sheet.y)
    paint(sheet, face, skin)
    paint(sheet, both(face, -ellipse(sheet.x, sheet.y, -0.1, -0.05, 0.52, 0.6)), _deeper(skin, 0.5))


def _cheeks(sheet: Sheet, skin: Colour) -> None:
    paint(sheet, circle(np.abs(sheet.x), sheet.y, 0.29, 0.235, 0.085), 0.7 * skin + 0.3 * BLUSH)


def _nose(sheet: Sheet, skin: Colour) -> None:
    paint(sheet, ellipse(sheet.x, sheet.y, 0, 0.19, 0.052, 0.042), _deeper(skin, 1.1))


def _smile(x: Plane, y: Plane, mouth: Plane) -> tuple[Plane, Plane, Plane]:
    """Distance from the line of the lips; the open mouth under that line; and how far below the line each pixel is."""
    happy, sad = np.maximum(mouth, 0), np.minimum(mouth, 0)
    half = 0.17 + 0.04 * happy
    t = np.minimum(np.maximum(x / half, -1), 1)
    bend = 0.065 * happy + 0.05 * sad
    line = 0.35 + bend * (1 - 2 * t * t)
    slope = -4 * bend * t / half
    below = (y - line) / np.sqrt(1 + slope * slope)
    gap = OPEN * happy * (1 - t * t)
    return distance(x - t * half, below), both(-below, below - gap, np.abs(x) - half), below


def _mouth(sheet: Sheet, mouth: Plane, skin: Colour) -> None:
    line, inside, below = _smile(sheet.x, sheet.y, mouth)
    colour = skin * np.asarray([0.42, 0.2, 0.24], dtype=np.float32) + np.asarray([20, 8, 14], dtype=np.float32)
    depth = OPEN * np.maximum(mouth, 0)
    paint(sheet, inside, colour)
    paint(sheet, both(inside, circle(sheet.x, below, 0, 0, 0.1), 0.6 * depth - below), (240, 110, 110))
    paint(sheet, both(inside, below - 0.4 * depth), WHITE)
    paint_line(sheet, line, 0.021, colour)


def _beard(skull: Sheet, features: Sheet, beard: NDArray[Any], skin: Colour, hair: Colour, mouth: Plane) -> None:
    for name in ("goatee", "full"):
        faces = _which(beard, BEARD.index(name))
        if not len(faces):
            continue
        part, near = skull.of(faces), features.of(faces)
        near = Sheet(part.pixels, near.x, near.y, near.pixel)
        if name == "full":
            cheeks = ellipse(near.x, near.y, 0, 0.0, 0.385, 0.27)
            shape = both(head(part.x, part.y) - 0.035, -cheeks, -part.y - 0.02)
        else:
            shape = ellipse(near.x, near.y, 0, 0.43, 0.2, 0.18)
        paint(part, shape, _beard_colour(hair[faces]))
        line, inside, _ = _smile(near.x, near.y, mouth[faces])
        paint(near, either(line - 0.036, inside - 0.02), _deeper(skin[faces], 0.4))
        skull.put(faces, part)


def _beard_colour(hair: Colour) -> Colour:
    return hair * 0.9


def _moustache(features: Sheet, beard: NDArray[Any], hair: Colour) -> None:
    faces = np.flatnonzero(beard != 0)
    part = features.of(faces)
    side = np.abs(part.x)
    shape = taper(side, part.y, 0.045, 0.275, 0.2, 0.31, 0.05, 0.012)
    paint(part, shape, _beard_colour(hair[faces]))
    features.put(faces, part)


def _eyes(sheet: Sheet, factors: Mapping[str, NDArray[Any]], skin: Colour, turn_x: Plane, turn_y: Plane) -> None:
    for value, name in enumerate(EYES):
        faces = _which(factors["eyes"], value)
        if len(faces):
            part = sheet.of(faces).moved(0, 0.05)
            look = part.moved(0.02 * turn_x[faces], 0.015 * turn_y[faces])
            _eye(name, part, look, _palette(EYE_COLOUR, factors["eye_colour"][faces]), skin[faces])
            sheet.put(faces, part)


def _eye(name: str, sheet: Sheet, look: Sheet, colour: Colour, skin: Colour) -> None:
    """Both eyes at once, by symmetry; `look` is the frame of the gaze."""
    u, v = np.abs(sheet.x) - 0.195, sheet.y  # outwards, down
    if name == "round":
        white = ellipse(u, v, 0, 0, 0.124, 0.138)
    elif name == "almond":
        white = lens(u, v, 0.155, 0.104)
    elif name == "sleepy":
        white = both(ellipse(u, v, 0, 0, 0.126, 0.132), -0.012 - v)
        paint(sheet, ellipse(u, v, 0, 0, 0.126, 0.132), _deeper(skin, 0.7))
    else:
        white = lens(0.95 * u - 0.31 * v, 0.31 * u + 0.95 * v, 0.155, 0.1)
    paint(sheet, white, WHITE)
    iris_x, iris_y = look.x - np.copysign(0.188, look.x), look.y - 0.005
    iris = distance(iris_x, iris_y)
    paint(sheet, both(iris - 0.097, white), colour)
    paint(sheet, both(iris - 0.052, white), (26, 20, 28))
    paint_line(sheet, distance(iris_x + 0.032, iris_y + 0.036), 0.03, WHITE)
    lash = both(np.abs(white) - 0.017, v + 0.02 if name != "sleepy" else v - 0.02)
    paint(sheet, lash, INK)
    if name == "cat":
        paint(sheet, taper(u, v, 0.12, -0.05, 0.185, -0.1, 0.022, 0.004), INK)


def _brows(sheet: Sheet, hair: Colour, skin: Colour, mouth: Plane) -> None:
    """A happy face lifts its brows; a sad one lifts their inner ends only."""
    u = np.abs(sheet.x) - 0.2
    t = np.minimum(np.maximum(u / 0.105, -1), 1)
    line = -0.16 - 0.02 * mouth - 0.035 * np.minimum(mouth, 0) * t + 0.022 * t * t
    colour = 0.72 * hair + 0.1 * skin
    paint_line(sheet, distance(u - 0.105 * t, sheet.y - line), 0.026 - 0.006 * t, colour)


def _glasses(sheet: Sheet, glasses: NDArray[Any]) -> None:
    frames = {"round": (70, 52, 60), "square": (36, 78, 150), "sunglasses": (34, 34, 44)}
    for name, colour in frames.items():
        faces = _which(glasses, GLASSES.index(name))
        if not len(faces):
            continue
        part = sheet.of(faces)
        side, y = np.abs(part.x), part.y
        if name == "round":
            rim = circle(side, y, 0.205, 0.055, 0.175)
        else:
            rim = box(side, y, 0.21, 0.055, 0.175, 0.145, 0.07)
        if name == "sunglasses":
            paint(part, rim - 0.02, colour)
            glint = np.abs(part.x - np.copysign(0.16, part.x) + 0.6 * (y - 0.03)) - 0.028
            paint(part, both(glint, rim + 0.03), (120, 124, 150))
        else:
            paint(part, rim, WHITE, 0.12)
            paint_line(part, np.abs(rim), 0.023, colour)
        bridge = both(np.abs(y - 0.02) - 0.02, side - 0.035)
        temple = both(np.abs(y - 0.01) - 0.02, 0.385 - side, side - 0.47)
        paint(part, either(bridge, temple), colour)
        sheet.put(faces, part)
