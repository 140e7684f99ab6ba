"""One latent at a time, of models that encode: what each says, the most used first; and a plane of codes as a whole.

A VAE uses a latent as much as its posterior differs from the prior there, the KL in nats; an autoencoder, as much as
its codes vary.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latente.data.stream import condition, see, seen_as
from latente.exploration.sheet import Block, Cell, Sheet, number
from latente.exploration.sources import Ground, Source, listed
from latente.exploration.ways import notes, of_photos
from latente.messages import Problem, say

REACH = 3.0  # standard deviations to either side
_IMAGES = 2000  # training images that say how much a latent is used
_AT_ONCE = 250


class Use(NamedTuple):
    """What the codes of training images are like."""

    kind: str  # "kl" in nats, or "variance"
    amount: Tensor  # [d]
    centre: Tensor  # [d]: 0 of a standard normal prior, the mean of the codes otherwise
    spread: Tensor  # [d]: 1, or their standard deviation
    low: Tensor  # [d]: no code lies below; minus infinity under a prior without end
    high: Tensor  # [d]


@torch.no_grad()
def use(place: Ground) -> Use:
    """How much each latent is used, and where its values lie."""
    if not place.encodes:
        raise Problem("explore.no_encoder", what="`latente traversal`", folder=place.run.folder, family=place.family)
    train = place.dataset.train
    means, amounts = [], []
    which = train.spread(_IMAGES)
    for some in np.array_split(which, -(-len(which) // _AT_ONCE)):
        x = see(train.gather(some), seen_as(place.run.config), indices=some)
        labels = condition(train, some) if place.label is not None else None
        if hasattr(place.net, "posterior"):
            mean, logvar = place.net.posterior(x, labels)
            amounts.append((mean.square() + logvar.exp() - 1 - logvar) / 2)  # AEVB, appendix B: [n, d] nats
        else:
            mean = place.net.encode(x, labels)
        means.append(mean.double())
    codes = torch.cat(means)
    spread = codes.std(0, correction=0)
    kind, amount = ("kl", torch.cat(amounts).double().mean(0)) if amounts else ("variance", spread.square())
    if place.shell("codes"):
        far = torch.full_like(spread, torch.inf)
        return Use(kind, amount, torch.zeros_like(spread), torch.ones_like(spread), -far, far)
    return Use(kind, amount, codes.mean(0), spread, codes.amin(0), codes.amax(0))


def along(known: Use, base: Tensor, latent: int, reach: Tensor) -> Tensor:
    """`base` [d] with one latent at centre + reach spread, within the values that codes have: reach [T] -> [T, d]."""
    moved = base.repeat(len(reach), 1)
    values = known.centre[latent] + reach.double() * known.spread[latent]
    moved[:, latent] = values.clamp(known.low[latent], known.high[latent]).to(base)
    return moved


def traversal(
    place: Ground, start: Source | None = None, rows: int = 10, steps: int = 9
) -> tuple[Sheet, dict[str, Any]]:
    """A row for each latent, the most used first, from -3 to 3 standard deviations around the code of `start` (the mean
    code without one). Of two latents, the plane that they span."""
    known = use(place)
    if len(known.amount) == 2 and start is None:
        return manifold(place, known)
    base = known.centre.float() if start is None else place.of(start, "codes")
    order = known.amount.argsort(descending=True)[:rows].tolist()
    reach = torch.linspace(-REACH, REACH, steps)
    cells: list[list[Cell]] = [list(place.images(along(known, base, j, reach), "codes")) for j in order]
    told = [f"{say('explore.latent', number=j)}\n{_amount(known, j)}" for j in order]
    columns = [say("explore.sigma", reach=number(float(r))) for r in reach]
    about = [
        say(f"explore.about_{known.kind}", shown=len(order), of=len(known.amount)),
        say("explore.around_mean") if start is None else say("explore.around", name=start.name),
    ]
    facts = _facts(place, known, start)
    facts |= {"order": known.amount.argsort(descending=True).tolist(), "shown": order, "reach": reach.tolist()}
    facts["base"] = listed(base)
    blocks = [*of_photos(place, [start] if start else [], "codes"), Block(cells, told, columns)]
    return Sheet(say("explore.title_traversal"), blocks, notes(place, about)), facts


def manifold(place: Ground, known: Use, side: int = 15) -> tuple[Sheet, dict[str, Any]]:
    """The plane of two latents at equal steps of probability: the normal's inverse distribution function of an even
    grid on (0, 1)^2 (AEVB, appendix A), first latent across, second upwards."""
    z = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side)  # [side]
    across = along(known, known.centre.float(), 0, z)[:, 0]
    up = along(known, known.centre.float(), 1, z)[:, 1].flip(0)
    plane = torch.stack([across.repeat(side), up.repeat_interleave(side)], 1)  # [side^2, 2]
    images = place.images(plane, "codes")
    cells: list[list[Cell]] = [list(images[i * side : (i + 1) * side]) for i in range(side)]
    block = Block(cells, [number(float(v)) for v in up], [number(float(v)) for v in across])
    facts = _facts(place, known, None) | {"latents": listed(plane), "side": side}
    return Sheet(say("explore.title_manifold"), [block], notes(place, [say("explore.about_manifold")])), facts


def _amount(known: Use, latent: int) -> str:
    value = float(known.amount[latent])
    return say(f"explore.amount_{known.kind}", value=number(value, 2 if value >= 0.1 else 4))


def _facts(place: Ground, known: Use, start: Source | None) -> dict[str, Any]:
    facts = place.facts("traversal", space="codes", source=None if start is None else start.word, use=known.kind)
    return facts | {"amount": listed(known.amount), "centre": listed(known.centre), "spread": listed(known.spread)}
