"""The machine that a run lives on: its devices, its description, its signals, and a lock on the run folder."""

import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latente.messages import Problem
from latente.training import precision


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:1 or mps -> a device that this machine has."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(name.partition(":")[0], False):
        raise Problem("train.no_device", given=name, devices=", ".join(k for k, v in available.items() if v))
    try:
        return torch.device(name)
    except RuntimeError:  # cpu:x
        raise Problem("train.no_device", given=name, devices=", ".join(k for k, v in available.items() if v)) from None


def device_again(asked: str, recorded: dict[str, Any]) -> torch.device:
    """The device that a run began on, or, where this machine has none, the best one here (no longer bit-exact)."""
    try:
        return pick_device(recorded.get("device", asked) if asked == "auto" else asked)
    except Problem:
        return pick_device("auto")


def environment(device: torch.device) -> dict[str, Any]:
    """What a bit-exact repetition depends on besides the configuration."""
    from latente import __version__

    return {
        "latente": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": precision.processor(),
        "device": str(device),
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
    }


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM ask training to stop after the step in hand; a second Ctrl-C interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other process can train the run in `folder`. The system lets go of the lock when a process dies."""
    with (folder / ".lock").open("a+b") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Problem("train.busy", folder=folder) from None
        yield
