"""Whether the diagnosis names a collapse in time, and whether acting on it helps.

    LATENTE_DATA=... python benchmarks/treatment.py [--quick] [--only ARM] [--seeds 0,1,2] [--work FOLDER]

A small DCGAN on Fashion-MNIST is made to collapse: its critic learns at a twentieth of the preset's rate and is led by
the nose. Four arms over the same number of images, three seeds each:
    healthy    the twin: the preset's own rates
    collapsed  --on-finding warn: what becomes of it
    rollback   --on-finding rollback, the placebo: the same settings again, with other dice
    treat      --on-finding treat: the last healthy checkpoint, and on with the remedy
Coverage (Naeem et al. 2020, k = 5) of 5000 held-out images by as many samples, in the features of a classifier of the
set (preset `classifier`). Bars, in every seed: the collapse is named before 30 % of the images are spent; `treat` ends
with at least 80 % of its twin's coverage.

An interrupted benchmark goes on where it was. --quick trains one seed on a tenth of the images, for a look. The last
line is one JSON object; a full one writes benchmarks/results/treatment.json after each run.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finished import finished
from latente.config import Images, RunConfig, override
from latente.evaluation import judges
from latente.evaluation.measure import evaluate
from latente.presets import PRESETS
from latente.run import Run

BARS = {"named_before": 0.3, "of_twin": 0.8}
RESULT = Path(__file__).parent / "results" / "treatment.json"
SEEDS = (0, 1, 2)
SAME: dict[str, Any] = {
    "data.source": "fashion-mnist",
    "model.width": 16,
    "training.images": Images(50_000),
    "training.ema-halflife": Images(0),  # of so few images an average is not worth having
}
SICK = {"optim.critic-lr": 1e-5}
ARMS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "collapsed": SICK,
    "rollback": SICK | {"training.on-finding": "rollback"},
    "treat": SICK | {"training.on-finding": "treat"},
}


def recipe(arm: str, seed: int, quick: bool) -> RunConfig:
    """What an arm trains."""
    config = override(PRESETS["dcgan"](), SAME | ARMS[arm] | {"training.seed": seed})
    return override(config, {"training.images": Images(config.training.images // 10)}) if quick else config


def figures(here: Run, judge: judges.Judge) -> dict[str, Any]:
    """Coverage at the end, what was found when, and what was done about it."""
    found = [row for row in here.events() if row["kind"] == "finding" and row["what"].startswith("mode-")]
    rows = evaluate(here, ("neighbours",), judge=judge)
    until = here.config.training.images
    return {
        "coverage": rows["coverage"]["value"],
        "interval": rows["coverage"]["interval"],
        "real": rows["coverage"]["floor"],
        "density": rows["density"]["value"],
        "named_at": found[0]["images"] / until if found else None,
        "named": found[0]["what"] if found else None,
        "confidence": found[0]["confidence"] if found else None,
        "went_back": [
            {key: row[key] for key in ("images", "to", "finding", "settings")} for row in here.interventions()
        ],
        "stopped": here.stopped(),
        "images": here.checkpoints()[-1],
        "date": datetime.now(UTC).date().isoformat(),
    }


def report(arms: dict[str, dict[str, Any]], quick: bool, machine: dict[str, Any]) -> dict[str, Any]:
    """All figures there are, and whether the bars are held in every seed."""
    seeds = [seed for seed in map(str, SEEDS) if all(seed in arms.get(arm, {}) for arm in ARMS)]
    ratios = {seed: arms["treat"][seed]["coverage"] / arms["healthy"][seed]["coverage"] for seed in seeds}
    placebo = {seed: arms["rollback"][seed]["coverage"] / arms["healthy"][seed]["coverage"] for seed in seeds}
    early = {seed: arms["collapsed"][seed]["named_at"] for seed in seeds}
    held = len(seeds) == len(SEEDS) and all(
        early[seed] is not None and early[seed] < BARS["named_before"] and ratios[seed] >= BARS["of_twin"]
        for seed in seeds
    )
    return {
        "benchmark": "treatment",
        "quick": quick,
        "bars": BARS,
        "held": held,
        "treated_over_twin": ratios,
        "placebo_over_twin": placebo,
        "named_at": early,
        "arms": arms,
        "recipe": {"preset": "dcgan", "same": SAME, "arms": ARMS},
        "protocol": "coverage, k 5, of held-out images by samples of the newest checkpoint, features of a classifier",
        "machine": machine,
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=ARMS, help="one arm")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="separated by commas")
    parser.add_argument("--work", type=Path, default=Path("runs/treatment"), help="where the run folders are")
    asked = parser.parse_args()
    work = asked.work / "quick" if asked.quick else asked.work
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {}
    arms: dict[str, dict[str, Any]] = stored.get("arms", {})
    reading = override(PRESETS["classifier"](), {"data.source": "fashion-mnist"})
    if asked.quick:
        reading = override(reading, {"training.images": Images(20_000)})
    judge = judges.of_run(finished(work / "classifier", reading))
    result = report(arms, asked.quick, {})
    for seed in SEEDS[:1] if asked.quick else tuple(map(int, asked.seeds.split(","))):
        for arm in [asked.only] if asked.only else ARMS:
            here = finished(work / f"{arm}-{seed}", recipe(arm, seed, asked.quick))
            row = figures(here, judge)
            arms.setdefault(arm, {})[str(seed)] = row
            named = "-" if row["named_at"] is None else f"{row['named']} at {row['named_at']:.0%}"
            print(f"{arm:10} seed {seed}: coverage {row['coverage']:.3f}, {named}", flush=True)
            surroundings = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))
            machine = {key: surroundings[key] for key in ("processor", "device", "torch", "python", "threads")}
            result = report(arms, asked.quick, machine)
            if not asked.quick:
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
