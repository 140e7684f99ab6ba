"""`latente museum`: the list, a run that goes wrong, and the smallest game."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latente.cli import main
from latente.config import Images
from latente.diagnosis import dirac, museum
from latente.diagnosis.museum import EXHIBITS
from latente.messages import say, set_language


@pytest.mark.parametrize("lang", ["es", "en"])
def test_the_list_has_every_exhibit(lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", lang, "museum"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in (*EXHIBITS, "dirac"))


def test_an_unknown_exhibit_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", "nothing-of-the-kind"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "nothing-of-the-kind" in told.err


@pytest.mark.parametrize("twin", [False, True])
def test_a_dry_run_prints_what_would_be_trained(twin: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", "posterior-collapse", "--dry-run", "--seed", "4", *["--twin"] * twin]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["objective"]["sigma"] == ("optimal" if twin else "fixed") and tree["training"]["seed"] == 4


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, grey: Path) -> str:
    """An exhibit of a second."""
    tiny = {"model.hidden": (4,), "model.latent": 2, "training.images": Images(64), "training.batch": 16}
    shown = museum.exhibit("posterior-collapse")
    asked = dict(shown.settings) | tiny | {"data.resolution": None, "training.precision": "float32"}
    monkeypatch.setitem(EXHIBITS, "posterior-collapse", replace(shown, source=str(grey), settings=asked))
    return "posterior-collapse"


def test_an_exhibit_is_trained_and_the_diagnosis_speaks(
    short: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_language("en")
    assert main(["museum", short, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    assert (folder / "metrics.jsonl").exists() and str(folder) in told
    assert say("museum.begin", name=short, time="18 s") in told and "--objective.sigma optimal" in told
    assert "Posterior collapse" in told.partition(str(folder))[2] and f"latente museum {short} --twin" in told


def test_the_twin_asks_for_no_other(short: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_language("en")
    assert main(["museum", short, "--twin", "--out", str(tmp_path)]) == 0
    assert "--twin" not in capsys.readouterr().out


def test_dirac_is_a_table_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = dirac.table(["wasserstein"], steps=20)
    monkeypatch.setattr(dirac, "table", lambda: rows)
    assert main(["museum", "dirac", "--out", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert (tmp_path / "new" / "dirac.png").read_bytes().startswith(b"\x89PNG") and "r1+r2" in told
    (tmp_path / "file").write_text("x")
    assert main(["museum", "dirac", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
