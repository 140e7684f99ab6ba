"""`data check`: what it counts, against sets whose faults were put there."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from latente import messages
from latente.config import DataConfig
from latente.data import check
from latente.data.check import difference_hashes, examine, near_pairs, verdict
from latente.messages import Problem


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENTE_DATA", raising=False)


def smooth(seed, size=16):
    """A random picture with structure at the scale of the hash, so that different ones differ."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((size, size), Image.Resampling.BILINEAR)


def save(folder, name, image):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path) if isinstance(image, Image.Image) else path.write_bytes(image)


def test_a_clean_set(tmp_path):
    for number in range(120):
        save(tmp_path / "set", f"{'ab'[number % 2]}/{number}.png", smooth(number))
    report = examine(DataConfig(source=str(tmp_path / "set")))
    assert json.loads(json.dumps(report)) == report
    assert report["near"]["images"] == 0 and report["blank"] == 0 and report["disk"] > 120 * 3 * 16 * 16
    for language in messages.LANGUAGES:
        messages.set_language(language)
        said, fault = verdict(report, {"vae": "12 min"})
        assert not fault and said[-1] == messages.say("data.check_good")
        assert any("vae: 12 min" in sentence for sentence in said)


def test_everything_that_can_be_noted(tmp_path):
    folder = tmp_path / "set"
    for number in range(50):
        save(folder, f"many/{number}.png", smooth(number))
    save(folder, "few/copy.png", smooth(7))
    nearly = np.asarray(smooth(9)).astype(int) + np.random.default_rng(0).integers(-3, 4, (16, 16, 3))
    save(folder, "few/nearly.png", Image.fromarray(nearly.clip(0, 255).astype(np.uint8)))
    save(folder, "many/blank.png", Image.new("RGB", (16, 16), "red"))
    save(folder, "many/grey.png", smooth(99).convert("L"))
    save(folder, "many/cut.png", b"")
    save(folder, "many/notes.txt", b"words")
    report = examine(DataConfig(source=str(folder), on_bad="stop"))  # looking stops at nothing
    assert report["count"] == 54 and report["left_out_count"] == 1 and report["blank"] == 1
    assert report["duplicates"]["extra"] == 1
    assert report["near"]["images"] == 2
    assert sorted(report["near"]["examples"][0]) == ["few/nearly.png", "many/9.png"]
    assert report["classes"] == ["few", "many"] and report["class_counts"] == [2, 52]
    said, fault = verdict(report)
    assert not fault and said[-1] == messages.say("data.check_notes")
    text = "\n".join(said)
    for words in (
        "copies beyond the first: 1",
        "few/nearly.png",
        "single colour: 1",
        "26 times",
        "Grey in a set",
        "(many/cut.png)",
    ):
        assert words in text, words


def test_more_than_a_tenth_bad_is_a_fault(tmp_path):
    for number in range(8):
        save(tmp_path / "set", f"{number}.png", smooth(number))
    save(tmp_path / "set", "bad.png", b"")
    report = examine(DataConfig(source=str(tmp_path / "set")))
    said, fault = verdict(report)
    assert fault and "1 of 9" in "\n".join(said) and said[-1] == messages.say("data.check_bad")


def test_a_tenth_bad_is_none(tmp_path):
    for number in range(9):
        save(tmp_path / "set", f"{number}.png", smooth(number))
    save(tmp_path / "set", "bad.png", b"")
    assert not verdict(examine(DataConfig(source=str(tmp_path / "set"))))[1]


def test_different_sizes_are_a_note_and_the_rest_is_still_checked(tmp_path):
    for number in range(12):
        save(tmp_path / "set", f"{number}.png", smooth(number, 40 + number))
    report = examine(DataConfig(source=str(tmp_path / "set")))
    assert report["needs_resolution"]["advice"] == 32 and report["resolution"] == 32 and report["size_count"] == 12
    said, fault = verdict(report)
    assert not fault and any("--resolution" in sentence for sentence in said)


@pytest.mark.parametrize("content", [{}, {"a.png": b""}, {"a.txt": b"words"}])
def test_nothing_to_look_at_is_a_fault(tmp_path, content):
    (tmp_path / "set").mkdir()
    for name, data in content.items():
        save(tmp_path / "set", name, data)
    report = examine(DataConfig(source=str(tmp_path / "set")))
    json.dumps(report)
    for language in messages.LANGUAGES:
        messages.set_language(language)
        said, fault = verdict(report)
        assert fault and len(said) == 2


def test_no_such_set_is_a_problem(tmp_path):
    with pytest.raises(Problem):
        examine(DataConfig(source=str(tmp_path / "nosuch")))


# Near duplicates


def test_hash_is_the_comparison_of_neighbouring_cells():
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 18), dtype=np.uint8)  # cells of 2 x 2
    cells = image[0, 0].reshape(8, 2, 9, 2).mean((1, 3))
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    hashes, blank = difference_hashes(image)
    assert int(hashes[0]) == sum(1 << number for number, bit in enumerate(bits) if bit)
    assert not blank[0]


def test_hash_survives_resizing_and_brightness():
    big = np.asarray(smooth(3, 64))
    small = np.asarray(Image.fromarray(big).resize((32, 32), Image.Resampling.BOX))
    bright = np.clip(small.astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    hashes = [int(difference_hashes(image.transpose(2, 0, 1)[None])[0][0]) for image in (big, small, bright)]
    assert max((hashes[0] ^ other).bit_count() for other in hashes) <= 3
    other = int(difference_hashes(np.asarray(smooth(4, 64)).transpose(2, 0, 1)[None])[0][0])
    assert (hashes[0] ^ other).bit_count() > 15


def test_blank_images():
    images = np.full((3, 3, 16, 16), 90, np.uint8)
    images[1] += np.random.default_rng(0).integers(0, 5, (3, 16, 16), dtype=np.uint8)
    images[2, :, 4] = 200
    assert difference_hashes(images)[1].tolist() == [True, True, False]


def test_pairs_are_those_of_the_comparison_of_all_with_all():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    for row in range(0, 100, 2):  # the first hundred are fifty pairs that differ in up to five bits
        changed = int(hashes[row])
        for bit in rng.choice(64, rng.integers(0, 6), replace=False):
            changed ^= 1 << int(bit)
        hashes[row + 1] = changed
    left_out = np.zeros(400, np.bool_)
    left_out[:10] = True
    expected = {
        (one, other)
        for one in range(10, 400)
        for other in range(one + 1, 400)
        if (int(hashes[one]) ^ int(hashes[other])).bit_count() <= check.HASH_BITS
    }
    assert len(expected) > 10
    assert {tuple(pair) for pair in near_pairs(hashes, left_out).tolist()} == expected


def test_a_crowd_of_equal_hashes_stays_linear():
    hashes = np.zeros(5000, np.uint64)
    pairs = near_pairs(hashes, np.zeros(5000, np.bool_))
    assert len(pairs) <= 4 * 16 * 5000 and len(np.unique(pairs)) == 5000


def test_report_does_not_depend_on_the_format(tmp_path):
    images = np.stack([np.asarray(smooth(number)) for number in range(30)])
    np.save(tmp_path / "x.npy", images)
    report = examine(DataConfig(source=str(tmp_path / "x.npy")))
    file = io.BytesIO()
    np.save(file, images)
    assert report["formats"] == {"npy": 30} and report["near"]["images"] == 0 and report["sizes"] == {"16x16": 30}
