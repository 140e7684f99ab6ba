"""What the benchmarks that compare samples share: their distance to held-out images, beside that of training images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latente.data.datasets import Dataset
from latente.evaluation import distances, judges

GROUPS = 10  # of the jackknife


def set_distance(fakes: Tensor, known: Dataset, judge: judges.Judge) -> dict[str, Any]:
    """Fréchet distance of images [N, C, H, W] in [-1, 1] to the held-out ones; `floor`: that of N training images."""
    real = torch.cat([judge.features(part) for part in judges.chunks_of(known.test)]).numpy()
    some = judges.chunks_of(known.train, np.sort(known.train.spread(len(fakes))))
    training = torch.cat([judge.features(part) for part in some]).numpy()
    groups = [distances.grouped([features], GROUPS) for features in (judge.features(fakes).numpy(), real)]
    found = distances.frechet_estimate(*groups)
    floor = distances.frechet(distances.moments([training]), distances.moments([real]))
    return {"frechet": found.value, "interval": found.interval, "floor": floor, "samples": len(fakes)}
