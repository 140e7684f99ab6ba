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
from scipy.optimize import brentq
from torch import Tensor

from latente import training
from latente.cli import main
from latente.config import CureConfig, DataConfig, RunConfig
from latente.data.datasets import Dataset, ImageSet
from latente.data.points import parse
from latente.evaluation import measure
from latente.evaluation.equilibrium import Equilibrium
from latente.messages import LANGUAGES, Problem, catalogue
from latente.presets import PRESETS, suited
from latente.run import Run, create, rows
from latente.training import life
from toy import drawn, toy

CONDITIONED = "dcgan conditional"


def on_points(source: str, **cure: Any) -> RunConfig:
    """A game of points with layers of 8 units and 64 images to learn from."""
    config = suited(PRESETS["r3gan"](), source)
    small = replace(config.model, hidden=(8,), critic_hidden=(8,))
    sparing = replace(toy("gan").training, sample_every=64, checkpoint_every=64, batch=16)
    config = replace(config, data=DataConfig(source=source), model=small, training=sparing)
    return replace(config, cure=CureConfig(**cure))


def bare(folder: Path, config: RunConfig, shape: tuple[int, int, int], classes: int = 0, clock: int | None = 64) -> Run:
    """A run folder that was never trained, but for the name of a checkpoint."""
    facts = {"image_shape": list(shape), "classes": [str(label) for label in range(classes)], "source": "x"}
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
    monkeypatch.setattr(measure.modes, "SAMPLES", 600)
    monkeypatch.setattr(measure.stacked, "SAMPLES", 600)
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
        assert row["protocol"]["samples"] == few and row["protocol"]["seed"] == 3
    new = written(grid)[before:]
    assert [row["metric"] for row in new] == list(found)
    for row, (name, value) in zip(new, found.items(), strict=True):
        assert row.pop("images") == grid.checkpoints()[-1] == 64 and row.pop("at")
        assert row == {"metric": name, **value}


def test_the_same_seed_gives_the_same_values(grid: Run, few: int) -> None:
    def values(seed: int) -> Any:
        return [row["value"] for row in measure.evaluate(grid, seed=seed).values()]

    assert np.array_equal(measure.samples(grid, 700, 1), measure.samples(grid, 700, 1))
    assert not np.array_equal(measure.samples(grid, 700, 1), measure.samples(grid, 700, 2))
    assert values(1) == values(1) != values(2)


def test_samples_are_what_the_shown_generator_makes_of_its_prior(grid: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_AT_ONCE", 7)
    net = grid.network()
    expected = net.decode(net.prior(20, torch.Generator().manual_seed(4))).numpy()
    np.testing.assert_allclose(measure.samples(grid, 20, 4), expected, atol=1e-6)
    hidden = grid.network(averaged=False)
    assert not np.allclose(hidden.decode(hidden.prior(20, torch.Generator().manual_seed(4))).numpy(), expected)


def test_a_generator_as_good_as_the_world_itself(grid: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    world = parse("points:grid25")
    monkeypatch.setattr(measure, "samples", lambda run, n, seed: world.sample(n, np.random.default_rng(seed)))
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
    monkeypatch.setattr(measure, "samples", lambda run, n, seed: np.full((n, 2, 1, 1), 9.0, np.float32))
    found = measure.evaluate(grid)
    assert (found["modes"]["value"], found["high_quality"]["value"]) == (0, 0)
    assert found["spread"]["value"] is None and found["kl"]["value"] is None
    assert "NaN" not in json.dumps(found)


def test_what_is_left_of_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measures themselves are in test_equilibrium.py."""
    run = bare(tmp_path, on_points("points:line"), (1, 1, 1))
    known = Equilibrium(0.02, 0.001, 0.015, 0.1, 0.2, 0.3, 0.4)
    asked: list[int] = []
    monkeypatch.setattr(measure.equilibrium, "of_run", lambda run, seed: asked.append(seed) or known)
    found = measure.evaluate(run, ("equilibrium",), seed=6)
    assert asked == [6] and set(found) == set(known._fields) - {"advantage_error"}
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
    folder: Path = Path("reader")
    read: list[int] = field(default_factory=list)

    @property
    def config(self) -> Any:
        return SimpleNamespace(model=SimpleNamespace(family=self.family))

    @property
    def dataset(self) -> dict[str, Any]:
        return {"image_shape": list(self.shape), "classes": list(range(self.classes))}

    def network(self) -> Any:
        return SimpleNamespace(image_shape=self.shape, predict=self.predict)

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
    monkeypatch.setattr(measure, "samples", lambda run, n, seed: shown(labels[:, None], 3)[:n])
    reader = Reader((1, 8, 8), 3)
    found = measure.evaluate(blobs, classifier=reader)
    assert sum(reader.read) == few and max(reader.read) <= 500
    assert list(found["classes"]["shares"]) == blobs.dataset["classes"]
    assert list(found["classes"]["shares"].values()) == [100 / 600, 470 / 600, 30 / 600]
    assert found["classes"]["value"] == 0.05 and found["classes"]["interval"] == measure.wilson(0.05, 600)
    assert found["classes"]["protocol"]["classifier"] == "reader"


def test_a_class_that_is_missing_has_no_share(blobs: Run, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "samples", lambda run, n, seed: shown(np.zeros((n, 1)), 3))
    found = measure.evaluate(blobs, classifier=Reader((1, 8, 8), 3))
    assert found["classes"]["value"] == 0 and list(found["classes"]["shares"].values()) == [1, 0, 0]


@pytest.mark.parametrize(
    "reader", [Reader((1, 8, 8), 3, "vae"), Reader((3, 8, 8), 3), Reader((1, 9, 9), 3), Reader((1, 8, 8), 4)]
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
    monkeypatch.setattr(measure, "load", lambda config: Dataset(held_out, held_out, {}, Path()))
    monkeypatch.setattr(measure, "samples", lambda run, n, seed: shown(made, 10)[:n])
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


def test_a_conditional_generator_is_asked_for_all_labels_alike(cached: None, grey: Path, tmp_path: Path) -> None:
    run = training.train(toy(CONDITIONED, grey, images=8, sample_every=8, checkpoint_every=8), out=tmp_path)
    net = run.network()
    z = net.prior(10, torch.Generator().manual_seed(2))
    expected = net.decode(z, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])).numpy()
    np.testing.assert_allclose(measure.samples(run, 10, 2), expected, atol=1e-6)


# ---- Wilson's interval ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("good", "n"), [(1, 10), (5, 10), (9, 10), (300, 10_000), (9890, 10_000), (9_999, 10_000)])
def test_wilson_inverts_the_normal_test(good: int, n: int) -> None:
    """Its ends are the shares p that |share - p| / sqrt(p (1 - p) / n) = 1.96 just fails to reject."""
    share = good / n
    ends = [
        brentq(lambda p: (share - p) ** 2 * n - 1.96**2 * p * (1 - p), *side, xtol=1e-14)
        for side in ((0, share), (share, 1))
    ]
    assert measure.wilson(share, n) == pytest.approx(ends, abs=1e-10)
    known = stats.binomtest(good, n).proportion_ci(0.95, "wilson")
    assert measure.wilson(share, n) == pytest.approx([known.low, known.high], rel=1e-4)


@pytest.mark.parametrize("n", [1, 7, 600, 9_999, 10_000])
def test_wilson_stays_within_0_and_1(n: int) -> None:
    (low, high), (lower, higher) = measure.wilson(0.0, n), measure.wilson(1.0, n)
    assert low == pytest.approx(0, abs=1e-12) and higher == pytest.approx(1, abs=1e-12)
    assert low >= 0 and higher <= 1 and high == pytest.approx(1 - lower) == pytest.approx(1.96**2 / (n + 1.96**2))


# ---- The command ----------------------------------------------------------------------------------------------------


def test_every_row_has_its_words() -> None:
    names = {"modes", "high_quality", "spread", "kl", "modes_5", "classes"}
    names |= set(Equilibrium._fields) - {"advantage_error"}
    for language in LANGUAGES:
        units = {key.removeprefix("unit_") for key in catalogue(language, "evaluate") if key.startswith("unit_")}
        assert units == names


def test_json_is_one_object_and_nothing_else(grid: Run, few: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(grid.folder), "--metrics", "modes", "--seed", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err == ""
    assert json.loads(out) == json.loads(json.dumps(measure.evaluate(grid, seed=5)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_in_words(language: str, grid: Run, few: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(grid.folder), "--lang", language]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["modes", "high_quality", "spread", "kl"]
    texts = catalogue(language, "evaluate")
    assert all(line.endswith(texts[f"unit_{line.split()[0]}"]) for line in lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_mistakes_are_one_sentence(
    language: str, grid: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(written(grid))
    for words, named in (
        ([str(grid.folder), "--metrics", "nosuch"], "nosuch"),
        ([str(grid.folder), "--metrics", "modes,classes"], "classes"),
        ([str(grid.folder), "--seed", "-1"], "-1"),
        ([str(grid.folder), "--classifier", str(tmp_path / "none")], "none"),
        ([str(tmp_path / "missing")], "missing"),
        ([str(tmp_path)], str(tmp_path)),
        ([], "`latente evaluate`"),
    ):
        assert main(["evaluate", *words, "--json", "--lang", language]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("latente: ") and err.count("\n") == 1 and named in err
    assert len(written(grid)) == before


def test_a_run_that_nothing_applies_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(bare(tmp_path, on_points("points:spiral"), (2, 1, 1)).folder)
    assert main(["evaluate", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    assert main(["evaluate", folder]) == 0
    assert folder in capsys.readouterr().out


def test_a_run_that_cannot_be_written_to(grid: Run, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, row: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measure, "append", full)
    with pytest.raises(Problem) as problem:
        measure.evaluate(grid)
    assert problem.value.key == "evaluate.cannot_write" and "No space left" in str(problem.value)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """A cache of its own, and what classifiers were asked for there; they are trained at toy size."""
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    asked: list[RunConfig] = []
    real = training.train

    def train(config: RunConfig, *, out: Path, watch: Any) -> Run:
        asked.append(config)
        watch(config.training.images, {})  # a line of progress, which is no JSON
        small = toy("classifier", config.data.source, sample_every=64, checkpoint_every=64)
        return real(replace(small, data=config.data), out=out, watch=watch)

    monkeypatch.setattr(training, "train", train)
    return asked


def test_the_classifier_is_trained_once(
    blobs: Run, few: int, trained: list[RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for _ in range(2):
        assert main(["evaluate", str(blobs.folder), "--json"]) == 0
        out, err = capsys.readouterr()
        said.append(json.loads(out))
        assert (blobs.config.data.source in err) == (len(said) == 1), "the first time it says what it does"
    assert len(trained) == 1 and said[0] == said[1]
    assert trained[0] == replace(PRESETS["classifier"](), data=blobs.config.data)
    assert sum(said[0]["classes"]["shares"].values()) == pytest.approx(1)


def test_other_images_under_the_same_name_are_read_by_another_classifier(
    few: int, trained: list[RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set.npz"
    found = []
    for seed in (0, 1):
        images, labels = drawn(48, (1, 8, 8), seed)
        np.savez(path, images=images.transpose(0, 2, 3, 1), labels=labels)
        config = toy("gan", path, images=8, sample_every=8, checkpoint_every=8)
        run = life.train(config, out=tmp_path / "runs")
        assert main(["evaluate", str(run.folder), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["classes"]["protocol"]["classifier"])
    assert len(trained) == 2 and found[0] != found[1]


def test_a_classifier_that_was_interrupted_reads_nothing(
    blobs: Run, few: int, trained: list[RunConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(written(blobs))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stopped", lambda run: "interrupted")
        assert main(["evaluate", str(blobs.folder), "--json"]) == 130
    assert capsys.readouterr().out == "" and len(written(blobs)) == before


def test_a_classifier_of_ones_own(
    blobs: Run, few: int, trained: list[RunConfig], grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = life.train(toy("classifier", grey, sample_every=64, checkpoint_every=64), out=tmp_path)
    assert main(["evaluate", str(blobs.folder), "--json", "--classifier", str(own.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["protocol"]["classifier"] == own.folder.name
    assert trained == []
    assert main(["evaluate", str(blobs.folder), "--classifier", str(blobs.folder)]) == 2
    assert blobs.folder.name in capsys.readouterr().err
