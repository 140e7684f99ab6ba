"""The VAE family: likelihoods, bounds, conditioning, sizes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latente.config import Images, VAEModel, VAEObjective
from latente.data.stream import Batch
from latente.messages import Problem
from latente.models.vae import VAE, check, pyramid, terms
from latente.objectives import Terms

SHAPE = (1, 8, 8)
LIKELIHOODS = ["bernoulli", "gaussian", "logistic"]


def build(
    shape: tuple[int, int, int] = SHAPE, classes: int = 0, kind: Any = "mlp", mean: Any = "linear", **objective: Any
) -> VAE:
    torch.manual_seed(0)
    model = VAEModel(kind=kind, latent=3, width=4, hidden=(16,), init="glorot", mean=mean, conditional=classes > 0)
    return VAE(model, VAEObjective(**objective), shape, classes)


def batch(n: int = 6, shape: tuple[int, int, int] = SHAPE, classes: int = 0) -> Batch:
    torch.manual_seed(1)
    x = (torch.rand(n, *shape) > 0.5).float() * 2 - 1
    return Batch(x, torch.arange(n) % classes if classes else None)


def loss(found: Terms) -> Tensor:
    parts = [
        w * (found.per_image[k].mean() if k in found.per_image else found.batch[k]) for k, w in found.weights.items()
    ]
    return torch.stack(parts).sum()


def measured(net: VAE, shown: Batch, *, seed: int = 2, images: int = 0, **objective: Any) -> Terms:
    torch.manual_seed(seed)
    found: Terms = terms(VAEObjective(**objective))(net, shown, images)
    return found


# --- Sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 64, 64), (1, 28, 20), (3, 9, 11), (1, 5, 3)])
def test_any_size_and_any_channels(kind: str, shape: tuple[int, int, int]) -> None:
    for likelihood in LIKELIHOODS:
        net = build(shape, kind=kind, likelihood=likelihood)
        x = batch(2, shape).images
        assert net.encode(x).shape == (2, 3)
        z = net.prior(5, torch.Generator().manual_seed(0))
        pictures = net.decode(100 * z)
        assert pictures.shape == (5, *shape)
        assert pictures.min() >= -1
        assert pictures.max() <= 1
        assert torch.equal(pictures, net.decode(100 * z))
        assert net.log_likelihood(x, net.output(net.encode(x))).shape == (2,)


def test_pyramid() -> None:
    def sides(side: int) -> list[int]:
        return [height for _, height, _ in pyramid((3, side, side), 8)]

    assert sides(28) == [28, 14, 7]
    assert sides(72) == [72, 36, 18, 9, 5]
    assert sides(128) == [128, 64, 32, 16, 8, 4]
    assert [channels for channels, *_ in pyramid((3, 128, 128), 8)] == [3, 8, 16, 32, 32, 32]


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("sigma", ["fixed", "learned", "optimal"])
@pytest.mark.parametrize("estimator", ["A", "B", "iwae"])
def test_every_parameter_learns(kind: str, likelihood: str, sigma: str, estimator: str) -> None:
    net = build(classes=4, kind=kind, likelihood=likelihood, sigma=sigma)
    settings = {"likelihood": likelihood, "sigma": sigma, "estimator": estimator, "samples": 3}
    loss(measured(net, batch(classes=4), **settings)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


# --- Bounds --------------------------------------------------------------------------------------------------------


def test_estimator_b_is_the_definition() -> None:
    net, shown = build(likelihood="bernoulli").eval(), batch()  # in training a Bernoulli's squared error is left out
    found = measured(net, shown, likelihood="bernoulli", samples=2).per_image
    torch.manual_seed(2)
    noise = torch.randn(2, 6, 3)
    q = net.posterior(shown.images)
    for i in range(6):
        logits = torch.stack(
            [net.output((q.mean[i] + q.logvar[i].mul(0.5).exp() * noise[j, i])[None])[0] for j in range(2)]
        )
        p, ones = logits.sigmoid(), (shown.images[i] + 1) / 2
        nll = -(ones * p.log() + (1 - ones) * (1 - p).log()).sum((1, 2, 3)).mean()
        kl = -0.5 * sum(1 + q.logvar[i] - q.mean[i] ** 2 - q.logvar[i].exp())
        torch.testing.assert_close(found["reconstruction"][i], nll, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["kl"][i], kl)
        torch.testing.assert_close(found["bound"][i], nll + kl, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["mse"][i], (p - ones).square().mean())


def test_estimators_a_and_b_agree_in_expectation() -> None:
    net, shown = build(likelihood="bernoulli"), batch(2)
    a = measured(net, shown, likelihood="bernoulli", estimator="A", samples=20_000).per_image["kl"]
    b = measured(net, shown, likelihood="bernoulli", estimator="B", samples=1).per_image["kl"]
    q = net.posterior(shown.images)
    noise = torch.randn(20_000, 2, 3)
    z = q.mean + q.logvar.mul(0.5).exp() * noise
    spread = ((z.square() - noise.square() - q.logvar) / 2).sum(-1).std(0) / math.sqrt(20_000)
    assert ((a - b).abs() < 5 * spread).all()
    assert ((a - b).abs() > 0).all()


def test_one_importance_sample_is_estimator_a() -> None:
    net, shown = build(likelihood="bernoulli"), batch()
    a, iwae = (measured(net, shown, likelihood="bernoulli", estimator=e).per_image["bound"] for e in ("A", "iwae"))
    torch.testing.assert_close(a, iwae)


def test_bound_tightens_with_more_samples() -> None:
    net, shown = build(likelihood="bernoulli"), batch(64)
    bounds = []
    for k in (1, 5, 50):
        rows = [
            measured(net, shown, seed=seed, likelihood="bernoulli", estimator="iwae", samples=k).per_image["bound"]
            for seed in range(20)
        ]
        bounds.append(torch.stack(rows).mean().item())
    assert bounds[0] > bounds[1] > bounds[2]


def test_iwae_gradient_is_the_papers() -> None:
    net, shown = build(likelihood="bernoulli"), batch(3)
    loss(measured(net, shown, likelihood="bernoulli", estimator="iwae", samples=4)).backward()
    ours = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    torch.manual_seed(2)
    q = net.posterior(shown.images)
    z = q.mean + (q.logvar / 2).exp() * torch.randn(4, 3, 3)
    normal = torch.distributions.Normal
    ratio = (normal(0, 1).log_prob(z) - normal(q.mean, (q.logvar / 2).exp()).log_prob(z)).sum(-1)
    log_w = ratio + torch.stack([net.log_likelihood(shown.images, net.output(z[i])) for i in range(4)])
    normalised = log_w.softmax(0).detach()
    (-(normalised * log_w).sum(0).mean()).backward()
    for mine, parameter in zip(ours, net.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-6)


# --- Weights and batch terms ---------------------------------------------------------------------------------------


def test_warmup_beta_and_capacity_are_functions_of_the_clock() -> None:
    net, shown = build(likelihood="bernoulli"), batch()
    warm = {"likelihood": "bernoulli", "beta": 4.0, "warmup": Images(1000)}
    assert [measured(net, shown, images=i, **warm).weights["kl"] for i in (0, 250, 1000, 9000)] == [0, 1, 4, 4]
    rising = {"likelihood": "bernoulli", "capacity": 20.0, "capacity_images": Images(1000), "beta": 10.0}
    found = measured(net, shown, images=500, **rising)
    assert found.weights == {"reconstruction": 1.0, "kl_capacity": 10.0}
    assert found.batch["kl_capacity"].item() == pytest.approx(abs(found.per_image["kl"].mean().item() - 10))


def test_free_bits_replace_the_kl() -> None:
    net, shown = build(likelihood="bernoulli"), batch()
    found = measured(net, shown, likelihood="bernoulli", free_bits=1e6)
    assert found.weights == {"reconstruction": 1.0, "kl_free_bits": 1.0}
    assert found.batch["kl_free_bits"].item() == 3e6
    net.zero_grad()
    found.batch["kl_free_bits"].backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in net.parameters())


def test_running_sigma() -> None:
    net, shown = build(), batch()
    found = measured(net, shown)
    torch.testing.assert_close(found.batch["sigma"].square(), found.per_image["mse"].mean())
    torch.testing.assert_close(net.sigma(), found.batch["sigma"])  # the first batch replaces the start value
    before = net.sigma2.clone()
    measured(net, Batch(shown.images / 2, None), images=10_000)
    assert before * 0.9 < net.sigma2 < before  # later ones move it a little
    frozen = net.eval().sigma2.clone()
    found = measured(net, Batch(shown.images / 4, None), images=10_000)
    assert torch.equal(net.sigma2, frozen)
    torch.testing.assert_close(found.batch["sigma"], frozen.sqrt())
    assert "sigma2" in net.state_dict()


def test_learned_sigma_cannot_run_away() -> None:
    net = build(sigma="learned")
    assert net.sigma().item() == pytest.approx(0.2, rel=0.05)
    with torch.no_grad():
        net.log_sigma.fill_(-100)
    assert net.sigma().item() == pytest.approx(math.exp(-6), rel=1e-4)


@pytest.mark.parametrize("mean", ["linear", "sigmoid"])
def test_fixed_sigma_and_its_nll(mean: str) -> None:
    net, shown = build(mean=mean, sigma="fixed", sigma_value=0.25), batch()
    assert net.sigma().item() == pytest.approx(0.25)
    output = 3 * net.output(torch.randn(6, 3))
    centre = output.sigmoid() if mean == "sigmoid" else (output + 1) / 2
    expected = torch.distributions.Normal(centre, 0.25).log_prob((shown.images + 1) / 2).sum((1, 2, 3))
    torch.testing.assert_close(net.log_likelihood(shown.images, output), expected)
    torch.testing.assert_close(net.mean_image(output), 2 * centre - 1)


# --- Labels, initialisation, layout --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_labels_reach_both_sides(kind: str) -> None:
    net, shown = build(classes=4, kind=kind), batch(3, classes=4)
    z, one, two = torch.zeros(3, 3), torch.tensor([0, 1, 2]), torch.tensor([3, 1, 2])
    assert [torch.equal(a, b) for a, b in zip(net.decode(z, one), net.decode(z, two), strict=True)] == [
        False,
        True,
        True,
    ]
    codes = net.encode(shown.images, one), net.encode(shown.images, two)
    assert [torch.allclose(a, b) for a, b in zip(*codes, strict=True)] == [False, True, True]
    with pytest.raises(ValueError, match="labels"):
        net.decode(z)


def test_conditional_wants_classes() -> None:
    with pytest.raises(Problem) as caught:
        VAE(VAEModel(conditional=True), VAEObjective(), SHAPE, 0)
    assert caught.value.key == "vae.no_labels"


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("mean_through", ["linear", "sigmoid"])
def test_starts_from_the_mean_image(kind: str, likelihood: str, mean_through: str) -> None:
    net = build((2, 8, 8), kind=kind, likelihood=likelihood, mean=mean_through)
    mean = torch.tensor([-0.5, 0.25]).view(2, 1, 1).expand(2, 8, 8)
    for parameter in net.decoder.last.parameters():
        torch.nn.init.zeros_(parameter)
    net.start_from(mean)
    torch.testing.assert_close(net.decode(torch.zeros(1, 3))[0], mean)


def test_aevb_initialisation() -> None:
    net = VAE(
        VAEModel(kind="mlp", hidden=(500,), latent=20, activation="tanh"),
        VAEObjective(likelihood="bernoulli"),
        (1, 28, 28),
    )
    before = [p.clone() for p in net.parameters()]
    net.start_from(torch.zeros(1, 28, 28))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    for parameter in net.parameters():
        if parameter.numel() > 10_000:
            assert parameter.std().item() == pytest.approx(0.1, rel=0.05)
    assert [tuple(p.shape) for p in net.parameters()][::2] == [(500, 784), (40, 500), (500, 20), (784, 500)]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_image_alone_is_the_same_image(likelihood: str) -> None:
    net, shown = build(kind="conv", likelihood=likelihood), batch()
    for part, whole in zip(net.posterior(shown.images[:1]), net.posterior(shown.images), strict=True):
        torch.testing.assert_close(part[0], whole[0])
    assert loss(measured(net, Batch(shown.images[:1], None), likelihood=likelihood)).isfinite()


def test_channels_last_changes_nothing() -> None:
    net, shown = build(kind="conv", shape=(3, 16, 16)), batch(shape=(3, 16, 16))
    expected = measured(net, shown).per_image
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    laid_out = Batch(shown.images.contiguous(memory_format=torch.channels_last), None)
    for name, value in measured(net, laid_out).per_image.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-3)


def test_learns_a_batch_by_heart() -> None:
    net, shown = build(kind="conv", sigma="fixed"), batch(2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    errors = []
    for step in range(30):
        found = measured(net, shown, seed=step, sigma="fixed")
        optimizer.zero_grad()
        loss(found).backward()
        optimizer.step()
        errors.append(found.per_image["mse"].mean().item())
    assert errors[-1] < 0.5 * errors[0]


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"samples": 0}, "vae.samples"),
        ({"sigma_value": 0.0}, "vae.sigma"),
        ({"beta": -1.0}, "vae.negative"),
        ({"free_bits": 0.5, "capacity": 3.0}, "vae.free_bits_or_capacity"),
        ({"estimator": "iwae", "beta": 2.0}, "vae.iwae_has_no_kl"),
        ({"estimator": "iwae", "warmup": Images(10)}, "vae.iwae_has_no_kl"),
    ],
)
def test_meaningless_objectives_are_refused(change: dict[str, Any], key: str) -> None:
    with pytest.raises(Problem) as caught:
        check(replace(VAEObjective(), **change))
    assert caught.value.key == key
    assert str(caught.value).endswith(".")
