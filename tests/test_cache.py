"""The cache is whole or not there."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latente.data import cache
from latente.messages import Problem


def fill(part):
    (part / "x.bin").write_bytes(b"12345")
    return {"count": 5}


def test_build_and_read(tmp_path):
    folder = tmp_path / "prepared" / "x"
    assert cache.read_facts(folder) is None
    assert cache.build(folder, fill) == cache.read_facts(folder) == {"count": 5, "files": {"x.bin": 5}}
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("damage", ["short", "missing", "no facts", "half facts", "other facts"])
def test_damaged_folder_is_not_used_and_is_replaced(tmp_path, damage):
    folder = tmp_path / "x"
    cache.build(folder, fill)
    if damage == "short":
        (folder / "x.bin").write_bytes(b"12")
    elif damage == "missing":
        (folder / "x.bin").unlink()
    elif damage == "no facts":
        (folder / "facts.json").unlink()
    else:
        (folder / "facts.json").write_text({"half facts": '{"count": 5, "fi', "other facts": "[]"}[damage])
    assert cache.read_facts(folder) is None
    cache.build(folder, fill)
    assert (folder / "x.bin").read_bytes() == b"12345" and cache.read_facts(folder) is not None


def test_failure_leaves_nothing(tmp_path):
    def fail(part):
        (part / "x.bin").write_bytes(b"12")
        raise Problem("data.no_images", path="x")

    with pytest.raises(Problem):
        cache.build(tmp_path / "x", fail)
    assert not list(tmp_path.iterdir())


def test_full_disk_is_a_sentence(tmp_path):
    def fail(part):
        raise OSError(28, "No space left on device")

    with pytest.raises(Problem, match="No space left"):
        cache.build(tmp_path / "x", fail)
    assert not list(tmp_path.iterdir())


def test_unwritable_cache_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Problem, match="LATENTE_CACHE"):
        cache.build(tmp_path / "file" / "prepared" / "x", fill)


def test_abandoned_folders_are_removed_and_young_ones_are_not(tmp_path):
    for name, age in ((".old.1-a", 2 * 24 * 3600), (".young.1-b", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.npy").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    cache.build(tmp_path / "x", fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".young.1-b", "x"]


WORKER = """
import sys, time
from pathlib import Path
from latente.data import cache
root, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def fill(part):
    (root / f"started-{me}").touch()
    (part / "x.bin").write_text(me * 1000)
    while not (root / f"started-{other}").exists():
        time.sleep(0.005)
    return {"by": me}
print(cache.build(root / "prepared" / "x", fill)["by"])
"""


def test_two_processes_at_once_agree_on_one_result(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), *names], stdout=subprocess.PIPE, text=True)
        for names in ("ab", "ba")
    ]
    said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    facts = cache.read_facts(tmp_path / "prepared" / "x")
    assert said == [facts["by"]] * 2
    assert (tmp_path / "prepared" / "x" / "x.bin").read_text() == facts["by"] * 1000
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["x"]


def test_killed_process_leaves_nothing_that_is_used(tmp_path):
    code = WORKER.replace("while not", "while True or not")
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "a", "b"])
    while not (tmp_path / "started-a").exists():
        time.sleep(0.005)
    worker.kill()
    worker.wait()
    folder = tmp_path / "prepared" / "x"
    assert cache.read_facts(folder) is None and not folder.exists()
    cache.build(folder, fill)
    assert json.loads((folder / "facts.json").read_text())["count"] == 5


@given(st.lists(st.integers(0, 5), max_size=6))
def test_rows_appended_are_rows_loaded(tmp_path_factory, counts):
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    pieces = [
        np.random.default_rng(n).integers(0, 256, (count, 2, 3), dtype=np.uint8) for n, count in enumerate(counts)
    ]
    with cache.RowFile(path, (2, 3), "|u1") as rows:
        for piece in pieces:
            rows.append(piece)
    loaded = np.load(path, mmap_mode="r", allow_pickle=False) if sum(counts) else np.load(path)
    assert np.array_equal(loaded, np.concatenate([np.zeros((0, 2, 3), np.uint8), *pieces]))


def test_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path))
    assert cache.cache_root() == tmp_path
    monkeypatch.delenv("LATENTE_CACHE")
    assert cache.cache_root().name == "latente"
