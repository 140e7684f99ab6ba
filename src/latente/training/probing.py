"""Measurements for the diagnosis, taken while a run learns and without a trace in what it learns."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latente.diagnosis import probes
from latente.diagnosis.panel import Panel
from latente.training.state import TrainState

_WEIGHTS = 10_000  # of each player, whose moves are followed


def probe(state: TrainState, panel: Panel) -> dict[str, float]:
    """One row: a function of the state, whose `memory` keeps what the next one compares with. A network that makes no
    images has none.

    The networks that learn are asked, in evaluation mode, and are left in training mode. No generator of random numbers
    is touched."""
    row: dict[str, float] = {}
    state.nets.eval()
    if "critic" in state.nets:
        row = panel.game(state.nets["generator"], state.nets["critic"]) | turns(state)
    elif hasattr(state.nets["net"], "decode"):
        row = panel.codes(state.nets["net"])
    state.nets.train()
    return row


def turns(state: TrainState) -> dict[str, float]:
    """Cosine of each player's move since the last probe and the one before: near -1 it goes to and fro, near 1 straight
    on. Nothing until there have been two moves."""
    found: dict[str, float] = {}
    memory = state.memory
    for player, net in state.nets.items():
        weights, move = f"probe/weights/{player}", f"probe/move/{player}"
        now = followed(net)
        if weights in memory:
            moved = now - memory[weights]
            if move in memory:
                found[f"probe/turn/{player}"] = probes.cosine(moved, memory[move])
            memory[move] = moved
        memory[weights] = now
    return probes.finite(found)


@torch.no_grad()
def followed(net: nn.Module) -> Tensor:
    """At most _WEIGHTS of a network's weights, evenly spaced over all of them: a copy."""
    parameters: list[Any] = list(net.parameters())
    ends = np.cumsum([p.numel() for p in parameters])
    chosen = np.linspace(0, ends[-1] - 1, min(int(ends[-1]), _WEIGHTS)).astype(np.int64)
    parts = []
    for parameter, end in zip(parameters, ends, strict=True):
        start = end - parameter.numel()
        own = chosen[(chosen >= start) & (chosen < end)] - start
        parts.append(parameter.flatten()[torch.from_numpy(own).to(parameter.device)].float())
    return torch.cat(parts)
