"""The verb `evaluate`: what it says, what it refuses, and the networks that it keeps in the cache."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from latente import cli_measure, training
from latente.cli import main
from latente.config import RunConfig
from latente.evaluation import measure, modes
from latente.evaluation.equilibrium import Equilibrium
from latente.evaluation.selfcheck import Check
from latente.messages import LANGUAGES, Problem, catalogue, set_language
from latente.presets import PRESETS
from latente.run import Run, rows
from latente.training import life
from test_measure import bare, on_points
from test_subject import beside
from toy import drawn, toy


@pytest.fixture(scope="module")
def grid(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A game of the 25 points that has hardly begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(shared_cache))
        return training.train(on_points("points:grid25"), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def blobs(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A toy gan of labelled images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(shared_cache))
        small = toy("gan", grey, sample_every=64, checkpoint_every=64)
        return training.train(small, out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Few samples are enough to see how they are counted."""
    monkeypatch.setattr(modes, "SAMPLES", 600)
    return 600


def written(run: Run) -> list[dict[str, Any]]:
    return list(rows(run.folder / "evaluations.jsonl"))


# ---- What is said ---------------------------------------------------------------------------------------------------


def test_every_row_has_its_words() -> None:
    names = {"modes", "high_quality", "spread", "kl", "modes_5", "classes", "frechet", "kernel", "precision", "recall"}
    names |= {"density", "coverage", "ms_ssim", "copies", "parzen", "invention", "mse", "elbo", "nll", "ais", "active"}
    names |= {"bits_per_dimension", "information", "gap"}
    names |= {f"path_{space}_{part}" for space in "zw" for part in ("full", "end")} | {
        "separability_z",
        "separability_w",
    }
    names |= {"mig", "sap", "disentanglement", "completeness", "informativeness"}
    names |= set(Equilibrium._fields) - {"advantage_error"}
    for language in LANGUAGES:
        units = {key.removeprefix("unit_") for key in catalogue(language, "evaluate") if key.startswith("unit_")}
        assert units == names


def test_json_is_one_object_and_nothing_else(grid: Run, few: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(grid.folder), "--metrics", "modes", "--seed", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "modes" in err
    assert json.loads(out) == json.loads(json.dumps(measure.evaluate(grid, seed=5)))


def test_a_remark_on_several_metrics_is_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = {name: {"value": 1.0, "remark": "Only beside it."} for name in ("path_z_full", "path_w_full")}
    Console(width=60).print(cli_measure._notes(Run(tmp_path / "r"), found))
    out = capsys.readouterr().out
    assert out.count("Only beside it.") == 1 and "path_z_full" in out and "path_w_full" in out


@pytest.mark.parametrize("language", LANGUAGES)
def test_features_that_nobody_looks_through_are_said(
    language: str, grid: Run, few: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counting modes needs no network; one that was asked for all the same is not passed over in silence."""
    words = ["evaluate", str(grid.folder), "--metrics", "modes", "--lang", language]
    assert main([*words, "--features", "weights.safetensors"]) == 0
    assert "--features weights.safetensors" in capsys.readouterr().err
    assert main(words) == 0
    assert "--features" not in capsys.readouterr().err


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [80, 100])
def test_values_in_words(
    language: str,
    width: int,
    grid: Run,
    few: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["evaluate", str(grid.folder), "--lang", language]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    names = ["modes", "high_quality", "spread", "kl"]
    shown = {line.split()[0]: line for line in reversed(lines) if line and line.split()[0] in names}
    assert set(shown) == set(names)
    texts = catalogue(language, "evaluate")
    assert all(" ".join(texts[f"unit_{name}"].split()[:3]) in shown[name] for name in names)
    row = written(grid)[-4]
    assert texts["of"].format(value=row["value"], of=25) in shown["modes"]


def test_everything_that_stands_beside_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    set_language("es")
    found: dict[str, dict[str, Any]] = {
        "frechet": {"value": 52.9427, "interval": [47.3, 58.6], "floor": 0.29994, "reconstruction": 21.07}
        | {"remark": "Ve el [ruido]."},
        "elbo": {"value": -1234.5678, "interval": [-1240.0, -1229.0], "terms": {"reconstruction": -1200.0, "kl": 34.5}},
        "nll": {"value": 1200.25, "effective": 1.702},
        "copies": {"value": 0.002, "real": 0.05, "picture": "evaluations/copies.png"},
        "active": {"value": 30, "of": 32},
        "classes": {"value": 0.04, "shares": {"bota": 0.04, "bolso": 0.96}},
        "spread": {"value": None, "real": 1.0},
    }
    console = Console(highlight=False, markup=False, width=100)
    console.print(cli_measure._table(found), "", cli_measure._notes(Run(tmp_path / "r"), found), soft_wrap=False)
    out = capsys.readouterr().out
    first = {line.split()[0]: " ".join(line.split()[1:]) for line in reversed(out.splitlines()) if line.strip()}
    assert first["frechet"].startswith("52,94 0,2999 distancia de Fréchet") and "[47,3; 58,6]" in out
    assert first["reconstrucciones"] == "21,07" and first["KL"] == "34,5" and first["reconstrucción"] == "-1.200"
    assert first["elbo"].startswith("-1.235 cota") and "[-1.240; -1.229]" in out
    assert "efectivas" in first["muestras"] and first["muestras"].endswith("1,702")
    assert first["active"].startswith("30 de 32") and first["spread"].startswith("- 1 dispersión")
    assert "bota 0,04, bolso 0,96" in out and "Ve el [ruido]." in out and "copies.png" in out.replace("\n", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_mistakes_are_one_sentence(
    language: str, grid: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(written(grid))
    for words, named in (
        ([str(grid.folder), "--metrics", "nosuch"], "nosuch"),
        ([str(grid.folder), "--metrics", "modes,classes"], "classes"),
        ([str(grid.folder), "--seed", "-1"], "-1"),
        ([str(grid.folder), "--references", "0"], "0"),
        ([str(grid.folder), "--references", "1"], "1"),
        ([str(grid.folder), "--k", "0"], "0"),
        ([str(grid.folder), "--steps", "none"], "none"),
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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "(No space left on device)"),
        (PermissionError(13, "Permission denied", "eyes.npz"), "(eyes.npz: Permission denied)"),
    ],
)
def test_a_file_that_cannot_be_written_or_read(
    grid: Run, few: int, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def full(path: Path, row: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(measure, "append", full)
    with pytest.raises(Problem) as problem:
        measure.evaluate(grid)
    assert problem.value.key == "evaluate.file" and told in str(problem.value)


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
        found.append(json.loads(capsys.readouterr().out)["classes"]["protocol"]["classifier_checksum"])
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
    assert json.loads(capsys.readouterr().out)["classes"]["protocol"]["classifier"] == own.folder.name[6:]
    assert trained == []
    assert main(["evaluate", str(blobs.folder), "--classifier", str(blobs.folder)]) == 2
    assert blobs.folder.name in capsys.readouterr().err


# ---- The feature network --------------------------------------------------------------------------------------------


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-checks are tested in test_selfcheck.py."""
    known = [Check("blur", True, (0.0, 1.0), ("a", "b")), Check("noise", False, (1.0, 0.0), ("a", "b"))]
    monkeypatch.setattr("latente.evaluation.subject.selfcheck", lambda judge, train, test: known)


@pytest.mark.parametrize("language", LANGUAGES)
def test_distances_say_through_what_they_look(
    language: str,
    checked: None,
    trained: list[RunConfig],
    grey: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The set's own classifier (of labels, here) unless something else is asked for; its weakness is told in words."""
    one = beside("vae", tmp_path, monkeypatch, grey)
    assert main(["evaluate", str(one.run.folder), "--metrics", "distances", "--lang", language]) == 0
    out = " ".join(capsys.readouterr().out.split())
    texts = catalogue(language, "judges")
    row = written(one.run)[0]
    name = row["protocol"]["features"]
    assert name.startswith("classifier-") and row["selfcheck"] == {"blur": True, "noise": False}
    assert texts["sees"].format(name=name, what=texts["check_blur"]) in out
    assert texts["blind"].format(name=name, what=texts["check_noise"]) in out
    assert [config.preset for config in trained] == ["classifier"]

    own = life.train(toy("classifier", grey, sample_every=64, checkpoint_every=64), out=tmp_path / "own")
    for asked, expected in (("pixels", "pixels"), (str(own.folder), own.folder.name[6:])):
        assert main(["evaluate", str(one.run.folder), "--metrics", "neighbours", "--features", asked]) == 0
        assert written(one.run)[-1]["protocol"]["features"] == expected
    assert expected in capsys.readouterr().err and len(trained) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_mistakes_about_features_are_one_sentence(
    language: str,
    grey: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = beside("vae", tmp_path, monkeypatch, grey)
    (tmp_path / "weights.pt").write_bytes(b"x")
    for given in (tmp_path / "none", tmp_path / "weights.pt", tmp_path, one.run.folder):
        words = [str(one.run.folder), "--metrics", "distances", "--features", str(given)]
        assert main(["evaluate", *words, "--lang", language]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("latente: ") and err.count("\n") == 1 and str(given) in err
    assert written(one.run) == []


def test_a_metric_that_does_not_apply_is_refused_before_anything_is_trained(
    blobs: Run, trained: list[RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(blobs.folder), "--metrics", "classes,nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err and trained == []


def test_images_that_are_gone_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "moved.npz"
    images, labels = drawn(48, (1, 8, 8))
    np.savez(source, images=images.transpose(0, 2, 3, 1), labels=labels)
    run = life.train(toy("gan", source, images=8, sample_every=8, checkpoint_every=8), out=tmp_path / "runs")
    source.unlink()
    assert main(["evaluate", str(run.folder)]) == 2
    out, err = capsys.readouterr()
    sentence = err.splitlines()[-1]
    assert out == "" and sentence.startswith("latente: ") and "moved.npz" in sentence and "Traceback" not in err


def test_digits_are_read_by_one_classifier_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names such as "mnist" become the path of a folder in the facts of a run."""
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path))
    kept = bare(tmp_path / "classifiers", toy("classifier", "mnist"), (1, 8, 8), 10, source="/somewhere/mnist")
    kept.record_event("stop", 64, reason="finished")
    run = bare(tmp_path / "runs", toy("dcgan", "stacked-mnist"), (3, 8, 8), 1000)
    found = cli_measure._classifier(run, ("modes",))
    assert found is not None and found.folder == kept.folder
