"""`latente diagnose`: what it says in both languages, and its exit codes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from latente import cli
from latente.messages import Problem
from latente.presets import PRESETS
from latente.run import append, create


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LATENTE_LANG", "en")


def diagnose(*words: object) -> int:
    return cli.main(["diagnose", *map(str, words)])


@pytest.fixture
def saturated(tmp_path: Path) -> Path:
    """Losses of a critic that wins."""
    path = tmp_path / "log.csv"
    rows = [f"{i},{1.3 if i < 10 else 0.004},{0.7 + 0.2 * i}" for i in range(1, 41)]
    path.write_text("\n".join(["epoch,d_loss,g_loss", *rows]))
    return path


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    path = tmp_path / "calm.csv"
    noise = np.random.default_rng(0).standard_normal((40, 2))
    rows = [f"{i},{1.3 + 0.05 * a},{0.8 + 0.05 * b}" for i, (a, b) in enumerate(noise)]
    path.write_text("\n".join(["step,d_loss,g_loss", *rows]))
    return path


def collapsed(tmp_path: Path):
    """A run folder whose probes tell of a collapse."""
    dataset = {"image_shape": [1, 28, 28], "classes": [], "train": 100}
    run = create(tmp_path / "runs", PRESETS["dcgan"](), dataset)
    append(run.folder / "events.jsonl", {"kind": "start", "images": 0, "at": "x", "until": 1_500_000})
    for i in range(1, 31):
        good = i < 15
        row = {"probe/diversity": 0.9 if good else 0.04, "probe/coverage": 0.8 if good else 0.02, "probe/density": 0.9}
        append(run.folder / "metrics.jsonl", {"images": 50_000 * i, "branch": 0, "critic/loss": 1.2, **row})
    (run.folder / "samples").mkdir()
    (run.folder / "samples" / "000750000.png").touch()
    return run


def test_a_fault_is_told_and_is_exit_code_1(saturated: Path, capsys) -> None:
    assert diagnose(saturated) == 1
    out, err = capsys.readouterr()
    assert "FAULT  Saturated critic" in out and "since epoch 10" in out and re.search(r"\(\d\d %\)", out)
    assert "0.004" in out and err == ""
    assert max(map(len, out.splitlines())) <= 80


def test_health_is_exit_code_0_and_says_what_it_did_not_see(calm: Path, capsys) -> None:
    assert diagnose(calm) == 0
    out = capsys.readouterr().out
    assert "NOTE  Nothing wrong was found" in out and "mode collapse" in out and "FAULT" not in out


def test_both_languages(saturated: Path, capsys) -> None:
    assert cli.main(["--lang", "es", "diagnose", str(saturated)]) == 1
    out = capsys.readouterr().out
    assert "FALLA  Crítico saturado" in out and "desde la época 10" in out and "0,004" in out


def test_a_run_is_told_with_the_flag_to_type_and_the_picture_to_look_at(tmp_path: Path, capsys) -> None:
    run = collapsed(tmp_path)
    assert diagnose(run.folder) == 1
    out = capsys.readouterr().out
    assert "Mode collapse" in out and "since image 750,000" in out
    assert "--objective.cost relativistic" in out and "samples/000750000.png" in out


def test_a_run_that_was_not_probed_is_looked_at_now(tmp_path: Path, capsys, monkeypatch) -> None:
    run = create(tmp_path / "runs", PRESETS["dcgan"](), {"image_shape": [1, 28, 28], "classes": [], "train": 100})
    for i in range(1, 31):
        append(run.folder / "metrics.jsonl", {"images": 50_000 * i, "branch": 0, "critic/loss": 1.2})
    run.checkpoint(1_500_000).mkdir(parents=True)
    copying = {"probe/copies": 0.9, "probe/coverage": 0.9, "probe/density": 1.0}
    monkeypatch.setattr("latente.diagnosis.afterwards.measure", lambda run, images: copying)
    assert diagnose(run.folder) == 1
    out, err = capsys.readouterr()
    assert "copies of training images" in out and "1,500,000" in err

    def gone(run, images):
        raise Problem("data.missing_path", path="photos", near="-")

    monkeypatch.setattr("latente.diagnosis.afterwards.measure", gone)
    assert diagnose(run.folder) == 0, "what was recorded is judged all the same"
    assert "photos" in capsys.readouterr().err


def test_a_run_that_broke_before_its_first_row_is_told_so(tmp_path: Path, capsys) -> None:
    run = create(tmp_path / "runs", PRESETS["dcgan"](), {"image_shape": [1, 28, 28], "classes": [], "train": 100})
    append(run.folder / "events.jsonl", {"kind": "start", "images": 0, "at": "x", "until": 1_500_000})
    assert diagnose(run.folder) == 2
    run.record_event("stop", 128, reason="non-finite", term="critic/loss")
    assert diagnose(run.folder) == 1
    assert "Training diverged" in capsys.readouterr().out


def test_json(saturated: Path, capsys) -> None:
    assert diagnose(saturated, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["unit"] == "epoch" and told["of"] == str(saturated)
    first = told["findings"][0]
    assert (first["what"], first["severity"], first["since"]) == ("saturated-critic", "fault", 10)
    assert first["evidence"]["d_loss"] == pytest.approx(0.004) and first["words"]["name"].startswith("Saturated")


def test_columns_are_typed(tmp_path: Path, calm: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(calm.read_text().replace("d_loss", "judge").replace("g_loss", "painter"))
    assert diagnose(other) == 2
    assert diagnose(other, "--column", "critic=judge", "--column=generator=painter") == 0


MISTAKES = [
    ([], "`latente diagnose`"),
    (["{missing}"], "{missing}"),
    (["{folder}"], "{folder}"),
    (["{empty}"], "{empty}"),
    (["{one}"], "{one}"),
    (["{nan}"], "row 2"),
    (["{unknown}"], "wibble"),
    (["{binary}"], "{binary}"),
    (["{unknown}", "--column", "critic"], "critic"),
    (["{unknown}", "--column"], "--column"),
    (["{unknown}", "--column", "critic=nosuch"], "nosuch"),
    (["{unknown}", "--colum", "critic=wibble"], "--colum"),
    (["{unknown}", "{one}"], "{one}"),
    (["{run}", "--column", "critic=a"], "critic"),
    (["{run}"], "{run}"),
]


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=[" ".join(words) or "nothing" for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_exit_code_2(words, named, language, tmp_path, capsys, monkeypatch) -> None:
    texts = {
        "empty": "",
        "one": "step,d_loss,g_loss\n1,2,3\n",
        "nan": "step,d_loss,g_loss\n1,2,3\n2,nan,3\n3,nan,nan\n",
        "unknown": "wibble\n1\n2\n",
    }
    places = {name: tmp_path / f"{name}.csv" for name in (*texts, "missing")}
    for name, text in texts.items():
        places[name].write_text(text)
    places["binary"] = tmp_path / "model.bin"
    places["binary"].write_bytes(bytes(range(256)))
    places["folder"] = tmp_path / "folder"
    places["folder"].mkdir()
    places["run"] = create(tmp_path / "runs", PRESETS["vae"](), {"image_shape": [1, 8, 8], "classes": []}).folder
    monkeypatch.setenv("LATENTE_LANG", language)
    assert diagnose(*[word.format(**places) for word in words]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("latente: ") and err.count("\n") == 1 and "Traceback" not in out + err
    expected = named.format(**places).replace("row", "fila" if language == "es" else "row")
    assert expected in err
    assert not re.search(r"[.?!] [A-ZÁÉÍÓÚ¿]", err), "one sentence"
