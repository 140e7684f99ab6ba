"""Stacked MNIST: built from tiny idx files and checked against the digits that they hold; read, and counted."""

import gzip
import struct

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from latente.config import DataConfig
from latente.data import names, stacked
from latente.data.datasets import listing, load
from latente.evaluation.stacked import coverage, read_digits


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A fake MNIST of 40 and 20 digits, 8x8, and small numbers of stacks; the arrays by the name of their file."""
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LATENTE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(stacked, "TRAIN", 500)
    monkeypatch.setattr(stacked, "TEST", 300)
    rng = np.random.default_rng(0)
    content = [rng.integers(0, 256, (40, 8, 8)), rng.permutation(40) % 10]
    content += [rng.integers(0, 256, (20, 8, 8)), rng.permutation(20) % 10]
    found = {name: array.astype(np.uint8) for name, array in zip(names._IDX_FILES, content, strict=True)}
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for name, array in found.items():
        (tmp_path / "data" / "mnist" / name).write_bytes(gzip.compress(idx(array)))
    return list(found.values())


def test_every_channel_is_a_digit_of_its_split_and_the_label_names_the_three(digits):
    data = load(DataConfig(source="stacked-mnist"))
    assert data.facts["split"]["rule"] == "official" and data.train.classes == stacked.CLASSES
    for part, count, images, labels in ((data.train, 500, *digits[:2]), (data.test, 300, *digits[2:])):
        assert part.images.shape == (count, 3, 8, 8)
        which = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}  # KeyError: not a digit
        read = ["".join(str(which[np.ascontiguousarray(channel).tobytes()]) for channel in row) for row in part.images]
        assert read == [part.classes[label] for label in part.labels]
        assert part.labels.tolist() == [int(name) for name in read]


def test_channels_are_drawn_independently_and_all_digits_are_used(digits):
    labels = np.asarray(load(DataConfig(source="stacked-mnist")).train.labels)
    hundreds, tens, ones = labels // 100, labels // 10 % 10, labels % 10
    for channel in (hundreds, tens, ones):
        assert set(channel) == set(range(10))
    for pair in ((hundreds, tens), (tens, ones), (hundreds, ones)):
        assert 0.05 < np.mean(pair[0] == pair[1]) < 0.15  # 1/10, standard deviation 0.013


def test_the_same_every_time_in_blocks_of_any_size(digits, tmp_path, monkeypatch):
    first = load(DataConfig(source="stacked-mnist")).train.images.copy()
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(stacked, "block_rows", lambda row_bytes: 7)
    assert np.array_equal(load(DataConfig(source="Stacked_MNIST")).train.images, first)


def test_resolution(digits):
    assert load(DataConfig(source="stacked-mnist", resolution=16)).test.images.shape == (300, 3, 16, 16)


def test_listed_where_mnist_is(digits, tmp_path):
    rows = {row["name"]: row for row in listing()}
    assert rows["stacked-mnist"] == {"name": "stacked-mnist", "present": True, "licence": rows["mnist"]["licence"]}
    for path in (tmp_path / "data" / "mnist").iterdir():
        path.unlink()
    assert not {row["name"]: row for row in listing()}["stacked-mnist"]["present"]


# Reading them


class Brightest:
    """Reads a 2x5 image as the place of its brightest pixel."""

    image_shape = (1, 2, 5)

    def predict(self, x):
        assert x.shape[1:] == self.image_shape
        return x.flatten(1).argmax(1)


def shown(labels):
    """An image [3, 2, 5] that `Brightest` reads as the label, for each."""
    images = -torch.ones(len(labels), 3, 10)
    for place, label in enumerate(labels):
        for channel, digit in enumerate(f"{label:03}"):
            images[place, channel, int(digit)] = 1
    return images.view(-1, 3, 2, 5)


@pytest.mark.parametrize("chunk", [1, 7, 5000])
def test_every_label_is_read(chunk):
    labels = np.random.default_rng(1).permutation(1000)
    assert read_digits(shown(labels), Brightest(), chunk).tolist() == labels.tolist()


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 1, 2, 5), (4, 3, 2, 6)])
def test_images_of_another_shape_are_not_read(shape):
    with pytest.raises(ValueError, match="cannot be read"):
        read_digits(torch.zeros(shape), Brightest())


def test_coverage_against_scipy():
    rng = np.random.default_rng(2)
    real = np.concatenate([np.arange(1000), rng.integers(0, 1000, 9000) ** 2 // 1000])
    labels = np.concatenate([rng.integers(0, 900, 3000), np.full(4, 950), np.full(5, 951)])
    counts, known = np.bincount(labels, minlength=1000), np.bincount(real, minlength=1000)
    found = coverage(labels, real)
    assert (found["modes"], found["modes_5"]) == (np.unique(labels).size, np.sum(counts >= 5))
    assert found["kl"] == pytest.approx(entropy(counts, known))
    assert found["kl_uniform"] == pytest.approx(entropy(counts, np.ones(1000)))
    assert found["protocol"]["samples"] == 3009 and found["protocol"]["real_stacks"] == 10_000
