"""Sets with a name: where they are looked for, downloaded from a server of our own, or refused."""

import gzip
import hashlib
import http.server
import io
import struct
import sys
import tarfile
import threading
from dataclasses import replace

import numpy as np
import pytest

from latente import messages
from latente.config import DataConfig
from latente.data import arrays, names
from latente.data.datasets import listing, load
from latente.messages import Problem


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LATENTE_DATA", str(tmp_path / "data"))


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files():
    rng = np.random.default_rng(0)
    content = [rng.integers(0, 256, (12, 6, 6)), np.arange(12) % 10, rng.integers(0, 256, (4, 6, 6)), np.arange(4)]
    return {
        name: gzip.compress(idx(array.astype(np.uint8))) for name, array in zip(names._IDX_FILES, content, strict=True)
    }


def put(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.fixture
def server(tmp_path):
    """A web server of this machine, for the files in `tmp_path / web`."""
    (tmp_path / "web").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "web"))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


@pytest.mark.parametrize("folder", ["fashion_mnist", "fashion-mnist", "FashionMNIST"])
@pytest.mark.parametrize("name", ["fashion-mnist", "fashion_mnist", "Fashion MNIST"])
def test_local_copy(tmp_path, folder, name):
    put(tmp_path / "data" / folder, idx_files())
    data = load(DataConfig(source=name))
    assert (len(data.train), len(data.test)) == (12, 4)
    assert data.train.classes[5] == "Sandal" and data.train.labels.tolist() == [*range(10), 0, 1]


def test_folder_given_by_path_gets_the_class_names_of_its_name(tmp_path):
    put(tmp_path / "data" / "fashion_mnist", idx_files())
    assert load(DataConfig(source=str(tmp_path / "data" / "fashion_mnist"))).train.classes[8] == "Bag"


def test_incomplete_copy_is_not_taken(tmp_path):
    files = idx_files()
    del files["t10k-images-idx3-ubyte.gz"]
    put(tmp_path / "data" / "mnist", files)
    assert names.find("mnist") is None


def test_download(tmp_path, server, monkeypatch):
    files = idx_files()
    for name, data in files.items():
        (tmp_path / "web" / name).write_bytes(data)
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    # The first mirror is down
    known = replace(names.NAMED["kmnist"], files=sums, mirrors=("http://127.0.0.1:9/", server))
    monkeypatch.setitem(names.NAMED, "kmnist", known)
    data = load(DataConfig(source="kmnist"))
    assert (len(data.train), len(data.test)) == (12, 4) and data.train.classes[0] == "o"
    (tmp_path / "web").rename(tmp_path / "gone")
    assert np.array_equal(load(DataConfig(source="kmnist")).train.images, data.train.images)


def test_download_with_another_checksum_is_refused(tmp_path, server, monkeypatch):
    for name, data in idx_files().items():
        (tmp_path / "web" / name).write_bytes(data)
    monkeypatch.setitem(names.NAMED, "mnist", replace(names.NAMED["mnist"], mirrors=(server,)))
    with pytest.raises(Problem, match="ValueError"):
        load(DataConfig(source="mnist"))
    assert names.find("mnist") is None


@pytest.mark.parametrize("language", messages.LANGUAGES)
@pytest.mark.parametrize("name", names.NAMED)
def test_without_network_the_message_says_what_was_tried_and_what_to_do(monkeypatch, name, language):
    monkeypatch.setitem(names.NAMED, name, replace(names.NAMED[name], mirrors=("http://127.0.0.1:9/",)))
    messages.set_language(language)
    with pytest.raises(Problem) as caught:
        load(DataConfig(source=name))
    first = next(iter(names.NAMED[name].files))
    sentence = str(caught.value)
    assert f"http://127.0.0.1:9/{first}" in sentence and "LATENTE_DATA" in sentence and name in sentence


def test_checksums_are_md5_sums():
    sums = [md5 for known in names.NAMED.values() for md5 in known.files.values() if md5]
    assert len(sums) == len(set(sums)) == 13 and all(len(md5) == 32 and int(md5, 16) for md5 in sums)


def cifar_archive():
    """The official archive's layout, with three images a batch."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number, name in enumerate((*arrays.CIFAR_TRAIN, arrays.CIFAR_TEST, "batches.meta.txt")):
            data = b"".join(bytes([label]) + bytes([10 * number + label]) * 3072 for label in range(3))
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("form", ["archive", "folder", "batches"])
def test_cifar10(tmp_path, form):
    folder = tmp_path / "data" / "cifar-10"
    put(folder, {"cifar-10-binary.tar.gz": cifar_archive()})
    if form != "archive":
        with tarfile.open(folder / "cifar-10-binary.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        (folder / "cifar-10-binary.tar.gz").unlink()
    if form == "batches":
        for path in (folder / "cifar-10-batches-bin").iterdir():
            path.rename(folder / path.name)
    data = load(DataConfig(source="cifar10", channels="rgb"))
    assert data.train.images.shape == (15, 3, 32, 32) and data.test.images.shape == (3, 3, 32, 32)
    assert data.train.classes[:3] == ("airplane", "automobile", "bird")
    assert data.train.images[:, 1, 5, 5].tolist() == [10 * batch + label for batch in range(5) for label in range(3)]
    assert data.test.labels.tolist() == [0, 1, 2]


def test_cut_cifar_archive_is_a_sentence(tmp_path):
    put(tmp_path / "data" / "cifar10", {"cifar-10-binary.tar.gz": cifar_archive()[:200]})
    assert {item["name"]: item["present"] for item in listing()}["cifar10"]  # listing does not unpack
    with pytest.raises(Problem, match="cut short"):
        load(DataConfig(source="cifar10"))


def test_frey_from_the_original_file(tmp_path, server, monkeypatch):
    from scipy.io import savemat

    faces = np.random.default_rng(0).integers(0, 256, (30, 28, 20), dtype=np.uint8)
    savemat(tmp_path / "web" / "frey_rawface.mat", {"ff": faces.reshape(30, 560).T})
    monkeypatch.setitem(names.NAMED, "frey", replace(names.NAMED["frey"], mirrors=(server,)))
    data = load(DataConfig(source="frey"))
    found = {image.tobytes() for part in (data.train, data.test) for image in part.images}
    assert found == {face.tobytes() for face in faces} and data.facts["shape"] == [1, 28, 20]


def test_digits():
    from sklearn.datasets import load_digits

    data = load(DataConfig(source="digits"))
    assert data.facts["count"] == 1797 and data.facts["shape"] == [1, 8, 8]
    total = data.train.images.sum(dtype=int) + data.test.images.sum(dtype=int)
    assert abs(total / 255 * 16 / load_digits().images.sum() - 1) < 1e-3
    assert data.train.classes == tuple("0123456789")


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_digits_without_scikit_learn(monkeypatch, language):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    messages.set_language(language)
    with pytest.raises(Problem, match="pip install scikit-learn"):
        load(DataConfig(source="digits"))


def test_listing(tmp_path):
    put(tmp_path / "data" / "mnist", idx_files())
    found = {item["name"]: item["present"] for item in listing()}
    assert found == {"caras": True, "mnist": True, "fashion-mnist": False, "kmnist": False, "cifar10": False} | {
        "frey": False,
        "stacked-mnist": True,
        "digits": True,
        **{f"points:{world}": True for world in ("ring8", "grid25", "spiral", "line")},
    }
