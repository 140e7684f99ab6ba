"""R3GAN's networks: sizes, initialisation, resampling, labels, packing, and derivatives of second order."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latente.config import CureConfig, R3GANModel
from latente.messages import Problem
from latente.models.r3gan import Critic, Generator, Residual, blocks, down, draw, groups, pyramid, up

SMALL = R3GANModel(latent=5, width=1, widest=8)


def seeded(build: Any, *args: Any, **named: Any) -> Any:
    torch.manual_seed(0)
    return build(*args, **named)


def stir(net: torch.nn.Module) -> None:
    """Give the layers that begin at zero something to do."""
    for module in net.modules():
        if isinstance(module, Residual):
            draw(module.reduce)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 14, 14), (3, 5, 7), (3, 8, 16)])
@pytest.mark.parametrize("depth", [1, 2])
def test_shapes(shape: tuple[int, int, int], depth: int) -> None:
    model = replace(SMALL, blocks=depth)
    generator, critic = Generator(model, shape), Critic(model, shape)
    z = generator.prior(3, torch.Generator().manual_seed(0))
    assert z.shape == (3, 5) and generator.image_shape == shape and generator.latent == 5
    assert generator(z).shape == (3, *shape)
    assert critic(generator(z)).shape == (3,)


def test_levels_are_those_of_the_paper() -> None:
    """FFHQ-256 has 768 channels up to 32 pixels, then 384, 192, 96, in 96, 48, 24 and 12 groups."""
    levels = pyramid(R3GANModel(width=768, widest=768, groups=96), (3, 256, 256))
    assert [level[0] for level in levels] == [768, 768, 768, 768, 384, 192, 96]
    assert [level[1] for level in levels] == [4, 8, 16, 32, 64, 128, 256]
    model = R3GANModel(width=768, widest=768, groups=96)
    assert [groups(model, level[0]) for level in levels] == [96, 96, 96, 96, 48, 24, 12]
    mixes = [level[0].mix for level in blocks(replace(model, blocks=1, width=96, widest=96, groups=12), levels[6:])]
    assert [(mix.groups, mix.weight.shape) for mix in mixes] == [(12, (192, 16, 3, 3))]


def test_channels_double_where_sides_are_halved() -> None:
    assert pyramid(R3GANModel(width=32, widest=128), (1, 28, 28)) == [(128, 7, 7), (64, 14, 14), (32, 28, 28)]
    assert pyramid(R3GANModel(width=8, widest=64), (3, 32, 32)) == [(64, 4, 4), (32, 8, 8), (16, 16, 16), (8, 32, 32)]


@pytest.mark.parametrize("side, near", [(30, 32), (3, 4), (1, 4), (33, 32), (100, 96), (18, 16)])
def test_a_size_that_cannot_be_reached_is_refused(side: int, near: int) -> None:
    with pytest.raises(Problem, match=f"{side}x{side}.* {near}"):
        Generator(SMALL, (1, side, side))
    Generator(SMALL, (1, near, near))


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(Problem, match="groups 3"):
        Critic(replace(SMALL, groups=3), (1, 8, 8))


def test_a_block_begins_as_the_identity() -> None:
    block, x = seeded(Residual, 6, 2, 4), torch.randn(2, 6, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.reduce.weight.grad is not None and block.reduce.weight.grad.abs().max() > 0  # and can leave it


def test_a_block_is_the_sum_of_its_formula() -> None:
    block, x = seeded(Residual, 3, 2, 1), torch.randn(2, 3, 4, 4)
    stir(block)
    torch.nn.init.normal_(block.expand.bias)
    torch.nn.init.normal_(block.mix.bias)
    y = (block.expand.weight[:, :, 0, 0] @ x.flatten(2)).view(2, 6, 4, 4) + block.expand.bias[:, None, None]
    y = torch.where(y > 0, y, 0.2 * y)
    halves = [F.conv2d(y[:, 3 * g : 3 * g + 3], block.mix.weight[3 * g : 3 * g + 3], padding=1) for g in (0, 1)]
    y = torch.cat(halves, 1) + block.mix.bias[:, None, None]
    y = torch.where(y > 0, y, 0.2 * y)
    y = (block.reduce.weight[:, :, 0, 0] @ y.flatten(2)).view(2, 3, 4, 4)
    torch.testing.assert_close(block(x), x + y)


@pytest.mark.parametrize("total", [1, 16])
def test_variance_inside_a_block(total: int) -> None:
    """Each of the first two layers multiplies the mean square by L^(-1/2); borders aside, hence large maps."""
    block, x = seeded(Residual, 64, 1, total), torch.randn(4, 64, 24, 24)
    y = F.leaky_relu(block.expand(x), 0.2)
    assert y.square().mean().item() == pytest.approx(total**-0.5, rel=0.1)
    y = F.leaky_relu(block.mix(y), 0.2)[..., 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1 / total, rel=0.15)


def test_variance_of_images_and_logits_at_the_start() -> None:
    """Of the order of 1 whatever the depth: nothing in it normalises."""
    for depth in (1, 4):
        model = R3GANModel(latent=64, width=8, widest=32, blocks=depth)
        generator = seeded(Generator, model, (3, 8, 8))
        x = generator(torch.randn(200, 64))
        assert 0.2 < x.square().mean().item() < 2
        logits = seeded(Critic, model, (3, 8, 8))(torch.randn(200, 3, 8, 8))
        assert 0.005 < logits.var().item() < 2  # white noise loses most of its variance when it is smoothed


def convolved(x: Tensor, stride: int, gain: float) -> Tensor:
    """[1, 2, 1] / 4 along both axes, as a depthwise convolution on repeated edges."""
    line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
    kernel = (gain * line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize("size", [(4, 4), (6, 10), (2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resampling_is_an_explicit_convolution(size: tuple[int, int], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).to(memory_format=layout)
    found = convolved(F.pad(x, (1, 0, 1, 0), mode="replicate"), stride=2, gain=1)
    torch.testing.assert_close(down(x), found)
    # Zeros between the pixels of a map whose edge is repeated, then the filter; four times as strong, as 3 of 4 are 0.
    spread = torch.zeros(2, 3, 2 * size[0] + 2, 2 * size[1] + 2)
    spread[:, :, ::2, ::2] = F.pad(x, (1, 0, 1, 0), mode="replicate")
    torch.testing.assert_close(up(x), convolved(spread, stride=1, gain=4))


def test_a_flat_map_stays_flat() -> None:
    x = torch.full((1, 1, 4, 4), 3.0)
    assert torch.equal(up(x), torch.full((1, 1, 8, 8), 3.0)) and torch.equal(down(x), torch.full((1, 1, 2, 2), 3.0))


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    for resample in (up, down):
        assert torch.autograd.gradgradcheck(resample, (x,), fast_mode=True)
    model = R3GANModel(latent=2, width=1, widest=2, groups=2, conditional=True)
    cure = CureConfig(minibatch_stddev=True, minibatch_discrimination=2)
    critic = Critic(model, (1, 8, 8), 3, cure).double()
    stir(critic)
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1])
    assert torch.autograd.gradgradcheck(lambda x: critic(x, labels), (images,), fast_mode=True)


def test_the_gradient_of_a_penalty_by_differences() -> None:
    """What R1 needs: d/d(weight) of the squared gradient, on a grouped convolution."""
    torch.manual_seed(0)
    critic = Critic(R3GANModel(width=1, widest=4, groups=2), (1, 8, 8)).double()
    stir(critic)
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = critic.levels[1][0].mix.weight

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return slope.square().sum()

    (found,) = torch.autograd.grad(penalty(), weight)
    step, places = 1e-6, [(0, 0, 1, 1), (3, 1, 0, 2)]
    for place in places:
        values = []
        for sign in (1, -1):
            weight.data[place] += sign * step
            values.append(penalty().item())
            weight.data[place] -= sign * step
        assert found[place].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_projection_is_the_closed_form() -> None:
    model = replace(SMALL, conditional=True)
    critic, x = seeded(Critic, model, (1, 8, 8), 3), torch.randn(4, 1, 8, 8)
    stir(critic)
    labels = torch.tensor([2, 0, 1, 2])
    seen: list[Tensor] = []
    critic.head.register_forward_hook(lambda module, args, phi: seen.append(phi))
    logits = critic(x, labels)
    phi = seen[0]
    for i, label in enumerate(labels.tolist()):
        psi = phi[i] @ critic.psi.weight[0] + critic.psi.bias
        torch.testing.assert_close(logits[i], (psi + critic.embed.weight[label] @ phi[i]).squeeze())


def test_head_is_a_depthwise_convolution_over_the_map() -> None:
    critic, h = seeded(Critic, SMALL, (1, 8, 8)), torch.randn(3, 8, 4, 4)
    expected = F.conv2d(h, critic.head.weight[:, None], groups=8)[:, :, 0, 0]
    torch.testing.assert_close(critic.head(h), expected)


def test_stem_is_a_basis_times_a_linear_map() -> None:
    generator = seeded(Generator, SMALL, (2, 5, 5))
    z = torch.randn(3, 5)
    h = generator.basis * (z @ generator.stem.weight.T)[:, :, None, None]  # [3, c, 5, 5]
    expected = (generator.rgb.weight[:, :, 0, 0] @ h.flatten(2)).view(3, 2, 5, 5)
    torch.testing.assert_close(generator(z), expected)  # blocks are the identity, and there is one level


def test_the_generator_listens_to_labels() -> None:
    generator = seeded(Generator, replace(SMALL, conditional=True), (1, 8, 8), 4)
    z = torch.randn(1, 5).expand(2, 5)
    zero, one = generator(z, torch.tensor([0, 1]))
    assert (zero - one).abs().max() > 1e-3
    with pytest.raises(AssertionError, match="labels"):
        generator(z)


def test_a_conditional_model_needs_classes() -> None:
    for player in (Generator, Critic):
        with pytest.raises(Problem):
            player(replace(SMALL, conditional=True), (1, 8, 8), 0)
        assert player(SMALL, (1, 8, 8), 10).classes == 0


def test_packing_widens_the_input() -> None:
    model = replace(SMALL, conditional=True)
    critic = seeded(Critic, model, (3, 8, 8), 2, CureConfig(packing=2))
    assert critic.rgb.weight.shape == (4, 6, 1, 1)
    x, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 1, 0, 0, 0])
    packed = x.view(3, 6, 8, 8)
    logits = critic(packed, labels)
    assert logits.shape == (3,)
    alone = [critic(packed[i : i + 1], labels[2 * i : 2 * i + 2]) for i in range(3)]
    torch.testing.assert_close(logits, torch.cat(alone))
    swapped = critic(packed, torch.tensor([1, 0, 1, 0, 0, 0]))
    assert swapped[0] != logits[0] and torch.equal(swapped[1:], logits[1:])


def test_minibatch_cures_let_images_see_each_other() -> None:
    x = torch.randn(4, 1, 8, 8)
    changed = x.clone()
    changed[3] *= 3
    for cure, sees in (
        (CureConfig(), False),
        (CureConfig(minibatch_stddev=True), True),
        (CureConfig(minibatch_discrimination=3), True),
    ):
        critic = seeded(Critic, SMALL, (1, 8, 8), 0, cure)
        critic.psi.weight.data.fill_(0.5)
        assert ((critic(x)[0] - critic(changed)[0]).abs().item() > 1e-6) == sees


def test_spectral_norm_bounds_every_layer() -> None:
    cure = CureConfig(spectral_norm=True, minibatch_discrimination=2)
    critic = seeded(Critic, replace(SMALL, conditional=True), (1, 8, 8), 3, cure)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    for _ in range(40):
        logits = critic(x, labels)
    assert logits.isfinite().all()
    critic.eval()
    weights = [m.weight for m in critic.modules() if isinstance(getattr(m, "weight", None), Tensor)]
    assert len(weights) == 1 + 1 + 2 * 3 + 1 + 1 + 1 + 1  # rgb, widen, two blocks, head, psi, embed, discrimination
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_decode_is_deterministic_and_clamped() -> None:
    generator = seeded(Generator, SMALL, (1, 8, 8))
    again = seeded(Generator, SMALL, (1, 8, 8))
    z = 5 * generator.prior(8, torch.Generator().manual_seed(3))
    assert torch.equal(z, 5 * generator.prior(8, torch.Generator().manual_seed(3)))
    x = generator.decode(z)
    assert torch.equal(x, again.decode(z)) and torch.equal(x, generator(z).clamp(-1, 1))
    assert generator(z).abs().max() > 1 and x.abs().max() == 1


def test_nothing_is_normalised() -> None:
    """An image's logit, and a latent's image, do not depend on their batch."""
    generator, critic = seeded(Generator, SMALL, (1, 8, 8)), seeded(Critic, SMALL, (1, 8, 8))
    stir(generator)
    stir(critic)
    z = torch.randn(4, 5)
    torch.testing.assert_close(generator(z)[:1], generator(z[:1]))
    torch.testing.assert_close(critic(generator(z))[:1], critic(generator(z[:1])))
