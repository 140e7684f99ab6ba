"""Measurements on series: the level of the last stretch, where a measure left its healthy range, trends, and whether a
series goes round, tested against the loops that chance draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from latente.diagnosis.history import Numbers, Series

_SURROGATES = 999
_LEAST = 16  # points that a rhythm is sought in at least
_MOST = 256  # and at most: longer series are averaged in blocks
_TURNS = 3  # full periods that a rhythm shows at least


def last(series: Series, share: float = 0.25, least: int = 3) -> Series:
    """The last stretch: that share of the time, and never fewer than `least` points, nor than one in three if there are
    but few."""
    clocks = series.images
    late = clocks > clocks[-1] - share * (clocks[-1] - clocks[0])
    count = max(int(late.sum()), min(least, max(len(series) // 3, 1)))
    return Series(clocks[-count:], series.values[-count:])


def level(series: Series, share: float = 0.25, least: int = 3) -> float:
    """The median of the last stretch: one row that stands out changes nothing."""
    return float(np.median(last(series, share, least).values))


def left(series: Series, bad_above: float = math.inf, bad_below: float = -math.inf) -> float | None:
    """The clock at which the measure last left its healthy range, to stay out; its first clock if it was never in, and
    None if it was measured but once, or is healthy at the end.

    Judged on medians of three, so that one lucky row is no recovery."""
    if len(series) < 2:
        return None
    smooth = medians(series.values)
    bad = (smooth > bad_above) | (smooth < bad_below)
    healthy = np.flatnonzero(~bad)
    first = int(healthy[-1]) + 1 if len(healthy) else 0
    return float(series.images[first]) if first < len(series) else None


def medians(values: Numbers) -> Numbers:
    """Running medians of three, [T] -> [T]; the ends take part in their neighbour's."""
    if len(values) < 3:
        return values
    rows = np.stack([values[:-2], values[1:-1], values[2:]])
    middle = np.median(rows, 0)
    return np.concatenate([middle[:1], middle, middle[-1:]])


class Trend(NamedTuple):
    """How a series moves over its length."""

    change: float  # slope times duration
    p: float  # that chance alone moves it so (Mann-Kendall, two-sided)


def trend(series: Series) -> Trend:
    """Theil and Sen's slope times the duration, and Mann and Kendall's test of it (no ties assumed).

    Kendall 1975: S, the number of rising pairs less the falling, has variance n(n - 1)(2n + 5) / 18 under chance."""
    t, x, n = series.images, series.values, len(series)
    if n < 4:
        return Trend(float(x[-1] - x[0]) if n else 0.0, 1.0)
    i, j = np.triu_indices(n, 1)
    rises = x[j] - x[i]
    apart = np.maximum(t[j] - t[i], 1e-12)
    s = float(np.sign(rises).sum())
    z = (abs(s) - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if s else 0.0
    return Trend(float(np.median(rises / apart) * (t[-1] - t[0])), math.erfc(max(z, 0.0) / math.sqrt(2)))


class Rhythm(NamedTuple):
    """The strongest rhythm of one or more series."""

    p: float  # that red noise shows as strong a peak, at any frequency of any of the series
    period: float  # in units of the clock
    share: float  # of the variance about a straight line that the peak holds
    lasting: float  # amplitude in the second half over that in the first: below 1 it dies out
    name: str  # of the series


def rhythm(named: Iterable[tuple[str, Series]]) -> Rhythm | None:
    """Does one of the series go round? None without a series of 16 points.

    The null is red noise, not white: what random walks and relaxations draw looks like loops (Antognini and
    Sohl-Dickstein 2018, "PCA of high dimensional random walks"). An AR(1) process is fitted to each series less its
    straight line, the largest ratio of its periodogram to the fitted process's spectrum is compared with that of
    surrogates of the same length, treated alike (Allen and Smith 1996; Schulz and Mudelsee 2002), and p is corrected
    for the number of series (Sidak); the surrogates have the search over frequencies in them.
    """
    found = []
    for name, series in named:
        x = _even(series)
        if len(x) < _LEAST or np.ptp(x) <= 1e-12 * (1 + np.abs(x).max()):
            continue
        found.append(_peak(name, x, float(series.images[-1] - series.images[0])))
    if not found:
        return None
    best = min(found, key=lambda r: (r.p, -r.share))
    return best._replace(p=1 - (1 - best.p) ** len(found))


def _even(series: Series) -> Numbers:
    """The values at even distances of time, at most 256 of them: probes and ticks come almost evenly."""
    n = len(series)
    if n < 2:
        return series.values
    even = np.interp(np.linspace(series.images[0], series.images[-1], n), series.images, series.values)
    block = -(-n // _MOST)
    return np.asarray(even[: n // block * block].reshape(-1, block).mean(1))


def _peak(name: str, x: Numbers, duration: float) -> Rhythm:
    """The strongest rhythm of one evenly spaced series [n] and its p."""
    n = len(x)
    rest = _straightened(x[None])
    ratios, power = _ratios(rest)  # [1, K]
    k = int(ratios[0].argmax())
    p = _tail(float(ratios[0, k]), float(_memory(rest)[0]), n)
    share = 2 * float(power[0, max(k - 1, 0) : k + 2].sum() / (rest[0] ** 2).sum())  # both signs of the frequency
    turns = k + _TURNS
    t = np.arange(n)
    wave = np.exp(-2j * np.pi * turns * t / n)
    halves = [abs((rest[0, part] * wave[part]).mean()) for part in (slice(0, n // 2), slice(n // 2, n))]
    return Rhythm(p, duration / turns, min(share, 1.0), float(halves[1] / max(halves[0], 1e-300)), name)


def _straightened(x: Numbers) -> Numbers:
    """Series [B, n] less their least-squares lines."""
    t = np.linspace(-1, 1, x.shape[-1])
    x = x - x.mean(-1, keepdims=True)
    return np.asarray(x - (x @ t / (t @ t))[:, None] * t)


def _memory(x: Numbers) -> Numbers:
    """phi of AR(1) processes [B, n] -> [B], between 0 and 0.98, the bias of short series put right (Mudelsee 2001).

    Below 0 it is not let: the null is red noise, and a series that turns at every step is no noise of that kind."""
    n = x.shape[-1]
    phi = (x[:, 1:] * x[:, :-1]).sum(-1) / np.maximum((x**2).sum(-1), 1e-300)
    return np.asarray(np.clip(phi + (2 + 4 * phi) / n, 0, 0.98))


def _ratios(x: Numbers) -> tuple[Numbers, Numbers]:
    """How far each frequency stands out of red noise, and the periodogram, both [B, K], of series [B, n]; from three
    turns in a series up to one in two points.

    The AR(1) process is fitted for each frequency to all the others (its neighbours left out, where it leaks to):
    fitted to the whole, it would take a slow rhythm for its own memory."""
    n = x.shape[-1]
    whole = np.abs(np.fft.rfft(x)[:, 1:]) ** 2 / n  # [B, n // 2]
    w = 2 * np.pi * np.arange(1, n // 2 + 1) / n
    c0, c1 = _beside(whole), _beside(whole * np.cos(w))
    phi = np.clip(c1 / np.maximum(c0, 1e-300), 0, 0.98)  # [B, K]
    red = 1 / (1 - 2 * phi * np.cos(w) + phi**2)
    around = ((1 + phi**2) * c0 - 2 * phi * c1) / _beside(np.ones((1, len(w))))  # innovations' power
    ratios = whole / np.maximum(around * red, 1e-300)
    return np.asarray(ratios[:, _TURNS - 1 :]), np.asarray(whole[:, _TURNS - 1 :])


def _beside(values: Numbers) -> Numbers:
    """[B, K] -> for each k the sum of all but k and its neighbours, [B, K]."""
    padded = np.pad(values, ((0, 0), (1, 1)))
    return np.asarray(values.sum(-1, keepdims=True) - padded[:, :-2] - padded[:, 1:-1] - padded[:, 2:])


def _tail(largest: float, phi: float, n: int) -> float:
    """The share of surrogates whose largest ratio is as large: AR(1) processes of that length and memory."""
    bound = 1 - (1 - math.exp(-min(largest, 700.0))) ** (n // 2 + 1 - _TURNS)  # ratios are about exponential: Schulz
    if bound > 0.2:  # nowhere near: the surrogates are spared
        return bound
    surrogates = _surrogates(round(20 * phi) / 20 if phi < 0.97 else 0.98, n)
    beyond = int((surrogates >= largest).sum())
    if beyond:
        return (1 + beyond) / (_SURROGATES + 1)
    return min(max(bound, 1e-9), 1 / (_SURROGATES + 1))  # by the formula, which rounds to 0 in the end


@cache
def _surrogates(phi: float, n: int) -> Numbers:
    """The largest ratios of 999 AR(1) processes of that memory and length, straightened as the series are."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((_SURROGATES, n))
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0] / math.sqrt(1 - phi**2)
    for i in range(1, n):
        x[:, i] = phi * x[:, i - 1] + noise[:, i]
    ratios, _ = _ratios(_straightened(x))
    return np.asarray(ratios.max(-1))
