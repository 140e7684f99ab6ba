"""Where a way begins: seeds, held-out images, photos; and the latents that they get."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latente import pictures, training
from latente.exploration import sources
from latente.exploration.invert import project
from latente.exploration.projections import keep
from latente.exploration.sources import Ground, Source, ground, source
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run
from styles import Styles
from toy import toy


def trained(name: str, source: Path, cache: Path, folder: Path) -> Run:
    """A run of a preset made small, which has hardly begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(cache))
        return training.train(toy(name, source, sample_every=64, checkpoint_every=64), out=folder)


@pytest.fixture(scope="module")
def vae(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan conditional", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def plain(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def styled(plain: Run) -> Ground:
    """A generator of styles, followed by hand, in the folder of another run: only its name and its facts are read."""
    return Ground(plain, Styles(), steps=3)


def test_a_seed_is_a_draw_of_the_prior(vae):
    place = ground(vae)
    z = place.net.prior(1, torch.Generator().manual_seed(7))[0]
    assert torch.equal(place.of(source(place, "7"), "codes"), z)
    again = place.all_of([source(place, word) for word in ("3", "7")], "codes")
    assert torch.equal(again[1], z) and not torch.equal(again[0], z)


def test_an_encoder_gives_images_their_codes(vae):
    place = ground(vae)
    image = place.dataset.test.gather(np.array([1]))
    with torch.no_grad():
        expected = place.net.encode(image.float() / 127.5 - 1)[0]
    assert torch.equal(place.of(source(place, "test:1"), "codes"), expected)
    path = Path(vae.folder) / "face.png"
    pictures.save(pictures.single(image[0].numpy()), path)
    photo = source(place, str(path))
    assert torch.equal(place.of(photo, "codes"), expected) and photo.name == "face.png" and photo.real


def test_images_are_those_of_the_decoder(vae):
    place = ground(vae)
    z = place.net.prior(300, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = pictures.to_pixels(place.net.decode(z).numpy())
    assert np.array_equal(place.images(z, "codes"), expected)


def test_a_conditional_generator_is_told_one_class(gan):
    z = torch.zeros(1, 4)
    with torch.no_grad():
        for label in (0, 2):
            place = ground(gan, label)
            assert np.array_equal(
                place.images(z, "z"), pictures.to_pixels(place.net.decode(z, torch.tensor([label])).numpy())
            )
    assert ground(gan).label == 0
    with pytest.raises(Problem) as problem:
        ground(gan, 3)
    assert problem.value.key == "run.no_such_label"


def test_styles_truncation_and_layers(styled):
    net = styled.net
    z = net.prior(1, torch.Generator().manual_seed(5))
    w = net.mapping(z)
    one = source(styled, "5")
    assert torch.equal(styled.of(one, "w"), w[0])
    assert torch.equal(styled.of(one, "w+").view(3, -1), net.broadcast(w)[0])
    plain = styled.images(w, "w")
    assert np.array_equal(styled.images(z, "z"), plain)
    assert np.array_equal(styled.images(net.broadcast(w).flatten(1), "w+"), plain)
    half = Ground(styled.run, net, psi=0.5)
    expected = pictures.to_pixels(net.synthesis(net.broadcast(w, 0.5)).numpy())
    for latents, space in ((z, "z"), (w, "w"), (net.broadcast(w).flatten(1), "w+")):
        assert np.array_equal(half.images(latents, space), expected), space


def test_a_photo_is_projected_once(styled, monkeypatch):
    calls = []

    def looked_for(*args, **kwargs):
        calls.append(args[2])
        return project(*args, **kwargs)

    monkeypatch.setattr(sources, "project", looked_for)
    photo = torch.zeros(1, 1, 8, 8)
    for space in ("w", "w", "w+"):
        latent = styled.of_photo(photo, "a.png", space).latent
        assert latent.shape == ((18,) if space == "w+" else (6,)) and not latent.requires_grad
    assert calls == ["w", "w+"]


def test_who_compares_photos_may_have_to_be_trained_first(plain):
    """So nothing forbids gradients when they are asked for."""
    asked = []
    place = Ground(plain, Styles(), steps=1, eyes=lambda: asked.append(torch.is_grad_enabled()))
    place.all_of([Source("a.png", "a.png", None, torch.zeros(1, 1, 8, 8)), source(place, "3")], "w")
    assert asked == [True]


def test_a_photo_that_was_kept_is_not_looked_for_again(styled, monkeypatch):
    photo = torch.zeros(1, 1, 8, 8)
    found = project(styled.net, photo, "w+", steps=2)
    keep(styled.run, "me", photo, {"w+": found})
    monkeypatch.setattr(sources, "project", None)
    kept = source(styled, "me")
    assert kept.real and torch.equal(styled.of(kept, "w+"), found.latent.flatten())
    assert kept.photo is not None and torch.equal(kept.photo, photo), "to be shown above what was found of it"


@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_a_photo_looks_as_its_projection_did(styled, space, tmp_path):
    """In the space that it was found in and in every richer one, noise and all."""
    net = styled.net
    photo = net.decode(net.prior(1, torch.Generator().manual_seed(9)))
    found = project(net, photo, space, steps=4)
    keep(styled.run, f"in-{space.strip('+')}", photo, {space: found})
    me = source(styled, f"in-{space.strip('+')}")
    for wanted in ("z", "w", "w+")[("z", "w", "w+").index(space) :]:
        noise = styled.noise_of([source(styled, "5"), me], wanted)
        images = styled.images(styled.all_of([source(styled, "5"), me], wanted), wanted, noise)
        assert np.abs(images[1].astype(int) - found.images[0]).max() <= 1
        assert np.array_equal(images[0], styled.images(styled.of_seed(5, wanted)[None], wanted)[0]), "its own noise"
        assert not np.array_equal(images[1], styled.images(styled.of(me, wanted)[None], wanted)[0]), "noise matters"
        assert styled.photo_of(me, wanted).space == space
    assert styled.noise_of([source(styled, "5")], "w") is None
    if space != "z":
        with pytest.raises(Problem) as problem:
            styled.of(me, "z")
        assert problem.value.key == "project.not_in_space"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_photo_of_another_class_is_not_shown_as_this_one(gan, language):
    set_language(language)
    photo = torch.zeros(1, 1, 8, 8)
    keep(gan, "two", photo, {"z": project(gan.network(), photo, "z", steps=1, labels=torch.tensor([2]))})
    place = ground(gan, 1)
    with pytest.raises(Problem, match="--label 2") as problem:
        place.of(source(place, "two"), "z")
    assert problem.value.key == "explore.other_class"
    place = ground(gan, 2)
    assert place.of(source(place, "two"), "z").shape == (4,)


def test_shells(vae, gan, styled, monkeypatch):
    place = ground(vae)
    assert place.net.mixture is not None and not place.shell("codes"), "codes of a mixture lie anywhere"
    normal = replace(vae.config, model=replace(vae.config.model, prior="normal"))
    with monkeypatch.context() as patch:
        patch.setattr(place.net, "mixture", None)
        patch.setattr(Run, "config", normal)
        assert place.shell("codes")
    assert ground(gan).shell("z") and styled.shell("z") and not styled.shell("w")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("word", "key"),
    [("nobody", "explore.no_source"), ("test:99", "explore.no_held_out"), ("test:x", "explore.no_held_out")]
    + [("none.png", "project.no_photo"), ("-3", "explore.no_source"), (f"{2**63}", "explore.no_source")],
)
def test_a_word_that_is_no_source(word, key, language, vae):
    set_language(language)
    with pytest.raises(Problem, match=word) as problem:
        source(ground(vae), word)
    assert problem.value.key == key


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_picture_that_cannot_be_read(language, vae, tmp_path):
    set_language(language)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises(Problem, match=r"cut\.png"):
        source(ground(vae), str(tmp_path / "cut.png"))


def test_photos_are_prepared_as_the_images_were(vae, tmp_path):
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "wide.png")
    photo = source(ground(vae), str(tmp_path / "wide.png")).photo
    assert photo is not None and photo.shape == (1, 1, 8, 8)


def test_truncation_needs_styles(vae):
    with pytest.raises(Problem) as problem:
        ground(vae, psi=0.5)
    assert problem.value.key == "explore.no_styles"
    with pytest.raises(Problem):
        ground(vae).check("w")


def test_listed():
    assert sources.listed(torch.tensor([[1 / 3, 2.0]])) == [[0.333333, 2.0]]
