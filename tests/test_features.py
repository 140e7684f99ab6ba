"""`latente features`: rows in the order of the images, the labels beside them, and what the network saw in training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latente.cli import main
from latente.config import DataConfig, RunConfig
from latente.data.datasets import load
from latente.data.stream import see, seen_as
from latente.evaluation import features as module
from latente.evaluation.features import extractor, features, write
from latente.messages import LANGUAGES, Problem
from latente.run import Run, create
from latente.training import train
from toy import drawn, image_set, toy

LABELLED = ("left", "middle", "right")


@pytest.fixture(scope="module")
def out(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where runs are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(shared_cache))
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(out: Path, grey: Path) -> Callable[[str], Run]:
    """Toy runs on `grey`, each trained once for a moment."""
    made: dict[str, Run] = {}

    def of(name: str) -> Run:
        if name not in made:
            made[name] = train(toy(name, grey, images=8, sample_every=8, checkpoint_every=8), out=out)
        return made[name]

    return of


def bare(folder: Path, config: RunConfig, shape: tuple[int, int, int] = (1, 8, 8)) -> Run:
    """A run folder that was never trained."""
    return create(folder, config, {"image_shape": list(shape), "classes": list(LABELLED)})


def raised(key: str, action: Callable[[], object]) -> str:
    with pytest.raises(Problem) as problem:
        action()
    assert problem.value.key == key, str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize("name", ["dcgan", "dcgan conditional", "classifier", "vae", "ae-conv", "vae-mlp conditional"])
def test_rows_are_those_of_one_image_after_another(
    name: str, trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 7)  # 46 images: parts of six and of seven
    run = trained(name)
    facts = write(run, run.config.data, tmp_path / "deep" / "found.npz")
    player = "critic" if "dcgan" in name else "net"
    net = run.network(player=player)
    function = net.encode if player == "net" and name != "classifier" else net.features
    told = name == "vae-mlp conditional"
    dataset = load(run.config.data)
    with np.load(tmp_path / "deep" / "found.npz", allow_pickle=False) as found:
        assert set(found) == {"train", "test", "train_labels", "test_labels"}
        assert facts == {"train": 46, "test": 2, "size": found["train"].shape[1]}
        for part, images in (("train", dataset.train), ("test", dataset.test)):
            assert found[part].dtype == np.float32 and found[part].shape == (len(images), facts["size"])
            np.testing.assert_array_equal(found[f"{part}_labels"], images.labels)
            for i in range(len(images)):
                x = see(images.gather(np.array([i])), seen_as(run.config), indices=np.array([i]))
                label = [torch.tensor([int(images.labels[i])])] if told else []
                np.testing.assert_allclose(found[part][i], function(x, *label)[0].numpy(), atol=1e-5)
        assert found["train"].std(0).max() > 1e-4, "images have features of their own"


class Pixels(nn.Module):
    """Every image is its own features."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        assert not torch.is_grad_enabled()
        flat = x.flatten(1)
        return flat if condition is None else torch.cat([flat, condition[:, None].float()], 1)


@pytest.mark.parametrize("at_once", [1, 5, 24, 500])
def test_none_is_left_out_and_the_order_is_kept(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    images = image_set(24)
    found = features(Pixels(), images)
    np.testing.assert_allclose(found, images.images.reshape(24, -1) / 127.5 - 1, atol=1e-6)
    told = features(Pixels(), images, told=True)
    np.testing.assert_array_equal(told[:, -1], images.labels)
    bits = features(Pixels(), images, "fixed")
    assert set(np.unique(bits)) == {-1, 1}
    np.testing.assert_array_equal(bits, features(Pixels(), images, "fixed"))


def test_the_network_sees_what_it_saw_in_training() -> None:
    vae = toy("vae-mlp")
    for likelihood, protocol, seen in (
        ("bernoulli", "dynamic", "fixed"),
        ("bernoulli", "fixed", "fixed"),
        ("bernoulli", "threshold", "threshold"),
        ("bernoulli", "grey", "grey"),
        ("gaussian", "dynamic", "none"),
    ):
        objective = replace(vae.objective, likelihood=likelihood, binarisation=protocol)
        assert seen_as(replace(vae, objective=objective)) == seen
    assert {seen_as(toy(name)) for name in ("dcgan", "classifier", "ae-conv")} == {"none"}


@pytest.mark.parametrize("name", ["gan", "r3gan", "progan", "stylegan", "stylegan2"])
def test_a_family_without_features(name: str, tmp_path: Path) -> None:
    assert name in raised("evaluate.no_features", lambda: extractor(bare(tmp_path, toy(name))))


def test_a_critic_of_packs_has_no_features_of_one_image(tmp_path: Path) -> None:
    config = toy("dcgan")
    assert config.cure is not None
    packed = replace(config, cure=replace(config.cure, packing=2))
    raised("evaluate.packed_features", lambda: extractor(bare(tmp_path, packed)))


def test_images_of_another_shape(trained: Callable[[str], Run], unlabelled: Path, tmp_path: Path) -> None:
    data = DataConfig(source=str(unlabelled))
    told = raised("evaluate.other_shape", lambda: write(trained("ae-conv"), data, tmp_path / "x.npz"))
    assert "8x8x1" in told and "8x9x3" in told
    assert not (tmp_path / "x.npz").exists()


def test_a_network_that_is_told_labels_needs_the_same_ones(trained: Callable[[str], Run], tmp_path: Path) -> None:
    path = tmp_path / "plain.npz"
    np.savez(path, images=drawn(20, (1, 8, 8))[0].transpose(0, 2, 3, 1))
    data, out = DataConfig(source=str(path)), tmp_path / "x.npz"
    raised("evaluate.other_labels", lambda: write(trained("vae-mlp conditional"), data, out))
    write(trained("vae-mlp"), data, out)
    with np.load(out) as found:
        assert set(found) == {"train", "test"}, "no labels where there are none"


# ---- The command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_and_says_what(
    trained: Callable[[str], Run], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained("dcgan")
    assert main(["features", str(run.folder)]) == 0
    said = capsys.readouterr().out
    with np.load("features.npz") as found:
        assert all(text in said for text in ("46", "2 ", str(found["train"].shape[1]), "features.npz"))
    expected = features(extractor(run), load(run.config.data).train)
    assert main(["features", str(run.folder), "--out", "plain"]) == 0
    with np.load("plain") as found:
        np.testing.assert_array_equal(found["train"], expected)


def test_other_images_are_prepared_as_the_runs_own(
    trained: Callable[[str], Run], out: Path, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy("ae-conv", grey, images=8, sample_every=8, checkpoint_every=8)
    smaller = train(replace(config, data=replace(config.data, resolution=4, channels="grey")), out=out)
    path, target = tmp_path / "other.npz", tmp_path / "x.npz"
    np.savez(path, images=drawn(20, (3, 8, 8))[0].transpose(0, 2, 3, 1))
    assert main(["features", str(smaller.folder), "--data", str(path), "--out", str(target)]) == 0
    with np.load(target) as found:
        assert len(found["train"]) + len(found["test"]) == 20
    for words in ([], ["--data", str(path)]):
        assert main(["features", str(smaller.folder), *words, "--resolution", "8", "--out", str(target)]) == 2
        assert "8x8x1" in capsys.readouterr().err


@pytest.mark.parametrize("language", LANGUAGES)
def test_mistakes_are_one_sentence(
    language: str, trained: Callable[[str], Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(trained("ae-conv").folder)
    game = str(bare(tmp_path / "runs", toy("gan")).folder)
    mistakes: list[tuple[list[str], Any]] = [
        ([], "`latente features`"),
        ([str(tmp_path / "missing")], "missing"),
        ([folder, "--data", "nosuch"], "nosuch"),
        ([folder, "--resolution", "7x"], "7x"),
        ([folder, "--out", str(tmp_path)], str(tmp_path)),
        ([game], "gan"),
    ]
    for words, named in mistakes:
        assert main(["features", *words, "--lang", language]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("latente: ") and err.count("\n") == 1 and named in err
