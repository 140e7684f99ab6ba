"""State: packed and unpacked without loss, moments laid out like their parameters, averages by the closed form."""

import copy

import pytest
import torch
from torch import nn

from latente.config import OptimConfig
from latente.data.datasets import Dataset
from latente.data.stream import Stream
from latente.training.assemble import Assembly, assemble, optimizer
from latente.training.state import TrainState, averaged_copy
from toy import NAMES, image_set, toy


def small_state(name: str = "adam", seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3)).to(memory_format=torch.channels_last)
    nets = nn.ModuleDict({"net": net})
    kept = optimizer(OptimConfig(name=name, lr=0.01), net, torch.device("cpu"))  # type: ignore[arg-type]
    return TrainState(nets, {"net": kept}, averaged_copy(nets["net"], "net"))


def learn(state: TrainState, steps: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(8, 2, 4, 4, generator=generator).contiguous(memory_format=torch.channels_last)
        state.optimizers["net"].zero_grad()
        state.nets["net"](x).square().mean().backward()
        state.optimizers["net"].step()
        state.images += 8
        state.iteration += 1
        state.average(4, 8)


def assembled(name: str) -> Assembly:
    dataset = Dataset(image_set(24), image_set(4, seed=1), {}, None)  # type: ignore[arg-type]
    return assemble(toy(name), dataset, torch.device("cpu"))


def moments(state: TrainState) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in state.nets["net"].named_parameters()
        for key, value in state.optimizers["net"].state[parameter].items()
        if isinstance(value, torch.Tensor)
    }


@pytest.mark.parametrize("name", ["adam", "nadam", "adagrad", "sgd"])
def test_a_state_taken_up_goes_on_bit_for_bit(name: str) -> None:
    straight = small_state(name)
    learn(straight, 4)
    tensors, plain = copy.deepcopy(straight.pack())
    learn(straight, 3, seed=2)

    again = small_state(name, seed=9)
    learn(again, 1, seed=9)  # what it held before does not matter
    again.unpack(tensors, plain)
    learn(again, 3, seed=2)

    for (key, one), (other, two) in zip(straight.pack()[0].items(), again.pack()[0].items(), strict=True):
        assert key == other and torch.equal(one, two), key
    assert straight.pack()[1] == again.pack()[1]


@pytest.mark.parametrize("name", ["adam", "nadam", "adagrad", "sgd"])
def test_moments_are_laid_out_like_their_parameter(name: str) -> None:
    state = small_state(name)
    learn(state, 2)
    contiguous = {key: value.contiguous() for key, value in state.pack()[0].items()}  # as a file gives them
    again = small_state(name, seed=1)
    again.unpack(contiguous, state.pack()[1])
    convolution = again.nets["net"][0].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last) and not convolution.is_contiguous()
    shaped = [v for v in again.optimizers["net"].state[convolution].values() if v.shape == convolution.shape]
    assert shaped and all(value.stride() == convolution.stride() for value in shaped)
    assert moments(again).keys() == moments(state).keys()


def test_what_was_packed_is_not_changed_by_going_on() -> None:
    state = small_state()
    learn(state, 1)
    state.totals = {"loss": torch.tensor([1.0, 2.0, 4.0])}
    tensors, plain = copy.deepcopy(state.pack())
    again = small_state(seed=1)
    again.unpack(tensors, plain)
    learn(again, 2)
    again.totals["loss"] += 1
    assert tensors["totals/loss"].tolist() == [1, 2, 4]
    assert all(torch.equal(tensors[key], value) for key, value in state.pack()[0].items())


def test_at_the_start_there_are_no_moments() -> None:
    tensors, plain = small_state().pack()
    assert not [name for name in tensors if name.startswith("optimizers/")]
    used = small_state()
    learn(used, 2)
    used.unpack(tensors, plain)
    assert moments(used) == {} and used.images == used.iteration == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_packed_whole(name: str) -> None:
    """Every tensor of every network, and for every parameter that has learned its moments."""
    assembly = assembled(name)
    state = assembly.state
    stream = Stream(image_set(24), binarisation=assembly.binarisation, conditional=assembly.conditional)
    for _ in range(2):
        assembly.step(state, stream.take(state.images, 8))
        state.images += 8
    tensors, _ = state.pack()
    for key, value in state.nets.state_dict().items():
        assert torch.equal(tensors[f"nets/{key}"], value)
    learned = [n for n, p in state.nets["net"].named_parameters() if p.grad is not None]
    assert learned
    assert all(any(key.startswith(f"optimizers/net/{n}/") for key in tensors) for n in learned)
    with_totals = {key.partition("/")[0] for key in tensors}
    assert with_totals == {"nets", "averaged", "optimizers"}


def test_averages_follow_the_closed_form() -> None:
    state = small_state()
    expected = [p.detach().double() for p in state.nets.parameters()]
    for _ in range(5):
        learn(state, 1, seed=state.iteration)
        keep = 0.5 ** (8 / min(4, 0.05 * state.images))
        expected = [keep * e + (1 - keep) * p.double() for e, p in zip(expected, state.nets.parameters(), strict=True)]
    assert state.averaged is not None
    for average, value in zip(state.averaged.parameters(), expected, strict=True):
        assert torch.allclose(average.double(), value.detach(), atol=1e-6)
        assert not average.requires_grad


def test_buffers_are_copied_not_averaged() -> None:
    nets = nn.ModuleDict({"net": nn.BatchNorm1d(2)})
    state = TrainState(nets, {}, averaged_copy(nets["net"], "net"), images=8)
    nets["net"].running_mean.fill_(3)
    nets["net"].num_batches_tracked.fill_(7)
    state.average(100, 8)
    assert state.averaged is not None
    assert state.averaged["net"].running_mean.tolist() == [3, 3]
    assert state.averaged["net"].num_batches_tracked == 7


def test_averages_are_shown_where_there_are_any() -> None:
    state = small_state()
    assert state.shown("net") is state.averaged["net"]
    assert not state.averaged["net"].training  # type: ignore[index]
    state.averaged = None
    assert state.shown("net") is state.nets["net"]
    state.average(4, 8)  # nothing to do
