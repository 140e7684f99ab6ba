"""The loop owns time, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from latente.data.stream import Batch, Stream
from latente.training.loop import fit
from latente.training.schedule import seed_at
from latente.training.state import Metrics, TrainState, averaged_copy
from toy import image_set


class Diary:
    """A step, a record and actions that write down what they were asked."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def step(self, state: TrainState, batch: Batch) -> Metrics:
        self.lines.append(("step", state.images, state.iteration, len(batch.images), torch.initial_seed()))
        self.batch = batch
        torch.rand(state.images % 7)  # a step may draw as often as it likes
        return {"loss": torch.tensor(float(state.images))}

    def record(self, state: TrainState, metrics: Metrics) -> None:
        self.lines.append(("record", state.images, metrics["loss"].item()))

    def action(self, name: str) -> Callable[[TrainState], None]:
        return lambda state: self.lines.append((name, state.images))


def shown(state: TrainState, diary: Diary, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "until": 32,
        "batch_at": lambda images: 8,
        "seed": 3,
        "ema_halflife": 0,
        "cadence": [],
        "record": diary.record,
    }
    fit(state, diary.step, Stream(image_set()), **settings | changes)


def empty() -> TrainState:
    return TrainState(nn.ModuleDict({"net": nn.Linear(1, 1)}), {})


def test_steps_are_counted_and_seeded_by_the_clock() -> None:
    state, diary = empty(), Diary()
    shown(state, diary)
    assert diary.lines[::2] == [("step", i, i // 8, 8, seed_at(3, 0, i)) for i in (0, 8, 16, 24)]
    assert diary.lines[1::2] == [("record", i + 8, float(i)) for i in (0, 8, 16, 24)]
    assert (state.images, state.iteration) == (32, 4)


def test_the_last_batch_is_never_cut_short() -> None:
    state, diary = empty(), Diary()
    shown(state, diary, until=33)
    assert state.images == 40 and {line[3] for line in diary.lines if line[0] == "step"} == {8}


def test_nothing_to_do() -> None:
    state, diary = empty(), Diary()
    state.images = 32
    shown(state, diary)
    assert diary.lines == []


def test_it_goes_on_where_the_clock_stands() -> None:
    straight, diary = empty(), Diary()
    shown(straight, diary)
    cut, second = empty(), Diary()
    shown(cut, second, until=16)
    torch.manual_seed(99)  # whatever happened in between
    shown(cut, second)
    assert second.lines == diary.lines
    assert torch.equal(second.batch.images, diary.batch.images)
    assert torch.equal(diary.batch.images, Stream(image_set()).take(24, 8).images)


def test_actions_come_when_due_in_their_order() -> None:
    diary = Diary()
    cadence = [
        (12, diary.action("tick")),
        (16, diary.action("sample")),
        (4, diary.action("often")),
        (0, diary.action("never")),
    ]
    shown(empty(), diary, cadence=cadence)
    seen = [line for line in diary.lines if line[0] not in ("step", "record")]
    assert seen == [
        ("often", 8),
        *[("tick", 16), ("sample", 16), ("often", 16)],
        *[("tick", 24), ("often", 24)],
        *[("sample", 32), ("often", 32)],
    ]


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_it_stops_between_steps_when_asked(patience: int) -> None:
    state, diary = empty(), Diary()
    answers = iter([False] * patience + [True])
    shown(state, diary, should_stop=lambda: next(answers), cadence=[(8, diary.action("tick"))])
    assert state.images == 8 * patience
    assert [line[0] for line in diary.lines] == ["step", "record", "tick"] * patience


def test_averages_move_after_the_clock_and_before_the_record() -> None:
    state = empty()
    state.averaged = averaged_copy(state.nets["net"], "net")
    with torch.no_grad():
        state.nets["net"].weight.fill_(1.0)
        state.averaged["net"].weight.fill_(0.0)
    seen = []
    diary = Diary()
    shown(
        state,
        diary,
        until=16,
        ema_halflife=1,
        record=lambda state, metrics: seen.append(state.averaged["net"].weight.item()),  # type: ignore[index, union-attr]
    )
    keep = [0.5 ** (8 / (0.05 * 8)), 0.5 ** (8 / (0.05 * 16))]
    assert seen == pytest.approx([1 - keep[0], 1 - keep[0] * keep[1]], rel=1e-6)
