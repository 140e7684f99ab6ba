"""The wiring: what a configuration turns into."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latente.config import OptimConfig
from latente.data.datasets import Dataset
from latente.messages import Problem
from latente.training.assemble import Assembly, assemble, channels_last, image_shape, mean_image, optimizer
from toy import NAMES, image_set, toy

CPU = torch.device("cpu")


def dataset(shape: tuple[int, int, int] = (1, 8, 8), labels: bool = True) -> Dataset:
    return Dataset(image_set(24, shape, labels), image_set(4, shape, labels, seed=1), {}, Path())


def made(name: str) -> Assembly:
    return assemble(toy(name), dataset(), CPU)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides_the_weights(name: str) -> None:
    one = made(name).state.nets.state_dict()
    torch.rand(7)
    two = made(name).state.nets.state_dict()
    other = assemble(toy(name, seed=6), dataset(), CPU).state.nets.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_network_starts_at_the_mean_image() -> None:
    """As IWAE's code does: per pixel in a dense network, per channel in a convolutional one."""
    pixels = torch.from_numpy(dataset().train.images.astype(np.float64).mean(0) / 255)  # [C, H, W] in [0, 1]
    dense = made("iwae").state.nets["net"].decoder.last.bias.detach().double()
    assert torch.allclose(dense.sigmoid(), pixels.flatten().clamp(0.001, 0.999), atol=1e-4)
    config = toy("vae")
    linear = replace(config, model=replace(config.model, mean="linear"))
    convolutional = assemble(linear, dataset(), CPU).state.nets["net"].decoder.last.bias.detach().double()
    assert torch.allclose(convolutional, 2 * pixels.mean() - 1, atol=1e-4)
    assert torch.allclose(mean_image(dataset().train).double(), 2 * pixels - 1, atol=1e-5)


def test_who_sees_what() -> None:
    assert image_shape(dataset((3, 9, 10))) == (3, 9, 10)
    seen = {name: (made(name).binarisation, made(name).conditional) for name in ("vae", "iwae", "vae-mlp conditional")}
    assert seen == {"vae": ("none", False), "iwae": ("dynamic", False), "vae-mlp conditional": ("dynamic", True)}
    config = toy("iwae")
    fixed = replace(config, objective=replace(config.objective, binarisation="threshold"))
    assert assemble(fixed, dataset(), CPU).binarisation == "threshold"


def test_labels_must_be_there_where_they_are_asked_for() -> None:
    with pytest.raises(Problem):
        assemble(toy("vae conditional"), dataset(labels=False), CPU)


def test_convolutions_are_laid_out_channels_last() -> None:
    for name, last in (("vae", True), ("ae-conv", True), ("vae-mlp", False), ("ae-recurrent", False)):
        config = toy(name)
        net = assemble(config, dataset((3, 8, 8)), CPU).state.nets["net"]
        assert channels_last(config, net) is last
        maps = [p for p in net.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert bool(maps) is last and all(p.is_contiguous(memory_format=torch.channels_last) for p in maps)
        assert not channels_last(toy(name, channels_last=False), net)


def test_averages_are_kept_if_asked_for() -> None:
    assert made("vae").state.averaged is not None
    assert assemble(toy("vae", ema_halflife=0), dataset(), CPU).state.averaged is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("nadam", torch.optim.NAdam),
        ("adagrad", torch.optim.Adagrad),
        ("sgd", torch.optim.SGD),
    ],
)
def test_the_optimizer_is_the_one_asked_for(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optim = OptimConfig(name=name, lr=0.25, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.125)  # type: ignore[arg-type]
    net = torch.nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    made = optimizer(optim, net, CPU)
    (group,) = made.param_groups
    assert type(made) is kind and group["params"] == [net.weight]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
    if "betas" in group:
        assert (group["betas"], group["eps"]) == ((0.8, 0.9), 1e-3)
    assert group.get("momentum", 0.8) == 0.8
    assert group.get("fused") is (True if name == "adam" else None)
