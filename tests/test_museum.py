"""The exhibits of the failure museum, and what is read from a generator's sheets over time."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente import pictures
from latente.config import settings
from latente.diagnosis import museum
from latente.diagnosis.museum import COLOURS, EXHIBITS, Course, config, discriminant, draw, exhibit, reigns, sheet
from latente.diagnosis.verdicts import ORDER
from latente.messages import LANGUAGES, Problem, catalogue


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_and_its_twin_differ_by_what_it_says(name: str) -> None:
    shown = exhibit(name)
    sick, well = (settings(config(name, twin, seed=3)) for twin in (False, True))
    different = {setting for setting in sick if sick[setting] != well[setting]}
    assert different == set(shown.cure) and len(different) <= 2
    assert different or shown.few, "nothing saves it"
    assert {setting: well[setting][1] for setting in different} == dict(shown.cure)
    assert shown.verdict in ORDER and sick["training.seed"][1] == 3
    assert shown.minutes <= (0.5 if shown.source.startswith("points:") else 5)


def test_every_exhibit_is_described_in_both_languages() -> None:
    wanted = {f"show_{name}" for name in (*EXHIBITS, museum.DIRAC)}
    for lang in LANGUAGES:
        assert {key for key in catalogue(lang, "museum") if key.startswith("show_")} == wanted


def test_an_unknown_exhibit_names_the_nearest() -> None:
    with pytest.raises(Problem) as problem:
        exhibit("mode-colapse")
    assert problem.value.key == "museum.unknown" and "mode-collapse" in str(problem.value)


def test_a_small_set_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: Path) -> None:
    shown = museum.Exhibit(verdict="past-best", preset="vae", source=str(grey), few=5)
    monkeypatch.setitem(EXHIBITS, "tiny", shown)
    monkeypatch.setattr(museum, "_HELD_OUT", 1)
    path = museum.few("tiny", tmp_path / "here")
    with np.load(grey) as whole, np.load(path) as part:
        assert part["x_train"].shape == (5, 8, 8, 1) and part["x_test"].shape == (1, 8, 8, 1)
        every = {image.tobytes() for image in whole["images"]}
        assert {image.tobytes() for image in part["x_train"]} <= every
    before = path.stat().st_mtime_ns
    assert museum.few("tiny", tmp_path / "here") == path and path.stat().st_mtime_ns == before
    assert config("tiny", source=str(path)).data.source == str(path)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 28, 20), (1, 64, 64), (1, 80, 80)])
def test_a_sheet_gives_back_the_images_on_it(shape: tuple[int, int, int], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, *shape), np.uint8)
    path = tmp_path / "sheet.png"
    pictures.save(pictures.grid(images, 8), path)
    with Image.open(path) as picture:
        assert np.array_equal(sheet(np.asarray(picture.convert("RGB")), shape), images)


def test_the_reader_tells_classes_apart() -> None:
    """Three classes whose means differ, with noise: what it says of its own success is its success."""
    rng = np.random.default_rng(0)
    means = rng.integers(60, 190, (3, 1, 4, 4))

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 3, n)
        return np.clip(means[labels] + rng.normal(0, 20, (n, 1, 4, 4)), 0, 255).astype(np.uint8), labels

    held_out = drawn(500)
    reader = discriminant(*drawn(300), held_out)
    assert reader.right > 0.95 and reader.right == (reader(held_out[0]) == held_out[1]).mean()


def test_reigns_are_dominance_switch_and_forgetting() -> None:
    """Trousers rule, fade, and bags rule; a moment without a leader ends nothing."""
    shares = np.array(
        [[0.5, 0.2, 0.3], [0.7, 0.1, 0.2], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.05, 0.25, 0.7], [0.3, 0.4, 0.3]]
    )
    found = reigns(np.arange(6.0) * 10, shares, least=0.45)
    assert [(r.label, r.begin, r.end, r.peak) for r in found] == [(0, 0, 10, 0.7), (2, 30, 40, 0.7)]
    assert found[0].after == 0.05 and math.isnan(found[1].after)
    assert reigns(np.arange(2.0), np.full((2, 3), 1 / 3)) == []
    gap = np.array([[0.6, 0.4], [0.4, 0.4], [0.6, 0.4]])
    assert [(r.begin, r.end) for r in reigns(np.arange(3.0), gap, least=0.5)] == [(0, 2)]


def test_the_drawing_stacks_the_shares() -> None:
    """Half of the fakes are of the first class at the start and all at the end."""
    shares = np.array([[0.5, 0.5], [1.0, 0.0]])
    course = Course(("a", "b"), np.array([0.0, 100.0]), shares, 0.9, [], (np.zeros(0), np.zeros(0)))
    picture = draw(course)
    width, height = picture.size
    assert picture.getpixel((60, height - 60)) == COLOURS[0] and picture.getpixel((60, 40)) == COLOURS[1]
    assert picture.getpixel((width - 190, 40)) == COLOURS[0]
