"""The mixture prior against closed forms and scikit-learn; the bricks of critics against loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from latente.layers import (
    Maxout,
    MinibatchDiscrimination,
    MixturePrior,
    blur,
    convolve_and_halve,
    double,
    double_and_convolve,
    halve,
    minibatch_stddev,
    spectrally_normalise,
)


def clusters(n=600, d=3, seed=0):
    """Three tilted Gaussians, unequal in size."""
    rng = np.random.default_rng(seed)
    centres, tilts = rng.normal(0, 4, (3, d)), rng.normal(0, 1, (3, d, d))
    which = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return torch.from_numpy(centres[which] + np.einsum("nij,nj->ni", tilts[which], rng.normal(size=(n, d)))).float()


def test_one_component_is_the_gaussian_of_mean_and_covariance():
    x = clusters().double()
    prior = MixturePrior(3, k=1)
    reached = prior.fit(x)
    torch.testing.assert_close(prior.means[0], x.mean(0).float())
    covariance = torch.cov(x.T, correction=0)
    torch.testing.assert_close(prior.factors[0] @ prior.factors[0].T, covariance.float(), rtol=1e-4, atol=1e-4)
    exact = multivariate_normal(x.mean(0).numpy(), covariance.numpy()).logpdf(x.numpy())
    assert reached == pytest.approx(exact.mean(), abs=1e-4)
    np.testing.assert_allclose(prior.log_prob(x), exact, atol=1e-3)


def test_the_fit_is_as_likely_as_scikit_learn_s():
    x = clusters()
    prior = MixturePrior(3, k=3)
    reached = prior.fit(x, iterations=300, tolerance=1e-4)
    other = GaussianMixture(3, n_init=5, random_state=0).fit(x.numpy())
    assert reached > other.score(x.numpy()) - 0.01
    assert float(prior.log_prob(x).mean()) == pytest.approx(reached, abs=0.01)


def test_the_density_is_scikit_learn_s():
    x = clusters()
    prior = MixturePrior(3, k=4)
    prior.fit(x)
    other = GaussianMixture(4)
    other.weights_, other.means_ = prior.weights.double().numpy(), prior.means.double().numpy()
    other.precisions_cholesky_ = np.linalg.inv(prior.factors.double().numpy()).transpose(0, 2, 1)
    np.testing.assert_allclose(prior.log_prob(x), other.score_samples(x.numpy()), atol=1e-4)


def test_samples_have_the_mixture_s_moments():
    x = clusters()
    prior = MixturePrior(3, k=3)
    prior.fit(x)
    z = prior.sample(20_000, torch.Generator().manual_seed(0))
    # The moments of the codes are kept exactly by the M step; 20 000 draws are good to about 1 %.
    torch.testing.assert_close(z.mean(0), x.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.cov(x.T), atol=0.4, rtol=0.05)


def test_fit_and_sample_repeat_themselves():
    x = clusters()
    one, two = MixturePrior(3, k=3), MixturePrior(3, k=3)
    two.fit(torch.randn(50, 3))  # what was fitted before leaves no trace
    torch.manual_seed(1)
    assert one.fit(x) == two.fit(x)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    draws = [one.sample(9, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(torch.randn(4, 12, generator=torch.Generator().manual_seed(0)), id="fewer codes than numbers"),
        pytest.param(torch.randn(1, 12, generator=torch.Generator().manual_seed(0)), id="one code"),
        pytest.param(torch.full((50, 12), 0.25), id="constant"),
        pytest.param(torch.zeros(50, 12), id="all zero"),
        pytest.param(torch.randint(2, (600, 12), generator=torch.Generator().manual_seed(0)).float(), id="bits"),
        pytest.param(1e4 * torch.randn(60, 12, generator=torch.Generator().manual_seed(0)), id="large"),
        pytest.param(
            torch.randn(60, 12, generator=torch.Generator().manual_seed(0)).relu() * torch.eye(12)[0], id="one alive"
        ),
    ],
)
def test_awkward_codes_give_samples_near_them(codes):
    prior = MixturePrior(12, k=10)
    assert np.isfinite(prior.fit(codes))
    z = prior.sample(40, torch.Generator().manual_seed(0))
    assert z.shape == (40, 12) and z.isfinite().all()
    away = (z[:, None] - codes).norm(dim=2).amin(1)  # from a sample to the nearest code
    assert away.max() < 4 * codes.std(0, correction=0).norm() + 1e-3
    assert float(prior.weights.sum()) == pytest.approx(1)


def test_a_component_is_used_for_every_ten_codes_a_dimension():
    for n, used in ((29, 1), (60, 2), (600, 4)):
        prior = MixturePrior(3, k=4)
        prior.fit(clusters(n))
        assert int((prior.weights > 0).sum()) == used


def test_nothing_to_fit_is_a_mistake():
    for codes in (torch.zeros(0, 3), torch.full((5, 3), float("nan"))):
        with pytest.raises(ValueError, match="finite"):
            MixturePrior(3).fit(codes)


def test_it_has_no_parameters_and_starts_as_a_standard_normal():
    prior = MixturePrior(2, k=3)
    assert not list(prior.parameters())
    x = torch.tensor([[0.5, -1.0]])
    assert float(prior.log_prob(x)) == pytest.approx(multivariate_normal(np.zeros(2)).logpdf(x[0].numpy()), abs=1e-6)
    assert prior.sample(3, torch.Generator()).shape == (3, 2)


# --- Bricks of critics ----------------------------------------------------------------------------------------------


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_maxout_against_a_loop():
    net = Maxout(5, 4, 3).double()
    x = noise(6, 5)
    found = net(x)
    assert found.shape == (6, 4)
    for i in range(6):
        for unit in range(4):
            rows = range(3 * unit, 3 * unit + 3)
            pieces = [float((net.linear.weight[row] @ x[i] + net.linear.bias[row]).detach()) for row in rows]
            assert float(found[i, unit].detach()) == pytest.approx(max(pieces))


def test_maxout_of_one_piece_is_linear():
    net = Maxout(5, 4, 1).double()
    x = noise(6, 5)
    torch.testing.assert_close(net(x), net.linear(x))


def test_minibatch_discrimination_against_a_double_loop():
    net = MinibatchDiscrimination(4, 3, dims=2).double()
    f = noise(5, 4)
    found = net(f)
    assert found.shape == (5, 3)
    tensor = net.tensor.weight.T.reshape(4, 3, 2)  # A x B x C
    m = torch.einsum("na,abc->nbc", f, tensor)
    for i in range(5):
        for b in range(3):
            alike = sum(math.exp(-float((m[i, b] - m[j, b]).abs().sum().detach())) for j in range(5) if j != i)
            assert float(found[i, b].detach()) == pytest.approx(alike)


def test_minibatch_discrimination_tells_a_collapsed_batch_and_a_spread_one():
    net = MinibatchDiscrimination(4, 3).double()
    one = noise(1, 4)
    torch.testing.assert_close(net(one.repeat(7, 1)), torch.full((7, 3), 6.0, dtype=torch.float64))
    assert net(1e4 * noise(7, 4)).max() == 0
    assert net(one).max() == 0


def test_minibatch_discrimination_starts_with_columns_of_length_one():
    torch.manual_seed(0)
    lengths = MinibatchDiscrimination(300, 40).tensor.weight.detach().norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("n, members", [(8, 4), (4, 4), (6, 3), (2, 2), (9, 3), (10, 2), (5, 1), (1, 1)])
@pytest.mark.parametrize("rest", [(3,), (3, 2, 4)])
def test_minibatch_stddev_against_a_loop(n, members, rest):
    x = noise(n, *rest)
    found = minibatch_stddev(x)
    assert found.shape == (n, 4, *rest[1:])
    assert torch.equal(found[:, :3], x)
    groups = n // members
    for i in range(n):
        rows = [j for j in range(n) if j % groups == i % groups]
        assert len(rows) == members
        places = x[rows].flatten(1).numpy()
        expected = np.sqrt(places.var(0) + 1e-8).mean()
        np.testing.assert_allclose(found[i, 3].numpy(), expected, atol=1e-12)


def test_minibatch_stddev_takes_channels_last_maps():
    x = noise(8, 3, 4, 4)
    torch.testing.assert_close(minibatch_stddev(x.to(memory_format=torch.channels_last)), minibatch_stddev(x))


@pytest.mark.parametrize(
    "brick",
    [Maxout(4, 3, 2), MinibatchDiscrimination(4, 2, dims=3), minibatch_stddev],
    ids=["maxout", "alike", "stddev"],
)
def test_bricks_have_a_second_derivative(brick):
    if isinstance(brick, torch.nn.Module):
        brick.double()
    x = noise(4, 4).requires_grad_()
    assert torch.autograd.gradcheck(brick, x)
    assert torch.autograd.gradgradcheck(brick, x)


def test_spectral_normalisation_divides_by_the_largest_singular_value():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 4), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    before = [net[0].weight.detach().flatten(1).clone(), net[2].weight.detach().clone()]
    spectrally_normalise(net)
    for step in range(30):
        net(noise(5, 2, 4, 4, seed=step).float())
    for layer, weight in zip((net[0], net[2]), before, strict=True):
        largest = torch.linalg.svdvals(weight)[0]
        torch.testing.assert_close(layer.weight.detach().flatten(1), weight / largest, atol=1e-4, rtol=1e-3)


# --- Resampling of networks that grow --------------------------------------------------------------------------------


def test_a_convolution_of_doubled_maps_in_one():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(double_and_convolve(x, weight), F.conv2d(double(x), weight, padding=1))


def test_a_convolution_that_is_halved_in_one():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(convolve_and_halve(x, weight, bias), halve(F.conv2d(x, weight, bias, padding=1)))


@pytest.mark.parametrize("width", [6, 130])
def test_blur_is_an_explicit_convolution(width):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, width, dtype=torch.float64)
    line = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    torch.testing.assert_close(blur(x), F.conv2d(x, kernel, padding=1, groups=3))


def test_doubled_and_blurred_is_stylegan2_s_filter():
    """Zeros between pixels, then [1, 3, 3, 1] / 4 along each axis."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    spaced = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    spaced[..., ::2, ::2] = x
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
    filtered = F.conv2d(F.pad(spaced, (2, 1, 2, 1)), (line[:, None] * line)[None, None])
    torch.testing.assert_close(blur(double(x))[..., 1:-1, 1:-1], filtered[..., 1:-1, 1:-1])


@pytest.mark.parametrize("resample", [blur, lambda x: double_and_convolve(x, x[:1, :, :3, :3]), halve])
def test_resampling_has_second_derivatives(resample):
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(resample, (x,), fast_mode=True)
