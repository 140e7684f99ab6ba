"""Photos prepared as a run's images were; what was found of them, kept and read back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latente.exploration import projections
from latente.exploration.invert import project_all
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run, create
from styles import Styles
from toy import drawn, toy


def run_of(folder: Path, shape: tuple[int, int, int], **data: str) -> Run:
    config = toy("dcgan")
    return create(
        folder, replace(config, data=replace(config.data, **data)), {"image_shape": list(shape), "classes": []}
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 20x12 pixels whose left is red and whose right is blue, the square in the middle green."""
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:, :4, 0], pixels[:, 16:, 2], pixels[:, 4:16, 1] = 255, 255, 200
    Image.fromarray(pixels).save(tmp_path / "My photo (1).png")
    return tmp_path / "My photo (1).png"


def test_a_photo_is_cut_to_its_square_and_resized(tmp_path: Path, photo: Path) -> None:
    found = projections.read_photo(run_of(tmp_path / "runs", (3, 8, 8)), photo)
    assert found.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(found[0].mean((1, 2)), [-1, 200 / 127.5 - 1, -1], atol=0.01)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_photo_gets_the_channels_and_the_filter_of_the_run(tmp_path: Path, channels: int) -> None:
    from latente.data.decoding import Settings, decode

    pixels = drawn(1, (3, 30, 30))[0][0].transpose(1, 2, 0)
    path = tmp_path / "blob.png"
    Image.fromarray(pixels).save(path)
    found = projections.read_photo(run_of(tmp_path / "runs", (channels, 8, 8), filter="box"), path)
    kind = {1: "grey", 3: "rgb", 4: "rgba"}[channels]
    same = decode(path.read_bytes(), "blob.png", Settings(8, kind, "box")).pixels  # type: ignore[arg-type]
    assert same is not None
    np.testing.assert_allclose(found[0], same / 127.5 - 1, atol=1e-6)


def test_images_that_are_not_square_are_not_cut(tmp_path: Path, photo: Path) -> None:
    found = projections.read_photo(run_of(tmp_path / "runs", (3, 6, 10)), photo)
    assert found.shape == (1, 3, 6, 10) and found[0, 0, 3, 0] > 0.9 and found[0, 2, 3, 9] > 0.9


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_no_photo(tmp_path: Path, language: str) -> None:
    set_language(language)
    run = run_of(tmp_path / "runs", (3, 8, 8))
    (tmp_path / "notes.png").write_text("no picture")
    for name, key in (("gone.png", "project.no_photo"), ("notes.png", "project.bad_photo")):
        with pytest.raises(Problem) as problem:
            projections.read_photo(run, tmp_path / name)
        assert problem.value.key == key and name in str(problem.value)


def test_names(photo: Path) -> None:
    assert projections.name_of(photo) == "my-photo-1" and projections.name_of(Path("???.png")) == "photo"


def test_what_was_found_is_kept_and_read_back(tmp_path: Path) -> None:
    run, net = run_of(tmp_path / "runs", (1, 8, 8)), Styles()
    photo = net.decode(net.prior(1, torch.Generator().manual_seed(2)))
    found = project_all(net, photo, steps=3)
    path = projections.keep(run, "me", photo, found)
    assert path == run.folder / "projections" / "me.safetensors" and projections.kept(run) == ["me"]
    for space, one in found.items():
        back = projections.read_kept(run, "me", space)
        assert back[0] == space and torch.equal(back[1], one.latent) and back[3] is None
        assert all(torch.equal(a, b) for a, b in zip(back[2], one.noise, strict=True)) and len(back[2]) == 3
    assert projections.read_kept(run, "me")[0] == "w", "where edits walk"
    projections.keep(run, "me", photo, {"z": replace(found["z"], labels=torch.tensor([2]))})
    space, _, _, labels = projections.read_kept(run, "me")
    assert space == "z" and labels is not None and labels.tolist() == [2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_projections_that_are_not_there_or_damaged(tmp_path: Path, language: str) -> None:
    set_language(language)
    run, net = run_of(tmp_path / "runs", (1, 8, 8)), Styles()
    with pytest.raises(Problem) as problem:
        projections.read_kept(run, "me")
    assert problem.value.key == "project.no_such"
    photo = net.decode(torch.zeros(1, 6))
    projections.keep(run, "me", photo, project_all(net, photo, ("z",), steps=1))
    with pytest.raises(Problem) as problem:
        projections.read_kept(run, "me", "w+")
    assert problem.value.key == "project.not_in_space" and "w+" in str(problem.value)
    (run.folder / "projections" / "me.json").write_text("{")
    with pytest.raises(Problem) as problem:
        projections.read_kept(run, "me")
    assert problem.value.key == "project.damaged"
