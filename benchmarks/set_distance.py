"""What the benchmarks that compare samples share: how far samples lie from the images of a set, beside real images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latente.data.datasets import Dataset
from latente.evaluation import distances, judges

MOST = 2_000  # samples, and training images
GROUPS = 10  # of the jackknife
PROTOCOL = (
    f"frechet: as many samples as training images (at most {MOST}) to those; frechet_floor: what a perfect generator "
    "has at these counts. kernel: unbiased, to held-out images; kernel_real: training images to those, what a perfect "
    "generator has. Features of a run of classifier-rotations on the set. 95 % intervals: jackknife, over images"
)


def samples_of(known: Dataset) -> int:
    """How many samples are measured."""
    return min(MOST, len(known.train))


def set_distance(fakes: Tensor, known: Dataset, judge: judges.Judge) -> dict[str, Any]:
    """Images [N, C, H, W] in [-1, 1], N = `samples_of`, to training images (Fréchet) and held-out ones (kernel)."""
    held_out = torch.cat([judge.features(part) for part in judges.chunks_of(known.test)]).numpy()
    some = np.sort(known.train.spread(len(fakes)))
    training = torch.cat([judge.features(part) for part in judges.chunks_of(known.train, some)]).numpy()
    made = torch.cat([judge.features(part) for part in fakes.split(250)]).numpy()
    frechet = distances.frechet_estimate(*(distances.grouped([each], GROUPS) for each in (made, training)))
    kernel, real = (distances.kernel_distance(each, held_out) for each in (made, training))
    return {
        "frechet": frechet.value,
        "frechet_interval": frechet.interval,
        "frechet_floor": distances.frechet_floor(distances.moments([training]), len(made), len(training)),
        "kernel": kernel.value,
        "kernel_interval": kernel.interval,
        "kernel_real": real.value,
        "samples": len(fakes),
    }
