"""The verbs that move about in latent space: interpolate, walk, arithmetic and traversal. torch and everything heavy is
imported inside them."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, number, opened, parse_words, positive, take_many, whole
from latente.messages import Problem, say

if TYPE_CHECKING:
    from latente.exploration.invert import Eyes
    from latente.exploration.sheet import Sheet
    from latente.exploration.sources import Ground, Source
    from latente.run import Run

# What all of these verbs take.
SHARED: dict[str, Any] = {
    "--out": Path,
    "--label": whole,
    "--truncation": str,
    "--projection-steps": positive,
    "--json": None,
}
MOST = 10_000  # frames or steps


def interpolate(argv: list[str]) -> int:
    """From one image to another, and on."""
    photos, argv = take_many(argv, "--images")
    flags = {
        "--from": str,
        "--to": str,
        "--seeds": str,
        "--steps": positive,
        "--space": str,
        "--path": str,
        "--fps": positive,
    }
    options = parse_words(argv, SHARED | flags, ("run",))
    words = photos or words_of(options["seeds"]) or [w for w in (options["from"], options["to"]) if w is not None]
    if len(words) < 2:
        raise Problem("explore.two_sources", verb="interpolate")
    out, filmed = out_of(options["out"], "interpolate.png")
    place = entered(options, "interpolate")
    from latente.exploration import ways

    sources = beginnings(place, words)
    steps = options["steps"] or (max(2, 60 // (len(words) - 1)) if filmed else 9)
    if not 2 <= steps <= MOST:
        raise Problem("explore.steps", given=steps, most=MOST)
    which = ways.chosen(place, sources, options["space"], options["path"])
    sheet, film = ways.interpolate(place, sources, steps, which[-1:] if filmed else which)
    return delivered(None if filmed else sheet, film.frames, film.facts, out, options)


def walk(argv: list[str]) -> int:
    """A closed loop through several images."""
    photos, argv = take_many(argv, "--images")
    flags = {"--seeds": str, "--frames": positive, "--space": str, "--fps": positive}
    options = parse_words(argv, SHARED | flags, ("run",))
    words = photos or words_of(options["seeds"] or "0,1,2,3")
    frames = options["frames"] or 60
    if len(words) < 2:
        raise Problem("explore.two_sources", verb="walk")
    if frames > MOST:
        raise Problem("explore.steps", given=frames, most=MOST)
    out, filmed = out_of(options["out"], "walk.gif")
    place = entered(options, "walk")
    from latente.exploration import ways
    from latente.exploration.sources import named

    sources = beginnings(place, words)
    film = ways.walk(place, sources, frames, options["space"])
    sheet = None
    if not filmed:
        about = ways.notes(
            place, [say("explore.about_walk", names=named(sources), space=ways.space_name(film.facts["space"]))]
        )
        photos_found = ways.of_photos(place, sources, film.facts["space"])
        sheet = ways.strip(film, say("explore.title_walk"), about, photos_found)
    return delivered(sheet, film.frames, film.facts, out, options)


def arithmetic(argv: list[str]) -> int:
    """One group's mean minus another's, added to images."""
    flags = {"--plus": str, "--minus": str, "--to": str, "--strength": str, "--space": str, "--classifier": str}
    options = parse_words(argv, SHARED | flags, ("run",))
    for flag in ("plus", "minus"):
        if options[flag] is None:
            raise Problem("explore.needs_group", flag=f"--{flag}")
    strengths = numbers(options["strength"], "--strength")
    out, _ = out_of(options["out"], "arithmetic.png", films=False)
    place = entered(options, "arithmetic")
    from latente.exploration import ways
    from latente.exploration.groups import group
    from latente.exploration.spaces import home

    space = options["space"] or home(place.net)
    place.check(space)
    if space == "w+":
        raise Problem("explore.not_in_space", verb="arithmetic", given=space, known="z, w")
    targets = beginnings(place, words_of(options["to"] or "0,1,2,3"))
    reader = reading(place.run, options["classifier"])
    plus, minus = (group(place, options[flag], space, reader) for flag in ("plus", "minus"))
    sheet, facts = ways.arithmetic(place, plus, minus, targets, space, strengths or ways.STRENGTHS)
    return delivered(sheet, None, facts, out, options)


def traversal(argv: list[str]) -> int:
    """What each latent of an encoder says."""
    flags = {"--from": str, "--rows": positive, "--steps": positive}
    options = parse_words(argv, SHARED | flags, ("run",))
    steps = options["steps"] or 9
    if not 2 <= steps <= MOST:
        raise Problem("explore.steps", given=steps, most=MOST)
    out, _ = out_of(options["out"], "traversal.png", films=False)
    place = entered(options, "traversal")
    from latente.exploration import traversal as latents

    if not place.encodes:
        latents.use(place)
    start = None if options["from"] is None else beginnings(place, [options["from"]])[0]
    sheet, facts = latents.traversal(place, start, options["rows"] or 10, steps)
    return delivered(sheet, None, facts, out, options)


# --- What the verbs share ---------------------------------------------------------------------------------------------


def words_of(text: str | None) -> list[str]:
    """Words separated by commas, [] for nothing. Problem for commas alone."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if text is not None and not words:
        raise Problem("explore.no_source", given=f'"{text}"')
    return words


def numbers(text: str | None, flag: str) -> list[float]:
    """Numbers separated by commas; [] for nothing."""
    try:
        found = [] if text is None else [float(word) for word in text.split(",")]
    except ValueError:
        found = [float("nan")]
    if any(not abs(one) < 1e6 for one in found):
        raise Problem("explore.numbers", flag=flag, given=text)
    return found


def out_of(asked: Path | None, usual: str, films: bool = True) -> tuple[Path, bool]:
    """Where the picture goes, and whether it is a film. Problem for an ending that means nothing."""
    out = asked or Path(usual)
    from latente.exploration.films import SHEETS, check

    if out.suffix.lower() in SHEETS:
        return out, False
    if not films:
        raise Problem("explore.sheet_ending", given=out, endings=", ".join(SHEETS))
    check(out)
    return out, True


def entered(options: dict[str, Any], verb: str) -> "Ground":
    """The run, ready to be moved about in."""
    run = opened(options["run"], verb)
    psi = number(options["truncation"] or "1")
    from latente.exploration.sources import ground

    def eyes() -> "Eyes | None":
        from latente.cli_edit import eyes_of

        return eyes_of(run, None)

    how: dict[str, Any] = {"steps": options["projection-steps"]} if options["projection-steps"] else {}
    return ground(run, options["label"], psi=psi, watch=_watched(), eyes=eyes, **how)


def beginnings(place: "Ground", words: Sequence[str]) -> "list[Source]":
    """Words -> sources."""
    from latente.exploration.sources import source

    return [source(place, word) for word in words]


def _watched() -> Callable[[int, dict[str, Any]], None]:
    """How far a projection has come, a line now and then."""
    every = 100

    def watch(step: int, row: dict[str, Any]) -> None:
        if step % every == 0:
            from latente import terminal

            distance = terminal.number(row["distance"])
            print(say("explore.projecting", step=step, distance=distance), file=sys.stderr, flush=True)

    return watch


def reading(run: "Run", asked: str | None) -> "Callable[[], Run]":
    """Who reads samples: the run asked for, or the set's classifier, trained once and kept."""

    def reader() -> "Run":
        if asked is not None:
            from latente.run import open_run

            return open_run(asked)
        from latente.cli_measure import reader_of, task_of
        from latente.evaluation.measure import whole_set

        task = task_of(run)
        if task == "rotations":  # which way up an image is does not make a group
            raise Problem("explore.nothing_known", folder=run.folder, source=run.config.data.source)
        return reader_of(run, whole_set(run), task)

    return reader


def delivered(sheet: "Sheet | None", frames: Any, facts: dict[str, Any], out: Path, options: dict[str, Any]) -> int:
    """Write the sheet, or else the frames as a film, and the numbers beside it; say where they are."""
    from latente import pictures
    from latente.exploration import films
    from latente.exploration.sheet import draw
    from latente.run import write

    facts = {**facts, "picture": str(out)}
    beside = out.with_suffix(".json")
    try:
        if sheet is not None:
            facts["title"] = sheet.title
            pictures.save(draw(sheet), out)
        else:
            films.write(frames, out, options.get("fps") or 20)
        beside.parent.mkdir(parents=True, exist_ok=True)
        write(beside, facts)
    except OSError as error:
        raise Problem("cli.cannot_write", path=out, reason=error.strerror or error) from None
    if options["json"]:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(say("explore.written", picture=out, numbers=beside))
    return DONE
