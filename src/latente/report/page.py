"""The page: every part of a run, one function a section, top to bottom as it is read."""

import math
from html import escape
from typing import Any

from latente.config import settings
from latente.messages import LANGUAGES, language
from latente.report import history, told, worlds
from latente.report.curves import Curve, collect, draw, words_id
from latente.report.history import Status
from latente.report.look import SCRIPT, STYLE
from latente.report.quantities import drawn, name_of_quantity, ordered, tells, unit_of
from latente.report.sheets import Album, Shown, album
from latente.report.words import Text, attribute, duration, html, moment, name_of, number, same, short, text
from latente.run import Run

_SAFE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_MEASURED = 10_000  # held-out images that training measures on, at most
_NAMES = {"es": "Español", "en": "English"}


def page(run: Run) -> str:
    """The whole of report.html."""
    stands = history.status(run)
    points = worlds.of_points(run)
    pictures = worlds.album(run) if points else album(run)
    curves = collect(run.metrics())
    title = _title(run)
    body = [
        _header(title),
        _status(stands),
        _facts(run, stands),
        *(_world(run, pictures) if points else _images(run, pictures)),
        _curves(run, curves, stands),
        _numbers(run, curves),
        _configuration(run),
        _happened(run, pictures),
        _next(run, stands),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_SAFE}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title{_spoken(title)}>{escape(title[language()])}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f"\n</main>\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _title(run: Run) -> Text:
    number_of_run = run.folder.resolve().name.partition("-")[0]
    config = run.config
    return text("title", preset=config.preset, data=name_of(config.data.source), number=number_of_run)


def _spoken(what: Text) -> str:
    return "".join(f' data-{lang}="{escape(one)}"' for lang, one in what.items())


def _header(title: Text) -> str:
    buttons = "".join(
        f'<button type="button" lang="{lang}" aria-pressed="{str(lang == language()).lower()}">{_NAMES[lang]}</button>'
        for lang in LANGUAGES
    )
    group = attribute("aria-label", text("language"), language())
    return f'<header><h1>{html(title)}</h1><div class="languages" role="group"{group} hidden>{buttons}</div></header>'


def _section(heading: str, *parts: str) -> str:
    return f"<section>\n<h2>{html(text(heading))}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def _p(what: Text, kind: str = "") -> str:
    return f'<p class="{kind}">{html(what)}</p>' if kind else f"<p>{html(what)}</p>"


# Summary


def _status(stands: Status) -> str:
    return f'<p class="status {stands.kind}"><b>{html(stands.headline)}</b> {html(stands.sentence)}</p>'


def _facts(run: Run, stands: Status) -> str:
    machine = history.environment(run)
    timing = [row for row in run.timing() if row.get("images_per_second")]
    seconds = sum(row["seconds"] for row in timing)
    entries: list[tuple[str, Text, str]] = []
    shown = number(stands.images)
    if stands.kind not in ("finished", "empty"):
        shown = text("of_images", images=stands.images, until=stands.until)
    entries.append(("images", shown, ""))
    if run.dataset.get("train"):
        entries.append(("passes", number(float(f"{stands.images / run.dataset['train']:.3g}")), ""))
    if seconds:
        rate = sum(row["seconds"] * row["images_per_second"] for row in timing) / seconds
        entries.append(("time", same(duration(seconds)), "fact_time_note"))
        entries.append(("speed", number(round(rate)), ""))
    started = next((row["at"] for row in run.events() if row["kind"] == "start"), None)
    if started:
        entries.append(("started", same(moment(started)), ""))
    if machine.get("processor"):
        entries.append(("processor", same(str(machine["processor"])), ""))
    if machine.get("device"):
        card = f" ({machine['card']})" if machine.get("card") else ""
        entries.append(("device", same(f"{machine['device']}{card}"), ""))
    if machine.get("threads"):
        entries.append(("threads", number(machine["threads"]), ""))
    if run.config.training.precision != "auto":
        entries.append(("precision", same(run.config.training.precision), ""))
    entries += [(name, same(str(machine[name])), "") for name in ("torch", "latente") if machine.get(name)]
    items = "".join(
        f"<div><dt>{html(text(f'fact_{name}'))}</dt><dd>{html(value)}"
        + (f"<small>{html(text(note))}</small>" if note else "")
        + "</dd></div>"
        for name, value, note in entries
    )
    return f"<dl{attribute('aria-label', text('summary'), language())}>{items}</dl>"


# Pictures


def _images(run: Run, pictures: Album) -> list[str]:
    return [_samples(run, pictures), _over_time(pictures), _reconstructions(pictures), _reals(pictures)]


def _image(shown: Shown, alt: Text, hidden: bool = False) -> str:
    size = ' width="{}" height="{}"'.format(*shown.picture.size)
    return f'<img src="{shown.url}"{size}{attribute("alt", alt, language())}{" hidden" if hidden else ""}>'


def _scrolling(name: str, content: str) -> str:
    """Something that may be wider than a phone: it scrolls by itself, with the keyboard too."""
    label = attribute("aria-label", text(name), language())
    return f'<div class="wide" tabindex="0" role="group"{label}>{content}</div>'


def _samples(run: Run, pictures: Album) -> str:
    sheets = pictures.samples
    if not sheets:
        return _section("samples", _p(text("samples_none")))
    key = "samples_about_conditional" if getattr(run.config.model, "conditional", False) else "samples_about"
    newest = sheets[-1]
    images = [
        _image(sheet, text("samples_alt", n=sheet.count, images=sheet.images), sheet is not newest) for sheet in sheets
    ]
    return _section(
        "samples",
        _p(text(key, n=newest.count, images=newest.images)),
        f'<figure class="sheet">{"".join(images)}{_slider(sheets) if len(sheets) > 1 else ""}</figure>',
    )


def _world(run: Run, pictures: Album) -> list[str]:
    """Points instead of images: portraits of the game, their film, and a line's four stages."""
    kind = "line" if worlds.on_a_line(run) else "plane"
    sheets = pictures.samples
    if not sheets:
        return [_section("world", _p(text("world_none")))]
    images = [
        _image(sheet, text(f"world_{kind}_alt", images=sheet.images), sheet is not sheets[-1]) for sheet in sheets
    ]
    parts = [_p(text(f"world_{kind}_{part}")) for part in ("about", "players")]
    slider = _slider(sheets, "world_slider") if len(sheets) > 1 else ""
    sections = [_section("world", *parts, f'<figure class="sheet world">{"".join(images)}{slider}</figure>')]
    if moving := worlds.film(run):
        shown = _image(moving, text(f"world_film_alt_{kind}", n=moving.count, images=moving.images))
        details = f'<details class="film"><summary>{html(text("world_film_play"))}</summary>{shown}</details>'
        sections.append(_section("world_film", _p(text("world_film_about", n=moving.count)), details))
    if len(pictures.moments) > 1:
        columns = "".join(
            f"<figure>{_image(stage, text('world_line_alt', images=stage.images))}"
            f"<figcaption>{html(text('world_stage', images=stage.images))}</figcaption></figure>"
            for stage in pictures.moments
        )
        about = [_p(text("world_stages_about")), _p(text("world_stages_end"))]
        sections.append(_section("world_stages", *about, f'<div class="stages">{columns}</div>'))
    return sections


def _slider(sheets: list[Shown], label: str = "slider") -> str:
    last = len(sheets) - 1
    clocks = []
    for i, sheet in enumerate(sheets):
        spoken = text("slider_value", images=sheet.images)
        values = "".join(f' data-value-{lang}="{escape(one)}"' for lang, one in spoken.items())
        clocks.append(f"<span{values}{'' if i == last else ' hidden'}>{html(number(sheet.images))}</span>")
    return (
        f'<div class="turn" hidden><label for="turn">{html(text(label))}</label>'
        f'<input id="turn" type="range" min="0" max="{last}" value="{last}" step="1">'
        f'<output for="turn">{"".join(clocks)}</output></div>'
    )


def _over_time(pictures: Album) -> str:
    if not pictures.samples:
        return ""
    if len(pictures.moments) < 2:
        return _section("over_time", _p(text("over_time_one")))
    columns = "".join(
        f"<figure><figcaption>{html(short(column.images))}</figcaption>"
        + _image(column, text("over_time_alt", n=column.count, images=column.images))
        + "</figure>"
        for column in pictures.moments
    )
    return _section(
        "over_time",
        _p(text("over_time_about")),
        _scrolling("over_time", f'<div class="moments">{columns}</div>'),
    )


def _reconstructions(pictures: Album) -> str:
    if not pictures.reconstructions:
        return _section("reconstructions", _p(text("reconstructions_none")))
    rows = [(text("originals"), text("originals_alt", n=one.count), one) for one in pictures.originals]
    for row in pictures.reconstructions:
        alt = text("reconstructions_alt", n=row.count, images=row.images)
        rows.append((text("after", images=row.images), alt, row))
    figures = "".join(
        f"<figure><figcaption>{html(label)}</figcaption>{_image(row, alt)}</figure>" for label, alt, row in rows
    )
    return _section(
        "reconstructions",
        _p(text("reconstructions_about")),
        _scrolling("reconstructions", f'<div class="pairs">{figures}</div>'),
    )


def _reals(pictures: Album) -> str:
    if not pictures.reals:
        return _section("reals", _p(text("reals_none")))
    figure = f'<figure class="reals">{_image(pictures.reals[0], text("reals_alt"))}</figure>'
    return _section("reals", _p(text("reals_about")), figure)


# Curves and numbers


def _curves(run: Run, curves: dict[str, Curve], stands: Status) -> str:
    if not curves:
        return _section("curves", _p(text("curves_none")))
    names, loss_is = drawn(curves)
    figures = [_curve(run, curves[name], stands, name == loss_is) for name in names]
    keys = {
        "train": '<path class="line" d="M0 6h28"/>',
        "test": '<path class="thread" d="M0 6h28"/><circle class="dot" cx="14" cy="6" r="3.5"/>',
        "band": '<path class="band" d="M0 1h28v10h-28Z"/>',
    }
    legend = "".join(
        f'<li><svg viewBox="0 0 28 12" aria-hidden="true">{mark}</svg><span>{html(text(f"legend_{name}"))}</span></li>'
        for name, mark in keys.items()
    )
    return _section(
        "curves",
        _p(text("curves_about")),
        f'<ul class="legend">{legend}</ul>',
        f'<div class="curves">{"".join(figures)}</div>',
    )


def _curve(run: Run, curve: Curve, stands: Status, also_loss: bool) -> str:
    drawing = draw(curve, stands.images)
    name, unit = name_of_quantity(curve.name, run.config), unit_of(curve.name, run.config)
    clocks, values = (curve.images, curve.mean) if curve.mean else (curve.test_images, curve.test)
    alt = text("curve_alt", name=name, unit=unit, first=values[0], last=values[-1], images=clocks[-1])
    notes = [tells(curve.name)] if tells(curve.name) else []
    notes += [text("curve_loss_too")] if also_loss else []
    notes += [text("curve_log")] if drawing.logarithmic else []
    notes += [text("curve_clipped")] if drawing.clipped else []
    words = " ".join(html(note) for note in notes if note)
    return (
        f'<figure><h3>{html(name)}</h3><p class="unit">{html(unit)}</p>{drawing.svg}'
        f'<p class="axis-x">{html(text("axis_images"))}</p>'
        f'<figcaption><p id="{words_id(curve.name)}" hidden>{html(alt)}</p><p>{words}</p></figcaption></figure>'
    )


def _numbers(run: Run, curves: dict[str, Curve]) -> str:
    if not curves:
        return _section("numbers", _p(text("numbers_none")))
    rows = []
    for name in ordered(curves):
        curve = curves[name]
        train, test = (number(values[-1]) if values else same("–") for values in (curve.mean, curve.test))
        rows.append((name_of_quantity(name, run.config), unit_of(name, run.config), train, test))
        if name == "bound" and getattr(run.config.objective, "likelihood", "") == "logistic":
            per_number = math.prod(run.dataset["image_shape"]) * math.log(2)
            train, test = (number(v[-1] / per_number) if v else same("–") for v in (curve.mean, curve.test))
            rows.append((text("name_bits"), text("unit_bits"), train, test))
    head = "".join(
        f'<th scope="col"{kind}>{html(text(f"column_{name}"))}</th>'
        for name, kind in (("quantity", ""), ("train", ' class="number"'), ("test", ' class="number"'), ("unit", ""))
    )
    lines = "".join(
        f'<tr><th scope="row">{html(name)}</th><td class="number">{html(train)}</td>'
        f'<td class="number">{html(test)}</td><td class="unit">{html(unit)}</td></tr>'
        for name, unit, train, test in rows
    )
    table = _scrolling("numbers", f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
    return _section("numbers", table, *(_p(note, "soft") for note in _measured_on(run, curves)))


def _measured_on(run: Run, curves: dict[str, Curve]) -> list[Text]:
    """What the numbers of the table are means of."""
    notes = []
    if trained := [curve.images[-1] for curve in curves.values() if curve.images]:
        notes.append(text("numbers_train", images=max(trained)))
    tested = [curve.test_images[-1] for curve in curves.values() if curve.test_images]
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
        value = curves[measure].test[curves[measure].test_images.index(best)]
        name, unit = name_of_quantity(measure, run.config), unit_of(measure, run.config)
        notes.append(text("numbers_best", images=best, name=name, value=value, unit=unit))
    return notes


# Words


def _configuration(run: Run) -> str:
    config = run.config
    paragraphs = [
        f"<p>{' '.join(html(sentence) for sentence in paragraph)}</p>"
        for paragraph in told.configuration(config, run.dataset)
    ]
    if config.paper:
        paragraphs.append(f"<p>{html(text('paper'))}: <cite>{escape(config.paper)}</cite></p>")
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td><code>{escape(_value(value))}</code></td></tr>"
        for name, (_, value) in settings(config).items()
    )
    head = "".join(f'<th scope="col">{html(text(f"column_{name}"))}</th>' for name in ("setting", "value"))
    table = _scrolling("all_settings", f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    details = (
        f"<details><summary>{html(text('all_settings'))}</summary>{_p(text('settings_about'), 'soft')}{table}</details>"
    )
    return _section("configuration", *paragraphs, details)


def _value(value: Any) -> str:
    """A setting's value as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _happened(run: Run, pictures: Album) -> str:
    events = history.events(run)
    items = []
    for event in events:
        details = "".join(f"<li>{html(detail)}</li>" for detail in event.details)
        when = f'<time datetime="{escape(event.at)}">{moment(event.at)}</time>'
        items.append(f"<li>{when}<div>{html(event.sentence)}{f'<ul>{details}</ul>' if details else ''}</div></li>")
    clocks = run.checkpoints()
    kept = {lang: "; ".join(number(clock)[lang] for clock in clocks) for lang in LANGUAGES}
    return _section(
        "happened",
        f'<ol class="events">{"".join(items)}</ol>' if items else _p(text("happened_none")),
        _p(text("checkpoints", clocks=kept) if clocks else text("checkpoints_none")),
        _p(text("unreadable", files=", ".join(pictures.unreadable))) if pictures.unreadable else "",
    )


def _next(run: Run, stands: Status) -> str:
    return _section(
        "next",
        *(f"{_p(why)}<pre><code>{escape(command)}</code></pre>" for why, command in history.commands(run, stands)),
    )
