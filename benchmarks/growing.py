"""Whether growing earns its place: the same networks on the same images, grown and at full size from the start.

    LATENTE_DATA=... python benchmarks/growing.py [--quick] [--only ARM] [--seeds 0] [--work FOLDER]

Emoji with their transparency at 32 pixels, preset by preset:
    progan, progan-r1            from 4 pixels up, as the presets have it
    progan-flat, progan-r1-flat  the same with --model.start 32
Distances of samples to training and to held-out images (set_distance.py), in the features of a run of
`classifier-rotations` on the set, at the end of each run; and seconds of training, from timing.jsonl. Grown networks
see as many images in less time: `at_equal_time` is the flat arm's distance at its newest checkpoint that took no longer
than the grown arm's whole run (checkpoints are kept at each doubling of the clock and at the end).

An interrupted benchmark goes on where it was. --quick trains each arm on 2,000 images, for a look. The last line is one
JSON object; a full one writes benchmarks/results/growing.json after each run.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from finished import finished
from latente.config import Images, RunConfig, override
from latente.data.datasets import load
from latente.evaluation import judges
from latente.presets import PRESETS, scaled
from latente.run import Run
from set_distance import PROTOCOL, Real, real_features, samples_of, set_distance

RESULT = Path(__file__).parent / "results" / "growing.json"
RESOLUTION = 32
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "progan": ("progan", {}),
    "progan-flat": ("progan", {"model.start": RESOLUTION}),
    "progan-r1": ("progan-r1", {}),
    "progan-r1-flat": ("progan-r1", {"model.start": RESOLUTION}),
}


def recipe(arm: str, seed: int, quick: bool) -> RunConfig:
    """What an arm trains."""
    preset, changes = ARMS[arm]
    same = data() | {"training.seed": seed, "training.checkpoint-every": Images(60_000)}
    config = override(PRESETS[preset](), same | changes)
    return scaled(config, 2_000, set())[0] if quick else config


def data() -> dict[str, Any]:
    """The images that all see."""
    source = Path(os.environ["LATENTE_DATA"]) / "emoji" / "emoji72_png.zip"
    return {"data.source": str(source), "data.resolution": RESOLUTION, "data.channels": "rgba"}


def reader(quick: bool) -> RunConfig:
    """The feature network."""
    config = override(PRESETS["classifier-rotations"](), data())
    return scaled(config, 2_000, set())[0] if quick else config


@torch.no_grad()
def distance(here: Run, clock: int, real: Real, judge: judges.Judge) -> dict[str, Any]:
    """Those of a checkpoint's samples."""
    net: Any = here.network(clock)
    z = net.prior(len(real.training), torch.Generator().manual_seed(0))
    return {"images": clock, **set_distance(torch.cat([net.decode(part) for part in z.split(250)]), real, judge)}


def seconds_at(here: Run) -> dict[int, float]:
    """Seconds of training, by images shown."""
    total, found = 0.0, {}
    for row in here.timing():
        total += row["seconds"]
        found[row["images"]] = total
    return found


def figures(here: Run, judge: judges.Judge) -> dict[str, Any]:
    """The end of a run, and its kept checkpoints on the way."""
    seconds, known = seconds_at(here), load(here.config.data)
    real = real_features(known, samples_of(known), judge)
    on_the_way = []
    for clock in here.checkpoints()[1:]:
        spent = max((s for images, s in seconds.items() if images <= clock), default=0.0)
        on_the_way.append(distance(here, clock, real, judge) | {"seconds": round(spent, 1)})
    surroundings = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))
    return {
        **on_the_way[-1],
        "images_per_second": round(here.checkpoints()[-1] / max(on_the_way[-1]["seconds"], 1e-9), 1),
        "stopped": here.stopped(),
        "on_the_way": on_the_way,
        "model": here.tree["model"],
        "objective": here.tree["objective"],
        "machine": {key: surroundings[key] for key in ("processor", "device", "torch", "python", "threads")},
        "date": datetime.now(UTC).date().isoformat(),
    }


def report(arms: dict[str, dict[str, Any]], quick: bool) -> dict[str, Any]:
    """All figures there are, and grown beside flat."""
    compared: dict[str, Any] = {}
    for arm in ("progan", "progan-r1"):
        for seed, grown in arms.get(arm, {}).items():
            flat = arms.get(f"{arm}-flat", {}).get(seed)
            if flat is None:
                continue
            in_time = [row for row in flat["on_the_way"] if row["seconds"] <= grown["seconds"]]
            compared[f"{arm} seed {seed}"] = {
                **{key: {"grown": grown[key], "flat": flat[key]} for key in ("frechet", "kernel", "seconds")},
                "at_equal_time": in_time[-1] if in_time else None,
            }
    protocol = f"Samples of the averaged generator. {PROTOCOL}"
    return {"benchmark": "growing", "quick": quick, "compared": compared, "arms": arms, "protocol": protocol}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=ARMS, help="one arm")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--work", type=Path, default=Path("runs/growing"), help="where the run folders are")
    asked = parser.parse_args()
    work = asked.work / "quick" if asked.quick else asked.work
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {}
    arms: dict[str, dict[str, Any]] = stored.get("arms", {})
    judge = judges.of_run(finished(work / "reader", reader(asked.quick)))
    for seed in map(int, asked.seeds.split(",")):
        for arm in [asked.only] if asked.only else ARMS:
            here = finished(work / f"{arm}-{seed}", recipe(arm, seed, asked.quick))
            row = figures(here, judge)
            arms.setdefault(arm, {})[str(seed)] = row
            told = f"Fréchet {row['frechet']:.4g} (floor {row['frechet_floor']:.4g}), kernel {row['kernel']:.4g} "
            told += f"(real {row['kernel_real']:.4g}), {row['seconds']:.0f} s"
            print(f"{arm:15} seed {seed}: {told}, {row['images_per_second']} images/s", flush=True)
            if not asked.quick:
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(report(arms, False), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report(arms, asked.quick)))


if __name__ == "__main__":
    main()
