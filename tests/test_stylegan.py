"""StyleGAN against its paper: mapping, styles, noise, mixing, truncation, growing, path lengths and R1."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latente.config import StyleGANModel
from latente.layers import double, halve
from latente.messages import Problem
from latente.models import StyleDecoder
from latente.models.progan import Stage
from latente.models.stylegan import Critic, Generator, Mapping, adain, fade_reals, mixed, path_penalty, sources
from latente.objectives.penalties import zero_centred

SMALL = StyleGANModel(latent=5, width=2, widest=4, mapping=3)
SHAPES = [(1, 8, 8), (3, 16, 16), (4, 32, 32)]


def made(shape: tuple[int, int, int] = (3, 16, 16), alive: bool = True, **settings: Any) -> Generator:
    """A generator, fully grown; `alive`: what begins at zero has been stirred."""
    torch.manual_seed(0)
    net = Generator(replace(SMALL, **settings), shape)
    grow(net, Stage(net.layers // 2 - 1, 1.0))
    if alive:
        for epilogue in net.epilogues:
            torch.nn.init.normal_(epilogue.bias)
            if epilogue.strength is not None:
                torch.nn.init.normal_(epilogue.strength)
    return net.double().eval()


def grow(net: Any, stage: Stage) -> None:
    net.grown.copy_(torch.tensor(stage))


def latents(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, SMALL.latent, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(net: Generator, ws: Tensor, noise: Any = None) -> list[Tensor]:
    """What every layer makes of styles [N, L, d]: maps after AdaIN, from the first layer to the last."""
    seen: list[Tensor] = []
    hooks = [epilogue.register_forward_hook(lambda m, i, out: seen.append(out)) for epilogue in net.epilogues]
    with torch.no_grad():
        net.synthesis(ws, noise)
    for hook in hooks:
        hook.remove()
    return seen


# --- Shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: tuple[int, int, int]) -> None:
    net, critic = made(shape), Critic(SMALL, shape).double()
    grow(critic, Stage(net.layers // 2 - 1, 1.0))
    assert isinstance(net, StyleDecoder)
    assert net.layers == 2 * int(math.log2(shape[1])) - 2
    ws = net.broadcast(net.mapping(latents(3)))
    assert ws.shape == (3, net.layers, 5)
    images = net.synthesis(ws)
    assert images.shape == (3, *shape) and critic(images).shape == (3,)
    assert [m.shape[-1] for m in net.noise_maps(2, torch.Generator())] == [4, 4, 8, 8, 16, 16, 32, 32][: net.layers]
    assert net.decode(latents(3)).abs().max() <= 1


def test_eighteen_layers_at_1024() -> None:
    assert Generator(replace(SMALL, width=1, widest=1), (3, 1024, 1024)).layers == 18


@pytest.mark.parametrize("height, width", [(24, 24), (16, 32), (4, 4), (2048, 2048)])
def test_a_size_that_is_no_power_of_two_is_refused(height: int, width: int) -> None:
    with pytest.raises(Problem, match=f"{width}x{height}"):
        Generator(SMALL, (3, height, width))


# --- Mapping ---------------------------------------------------------------------------------------------------------


def test_the_mapping_knows_only_directions() -> None:
    net = made()
    torch.testing.assert_close(net.mapping(7 * latents(4)), net.mapping(latents(4)))


def test_the_mapping_is_its_formula() -> None:
    mapping = Mapping(5, 2).double()
    z = latents(4)
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in mapping.layers:
        torch.nn.init.normal_(layer.bias)
        w = w @ (layer.weight.T * math.sqrt(2 / 5) * 0.01) + 0.01 * layer.bias
        w = torch.where(w > 0, w, 0.2 * w)
    torch.testing.assert_close(mapping(z), w, rtol=1e-6, atol=1e-7)


def test_the_mapping_s_weights_act_with_unit_variance_and_learn_a_hundred_times_slower() -> None:
    """Adam moves every stored weight by the same step; what acts is the stored one times scale."""
    torch.manual_seed(0)
    slow, plain = Mapping(64, 1).layers[0], made(latent=64).epilogues[0].style
    acting = slow.weight * slow.scale
    assert acting.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert slow.scale / math.sqrt(2) == pytest.approx(0.01 * plain.scale)
    z = torch.randn(500, 64)
    spread = Mapping(64, 8)(z).square().mean().item()
    assert 0.3 < spread < 2  # a leaky ReLU of slope 0.2 keeps 1.04 times the variance


def test_the_mean_of_w_against_a_loop() -> None:
    net = made((1, 8, 8)).train()
    expected = torch.zeros(5, dtype=torch.float64)
    for step in range(4):
        z = latents(6, seed=step)
        w = net.mapping(z).detach()
        for i in range(5):
            expected[i] = 0.995 * expected[i] + 0.005 * sum(float(row[i]) for row in w) / 6
        net(z)
    torch.testing.assert_close(net.w_avg, expected)
    net.eval()(latents(6))
    torch.testing.assert_close(net.w_avg, expected)  # followed in training alone


# --- Styles ----------------------------------------------------------------------------------------------------------


def test_adain_by_hand() -> None:
    torch.manual_seed(0)
    h = 3 * torch.randn(2, 3, 4, 5, dtype=torch.float64) + 1
    s, b = torch.randn(2, 2, 3, 1, 1, dtype=torch.float64)
    found = adain(h, s, b)
    for n, c in product(range(2), range(3)):
        pixels = [float(v) for v in h[n, c].flatten()]
        mean = sum(pixels) / 20
        deviation = math.sqrt(sum((v - mean) ** 2 for v in pixels) / 20 + 1e-8)
        for place, v in enumerate(pixels):
            expected = (v - mean) / deviation * (float(s[n, c]) + 1) + float(b[n, c])
            assert float(found[n, c].flatten()[place]) == pytest.approx(expected)
    torch.testing.assert_close(found.mean((2, 3)), b[:, :, 0, 0])
    torch.testing.assert_close(found.std((2, 3), correction=0), (s + 1).abs()[:, :, 0, 0])


def test_a_layer_is_its_order_noise_bias_leaky_relu_style() -> None:
    epilogue = made().epilogues[2]
    h, noise = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    w = latents(2)
    x = h + noise * epilogue.strength[:, None, None] + epilogue.bias[:, None, None]
    x = F.instance_norm(F.leaky_relu(x, 0.2), eps=1e-8)
    s, b = (w @ epilogue.style.weight.T / math.sqrt(5) + epilogue.style.bias).chunk(2, 1)
    torch.testing.assert_close(epilogue(h, w, noise), x * (s + 1)[:, :, None, None] + b[:, :, None, None])


def test_the_constant_is_ones_and_everything_of_chance_begins_at_zero() -> None:
    net = made(alive=False)
    assert net.constant is not None and torch.equal(net.constant, torch.ones_like(net.constant))
    assert all(not epilogue.strength.any() and not epilogue.style.bias.any() for epilogue in net.epilogues)


def test_without_a_constant_the_first_maps_hang_on_w() -> None:
    """Configuration C: a dense layer, as ProGAN's z enters."""
    net = made(constant=False, noise=False)
    ws = net.broadcast(net.mapping(latents(2)))
    assert net.constant is None and net.dense is not None
    h = (ws[:, 0] @ net.dense.weight.T * (math.sqrt(2) / 4 / math.sqrt(5)) + net.dense.bias).view(2, 4, 4, 4)
    torch.testing.assert_close(maps(net, ws)[0], net.epilogues[0](h, ws[:, 0], None))


# --- Noise -----------------------------------------------------------------------------------------------------------


def test_at_strength_0_noise_changes_nothing() -> None:
    net = made(alive=False)
    ws = net.broadcast(net.mapping(latents(2)))
    images = [net.synthesis(ws, net.noise_maps(2, torch.Generator().manual_seed(seed))) for seed in (0, 1)]
    assert torch.equal(*images)
    assert torch.equal(images[0], net.synthesis(ws, [None] * net.layers))
    torch.nn.init.constant_(net.epilogues[3].strength, 0.1)
    assert not torch.allclose(net.synthesis(ws, net.noise_maps(2, torch.Generator())), images[0])


def test_noise_of_a_layer_changes_nothing_before_it() -> None:
    net = made()
    ws = net.broadcast(net.mapping(latents(2)))
    one, other = (net.noise_maps(2, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for layer in range(net.layers):
        before, after = maps(net, ws, one), maps(net, ws, [*one[:layer], other[layer], *one[layer + 1 :]])
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [True] * layer + [False] * (net.layers - layer)


def test_a_map_for_all_or_one_for_each() -> None:
    net = made()
    ws = net.broadcast(net.mapping(latents(3)))
    fixed = [getattr(net, f"noise_{layer}") for layer in range(net.layers)]
    torch.testing.assert_close(net.synthesis(ws), net.synthesis(ws, [m.expand(3, -1, -1, -1) for m in fixed]))


def test_configuration_d_has_no_noise() -> None:
    net = made(noise=False)
    ws = net.broadcast(net.mapping(latents(2)))
    assert torch.equal(net.synthesis(ws), net.synthesis(ws, [None] * net.layers))
    assert all(epilogue.strength is None for epilogue in net.epilogues)


# --- Mixing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crossover", range(1, 6))
def test_mixing_changes_only_layers_from_the_crossover_on(crossover: int) -> None:
    net = made()
    one, other = net.broadcast(net.mapping(latents(2))), net.broadcast(net.mapping(latents(2, seed=9)))
    mix = torch.cat([one[:, :crossover], other[:, crossover:]], 1)
    same = [torch.equal(a, b) for a, b in zip(maps(net, one), maps(net, mix), strict=True)]
    assert same == [True] * crossover + [False] * (net.layers - crossover)


def test_crossovers_are_uniform_over_the_active_layers() -> None:
    torch.manual_seed(0)
    two = torch.tensor([0.0, 1.0])[:, None].expand(8000, 2, 1)
    ws = mixed(two, share=0.9, layers=8, active=6)[:, :, 0]  # [N, L]: 1 where it follows the other
    assert (ws.diff(dim=1) >= 0).all()  # it crosses over once and stays there
    crossover = (8 - ws.sum(1)).long()  # 8: not mixed
    counts = torch.bincount(crossover, minlength=9) / 8000
    assert not counts[[0, 6, 7]].any()
    torch.testing.assert_close(counts[1:6], torch.full((5,), 0.9 / 5), atol=0.02, rtol=0)
    assert counts[8].item() == pytest.approx(0.1, abs=0.02)


def test_many_crossovers_are_at_different_places_and_lead_to_one_source_after_the_other() -> None:
    torch.manual_seed(0)
    ws = mixed(torch.arange(4.0)[:, None].expand(8000, 4, 1), share=0.9, layers=8, active=6)[:, :, 0]
    steps = ws.diff(dim=1)  # [N, L - 1]
    assert set(steps.unique().tolist()) == {0, 1} and not ws[:, 0].any() and not steps[:, 5:].any()
    assert set(ws[:, -1].unique().tolist()) == {0, 3}  # not mixed, or all three crossed
    assert (ws[:, -1] == 3).float().mean().item() == pytest.approx(0.9, abs=0.02)
    torch.testing.assert_close(steps[:, :5].mean(0), torch.full((5,), 0.9 * 3 / 5), atol=0.03, rtol=0)


def test_as_many_crossovers_as_there_is_room_for_give_every_layer_a_style_of_its_own() -> None:
    net = made(mixing=1.0, crossovers=100)
    w = net.mapping(latents(3))
    many = sources(net, w, active=4)
    assert many.shape[1] == 4 and torch.equal(many[:, 0], w)
    ws = mixed(many, share=1.0, layers=net.layers, active=4)
    assert torch.equal(ws[:, :4], many) and torch.equal(ws[:, 4:], many[:, 3:].expand(-1, net.layers - 4, -1))
    assert len(many.flatten(0, 1).unique(dim=0)) == 12


def test_without_mixing_training_makes_what_its_noise_and_w_make() -> None:
    net = made(mixing=0.0).train()
    torch.manual_seed(3)
    images = net(latents(2))
    torch.manual_seed(3)
    noise = [torch.randn(2, 1, s, s).double() for s in net.sides()]
    torch.testing.assert_close(images, net.synthesis(net.broadcast(net.mapping(latents(2))), noise))


def test_mixing_in_training_is_drawn_from_the_global_generator() -> None:
    net = made(mixing=1.0).train()
    images = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        images.append(net(latents(2)))
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    before = torch.get_rng_state()
    net.eval()
    assert torch.equal(net(latents(2)), net(latents(2)))
    assert torch.equal(torch.get_rng_state(), before)  # nothing is left to chance outside training


# --- Truncation ------------------------------------------------------------------------------------------------------


def test_truncation() -> None:
    net = made()
    net.w_avg.normal_()
    z = latents(3)
    w = net.mapping(z)
    average = net.synthesis(net.w_avg.expand(3, net.layers, -1)).clamp(-1, 1)
    assert torch.equal(net.broadcast(w, 0.0), net.w_avg.expand(3, net.layers, -1))
    torch.testing.assert_close(net.decode(z, psi=0.0), average)  # everybody's image is the mean one
    assert torch.equal(net.decode(z, psi=1.0), net.decode(z))
    torch.testing.assert_close(net.broadcast(w, 0.7)[:, 3], net.w_avg + 0.7 * (w - net.w_avg))
    ws = net.broadcast(w, 0.7, cutoff=2)
    assert torch.equal(ws[:, 2:], w[:, None].expand(-1, net.layers - 2, -1))  # fine layers are left alone
    assert torch.equal(ws[:, :2], net.broadcast(w, 0.7)[:, :2])


# --- Growing ---------------------------------------------------------------------------------------------------------


def test_a_fade_begins_at_the_level_before_and_ends_at_the_next() -> None:
    net = made()
    ws = net.broadcast(net.mapping(latents(2)))
    for level in (1, 2):
        before = net.synthesis(ws, stage=Stage(level - 1, 1.0))
        after = net.synthesis(ws, stage=Stage(level, 1.0))
        assert after.shape[-1] == 4 * 2**level
        assert torch.equal(net.synthesis(ws, stage=Stage(level, 0.0)), double(before))
        half = net.synthesis(ws, stage=Stage(level, 0.5))
        torch.testing.assert_close(half, (double(before) + after) / 2)


def test_the_critic_fades_with_reals() -> None:
    torch.manual_seed(0)
    critic, x = Critic(SMALL, (3, 16, 16)).double(), torch.randn(4, 3, 16, 16, dtype=torch.float64)
    grow(critic, Stage(1, 1.0))
    before = critic(x)
    grow(critic, Stage(2, 0.0))
    torch.testing.assert_close(critic(x), before)
    assert torch.equal(fade_reals(x, Stage(2, 0.0)), double(halve(x)))


def test_a_lower_stage_is_decoded_at_full_size() -> None:
    net = made()
    grow(net, Stage(1, 1.0))
    images = net.decode(latents(2))
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images, double(halve(images)))


def test_crossovers_lie_within_what_has_grown() -> None:
    """At 4x4 there are two layers: the second follows the other w, or nothing does."""
    net = made(mixing=1.0, noise=False).train()
    grow(net, Stage(0, 1.0))
    torch.manual_seed(0)
    images = net(latents(4))
    torch.manual_seed(0)
    other = torch.randn(4, 5, dtype=torch.float64)
    ws = torch.stack([net.mapping(latents(4)), net.mapping(other)], 1).repeat_interleave(torch.tensor([1, 5]), 1)
    torch.testing.assert_close(images, net.synthesis(ws))


# --- Penalties -------------------------------------------------------------------------------------------------------


def test_path_lengths_against_an_explicit_jacobian() -> None:
    net = made((1, 8, 8))
    ws = net.broadcast(net.mapping(latents(2))).detach()
    torch.manual_seed(4)
    found = net.path_lengths(ws)
    torch.manual_seed(4)
    y = torch.randn(2, 1, 8, 8, dtype=torch.float64) / 8
    for n in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda one: net.synthesis(one[None])[0], ws[n])  # [1,8,8,L,d]
        product = (y[n, ..., None, None] * jacobian).sum((0, 1, 2))  # J^T y, [L, d]
        assert found[n].item() == pytest.approx(product.square().sum(1).mean().sqrt().item())


def test_layers_that_have_not_grown_do_not_shorten_paths() -> None:
    """At 8 pixels a network has the lengths of one with the same weights that ends there."""
    growing, whole = made((1, 16, 16)), made((1, 8, 8))
    whole.load_state_dict({name: growing.state_dict()[name] for name in whole.state_dict() if name != "grown"}, False)
    w = growing.mapping(latents(3)).detach()
    lengths = []
    for net in (growing, whole):
        torch.manual_seed(4)
        lengths.append(net.path_lengths(net.broadcast(w), Stage(1, 1.0)))
    torch.testing.assert_close(*lengths)


def test_path_lengths_by_differences() -> None:
    net = made((1, 8, 8))
    ws = net.broadcast(net.mapping(latents(1))).detach()
    torch.manual_seed(4)
    found = net.path_lengths(ws)
    torch.manual_seed(4)
    y = torch.randn(1, 1, 8, 8, dtype=torch.float64) / 8
    squares = []
    for layer, i in product(range(net.layers), range(5)):
        step = torch.zeros_like(ws)
        step[0, layer, i] = 1e-6
        squares.append(float(((net.synthesis(ws + step) - net.synthesis(ws - step)) * y).sum().detach() / 2e-6) ** 2)
    assert found.item() == pytest.approx(math.sqrt(sum(squares) / net.layers), rel=1e-6)


def test_the_path_penalty_is_the_distance_from_the_running_mean() -> None:
    net = made((1, 8, 8)).train()
    torch.manual_seed(0)
    first = path_penalty(net, 3)
    torch.manual_seed(0)
    z = net.prior(3, torch.default_generator).double()
    lengths = net.path_lengths(net.broadcast(net.mapping(z))).detach()
    mean = 0.01 * float(lengths.mean())  # from 0, by a hundredth of the way
    assert net.path_mean.item() == pytest.approx(mean, rel=1e-5)
    torch.testing.assert_close(first, (lengths - net.path_mean).square(), rtol=1e-4, atol=0)
    first.mean().backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.any() for layer in net.styles.layers)


def test_the_gradient_of_the_path_penalty_by_differences() -> None:
    net = made((1, 8, 8))
    ws = net.broadcast(net.mapping(latents(2))).detach()

    def loss() -> Tensor:
        torch.manual_seed(2)
        return (net.path_lengths(ws) - 0.3).square().sum()

    weight = net.up[0].weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    for place in [(0, 0, 0, 0), (1, 2, 1, 1), (3, 1, 2, 0)]:
        with torch.no_grad():
            kept = weight[place].item()
        ends = []
        for step in (1e-5, -1e-5):
            weight.data[place] = kept + step
            ends.append(loss().item())
        weight.data[place] = kept
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_r1_by_differences() -> None:
    torch.manual_seed(0)
    critic = Critic(SMALL, (1, 8, 8)).double()
    grow(critic, Stage(1, 1.0))
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    found = zero_centred(critic, x, None, lambda images: images)
    total = 0.0
    for i, j in product(range(8), range(8)):
        step = torch.zeros_like(x)
        step[0, 0, i, j] = 1e-6
        total += float((critic(x + step) - critic(x - step)).detach() / 2e-6) ** 2
    assert found.item() == pytest.approx(total, rel=1e-6)


# --- Determinism -----------------------------------------------------------------------------------------------------


def test_decoding_draws_nothing_and_images_do_not_influence_each_other() -> None:
    net = made().train()
    before = torch.get_rng_state()
    images = net.decode(latents(4))
    assert torch.equal(images, net.decode(latents(4)))
    torch.testing.assert_close(net.decode(latents(4)[1:2]), images[1:2])
    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_noise_travels_with_the_weights() -> None:
    net = made()
    torch.manual_seed(99)
    other = Generator(SMALL, (3, 16, 16)).double().eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.decode(latents(2)), net.decode(latents(2)))
