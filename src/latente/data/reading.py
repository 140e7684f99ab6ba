"""Where images are: a folder, a zip or a tar, listed without being decoded; arrays are in `arrays`.

Nothing is extracted to disk and no name inside an archive is used as a path.
"""

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from latente.data import arrays
from latente.data.decoding import LARGEST_FILE, SNIFF, Fault, looks_like_image, named_as_image
from latente.messages import Problem, nearest

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it reads no .xz

    class LZMAError(Exception):  # type: ignore[no-redef]
        pass


class Entry(NamedTuple):
    """One file of a set, not read yet."""

    name: str  # relative, with forward slashes
    read: Callable[[int | None], bytes]  # the file, or its first n bytes
    fault: str | None = None  # known without reading: `hidden` (ignored), `folder`, `broken_link`, `unreadable`


@dataclass(frozen=True)
class Files:
    """A set of image files."""

    kind: str  # folder, zip, tar
    path: Path
    fingerprint: str  # changes when the content does
    count: int | None  # of entries; None where only reading to the end would tell
    entries: Callable[[], Iterator[Entry]]


def open_path(path: Path) -> "Files | arrays.Arrays":
    """What a path holds; anything that is no set of images is a `Problem`."""
    if not os.path.exists(path):  # unlike Path.exists, False for a name that is too long
        near = nearest(path.name, _names_in(path.parent)) or "-"
        raise Problem("data.missing_path", path=path, near=near)
    try:
        if path.is_dir():
            return arrays.open_folder(path) or _folder(path)
        with path.open("rb") as file:
            start = file.read(SNIFF)
        return arrays.open_file(path, start) or _archive(path, start)
    except PermissionError:
        raise Problem("data.unreadable_path", path=path) from None


def read_image_file(entry: Entry) -> bytes:
    """The bytes of an entry.

    Raises:
        Fault: the entry cannot be read, is far too large, or is not an image and does not say it is (`ignored`).
    """
    if entry.fault:
        raise Fault(entry.fault)
    try:
        if not named_as_image(entry.name) and not looks_like_image(entry.read(SNIFF)):
            raise Fault("ignored")
        data = entry.read(LARGEST_FILE + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise Fault("damaged") from None
    except (OSError, RuntimeError):  # zipfile raises RuntimeError for a member with a password
        raise Fault("unreadable") from None
    if len(data) > LARGEST_FILE:
        raise Fault("bomb")
    return data


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def fingerprint_of(path: Path) -> str:
    """Path, size and time of a file."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def printable(name: str) -> str:
    """A file's name that any terminal takes: bytes that are no text become question marks."""
    return name.encode("utf-8", errors="replace").decode("utf-8")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


# Folders


def _folder(root: Path) -> Files:
    names: list[str] = []  # all that is kept of each file: some 80 bytes
    faults: dict[str, str] = {}
    total = 0  # a sum of hashes does not depend on the order in which the disk lists its files
    for item in _walk(root, "", {os.path.realpath(root)}):
        total += int.from_bytes(hashlib.blake2b(os.fsencode(repr(item)), digest_size=16).digest(), "big")
        names.append(item[0])
        if item[1] is not None:
            faults[item[0]] = item[1]
    names.sort()

    def entries() -> Iterator[Entry]:
        for name in names:
            yield Entry(name, partial(_read_path, root / name), faults.get(name))

    return Files("folder", root, f"{root.resolve()} {len(names)} {total % (1 << 128):032x}", len(names), entries)


def _read_path(path: Path, limit: int | None) -> bytes:
    with path.open("rb") as file:
        return file.read(-1 if limit is None else limit)


def _walk(folder: Path, prefix: str, above: set[str]) -> Iterator[tuple[str, str | None, int, int]]:
    """(name, fault, size, time) of every file below a folder; links to folders are followed, but never in a circle."""
    try:
        listing = os.scandir(folder)
    except PermissionError:
        yield prefix.rstrip("/") or ".", "unreadable", 0, 0
        return
    with listing:
        for child in listing:
            name = prefix + child.name
            if _hidden(child.name):
                yield name, "hidden", 0, 0
            elif _is_folder(child):
                yield from _subfolder(Path(child.path), name, above)
            else:
                yield _file(child, name)


def _subfolder(path: Path, name: str, above: set[str]) -> Iterator[tuple[str, str | None, int, int]]:
    real, empty = os.path.realpath(path), True
    if real not in above:
        for found in _walk(path, f"{name}/", above | {real}):
            empty = False
            yield found
    if empty and named_as_image(name):
        yield name, "folder", 0, 0


def _is_folder(child: "os.DirEntry[str]") -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself
        return False


def _file(child: "os.DirEntry[str]", name: str) -> tuple[str, str | None, int, int]:
    try:
        status = child.stat()
    except OSError:  # a link that leads nowhere, or to itself
        return name, "broken_link" if named_as_image(name) else "ignored", 0, 0
    if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever
        return name, "unreadable" if named_as_image(name) else "ignored", 0, 0
    return name, None, status.st_size, status.st_mtime_ns


# Archives


def _archive(path: Path, start: bytes) -> Files:
    name = path.name.lower()
    if zipfile.is_zipfile(path):
        return _zip(path)
    if _is_tar(path):
        return Files("tar", path, fingerprint_of(path), None, partial(_tar_entries, path))
    if name.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".npz", ".npy")):
        raise Problem("data.broken_archive", path=path)
    if named_as_image(path.name) or looks_like_image(start):
        raise Problem("data.image_path", path=path, folder=path.parent)
    raise Problem("data.not_a_set", path=path)


def _is_tar(path: Path) -> bool:
    try:
        return path.stat().st_size > 0 and tarfile.is_tarfile(path)
    except (EOFError, zlib.error, LZMAError):  # it is compressed, but damaged
        return False


def _zip(path: Path) -> Files:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise Problem("data.broken_archive", path=path) from None
    with archive:
        members = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
        inside = {info.filename for info in members}
        empty = [info for info in archive.infolist() if info.is_dir() and named_as_image(info.filename.rstrip("/"))]
        empty = [info for info in empty if not any(name.startswith(info.filename) for name in inside)]

    def entries() -> Iterator[Entry]:
        # Members may be read from several threads (zipfile has a lock), some after this generator has ended: the file
        # is closed when the last entry is gone.
        opened = zipfile.ZipFile(path)
        for info in empty:
            yield Entry(info.filename.rstrip("/"), _nothing, "folder")
        for info in members:
            name = info.filename.replace("\\", "/")
            yield Entry(name, partial(_read_member, opened, info), "hidden" if _hidden(name) else None)

    return Files("zip", path, fingerprint_of(path), len(members) + len(empty), entries)


def _nothing(limit: int | None) -> bytes:
    return b""


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int | None) -> bytes:
    with archive.open(info) as file:
        return file.read(-1 if limit is None else limit)


def _tar_entries(path: Path) -> Iterator[Entry]:
    """A tar is read once, from front to back; each member is in memory while its entry is in use."""
    try:
        with tarfile.open(path) as archive:  # "r|*" would take the end of a cut file for the end of the archive
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or it would remember every member
                if not member.isdir():
                    yield _tar_entry(archive, member)
            while archive.fileobj and archive.fileobj.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
    except (tarfile.TarError, zlib.error, LZMAError, EOFError, OSError):
        raise Problem("data.broken_archive", path=path) from None


def _tar_entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    name = member.name.removeprefix("./")
    if _hidden(name):
        return Entry(name, _nothing, "hidden")
    if not member.isreg():  # a link, a device: nothing that could be read here
        return Entry(name, _nothing, "broken_link" if named_as_image(name) else "ignored")
    file = archive.extractfile(member)
    assert file is not None  # a regular member always has content
    data = file.read(LARGEST_FILE + 1 if named_as_image(name) else SNIFF)
    if not named_as_image(name) and looks_like_image(data):
        data += file.read(LARGEST_FILE + 1)
    return Entry(name, lambda limit: data[:limit])
