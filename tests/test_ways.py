"""Interpolation, walks and arithmetic: pictures against images made one by one, and the numbers beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latente.exploration import ways
from latente.exploration.groups import Group
from latente.exploration.invert import project
from latente.exploration.projections import keep
from latente.exploration.sources import Ground, Source, ground, source
from latente.exploration.ways import Way
from latente.messages import LANGUAGES, Problem, set_language
from latente.paths import lerp, slerp
from latente.run import Run
from styles import Styles
from test_sources import trained


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def vae(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae", grey, shared_cache, tmp_path_factory.mktemp("runs"))


def sources(place: Ground, *words: str) -> list[Source]:
    return [source(place, word) for word in words]


def test_the_ways_of_each_family(gan, vae):
    assert ways.ways(ground(gan)) == [Way("z", "lerp"), Way("z", "slerp")]
    assert ways.ways(ground(vae)) == [Way("codes", "lerp")], "its prior is a mixture: no sphere to keep to"
    styled = Ground(gan, Styles())
    assert ways.ways(styled) == [Way("z", "lerp"), Way("z", "slerp"), Way("w", "lerp")]
    photo = Source("a.png", "a.png", None, torch.zeros(1, 1, 8, 8))
    assert ways.ways(styled, [photo]) == [Way("w+", "lerp")]


def test_the_way_that_was_asked_for(gan):
    place = Ground(gan, Styles())
    assert ways.chosen(place, [], "z", None) == [Way("z", "lerp"), Way("z", "slerp")]
    assert ways.chosen(place, [], None, "slerp") == [Way("z", "slerp")]
    assert ways.chosen(place, [], "w", "slerp") == [Way("w", "slerp")]
    for space, how, key in (("y", None, "explore.no_space"), (None, "arc", "explore.unknown_way")):
        with pytest.raises(Problem) as problem:
            ways.chosen(place, [], space, how)
        assert problem.value.key == key


def test_interpolation_one_image_at_a_time(gan):
    place = ground(gan)
    sheet, film = ways.interpolate(place, sources(place, "3", "5", "8"), steps=4)
    z = [place.net.prior(1, torch.Generator().manual_seed(seed))[0] for seed in (3, 5, 8)]
    t = torch.linspace(0, 1, 4)
    for row, go in zip(sheet.blocks[0].cells, (lerp, slerp), strict=True):
        points = torch.cat([go(z[0], z[1], t)[:-1], go(z[1], z[2], t)])
        for cell, point in zip(row, points, strict=True):
            assert np.array_equal(cell, place.images(point[None], "z")[0])
    assert np.array_equal(film.frames, np.stack(sheet.blocks[0].cells[-1])), "the film is the last row"
    columns = sheet.blocks[0].columns
    assert [columns[i] for i in (0, 3, 6)] == ["seed 3", "seed 5", "seed 8"] and columns[1] == columns[4] == "0.33"
    assert set(film.facts["latents"]) == {"lerp z", "slerp z"} and np.shape(film.facts["latents"]["slerp z"]) == (7, 4)
    assert film.facts["sources"] == ["3", "5", "8"] and film.facts["checkpoint"] == 64


def test_photos_stand_above_what_was_found_of_them(vae):
    place = ground(vae)
    sheet, _ = ways.interpolate(place, sources(place, "3", "test:0"), steps=3)
    photos, way = sheet.blocks
    pixels = place.dataset.test.gather(np.array([0])).numpy()[0]
    assert np.array_equal(photos.cells[0][0], pixels) and len(photos.cells[0]) == 1, "the seed is no photo"
    assert np.array_equal(photos.cells[1][0], way.cells[0][-1])


def test_a_walk_passes_through_its_images(gan):
    for place, space in ((ground(gan), "z"), (Ground(gan, Styles()), "w")):
        some = sources(place, "1", "2", "3")
        film = ways.walk(place, some, frames=12)
        assert film.frames.shape == (12, 1, 8, 8) and film.facts["space"] == space
        own = place.images(place.all_of(some, space), space).astype(int)
        assert np.abs(film.frames[::4] - own).max() <= 1
        assert film.facts["shell"] == (space == "z")
    sheet = ways.strip(film, "t", [])
    assert [len(row) for row in sheet.blocks[0].cells] == [12] and "11" in sheet.blocks[0].rows[0]


def test_ways_begin_with_the_projection_of_a_photo(gan):
    """Its noise and all, and a seed keeps the network's."""
    place = Ground(gan, Styles(share=0.5))
    photo = place.net.decode(place.net.prior(1, torch.Generator().manual_seed(9)))
    found = project(place.net, photo, "w", steps=3)
    keep(gan, "me", photo, {"w": found})
    own, seed = found.images[0].astype(int), place.images(place.all_of(sources(place, "3"), "w"), "w")[0].astype(int)
    some = sources(place, "me", "3")
    sheet, film = ways.interpolate(place, some, steps=3)
    walk = ways.walk(place, some, frames=4)
    for frames in (film.frames, walk.frames):
        assert np.abs(frames[0] - own).max() <= 1 and np.abs(frames[2] - seed).max() <= 1
    maps = ways.noise_along(place, some, "w", lambda m: slerp(m[0], m[1], torch.tensor([0.5])))
    assert maps is not None and maps[0].shape == (1, 1, 8, 8) and 0.7 < float(maps[0].std()) < 1.3, "noise still"
    change = Group("a", torch.zeros(1, 18)), Group("b", torch.ones(1, 18))
    sheet, _ = ways.arithmetic(place, *change, sources(place, "me"), "w+", (0.0, 1.0))
    photos, block = sheet.blocks
    row = block.cells[0]
    assert np.abs(photos.cells[1][0].astype(int) - own).max() <= 1
    assert np.abs(row[2].astype(int) - own).max() <= 1 and np.array_equal(row[2], row[3])


def test_arithmetic_by_hand(vae):
    place = ground(vae)
    plus, minus = (torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (3, 2))
    targets = sources(place, "4", "6")
    sheet, facts = ways.arithmetic(place, Group("a", plus), Group("b", minus), targets, "codes", (0.5, 2.0))
    change = plus.sum(0) / 3 - minus.sum(0) / 2
    cells = sheet.blocks[0].cells
    for i, seed in enumerate((4, 6)):
        z = place.net.prior(1, torch.Generator().manual_seed(seed))
        for j, strength in enumerate((0, 0.5, 2.0)):
            assert np.abs(cells[i][2 + j].astype(int) - place.images(z + strength * change, "codes")[0]).max() <= 1
    for j, group in enumerate((plus, minus)):
        assert np.array_equal(cells[0][j], place.images(group.mean(0)[None], "codes")[0])
    assert cells[1][:2] == [None, None]
    np.testing.assert_allclose(facts["change"], change.numpy(), rtol=1e-4, atol=1e-6)
    assert facts["plus"] == {"what": "a", "n": 3} and set(facts["latents"]) == {"4", "6"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sheet_says_how_far_a_network_has_grown(gan, language):
    set_language(language)
    place = Ground(gan, Styles())
    place.net.register_buffer("grown", torch.tensor([1.0, 1.0]))
    assert len(ways.notes(place, [])) == 1, "8 of 8 pixels"
    place.net.grown[0] = 0
    assert "4 " in ways.notes(place, ["a", "b"])[-1] and "8 p" in ways.notes(place, [])[-1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pictures_are_in_the_language_in_force(gan, language):
    set_language(language)
    place = ground(gan)
    sheet, _ = ways.interpolate(place, sources(place, "3", "5"), steps=3)
    text = " ".join([sheet.title, *sheet.notes, *sheet.blocks[0].columns])
    spanish = ("Interpolación", "línea recta", "círculo", "semilla", "0,5")
    english = ("Interpolation", "straight line", "circle", "seed", "0.5")
    ours, others = (spanish, english) if language == "es" else (english, spanish)
    assert all(word in text for word in ours) and not any(word in text for word in others)
