"""What styles and noise each decide, in pictures (Karras et al. 2019, StyleGAN): mixing (figure 3), noise (figures 4
and 5), truncation (figure 8).

Legend
    w   style [d]; ws, one for each of L layers [L, d]
    L   style inputs of the synthesis, the coarsest first
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.exploration.sheet import Block, Cell, Sheet, number
from latente.exploration.sources import Ground, Source, listed
from latente.exploration.spaces import raised, show
from latente.exploration.ways import notes, of_photos
from latente.messages import Problem, say
from latente.pictures import to_pixels

GROUPS = ("coarse", "middle", "fine")
PSIS = (-1.0, -0.7, -0.4, 0.0, 0.4, 0.7, 1.0)
DRAWS = 100  # of noise, for the map of standard deviations
_PAPER_SIDE = 64  # pixels from which the paper calls layers fine
_AT_ONCE = 50
_LEAST = 1 / 255  # a standard deviation that nobody sees is not made white
_SHOWN = 4  # draws of noise beside one another


def needs_styles(place: Ground, command: str) -> None:
    """Problem unless the generator is controlled by styles."""
    if not place.styled:
        raise Problem("explore.no_styles", what=f"`latente {command}`", folder=place.run.folder, family=place.family)


def sides(net: Any) -> list[int]:
    """Pixels a side of the maps of each layer, [L]."""
    return [int(m.shape[-1]) for m in net.noise_maps(1, torch.Generator().manual_seed(0))]


def layer_groups(net: Any) -> dict[str, list[int]]:
    """Which layers are coarse, middle and fine: 4 and 8 pixels, 16 and 32, 64 and more, as the paper has them. Images
    of 32 pixels end where the middle does: there the last size is the fine one. Still smaller ones have three parts of
    the layers as equal as can be, the coarser ones larger."""
    side = sides(net)
    fine = min(_PAPER_SIDE, side[-1])
    if fine > 16:
        parts = [
            [i for i, s in enumerate(side) if low <= s < high] for low, high in ((0, 16), (16, fine), (fine, 1 << 30))
        ]
    else:
        parts = [part.tolist() for part in np.array_split(np.arange(len(side)), 3)]
    return dict(zip(GROUPS, parts, strict=True))


def layers_called(net: Any, text: str) -> list[tuple[str, list[int]]]:
    """`coarse,fine`, `0-3` or `5` -> (name, layers) of each, layers counted from 0. Problem if there are no such."""
    groups, last = layer_groups(net), len(sides(net)) - 1
    found = []
    for word in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if word in groups:
            found.append((word, groups[word]))
        elif low <= high <= last:
            found.append((word, list(range(low, high + 1))))
        else:
            raise Problem("explore.no_layers", given=word, last=last)
    return found


def layers_said(net: Any, layers: Sequence[int]) -> str:
    """Layers and the sizes of their maps, for a heading: "layers 0-3, 4 to 8 pixels"."""
    side = sides(net)
    low, high = side[layers[0]], side[layers[-1]]
    if len(layers) == 1:
        return say("explore.layer", number=layers[0], side=low)
    which = f"{layers[0]}-{layers[-1]}"
    return say("explore.layers" if low != high else "explore.layers_one_size", which=which, low=low, high=high)


def mixed(ws: Tensor, other: Tensor, layers: Sequence[int]) -> Tensor:
    """Styles ws [..., L, d] with those of `other` in some layers: the same shape."""
    taken = torch.zeros(ws.shape[-2], 1, dtype=torch.bool)
    taken[list(layers)] = True
    return torch.where(taken, other, ws)


def mix(
    place: Ground,
    rows: Sequence[Source],
    columns: Sequence[Source],
    which: Sequence[tuple[str, list[int]]],
    space: str = "w+",
) -> tuple[Sheet, dict[str, Any]]:
    """The figure of the paper: every row's image with the styles of every column's in some layers; a block for each
    group of layers. Sources that are photos are projected into a space first; noise found for them goes with their
    styles."""
    needs_styles(place, "mix")
    place.check(space)
    net = place.net
    every, n = (*rows, *columns), len(rows)
    ws, maps = _styles(place, every, space), place.noise_of(every, space)
    images = place.images(ws.flatten(1), "w+", maps)
    down, across = ws[:n], ws[n:]  # [rows, L, d], [columns, L, d]
    blocks = of_photos(place, every, space)
    for name, layers in which:
        cells: list[list[Cell]] = [[None, *images[n:]]]
        for i in range(n):
            one = mixed(down[i].expand_as(across), across, layers)  # [columns, L, d]
            noise = maps and [m[n:] if k in layers else m[i].expand_as(m[n:]) for k, m in enumerate(maps)]
            cells.append([images[i], *place.images(one.flatten(1), "w+", noise)])
        told = layers_said(net, layers)
        known = say(f"explore.group_{name}") if name in GROUPS else ""
        heading = say("explore.mix_named", name=known, layers=told) if known else say("explore.mix_layers", layers=told)
        blocks.append(Block(cells, ["", *(one.name for one in rows)], ["", *(one.name for one in columns)], heading))
    about = [say("explore.about_mix")]
    if any(one.real for one in every):
        about.append(say("explore.not_gatys"))
    facts = place.facts("mix", rows=[one.word for one in rows], columns=[one.word for one in columns], space="w+")
    facts["layers"] = {name: layers for name, layers in which}
    facts["sides"] = sides(net)
    facts["latents"] = {"rows": listed(down), "columns": listed(across)}
    return Sheet(say("explore.title_mix"), blocks, notes(place, about)), facts


def _styles(place: Ground, sources: Sequence[Source], space: str) -> Tensor:
    """Sources in a space -> their styles [n, L, d]."""
    latents, n = place.all_of(sources, space), len(sources)
    if space == "w+":
        return latents.view(n, place.net.layers, -1)
    return raised(place.net, latents, space, "w+", place.labels(n))


def truncation(
    place: Ground, seeds: Sequence[Source], psis: Sequence[float] = PSIS, cutoff: int | None = None
) -> tuple[Sheet, dict[str, Any]]:
    """Each image drawn towards the mean style (psi 0), and beyond it: w_avg + psi (w - w_avg) in the first `cutoff`
    layers (None: all)."""
    needs_styles(place, "truncation")
    net = place.net
    if cutoff is not None and not 1 <= cutoff <= net.layers:
        raise Problem("explore.no_cutoff", given=cutoff, last=net.layers)
    ws, maps = _styles(place, seeds, "w+"), place.noise_of(seeds, "w+")  # [n, L, d]
    first = range(net.layers if cutoff is None else cutoff)
    drawn = [mixed(ws, place.truncated(ws, psi), first) for psi in psis]
    columns = [place.images(one.flatten(1), "w+", maps) for one in drawn]
    cells: list[list[Cell]] = [[column[i] for column in columns] for i in range(len(seeds))]
    where = say("explore.all_layers") if cutoff is None else layers_said(net, range(cutoff))
    about = [say("explore.about_truncation", where=where)]
    block = Block(cells, [one.name for one in seeds], [f"psi {number(psi)}" for psi in psis])
    blocks = [*of_photos(place, seeds, "w+"), block]
    facts = place.facts("truncation", sources=[one.word for one in seeds], space="w+", psis=list(psis), cutoff=cutoff)
    facts |= {"latents": listed(ws), "w_avg": listed(net.w_avg)}
    return Sheet(say("explore.title_truncation"), blocks, notes(place, about)), facts


def noise(place: Ground, sources: Sequence[Source], draws: int = DRAWS, seed: int = 0) -> tuple[Sheet, dict[str, Any]]:
    """The same styles with other noise, how much each pixel varies, and what noise in some of the layers does."""
    needs_styles(place, "noise")
    if not getattr(place.run.config.model, "noise", True):
        raise Problem("explore.no_noise", folder=place.run.folder)
    net, generator = place.net, torch.Generator().manual_seed(seed)
    ws = place.truncated(_styles(place, sources, "w+"), place.psi)
    first, where = net.noise_maps(1, generator), noisy_layers(net)
    every = [_draws(net, one, draws, generator) for one in ws]  # [draws, C, H, W] each
    spread = [((images + 1) / 2).double().std(0).mean(0).numpy() for images in every]  # [H, W], pixels in [0, 1]
    white = max(_LEAST, *(float(one.max()) for one in spread))
    names = [one.name for one in sources]
    other: list[list[Cell]] = [
        [*to_pixels(images[:_SHOWN].numpy()), _grey(one / white, net.image_shape[0])]
        for images, one in zip(every, spread, strict=True)
    ]
    columns = [say("explore.noise_draw", number=i + 1) for i in range(min(_SHOWN, draws))]
    columns.append(say("explore.noise_spread", draws=draws))
    some: list[list[Cell]] = []
    for one in ws:
        maps = [[m if i in layers else None for i, m in enumerate(first)] for layers in where.values()]
        some.append([to_pixels(_with_noise(net, one, each).numpy())[0] for each in maps])
    told = [_noise_said(net, name, layers) for name, layers in where.items()]
    blocks = [
        Block(other, names, columns, say("explore.noise_other")),
        Block(some, names, told, say("explore.noise_where")),
    ]
    facts = place.facts("noise", sources=[one.word for one in sources], space="w+", draws=draws, seed=seed)
    facts |= {"layers": where, "sides": sides(net), "latents": listed(ws)}
    means, highest = [float(one.mean()) for one in spread], [float(one.max()) for one in spread]
    facts["standard_deviation"] = {"mean": means, "most": highest}
    about = [say("explore.about_noise", most=number(white, 3))]
    return Sheet(say("explore.title_noise"), blocks, notes(place, about)), facts


def _noise_said(net: Any, name: str, layers: Sequence[int]) -> str:
    """Where there is noise, for a column: its name, and which layers those are."""
    told = say(f"explore.noise_{name}")
    return f"{told}: {layers_said(net, layers)}" if layers and name in ("fine", "coarse") else told


def _draws(net: Any, ws: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Styles [L, d] with so many draws of noise -> [draws, C, H, W] in [-1, 1]."""
    counts = [min(_AT_ONCE, draws - i) for i in range(0, draws, _AT_ONCE)]
    return torch.cat([_with_noise(net, ws, net.noise_maps(n, generator)) for n in counts])


def noisy_layers(net: Any) -> dict[str, list[int]]:
    """Layers that get noise in each column of the figure: fine ones have maps of 64 pixels and more (the paper's
    figure 5), or of half the image's side and more, where that is less; coarse ones are the rest."""
    side = sides(net)
    least = min(_PAPER_SIDE, side[-1] // 2)
    fine = [i for i, s in enumerate(side) if s >= (least if least > side[0] else side[-1])]
    every = list(range(len(side)))
    return {"all": every, "none": [], "fine": fine, "coarse": [i for i in every if i not in fine]}


@torch.no_grad()
def _with_noise(net: Any, ws: Tensor, maps: Sequence[Tensor | None]) -> Tensor:
    """Styles [L, d] and n maps a layer -> n images [n, C, H, W] in [-1, 1]."""
    n = max((len(m) for m in maps if m is not None), default=1)
    return show(net, "w+", ws.expand(n, *ws.shape), noise=maps).clamp(-1, 1)


def _grey(values: NDArray[np.float64], channels: int) -> NDArray[np.uint8]:
    """[H, W] in [0, 1] -> a grey picture [C, H, W], opaque where there is transparency."""
    grey = np.repeat(np.rint(255 * values).astype(np.uint8)[None], channels, 0)
    if channels == 4:
        grey[3] = 255
    return grey
