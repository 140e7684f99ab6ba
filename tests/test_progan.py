"""Networks that grow, as the paper has them: a level that fades in begins as if it were not there and ends as if it had
always been."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latente.config import CureConfig, Images, ProGANModel, StyleGANModel
from latente.data.datasets import Dataset
from latente.data.stream import Batch, Stream
from latente.diagnosis.panel import FAKES
from latente.layers import double, halve
from latente.messages import Problem
from latente.models.progan import Critic, Generator, Growth, Stage, channels, fade_reals, side, stage_of
from latente.objectives.penalties import wgan_gp, zero_centred
from latente.training.assemble import Assembly, assemble
from toy import image_set, toy

SMALL = ProGANModel(latent=6, width=4, widest=8, hold_images=Images(100), fade_images=Images(50))
SHAPE = (3, 16, 16)


def players(blur: bool = False, cure: CureConfig | None = None, shape: tuple[int, int, int] = SHAPE) -> Any:
    torch.manual_seed(0)
    model = replace(SMALL, blur=blur)
    return Generator(model, shape), Critic(model, shape, 0, cure)


def latents(n: int = 8) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def images(n: int = 8, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


# --- When what is grown ----------------------------------------------------------------------------------------------


def test_growth_by_hand() -> None:
    """Hold 100, then fade 50 and hold 100 for each of 8 and 16 pixels."""
    growth = Growth(SMALL, 16)
    expected = {0: (0, 1.0), 99: (0, 1.0), 100: (1, 0.0), 125: (1, 0.5), 150: (1, 1.0), 249: (1, 1.0), 250: (2, 0.0)}
    expected |= {260: (2, 0.2), 300: (2, 1.0), 10**9: (2, 1.0)}
    assert {clock: growth.at(clock) for clock in expected} == expected
    assert growth.at(299).alpha < 1


@pytest.mark.parametrize(("hold", "fade"), [(100, 50), (0, 50), (100, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("start", [4, 8, 32])
def test_growth_never_goes_back(hold: int, fade: int, start: int) -> None:
    model = replace(SMALL, hold_images=Images(hold), fade_images=Images(fade), start=start)
    growth = Growth(model, 32)
    clocks = range(3 * (hold + fade) + 20)
    stages = [growth.at(clock) for clock in clocks]
    assert stages == [growth.at(clock) for clock in clocks]  # nothing is remembered
    assert stages[-1] == (3, 1.0)
    weights = [level + alpha for level, alpha in stages]
    assert weights == sorted(weights) or fade == 0
    assert [level for level, _ in stages] == sorted(level for level, _ in stages)
    assert all(0 <= alpha <= 1 for _, alpha in stages)
    if hold:
        assert {level for level, _ in stages} == set(range(growth.first, 4))


def test_a_level_begins_once_whatever_the_batches() -> None:
    """The step before a level appears is known from the clock alone, even where batches get smaller there."""
    growth = Growth(replace(SMALL, batches=(24, 8, 3)), 16)
    clock, begun = 0, []
    while clock < 400:
        n = growth.batch(clock, default=99)
        assert n == (24, 8, 3)[growth.at(clock).level]
        if growth.begins(clock, n):
            begun.append(growth.at(clock + n).level)
        clock += n
    assert begun == [1, 2]
    assert Growth(SMALL, 16).batch(0, default=99) == 99
    assert Growth(replace(SMALL, batches=(24,)), 16).batch(10**6, default=99) == 24  # the last for all further ones
    assert not Growth(replace(SMALL, restart=False), 16).restarts(99, 8) and Growth(SMALL, 16).restarts(99, 8)


def test_stylegan_grows_alike() -> None:
    model = StyleGANModel(start=8, hold_images=Images(100), fade_images=Images(50))
    assert [Growth(model, 16).at(clock) for clock in (0, 125, 150)] == [(1, 1.0), (2, 0.5), (2, 1.0)]


@pytest.mark.parametrize(("start", "resolution"), [(4, 8), (8, 16), (16, 16), (0, 16)])
def test_a_network_begins_at_its_first_level(start: int, resolution: int) -> None:
    net = Generator(replace(SMALL, start=start), (1, resolution, resolution))
    assert side(stage_of(net).level) == (start or resolution) and stage_of(net).alpha == 1


@pytest.mark.parametrize("start", [-4, 2, 3, 12, 64])
def test_beginning_with_no_size_of_a_level(start: int) -> None:
    with pytest.raises(Problem) as problem:
        Generator(replace(SMALL, start=start), (1, 32, 32))
    assert problem.value.key == "progan.start" and "4, 8, 16, 32" in str(problem.value)


@pytest.mark.parametrize(
    ("height", "width", "near"), [(28, 28, 32), (4, 4, 8), (2048, 2048, 1024), (32, 16, 32), (1, 1, 8)]
)
def test_sizes_that_cannot_be_grown_to(height: int, width: int, near: int) -> None:
    for player in (Generator, Critic):
        with pytest.raises(Problem) as problem:
            player(SMALL, (3, height, width))
        assert problem.value.key == "progan.size" and f"--resolution {near}" in str(problem.value)


def test_channels_of_the_paper() -> None:
    """Table 2: 512 up to 32 pixels, then half as many at each doubling."""
    paper = ProGANModel(width=512, widest=512)
    assert channels(paper, (3, 1024, 1024)) == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert channels(replace(paper, width=1), (3, 64, 64)) == [8, 4, 2, 1, 1]


# --- Fading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("level", [1, 2])
def test_a_level_begins_as_nothing_and_ends_as_all(level: int, blur: bool) -> None:
    """At alpha 0 both players and the reals are those of the level below, at 1 those of the level alone, exactly."""
    generator, critic = players(blur)
    x, z = images(), latents()
    before, start, end = Stage(level - 1, 1.0), Stage(level, 0.0), Stage(level, 1.0)
    almost = Stage(level, math.nextafter(1.0, 0.0))  # still the branch that blends

    assert torch.equal(generator(z, stage=start), double(generator(z, stage=before)))
    assert torch.allclose(generator(z, stage=almost), generator(z, stage=end), atol=1e-6)
    assert torch.equal(fade_reals(x, start), double(fade_reals(x, before)))
    assert torch.allclose(fade_reals(x, almost), fade_reals(x, end), atol=1e-6)
    seen = fade_reals(x, end)
    assert torch.equal(critic(seen, stage=start), critic(halve(seen), stage=before))
    assert torch.allclose(critic(seen, stage=almost), critic(seen, stage=end), atol=1e-6)
    assert not torch.allclose(critic(seen, stage=start), critic(seen, stage=end), atol=1e-4)


def test_half_way_is_the_mean_of_both() -> None:
    generator, _ = players()
    ends = [generator(latents(), stage=Stage(2, alpha)) for alpha in (0.0, 0.5, 1.0)]
    assert torch.allclose(ends[1], (ends[0] + ends[2]) / 2, atol=1e-6)
    x = images()
    blurred = F.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(fade_reals(x, Stage(2, 0.25)), 0.25 * x + 0.75 * blurred, atol=1e-6)


def test_real_and_new_images_have_one_size_at_every_stage() -> None:
    generator, critic = players()
    for clock in range(0, 400, 10):
        stage = Growth(SMALL, 16).at(clock)
        fake, real = generator(latents(), stage=stage), fade_reals(images(), stage)
        assert fake.shape == real.shape == (8, 3, side(stage.level), side(stage.level))
        assert critic(fake, stage=stage).shape == critic(real, stage=stage).shape == (8,)


def test_without_a_stage_the_one_that_was_kept_counts() -> None:
    """What probes and evaluations call: full size in, full size out."""
    generator, critic = players()
    stage = Stage(1, 0.25)
    for net in (generator, critic):
        net.grown[0], net.grown[1] = stage
    x, z = images(), 100 * latents()
    assert torch.equal(critic(x), critic(fade_reals(x, stage), stage=stage))
    decoded = generator.decode(z)
    assert decoded.shape == (8, *SHAPE) and decoded.abs().max() <= 1
    assert torch.equal(decoded, double(generator(z, stage=stage)).clamp(-1, 1))
    made = generator(z, stage=stage).clamp(-1, 1)
    assert torch.equal(critic(decoded, stage=stage), critic(made, stage=stage))  # not faded a second time
    again = Generator(SMALL, SHAPE)
    again.load_state_dict(generator.state_dict())  # the stage is saved with the weights
    assert torch.equal(again.decode(z), decoded)


# --- Layers ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_equalised_layers_keep_unit_variance() -> None:
    """Weights have variance 1 and signals keep theirs: a leaky ReLU's gain makes up for all but 4 % of what it cuts."""
    torch.manual_seed(0)
    model = ProGANModel(latent=64, width=64, widest=64)
    generator, critic = Generator(model, (64, 8, 8)), Critic(model, (64, 8, 8))
    h = torch.randn(64, 64, 8, 8)
    for layer in (generator.first, generator.up[0], generator.keep[0], critic.keep[0], critic.down[0]):
        assert layer.weight.var() == pytest.approx(1, rel=0.1) and not layer.bias.any()
        inner = F.leaky_relu(layer(h), 0.2)[..., 1:-1, 1:-1]  # zeros lie beyond the edge
        assert inner.square().mean() == pytest.approx(1.04, rel=0.1)
    assert generator.to_rgb[1](h).var() == pytest.approx(1, rel=0.2)
    code = generator.dense(torch.randn(256, 64))
    assert code.var() == pytest.approx(2 / 16, rel=0.1)  # sqrt(2) / 4
    assert generator(torch.randn(64, 64), stage=Stage(1, 1.0)).var() == pytest.approx(1, rel=0.2)


def test_latents_lie_on_a_sphere() -> None:
    """However long they are, what counts is where they point."""
    generator, _ = players()
    assert torch.allclose(generator.decode(latents()), generator.decode(100 * latents()), atol=1e-5)


def test_the_critic_compares_four_images() -> None:
    """The minibatch standard deviation: an image's score depends on the others of its group, and on no other."""
    _, critic = players()
    x = images(16)
    other = x.clone()
    other[0] = -other[0]  # of the group 0, 4, 8, 12
    stage = Stage(2, 1.0)
    changed = (critic(x, stage=stage) - critic(other, stage=stage)).abs() > 1e-7
    assert changed.nonzero().flatten().tolist() == [0, 4, 8, 12]


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("packing", [1, 2])
def test_grey_colour_and_transparent(count: int, packing: int) -> None:
    shape = (count, 8, 8)
    generator, critic = players(cure=CureConfig(packing=packing, minibatch_discrimination=2), shape=shape)
    assert generator.decode(latents()).shape == (8, *shape)
    packs = images(8, shape).reshape(8 // packing, -1, 8, 8)
    assert critic(packs).shape == (8 // packing,)
    for stage in (Stage(0, 1.0), Stage(1, 0.3), Stage(1, 1.0)):
        assert critic(fade_reals(packs, stage), stage=stage).isfinite().all()


def test_gradients_reach_what_a_stage_uses_and_nothing_else() -> None:
    generator, critic = players()
    stage = Stage(1, 0.5)
    critic(generator(latents(), stage=stage), stage=stage).sum().backward()
    used = {name for net in (generator, critic) for name, p in net.named_parameters() if p.grad is not None}
    assert {"to_rgb.0.weight", "to_rgb.1.weight", "from_rgb.0.weight", "up.0.weight", "down.0.weight"} <= used
    assert not {name for name in used if name.startswith(("to_rgb.2", "from_rgb.2", "up.1", "keep.1", "down.1"))}


# --- Penalties -------------------------------------------------------------------------------------------------------

STAGES = [Stage(0, 1.0), Stage(1, 0.4), Stage(2, 1.0)]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("blur", [False, True])
def test_penalties_against_finite_differences(stage: Stage, blur: bool) -> None:
    """R1 and WGAN-GP of a critic of one image at a time, and what a weight does to them: every derivative by steps."""
    _, critic = players(blur)
    critic.double()
    real, fake = (fade_reals(x.double()[:1], stage) for x in (images(), images().flip(0)))

    def score(x: Tensor, condition: Tensor | None = None) -> Tensor:
        return critic(x, stage=stage)

    def slope(x: Tensor) -> Tensor:
        steps = 1e-6 * torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape[1:])
        with torch.no_grad():
            return torch.stack([(score(x + d) - score(x - d)) / 2e-6 for d in steps]).flatten()

    assert zero_centred(score, real).item() == pytest.approx(slope(real).square().sum().item(), rel=1e-4)
    torch.manual_seed(3)
    found = wgan_gp(score, real, fake).item()
    torch.manual_seed(3)
    between = torch.lerp(fake, real, torch.rand(1, 1, 1, 1, dtype=torch.float64))
    assert found == pytest.approx((slope(between).norm() - 1).square().item(), rel=1e-4)

    weight = critic.from_rgb[stage.level].weight
    (exact,) = torch.autograd.grad(zero_centred(score, real).sum(), weight)
    ends = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[0, 0] += step
        ends.append(zero_centred(score, real).item())
        with torch.no_grad():
            weight[0, 0] -= step
    assert exact[0, 0].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("penalty", ["r1", "r1+r2", "wgan-gp"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_at_every_stage(penalty: str, precision: str) -> None:
    """Channels last, under autocast too, penalties at the size of the stage."""
    assembly = game(objective={"penalty": penalty, "gamma": 1.0, "every": 1}, training={"precision": precision})
    state = assembly.state
    seen: list[tuple[int, ...]] = []
    state.nets["critic"].register_forward_hook(lambda module, given, output: seen.append(given[0].shape))
    for clock, size in ((0, 4), (24, 8), (40, 8)):
        state.images = clock
        seen.clear()
        metrics = assembly.step(state, batch())
        assert {tuple(shape[2:]) for shape in seen} == {(size, size)}
        assert all(value.isfinite().all() for value in metrics.values()) and metrics["critic/penalty"].any()
        assert all(p.isfinite().all() for p in state.nets.parameters())


# --- The step --------------------------------------------------------------------------------------------------------


def game(
    name: str = "progan-r1", shape: tuple[int, int, int] = (1, 8, 8), held_out: int = 4, **sections: dict[str, Any]
) -> Assembly:
    """From 4 to 8 pixels: the first 16 images, a fade over 16, then whole."""
    config = toy(name)
    for section, changes in sections.items():
        config = replace(config, **{section: replace(getattr(config, section), **changes)})
    data = Dataset(image_set(24, shape), image_set(held_out, shape, seed=1), {}, Path())
    return assemble(config, data, torch.device("cpu"))


def batch(n: int = 8, position: int = 0) -> Batch:
    return Stream(image_set(24, (1, 8, 8))).take(position, n)


def test_the_step_tells_the_networks_and_the_record() -> None:
    assembly = game()
    state = assembly.state
    for clock, stage in ((0, (0, 1.0)), (16, (1, 0.0)), (24, (1, 0.5)), (32, (1, 1.0))):
        state.images = clock
        metrics = assembly.step(state, batch())
        assert (metrics["growth/level"].item(), metrics["growth/alpha"].item()) == stage
        assert all(stage_of(net) == stage for net in state.nets.values())
        state.images += 8
        state.average(16, 8)
        assert stage_of(state.shown("generator")) == stage


@pytest.mark.parametrize("restart", [True, False])
def test_adam_begins_anew_with_a_level(restart: bool) -> None:
    assembly = game(model={"restart": restart})
    state = assembly.state
    steps = []
    for _ in range(6):
        assembly.step(state, batch(position=state.images))
        state.images += 8
        taken = [s["step"].item() for s in state.optimizers["generator"].state.values()]
        steps.append(max(taken, default=0))
    assert steps == ([1, 0, 1, 2, 3, 4] if restart else [1, 2, 3, 4, 5, 6])


def test_what_was_not_grown_yet_has_not_moved() -> None:
    assembly = game()
    state = assembly.state
    before = {name: value.clone() for name, value in state.nets.state_dict().items()}
    assembly.step(state, batch())
    moved = {name for name, value in state.nets.state_dict().items() if not torch.equal(value, before[name])}
    assert {"generator.to_rgb.0.weight", "critic.from_rgb.0.weight", "generator.first.weight"} <= moved
    assert not {name for name in moved if ".1." in name or ".up." in name or ".keep." in name or ".down." in name}


def test_each_level_has_its_batch() -> None:
    assembly = game(model={"batches": (12, 4)})
    assert [assembly.batch_at(clock) for clock in (0, 15, 16, 10**6)] == [12, 12, 4, 4]
    assert game().batch_at(0) == 8


def test_probes_run_while_networks_grow() -> None:
    """A spectrum is taken of whole images alone: pixels doubled up look like a checkerboard, and are none."""
    shape = (1, 16, 16)
    assembly = game(shape=shape)
    state = assembly.state
    found = []
    for clock in (0, 24, 40, 56, 64):  # 4, 8 fading in, 8, 16 fading in, 16 pixels
        state.images = clock
        assembly.step(state, Stream(image_set(24, shape)).take(0, 8))
        row = assembly.probe(state)
        assert row and all(math.isfinite(value) for value in row.values())
        found.append("probe/sharpness" in row)
    assert found == [False, False, False, False, True]


def test_probes_show_the_critic_fakes_as_they_were_made() -> None:
    """A fade halves what the new level adds, on both sides; a fake that was faded twice would look blurred."""
    assembly = game(shape=(1, 16, 16), held_out=24)
    state = assembly.state
    state.images = 56  # 16 pixels, half way in
    assembly.step(state, Stream(image_set(24, (1, 16, 16))).take(0, 8))
    critic, seen = state.nets["critic"], []
    critic.from_rgb[2].register_forward_hook(lambda module, given, output: seen.append(given[0]))
    assembly.probe(state)
    panel = assembly.probe.keywords["panel"]  # type: ignore[attr-defined]
    fakes, _ = panel.made(state.nets["generator"].eval(), FAKES)
    assert stage_of(critic) == (2, 0.5) and any(torch.equal(x, fakes[: len(x)]) for x in seen)
