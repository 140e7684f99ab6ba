"""Augmentations: each operation alone against numpy or scipy, exact identity at p = 0, derivatives of both orders."""

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from latente.data.augment import ada, colours, diffaugment, geometry, moved, recoloured
from latente.objectives.penalties import zero_centred

FLIP, QUARTER, SHIFT, SIZE, TURN, STRETCH, TURN_AGAIN, FRACTION = torch.eye(8)
BRIGHTNESS, CONTRAST, LUMA, HUE, SATURATION = torch.eye(5)
BOTH: list[Callable[[Tensor], Tensor]] = [diffaugment, lambda x: ada(x, torch.tensor(1.0))]
both = pytest.mark.parametrize("augment", BOTH, ids=["diffaugment", "ada"])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(n: int = 16, channels: int = 3, side: int = 16) -> Tensor:
    return torch.rand(n, channels, side, side) * 2 - 1


# ADA as a whole


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [8, 9])
def test_strength_0_is_the_identity_to_the_bit(channels: int, side: int) -> None:
    x = images(channels=channels, side=side)
    x[0] = -0.0
    assert torch.equal(ada(x, torch.tensor(0.0)).view(torch.int32), x.view(torch.int32))


def test_images_to_which_nothing_happens_stay_to_the_bit_and_they_are_as_many_as_they_should() -> None:
    x, p = images(2000, 1, 4), 0.1
    still = (ada(x, torch.tensor(p)) == x).flatten(1).all(1).float().mean()
    # x-flip, quarter turns and luma flip fire with p and then do nothing in 1/2, 1/4, 1/2 of all cases; hue and
    # saturation do nothing to grey; a whole shift of a 4-pixel side (at most half a pixel) is none.
    expected = (1 - p / 2) ** 2 * (1 - 3 * p / 4) * (1 - p) ** 6
    assert abs(float(still) - expected) < 4 * math.sqrt(expected * (1 - expected) / 2000)


@both
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_dtype_and_finiteness(augment: Callable[[Tensor], Tensor], channels: int) -> None:
    x = images(channels=channels)[..., :12]
    assert augment(x).shape == x.shape and augment(x).dtype == x.dtype
    assert augment(x).isfinite().all()
    assert augment(x.double()).dtype == torch.float64


@both
def test_each_image_has_its_own_draw_and_a_seed_repeats_it(augment: Callable[[Tensor], Tensor]) -> None:
    x = images(1).expand(16, -1, -1, -1)
    torch.manual_seed(5)
    first, second = augment(x), augment(x)
    assert len({image.numpy().tobytes() for image in torch.cat([first, second])}) == 32
    torch.manual_seed(5)
    assert torch.equal(augment(x), first)


@both
def test_points_are_refused(augment: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="points"):
        augment(torch.zeros(4, 2, 1, 1))


@both
def test_positions_are_not_rounded_under_autocast(augment: Callable[[Tensor], Tensor]) -> None:
    x = images(4, side=32)
    torch.manual_seed(1)
    expected = augment(x)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(augment(x), expected)
    assert augment(x.bfloat16()).dtype == torch.float32


@both
def test_derivatives_of_both_orders_are_finite_differences(augment: Callable[[Tensor], Tensor]) -> None:
    x = images(2, side=3)[..., :2].double().requires_grad_()

    def same_draw(x: Tensor) -> Tensor:
        torch.manual_seed(2)
        return augment(x).square()

    assert torch.autograd.gradcheck(same_draw, x)
    assert torch.autograd.gradgradcheck(same_draw, x, fast_mode=True)


@both
def test_a_penalty_through_it_teaches_the_critic(augment: Callable[[Tensor], Tensor]) -> None:
    x = images(4, side=4).double()
    w = torch.randn(3 * 4 * 4, dtype=torch.float64, requires_grad=True)

    def penalty(w: Tensor) -> Tensor:
        torch.manual_seed(2)
        return zero_centred(lambda x, condition: torch.tanh(x.flatten(1) @ w / 10), x, transform=augment)

    assert torch.autograd.gradcheck(penalty, w, fast_mode=True)


@both
def test_the_host_never_reads_a_tensor(augment: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("waits for the device")

    x = images()
    for name in ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(Tensor, name, read)
    augment(x)


# ADA: moves


def one_of(image: Tensor, candidates: list[np.ndarray]) -> int:
    """Which of the candidates an image is, exactly; -1: none."""
    return next((i for i, other in enumerate(candidates) if np.array_equal(image.numpy(), other)), -1)


def test_flip_is_numpys() -> None:
    x = images(64)
    hits = [one_of(new, [old, old[..., ::-1]]) for new, old in zip(moved(x, FLIP), x.numpy(), strict=True)]
    assert set(hits) == {0, 1} and 16 < sum(hits) < 48


def test_quarter_turns_are_numpys() -> None:
    x = images(64)
    hits = [
        one_of(new, [np.rot90(old, k, (1, 2)) for k in range(4)])
        for new, old in zip(moved(x, QUARTER), x.numpy(), strict=True)
    ]
    assert set(hits) == {0, 1, 2, 3}


def test_whole_shifts_are_by_up_to_an_eighth_and_reflect() -> None:
    x = images(600, 1)
    candidates = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    found = set()
    for new, old in zip(moved(x, SHIFT), x.numpy(), strict=True):
        wide = np.pad(old, ((0, 0), (2, 2), (2, 2)), "symmetric")
        hit = one_of(new, [wide[:, 2 - d : 18 - d, 2 - r : 18 - r] for d, r in candidates])
        assert hit >= 0
        found.add(candidates[hit])
    assert found == set(candidates)


@pytest.mark.parametrize("chances", [SIZE, TURN, STRETCH, FRACTION, torch.ones(8)])
def test_moves_are_scipys_bilinear_sampling_of_the_map(chances: Tensor) -> None:
    x = images(3, side=11)[..., :8].double()
    state = torch.get_rng_state()
    source, _ = geometry(x, chances)
    torch.set_rng_state(state)
    new = moved(x, chances).numpy()
    rows, columns = np.mgrid[:11, :8]
    centred = np.stack([columns - 3.5, rows - 5, np.ones((11, 8))])
    for i in range(3):
        right, down, _ = np.einsum("ij,jhw->ihw", source[i].numpy(), centred)
        for channel in range(3):
            expected = map_coordinates(x[i, channel].numpy(), [down + 5, right + 3.5], order=1, mode="reflect")
            np.testing.assert_allclose(new[i, channel], expected, atol=1e-9)


def maps(chances: Tensor, n: int = 4000) -> np.ndarray:
    """From the old image to the new, of images that are 16 pixels high and 8 wide: [n, 3, 3]."""
    return np.linalg.inv(geometry(torch.zeros(n, 1, 16, 8, dtype=torch.float64), chances)[0].numpy())


def test_sizes_keep_the_shape_and_stretches_the_area() -> None:
    size = maps(SIZE)
    np.testing.assert_allclose(size[:, 0, 0], size[:, 1, 1])
    stretch = maps(STRETCH)
    np.testing.assert_allclose(stretch[:, 0, 0] * stretch[:, 1, 1], 1)
    for found in (np.log2(size[:, 0, 0]), np.log2(stretch[:, 0, 0])):
        assert abs(found.mean()) < 0.015 and abs(found.std() - 0.2) < 0.01
    for matrix in (size, stretch):
        assert not matrix[:, [0, 1], [1, 0]].any() and not matrix[:, :2, 2].any()


@pytest.mark.parametrize("chances", [TURN, TURN_AGAIN])
def test_rotations_are_rotations_by_any_angle(chances: Tensor) -> None:
    turn = maps(chances)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turn.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1)
    counts = np.histogram(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]), bins=8, range=(-math.pi, math.pi))[0]
    assert np.abs(counts - 500).max() < 100


def test_the_two_rotations_are_two() -> None:
    angles = []
    for chances in (TURN, TURN_AGAIN):
        torch.manual_seed(9)
        turn = maps(chances)
        angles.append(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert abs(np.exp(1j * (angles[0] - angles[1])).mean()) < 0.07


def test_fractional_shifts_are_normal_with_an_eighth_of_a_side() -> None:
    shift = maps(FRACTION)
    np.testing.assert_allclose(shift[:, :2, :2], np.broadcast_to(np.eye(2), (4000, 2, 2)))
    right, down = shift[:, 0, 2], shift[:, 1, 2] / 2
    assert abs(right.std() - 1) < 0.05 and abs(down.std() - 1) < 0.05
    assert abs(right.mean()) < 0.06 and abs(down.mean()) < 0.06 and abs(np.corrcoef(right, down)[0, 1]) < 0.06


def test_whole_shifts_go_as_far_as_an_eighth_of_their_side() -> None:
    shift = maps(SHIFT)[:, :2, 2]
    assert set(map(tuple, shift.tolist())) == {(right, down) for right in (-1, 0, 1) for down in range(-2, 3)}


def test_operations_follow_one_another_in_the_papers_order() -> None:
    """Everything drawn at once is the product of each alone: with the same draws, only `chances` differs."""
    alone = []
    for chances in [*torch.eye(8), torch.ones(8)]:
        torch.manual_seed(9)
        alone.append(maps(chances, 20))
    product = np.eye(3)
    for matrix in alone[:8]:
        product = matrix @ product
    np.testing.assert_allclose(alone[8], product, atol=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_how_often_each_operation_happens(p: float) -> None:
    n = 4000
    x = images(n, 1, 2)
    fired = [geometry(x, p * one)[1] for one in torch.eye(8)] + [colours(x, p * one)[1] for one in torch.eye(5)]
    share = torch.stack(fired).float().mean(1)
    assert (share - p).abs().max() <= (4 * math.sqrt(0.25 / n) if p == 0.5 else 0)


def test_there_is_a_rotation_with_probability_p() -> None:
    p = torch.tensor(0.5)
    x = images(4000, 1, 2)
    torch.manual_seed(4)
    turn = 1 - (1 - p).sqrt()
    fired = geometry(x, turn * (TURN + TURN_AGAIN))[1]
    assert abs(float(fired.float().mean()) - 0.5) < 4 * math.sqrt(0.25 / 4000)


# ADA: colours


def drawn(chances: Tensor, n: int = 4000) -> np.ndarray:
    matrix, fired = colours(images(n, 3, 2).double(), chances)
    assert fired.all()
    return matrix.numpy()


def test_brightness_is_added_and_contrast_multiplied() -> None:
    matrix = drawn(BRIGHTNESS)
    np.testing.assert_allclose(matrix[:, :, :3], np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(matrix[:, :, 3], matrix[:, :1, 3].repeat(3, 1))
    assert abs(matrix[:, 0, 3].mean()) < 0.015 and abs(matrix[:, 0, 3].std() - 0.2) < 0.01
    matrix = drawn(CONTRAST)
    np.testing.assert_allclose(matrix[:, :, :3], matrix[:, :1, :1] * np.eye(3), atol=1e-12)
    found = np.log2(matrix[:, 0, 0])
    assert abs(found.mean()) < 0.035 and abs(found.std() - 0.5) < 0.025 and not matrix[:, :, 3].any()


def test_a_luma_flip_turns_lightness_round_and_keeps_what_is_not_grey() -> None:
    x = images(64)
    new, old = recoloured(x, LUMA).numpy(), x.numpy()
    flipped = (np.abs(new - old) > 1e-5).any((1, 2, 3))
    assert 16 < flipped.sum() < 48
    mean = old.mean(1, keepdims=True)
    np.testing.assert_allclose(new, np.where(flipped[:, None, None, None], old - 2 * mean, old), atol=1e-6)


def test_hue_keeps_lightness_and_distance_from_grey_and_has_any_angle() -> None:
    matrix = drawn(HUE)[:, :, :3]
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones((4000, 3)), atol=1e-12)
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), matrix.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(matrix), 1)
    angle = np.arctan2((matrix[:, 1, 0] - matrix[:, 0, 1]) * math.sqrt(3) / 2, (3 * matrix[:, 0, 0] - 1) / 2)
    counts = np.histogram(angle, bins=8, range=(-math.pi, math.pi))[0]
    assert np.abs(counts - 500).max() < 100
    for turn, turned in zip(angle[:20], matrix[:20] @ [1.0, 0, 0], strict=True):  # red's hue is then near the angle
        hue = colorsys.rgb_to_hsv(*(turned - turned.min()))[0] * 2 * math.pi
        assert abs((hue - turn + math.pi) % (2 * math.pi) - math.pi) < 0.1  # the hexagon of HSV against the circle


def test_saturation_stretches_the_distance_from_grey() -> None:
    x = images(2000)
    new, old = recoloured(x, SATURATION).numpy(), x.numpy()
    np.testing.assert_allclose(new.mean(1), old.mean(1), atol=1e-5)
    colourful = [(image - image.mean(1, keepdims=True)).reshape(2000, -1) for image in (new, old)]
    factor = (colourful[0] * colourful[1]).sum(1) / (colourful[1] ** 2).sum(1)
    np.testing.assert_allclose(colourful[0], factor[:, None] * colourful[1], atol=1e-4)
    assert abs(np.log2(factor).mean()) < 0.1 and abs(np.log2(factor).std() - 1) < 0.06


def test_grey_images_are_the_grey_axis_of_colour() -> None:
    grey = images(32, 1)
    torch.manual_seed(3)
    expected = recoloured(grey.expand(-1, 3, -1, -1), torch.ones(5))
    torch.manual_seed(3)
    torch.testing.assert_close(recoloured(grey, torch.ones(5)).expand(-1, 3, -1, -1), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(recoloured(grey, HUE + SATURATION), grey)


def test_colours_follow_one_another_in_the_papers_order() -> None:
    alone = []
    for chances in [*torch.eye(5), torch.ones(5)]:
        torch.manual_seed(9)
        affine = np.zeros((20, 4, 4))
        affine[:, :3], affine[:, 3, 3] = drawn(chances, 20), 1
        alone.append(affine)
    product = np.eye(4)
    for matrix in alone[:5]:
        product = matrix @ product
    np.testing.assert_allclose(alone[5], product, atol=1e-9)


def test_alpha_moves_and_keeps_its_values() -> None:
    x = images(16, 4)
    assert torch.equal(recoloured(x, torch.ones(5))[:, 3], x[:, 3])
    assert not torch.equal(moved(x, FLIP)[:, 3], x[:, 3])


# DiffAugment


def test_diffaugment_moves_by_an_eighth_and_cuts_out_half_a_side() -> None:
    """The colours of an image of one value all change alike: what is left of it shows where it went."""
    x = torch.full((3000, 3, 16, 16), 0.7)
    kept = diffaugment(x)[:, 0] != 0
    rows, columns = kept.any(2), kept.any(1)  # a square cut out never empties a row or a column, a shift does
    for lines in (rows, columns):
        first = lines.int().argmax(1)
        last = 15 - lines.flip(1).int().argmax(1)
        shift = first + last - 15
        assert set(shift.tolist()) == {-2, -1, 0, 1, 2}
        assert (torch.bincount(shift + 2) / 3000 - 0.2).abs().max() < 0.04
    whole = ~(rows[:, :, None] & columns[:, None, :])
    cut = (~kept & ~whole).sum((1, 2))
    assert (
        cut.max() == 64 and cut.min() == 4
    )  # a quarter of the image; at a corner a quarter of that, of which 2 rows and columns move out
    assert set(range(16)) <= set((~kept & ~whole).any(2).nonzero()[:, 1].tolist())


@pytest.mark.parametrize(("side", "size", "centres"), [(16, 8, 17), (14, 7, 14)])
def test_diffaugments_square_has_its_centre_anywhere(side: int, size: int, centres: int) -> None:
    x = torch.full((6000, 1, side, side), 0.7)
    cut = diffaugment(x)[:, 0, 2:-2, 2:-2] == 0  # a shift never reaches here
    share = np.convolve(np.ones(centres) / centres, np.ones(size))[size // 2 :][2 : side - 2]  # that hit a row
    assert np.abs(cut.float().mean(0).numpy() - np.outer(share, share)).max() < 0.025


def test_diffaugments_colours() -> None:
    """Columns of dark grey and light orange in turns: their lightness shows brightness and contrast, what separates
    red from blue the saturation, wherever they moved to; 0, which moves in, always lies between the two."""
    n = 2000
    pair = torch.tensor([[-4.0, 5.0], [-4.0, 4.0], [-4.0, 3.0]], dtype=torch.float64)  # means -4 and 4
    new = diffaugment(pair[:, None].repeat(n, 1, 16, 8))
    light, red_less_blue = new.mean(1).flatten(1), (new[:, 0] - new[:, 2]).flatten(1)
    brightness = (light.amax(1) + light.amin(1)) / 2
    contrast = (light.amax(1) - light.amin(1)) / 8
    saturation = red_less_blue.amax(1) / 2 / contrast
    draws = torch.stack([brightness + 0.5, contrast - 0.5, saturation / 2])
    assert draws.min() >= -1e-9 and draws.max() <= 1 + 1e-9
    for draw in draws.numpy():  # uniform, each on its own
        assert np.abs(np.histogram(draw, bins=10, range=(0, 1))[0] / n - 0.1).max() < 0.03
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.09


def test_grey_images_have_no_saturation_in_diffaugment() -> None:
    grey = images(8, 1)
    torch.manual_seed(3)
    expected = diffaugment(grey.expand(-1, 3, -1, -1))
    torch.manual_seed(3)
    torch.testing.assert_close(diffaugment(grey).expand(-1, 3, -1, -1), expected)
