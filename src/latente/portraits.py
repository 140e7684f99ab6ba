"""Worlds of points as pictures: data, generator, critic and arrows, for the report and its film.

Blue is what is real or held to be real, orange is what is made or held to be made; white is where the critic cannot
tell. No words inside, so that a picture serves every language; numbers only on axes.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]
Point = tuple[float, float]

SIDE = 480  # pixels of a plane; a line is as wide
LINE_HEIGHT = 400
REAL: Colour = (31, 95, 191)
MADE: Colour = (179, 69, 11)
GENERATED: Colour = (24, 134, 75)  # the generator's density; Goodfellow et al. 2014 draw it green
INK: Colour = (29, 35, 48)
SOFT: Colour = (120, 128, 143)
RULE: Colour = (216, 221, 229)
PAPER: Colour = (255, 255, 255)
_FINER = 3  # drawn so many times larger and reduced: smooth edges
_BANDS = 12  # shades from 1/2 to either end: their borders are lines of equal D
_DEEPEST = 0.62  # of the pure colour, where D is 0 or 1
_LONGEST = 0.075  # of the window: the longest arrow
_HALF = 4.0  # logits that change over the window where an arrow has half its length


def latents(n: int, uniform: bool = False) -> tuple[Floats, Floats]:
    """A grid z [n] over a one-dimensional prior, N(0, 1) or uniform with variance 1, and the mass [n - 1] of its cells.

    The normal's cells end at 6 standard deviations: 2e-9 of its mass lies outside and is given to the outermost cells.
    """
    if uniform:
        return np.linspace(-math.sqrt(3), math.sqrt(3), n), np.full(n - 1, 1 / (n - 1))
    z = np.linspace(-6, 6, n)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])  # the normal's distribution function
    below[0], below[-1] = 0, 1
    return z, np.diff(below)


def push_forward(mass: Floats, x: Floats, edges: Floats) -> Floats:
    """The density of a generator of one latent, as means over bins: exact for a piecewise linear map.

    mass [n - 1] of each cell of latents, x [n]: where the cells' ends go, edges [m + 1] increasing -> density [m].
    Between two ends the map is taken as linear, so a cell's mass spreads evenly over the interval between their images;
    where the map turns back, cells that land on the same place add up (change of variables, a sum over branches).
    """
    low, high = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    high = np.maximum(high, low + 1e-9 * (edges[-1] - edges[0]))  # a cell that goes to one point
    slope = mass / (high - low)
    # Each cell adds a ramp to the distribution function: its slope rises at `low` and falls at `high`.
    bends = np.concatenate([low, high])
    changes = np.concatenate([slope, -slope])
    order = np.argsort(bends, kind="stable")
    bends, slopes = bends[order], np.cumsum(changes[order])
    below = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(bends))])  # mass left of each bend
    inner = np.interp(edges, bends, below, left=0.0, right=float(mass.sum()))
    density: Floats = np.diff(inner) / np.diff(edges)
    return density


def plane(
    reals: Floats,
    fakes: Floats,
    surface: Floats,
    arrows: tuple[Floats, Floats],
    window: tuple[float, float],
) -> Image.Image:
    """A world in two dimensions, SIDE x SIDE pixels: small blue points are data, large orange ones are generated.

    reals [n, 2], fakes [m, 2]. surface [h, w] is the critic's D over the window, first row at the top: blue where it
    says real, orange where it says made. arrows (xy [k, 2], uv [k, 2]): where they start, and the gradient of the
    critic's logit there, which is where a generated point would go to please the critic. window: both axes go from its
    first number to its second.
    """
    side = SIDE * _FINER
    picture = Image.fromarray(shaded(surface)).resize((side, side), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture, "RGBA")
    low, high = window

    def at(points: Floats) -> list[Point]:
        scaled = (points - low) / (high - low) * side
        return [(float(x), float(side - y)) for x, y in scaled if -side < x < 2 * side and -side < y < 2 * side]

    for x, y in at(reals):
        _dot(draw, x, y, 1.1 * _FINER, (*REAL, 120))
    starts, gradients = arrows
    length = np.linalg.norm(gradients, axis=1, keepdims=True)  # [k, 1] logits per unit of the plane
    ends = starts + gradients * _LONGEST * (high - low) / (length + _HALF / (high - low))
    for start, end in zip(starts, ends, strict=True):
        if len(found := at(np.stack([start, end]))) == 2:
            _arrow(draw, found[0], found[1], (*INK, 170), 0.9 * _FINER, 3.4 * _FINER)
    for x, y in at(fakes):
        _dot(draw, x, y, 2.9 * _FINER, (*PAPER, 255))
        _dot(draw, x, y, 2.3 * _FINER, (*MADE, 255))
    return picture.reduce(_FINER)


def line(
    x: Floats,
    data: Floats,
    generated: Floats,
    critic: Floats,
    pairs: tuple[Floats, Floats],
    window: tuple[float, float],
) -> Image.Image:
    """Figure 1 of Goodfellow et al. 2014 for a world in one dimension, SIDE x LINE_HEIGHT pixels.

    x [n] is a grid over the window. data [n] is the density p, dotted black; generated [n] is the density q, solid
    green; critic [n] is D, dashed blue, on the scale from 0 to 1 at the right, with a thin line at 1/2. Below, arrows
    go up from the latents z to where the generator sends them: pairs (z [k], x [k]). The densities' scale is the
    data's: a generator that gathers on one place leaves through the top.
    """
    picture = Image.new("RGB", (SIDE * _FINER, LINE_HEIGHT * _FINER), PAPER)
    draw = ImageDraw.Draw(picture, "RGBA")
    left, right, top, foot, bottom = (n * _FINER for n in (14, SIDE - 34, 16, 262, LINE_HEIGHT - 46))
    low, high = window

    def across(values: Floats) -> Floats:
        scaled: Floats = left + (values - low) / (high - low) * (right - left)
        return scaled

    def curve(values: Floats, most: float) -> list[Point]:
        heights = foot - np.clip(values / most, -1, 2) * (foot - top)
        return list(zip(across(x).tolist(), heights.tolist(), strict=True))

    most = 1.45 * float(data.max())  # the data's peaks stand at two thirds of the height
    half = (foot + top) / 2
    draw.line([(left, half), (right, half)], (*RULE, 255), _FINER)
    cells = list(
        zip(across(x).tolist(), np.clip(foot - generated / most * (foot - top), 0, foot).tolist(), strict=True)
    )
    draw.polygon([(cells[0][0], foot), *cells, (cells[-1][0], foot)], (*GENERATED, 34))
    stroke(draw, cells, GENERATED, 2.4 * _FINER)
    stroke(draw, curve(critic, 1.0), REAL, 2.2 * _FINER, (9.0 * _FINER, 5.5 * _FINER))
    stroke(draw, curve(data, most), INK, 2.8 * _FINER, (0.01 * _FINER, 5.4 * _FINER))
    draw.rectangle([0, 0, SIDE * _FINER, top - 6 * _FINER], PAPER)
    z, where = pairs
    reach = 1.04 * max([1.0, *np.abs(z)])
    for latent, goal in zip(z, where, strict=True):
        start = (left + (float(latent) / reach + 1) / 2 * (right - left), float(bottom))
        end = (float(across(np.clip(goal, low, high))), foot + 3.0 * _FINER)
        _arrow(draw, start, end, (*INK, 150), 0.9 * _FINER, 6.0 * _FINER)
    for axis, name in ((foot, "x"), (bottom, "z")):
        draw.line([(left, axis), (right, axis)], INK, round(1.3 * _FINER))
        _label(draw, name, (right + 9 * _FINER, axis), "lm", INK)
    for number in (number for number in (-1, 0, 1) if low < number < high):
        _mark(draw, float(across(np.array(number))), foot, number)
    for number in (number for number in range(-3, 4) if abs(number) < reach):
        _mark(draw, left + (number / reach + 1) / 2 * (right - left), bottom, number)
    for name, height in (("1/2", half), ("1", top)):
        _label(draw, name, (right + 9 * _FINER, height), "lm", REAL)
    return picture.reduce(_FINER)


def shaded(surface: Floats) -> NDArray[np.uint8]:
    """D in [0, 1], [h, w] -> colours [SIDE, SIDE, 3]: white at 1/2, blue towards 1, orange towards 0, in bands."""
    smooth = Image.fromarray(surface.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    belief = np.clip(np.asarray(smooth, np.float64) * 2 - 1, -1, 1)  # [SIDE, SIDE]
    steps = np.arange(-_BANDS, _BANDS + 1) / _BANDS
    strength = np.abs(steps)[:, None] * _DEEPEST
    pure = np.where(steps[:, None] > 0, np.array(REAL), np.array(MADE))
    colours = np.rint(np.array(PAPER) * (1 - strength) + pure * strength).astype(np.uint8)  # [2 BANDS + 1, 3]
    return colours[np.rint(belief * _BANDS).astype(np.int64) + _BANDS]


def stroke(
    draw: ImageDraw.ImageDraw, points: Sequence[Point], colour: Colour, width: float, dashes: Point | None = None
) -> None:
    """A curve through points with round ends, or in dashes (length drawn, length left out) along its length."""
    if dashes is None:
        draw.line(list(points), colour, round(width), joint="curve")
        return
    path = np.array(points)
    far = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])  # along the curve
    drawn, left_out = dashes
    for start in np.arange(0, far[-1], drawn + left_out):
        stops = np.concatenate([[start], far[(far > start) & (far < start + drawn)], [min(start + drawn, far[-1])]])
        places = np.stack([np.interp(stops, far, path[:, 0]), np.interp(stops, far, path[:, 1])], 1)
        draw.line([(float(x), float(y)) for x, y in places], colour, round(width), joint="curve")
        for x, y in (places[0], places[-1]):
            _dot(draw, float(x), float(y), width / 2, (*colour, 255))


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], colour)


def _arrow(
    draw: ImageDraw.ImageDraw, start: Point, end: Point, colour: tuple[int, ...], width: float, head: float
) -> None:
    """A straight stroke with a filled head, which shrinks with a stroke that is shorter than it."""
    across, up = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, up)
    if length < 1:
        return
    across, up = across / length, up / length
    head = min(head, 0.7 * length)
    neck = (end[0] - across * head, end[1] - up * head)
    draw.line([start, neck], colour, max(round(width), 1))
    wing = (-up * head * 0.45, across * head * 0.45)
    draw.polygon([end, (neck[0] + wing[0], neck[1] + wing[1]), (neck[0] - wing[0], neck[1] - wing[1])], colour)


def _mark(draw: ImageDraw.ImageDraw, x: float, axis: float, number: int) -> None:
    draw.line([(x, axis), (x, axis + 4 * _FINER)], INK, _FINER)
    _label(draw, str(number), (x, axis + 6 * _FINER), "ma", INK)


def _label(draw: ImageDraw.ImageDraw, text: str, place: Point, anchor: str, colour: Colour) -> None:
    """Small type on a halo of paper, legible over arrows."""
    font = ImageFont.load_default(13 * _FINER)
    draw.text(place, text, colour, font, anchor, stroke_width=3 * _FINER, stroke_fill=PAPER)
