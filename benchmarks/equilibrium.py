"""Which games between generator and critic come to their end, and come back to it: on the world `points:line`.

    python benchmarks/equilibrium.py [--quick] [--only COST] [--work FOLDER]

The generator has one latent, so that its density is known. Every cost is played with the same networks, optimizers and
number of points, three seeds each, by latente's own loop in run folders in --work; stop it whenever you like, and the
same command goes on. At the end: what a fresh critic finds against the frozen generator (V + log 4, nats; twice the
Jensen-Shannon divergence is its limit), that divergence by integration, and how far the trained critic is from 1/2.
Where all seeds are there, the generator is pushed away (all it makes is moved by one standard deviation of a mode, and
in another trial by two) and the game is played again, from the pushed weights, over half as many points.

The last line is one JSON object; the full run also writes benchmarks/results/equilibrium.json, a cost at a time. Bars,
for at least one cost, three of three seeds: advantage at most 0.02 nats, critic at most 0.03 from 1/2 on data and on
samples, and back under 0.03 nats after the first push.
"""

import argparse
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finished import finished
from latente import checkpoint
from latente.config import Images, RunConfig, override
from latente.data.points import world
from latente.evaluation.equilibrium import of_run
from latente.presets import PRESETS, suited
from latente.run import Run

BARS = {"advantage_nats": 0.02, "half_data": 0.03, "half_samples": 0.03, "back_nats": 0.03}
RESULT = Path(__file__).parent / "results" / "equilibrium.json"
SOURCE, SEEDS = "points:line", (0, 1, 2)
PUSHES = (1.0, 2.0)  # standard deviations of a mode; the first is held to the bar
COSTS: dict[str, dict[str, Any]] = {
    "minimax": {"cost": "minimax"},
    "non-saturating": {"cost": "non-saturating"},
    "least-squares": {"cost": "least-squares"},
    "hinge": {"cost": "hinge"},
    "wasserstein clip": {"cost": "wasserstein", "penalty": "clip", "clip": 0.1},
    "wasserstein gp": {"cost": "wasserstein", "penalty": "wgan-gp", "gamma": 1.0, "drift": 1e-3},
    "non-saturating r1": {"cost": "non-saturating", "penalty": "r1"},
    "non-saturating r1+r2": {"cost": "non-saturating", "penalty": "r1+r2"},
    "relativistic r1+r2": {"cost": "relativistic", "penalty": "r1+r2"},
}
GAMMA = {"gamma": 5e-3, "gamma_final": 1e-6}  # of r1 and r2: first a smooth critic, at the end a sharp one
GAME: dict[str, Any] = {  # a generator with few kinks that moves slowly, before a critic that keeps up with it
    "model.hidden": (32,),
    "model.critic-hidden": (64, 64),
    "model.zoom": 2.0,
    "optim.lr": 5e-4,
    "optim.critic-lr": 3e-3,
    "optim.beta1": 0.0,
    "optim.beta2": 0.99,
    "optim.decay": "cosine",
    "optim.final": 0.01,
    "training.batch": 256,
    "training.images": Images(3_000_000),
    "training.ema-halflife": Images(150_000),
    "training.sample-every": Images(60_000),
}


def recipe(cost: str, seed: int, quick: bool) -> RunConfig:
    """The preset `gan` as it suits a line, with one of the costs; all else is the same for all."""
    config = suited(PRESETS["gan"](), SOURCE)
    asked = (GAMMA if "r1" in cost else {}) | COSTS[cost]
    config = replace(config, objective=replace(config.objective, **asked))
    changes = GAME | {"data.source": SOURCE, "training.seed": seed}
    if quick:
        changes["training.images"] = Images(20_000)
    return override(config, changes)


def pushed(here: Run, folder: Path, push: float) -> Run:
    """A copy of a finished run whose generator's points are all moved by `push` standard deviations of a mode."""
    clock = here.checkpoints()[-1]
    copy = Run(folder / here.folder.name)
    if copy.folder.exists():
        shutil.rmtree(copy.folder)
    copy.folder.mkdir(parents=True)
    shutil.copy(here.folder / "config.json", copy.folder)
    tensors, plain = checkpoint.load(here.checkpoint(clock))
    for name in ("nets/generator.last.bias", "averaged/generator.last.bias"):
        tensors[name] = tensors[name] + push * world("line").sd
    checkpoint.save(copy.checkpoint(clock), tensors, plain)
    return copy


def figures(here: Run) -> dict[str, Any]:
    """What is left of the game, and what it took."""
    if here.stopped() == "non-finite":
        return {"stopped": "non-finite"}
    return {
        **{name: round(value, 5) for name, value in of_run(here)._asdict().items()},
        "minutes": round(sum(row["seconds"] for row in here.timing()) / 60, 2),
    }


def there(found: dict[str, Any]) -> bool:
    """Whether a game has come to its end."""
    if "stopped" in found:
        return False
    near = found["half_data"] <= BARS["half_data"] and found["half_samples"] <= BARS["half_samples"]
    return bool(found["advantage"] <= BARS["advantage_nats"] and near)


def game(cost: str, work: Path, quick: bool) -> dict[str, Any]:
    """Every seed of one cost, and what became of the generators that were pushed away."""
    folder = work / cost.replace(" ", "-")
    runs = [finished(folder / str(seed), recipe(cost, seed, quick)) for seed in SEEDS]
    seeds = [figures(here) for here in runs]
    found: dict[str, Any] = {"seeds": seeds, "there": sum(map(there, seeds))}
    if found["there"] < len(SEEDS) and not quick:
        return found
    found["pushed"] = []
    for push in PUSHES:
        trials = [returned(here, folder, cost, push, quick) for here in runs]
        back = sum(trial.get("advantage", 9.0) <= BARS["back_nats"] for trial in trials)
        found["pushed"].append({"push": push, "back": back, "seeds": trials})
    return found


def returned(here: Run, folder: Path, cost: str, push: float, quick: bool) -> dict[str, Any]:
    """How far the generator of one run is from the end when it is pushed away, and after half as many points."""
    seed = here.config.training.seed
    away = pushed(here, folder / f"{seed}-pushed-{push:g}", push)
    config = recipe(cost, seed + len(SEEDS), quick)
    half = override(config, {"training.images": Images(config.training.images // 2)})
    before = round(of_run(away).advantage, 5)
    return {"before": before, **figures(finished(folder / f"{seed}-back-{push:g}", half, away))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="twenty thousand points a game, nothing stored")
    parser.add_argument("--only", choices=COSTS, help="one cost")
    parser.add_argument("--work", type=Path, default=Path("runs/equilibrium"), help="where the run folders are")
    asked = parser.parse_args()
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not asked.quick else {"costs": {}}
    costs: dict[str, Any] = stored["costs"]
    for cost in [asked.only] if asked.only else COSTS:
        costs[cost] = game(cost, asked.work / ("quick" if asked.quick else "full"), asked.quick)
        config = recipe(cost, 0, asked.quick)
        result = {
            "benchmark": "equilibrium",
            "quick": asked.quick,
            "bars": BARS,
            "games": {"points": config.training.images, "batch": config.training.batch, "seeds": len(SEEDS)},
            "met": [
                name
                for name, one in costs.items()
                if one["there"] == len(SEEDS) and one["pushed"][0]["back"] == len(SEEDS)
            ],
            "costs": costs,
            "date": datetime.now(UTC).date().isoformat(),
        }
        if not asked.quick:
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
