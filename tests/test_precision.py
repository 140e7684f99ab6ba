"""The choice of precision: asked once, kept, and never in the way."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latente.training import precision
from latente.training.precision import Precision

CPU = torch.device("cpu")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


class Clockwork:
    """Steps that take as long as they are told, on a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float) -> None:
        self.now, self.calls = 0.0, 0
        self.seconds = {"float32": float32, "bfloat16": bfloat16}
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def __call__(self, numbers: Precision) -> Callable[[], None]:
        self.now += 1000  # the making of a copy is not a part of the step

        def step() -> None:
            self.calls += 1
            self.now += self.seconds[numbers] * (10 if self.calls % 4 == 1 else 1)  # the first is always slow

        return step


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [(1.0, 0.5, "bfloat16"), (1.0, 0.9, "float32"), (1.0, 1.0, "float32"), (1, 2, "float32")],
)
def test_bfloat16_must_be_faster_by_a_margin(
    able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, chosen: str
) -> None:
    step = Clockwork(monkeypatch, float32, bfloat16)
    assert precision.choose(step, CPU, tmp_path / "deep" / "precision.json", "net") == chosen


def test_the_answer_is_kept_by_network(able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "precision.json"
    assert precision.choose(Clockwork(monkeypatch, 1.0, 0.5), CPU, cache, "one") == "bfloat16"
    slow = Clockwork(monkeypatch, 0.5, 1.0)
    assert precision.choose(slow, CPU, cache, "one") == "bfloat16" and slow.calls == 0
    assert precision.choose(slow, CPU, cache, "two") == "float32" and slow.calls > 0
    assert set(json.loads(cache.read_text()).values()) == {"bfloat16", "float32"}
    assert [p.name for p in tmp_path.iterdir()] == ["precision.json"]


def test_other_threads_are_another_machine(able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Clockwork(monkeypatch, 1.0, 0.5)
    precision.choose(step, CPU, tmp_path / "p.json", "net")
    asked = step.calls
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    precision.choose(step, CPU, tmp_path / "p.json", "net")
    assert step.calls == 2 * asked


@pytest.mark.parametrize("content", ["", "{", "\0\0", '{"x": '])
def test_a_torn_cache_is_no_obstacle(able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    cache = tmp_path / "precision.json"
    cache.write_text(content)
    assert precision.choose(Clockwork(monkeypatch, 1.0, 0.5), CPU, cache, "net") == "bfloat16"


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "precision.json"
    assert precision.choose(Clockwork(monkeypatch, 1.0, 0.5), CPU, cache, "net") == "bfloat16"


def test_nothing_is_timed_where_there_is_nothing_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(numbers: Precision) -> Callable[[], None]:
        pytest.fail("a step was made")

    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert precision.choose(never, CPU, tmp_path / "p.json", "net") == "float32"
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert precision.choose(never, torch.device("cuda"), tmp_path / "p.json", "net") == "bfloat16"
    assert list(tmp_path.iterdir()) == []


def test_what_the_processor_can() -> None:
    assert isinstance(precision.has_bfloat16(CPU), bool)
    assert not precision.has_bfloat16(torch.device("mps"))
    info = Path("/proc/cpuinfo")
    if info.exists():
        assert precision.has_bfloat16(CPU) == bool({"amx_bf16", "avx512_bf16", "bf16"} & set(info.read_text().split()))
    assert precision.processor()


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_context_computes_in_what_it_says(name: Precision, dtype: torch.dtype) -> None:
    context = precision.autocast(name, CPU)
    for _ in range(2):  # one context a step
        with context():
            assert torch.nn.Linear(4, 4)(torch.ones(2, 4)).dtype == dtype
    assert torch.nn.Linear(4, 4)(torch.ones(2, 4)).dtype == torch.float32
