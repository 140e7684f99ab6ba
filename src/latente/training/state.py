"""All that a run needs to go on: networks, their averages, optimizers and the clock."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latente.training.schedule import average_decay

Metrics = dict[str, Tensor]  # name -> [n] a value an image, or [] a value a batch; detached, still on the device


@dataclass
class TrainState:
    """What one step changes and one checkpoint keeps."""

    nets: nn.ModuleDict
    optimizers: dict[str, Optimizer]  # by the name of the network that each one trains
    averaged: nn.ModuleDict | None = None  # exponential moving averages of some networks, in evaluation mode
    images: int = 0
    iteration: int = 0
    branch: int = 0  # how often training went back to an earlier checkpoint
    since: int = 0  # the iteration at which this branch began
    totals: dict[str, Tensor] = field(default_factory=dict)  # the recorder's unfinished tick
    memory: dict[str, Tensor] = field(default_factory=dict)  # what the step keeps besides: past fakes, a strength

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and plain values."""
        tensors = {f"nets/{k}": v for k, v in self.nets.state_dict().items()}
        if self.averaged is not None:
            tensors |= {f"averaged/{k}": v for k, v in self.averaged.state_dict().items()}
        plain: dict[str, Any] = {"images": self.images, "iteration": self.iteration, "branch": self.branch}
        plain |= {"since": self.since, "optimizers": {}}
        for player, optimizer in self.optimizers.items():
            values: dict[str, Any] = {}
            for name, parameter in self.nets[player].named_parameters():
                for key, value in optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        tensors[f"optimizers/{player}/{name}/{key}"] = value
                    else:
                        values[f"{name}/{key}"] = value
            plain["optimizers"][player] = values
        tensors |= {f"totals/{k}": v for k, v in self.totals.items()}
        tensors |= {f"memory/{k}": v for k, v in self.memory.items()}
        return tensors, plain

    def unpack(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Put back what `pack` gave. Moments are copied into tensors laid out like their parameter: a fused Adam that
        is given other strides drifts without a word."""
        self.nets.load_state_dict(_under(tensors, "nets/"))
        if self.averaged is not None:
            self.averaged.load_state_dict(_under(tensors, "averaged/"))
        for player, optimizer in self.optimizers.items():
            fused = bool(optimizer.defaults.get("fused"))
            for name, parameter in self.nets[player].named_parameters():
                saved = _under(tensors, f"optimizers/{player}/{name}/")
                entry: dict[str, Any] = {key: _like(key, value, parameter, fused) for key, value in saved.items()}
                entry |= _under(plain["optimizers"][player], f"{name}/")
                if entry:
                    optimizer.state[parameter] = entry
                else:
                    optimizer.state.pop(parameter, None)
        device = next(self.nets.parameters()).device
        self.totals = {k: v.to(device, copy=True) for k, v in _under(tensors, "totals/").items()}
        self.memory |= {k: v.to(device, copy=True) for k, v in _under(tensors, "memory/").items()}
        self.images, self.iteration = plain["images"], plain["iteration"]
        self.branch, self.since = plain.get("branch", 0), plain.get("since", 0)

    def average(self, halflife: int, n: int) -> None:
        """Move the averaged weights towards the current ones after a batch of `n`; buffers are copied."""
        if self.averaged is None:
            return
        keep = average_decay(halflife, self.images, n)
        with torch.no_grad():
            for name, averaged in self.averaged.items():
                net = self.nets[name]
                torch._foreach_lerp_(list(averaged.parameters()), list(net.parameters()), 1 - keep)
                for old, new in zip(averaged.buffers(), net.buffers(), strict=True):
                    old.copy_(new)

    def shown(self, name: str) -> nn.Module:
        """A network to sample from: the averaged one where there is one."""
        averaged = self.averaged is not None and name in self.averaged
        nets = self.averaged if averaged and self.averaged is not None else self.nets
        return nets[name]


def averaged_copy(net: nn.Module, name: str) -> nn.ModuleDict:
    """A frozen copy of a network, to keep running averages in."""
    return nn.ModuleDict({name: copy.deepcopy(net).eval().requires_grad_(False)})


def _under(entries: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}


def _like(key: str, saved: Tensor, parameter: Tensor, fused: bool) -> Tensor:
    if key in ("step", "mu_product"):  # counters: only a fused kernel wants them on its own device
        return saved.to(parameter.device if fused else "cpu", copy=True)
    return torch.empty_like(parameter, dtype=saved.dtype, requires_grad=False).copy_(saved)
