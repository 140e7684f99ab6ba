"""The verbs that find and change: project, directions and edit. torch and everything heavy is imported inside them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, number, opened, parse_words, positive, whole
from latente.cli_explore import out_of
from latente.cli_measure import judge_of, reader_of
from latente.messages import Problem, nearest, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from latente.exploration.edit import Direction
    from latente.exploration.invert import Eyes, Projection
    from latente.run import Run

_COLUMNS = 5  # strengths in a row of an edit
_MOST, _MANY = 3.0, 7  # the strength at the ends of a row of directions, and how many there are in it


def project(argv: list[str]) -> int:
    """A photo -> the latents whose images come nearest to it."""
    flags: dict[str, Any] = {
        "--image": Path,
        "--space": str,
        "--steps": positive,
        "--features": str,
        "--label": whole,
        "--name": str,
        "--seed": whole,
        "--out": Path,
        "--json": None,
    }
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "project")
    if options["image"] is None:
        raise Problem("cli.needs_argument", verb="project", what="--image")
    from latente.exploration import edit, projections, spaces

    out, _ = out_of(options["out"], "projection.png", films=False)
    net, name = spaces.generator_of(run), options["name"]
    name = edit.checked_name(projections.name_of(options["image"]) if name is None else name)
    photo = projections.read_photo(run, options["image"])
    found = _projected(run, net, photo, _which(net, run, options["space"]), options)
    where = projections.keep(run, name, photo, found)
    facts = {space: projections.numbers(one) for space, one in found.items()}
    eyes = next(iter(found.values())).eyes
    said = {"image": str(options["image"]), "name": name, "features": eyes, "spaces": facts}
    if _delivered("project", run, _projection_sheet(run, photo, found), said, out, options["json"]):
        return DONE
    for space, row in facts.items():
        print(say("project.line", space=say(f"project.space_{_key(space)}"), **_said(row)))
    print(say("project.by_pixels" if eyes == "pixels" else "project.by_network", name=eyes))
    print(say("project.written", path=out, kept=where, name=name, folder=run.folder))
    return DONE


def directions(argv: list[str]) -> int:
    """Directions of the latent space, found, kept and shown."""
    flags: dict[str, Any] = {
        "--how": str,
        "--of": str,
        "--n": positive,
        "--layers": str,
        "--samples": positive,
        "--classifier": str,
        "--name": str,
        "--seed": whole,
        "--label": whole,
        "--out": Path,
        "--json": None,
    }
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "directions")
    how = options["how"] or ("boundary" if options["of"] else "components")
    ways = ("components", "factorised", "boundary")
    if how not in ways:
        raise Problem("edit.how", given=how, known=", ".join(ways))
    from latente.exploration import edit, spaces

    out, _ = out_of(options["out"], "directions.png", films=False)
    n, seed = options["n"] or 10, options["seed"] or 0
    if how == "boundary":
        found = [_boundary(run, options, seed)]
    elif how == "components":
        found = edit.components(run, n, seed)
    else:
        found = edit.factorised(run, n, _layers(options["layers"]), seed)
    for one in found:
        edit.keep(run, one)
    net = spaces.generator_of(run)
    labels = spaces.labels_of(run, 1, options["label"])
    latent = spaces.drawn(net, 1, seed, labels)
    strengths = _strengths(_MOST, _MANY)
    rows = [edit.moved(net, spaces.home(net), latent, one, strengths, labels) for one in found]
    listed = [{"name": one.name, "kind": one.kind, "space": one.space, **one.facts} for one in found]
    about = [say("edit.seed", seed=seed), *_class(run, labels)]
    picture = _edit_sheet(run, rows, [_title(one) for one in found], strengths, about)
    if _delivered(
        "directions", run, picture, {"seed": seed, "strengths": strengths, "directions": listed}, out, options["json"]
    ):
        return DONE
    for one in found:
        print(_title(one))
    print(say("edit.kept", folder=run.folder / "directions", path=out, run=run.folder, name=found[0].name))
    return DONE


def edit(argv: list[str]) -> int:
    """One image, changed along a direction."""
    flags: dict[str, Any] = {
        "--direction": str,
        "--strength": number,
        "--seed": whole,
        "--projection": str,
        "--space": str,
        "--image": Path,
        "--steps": positive,
        "--features": str,
        "--label": whole,
        "--out": Path,
        "--json": None,
    }
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "edit")
    if options["direction"] is None:
        raise Problem("cli.needs_argument", verb="edit", what="--direction")
    given = [f"--{name}" for name in ("seed", "projection", "image") if options[name] is not None]
    if len(given) > 1:
        raise Problem("edit.one_image", given=" ".join(given))
    if options["space"] is not None and given in ([], ["--seed"]):
        raise Problem("edit.space_of_seed")
    if options["label"] is not None and given == ["--projection"]:
        raise Problem("edit.label_of_projection", name=options["projection"])
    from latente.exploration import edit as edits
    from latente.exploration import projections, spaces, ways

    out, _ = out_of(options["out"], "edit.png", films=False)
    direction = edits.read_kept(run, options["direction"])
    net = spaces.generator_of(run)
    name = options["projection"]
    if options["image"] is not None:
        name = projections.name_of(options["image"])
        photo = projections.read_photo(run, options["image"])
        which = _which(net, run, options["space"] or spaces.home(net))
        projections.keep(run, name, photo, _projected(run, net, photo, which, options))
    if name is not None:
        space, latent, noise, labels = projections.read_kept(run, name, options["space"])
    else:
        labels = spaces.labels_of(run, 1, options["label"])
        space, noise, latent = spaces.home(net), [], spaces.drawn(net, 1, options["seed"] or 0, labels)
    strengths = _strengths(2.0 if options["strength"] is None else options["strength"])
    row = edits.moved(net, space, latent, direction, strengths, labels, noise)
    label = name or say("edit.seed", seed=options["seed"] or 0)
    facts = {"direction": direction.name, "space": space, "strengths": strengths, "projection": name}
    facts |= {"seed": None if name else options["seed"] or 0, "label": None if labels is None else int(labels[0])}
    about = [*([say("explore.found_in", space=ways.space_name(space))] if name else []), *_class(run, labels)]
    picture = _edit_sheet(run, [row], [label], strengths, about, _title(direction))
    if not _delivered("edit", run, picture, facts, out, options["json"]):
        print(say("edit.written", path=out))
    return DONE


# --- What was asked for -----------------------------------------------------------------------------------------------


def _layers(text: str | None) -> tuple[int, int] | None:
    """2-5, or 3 alone."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text)
    if found is None:
        raise Problem("edit.bad_layers", given=text)
    return int(found[1]), int(found[2] or found[1])


def _which(net: Any, run: "Run", asked: str | None) -> tuple[str, ...]:
    from latente.exploration.spaces import spaces

    if asked in (None, "all"):
        return spaces(net)
    if asked not in spaces(net):
        known = ", ".join((*spaces(net), "all"))
        raise Problem("project.no_such_space", given=asked, folder=run.folder, known=known)
    return (asked,)


def _strengths(most: float, columns: int = _COLUMNS) -> list[float]:
    """From -most to most, 0 in the middle."""
    return [most * (2 * i / (columns - 1) - 1) for i in range(columns)]


# --- Who looks, and who reads -----------------------------------------------------------------------------------------


def _projected(
    run: "Run", net: Any, photo: "Tensor", which: tuple[str, ...], options: dict[str, Any]
) -> "dict[str, Projection]":
    """One photo in several spaces, with the progress shown."""
    from latente.exploration import invert, spaces
    from latente.terminal import progress

    if getattr(run.config.model, "conditional", False) and options["label"] is None:
        raise Problem("project.needs_label", folder=run.folder, last=len(run.dataset["classes"]) - 1)
    labels, eyes = spaces.labels_of(run, 1, options["label"]), eyes_of(run, options["features"])
    steps, found = options["steps"] or invert.STEPS, 0
    with progress(0, steps * len(which), training=False) as watch:

        def count(step: int, row: dict[str, Any]) -> None:
            nonlocal found
            found += 1
            watch(found, row)

        how = {"eyes": eyes, "steps": steps, "seed": options["seed"] or 0, "labels": labels, "watch": count}
        return invert.project_all(net, photo, which, **how)


def eyes_of(run: "Run", asked: str | None) -> "Eyes":
    """The feature network that photos are compared through, or the pixels."""
    from latente.evaluation.measure import whole_set
    from latente.exploration.invert import PIXELS, Eyes

    judge = judge_of(run, whole_set(run), asked)
    return PIXELS if judge is None else Eyes(judge.name, judge.read)


def _boundary(run: "Run", options: dict[str, Any], seed: int) -> "Direction":
    from latente.exploration import edit
    from latente.terminal import progress

    if options["of"] is None:
        raise Problem("cli.needs_argument", verb="directions --how boundary", what="--of")
    usual = re.sub(r"[^\w-]+", "-", options["of"]).strip("-")  # classes are called "Ankle boot", too
    name, n = edit.checked_name(options["name"] or usual), options["samples"] or edit.READ
    read = _reading(run, options["of"], options["classifier"])
    with progress(0, n, training=False) as watch:
        return edit.between(run, name, read, n, seed, watch)


def _reading(run: "Run", thing: str, asked: str | None) -> "Callable[[Tensor], NDArray[np.bool_]]":
    """What sees whether images show a thing: a word of `caras`, a factor of theirs above its middle, or a class."""
    from latente.data.caras import FACTORS, WORDS
    from latente.evaluation.measure import of_faces
    from latente.run import open_run

    classes = run.dataset["classes"]
    if thing in classes and getattr(run.config.model, "conditional", False):
        raise Problem("explore.told_the_class", folder=run.folder)
    numbers = [factor.name for factor in FACTORS if not factor.values]
    known = [*WORDS, *numbers] if of_faces(run.config.data.source) else classes
    if thing not in known:
        raise Problem("edit.unknown_thing", given=thing, folder=run.folder, near=nearest(thing, known) or "-")
    faces = of_faces(run.config.data.source)
    source, task = ("caras", "factors") if faces else (run.config.data.source, "labels")
    reader = open_run(asked) if asked else reader_of(run, source, task)
    fits = reader.dataset["image_shape"] == run.dataset["image_shape"]
    if getattr(reader.config.objective, "task", None) != task or not fits:
        raise Problem("edit.wrong_reader", folder=reader.folder, preset="classifier-factors" if faces else "classifier")
    net = reader.network()
    if not faces:
        return lambda images: (net.predict(images) == classes.index(thing)).numpy()
    if thing in numbers:
        return lambda images: net.predict_factors(images)[thing] > 0
    return lambda images: WORDS[thing](net.predict_factors(images))


# --- For people -------------------------------------------------------------------------------------------------------


def _key(space: str) -> str:
    return space.replace("+", "_plus")


def _said(row: dict[str, Any]) -> dict[str, str]:
    from latente import terminal

    seconds, distance = row["seconds"], terminal.number(round(row["distance"], 4))
    time = f"{terminal.number(round(seconds, 1))} s" if seconds < 10 else terminal.duration(seconds)
    return {"distance": distance, "mse": terminal.number(row["mse"]), "time": time}


def _class(run: "Run", labels: "Tensor | None") -> list[str]:
    """The class that a conditional generator is told, in a list; [] of any other."""
    return [] if labels is None else [say("explore.class", name=run.dataset["classes"][int(labels[0])])]


def _title(one: "Direction") -> str:
    """A direction and what is known of it."""
    facts = one.facts
    if one.kind == "boundary":
        shares = {key: f"{100 * facts[key]:.0f} %" for key in ("accuracy", "commonest")}
        return say("edit.boundary", name=one.name, **shares)
    key = "edit.component" if one.kind == "components" else "edit.factor"
    return say(key, name=one.name, share=f"{100 * facts['share']:.0f} %")


def _delivered(verb: str, run: "Run", picture: Any, facts: dict[str, Any], out: Path, as_json: bool | None) -> bool:
    """Write a picture, and the numbers behind it beside it; print them if that was asked for, and say whether."""
    from latente import pictures
    from latente.run import write

    facts = {"command": verb, "run": str(run.folder), "checkpoint": run.checkpoints()[-1], **facts, "picture": str(out)}
    try:
        pictures.save(picture, out)
        write(out.with_suffix(".json"), facts)
    except OSError as error:
        raise Problem("cli.cannot_write", path=out, reason=error.strerror or error) from None
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    return bool(as_json)


def _projection_sheet(run: "Run", photo: "Tensor", found: "dict[str, Projection]") -> Any:
    """The photo and what was found in each space, with distance and time."""
    from latente.exploration.projections import numbers
    from latente.exploration.sheet import Block, Sheet, draw
    from latente.pictures import to_pixels

    cells = [to_pixels(photo.numpy())[0], *(one.images[0] for one in found.values())]
    columns = [say("project.original")]
    columns += [
        f"{say(f'project.space_{_key(s)}')}\n{say('project.below', **_said(numbers(o)))}" for s, o in found.items()
    ]
    one = next(iter(found.values()))
    note = say("project.by_pixels" if one.eyes == "pixels" else "project.by_network", name=one.eyes)
    where = " · ".join([run.folder.resolve().name, *_class(run, one.labels)])
    return draw(Sheet(say("project.title"), [Block([cells], [""], columns)], [where, note]))


def _edit_sheet(
    run: "Run", rows: "list[Tensor]", labels: list[str], strengths: list[float], about: list[str], title: str = ""
) -> Any:
    """A row of images for each direction, from one strength to the other. about: which image it is."""
    from latente.exploration import sheet
    from latente.pictures import to_pixels

    cells = [list(to_pixels(row.numpy())) for row in rows]
    block = sheet.Block(cells, labels, [sheet.number(strength) for strength in strengths])
    notes = [" · ".join([run.folder.resolve().name, *about]), say("edit.strengths")]
    return sheet.draw(sheet.Sheet(title or say("edit.title"), [block], notes))
