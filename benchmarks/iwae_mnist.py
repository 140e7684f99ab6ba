"""How likely a plain VAE with the IWAE paper's one-layer network finds MNIST's test images.

    LATENTE_DATA=... python benchmarks/iwae_mnist.py [--quick] [--images 54M] [--out runs/iwae-mnist]

Burda et al. 2015, Table 1, one stochastic layer, k = 1: 784-200-200-50, tanh, Glorot, dynamic binarisation; they
report 86.76 nats after 3280 epochs of batch 20. Here: 60 000 training images, Adam, cosine decay, averaged weights, at
most 40 minutes on two cores. Trained by latente's own loop in a run folder: stop it whenever you like, and the same
command goes on with it. Then the importance-weighted bound with 5000 samples of every one of the 10 000 test images,
binarised once with a recorded seed; each part that is done is kept in the run folder too.

The last line is one JSON object; the full run also writes benchmarks/results/iwae_mnist.json. Bar: nll at most 87.0.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latente import run
from latente.config import Images, RunConfig, count, override
from latente.data.datasets import load
from latente.data.stream import see
from latente.evaluation.likelihood import BURDA_THRESHOLD, activity, elbo, importance_sampling, standard_error
from latente.presets import PRESETS
from latente.run import Run
from latente.training import resume, train
from latente.training.life import environment

BAR, CORE_MINUTES = 87.0, 80.0  # 40 minutes on two cores
RESULT = Path(__file__).parent / "results" / "iwae_mnist.json"
IMAGES = "54M"  # 900 epochs
BINARISATION_SEEDS = (0, 1, 2)  # of the test images: the first one is the result, the others show how much it matters
PART = 500  # test images whose bound is kept at a time


def recipe(images: int) -> RunConfig:
    """The preset `iwae` as a plain VAE: one sample, the KL in closed form, a larger batch and learning rate."""
    changes = {
        "data.source": "mnist",
        "objective.estimator": "B",
        "objective.samples": 1,
        "optim.lr": 4e-3,
        "optim.eps": 1e-8,
        "optim.decay": "cosine",
        "optim.final": 0.02,
        "training.images": Images(images),
        "training.batch": 400,
        "training.ema-halflife": Images(min(60_000, images // 20)),
        "training.checkpoint-every": Images(max(images // 20, 1)),
        "training.sample-every": Images(max(images // 4, 1)),
        "training.tick": Images(max(images // 200, 1)),
        "training.precision": "float32",
    }
    return override(PRESETS["iwae"](), changes)


def trained(out: Path, images: int) -> Run:
    """The finished run in `out`: begun, gone on with, or found there."""
    found = run.runs(out)
    here = found[-1] if found else train(recipe(images), out=out, watch=Progress(images))
    if found and here.stopped() != "finished":
        here = resume(here, watch=Progress(here.config.training.images))
    if here.stopped() != "finished":
        sys.exit(f"{here.folder}: {here.stopped()}. The same command goes on with it.")
    return here


class Progress:
    """A line every 20 seconds."""

    def __init__(self, until: int) -> None:
        self.until, self.said = until, time.monotonic()

    def __call__(self, images: int, row: dict[str, Any]) -> None:
        if time.monotonic() - self.said > 20:
            self.said = time.monotonic()
            bound = row.get("test/bound", row.get("bound", float("nan")))
            print(f"{images / 1e6:.1f}M of {self.until / 1e6:.1f}M images, bound {bound:.2f} nats", flush=True)


def training_minutes(here: Run) -> float:
    """Minutes spent in training steps, from timing.jsonl. A tick that an interruption cut short has no row: it counts
    at the mean rate of the others."""
    timed = [row for row in here.timing() if row.get("images_per_second")]
    seconds = sum(row["seconds"] for row in timed)
    images = sum(row["seconds"] * row["images_per_second"] for row in timed)
    return float(here.checkpoints()[-1] * seconds / images / 60)


def nll(here: Run, net: Any, x: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """L_k and the effective sample size of each image of x; parts already done are read from the run folder."""
    kept = here.folder / f"likelihood-{here.checkpoints()[-1]:09d}-k{k}-binarisation{seed}.jsonl"
    done = {row["images"]: row for row in run.rows(kept)}
    began = time.monotonic()
    for start in range(0, len(x), PART):
        if start not in done:
            part = importance_sampling(net, x[start : start + PART], k, seed=start)
            done[start] = {"images": start, "bound": part.bound.tolist(), "effective": part.effective.tolist()}
            run.append(kept, done[start])
            if time.monotonic() - began > 20:
                began = time.monotonic()
                print(f"k={k}, binarisation {seed}: {start + PART} of {len(x)} images", flush=True)
    rows = [done[start] for start in sorted(done)]
    bound = torch.tensor([value for row in rows for value in row["bound"]], dtype=torch.float64)
    return bound, torch.tensor([value for row in rows for value in row["effective"]], dtype=torch.float64)


def measured(here: Run, n: int, k: int) -> dict[str, Any]:
    """Every figure of the first `n` test images, with `k` samples for the main one."""
    net: Any = here.network()
    pixels = torch.from_numpy(load(here.config.data).test.images[:n].copy())
    seen = [see(pixels, "fixed", seed=seed, indices=np.arange(n)) for seed in BINARISATION_SEEDS]
    x = seen[0]
    bound, effective = nll(here, net, x, k, BINARISATION_SEEDS[0])
    quick = [-nll(here, net, each, 100, seed)[0].mean() for each, seed in zip(seen, BINARISATION_SEEDS, strict=True)]
    terms = elbo(net, x, 100)
    variances = activity(net, x)
    return {
        "nll": round(-float(bound.mean()), 3),
        "nll_standard_error_over_images": round(standard_error(bound), 3),
        "nll_monte_carlo_error": round(float((1 / effective - 1 / k).sum().sqrt() / n), 4),
        "effective_samples": {"median": round(float(effective.median()), 1), "least": round(float(effective.min()), 1)},
        "nll_k100_by_binarisation_seed": [round(float(value), 3) for value in quick],
        "negative_elbo": round(-float(terms.bound.mean()), 3),
        "reconstruction": round(-float(terms.reconstruction.mean()), 3),
        "kl": round(float(terms.kl.mean()), 3),
        "active_units": int((variances > BURDA_THRESHOLD).sum()),
        "protocol": {
            "estimator": "mean over images of -log 1/k sum_i p(x, z_i) / q(z_i|x), Burda et al. 2015, eq. 8",
            "k": k,
            "test_images": n,
            "binarisation": "every pixel once, P(1) = level / 255, latente.data.stream.see 'fixed'",
            "binarisation_seed": BINARISATION_SEEDS[0],
            "sampling_seed": f"the index of the first of each {PART} images",
            "active": f"variance of the posterior mean over these images above {BURDA_THRESHOLD}",
            "weights": "averaged, of the last checkpoint; nothing was chosen on the test set",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute, for a look; keeps nothing")
    parser.add_argument("--images", type=count, default=count(IMAGES), help="training images shown; 48M are 800 epochs")
    parser.add_argument("--out", type=Path, default=Path("runs/iwae-mnist"), help="where the run folder is, or will be")
    asked = parser.parse_args()
    if asked.quick:
        with tempfile.TemporaryDirectory() as folder:
            here = trained(Path(folder), 60_000)
            figures, minutes = measured(here, 200, 100), training_minutes(here)
    else:
        here = trained(asked.out, asked.images)
        figures, minutes = measured(here, 10_000, 5000), training_minutes(here)
    config = here.config
    threads = json.loads((here.folder / "environment.json").read_text(encoding="utf-8"))["threads"]
    result = {
        "benchmark": "iwae_mnist",
        "nll": figures["nll"],
        "bar": BAR,
        "minutes": round(minutes, 1),
        "core_minutes": round(minutes * threads, 1),
        "core_minutes_bar": CORE_MINUTES,
        "met": figures["nll"] <= BAR and minutes * threads <= CORE_MINUTES,
        "quick": asked.quick,
        **figures,
        "training": {
            "images": config.training.images,
            "epochs": round(config.training.images / 60_000, 1),
            "batch": config.training.batch,
            "images_per_second": round(config.training.images / minutes / 60),
            "optim": vars(config.optim),
            "ema_halflife": config.training.ema_halflife,
            "seed": config.training.seed,
        },
        "machine": environment(torch.device("cpu")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if not asked.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
