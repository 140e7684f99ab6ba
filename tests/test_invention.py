"""Invention: readers whose error rates are known, so that every share has a closed form."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latente.data import caras
from latente.evaluation.invention import Invention, Reference, _interval, invention, shows
from latente.evaluation.subject import wilson
from latente.messages import LANGUAGES, Problem, set_language

RULE = caras.parse("no-glasses-with-beard")


def faces(combined: int, n: int) -> dict[str, NDArray[Any]]:
    """Factors of n faces, the first `combined` of which have glasses and a beard; the rest have one of them or none."""
    glasses, beard = np.arange(n) % 2, np.zeros(n, np.int64)
    glasses[:combined] = beard[:combined] = 1
    return {"glasses": glasses, "beard": beard}


def reference(floor: int = 20, seen: int = 90, shown: int = 100, n: int = 1000) -> Reference:
    """A reader that is mistaken in `floor` of n faces without, and sees `seen` of the `shown` faces of n with."""
    read = faces(seen, n)
    return Reference(without=faces(floor, n), world=read, truth=faces(shown, n))


def key(*given: Any) -> str:
    with pytest.raises(Problem) as problem:
        invention(*given)
    for language in LANGUAGES:
        set_language(language)
        assert str(problem.value)
    return problem.value.key


def test_which_faces_show_a_combination_against_a_loop() -> None:
    factors = caras.sample_factors("test", 0, 500)
    rule = caras.parse("no-glasses-with-beard,no-hair-red,no-smile-with-hair-bald-with-glasses")
    found = shows(factors, rule)
    for i in range(500):
        glasses, beard, smile = factors["glasses"][i] > 0, factors["beard"][i] > 0, factors["mouth"][i] > 1 / 3
        red, bald = factors["hair_colour"][i] == 3, factors["hair"][i] == 0
        assert found[i] == ((glasses and beard) or red or (smile and bald and glasses))
    assert 0 < found.sum() < 500


def test_training_faces_show_none_and_held_out_faces_do() -> None:
    assert not shows(caras.sample_factors("train", 0, 2000, keep_out=RULE), RULE).any()
    assert shows(caras.sample_factors("test", 0, 2000, keep_out=RULE), RULE).mean() == pytest.approx(0.5 / 3, abs=0.03)


@pytest.mark.parametrize("truth", [0.0, 0.05, 0.5, 1.0])
def test_the_correction_undoes_the_readers_errors(truth: float) -> None:
    """Rogan and Gladen: raw = truth x sensitivity + (1 - truth) x floor, in exact counts."""
    n = 10_000
    seen = round(n * (truth * 0.9 + (1 - truth) * 0.02))
    found = invention(faces(seen, n), RULE, reference())
    assert found.raw == seen / n and found.raw_interval == wilson(seen / n, n)
    assert (found.floor, found.sensitivity, found.ceiling, found.samples) == (0.02, 0.9, 0.1, n)
    assert found.corrected == pytest.approx(truth, abs=1e-12)
    low, high = found.corrected_interval
    assert 0 <= low <= truth <= high <= 1 and high - low < 0.2


def test_a_reader_without_fault_changes_nothing() -> None:
    found = invention(faces(30, 1000), RULE, reference(floor=0, seen=100))
    assert found.raw == found.corrected == 0.03


def test_less_than_the_floor_is_nothing_and_more_than_the_sensitivity_all() -> None:
    least = invention(faces(0, 1000), RULE, reference())
    most = invention(faces(1000, 1000), RULE, reference())
    assert (least.corrected, least.corrected_interval[0], most.corrected, most.corrected_interval[1]) == (0, 0, 1, 1)


def test_a_known_reader_leaves_agresti_and_coulls_interval() -> None:
    """With error rates known exactly, the interval is that of the raw share, shifted and stretched."""
    n, k, z, many = 500, 60, 1.96, 10**12
    p = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(p * (1 - p) / (n + z * z))
    expected = [(end - 0.03) / (0.9 - 0.03) for end in (p - half, p + half)]
    assert _interval((k, n), (9 * many, 10 * many), (97 * many, 100 * many)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("truth", "sensitivity", "floor"), [(0.0, 0.9, 0.02), (0.03, 0.97, 0.0), (0.2, 0.8, 0.05)])
def test_the_interval_covers_the_truth_nineteen_times_in_twenty(truth: float, sensitivity: float, floor: float) -> None:
    rng = np.random.default_rng(0)
    n, positives, negatives, times = 1000, 200, 1000, 1000
    seen = rng.binomial(n, truth * sensitivity + (1 - truth) * floor, times)
    sensitive, specific = rng.binomial(positives, sensitivity, times), rng.binomial(negatives, 1 - floor, times)
    inside = 0
    for counts in zip(seen, sensitive, specific, strict=True):
        low, high = _interval(*zip(map(int, counts), (n, positives, negatives), strict=True))
        inside += low <= truth <= high
    assert inside / times >= 0.935


def test_what_was_drawn_from_the_world_is_told_from_what_was_not() -> None:
    """Faces of caras, read by a reader that mistakes 2 % of glasses and 4 % of beards, at random."""
    mistakes = {"glasses": 0.02, "beard": 0.04}
    rng = np.random.default_rng(3)

    def read(factors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        wrong = {name: rng.random(len(factors[name])) < share for name, share in mistakes.items()}
        return {name: np.where(wrong[name], factors[name] == 0, factors[name]) for name in mistakes}

    truth = caras.sample_factors("test", 0, 5000)
    trained = caras.sample_factors("train", 0, 5000, keep_out=RULE)
    known = Reference(read(trained), read(truth), truth)
    others = caras.sample_factors("test", 5000, 9000)
    whole = invention(read(others), RULE, known)
    memory = invention(read(caras.sample_factors("train", 5000, 9000, keep_out=RULE)), RULE, known)
    assert whole.ceiling == pytest.approx(0.5 / 3, abs=0.02)
    assert whole.corrected == pytest.approx(shows(others, RULE).mean(), abs=0.01)
    assert memory.raw > 0.005 and memory.corrected_interval[0] < 0.002 and memory.corrected < 0.006


def test_what_cannot_be_measured_is_said() -> None:
    read = faces(10, 100)
    assert key(read, (), reference()) == "invention.nothing_kept_out"
    assert key(read, RULE, reference(shown=0)) == "invention.none_in_the_world"
    assert key(read, RULE, reference(floor=100, seen=10)) == "invention.blind"
    assert key(read, RULE, reference(floor=0, seen=1, shown=1, n=10)) == "invention.blind"  # one face proves nothing
    assert isinstance(invention(read, RULE, reference(floor=5, seen=20)), Invention)
