"""idx, .npy, .npz and CIFAR files, written here byte by byte or by numpy."""

import gzip
import struct

import numpy as np
import pytest

from latente.data import arrays
from latente.data.reading import open_path
from latente.messages import Problem


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def rows(part):
    return np.concatenate(list(part.blocks()))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 100)  # so that every file here is read in several


@pytest.mark.parametrize("zipped", [True, False])
def test_folder_of_idx_files(tmp_path, zipped):
    sets = {
        "train": (random_pixels(9, 5, 6), random_pixels(9)),
        "t10k": (random_pixels(4, 5, 6, seed=1), random_pixels(4)),
    }
    for split, (images, labels) in sets.items():
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = gzip.compress(idx(array)) if zipped else idx(array)
            (tmp_path / f"{split}-{name}-ubyte{'.gz' if zipped else ''}").write_bytes(data)
    (tmp_path / "PROVENANCE.txt").write_text("somewhere")
    found = open_path(tmp_path)
    assert found.kind == "idx"
    for part, (images, labels) in zip((*found.train, *found.test), sets.values(), strict=True):
        assert part.shape == (*images.shape, 1)
        assert np.array_equal(rows(part)[..., 0], images) and np.array_equal(part.labels, labels)


def test_idx_without_labels_or_test_split(tmp_path):
    images = random_pixels(9, 5, 6)
    (tmp_path / "emnist-letters-train-images-idx3-ubyte").write_bytes(idx(images))
    found = open_path(tmp_path)
    assert np.array_equal(rows(found.train[0])[..., 0], images)
    assert found.train[0].labels is None and not found.test
    alone = open_path(tmp_path / "emnist-letters-train-images-idx3-ubyte")
    assert np.array_equal(rows(alone.train[0])[..., 0], images)


@pytest.mark.parametrize("damage", ["header", "short", "gzip", "type"])
def test_damaged_idx(tmp_path, damage):
    data = idx(random_pixels(9, 5, 6))
    data = {"header": data[:7], "short": data[:-1], "gzip": data, "type": b"\0\0\x0d" + data[3:]}[damage]
    data = gzip.compress(data)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(data[:-20] if damage == "gzip" else data)
    with pytest.raises(Problem, match=r"cut short"):
        rows(open_path(tmp_path).train[0])


@pytest.mark.parametrize(
    ("shape", "to_rows"),
    [
        ((7, 5, 6), lambda a: a[..., None]),
        ((7, 5, 6, 3), lambda a: a),
        ((7, 5, 6, 1), lambda a: a),
        ((7, 3, 5, 6), lambda a: a.transpose(0, 2, 3, 1)),
        ((7, 4, 8, 8), lambda a: a.transpose(0, 2, 3, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_numpy_layouts(tmp_path, shape, to_rows, kind):
    array = random_pixels(*shape)
    path = tmp_path / f"x.{kind[:3]}"
    if kind == "npy":
        np.save(path, array)
    else:
        path = tmp_path / "x.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(path, images=array)
    part = open_path(path).train[0]
    assert part.shape == to_rows(array).shape
    assert np.array_equal(rows(part), to_rows(array))


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("arr_0", None), ("data", "targets")])
def test_keys(tmp_path, images, labels):
    content = {images: random_pixels(5, 4, 4), "something": np.zeros(3)}
    if labels:
        content[labels] = np.arange(5)[:, None]
    np.savez(tmp_path / "x.npz", **content)
    part = open_path(tmp_path / "x.npz").train[0]
    assert np.array_equal(rows(part)[..., 0], content[images])
    assert (part.labels is None) if labels is None else np.array_equal(part.labels, np.arange(5))


def test_npz_with_its_own_split(tmp_path):
    train, test = random_pixels(5, 4, 4), random_pixels(3, 4, 4, seed=1)
    np.savez(tmp_path / "x.npz", x_train=train, y_train=np.zeros(5, int), x_test=test, y_test=np.ones(3, int))
    found = open_path(tmp_path / "x.npz")
    assert np.array_equal(rows(found.train[0])[..., 0], train) and np.array_equal(rows(found.test[0])[..., 0], test)
    assert found.test[0].labels.tolist() == [1, 1, 1]


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": np.array([Trap(), Trap()])}, "Python objects"),
        ({"images": random_pixels(3, 4, 4), "labels": np.array([Trap()] * 3)}, "Python objects"),
        ({"images": np.zeros((3, 4, 4), np.float32)}, "float32"),
        ({"images": random_pixels(3, 4)}, r"\[3, 4\]"),
        ({"images": random_pixels(3, 5, 6, 7)}, "shape"),
        ({"images": random_pixels(0, 5, 6)}, "no images"),
        ({"images": np.asfortranarray(random_pixels(3, 4, 4))}, "Fortran"),
        ({"images": random_pixels(3, 4, 4), "labels": np.zeros(4, int)}, "labels"),
        ({"images": random_pixels(3, 4, 4), "labels": np.zeros(3)}, "labels"),
        ({"cats": random_pixels(3, 4, 4), "dogs": random_pixels(3, 4, 4)}, "cats, dogs"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, content, sentence):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(Problem, match=sentence):
        open_path(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_numpy_file_cut_short(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    array = random_pixels(20, 8, 8)
    np.save(path, array) if kind == "npy" else np.savez_compressed(path, images=array)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Problem, match="cut short"):
        rows(open_path(path).train[0])


def test_cifar_binary_batches(tmp_path):
    expected = {}
    for number, name in enumerate((*arrays.CIFAR_TRAIN, arrays.CIFAR_TEST)):
        images, labels = random_pixels(4, 3, 32, 32, seed=number), np.arange(4, dtype=np.uint8)
        (tmp_path / name).write_bytes(
            b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
        )
        expected[name] = images.transpose(0, 2, 3, 1)
    found = open_path(tmp_path)
    assert found.kind == "cifar" and len(found.train) == 5 and found.classes[3] == "cat"
    for part, images in zip((*found.train, *found.test), expected.values(), strict=True):
        assert np.array_equal(rows(part), images) and part.labels.tolist() == [0, 1, 2, 3]
    (tmp_path / arrays.CIFAR_TEST).write_bytes(b"\0" * 3072)
    with pytest.raises(Problem, match="cut short"):
        open_path(tmp_path)
