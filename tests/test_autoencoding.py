"""The autoencoders' objectives against loops, scipy and per-sample Jacobians."""

import pytest
import torch
from scipy.special import rel_entr

from latente.objectives.autoencoding import contraction, sparsity_kl, sparsity_l1, squared_error


def test_squared_error_is_the_mean_over_the_numbers_of_each_image():
    a, b = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    by_hand = [
        sum((p - q) ** 2 for p, q in zip(x.flatten(), y.flatten(), strict=True)) / 40 for x, y in zip(a, b, strict=True)
    ]
    torch.testing.assert_close(squared_error(a, b), torch.stack(by_hand))


def test_squared_error_is_not_computed_in_half_precision():
    a = torch.full((1, 1, 64, 64), 0.1)
    assert squared_error(a.bfloat16(), torch.zeros_like(a)).dtype == torch.float32


def test_l1_sums_magnitudes():
    assert sparsity_l1(torch.tensor([[1.0, -2.0], [0.0, 0.5]])).tolist() == [3.0, 0.5]


@pytest.mark.parametrize("target", [0.1, 0.5])
def test_kl_sums_two_sided_divergences_of_the_batch_means(target):
    h = torch.rand(7, 5)
    by_hand = sum(rel_entr(target, q) + rel_entr(1 - target, 1 - q) for q in h.double().mean(0).tolist())
    assert float(sparsity_kl(h, target)) == pytest.approx(by_hand, rel=1e-5)


def test_kl_is_zero_on_target_and_finite_for_a_dead_unit():
    assert float(sparsity_kl(torch.full((4, 3), 0.1), 0.1)) == pytest.approx(0, abs=1e-6)
    dead = torch.zeros(4, 3, requires_grad=True)
    sparsity_kl(dead, 0.1).backward()
    assert dead.grad.isfinite().all()


@pytest.mark.parametrize("widths", [(6, 4), (6, 5, 3), (6, 5, 4, 3)])
def test_contraction_is_the_norm_of_every_image_s_jacobian(widths):
    weights = [torch.randn(b, a) for a, b in zip(widths, widths[1:], strict=False)]

    def encode(x):
        for weight in weights:
            x = torch.sigmoid(weight @ x)
        return x

    x = torch.randn(5, 6)
    slopes, h = [], x
    for weight in weights:
        h = torch.sigmoid(h @ weight.T)
        slopes.append(h * (1 - h))
    jacobian = torch.func.vmap(torch.func.jacrev(encode))(x)  # [N, d, D]
    torch.testing.assert_close(contraction(weights, slopes), jacobian.square().sum((1, 2)))
