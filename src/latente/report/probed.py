"""Two measurements that are no curves: the way that the generator's images take, and the classes among them."""

from latente.report.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve
from latente.report.words import html, number, same, short, text
from latente.run import Run

_SIDE = HEIGHT - 2 * TOP  # of the square that the way is drawn in
_BAND = 0.07  # of the height: a class with less gets no number of its own
_COLOURS = 10  # of the page's style sheet; beyond, they begin again


def path(run: Run, found: dict[str, Curve]) -> str:
    """Where the middle of the new images has been, along the first two of the fixed directions; "" if nobody looked.

    The scale is the same along both, in standard deviations of the data; a cross marks their middle."""
    across, up = (found.get(f"probe/path/{i}") for i in (0, 1))
    if across is None or up is None or len(across.mean) < 2 or len(across.mean) != len(up.mean):
        return ""
    reach = 1.1 * max(1.0, *(abs(value) for value in (*across.mean, *up.mean)))
    left = (WIDTH - _SIDE) / 2

    def x(value: float) -> float:
        return left + _SIDE * (value / reach + 1) / 2

    def y(value: float) -> float:
        return TOP + _SIDE * (1 - value / reach) / 2

    points = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(across.mean, up.mean, strict=True)]
    first, last = points[0].split(), points[-1].split()
    radius = _SIDE / reach / 2
    parts = [
        f'<rect class="axis" x="{left:.1f}" y="{TOP}" width="{_SIDE}" height="{_SIDE}"/>',
        f'<circle class="rule" cx="{x(0):.1f}" cy="{y(0):.1f}" r="{radius:.1f}"/>',
        f'<path class="cross" d="M{x(0) - 6:.1f} {y(0):.1f}h12m-6 -6v12"/>',
        f'<path class="way" d="M{"L".join(points)}"/>',
        f'<circle class="way-first" cx="{first[0]}" cy="{first[1]}" r="4"/>',
        f'<circle class="dot-train" cx="{last[0]}" cy="{last[1]}" r="4"/>',
    ]
    away = (across.mean[-1] ** 2 + up.mean[-1] ** 2) ** 0.5
    alt = text("path_alt", n=len(points), away=float(f"{away:.2g}"))
    return (
        f'<figure><h3>{html(text("name_path"))}</h3><p class="unit">{html(text("unit_path"))}</p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="words-path">{"".join(parts)}</svg>'
        f'<figcaption><p id="words-path" hidden>{html(alt)}</p><p>{html(text("tells_path"))}</p></figcaption></figure>'
    )


def shares(run: Run, found: dict[str, Curve]) -> str:
    """The classes among the new images as bands over the images shown; "" if no classifier looked."""
    columns = sorted((name for name in found if name.startswith("probe/class/")), key=lambda n: int(n[12:]))
    curves = [found[name] for name in columns]
    clocks = curves[0].images if curves else []
    if len(clocks) < 2 or any(curve.images != clocks for curve in curves):
        return ""
    height = HEIGHT - TOP - 26
    ends, drawn = [0.0] * len(clocks), []
    for k, curve in enumerate(curves):
        begins, ends = ends, [end + value for end, value in zip(ends, curve.mean, strict=True)]

        def place(clock: int, share: float) -> str:
            across = LEFT + (WIDTH - LEFT - RIGHT) * clock / clocks[-1]
            return f"{across:.1f} {TOP + height * min(share, 1.0):.1f}"

        around = [place(*point) for point in zip(clocks, begins, strict=True)]
        around += [place(*point) for point in zip(clocks[::-1], ends[::-1], strict=True)]
        drawn.append(f'<path class="class c{k % _COLOURS}" d="M{"L".join(around)}Z"/>')
        if curve.mean[-1] >= _BAND:
            middle = TOP + height * (begins[-1] + ends[-1]) / 2 + 4
            drawn.append(f'<text class="on" x="{WIDTH - RIGHT - 6}" y="{middle:.1f}" text-anchor="end">{k}</text>')
    drawn.append(f'<path class="axis" d="M{LEFT} {TOP}v{height}h{WIDTH - LEFT - RIGHT}"/>')
    for share, mark in ((0.0, 1), (0.5, 0.5), (1.0, 0)):
        label = number(float(mark))
        spoken = "".join(
            f'<text lang="{lang}" x="{LEFT - 7}" y="{TOP + share * height + 4:.1f}" text-anchor="end">{one}</text>'
            for lang, one in label.items()
        )
        drawn.append(spoken)
    drawn += [
        "".join(
            f'<text lang="{lang}" x="{at}" y="{HEIGHT - 6}" text-anchor="{anchor}">{one}</text>'
            for lang, one in short(clock).items()
        )
        for clock, at, anchor in ((0, LEFT, "middle"), (clocks[-1], WIDTH - RIGHT, "end"))
    ]
    names = run.dataset.get("classes") or []
    legend = "".join(
        f'<li><svg viewBox="0 0 28 12" aria-hidden="true"><path class="class c{k % _COLOURS}" d="M0 0h28v12h-28Z"/>'
        f"</svg><span>{k} {html(same(str(names[k]) if k < len(names) else ''))}</span></li>"
        for k in range(len(curves))
    )
    few = min(range(len(curves)), key=lambda k: curves[k].mean[-1])
    alt = text("class_alt", n=len(curves), images=clocks[-1], few=str(few), share=curves[few].mean[-1])
    return (
        f'<figure><h3>{html(text("name_class"))}</h3><p class="unit">{html(text("unit_class"))}</p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="words-class">{"".join(drawn)}</svg>'
        f'<p class="axis-x">{html(text("axis_images"))}</p><figcaption><p id="words-class" hidden>{html(alt)}</p>'
        f'<p>{html(text("tells_class"))}</p><ul class="legend">{legend}</ul></figcaption></figure>'
    )
