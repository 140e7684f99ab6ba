"""`latente evaluate`: which metric applies to which run, what a row says, and who reads the images."""

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from latente import training
from latente.config import CureConfig, DataConfig, RunConfig
from latente.data.datasets import Dataset, ImageSet
from latente.data.points import parse
from latente.evaluation import equilibrium, measure, modes, stacked, subject
from latente.evaluation.equilibrium import Equilibrium
from latente.evaluation.subject import Subject, wilson
from latente.messages import Problem
from latente.presets import PRESETS, suited
from latente.run import Run, create, rows
from toy import toy

CONDITIONED = "dcgan conditional"


def on_points(source: str, **cure: Any) -> RunConfig:
    """A game of points with layers of 8 units and 64 images to learn from."""
    config = suited(PRESETS["r3gan"](), source)
    small = replace(config.model, hidden=(8,), critic_hidden=(8,))
    sparing = replace(toy("gan").training, sample_every=64, checkpoint_every=64, batch=16)
    config = replace(config, data=DataConfig(source=source), model=small, training=sparing)
    return replace(config, cure=CureConfig(**cure))


def bare(
    folder: Path, config: RunConfig, shape: tuple[int, int, int], classes: int = 0, clock: int | None = 64, **more: Any
) -> Run:
    """A run folder that was never trained, but for the name of a checkpoint."""
    facts = {"image_shape": list(shape), "classes": [str(label) for label in range(classes)], "source": "x"} | more
    run = create(folder, config, facts)
    if clock is not None:
        run.checkpoint(clock).mkdir(parents=True)
    return run


@pytest.fixture(scope="module")
def cached(shared_cache: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(shared_cache))
        yield


@pytest.fixture(scope="module")
def grid(cached: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A game of the 25 points that has hardly begun."""
    return training.train(on_points("points:grid25"), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def blobs(cached: None, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A toy gan of labelled images."""
    sparing = {"sample_every": 64, "checkpoint_every": 64}
    return training.train(toy("gan", grey, **sparing), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Few samples are enough to see how they are counted."""
    monkeypatch.setattr(modes, "SAMPLES", 600)
    monkeypatch.setattr(stacked, "SAMPLES", 600)
    return 600


def written(run: Run) -> list[dict[str, Any]]:
    return list(rows(run.folder / "evaluations.jsonl"))


# ---- Which metric applies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "shape", "classes", "names"),
    [
        (on_points("points:ring8"), (2, 1, 1), 0, {"modes"}),
        (on_points("points:spiral"), (2, 1, 1), 0, set()),
        (on_points("points:line"), (1, 1, 1), 0, {"modes", "equilibrium"}),
        (on_points("points:line", packing=2), (1, 1, 1), 0, {"modes"}),
        (on_points("points:line", minibatch_discrimination=3), (1, 1, 1), 0, {"modes"}),
        (on_points("points:line", minibatch_stddev=True), (1, 1, 1), 0, {"modes"}),
        (toy("dcgan", "stacked-mnist"), (3, 8, 8), 1000, {"modes"}),
        (toy("dcgan", "Stacked_MNIST"), (3, 8, 8), 1000, {"modes"}),
        (toy("dcgan", "stacked-mnist"), (1, 8, 8), 1000, set()),
        (toy("vae", "set.npz"), (1, 8, 8), 0, set()),
        (toy("vae", "set.npz"), (1, 8, 8), 1, set()),
        (toy("vae", "set.npz"), (1, 8, 8), 3, {"classes"}),
        (toy("ae-conv", "set.npz"), (1, 8, 8), 3, {"classes"}),
        (toy(CONDITIONED, "set.npz"), (1, 8, 8), 3, {"classes"}),
        (toy("classifier", "set.npz"), (1, 8, 8), 3, set()),
    ],
)
def test_what_applies_to_a_run(config: RunConfig, shape: Any, classes: int, names: set[str], tmp_path: Path) -> None:
    assert set(measure.applicable(bare(tmp_path, config, shape, classes))) == names


IMAGES = {"distances", "neighbours", "diversity", "copies", "path_length"}
VAE = {"reconstruction", "bound", "nll", "latents", "ais"}


@pytest.mark.parametrize(
    ("config", "shape", "classes", "names"),
    [
        (toy("vae", "set.npz"), (1, 8, 8), 0, IMAGES | VAE),
        (toy("vae-mlp", "set.npz"), (1, 8, 8), 3, IMAGES | VAE | {"classes"}),
        (toy("ae-conv", "set.npz"), (1, 8, 8), 0, IMAGES | {"reconstruction"}),
        (toy("gan", "set.npz"), (1, 8, 8), 0, IMAGES | {"parzen"}),
        (toy("dcgan", "set.npz"), (1, 8, 8), 0, IMAGES),
        (toy("dcgan", "stacked-mnist"), (3, 8, 8), 1000, IMAGES | {"modes"}),
        (toy("vae", "caras"), (3, 8, 8), 0, IMAGES | VAE | {"factors", "separability"}),
        (toy("dcgan", "caras:no-glasses-with-beard"), (3, 8, 8), 0, IMAGES | {"invention", "separability"}),
        (
            toy("vae", "caras:no-glasses-with-beard"),
            (3, 8, 8),
            0,
            IMAGES | VAE | {"factors", "invention", "separability"},
        ),
    ],
)
def test_what_applies_where_enough_is_held_out(
    config: RunConfig, shape: Any, classes: int, names: set[str], tmp_path: Path
) -> None:
    run = bare(tmp_path, config, shape, classes, test=measure.LEAST)
    assert set(measure.applicable(run)) == names
    slow = {"path_length", "separability"} | ({"ais"} if config.preset == "vae" else set())  # only through convolutions
    assert set(measure.slow(run)) == names & slow
    few = bare(tmp_path, config, shape, classes, test=measure.LEAST - 1)
    assert set(measure.applicable(few)) == names & {"classes", "modes"}


def test_whose_features_distances_are_taken_on(tmp_path: Path) -> None:
    run = bare(tmp_path, toy("vae", "set.npz"), (1, 8, 8), 3, test=100)
    assert measure.looks(run) == measure.looks(run, ("neighbours",)) == "set.npz"
    assert measure.looks(run, ("bound", "classes")) is None
    world = bare(tmp_path, toy("vae", "caras:no-glasses-with-beard"), (3, 8, 8), test=100)
    assert measure.looks(world) == measure.reader(world) == "caras", "one network reads all faces"
    assert measure.looks(bare(tmp_path, on_points("points:ring8"), (2, 1, 1), test=100)) is None


def test_what_cannot_be_measured_is_left_out_unless_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(subject: Subject) -> Any:
        raise Problem("disentanglement.needs_sklearn")

    def gone(subject: Subject) -> Any:
        raise Problem("train.data_changed", source="x", folder="y")

    run = bare(tmp_path, toy("vae", "caras"), (3, 8, 8))
    row = {"value": 1.0, "unit": "x", "protocol": {}}
    monkeypatch.setattr(measure, "applicable", lambda run: {"factors": without, "bound": lambda subject: {"elbo": row}})
    told: list[tuple[str, str]] = []
    found = measure.evaluate(run, leaving_out=lambda name, why: told.append((name, why.key)))
    assert found == {"elbo": row} and told == [("factors", "disentanglement.needs_sklearn")]
    with pytest.raises(Problem):
        measure.evaluate(run, ("factors",))
    monkeypatch.setattr(measure, "applicable", lambda run: {"bound": gone})
    with pytest.raises(Problem):
        measure.evaluate(run)


def test_a_line_with_two_latents_has_no_known_density(tmp_path: Path) -> None:
    config = on_points("points:line")
    wider = replace(config, model=replace(config.model, latent=2))
    assert set(measure.applicable(bare(tmp_path, wider, (1, 1, 1)))) == {"modes"}


def test_nothing_applies_before_the_first_checkpoint(tmp_path: Path) -> None:
    run = bare(tmp_path, on_points("points:ring8"), (2, 1, 1), clock=None)
    assert measure.applicable(run) == {} and measure.evaluate(run) == {}
    assert not (run.folder / "evaluations.jsonl").exists()


@pytest.mark.parametrize(("source", "shape", "read"), [("stacked-mnist", (3, 8, 8), "mnist"), ("a", (1, 8, 8), "a")])
def test_who_reads_the_images(source: str, shape: Any, read: str, tmp_path: Path) -> None:
    run = bare(tmp_path, toy("dcgan", source), shape, 3)
    assert measure.reader(run) == measure.reader(run, tuple(measure.applicable(run))) == read
    assert measure.reader(run, ("nosuch",)) is None
    assert measure.reader(bare(tmp_path, on_points("points:ring8"), (2, 1, 1))) is None
    faces = bare(tmp_path, toy("vae", "caras"), (3, 8, 8), test=100)
    assert measure.reader(faces) is None, "what is slow is measured only when asked for, and needs nobody before"
    assert measure.reader(faces, ("separability",)) == "caras"


def test_what_does_not_apply_is_a_problem_and_writes_nothing(tmp_path: Path) -> None:
    run = bare(tmp_path, on_points("points:ring8"), (2, 1, 1))
    with pytest.raises(Problem) as problem:
        measure.evaluate(run, ("modes", "classes"))
    assert problem.value.key == "evaluate.not_applicable"
    assert "classes" in str(problem.value) and "modes" in str(problem.value)
    assert written(run) == []


def test_a_classifier_is_asked_for(tmp_path: Path) -> None:
    for source, shape, named in (("stacked-mnist", (3, 8, 8), "mnist"), ("a.npz", (1, 8, 8), "a.npz")):
        with pytest.raises(Problem) as problem:
            measure.evaluate(bare(tmp_path, toy("dcgan", source), shape, 3))
        assert problem.value.key == "evaluate.needs_classifier" and named in str(problem.value)


# ---- Points ---------------------------------------------------------------------------------------------------------


def test_every_value_has_a_unit_and_a_protocol_and_a_row(grid: Run, few: int) -> None:
    before = len(written(grid))
    found = measure.evaluate(grid, seed=3)
    assert list(found) == ["modes", "high_quality", "spread", "kl"]
    for row in found.values():
        assert row["unit"] and isinstance(row["real"], int | float)
        assert row["protocol"]["weights"] == "shown"
        assert row["protocol"]["samples"] == few and row["protocol"]["seed"] == 3
    new = written(grid)[before:]
    assert [row["metric"] for row in new] == list(found)
    for row, (name, value) in zip(new, found.items(), strict=True):
        assert row.pop("images") == grid.checkpoints()[-1] == 64 and row.pop("at")
        assert row == {"metric": name, **value}


def test_the_same_seed_gives_the_same_values(grid: Run, few: int) -> None:
    def values(seed: int) -> Any:
        return [row["value"] for row in measure.evaluate(grid, seed=seed).values()]

    assert values(1) == values(1) != values(2)


def test_a_generator_as_good_as_the_world_itself(grid: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    world = parse("points:grid25")
    monkeypatch.setattr(Subject, "samples", lambda subject, n: world.sample(n, np.random.default_rng(subject.seed)))
    found = measure.evaluate(grid, ("modes",), seed=8)
    assert (found["modes"]["value"], found["modes"]["of"], found["modes"]["real"]) == (25, 25, 25)
    true = 1 - math.exp(-4.5)
    low, high = found["high_quality"]["interval"]
    assert found["high_quality"]["value"] == pytest.approx(true, abs=0.004)
    assert low < found["high_quality"]["value"] < high and low < true < high
    assert found["high_quality"]["real"] == pytest.approx(true, abs=0.004)
    assert found["spread"]["value"] == pytest.approx(1, abs=0.02)
    assert 0 < found["kl"]["value"] < 3 * 24 / 20_000


def test_a_generator_that_hits_nothing_has_no_spread(grid: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "samples", lambda subject, n: np.full((n, 2, 1, 1), 9.0, np.float32))
    found = measure.evaluate(grid)
    assert (found["modes"]["value"], found["high_quality"]["value"]) == (0, 0)
    assert found["spread"]["value"] is None and found["kl"]["value"] is None
    assert "NaN" not in json.dumps(found)


def test_what_is_left_of_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measures themselves are in test_equilibrium.py."""
    run = bare(tmp_path, on_points("points:line"), (1, 1, 1))
    known = Equilibrium(0.02, 0.001, 0.015, 0.1, 0.2, 0.3, 0.4)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(equilibrium, "of_run", lambda run, clock, seed: asked.append((clock, seed)) or known)
    found = measure.evaluate(run, ("equilibrium",), seed=6)
    assert asked == [(64, 6)] and set(found) == set(known._fields) - {"advantage_error"}
    assert {name: row["value"] for name, row in found.items()} == {name: getattr(known, name) for name in found}
    assert found["advantage"]["interval"] == pytest.approx([0.02 - 0.00196, 0.02 + 0.00196])
    assert {name for name, row in found.items() if row["unit"] == "nats"} == {"advantage", "jsd"}
    assert all(row["unit"] and row["protocol"]["seed"] == 6 for row in found.values())


# ---- Images that are read -------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """A run of the classifier family that reads the brightness of an image's first pixel, in `classes` steps."""

    shape: tuple[int, int, int]
    classes: int
    family: str = "classifier"
    folder: Path = Path("00007-reader")
    task: str = "labels"
    read: list[int] = field(default_factory=list)

    @property
    def config(self) -> Any:
        return SimpleNamespace(model=SimpleNamespace(family=self.family), objective=SimpleNamespace(task=self.task))

    @property
    def dataset(self) -> dict[str, Any]:
        return {"image_shape": list(self.shape), "classes": list(range(self.classes))}

    def network(self) -> Any:
        weights = {"last": torch.tensor([1.0, 2.0])}
        return SimpleNamespace(image_shape=self.shape, predict=self.predict, state_dict=lambda: weights)

    def predict(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[1:]) == self.shape
        self.read.append(len(x))
        return ((x[:, 0, 0, 0] + 1) / 2 * (self.classes - 1)).round().long()


def shown(digits: np.ndarray, classes: int) -> np.ndarray:
    """Classes [n, C] -> images [n, C, 8, 8] that `Reader` reads as these."""
    values = (digits / (classes - 1) * 2 - 1).astype(np.float32)
    return np.broadcast_to(values[:, :, None, None], (*digits.shape, 8, 8)).copy()


def test_shares_of_the_classes(blobs: Run, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.repeat([0, 1, 2], [100, 470, 30])
    monkeypatch.setattr(Subject, "samples", lambda subject, n: shown(labels[:, None], 3)[:n])
    reader = Reader((1, 8, 8), 3)
    found = measure.evaluate(blobs, classifier=reader)
    assert sum(reader.read) == few and max(reader.read) <= 500
    assert list(found["classes"]["shares"]) == blobs.dataset["classes"]
    assert list(found["classes"]["shares"].values()) == [100 / 600, 470 / 600, 30 / 600]
    assert found["classes"]["value"] == 0.05 and found["classes"]["interval"] == wilson(0.05, 600)
    counts = blobs.dataset["class_counts"]
    assert found["classes"]["real"] == min(counts) / 48 and sum(counts) == 48
    assert found["classes"]["protocol"]["classifier"] == "reader"


def test_a_class_that_is_missing_has_no_share(blobs: Run, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "samples", lambda subject, n: shown(np.zeros((n, 1)), 3))
    found = measure.evaluate(blobs, classifier=Reader((1, 8, 8), 3))
    assert found["classes"]["value"] == 0 and list(found["classes"]["shares"].values()) == [1, 0, 0]


@pytest.mark.parametrize(
    "reader",
    [
        Reader((1, 8, 8), 3, "vae"),
        Reader((3, 8, 8), 3),
        Reader((1, 9, 9), 3),
        Reader((1, 8, 8), 4),
        Reader((1, 8, 8), 3, task="rotations"),
    ],
)
def test_a_run_that_cannot_read_these_images(reader: Reader, blobs: Run, few: int) -> None:
    before = len(written(blobs))
    with pytest.raises(Problem) as problem:
        measure.evaluate(blobs, classifier=reader)
    assert problem.value.key == "evaluate.wrong_classifier" and "8x8x1" in str(problem.value)
    assert len(written(blobs)) == before


def test_stacks_are_counted_beside_real_ones(few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    made, real = rng.integers(0, 5, (few, 3)), rng.integers(0, 10, (1300, 3))
    labels = real @ [100, 10, 1]
    pixels = np.round((shown(real, 10) + 1) * 127.5).astype(np.uint8)
    held_out = ImageSet("test", pixels, labels, tuple(f"{i:03}" for i in range(1000)), None)
    facts = {"content": "c", "filter": "lanczos"}
    monkeypatch.setattr(subject, "load", lambda config: Dataset(held_out, held_out, facts, Path()))
    monkeypatch.setattr(Subject, "samples", lambda subject, n: shown(made, 10)[:n])
    run = bare(tmp_path, toy("dcgan", "stacked-mnist"), (3, 8, 8), 1000)
    found = measure.evaluate(run, classifier=Reader((1, 8, 8), 10))

    counts = np.bincount(made @ [100, 10, 1], minlength=1000)
    assert found["modes"]["value"] == (counts > 0).sum() <= 125
    assert found["modes_5"]["value"] == (counts >= 5).sum()
    assert found["kl"]["value"] == pytest.approx(stats.entropy(counts, np.ones(1000)))
    theirs = np.bincount(labels[:600], minlength=1000)  # as many real ones as samples
    assert found["modes"]["real"] == (theirs > 0).sum()
    assert found["modes_5"]["real"] == (theirs >= 5).sum()
    assert found["kl"]["real"] == pytest.approx(stats.entropy(theirs, np.ones(1000)))
    protocol = found["kl"]["protocol"]
    assert (protocol["samples"], protocol["of"], protocol["classifier"]) == (few, 1000, "reader")
