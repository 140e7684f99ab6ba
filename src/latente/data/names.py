"""Sets that are known by name: where a copy may lie, where the official one is, and its checksums."""

import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from latente.data import arrays, stacked
from latente.data.cache import cache_root
from latente.data.progress import Progress
from latente.messages import Problem, say

_CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx(*md5: str) -> Mapping[str, str | None]:
    return MappingProxyType(dict(zip(_IDX_FILES, md5, strict=True)))


@dataclass(frozen=True)
class Named:
    """A set on the web."""

    files: Mapping[str, str | None]  # name of the file -> its official MD5, None where none is published
    mirrors: tuple[str, ...]  # each ends in a slash; the files are below
    licence: str
    classes: tuple[str, ...] = field(default=())


NAMED = {
    "mnist": Named(
        _idx(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        "CC BY-SA 3.0",
        _DIGITS,
    ),
    "fashion-mnist": Named(
        _idx(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        "MIT",
        _FASHION,
    ),
    "kmnist": Named(
        _idx(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        "CC BY-SA 4.0",
        _KUZUSHIJI,
    ),
    "cifar10": Named(
        MappingProxyType({_CIFAR_ARCHIVE: "c32a1d4ab5d03f1284b67883e8d87530"}),
        ("https://www.cs.toronto.edu/~kriz/",),
        "-",
    ),
    "frey": Named(
        MappingProxyType({"frey_rawface.mat": None}),
        ("https://cs.nyu.edu/~roweis/data/",),
        "-",
    ),
}
NAMES = ("caras", *NAMED, "stacked-mnist", "digits")


def plain(name: str) -> str:
    """Fashion_MNIST, fashion-mnist and fashionmnist are one name."""
    return re.sub(r"[-_ ]", "", name.lower())


def known(name: str) -> str | None:
    """The name as we write it, or None."""
    return next((candidate for candidate in NAMES if plain(candidate) == plain(name)), None)


def places(name: str) -> list[Path]:
    """Folders that may hold a copy: in $LATENTE_DATA, then in the cache."""
    found = []
    for root in (os.environ.get("LATENTE_DATA"), cache_root() / "downloads"):
        if root and Path(root).expanduser().is_dir():
            children = sorted(Path(root).expanduser().iterdir())
            found += [child for child in children if plain(child.name) == plain(name) and child.is_dir()]
    return found


def open_named(name: str) -> arrays.Arrays:
    """A set by its name (not `caras`), downloaded if there is no copy; a `Problem` if it cannot be had."""
    if name == "digits":
        return _digits()
    if name == "stacked-mnist":
        return stacked.stack(open_named("mnist"))
    local = find(name)
    if local is None:
        _download(name)
        local = find(name)
        assert local is not None  # the download put every file there
    return local


def find(name: str) -> arrays.Arrays | None:
    """A complete local copy, or None."""
    for folder in places(name):
        if name == "frey":
            if (folder / "frey.npz").is_file():
                return arrays.open_file(folder / "frey.npz", b"PK")
            continue
        found = arrays.open_folder(_unpacked_cifar(folder) if name == "cifar10" else folder)
        if found is not None and (name == "cifar10" or found.test):
            return with_classes(found, name)
    return None


def with_classes(found: arrays.Arrays, name: str) -> arrays.Arrays:
    """The same arrays, their labels named as in the set `name`."""
    return replace(found, classes=found.classes or NAMED[name].classes)


def present(name: str) -> bool:
    """Whether a set of `NAMED` is on this machine."""
    return any((folder / _CIFAR_ARCHIVE).is_file() for folder in places(name)) or find(name) is not None


def _unpacked_cifar(folder: Path) -> Path:
    """Where the batches are: if only the official archive lies in the folder, they are unpacked into the cache."""
    archive, target = folder / _CIFAR_ARCHIVE, cache_root() / "downloads" / "cifar10"
    if not archive.is_file() or arrays.open_folder(folder):
        return folder
    target.mkdir(parents=True, exist_ok=True)
    if arrays.open_folder(target):
        return target
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.isreg() and Path(member.name).name in (*arrays.CIFAR_TRAIN, arrays.CIFAR_TEST):
                    _unpack(tar, member, target)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile):
        raise Problem("data.broken_archive", path=archive) from None
    if not arrays.open_folder(target):  # tarfile takes the end of a cut file for the end of the archive
        raise Problem("data.broken_archive", path=archive)
    return target


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write aside, then rename: never half a batch."""
    content = tar.extractfile(member)
    assert content is not None  # a regular member always has content
    name = Path(member.name).name
    part = target / f"{name}.{os.getpid()}"
    part.write_bytes(content.read())
    part.replace(target / name)


def _download(name: str) -> None:
    """All files of a set into the cache; a `Problem` that says what was tried if one cannot be had."""
    folder = cache_root() / "downloads" / name
    tried: list[str] = []
    for file, md5 in NAMED[name].files.items():
        if not (folder / file).is_file() and not _fetch(name, file, md5, folder, tried):
            files = ", ".join(["frey.npz"] if name == "frey" else NAMED[name].files)
            raise Problem("data.no_download", name=name, tried="; ".join(tried), folder=name, files=files)
    if name == "frey":
        _convert_frey(folder)


def _fetch(name: str, file: str, md5: str | None, folder: Path, tried: list[str]) -> bool:
    import pooch  # late: slow to import, and only needed here

    pooch.get_logger().setLevel("ERROR")
    for mirror in NAMED[name].mirrors:
        with Progress(say("data.downloading", name=file), None, "bytes") as progress:
            try:
                downloader = pooch.HTTPDownloader(progressbar=_Meter(progress), timeout=30)
                pooch.retrieve(mirror + file, f"md5:{md5}" if md5 else None, file, folder, downloader=downloader)
                return True
            except (OSError, ValueError) as error:  # no network (requests raises OSErrors); another checksum
                tried.append(f"{mirror}{file} ({type(error).__name__})")
    return False


class _Meter:
    """What pooch expects of a progress bar."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.total = progress, 0

    def __setattr__(self, name: str, value: object) -> None:
        if name == "total" and isinstance(value, int) and value:
            self.progress.total = value
        object.__setattr__(self, name, value)

    def update(self, count: int) -> None:
        self.progress.advance(count)

    def reset(self) -> None:
        self.progress.done = 0

    def close(self) -> None:
        pass


def _convert_frey(folder: Path) -> None:
    """Roweis' MATLAB file (ff: [560, 1965]) -> frey.npz."""
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise Problem("data.needs_package", name="frey", package="scipy") from None
    faces = loadmat(folder / "frey_rawface.mat")["ff"].T.reshape(-1, 28, 20).astype(np.uint8)
    part = folder / f"frey.{os.getpid()}.part.npz"
    np.savez_compressed(part, images=faces)
    part.replace(folder / "frey.npz")


def _digits() -> arrays.Arrays:
    """scikit-learn's 1797 digits of 8x8 pixels, grey levels 0 to 16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise Problem("data.needs_package", name="digits", package="scikit-learn") from None
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # [1797, 8, 8, 1]
    part = arrays.Part(images.shape, lambda: iter([images]), digits.target)
    return arrays.Arrays("digits", Path("digits"), hashlib.md5(images.tobytes()).hexdigest(), [part], [], _DIGITS)
