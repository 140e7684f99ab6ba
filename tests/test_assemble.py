"""The wiring: what a configuration turns into."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latente.config import Images, OptimConfig, SupervisedObjective
from latente.data import caras
from latente.data.datasets import Dataset
from latente.data.stream import Batch
from latente.messages import Problem
from latente.training.assemble import (
    Assembly,
    assemble,
    channels_last,
    described,
    image_shape,
    mean_image,
    optimizer,
)
from latente.training.life import resume, train
from latente.training.minimise import parts
from toy import NAMES, factor_set, image_set, toy

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


# ---- Readers: labels, rotations, factors -----------------------------------------------------------------------------


def factors() -> Dataset:
    return Dataset(factor_set(), factor_set(6, seed=1), {}, Path())


def test_who_is_told_what() -> None:
    told = {name: assemble(toy(name), dataset(), CPU).conditional for name in ("classifier", "classifier-rotations")}
    assert told == {"classifier": True, "classifier-rotations": False}
    assert assemble(toy("classifier-factors"), factors(), CPU).conditional
    assert assemble(toy("classifier-rotations"), dataset(labels=False), CPU).state.nets["net"].classes == 4


def test_a_reader_of_factors_finds_out_which_there_are() -> None:
    config = toy("classifier-factors")
    made = described(config, factors())
    assert made.objective.factors == "third 3, down, bright 2"  # type: ignore[union-attr]
    assert described(made, factors()) == made
    assert described(toy("classifier"), factors()) == toy("classifier")
    assert described(config, dataset()).objective.factors == "label 3"  # type: ignore[union-attr]
    net = assemble(config, factors(), CPU).state.nets["net"]
    known = factors().train.factors
    assert known is not None and net.mean[1].item() == pytest.approx(known["down"].mean(), rel=1e-6)
    rare = factor_set(6, seed=1)  # a value that is held out must have its place all the same
    rare = replace(rare, factors={**rare.factors, "bright": np.full(6, 4)})  # type: ignore[dict-item]
    made = described(config, Dataset(factor_set(), rare, {}, Path()))
    assert made.objective.factors == "third 3, down, bright 5"  # type: ignore[union-attr]


def test_a_reader_of_factors_needs_some() -> None:
    config = toy("classifier-factors")
    with pytest.raises(Problem) as problem:
        assemble(config, dataset(labels=False), CPU)
    assert problem.value.key == "classifier.no_factors"
    other = replace(config, objective=SupervisedObjective(task="factors", factors="colour 7"))
    with pytest.raises(Problem) as problem:
        assemble(other, factors(), CPU)
    assert problem.value.key == "classifier.other_factors" and "colour 7" in str(problem.value)


def test_a_run_that_reads_the_factors_of_caras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the preset to the reading, and resumed bit for bit."""
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caras, "TRAIN", 48)
    monkeypatch.setattr(caras, "TEST", 12)
    config = toy("classifier-factors", "caras")
    run = train(config, out=tmp_path / "straight")
    names = {factor.name: factor.kind for factor in caras.FACTORS}
    row = [row for row in run.metrics() if "test/error" in row][-1]
    kinds = {"discrete": "test/error", "continuous": "test/rmse"}
    assert {f"{kinds[kind]}/{name}" for name, kind in names.items()} < set(row)
    wrong = [row[f"test/error/{name}"] for name, kind in names.items() if kind == "discrete"]
    assert row["test/error"] == pytest.approx(np.mean(wrong), rel=1e-5) and run.measure() == "test/error"
    assert run.config.objective.factors.startswith("background 8, ")  # type: ignore[union-attr]
    images, truth = caras.generate("test", 0, 12, 32)
    read = run.network().predict_factors(torch.from_numpy(images).float() / 127.5 - 1)
    assert {name: values.dtype.kind for name, values in read.items()} == {n: v.dtype.kind for n, v in truth.items()}
    half = train(replace(config, training=replace(config.training, images=Images(40))), out=tmp_path / "cut")
    assert resume(half, images=64).network().state_dict().keys() == run.network().state_dict().keys()


@pytest.mark.parametrize("count", [2, 3])
def test_a_batch_of_factors_is_cut_like_its_images(count: int) -> None:
    condition = torch.arange(21.0).view(7, 3)
    cut = [part for part, _ in parts(Batch(torch.arange(7.0).view(7, 1, 1, 1), condition), count)]
    assert torch.equal(torch.cat([part.condition for part in cut if part.condition is not None]), condition)
