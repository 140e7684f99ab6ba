"""Flat shapes with soft edges: the brush that draws `caras`.

A shape is a signed distance [n, h, w] (negative inside, in units of half a picture); `paint` turns it into the share of
each pixel that the shape covers. Only +, -, *, /, sqrt, min and max touch pixels: IEEE 754 rounds each of them exactly,
so that a face has the same pixels on every machine and in every batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# float32 [n, h, w], a coordinate or a distance at every pixel; or [n, 1, 1], one number a face
Plane = NDArray[np.floating[Any]]
Colour = NDArray[np.float32]  # [n, 3], one a face, 0 to 255


@dataclass(frozen=True)
class Sheet:
    """Pictures being painted, and where their pixels lie in the frame of the thing to be painted."""

    pixels: NDArray[np.float32]  # [n, 3, h, w], 0 to 255
    x: Plane  # [n, h, w], to the right; a picture is 2 wide
    y: Plane  # [n, h, w], down
    pixel: float  # width of a pixel, in the same units

    def moved(self, dx: Plane | float, dy: Plane | float) -> "Sheet":
        """The same pictures in a frame whose origin lies at (dx, dy) of this one: [n, 1, 1], or one for all."""
        return Sheet(self.pixels, self.x - dx, self.y - dy, self.pixel)

    def cut(self, window: tuple[slice, slice]) -> "Sheet":
        """The pixels of a window only. It is a view: to paint on it is to paint on the whole."""
        rows, columns = window
        return Sheet(self.pixels[:, :, rows, columns], self.x[:, rows, columns], self.y[:, rows, columns], self.pixel)

    def of(self, faces: NDArray[np.intp]) -> "Sheet":
        """Some of the pictures. It is a copy: `put` brings it back."""
        return Sheet(self.pixels[faces], self.x[faces], self.y[faces], self.pixel)

    def put(self, faces: NDArray[np.intp], painted: "Sheet") -> None:
        self.pixels[faces] = painted.pixels


def window(size: int, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """The rows and columns that hold a rectangle of the picture, whose corners are (-1, -1) and (1, 1)."""

    def pixel(at: float) -> int:
        return min(max(int((at + 1) * size / 2), 0), size)

    return slice(pixel(top), min(pixel(bottom) + 1, size)), slice(pixel(left), min(pixel(right) + 1, size))


def _blend(sheet: Sheet, cover: Plane, colour: Any) -> None:
    colour = np.asarray(colour, dtype=np.float32).reshape(-1, 3, 1, 1)  # [n or 1, 3, 1, 1]
    change = colour - sheet.pixels
    change *= cover[:, None]
    sheet.pixels[...] += change


def paint(sheet: Sheet, shape: Plane, colour: Any, strength: float = 1.0) -> None:
    """Fill a shape with a colour ([3], or [n, 3]: one a face). Its edge is one pixel wide: the share that it covers."""
    cover = shape * (-strength / sheet.pixel)
    cover += strength / 2
    np.maximum(cover, 0, out=cover)
    np.minimum(cover, strength, out=cover)
    _blend(sheet, cover, colour)


def paint_line(sheet: Sheet, away: Plane, half: Plane | float, colour: Any) -> None:
    """Draw a line, or a small disc: all that lies within `half` of where the distance `away` (>= 0) is zero.

    A line thinner than a pixel fades in proportion instead of keeping half of a pixel.
    """
    nearness = -away / sheet.pixel + 0.5
    width = half / sheet.pixel
    cover = np.minimum(np.maximum(nearness + width, 0), 1)
    cover -= np.minimum(np.maximum(nearness - width, 0), 1)
    _blend(sheet, cover, colour)


def distance(x: Plane, y: Plane) -> Plane:
    away: Plane = np.sqrt(x * x + y * y)
    return away


def circle(x: Plane, y: Plane, cx: float, cy: float, r: float) -> Plane:
    return distance(x - cx, y - cy) - r


def ellipse(x: Plane, y: Plane, cx: float, cy: float, rx: Plane | float, ry: Plane | float) -> Plane:
    """An ellipse: exact on its outline and to first order beside it (the value over the length of its gradient)."""
    u, v = (x - cx) / rx, (y - cy) / ry
    f, g = distance(u, v), distance(u / rx, v / ry)
    shape: Plane = (f - 1) * (f + 1e-4) / (g + 5e-4)  # the small numbers keep the centre inside
    return shape


def box(x: Plane, y: Plane, cx: float, cy: float, half_width: float, half_height: float, r: float) -> Plane:
    """A rectangle with rounded corners of radius r."""
    u = np.abs(x - cx) - (half_width - r)
    v = np.abs(y - cy) - (half_height - r)
    shape: Plane = distance(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - r
    return shape


def taper(x: Plane, y: Plane, ax: float, ay: float, bx: float, by: float, ra: float, rb: float) -> Plane:
    """A brush stroke from a to b whose half width goes from ra to rb."""
    u, v, du, dv = x - ax, y - ay, bx - ax, by - ay
    t = np.minimum(np.maximum((u * du + v * dv) / (du * du + dv * dv), 0), 1)
    return distance(u - t * du, v - t * dv) - (ra + t * (rb - ra))


def lens(x: Plane, y: Plane, half_width: float, half_height: float) -> Plane:
    """An almond: what two circles share."""
    r = (half_width * half_width + half_height * half_height) / (2 * half_height)
    return distance(x, np.abs(y) + (r - half_height)) - r


def both(first: Plane, *others: Plane) -> Plane:
    """What all shapes share."""
    for other in others:
        first = np.maximum(first, other)
    return first


def either(first: Plane, *others: Plane) -> Plane:
    """The union of the shapes."""
    for other in others:
        first = np.minimum(first, other)
    return first
