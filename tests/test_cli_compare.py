"""`latente compare`: its table, its sentences in both languages, its JSON and its mistakes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latente import cli
from latente.messages import say
from latente.run import append
from test_compare import PROTOCOL, measured, row, with_images


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two configurations with a metric of each fate: ranked, unclear, of another protocol, alone, without interval."""
    other = PROTOCOL | {"samples": 2000, "unheard_of": "x" * 40}
    first = (
        *(row("recall", 0.5, 0.01, real=0.9), row("density", 0.5, 0.3), row("frechet", 9.0, 0.1)),
        *(row("modes", 25), row("spread", 1.0, 0.1), row("nll", 4.0, 0.1, images=32)),
    )
    second = (
        *(row("recall", 0.6, 0.01, real=0.9), row("density", 0.6, 0.3), row("frechet", 20.0, 0.1, protocol=other)),
        *(row("modes", 3), row("spread", 1.5, 0.1)),
    )
    runs = [measured(tmp_path, *first), measured(tmp_path, *second, latent=5)]
    rng = np.random.default_rng(0)
    for i, one in enumerate(runs):
        with_images(one, "mse", rng.normal(i, 0.1, 50))
    return [one.folder for one in runs]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("language", ["es", "en"])
def test_every_metric_is_shown_and_told(language, width, two, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert run("compare", *two, "--lang", language) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    told = " ".join(out.split())
    for name in ("recall", "density", "frechet", "modes", "spread", "nll", "mse"):
        assert len(re.findall(rf"\b{name}\b", told)) >= 2, name  # in the table, and in a sentence
    said = {
        "en": [
            "recall (units): B is better than A; the difference is 0.1 [0.08586, 0.1141], by their intervals.",
            "density (units): B and A not ranked, because the difference, 0.1 [-0.3243, 0.5243],",
            "frechet (units): not ranked, because the measurements differ (number of samples: 1,000 in A, 2,000 in B; "
            f"unheard_of: not said in A, {'x' * 28}... in B).",
            "not ranked, because there is no interval for A and B: the difference could be chance.",
            "spread (spread within the modes, 1 is the truth): not ranked, because more is neither better nor worse",
            "nll (units): not ranked, because only A has a value.",
            "mse (units): A is better than B;",
            "image by image (50).",
            "A: the values of nll are from 32 images shown, the others from 64;",
            "One training seed (A and B):",
            "--model.latent 5",
        ],
        "es": [
            "recall (units): B es mejor que A; la diferencia es 0,1 [0,08586; 0,1141], según sus intervalos.",
            "density (units): B y A quedan sin orden, porque la diferencia, 0,1 [-0,3243; 0,5243],",
            "frechet (units): sin orden, porque las mediciones difieren (cantidad de muestras: 1.000 en A, 2.000 en B; "
            f"unheard_of: no se dice en A, {'x' * 28}... en B).",
            "sin orden, porque falta el intervalo de A y B: la diferencia podría ser casualidad.",
            "spread (dispersión dentro de los modos, 1 es la verdadera): sin orden, porque más no es, por sí solo,",
            "nll (units): sin orden, porque solo A tiene un valor.",
            "mse (units): A es mejor que B;",
            "imagen por imagen (50).",
            "A: los valores de nll son de las 32 imágenes mostradas y los demás de las 64;",
            "Una sola semilla de entrenamiento (A y B):",
            "--model.latent 5",
        ],
    }
    for sentence in said[language]:
        name, beginning, rest = sentence.partition(" (units)")  # in the words of `latente evaluate`
        known = f"{name} ({say(f'evaluate.unit_{name}', lang=language)}){rest}" if beginning else sentence
        assert known in told, known


def test_the_table_has_a_column_a_configuration_and_the_better_first(two, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    run("compare", *two, "--metrics", "recall,density", "--lang", "en")
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("metric"))
    assert lines[at].split() == ["metric", "A", "B", "real", "best", "first"]
    assert lines[at + 1].split() == ["recall", "0.5", "0.6", "0.9", "B,", "A"]
    assert lines[at + 2].split() == ["[0.49,", "0.51]", "[0.59,", "0.61]"]
    assert lines[at + 3].split() == ["density", "0.5", "0.6", "not", "ranked"]


def test_seeds_are_shown_with_their_spread(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    runs = [measured(tmp_path, row("mse", 1.0 + seed, 0.1), seed=seed).folder for seed in (3, 5)]
    runs += [measured(tmp_path, row("mse", 100.0, 0.1), latent=5).folder]
    assert run("compare", *runs, "--lang", "en") == 0
    out = capsys.readouterr().out
    assert all(str(folder) in out.replace("\n   ", "") for folder in runs)
    assert "2 training seeds (3, 5)" in out and "one training seed (0)" in out
    assert re.search(r"mse +5 +100 +A, B *\n +± 1.414 \(n = 2\) +\[99.9, 100.1\]", out)  # of 4 and 6
    assert "One training seed (B):" in out and "± is the standard deviation" in out


def test_json_is_one_object(two, capsys):
    assert run("compare", "--json", two[0], "--metrics", "recall,frechet,density", two[1]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in found["configurations"]] == ["A", "B"]
    assert [one["runs"] for one in found["configurations"]] == [[str(folder)] for folder in two]
    assert all(one["one_seed"] and one["seeds"] == [0] and one["images"] == 64 for one in found["configurations"])
    assert list(found["metrics"]) == ["recall", "frechet", "density"]
    recall, frechet, density = found["metrics"].values()
    assert (recall["ranked"], recall["order"], recall["reason"]) == (True, [["B"], ["A"]], None)
    assert recall["values"]["A"] == {
        **{"value": 0.5, "interval": [0.49, 0.51], "spread": None, "seeds": 1, "real": 0.9, "images": 64}
    }
    assert recall["pairs"][0]["clear"] and recall["pairs"][0]["how"] == "intervals"
    assert (frechet["ranked"], frechet["order"], frechet["reason"]["key"]) == (False, [], "compare.protocols_differ")
    assert frechet["reason"]["differences"]["samples"] == [[1000, ["A"]], [2000, ["B"]]]
    assert density["reason"] == {"key": "compare.not_clear", "pairs": [["B", "A"]]}


@pytest.mark.parametrize("language", ["es", "en"])
def test_a_mistake_is_one_sentence_that_names_it(language, two, tmp_path, capsys):
    empty, unmeasured = tmp_path / "empty", measured(tmp_path, latent=6).folder
    empty.mkdir()
    for words, named in (
        ([], "`latente compare "),
        ([two[0]], "`latente compare "),
        ([two[0], two[0]], "`latente compare "),
        ([two[0], empty], str(empty)),
        ([two[0], tmp_path / "nosuch"], str(tmp_path / "nosuch")),
        ([two[0], unmeasured], f"`latente evaluate {unmeasured}`"),
        ([*two, "--metrics", "nosuch"], "nosuch"),
        ([*two, "--metrics"], "--metrics"),
        ([*two, "--metric", "mse"], "--metrics"),
        ([two[0], measured(tmp_path, row("mse", 1.0)).folder], str(two[0])),
    ):
        assert run("compare", *words, "--lang", language) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("latente: ") and err.count("\n") == 1 and named in err, words
        assert not re.search(r"[.?!] [A-ZÁÉÍÓÚ¿]", err), "one sentence"


def test_a_folder_may_have_any_name(two, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "[red] :smile: {x} [bold"
    two[0].rename(folder)
    assert run("compare", folder, two[1]) == 0
    assert str(folder) in capsys.readouterr().out


def test_comparing_needs_no_torch(two):
    code = "import sys; from latente import cli; cli.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = ["compare", *map(str, two), "--json"]
    assert subprocess.run([sys.executable, "-c", code, *words], capture_output=True).returncode == 0


def test_a_damaged_line_is_passed_over(two, capsys):
    with (two[0] / "evaluations.jsonl").open("a") as file:
        file.write('{"metric": "recall", "val')
    append(two[0] / "evaluations.jsonl", row("density", 0.9, 0.01))
    assert run("compare", *two, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metrics"]["recall"]["values"]["A"]["value"], found["metrics"]["density"]["ranked"]) == (0.5, False)
