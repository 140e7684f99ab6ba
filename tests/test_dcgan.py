"""DCGAN: the paper's networks, the sizes they take, conditioning, and the cures that are built in."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from latente import messages
from latente.config import CureConfig, DCGANModel
from latente.messages import Problem
from latente.models.dcgan import Critic, Generator, levels

SHAPE = (1, 16, 16)
EVERY_CURE = CureConfig(minibatch_discrimination=3, minibatch_stddev=True, spectral_norm=True, packing=2)


def small(**changes: Any) -> DCGANModel:
    return DCGANModel(**({"latent": 3, "width": 4} | changes))


def generator(shape: tuple[int, int, int] = SHAPE, classes: int = 0, **changes: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(small(**changes), shape, classes)


def critic(
    shape: tuple[int, int, int] = SHAPE, classes: int = 0, cure: CureConfig | None = None, **changes: Any
) -> Critic:
    torch.manual_seed(0)
    return Critic(small(**changes), shape, classes, cure)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# --- Sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (4, 64, 64), (1, 28, 20), (1, 12, 20), (2, 64, 16)]
)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_images_of_these_sizes(shape: tuple[int, int, int], norm: Any) -> None:
    net = generator(shape, width=1)
    z = net.prior(2, torch.Generator().manual_seed(0))
    assert z.shape == (2, 3)
    made = net(z)
    assert made.shape == (2, *shape)
    assert made.detach().abs().max() <= 1
    assert critic(shape, width=1, critic_norm=norm)(made).shape == (2,)
    net.eval()
    assert torch.equal(net.decode(z), net.decode(z))
    torch.testing.assert_close(net.decode(z)[:1], net.decode(z[:1]))  # no image depends on the others


def test_levels() -> None:
    assert levels((3, 64, 64), 64) == [(3, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert levels((1, 28, 28), 32) == [(1, 28, 28), (73, 14, 14), (146, 7, 7)]
    assert levels((3, 128, 128), 12) == [(3, 128, 128), (8, 64, 64), (12, 32, 32), (24, 16, 16), (48, 8, 8), (96, 4, 4)]
    assert levels((1, 64, 16), 8) == [(1, 64, 16), (32, 32, 8), (64, 16, 4)]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_a_size_works_or_the_sentence_names_two_that_do(height: int, width: int) -> None:
    try:
        found = levels((3, height, width), 1)
    except Problem as problem:
        below, above = problem.fields["below"], problem.fields["above"]
        assert isinstance(below, int) and isinstance(above, int)
        assert below < above
        for side in (below, above):
            assert levels((3, side, side), 1)
        between = [s for s in range(below + 1, above) if any(s == m << k for k in range(1, 9) for m in range(4, 8))]
        assert not between and (below <= min(height, width) < above or min(height, width) < 8)
        return
    assert 4 <= min(found[-1][1:]) <= 7
    for (_, tall, wide), (_, tall_below, wide_below) in zip(found, found[1:], strict=False):
        assert (tall, wide) == (2 * tall_below, 2 * wide_below)


@pytest.mark.parametrize(
    "code, sentence",
    [
        (
            "es",
            "Las imágenes de 30x50 píxeles no sirven para esta red, que las achica a la mitad hasta que quedan de 4 a "
            "7 píxeles por lado: los tamaños más cercanos que sirven son 28 y 32, por ejemplo --resolution 28.",
        ),
        (
            "en",
            "Images of 30x50 pixels do not work with this network, which halves them until 4 to 7 pixels a side are "
            "left: the nearest sizes that work are 28 and 32, for example --resolution 28.",
        ),
    ],
)
def test_a_size_that_does_not_work_is_said_in_one_sentence(code: str, sentence: str) -> None:
    messages.set_language(code)
    for player in (generator, critic):
        with pytest.raises(Problem) as problem:
            player((3, 50, 30))
        assert str(problem.value) == sentence


@pytest.mark.parametrize("code, word", [("es", "etiquetas"), ("en", "labels")])
def test_conditional_without_labels_is_a_problem(code: str, word: str) -> None:
    messages.set_language(code)
    for player in (generator, critic):
        with pytest.raises(Problem, match=word):
            player(classes=0, conditional=True)


# --- The networks of the paper --------------------------------------------------------------------------------------


def test_the_networks_of_64_pixels_are_those_of_the_tutorial() -> None:
    """PyTorch's DCGAN tutorial (nz 100, ngf = ndf = 64, nc 3) states these numbers."""
    model = DCGANModel(latent=100, width=64)
    assert parameters(Generator(model, (3, 64, 64))) == 3_576_704
    assert parameters(Critic(model, (3, 64, 64))) == 2_765_568


def test_the_generator_is_the_tutorial_s() -> None:
    net, z = generator((3, 16, 16)), noise(5, 3)
    tutorial = nn.Sequential(
        nn.ConvTranspose2d(3, 32, 4, bias=False),
        *(nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1, bias=False), nn.Tanh()),
    )
    ours, theirs = list(net.parameters()), list(tutorial.parameters())
    with torch.no_grad():
        theirs[0].copy_(ours[0].T.view(3, 32, 4, 4))
        for parameter, other in zip(ours[1:], theirs[1:], strict=True):
            other.copy_(parameter)
    torch.testing.assert_close(net(z), tutorial(z[:, :, None, None]))
    net.eval(), tutorial.eval()  # the running means are the same by now
    torch.testing.assert_close(net(z), tutorial(z[:, :, None, None]))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_critic_is_the_tutorial_s(norm: Any) -> None:
    net, x = critic((3, 16, 16), critic_norm=norm), noise(5, 3, 16, 16)
    batch = norm == "batch"
    tutorial = nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 2, 1, bias=not batch), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(16, 32, 4, 2, 1, bias=not batch), nn.BatchNorm2d(32) if batch else nn.Identity()),
        *(nn.LeakyReLU(0.2), nn.Conv2d(32, 1, 4, bias=False)),
    )
    with torch.no_grad():
        for parameter, other in zip(net.parameters(), tutorial.parameters(), strict=True):
            other.copy_(parameter.view_as(other))
    torch.testing.assert_close(net(x), tutorial(x).flatten())


@pytest.mark.parametrize("player", [Generator, Critic])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_weights_start_near_zero_and_scales_near_one(player: Any, norm: Any) -> None:
    torch.manual_seed(0)
    net = player(DCGANModel(latent=50, width=32, critic_norm=norm), (3, 32, 32))
    found = [module for module in net.modules() if getattr(module, "weight", None) is not None]
    assert len(found) == (7 if player is Generator else {"batch": 6, "none": 4}[norm])
    for module in found:
        scale = isinstance(module, nn.BatchNorm2d)
        several = module.weight.numel() ** -0.5  # standard errors of the mean and of the standard deviation
        assert float(module.weight.detach().mean()) == pytest.approx(float(scale), abs=4 * 0.02 * several)
        assert float(module.weight.detach().std()) == pytest.approx(0.02, abs=4 * 0.02 * several)
        if module.bias is not None:
            assert float(module.bias.detach().abs().max()) == 0


def test_the_prior_is_a_standard_normal() -> None:
    z = generator().prior(50_000, torch.Generator().manual_seed(3))
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.eye(3), atol=0.03, rtol=0)
    assert float(z.pow(4).mean()) == pytest.approx(3, abs=0.1)


# --- Labels ---------------------------------------------------------------------------------------------------------


def test_without_labels_they_make_no_difference() -> None:
    label = torch.tensor([0, 1, 2])
    net, judge = generator(classes=5), critic(classes=5)
    z, x = noise(3, 3), noise(3, *SHAPE)
    assert torch.equal(net(z), net(z, label))
    assert torch.equal(judge(x), judge(x, label))
    assert parameters(net) == parameters(generator())
    assert parameters(judge) == parameters(critic())


def test_a_conditional_generator_makes_what_the_label_says() -> None:
    net = generator(classes=5, conditional=True).eval()
    z = noise(1, 3).repeat(2, 1)
    made = net.decode(z, torch.tensor([1, 4]))
    assert not torch.allclose(made[0], made[1])
    assert torch.equal(made[1], net.decode(z, torch.tensor([4, 4]))[1])
    beside = torch.cat([z, net.embedding.weight[[1, 4]]], 1)  # type: ignore[union-attr]
    assert torch.equal(made, net.layers(beside).tanh())
    with pytest.raises(AssertionError, match="labels"):
        net(z)


@pytest.mark.parametrize("cure", [CureConfig(), CureConfig(minibatch_discrimination=3, minibatch_stddev=True)])
def test_the_projection_critic_in_closed_form(cure: CureConfig) -> None:
    """logit = psi(phi) + <embed(y), phi>: one weight vector a class, on what the last layer reads."""
    net = critic(classes=4, conditional=True, critic_norm="none", cure=cure)
    read: list[Tensor] = []
    net.last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    label = torch.tensor([3, 0, 1, 1])
    logits = net(noise(4, *SHAPE), label)
    assert net.embedding is not None
    for i in range(4):
        weights = net.last.weight[0] + net.embedding.weight[label[i]]
        torch.testing.assert_close(logits[i], weights @ read[0][i])
    assert float(net.embedding.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_a_packed_projection_reads_each_label_in_its_place() -> None:
    net = critic(classes=4, conditional=True, critic_norm="none", cure=CureConfig(packing=2))
    read: list[Tensor] = []
    net.last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    label = torch.tensor([3, 0, 1, 2])
    logits = net(noise(4, *SHAPE).view(2, 2, 16, 16), label)
    assert net.embedding is not None
    for pack in range(2):
        first, second = net.embedding.weight[label[2 * pack]], net.embedding.weight[4 + label[2 * pack + 1]]
        torch.testing.assert_close(logits[pack], (net.last.weight[0] + first + second) @ read[0][pack])


# --- Cures ----------------------------------------------------------------------------------------------------------


def test_a_packed_critic_reads_its_images_side_by_side() -> None:
    packed, plain = critic(cure=CureConfig(packing=2)), critic((2, 16, 16))
    x = noise(6, *SHAPE)
    by_hand = torch.stack([torch.cat([x[2 * i], x[2 * i + 1]]) for i in range(3)])  # [3, 2, 16, 16]
    assert torch.equal(packed(x.view(3, 2, 16, 16)), plain(by_hand))
    assert packed(x.view(3, 2, 16, 16)).shape == (3,)


@pytest.mark.parametrize("cure", [CureConfig(minibatch_discrimination=3), CureConfig(minibatch_stddev=True)])
def test_a_cure_lets_a_logit_depend_on_the_rest_of_the_batch(cure: CureConfig) -> None:
    x = noise(4, *SHAPE)
    changed = torch.cat([x[:2], 2 * noise(2, *SHAPE, seed=5)])
    with_cure, without = critic(cure=cure, critic_norm="none"), critic(critic_norm="none")
    assert torch.equal(without(x)[0], without(changed)[0])
    assert with_cure(x).shape == (4,)
    assert not torch.equal(with_cure(x)[0], with_cure(changed)[0])


def test_the_stddev_map_is_read_by_the_last_layer() -> None:
    net = critic(cure=CureConfig(minibatch_stddev=True), critic_norm="none")
    read: list[Tensor] = []
    net.last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    net(noise(8, *SHAPE))
    maps = read[0].detach().view(8, 33, 4, 4)
    for i in range(8):
        group = maps[i % 2 :: 2, :32].numpy()
        spread = float(((group.var(0) + 1e-8) ** 0.5).mean())
        assert maps[i, 32].flatten().tolist() == pytest.approx([spread] * 16, rel=1e-4)


def test_minibatch_discrimination_reads_64_features_at_most() -> None:
    added = parameters(critic(cure=CureConfig(minibatch_discrimination=3))) - parameters(critic())
    assert added == 32 * 4 * 4 * 64 + 64 * 3 * 5 + 3  # to 64 features, the tensor, the last layer's


def test_every_layer_has_a_spectral_norm_of_one() -> None:
    net = critic(cure=EVERY_CURE, classes=3, conditional=True, critic_norm="none")
    for step in range(30):
        net(noise(4, 2, 16, 16, seed=step), torch.arange(8) % 3)
    net.eval()
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) == 6  # two convolutions, the last, the embedding, two of minibatch discrimination
    for layer in layers:
        weight = layer.weight.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("cure", [CureConfig(), EVERY_CURE], ids=["plain", "cures"])
def test_penalties_can_differentiate_the_critic_twice(norm: Any, cure: CureConfig) -> None:
    net = critic((1, 8, 8), 2, cure, conditional=True, critic_norm=norm, width=1).double()
    if cure.spectral_norm:
        net.eval()  # each forward pass in training is a power iteration
    label = torch.tensor([0, 1] * cure.packing)
    x = noise(2, cure.packing, 8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, label), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x, label), x, fast_mode=True)


# --- Features -------------------------------------------------------------------------------------------------------


def test_features_are_the_largest_values_of_each_layer_s_maps() -> None:
    net, x = critic().eval(), noise(3, *SHAPE)
    first = net.layers[0](x)  # [3, 16, 8, 8]
    second = net.layers[1](first)  # [3, 32, 4, 4]
    pooled = first.view(3, 16, 4, 2, 4, 2).amax((3, 5))
    found = net.features(x)
    assert found.shape == (3, 16 * (16 + 32))
    assert torch.equal(found, torch.cat([pooled.flatten(1), second.flatten(1)], 1))
    assert critic((1, 28, 28)).eval().features(noise(2, 1, 28, 28)).shape == (2, 16 * (9 + 18))


def test_features_want_evaluation_mode() -> None:
    with pytest.raises(AssertionError, match="batch"):
        critic().features(noise(2, *SHAPE))
