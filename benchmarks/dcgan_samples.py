"""Does what makes DCGAN faster cost quality? Samples of the tutorial's recipe and of ours after as many images.

    LATENTE_DATA=... python benchmarks/dcgan_samples.py [--quick] [--images 50000] [--seeds 0,1] [--work FOLDER]

The two of dcgan_speed.py: the same networks and optimizer, on the same training photos as latente prepared them, with
what each has of its own: the tutorial draws samples with the batch's statistics, in batches of 64, as its figures do;
latente with running ones, and (`averaged`, what a user is shown) with averaged weights.

The step is the same (tests/test_adversarial_step.py writes it down by hand): only precision, order and random numbers
differ. So short a game still swings: distances of one run change tenfold from one checkpoint to the next. So each run
is measured at a half, three quarters and the end of its length, and medians over seeds and these are compared.
Distances of samples to training and to held-out photos (set_distance.py), in the features of a run of
`classifier-rotations` on the set.

What has been trained is not trained again: it lies in the work folder, with a picture of the samples of each at its
end. --quick trains on 1,024 images, for a look. The last line is one JSON object; the full run also writes
benchmarks/results/dcgan_samples.json. Bar: the median of neither distance is larger than the tutorial's,
with averaged weights (`met`); without, it is told beside.
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from dcgan_speed import BATCH, LATENT, Tutorial, photos_of_faces, recipe, tutorial_generator
from finished import finished
from latente.config import Images, override
from latente.data.datasets import ImageSet, load
from latente.evaluation import judges
from latente.pictures import grid, save, to_pixels
from latente.presets import PRESETS, scaled
from latente.training.life import environment
from set_distance import PROTOCOL, real_features, samples_of, set_distance

RESULT = Path(__file__).parent / "results" / "dcgan_samples.json"
QUARTERS = (2, 3, 4)  # of a run, at which it is measured


class Prepared(TorchDataset[Tensor]):
    """Training photos, as latente prepared them."""

    def __init__(self, photos: ImageSet) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        return self.photos.gather(np.array([index]))[0].float() / 127.5 - 1  # [3, 64, 64]


def tutorial(photos: ImageSet, images: int, seed: int, work: Path) -> tuple[list[nn.Module], float]:
    """The tutorial's generators at each quarter that is measured, and the seconds it took."""
    kept = work / f"tutorial-{images}-{seed}.pt"
    if not kept.exists():
        contender, states, seconds = Tutorial(Prepared(photos), workers=0, seed=seed), [], 0.0
        for quarter in range(1, 5):
            began = time.perf_counter()
            contender.turn(images // 4)
            seconds += time.perf_counter() - began
            if quarter in QUARTERS:
                states.append({k: v.clone() for k, v in contender.generator.state_dict().items()})
        work.mkdir(parents=True, exist_ok=True)
        torch.save({"generators": states, "seconds": seconds}, kept)
    found = torch.load(kept, weights_only=True)
    generators: list[nn.Module] = []
    for state in found["generators"]:
        generator = tutorial_generator()
        generator.load_state_dict(state)
        generators.append(generator)
    return generators, found["seconds"]


def measure(images: int, seeds: list[int], work: Path, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Both, trained, sampled and measured: arm -> rows."""
    config = override(recipe(photos_of_faces()), {"training.images": Images(images)})
    config = override(config, {"training.checkpoint-every": Images(images // 4)})
    known = load(config.data)
    reading = override(PRESETS["classifier-rotations"](), {"data.source": config.data.source, "data.resolution": 64})
    judge = judges.of_run(finished(work / "reader", scaled(reading, 1_000, set())[0] if quick else reading))
    n = 200 if quick else samples_of(known)
    real = real_features(known, n, judge)
    z = torch.randn(-(-n // BATCH) * BATCH, LATENT, generator=torch.Generator().manual_seed(0))
    rows: dict[str, list[dict[str, Any]]] = {"tutorial": [], "latente": [], "averaged": []}
    for seed in seeds:
        ours = finished(work / f"latente-{images}-{seed}", override(config, {"training.seed": seed}))
        theirs, seconds = tutorial(known.train, images, seed, work)
        took = {"tutorial": seconds, "latente": sum(row["seconds"] for row in ours.timing())}
        took["averaged"] = took["latente"]
        for place, quarter in enumerate(QUARTERS):
            clock = min(ours.checkpoints(), key=lambda kept: abs(kept - images * quarter // 4))
            plain, averaged = (ours.network(clock, averaged=which) for which in (False, True))
            with torch.no_grad():
                made = {
                    "tutorial": torch.cat([theirs[place](part[:, :, None, None]) for part in z.split(BATCH)])[:n],
                    "latente": torch.cat([plain.decode(part) for part in z.split(BATCH)])[:n],
                    "averaged": torch.cat([averaged.decode(part) for part in z.split(BATCH)])[:n],
                }
            for name, fakes in made.items():
                row = {"seed": seed, "images": images * quarter // 4, **set_distance(fakes, real, judge)}
                rows[name].append(row | {"seconds": round(took[name] * quarter / 4, 1)})
                print(f"{name} seed {seed}, {row['images']} images: Fréchet {row['frechet']:.3g}", flush=True)
                if quarter == 4:
                    save(grid(to_pixels(fakes[:64].numpy()), columns=8), work / f"{name}-{seed}.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seeds", default="0,1", help="separated by commas")
    parser.add_argument("--work", type=Path, default=Path("runs/dcgan_samples"), help="where the networks are")
    asked = parser.parse_args()
    work, images = (asked.work / "quick", 1_024) if asked.quick else (asked.work, asked.images)
    seeds = [0] if asked.quick else [int(seed) for seed in asked.seeds.split(",")]
    rows = measure(images, seeds, work, asked.quick)
    medians = {
        arm: {key: statistics.median(row[key] for row in found) for key in ("frechet", "kernel")}
        for arm, found in rows.items()
    }
    met = {arm: all(medians[arm][key] <= medians["tutorial"][key] for key in medians[arm]) for arm in rows}
    result = {"benchmark": "dcgan_samples", "quick": asked.quick, "images": images, "seeds": seeds}
    result |= {"medians": medians, "met": met["averaged"], "met_without_average": met["latente"], "rows": rows}
    if not asked.quick:
        stored = result | {
            "protocol": f"PyTorch's DCGAN tutorial, 64 px, 64 filters, batch 64, photos of faces. {PROTOCOL}",
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
