"""Portraits of worlds of points: what lies where, in which colour, and the same every time."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from latente import config as configs
from latente import portraits
from latente.data.points import world
from latente.models.gan import Critic, Generator
from latente.training.portrait import WINDOW, portrait

NONE = (np.zeros((0, 2)), np.zeros((0, 2)))
HALF = np.full((8, 8), 0.5)


def pixel(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the plane from -1 to 1."""
    side = picture.width
    return picture.getpixel((min(int((x + 1) / 2 * side), side - 1), min(int((1 - y) / 2 * side), side - 1)))


def near(colour: tuple[int, ...], other: tuple[int, ...], by: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) <= by


def hues(picture: Image.Image) -> np.ndarray:
    """(red - blue) of every pixel: above 0 towards orange, below 0 towards blue."""
    pixels = np.asarray(picture).astype(int)
    return pixels[..., 0] - pixels[..., 2]


# The plane


def test_an_empty_plane_at_equilibrium_is_white() -> None:
    picture = portraits.plane(np.zeros((0, 2)), np.zeros((0, 2)), HALF, NONE, (-1, 1))
    assert picture.size == (portraits.SIDE, portraits.SIDE) and picture.mode == "RGB"
    assert (np.asarray(picture) == 255).all()


def test_the_surface_is_blue_where_real_and_orange_where_made() -> None:
    surface = np.linspace(0, 1, 64)[None].repeat(64, 0)  # made at the left, real at the right
    picture = portraits.plane(np.zeros((0, 2)), np.zeros((0, 2)), surface, NONE, (-1, 1))
    hue = hues(picture)[240]
    assert hue[0] > 60 > -60 > hue[-1]
    assert (np.diff(hue) <= 0).all()  # D grows, and blue with it
    assert near(pixel(picture, 0, 0), (255, 255, 255))
    upright = portraits.plane(np.zeros((0, 2)), np.zeros((0, 2)), surface.T[::-1], NONE, (-1, 1))
    assert hues(upright)[0, 240] < -60 and hues(upright)[-1, 240] > 60  # its first row is the top


@pytest.mark.parametrize("place", [(0.0, 0.0), (-0.9, 0.5), (0.7, -0.8)])
def test_points_lie_where_they_are(place: tuple[float, float]) -> None:
    made = portraits.plane(np.zeros((0, 2)), np.array([place]), HALF, NONE, (-1, 1))
    assert near(pixel(made, *place), portraits.MADE)
    real = portraits.plane(np.array([place]), np.zeros((0, 2)), HALF, NONE, (-1, 1))
    r, g, b = pixel(real, *place)
    assert b > r + 30
    for picture, most in ((made, 60), (real, 20)):
        marked = np.argwhere((np.asarray(picture) != 255).any(2))
        centre = marked.mean(0)[::-1] / picture.width * 2 - 1
        assert centre * (1, -1) == pytest.approx(place, abs=0.01)
        assert 1 <= len(marked) <= most  # small


def test_points_outside_the_window_are_left_out() -> None:
    far = np.array([[5.0, 0.0], [0.0, -9.0], [1e6, 1e6]])
    picture = portraits.plane(far, far, HALF, (far, far), (-1, 1))
    assert (np.asarray(picture) == 255).all()


def test_arrows_point_uphill_and_grow_with_the_gradient() -> None:
    lengths = []
    for size in (0.5, 2.0, 8.0, 1e3):
        starts, gradient = np.array([[0.0, 0.0]]), np.array([[size, 0.0]])
        drawn = portraits.plane(np.zeros((0, 2)), np.zeros((0, 2)), HALF, (starts, gradient), (-1, 1))
        ys, xs = np.nonzero((np.asarray(drawn) < 250).any(2))
        assert xs.min() >= 238 and abs(ys.mean() - 240) < 1.5  # to the right, and level
        lengths.append(xs.max() - 240)
    assert lengths == sorted(lengths) and lengths[0] < lengths[1] < lengths[2]
    assert lengths[-1] <= 480 * 0.076
    still = portraits.plane(np.zeros((0, 2)), np.zeros((0, 2)), HALF, (starts, np.zeros((1, 2))), (-1, 1))
    assert (np.asarray(still) == 255).all()


def test_the_colours_can_be_told_apart_without_colour_vision() -> None:
    """Viénot et al. 1999: what dichromats see of the three colours, and that they differ in it, or in lightness."""
    linear = [(np.array(c) / 255) ** 2.2 for c in (portraits.REAL, portraits.MADE, portraits.GENERATED)]
    to_lms = np.array([[0.31399, 0.63951, 0.04649], [0.15537, 0.75789, 0.08670], [0.01775, 0.10945, 0.87257]])
    protan = np.array([[0, 1.05118294, -0.05116099], [0, 1, 0], [0, 0, 1]])
    deutan = np.array([[1, 0, 0], [0.9513092, 0, 0.04866992], [0, 0, 1]])
    for kind in (protan, deutan):
        seen = [np.linalg.inv(to_lms) @ kind @ to_lms @ c for c in linear]
        assert np.abs(seen[0] - seen[1]).max() > 0.2


# The line

X = np.linspace(-1, 1, 201)
BUMP = np.exp(-0.5 * (X / 0.2) ** 2) / (0.2 * math.sqrt(2 * math.pi))
NO_PAIRS = (np.zeros(0), np.zeros(0))


def drawn_like(picture: Image.Image, colour: str | tuple[int, int, int], by: int = 40) -> np.ndarray:
    """Where the picture has a colour: [n, 2], rows and columns."""
    wanted = np.array(ImageColor.getrgb(colour) if isinstance(colour, str) else colour)
    return np.argwhere(np.abs(np.asarray(picture).astype(int) - wanted).max(2) <= by)


def test_the_line_shows_three_curves_and_two_axes() -> None:
    picture = portraits.line(X, BUMP, np.roll(BUMP, 60), np.full(201, 0.75), NO_PAIRS, (-1, 1))
    assert picture.size == (portraits.SIDE, portraits.LINE_HEIGHT) and picture.mode == "RGB"
    green, blue, black = (drawn_like(picture, c) for c in (portraits.GENERATED, portraits.REAL, portraits.INK))
    assert min(len(green), len(blue), len(black)) > 100
    top_of_green = green[green[:, 0].argmin(), 1]
    assert top_of_green == pytest.approx(14 + (0.6 + 1) / 2 * (480 - 48), abs=5)  # moved by 60 places of 0.01
    inner = blue[(blue[:, 1] > 20) & (blue[:, 1] < 440)]
    assert inner[:, 0].mean() == pytest.approx(262 - 0.75 * (262 - 16), abs=2)
    gaps = np.diff(np.unique(inner[:, 1]))
    assert (gaps > 2).sum() > 15  # dashed


def test_equal_densities_are_drawn_on_each_other_and_critic_at_one_half() -> None:
    picture = portraits.line(X, BUMP, BUMP, np.full(201, 0.5), NO_PAIRS, (-1, 1))
    green = drawn_like(picture, portraits.GENERATED)
    assert green[:, 0].min() == pytest.approx(262 - (262 - 16) / 1.45, abs=4)
    blue = drawn_like(picture, portraits.REAL)
    inner = blue[(blue[:, 1] > 20) & (blue[:, 1] < 440)]
    assert np.ptp(inner[:, 0]) <= 3


def test_a_density_beyond_the_top_is_cut_there() -> None:
    spike = np.zeros(201)
    spike[100] = 1e6
    picture = np.asarray(portraits.line(X, BUMP, spike, np.full(201, 0.5), NO_PAIRS, (-1, 1)))
    assert (picture[:9] == 255).all()
    assert len(drawn_like(Image.fromarray(picture), portraits.GENERATED)) > 200


def test_arrows_go_up_from_z_to_x() -> None:
    pairs = (np.array([-1.0, 1.0]), np.array([0.3, 0.3]))
    empty = np.asarray(portraits.line(X, BUMP, BUMP, np.full(201, 0.5), (pairs[0][:0], pairs[1][:0]), (-1, 1)))
    drawn = np.asarray(portraits.line(X, BUMP, BUMP, np.full(201, 0.5), pairs, (-1, 1)))
    band = (empty[285:350] != drawn[285:350]).any(2)  # between the numbers of both axes
    columns = [np.nonzero(row)[0] for row in band]
    assert min(columns[0]) > min(columns[-1]) + 50  # both come together towards the top
    middle = 14 + (0.3 + 1) / 2 * (480 - 48)
    near_the_top = np.nonzero((empty[266:272] != drawn[266:272]).any((0, 2)))[0]
    assert near_the_top.mean() == pytest.approx(middle, abs=6)


# From networks


def players(dimensions: int, latent: int) -> tuple[Generator, Critic]:
    torch.manual_seed(1)
    model = configs.GANModel(latent=latent, hidden=(16,), critic_hidden=(16,))
    shape = (dimensions, 1, 1)
    return Generator(model, shape).eval(), Critic(model, shape).eval()


@pytest.mark.parametrize(("name", "latent"), [("grid25", 2), ("spiral", 3), ("line", 1), ("line", 4)])
def test_a_portrait_is_the_same_every_time_and_leaves_chance_alone(name: str, latent: int) -> None:
    there = world(name)
    generator, critic = players(there.dimensions, latent)
    reals = torch.tensor(there.sample(300, np.random.default_rng(0)), dtype=torch.float32)[..., None, None]
    before = torch.get_rng_state()
    both = [portrait(generator, critic, reals, there, "non-saturating", torch.device("cpu")) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(*map(np.asarray, both))
    assert both[0].size == (480, 480 if there.dimensions == 2 else 400)
    assert all(p.grad is None for p in critic.parameters())


def test_the_portrait_of_a_critic_that_likes_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(portraits, "plane", lambda *given: seen.update(zip("rfsaw", given, strict=True)))
    generator, _ = players(2, 2)
    reals = torch.zeros(10, 2, 1, 1)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return 3 * x[:, 0, 0, 0] + x[:, 1, 0, 0] + 7

    portrait(generator, critic, reals, world("grid25"), "non-saturating", torch.device("cpu"))
    assert seen["s"][0, -1] == pytest.approx(1 / (1 + math.exp(-(4 * WINDOW[1] + 7))), abs=1e-5)  # the top right
    assert seen["s"][-1, -1] == pytest.approx(1 / (1 + math.exp(-(2 * WINDOW[1] + 7))), abs=1e-5)
    starts, gradient = seen["a"]
    assert gradient == pytest.approx(np.broadcast_to([3.0, 1.0], gradient.shape), abs=1e-5)
    assert starts == pytest.approx(seen["f"][: len(starts)])
    portrait(generator, critic, reals, world("grid25"), "relativistic", torch.device("cpu"))
    middle = np.mean(seen["f"] @ [3.0, 1.0])  # a relativistic critic's 7 means nothing
    assert seen["s"][0, 0] == pytest.approx(1 / (1 + math.exp(2 * WINDOW[1] + middle)), abs=1e-5)


def test_the_portrait_of_a_line_has_its_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(portraits, "line", lambda *given: seen.update(zip("xpqdaw", given, strict=True)))
    line = world("line")
    for latent in (1, 3):
        generator, critic = players(1, latent)
        portrait(generator, critic, torch.zeros(4, 1, 1, 1), line, "non-saturating", torch.device("cpu"))
        step = seen["x"][1] - seen["x"][0]
        assert seen["p"].sum() * step == pytest.approx(1, abs=1e-3)
        with torch.no_grad():
            samples = generator(torch.randn(100_000, latent)).flatten().numpy()
        inside = np.mean(np.abs(samples) < WINDOW[1])
        assert seen["q"].sum() * step == pytest.approx(inside, abs=0.02)
        assert len(seen["a"][0]) == (27 if latent == 1 else 0)
    generator, critic = players(1, 1)
    portrait(generator, critic, torch.zeros(4, 1, 1, 1), line, "non-saturating", torch.device("cpu"))
    z, x = seen["a"]
    assert z == pytest.approx(-z[::-1], abs=0.01) and (np.diff(z) > 0).all()  # equal shares of a normal
    with torch.no_grad():
        assert generator(torch.tensor(z, dtype=torch.float32)[:, None]).flatten().numpy() == pytest.approx(x, abs=1e-5)
