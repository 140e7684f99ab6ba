"""What every family promises, preset by preset, at toy size. The settings are the preset's own but for the widths."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latente import checkpoint, models
from latente.config import OptimConfig, RunConfig
from latente.data.datasets import Dataset, ImageSet
from latente.data.stream import Batch, Stream
from latente.objectives import Terms
from latente.training.assemble import Assembly, assemble
from latente.training.minimise import Minimise, join, parts, recorded, total
from latente.training.state import TrainState
from toy import NAMES, image_set, toy

SHAPES = [(1, 8, 8), (3, 9, 10)]
CPU = torch.device("cpu")


@dataclass
class Family:
    """A preset, assembled on a toy set."""

    config: RunConfig
    images: ImageSet
    assembly: Assembly

    @property
    def net(self) -> nn.Module:
        return self.assembly.state.nets["net"]

    def batch(self, n: int = 8, position: int = 0) -> Batch:
        a = self.assembly
        return Stream(self.images, binarisation=a.binarisation, conditional=a.conditional).take(position, n)

    def labels(self, n: int) -> Tensor | None:
        return torch.arange(n) % 3 if self.assembly.conditional else None

    def terms(self, batch: Batch, images: int = 0, seed: int = 0) -> Terms:
        torch.manual_seed(seed)
        return self.assembly.step.terms(self.net, batch, images)

    def clocks(self) -> list[int]:
        """One in each stage of training: a greedy preset learns layer by layer."""
        layers = len(getattr(self.config.model, "hidden", ())) + 1
        length = getattr(self.config.objective, "greedy_images", 0)
        return [*range(0, length, length // layers), length] if length else [10**6]


def family(name: str, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 5, **optim: float) -> Family:
    config = toy(name, seed=seed)
    config = replace(config, optim=replace(config.optim, **optim))
    images = image_set(24, shape)
    dataset = Dataset(images, image_set(4, shape, seed=1), {}, Path())
    return Family(config, images, assemble(config, dataset, CPU))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_range(name: str, shape: tuple[int, int, int]) -> None:
    f = family(name, shape)
    net = f.net.eval()
    assert net.image_shape == shape and net.latent == 4
    with torch.no_grad():
        z = net.encode(*f.batch(5))
        drawn = net.prior(5, torch.Generator().manual_seed(0))
        assert z.shape == drawn.shape == (5, 4)
        assert z.dtype == drawn.dtype == torch.float32
        for code in (z, drawn, 1000 * torch.randn(5, 4)):
            images = net.decode(code, f.labels(5))
            assert images.shape == (5, *shape) and images.dtype == torch.float32
            assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1


def test_a_seed_gives_one_network(name: str) -> None:
    one, same, other = (family(name, seed=seed).net.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_decoding_and_encoding_draw_nothing(name: str) -> None:
    f = family(name)
    before = torch.get_rng_state()
    for mode in (f.net.train, f.net.eval):
        mode()
        with torch.no_grad():
            z = f.net.encode(*f.batch())
            assert torch.equal(z, f.net.encode(*f.batch()))
            assert torch.equal(f.net.decode(z, f.labels(8)), f.net.decode(z, f.labels(8)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_prior_is_drawn_from_its_generator_alone(name: str) -> None:
    f = family(name)
    f.assembly.settle(f.net, f.images)
    if name == "ae-hashing":  # an untrained one gives all these images the same bits
        f.net.fit_prior(torch.randint(2, (24, 4)).float())
    before = torch.get_rng_state()
    one, same, other = (f.net.prior(16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    images = f.net.decode(one, f.labels(16))
    assert images.shape == (16, 1, 8, 8) and images.isfinite().all()


def test_images_do_not_influence_each_other(name: str) -> None:
    """A batch of one is what it is among others."""
    f = family(name)
    net = f.net.eval()
    batch = f.batch(6)
    with torch.no_grad():
        z = net.encode(*batch)
        images = net.decode(z, f.labels(6))
        for i in (0, 5):
            one = slice(i, i + 1)
            labels = f.labels(6)
            alone = net.encode(batch.images[one], None if batch.condition is None else batch.condition[one])
            assert torch.allclose(alone, z[one], atol=1e-5)
            assert torch.allclose(net.decode(z[one], None if labels is None else labels[one]), images[one], atol=1e-5)


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("learning", [True, False])
def test_terms_are_one_number_an_image(name: str, n: int, learning: bool) -> None:
    f = family(name)
    f.net.train(learning)
    for clock in f.clocks():
        terms = f.terms(f.batch(n), clock)
        assert learning or "mse" in terms.per_image
        assert terms.weights and set(terms.weights) <= set(terms.per_image) | set(terms.batch)
        assert not set(terms.per_image) & set(terms.batch)
        for key, value in terms.per_image.items():
            assert value.shape == (n,) and value.dtype == torch.float32 and value.isfinite().all(), key
        for key, value in terms.batch.items():
            assert value.shape == () and value.isfinite(), key
        everything = terms.per_image | terms.batch
        expected = sum(w * everything[k].detach().double().mean().item() for k, w in terms.weights.items())
        assert total(terms).item() == pytest.approx(expected, rel=1e-5)


def test_terms_are_drawn_from_the_seed(name: str) -> None:
    f = family(name)
    for clock in f.clocks():
        one, same = (f.terms(f.batch(), clock, seed=3) for _ in range(2))
        assert total(one).item() == total(same).item()


def test_gradients_reach_every_parameter(name: str) -> None:
    f = family(name)
    reached: set[str] = set()
    for clock in f.clocks():
        f.net.zero_grad()
        total(f.terms(f.batch(24), clock)).backward()
        found = {key for key, p in f.net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert found
        reached |= found
    assert reached == {key for key, _ in f.net.named_parameters()}


def test_a_step_lowers_its_own_loss(name: str) -> None:
    f = family(name, lr=1e-4, weight_decay=0.0)
    for clock in f.clocks():
        f.assembly.state.images = clock
        batch = f.batch(24)
        before = total(f.terms(batch, clock)).item()
        torch.manual_seed(0)
        f.assembly.step(f.assembly.state, batch)
        assert total(f.terms(batch, clock)).item() < before


def test_a_step_moves_no_clock(name: str) -> None:
    f = family(name)
    f.assembly.step(f.assembly.state, f.batch())
    assert (f.assembly.state.images, f.assembly.state.iteration) == (0, 0)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_step_is_one_step_of_the_optimizer(name: str, accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    f = family(name)
    optimizer = f.assembly.state.optimizers["net"]
    asked = []
    step = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda: asked.append(0) or step())
    take = replace(f.assembly.step, accumulate=accumulate)  # type: ignore[type-var]
    for n in range(1, 4):
        take(f.assembly.state, f.batch())
        assert len(asked) == n
    counts = {state["step"].item() for state in optimizer.state.values() if "step" in state}
    assert counts <= {3.0}


def test_through_disk(name: str, tmp_path: Path) -> None:
    """Everything that decoding, encoding and drawing depend on is in the checkpoint."""
    f = family(name)
    state = f.assembly.state
    for _ in range(2):
        f.assembly.step(state, f.batch(position=state.images))
        state.images += 8
        state.average(16, 8)
    assert state.averaged is not None
    for nets in (state.nets, state.averaged):
        f.assembly.settle(nets["net"], f.images)
    checkpoint.save(tmp_path / "16", *state.pack())

    fresh = family(name, seed=77).assembly.state
    fresh.unpack(*checkpoint.load(tmp_path / "16"))
    assert fresh.averaged is not None
    for one, two in ((state.nets, fresh.nets), (state.averaged, fresh.averaged)):
        a, b = one["net"].eval(), two["net"].eval()
        with torch.no_grad():
            z = a.prior(4, torch.Generator().manual_seed(0))
            assert torch.equal(z, b.prior(4, torch.Generator().manual_seed(0)))
            assert torch.equal(a.decode(z, f.labels(4)), b.decode(z, f.labels(4)))
            assert torch.equal(a.encode(*f.batch()), b.encode(*f.batch()))

    alone = models.build(f.config, (1, 8, 8), 3)["net"]  # as one does who knows the checkpoint and no training
    alone.load_state_dict(state.nets["net"].state_dict())
    with torch.no_grad():
        assert torch.allclose(alone.eval().encode(*f.batch()), state.nets["net"].encode(*f.batch()), atol=1e-6)


# ---- The step that all of them share ---------------------------------------------------------------------------------


def straight(weight: float = 1.0) -> Callable[[nn.Module, Batch, int], Terms]:
    """A loss without noise: half the squared output, and a term of the batch."""

    def terms(net: nn.Module, batch: Batch, images: int) -> Terms:
        y = net(batch.images.flatten(1))
        return Terms(
            {"half": y.square().sum(1) / 2, "seen": y.detach().sum(1)},
            {"bias": net.bias.sum()},
            {"half": weight, "bias": 0.5},
        )

    return terms


def linear(momentum: float = 0.0) -> TrainState:
    torch.manual_seed(1)
    net = nn.Linear(4, 2)
    return TrainState(nn.ModuleDict({"net": net}), {"net": torch.optim.SGD(net.parameters(), 1.0, momentum)})


@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 8])
def test_parts_of_a_batch_add_up_to_the_whole(accumulate: int) -> None:
    """Against the gradient by hand: mean of y x^T, of a batch of 7, which no number of parts but 1 divides."""
    state = linear()
    net = state.nets["net"]
    x = torch.randn(7, 1, 2, 2)
    y = net(x.flatten(1)).detach()
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    step = Minimise(straight(2.0), OptimConfig(name="sgd", lr=0.1), accumulate, nullcontext)
    metrics = step(state, Batch(x, None))
    assert torch.allclose(net.weight, weight - 0.1 * 2 * (y.T @ x.flatten(1)) / 7, atol=1e-6)
    assert torch.allclose(net.bias, bias - 0.1 * (2 * y.mean(0) + 0.5), atol=1e-6)
    assert metrics["half"].shape == metrics["seen"].shape == (7,)
    assert torch.allclose(metrics["half"], y.square().sum(1) / 2, atol=1e-6)
    assert not any(value.requires_grad for value in metrics.values())


def test_parts_keep_images_and_labels_together() -> None:
    batch = Batch(torch.arange(7.0).reshape(7, 1, 1, 1), torch.arange(7))
    for count in range(1, 8):
        cut = list(parts(batch, count))
        assert sum(share for _, share in cut) == pytest.approx(1)
        assert torch.cat([part.images for part, _ in cut]).flatten().tolist() == list(range(7))
        for part, share in cut:
            assert part.condition is not None and part.condition.tolist() == part.images.flatten().tolist()
            assert share == pytest.approx(len(part.images) / 7)


def test_the_gradient_is_clipped_and_its_norm_recorded() -> None:
    state = linear()
    before = state.nets["net"].weight.detach().clone(), state.nets["net"].bias.detach().clone()
    step = Minimise(straight(100.0), OptimConfig(name="sgd", lr=1.0, clip=0.01), 2, nullcontext)
    metrics = step(state, Batch(torch.randn(8, 1, 2, 2), None))
    moved = (state.nets["net"].weight - before[0]).square().sum() + (state.nets["net"].bias - before[1]).square().sum()
    assert moved.sqrt().item() == pytest.approx(0.01, rel=1e-3)
    assert metrics["gradient/norm"].numel() == 1 and metrics["gradient/norm"] > 0.01


def test_the_learning_rate_follows_the_clock() -> None:
    optim = OptimConfig(name="sgd", lr=0.4, decay="linear", final=0.0, decay_images=100)  # type: ignore[arg-type]
    state = linear()
    step = Minimise(straight(), optim, 1, nullcontext)
    for images, rate in ((0, 0.4), (50, 0.2), (100, 0.0)):
        state.images = images
        step(state, Batch(torch.randn(4, 1, 2, 2), None))
        assert state.optimizers["net"].param_groups[0]["lr"] == pytest.approx(rate)


def test_old_gradients_are_forgotten() -> None:
    state, other = linear(), linear()
    x = Batch(torch.randn(4, 1, 2, 2), None)
    step = Minimise(straight(), OptimConfig(name="sgd", lr=0.1), 1, nullcontext)
    state.nets["net"].weight.grad = torch.full((2, 4), 1e6)
    step(state, x)
    step(other, x)
    assert torch.equal(state.nets["net"].weight, other.nets["net"].weight)


def test_records_of_parts_are_joined() -> None:
    terms = Terms({"a": torch.ones(3, requires_grad=True)}, {"b": torch.tensor(2.0)}, {"a": 1.0, "b": 1.0})
    one = recorded(terms, total(terms))
    assert set(one["loss"].tolist()) == {3.0} and not one["a"].requires_grad
    two = recorded(Terms({"a": torch.zeros(2)}, {"b": torch.tensor(4.0)}, {"a": 1.0}), torch.tensor(0.5))
    joined = join([one, two | {"norm": torch.tensor(7.0)}])
    assert joined["a"].tolist() == [1, 1, 1, 0, 0]
    assert joined["loss"].mean().item() == pytest.approx((3 * 3.0 + 2 * 0.5) / 5)  # larger parts weigh more
    assert joined["b"].tolist() == [2, 4] and joined["norm"].tolist() == [7]
