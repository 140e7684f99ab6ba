"""Every cost and every cure on 25 Gaussians: what each does for modes, quality, spread and balance, and what it costs.

    python benchmarks/modes.py [--quick] [--only NAME] [--seeds 0,1,2] [--images 1.5M] [--work FOLDER]

One pair of networks, one optimizer (that of `latente train gan --data points:grid25`), the same number of images for
all; an arm differs from the first by the settings beside its name and nothing else. 10 000 samples of the averaged
generator are counted as `latente evaluate` does. An interrupted benchmark goes on where it was.

`--as-they-come` trains the presets r3gan, gan and gan-minimax instead, with nothing set but the seed, each to its own
end. The bar, for r3gan in every seed: 25 modes, 85 % good samples, KL at most 0.05 nats, 3 minutes on two cores.

The last line is one JSON object; after each run a full benchmark writes benchmarks/results/modes.json and the chart
docs/images/modes.svg. The arms have no bar: they say which cures help and which do not.
"""

import argparse
import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finished import finished
from latente.config import RunConfig, count, override
from latente.data import points
from latente.evaluation import modes
from latente.evaluation.of_modes import point_modes
from latente.evaluation.subject import Subject
from latente.presets import PRESETS, scaled, suited
from latente.run import Run

SOURCE = "points:grid25"
RESULT = Path(__file__).parent / "results" / "modes.json"
CHART = Path(__file__).parent.parent / "docs" / "images" / "modes.svg"
R1R2 = {"objective.penalty": "r1+r2", "objective.gamma": 0.064, "objective.gamma-final": 0.0032}
ARMS: dict[str, dict[str, Any]] = {
    "non-saturating": {},
    "minimax": {"objective.cost": "minimax"},
    "least-squares": {"objective.cost": "least-squares"},
    "hinge": {"objective.cost": "hinge"},
    "wasserstein, clip": {"objective.cost": "wasserstein", "objective.penalty": "clip", "objective.clip": 0.1},
    "wasserstein, wgan-gp": {"objective.cost": "wasserstein", "objective.penalty": "wgan-gp", "objective.gamma": 1.0},
    "dragan": {"objective.penalty": "dragan", "objective.gamma": 1.0},
    "r1": R1R2 | {"objective.penalty": "r1"},
    "r1+r2": R1R2,
    "relativistic": {"objective.cost": "relativistic"},
    "relativistic, r1": R1R2 | {"objective.cost": "relativistic", "objective.penalty": "r1"},
    "relativistic, r1+r2": R1R2 | {"objective.cost": "relativistic"},
    "replay": {"cure.replay": 25_600},
    "minibatch discrimination": {"cure.minibatch-discrimination": 10},  # 100 compare 256 points at 120 a second
    "minibatch stddev": {"cure.minibatch-stddev": True},
    "packing 2": {"cure.packing": 2},
    "packing 4": {"cure.packing": 4},
    "spectral norm": {"cure.spectral-norm": True},
    "label smoothing": {"cure.label-smoothing": 0.1},
    "instance noise": {"cure.instance-noise": 0.1},
    "slow generator": {"optim.critic-lr": 4e-3},
    "four critic steps": {"optim.critic-steps": 4},
}


AS_THEY_COME = ("r3gan", "gan", "gan-minimax")
BARS = {"modes": 25, "high_quality": 0.85, "kl": 0.05, "core_minutes": 6.0}


def recipe(arm: str, seed: int, images: int) -> RunConfig:
    """What an arm, or a preset as it comes, trains."""
    if arm in AS_THEY_COME:
        config = suited(PRESETS[arm](), SOURCE)
        return override(config, {"data.source": SOURCE, "training.seed": seed})
    config = suited(PRESETS["gan"](), SOURCE)
    config = scaled(config, images, keep=set())[0]
    return override(config, {"data.source": SOURCE, "training.seed": seed} | ARMS[arm])


def figures(here: Run) -> dict[str, Any]:
    """What is reported of a run."""
    found = point_modes(Subject(here))
    seconds = sum(row["seconds"] for row in here.timing())
    threads = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))["threads"]
    return {name: row["value"] for name, row in found.items()} | {
        "seconds": round(seconds, 1),
        "core_minutes": round(seconds / 60 * threads, 1),
        "images": here.checkpoints()[-1],
        "stopped": here.stopped(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three arms, a hundredth of the images; stores nothing")
    parser.add_argument("--only", choices=[*ARMS, *AS_THEY_COME], help="one arm, or one preset as it comes")
    parser.add_argument("--as-they-come", action="store_true", help="presets instead of arms")
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas")
    parser.add_argument("--images", type=count, default=count("1.5M"), help="shown to each")
    parser.add_argument("--work", type=Path, default=Path("runs/modes"), help="where the run folders are")
    asked = parser.parse_args()
    seeds = [0] if asked.quick else [int(seed) for seed in asked.seeds.split(",")]
    images = asked.images // 100 if asked.quick else asked.images
    names = list(AS_THEY_COME if asked.as_they_come else ARMS)
    names = [asked.only] if asked.only else names[:3] if asked.quick else names
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {}
    arms: dict[str, dict[str, Any]] = stored.get("arms", {})
    presets: dict[str, dict[str, Any]] = stored.get("presets", {})
    result: dict[str, Any] = {}
    for seed in seeds:  # a whole table early, its errors later
        for name in names:
            folder = (
                asked.work / ("quick" if asked.quick else "") / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            )
            here = finished(folder, recipe(name, seed, images))
            table = presets if name in AS_THEY_COME else arms
            row = table.setdefault(name, {})[str(seed)] = figures(here)
            print(f"{name:26} seed {seed}: {row['modes']} modes, good {row['high_quality']:.3f}, KL {row['kl']}")
            result = report(arms, presets, here, asked.quick)
            if not asked.quick:
                RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                CHART.write_text(chart(arms), encoding="utf-8")
    print(json.dumps(result))


def held(row: dict[str, Any]) -> bool:
    """Whether a run meets the bars."""
    enough = row["modes"] >= BARS["modes"] and row["high_quality"] >= BARS["high_quality"]
    return bool(enough and row["kl"] <= BARS["kl"] and row["core_minutes"] <= BARS["core_minutes"])


def report(
    arms: dict[str, dict[str, Any]], presets: dict[str, dict[str, Any]], here: Run, quick: bool
) -> dict[str, Any]:
    """All figures there are, with their protocol."""
    real = modes.reference(points.parse(SOURCE))
    surroundings = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))
    return {
        "benchmark": "modes",
        "quick": quick,
        "bars": BARS,
        "held": len(presets.get("r3gan", {})) >= 5 and all(map(held, presets["r3gan"].values())),
        "presets": presets,
        "arms": arms,
        "settings": ARMS,
        "real": {"modes": real.modes, "high_quality": real.high_quality, "spread": real.spread, "kl": real.kl},
        "protocol": "points:grid25, networks and optimizer of the preset gan on points; 10 000 samples of the averaged "
        "generator; a mode is found with 20 % of its fair share within 3 sd; seconds: of training, by the clock",
        "machine": {key: surroundings[key] for key in ("processor", "threads", "device", "torch", "python", "latente")},
        "cores": os.cpu_count(),
    }


def chart(arms: dict[str, dict[str, Any]]) -> str:
    """Modes found and share of good samples of each arm, a row each: an SVG without words to translate but names."""
    rows = []
    for i, (name, seeds) in enumerate(arms.items()):
        y = 44 + 24 * i
        found = [row["modes"] / 25 for row in seeds.values()]
        good = [row["high_quality"] for row in seeds.values()]
        rows.append(f'<text x="190" y="{y + 5}" text-anchor="end">{name}</text>')
        for left, values, colour in ((200, found, "#2f6f9f"), (440, good, "#b3541e")):
            width = 220 * statistics.mean(values)
            rows.append(f'<rect x="{left}" y="{y - 7}" width="{width:.1f}" height="14" fill="{colour}" opacity=".35"/>')
            rows += [f'<circle cx="{left + 220 * v:.1f}" cy="{y}" r="3" fill="{colour}"/>' for v in values]
    height = 60 + 24 * len(arms)
    frame = "".join(
        f'<path d="M{x} 30V{height - 20}" stroke="#999" stroke-dasharray="2 3"/>' for x in (200, 420, 440, 660)
    )
    heads = (
        '<text x="310" y="20" text-anchor="middle">modes / modos (0–25)</text>'
        '<text x="550" y="20" text-anchor="middle">good samples / muestras buenas (0–1)</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" font-family="sans-serif" font-size="13" '
        f'fill="#333"><rect width="680" height="{height}" fill="#fff"/>{heads}{frame}{"".join(rows)}</svg>\n'
    )


if __name__ == "__main__":
    main()
