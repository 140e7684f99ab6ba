"""One quantity over the images shown, as an SVG that holds numbers and no words: words differ by language.

Colours come from the page's style sheet, so that a curve is legible on light and dark and on paper.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from latente.report.words import Text, marks, number, short
from latente.run import Run

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 10, 26  # of the frame, in the drawing's units
_MOST_POINTS = 400  # beyond, neighbours are averaged
_FEW = 8  # points that are drawn as such, not only as a line through them
_FLATTEST = 5e-3  # of the values: less than that from bottom to top, and the marks could not be told apart
_EARLY = 0.05  # of the run: where values may be so high that they hide the rest


@dataclass(frozen=True)
class Curve:
    """What is on record of one quantity."""

    name: str
    images: list[int] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    sd: list[float] = field(default_factory=list)
    test_images: list[int] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    tails: list["Curve"] = field(default_factory=list)  # of branches that training went back behind

    def __len__(self) -> int:
        return len(self.mean) + len(self.test)


@dataclass(frozen=True)
class Drawing:
    """An SVG, and what its caption must say about it."""

    svg: str
    logarithmic: bool
    clipped: bool


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(max(value, low / 1e3)), math.log(low), math.log(high)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Turn:
    """Where training went back."""

    images: int  # when it did
    to: int  # the clock that it went back to
    label: str


def turns(run: Run) -> list[Turn]:
    """Every time that training went back, numbered."""
    return [Turn(row["images"], row["to"], str(i)) for i, row in enumerate(run.interventions(), 1)]


def of_run(run: Run) -> dict[str, Curve]:
    """What led to the present, by quantity; what training went back behind hangs on as `tails`."""
    rows, went_back = run.metrics(), [(row["branch"], row["to"]) for row in run.interventions()]
    found = collect(_led_to(rows, went_back))
    for i, (branch, to) in enumerate(went_back):
        once = _led_to([row for row in rows if row.get("branch", 0) < branch], went_back[:i])
        for name, curve in collect(once).items():
            if name in found and max([0, *curve.images, *curve.test_images]) > to:
                found[name].tails.append(_after(curve, to))
    return found


def _after(curve: Curve, clock: int) -> Curve:
    """What comes after a clock, and the point before it."""
    first = max(sum(at <= clock for at in curve.images) - 1, 0)
    tests = sum(at <= clock for at in curve.test_images)
    parts = (curve.images[first:], curve.mean[first:], curve.sd[first:], curve.test_images[tests:], curve.test[tests:])
    return Curve(curve.name, *parts)


def _led_to(rows: list[dict[str, Any]], went_back: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """The rows that led to the newest branch, as `Run.line` has them."""
    return [row for row in rows if all(row["images"] <= to for b, to in went_back if b > row.get("branch", 0))]


def collect(rows: list[dict[str, Any]]) -> dict[str, Curve]:
    """The rows of metrics.jsonl by quantity; `NAME/sd` and `test/NAME` belong to NAME."""
    curves: dict[str, Curve] = {}
    for row in rows:
        for key, value in row.items():
            if key in ("images", "branch") or key.endswith("/sd") or not _finite(value):
                continue
            curve = curves.setdefault(key.removeprefix("test/"), Curve(key.removeprefix("test/")))
            if key.startswith("test/"):
                curve.test_images.append(row["images"])
                curve.test.append(value)
            else:
                spread = row.get(f"{key}/sd")
                curve.images.append(row["images"])
                curve.mean.append(value)
                curve.sd.append(spread if spread is not None and _finite(spread) else 0.0)
    return curves


def draw(curve: Curve, until: int, turns: Sequence[Turn] = ()) -> Drawing:
    """The curve over 0 to `until` images: line and band from training, dots from held-out images; tails of abandoned
    branches faint, and a mark at each turn, from where training went back to where it went on."""
    images, mean, sd = _thinned(curve)
    x_axis = _Axis(0, max([until, 1, *curve.images, *curve.test_images, *(turn.images for turn in turns)]))
    y_axis, clipped = _y_axis(curve, mean, sd, images, x_axis.high)

    def x(value: float) -> float:
        return LEFT + x_axis.at(value) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - y_axis.at(value) * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(curve.name)]
    values = nice(y_axis.low, y_axis.high, y_axis.logarithmic)
    labels = [number(value) for value in values] if y_axis.logarithmic else marks(values)
    for value, words in zip(values, labels, strict=True):
        parts.append(f'<path class="rule" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_label(words, LEFT - 7, y(value) + 4, "end"))
    for value in nice(0, x_axis.high):
        parts.append(f'<path class="rule" d="M{x(value):.1f} {HEIGHT - BOTTOM}v4"/>')
        parts.append(_label(short(round(value)), x(value), HEIGHT - 6, "middle"))
    clip = f'clip-path="url(#{_identity(curve.name)})"'
    parts += [_tail(tail, x, y, clip) for tail in curve.tails]
    if any(sd):
        above = [f"{x(a):.1f} {_kept(y(b + c)):.1f}" for a, b, c in zip(images, mean, sd, strict=True)]
        below = [f"{x(a):.1f} {_kept(y(b - c)):.1f}" for a, b, c in zip(images, mean, sd, strict=True)]
        parts.append(f'<path class="band" {clip} d="M{"L".join(above + below[::-1])}Z"/>')
    if len(mean) > 1:
        points = [f"{x(a):.1f} {_kept(y(b)):.1f}" for a, b in zip(images, mean, strict=True)]
        parts.append(f'<path class="line" {clip} d="M{"L".join(points)}"/>')
    if len(mean) <= _FEW:
        dots = [f'cx="{x(a):.1f}" cy="{_kept(y(b)):.1f}"' for a, b in zip(images, mean, strict=True)]
        parts += [f'<circle class="dot-train" {clip} {place} r="{3 if len(dots) > 1 else 3.5}"/>' for place in dots]
    tested = [(x(a), _kept(y(b))) for a, b in zip(curve.test_images, curve.test, strict=True)]
    parts += [
        f'<path class="thread" {clip} d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>' for (a, b), (c, d) in pairwise(tested)
    ]
    parts += [f'<circle class="dot" {clip} cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in tested]
    parts += [_mark(turn, i, x) for i, turn in enumerate(turns)]
    label = f'role="img" aria-labelledby="words-{_identity(curve.name)}"'
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>{"".join(parts)}</svg>'
    return Drawing(svg, y_axis.logarithmic, clipped)


def _tail(tail: Curve, x: Callable[[float], float], y: Callable[[float], float], clip: str) -> str:
    """A branch that training went back behind."""
    images, mean, _ = _thinned(tail)
    points = [f"{x(a):.1f} {_kept(y(b)):.1f}" for a, b in zip(images, mean, strict=True)]
    line = f'<path class="tail" {clip} d="M{"L".join(points)}"/>' if len(points) > 1 else ""
    return line + "".join(
        f'<circle class="dot-tail" {clip} cx="{x(a):.1f}" cy="{_kept(y(b)):.1f}" r="2.5"/>'
        for a, b in zip(tail.test_images, tail.test, strict=True)
    )


def _mark(turn: Turn, i: int, x: Callable[[float], float]) -> str:
    """An upright line where training went on, an arrow to it from where it went back, and the turn's number."""
    here, there, height = x(turn.to), x(turn.images), TOP + 8 + 13 * i
    right = here + 16 < WIDTH - RIGHT
    arrow = f"M{there:.1f} {height}H{here + 1:.1f}m5 -4l-5 4l5 4"
    label = f'<text class="turned" x="{here + (8 if right else -5):.1f}" y="{height + 15}"'
    label += f' text-anchor="{"start" if right else "end"}">{escape(turn.label)}</text>'
    return (
        f'<path class="turn-at" d="M{here:.1f} {TOP}V{HEIGHT - BOTTOM}"/><path class="turn-back" d="{arrow}"/>{label}'
    )


def words_id(name: str) -> str:
    """The id of the element that says in words what the curve shows."""
    return f"words-{_identity(name)}"


def nice(low: float, high: float, logarithmic: bool = False) -> list[float]:
    """Round values between `low` and `high` for the marks of an axis."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5)):
            found = [float(f"{digit}e{power}") for power in powers for digit in digits]
            found = [value for value in found if low <= value <= high]
            if len(found) >= 3:
                break
        return found
    rough = (high - low) / 5
    power = math.floor(math.log10(rough))
    step = min((1, 2, 2.5, 5, 10), key=lambda digit: abs(math.log(digit * 10.0**power / rough))) * 10.0**power
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _y_axis(curve: Curve, mean: list[float], sd: list[float], images: list[int], end: float) -> tuple[_Axis, bool]:
    """From where to where the values are drawn, on which scale, and whether early ones are left outside."""
    points = [*zip(images, mean, strict=True), *zip(curve.test_images, curve.test, strict=True)]
    values = [value for _, value in points]
    late = [value for at, value in points if at > _EARLY * end] or values
    low, high, clipped = min(values), max(values), False
    if aside := [value for tail in curve.tails for value in (*tail.mean, *tail.test)]:  # seen, but not at any price
        room = high - low or abs(high) or 1.0
        low, high = max(min([*aside, low]), low - room / 2), min(max([*aside, high]), high + room / 2)
    if low == high == 0:
        return _Axis(0, 1.06), False
    if low > 0 and high > 8 * min(late) and values[0] > 4 * min(late):
        room = (high / low) ** 0.06
        return _Axis(low / room, high * room, True), False
    if max(late) > min(late) and high - low > 2.5 * (max(late) - min(late)):
        low, high, clipped = min(late), max(late), True
    half = [(m, s) for at, m, s in zip(images, mean, sd, strict=True) if at > end / 2]
    reach = max(high - low, _FLATTEST * max(abs(high), abs(low))) or 1.0
    floor = min([m - s for m, s in half], default=low)
    top = max([m + s for m, s in half], default=high)
    low, high = max(min(low, floor), low - reach / 2), min(max(high, top), high + reach / 2)
    if 0 <= low < 0.3 * high:
        return _Axis(0, high * 1.06), clipped
    room = 0.06 * (high - low) if high - low >= reach else 0.56 * reach - (high - low) / 2
    return _Axis(low - room, high + room), clipped


def _thinned(curve: Curve) -> tuple[list[int], list[float], list[float]]:
    """Images, means and spreads; neighbours averaged where there are more points than the drawing can show."""
    step = -(-len(curve.mean) // _MOST_POINTS)
    if step <= 1:
        return curve.images, curve.mean, curve.sd
    cuts = range(0, len(curve.mean), step)
    parts = [[float(np.mean(values[i : i + step])) for i in cuts] for values in (curve.images, curve.mean, curve.sd)]
    return [round(at) for at in parts[0]], parts[1], parts[2]


def _frame(name: str) -> str:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    box = f'<rect x="{LEFT}" y="{TOP}" width="{width + 5}" height="{height}"/>'  # a dot at the end is seen whole
    return f'<clipPath id="{_identity(name)}">{box}</clipPath><path class="axis" d="M{LEFT} {TOP}v{height}h{width}"/>'


def _label(what: Text, x: float, y: float, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    if len(set(what.values())) == 1:
        return f"<text {place}>{escape(next(iter(what.values())))}</text>"
    return "".join(f'<text lang="{lang}" {place}>{escape(one)}</text>' for lang, one in what.items())


def _kept(y: float) -> float:
    """Far outside the frame is far enough."""
    return min(max(y, -HEIGHT), 2 * HEIGHT)


def _identity(name: str) -> str:
    """A quantity's name as an id: letters and digits, all else by its number."""
    return "q-" + "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in name)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
