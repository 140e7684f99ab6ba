"""What the probes of the diagnosis cost: their share of the time that training takes.

    LATENTE_DATA=... python benchmarks/probe_cost.py [--quick] [--rounds 6] [--images 640]

Preset dcgan as it comes on Fashion-MNIST, one thread, one process, in turn: --images images of training, then one
probe. Both are counted in seconds of the processor, which other processes do not stretch. A run is probed 30 times
whatever its length, and the shorter it is the more they weigh: the share held to the bar is that of the preset's own
length, with what is computed once (features of the whole training set) in it; that of a run of 300 000 images stands
beside it. The last line is one JSON object; the full run also writes benchmarks/results/probe_cost.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from latente.config import override
from latente.data.datasets import load
from latente.data.stream import Stream
from latente.presets import PRESETS
from latente.training.assemble import assemble, channels_last
from latente.training.life import environment
from latente.training.loop import fit
from latente.training.resolve import resolve

BAR = 0.03
SHORT, PROBES = 300_000, 30
RESULT = Path(__file__).parent / "results" / "probe_cost.json"


def seconds(work: Callable[[], object]) -> float:
    """Of the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(rounds: int, images: int) -> dict[str, Any]:
    """`rounds` turns, after one that does not count but for what is computed once."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    config = override(PRESETS["dcgan"](), {"data.source": "fashion-mnist"})
    dataset = load(config.data)
    config = resolve(config, dataset, device)
    t, assembly = config.training, assemble(config, dataset, device)
    state = assembly.state
    stream = Stream(dataset.train, seed=t.seed, device=device, channels_last=channels_last(config, state.nets))

    def learn() -> None:
        fit(
            state,
            assembly.step,
            stream,
            until=state.images + images,
            batch_at=assembly.batch_at,
            seed=t.seed,
            ema_halflife=t.ema_halflife,
            record=lambda state, metrics: None,
            cadence=[],
        )

    learning, probing, shares = [], [], []
    for _ in range(rounds + 1):
        began = state.images
        learning.append(seconds(learn) / (state.images - began))
        probing.append(seconds(lambda: assembly.probe(state)))
    once = max(probing[0] - statistics.median(probing[1:]), 0.0)
    for an_image, a_probe in zip(learning[1:], probing[1:], strict=True):  # of each round: machines drift
        shares.append((PROBES * a_probe + once) / (t.images * an_image))
    share = statistics.median(shares)
    return {
        "share": round(share, 4),
        "share_of_each_round": [round(each, 4) for each in shares],
        "share_of_a_short_run": round(share * t.images / SHORT, 4),
        "images": {"preset": int(t.images), "short run": SHORT},
        "seconds_a_probe": round(statistics.median(probing[1:]), 3),
        "seconds_once": round(once, 3),
        "images_per_second": round(1 / statistics.median(learning[1:]), 1),
        "precision": t.precision,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short turns, for a look; stores nothing")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=640, help="of training, a turn")
    asked = parser.parse_args()
    found = measure(2 if asked.quick else asked.rounds, 128 if asked.quick else asked.images)
    result = {"benchmark": "probe_cost", "quick": asked.quick, "bar": BAR, "met": found["share"] <= BAR, **found}
    if not asked.quick:
        stored = result | {
            "protocol": f"dcgan on Fashion-MNIST, one thread, {PROBES} probes a run, processor seconds",
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
