"""StyleGAN2 against its paper: modulated convolutions one image at a time, skips, residuals, path lengths."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latente.config import CureConfig, StyleGAN2Model
from latente.layers import blur, double, halve, minibatch_stddev
from latente.messages import Problem
from latente.models import StyleDecoder
from latente.models.stylegan import path_penalty
from latente.models.stylegan2 import Critic, Generator, Residual, StyledConv, demodulation, modulated
from latente.objectives.penalties import zero_centred

SMALL = StyleGAN2Model(latent=5, width=2, widest=4, mapping=2)


def made(shape: tuple[int, int, int] = (3, 16, 16), **settings: Any) -> Generator:
    """A generator in which noise and biases, which begin at zero, do something."""
    torch.manual_seed(0)
    net = Generator(replace(SMALL, **settings), shape)
    for conv in convolutions(net):
        torch.nn.init.normal_(conv.strength)
        torch.nn.init.normal_(conv.bias)
    return net.double().eval()


def convolutions(net: Generator) -> list[Any]:
    """In the order of their layers."""
    return [net.first, *(conv for pair in zip(net.up, net.keep, strict=True) for conv in pair)]


def latents(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, SMALL.latent, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(net: Generator, ws: Tensor, noise: Any = None) -> list[Tensor]:
    """What every convolution makes of styles [N, L, d]."""
    seen: list[Tensor] = []
    hooks = [conv.register_forward_hook(lambda m, i, out: seen.append(out)) for conv in convolutions(net)]
    with torch.no_grad():
        net.synthesis(ws, noise)
    for hook in hooks:
        hook.remove()
    return seen


# --- Modulated convolution -------------------------------------------------------------------------------------------


def one_by_one(x: Tensor, weight: Tensor, s: Tensor, demodulate: bool) -> Tensor:
    """Equations 1 and 3 as they stand: every image is convolved by weights of its own."""
    images = []
    for one, styles in zip(x, s, strict=True):
        own = torch.stack([weight[:, i] * styles[i] for i in range(weight.shape[1])], 1)  # w'_ijk = s_i w_ijk
        if demodulate:
            own = torch.stack([kernel / math.sqrt(kernel.square().sum().item() + 1e-8) for kernel in own])
        images.append(F.conv2d(one[None], own, padding=weight.shape[2] // 2)[0])
    return torch.stack(images)


@pytest.mark.parametrize("kernel, doubles, demodulate", [(3, False, True), (3, True, True), (1, False, False)])
def test_modulated_convolution_against_one_image_at_a_time(kernel: int, doubles: bool, demodulate: bool) -> None:
    torch.manual_seed(0)
    x, s = torch.randn(3, 4, 5, 6, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    weight = torch.randn(2, 4, kernel, kernel, dtype=torch.float64)
    found = modulated(x, weight, s, doubles)
    if demodulate:
        found = found * demodulation(weight, s)[:, :, None, None]
    torch.testing.assert_close(found, one_by_one(double(x) if doubles else x, weight, s, demodulate))


@pytest.mark.parametrize("doubles", [False, True])
def test_a_layer_is_its_figure(doubles: bool) -> None:
    """Figure 2c: modulation and demodulation of weights, blur after doubling, then noise and bias, then the slope."""
    torch.manual_seed(0)
    conv = StyledConv(4, 3, 5, doubles).double()
    torch.nn.init.normal_(conv.bias)
    torch.nn.init.normal_(conv.strength)
    x, w = torch.randn(2, 4, 4, 4, dtype=torch.float64), latents(2)
    side = 8 if doubles else 4
    noise = torch.randn(2, 1, side, side, dtype=torch.float64)
    s = w @ conv.style.weight.T / math.sqrt(5) + conv.style.bias
    h = one_by_one(double(x) if doubles else x, conv.weight / math.sqrt(36), s, demodulate=True)
    h = (blur(h) if doubles else h) + conv.strength * noise + conv.bias[:, None, None]
    torch.testing.assert_close(conv(x, w, noise), math.sqrt(2) * torch.where(h > 0, h, 0.2 * h))


def test_demodulation_keeps_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    x, s = torch.randn(4, 16, 32, 32), torch.rand(4, 16) * 10
    weight = torch.randn(16, 16, 3, 3)
    h = (modulated(x, weight, s) * demodulation(weight, s)[:, :, None, None])[..., 1:-1, 1:-1]
    torch.testing.assert_close(h.var((0, 2, 3)), torch.ones(16), atol=0.15, rtol=0)


def test_styles_begin_around_1() -> None:
    for conv in convolutions(Generator(SMALL, (3, 16, 16))):
        assert torch.equal(conv.style.bias, torch.ones_like(conv.style.bias)) and conv.strength.item() == 0


# --- Generator -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (4, 32, 32)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    net, critic = made(shape), Critic(SMALL, shape).double()
    assert isinstance(net, StyleDecoder)
    assert net.layers == 2 * int(math.log2(shape[1])) - 2 == len(convolutions(net)) + 1
    images = net.decode(latents(3))
    assert images.shape == (3, *shape) and images.abs().max() <= 1 and critic(images).shape == (3,)
    sides = [4, 8, 8, 16, 16, 32, 32][: net.layers - 1]
    assert [m.shape for m in net.noise_maps(2, torch.Generator())[:-1]] == [(2, 1, s, s) for s in sides]
    assert [m.shape[-1] for m in maps(net, net.broadcast(net.mapping(latents(1))))] == sides


@pytest.mark.parametrize("height, width", [(24, 24), (16, 32), (4, 4)])
def test_a_size_that_is_no_power_of_two_is_refused(height: int, width: int) -> None:
    with pytest.raises(Problem, match=f"{width}x{height}"):
        Generator(SMALL, (3, height, width))


def test_the_image_is_a_sum_over_levels() -> None:
    """Figure 7b: colours of every level, doubled up with a filter; each has the style of the layer after it."""
    net = made()
    ws = torch.randn(2, net.layers, 5, dtype=torch.float64)
    seen = maps(net, ws)  # 4, 8, 8, 16, 16
    x = net.to_rgb[0](seen[0], ws[:, 1])
    x = blur(double(x)) + net.to_rgb[1](seen[2], ws[:, 3])
    x = blur(double(x)) + net.to_rgb[2](seen[4], ws[:, 5])
    torch.testing.assert_close(net.synthesis(ws), x)


@pytest.mark.parametrize("crossover", range(1, 6))
def test_mixing_changes_only_layers_from_the_crossover_on(crossover: int) -> None:
    net = made()
    one, other = net.broadcast(net.mapping(latents(2))), net.broadcast(net.mapping(latents(2, seed=9)))
    mix = torch.cat([one[:, :crossover], other[:, crossover:]], 1)
    same = [torch.equal(a, b) for a, b in zip(maps(net, one), maps(net, mix), strict=True)]
    assert same == [layer < crossover for layer in range(net.layers - 1)]
    assert not torch.equal(net.synthesis(one), net.synthesis(mix))  # the last layer is the colours of the last level


def test_noise() -> None:
    net = made()
    ws = net.broadcast(net.mapping(latents(2)))
    one, other = (net.noise_maps(2, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for layer in range(net.layers - 1):
        changed = [*one[:layer], other[layer], *one[layer + 1 :]]
        same = [torch.equal(a, b) for a, b in zip(maps(net, ws, one), maps(net, ws, changed), strict=True)]
        assert same == [before < layer for before in range(net.layers - 1)]
    for conv in convolutions(net):
        torch.nn.init.zeros_(conv.strength)
    assert torch.equal(net.synthesis(ws, one), net.synthesis(ws, other))
    assert torch.equal(net.synthesis(ws, one), net.synthesis(ws, [None] * net.layers))


def test_truncation_and_the_mean_of_w() -> None:
    net = made().train()
    means = torch.zeros(5, dtype=torch.float64)
    for step in range(3):
        z = latents(4, seed=step)
        means = 0.995 * means + 0.005 * net.mapping(z).mean(0)
        net(z)
    torch.testing.assert_close(net.w_avg, means.detach())
    average = net.synthesis(net.w_avg.expand(2, net.layers, -1)).clamp(-1, 1)
    torch.testing.assert_close(net.decode(latents(2), psi=0.0), average)
    assert torch.equal(net.decode(latents(2), psi=1.0), net.decode(latents(2)))
    w = net.mapping(latents(2))
    assert torch.equal(net.broadcast(w, 0.5, cutoff=2)[:, 2:], net.broadcast(w)[:, 2:])


def test_training_draws_from_the_global_generator_and_decoding_draws_nothing() -> None:
    net = made().train()
    images = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        images.append(net(latents(2)))
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    before = torch.get_rng_state()
    assert torch.equal(net.decode(latents(2)), net.decode(latents(2)))
    torch.testing.assert_close(net.decode(latents(2))[1:], net.decode(latents(2)[1:]))
    assert torch.equal(torch.get_rng_state(), before)


def test_path_lengths_against_an_explicit_jacobian() -> None:
    net = made((1, 8, 8))
    ws = net.broadcast(net.mapping(latents(2))).detach()
    torch.manual_seed(4)
    found = net.path_lengths(ws)
    torch.manual_seed(4)
    y = torch.randn(2, 1, 8, 8, dtype=torch.float64) / 8
    for n in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda one: net.synthesis(one[None])[0], ws[n])  # [1,8,8,L,d]
        along = (y[n, ..., None, None] * jacobian).sum((0, 1, 2))  # J^T y, [L, d]
        assert found[n].item() == pytest.approx(along.square().sum(1).mean().sqrt().item())


def test_the_gradient_of_the_path_penalty_by_differences() -> None:
    net = made((1, 8, 8))

    def loss() -> Tensor:
        torch.manual_seed(2)
        net.path_mean.fill_(0.3)
        return path_penalty(net, 2).sum()

    weight = net.up[0].weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    # the mean of lengths is taken as given: its share of the gradient, a hundredth, is not in it
    torch.manual_seed(2)
    net.path_mean.fill_(0.3)
    path_penalty(net, 2)
    mean = net.path_mean.clone()
    for place in [(0, 0, 0, 0), (1, 2, 1, 1), (3, 1, 2, 0)]:
        ends = []
        for step in (1e-5, -1e-5):
            weight.data[place] += step
            torch.manual_seed(2)
            z = net.prior(2, torch.default_generator).double()
            ends.append((net.path_lengths(net.broadcast(net.mapping(z))) - mean).square().sum().item())
            weight.data[place] -= step
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-7)


# --- Critic ----------------------------------------------------------------------------------------------------------


def filtered(x: Tensor) -> Tensor:
    """[1, 3, 3, 1] / 8 along both axes, then every second pixel: as one convolution for each map."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def test_a_residual_level_is_its_figure() -> None:
    """Figure 7c, away from the border, where the order of filter and convolution can be seen."""
    torch.manual_seed(0)
    level, x = Residual(3, 4).double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for conv in (level.keep, level.down):
        torch.nn.init.normal_(conv.bias)
    h = F.leaky_relu(F.conv2d(x, level.keep.weight * math.sqrt(2 / 27), level.keep.bias, padding=1), 0.2)
    h = filtered(F.conv2d(h, level.down.weight * math.sqrt(2 / 27), padding=1)) + level.down.bias[:, None, None]
    h = F.leaky_relu(h, 0.2) + F.conv2d(filtered(x), level.skip.weight / math.sqrt(3))
    torch.testing.assert_close(level(x)[..., 1:-1, 1:-1], h[..., 1:-1, 1:-1] / math.sqrt(2))
    torch.testing.assert_close(halve(blur(x)), filtered(x))


def test_the_critic_compares_its_batch_and_reads_packs() -> None:
    torch.manual_seed(0)
    critic = Critic(SMALL, (3, 8, 8)).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    alone = torch.cat([critic(one[None]) for one in x])
    assert not torch.allclose(critic(x), alone)
    seen: list[Tensor] = []
    critic.last.register_forward_hook(lambda m, i, out: seen.append(i[0]))
    critic(x)
    assert torch.equal(seen[0][:, -1], minibatch_stddev(seen[0][:, :-1])[:, -1])
    packed = Critic(SMALL, (3, 8, 8), cure=CureConfig(packing=2, minibatch_discrimination=3)).double()
    assert packed(x.view(2, 6, 8, 8)).shape == (2,)


def test_r1_by_differences() -> None:
    torch.manual_seed(0)
    critic = Critic(SMALL, (1, 8, 8)).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    found = zero_centred(critic, x, None, lambda images: images)
    total = 0.0
    for i, j in product(range(8), range(8)):
        step = torch.zeros_like(x)
        step[0, 0, i, j] = 1e-6
        total += float((critic(x + step) - critic(x - step)).detach() / 2e-6) ** 2
    assert found.item() == pytest.approx(total, rel=1e-6)
