"""In which numbers the networks compute: float32, or bfloat16 where the hardware has it and a probe says that it is
faster.

The choice is made when a run is created and written into its config.json: two runs of one configuration must not
differ."""

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
_MARGIN = 1.15  # bfloat16 must be so many times faster


def autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """The context that a step computes its losses in."""
    if precision == "float32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself, rather than emulating it as a T4 or an older processor does."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        flags = torch.cpu.get_capabilities()
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))
    return False


def choose(step: Callable[[Precision], Callable[[], object]], device: torch.device, cache: Path, key: str) -> Precision:
    """bfloat16 if the hardware has it and a few steps with it are faster by 15 %; else float32.

    `step(precision)` gives a function that takes one training step on a copy. The answer is kept in `cache` by
    processor, torch and `key` (the network and the batch), so that a second run gets the same one."""
    if not has_bfloat16(device):
        return "float32"
    if device.type == "cuda":
        return "bfloat16"
    name = f"{processor()} | torch {torch.__version__} | {torch.get_num_threads()} threads | {key}"
    known = _read(cache)
    if name not in known:
        slow, fast = probe(step("float32")), probe(step("bfloat16"))
        known[name] = "bfloat16" if slow > _MARGIN * fast else "float32"
        _write(cache, known)
    return known[name]


def _read(cache: Path) -> dict[str, Precision]:
    try:
        known: dict[str, Precision] = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or not readable: it is a convenience, the probe is made again
        return {}
    return known


def _write(cache: Path, known: dict[str, Precision]) -> None:
    aside = cache.with_name(f".{cache.name}.{os.getpid()}")
    with suppress(OSError):  # a cache that cannot be written costs a probe the next time
        cache.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(known, indent=1), encoding="utf-8")
        aside.replace(cache)


def probe(step: Callable[[], object]) -> float:
    """Seconds of the faster of three steps, after one to warm up."""
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
