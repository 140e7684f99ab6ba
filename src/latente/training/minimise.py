"""The step of one player, which goes down one loss: an autoencoder, a VAE or a classifier learns from one batch."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latente.config import OptimConfig
from latente.data.stream import Batch
from latente.objectives import Terms
from latente.training.schedule import learning_rate
from latente.training.state import Metrics, TrainState


@dataclass(frozen=True)
class Minimise:
    """Is a Step: (state, batch) -> metrics. One backward pass a part of the batch, one move of the optimizer."""

    terms: Callable[[Any, Batch, int], Terms]  # the family's losses, at so many images shown
    optim: OptimConfig
    accumulate: int  # parts that a batch is cut into
    autocast: Callable[[], AbstractContextManager[None]]

    def __call__(self, state: TrainState, batch: Batch) -> Metrics:
        net, optimizer = state.nets["net"], state.optimizers["net"]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.optim, state.images)
        optimizer.zero_grad(set_to_none=True)
        seen: list[Metrics] = []
        for part, share in parts(batch, self.accumulate):
            with self.autocast():
                terms = self.terms(net, part, state.images)
                loss = total(terms)
            (loss * share if share < 1 else loss).backward()  # type: ignore[no-untyped-call]
            seen.append(recorded(terms, loss))
        if self.optim.clip > 0:
            norm = nn.utils.clip_grad_norm_(net.parameters(), self.optim.clip)
            seen[-1]["gradient/norm"] = norm.detach()
        optimizer.step()
        return join(seen)


def parts(batch: Batch, count: int) -> Iterator[tuple[Batch, float]]:
    """The batch in `count` parts, each with its share of the whole."""
    if count == 1:
        yield batch, 1.0
        return
    images = batch.images.chunk(count)
    conditions = [None] * len(images) if batch.condition is None else batch.condition.chunk(count)
    for x, condition in zip(images, conditions, strict=True):
        yield Batch(x, condition), len(x) / len(batch.images)


def total(terms: Terms) -> Tensor:
    """The loss: weighted means of what is counted per image, and weighted terms of the batch."""
    counted = [
        terms.per_image[name].mean() * weight for name, weight in terms.weights.items() if name in terms.per_image
    ]
    counted += [terms.batch[name] * weight for name, weight in terms.weights.items() if name in terms.batch]
    return torch.stack(counted).sum() if len(counted) > 1 else counted[0]


def recorded(terms: Terms, loss: Tensor) -> Metrics:
    """What goes into the record of a step. The loss counts once an image, so that unequal parts of a batch weigh
    right."""
    n = max((len(value) for value in terms.per_image.values()), default=1)
    metrics = {"loss": loss.detach().expand(n)}
    metrics |= {name: value.detach() for name, value in (terms.per_image | terms.batch).items()}
    return metrics


def join(seen: list[Metrics]) -> Metrics:
    """The record of a step that was taken in parts."""
    if len(seen) == 1:
        return seen[0]
    names = dict.fromkeys(name for metrics in seen for name in metrics)
    return {name: torch.cat([metrics[name].reshape(-1) for metrics in seen if name in metrics]) for name in names}


def measured(
    terms: Callable[[Any, Batch, int], Terms], decodes: bool
) -> Callable[[TrainState, Batch], dict[str, Tensor]]:
    """What a checkpoint measures on held-out images, [n] each: the loss and its terms and, of a network that decodes,
    the squared error of its reconstructions (pixels in [0, 1]) from codes or posterior means."""

    def measure(state: TrainState, batch: Batch) -> dict[str, Tensor]:
        net: Any = state.shown("net").eval()
        found = terms(net, batch, state.images)
        values = found.per_image | {"loss": total(found).expand(len(batch.images))}
        if decodes:
            again = net.decode(net.encode(*batch), batch.condition)
            values["mse"] = (again - batch.images).flatten(1).square().mean(1) / 4
        return values

    return measure
