"""The bounds of log p(x) against models whose log p(x) is known: probabilistic PCA, and two latents on a grid."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from known import bernoulli, linear, linear_gaussian, on_grid
from latente.evaluation.likelihood import (
    activity,
    bits_per_dim,
    bits_refused,
    elbo,
    importance_bound,
    importance_sampling,
    standard_error,
)
from latente.models.vae import Posterior
from latente.objectives.reconstruction import discretised_logistic_nll


def error_of(bound: Tensor, effective: Tensor, k: int) -> Tensor:
    """Standard error of log mean w by the delta method, from the effective sample size: [N]."""
    return (1 / effective - 1 / k).sqrt()


def test_probabilistic_pca_is_within_three_standard_errors():
    net, x, exact = linear_gaussian()
    k = 2000
    bound, effective = importance_sampling(net, x, k, chunk=20_000, seed=3)
    error = error_of(bound, effective, k)
    of_mean = error.square().sum().sqrt() / len(x)
    assert of_mean < 0.01  # sharp enough to mean something
    assert (effective < 0.9 * k).all()  # the encoder is wrong
    assert abs(bound.mean() - exact.mean()) < 3 * of_mean
    assert (((bound - exact) / error).abs() < 3).float().mean() > 0.97  # image by image
    assert exact.mean() - elbo(net, x, 100).bound.mean() > 0.1  # which the ELBO is far from


def test_repeats_scatter_as_the_standard_error_says():
    net, x, exact = linear_gaussian()
    k = 100
    runs = [importance_sampling(net, x, k, chunk=20_000, seed=seed) for seed in range(20)]
    scatter = torch.stack([run.bound for run in runs]).std(0).square().mean().sqrt()
    predicted = torch.stack([error_of(*run, k) for run in runs]).square().mean().sqrt()
    assert scatter == pytest.approx(float(predicted), rel=0.1)
    over_repeats = torch.stack([(run.bound - exact).mean() for run in runs])
    bias = 0.5 * predicted.square()  # of a logarithm: E log X = log E X - var / 2
    assert abs(over_repeats.mean() + bias) < 3 * over_repeats.std() / math.sqrt(len(runs))


def test_two_latents_against_an_integral_on_a_grid():
    net, x = bernoulli()
    exact = on_grid(net, x)
    assert exact.exp().sum() == pytest.approx(1, abs=1e-5)  # the grid is fine and wide enough
    k = 5000
    bound, effective = importance_sampling(net, x, k, chunk=16 * 1000, seed=2)
    error = error_of(bound, effective, k)
    assert (error < 0.1).all()
    assert ((bound - exact).abs() < 4 * error).all()
    assert bound.exp().sum() == pytest.approx(1, abs=3 * float((bound.exp() * error).square().sum().sqrt()))


def test_the_bound_rises_with_k_towards_log_p():
    net, x, exact = linear_gaussian()
    many = x.repeat(20, 1, 1, 1)
    means = [float(importance_bound(net, many, k, chunk=2000).mean()) for k in (1, 3, 9, 27)]
    gaps = [float(exact.mean()) - mean for mean in means]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 8 * gaps[3] > 0  # about as 1 / k


def test_one_sample_is_the_elbo_in_expectation():
    net, x, _ = linear_gaussian()
    many = x[:20].repeat(500, 1, 1, 1)
    one = importance_bound(net, many, 1, chunk=5000, seed=1).view(500, 20)
    closed = elbo(net, x[:20], 500, seed=2)
    error = one.std(0) * math.sqrt(2 / 500)
    assert ((one.mean(0) - closed.bound).abs() < 4.5 * error).all()


def test_elbo_terms_are_those_of_torch_distributions():
    net, x = bernoulli()
    mean, logvar = net.posterior(x)
    q = Normal(mean, (logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, Normal(0, 1)).sum(1)
    found = elbo(net, x, 2, chunk=5, seed=7)
    torch.testing.assert_close(found.kl, kl.detach())
    generator = torch.Generator().manual_seed(7)
    expected = []
    for part in x.split(5):
        p = net.posterior(part)
        logits = [
            net.output(p.mean + (p.logvar / 2).exp() * torch.randn(len(part), 2, generator=generator)) for _ in "ab"
        ]
        each = [torch.distributions.Bernoulli(logits=logit).log_prob((part + 1) / 2).sum((1, 2, 3)) for logit in logits]
        expected.append(torch.stack(each).mean(0))
    torch.testing.assert_close(found.reconstruction, torch.cat(expected).detach())
    torch.testing.assert_close(found.bound, found.reconstruction - found.kl)


def test_streaming_equals_a_direct_computation():
    net, x = bernoulli()
    x = x[:7]
    k, chunk = 11, 30  # 7 images at a time, 4 samples of each in a pass: 4 + 4 + 3
    found = importance_sampling(net, x, k, chunk=chunk, seed=5)
    mean, logvar = net.posterior(x)
    generator = torch.Generator().manual_seed(5)
    eps = torch.cat([torch.randn(s * 7, 2, generator=generator).view(s, 7, 2) for s in (4, 4, 3)])  # [k, 7, 2]
    q = Independent(Normal(mean, (logvar / 2).exp()), 1)
    z = mean + (logvar / 2).exp() * eps
    log_px = torch.stack([net.log_likelihood(x, net.output(each)) for each in z])  # [k, 7]
    log_w = (log_px + Independent(Normal(torch.zeros(2), torch.ones(2)), 1).log_prob(z) - q.log_prob(z)).double()
    torch.testing.assert_close(found.bound, log_w.logsumexp(0) - math.log(k), atol=1e-5, rtol=0, check_dtype=False)
    w = log_w.exp()
    torch.testing.assert_close(found.effective, w.sum(0) ** 2 / w.square().sum(0), atol=1e-4, rtol=1e-4)


class Told:
    """Counts what it is asked; its log-likelihood is `far` nats, or 0 where image and label belong together."""

    def __init__(self, far: float) -> None:
        self.far, self.encoded, self.most = far, 0, 0

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Posterior:
        self.encoded += len(x)
        return Posterior(torch.zeros(len(x), 3), torch.zeros(len(x), 3))

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        self.most = max(self.most, len(z))
        return torch.zeros(len(z)) if condition is None else condition.float()

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        return self.far * (x.flatten(1).mean(1) != output)


@pytest.mark.parametrize("chunk", [1, 4, 9, 40])
def test_labels_stay_with_their_images_and_memory_with_its_chunk(chunk: int):
    told = Told(-1e5)
    labels = torch.arange(10)
    x = labels.float().view(10, 1, 1, 1).expand(10, 1, 2, 2)
    found = importance_sampling(told, x, 6, chunk=chunk, condition=labels)
    assert torch.equal(found.bound, torch.zeros(10, dtype=torch.float64))  # q is the prior: all weights are 1
    torch.testing.assert_close(found.effective, torch.full((10,), 6.0, dtype=torch.float64))
    assert told.encoded == 10
    assert told.most <= chunk
    assert torch.equal(elbo(told, x, 2, chunk=chunk, condition=labels).bound, torch.zeros(10))


def test_weights_far_from_one_neither_underflow_nor_overflow():
    x = torch.ones(3, 1, 2, 2)  # never equal to the output 0
    for far in (-1e5, 1e5):
        found = importance_sampling(Told(far), x, 9, chunk=6)
        torch.testing.assert_close(found.bound, torch.full((3,), far, dtype=torch.float64))
        torch.testing.assert_close(found.effective, torch.full((3,), 9.0, dtype=torch.float64))


def test_same_seed_same_numbers():
    net, x = bernoulli()
    assert torch.equal(importance_bound(net, x, 9, seed=4), importance_bound(net, x, 9, seed=4))
    assert not torch.equal(importance_bound(net, x, 9, seed=4), importance_bound(net, x, 9, seed=5))


def test_activity_is_the_variance_of_the_posterior_means():
    net, x, _ = linear_gaussian()
    with torch.no_grad():
        linear(net.encoder).weight[1] = 0  # the second latent's mean does not move
    found = activity(net, x, chunk=7)
    assert found[0] == pytest.approx(float(net.encode(x)[:, 0].detach().var()), rel=1e-5)
    assert found[1] == pytest.approx(0, abs=1e-12)


def test_standard_error_of_a_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) * 3
    assert standard_error(values) == pytest.approx(3 / 20, rel=0.1)
    assert standard_error(torch.tensor([1.0, 3.0])) == pytest.approx(1)  # sd sqrt(2), two values


def test_refuses_no_samples():
    net, x = bernoulli()
    with pytest.raises(ValueError, match="at least 1"):
        importance_bound(net, x, 0)
    with pytest.raises(ValueError, match="at least 1"):
        elbo(net, x, 0)


def test_bits_of_a_uniform_model_are_eight_and_of_a_known_coin_one():
    assert bits_per_dim(-12 * math.log(256), 12) == pytest.approx(8)
    assert bits_per_dim(-784 * math.log(2), 784) == pytest.approx(1)
    assert bits_per_dim(0.0, 5, bin_width=1 / 256) == pytest.approx(8)  # the uniform density over [0, 1]^5
    assert bits_per_dim(-5 * math.log(255), 5, bin_width=1.0) == pytest.approx(math.log2(255))


def test_bits_of_levels_and_of_their_dequantised_density_agree_for_a_broad_logistic():
    """The density of x + u, u uniform over a level, is the smoothed mass: the bound is tight where it is broad."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(60, 200, (1, 1, 40, 40), generator=generator) / 127.5 - 1  # levels in [-1, 1], 2/255 apart
    scale = torch.full_like(x, 0.3)
    exact = -float(discretised_logistic_nll(torch.zeros_like(x), scale.log(), x))
    u = (torch.rand((2000, 40 * 40), generator=generator) - 0.5) * 2 / 255
    t = (x.flatten() + u) / 0.3
    density = float((-t - 2 * torch.nn.functional.softplus(-t) - math.log(0.3)).sum(1).mean())
    of_density = bits_per_dim(density, 1600, bin_width=2 / 255)
    assert of_density == pytest.approx(bits_per_dim(exact, 1600), abs=1e-4)
    assert bits_per_dim(density, 1600) < 1.5 < 6.5 < of_density  # what it would be without the width of a bin


def test_a_density_of_whole_levels_has_no_bits():
    assert bits_refused("logistic") is None and bits_refused("bernoulli") is None
    assert bits_refused("gaussian", dequantised=True) is None
    assert "sigma" in bits_refused("gaussian")
    with pytest.raises(ValueError, match="width"):
        bits_per_dim(1.0, 3, bin_width=0)
