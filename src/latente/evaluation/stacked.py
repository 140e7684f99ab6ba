"""Modes of Stacked MNIST: what three digits an image shows, how many of the 1000 there are, and how evenly.

Protocol of Lin et al. 2018 ("PacGAN", section 4.2), after Metz et al. 2016 and Srivastava et al. 2017: 26 000 samples,
each channel read by a classifier of single digits; a mode is found if one sample shows it. The divergence is that from
1/1000 each (`kl_uniform`: 26 000 real stacks are 0.02 nats away, by chance alone), or from the shares of the 1000
labels among real stacks (`kl`).
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.evaluation.modes import label_modes

SAMPLES = 26_000
LABELS = 1000


class DigitReader(Protocol):
    """What is needed of a classifier, in evaluation mode."""

    image_shape: tuple[int, int, int]

    def predict(self, x: Tensor) -> Tensor:
        """[n, 1, H, W] in [-1, 1] -> digits, int64 [n]."""


@torch.no_grad()
def read_digits(images: Tensor, classifier: DigitReader, chunk: int = 100) -> Tensor:
    """Images [n, 3, H, W] in [-1, 1] -> labels 100 a + 10 b + c, int64 [n]; a is the first channel's digit.

    Raises:
        ValueError: the classifier reads images of another size.
    """
    if tuple(classifier.image_shape) != (1, *images.shape[2:]) or images.shape[1] != 3:
        raise ValueError(f"digits of {tuple(classifier.image_shape)} cannot be read in {tuple(images.shape[1:])}")
    read = [classifier.predict(part.reshape(-1, 1, *part.shape[2:])).view(-1, 3) for part in torch.split(images, chunk)]
    digits = torch.cat(read)  # [n, 3]
    return 100 * digits[:, 0] + 10 * digits[:, 1] + digits[:, 2]


def coverage(labels: NDArray[np.int64], real: NDArray[np.int64]) -> dict[str, Any]:
    """Labels [n] of samples beside those of real stacks [m] -> modes seen once and five times, divergences in nats, and
    what all this is counted in."""
    found = label_modes(labels, LABELS, np.bincount(real, minlength=LABELS))
    return {
        "modes": found.found,
        "modes_5": found.found5,
        "kl": found.kl,
        "kl_uniform": label_modes(labels, LABELS).kl,
        "protocol": {"samples": len(labels), "of": LABELS, "real_stacks": len(real), "read_by": "digit classifier"},
    }
