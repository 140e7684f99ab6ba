"""What varies over time, against closed forms."""

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latente.config import Images, OptimConfig
from latente.training.schedule import average_decay, crossed, learning_rate, seed_at


def test_seeds_differ_by_run_process_and_clock() -> None:
    seeds = {seed_at(s, r, i) for s in range(10) for r in range(4) for i in range(0, 1280, 128)}
    assert len(seeds) == 10 * 4 * 10
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seed_of_a_step_never_changes_between_versions() -> None:
    """Runs are resumed by later versions of this package."""
    assert seed_at(0, 0, 0) == 0
    assert seed_at(5, 1, 1280) == 7484506961397839867


@pytest.mark.parametrize(
    ("images", "share"), [(0, 1.0), (100, 1.0), (150, None), (200, 0.05 + 0.95 / 2), (300, 0.05), (10**9, 0.05)]
)
def test_cosine_decay(images: int, share: float | None) -> None:
    optim = OptimConfig(lr=0.2, decay="cosine", final=0.05, decay_from=Images(100), decay_images=Images(200))
    expected = 0.05 + 0.95 * 0.5 * (1 + cos(pi / 4)) if share is None else share
    assert learning_rate(optim, images) == pytest.approx(0.2 * expected, rel=1e-12)


@pytest.mark.parametrize(("images", "share"), [(0, 1.0), (100, 1.0), (150, 0.775), (300, 0.1), (301, 0.1)])
def test_linear_decay(images: int, share: float) -> None:
    optim = OptimConfig(lr=0.2, decay="linear", final=0.1, decay_from=Images(100), decay_images=Images(200))
    assert learning_rate(optim, images) == pytest.approx(0.2 * share, rel=1e-12)


def test_without_decay_the_rate_stays() -> None:
    assert {learning_rate(OptimConfig(lr=0.3, decay_images=Images(10)), i) for i in (0, 5, 500)} == {0.3}


@given(n=st.integers(1, 4096), batches=st.integers(1, 1000))
def test_half_of_the_average_survives_a_halflife(n: int, batches: int) -> None:
    halflife = n * batches
    assert average_decay(halflife, 40 * halflife, n) ** batches == pytest.approx(0.5, rel=1e-9)


def test_the_average_forgets_the_beginning() -> None:
    """Early on the half-life is a twentieth of the clock; so is it for ever if the half-life is endless."""
    assert average_decay(10**9, 1000, 50) == pytest.approx(0.5)
    assert average_decay(0, 1000, 50) == 0.0  # no half-life: the present weights
    assert average_decay(100, 8, 8) < 1e-6


@given(interval=st.integers(1, 50), n=st.integers(1, 50), steps=st.integers(1, 60))
def test_every_multiple_is_crossed_once(interval: int, n: int, steps: int) -> None:
    clocks = [n * step for step in range(1, steps + 1)]
    for clock in clocks:
        multiples = [m for m in range(interval, clock + 1, interval) if clock - n < m <= clock]
        assert crossed(clock, n, interval) is bool(multiples)
    assert not any(crossed(clock, n, 0) for clock in clocks)
