"""What is being minimised: plain functions, tensors in, one number an image out. No state, no backward, no settings."""

from typing import NamedTuple

from torch import Tensor


class Terms(NamedTuple):
    """What a family hands to the step: the loss is the sum of weight x mean(per_image) and of weight x batch.

    A name without a weight is only recorded.
    """

    per_image: dict[str, Tensor]  # name -> [N]
    batch: dict[str, Tensor]  # name -> [], terms that belong to a whole batch
    weights: dict[str, float]
