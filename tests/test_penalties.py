"""Penalties against critics whose gradient is known, loops over single images, and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from latente.objectives.penalties import clip_weights_, dragan, squared_gradient, wgan_gp, zero_centred

SHAPE = (3, 4, 4)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(n: int = 5) -> Tensor:
    return torch.rand(n, *SHAPE, dtype=torch.float64) * 2 - 1


class Net(nn.Module):
    """A critic with bends."""

    def __init__(self, inputs: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 6), nn.Softplus(), nn.Linear(6, 1)).double()

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        logits: Tensor = self.layers(x).squeeze(1)
        return logits if condition is None else logits * (1 + condition)


def linear(w: Tensor) -> Callable[[Tensor, Tensor | None], Tensor]:
    return lambda x, condition: x.flatten(1) @ w


def slope(net: Net, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """The gradient of each image's logit, one image at a time, nobody else in the batch: [n, ...]."""
    slopes = []
    for i in range(len(x)):
        image = x[i : i + 1].detach().requires_grad_()
        logit = net(image, None if condition is None else condition[i : i + 1])
        slopes.append(torch.autograd.grad(logit.sum(), image)[0])
    return torch.cat(slopes)


def test_zero_centred_is_a_loop_over_single_images() -> None:
    net, x = Net(), images()
    torch.testing.assert_close(zero_centred(net, x), slope(net, x).square().flatten(1).sum(1))
    condition = torch.arange(5)
    expected = slope(net, x, condition).square().flatten(1).sum(1)
    torch.testing.assert_close(zero_centred(net, x, condition), expected)
    x.requires_grad_()
    torch.testing.assert_close(squared_gradient(net(x, condition), x), expected)


def test_a_linear_critic_pays_its_squared_weights() -> None:
    w = torch.randn(48, dtype=torch.float64, requires_grad=True)
    penalty = zero_centred(linear(w), images())
    torch.testing.assert_close(penalty, (w @ w).expand(5))
    torch.testing.assert_close(torch.autograd.grad(penalty.mean(), w)[0], 2 * w)


def test_a_quadratic_critic_pays_four_times_what_the_matrix_makes_of_the_image() -> None:
    a = torch.randn(48, 48, dtype=torch.float64)
    a, x = a + a.T, images()
    penalty = zero_centred(lambda x, condition: ((x.flatten(1) @ a) * x.flatten(1)).sum(1), x)  # x^T A x, slope 2 A x
    torch.testing.assert_close(penalty, 4 * (x.flatten(1) @ a).square().sum(1))


def test_the_gradient_is_taken_before_the_transform() -> None:
    w, x = torch.randn(48, dtype=torch.float64), images()
    torch.testing.assert_close(zero_centred(linear(w), x, transform=lambda x: 3 * x), 9 * (w @ w).expand(5))
    half = zero_centred(linear(w), x, transform=lambda x: x * (torch.arange(4) < 2))  # two columns are hidden
    torch.testing.assert_close(half, w.view(SHAPE)[..., :2].square().sum().expand(5))


def test_a_packed_decision_pays_for_all_its_images() -> None:
    net, x = Net(2 * 48), images(6)
    together = x.view(3, 6, 4, 4)
    penalty = zero_centred(net, x, transform=lambda x: x.view(3, 6, 4, 4))
    assert penalty.shape == (3,)
    torch.testing.assert_close(penalty, slope(net, together).square().flatten(1).sum(1))
    torch.testing.assert_close(penalty, zero_centred(net, together))


@pytest.mark.parametrize("name", ["zero-centred", "wgan-gp", "dragan"])
def test_the_parameters_gradient_is_finite_differences(name: str) -> None:
    net, real, fake = Net(), images(3), images(3)

    def penalty() -> Tensor:
        torch.manual_seed(7)
        if name == "zero-centred":
            return zero_centred(net, real).mean()
        return (wgan_gp(net, real, fake) if name == "wgan-gp" else dragan(net, real)).mean()

    penalty().backward()
    for parameter in (net.layers[1].weight, net.layers[1].bias, net.layers[3].weight):
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-5, -2e-5):
            parameter.data += step * direction
            values.append(penalty().item())
        parameter.data += 1e-5 * direction
        assert parameter.grad is not None
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float((parameter.grad * direction).sum()), rel=1e-6)


def test_a_linear_critic_of_norm_one_costs_nothing_and_others_their_distance_from_it() -> None:
    w = torch.randn(48, dtype=torch.float64)
    w, nothing = w / w.norm(), torch.zeros(5, dtype=torch.float64)
    for factor, cost in ((1, 0), (3, 4), (0.5, 0.25)):
        torch.testing.assert_close(wgan_gp(linear(factor * w), images(), images()), nothing + cost)
        torch.testing.assert_close(dragan(linear(factor * w), images()), nothing + cost)


def test_wgan_gp_looks_at_points_of_its_own_between_the_images_of_each_pair() -> None:
    seen = []

    def critic(x: Tensor, condition: Tensor | None) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    real, fake = images(400), images(400)
    wgan_gp(critic, real, fake)
    share = ((seen[0] - fake) / (real - fake)).flatten(1)  # the same for all pixels of a pair
    torch.testing.assert_close(share, share[:, :1].expand_as(share), atol=1e-6, rtol=0)
    share = share[:, 0]
    assert 0 <= share.min() < 0.05 and 0.95 < share.max() <= 1 and abs(share.mean() - 0.5) < 0.05


def test_dragan_looks_near_real_images() -> None:
    seen = []

    def critic(x: Tensor, condition: Tensor | None) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    real = images(50)
    dragan(critic, real)
    away = (seen[0] - real) / real.numpy().std()
    assert 0 <= away.min() < 0.01 and 0.49 < away.max() < 0.5 and abs(away.mean() - 0.25) < 0.01


def test_dragan_is_a_loop_over_single_images() -> None:
    net, real = Net(), images(2)
    torch.manual_seed(3)
    penalty = dragan(net, real)
    torch.manual_seed(3)
    near = real + 0.5 * real.numpy().std() * torch.rand(2, *SHAPE, dtype=torch.float64)  # numpy divides by the number
    torch.testing.assert_close(penalty, (slope(net, near).flatten(1).norm(dim=1) - 1) ** 2, rtol=1e-10, atol=0)


def test_wgan_gp_is_a_loop_over_single_images() -> None:
    net, real, fake = Net(), images(), images()
    torch.manual_seed(3)
    penalty = wgan_gp(net, real, fake)
    torch.manual_seed(3)
    share = torch.rand(5, 1, 1, 1, dtype=torch.float64)
    norms = slope(net, share * real + (1 - share) * fake).flatten(1).norm(dim=1)
    torch.testing.assert_close(penalty, (norms - 1) ** 2)


def test_a_flat_critic_has_a_finite_gradient() -> None:
    net = Net()
    nn.init.zeros_(net.layers[1].weight)
    for penalty in (wgan_gp(net, images(), images()), dragan(net, images()), zero_centred(net, images())):
        net.zero_grad()
        penalty.mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_images_are_left_alone() -> None:
    net, real, fake = Net(), images().requires_grad_(), images().requires_grad_()
    for penalty in (zero_centred(net, real), wgan_gp(net, real, fake), dragan(net, real)):
        penalty.sum().backward()
    assert real.grad is None and fake.grad is None  # neither a generator nor the data learns from a penalty


def test_weights_are_clipped_in_place() -> None:
    net = Net()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    clip_weights_(net, 0.05)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name].clamp(-0.05, 0.05), rtol=0, atol=0)
        assert parameter.requires_grad
    assert any((value.abs() > 0.05).any() for value in before.values())
    with pytest.raises(ValueError, match="no weights"):
        clip_weights_(net, 0.0)
