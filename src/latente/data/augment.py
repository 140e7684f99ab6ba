"""Images changed at random before the critic sees them, real and fake alike, so that it cannot learn a few by heart.

Two ways, both differentiable twice, on whole batches, every image with draws of its own from torch's global generator:

- `diffaugment`: DiffAugment (Zhao et al. 2020), "color,translation,cutout": every operation, always.
- `ada`: the pipeline "bgc" of adaptive discriminator augmentation (Karras et al. 2020, appendix B): each operation with
  probability p, which training raises while the critic overfits. While p stays below about 0.8, the generator learns
  the images and not their changed selves.

Images are [n, C, H, W] in [-1, 1] and may leave that range. Of RGBA, colours change and alpha only moves. Both compute
in float32 at least, also under autocast: positions in bfloat16 would be off by a pixel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def diffaugment(x: Tensor) -> Tensor:
    """[n, C, H, W] -> the same shape (Zhao et al. 2020, section 4.1, and the numbers of the authors' code).

    Brightness + U(-0.5, 0.5), saturation x U(0, 2), contrast x U(0.5, 1.5), a shift by up to 1/8 of a side, and a
    square of half a side cut out, its centre anywhere. What is moved in or cut out is 0, a middle grey. ValueError for
    points, [n, d, 1, 1].
    """
    x = _images(x)
    height, width = x.shape[2:]
    colour = x[:, :3] + _uniform(x, -0.5, 0.5)
    grey = colour.mean(1, keepdim=True)  # [n, 1, H, W]; of one channel it is the image, which does not change
    colour = grey + (colour - grey) * _uniform(x, 0, 2)
    mean = colour.mean((1, 2, 3), keepdim=True)
    colour = mean + (colour - mean) * _uniform(x, 0.5, 1.5)
    x = torch.cat([colour, x[:, 3:]], 1)
    down, right = (_whole(x, -most, most) for most in (_part(height, 1 / 8), _part(width, 1 / 8)))
    x = _shifted(_shifted(x, down, 2), right, 3)
    rows, columns = (_cut(x, side) for side in (height, width))  # [n, H], [n, W]
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def ada(x: Tensor, p: Tensor) -> Tensor:
    """[n, C, H, W] -> the same shape, each operation with probability p [] (Karras et al. 2020, appendix B).

    At p = 0 the images are returned exactly as they were; p is never read by the host. All moves of an image are one
    affine map and one bilinear sampling, with the image reflected beyond its edges; the paper filters with a wavelet at
    twice the resolution, which keeps a shrunk image from aliasing, and leaves the edge pixels out of the reflection.
    ValueError for points, [n, d, 1, 1].
    """
    x = _images(x)
    turn = 1 - (1 - p).sqrt()  # rotations come twice; that there is one has probability p
    with torch.autocast(x.device.type, enabled=False):
        x = moved(x, torch.stack([p, p, p, p, turn, p, turn, p]))
        return recoloured(x, p.expand(5))


# ADA: where pixels are


def moved(x: Tensor, chances: Tensor) -> Tensor:
    """The geometric half of "bgc": [n, C, H, W], and the probability of each operation of `geometry` [8]."""
    source, fired = geometry(x, chances)
    height, width = x.shape[2:]
    down = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    right = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    at = torch.stack([right.expand(height, width), down[:, None].expand(height, width)], 2)  # [H, W, 2]
    at = (at.view(1, -1, 2) @ source[:, :2, :2].mT + source[:, None, :2, 2]).view(-1, height, width, 2)
    grid = at * at.new_tensor([2 / width, 2 / height])  # [n, H, W, 2] in [-1, 1], edge to edge
    sampled = F.grid_sample(x, grid, "bilinear", "reflection", align_corners=False)
    return torch.where(fired[:, None, None, None], sampled, x)


def geometry(x: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from, in pixels right and down of the centre: [n, 3, 3]; which images move at all: [n].

    Operations in order, each with its probability [8]: flip, quarter turns, whole shift, size, rotation, stretch,
    rotation, fractional shift. The map leads from the new image to the old: their inverses, the first one leftmost.
    """
    n, (height, width) = len(x), x.shape[2:]
    happens = torch.rand(8, n, device=x.device) < chances[:, None]

    def drawn(operation: int, values: Tensor, otherwise: float) -> Tensor:
        return torch.where(happens[operation], values, otherwise)

    uniform = torch.rand(6, n, dtype=x.dtype, device=x.device)
    normal = torch.randn(4, n, dtype=x.dtype, device=x.device)
    one, nil = torch.ones_like(normal[0]), torch.zeros_like(normal[0])
    flip = drawn(0, 1 - 2 * (uniform[0] < 0.5).to(x.dtype), 1)
    quarter = drawn(1, (4 * uniform[1]).floor(), 0)
    cosine = (quarter == 0).to(x.dtype) - (quarter == 2).to(x.dtype)  # exact, where cos(pi / 2) is not
    sine = (quarter == 1).to(x.dtype) - (quarter == 3).to(x.dtype)
    right, down = (drawn(2, ((uniform[i] - 0.5) / 4 * side).round(), 0) for i, side in ((2, width), (3, height)))
    size = drawn(3, torch.exp2(0.2 * normal[0]), 1)
    before, after = (drawn(i, math.pi * (2 * uniform[j] - 1), 0) for i, j in ((4, 4), (6, 5)))
    stretch = drawn(5, torch.exp2(0.2 * normal[1]), 1)
    aside, below = (drawn(7, 0.125 * side * normal[i], 0) for i, side in ((2, width), (3, height)))
    source = _matrix(flip, nil, nil, nil, one, nil)
    for inverse in (
        _matrix(cosine, -sine, nil, sine, cosine, nil),
        _matrix(one, nil, -right, nil, one, -down),
        _matrix(1 / size, nil, nil, nil, 1 / size, nil),
        _matrix(before.cos(), -before.sin(), nil, before.sin(), before.cos(), nil),
        _matrix(1 / stretch, nil, nil, nil, stretch, nil),
        _matrix(after.cos(), -after.sin(), nil, after.sin(), after.cos(), nil),
        _matrix(one, nil, -aside, nil, one, -below),
    ):
        source = source @ inverse
    return source, happens.any(0)


def _matrix(*first_rows: Tensor) -> Tensor:
    """Six numbers an image, [n] each, the two first rows of an affine map -> [n, 3, 3]."""
    rows = torch.stack(first_rows, 1).view(-1, 2, 3)
    last = rows.new_tensor([0, 0, 1]).expand(len(rows), 1, 3)
    return torch.cat([rows, last], 1)


# ADA: what colour they have


def recoloured(x: Tensor, chances: Tensor) -> Tensor:
    """The colour half of "bgc": [n, C, H, W], and the probability of each operation of `colours` [5]."""
    matrix, fired = colours(x, chances)
    if x.shape[1] < 3:  # grey is the grey axis of RGB: no hue, no saturation
        changed = x * matrix[:, :, :3].sum(2).mean(1)[:, None, None, None] + matrix[:, 0, 3, None, None, None]
    else:
        changed = (matrix[:, :, :3] @ x[:, :3].flatten(2) + matrix[:, :, 3:]).view_as(x[:, :3])
    return torch.where(fired[:, None, None, None], torch.cat([changed, x[:, 3:]], 1), x)


def colours(x: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
    """What each image's colours become, [n, 3, 4] (the last column is added), and which images change at all: [n].

    Operations in order, each with its probability [5]: brightness + b, contrast x c, luma flip, hue turned by an angle,
    saturation x s. With v the grey axis, the flip changes the sign along v, the hue turns the plane across v, and the
    saturation stretches that plane.
    """
    n = len(x)
    happens = torch.rand(5, n, device=x.device) < chances[:, None]
    uniform = torch.rand(2, n, dtype=x.dtype, device=x.device)
    normal = torch.randn(3, n, dtype=x.dtype, device=x.device)
    brightness = torch.where(happens[0], 0.2 * normal[0], 0)
    contrast = torch.where(happens[1], torch.exp2(0.5 * normal[1]), 1)
    along = torch.where(happens[2] & (uniform[0] < 0.5), -contrast, contrast)
    hue = torch.where(happens[3], math.pi * (2 * uniform[1] - 1), 0)
    across = contrast * torch.where(happens[4], torch.exp2(normal[2]), 1)
    grey = x.new_full((3, 3), 1 / 3)  # v v^T: onto the grey axis
    turn = x.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # v x: a quarter turn of the plane
    along, across, hue = (number[:, None, None] for number in (along, across, hue))
    linear = along * grey + across * (
        hue.cos() * (torch.eye(3, dtype=x.dtype, device=x.device) - grey) + hue.sin() * turn
    )
    added = along * brightness[:, None, None].expand(n, 3, 1)
    return torch.cat([linear, added], 2), happens.any(0)


# Pieces of both


def _images(x: Tensor) -> Tensor:
    """x in float32 at least; a ValueError for points."""
    if x.shape[2:].numel() == 1:
        raise ValueError(f"points have nothing to augment: {tuple(x.shape)}")
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    """A number in [low, high) for each image: [n, 1, 1, 1]."""
    return low + (high - low) * torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device)


def _whole(x: Tensor, low: int, high: int) -> Tensor:
    """A whole number from low to high, both included, for each image: [n]."""
    return torch.randint(low, high + 1, (len(x),), device=x.device)


def _part(side: int, share: float) -> int:
    return int(side * share + 0.5)


def _shifted(x: Tensor, by: Tensor, dim: int) -> Tensor:
    """Each image moved by its whole number of pixels [n] along a dimension, zeros moved in."""
    side, shape = x.shape[dim], [len(x), 1, 1, 1]
    shape[dim] = side
    source = torch.arange(side, device=x.device) - by[:, None]  # [n, side]
    inside = ((source >= 0) & (source < side)).view(shape)
    return x.gather(dim, source.clamp(0, side - 1).view(shape).expand_as(x)) * inside


def _cut(x: Tensor, side: int) -> Tensor:
    """Which rows (or columns) of each image are cut out: half of them about a centre, or what of that lies inside."""
    size = _part(side, 1 / 2)
    start = _whole(x, 0, side - size % 2) - size // 2
    at = torch.arange(side, device=x.device)
    return (at >= start[:, None]) & (at < start[:, None] + size)  # [n, side]
