"""The sections with numbers of the training itself: curves, what the diagnosis measured, the newest values."""

import math
from collections.abc import Sequence
from dataclasses import replace

from latente.config import RunConfig
from latente.report import probed
from latente.report.curves import Curve, Turn, draw, turns, words_id
from latente.report.history import Status, went_back
from latente.report.parts import fold, p, scrolling, section, table
from latente.report.quantities import drawn, group, name_of_quantity, ordered, tells, unit_of
from latente.report.words import Text, html, number, same, text
from latente.run import Run

_MEASURED = 10_000  # held-out images that training measures on, at most
_KEYS = {
    "train": '<path class="line" d="M0 6h28"/>',
    "test": '<path class="thread" d="M0 6h28"/><circle class="dot" cx="14" cy="6" r="3.5"/>',
    "band": '<path class="band" d="M0 1h28v10h-28Z"/>',
    "tail": '<path class="tail" d="M0 6h28"/>',
    "turn": '<path class="turn-at" d="M6 0v12"/><path class="turn-back" d="M24 6H7m5 -4l-5 4l5 4"/>',
}


def curves(run: Run, found: dict[str, Curve], stands: Status) -> str:
    """What each step recorded, over the images shown."""
    names, loss_is = drawn({name: curve for name, curve in found.items() if group(name) == "step"})
    factors = ordered(name for name in found if group(name) == "factor")
    if not names and not factors:
        return section("curves", p(text("curves_none")))
    marks, config = turns(run), run.config
    figures = [_curve(config, found[name], stands, marks, also_loss=name == loss_is) for name in names]
    parts = [p(text("curves_about")), _legend(["train", "test", "band", *(["tail", "turn"] if marks else [])])]
    if marks:
        said = "".join(f"<li>{html(went_back(row))}</li>" for row in run.interventions())
        parts.append(f'<ol class="turns">{said}</ol>')
    parts.append(_grid(figures))
    if factors:
        own = [_curve(config, found[name], stands, marks) for name in factors]
        parts.append(fold(text("curves_factors", n=len(factors)), _grid(own)))
    return section("curves", *parts)


def probes(run: Run, found: dict[str, Curve], stands: Status) -> str:
    """What the diagnosis reads, the telling part first and the rest folded; nothing if a run has none of it."""
    first = ordered(name for name in found if group(name) == "probe")
    more = ordered(name for name in found if group(name) == "more")
    marks, config = turns(run), run.config
    path, shares = probed.path(run, found), probed.shares(run, found)
    if not (first or more or path or shares):
        return ""
    figures = [_curve(config, found[name], stands, marks, newest=_newest(found, name)) for name in first]
    rest = [*(_curve(config, found[name], stands, marks, newest=_newest(found, name)) for name in more), path]
    rest = [figure for figure in rest if figure]
    parts = [p(text("probes_about")), _grid([*figures, shares])]
    if rest:
        parts.append(fold(text("probes_more", n=len(rest)), _grid(rest)))
    return section("probes", *parts)


def _newest(found: dict[str, Curve], name: str) -> list[Text]:
    """The newest value of a measurement, and of how many."""
    curve = found[name]
    value, clock = (curve.mean or curve.test)[-1], (curve.images or curve.test_images)[-1]
    last = max((one.images[-1] for key, one in found.items() if key.startswith("probe/") and one.images), default=clock)
    said = [text("curve_newest_at", value=value, images=clock) if clock < last else text("curve_newest", value=value)]
    if name == "probe/active" and "probe/latents" in found:
        said.append(text("probe_of", n=round(found["probe/latents"].mean[-1])))
    return said


def _legend(names: list[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 28 12" aria-hidden="true">{_KEYS[name]}</svg>'
        f"<span>{html(text(f'legend_{name}'))}</span></li>"
        for name in names
    )
    return f'<ul class="legend">{items}</ul>'


def _grid(figures: list[str]) -> str:
    return f'<div class="curves">{"".join(figures)}</div>' if any(figures) else ""


def _curve(
    config: RunConfig,
    curve: Curve,
    stands: Status,
    marks: list[Turn],
    *,
    also_loss: bool = False,
    newest: Sequence[Text] = (),
) -> str:
    bare = newest or group(curve.name) == "factor" or curve.name == "error"  # of shares, a spread says nothing
    shown = replace(curve, sd=[0.0] * len(curve.mean)) if bare else curve
    drawing = draw(shown, stands.images, marks)
    name, unit = name_of_quantity(curve.name, config), unit_of(curve.name, config)
    clocks, values = (curve.images, curve.mean) if curve.mean else (curve.test_images, curve.test)
    alt = text("curve_alt", name=name, unit=unit, first=values[0], last=values[-1], images=clocks[-1])
    notes = [*newest, *(said for said in [tells(curve.name)] if said)]
    notes += [text("curve_loss_too")] if also_loss else []
    notes += [text("curve_log")] if drawing.logarithmic else []
    notes += [text("curve_clipped")] if drawing.clipped else []
    words = " ".join(html(note) for note in notes)
    return (
        f'<figure><h3>{html(name)}</h3><p class="unit">{html(unit)}</p>{drawing.svg}'
        f'<p class="axis-x">{html(text("axis_images"))}</p>'
        f'<figcaption><p id="{words_id(curve.name)}" hidden>{html(alt)}</p><p>{words}</p></figcaption></figure>'
    )


def numbers(run: Run, found: dict[str, Curve]) -> str:
    """The newest value of each quantity; of the diagnosis' own, their figures say it."""
    own = {name: curve for name, curve in found.items() if group(name) in ("step", "factor")}
    if not own:
        return section("numbers", p(text("numbers_none")))
    rows, config = [], run.config
    for name in ordered(own):
        curve = own[name]
        train, test = (number(values[-1]) if values else same("–") for values in (curve.mean, curve.test))
        rows.append((name_of_quantity(name, config), unit_of(name, config), train, test))
        if name == "bound" and getattr(config.objective, "likelihood", "") == "logistic":
            per_number = math.prod(run.dataset["image_shape"]) * math.log(2)
            train, test = (number(v[-1] / per_number) if v else same("–") for v in (curve.mean, curve.test))
            rows.append((text("name_bits"), text("unit_bits"), train, test))
    head = [("column_quantity", ""), ("column_train", "number"), ("column_test", "number"), ("column_unit", "")]
    lines = [
        f'<tr><th scope="row">{html(name)}</th><td class="number">{html(train)}</td>'
        f'<td class="number">{html(test)}</td><td class="unit">{html(unit)}</td></tr>'
        for name, unit, train, test in rows
    ]
    return section(
        "numbers",
        scrolling("numbers", table(head, lines)),
        *(p(note, "soft") for note in _measured_on(run, own)),
    )


def _measured_on(run: Run, found: dict[str, Curve]) -> list[Text]:
    """What the numbers of the table are means of."""
    notes = []
    if trained := [curve.images[-1] for curve in found.values() if curve.images]:
        notes.append(text("numbers_train", images=max(trained)))
    tested = [curve.test_images[-1] for curve in found.values() if curve.test_images]
    held_out = run.dataset.get("test")
    if not tested:
        notes.append(text("numbers_test_none"))
    elif not held_out:
        notes.append(text("numbers_test_unknown", images=max(tested)))
    elif held_out > _MEASURED:
        notes.append(text("numbers_test_part", n=_MEASURED, all=held_out, images=max(tested)))
    else:
        notes.append(text("numbers_test", n=held_out, images=max(tested)))
    best, measure = run.best(), run.measure().removeprefix("test/")
    if best is not None:
        value = found[measure].test[found[measure].test_images.index(best)]
        name, unit = name_of_quantity(measure, run.config), unit_of(measure, run.config)
        notes.append(text("numbers_best", images=best, name=name, value=value, unit=unit))
    return notes
