"""A run that was killed at any moment and taken up again ends bit for bit where the run ends that was never stopped.

A kill is not simulated by an exception, which would let clean-up code run. While a run goes on its folder is copied at
moments drawn by chance, just before operations on files: each copy is what a kill -9 at that moment leaves behind.
Between two such operations nothing on the disk changes, so that they stand for every moment. (A file that is cut in its
midst is tested in test_life.py and test_run.py.)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latente import checkpoint
from latente.cli import main
from latente.config import Images
from latente.diagnosis import panel
from latente.run import Run, open_run, runs
from latente.training import life, resume, train
from latente.training.adversarial import Adversarial
from latente.training.minimise import Minimise
from toy import EVERY, drawn, toy

_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate"}
_listeners: list[Callable[[], None]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _OPERATIONS:
        for listener in tuple(_listeners):
            listener()


@pytest.fixture(scope="module", autouse=True)
def listening() -> None:
    """Python tells of every operation on files before it is done. The hook stays, but is heard only here."""
    if not getattr(sys, "_latente_hears", False):
        sys.addaudithook(_hear)
        sys._latente_hears = True  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures; and no waiting for the disk, which a kill does not need."""
    monkeypatch.setattr(life, "_SAMPLES", 4)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@dataclass
class Camera:
    """`keep` copies of a folder, each taken at a moment drawn uniformly from all the moments there were."""

    folder: Path
    album: Path
    keep: int
    rng: np.random.Generator
    moments: int = 0
    copies: list[Path] = field(default_factory=list)
    _busy: bool = False

    def __call__(self) -> None:
        if self._busy or not (any(self.folder.glob("*/config.json")) or (self.folder / "config.json").exists()):
            return  # there is no run yet, and nothing to resume
        self.moments += 1
        place = self.moments - 1 if self.moments <= self.keep else int(self.rng.integers(self.moments))
        if place >= self.keep:
            return
        self._busy = True
        copy = self.album / f"{place}-{self.moments}"
        shutil.copytree(self.folder, copy)
        self.copies = [c for c in self.copies if not c.name.startswith(f"{place}-")] + [copy]
        self._busy = False


@contextmanager
def watched(camera: Camera) -> Iterator[None]:
    _listeners.append(camera)
    try:
        yield
    finally:
        _listeners.remove(camera)


def disturb(seed: int) -> None:
    """What else goes on in a process that is not this one."""
    torch.manual_seed(seed)
    torch.rand(seed % 5)
    np.random.seed(seed % 2**32)


def last(run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return checkpoint.load(run.checkpoint(run.checkpoints()[-1]))


def assert_same_end(one: Run, two: Run) -> None:
    """Weights, averaged weights, moments, clock, record and pictures of the end."""
    assert two.stopped() == one.stopped() == "finished"
    (tensors, plain), (others, other_plain) = last(one), last(two)
    assert plain == other_plain
    kinds = {"nets", "optimizers"} | ({"averaged"} if one.config.training.ema_halflife else set())
    assert {name.partition("/")[0] for name in tensors} >= kinds
    assert tensors.keys() == others.keys()
    different = [name for name in tensors if not torch.equal(tensors[name], others[name])]
    assert different == []
    assert (one.folder / "metrics.jsonl").read_bytes() == (two.folder / "metrics.jsonl").read_bytes()
    for kind in ("samples", "reconstructions"):
        for picture in sorted((one.folder / kind).glob("*")):
            assert picture.read_bytes() == (two.folder / kind / picture.name).read_bytes(), picture.name


@pytest.mark.parametrize("name", EVERY)
def test_killed_at_any_moment(name: str, grey: Path, tmp_path: Path) -> None:
    """Two kills of the first process; what the second one left is killed once more when it is taken up."""
    rng = np.random.default_rng(EVERY.index(name))
    config = toy(name, grey)
    camera = Camera(tmp_path / "runs", tmp_path / "first", 2, rng)
    with watched(camera):
        straight = train(config, out=tmp_path / "runs")
    assert straight.stopped() == "finished"
    assert camera.moments > 50 and len(camera.copies) == 2
    ticks = [row["images"] for row in straight.metrics() if "loss" in row or "critic/loss" in row]
    assert ticks == [24, 48]  # not where checkpoints are
    probed = [row["images"] for row in straight.metrics() if any(name.startswith("probe/") for name in row)]
    assert probed == ([] if name.startswith("classifier") else [16, 32, 48, 64])  # nor all of these

    for i, copy in enumerate(camera.copies):
        cut = runs(copy)[0]
        for turn in range(1 + i):
            if cut.stopped() == "finished":  # killed at the very last
                break
            disturb(100 * i + turn)
            again = Camera(cut.folder, tmp_path / f"again-{i}-{turn}", 1, rng)
            with watched(again):
                resume(cut)
            assert cut.checkpoints() == straight.checkpoints()
            assert_same_end(straight, cut)
            cut = Run(again.copies[0])


@pytest.mark.parametrize("name", EVERY)
def test_stopped_by_ctrl_c_and_started_twice(
    name: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy(name, grey)
    disturb(1)
    straight = train(config, out=tmp_path / "straight")
    disturb(2)
    assert_same_end(straight, train(config, out=tmp_path / "twice"))

    rng = np.random.default_rng(EVERY.index(name))
    stops = [int(stop) for stop in sorted(rng.choice(np.arange(1, 8), 2, replace=False))]  # after so many steps in all
    kind = Adversarial if config.cure else Minimise
    step: Any = kind.__call__
    taken = 0

    def interrupted(self: Any, *arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken in stops:
            signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(kind, "__call__", interrupted)
    run = train(config, out=tmp_path / "stopped")
    for stop in stops:
        assert run.stopped() == "interrupted"
        assert run.checkpoints()[-1] == 8 * stop  # the step in hand is finished and kept
        disturb(stop)
        resume(run)
    assert taken == 8
    assert_same_end(straight, run)


def test_a_longer_end_changes_nothing_before(grey: Path, tmp_path: Path) -> None:
    """`resume --images` moves the stop alone: ramps, decays and intervals stay as they were written down."""
    config = toy("ae-greedy", grey)
    decay = replace(config.optim, decay="cosine", decay_images=Images(64))
    run = train(replace(config, optim=decay), out=tmp_path / "short")
    resume(run, images=96)
    whole = train(replace(toy("ae-greedy", grey, images=Images(96)), optim=decay), out=tmp_path / "whole")
    assert last(run)[1]["images"] == 96
    assert_same_end(whole, run)


@pytest.mark.parametrize("optimizer", ["adam", "nadam", "adagrad", "sgd"])
def test_every_optimizer_with_clipping_decay_and_accumulation(optimizer: str, grey: Path, tmp_path: Path) -> None:
    config = toy("vae", grey, accumulate=2)
    config = replace(config, optim=replace(config.optim, name=optimizer, clip=0.5, weight_decay=0.01, decay="linear"))
    camera = Camera(tmp_path / "runs", tmp_path / "copies", 2, np.random.default_rng(1))
    with watched(camera):
        straight = train(config, out=tmp_path / "runs")
    for copy in camera.copies:
        cut = runs(copy)[0]
        assert_same_end(straight, resume(cut) if cut.stopped() is None else cut)


@pytest.mark.parametrize("name", ["ae-denoising", "ae-hashing", "dcgan", "classifier"])
def test_without_averages(name: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks that learn are those that are shown: showing them must leave no trace."""
    config = toy(name, grey, ema_halflife=Images(0))
    camera = Camera(tmp_path / "runs", tmp_path / "copies", 2, np.random.default_rng(2))
    with watched(camera):
        straight = train(config, out=tmp_path / "runs")
    for copy in camera.copies:
        cut = runs(copy)[0]
        disturb(3)
        assert_same_end(straight, resume(cut) if cut.stopped() is None else cut)


def growing(grey: Path, **training: Any) -> Any:
    """From 4 to 8 pixels with everything on: fades from 24 to 56, whole from there; batches of 8, then of 4; lazy R1,
    adaptive augmentation, averages, Adam anew with the level. Steps end at 24, where the level appears, and at 40, in
    the middle of its fade."""
    config = toy("progan-r1 cured", grey, images=Images(88), **training)
    model = replace(config.model, hold_images=Images(24), fade_images=Images(32), batches=(8, 4))
    return replace(config, model=model)


@pytest.mark.parametrize("clock", [16, 24, 40, 56])
def test_growing_stopped_before_at_and_inside_a_fade(
    clock: int, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(growing(grey), out=tmp_path / "straight")
    step: Any = Adversarial.__call__
    clocks = []

    def interrupted(self: Any, state: Any, batch: Any) -> Any:
        clocks.append((state.images, len(batch.images)))
        if state.images + len(batch.images) == clock:
            signal.raise_signal(signal.SIGINT)
        return step(self, state, batch)

    monkeypatch.setattr(Adversarial, "__call__", interrupted)
    run = train(growing(grey), out=tmp_path / "stopped")
    assert run.stopped() == "interrupted" and run.checkpoints()[-1] == clock
    stage = checkpoint.load(run.checkpoint(clock))[0]["nets/generator.grown"].tolist()
    assert stage == {16: [0, 1], 24: [0, 1], 40: [1, 0.375], 56: [1, 0.875]}[clock]  # of the last step
    disturb(clock)
    resume(run)
    assert clocks == [*[(i, 8) for i in range(0, 24, 8)], *[(i, 4) for i in range(24, 88, 4)]]
    assert_same_end(straight, run)


def test_it_can_be_resumed_in_a_folder_of_another_name(grey: Path, tmp_path: Path) -> None:
    camera = Camera(tmp_path / "runs", tmp_path / "copies", 1, np.random.default_rng(0))
    with watched(camera):
        straight = train(toy("vae-mlp", grey), out=tmp_path / "runs")
    moved = tmp_path / "my favourite"
    shutil.copytree(runs(camera.copies[0])[0].folder, moved)
    assert_same_end(straight, resume(open_run(moved)))


@pytest.mark.parametrize("name", ["dcgan conditional", "vae", "ae-conv"])
def test_every_measurement_of_a_probe_is_repeated(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On images that are many and large enough for all of them."""
    monkeypatch.setattr(panel, "FAKES", 48)
    images, labels = drawn(600, (1, 16, 16))
    np.savez(tmp_path / "blobs.npz", images=images.transpose(0, 2, 3, 1), labels=labels)
    config = toy(name, tmp_path / "blobs.npz")
    camera = Camera(tmp_path / "runs", tmp_path / "copies", 2, np.random.default_rng(6))
    with watched(camera):
        straight = train(config, out=tmp_path / "runs")
    row = [row for row in straight.metrics() if any(name.startswith("probe/") for name in row)][-1]
    assert {"probe/copies", "probe/sharpness"} < row.keys()
    if config.cure:
        assert {"probe/turn/critic", "probe/critic/ahead", "probe/coverage", "probe/path/7"} < row.keys()
    for copy in camera.copies:
        cut = runs(copy)[0]
        disturb(7)
        assert_same_end(straight, resume(cut) if cut.stopped() is None else cut)


@pytest.mark.parametrize("name", ["dcgan cured", "vae"])
def test_a_checkpoint_from_before_there_were_probes(name: str, grey: Path, tmp_path: Path) -> None:
    """It knows of no probes, nor of what they keep, nor of the metrics that a step has since: it goes on all the same,
    to the same weights."""
    config = toy(name, grey)
    straight = train(config, out=tmp_path / "straight")
    camera = Camera(tmp_path / "runs", tmp_path / "copies", 1, np.random.default_rng(4))
    while not camera.copies or runs(camera.copies[0])[0].checkpoints()[-1:] in ([], [64]):
        with watched(camera):
            train(config, out=tmp_path / "runs")
    old = runs(camera.copies[0])[0]
    tree = json.loads((old.folder / "config.json").read_text())
    del tree["training"]["probe_every"]
    (old.folder / "config.json").write_text(json.dumps(tree))
    for clock in old.checkpoints():
        tensors, plain = checkpoint.load(old.checkpoint(clock))
        new = ("memory/probe/", "totals/critic/margin", "totals/critic/saturated")
        checkpoint.save(old.checkpoint(clock), {k: v for k, v in tensors.items() if not k.startswith(new)}, plain)
    assert resume(old).stopped() == "finished"
    one, two = last(straight)[0], last(old)[0]
    assert not any(name.startswith("memory/probe/") for name in two)
    learned = [name for name in two if name.partition("/")[0] in ("nets", "averaged", "optimizers")]
    assert len(learned) > 10 and all(torch.equal(one[name], two[name]) for name in learned)


def test_accumulation_is_close_but_another_run(grey: Path, tmp_path: Path) -> None:
    """Halves of a batch draw other noise than the whole; a loss without noise is the same up to rounding."""
    losses = {}
    for name in ("ae-stacked", "vae"):
        for accumulate in (1, 2):
            run = train(toy(name, grey, accumulate=accumulate), out=tmp_path)
            losses[name, accumulate] = [row["loss"] for row in run.metrics() if "loss" in row]
    assert losses["ae-stacked", 2] == pytest.approx(losses["ae-stacked", 1], rel=1e-4)
    assert losses["vae", 2] == pytest.approx(losses["vae", 1], rel=0.5)
    assert losses["vae", 2] != losses["vae", 1]


# ---- The real thing: processes, signals, the command line -----------------------------------------------------------


CURES = "--cure.replay 16 --cure.augment ada --objective.penalty r1 --objective.gamma 1 --objective.every 3"


def arguments(preset: str, grey: Path, out: Path) -> list[str]:
    small = "--model.latent 4 --model.width 4 --training.batch 8 --training.ema-halflife 16"
    small += f" {CURES}" if preset == "dcgan" else ""
    often = "--training.tick 24 --training.sample-every 400 --training.checkpoint-every 100"
    exact = "--training.precision float32 --device cpu"
    settings = f"{small} {often} {exact}".split()
    return ["train", preset, "--data", str(grey), "--images", "800", "--out", str(out), *settings]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("preset", ["vae", "dcgan"])
def test_a_process_killed_by_the_system(
    preset: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line: kill -9 at a moment that nobody chose, Ctrl-C at another, then to the end."""
    monkeypatch.setattr(life, "_SAMPLES", 64)  # as it is in the other process
    assert main(arguments(preset, grey, tmp_path / "straight")) == 0

    out = tmp_path / "cut"
    command = arguments(preset, grey, out)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    for clock, number, code in ((200, signal.SIGKILL, -9), (500, signal.SIGINT, 130)):
        with subprocess.Popen([sys.executable, "-m", "latente", *command], env=environment, **pipes) as process:
            while not runs(out) or max([row["images"] for row in runs(out)[0].metrics()], default=0) < clock:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.01)
            process.send_signal(number)
            printed = process.communicate()[0]
            assert process.returncode == code, printed
        cut = runs(out)[0]
        assert cut.stopped() == (None if number == signal.SIGKILL else "interrupted")
        command = ["resume", str(cut.folder)]
    assert main(command) == 0
    assert len(runs(out)) == 1
    assert_same_end(runs(tmp_path / "straight")[0], cut)
    kinds = [row["kind"] for row in cut.events()]
    assert [kind for kind in kinds if kind in ("start", "resume", "stop")] == ["start", *["resume", "stop"] * 2]
