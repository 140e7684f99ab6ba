"""Pictures and films of ways through latent space: interpolation, a walk, arithmetic. Each comes with its numbers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.exploration.groups import Group
from latente.exploration.sheet import Block, Cell, Sheet, number
from latente.exploration.sources import Ground, Source, listed
from latente.exploration.spaces import grown
from latente.messages import Problem, say
from latente.paths import loop, shift, through
from latente.pictures import to_pixels

STRIP = 12  # frames beside one another
STRENGTHS = (0.5, 1.0, 1.5, 2.0)


class Way(NamedTuple):
    """How to go: in which space, along what."""

    space: str
    how: str  # "lerp" or "slerp"


def ways(place: Ground, sources: Sequence[Source] = ()) -> list[Way]:
    """The ways that make sense for a run, the best last: straight lines in every space, great circles where latents
    lie near a sphere; between photos of a generator of styles only the space that reaches them."""
    if place.styled and any(one.real for one in sources):
        return [Way("w+", "lerp")]
    first = place.spaces[0]
    found = [Way(first, "lerp")]
    if place.shell(first):
        found.append(Way(first, "slerp"))
    return [*found, Way("w", "lerp")] if place.styled else found


def chosen(place: Ground, sources: Sequence[Source], space: str | None, how: str | None) -> list[Way]:
    """The ways that were asked for; all that make sense, if nothing was."""
    if space is not None:
        place.check(space)
    if how not in (None, "lerp", "slerp"):
        raise Problem("explore.unknown_way", given=how)
    found = [one for one in ways(place, sources) if space in (None, one.space) and how in (None, one.how)]
    if found:
        return found
    return [Way(space or place.spaces[0], how or "lerp")]


class Film(NamedTuple):
    """Frames in order, and the numbers behind them."""

    frames: NDArray[np.uint8]  # [T, C, H, W]
    facts: dict[str, Any]


def interpolate(
    place: Ground, sources: Sequence[Source], steps: int = 9, which: Sequence[Way] = ()
) -> tuple[Sheet, Film]:
    """From each source to the next in `steps` images, both ends counted: a sheet with a row for each way, and the film
    of the last of them."""
    asked = list(which) or ways(place, sources)
    rows: list[list[Cell]] = []
    latents = {}
    for way in asked:
        points = place.all_of(sources, way.space)
        path = through(points, steps, way.how)
        maps = noise_along(place, sources, way.space, lambda m: through(m, steps, "slerp"))
        frames = place.images(path, way.space, maps)
        rows.append(list(frames))
        latents[f"{way.how} {way.space}"] = listed(path)
    places = [k / (steps - 1) for k in range((len(sources) - 1) * (steps - 1) + 1)]
    columns = [sources[round(t)].name if t == round(t) else number(t % 1) for t in places]
    names = [say(f"explore.way_{way.how}", space=space_name(way.space)) for way in asked]
    blocks = [*of_photos(place, sources, asked[-1].space), Block(rows, names, columns)]
    sheet = Sheet(say("explore.title_interpolate"), blocks, notes(place, _told(asked)))
    facts = place.facts("interpolate", sources=[one.word for one in sources], steps=steps, places=places)
    return sheet, Film(frames, facts | {"ways": [way._asdict() for way in asked], "latents": latents})


def noise_along(
    place: Ground, sources: Sequence[Source], space: str, go: Callable[[Tensor], Tensor]
) -> list[Tensor] | None:
    """The noise of a way through sources, [T, 1, h, w] a layer: it goes as the latents do, on the sphere of N(0, I)."""
    maps = place.noise_of(sources, space)
    return maps and [go(m.flatten(1)).view(-1, *m.shape[1:]) for m in maps]


def of_photos(place: Ground, sources: Sequence[Source], space: str) -> list[Block]:
    """The photos among the sources above what their latents look like, [] if there are none: a latent found for a photo
    is not the photo."""
    real = [one for one in sources if one.photo is not None]
    if not real:
        return []
    photos = to_pixels(torch.cat([one.photo for one in real if one.photo is not None]).numpy())
    found = place.images(place.all_of(real, space), space, place.noise_of(real, space))
    where = [space_name(place.photo_of(one, space).space) for one in real]
    said = where[0] if len(set(where)) == 1 else ", ".join(where)
    rows = [say("explore.photo"), say("explore.found_in", space=said)]
    return [Block([list(photos), list(found)], rows, [one.name for one in real], say("explore.photos_found"))]


def _told(asked: Sequence[Way]) -> list[str]:
    return [say(f"explore.about_{how}") for how in ("lerp", "slerp") if any(way.how == how for way in asked)]


def walk(place: Ground, sources: Sequence[Source], frames: int = 60, space: str | None = None) -> Film:
    """A closed loop through the sources: after the last frame the first comes again."""
    space = space or ways(place, sources)[-1].space
    place.check(space)
    points = place.all_of(sources, space)
    path = loop(points, frames, place.shell(space))
    maps = noise_along(place, sources, space, lambda m: loop(m, frames, shell=True))
    facts = place.facts("walk", sources=[one.word for one in sources], space=space, frames=frames)
    return Film(place.images(path, space, maps), facts | {"shell": place.shell(space), "latents": listed(path)})


def strip(film: Film, title: str, about: Sequence[str], above: Sequence[Block] = ()) -> Sheet:
    """The frames of a film beside one another, to be read like lines, and what stands above them."""
    cells: list[list[Cell]] = [list(film.frames[i : i + STRIP]) for i in range(0, len(film.frames), STRIP)]
    rows = [say("explore.frames", first=i * STRIP, last=i * STRIP + len(row) - 1) for i, row in enumerate(cells)]
    return Sheet(title, [*above, Block(cells, rows, [""] * min(STRIP, len(film.frames)))], list(about))


def arithmetic(
    place: Ground,
    plus: Group,
    minus: Group,
    targets: Sequence[Source],
    space: str,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Sheet, dict[str, Any]]:
    """The mean of one group minus that of another, added to each target with several strengths."""
    change = shift(plus.latents, minus.latents)
    means = place.images(torch.stack([plus.latents.mean(0), minus.latents.mean(0)]), space)
    points = place.all_of(targets, space)
    cells: list[list[Cell]] = []
    found = {}
    for i, (target, point) in enumerate(zip(targets, points, strict=True)):
        moved = torch.stack([point, *(point + strength * change for strength in strengths)])
        own = place.noise_of([target], space)
        maps = own and [m.expand(len(moved), -1, -1, -1) for m in own]
        found[target.word] = listed(moved[1:])
        cells.append([*(means if i == 0 else (None, None)), *place.images(moved, space, maps)])
    columns = [f"+ {plus.name}", f"- {minus.name}", say("explore.target")]
    columns += [say("explore.strength", strength=number(one)) for one in strengths]
    about = [say("explore.about_arithmetic", space=space_name(space), length=number(float(change.norm())))]
    names = [target.name for target in targets]
    blocks = [*of_photos(place, targets, space), Block(cells, names, columns)]
    sheet = Sheet(say("explore.title_arithmetic"), blocks, notes(place, about))
    facts = place.facts("arithmetic", space=space, to=[one.word for one in targets], strengths=list(strengths))
    facts |= {
        "plus": {"what": plus.name, "n": len(plus.latents)},
        "minus": {"what": minus.name, "n": len(minus.latents)},
    }
    return sheet, facts | {"change": listed(change), "latents": found}


def space_name(space: str) -> str:
    """A space in a sentence."""
    return say("explore.space_codes") if space == "codes" else space


def notes(place: Ground, about: Sequence[str]) -> list[str]:
    """What stands under a title: run, class, truncation, what is to be seen, and how far a network has grown."""
    facts = [place.run.folder.resolve().name]
    if place.label is not None:
        classes = place.run.dataset["classes"]
        facts.append(say("explore.class", name=classes[place.label]))
    if place.psi != 1:
        facts.append(f"psi {number(place.psi)}")
    reached = grown(place.net)
    if reached is not None:
        about = [*about, say("explore.growing", reached=reached, side=place.run.dataset["image_shape"][1])]
    return [" · ".join(facts), *about]
