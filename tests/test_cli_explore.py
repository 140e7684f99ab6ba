"""The verbs that move about in latent space: what they write, and one sentence for every mistake, in both languages."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from latente import cli, pictures, training
from latente.cli_arguments import number, parse_words, take_many
from latente.exploration import sources
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run
from styles import Styles
from test_films import durations
from test_measure import on_points
from test_sources import trained


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def vae(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def reader(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("classifier", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return training.train(on_points("points:grid25"), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def styled(gan: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose generator has styles."""
    monkeypatch.setattr(sources, "generator_of", lambda run: Styles())
    return gan


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def done(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """Run a command with --json; what it printed, which is what it wrote beside the picture."""
    assert cli.main([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    facts = json.loads(out)
    assert json.loads(Path(facts["picture"]).with_suffix(".json").read_text(encoding="utf-8")) == facts
    return facts


def test_interpolate(gan, capsys):
    facts = done(capsys, "interpolate", str(gan.folder), "--from", "3", "--to", "7", "--steps", "5")
    assert facts["picture"] == "interpolate.png" and facts["sources"] == ["3", "7"] and facts["steps"] == 5
    with Image.open("interpolate.png") as picture:
        assert picture.width > 5 * 128 and facts["title"] == "Interpolation"
    assert [way["how"] for way in facts["ways"]] == ["lerp", "slerp"]
    one = done(capsys, "interpolate", str(gan.folder), "--seeds", "3,7", "--path", "lerp", "--out", "a/b.gif")
    assert np.shape(one["latents"]["lerp z"]) == (60, 4)
    with Image.open("a/b.gif") as film:
        assert sum(durations(film)) == 60 * 50, "frames that are alike may be one, which stays as long"
    assert [way["how"] for way in one["ways"]] == ["lerp"]


def test_interpolate_between_photos(vae, gan, grey, capsys):
    with np.load(grey) as arrays:
        for i in (0, 1):
            pictures.save(pictures.single(arrays["images"][i].transpose(2, 0, 1)), Path(f"{i}.png"))
    facts = done(capsys, "interpolate", str(vae.folder), "--images", "0.png", "1.png", "--steps", "3")
    net = vae.network()
    with torch.no_grad(), np.load(grey) as arrays:
        x = torch.from_numpy(arrays["images"][:2].transpose(0, 3, 1, 2)).float() / 127.5 - 1
        codes = net.encode(x).numpy()
    np.testing.assert_allclose(np.array(facts["latents"]["lerp codes"])[[0, 2]], codes, rtol=1e-4, atol=1e-5)


def test_photos_of_a_generator_are_projected(gan, capsys, monkeypatch):
    """Every photo once, in the space of the way, with the steps that were asked for."""
    calls = []

    def found(net, photo, space, **how):
        calls.append((space, how["steps"]))
        return SimpleNamespace(latent=torch.full((1, 4), float(len(calls))), noise=[])

    monkeypatch.setattr(sources, "project", found)
    monkeypatch.setattr("latente.cli_edit.eyes_of", lambda run, asked: None)
    for i in (0, 1):
        Image.new("L", (8, 8), 100 * i).save(f"{i}.png")
    words = ["--images", "0.png", "1.png", "--steps", "3", "--projection-steps", "7"]
    facts = done(capsys, "interpolate", str(gan.folder), *words)
    assert calls == [("z", 7), ("z", 7)]
    assert facts["latents"]["lerp z"] == [[1.0] * 4, [1.5] * 4, [2.0] * 4]


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp"])
def test_walk(gan, name, capsys):
    facts = done(capsys, "walk", str(gan.folder), "--frames", "9", "--seeds", "1,2,3", "--out", name)
    with Image.open(name) as film:
        assert film.n_frames == 9 and film.size == (256, 256)
    assert np.shape(facts["latents"]) == (9, 4)


def test_walk_as_a_strip_and_as_a_folder(gan, capsys):
    done(capsys, "walk", str(gan.folder), "--frames", "14", "--out", "strip.png")
    with Image.open("strip.png") as strip:
        assert strip.width > 12 * 64
    done(capsys, "walk", str(gan.folder), "--frames", "5", "--out", "frames")
    assert len(list(Path("frames").glob("*.png"))) == 5 and Path("frames.json").exists()


def test_arithmetic(vae, gan, reader, capsys, monkeypatch):
    facts = done(
        capsys, "arithmetic", str(vae.folder), "--plus", "3,5", "--minus", "8", "--to", "12", "--strength", "-1,1"
    )
    z = {s: vae.network().prior(1, torch.Generator().manual_seed(s))[0].numpy() for s in (3, 5, 8, 12)}
    change = (z[3] + z[5]) / 2 - z[8]
    np.testing.assert_allclose(facts["latents"]["12"], [z[12] - change, z[12] + change], rtol=1e-4, atol=1e-5)
    done(capsys, "arithmetic", str(vae.folder), "--plus", "label=0", "--minus", "label=2", "--to", "test:0,4")
    monkeypatch.setattr("latente.exploration.groups.FEWEST", 1)
    net = reader.network()
    read = torch.tensor([0, 2]).repeat(1000)
    monkeypatch.setattr(type(net), "predict", lambda self, x: read[: len(x)])
    words = ["--plus", "label=0", "--minus", "label=2", "--classifier", str(reader.folder)]
    facts = done(capsys, "arithmetic", str(gan.folder), *words, "--to", "4")
    assert facts["plus"]["n"] == facts["minus"]["n"] == 1000
    z = gan.network().prior(2000, torch.Generator().manual_seed(0)).numpy()
    chosen = np.resize(read.numpy()[:250], 2000)  # read a few at a time
    change = z[chosen == 0].mean(0) - z[chosen == 2].mean(0)
    np.testing.assert_allclose(facts["change"], change, rtol=1e-3, atol=1e-5)


def test_traversal(vae, capsys):
    facts = done(capsys, "traversal", str(vae.folder), "--rows", "2", "--steps", "3", "--from", "test:1")
    assert len(facts["shown"]) == 2 and facts["reach"] == [-3, 0, 3] and facts["source"] == "test:1"
    assert done(capsys, "traversal", str(vae.folder))["source"] is None


def test_the_verbs_of_styles(styled, capsys):
    facts = done(capsys, "mix", str(styled.folder), "--rows", "1", "--columns", "2,3", "--layers", "0-1,fine")
    assert facts["layers"] == {"0-1": [0, 1], "fine": [2]} and facts["picture"] == "mix.png"
    facts = done(capsys, "truncation", str(styled.folder), "--truncation", "-1,0.5", "--seeds", "4")
    assert facts["psis"] == [-1, 0.5]
    facts = done(capsys, "noise", str(styled.folder), "--draws", "3", "--seeds", "1", "--noise-seed", "2")
    assert facts["draws"] == 3 and facts["seed"] == 2
    facts = done(capsys, "interpolate", str(styled.folder), "--seeds", "1,2", "--truncation", "-.5")
    assert facts["psi"] == -0.5 and len(facts["ways"]) == 3


def test_photos_in_a_mix_are_projected_first(styled, capsys, monkeypatch):
    spaces = []

    def found(net, photo, space, **how):
        spaces.append(space)
        return SimpleNamespace(latent=torch.zeros(1, 3, 6)[:, 0 if space == "w" else slice(3)], noise=[])

    monkeypatch.setattr(sources, "project", found)
    monkeypatch.setattr("latente.cli_edit.eyes_of", lambda run, asked: None)
    for i in (0, 1):
        Image.new("L", (8, 8), 100 * i).save(f"{i}.png")
    facts = done(capsys, "mix", str(styled.folder), "--source", "0.png", "1.png")
    assert spaces == ["w+", "w+"] and (facts["rows"], facts["columns"]) == (["0.png"], ["1.png"])
    facts = done(capsys, "mix", str(styled.folder), "--source", "0.png", "--columns", "5,6")
    assert (facts["rows"], facts["columns"]) == (["0.png"], ["5", "6"])
    done(capsys, "mix", str(styled.folder), "--source", "0.png", "--space", "w")
    assert spaces == ["w+", "w+", "w+", "w"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said(gan, language, capsys):
    assert cli.main(["interpolate", str(gan.folder), "--seeds", "1,2", "--lang", language]) == 0
    out = capsys.readouterr().out
    assert "interpolate.png" in out and "interpolate.json" in out and out.count("\n") == 1


MISTAKES = [
    (["interpolate"], "`latente interpolate`"),
    (["interpolate", "{empty}", "--seeds", "1,2"], "{empty}"),
    (["interpolate", "{gan}"], "interpolate"),
    (["interpolate", "{gan}", "--from", "3"], "interpolate"),
    (["interpolate", "{gan}", "--images"], "--images"),
    (["interpolate", "{gan}", "--images", "none.png", "1"], "none.png"),
    (["interpolate", "{gan}", "--images", "{text}", "1"], "notes.png"),
    (["interpolate", "{gan}", "--seeds", "1,x"], "x"),
    (["interpolate", "{gan}", "--seeds", "1,test:77"], "test:77"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--steps", "1"], "1"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--space", "w"], "dcgan"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--path", "arc"], "arc"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--truncation", "0.5"], "--truncation"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--truncation", "half"], "half"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--label", "1"], "--label"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--out", "a.bmp"], "a.bmp"),
    (["interpolate", "{gan}", "--seeds", "1,2", "--out", "{text}/a.png"], "a.png"),
    (["interpolate", "{reader}", "--seeds", "1,2"], "{reader}"),
    (["walk", "{points}"], "{points}"),
    (["mix", "{points}"], "{points}"),
    (["interpolate", "{gan}", "--seeds", "1,²"], "²"),
    (["interpolate", "{gan}", "--seeds", "1,test:²"], "²"),
    (["walk", "{gan}", "--seeds", "1"], "walk"),
    (["walk", "{gan}", "--frames", "20000"], "20000"),
    (["walk", "{gan}", "--frames", "0"], "0"),
    (["walk", "{gan}", "--out", "film.avi"], "film.avi"),
    (["walk", "{gan}", "--out", "film.mp4"], "ffmpeg"),
    (["walk", "{gan}", "--space", "w+"], "w+"),
    (["arithmetic", "{vae}"], "--plus"),
    (["arithmetic", "{vae}", "--plus", "1"], "--minus"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "label=9"], "9"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "glasses=1"], "glasses"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "2", "--strength", "big"], "big"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "2", "--out", "a.gif"], "a.gif"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "2", "--to", "nobody"], "nobody"),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "2", "--to", ","], '","'),
    (["arithmetic", "{vae}", "--plus", "1", "--minus", "2", "--strength", ","], "--strength"),
    (["arithmetic", "{gan}", "--plus", "label=1", "--minus", "2", "--classifier", "{vae}"], "{vae}"),
    (["traversal", "{gan}"], "dcgan"),
    (["traversal", "{vae}", "--steps", "1"], "1"),
    (["traversal", "{vae}", "--from", "nobody"], "nobody"),
    (["mix", "{gan}"], "dcgan"),
    (["mix", "{gan}", "--source", "a", "b", "c"], "3"),
    (["truncation", "{vae}"], "vae"),
    (["truncation", "{gan}", "--truncation", "x"], "x"),
    (["noise", "{gan}"], "dcgan"),
    (["noise", "{gan}", "--draws", "1"], "1"),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence(words, named, language, gan, vae, reader, points, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    places = {"text": tmp_path / "notes.png", "empty": tmp_path / "empty", "gan": gan.folder, "vae": vae.folder}
    places |= {"reader": reader.folder, "points": points.folder}
    places["text"].write_text("no image")
    places["empty"].mkdir()
    assert cli.main([*[word.format(**places) for word in words], "--lang", language]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("latente: ") and err.count("\n") == 1
    assert named.format(**places) in err
    assert not re.search(r"[.?!] [A-ZÁÉÍÓÚ¿]", err), "one sentence"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.png"], "nothing is left behind"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["mix", "--layers", "0-9"], "0-9"),
        (["mix", "--layers", "rough"], "rough"),
        (["mix", "--space", "codes"], "codes"),
        (["truncation", "--cutoff", "9"], "9"),
        (["truncation", "--seeds", ","], '","'),
        (["noise", "--seeds", ","], '","'),
        (["mix", "--rows", ","], '","'),
        (["mix", "--columns", ","], '","'),
    ]
    + [(["arithmetic", "--plus", "1", "--minus", "2", "--space", "w+"], "w+")],
)
def test_mistakes_with_styles(words, named, language, styled, capsys):
    assert cli.main([words[0], str(styled.folder), *words[1:], "--lang", language]) == 2
    err = capsys.readouterr().err
    assert named in err and err.count("\n") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_noise_there_is_none_to_change(styled, language, monkeypatch):
    set_language(language)
    config = SimpleNamespace(model=SimpleNamespace(noise=False, family="stylegan"), objective=styled.config.objective)
    monkeypatch.setattr(Run, "config", config)
    with pytest.raises(Problem, match="model.noise"):
        cli.VERBS["noise"]([str(styled.folder)])


def test_values_may_begin_with_a_minus_sign():
    assert parse_words(["--psi", "-1,0", "r"], {"--psi": str, "--json": None}, ("run",))["psi"] == "-1,0"
    assert parse_words(["--psi", "-.5"], {"--psi": float})["psi"] == -0.5
    with pytest.raises(Problem):
        parse_words(["--json", "-1"], {"--json": None})


def test_a_number_may_have_a_comma_for_its_point():
    assert number("0,7") == number("0.7") == 0.7 and number("-1,5") == -1.5
    for text in ("0,7,1", "x", "inf", ""):
        with pytest.raises(Problem):
            number(text)


def test_flags_that_take_several_words():
    assert take_many(["r", "--images", "a", "b", "--json"], "--images") == (["a", "b"], ["r", "--json"])
    assert take_many(["r"], "--images") == ([], ["r"])
