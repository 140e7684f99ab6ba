"""The preset `vae` on three kinds of images: Fashion-MNIST, faces, and emoji with their transparency.

    LATENTE_DATA=... python benchmarks/vae_sets.py [--quick] [--only fashion-mnist] [--work FOLDER]

Trained by latente's own loop into run folders in --work; stop it whenever you like, and the same command goes on.
Figures are those of the last checkpoint on the held-out images: squared error of reconstructions from posterior means
(pixels in [0, 1]), bound, and the minutes of training, from timing.jsonl.

The last line is one JSON object; the full run also writes benchmarks/results/vae_sets.json, a set at a time. Bars, for
Fashion-MNIST and a million images: squared error at most 0.011, under 15 minutes on two cores.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finished import finished
from latente.config import Images, RunConfig, override
from latente.presets import PRESETS
from latente.run import Run

BARS = {"fashion-mnist": {"test_mse": 0.011, "core_minutes": 30.0}}
RESULT = Path(__file__).parent / "results" / "vae_sets.json"
SETS: dict[str, dict[str, Any]] = {
    "fashion-mnist": {"data.source": "fashion-mnist", "training.images": Images(1_000_000)},
    "faces": {"data.source": "faces/utkface200_jpg.zip", "data.resolution": 64, "training.images": Images(300_000)},
    "emoji": {
        "data.source": "emoji/emoji72_png.zip",
        "data.resolution": 32,
        "data.channels": "rgba",
        "training.images": Images(300_000),
    },
}


def recipe(name: str, quick: bool) -> RunConfig:
    """The preset with nothing changed but what is listed above."""
    changes = dict(SETS[name])
    if "/" in changes["data.source"]:
        changes["data.source"] = str(Path(os.environ["LATENTE_DATA"]) / changes["data.source"])
    if quick:
        changes["training.images"] = Images(2_000)
    return override(PRESETS["vae"](), changes)


def figures(here: Run) -> dict[str, Any]:
    """What is reported of a finished run."""
    last = [row for row in here.metrics() if "test/mse" in row][-1]
    seconds = sum(row["seconds"] for row in here.timing())
    surroundings = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))
    return {
        "test_mse": last["test/mse"],
        "test_bound_nats": last["test/bound"],
        "test_images": min(here.dataset["test"], 10_000),
        "images": last["images"],
        "image_shape": here.dataset["image_shape"],
        "model": here.tree["model"],
        "minutes": round(seconds / 60, 1),
        "threads": surroundings["threads"],
        "core_minutes": round(seconds / 60 * surroundings["threads"], 1),
        "images_per_second": round(last["images"] / seconds),
        "machine": {key: surroundings[key] for key in ("processor", "device", "torch", "python", "latente")},
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two thousand images each, nothing stored")
    parser.add_argument("--only", choices=SETS, help="one set")
    parser.add_argument("--work", type=Path, default=Path("runs/vae-sets"), help="where the run folders are")
    asked = parser.parse_args()
    stored: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))["sets"] if RESULT.exists() else {}
    found: dict[str, Any] = {} if asked.quick else stored
    for name in [asked.only] if asked.only else SETS:
        work = asked.work / ("quick" if asked.quick else "") / name
        found[name] = figures(finished(work, recipe(name, asked.quick)))
        found[name]["bars"] = BARS.get(name)
        result = {"benchmark": "vae_sets", "quick": asked.quick, "sets": found}
        if not asked.quick:
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
