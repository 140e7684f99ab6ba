"""Weights that training begins with: another run's, or those of a checkpoint."""

import os

from latente import checkpoint
from latente.messages import Problem
from latente.run import Run, open_run
from latente.training.acting import abandon
from latente.training.state import TrainState, averaged_copy


def adopt(state: TrainState, source: Run) -> None:
    """Begin with the weights of another run."""
    if ("critic" in state.nets) != (source.config.cure is not None):  # a game's networks have other names
        mine = state.nets.state_dict()
        raise Problem("train.from_mismatch", folder=source.folder, first=next(iter(mine)), n=len(mine))
    for name, net in state.nets.items():
        weights = source.network(player=name).state_dict()
        mine = net.state_dict()
        differ = [key for key in mine if key not in weights or weights[key].shape != mine[key].shape]
        differ += [key for key in weights if key not in mine]
        if differ:
            raise Problem("train.from_mismatch", folder=source.folder, first=differ[0], n=len(differ))
        net.load_state_dict(weights)
        if state.averaged is not None and name in state.averaged:
            state.averaged = averaged_copy(net, name)


def take_up(here: Run, state: TrainState) -> bool:
    """Load the newest readable checkpoint of the branch that the run is on. Those that are cut short are named in
    events.jsonl and set aside. A run that was killed before its first checkpoint begins again.

    The result: whether nothing was wrong there."""
    abandon(here)
    clocks, branch = here.checkpoints(), here.branch()
    for clock in reversed(clocks):
        try:
            tensors, plain = checkpoint.load(here.checkpoint(clock))
            state.unpack(tensors, plain)
            if state.branch < branch:
                state.branch, state.totals = branch, {}
                if "memory/replay/images" not in tensors:
                    state.since = state.iteration  # a store that the remedy brought is empty
            return bool(plain.get("healthy", True))
        except checkpoint.Damaged as damaged:
            here.record_event("damaged", clock, what=str(damaged))
            here.checkpoint(clock).rename(here.folder / "checkpoints" / f"damaged-{clock:09d}-{os.getpid()}")
    if clocks:
        raise Problem("run.no_checkpoint", folder=here.folder)
    if here.tree["start_from"]:
        adopt(state, open_run(here.tree["start_from"]))
    return True
