"""The command line: what it prints, its exit codes, and one sentence for every mistake, in both languages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latente import cli
from latente.config import from_json
from latente.messages import catalogue, say, set_language
from latente.presets import PRESETS
from latente.run import open_run


@pytest.fixture(autouse=True)
def english():
    set_language("en")
    yield
    set_language(None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    path = tmp_path / "set.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (60, 8, 8), np.uint8), labels=np.arange(60) % 3)
    return path


def run(*words: str) -> int:
    return cli.main([*words])


MISTAKES = [
    (["nosuch"], "nosuch"),
    (["train"], "`latente train`"),
    (["train", "nosuch"], "nosuch"),
    (["train", "vae", "--data", "nosuch"], "nosuch"),
    (["train", "vae", "--data", "{text}"], "{text}"),
    (["train", "vae", "--data", "{empty}"], "{empty}"),
    (["train", "vae", "--data", "{missing}"], "{missing}"),
    (["train", "vae", "--images", "-3"], "-3"),
    (["train", "vae", "--images", "0"], "0"),
    (["train", "vae", "--images", "many"], "many"),
    (["train", "vae", "--images"], "--images"),
    (["train", "vae", "--resolution", "7x"], "7x"),
    (["train", "vae", "--optim.lr", "fast"], "fast"),
    (["train", "vae", "--optim.rate", "1"], "optim.rate"),
    (["train", "vae", "--objective.likelihood", "poisson"], "poisson"),
    (["train", "vae", "--imags", "3"], "--imags"),
    (["train", "vae", "--device", "abacus"], "abacus"),
    (["train", "ae-conv", "--conditional"], "ae-conv"),
    (["train", "vae", "--from", "{empty}"], "{empty}"),
    (["resume"], "`latente resume`"),
    (["resume", "{empty}"], "{empty}"),
    (["resume", "{missing}"], "{missing}"),
    (["sample", "{empty}"], "{empty}"),
    (["sample", "{text}"], "{text}"),
    (["report", "{empty}"], "{empty}"),
    (["data"], "data"),
    (["data", "chekc"], "chekc"),
    (["data", "check"], "`latente data check`"),
    (["data", "check", "nosuch"], "nosuch"),
    (["presets", "extra"], "extra"),
    (["--lang", "fr", "presets"], "fr"),
    (["presets", "--lang"], "--lang"),
]


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_it(words, named, language, tmp_path, capsys, monkeypatch):
    places = {"text": tmp_path / "notes.txt", "empty": tmp_path / "empty", "missing": tmp_path / "not_there" / "x.zip"}
    places["text"].write_text("no image")
    places["empty"].mkdir()
    monkeypatch.setenv("LATENTE_LANG", language)
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    code = run(*[word.format(**places) for word in words])
    out, err = capsys.readouterr()
    assert code == 2
    assert err.startswith("latente: ") and err.count("\n") == 1 and "Traceback" not in out + err
    assert named.format(**places) in err
    assert not re.search(r"[.?!] [A-ZÁÉÍÓÚ¿]", err), "one sentence"
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


GAMES = [  # settings that people try, on 60 images of 8x8 without labels
    (["dcgan", "--training.batch", "1"], "1 "),
    (["dcgan", "--resolution", "50"], "50"),
    (["r3gan", "--resolution", "9"], "9"),
    (["dcgan", "--conditional"], "conditional"),
    (["r3gan", "--conditional"], "conditional"),
    (["classifier"], " 0: "),
    (["gan", "--conditional"], "gan"),
    (["gan", "--cure.packing", "3"], "packing 3"),
    (["dcgan", "--conditional", "--data", "{labelled}", "--cure.packing", "3"], "packing 3"),
    (["wgan", "--objective.penalty", "r1", "--objective.gamma", "1"], "--objective.clip 0.01"),
    (["dcgan", "--objective.penalty", "clip"], "--objective.clip"),
    (["dcgan", "--objective.penalty", "r1"], "--objective.gamma"),
    (["dcgan", "--objective.gamma", "1"], "--objective.penalty"),
    (["dcgan", "--objective.penalty", "r3"], "r3"),
    (["dcgan", "--objective.cost", "cheap"], "cheap"),
    (["dcgan", "--cure.replay", "999999999"], "999999999"),
    (["dcgan", "--cure.replay", "63"], "63"),
    (["dcgan", "--cure.replay", "-1"], "-1"),
    (["dcgan", "--optim.critic-steps", "7"], "7"),
    (["dcgan", "--training.accumulate", "2"], "--training.accumulate"),
    (["dcgan", "--cure.label-smoothing", "0.1", "--objective.cost", "hinge"], "hinge"),
    (["gan", "--training.batch", "1", "--cure.minibatch-stddev", "true"], "1 "),
    (["vae", "--data", "points:grid25"], "points:grid25"),
    (["vae", "--data.source", "points:grid25"], "points:grid25"),
    (["gan", "--data", "points:grid26"], "points:grid26"),
    (["gan", "--data", "points:grid25", "--resolution", "64"], "points:grid25"),
    (["gan", "--data", "points:grid25", "--cure.augment", "diffaugment"], "diffaugment"),
]


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize(("words", "named"), GAMES, ids=[" ".join(words) for words, _ in GAMES])
def test_a_game_that_cannot_be_is_one_sentence(words, named, language, tmp_path, capsys, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    places = {"plain": tmp_path / "plain.npz", "labelled": tmp_path / "labelled.npz"}
    np.savez(places["plain"], images=images)
    np.savez(places["labelled"], images=images, labels=np.arange(60) % 3)
    monkeypatch.setenv("LATENTE_LANG", language)
    monkeypatch.chdir(tmp_path)
    data = [] if "--data" in words else ["--data", str(places["plain"])]
    assert run("train", *[word.format(**places) for word in words], *data) == 2
    out, err = capsys.readouterr()
    assert err.startswith("latente: ") and err.count("\n") == 1 and "Traceback" not in out + err
    assert named in err
    assert not re.search(r"[.?!] [A-ZÁÉÍÓÚ¿]", err), "one sentence"
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


def test_the_language_changes_the_sentence(capsys):
    said = {}
    for language in ("es", "en"):
        assert run("--lang", language, "train", "nosuch") == 2
        said[language] = capsys.readouterr().err
    assert said["es"] != said["en"] and "receta" in said["es"] and "preset" in said["en"]


def test_near_names_are_offered(capsys):
    run("train", "ae-stakced")
    assert "ae-stacked" in capsys.readouterr().err
    run("train", "vae", "--objective.bata", "2")
    assert "objective.beta" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
@pytest.mark.parametrize("language", ["es", "en"])
def test_every_verb_has_a_page_of_help(verb, language, capsys):
    assert run(verb, "--help", "--lang", language) == 0
    assert capsys.readouterr().out.strip() == say(f"help.{verb}", lang=language).strip()
    assert f"latente {verb}" in catalogue(language, "help")["latente"], "and a line on the first page"


def test_help_lists_the_settings_of_a_preset(capsys):
    run("train", "vae", "--help")
    assert "--objective.free-bits" in capsys.readouterr().out


def test_presets_are_listed_with_what_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("presets", "--lang", "es") == 0
    out = capsys.readouterr().out
    assert all(name in out and say(f"presets.{name}", lang="es") in out for name in PRESETS)


def test_dry_run_prints_a_configuration_that_reads_back(capsys):
    words = ["train", "vae", "--images", "1.5k", "--optim.lr=0.5", "--data", "x", "--dry-run", "--resolution", "16"]
    assert run(*words) == 0
    config = from_json(json.loads(capsys.readouterr().out))
    assert (config.training.images, config.optim.lr, config.data.source, config.data.resolution) == (1500, 0.5, "x", 16)


def test_settings_may_stand_before_the_preset(capsys):
    assert run("train", "--optim.lr", "0.25", "vae", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["optim"]["lr"] == 0.25


def test_points_are_points_however_they_are_asked_for(capsys):
    found = []
    for flag in ("--data", "--data.source"):
        assert run("train", "gan", flag, "points:line", "--dry-run") == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and found[0]["model"]["latent"] == 1


def test_a_shorter_run_scales_its_ramps_and_says_so(capsys):
    preset = PRESETS["vae"]()
    length = str(preset.training.images // 10)
    run("train", "vae", "--objective.warmup", "100", "--images", length, "--dry-run")
    out, err = capsys.readouterr()
    assert json.loads(out)["objective"]["warmup"] == 100, "what was typed stays"
    greedy = PRESETS["ae-greedy"]()
    run("train", "ae-greedy", "--images", str(greedy.training.images // 10), "--dry-run")
    out, err = capsys.readouterr()
    assert json.loads(out)["objective"]["greedy_images"] == greedy.objective.greedy_images // 10
    assert "greedy-images" in err


def test_a_shorter_run_grows_faster_and_says_so(capsys):
    assert run("train", "progan", "--images", "300k", "--model.fade-images", "10k", "--dry-run") == 0
    out, err = capsys.readouterr()
    model = json.loads(out)["model"]
    assert (model["hold_images"], model["fade_images"]) == (30_000, 10_000) and "model.hold-images" in err


@pytest.mark.parametrize("language", ["es", "en"])
def test_what_cannot_grow_is_said_in_a_sentence(pictures, tmp_path, monkeypatch, capsys, language):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    for wrong in (
        ("--resolution", "28"),
        ("--resolution", "16", "--model.start", "5"),
        ("--resolution", "16", "--model.hold-images", "500k"),
        ("--resolution", "16", "--cure.replay", "5000"),
    ):
        assert run("train", "progan", "--data", str(pictures), *wrong, "--lang", language) == 2
        told = capsys.readouterr().err.strip()
        assert "--" in told and told.endswith(".") and told.count("\n") < 8, told
    assert not list(tmp_path.glob("runs/*")), "a start that fails leaves no folder"


def test_from_train_to_sample(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    small = ["--model.hidden", "8", "--model.latent", "3", "--training.batch", "10"]
    assert run("train", "ae-stacked", "--data", str(pictures), "--images", "100", *small) == 0
    out = capsys.readouterr().out
    folder = next((tmp_path / "runs").iterdir())
    assert folder.name == "00000-ae-stacked-set" and str(folder.name) in out
    assert (folder / "report.html").exists() and "report.html" in out
    assert open_run(folder).stopped() == "finished"

    assert run("resume", str(folder)) == 2, "it has reached its end"
    assert "--images" in capsys.readouterr().err
    assert run("resume", str(folder), "--images", "150") == 0
    assert open_run(folder).checkpoints()[-1] == 150

    assert run("sample", str(folder), "--n", "5", "--out", str(tmp_path / "grid.png")) == 0
    assert (tmp_path / "grid.png").exists()
    assert run("sample", str(folder), "--n", "5", "--out", str(tmp_path / "loose")) == 0
    assert len(list((tmp_path / "loose").glob("*.png"))) == 5
    assert run("sample", str(folder), "--label", "1") == 2
    assert run("sample", str(folder), "--checkpoint", "77") == 2
    assert "77" in capsys.readouterr().err

    assert run("runs", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["runs"]
    assert [row["images"] for row in listed] == [150] and listed[0]["stopped"] == "finished"
    assert run("runs", "--lang", "es") == 0
    assert "terminada" in capsys.readouterr().out


def test_conditional_samples_have_a_label(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    small = ["--model.hidden", "8", "--model.latent", "3", "--training.batch", "10", "--images", "20"]
    assert run("train", "vae-mlp", "--conditional", "--data", str(pictures), *small) == 0
    folder = next((tmp_path / "runs").iterdir())
    for label, code in ((2, 0), (3, 2)):
        assert run("sample", str(folder), "--label", str(label), "--n", "2", "--out", "grid.png") == code
    assert "2" in capsys.readouterr().err, "the last class is named"


def test_fine_tuning_begins_with_the_weights_of_another_run(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    small = ["--model.hidden", "8", "--training.batch", "10", "--images", "20", "--data", str(pictures)]
    assert run("train", "ae-stacked", "--model.latent", "3", *small) == 0
    first = next((tmp_path / "runs").iterdir())
    assert run("train", "ae-stacked", "--model.latent", "3", *small, "--from", str(first), "--optim.lr", "0") == 0
    second = open_run(tmp_path / "runs" / "00001-ae-stacked-set")
    old, new = open_run(first).network().state_dict(), second.network().state_dict()
    assert all((old[name] == new[name]).all() for name in old if "mixture" not in name)
    assert run("train", "ae-stacked", "--model.latent", "4", *small, "--from", str(first)) == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2, "a start that fails leaves no folder"


def test_help_is_light():
    program = "import sys; from latente.cli import main; main(['--help']); sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    assert not {"torch", "numpy", "matplotlib", "PIL", "rich", "safetensors"} & set(done.stderr.split())
