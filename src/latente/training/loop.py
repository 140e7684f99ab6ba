"""The one loop. It knows time; the step knows learning; nothing else knows either."""

from collections.abc import Callable, Sequence

import torch

from latente.data.stream import Batch, Stream
from latente.training.schedule import crossed, seed_at
from latente.training.state import Metrics, TrainState

Step = Callable[[TrainState, Batch], Metrics]
Action = Callable[[TrainState], None]


def fit(
    state: TrainState,
    step: Step,
    stream: Stream,
    *,
    until: int,  # images shown at which training ends; the last batch is never cut short
    batch_at: Callable[[int], int],  # images of the batch that is shown at a clock
    seed: int,
    ema_halflife: int,  # images
    record: Callable[[TrainState, Metrics], None],
    cadence: Sequence[tuple[int, Action]],  # every so many images, in this order
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Show images until the clock says `until`. A step is a pure function of (state, batch, seed, clock), so a run
    that was cut anywhere and taken up from a checkpoint ends bit for bit where the uninterrupted run does."""
    while state.images < until and not should_stop():
        seed_step(seed_at(seed, 0, state.images))
        n = batch_at(state.images)
        metrics = step(state, stream.take(state.images, n))
        state.images += n
        state.iteration += 1
        state.average(ema_halflife, n)
        record(state, metrics)
        for interval, action in cadence:
            if crossed(state.images, n, interval):
                action(state)


def seed_step(seed: int) -> None:
    """Seed the generators that a step draws from. `torch.manual_seed` would also queue calls for devices that are not
    there, which costs a twentieth of a small step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
