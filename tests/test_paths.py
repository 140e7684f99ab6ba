"""Ways through latent space against their formulas."""

import math

import pytest
import torch

from latente.paths import lerp, loop, shift, slerp, through


def pair(d: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.randn(2, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws[0], 3 * draws[1]


T = torch.linspace(0, 1, 11, dtype=torch.float64)


@pytest.mark.parametrize("go", [lerp, slerp])
def test_a_way_begins_and_ends_at_its_ends(go):
    a, b = pair()
    way = go(a, b, T)
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[-1], b)


def test_a_line_against_a_loop():
    a, b = pair()
    for t, point in zip(T, lerp(a, b, T), strict=True):
        torch.testing.assert_close(point, (1 - t) * a + t * b)


def test_the_directions_of_a_great_circle_against_shoemakes_formula():
    a, b = pair()
    e, f = a / a.norm(), b / b.norm()
    angle = math.acos(float(e @ f))
    for t, point in zip(T.tolist(), slerp(a, b, T), strict=True):
        expected = (math.sin((1 - t) * angle) * e + math.sin(t * angle) * f) / math.sin(angle)
        torch.testing.assert_close(point / point.norm(), expected)


def test_lengths_go_evenly_and_angles_too():
    a, b = pair()
    way = slerp(a, b, T)
    torch.testing.assert_close(way.norm(dim=1), torch.lerp(a.norm(), b.norm(), T))
    units = way / way.norm(dim=1, keepdim=True)
    angles = (units[1:] * units[:-1]).sum(1).clamp(-1, 1).acos()
    torch.testing.assert_close(angles, angles.mean().expand(10), rtol=1e-5, atol=1e-7)


def test_where_no_great_circle_is_the_shortest():
    a, _ = pair()
    torch.testing.assert_close(slerp(a, 2 * a, T), lerp(a, 2 * a, T))
    there = slerp(a, -a, T)  # half a circle, not through the centre
    torch.testing.assert_close(there.norm(dim=1), a.norm().expand(11))
    torch.testing.assert_close(there[-1], -a)
    assert abs(float(there[5] @ a)) < 1e-9
    torch.testing.assert_close(slerp(torch.zeros_like(a), a, T), lerp(torch.zeros_like(a), a, T))


@pytest.mark.parametrize("go", [lerp, slerp])
def test_a_pair_for_each_place_is_a_loop_over_pairs(go):
    """One that lie apart, one that are alike, opposite ones, and one that begins in the centre."""
    a, b = pair()
    begins, ends = torch.stack([a, a, a, 0 * a]), torch.stack([b, 2 * a, -3 * a, b])
    t = torch.tensor([0.2, 0.7, 0.4, 0.9], dtype=torch.float64)
    expected = torch.cat([go(*one, place[None]) for *one, place in zip(begins, ends, t, strict=True)])
    torch.testing.assert_close(go(begins, ends, t), expected)


@pytest.mark.parametrize("shell", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_loop_passes_through_its_points_and_closes(n, shell):
    points = torch.randn(n, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    way = loop(points, 24 * n, shell)
    assert way.shape == (24 * n, 12)
    torch.testing.assert_close(way[::24], points)
    steps = (way - way.roll(1, 0)).norm(dim=1)  # the first is the one from the last frame to the first
    assert steps[0] < 1.5 * max(steps[1], steps[-1]) + 1e-9, "no jump where it closes"


def test_a_loop_has_no_corner():
    """The velocity before a point equals the one after it, by finite differences, at the seam as anywhere."""
    points = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    frames = 40_000
    way = loop(points, frames)
    for at in (0, frames // 4, frames // 2):
        after, before = way[at + 1] - way[at], way[at] - way[at - 1]
        assert float((after - before).norm() / after.norm()) < 1e-3


def test_a_loop_on_the_shell_keeps_to_it():
    points = torch.randn(3, 200, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True) * 14
    torch.testing.assert_close(loop(points, 30, shell=True).norm(dim=1), torch.full((30,), 14.0, dtype=torch.float64))
    assert float(loop(points, 30).norm(dim=1).min()) < 13, "without it, the way falls in between"


@pytest.mark.parametrize("how", ["lerp", "slerp"])
def test_several_points_in_a_row(how):
    points = torch.randn(3, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    way = through(points, 5, how)
    assert way.shape == (9, 7)
    torch.testing.assert_close(way[::4], points)
    go = {"lerp": lerp, "slerp": slerp}[how]
    torch.testing.assert_close(way[4:], go(points[1], points[2], torch.linspace(0, 1, 5)))


def test_a_shift_is_a_difference_of_means_by_hand():
    plus = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    minus = torch.tensor([[1.0, 1.0], [0.0, 2.0], [2.0, 0.0]])
    assert shift(plus, minus).tolist() == [1.0, 3.0]
