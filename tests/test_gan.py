"""The fully connected GAN: its two players, their start, and the cures that are built in."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latente.config import CureConfig, GANModel
from latente.models.gan import Critic, Generator

IMAGE = (1, 8, 8)
POINT = (2, 1, 1)
EVERY_CURE = CureConfig(minibatch_discrimination=3, minibatch_stddev=True, spectral_norm=True, packing=2)


def small(**changes: Any) -> GANModel:
    return GANModel(**({"latent": 3, "hidden": (16, 24), "critic_hidden": (24, 16)} | changes))


def generator(shape: tuple[int, int, int] = IMAGE, **changes: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(small(**changes), shape)


def critic(shape: tuple[int, int, int] = IMAGE, cure: CureConfig | None = None, **changes: Any) -> Critic:
    torch.manual_seed(0)
    return Critic(small(**changes), shape, 0, cure)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def largest(x: Tensor) -> float:
    return float(x.detach().abs().max())


# --- The generator --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [IMAGE, (3, 5, 7), POINT, (1, 1, 1)])
def test_it_makes_images_of_the_shape_that_is_asked_for(shape: tuple[int, int, int]) -> None:
    net = generator(shape)
    z = net.prior(4, torch.Generator().manual_seed(0))
    assert z.shape == (4, 3)
    assert net(z).shape == (4, *shape)
    assert torch.equal(net.decode(z), net.decode(z))


def test_images_end_in_tanh_and_points_do_not() -> None:
    z = 1000 * noise(6, 3)
    assert largest(generator()(z)) <= 1
    assert largest(generator().decode(z)) <= 1
    net = generator(POINT)
    assert largest(net(z)) > 10
    assert torch.equal(net.decode(z), net(z))


def test_no_hidden_layers_is_a_linear_map() -> None:
    net = generator(POINT, hidden=())
    one, two = noise(1, 3), noise(1, 3, seed=2)
    torch.testing.assert_close(net(one + two), net(one) + net(two))


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_the_prior_has_unit_variance(prior: Any) -> None:
    net = generator(prior=prior)
    z = net.prior(50_000, torch.Generator().manual_seed(3))
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.eye(3), atol=0.03, rtol=0)
    kurtosis = float(z.pow(4).mean())
    assert kurtosis == pytest.approx(9 / 5 if prior == "uniform" else 3, abs=0.1)
    assert (float(z.abs().max()) < math.sqrt(3)) == (prior == "uniform")
    assert torch.equal(z, net.prior(50_000, torch.Generator().manual_seed(3)))


# --- The critic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maxout", [0, 3])
@pytest.mark.parametrize("shape", [IMAGE, POINT])
def test_one_logit_an_image(maxout: int, shape: tuple[int, int, int]) -> None:
    logits = critic(shape, maxout=maxout, dropout=0.5)(noise(6, *shape))
    assert logits.shape == (6,)
    assert logits.std() > 0


def test_the_critic_is_leaky_relu_layers_written_out() -> None:
    net, x = critic(zoom=2.5), noise(5, *IMAGE)
    h = 2.5 * x.reshape(5, 64)
    first, second = (module for module in net.hidden if isinstance(module, nn.Linear))
    for layer in (first, second):
        h = h @ layer.weight.T + layer.bias
        h = torch.where(h > 0, h, 0.2 * h)
    torch.testing.assert_close(net(x), (h @ net.last.weight.T + net.last.bias)[:, 0])


def test_dropout_is_for_training() -> None:
    net, x = critic(dropout=0.5, maxout=2), noise(4, *IMAGE)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    plain = critic(maxout=2).eval()  # the same draws: dropout has no weights, and keeps its mean
    torch.testing.assert_close(net(x), plain(x))


def test_the_players_know_no_labels() -> None:
    """The labels are taken and make no difference, whatever they are."""
    label = torch.tensor([0, 1, 2])
    net, judge = generator(), critic()
    z, x = noise(3, 3), noise(3, *IMAGE)
    assert torch.equal(net(z), net(z, label))
    assert torch.equal(net.decode(z), net.decode(z, label))
    assert torch.equal(judge(x), judge(x, label))


# --- The start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maxout", [0, 2])
def test_signals_keep_their_size(maxout: int) -> None:
    """He et al.: the second moment of what goes in is that of what comes out, whatever the depth."""
    wide = {"latent": 50, "hidden": (400,) * 5, "critic_hidden": (400,) * 5, "maxout": maxout}
    z = noise(200, 50)
    made = generator((400, 1, 1), **wide)(z)
    assert float(made.detach().square().mean()) == pytest.approx(1, rel=0.3)
    h = critic((1, 20, 20), **wide).hidden(noise(200, 400))
    assert float(h.detach().square().mean()) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("maxout", [0, 3])
def test_the_first_biases_are_spread_for_points_only(maxout: int) -> None:
    for shape, spread in ((POINT, 1.0), (IMAGE, 0.0)):
        net = critic(shape, maxout=maxout, critic_hidden=(2000, 16))
        biases = [module.bias.detach() for module in net.modules() if isinstance(module, nn.Linear)]
        assert float(biases[0].std()) == pytest.approx(spread, abs=0.06)
        assert all(float(bias.abs().max()) == 0 for bias in biases[1:])


# --- Cures ----------------------------------------------------------------------------------------------------------


def test_a_packed_critic_reads_its_images_side_by_side() -> None:
    packed, plain = critic(cure=CureConfig(packing=2)), critic((2, 8, 8))
    x = noise(6, *IMAGE)
    by_hand = torch.stack([torch.cat([x[2 * i], x[2 * i + 1]]) for i in range(3)])  # [3, 2, 8, 8]
    assert torch.equal(packed(x.view(3, 2, 8, 8)), plain(by_hand))
    assert packed(x.view(3, 2, 8, 8)).shape == (3,)


@pytest.mark.parametrize("cure", [CureConfig(minibatch_discrimination=3), CureConfig(minibatch_stddev=True)])
def test_a_cure_lets_a_logit_depend_on_the_rest_of_the_batch(cure: CureConfig) -> None:
    x = noise(4, *IMAGE)
    changed = torch.cat([x[:2], noise(2, *IMAGE, seed=5)])
    assert torch.equal(critic()(x)[0], critic()(changed)[0])
    assert not torch.allclose(critic(cure=cure)(x)[0], critic(cure=cure)(changed)[0])


def test_every_layer_has_a_spectral_norm_of_one() -> None:
    net = critic(cure=EVERY_CURE, critic_hidden=(24, 16), maxout=2)
    for step in range(30):
        net(noise(4, 2, 8, 8, seed=step))
    net.eval()
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 4  # two hidden, the tensor of minibatch discrimination, the last
    for layer in linears:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("maxout", [0, 2])
def test_penalties_can_differentiate_the_critic_twice(maxout: int) -> None:
    net = critic(POINT, EVERY_CURE, maxout=maxout, critic_hidden=(5, 4), zoom=0.5).double().eval()
    x = noise(4, 4, 1, 1).double().requires_grad_()
    weight = net.last.parametrizations.weight.original  # type: ignore[union-attr, index]
    assert torch.autograd.gradcheck(net, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(net, x, fast_mode=True)
    slope = torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]
    assert torch.autograd.grad(slope.square().sum(), weight)[0].abs().max() > 0
