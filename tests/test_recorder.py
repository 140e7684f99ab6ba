"""The record: sums against numpy, a row a tick, torn lines, the name of what went wrong."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latente.run import Run
from latente.training.recorder import NonFinite, Recorder, accumulate, memory_mib, summary
from latente.training.state import TrainState


def state_with(weight: float = 1.0) -> TrainState:
    net = nn.Linear(2, 1)
    nn.init.constant_(net.weight, weight)
    return TrainState(nn.ModuleDict({"net": net}), {})


def recorder(folder: Path) -> Recorder:
    made = Recorder(Run(folder), lambda images, row: None)
    made.start(state_with())
    return made


def test_means_and_deviations_are_numpys() -> None:
    rng = np.random.default_rng(0)
    steps = [rng.normal(100, 0.1, n).astype(np.float32) for n in (8, 8, 5)]
    losses = rng.normal(size=3).astype(np.float32)
    totals: dict[str, Tensor] = {}
    for values, loss in zip(steps, losses, strict=True):
        accumulate(
            totals, {"mse": torch.from_numpy(values), "loss": torch.tensor(loss), "kl": torch.from_numpy(-values)}
        )
    row = summary(totals)
    every = np.concatenate(steps).astype(np.float64)
    assert row["mse"] == pytest.approx(every.mean(), rel=1e-12)
    assert row["mse/sd"] == pytest.approx(every.std(), rel=1e-6)
    assert row["kl"] == pytest.approx(-every.mean(), rel=1e-12)
    assert row["loss"] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-12)
    assert row["loss/sd"] == pytest.approx(losses.astype(np.float64).std(), rel=1e-9)


def test_a_term_may_come_late_and_stay_away() -> None:
    totals: dict[str, Tensor] = {}
    accumulate(totals, {"loss": torch.tensor(1.0)})
    accumulate(totals, {"loss": torch.tensor(3.0), "late": torch.tensor(5.0)})
    accumulate(totals, {"loss": torch.tensor(5.0)})
    assert summary(totals) == {"loss": 3.0, "loss/sd": pytest.approx(math.sqrt(8 / 3)), "late": 5.0, "late/sd": 0.0}


def test_a_tick_writes_a_row_and_begins_anew(tmp_path: Path) -> None:
    state, record = state_with(), recorder(tmp_path)
    for clock, value in ((8, 1.0), (16, 2.0), (24, 6.0)):
        state.images = clock
        record.add(state, {"loss": torch.tensor(value)})
        if clock >= 16:
            record.tick(state)
    rows = Run(tmp_path).metrics()
    assert rows == [
        {"images": 16, "branch": 0, "loss": 1.5, "loss/sd": 0.5},
        {"images": 24, "branch": 0, "loss": 6.0, "loss/sd": 0.0},
    ]
    timing = Run(tmp_path).timing()
    assert [row["images"] for row in timing] == [16, 24]
    assert all(row["seconds"] >= 0 for row in timing)
    assert state.totals == {}
    assert record.row["loss"] == 6.0  # what a progress bar shows


def test_a_checkpoint_inside_a_tick_keeps_its_sums(tmp_path: Path) -> None:
    state, record = state_with(), recorder(tmp_path)
    record.add(state, {"loss": torch.tensor(1.0)})
    tensors, plain = state.pack()
    again = state_with()
    again.unpack({**tensors, "nets/net.weight": again.nets["net"].weight}, {"optimizers": {}, **plain})
    record.add(again, {"loss": torch.tensor(3.0)})
    record.tick(again)
    assert Run(tmp_path).metrics()[0]["loss"] == 2.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("action", ["tick", "check"])
def test_the_term_that_went_wrong_is_named(tmp_path: Path, bad: float, action: str) -> None:
    """Not "loss", which every bad term takes along with it."""
    state, record = state_with(), recorder(tmp_path)
    state.images = 8
    kl = torch.zeros(4)
    kl[2] = bad
    record.add(state, {"loss": kl.mean(), "mse": torch.ones(4), "kl": kl})
    with pytest.raises(NonFinite) as found:
        getattr(record, action)(state)
    assert (found.value.term, found.value.images) == ("kl", 8)
    assert Run(tmp_path).metrics() == []


def test_the_loss_is_named_where_nothing_else_is_wrong(tmp_path: Path) -> None:
    state, record = state_with(), recorder(tmp_path)
    record.add(state, {"loss": torch.tensor(math.nan), "mse": torch.ones(4)})
    with pytest.raises(NonFinite) as found:
        record.tick(state)
    assert found.value.term == "loss"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_went_wrong_is_noticed(tmp_path: Path, bad: float) -> None:
    with pytest.raises(NonFinite) as found:
        recorder(tmp_path).check(state_with(bad))
    assert "weight" in found.value.term
    recorder(tmp_path).check(state_with(1.0))


def test_the_watcher_hears_of_progress(tmp_path: Path) -> None:
    heard: list[tuple[int, dict[str, Any]]] = []
    record = Recorder(Run(tmp_path), lambda images, row: heard.append((images, dict(row))))
    state = state_with()
    record.start(state)
    state.images = 8
    record.add(state, {"loss": torch.tensor(1.0)})
    assert heard == [(8, {})]


def test_pauses_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("latente.training.recorder.time.perf_counter", lambda: now)
    state, record = state_with(), recorder(tmp_path)
    now += 2
    go_on = record.pause()
    now += 50
    go_on()
    now += 2
    state.images = 400
    record.add(state, {"loss": torch.tensor(1.0)})
    record.tick(state)
    row = Run(tmp_path).timing()[0]
    assert row["seconds"] == 4 and row["images_per_second"] == 100


def test_rows_are_plain_json(tmp_path: Path) -> None:
    state, record = state_with(), recorder(tmp_path)
    record.add(state, {"loss": torch.tensor(0.1)})
    record.tick(state)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.endswith("}\n")
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_memory_is_about_what_a_process_with_torch_takes() -> None:
    most = memory_mib()
    assert most is None or 50 < most < 100_000
