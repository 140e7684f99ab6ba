"""The probes at work: on worlds whose answer is known, without a trace in what a run learns, and again afterwards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latente import checkpoint
from latente.config import DataConfig, Images
from latente.data.datasets import Dataset, ImageSet
from latente.diagnosis import panel as panels
from latente.diagnosis.afterwards import measure
from latente.diagnosis.panel import Panel, panel_of
from latente.messages import Problem
from latente.run import Run
from latente.training import life, train
from latente.training.assemble import Assembly, assemble
from latente.training.probing import followed, turns
from latente.training.state import TrainState
from toy import drawn, image_set, toy

CPU = torch.device("cpu")
CLASSES = ("left", "middle", "right")
GAME = {
    *("diversity", "duplicates", "precision", "recall", "density", "coverage", "checkerboard", "sharpness", "copies"),
    *("critic/ahead", "critic/beats", *(f"path/{i}" for i in range(8))),
}


def world(train: int = 400, test: int = 200, size: int = 16, seed: int = 0) -> Dataset:
    """Blobs; training and held-out images from one distribution, with the noise that keeps photos apart."""
    images, labels = drawn(train + test, (1, size, size), seed)
    noise = np.random.default_rng(seed).integers(0, 40, images.shape)
    images = (images * 0.8 + noise).astype(np.uint8)
    sets = [
        ImageSet(name, images[rows], labels[rows], CLASSES, None)
        for name, rows in (("train", slice(0, train)), ("test", slice(train, None)))
    ]
    return Dataset(*sets, {}, Path())


class Shows(nn.Module):
    """A "generator" that shows given images [n, C, H, W], one a latent."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.arange(n)[:, None] % len(self.images)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.images[z[:, 0]]


class Brightness(nn.Module):
    """A "critic" that takes bright images, or packs of them, to be real."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x.flatten(1).mean(1)


def shown(images: np.ndarray[Any, Any]) -> Shows:
    return Shows(torch.from_numpy(images).float() / 127.5 - 1)


def columns(row: dict[str, float]) -> set[str]:
    assert all(name.startswith("probe/") for name in row)
    return {name.removeprefix("probe/") for name in row}


# ---- Worlds whose answer is known -----------------------------------------------------------------------------------


def test_new_images_of_the_same_distribution_are_healthy() -> None:
    data = world()
    fresh = world(512, 1, seed=7).train.images
    row = Panel(data, CPU).game(shown(fresh), Brightness())
    assert columns(row) - {"support"} == GAME | {f"class/{k}" for k in range(len(data.train.classes))}
    assert row["probe/diversity"] == pytest.approx(1, abs=0.05)
    assert row["probe/duplicates"] < 0.05 and row.get("probe/support", np.inf) > 2000
    assert row["probe/coverage"] > 0.9 and row["probe/density"] == pytest.approx(1, abs=0.15)
    assert row["probe/copies"] == pytest.approx(0.05, abs=0.05)
    assert row["probe/checkerboard"] == pytest.approx(1, abs=0.1)
    assert row["probe/sharpness"] == pytest.approx(1, abs=0.1)
    assert row["probe/critic/ahead"] == pytest.approx(0.5, abs=0.08)
    assert row["probe/critic/beats"] == pytest.approx(0.5, abs=0.08)
    assert max(abs(row[f"probe/path/{i}"]) for i in range(8)) < 0.3


def test_classes_are_counted_where_neighbours_can_tell_them() -> None:
    data = world()
    one = data.train.images[data.train.labels == 1]
    row = Panel(data, CPU).game(shown(one), Brightness())
    assert row["probe/class/1"] > 0.9 and row["probe/class/0"] < 0.1
    assert Panel(data, CPU, reader=lambda x: torch.zeros(len(x), dtype=torch.int64)).game(shown(one), Brightness())[
        "probe/class/0"
    ] == pytest.approx(1), "a classifier is asked before the neighbours"
    by_chance = np.random.default_rng(0).permutation(data.train.labels)
    mixed = replace(data, train=replace(data.train, labels=by_chance))
    assert not [name for name in Panel(mixed, CPU).game(shown(one), Brightness()) if "class" in name]
    unknown = replace(data, train=replace(data.train, labels=None, classes=()))
    assert not [name for name in Panel(unknown, CPU).game(shown(one), Brightness()) if "class" in name]


def test_a_perfect_copy_of_the_training_set_is_called() -> None:
    data = world()
    row = Panel(data, CPU).game(shown(data.train.images), Brightness())
    assert row["probe/copies"] == 1
    assert row["probe/coverage"] > 0.9 and row["probe/diversity"] == pytest.approx(1, abs=0.05)


def test_half_of_the_classes_dropped() -> None:
    data, fresh = world(), world(1600, 1, seed=7).train
    assert fresh.labels is not None
    whole = Panel(data, CPU).game(shown(fresh.images[:512]), Brightness())
    row = Panel(data, CPU).game(shown(fresh.images[fresh.labels == 0]), Brightness())  # a third of them is left
    assert row["probe/coverage"] < 0.5 * whole["probe/coverage"]
    assert row["probe/diversity"] < 0.9
    assert row["probe/copies"] < 0.15  # no copies, although all of them resemble many training images


def test_a_generator_with_twenty_images() -> None:
    data = world()
    row = Panel(data, CPU).game(shown(world(20, 1, seed=7).train.images), Brightness())
    assert row["probe/duplicates"] == 1
    assert row["probe/support"] == pytest.approx(20, rel=0.05)


def test_a_critic_that_knows_its_images_by_heart() -> None:
    """A critic which says 1 of training images and 0 of all others is ahead on all of them, and beats nobody."""
    data = world()
    known = {image.tobytes() for image in (torch.from_numpy(data.train.images).float() / 127.5 - 1).numpy()}

    class Knows(nn.Module):
        def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
            return torch.tensor([float(image.numpy().tobytes() in known) for image in x])

    row = Panel(data, CPU).game(shown(world(512, 1, seed=7).train.images), Knows())
    assert row["probe/critic/ahead"] == 1 and row["probe/critic/beats"] == 0.5


def test_where_the_samples_are_follows_them() -> None:
    data = world()
    images = world(512, 1, seed=7).train.images
    paths = []
    for shift in (0, 30, 60):
        row = Panel(data, CPU).game(shown(np.minimum(images.astype(int) + shift, 255).astype(np.uint8)), Brightness())
        paths.append(np.array([row[f"probe/path/{i}"] for i in range(8)]))
    first, second = paths[1] - paths[0], paths[2] - paths[1]
    assert np.allclose(first, second, rtol=0.15, atol=0.1)  # two equal steps
    assert np.abs(first).max() > 0.5


def test_packs_and_labels_reach_the_critic_as_in_training() -> None:
    heard: list[tuple[tuple[int, ...], list[int]]] = []

    class Listens(nn.Module):
        def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
            assert condition is not None
            heard.append((tuple(x.shape), condition.tolist()))
            return x.flatten(1).mean(1)

    data = world()
    panel = Panel(data, CPU, conditional=True, packing=2, at_once=48)
    panel.game(shown(data.train.images), Listens())
    assert {shape for shape, _ in heard} == {(24, 2, 16, 16)}
    assert [len(labels) for _, labels in heard] == [48] * len(heard)
    fakes = [labels for _, labels in heard[-(256 // 48) :]]
    assert fakes[0][:6] == [0, 1, 2, 0, 1, 2]  # labels go round
    assert data.test.labels is not None
    order = panel.held_out.labels
    assert order is not None and heard[0][1] == order[:48].tolist()
    assert not torch.equal(order, order.sort().values)


def test_small_sets_say_little() -> None:
    """With fewer than 20 images of a split nothing is claimed about it."""
    row = Panel(world(400, 19), CPU).game(shown(world().train.images), Brightness())
    assert columns(row) - {"support"} == GAME - {
        *("precision", "recall", "density", "coverage", "copies", "critic/ahead", "critic/beats")
    }
    row = Panel(world(19, 100), CPU).game(shown(world().train.images), Brightness())
    assert columns(row) == {"precision", "recall", "density", "coverage", "checkerboard", "sharpness"}


def test_images_that_are_all_one_do_not_stop_a_run() -> None:
    data = world()
    grey = replace(data.train, images=np.full((40, 1, 16, 16), 7, np.uint8))
    row = Panel(Dataset(grey, grey, {}, Path()), CPU).game(shown(grey.images), Brightness())
    assert all(np.isfinite(value) for value in row.values())
    broken = Shows(torch.full((8, 1, 16, 16), torch.nan))
    assert Panel(data, CPU).game(broken, Brightness()) == {}
    far = Shows(torch.full((8, 1, 16, 16), 1e30))
    assert all(np.isfinite(value) for value in Panel(data, CPU).game(far, Brightness()).values())


# ---- Encoders -------------------------------------------------------------------------------------------------------


def vae(name: str = "vae", **data: int) -> tuple[Assembly, Dataset]:
    images = world(**data)
    return assemble(toy(name), images, CPU), images


@pytest.mark.parametrize("name", ["vae", "vae-mlp", "vae conditional"])
def test_the_columns_of_a_vae_by_hand(name: str) -> None:
    assembly, data = vae(name, test=40)
    net = assembly.state.nets["net"].eval()
    row = assembly.probe(assembly.state)
    assert columns(row) == {"kl", "active", "latents", "sharpness", "sharpness/samples", "copies"}
    assert row["probe/latents"] == 4
    config = toy(name)
    panel = panel_of(config, data, CPU)
    net.eval()
    kl, means = [], []
    labels = panel.held_out.labels
    assert labels is not None
    for x, label in zip(panel.held_out.seen, labels, strict=True):
        told = label[None] if "conditional" in name else None
        with torch.no_grad():
            q = net.posterior(x[None], told)
        p = torch.distributions.Normal(0, 1)
        each = torch.distributions.Normal(q.mean, (q.logvar / 2).exp())
        kl.append(torch.distributions.kl_divergence(each, p).sum().item())
        means.append(q.mean[0].numpy())
    assert row["probe/kl"] == pytest.approx(np.mean(kl), rel=1e-4)
    assert row["probe/active"] == (np.var(means, 0) > 0.01).sum()


def test_a_model_of_bits_is_shown_bits_and_held_against_grey() -> None:
    config = toy("vae-mlp")
    likelihood = replace(config.objective, likelihood="bernoulli", binarisation="dynamic")  # type: ignore[call-arg]
    panel = panel_of(replace(config, objective=likelihood), world(), CPU)
    assert set(panel.held_out.seen.unique().tolist()) == {-1.0, 1.0}
    assert len(panel.held_out.images.unique()) > 20


@pytest.mark.parametrize("name", ["ae-conv", "ae-hashing", "ae-linear"])
def test_the_columns_of_an_autoencoder(name: str) -> None:
    assembly, data = vae(name)
    row = assembly.probe(assembly.state)
    assert columns(row) == {"active", "latents", "sharpness", "sharpness/samples", "copies"}
    before = assembly.probe(assembly.state)
    assembly.settle(assembly.state.nets["net"], data.train)  # its prior is fitted now and then: not a probe's business
    assert assembly.probe(assembly.state) == before == row


def test_a_classifier_has_nothing_to_measure() -> None:
    assembly, _ = vae("classifier")
    assert assembly.probe(assembly.state) == {}


# ---- No trace -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 images of 16x16, of which about 30 are held out."""
    path = tmp_path_factory.mktemp("sets") / "blobs.npz"
    images, labels = drawn(600, (1, 16, 16))
    np.savez(path, images=images.transpose(0, 2, 3, 1), labels=labels)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_SAMPLES", 4)
    monkeypatch.setattr(panels, "FAKES", 48)


def last(run: Run) -> dict[str, Tensor]:
    return checkpoint.load(run.checkpoint(run.checkpoints()[-1]))[0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["dcgan conditional", "dcgan cured", "r3gan", "vae", "ae-hashing"])
def test_probes_change_nothing_in_what_is_learned(name: str, blobs: Path, tmp_path: Path) -> None:
    """Weights, averages, moments and batch norm's statistics bit for bit, record and pictures too: with a probe after
    every second step and with none. Without averages, so that the networks that are asked are those that are shown."""
    runs = []
    for every in (16, 10**9):
        config = toy(name, blobs, probe_every=Images(every), ema_halflife=Images(0))
        runs.append(train(config, out=tmp_path / str(every)))
    probed, plain = runs
    one, two = ({k: v for k, v in last(run).items() if not k.startswith("memory/probe/")} for run in runs)
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    rows = [[row for row in run.metrics() if not any(k.startswith("probe/") for k in row)] for run in runs]
    assert rows[0] == rows[1]
    measured = [row["images"] for row in probed.metrics() if any(k.startswith("probe/") for k in row)]
    assert measured == [16, 32, 48, 64]
    assert not any(k.startswith("probe/") for row in plain.metrics() for k in row)
    for picture in (probed.folder / "samples").iterdir():
        assert picture.read_bytes() == (plain.folder / "samples" / picture.name).read_bytes()


@pytest.mark.parametrize("name", ["dcgan", "r3gan cured", "vae", "ae-conv"])
def test_no_generator_of_random_numbers_is_touched(name: str) -> None:
    assembly, _ = vae(name)
    torch.manual_seed(3)
    np.random.seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    weights = {k: v.clone() for k, v in assembly.state.nets.state_dict().items()}
    first = assembly.probe(assembly.state)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # type: ignore[index]
    assert all(torch.equal(v, weights[k]) for k, v in assembly.state.nets.state_dict().items())
    assert all(module.training for module in assembly.state.nets.modules())
    torch.rand(5)
    assert assembly.probe(assembly.state) == first  # whatever the generators say


# ---- Between two probes ---------------------------------------------------------------------------------------------


def still(value: float = 0.0, size: int = 6) -> TrainState:
    nets = nn.ModuleDict({name: nn.Linear(size, size, bias=False) for name in ("generator", "critic")})
    for net in nets.values():
        nn.init.constant_(net.weight, value)
    return TrainState(nets, {})


def test_turns_of_straight_and_oscillating_weights() -> None:
    state = still()
    seen = []
    for step in range(5):
        seen.append(turns(state))
        with torch.no_grad():
            state.nets["generator"].weight += 0.1  # straight on
            state.nets["critic"].weight += (-1) ** step  # to and fro
    assert seen[0] == seen[1] == {}
    for row in seen[2:]:
        assert row == pytest.approx({"probe/turn/generator": 1.0, "probe/turn/critic": -1.0}, abs=1e-6)


def test_a_right_angle_and_a_player_that_stands_still() -> None:
    state = still(size=2)
    turns(state)
    generator, critic = state.nets["generator"].weight, state.nets["critic"].weight
    with torch.no_grad():
        generator[0, 0] += 1
        turns(state)
        generator[1, 1] += 3
        critic[0, 0] += 1
    assert turns(state) == {"probe/turn/generator": pytest.approx(0, abs=1e-6)}  # of the critic there is no angle


def test_what_is_kept_between_probes_is_kept_in_checkpoints(tmp_path: Path) -> None:
    state, other = still(), still(9.0)
    for _ in range(2):
        turns(state)
        with torch.no_grad():
            state.nets["generator"].weight.add_(torch.randn(6, 6))
    checkpoint.save(tmp_path / "here", *state.pack())
    other.unpack(*checkpoint.load(tmp_path / "here"))
    assert turns(other) == turns(state)


def test_the_weights_that_are_followed() -> None:
    """All of a small network's; of a large one 10 000, from every layer, in proportion."""
    small = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    assert torch.equal(followed(small), torch.cat([p.flatten() for p in small.parameters()]))
    large = nn.Sequential(nn.Linear(200, 300, bias=False), nn.Linear(300, 100, bias=False))
    with torch.no_grad():
        large[1].weight.zero_()
    found = followed(large)
    assert len(found) == 10_000
    assert (found == 0).double().mean().item() == pytest.approx(1 / 3, abs=0.001)
    found[:] = 5  # a copy
    assert not (large[0].weight == 5).any()


# ---- Afterwards -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def once(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "FAKES", 48)
        return train(toy("dcgan conditional", blobs), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def finished(quick: None, once: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(once.folder, tmp_path / once.folder.name))


def test_a_run_folder_is_measured_as_training_measured_it(finished: Run, blobs: Path, tmp_path: Path) -> None:
    for run in (finished, train(toy("vae", blobs), out=tmp_path / "vae")):
        row = [row for row in run.metrics() if any(k.startswith("probe/") for k in row)][-1]
        assert row["images"] == 64 and len(row) > 6
        found = measure(run)
        assert found.keys() == {k for k in row if k.startswith("probe/") and "turn" not in k}
        assert found == pytest.approx({k: row[k] for k in found}, rel=1e-3, abs=1e-3)
        assert measure(run, images=24) != found


def test_a_run_from_before_there_were_probes(finished: Run, tmp_path: Path) -> None:
    old = Run(shutil.copytree(finished.folder, tmp_path / "old"))
    tree = json.loads((old.folder / "config.json").read_text())
    del tree["training"]["probe_every"]
    (old.folder / "config.json").write_text(json.dumps(tree))
    for clock in old.checkpoints():
        tensors, plain = checkpoint.load(old.checkpoint(clock))
        kept = {k: v for k, v in tensors.items() if not k.startswith("memory/probe/")}
        checkpoint.save(old.checkpoint(clock), kept, plain)
    assert measure(old) == measure(finished)


def test_classes_as_a_classifier_reads_them(finished: Run, blobs: Path, tmp_path: Path) -> None:
    classifier = train(toy("classifier", blobs), out=tmp_path / "classifier")
    found = measure(finished, classifier=classifier)
    shares = [found[f"probe/class/{k}"] for k in range(3)]
    panel = panel_of(finished.config, world(), CPU)
    fakes, _ = panel.made(finished.network(averaged=False), panels.FAKES)
    read = classifier.network().predict(fakes)
    assert shares == [(read == k).double().mean().item() for k in range(3)]
    alone = measure(finished)  # without a classifier neighbours vote
    assert {k: v for k, v in found.items() if "class" not in k} == {k: v for k, v in alone.items() if "class" not in k}
    assert measure(classifier) == {}
    with pytest.raises(Problem, match="classifier"):
        measure(finished, classifier=finished)


def test_data_that_changed_are_refused(finished: Run) -> None:
    tree = json.loads((finished.folder / "config.json").read_text())
    tree["dataset"]["content"] = "other"
    (finished.folder / "config.json").write_text(json.dumps(tree))
    with pytest.raises(Problem):
        measure(Run(finished.folder))


def test_points_have_no_pixels_and_nothing_to_copy() -> None:
    points = np.random.default_rng(0).standard_normal((600, 2, 1, 1)).astype(np.float32) / 3
    sets = [ImageSet(name, part, None, (), None) for name, part in (("train", points[:400]), ("test", points[400:]))]
    config = replace(toy("gan"), data=DataConfig(source="points:grid25"))
    assembly = assemble(config, Dataset(*sets, {"kind": "points"}, Path()), CPU)
    row = assembly.probe(assembly.state)
    assert columns(row) - {"support"} == GAME - {"checkerboard", "sharpness", "copies"}


def test_small_pictures_have_no_spectrum() -> None:
    images = image_set(60)
    assembly = assemble(toy("dcgan"), Dataset(images, image_set(40, seed=1), {}, Path()), CPU)
    classes = {f"class/{k}" for k in range(len(images.classes))}
    assert columns(assembly.probe(assembly.state)) - {"support"} == GAME - {"checkerboard", "sharpness"} | classes
