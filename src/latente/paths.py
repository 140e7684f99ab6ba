"""Ways through a latent space: straight lines, great circles, closed loops, and sums and differences of points.

Legend
    a, b    latents [..., d]
    t       places along a way [...]; 0 is a, 1 is b. One a and one b for many places, or a pair for each
    points  latents [n, d] that a way passes through
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight line a + t (b - a), [..., d]."""
    return torch.lerp(a, b, t[..., None].to(a))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The great circle from a to b, at an even angular speed (Shoemake 1985), [..., d].

    Almost all of N(0, I) lies near the sphere of radius sqrt(d); a straight line between two points of it passes
    through the inside, where there were no latents in training (White 2016, 1609.04468). The length goes evenly from
    |a| to |b|. From a point to its opposite every great circle is a shortest way: the same one is always taken.
    """
    long_a, long_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)  # [..., 1]
    from_a, to_b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    cosine = (from_a * to_b).sum(-1, keepdim=True).clamp(-1, 1)
    aside = to_b - cosine * from_a  # what of b's direction is at right angles to a's
    angle = torch.atan2(aside.norm(dim=-1, keepdim=True), cosine)
    along = aside.norm(dim=-1, keepdim=True) < 1e-4  # the same direction, or the opposite one
    axis = F.one_hot(from_a.abs().argmin(-1), a.shape[-1]).to(a)
    another = axis - (axis * from_a).sum(-1, keepdim=True) * from_a  # at right angles to a
    aside = F.normalize(torch.where(along, another, aside), dim=-1)
    place = t[..., None].to(a)
    direction = (angle * place).cos() * from_a + (angle * place).sin() * aside
    way = direction * (long_a + place * (long_b - long_a))
    straight = (along & (cosine > 0)) | (long_a == 0) | (long_b == 0)  # the centre lies in no direction
    return torch.where(straight, lerp(a, b, t), way)


def loop(points: Tensor, frames: int, shell: bool = False) -> Tensor:
    """A closed, smooth way through points [n, d], n of 2 or more, in equal times -> [frames, d].

    Catmull and Rom's spline (1974) without ends: it passes through every point, and its direction and speed never
    jump, not even where the last frame gives way to the first. With `shell`, the length of every latent is that of its
    two neighbours among the points, in proportion, so that the way keeps to the sphere of N(0, I) (see `slerp`).
    """
    n = len(points)
    place = torch.arange(frames, dtype=torch.float64) * n / frames  # [frames] in [0, n)
    k = place.long()
    t = (place - k).to(points)[:, None]  # [frames, 1]
    before, here, there, after = (points[(k + step) % n] for step in (-1, 0, 1, 2))  # [frames, d] each
    slope, next_slope = (there - before) / 2, (after - here) / 2
    way: Tensor = (
        (2 * t**3 - 3 * t**2 + 1) * here  # the basis of Hermite's cubics
        + (t**3 - 2 * t**2 + t) * slope
        + (3 * t**2 - 2 * t**3) * there
        + (t**3 - t**2) * next_slope
    )
    if not shell:
        return way
    length = torch.lerp(here.norm(dim=1, keepdim=True), there.norm(dim=1, keepdim=True), t)
    on_shell: Tensor = way / way.norm(dim=1, keepdim=True).clamp(min=1e-12) * length
    return on_shell


def through(points: Tensor, steps: int, how: str) -> Tensor:
    """The open way from the first of points [n, d] to the last, `steps` places from each to the next, both ends
    counted -> [(n - 1)(steps - 1) + 1, d]. `how`: "lerp" or "slerp"."""
    t = torch.linspace(0, 1, steps)
    go = slerp if how == "slerp" else lerp
    parts = [go(a, b, t)[:-1] for a, b in zip(points[:-1], points[1:], strict=True)]
    return torch.cat([*parts, points[-1:]])


def shift(plus: Tensor, minus: Tensor) -> Tensor:
    """What sets one group apart: the mean of latents [n, d] minus the mean of latents [m, d] -> [d]
    (Radford et al. 2015, section 6.3.2, who average three of each)."""
    return plus.mean(0) - minus.mean(0)
