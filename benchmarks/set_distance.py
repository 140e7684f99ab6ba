"""What the benchmarks that compare samples share: how far samples lie from the images of a set, beside real images."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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


class Real(NamedTuple):
    """What the feature network makes of real images, [n, F] each; read once for all samples."""

    training: NDArray[np.float32]
    held_out: NDArray[np.float32]


def real_features(known: Dataset, n: int, judge: judges.Judge) -> Real:
    """Those of n training images and of all held-out ones."""
    some = np.sort(known.train.spread(n))
    parts = judges.chunks_of(known.train, some), judges.chunks_of(known.test)
    return Real(*(torch.cat([judge.features(part) for part in each]).numpy() for each in parts))


def set_distance(fakes: Tensor, real: Real, judge: judges.Judge) -> dict[str, Any]:
    """Images [n, C, H, W] in [-1, 1] to as many training images (Fréchet) and to held-out ones (kernel)."""
    training, held_out = real
    made = torch.cat([judge.features(part) for part in fakes.split(250)]).numpy()
    frechet = distances.frechet_estimate(*(distances.grouped([each], GROUPS) for each in (made, training)))
    kernel, of_real = (distances.kernel_distance(each, held_out) for each in (made, training))
    return {
        "frechet": frechet.value,
        "frechet_interval": frechet.interval,
        "frechet_floor": distances.frechet_floor(distances.moments([training]), len(made), len(training)),
        "kernel": kernel.value,
        "kernel_interval": kernel.interval,
        "kernel_real": of_real.value,
        "samples": len(fakes),
    }
