"""Runs side by side: what may be ranked is, and what may not is refused for the right reason."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from latente.evaluation import compare as module
from latente.evaluation.compare import Comparison, compare, student
from latente.evaluation.subject import wilson
from latente.messages import Problem
from latente.run import Run, append, create
from toy import toy

PROTOCOL = {"samples": 1000, "seed": 0, "weights": "shown"}
Interval = tuple[float, float]


def row(metric: str, value: float | None, half: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of evaluations.jsonl, its interval `half` to either side."""
    assert value is not None or half is None
    interval = {} if half is None or value is None else {"interval": [value - half, value + half]}
    return {"metric": metric, "images": 64, "value": value, "unit": "units", "protocol": PROTOCOL, **interval} | more


def measured(out: Path, *rows: dict[str, Any], seed: int = 0, latent: int = 4, content: str = "abc") -> Run:
    """A run that was never trained but has values; those with another `latent` are other configurations."""
    config = toy("vae", seed=seed)
    config = replace(config, model=replace(config.model, latent=latent))
    run = create(out, config, {"image_shape": [1, 8, 8], "classes": [], "content": content * 4})
    for one in rows:
        append(run.folder / "evaluations.jsonl", one)
    return run


def with_images(run: Run, metric: str, values: np.ndarray, references: str = "r1", **more: Any) -> None:
    """Add a row that has the values of its single images."""
    name = f"evaluations/{metric}-000000064.npy"
    (run.folder / "evaluations").mkdir(exist_ok=True)
    np.save(run.folder / name, values)
    protocol = PROTOCOL | {"references": references}
    append(
        run.folder / "evaluations.jsonl", row(metric, float(values.mean()), per_image=name, protocol=protocol, **more)
    )


def only(found: Comparison) -> module.Metric:
    [metric] = found.metrics
    return metric


# --- What is ranked ---------------------------------------------------------------------------------------------------


def test_a_clear_difference_is_ranked_in_the_direction_of_the_metric(tmp_path):
    rows = [row("recall", 0.5, 0.01), row("frechet", 9.0, 0.1)], [row("recall", 0.6, 0.01), row("frechet", 20.0, 0.1)]
    found = compare([measured(tmp_path, *rows[0]), measured(tmp_path, *rows[1], latent=5)])
    recall, frechet = found.metrics
    assert (recall.name, recall.better, recall.ranked, recall.order) == ("recall", "higher", True, (("B",), ("A",)))
    assert (frechet.name, frechet.better, frechet.ranked, frechet.order) == ("frechet", "lower", True, (("A",), ("B",)))
    [pair] = recall.pairs
    assert (pair.first, pair.second, pair.how) == ("B", "A", "intervals") and pair.difference == pytest.approx(0.1)
    assert pair.interval == pytest.approx((0.1 - 0.01 * math.sqrt(2), 0.1 + 0.01 * math.sqrt(2)))


def test_what_a_row_says_of_its_direction_counts(tmp_path):
    rows = row("bound", 1.0, 0.1, better="lower"), row("bound", 2.0, 0.1, better="lower")
    runs = [measured(tmp_path, rows[0]), measured(tmp_path, rows[1], latent=5)]
    assert only(compare(runs)).order == (("A",), ("B",))


def test_a_metric_on_other_features_has_the_same_direction(tmp_path):
    runs = [measured(tmp_path, row("frechet/pixels", value, 0.1), latent=4 + value) for value in (2, 1)]
    assert only(compare(runs)).order == (("B",), ("A",))


def test_intervals_of_shares_combine_as_newcombe_has_it(tmp_path):
    """Newcombe 1998, table II (a): 56/70 and 48/80, method 10: 0.0524 to 0.3339."""
    runs = []
    for i, (hits, n) in enumerate([(56, 70), (48, 80)]):
        one = row("recall", hits / n) | {"interval": wilson(hits / n, n)}
        runs.append(measured(tmp_path, one, latent=4 + i))
    [pair] = only(compare(runs)).pairs
    assert pair.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_overlapping_intervals_may_still_be_clear_and_touching_ones_too_close(tmp_path):
    """The difference decides, not whether the intervals overlap: 1.0 +- 1 and 2.5 +- 1 overlap, yet 1.5 > sqrt(2)."""
    for i, (second, clear) in enumerate([(2.5, True), (2.4, False)]):
        runs = [measured(tmp_path / str(i), row("mse", v, 1.0), latent=4 + int(v)) for v in (1.0, second)]
        metric = only(compare(runs))
        assert metric.ranked == clear and metric.pairs[0].clear == clear
        assert metric.reason == (None if clear else "compare.not_clear")
        assert metric.order == ((("A",), ("B",)) if clear else (("A", "B"),))


def test_a_value_outside_its_interval_is_no_surer_for_it(tmp_path):
    """Bootstrap intervals of a Frechet distance may lie above its value: their width is taken to either side."""
    biased = row("frechet", 10.0) | {"interval": [10.5, 12.5]}
    runs = [measured(tmp_path, biased), measured(tmp_path, row("frechet", 10.6, 0.01), latent=5)]
    [pair] = only(compare(runs)).pairs
    assert not pair.clear and pair.interval == pytest.approx((-0.6 - math.hypot(1, 0.01), -0.6 + math.hypot(1, 0.01)))


def test_several_are_held_to_a_stricter_level_together(tmp_path):
    runs = [measured(tmp_path, row("mse", value, 1.0), latent=4 + i) for i, value in enumerate((0.0, 5.0, 6.6))]
    metric = only(compare(runs))
    stretch = stats.norm.ppf(1 - 0.05 / 6) / stats.norm.ppf(0.975)  # three pairs
    widths = {round((pair.interval[1] - pair.interval[0]) / 2, 9) for pair in metric.pairs}
    assert widths == {round(math.sqrt(2) * stretch, 9)}
    assert metric.order == (("A",), ("B", "C")) and not metric.ranked  # 1.6 is clear of sqrt(2), not of 1.22 sqrt(2)
    assert metric.fields["pairs"] == [["B", "C"]]


def test_a_chain_of_neighbours_that_cannot_be_told_apart_is_one_place(tmp_path):
    runs = [measured(tmp_path, row("mse", value, 1.0), latent=4 + i) for i, value in enumerate((2.6, 0.0, 1.3, 9.0))]
    metric = only(compare(runs))
    clear = {frozenset(pair[:2]) for pair in metric.pairs if pair.clear}
    assert frozenset("AB") in clear and metric.order == (("B", "C", "A"), ("D",))


# --- Image by image ---------------------------------------------------------------------------------------------------


def test_the_same_references_are_compared_image_by_image(tmp_path):
    """Errors that vary much from image to image and hardly from run to run: intervals alone could not tell."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, 1, 400)
    values = hard + rng.normal(0, 0.05, 400), hard + 0.03 + rng.normal(0, 0.05, 400)
    runs = [measured(tmp_path), measured(tmp_path, latent=5)]
    for run, errors in zip(runs, values, strict=True):
        half = 1.96 * errors.std() / 20
        with_images(run, "mse", errors, interval=[errors.mean() - half, errors.mean() + half])
    metric = only(compare(runs))
    [pair] = metric.pairs
    test = stats.ttest_rel(*values).confidence_interval(0.95)
    assert (pair.how, pair.n, metric.order) == ("paired", 400, (("A",), ("B",)))
    assert pair.interval == pytest.approx((test.low, test.high), rel=1e-5)
    for run in runs:  # without the files, by the intervals
        (run.folder / "evaluations/mse-000000064.npy").unlink()
    [pair] = only(compare(runs)).pairs
    assert pair.how == "intervals" and not pair.clear


def test_other_references_are_another_protocol(tmp_path):
    runs = [measured(tmp_path), measured(tmp_path, latent=5)]
    for i, run in enumerate(runs):
        with_images(run, "mse", np.arange(50.0) + 100 * i, references=f"r{i}", interval=[0, 1])
    metric = only(compare(runs))
    assert metric.reason == "compare.protocols_differ" and metric.order == ()
    assert metric.fields["differences"] == {"references": [("r0", ["A"]), ("r1", ["B"])]}


def test_equal_values_are_not_ranked(tmp_path):
    runs = [measured(tmp_path), measured(tmp_path, latent=5)]
    for run in runs:
        with_images(run, "mse", np.arange(50.0))
    metric = only(compare(runs))
    assert metric.pairs[0].interval == (0, 0) and metric.reason == "compare.not_clear"


@pytest.mark.parametrize("fault", ["mean", "nan", "shape", "type", "text", "object", "outside"])
def test_a_file_that_does_not_agree_with_its_row_is_a_problem(fault, tmp_path):
    runs = [measured(tmp_path), measured(tmp_path, latent=5)]
    for run in runs:
        with_images(run, "mse", np.arange(50.0))
    path = runs[1].folder / "evaluations/mse-000000064.npy"
    bad = {"mean": np.arange(50.0) + 1, "nan": np.full(50, np.nan), "shape": np.arange(50.0)[None]}
    bad |= {"type": np.arange(50, dtype=np.float32), "object": np.array([{}, 1], object)}
    if fault == "text":
        path.write_text("no array")
    elif fault == "outside":
        np.save(tmp_path / "elsewhere.npy", np.arange(50.0))
        elsewhere = row("mse", 24.5, per_image="../elsewhere.npy", protocol=PROTOCOL | {"references": "r1"})
        append(runs[1].folder / "evaluations.jsonl", elsewhere)
    else:
        np.save(path, bad[fault], allow_pickle=True)
    with pytest.raises(Problem) as problem:
        compare(runs)
    assert problem.value.key == "compare.per_image" and str(runs[1].folder) in str(problem.value)


# --- What is refused --------------------------------------------------------------------------------------------------


def test_another_protocol_is_named_with_both_values(tmp_path):
    other = {"samples": 2000, "weights": "shown", "nearest": {"k": 5}}
    runs = [measured(tmp_path, row("recall", 0.5, 0.01)), measured(tmp_path, row("recall", 0.9, 0.01), latent=5)]
    append(runs[1].folder / "evaluations.jsonl", row("recall", 0.9, 0.01, protocol=other, unit="other"))
    metric = only(compare(runs))
    assert not metric.ranked and metric.order == () and metric.reason == "compare.protocols_differ"
    assert metric.fields["differences"] == {
        "samples": [(1000, ["A"]), (2000, ["B"])],
        "seed": [(0, ["A"]), (None, ["B"])],
        "nearest.k": [(None, ["A"]), (5, ["B"])],
        "unit": [("units", ["A"]), ("other", ["B"])],
    }


def test_values_on_other_data_are_not_ranked(tmp_path):
    """The protocol does not say which data: the runs do, by their content."""
    runs = [measured(tmp_path, row("recall", 0.5, 0.01)), measured(tmp_path, row("recall", 0.9, 0.01), content="xyz")]
    metric = only(compare(runs))
    assert metric.fields["differences"] == {"data": [("nowhere (abcabcab)", ["A"]), ("nowhere (xyzxyzxy)", ["B"])]}


def test_without_an_interval_nothing_is_ranked(tmp_path):
    runs = [measured(tmp_path, row("modes", 25, 0.5)), measured(tmp_path, row("modes", 3), latent=5)]
    metric = only(compare(runs))
    assert (metric.ranked, metric.order, metric.reason) == (False, (), "compare.no_interval")
    assert metric.fields == {"labels": ["B"]}


def test_without_better_or_worse_nothing_is_ranked(tmp_path):
    runs = [measured(tmp_path, row("spread", value, 0.01), latent=4 + int(value)) for value in (1.0, 3.0)]
    metric = only(compare(runs))
    assert (metric.ranked, metric.better, metric.reason) == (False, None, "compare.no_direction")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_value_alone_is_not_ranked(value, tmp_path):
    runs = [measured(tmp_path, row("mse", 1.0, 0.1)), measured(tmp_path, row("mse", value), latent=5)]
    metric = only(compare(runs))
    assert metric.reason == "compare.alone" and metric.fields == {"labels": ["A"]} and set(metric.values) == {"A"}


# --- Seeds ------------------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_the_seed_alone_are_one_configuration(tmp_path):
    values = {4: [1.0, 1.2, 1.1], 5: [2.0, 2.2]}
    runs = [
        measured(tmp_path, row("mse", value, 0.001), latent=latent, seed=seed)
        for latent, several in values.items()
        for seed, value in enumerate(several)
    ]
    found = compare([runs[0], runs[3], *runs[1:3], runs[4]])
    assert [one.seeds for one in found.configurations] == [(0, 1, 2), (0, 1)]
    assert not any(one.one_seed for one in found.configurations)
    metric = only(found)
    for label, several in zip("AB", values.values(), strict=True):
        n, value = len(several), metric.values[label]
        expected = stats.t.interval(0.95, n - 1, np.mean(several), stats.sem(several))
        assert (value.value, value.spread, value.seeds) == pytest.approx((np.mean(several), np.std(several, ddof=1), n))
        assert value.interval == pytest.approx(expected, rel=1e-5)
    assert not metric.ranked  # two seeds say little: t is 12.7


def test_many_seeds_make_a_difference_clear_that_single_intervals_would_not_allow(tmp_path):
    rng = np.random.default_rng(1)
    runs = [
        measured(tmp_path, row("mse", float(latent + rng.normal(0, 0.1)), 5.0), latent=latent, seed=seed)
        for latent in (4, 5)
        for seed in range(6)
    ]
    assert only(compare(runs)).order == (("A",), ("B",))


def test_a_single_seed_is_marked_and_keeps_its_own_interval(tmp_path):
    runs = [measured(tmp_path, row("mse", 1.0, 0.1), seed=seed) for seed in (0, 1)]
    found = compare([*runs, measured(tmp_path, row("mse", 3.0, 0.1), latent=5)])
    assert [one.one_seed for one in found.configurations] == [False, True]
    value = only(found).values["B"]
    assert value.spread is None and value.interval == pytest.approx((2.9, 3.1))


def test_seeds_measured_in_different_ways_have_no_mean_to_rank(tmp_path):
    later = row("mse", 1.0, 0.1), row("recall", 0.5, 0.1)
    runs = [
        measured(tmp_path, row("mse", 1.0, 0.1, images=32), row("recall", 0.5, 0.1)),
        measured(tmp_path, *later, seed=1),
    ]
    found = compare([*runs, measured(tmp_path, *later, latent=5)])
    assert found.metrics[0].fields["differences"] == {"images": [(32, ["A"]), (64, ["A"])]}


def test_runs_trained_longer_are_another_configuration(tmp_path):
    runs = [measured(tmp_path, row("mse", 1.0, 0.1)), measured(tmp_path, row("mse", 1.0, 0.1, images=128), seed=1)]
    assert [one.images for one in compare(runs).configurations] == [64, 128]


def test_the_same_training_twice_is_a_problem(tmp_path):
    runs = [measured(tmp_path, row("mse", 1.0, 0.1)) for _ in range(2)]
    with pytest.raises(Problem) as problem:
        compare(runs)
    assert problem.value.key == "compare.same_training"


# --- What is asked for ------------------------------------------------------------------------------------------------


def test_the_newest_row_counts(tmp_path):
    runs = [measured(tmp_path, row("mse", 1.0, 0.1)), measured(tmp_path, row("mse", 5.0, 0.1), latent=5)]
    append(runs[0].folder / "evaluations.jsonl", row("mse", 9.0, 0.1))
    assert only(compare(runs)).order == (("B",), ("A",))


def test_some_metrics_in_the_order_asked(tmp_path):
    rows = row("mse", 1.0, 0.1), row("recall", 0.5, 0.1), row("kl", 1.0, 0.1)
    runs = [measured(tmp_path, *rows), measured(tmp_path, *rows, latent=5)]
    assert [metric.name for metric in compare(runs, ["kl", "mse", "kl"]).metrics] == ["kl", "mse"]
    with pytest.raises(Problem) as problem:
        compare(runs, ["kl", "nosuch"])
    assert problem.value.key == "compare.unknown_metric" and "recall" in str(problem.value)


def test_fewer_than_two_runs_or_none_measured(tmp_path):
    one = measured(tmp_path, row("mse", 1.0))
    for runs in ([one], [one, Run(tmp_path / "." / one.folder.name)], []):
        with pytest.raises(Problem) as problem:
            compare(runs)
        assert problem.value.key == "compare.too_few"
    with pytest.raises(Problem) as problem:
        compare([one, measured(tmp_path)])
    assert problem.value.key == "compare.no_evaluations"


# --- Statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 0.9995])
def test_students_quantile_is_scipys(level):
    for freedom in (*range(1, 40), 199, 200, 201, 1000, 9999):
        assert student(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=3e-6), freedom
