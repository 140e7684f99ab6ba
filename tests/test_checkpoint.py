"""Checkpoints: whole or not at all, checked when read, thinned out."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latente import checkpoint


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "nets/net.weight": torch.randn(4, 3, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last),
        "nets/net.count": torch.tensor(7),
        "nets/net.half": torch.randn(5, generator=generator).bfloat16(),
        "averaged/net.weight": torch.randn(4, 6, generator=generator).t(),
        "optimizers/net/weight/step": torch.tensor(3.0),
        "totals/loss": torch.tensor([1.0, 1e-300, 1e300], dtype=torch.float64),
    }


PLAIN: dict[str, Any] = {"images": 128, "iteration": 16, "optimizers": {"net": {"a/b": 0.1}}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "000000128"
    checkpoint.save(folder, tensors(), PLAIN)
    loaded, plain = checkpoint.load(folder)
    assert plain == PLAIN
    assert loaded.keys() == tensors().keys()
    for name, value in tensors().items():
        assert loaded[name].dtype == value.dtype and torch.equal(loaded[name], value), name
    assert [p.name for p in folder.parent.iterdir()] == ["000000128"]  # nothing is left aside


def test_no_pickle_is_written(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "0", tensors(), PLAIN)
    assert {p.suffix for p in (tmp_path / "0").iterdir()} == {".safetensors", ".json"}
    json.loads((tmp_path / "0" / "state.json").read_text())


def test_saving_does_not_change_what_is_saved(tmp_path: Path) -> None:
    given_plain = dict(PLAIN)
    checkpoint.save(tmp_path / "0", tensors(), given_plain)
    assert given_plain == PLAIN


def test_the_same_clock_twice(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "8", tensors(), PLAIN)
    checkpoint.save(tmp_path / "8", {"nets/x": torch.ones(2)}, {"images": 8})
    loaded, plain = checkpoint.load(tmp_path / "8")
    assert list(loaded) == ["nets/x"] and plain == {"images": 8}


FILES = ["nets.safetensors", "averaged.safetensors", "optimizers.safetensors", "totals.safetensors", "state.json"]


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name in FILES for how in ("half", "empty", "gone", "longer", "one bit")][
        :-1
    ],  # a digit of state.json
)  # may change unseen: it holds the checksums of the others
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str, how: str) -> None:
    checkpoint.save(tmp_path / "8", tensors(), PLAIN)
    path = tmp_path / "8" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    damaged = {
        "half": content[: len(content) // 2],
        "empty": b"",
        "longer": content + b"x",
        "one bit": content,
        "gone": b"",
    }
    path.write_bytes(damaged[how])
    if how == "gone":
        path.unlink()
    with pytest.raises(checkpoint.Damaged):
        checkpoint.load(tmp_path / "8")


@pytest.mark.parametrize("content", ["{}", '{"images": 8, "files": {"nets.safetensors": "crc32:0:0"}}', "\0\0\0\0"])
def test_a_strange_state_is_damage(tmp_path: Path, content: str) -> None:
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "state.json").write_text(content)
    with pytest.raises(checkpoint.Damaged):
        checkpoint.load(tmp_path / "8")


def test_a_checkpoint_that_is_no_folder_is_damage(tmp_path: Path) -> None:
    (tmp_path / "8").write_text("not a folder")
    for name in ("8", "16"):
        with pytest.raises(checkpoint.Damaged):
            checkpoint.load(tmp_path / name)


@pytest.mark.parametrize("failing", ["rename", "mkdir", "fsync"])
def test_a_failure_leaves_the_old_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    checkpoint.save(tmp_path / "8", tensors(), PLAIN)

    def fail(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(tmp_path / "16", tensors(), PLAIN)
    assert [p.name for p in tmp_path.iterdir()] == ["8"]
    checkpoint.load(tmp_path / "8")


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "_to_disk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "8", tensors(), PLAIN)
    assert list(tmp_path.iterdir()) == []


def make(folder: Path, clocks: list[int]) -> None:
    for clock in clocks:
        (folder / f"{clock:09d}").mkdir(parents=True)


def left(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    make(tmp_path, [0, 8])
    (tmp_path / ".000000016.4711").mkdir()
    (tmp_path / ".000000016.4711" / "nets.safetensors").write_bytes(b"half")
    checkpoint.prune(tmp_path, [0, 8], None)
    assert left(tmp_path) == [0, 8]


def test_other_peoples_files_do_no_harm(tmp_path: Path) -> None:
    make(tmp_path, [0, 8])
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.prune(tmp_path, [0, 8], None)
    assert (tmp_path / "notes.txt").exists()


def test_a_long_run_keeps_a_sparse_series(tmp_path: Path) -> None:
    clocks = [0]
    make(tmp_path, clocks)
    best = 3 * 64
    for clock in range(64, 64 * 100 + 1, 64):
        make(tmp_path, [clock])
        clocks = left(tmp_path)
        checkpoint.prune(tmp_path, clocks, best if clock >= best else None)
    kept = left(tmp_path)
    assert {0, best, 6336, 6400} <= set(kept)
    assert [64, 4032] == [k for k in kept if k in (64, 4032)]  # the last below 128 and below 4096
    assert len(kept) <= 4 + 8


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True), st.data())
def test_pruning_keeps_what_it_must(clocks: list[int], data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    clocks.sort()
    best = data.draw(st.sampled_from([*clocks, None]))
    make(folder, clocks)
    checkpoint.prune(folder, clocks, best)
    kept = left(folder)
    assert set(kept) <= set(clocks)
    assert {clocks[0], *clocks[-2:], *([best] if best is not None else [])} <= set(kept)
    assert len(kept) <= 4 + 20  # one for each doubling up to a million
    checkpoint.prune(folder, kept, best)
    assert left(folder) == kept  # pruning again changes nothing
    shutil.rmtree(folder)
