"""The verbs project, directions and edit, on generators that have hardly been trained or not at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latente import checkpoint, cli_edit, models, training
from latente.cli import main
from latente.config import StyleGANModel
from latente.exploration import edit, invert, projections, sheet
from latente.exploration.edit import Direction
from latente.exploration.spaces import drawn, show
from latente.messages import LANGUAGES, Problem, set_language
from latente.models import stylegan
from latente.run import Run, create
from toy import drawn as blobs
from toy import toy


def untrained(folder: Path, name: str, shape: tuple[int, int, int] = (1, 8, 8), **more: Any) -> Run:
    """A run whose only checkpoint is what its networks begin with."""
    config = replace(toy(name), **more)
    run = create(folder, config, {"image_shape": list(shape), "classes": ["left", "middle", "right"], "source": "x"})
    torch.manual_seed(7)
    nets = models.build(config, shape, 3)
    tensors = {f"nets/{net}.{key}": x for net, module in nets.items() for key, x in module.state_dict().items()}
    checkpoint.save(run.checkpoint(64), tensors, {})
    return run


@pytest.fixture
def styled(tmp_path: Path) -> Run:
    """A run of StyleGAN, full grown from the start."""
    return untrained(tmp_path / "runs", "dcgan", model=StyleGANModel(latent=6, width=4, mapping=2, start=8))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "Ana.png"
    Image.fromarray(blobs(1, (3, 20, 24))[0][0].transpose(1, 2, 0)).save(path)
    return path


def asked(*words: Any) -> int:
    return main([str(word) for word in words])


# ---- Generators of styles that people train -------------------------------------------------------------------------


def test_stylegan_has_three_spaces_and_its_styles_are_found(styled: Run) -> None:
    net = styled.network()
    assert isinstance(net, stylegan.Generator)
    weights = edit.first_weights(net)
    assert [layer for layer, _ in weights] == [0, 1, 2, 3]
    np.testing.assert_allclose(weights[3][1], net.epilogues[3].style.weight * net.epilogues[3].style.scale, atol=1e-5)
    with torch.no_grad():
        z = net.prior(2, torch.Generator().manual_seed(0))
        np.testing.assert_allclose(show(net, "z", z).clamp(-1, 1), net.decode(z), atol=1e-6)
        found = invert.project(net, net.decode(z), "w+", steps=0)
    assert found.latent.shape == (2, 4, 6) and len(found.noise) == 4


def test_a_generator_that_has_not_grown_yet_shows_its_full_size(tmp_path: Path) -> None:
    model = StyleGANModel(latent=6, width=4, mapping=2, start=8)
    net = stylegan.Generator(model, (1, 16, 16)).eval()
    with torch.no_grad():
        z = net.prior(2, torch.Generator().manual_seed(0))
        np.testing.assert_allclose(show(net, "z", z).clamp(-1, 1), net.decode(z), atol=1e-6)
        assert show(net, "w", net.mapping(z)).shape == (2, 1, 16, 16)


# ---- project --------------------------------------------------------------------------------------------------------


def test_a_photo_in_every_space(styled: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p.png"
    words = ["project", styled.folder, "--image", photo, "--steps", 3, "--features", "pixels", "--out", out, "--json"]
    assert asked(*words) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts == json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert list(facts["spaces"]) == ["z", "w", "w+"] and facts["features"] == "pixels" and facts["name"] == "ana"
    assert all(row["steps"] == 3 and row["distance"] > 0 for row in facts["spaces"].values())
    assert "9" in said.err.splitlines()[-1], "progress is shown, where it is in nobody's way"
    with Image.open(out) as picture:
        assert picture.width > 300
    assert projections.kept(styled) == ["ana"] and projections.read_kept(styled, "ana", "w+")[1].shape == (1, 4, 6)


@pytest.mark.parametrize(("language", "words"), [("en", ["by the encoder", "refined"]), ("es", ["codificador"])])
def test_an_encoder_begins_and_the_gradient_goes_on(
    language: str, words: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "runs", "vae")
    out = tmp_path / "p.png"
    given = [
        "project",
        run.folder,
        "--image",
        photo,
        "--steps",
        2,
        "--features",
        "pixels",
        "--out",
        out,
        "--name",
        "me",
    ]
    assert asked(*given, "--lang", language) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words) and str(out) in said and "--projection me" in said


def test_a_conditional_generator_has_to_be_told(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "runs", "dcgan conditional")
    words = ["project", run.folder, "--image", photo, "--steps", 2, "--features", "pixels", "--out", tmp_path / "p.png"]
    assert asked(*words) == 2 and "--label" in capsys.readouterr().err
    assert asked(*words, "--label", 2) == 0
    labels = projections.read_kept(run, "ana")[3]
    assert labels is not None and labels.tolist() == [2]


# ---- directions and edit --------------------------------------------------------------------------------------------


def test_directions_are_kept_and_one_is_walked(
    styled: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.png"
    assert asked("directions", styled.folder, "--n", 2, "--out", out) == 0
    assert asked("directions", styled.folder, "--how", "factorised", "--layers", "0-1", "--n", 1, "--out", out) == 0
    assert edit.kept(styled) == ["factor-0-1-1", "pca-1", "pca-2"]
    assert "factor-0-1-1" in capsys.readouterr().out and out.is_file()
    to = tmp_path / "e.png"
    words = ["edit", styled.folder, "--direction", "pca-1", "--out", to, "--json"]
    assert asked(*words, "--strength", "-1.5", "--seed", 3) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["strengths"] == pytest.approx([1.5, 0.75, 0.0, -0.75, -1.5]) and facts["space"] == "w"
    assert facts["seed"] == 3 and facts["label"] is None and facts["checkpoint"] == 64
    assert asked(*words, "--image", photo, "--steps", 2, "--features", "pixels") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["projection"] == "ana" and facts["seed"] is None
    assert asked(*words, "--projection", "ana") == 0


def test_the_image_in_the_middle_is_the_seeds_own(styled: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    edit.keep(styled, Direction("one", "components", "w", torch.eye(6)[0], 1.0, None, {"share": 0.5}))
    seen: list[Tensor] = []
    real = edit.moved
    monkeypatch.setattr(edit, "moved", lambda *how: seen.append(real(*how)) or seen[-1])
    assert asked("edit", styled.folder, "--direction", "one", "--seed", 5, "--out", tmp_path / "e.png") == 0
    net = styled.network()
    np.testing.assert_allclose(seen[0][2], net.decode(net.prior(1, torch.Generator().manual_seed(5)))[0], atol=1e-5)
    assert len(seen[0]) == 5 and torch.equal(
        drawn(net, 1, 5), net.mapping(net.prior(1, torch.Generator().manual_seed(5)))
    )


@pytest.mark.parametrize(
    ("language", "words"), [("en", ["seed 0", "class right"]), ("es", ["semilla 0", "clase right"])]
)
def test_sheets_say_which_image_it_is(
    language: str, words: list[str], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seed, or where it was found, and the class that the generator is told."""
    run, notes = untrained(tmp_path / "runs", "dcgan conditional"), []
    draw = sheet.draw
    monkeypatch.setattr(sheet, "draw", lambda one: notes.append(one.notes[0]) or draw(one))
    to = ["--out", tmp_path / "d.png", "--label", 2, "--lang", language]
    assert asked("directions", run.folder, "--how", "factorised", "--n", 1, *to) == 0
    looked = ["--image", photo, "--steps", 1, "--features", "pixels"]
    assert asked("edit", run.folder, "--direction", "factor-1", *looked, *to) == 0
    assert all(word in notes[0] for word in words) and words[1] in notes[-1] and " z · " in notes[-1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_class_that_is_told_is_no_direction(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "runs", "dcgan conditional")
    assert asked("directions", run.folder, "--of", "left", "--lang", language) == 2
    assert "--label" in capsys.readouterr().err


def test_a_boundary_between_classes(grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = training.train(toy("classifier", grey, images=2000, checkpoint_every=2000), out=tmp_path / "readers")
    config = toy("dcgan", grey)
    run = untrained(tmp_path / "runs", "dcgan", data=config.data)
    net = reader.network()
    images = run.network().decode(drawn(run.network(), 300)).clamp(-1, 1)
    shares = torch.bincount(net.predict(images), minlength=3)
    most = ["left", "middle", "right"][int(shares.argmax())]
    words = ["directions", run.folder, "--of", most, "--classifier", reader.folder, "--samples", 300]
    done = asked(*words, "--out", tmp_path / "d.png")
    said = capsys.readouterr()
    if 300 - int(shares.max()) < 20:
        assert done == 2 and most in said.err
    else:
        assert done == 0 and edit.read_kept(run, most).facts["samples"] == 300 and most in said.out


# ---- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["project"], "cli.needs_argument"),
        (["project", "RUN"], "cli.needs_argument"),
        (["project", "RUN", "--image", "gone.png"], "project.no_photo"),
        (["project", "RUN", "--image", "PHOTO", "--space", "codes"], "project.no_such_space"),
        (["project", "RUN", "--image", "PHOTO", "--name", "a/b"], "edit.bad_name"),
        (["directions", "RUN", "--how", "magic"], "edit.how"),
        (["directions", "RUN", "--how", "boundary"], "cli.needs_argument"),
        (["directions", "RUN", "--of", "hats"], "edit.unknown_thing"),
        (["directions", "RUN", "--how", "factorised", "--layers", "x"], "edit.bad_layers"),
        (["directions", "RUN", "--how", "factorised", "--layers", "0-9"], "edit.layers"),
        (["edit", "RUN"], "cli.needs_argument"),
        (["edit", "RUN", "--direction", "glasses"], "edit.none_yet"),
        (["edit", "RUN", "--direction", "x", "--strength", "much"], "cli.not_a_number"),
        (["edit", "RUN", "--direction", "x", "--seed", "1", "--projection", "ana"], "edit.one_image"),
        (["edit", "RUN", "--direction", "x", "--seed", "1", "--space", "w"], "edit.space_of_seed"),
        (["edit", "RUN", "--direction", "x", "--space", "z"], "edit.space_of_seed"),
        (["edit", "RUN", "--direction", "x", "--projection", "p", "--label", "1"], "edit.label_of_projection"),
    ],
)
def test_one_sentence_for_every_mistake(
    words: list[str], key: str, language: str, styled: Run, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = {"project": cli_edit.project, "directions": cli_edit.directions, "edit": cli_edit.edit}
    given = [{"RUN": str(styled.folder), "PHOTO": str(photo)}.get(word, word) for word in words[1:]]
    set_language(language)
    with pytest.raises(Problem) as problem:
        verbs[words[0]](given)
    assert problem.value.key == key and str(problem.value)
    assert asked(words[0], *given, "--lang", language) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_of_other_images_is_refused(styled: Run, tmp_path: Path) -> None:
    other = untrained(tmp_path / "readers", "classifier", (1, 12, 12))
    with pytest.raises(Problem) as problem:
        cli_edit.directions([str(styled.folder), "--of", "left", "--classifier", str(other.folder)])
    assert problem.value.key == "edit.wrong_reader"


def test_points_have_no_images(tmp_path: Path) -> None:
    run = create(
        tmp_path / "runs", toy("gan", "points:line"), {"image_shape": [1, 1, 1], "classes": [], "kind": "points"}
    )
    for verb in (cli_edit.directions, cli_edit.project):
        with pytest.raises(Problem) as problem:
            verb([str(run.folder), "--image", "x.png"] if verb is cli_edit.project else [str(run.folder)])
        assert problem.value.key == "run.no_images"


@pytest.mark.parametrize("name", ["pic.docx", "pic.gif", "pic"])
@pytest.mark.parametrize("verb", ["project", "directions", "edit"])
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(
    verb: str, name: str, styled: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"project": ["--image", photo, "--features", "pixels"], "directions": ["--n", 1]}
    assert asked(verb, styled.folder, *words.get(verb, ["--direction", "none"]), "--out", tmp_path / name) == 2
    err = capsys.readouterr().err
    assert name in err and err.count("\n") == 1
    assert not (styled.folder / "directions").exists() and not (styled.folder / "projections").exists()


def test_a_name_for_a_class_of_several_words(styled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []
    monkeypatch.setattr(cli_edit, "_reading", lambda *how: lambda images: np.arange(len(images)) % 2 == 0)
    monkeypatch.setattr(
        edit,
        "between",
        lambda run, name, *how: (
            asked_for.append(name)
            or Direction(name, "boundary", "w", torch.eye(6)[0], 1.0, None, {"accuracy": 1.0, "commonest": 0.5})
        ),
    )
    assert asked("directions", styled.folder, "--of", "T-shirt/top mañana", "--out", tmp_path / "d.png") == 0
    assert asked_for == ["T-shirt-top-mañana"]
