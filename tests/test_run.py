"""A run folder: numbered, opened or refused in one sentence, read even where a killed process left half a line."""

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latente import checkpoint, models, run
from latente.config import DataConfig, to_json
from latente.messages import Problem
from toy import toy

FACTS: dict[str, Any] = {"image_shape": [1, 8, 8], "classes": ["a", "b"], "key": "k"}


def made(out: Path, source: str = "caras") -> run.Run:
    return run.create(out, toy("vae", source), FACTS)


def saved(here: run.Run, clock: int, fill: float, averaged: bool = True) -> None:
    """A checkpoint whose weights are all `fill`, and whose averaged weights are all half of it."""
    net = models.build(here.config, (1, 8, 8), 2)["net"]
    weights = {name: torch.full_like(value, fill) for name, value in net.state_dict().items()}
    tensors = {f"nets/net.{name}": value for name, value in weights.items()}
    if averaged:
        tensors |= {f"averaged/net.{name}": value / 2 for name, value in weights.items()}
    checkpoint.save(here.checkpoint(clock), tensors, {"images": clock})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("caras", "00000-vae-caras"),
        ("/data/My Faces_2.zip", "00000-vae-my-faces-2"),
        ("../fashion_mnist", "00000-vae-fashion-mnist"),
        ("caras:no-glasses-with-beard", "00000-vae-caras-no-glasses-with-beard"),
        ("x" * 80, "00000-vae-" + "x" * 30),
    ],
)
def test_the_folder_says_what_it_is(tmp_path: Path, source: str, name: str) -> None:
    assert made(tmp_path / "deep" / "runs", source).folder.name == name


def test_folders_are_numbered_on(tmp_path: Path) -> None:
    (tmp_path / "00007-something-else").mkdir()
    (tmp_path / "notes").mkdir()
    numbers = [made(tmp_path).folder.name[:5] for _ in range(3)]
    assert numbers == ["00008", "00009", "00010"]
    assert [r.folder.name[:5] for r in run.runs(tmp_path)] == numbers  # the others are no runs
    assert run.runs(tmp_path / "nowhere") == []


def test_two_at_once_get_two_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = {here.folder for here in pool.map(lambda _: made(tmp_path), range(24))}
    assert len(folders) == 24 and len({folder.name[:5] for folder in folders}) == 24


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    config = toy("iwae", "somewhere", batch=4)
    here = run.open_run(run.create(tmp_path, config, FACTS).folder)
    assert here.config == config
    assert here.dataset == FACTS
    assert json.loads((here.folder / "config.json").read_text()) == json.loads(json.dumps(to_json(config))) | {
        "dataset": FACTS,
        "start_from": None,
    }


def refused(key: str, action: Any, *arguments: Any) -> None:
    with pytest.raises(Problem) as problem:
        action(*arguments)
    assert problem.value.key == key
    assert "\n" not in str(problem.value)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    refused("run.missing", run.open_run, tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    refused("run.missing", run.open_run, tmp_path / "file")
    for content in (None, "", "{", "[]", "3", "{}", '{"dataset": 3}', '{"dataset": {}}', "\0"):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        if content is not None:
            (folder / "config.json").write_text(content)
        refused("run.no_run", run.open_run, folder)
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    refused("run.no_run", run.open_run, folder)


def test_a_place_that_cannot_hold_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    refused("run.not_a_folder", made, tmp_path / "file")
    refused("run.not_a_folder", made, tmp_path / "file" / "runs")

    def denied(*args: object, **more: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "mkdir", denied)
    refused("run.cannot_write", made, tmp_path / "runs")


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    written = [{"images": 8, "loss": 0.1, "text": "año"}, {"images": 16, "nested": {"a": [1, 2.5e-300]}}]
    for row in written:
        run.append(path, row)
    assert list(run.rows(path)) == written
    assert list(run.rows(tmp_path / "none")) == []


@pytest.mark.parametrize("keep", range(1, 42))
def test_a_torn_line_is_passed_over_and_does_no_harm_later(tmp_path: Path, keep: int) -> None:
    """A full disk, or a kill, cuts the last row anywhere; the row after it must not be lost with it."""
    path = tmp_path / "events.jsonl"
    run.append(path, {"kind": "start", "images": 0})
    whole = path.read_bytes()
    row = json.dumps({"kind": "odd", "deep": {"a": {"b": 1}}, "x": 2}).encode()
    path.write_bytes(whole + row[:keep])
    assert list(run.rows(path)) == [{"kind": "start", "images": 0}]
    run.append(path, {"kind": "resume", "images": 8})
    assert list(run.rows(path)) == [{"kind": "start", "images": 0}, {"kind": "resume", "images": 8}]


def test_a_letter_cut_in_two_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    run.append(path, {"kind": "start", "images": 0})
    with path.open("ab") as file:
        file.write('{"kind": "left-out", "file": "ñ'.encode()[:-1])
    assert [row["kind"] for row in run.rows(path)] == ["start"]


def test_cut_drops_what_came_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for clock in (8, 16, 24):
        run.append(path, {"images": clock, "loss": 1 / 3})
    before = path.read_bytes()
    with path.open("a") as file:
        file.write('{"images": 9, "lo')
    run.cut(path, 24)
    assert path.read_bytes() == before  # to the byte
    run.cut(path, 16)
    assert path.read_bytes() == b"".join(before.splitlines(keepends=True)[:2])
    run.cut(path, 0)
    assert path.read_bytes() == b""
    run.cut(tmp_path / "none", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_how_a_run_ended(tmp_path: Path) -> None:
    here = made(tmp_path)
    assert here.stopped() is None
    here.record_event("start", 0, until=64)
    assert here.stopped() is None
    here.record_event("stop", 16, reason="interrupted")
    here.record_event("left-out", 16)
    assert here.stopped() == "interrupted"
    here.record_event("resume", 16, until=64)
    assert here.stopped() is None
    here.record_event("stop", 64, reason="finished")
    assert here.stopped() == "finished"


def test_checkpoints_are_listed_by_clock(tmp_path: Path) -> None:
    here = made(tmp_path)
    assert here.checkpoints() == []
    for clock in (128, 0, 1_000_000_000, 64):
        here.checkpoint(clock).mkdir(parents=True)
    (here.folder / "checkpoints" / ".000000256.123").mkdir()
    assert here.checkpoints() == [0, 64, 128, 1_000_000_000]


@pytest.mark.parametrize("measure", ["test/bound", "test/mse"])
def test_the_best_is_the_least_among_those_kept(tmp_path: Path, measure: str) -> None:
    here = made(tmp_path)
    assert here.best() is None
    for clock in (0, 16, 48):
        here.checkpoint(clock).mkdir(parents=True)
    for clock, value in ((16, 3.0), (32, 1.0), (48, 2.0), (64, 0.5)):
        other = {"test/mse": -value} if measure == "test/bound" else {}
        run.append(here.folder / "metrics.jsonl", {"images": clock, "loss": 0.0})
        run.append(here.folder / "metrics.jsonl", {"images": clock, **other, measure: value})
    assert here.measure() == measure
    assert here.best() == 48


def weights(net: torch.nn.Module) -> set[float]:
    return {value for tensor in net.state_dict().values() for value in tensor.flatten().tolist()}


def test_networks_are_loaded_by_clock_and_averaged_where_they_are(tmp_path: Path) -> None:
    here = made(tmp_path)
    refused("run.no_checkpoint", here.network)
    saved(here, 0, 1.0)
    saved(here, 16, 2.0)
    assert weights(here.network()) == {1.0}
    assert weights(here.network(averaged=False)) == {2.0}
    assert weights(here.network(0, averaged=False)) == {1.0}
    saved(here, 32, 4.0, averaged=False)
    net = here.network()
    assert weights(net) == {4.0}
    assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_no_older_checkpoint_passes_for_a_damaged_one(tmp_path: Path) -> None:
    here = made(tmp_path)
    saved(here, 0, 1.0)
    saved(here, 16, 2.0)
    path = here.checkpoint(16) / "nets.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    refused("run.damaged_checkpoint", here.network)
    refused("run.damaged_checkpoint", here.network, 16)
    refused("run.damaged_checkpoint", here.network, 8)
    assert weights(here.network(0, averaged=False)) == {1.0}
    path = here.checkpoint(0) / "nets.safetensors"
    shutil.rmtree(here.checkpoint(16))
    path.write_bytes(b"")
    refused("run.no_checkpoint", here.network)


def test_a_configuration_of_a_later_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    here = made(tmp_path)
    for section, key, value in (("model", "depth", 3), ("optim", "lr", "fast"), ("model", "family", "gan")):
        tree = json.loads((here.folder / "config.json").read_text())
        tree[section][key] = value
        changed = here.folder.with_name(f"00001-{section}-{key}")
        changed.mkdir()
        (changed / "config.json").write_text(json.dumps(tree))
        with pytest.raises(Problem):
            _ = run.open_run(changed).config


def test_a_run_can_be_read_without_torch(tmp_path: Path) -> None:
    """`latente runs` lists them before anything heavy is imported."""
    here = made(tmp_path)
    here.record_event("stop", 8, reason="finished")
    code = (
        "import sys; from latente.run import runs; from pathlib import Path; r = runs(Path(sys.argv[1]))[0];"
        "assert r.stopped() == 'finished' and r.config.preset == 'vae' and r.checkpoints() == [];"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_source_of_strange_letters_still_makes_a_folder(tmp_path: Path) -> None:
    config = replace(toy("vae"), data=DataConfig(source="/データ/顔.zip"))
    folder = run.create(tmp_path, config, FACTS).folder
    assert folder.is_dir() and folder.name.isascii() and not folder.name.endswith("-")
