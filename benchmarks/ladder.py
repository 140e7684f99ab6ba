"""The ladder of the StyleGAN paper (table 1): what each step from ProGAN to StyleGAN is worth, on `caras` at 32 pixels.

    python benchmarks/ladder.py [--quick] [--only F] [--seeds 0] [--work FOLDER]

Six settings, one game (R3GAN's, as in `stylegan-r3gan`), the same critic
but for the blur, the same images, rates and growth:
    A   ProGAN
    B   A and resampling with a filter. The paper's B also tunes: here A has the tuned settings already
    C   mapping and styles; w, through a dense layer, is still the traditional input
    D   a learned constant in its place
    E   noise in every layer
    F   mixing regularisation
Where it departs: 32 pixels and 16 channels there, 160 000 images, growth in phases of 20 000 images, z and w of 64
numbers, two layers of mapping, penalties every eighth step. So the order of the rungs is what can be compared, not
their values.

Each is measured at its end by what there is of: Fréchet distance on features of a network that reads the factors of
`caras` (preset `classifier`, task factors), precision and recall, perceptual path length and linear separability; and
timed. The paper's finding to look for: F reaches the least distance, w is smoother and easier to part than z, and
mixing costs some of that.

An interrupted benchmark goes on where it was. --quick trains on 600 images, one seed, and measures a twentieth of the
samples, for a look (minutes). The last line is one JSON object; after each run a full benchmark writes
benchmarks/results/ladder.json, and a picture with a row of faces for each rung so far into the work folder.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finished import finished
from latente.config import Images, RunConfig, override
from latente.evaluation import judges, of_latents, subject
from latente.evaluation.measure import applicable, evaluate
from latente.exploration.latents import sample
from latente.exploration.sheet import Block, Sheet, draw
from latente.pictures import save
from latente.presets import PRESETS, scaled
from latente.run import Run, runs

RESULT = Path(__file__).parent / "results" / "ladder.json"
SEEDS = (0,)
COLUMNS = 10  # faces of each rung that are drawn
METRICS = ("distances", "neighbours", "path_length", "separability")
SAME: dict[str, Any] = {
    "data.source": "caras",
    "data.resolution": 32,
    "model.latent": 64,
    "model.width": 16,
    "model.widest": 128,
    "model.start": 8,
    "model.hold-images": Images(20_000),
    "model.fade-images": Images(20_000),
    "objective.cost": "relativistic",
    "objective.penalty": "r1+r2",
    "objective.gamma": 1.0,
    "objective.every": 8,
    "objective.drift": 0.0,
    "optim.lr": 3e-3,
    "optim.decay": "linear",
    "optim.final": 0.1,
    "optim.decay-from": Images(80_000),
    "training.batch": 16,
    "training.images": Images(160_000),
    "training.ema-halflife": Images(10_000),
}
_STYLED: dict[str, Any] = {"model.mapping": 2, "model.blur": True}
_OFF: dict[str, Any] = _STYLED | {"model.constant": False, "model.noise": False, "model.mixing": 0.0}
RUNGS: dict[str, tuple[str, dict[str, Any]]] = {
    "A": ("progan", {}),
    "B": ("progan", {"model.blur": True}),
    "C": ("stylegan", _OFF),
    "D": ("stylegan", _OFF | {"model.constant": True}),
    "E": ("stylegan", _OFF | {"model.constant": True, "model.noise": True}),
    "F": ("stylegan", _STYLED),
}


def recipe(rung: str, seed: int, quick: bool) -> RunConfig:
    """What a rung trains."""
    preset, steps = RUNGS[rung]
    config = override(PRESETS[preset](), SAME | steps | {"training.seed": seed})
    return scaled(config, 600, keep=set())[0] if quick else config


def hasten() -> None:
    """Measure a twentieth of the samples."""
    subject.SAMPLES, of_latents._PARTED, of_latents._WAYS = 500, 500, 50


def reader(work: Path, quick: bool) -> Run:
    """The network that reads the factors of faces: it lends its features and names attributes."""
    known = {"data.source": "caras", "data.resolution": 32, "objective.task": "factors"}
    config = override(PRESETS["classifier"](), known)
    return finished(work / "classifier", override(config, {"training.images": Images(5_000)}) if quick else config)


def figures(here: Run, factors: Run) -> dict[str, Any]:
    """What is reported of a run."""
    metrics = tuple(name for name in METRICS if name in applicable(here))
    rows = evaluate(here, metrics, judge=judges.of_run(factors), classifier=factors)
    surroundings = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))
    seconds = sum(row["seconds"] for row in here.timing())
    kept = ("value", "unit", "interval", "real", "floor", "ceiling")
    return {
        "metrics": {name: {key: row[key] for key in kept if key in row} for name, row in rows.items()},
        "stopped": here.stopped(),
        "images": here.checkpoints()[-1],
        "minutes": round(seconds / 60, 1),
        "machine": {key: surroundings[key] for key in ("processor", "device", "torch", "python", "threads")},
        "precision": here.config.training.precision,
        "date": datetime.now(UTC).date().isoformat(),
    }


def picture(work: Path, seed: int) -> None:
    """A row of faces for each rung that has been trained."""
    trained = {rung: runs(work / f"{rung}-{seed}") for rung in RUNGS}
    rows = {rung: sample(found[-1], COLUMNS) for rung, found in trained.items() if found}
    block = Block([list(row) for row in rows.values()], list(rows), [""] * COLUMNS)
    save(draw(Sheet("caras, 32 px", [block])), work / f"ladder-{seed}.png")


def report(rungs: dict[str, dict[str, Any]], quick: bool) -> dict[str, Any]:
    """All figures there are."""
    return {
        "benchmark": "ladder",
        "quick": quick,
        "rungs": rungs,
        "recipe": {"same": SAME, "rungs": RUNGS},
        "protocol": "newest checkpoint, averaged generator, no truncation; features and attributes by one classifier",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=RUNGS, help="one rung")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="separated by commas")
    parser.add_argument("--work", type=Path, default=Path("runs/ladder"), help="where the run folders are")
    asked = parser.parse_args()
    work = asked.work / "quick" if asked.quick else asked.work
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {}
    rungs: dict[str, dict[str, Any]] = stored.get("rungs", {})
    factors = reader(work, asked.quick)
    if asked.quick:
        hasten()
    result = report(rungs, asked.quick)
    for seed in SEEDS[:1] if asked.quick else tuple(map(int, asked.seeds.split(","))):
        for rung in [asked.only] if asked.only else RUNGS:
            row = figures(finished(work / f"{rung}-{seed}", recipe(rung, seed, asked.quick)), factors)
            rungs.setdefault(rung, {})[str(seed)] = row
            picture(work, seed)
            values = ", ".join(f"{name} {found['value']:.3g}" for name, found in row["metrics"].items())
            print(f"{rung} seed {seed}: {row['minutes']} minutes, {values}", flush=True)
            result = report(rungs, asked.quick)
            if not asked.quick:
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
