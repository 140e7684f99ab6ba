"""The smallest game there is: the Dirac GAN (Mescheder, Geiger and Nowozin 2018, "Which Training Methods for GANs do
actually Converge?", 1801.04406).

The data are one point, 0. The generator makes one point, theta. The critic is a line through the border between real
and made, C(x) = psi x. Nothing can be said against the game's end (0, 0), and yet most costs never get there: they go
round it, and with simultaneous moves away from it. Each player has one parameter, so that all of it can be drawn.

Legend
    theta  the generator's point, [B]: B games of one cost, one a row
    psi    the critic's slope, [B]
    f      of the paper: -log(1 + e^-t), the costs' f'(0) is 1/2 and f''(0) is -1/4 there
    h      learning rate of both players
    J      Jacobian of (theta', psi') at (0, 0), [2, 2]; its eigenvalues with a negative real part draw towards the end

The costs and penalties are those that everything else here is trained with. Two things stand beside the paper's: least
squares, with our labels 0 and 1, has its border at C = 1/2, so its critic is 1/2 + psi x; and noise on what the critic
sees (section 4, "instance noise") is a mean over Gauss-Hermite nodes, so that nothing here is random.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from latente.messages import punctuated, say
from latente.objectives.adversarial import critic_cost, generator_cost
from latente.objectives.penalties import wgan_gp, zero_centred
from latente.portraits import INK, MADE, PAPER, REAL, SOFT, Colour, stroke

COSTS = ("minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic")
PENALTIES = ("none", "clip", "wgan-gp", "noise", "r1", "r2", "r1+r2")
STEP, STEPS, START = 0.2, 400, (1.0, 1.0)  # as figure 3 of the paper has them, but for the step and the length
_NEAR = 0.1  # of the distance from the end that a walk began with: it arrives
REACH = 2.2  # of the window that is drawn, either way
_CELL, _GAP, _FOOT, _LEFT, _TOP = 158, 12, 14, 140, 74  # pixels of the drawing
_FINER = 3  # drawn so many times larger and reduced: smooth edges
_ARROW: Colour = (196, 202, 212)
_FAR = 1.05  # of the largest distance in its first half: it goes away

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Outcome = Literal["converges", "stays", "diverges"]
_FATES: dict[Outcome, Colour] = {"converges": (24, 134, 75), "stays": (214, 160, 30), "diverges": (190, 30, 45)}


def _quadrature(nodes: int) -> tuple[Tensor, Tensor]:
    """Places and shares of N(0, 1), exact for polynomials of a degree below twice the nodes."""
    places, shares = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.tensor(places), torch.tensor(shares / shares.sum())


_NO_NOISE, _GAUSSIAN = _quadrature(1), _quadrature(12)


@dataclass(frozen=True, kw_only=True)
class Game:
    """A cost, and what the critic pays besides."""

    cost: str
    penalty: str = "none"
    gamma: float = 1.0  # weight of r1, r2, r1+r2 (half of it, as in the papers) and of wgan-gp
    clip: float = 0.5  # largest slope, with penalty "clip"
    noise: float = 0.7  # standard deviation, with penalty "noise"
    alternating: bool = True  # the critic moves first, as in training; False: both from where both stand


Loss = Callable[[Sequence[Game], Tensor, Tensor], Tensor]


def generator_loss(games: Sequence[Game], theta: Tensor, psi: Tensor) -> Tensor:
    """What the generators of B games of one cost minimise: theta [B], psi [B] -> [B]."""
    on_real, on_fake, share = _logits(games, theta, psi)
    return generator_cost(games[0].cost, on_fake.flatten(), on_real.flatten()).view_as(on_fake) @ share


def critic_loss(games: Sequence[Game], theta: Tensor, psi: Tensor) -> Tensor:
    """What their critics minimise: theta [B], psi [B] -> [B]."""
    on_real, on_fake, share = _logits(games, theta, psi)
    told = critic_cost(games[0].cost, on_real.flatten(), on_fake.flatten()).view_as(on_fake) @ share
    return told + penalties(games, theta, psi)


def _logits(games: Sequence[Game], theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The critics' logits on real and made points, [B, K] each, under K pairs of noises, and their shares [K]."""
    (cost,) = {game.cost for game in games}
    border = 0.5 if cost == "least-squares" else 0.0
    nodes, weights = _GAUSSIAN if any(game.penalty == "noise" for game in games) else _NO_NOISE
    at_real, at_fake = torch.cartesian_prod(nodes, nodes).T  # [K], [K]
    sd = torch.tensor([game.noise if game.penalty == "noise" else 0.0 for game in games], dtype=torch.float64)[:, None]
    real, fake = sd * at_real, theta[:, None] + sd * at_fake  # [B, K]; the data are 0
    share = torch.outer(weights, weights).flatten()  # [K]
    return border + psi[:, None] * real, border + psi[:, None] * fake, share


def penalties(games: Sequence[Game], theta: Tensor, psi: Tensor) -> Tensor:
    """What each critic pays for its slope, weighted: [B]."""

    def critic(x: Tensor, condition: Tensor | None) -> Tensor:
        return psi * x.flatten()

    fake = theta.detach().view(-1, 1, 1, 1)  # [B, 1, 1, 1]
    real = torch.zeros_like(fake)
    paid = torch.zeros_like(psi)
    for side, names in ((real, ("r1", "r1+r2")), (fake, ("r2", "r1+r2"))):
        weight = _weights(games, names)
        if weight.any():
            paid = paid + weight / 2 * zero_centred(critic, side, None)
    weight = _weights(games, ("wgan-gp",))
    return paid + weight * wgan_gp(critic, real, fake) if weight.any() else paid


def _weights(games: Sequence[Game], names: tuple[str, ...]) -> Tensor:
    return torch.tensor([game.gamma * (game.penalty in names) for game in games], dtype=torch.float64)


def field(games: Sequence[Game], theta: Tensor, psi: Tensor, graph: bool = False) -> tuple[Tensor, Tensor]:
    """Where gradient descent goes: (theta', psi'), [B] each. `graph`: it can be differentiated once more."""
    return _down(generator_loss, games, theta, psi, 0, graph), _down(critic_loss, games, theta, psi, 1, graph)


def _down(loss: Loss, games: Sequence[Game], theta: Tensor, psi: Tensor, player: int, graph: bool) -> Tensor:
    """Minus the gradient of a player's own loss with respect to its own parameter, the other's held: [B]."""
    both = [value.view_as(value) if graph else value.clone().requires_grad_() for value in (theta, psi)]
    (up,) = torch.autograd.grad(loss(games, both[0], both[1]).sum(), both[player], create_graph=graph)
    return -up


def step(games: Sequence[Game], theta: Tensor, psi: Tensor, h: float, graph: bool = False) -> tuple[Tensor, Tensor]:
    """One step of both players, [B] each."""
    limit = torch.tensor([game.clip if game.penalty == "clip" else math.inf for game in games], dtype=torch.float64)
    told = (psi + h * _down(critic_loss, games, theta, psi, 1, graph)).clamp(-limit, limit)
    seen = torch.where(torch.tensor([game.alternating for game in games]), told, psi)
    return theta + h * _down(generator_loss, games, theta, seen, 0, graph), told


def walk(games: Sequence[Game], start: tuple[float, float] = START, h: float = STEP, steps: int = STEPS) -> Floats:
    """The players' way in B games of one cost, from (theta, psi) = `start`: [B, steps + 1, 2]."""
    theta, psi = (torch.full((len(games),), value, dtype=torch.float64) for value in start)
    way = [torch.stack([theta, psi], 1)]
    for _ in range(steps):
        theta, psi = step(games, theta, psi, h)
        way.append(torch.stack([theta, psi], 1))
    walked: Floats = torch.stack(way, 1).numpy()
    return walked


def jacobian(game: Game) -> Floats:
    """Of the vector field at the end of the game, by autograd: [2, 2], rows theta' and psi'."""
    return _derivative(lambda theta, psi: field([game], theta, psi, graph=True))


def eigenvalues(game: Game) -> Complex | None:
    """Of the Jacobian at the end of the game: [2]. None for wgan-gp, whose field has no derivative there: it asks for a
    slope of 1, whichever way."""
    return None if game.penalty == "wgan-gp" else np.linalg.eigvals(jacobian(game)).astype(np.complex128)


def multipliers(game: Game, h: float = STEP) -> Complex | None:
    """Eigenvalues of one step of training at the end of the game: [2]. If both are below 1 in size, training that is
    near comes nearer. None as for `eigenvalues`."""
    if game.penalty == "wgan-gp":
        return None
    once = _derivative(lambda theta, psi: step([game], theta, psi, h, graph=True))
    return np.linalg.eigvals(once).astype(np.complex128)


def _derivative(of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Floats:
    """Of a map of (theta, psi) at (0, 0): [2, 2]."""
    theta, psi = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    rows = [torch.autograd.grad(value, (theta, psi), retain_graph=True, allow_unused=True) for value in of(theta, psi)]
    return np.array([[0.0 if slope is None else float(slope) for slope in row] for row in rows])


def outcome(way: Floats) -> Outcome:
    """What became of a game, from its way [steps + 1, 2]: how far it is from the end in its last tenth."""
    far = np.hypot(*way.T)
    last, half = far[-len(far) // 10 :].max(), far[: len(far) // 2].max()
    return "converges" if last < _NEAR * far[0] else "diverges" if last > _FAR * half else "stays"


class Row(NamedTuple):
    """What is known of a cost under a penalty."""

    game: Game
    eigenvalues: Complex | None  # [2], of the vector field at the end
    ways: tuple[Floats, Floats]  # simultaneous and alternating, [steps + 1, 2] each
    outcomes: tuple[Outcome, Outcome]


def table(costs: Sequence[str] = COSTS, h: float = STEP, steps: int = STEPS) -> list[Row]:
    """Every cost under every penalty; a few seconds."""
    rows = []
    for cost in costs:
        games = [setting(cost, penalty) for penalty in PENALTIES]
        both = walk([replace(game, alternating=turns) for turns in (False, True) for game in games], h=h, steps=steps)
        for game, *ways in zip(games, both[: len(games)], both[len(games) :], strict=True):
            rows.append(Row(game, eigenvalues(game), (ways[0], ways[1]), (outcome(ways[0]), outcome(ways[1]))))
    return rows


def setting(cost: str, penalty: str) -> Game:
    """The game as the museum shows it. wgan-gp with a weight of 1 would stop the generator far from the end."""
    return Game(cost=cost, penalty=penalty, gamma=0.25 if penalty == "wgan-gp" else 1.0)


def draw(rows: Sequence[Row]) -> Image.Image:
    """A row a cost and a column a penalty: the field, both ways from the same start, and what became of them.

    Across: the generator's point, from -REACH to REACH; upwards: the critic's slope. The frame's colour is the fate of
    training by turns, and the number is the real and imaginary part of the eigenvalues at the end of the game."""
    costs, names = (list(dict.fromkeys(getattr(row.game, part) for row in rows)) for part in ("cost", "penalty"))
    width, height = _LEFT + len(names) * _CELL + _GAP, _TOP + len(costs) * (_CELL + _FOOT) + _GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, name in enumerate(names):
        pen.text((_LEFT + (i + 0.5) * _CELL, _TOP - 12), name, INK, ImageFont.load_default(17), "ms")
    for i, name in enumerate(costs):
        pen.text((_LEFT - 10, _TOP + i * (_CELL + _FOOT) + _CELL / 2), name, INK, ImageFont.load_default(17), "rm")
    for row in rows:
        x = _LEFT + names.index(row.game.penalty) * _CELL
        y = _TOP + costs.index(row.game.cost) * (_CELL + _FOOT)
        sheet.paste(_panel(row), (x + _GAP // 2, y))
        pen.text(
            (x + _CELL / 2, y + _CELL - _GAP + 5), written(row.eigenvalues), SOFT, ImageFont.load_default(14), "ma"
        )
    _legend(pen, width, {row.outcomes[1] for row in rows})
    return sheet


def _panel(row: Row) -> Image.Image:
    """One game: its field in grey, its ways in two colours, its frame in that of its fate."""
    side, wide = _CELL - _GAP, (_CELL - _GAP) * _FINER
    picture = Image.new("RGB", (wide, wide), PAPER)
    pen = ImageDraw.Draw(picture)
    half = wide / 2

    def at(places: Floats) -> list[tuple[float, float]]:
        kept = np.clip(places, -3 * REACH, 3 * REACH)
        return [(float(half + x / REACH * half), float(half - y / REACH * half)) for x, y in kept]

    ticks = np.linspace(-REACH, REACH, 11)[1:-1]
    theta, psi = (torch.tensor(values.ravel()) for values in np.meshgrid(ticks, ticks))
    right, up = field([row.game] * len(theta), theta, psi)
    slopes = np.stack([right.numpy(), up.numpy()], 1)
    sizes = np.linalg.norm(slopes, axis=1, keepdims=True)
    arrows = slopes / (sizes + 0.3) * 0.17 * REACH
    starts = np.stack([theta.numpy(), psi.numpy()], 1)
    for start, end in zip(at(starts), at(starts + arrows), strict=True):
        pen.line([start, end], _ARROW, _FINER)
        (x, y), (across, above) = end, (np.array(end) - start) / 2.5
        pen.polygon(
            [end, (x - across - above / 2, y - above + across / 2), (x - across + above / 2, y - above - across / 2)],
            _ARROW,
        )
    for way, colour in zip(row.ways, (MADE, REAL), strict=True):
        stroke(pen, at(way), colour, 1.1 * _FINER)
        (x, y), size = at(way[-1:])[0], 3.2 * _FINER
        pen.ellipse([x - size, y - size, x + size, y + size], colour, PAPER, _FINER)
    size = 4 * _FINER
    pen.line([(half - size, half), (half + size, half)], INK, _FINER)
    pen.line([(half, half - size), (half, half + size)], INK, _FINER)
    pen.rectangle([0, 0, wide - 1, wide - 1], outline=_FATES[row.outcomes[1]], width=3 * _FINER)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def written(values: Complex | None) -> str:
    """ "-0.50 ± 0.87i", or both where they are real; as the language in force writes it."""
    if values is None:
        return "-"
    if abs(values[0].imag) > 1e-6:
        real = f"{values[0].real:.2f}" if abs(values[0].real) > 5e-3 else ""
        return punctuated(f"{real} ±{abs(values[0].imag):.2f}i".strip())
    return "  ".join(punctuated(f"{value:.2f}") for value in sorted(values.real))


def _legend(pen: ImageDraw.ImageDraw, width: int, there: set[Outcome]) -> None:
    """What the colours that are there mean. The font has no accents, and the words of both languages do without."""
    x, font = 14.0, ImageFont.load_default(15)
    marks = [(MADE, say("museum.at_once"), True), (REAL, say("museum.in_turn"), True)]
    marks += [(colour, say(f"museum.{fate}"), False) for fate, colour in _FATES.items() if fate in there]
    for colour, words, line in marks:
        if line:
            pen.line([(x, 24), (x + 22, 24)], colour, 3)
        else:
            pen.rectangle([x, 16, x + 20, 32], outline=colour, width=3)
        pen.text((x + 29, 24), words, INK, font, "lm")
        x += 29 + pen.textlength(words, font) + 26
    pen.text((width - 14, 24), say("museum.axes"), SOFT, font, "rm")
