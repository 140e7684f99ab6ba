"""Images that come as arrays: idx files, .npy, .npz, CIFAR's binary batches. Read in blocks; never unpickled."""

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latente.messages import Problem

_BLOCK_BYTES = 1 << 22  # read at once
_IDX = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
_IMAGE_KEYS = ("images", "image", "x", "X", "data", "imgs", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "Y", "targets", "target")
_TRAIN_KEYS = (("x_train", "y_train"), ("train_images", "train_labels"), ("X_train", "y_train"))
_TEST_KEYS = (("x_test", "y_test"), ("test_images", "test_labels"), ("X_test", "y_test"))
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST = "test_batch.bin"
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Part(NamedTuple):
    """Images in one file, and their labels."""

    shape: tuple[int, int, int, int]  # [N, H, W, C]
    blocks: Callable[[], Iterator[NDArray[np.uint8]]]  # pieces [n, H, W, C], in order
    labels: NDArray[Any] | None  # [N], integers or text


@dataclass(frozen=True)
class Arrays:
    """A set that comes as arrays."""

    kind: str  # idx, npy, npz, cifar, digits
    path: Path
    fingerprint: str
    train: Sequence[Part]
    test: Sequence[Part]  # empty where there is no official test split
    classes: tuple[str, ...] = ()  # of labels 0, 1, ...; empty: as the labels say


def open_folder(folder: Path) -> Arrays | None:
    """A folder of idx files or of CIFAR batches; None for any other folder."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # x.gz comes before x, which then takes its place
        match = _IDX.search(path.name)
        if match and path.is_file():
            found["train" if match[1] == "train" else "test", match[2]] = path
    if ("train", "images") in found:
        parts = {split: _idx_part(found, split) for split in ("train", "test") if (split, "images") in found}
        files = [path for _, path in sorted(found.items())]
        return Arrays("idx", folder, _fingerprint(files), [parts["train"]], [parts["test"]] if "test" in parts else [])
    for place in (folder, folder / "cifar-10-batches-bin"):
        if all((place / name).is_file() for name in (*CIFAR_TRAIN, CIFAR_TEST)):
            return _cifar(place)
    return None


def open_file(path: Path, start: bytes) -> Arrays | None:
    """An .npy, .npz or idx file, known by its first bytes; None for any other file."""
    if start.startswith(b"\x93NUMPY"):
        part = _npy_part(path, partial(_open, path), None, path.name)
        return Arrays("npy", path, _fingerprint([path]), [part], [])
    if start.startswith(b"PK") and path.suffix.lower() == ".npz":
        return _npz(path)
    if start[:3] == b"\0\0\x08" or (start[:2] == b"\x1f\x8b" and _IDX.search(path.name)):
        return Arrays("idx", path, _fingerprint([path]), [_idx_part({("train", "images"): path}, "train")], [])
    return None


def _fingerprint(paths: Sequence[Path]) -> str:
    states = [(path.resolve(), path.stat()) for path in paths]
    return "\n".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)


def block_rows(row_bytes: int) -> int:
    """How many images are read at once."""
    return max(1, _BLOCK_BYTES // max(1, row_bytes))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _pieces(open_at_rows: Callable[[], IO[bytes]], shape: tuple[int, ...], path: Path) -> Iterator[NDArray[np.uint8]]:
    """Rows of a stream, a block at a time, each of shape [n, *shape[1:]]."""
    row = math.prod(shape[1:])
    step = block_rows(row)
    with open_at_rows() as file:
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            try:
                data = file.read(count * row)
            except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
                data = b""
            if len(data) != count * row:
                raise Problem("data.short_array", path=path, count=shape[0])
            yield np.frombuffer(data, np.uint8).reshape(count, *shape[1:])


# idx: two zero bytes, a type (8 is uint8), the number of dimensions, their sizes, the values; all big-endian


def _open_idx(path: Path) -> tuple[IO[bytes], tuple[int, ...]]:
    file: IO[bytes] = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[assignment]
    try:
        zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
    except (struct.error, OSError, EOFError, zlib.error):
        file.close()
        raise Problem("data.broken_idx", path=path) from None
    if zeros or kind != 8 or not 1 <= dimensions <= 4:
        file.close()
        raise Problem("data.broken_idx", path=path)
    return file, shape


def _idx_part(found: dict[tuple[str, str], Path], split: str) -> Part:
    path = found[split, "images"]
    file, shape = _open_idx(path)
    file.close()
    layout = _layout(shape, path, path.name)
    part = Part(layout.shape, lambda: map(layout.arrange, _pieces(lambda: _open_idx(path)[0], shape, path)), None)
    if (split, "labels") not in found:
        return part
    where = found[split, "labels"]
    file, length = _open_idx(where)
    file.close()
    labels = np.concatenate(list(_pieces(lambda: _open_idx(where)[0], length, where)) or [np.zeros(0, np.uint8)])
    return part._replace(labels=_checked_labels(labels, shape[0], where, where.name))


# .npy and .npz, streamed: the member of an .npz may be compressed, so it cannot be mapped


class _Layout(NamedTuple):
    shape: tuple[int, int, int, int]
    arrange: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def _layout(shape: tuple[int, ...], path: Path, key: str) -> _Layout:
    """[N, H, W], [N, H, W, C] or [N, C, H, W] -> [N, H, W, C]; the last axis is tried first."""
    bands = (1, 3, 4)
    if 0 in shape:
        raise Problem("data.no_images", path=path)
    if len(shape) == 3:
        return _Layout((shape[0], shape[1], shape[2], 1), lambda block: block[..., None])
    if len(shape) == 4 and shape[3] in bands:
        return _Layout((shape[0], shape[1], shape[2], shape[3]), lambda block: block)
    if len(shape) == 4 and shape[1] in bands:
        return _Layout((shape[0], shape[2], shape[3], shape[1]), lambda block: block.transpose(0, 2, 3, 1))
    raise Problem("data.array_shape", path=path, key=key, shape=list(shape))


def _npy_header(file: IO[bytes], path: Path, key: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile):
        raise Problem("data.broken_archive", path=path) from None
    if dtype.hasobject:
        raise Problem("data.pickled", path=path, key=key)
    return shape, bool(fortran), dtype


def _npy_part(path: Path, open_file: Callable[[], IO[bytes]], labels: NDArray[Any] | None, key: str) -> Part:
    with open_file() as file:
        shape, fortran, dtype = _npy_header(file, path, key)
    if dtype != np.uint8:
        raise Problem("data.array_type", path=path, key=key, dtype=dtype)
    if fortran and len(shape) > 1:
        raise Problem("data.array_order", path=path, key=key)
    layout = _layout(shape, path, key)
    if labels is not None:
        labels = _checked_labels(labels, shape[0], path, key)

    def open_rows() -> IO[bytes]:
        opened = open_file()
        _npy_header(opened, path, key)
        return opened

    return Part(layout.shape, lambda: map(layout.arrange, _pieces(open_rows, shape, path)), labels)


def _checked_labels(labels: NDArray[Any], count: int, path: Path, key: str) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "iubUS":
        shape = list(labels.shape)
        raise Problem("data.array_labels", path=path, key=key, shape=shape, dtype=labels.dtype, count=count)
    return labels


def _npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile:
        raise Problem("data.broken_archive", path=path) from None

    def part(images: str, labels: str | None) -> Part:
        found = _load_labels(path, labels) if labels in keys else None
        return _npy_part(path, partial(_open_member, path, images), found, images)

    train = [part(*names) for names in _TRAIN_KEYS if names[0] in keys][:1]
    test = [part(*names) for names in _TEST_KEYS if names[0] in keys][:1]
    if not train:
        test = []
        images = next((key for key in _IMAGE_KEYS if key in keys), keys[0] if len(keys) == 1 else None)
        if images is None:
            raise Problem("data.array_keys", path=path, keys=", ".join(keys) or "-", expected="images, labels")
        train = [part(images, next((key for key in _LABEL_KEYS if key in keys), None))]
    return Arrays("npz", path, _fingerprint([path]), train, test)


def _open_member(path: Path, key: str) -> IO[bytes]:
    with zipfile.ZipFile(path) as archive:  # the open member keeps the file open
        return archive.open(f"{key}.npy")


def _load_labels(path: Path, key: str | None) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as content:
            labels: NDArray[Any] = content[key]
    except ValueError:
        raise Problem("data.pickled", path=path, key=key) from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        raise Problem("data.broken_archive", path=path) from None
    return labels


# CIFAR-10, binary version: records of a label byte and 3072 bytes, [3, 32, 32]


def _cifar(folder: Path) -> Arrays:
    train = [_cifar_part(folder / name) for name in CIFAR_TRAIN]
    test = _cifar_part(folder / CIFAR_TEST)
    files = [folder / name for name in (*CIFAR_TRAIN, CIFAR_TEST)]
    return Arrays("cifar", folder, _fingerprint(files), train, [test], _CIFAR_CLASSES)


def _cifar_part(path: Path) -> Part:
    count, rest = divmod(path.stat().st_size, 3073)
    if rest or not count:
        raise Problem("data.short_array", path=path, count=count)
    labels = np.memmap(path, np.uint8, "r", shape=(count, 3073))[:, 0].copy()

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for block in _pieces(partial(_open, path), (count, 3073), path):
            yield block[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [n, 32, 32, 3]

    return Part((count, 32, 32, 3), blocks, labels)
