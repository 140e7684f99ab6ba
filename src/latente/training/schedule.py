"""Everything that varies over time, as pure functions of the images shown."""

from math import cos, pi

from latente.config import OptimConfig


def seed_at(seed: int, rank: int, images: int) -> int:
    """The seed of one step: a function of (seed, process, clock), so that a step can be repeated exactly."""
    mixed = (seed * 0x9E3779B97F4A7C15 + rank * 0xBF58476D1CE4E5B9 + images * 0x94D049BB133111EB) % 2**64
    return (mixed ^ mixed >> 31) % 2**63


def branch_seed(seed: int, branch: int) -> int:
    """The seed of a run that went back `branch` times: the same dice would fall into the same pit."""
    return seed if branch == 0 else seed_at(seed, -1 - branch, 0)


def learning_rate(optim: OptimConfig, images: int) -> float:
    """The learning rate at `images`: constant, then decaying from `decay_from` over `decay_images` to `final` x lr."""
    if optim.decay == "none":
        return optim.lr
    through = min(max((images - optim.decay_from) / max(optim.decay_images, 1), 0.0), 1.0)
    left = 0.5 * (1 + cos(pi * through)) if optim.decay == "cosine" else 1 - through
    return optim.lr * (optim.final + (1 - optim.final) * left)


def average_decay(halflife: int, images: int, n: int) -> float:
    """How much of the averaged weights survives a batch of `n`: half of them every `halflife` images.

    The half-life is at most a twentieth of the images shown, so that the average forgets the initial weights
    (StyleGAN2's ramp-up).
    """
    effective = min(float(halflife), 0.05 * images)
    return float(0.5 ** (n / effective)) if effective > 0 else 0.0


def crossed(images: int, n: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies among the last `n` of `images`."""
    return interval > 0 and images // interval > (images - n) // interval


def geometric(start: float, end: float, length: int, images: int) -> float:
    """A weight that goes from `start` to `end` in `length` images at a constant rate of decay; `end` < 0: it stays."""
    if end < 0 or start <= 0 or length <= 0:
        return start
    share = min(images / length, 1.0)
    return float(start * (max(end, 1e-12) / start) ** share)
