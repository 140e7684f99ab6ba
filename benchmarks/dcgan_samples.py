"""Does what makes DCGAN faster cost quality? Samples of the tutorial's recipe and of ours after as many images.

    LATENTE_DATA=... python benchmarks/dcgan_samples.py [--quick] [--images 50000] [--work FOLDER]

The two of dcgan_speed.py: the same networks and optimizer, on the same training photos as latente prepared them, with
what each has of its own: the tutorial draws samples with the batch's statistics, in batches of 64, as its figures do;
latente, with running ones. Neither averages weights. Distances of samples to training and to held-out photos
(set_distance.py), in the features of a run of `classifier-rotations` on the set. Their intervals are over images:
another seed of training, of which there is one here, moves them more.

What has been trained is not trained again: it lies in the work folder, with a picture of the samples of each. --quick
trains on 1,000 images, for a look. The last line is one JSON object; the full run also writes
benchmarks/results/dcgan_samples.json. Bar: in neither distance are ours farther than
the tutorial's, beyond both intervals.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from dcgan_speed import BATCH, LATENT, Tutorial, photos_of_faces, recipe, tutorial_generator
from finished import finished
from latente.config import Images, override
from latente.data.datasets import ImageSet, load
from latente.evaluation import judges
from latente.pictures import grid, save, to_pixels
from latente.presets import PRESETS, scaled
from latente.training.life import environment
from set_distance import PROTOCOL, samples_of, set_distance

RESULT = Path(__file__).parent / "results" / "dcgan_samples.json"


class Prepared(TorchDataset[Tensor]):
    """Training photos, as latente prepared them."""

    def __init__(self, photos: ImageSet) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        return self.photos.gather(np.array([index]))[0].float() / 127.5 - 1  # [3, 64, 64]


def tutorial(photos: ImageSet, images: int, work: Path) -> tuple[torch.nn.Module, float]:
    """The tutorial's generator after so many images, and the seconds it took."""
    kept = work / f"tutorial-{images}.pt"
    if not kept.exists():
        contender = Tutorial(Prepared(photos), workers=0)
        began = time.perf_counter()
        contender.turn(images)
        work.mkdir(parents=True, exist_ok=True)
        torch.save({"generator": contender.generator.state_dict(), "seconds": time.perf_counter() - began}, kept)
    found = torch.load(kept, weights_only=True)
    generator = tutorial_generator()
    generator.load_state_dict(found["generator"])
    return generator, found["seconds"]


def measure(images: int, work: Path, quick: bool) -> dict[str, Any]:
    """Both, trained and sampled."""
    config = override(recipe(photos_of_faces()), {"training.images": Images(images)})
    known = load(config.data)
    reading = override(PRESETS["classifier-rotations"](), {"data.source": config.data.source, "data.resolution": 64})
    judge = judges.of_run(finished(work / "reader", scaled(reading, 1_000, set())[0] if quick else reading))
    n = samples_of(known)
    z = torch.randn(-(-n // BATCH) * BATCH, LATENT, generator=torch.Generator().manual_seed(0))
    ours = finished(work / f"latente-{images}", config)
    theirs, seconds = tutorial(known.train, images, work)
    net: Any = ours.network()
    with torch.no_grad():
        made = {
            "tutorial": torch.cat([theirs(part[:, :, None, None]) for part in z.split(BATCH)])[:n],
            "latente": torch.cat([net.decode(part) for part in z.split(BATCH)])[:n],
        }
    spent = {"tutorial": seconds, "latente": sum(row["seconds"] for row in ours.timing())}
    for name, fakes in made.items():
        save(grid(to_pixels(fakes[:64].numpy()), columns=8), work / f"{name}-{images}.png")
    return {
        name: {**set_distance(fakes, known, judge), "seconds": round(spent[name], 1)} for name, fakes in made.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--work", type=Path, default=Path("runs/dcgan_samples"), help="where the networks are")
    asked = parser.parse_args()
    work, images = (asked.work / "quick", 1_000) if asked.quick else (asked.work, asked.images)
    found = measure(images, work, asked.quick)
    result = {"benchmark": "dcgan_samples", "quick": asked.quick, "images": images, "samples_of": found}
    least, most = found["latente"], found["tutorial"]
    result["met"] = all(least[key][0] <= most[key][1] for key in ("frechet_interval", "kernel_interval"))
    if not asked.quick:
        stored = result | {
            "protocol": "PyTorch's DCGAN tutorial, 64 px, 64 filters, batch 64, photos of faces; one training seed. "
            + PROTOCOL,
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
