"""A finding stops a run, sends it back, or sends it back with its remedy; whatever is killed on the way goes on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latente import checkpoint
from latente.cli import main
from latente.config import Images, override
from latente.diagnosis.findings import Finding
from latente.diagnosis.history import History
from latente.run import Run
from latente.training import acting, life, resume, train
from latente.training.resolve import lengths
from toy import drawn, toy

Judge = Callable[[History], list[Finding]]
FINE = Finding("healthy", "note", None, {}, 0.9)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_SAMPLES", 4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "toy.npz"
    images, labels = drawn(40, (1, 8, 8))
    np.savez(path, images=images, labels=labels)
    return path


def fault(what: str = "mode-collapse-full", since: int | None = None, **remedy: Any) -> Finding:
    settings = {name.replace("__", ".").replace("_", "-"): value for name, value in remedy.items()}
    return Finding(what, "fault", since, {}, 0.9, settings)


def wrong_once(monkeypatch: pytest.MonkeyPatch, finding: Finding, at: int = 48) -> None:
    """The first branch goes wrong at a clock; a branch that begins afterwards is fine."""

    def judge(history: History) -> list[Finding]:
        return [finding] if history.end >= at and not history.facts.get("branch") else [FINE]

    monkeypatch.setattr(life, "judge", judge)


def trained(source: Path, out: Path, policy: str, preset: str = "dcgan", **settings: Any) -> Run:
    changes = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
    config = override(toy(preset, source), {"training.on-finding": policy, **changes})
    return train(config, out=out)


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return checkpoint.load(run.checkpoint(run.checkpoints()[-1]))[0]


def same(one: Run, other: Run) -> None:
    assert one.checkpoints()[-1] == other.checkpoints()[-1]
    theirs = tensors(other)
    assert tensors(one).keys() == theirs.keys()
    for name, tensor in tensors(one).items():
        assert torch.equal(tensor, theirs[name]), name
    assert one.metrics() == other.metrics()


def test_a_warning_changes_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(source, tmp_path / "plain", "warn")
    wrong_once(monkeypatch, fault())
    heard: list[Finding] = []
    warned = train(toy("dcgan", source), out=tmp_path / "warned", heard=heard.append)
    same(plain, warned)
    assert [finding.what for finding in heard] == ["mode-collapse-full"]  # told once
    (row,) = [row for row in warned.events() if row["kind"] == "finding"]
    assert (row["images"], row["what"], row["branch"], row["confidence"]) == (48, "mode-collapse-full", 0, 0.9)


def test_a_run_goes_back_to_where_it_was_healthy(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_once(monkeypatch, fault(since=41))
    run = trained(source, tmp_path, "rollback")
    (row,) = run.interventions()
    assert (row["images"], row["to"], row["branch"], row["settings"]) == (48, 40, 1, {})
    assert row["finding"] == "mode-collapse-full"
    assert run.stopped() == "finished"
    assert run.checkpoints()[-1] == 64
    clocks = [(row["branch"], row["images"]) for row in run.metrics()]
    assert clocks == sorted(clocks), "nothing recorded is lost, and a branch follows the other"
    assert max(images for branch, images in clocks if branch == 0) == 48
    assert {branch for branch, _ in clocks} == {0, 1}
    line = [row["images"] for row in run.line()]
    assert line == sorted(line)
    assert not [row for row in run.line() if row["branch"] == 0 and row["images"] > 40]
    assert json.loads((run.checkpoint(64) / "state.json").read_text(encoding="utf-8"))["branch"] == 1


def test_the_dice_fall_otherwise_but_always_in_the_same_way(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = trained(source, tmp_path / "straight", "rollback")
    wrong_once(monkeypatch, fault())
    one, other = (trained(source, tmp_path / name, "rollback") for name in ("one", "other"))
    same(one, other)
    mine, theirs = tensors(one), tensors(straight)
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine if name.startswith("nets/generator"))


@pytest.mark.parametrize("preset", ["dcgan", "dcgan cured", "vae"])
def test_killed_while_it_goes_back(preset: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk at each event from the finding on: the end is bit for bit that of the run nobody killed."""
    wrong_once(monkeypatch, fault(since=30, optim__lr=1e-4, cure__replay=12) if preset == "dcgan" else fault(since=30))
    left: list[Path] = []
    record = Run.record_event

    def recorded(self: Run, kind: str, images: int, **facts: Any) -> None:
        record(self, kind, images, **facts)
        if kind in ("finding", "intervention", "checkpoint") and images >= 40 and self.folder.parent.name == "whole":
            left.append(tmp_path / f"cut{len(left)}" / self.folder.name)
            shutil.copytree(self.folder, left[-1])

    monkeypatch.setattr(Run, "record_event", recorded)
    whole = trained(source, tmp_path / "whole", "treat", preset)
    assert whole.branch() == 1
    assert len(left) >= 4
    for folder in left:
        if Run(folder).checkpoints()[-1] < 64 or Run(folder).branch() == 0:
            same(resume(Run(folder)), whole)


def test_a_remedy_is_in_force_from_there_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_once(monkeypatch, fault(since=20, cure__instance_noise=0.25))
    run = trained(source, tmp_path, "treat")
    (row,) = run.interventions()
    assert row["settings"] == {"cure.instance-noise": 0.25, "cure.instance-noise-images": 64}  # a ramp has a length
    assert run.config.cure is not None
    assert run.config.cure.instance_noise == 0.25
    assert run.tree["cure"]["instance_noise"] == 0.0  # what it was created with stays written
    gone_on = resume(run, images=80)
    assert gone_on.config.cure == run.config.cure
    assert gone_on.branch() == 1


def test_a_store_of_past_fakes_that_comes_late_is_filled_before_it_is_shown(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_once(monkeypatch, fault(since=40, cure__replay=8))
    run = trained(source, tmp_path, "treat")
    store = tensors(run)["memory/replay/images"]
    assert store.shape == (8, 1, 8, 8)
    assert (store.flatten(1).abs().sum(1) > 0).all()  # no slot is what it was made with


def test_a_remedy_that_needs_new_networks_is_not_taken(source: Path) -> None:
    config = toy("dcgan", source)
    assert acting.treatment(config, {"cure.spectral-norm": True}, [1, 8, 8]) == {}
    assert acting.treatment(config, {"optim.no-such": 1}, [1, 8, 8]) == {}
    assert acting.treatment(config, {"cure.label-smoothing": 7.0}, [1, 8, 8]) == {}  # out of bounds
    assert acting.treatment(config, {"optim.lr": 1e-5}, [1, 8, 8]) == {"optim.lr": 1e-5}


def test_a_finding_stops_a_run_and_who_resumes_it_wants_it_to_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_once(monkeypatch, fault())
    run = trained(source, tmp_path, "stop")
    stop = run.events()[-1]
    assert (run.stopped(), stop["images"], stop["finding"]) == ("finding", 48, "mode-collapse-full")
    assert run.checkpoints()[-1] == 48
    assert main(["resume", str(run.folder), "--lang", "en"]) == 0
    assert run.stopped() == "finished"
    assert run.checkpoints()[-1] == 64


@pytest.mark.parametrize("due", [16, 1000])  # noticed on the way; or at the end
def test_numbers_that_broke_are_gone_back_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: int
) -> None:
    def judge(history: History) -> list[Finding]:
        return [fault("divergence", optim__lr=1e-4)] if history.facts.get("stopped") == "non-finite" else [FINE]

    monkeypatch.setattr(life, "judge", judge)
    cadence = dict.fromkeys(("tick", "sample_every", "probe_every", "checkpoint_every"), Images(due))
    often = {f"training__{name}": value for name, value in cadence.items()}
    run = trained(source, tmp_path, "treat", "vae", optim__lr=1e30, **often)
    (row,) = run.interventions()
    assert (row["to"], row["finding"], row["settings"]) == (0, "divergence", {"optim.lr": 1e-4})
    assert run.stopped() == "finished"


def test_after_three_times_it_stops(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "judge", lambda history: [fault(since=10)] if history.end >= 32 else [FINE])
    run = trained(source, tmp_path, "rollback")
    assert run.branch() == acting.MOST
    assert run.stopped() == "finding"
    assert len(list((run.folder / "checkpoints").glob("abandoned-*"))) == acting.MOST


def test_a_doubtful_fault_is_neither_told_nor_acted_on_while_a_run_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_once(monkeypatch, replace(fault(), confidence=0.7))
    run = trained(source, tmp_path, "stop")
    assert run.stopped() == "finished"
    assert not [row for row in run.events() if row["kind"] == "finding"]
    assert 48 not in acting.healthy(run)  # but nobody goes back to it


def test_images_of_a_remedy_are_plain_numbers(source: Path) -> None:
    changed = acting.treatment(lengths(toy("vae", source)), {"objective.warmup": Images(16)}, [1, 8, 8])
    assert json.loads(json.dumps(changed)) == {"objective.warmup": 16}
