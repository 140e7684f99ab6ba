"""How much memory it takes to prepare a set and to gather batches from it, with 10 thousand and with a million images.

    python benchmarks/data_memory.py [--quick]

Each size is measured in a process of its own, twice: images of 28x28 in an .npy file, and the same with labels in idx
files. The process imports everything, notes its anonymous memory (RssAnon of /proc/self/status: what the kernel cannot
drop and read again from a file), prepares the set into an empty cache, and gathers 300 random batches of 128, while a
thread reads the same number every 5 ms. The figure is the highest reading less the first one. Linux only.

Finished sizes are kept beside the result, so that an interrupted run goes on. --quick stops at 100 thousand. The last
line is one JSON object; the full run writes benchmarks/results/data_memory.json. Bar: a million images take at most
32 MB more than 10 thousand do, where the images alone are 784 MB.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 28
BAR_MB = 32
BATCHES, BATCH = 300, 128
RESULT = Path(__file__).parent / "results" / "data_memory.json"


def generate(folder: Path, count: int, kind: str) -> Path:
    """Noise, different in every image; written in pieces."""
    rng = np.random.default_rng(0)
    path = folder / ("x.npy" if kind == "npy" else "train-images-idx3-ubyte")
    with path.open("wb") as file:
        if kind == "npy":
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE)}
            np.lib.format.write_array_header_1_0(file, header)
        else:
            file.write(struct.pack(">HBBIII", 0, 8, 3, count, SIDE, SIDE))
        for start in range(0, count, 10_000):
            file.write(rng.bytes(min(10_000, count - start) * SIDE * SIDE))
    if kind == "npy":
        return path
    labels = rng.integers(0, 10, count, dtype=np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes())
    return folder


def anonymous() -> float:
    """MB of this process that are backed by no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report RssAnon")


def measure(source: str) -> dict[str, float]:
    """In the child: prepare and gather, watched."""
    import torch

    from latente.config import DataConfig
    from latente.data.datasets import load

    torch.set_num_threads(1)
    torch.from_numpy(np.zeros((BATCH, 1, SIDE, SIDE), np.uint8)).float()  # torch's own pools
    before = anonymous()
    highest, stop = [before, before], threading.Event()
    phase = 0

    def watch() -> None:
        while not stop.wait(0.005):
            highest[phase] = max(highest[phase], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    data = load(DataConfig(source=source))
    prepared = time.perf_counter() - start
    phase = 1
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    for _ in range(BATCHES):
        data.train.gather(rng.integers(0, len(data.train), BATCH))
    gathered = time.perf_counter() - start
    start = time.perf_counter()
    again = load(DataConfig(source=source))
    second = time.perf_counter() - start
    stop.set()
    watcher.join()
    assert len(again.train) == len(data.train)
    return {
        "prepare_mb": round(highest[0] - before, 1),
        "gather_mb": round(highest[1] - before, 1),
        "prepare_seconds": round(prepared, 2),
        "second_start_seconds": round(second, 4),
        "gather_images_per_second": round(BATCHES * BATCH / gathered),
    }


def child(count: int, kind: str) -> dict[str, Any]:
    """One size in a fresh process, with a cache and a set that are removed afterwards."""
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "set").mkdir()
        source = generate(Path(work) / "set", count, kind)
        environment = os.environ | {"LATENTE_CACHE": str(Path(work) / "cache")}
        command = [sys.executable, __file__, "--measure", str(source)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {"images": count, "kind": kind, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    sizes = (10_000, 100_000) if asked.quick else (10_000, 1_000_000)
    RESULT.parent.mkdir(exist_ok=True)
    partial = RESULT.with_suffix(".partial.json")
    rows: list[dict[str, Any]] = []
    if not asked.quick and partial.exists():
        rows = json.loads(partial.read_text())
    for kind in ("npy", "idx"):
        for count in sizes:
            if not any((row["images"], row["kind"]) == (count, kind) for row in rows):
                rows.append(child(count, kind))
                print(rows[-1], flush=True)
                if not asked.quick:
                    partial.write_text(json.dumps(rows))
    highest = {(row["kind"], row["images"]): max(row["prepare_mb"], row["gather_mb"]) for row in rows}
    growth = max(highest[kind, sizes[1]] - highest[kind, sizes[0]] for kind in ("npy", "idx"))
    result = {
        "benchmark": "data_memory",
        "growth_mb": round(growth, 1),
        "bar": f"at most {BAR_MB} MB more for {sizes[1]} images than for {sizes[0]}",
        "met": growth <= BAR_MB,
        "rows": rows,
    }
    if not asked.quick:
        import torch

        from latente.training.life import environment

        stored = result | {
            "protocol": "RssAnon sampled every 5 ms, highest less that after the imports, one process a size; noise of "
            f"{SIDE}x{SIDE}, empty cache, {BATCHES} random batches of {BATCH}",
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        partial.unlink()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
