"""The page: every part of a run, one function a section, top to bottom as it is read."""

from html import escape
from typing import Any

from latente.config import settings
from latente.messages import LANGUAGES, language
from latente.report import evaluations, findings, history, measurements, told, worlds
from latente.report.curves import of_run
from latente.report.history import Status
from latente.report.look import SCRIPT, STYLE
from latente.report.parts import fold, image, p, scrolling, section, table, typed
from latente.report.sheets import Album, Shown, album, evidence
from latente.report.words import Text, attribute, duration, html, moment, name_of, number, same, short, text
from latente.run import Run

_SAFE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_NAMES = {"es": "Español", "en": "English"}


def page(run: Run) -> str:
    """The whole of report.html."""
    stands, curves, found = history.status(run), of_run(run), findings.found(run)
    points = worlds.of_points(run)
    pictures = worlds.album(run) if points else album(run)
    measured = [row["picture"] for row in evaluations.newest(run).values() if row.get("picture")]
    proof = evidence(run, [*findings.pictured(found), *measured])
    title = _title(run)
    body = [
        _header(title),
        _status(stands),
        findings.diagnosis(run, found, proof),
        _facts(run, stands),
        *(_world(run, pictures) if points else _images(run, pictures)),
        measurements.curves(run, curves, stands),
        measurements.probes(run, curves, stands),
        measurements.numbers(run, curves),
        evaluations.evaluation(run, proof),
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
    if run.config.model.family == "classifier":  # it makes none
        return [_reals(pictures)]
    again = [] if run.config.cure is not None else [_reconstructions(pictures)]  # a game of two does not encode
    return [_samples(run, pictures), _over_time(pictures), *again, _reals(pictures)]


def _samples(run: Run, pictures: Album) -> str:
    sheets = pictures.samples
    if not sheets:
        return section("samples", p(text("samples_none")))
    key = "samples_about_conditional" if getattr(run.config.model, "conditional", False) else "samples_about"
    newest = sheets[-1]
    images = [
        image(sheet, text("samples_alt", n=sheet.count, images=sheet.images), sheet is not newest) for sheet in sheets
    ]
    return section(
        "samples",
        p(text(key, n=newest.count, images=newest.images)),
        f'<figure class="sheet">{"".join(images)}{_slider(sheets) if len(sheets) > 1 else ""}</figure>',
    )


def _world(run: Run, pictures: Album) -> list[str]:
    """Points instead of images: portraits of the game, their film, and a line's four stages."""
    kind = "line" if worlds.on_a_line(run) else "plane"
    sheets = pictures.samples
    if not sheets:
        return [section("world", p(text("world_none")))]
    images = [image(sheet, text(f"world_{kind}_alt", images=sheet.images), sheet is not sheets[-1]) for sheet in sheets]
    parts = [p(text(f"world_{kind}_{part}")) for part in ("about", "players")]
    slider = _slider(sheets, "world_slider") if len(sheets) > 1 else ""
    sections = [section("world", *parts, f'<figure class="sheet world">{"".join(images)}{slider}</figure>')]
    if moving := worlds.film(run):
        shown = image(moving, text(f"world_film_alt_{kind}", n=moving.count, images=moving.images))
        details = f'<details class="film"><summary>{html(text("world_film_play"))}</summary>{shown}</details>'
        sections.append(section("world_film", p(text("world_film_about", n=moving.count)), details))
    if len(pictures.moments) > 1:
        columns = "".join(
            f"<figure>{image(stage, text('world_line_alt', images=stage.images))}"
            f"<figcaption>{html(text('world_stage', images=stage.images))}</figcaption></figure>"
            for stage in pictures.moments
        )
        about = [p(text("world_stages_about")), p(text("world_stages_end"))]
        sections.append(section("world_stages", *about, f'<div class="stages">{columns}</div>'))
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
        return section("over_time", p(text("over_time_one")))
    columns = "".join(
        f"<figure><figcaption>{html(short(column.images))}</figcaption>"
        + image(column, text("over_time_alt", n=column.count, images=column.images))
        + "</figure>"
        for column in pictures.moments
    )
    return section(
        "over_time",
        p(text("over_time_about")),
        scrolling("over_time", f'<div class="moments">{columns}</div>'),
    )


def _reconstructions(pictures: Album) -> str:
    if not pictures.reconstructions:
        return section("reconstructions", p(text("reconstructions_none")))
    rows = [(text("originals"), text("originals_alt", n=one.count), one) for one in pictures.originals]
    for row in pictures.reconstructions:
        alt = text("reconstructions_alt", n=row.count, images=row.images)
        rows.append((text("after", images=row.images), alt, row))
    figures = "".join(
        f"<figure><figcaption>{html(label)}</figcaption>{image(row, alt)}</figure>" for label, alt, row in rows
    )
    return section(
        "reconstructions",
        p(text("reconstructions_about")),
        scrolling("reconstructions", f'<div class="pairs">{figures}</div>'),
    )


def _reals(pictures: Album) -> str:
    if not pictures.reals:
        return section("reals", p(text("reals_none")))
    figure = f'<figure class="reals">{image(pictures.reals[0], text("reals_alt"))}</figure>'
    return section("reals", p(text("reals_about")), figure)


# Words


def _configuration(run: Run) -> str:
    config = run.config
    paragraphs = [
        f"<p>{' '.join(html(sentence) for sentence in paragraph)}</p>"
        for paragraph in told.configuration(config, run.dataset)
    ]
    if config.paper:
        paragraphs.append(f"<p>{html(text('paper'))}: <cite>{escape(config.paper)}</cite></p>")
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td><code>{escape(_value(value))}</code></td></tr>"
        for name, (_, value) in settings(config).items()
    ]
    every = scrolling("all_settings", table([("column_setting", ""), ("column_value", "")], rows))
    details = fold(text("all_settings"), p(text("settings_about"), "soft"), every)
    return section("configuration", *paragraphs, details)


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
        details += "".join(f"<li><code>{escape(setting)}</code></li>" for setting in event.typed)
        when = f'<time datetime="{escape(event.at)}">{moment(event.at)}</time>'
        items.append(f"<li>{when}<div>{html(event.sentence)}{f'<ul>{details}</ul>' if details else ''}</div></li>")
    clocks = run.checkpoints()
    kept = {lang: "; ".join(number(clock)[lang] for clock in clocks) for lang in LANGUAGES}
    return section(
        "happened",
        f'<ol class="events">{"".join(items)}</ol>' if items else p(text("happened_none")),
        p(text("checkpoints", clocks=kept) if clocks else text("checkpoints_none")),
        p(text("unreadable", files=", ".join(pictures.unreadable))) if pictures.unreadable else "",
    )


def _next(run: Run, stands: Status) -> str:
    return section(
        "next",
        *(p(why) + typed(command) for why, command in history.commands(run, stands)),
    )
