"""Rows -> series: what a diagnosis reads of a run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from latente.config import override
from latente.diagnosis.history import History, Series, of_rows, of_run
from latente.presets import PRESETS
from latente.run import Run, append, create


def series(values: list[float]) -> Series:
    return Series(np.arange(1.0, len(values) + 1), np.array(values))


def run_with(tmp_path: Path, rows: list[dict], events: list[dict] = []) -> Run:  # noqa: B006
    config = override(PRESETS["dcgan"](), {"optim.lr": 3e-4})
    dataset = {"image_shape": [1, 8, 8], "classes": ["a", "b"], "class_counts": [30, 10], "train": 36, "kind": "npz"}
    run = create(tmp_path, config, dataset)
    for row in rows:
        append(run.folder / "metrics.jsonl", row)
    for row in events:
        append(run.folder / "events.jsonl", {"at": "2026-01-01T00:00:00+00:00", **row})
    return run


def test_a_run_is_its_columns_and_its_facts(tmp_path: Path) -> None:
    rows = [
        {"images": 64, "branch": 0, "critic/loss": 1.0, "critic/loss/sd": 0.1},
        {"images": 128, "branch": 0, "critic/loss": 0.5},
        {"images": 128, "branch": 0, "test/critic/real": 2.0},
    ]
    events = [{"kind": "start", "images": 0, "until": 640}, {"kind": "stop", "images": 128, "reason": "interrupted"}]
    run = run_with(tmp_path, rows, events)
    (run.folder / "samples").mkdir()
    (run.folder / "samples" / "000000128.png").touch()
    history = of_run(run)
    assert history.columns["critic/loss"].values.tolist() == [1.0, 0.5]
    assert history.columns["test/critic/real"].images.tolist() == [128]
    assert set(history.some("critic/")) == {"critic/loss"}, "spreads are no measurement of their own"
    facts = history.facts
    assert (facts["family"], facts["cost"], facts["kind"]) == ("dcgan", "non-saturating", "images")
    assert history.setting("optim.lr") == 3e-4 and history.setting("no.such", 7) == 7
    assert (facts["until"], facts["stopped"], facts["train"], facts["latent"]) == (640, "interrupted", 36, 100)
    assert facts["class_shares"] == [0.75, 0.25] and facts["pictures"] == [128]
    assert not history.over and history.end == 128 and history.begin == 64


def test_where_a_number_broke_is_a_fact(tmp_path: Path) -> None:
    stop = {"kind": "stop", "images": 96, "reason": "non-finite", "term": "critic/loss", "checkpoint": 64}
    facts = of_run(run_with(tmp_path, [{"images": 64, "critic/loss": 1.0}], [stop])).facts
    assert (facts["stopped"], facts["term"], facts["since"]) == ("non-finite", "critic/loss", 96)


def test_after_a_rollback_the_newest_line_counts(tmp_path: Path) -> None:
    old = [{"images": 100 * k, "branch": 0, "critic/loss": 1.0} for k in range(1, 7)]
    new = [{"images": 100 * k, "branch": 1, "critic/loss": 2.0} for k in range(4, 6)]
    went = {"kind": "intervention", "images": 600, "to": 300, "branch": 1, "settings": {"optim.lr": 1e-4}}
    went["finding"] = "mode-collapse-full"
    history = of_run(run_with(tmp_path, old + new, [went]))
    column = history.columns["critic/loss"]
    assert column.images.tolist() == [100, 200, 300, 400, 500]
    assert column.values.tolist() == [1, 1, 1, 2, 2]
    assert history.setting("optim.lr") == 1e-4, "the configuration in force"


def test_numbers_that_are_none_are_kept_and_words_are_not() -> None:
    rows = [{"step": 1, "a": float("nan"), "b": "x", "c": True}, {"step": 2, "a": 1, "a/sd": 2}]
    columns = of_rows(rows, "step")
    assert set(columns) == {"a", "a/sd"} and np.isnan(columns["a"].values[0])
    history = History(columns)
    assert len(history.get("a") or ()) == 1 and history.get("a", least=2) is None and history.get("b") is None


def test_of_two_values_at_one_time_the_later_stays() -> None:
    columns = of_rows([{"images": 1, "a": 1}, {"images": 2, "a": 2}, {"images": 2, "a": 3}])
    assert columns["a"].values.tolist() == [1, 3]


def test_a_training_is_over_at_its_end_or_when_nobody_knows() -> None:
    history = History({"loss": series([1, 2, 3])}, {"until": 100})
    assert not history.over
    assert replace(history, facts={"until": 3}).over and replace(history, facts={}).over
    assert replace(history, facts={"until": 100, "stopped": "finished"}).over
    empty = History({}, {})
    assert empty.end == empty.begin == 0


def test_series_after() -> None:
    assert series([5, 6, 7]).after(2).values.tolist() == [6, 7]
    assert json.dumps(series([1, float("inf")]).finite().values.tolist()) == "[1.0]"
