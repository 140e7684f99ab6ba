"""Annealed importance sampling against models whose log p(x) is known, and its two directions against each other."""

import math

import pytest
import torch
from torch import Tensor

from known import bernoulli, linear_gaussian, on_grid
from latente.config import VAEModel, VAEObjective
from latente.evaluation.annealing import Path, ais, bdmc, schedule, simulate
from latente.models.vae import VAE, Posterior
from latente.objectives.reconstruction import discretised_logistic_nll


def test_the_schedule_goes_from_0_to_1_slowly_at_both_ends():
    betas = schedule(100)
    steps = betas.diff()
    assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 101 and (steps > 0).all()
    torch.testing.assert_close(steps, steps.flip(0))
    assert steps.argmax() in (49, 50) and steps[0] < steps.max() / 10
    torch.testing.assert_close(betas[25] * 2 + (betas[75] - betas[25]), torch.tensor(1.0).double())  # symmetrical


@pytest.mark.parametrize("initial", ["prior", "posterior"])
@pytest.mark.parametrize("latents", [2, 6, 10])
def test_probabilistic_pca_is_within_a_tenth_of_a_nat(latents: int, initial: str):
    net, x, exact = linear_gaussian(latents, (1, 3, 4), 10, sigma=0.4)
    steps, chains = (20, 60) if initial == "posterior" else (50, 100)
    found = ais(net, x, steps, chains, 3, seed=1, initial=initial, chunk=10_000)
    error = (1 / found.effective - 1 / chains).sqrt()  # of a log mean, by the delta method: [N]
    assert (error < 0.25).all()
    assert ((found.bound - exact).abs() < 4 * error).all()
    assert abs((found.bound - exact).mean()) < 0.1
    assert (0.4 < found.acceptance).all() and (found.acceptance < 1).all()


@pytest.mark.parametrize("initial", ["prior", "posterior"])
def test_two_latents_against_an_integral_on_a_grid(initial: str):
    net, x = bernoulli()
    exact = on_grid(net, x)
    found = ais(net, x, 30, 150, 3, seed=2, initial=initial, chunk=10_000)
    assert abs((found.bound - exact).mean()) < 0.05
    error = (1 / found.effective - 1 / 150).sqrt()
    assert ((found.bound - exact).abs() < 4 * error).all() and (error < 0.2).all()
    assert found.bound.exp().sum() == pytest.approx(1, abs=0.1)  # over all images that there are


def test_weights_have_the_right_mean_and_the_bound_lies_below():
    """E[w] = p(x) however short the path: here of 4 steps, which a wrong weight or move would not stand."""
    net, x, exact = linear_gaussian(2, (1, 2, 3), 4)
    found = ais(net, x.repeat(400, 1, 1, 1), 4, 5, 3, initial="posterior", chunk=10_000).bound.view(400, 4)
    pooled = found.logsumexp(0) - math.log(400)
    error = found.exp().std(0) / found.exp().mean(0) / 20
    assert ((pooled - exact).abs() < 4 * error).all() and (error < 0.1).all()
    of_mean = found.std(0) / 20
    assert (found.mean(0) < exact + 2 * of_mean).all() and found.mean() < exact.mean() - 3 * of_mean.mean() / 2


def test_both_directions_enclose_the_truth_and_close_in_as_the_path_grows():
    net = linear_gaussian(3, (1, 3, 4))[0]
    gaps = []
    for steps in (4, 40):
        found = bdmc(net, 60, steps, 4, 2, seed=4, initial="posterior", chunk=10_000)
        exact = _exact(net, found.images)
        lower, upper = found.lower - exact, found.upper - exact
        error = math.sqrt(1 / 60)
        assert lower.mean() < 2 * error * lower.std() and upper.mean() > -2 * error * upper.std()
        gaps.append(float(found.gap.mean()))
    assert gaps[0] > 0.8 and abs(gaps[1]) < 0.3


def _exact(net: VAE, images: Tensor) -> Tensor:
    """log p(x) of images of a linear-Gaussian model, from its weights."""
    weight, bias = net.decoder.last.weight / 2, (net.decoder.last.bias + 1) / 2
    covariance = weight @ weight.T + net.sigma() ** 2 * torch.eye(len(bias))
    x = (images.flatten(1) + 1) / 2
    return torch.distributions.MultivariateNormal(bias, covariance).log_prob(x).detach()


def test_both_directions_agree_on_the_grid_model():
    net, x = bernoulli()
    found = bdmc(net, 80, 20, 30, 2, seed=5, chunk=10_000)
    index = ((found.images.flatten(1) + 1) / 2 @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    exact = on_grid(net, x)[index]
    assert abs((found.lower - exact).mean()) < 0.1 and abs((found.upper - exact).mean()) < 0.1
    assert abs(found.gap.mean()) < 0.1


def test_a_single_step_is_importance_sampling():
    net, x = bernoulli()
    found = ais(net, x, 1, 50, 1, seed=6, chunk=10_000)
    generator = torch.Generator().manual_seed(6)
    torch.randn((2 * 16, 2), generator=generator)  # the pilot: where it starts, and its one move
    torch.randn((2 * 16, 2), generator=generator)
    torch.rand((2, 2 * 16), generator=generator)
    z = torch.randn((50 * 16, 2), generator=generator)
    with torch.no_grad():
        log_w = net.log_likelihood(x.repeat(50, 1, 1, 1), net.output(z)).double().view(50, 16)
    torch.testing.assert_close(found.bound, log_w.logsumexp(0) - math.log(50))
    w = log_w.exp()
    torch.testing.assert_close(found.effective, w.sum(0) ** 2 / w.square().sum(0))


def test_the_ratio_from_the_posterior_is_that_of_torch_distributions():
    net, x = bernoulli()
    path = Path(net, x, 2, None, "posterior")
    spot = path.start(torch.Generator().manual_seed(0))
    z = path.codes(spot)  # [2, 16, 2]
    mean, logvar = net.posterior(x)
    log_q = torch.distributions.Normal(mean, (logvar / 2).exp()).log_prob(z).sum(2)
    log_p = torch.distributions.Normal(0, 1).log_prob(z).sum(2)
    with torch.no_grad():
        log_px = net.log_likelihood(x, net.output(z.flatten(0, 1)).view(2, 16, 1, 2, 2))
    torch.testing.assert_close(spot.ratio.view(2, 16), (log_px + log_p - log_q).detach())
    torch.testing.assert_close(path.at(z[0]).u.view(2, 16, 2)[1], spot.u.view(2, 16, 2)[0])


def test_same_seed_same_numbers_and_weights_are_left_alone():
    net, x = bernoulli()
    before = [parameter.clone() for parameter in net.parameters()]
    one, two, other = (ais(net, x, 5, 3, 2, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(one.bound, two.bound) and not torch.equal(one.bound, other.bound)
    pair = [bdmc(net, 5, 5, 3, 2, seed=9) for _ in "ab"]
    assert torch.equal(pair[0].upper, pair[1].upper) and torch.equal(pair[0].images, pair[1].images)
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_images_are_drawn_from_the_likelihood(likelihood: str):
    """The mean log-likelihood of many images drawn from one code is minus the entropy, in closed form or by sums."""
    torch.manual_seed(0)
    objective = VAEObjective(likelihood=likelihood, sigma="fixed", sigma_value=0.2)
    net = VAE(VAEModel(kind="mlp", hidden=(), latent=1), objective, (1, 2, 2)).eval()
    with torch.no_grad():
        net.decoder.last.weight.zero_()
        level = [0.3, -0.8, 0.95, 0.0] if likelihood != "bernoulli" else [1.0, -2.0, 0.0, 3.0]
        scales = [-1.0, -4.0, -3.0, -2.0] if likelihood == "logistic" else []
        net.decoder.last.bias.copy_(torch.tensor(level + scales))
    z, x = simulate(net, 20_000, torch.Generator().manual_seed(1))
    assert z.shape == (20_000, 1) and x.shape == (20_000, 1, 2, 2) and abs(z.std() - 1) < 0.02
    found = net.log_likelihood(x, net.output(z)).detach()
    if likelihood == "gaussian":
        entropy = 4 * 0.5 * math.log(2 * math.pi * math.e * 0.2**2)
    elif likelihood == "bernoulli":
        entropy = float(torch.distributions.Bernoulli(logits=torch.tensor(level)).entropy().sum())
        assert set(x.unique().tolist()) == {-1.0, 1.0}
    else:
        levels = (torch.arange(256) / 127.5 - 1).view(256, 1, 1, 1)
        nll = torch.stack(
            [
                discretised_logistic_nll(torch.full_like(levels, m), torch.full_like(levels, s), levels)
                for m, s in zip(level, scales, strict=True)
            ]
        )
        torch.testing.assert_close((-nll).exp().sum(1), torch.ones(4), atol=1e-4, rtol=0)
        entropy = float((nll * (-nll).exp()).sum())
        assert len(x.unique()) > 100 and torch.isin(x, levels).all()
    assert float(-found.mean()) == pytest.approx(entropy, abs=4 * float(found.std()) / math.sqrt(20_000))


class Labelled:
    """One latent; the log-likelihood is 0 where image and label belong together, -1e4 elsewhere, whatever z is."""

    latent = 1

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Posterior:
        raise AssertionError("an encoder is not asked where chains start at the prior")

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        return condition.float() + 0 * z[:, 0]

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        return -1e4 * (x.flatten(1).mean(1) - output).abs()


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_labels_stay_with_their_images(chunk: int):
    labels = torch.arange(10)
    x = labels.float().view(10, 1, 1, 1).expand(10, 1, 2, 2)
    found = ais(Labelled(), x, 4, 3, 2, condition=labels, chunk=chunk)
    torch.testing.assert_close(found.bound, torch.zeros(10).double())
    torch.testing.assert_close(found.effective, torch.full((10,), 3.0).double())


def test_refuses_what_has_no_meaning():
    net, x = bernoulli()
    with pytest.raises(ValueError, match="at least 1"):
        ais(net, x, 0)
    with pytest.raises(ValueError, match="nowhere"):
        bdmc(net, 3, 2, initial="nowhere")
