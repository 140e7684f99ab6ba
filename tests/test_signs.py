"""Measurements on series, against cases whose answer is known."""

import math

import numpy as np
import pytest
import scipy.stats

from latente.diagnosis.history import Series
from latente.diagnosis.signs import last, left, level, medians, rhythm, trend


def series(values: object) -> Series:
    found = np.asarray(values, np.float64)
    return Series(np.arange(1.0, len(found) + 1), found)


def red(phi: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """An AR(1) process, [n], started from its own distribution (or 0, for a random walk)."""
    noise = rng.standard_normal(n)
    x = np.zeros(n)
    x[0] = noise[0] / math.sqrt(1 - phi**2) if phi < 1 else 0
    for i in range(1, n):
        x[i] = phi * x[i - 1] + noise[i]
    return x


def test_the_last_stretch() -> None:
    assert last(series(range(20))).values.tolist() == [15, 16, 17, 18, 19]
    assert len(last(series(range(9)), 0.1)) == 3 and len(last(series(range(4)))) == 1 and len(last(series([1]))) == 1
    uneven = Series(np.array([0.0, 90, 92, 94, 96, 100]), np.arange(6.0))
    assert last(uneven, 0.2).values.tolist() == [1, 2, 3, 4, 5], "of the time, not of the rows"


def test_one_row_that_stands_out_changes_nothing() -> None:
    values = np.ones(20)
    values[-1] = 1000
    assert level(series(values)) == 1


def test_where_it_left_its_range() -> None:
    values = [1.0] * 10 + [0.1] * 5
    assert left(series(values), bad_below=0.5) == 11
    values[12] = 1.0
    assert left(series(values), bad_below=0.5) == 11, "one lucky row is no recovery"
    assert left(series([0.1] * 8), bad_below=0.5) == 1, "never in it"
    assert left(series(-np.array(values)), bad_above=-0.5) == 11
    assert left(series([0.1]), bad_below=0.5) is None


def test_running_medians() -> None:
    assert medians(np.array([1.0, 9, 2, 3, 8])).tolist() == [2, 2, 3, 3, 3]
    assert medians(np.array([1.0, 2])).tolist() == [1, 2]


def test_the_slope_is_theil_and_sens() -> None:
    rng = np.random.default_rng(0)
    values = 0.3 * np.arange(30) + rng.standard_normal(30)
    found = trend(series(values))
    slope = scipy.stats.theilslopes(values, np.arange(30))[0]
    assert found.change == pytest.approx(29 * slope)
    p = scipy.stats.kendalltau(np.arange(30), values, method="asymptotic").pvalue
    assert found.p == pytest.approx(p, rel=0.4) and found.p < 1e-6, "but for the continuity correction"


def test_chance_has_no_trend() -> None:
    rng = np.random.default_rng(1)
    ps = [trend(series(rng.standard_normal(12))).p for _ in range(300)]
    assert 0.01 < np.mean(np.array(ps) < 0.05) < 0.08
    assert trend(series([1, 2])).p == 1


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 1.0])
def test_red_noise_draws_no_loops(phi: float) -> None:
    """50 seeds for each memory: 200 in all, and a random walk among them."""
    rng = np.random.default_rng(int(10 * phi))
    found = [rhythm([(str(k), series(red(phi, 30, rng))) for k in range(4)]) for _ in range(50)]
    assert sum(one is not None and one.p <= 0.02 for one in found) <= 2


@pytest.mark.parametrize(("period", "n"), [(2.5, 27), (4.2, 27), (7.0, 60), (16.0, 60)])
def test_a_sine_in_noise_is_found(period: float, n: int) -> None:
    """Twice the noise's spread, in two of four projections."""
    rng, t = np.random.default_rng(3), np.arange(n)
    hits, periods = 0, []
    for _ in range(10):
        waves = [3 * np.sin(2 * np.pi * t / period + k) * (k < 2) + red(0.3, n, rng) for k in range(4)]
        found = rhythm((str(k), series(wave)) for k, wave in enumerate(waves))
        assert found is not None
        if found.p <= 0.02 and found.share > 0.3:
            hits += 1
            periods.append(found.period)
    assert hits >= 8
    assert np.median(periods) == pytest.approx(period, rel=0.2)


def test_what_dies_out_is_told_from_what_lasts() -> None:
    t = np.arange(60)
    wave = np.sin(2 * np.pi * t / 6) + 0.05 * np.random.default_rng(0).standard_normal(60)
    found, dying = rhythm([("a", series(wave))]), rhythm([("a", series(wave * np.exp(-t / 10)))])
    assert found is not None and found.lasting == pytest.approx(1, abs=0.1)
    assert dying is not None and dying.lasting < 0.2


def test_no_rhythm_is_sought_where_there_is_none_to_find() -> None:
    assert rhythm([]) is None
    assert rhythm([("short", series([1, 2] * 7))]) is None
    assert rhythm([("still", series(np.ones(40)))]) is None


def test_a_long_series_is_averaged_and_its_clock_stays() -> None:
    t = np.arange(5000)
    wave = np.sin(2 * np.pi * t / 500) + np.random.default_rng(0).standard_normal(5000)
    found = rhythm([("a", Series(64.0 * t, wave))])
    assert found is not None and found.p <= 0.02 and found.period == pytest.approx(64 * 500, rel=0.1)
