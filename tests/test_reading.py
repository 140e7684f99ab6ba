"""Folders, zips and tars: which files are read, which are left out and why."""

import io
import itertools
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente.data.decoding import Fault
from latente.data.reading import Entry, open_path, read_image_file
from latente.messages import Problem

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and permissions of POSIX systems")


def picture(seed=0, size=(8, 8), kind="PNG", mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def outcomes(path):
    """name -> "image", or why not."""
    found = {}
    for entry in open_path(path).entries():
        try:
            data = read_image_file(entry)
            found[entry.name] = "image" if data else "empty"
        except Fault as fault:
            found[entry.name] = fault.code
    return found


MEMBERS = {
    "a.png": picture(1),
    "deep/er/b.jpg": picture(2, kind="JPEG"),
    "no_extension": picture(3),
    "notes.txt": b"words",
    "table.csv": b"",
    ".hidden.png": picture(4),
    "deep/.cache/c.png": picture(5),
    "__MACOSX/._a.png": b"\0\5\x16\7",
}
EXPECTED = {
    "a.png": "image",
    "deep/er/b.jpg": "image",
    "no_extension": "image",
    "notes.txt": "ignored",
    "table.csv": "ignored",
    ".hidden.png": "hidden",
    "deep/.cache/c.png": "hidden",
    "__MACOSX/._a.png": "hidden",
}


def written(folder, members=MEMBERS):
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_folder(tmp_path):
    found = outcomes(written(tmp_path))
    hidden_folders = {"deep/.cache": "hidden", "__MACOSX": "hidden"}  # not even entered
    assert (
        found == {name: code for name, code in EXPECTED.items() if "/" not in name or code == "image"} | hidden_folders
    )


def test_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/", b"")
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    assert outcomes(tmp_path / "x.zip") == EXPECTED


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as archive:
        for name, data in MEMBERS.items():
            member = tarfile.TarInfo("./" + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert outcomes(tmp_path / "x.tar") == EXPECTED | {"link.png": "broken_link"}


def test_zip_entries_can_be_read_after_the_listing_has_ended(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", MEMBERS["a.png"])
    entries = list(open_path(tmp_path / "x.zip").entries())
    assert read_image_file(entries[0]) == MEMBERS["a.png"]


def test_names_with_backslashes_and_parents_are_only_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("..\\..\\cats\\a.png", picture())
        archive.writestr("/../../../etc/b.png", picture())
    # ".." begins with a dot: such members are ignored as hidden ones are
    assert set(outcomes(tmp_path / "x.zip").values()) == {"hidden"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip"]


def test_folder_with_the_name_of_an_image(tmp_path):
    written(tmp_path, {"a.png": picture(), "full.png/b.png": picture(1)})
    (tmp_path / "empty.png").mkdir()
    assert outcomes(tmp_path) == {"a.png": "image", "full.png/b.png": "image", "empty.png": "folder"}


def test_empty_folder_with_the_name_of_an_image_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("empty.png/", b"")
        archive.writestr("full.png/", b"")
        archive.writestr("full.png/a.png", picture())
    assert outcomes(tmp_path / "x.zip") == {"empty.png": "folder", "full.png/a.png": "image"}


def test_links(tmp_path):
    written(tmp_path / "set", {"a.png": picture(), "sub/b.png": picture(1)})
    (tmp_path / "set/broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "set/broken.txt").symlink_to(tmp_path / "nowhere.txt")
    (tmp_path / "set/self.png").symlink_to("self.png")
    (tmp_path / "set/sub/circle").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.png").write_bytes(picture(2))
    (tmp_path / "set/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/d.png").symlink_to(tmp_path / "elsewhere/c.png")
    assert outcomes(tmp_path / "set") == {
        "a.png": "image",
        "sub/b.png": "image",
        "linked/c.png": "image",
        "d.png": "image",
        "broken.png": "broken_link",
        "broken.txt": "ignored",
        "self.png": "broken_link",
    }


def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert outcomes(tmp_path) == {"pipe.png": "unreadable"}


@pytest.fixture
def ordinary_person():
    """A folder that may be entered, by somebody who may not read everything (root may)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name), root
        finally:
            if root:
                os.seteuid(0)


def make(root, action):
    """Do something as the owner of the folder."""
    if root:
        os.seteuid(0)
    action()
    if root:
        os.seteuid(65534)


def test_file_without_permission(ordinary_person):
    folder, root = ordinary_person

    def files():
        written(folder, {"a.png": picture(), "b.png": picture(1), "closed/c.png": picture(2)})
        (folder / "b.png").chmod(0)
        (folder / "closed").chmod(0)

    make(root, files)
    try:
        assert outcomes(folder) == {"a.png": "image", "b.png": "unreadable", "closed": "unreadable"}
    finally:
        make(root, lambda: (folder / "closed").chmod(0o755))


def test_folder_without_permission(ordinary_person):
    folder, root = ordinary_person
    make(root, lambda: (folder / "closed.zip").write_bytes(b"PK"))
    make(root, lambda: (folder / "closed.zip").chmod(0))
    with pytest.raises(Problem) as caught:
        open_path(folder / "closed.zip")
    assert caught.value.key == "data.unreadable_path"


def test_failing_disk():
    def read(limit):
        raise OSError(5, "Input/output error")

    with pytest.raises(Fault) as caught:
        read_image_file(Entry("a.png", read))
    assert caught.value.code == "unreadable"


def test_file_too_large_to_be_an_image(monkeypatch):
    monkeypatch.setattr("latente.data.reading.LARGEST_FILE", 100)
    with pytest.raises(Fault) as caught:
        read_image_file(Entry("a.png", lambda limit: bytes(1000)[:limit]))
    assert caught.value.code == "bomb"


def test_damaged_member_of_a_zip(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", picture(1))
        archive.writestr("b.png", picture(2))
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF  # inside a.png: its checksum no longer fits
    path.write_bytes(data)
    assert outcomes(path) == {"a.png": "damaged", "b.png": "image"}


def test_member_with_a_password(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", picture(1))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the member's own header,
    data[data.index(b"PK\1\2") + 8] |= 1  # and in the directory
    path.write_bytes(data)
    assert outcomes(path) == {"a.png": "unreadable"}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", b"hello", "no set of images"),
        ("nothing", b"", "no set of images"),
        ("cut.zip", b"PK\3\4 cut", "damaged or cut short"),
        ("cut.tar.gz", b"\x1f\x8b\x08 cut", "damaged or cut short"),
        ("cut.npz", b"PK\3\4 cut", "damaged or cut short"),
        ("empty.npy", b"", "damaged or cut short"),
        ("one.png", picture(), "is a single image"),
        ("one", picture(), "is a single image"),
    ],
)
def test_paths_that_are_no_sets(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Problem, match=sentence):
        open_path(tmp_path / name)


def test_missing_path_names_its_neighbours(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(Problem, match="photos"):
        open_path(tmp_path / "photo")


# A plain tar has no checksum of its content: there, the image decoder has to notice a flipped byte
@pytest.mark.parametrize(
    ("mode", "damage"), [("w", "cut"), *itertools.product(["w:gz", "w:bz2", "w:xz"], ["cut", "flipped"])]
)
def test_damaged_tar_is_said_while_reading(tmp_path, mode, damage):
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, mode) as archive:
        for number in range(9):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = 5000
            archive.addfile(member, io.BytesIO(np.random.default_rng(number).bytes(5000)))
    data = bytearray(whole.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(Problem, match="damaged or cut short"):
        list(open_path(tmp_path / "bad.tar").entries())


def test_fingerprint_of_a_folder_sees_names_sizes_and_times(tmp_path):
    written(tmp_path, {"a.png": picture(1), "b/c.png": picture(2)})
    prints = [open_path(tmp_path).fingerprint, open_path(tmp_path).fingerprint]
    (tmp_path / "a.png").rename(tmp_path / "d.png")
    prints.append(open_path(tmp_path).fingerprint)
    (tmp_path / "b/c.png").write_bytes(picture(2) + b" ")
    prints.append(open_path(tmp_path).fingerprint)
    os.utime(tmp_path / "d.png", ns=(1, 1))
    prints.append(open_path(tmp_path).fingerprint)
    assert prints[0] == prints[1] and len(set(prints)) == 4
