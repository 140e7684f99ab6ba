"""A run's life when things go wrong: nothing is lost, and what happened is said in one sentence."""

import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from latente import checkpoint
from latente.config import AutoencoderModel, AutoencoderObjective, Images, RunConfig, TrainingConfig, override
from latente.data.datasets import load
from latente.data.stream import Batch
from latente.messages import Problem
from latente.objectives import Terms
from latente.run import Run, open_run, runs
from latente.training import life, recorder, resume, train
from latente.training.adversarial import Adversarial
from latente.training.assemble import assemble
from latente.training.machine import locked
from latente.training.minimise import Minimise
from latente.training.probing import probe
from latente.training.resolve import resolve
from latente.training.state import TrainState
from toy import drawn, toy

resource = pytest.importorskip("resource")  # limits on a process' files: POSIX only

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_SAMPLES", 4)


def cut_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in the last of so many steps, counted from now."""
    step, taken = Minimise.__call__, 0

    def interrupted(self: Minimise, *arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == steps:
            signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(Minimise, "__call__", interrupted)


def interrupted_run(config: RunConfig, out: Path, steps: int = 4) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        cut_after(patch, steps)
        run = train(config, out=out)
    assert run.stopped() == "interrupted"
    return run


def kinds(run: Run) -> list[str]:
    return [row["kind"] for row in run.events()]


def raised(key: str, action: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as problem:
        action()
    assert problem.value.key == key, str(problem.value)
    assert "\n" not in str(problem.value)
    return problem.value


# ---- A run as it should be ------------------------------------------------------------------------------------------


def test_a_run_leaves_what_the_design_says(grey: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    run = train(
        toy("vae", grey),
        out=tmp_path,
        created=lambda run, dataset: heard.append(f"{run.folder.name} {len(dataset.train)} {len(dataset.test)}"),
        watch=lambda images, row: heard.append(f"{images} {'loss' in row}"),
    )
    assert heard[0] == "00000-vae-grey 46 2"
    assert heard[-1] == "64 True"
    assert {p.name for p in run.folder.iterdir()} == {
        *("config.json", "environment.json", "reals.png", "metrics.jsonl", "timing.jsonl", "events.jsonl"),
        *("samples", "reconstructions", "checkpoints", ".lock"),
    }
    assert [p.name for p in sorted((run.folder / "samples").iterdir())] == [
        "000000000.png",
        "000000032.png",
        "000000064.png",
    ]
    assert kinds(run)[0] == "start" and kinds(run)[-1] == "stop" and run.stopped() == "finished"
    assert [row["images"] for row in run.events() if row["kind"] == "checkpoint"] == [0, 24, 40, 64]
    assert [row["images"] for row in run.metrics() if "test/bound" in row] == [24, 40, 64]
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["threads"] == 1 and environment["device"] == "cpu"
    assert run.config == resolve(toy("vae", grey), load(toy("vae", grey).data), CPU)
    assert run.best() in (24, 40, 64)


def test_what_was_left_open_is_decided_and_written_down(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(grey.parent)
    (tmp_path / "caras").mkdir()
    config = replace(toy("vae", grey.name), training=TrainingConfig(images=Images(6000)))
    config = replace(
        config, optim=replace(config.optim, decay="cosine", decay_from=Images(1000), decay_images=Images(0))
    )
    found = resolve(config, load(config.data), CPU)
    t = found.training
    assert (t.sample_every, t.checkpoint_every, t.tick, t.probe_every) == (750, 1500, 100, 200)
    assert found.optim.decay_images == 5000
    assert found.data.source == str(grey.resolve())
    assert t.precision in ("float32", "bfloat16")
    assert resolve(found, load(found.data), CPU) == found  # nothing is left to decide
    tiny = resolve(replace(config, training=TrainingConfig(images=Images(1))), load(config.data), CPU).training
    assert min(tiny.sample_every, tiny.checkpoint_every, tiny.tick, tiny.probe_every) == 1


def test_the_seconds_of_a_probe_are_no_training_time(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only moves where the test says: a second a step, a thousand a probe."""
    now = 0.0

    def spends(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def longer(*arguments: Any, **more: Any) -> Any:
            nonlocal now
            now += seconds
            return work(*arguments, **more)

        return longer

    monkeypatch.setattr(recorder.time, "perf_counter", lambda: now)
    monkeypatch.setattr(Minimise, "__call__", spends(1, Minimise.__call__))
    monkeypatch.setattr("latente.training.assemble.probe", spends(1000, probe))
    run = train(toy("vae-mlp", grey), out=tmp_path)
    assert now == 8 + 4000
    assert [row["seconds"] for row in run.timing()] == [3, 3]


def test_the_measure_is_that_of_the_shown_network(grey: Path, tmp_path: Path) -> None:
    """test/mse of a row, again by hand from the checkpoint: the averaged network, mean over pixels in [0, 1]."""
    run = train(toy("ae-conv", grey), out=tmp_path)
    net = run.network(64)
    images = load(run.config.data).test.gather(np.arange(2)).float() / 255
    with torch.no_grad():
        again = (net.decode(net.encode(images * 2 - 1)) + 1) / 2
    measured = [row["test/mse"] for row in run.metrics() if "test/mse" in row][-1]
    assert measured == pytest.approx((again - images).square().mean().item(), rel=1e-4)


def test_a_prior_is_fitted_before_it_is_kept(grey: Path, tmp_path: Path) -> None:
    run = train(toy("ae-stacked", grey), out=tmp_path)
    net = run.network(64)
    codes = net.encode(load(run.config.data).train.gather(np.arange(46)).float() / 127.5 - 1)
    fresh = type(net.mixture)(4)
    fresh.fit(codes)
    assert torch.allclose(net.mixture.means, fresh.means, atol=1e-4) and net.mixture.means.abs().sum() > 0


def test_one_image_is_enough_to_train_on(tmp_path: Path) -> None:
    images = drawn(2, (1, 8, 8))[0]
    np.save(tmp_path / "two.npy", images.transpose(0, 2, 3, 1))
    run = train(toy("vae", tmp_path / "two.npy"), out=tmp_path / "runs")
    assert run.stopped() == "finished"


# ---- What a person can put right ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"images": Images(0)},
        {"batch": 0},
        {"accumulate": 0},
        {"accumulate": 9},
        {"seed": -1},
        {"device": "tpu"},
        {"device": "cuda:99"},
    ],
)
def test_times_and_devices_that_make_no_sense(grey: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        train(toy("vae", grey, **change), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()  # no half-made run is left


@pytest.mark.parametrize(
    "change", [{"lr": -1.0}, {"beta1": 1.0}, {"beta2": 2.0}, {"eps": -1e-8}, {"weight_decay": -1.0}, {"clip": -1.0}]
)
def test_optimizers_that_make_no_sense(grey: Path, tmp_path: Path, change: dict[str, float]) -> None:
    config = toy("vae", grey)
    with pytest.raises(Problem):
        train(replace(config, optim=replace(config.optim, **change)), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_networks_that_cannot_be_built_leave_no_run(grey: Path, unlabelled: Path, tmp_path: Path) -> None:
    kl = replace(toy("ae-sparse-kl", grey), model=AutoencoderModel(activation="relu", latent=4, hidden=(8,)))
    conv = AutoencoderModel(kind="conv", latent=4, hidden=(8,))
    contractive = replace(toy("ae-contractive", grey), model=conv)
    greedy = replace(toy("ae-greedy", grey), model=conv, objective=AutoencoderObjective(greedy_images=Images(8)))
    for config in (toy("vae conditional", unlabelled), kl, contractive, greedy):
        with pytest.raises(Problem):
            train(config, out=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()


def test_data_that_changed_are_noticed(tmp_path: Path) -> None:
    images = drawn(20, (1, 8, 8))[0].transpose(0, 2, 3, 1)
    np.save(tmp_path / "set.npy", images)
    run = interrupted_run(toy("vae", tmp_path / "set.npy"), tmp_path / "runs")
    before = (run.folder / "events.jsonl").read_bytes()
    np.save(tmp_path / "set.npy", images[::-1].copy() // 2)
    raised("train.data_changed", lambda: resume(run))
    assert (run.folder / "events.jsonl").read_bytes() == before
    np.save(tmp_path / "set.npy", images)  # brought back
    assert resume(run).stopped() == "finished"


def test_data_that_were_copied_are_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", drawn(20, (1, 8, 8))[0].transpose(0, 2, 3, 1))
    run = interrupted_run(toy("vae", tmp_path / "set.npy"), tmp_path / "runs")
    os.utime(tmp_path / "set.npy", (1, 1))
    assert resume(run).stopped() == "finished"


def test_data_that_moved_are_found_where_they_are_now(tmp_path: Path) -> None:
    images = drawn(20, (1, 8, 8))[0].transpose(0, 2, 3, 1)
    old, new, other = (tmp_path / name for name in ("old.npy", "new.npy", "other.npy"))
    np.save(old, images)
    np.save(other, images[::-1].copy() // 2)
    config = toy("vae", old)
    straight = train(config, out=tmp_path / "straight")
    run = interrupted_run(config, tmp_path / "runs")
    old.rename(new)
    raised("data.missing_path", lambda: resume(run))
    raised("train.data_changed", lambda: resume(run, data=str(other)))
    assert "moved" not in kinds(run)
    assert resume(run, data=str(new)).stopped() == "finished"
    assert run.config.data.source == str(new), "so that evaluating finds them too"
    assert run.metrics() == straight.metrics()


def test_a_run_that_is_done_says_so(grey: Path, tmp_path: Path) -> None:
    run = train(toy("vae-mlp", grey), out=tmp_path)
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    assert "64" in str(raised("train.already_there", lambda: resume(run)))
    raised("train.already_there", lambda: resume(run, images=32))
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == before


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    raised("run.no_run", lambda: open_run(tmp_path))


# ---- Checkpoints that are cut short ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["nets.safetensors", "averaged.safetensors", "optimizers.safetensors", "state.json"])
def test_a_checkpoint_cut_short_gives_way_to_the_one_before(grey: Path, tmp_path: Path, file: str) -> None:
    config = toy("vae", grey)
    straight = train(config, out=tmp_path / "straight")
    run = interrupted_run(config, tmp_path / "cut", steps=6)  # checkpoints at 0, 24, 40 and 48
    path = run.checkpoint(48) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert resume(run).stopped() == "finished"
    told = [row for row in run.events() if row["kind"] == "damaged"]
    assert [row["images"] for row in told] == [48] and "000000048" in told[0]["what"]
    assert [row["images"] for row in run.events() if row["kind"] == "resume"] == [40]
    assert (run.folder / "metrics.jsonl").read_bytes() == (straight.folder / "metrics.jsonl").read_bytes()
    one, two = (checkpoint.load(r.checkpoint(64))[0] for r in (straight, run))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_end_is_kept_although_a_damaged_one_bears_its_clock(grey: Path, tmp_path: Path) -> None:
    config = toy("vae", grey, images=Images(48))  # 48 is the end, and no checkpoint is due there
    run = train(config, out=tmp_path)
    assert run.checkpoints() == [0, 24, 40, 48]
    path = run.checkpoint(48) / "nets.safetensors"
    path.write_bytes(b"")
    (run.folder / "events.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in run.events() if row["kind"] != "stop")
    )
    resume(run)
    assert run.stopped() == "finished" and run.checkpoints()[-1] == 48
    checkpoint.load(run.checkpoint(48))


def test_all_checkpoints_cut_short(grey: Path, tmp_path: Path) -> None:
    run = interrupted_run(toy("vae-mlp", grey), tmp_path)
    for clock in run.checkpoints():
        (run.checkpoint(clock) / "state.json").write_text("{")
    raised("run.no_checkpoint", lambda: resume(run))
    raised("run.no_checkpoint", lambda: run.network())


def test_what_a_kill_left_half_written_is_ignored_and_removed(grey: Path, tmp_path: Path) -> None:
    run = interrupted_run(toy("vae-mlp", grey), tmp_path)
    aside = run.folder / "checkpoints" / ".000000040.4711"
    shutil.copytree(run.checkpoint(24), aside)
    (aside / "state.json").unlink()
    assert run.checkpoints() == [0, 24, 32]
    resume(run)
    assert not aside.exists() and run.stopped() == "finished"


def test_torn_records_are_mended(grey: Path, tmp_path: Path) -> None:
    config = toy("vae-mlp", grey)
    straight = train(config, out=tmp_path / "straight")
    run = interrupted_run(config, tmp_path / "cut")
    for name in ("metrics.jsonl", "timing.jsonl", "events.jsonl"):
        with (run.folder / name).open("a") as file:
            file.write('{"images": 32, "kind": "half", "lo')
    resume(run)
    assert run.stopped() == "finished"
    assert (run.folder / "metrics.jsonl").read_bytes() == (straight.folder / "metrics.jsonl").read_bytes()
    assert "half" not in kinds(run) and kinds(run).count("resume") == 1


# ---- Disks ----------------------------------------------------------------------------------------------------------


def full_after(monkeypatch: pytest.MonkeyPatch, writes: int, module: Any, name: str) -> None:
    write, done = getattr(module, name), 0

    def limited(*arguments: Any, **more: Any) -> Any:
        nonlocal done
        done += 1
        if done > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments, **more)

    monkeypatch.setattr(module, name, limited)


@pytest.mark.parametrize(
    ("module", "name", "writes"),
    [
        (os, "fsync", 7),  # inside the second checkpoint
        (life.run, "append", 4),
        (life.run, "append", 5),
        (recorder, "append", 0),
        (recorder, "append", 3),
        (life.pictures, "save", 0),
        (life.pictures, "save", 3),
        (life.run, "write", 1),
        (Path, "mkdir", 3),
    ],
)
def test_a_disk_that_fills_up(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, writes: int
) -> None:
    """One sentence; what was kept is intact; once there is room again the run goes on, and nothing half is left."""
    config = toy("vae-mlp", grey)
    straight = train(config, out=tmp_path / "straight")
    with monkeypatch.context() as patch:
        full_after(patch, writes, module, name)
        with pytest.raises(Problem) as problem:
            train(config, out=tmp_path / "full")
    assert "No space left" in str(problem.value) and "\n" not in str(problem.value)
    if not runs(tmp_path / "full"):
        return
    run = runs(tmp_path / "full")[0]
    for clock in run.checkpoints():
        checkpoint.load(run.checkpoint(clock))
    resume(run)
    assert (run.folder / "metrics.jsonl").read_bytes() == (straight.folder / "metrics.jsonl").read_bytes()
    assert not [p for p in run.folder.rglob(".*") if p.name != ".lock"]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Inside, the system itself cuts every file of this process at so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 5_000])
def test_a_first_write_that_the_system_refuses(grey: Path, tmp_path: Path, size: int) -> None:
    """In a record, and in the midst of the tensors."""
    with ExitStack() as stack:
        limit = lambda run, dataset: stack.enter_context(files_up_to(size))  # noqa: E731
        problem = raised("train.cannot_write", lambda: train(toy("vae", grey), out=tmp_path, created=limit))
    assert "File too large" in str(problem)
    run = runs(tmp_path)[0]
    assert run.checkpoints() == [] and not list(run.folder.glob("checkpoints/.*"))
    assert resume(run).stopped() == "finished"


def test_a_disk_that_fills_up_at_the_second_checkpoint(grey: Path, tmp_path: Path) -> None:
    run = interrupted_run(toy("vae", grey), tmp_path, steps=2)
    with files_up_to(5_000):
        problem = raised("train.cannot_write", lambda: resume(run))
    assert problem.fields["images"] == 16 and str(run.folder) in str(problem)
    assert run.checkpoints() == [0, 16]
    checkpoint.load(run.checkpoint(16))
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == ["000000000", "000000016"]
    assert resume(run).stopped() == "finished"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder here that refuses even root")
def test_a_place_where_nobody_can_write(grey: Path) -> None:
    raised("run.cannot_write", lambda: train(toy("vae", grey), out=Path("/proc/self/fdinfo/runs")))


def test_a_reader_that_goes_away_is_not_a_full_disk(grey: Path, tmp_path: Path) -> None:
    """`latente train ... | head`: whoever prints must hear of it."""

    def gone(run: Run, dataset: object) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(BrokenPipeError):
        train(toy("vae", grey), out=tmp_path, created=gone)


# ---- Numbers that are no longer finite ------------------------------------------------------------------------------


def spoiled(monkeypatch: pytest.MonkeyPatch, name: str, from_images: int, value: float = math.nan) -> None:
    """The term `name` of every family becomes `value` from some clock on."""
    step = Minimise.__call__

    def spoil(self: Minimise, state: Any, batch: Batch) -> Any:
        def terms(net: nn.Module, batch: Batch, images: int) -> Terms:
            found = self.terms(net, batch, images)
            if images >= from_images:
                for group in (found.per_image, found.batch):
                    if name in group:
                        group[name] = group[name] * value
            return found

        return step(replace(self, terms=terms), state, batch)

    monkeypatch.setattr(Minimise, "__call__", spoil)


def assert_last_good(run: Run, term: str, clock: int) -> None:
    stop = run.events()[-1]
    assert (stop["kind"], stop["reason"], stop["checkpoint"]) == ("stop", "non-finite", clock)
    assert stop["term"] == term and run.stopped() == "non-finite"
    assert run.checkpoints()[-1] == clock
    tensors, _ = checkpoint.load(run.checkpoint(clock))
    assert all(value.isfinite().all() for value in tensors.values())
    assert run.network().decode(torch.zeros(1, 4)).isfinite().all()
    text = (run.folder / "metrics.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize(
    ("preset", "term"), [("vae", "kl"), ("vae", "reconstruction"), ("iwae", "bound"), ("ae-sparse-kl", "sparsity")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, term: str, value: float
) -> None:
    spoiled(monkeypatch, term, from_images=40, value=value)
    run = train(toy(preset, grey), out=tmp_path)
    assert_last_good(run, term, 40)


@pytest.mark.parametrize("preset", ["vae", "ae-stacked", "ae-conv"])
@pytest.mark.parametrize("due", ["tick", "sample_every", "checkpoint_every", "none"])
def test_weights_that_are_not_finite_stop_the_run(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, due: str
) -> None:
    """Whatever comes first after the step that ruined them: a row, pictures, a checkpoint or the end."""
    times = {name: Images(1000) for name in ("tick", "sample_every", "checkpoint_every")}
    if due != "none":
        times[due] = Images(8)
    step = Minimise.__call__

    def ruin(self: Minimise, state: Any, batch: Batch) -> Any:
        metrics = step(self, state, batch)
        if state.images >= 16:
            with torch.no_grad():
                next(state.nets.parameters()).fill_(math.nan)
        return metrics

    monkeypatch.setattr(Minimise, "__call__", ruin)
    run = train(toy(preset, grey, **times), out=tmp_path)
    assert run.stopped() == "non-finite"
    for clock in run.checkpoints():
        tensors, _ = checkpoint.load(run.checkpoint(clock))
        assert all(value.isfinite().all() for value in tensors.values())
    assert run.checkpoints()[-1] == (16 if due == "checkpoint_every" else 0)
    text = (run.folder / "metrics.jsonl").read_text() if due in ("tick", "checkpoint_every") else ""
    assert "NaN" not in text
    assert found_faults(run) == ["divergence"]


def found_faults(run: Run) -> list[str]:
    return [row["what"] for row in run.events() if row["kind"] == "finding"]


@pytest.mark.parametrize("policy", ["warn", "treat"])
def test_weights_that_are_broken_before_the_first_picture_are_judged_too(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    def ruined(*arguments: Any) -> Any:
        assembly = assemble(*arguments)
        with torch.no_grad():
            next(assembly.state.nets.parameters()).fill_(math.nan)
        return assembly

    monkeypatch.setattr(life, "assemble", ruined)
    run = train(toy("vae", grey, on_finding=policy), out=tmp_path)
    assert (run.stopped(), run.checkpoints(), run.interventions()) == ("non-finite", [], [])
    assert found_faults(run) == ["divergence"]


def test_an_absurd_learning_rate(grey: Path, tmp_path: Path) -> None:
    config = toy("vae", grey)
    run = train(replace(config, optim=replace(config.optim, name="sgd", lr=1e20)), out=tmp_path)
    assert run.stopped() == "non-finite"
    assert run.network().decode(torch.zeros(1, 4)).isfinite().all()


def test_a_packed_critic_is_portrayed_too(tmp_path: Path) -> None:
    """It decides on several points: those beside each place are real ones."""
    config = toy("gan", "points:ring8", sample_every=Images(64))
    assert config.cure is not None
    run = train(replace(config, cure=replace(config.cure, packing=4)), out=tmp_path)
    assert run.stopped() == "finished"
    assert [path.stem for path in sorted((run.folder / "samples").glob("*.png"))] == ["000000000", "000000064"]


# ---- Starting from another run --------------------------------------------------------------------------------------


def test_starting_from_another_run(grey: Path, unlabelled: Path, tmp_path: Path) -> None:
    source = train(toy("ae-conv", grey), out=tmp_path / "source")
    run = train(toy("ae-conv", grey, seed=9), out=tmp_path / "runs", start_from=source)
    wanted = source.network().state_dict()
    for averaged in (True, False):
        begun = run.network(0, averaged=averaged).state_dict()
        assert all(torch.equal(begun[k], v) for k, v in wanted.items() if not k.startswith("mixture"))
    assert run.events()[0]["start_from"] == str(source.folder.resolve())
    assert checkpoint.load(run.checkpoint(0))[1]["images"] == 0  # its clock and its moments are its own


def test_a_run_from_another_one_survives_a_kill_before_its_first_checkpoint(grey: Path, tmp_path: Path) -> None:
    source = train(toy("ae-conv", grey), out=tmp_path / "source")
    straight = train(toy("ae-conv", grey), out=tmp_path / "straight", start_from=source)

    class Killed(BaseException):
        pass

    def kill(run: Run, dataset: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        train(toy("ae-conv", grey), out=tmp_path / "cut", start_from=source, created=kill)
    cut = resume(runs(tmp_path / "cut")[0])
    one, two = (checkpoint.load(r.checkpoint(64))[0] for r in (straight, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_that_does_not_fit_is_refused(grey: Path, unlabelled: Path, tmp_path: Path) -> None:
    source = train(toy("vae", grey), out=tmp_path / "source")
    wider = toy("vae", grey)
    others = ("vae-mlp", "ae-conv", "vae conditional", "dcgan")
    for config in (toy("vae", unlabelled), *(toy(name, grey) for name in others)):
        raised("train.from_mismatch", lambda config=config: train(config, out=tmp_path / "runs", start_from=source))
    wider = replace(wider, model=replace(wider.model, latent=5))
    problem = raised("train.from_mismatch", lambda: train(wider, out=tmp_path / "runs", start_from=source))
    assert problem.fields["n"] > 0
    assert not (tmp_path / "runs").exists()


# ---- Machines and signals -------------------------------------------------------------------------------------------


def test_elsewhere_it_goes_on_and_says_what_differs(grey: Path, tmp_path: Path) -> None:
    run = interrupted_run(toy("vae", grey, device="auto"), tmp_path)
    path = run.folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device": "cuda", "torch": "1.0", "threads": 2}))
    resume(run)
    resumed = [row for row in run.events() if row["kind"] == "resume"][-1]
    assert {"torch"} <= set(resumed["differs"]) <= {"torch", "device", "card"}
    assert ("device" in resumed["differs"]) is not torch.cuda.is_available()
    assert torch.get_num_threads() == 2  # as the run began


def test_here_nothing_differs(grey: Path, tmp_path: Path) -> None:
    run = resume(interrupted_run(toy("vae", grey), tmp_path))
    assert [row["differs"] for row in run.events() if row["kind"] == "resume"] == [[]]


def test_a_second_ctrl_c_does_not_wait(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    step = Minimise.__call__

    def twice(self: Minimise, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Minimise, "__call__", twice)
        with pytest.raises(KeyboardInterrupt):
            train(toy("vae-mlp", grey), out=tmp_path)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    run = runs(tmp_path)[0]
    assert run.stopped() is None and run.checkpoints() == [0]
    assert resume(run).stopped() == "finished"


def test_sigterm_stops_cleanly_too(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Minimise.__call__

    def asked(self: Minimise, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(Minimise, "__call__", asked)
    run = train(toy("vae-mlp", grey), out=tmp_path)
    assert run.stopped() == "interrupted" and run.checkpoints() == [0, 8]


def test_in_another_thread_no_signal_is_touched(grey: Path, tmp_path: Path) -> None:
    """A server trains in a thread; only the main one may take signals."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, toy("vae-mlp", grey), out=tmp_path).result().stopped() == "finished"


def test_the_wiring_refuses_what_does_not_belong_together(grey: Path) -> None:
    config = replace(toy("vae", grey), objective=AutoencoderObjective())
    with pytest.raises(AssertionError):
        assemble(config, load(config.data), CPU)


def test_one_process_a_run(grey: Path, tmp_path: Path) -> None:
    run = train(toy("vae-mlp", grey), out=tmp_path)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    with locked(run.folder), pytest.raises(Problem) as problem:
        resume(run, images=10_000)
    assert problem.value.key == "train.busy" and str(run.folder) in str(problem.value)
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before
    assert resume(run, images=run.checkpoints()[-1] + 1).stopped() == "finished", "the lock was let go"


def test_an_end_between_two_milestones_is_measured_and_then_forgotten(grey: Path, tmp_path: Path) -> None:
    config = toy("vae-mlp", grey)
    straight = train(config, out=tmp_path / "straight")
    short = replace(config, training=replace(config.training, images=Images(28)))
    run = train(short, out=tmp_path / "short")
    assert run.metrics()[-1].get("end") and run.metrics()[-1]["images"] == run.checkpoints()[-1]
    resume(run, images=int(config.training.images))
    assert (run.folder / "metrics.jsonl").read_bytes() == (straight.folder / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 8 TB")]
)
def test_too_little_memory_is_one_sentence(error: Exception, grey: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def step(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Minimise, "__call__", step)
    with pytest.raises(Problem) as problem:
        train(toy("vae-mlp", grey), out=tmp_path)
    assert problem.value.key == "train.no_memory" and "--training.batch" in str(problem.value)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("vae", {"model.latent": 0}),
        ("vae", {"model.width": 0}),
        ("vae", {"model.blocks": -1}),
        ("vae-mlp", {"model.hidden": (-5,)}),
        ("ae-denoising", {"objective.noise-level": 2.0}),
        ("ae-sparse-kl", {"objective.sparsity-target": 2.0}),
        ("ae-sparse-l1", {"objective.sparsity-weight": -1.0}),
        ("ae-hashing", {"model.hashing": -1.0}),
        ("vae", {"optim.beta1": 1.0}),
        ("vae", {"training.seed": -1}),
        ("vae", {"training.device": "cpu:x"}),
    ],
)
def test_a_number_that_means_nothing_is_refused(
    preset: str, changes: dict[str, Any], grey: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problem) as problem:
        train(override(toy(preset, grey), changes), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert str(next(iter(changes.values()))).strip("(),") in str(problem.value)


@pytest.mark.parametrize("halflife", [0, 16])
@pytest.mark.parametrize("name", ["ae-hashing", "vae", "dcgan", "r3gan", "classifier"])
def test_every_step_finds_its_networks_in_training_mode(
    name: str, halflife: int, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples, measurements and checkpoints need them in evaluation mode, and must not leave them so."""
    kind = Adversarial if name.endswith("gan") else Minimise
    step: Any = kind.__call__
    found = []

    def looked_at(self: Any, state: TrainState, batch: Batch) -> Any:
        found.append(all(module.training for module in state.nets.modules()))
        assert state.averaged is None or not any(module.training for module in state.averaged.children())
        return step(self, state, batch)

    monkeypatch.setattr(kind, "__call__", looked_at)
    often = {"sample_every": Images(16), "checkpoint_every": Images(24), "tick": Images(8)}
    run = train(toy(name, grey, ema_halflife=Images(halflife), **often), out=tmp_path)
    assert found == [True] * 8
    (run.folder / "metrics.jsonl").unlink()
    resume(run, images=80)
    assert found == [True] * 10
