"""The KL of a VAE latent by latent and in its two parts, against closed forms and brute force."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from latente.config import VAEModel, VAEObjective
from latente.evaluation.likelihood import elbo
from latente.evaluation.posterior import kl_per_dimension, posteriors, remark, surgery
from latente.messages import set_language
from latente.models.vae import VAE


def some(n: int = 40, d: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator) - 2


def linear_gaussian(n: int, slope: float, sigma: float) -> tuple[Tensor, Tensor]:
    """q(z|x) = N(slope x, sigma^2) of n quantiles of x ~ N(0, 1): over all x, q(z) = N(0, slope^2 + sigma^2)."""
    x = Normal(0, 1).icdf((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    return slope * x, torch.full_like(x, 2 * math.log(sigma))


# --- Known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slope", "sigma"), [(0.8, 0.6), (2.0, 0.5), (0.3, 0.9)])
def test_a_linear_gaussian_encoder_has_its_exact_values(slope, sigma):
    found = surgery(*linear_gaussian(1500, slope, sigma), samples=4)
    variance = slope**2 + sigma**2
    information = 0.5 * math.log(variance / sigma**2)
    gap = 0.5 * (variance - 1 - math.log(variance))
    assert found.error < 0.02
    assert found.information == pytest.approx(information, abs=3 * found.error + 0.01)
    assert found.gap == pytest.approx(gap, abs=3 * found.error + 0.01)
    assert found.most == pytest.approx(information, abs=0.05)


def test_the_truth_of_all_images_lies_between_the_two_bounds():
    """Few images, and codes that tell them apart: I of these is log N, of all possible ones far more."""
    slope, sigma, n = 3.0, 0.1, 50
    column, logvar = linear_gaussian(n, slope, sigma)
    shuffled = column[torch.randperm(n, generator=torch.Generator().manual_seed(0))]
    truth = math.log((slope**2 + sigma**2) / sigma**2)  # 6.8, of two latents
    found = surgery(torch.cat([column, shuffled], 1), logvar.repeat(1, 2), samples=5)
    assert found.information == pytest.approx(math.log(n), abs=0.05)
    assert found.information < truth < found.most <= found.kl and found.gap > slope**2 - 1 - math.log(slope**2)
    assert remark(found) is not None


def test_two_posteriors_far_apart_tell_two_images_apart():
    found = surgery(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]), torch.zeros(2, 2))
    assert found.information == pytest.approx(math.log(2), abs=1e-12) and found.limit == math.log(2)
    assert found.gap == pytest.approx(1250 - math.log(2))


def test_images_with_the_same_code_cannot_be_told_apart():
    mean, logvar = some(1)
    found = surgery(mean.repeat(30, 1), logvar.repeat(30, 1))
    assert found.information == pytest.approx(0, abs=1e-12) and found.error == pytest.approx(0, abs=1e-12)
    clusters = surgery(100 * torch.eye(5).repeat(6, 1), torch.zeros(30, 5))  # 5 groups of 6
    assert clusters.information == pytest.approx(math.log(5), abs=1e-9)


def test_a_collapsed_posterior_says_nothing_and_leaves_no_gap():
    found = surgery(torch.zeros(20, 4), torch.zeros(20, 4))
    assert (found.kl, found.information, found.gap, found.most) == pytest.approx((0, 0, 0, 0), abs=1e-12)
    assert remark(found) is None


# --- Brute force ------------------------------------------------------------------------------------------------------


def test_information_is_that_of_a_loop_over_images():
    mean, logvar = some()
    found = surgery(mean, logvar, samples=2, seed=7)
    mean, deviation = mean.double(), (0.5 * logvar.double()).exp()
    each = Independent(Normal(mean, deviation), 1)
    together = MixtureSameFamily(Categorical(torch.ones(40, dtype=torch.float64)), each)
    generator = torch.Generator().manual_seed(7)
    told, others = [], []
    for _ in range(2):
        eps = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        for i in range(40):
            z = mean[i] + deviation[i] * eps[i]
            told.append(each.log_prob(z)[i] - together.log_prob(z))
            rest = torch.cat([each.log_prob(z)[:i], each.log_prob(z)[i + 1 :]])
            others.append(each.log_prob(z)[i] - rest.logsumexp(0) + math.log(39))
    assert found.information == pytest.approx(float(torch.stack(told).mean()), rel=1e-9)
    assert found.most == pytest.approx(min(float(torch.stack(others).mean()), found.kl), rel=1e-9)
    assert found.gap == pytest.approx(found.kl - found.information) and 0 < found.information < found.limit


def test_kl_per_dimension_is_torchs():
    mean, logvar = some()
    exact = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0, 1)).mean(0)
    assert torch.allclose(kl_per_dimension(mean, logvar).float(), exact, rtol=1e-5)
    assert surgery(mean, logvar).kl == pytest.approx(float(exact.sum()), rel=1e-5)


def test_the_chunk_does_not_change_the_answer_and_the_seed_does():
    mean, logvar = some()
    whole, parts, other = (surgery(mean, logvar, chunk=c, seed=s) for c, s in ((500, 0), (7, 0), (500, 1)))
    assert parts == pytest.approx(whole, rel=1e-12) and other.information != whole.information


def test_narrow_posteriors_lose_no_digits():
    """log q by matrix products cancels numbers as great as z^2 / sigma^2: float64 bears it."""
    mean = 30 + torch.linspace(0, 1, 50)[:, None]
    found = surgery(mean, torch.full((50, 1), -20.0))
    assert found.information == pytest.approx(math.log(50), abs=1e-6)


def test_the_standard_error_is_that_of_other_seeds():
    mean, logvar = some(60)
    several = [surgery(mean, logvar, seed=seed) for seed in range(200)]
    spread = torch.tensor([one.information for one in several]).std()
    assert spread < sum(one.error for one in several) / 200 < 2.5 * spread  # it holds the spread of images besides


# --- A network --------------------------------------------------------------------------------------------------------


def test_posteriors_of_a_vae_and_its_kl_term():
    net = VAE(VAEModel(kind="mlp", hidden=(8,), latent=3, conditional=True), VAEObjective(), (1, 4, 4), 2).eval()
    x, labels = torch.rand(20, 1, 4, 4) * 2 - 1, torch.arange(20) % 2
    found = posteriors(net, x, chunk=6, condition=labels)
    whole = net.posterior(x, labels)
    assert torch.allclose(found.mean, whole.mean, atol=1e-6) and torch.allclose(found.logvar, whole.logvar, atol=1e-6)
    kl = elbo(net, x, condition=labels).kl.mean()
    assert kl_per_dimension(*found).sum() == pytest.approx(float(kl), rel=1e-5)
    assert not found.mean.requires_grad


def test_too_few_images_are_said_in_both_languages():
    found = surgery(torch.tensor([[-50.0], [50.0]]), torch.zeros(2, 1))
    for language, word, limit in (("es", "imágenes", "0,69"), ("en", "images", "0.69")):
        set_language(language)
        assert word in (remark(found) or "") and limit in (remark(found) or "")


@pytest.mark.parametrize(("n", "samples"), [(1, 1), (5, 0)])
def test_one_image_or_no_sample_is_refused(n, samples):
    with pytest.raises(ValueError):
        surgery(torch.zeros(n, 2), torch.zeros(n, 2), samples=samples)
