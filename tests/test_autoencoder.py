"""The autoencoder family: each network of the book's chapter 17, and each of its objectives."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from latente.config import AutoencoderModel, AutoencoderObjective, Images
from latente.data.stream import Batch
from latente.messages import Problem
from latente.models.autoencoder import Autoencoder, Dense, terms
from latente.objectives.autoencoding import sparsity_kl, sparsity_l1


class Case(NamedTuple):
    name: str
    model: AutoencoderModel
    objective: AutoencoderObjective


DENSE = {"kind": "dense", "hidden": (9,), "latent": 5}
CASES = [
    Case("linear", AutoencoderModel(kind="linear", hidden=(), latent=3), AutoencoderObjective()),
    Case("stacked", AutoencoderModel(**DENSE), AutoencoderObjective()),
    Case("deep", AutoencoderModel(kind="dense", hidden=(9, 7), latent=5), AutoencoderObjective()),
    Case("tied", AutoencoderModel(**DENSE, tied=True), AutoencoderObjective()),
    Case("conv", AutoencoderModel(kind="conv", hidden=(4, 6), latent=5), AutoencoderObjective()),
    Case("conv flat", AutoencoderModel(kind="conv", hidden=(), latent=5), AutoencoderObjective()),
    Case("recurrent", AutoencoderModel(kind="recurrent", hidden=(9,), latent=5), AutoencoderObjective()),
    Case("recurrent deep", AutoencoderModel(kind="recurrent", hidden=(9, 7), latent=5), AutoencoderObjective()),
    Case("gaussian", AutoencoderModel(**DENSE), AutoencoderObjective(noise="gaussian", noise_level=0.2)),
    Case("dropout", AutoencoderModel(**DENSE), AutoencoderObjective(noise="dropout", noise_level=0.5)),
    Case(
        "l1", AutoencoderModel(**DENSE, activation="sigmoid"), AutoencoderObjective(sparsity="l1", sparsity_weight=1e-3)
    ),
    Case(
        "kl", AutoencoderModel(**DENSE, activation="sigmoid"), AutoencoderObjective(sparsity="kl", sparsity_weight=1e-3)
    ),
    Case("contractive", AutoencoderModel(**DENSE, activation="sigmoid"), AutoencoderObjective(contractive=1e-3)),
    Case("hashing", AutoencoderModel(**DENSE, hashing=4.0), AutoencoderObjective()),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SHAPES = [(1, 28, 28), (3, 16, 16), (1, 9, 13), (4, 8, 8), (1, 5, 1), (2, 1, 1)]


def pictures(n=6, shape=(1, 8, 8), seed=0):
    return 2 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) - 1


def loss_of(found):
    both = found.per_image | found.batch
    return sum(weight * both[name].mean() for name, weight in found.weights.items())


@every_case
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_is_encoded_decoded_and_sampled(case, shape):
    net = Autoencoder(case.model, shape)
    x = pictures(3, shape)
    z = net.encode(x)
    assert z.shape == (3, case.model.latent) == (3, net.latent)
    assert net.decode(z).shape == x.shape
    wild = net.decode(50 * torch.randn(20, net.latent))
    assert -1 <= wild.min() and wild.max() <= 1
    net.fit_prior(z.detach())
    z = net.prior(7, torch.Generator().manual_seed(0))
    assert z.shape == (7, net.latent)
    low, high = net.coder.code_range
    assert low <= z.min() and z.max() <= high
    assert net.decode(z).shape == (7, *shape)


@every_case
def test_encode_and_decode_are_deterministic_in_training_mode_too(case):
    net = Autoencoder(case.model, (1, 8, 8)).train()
    x = pictures()
    assert torch.equal(net.decode(net.encode(x)), net.decode(net.encode(x)))
    one = net.decode(net.encode(x[:1]))
    torch.testing.assert_close(one, net.decode(net.encode(x))[:1])


@every_case
def test_terms_repeat_under_a_seed_and_reach_every_parameter(case):
    net = Autoencoder(case.model, (1, 8, 8))
    losses = terms(case.objective)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(losses(net, Batch(pictures(), None), 0))
    assert torch.equal(loss_of(found[0]), loss_of(found[1]))
    assert all(value.shape == (6,) for value in found[0].per_image.values())
    assert all(value.shape == () for value in found[0].batch.values())
    loss_of(found[0]).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@every_case
def test_a_few_steps_lower_the_loss_of_a_batch(case):
    net = Autoencoder(case.model, (1, 8, 8))
    losses, batch = terms(case.objective), Batch(pictures(), None)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    seen = []
    for _ in range(15):
        torch.manual_seed(0)
        loss = loss_of(losses(net, batch, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.objective.noise == "none" and not c.model.hashing], ids=lambda c: c.name
)
def test_mse_is_the_clean_image_s_error_in_zero_to_one(case):
    net = Autoencoder(case.model, (1, 8, 8))
    x = pictures()
    found = terms(case.objective)(net, Batch(x, None), 0).per_image["mse"]
    output = net.coder.decode(net.encode(x))
    by_hand = torch.stack([(((image + 1) / 2 - y) ** 2).mean() for image, y in zip(x, output, strict=True)])
    torch.testing.assert_close(found, by_hand)


def test_linear_reaches_the_pca_subspace():
    """Baldi and Hornik 1989: the only minimum is the span of the first principal components."""
    rng = np.random.default_rng(0)
    scales = np.array([3.0, 2.0, 0.3, 0.2, 0.1, 0.1])  # two directions stand out
    points = rng.normal(size=(200, 6)) * scales @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = torch.from_numpy(0.1 * points).float().reshape(200, 1, 2, 3)
    net = Autoencoder(AutoencoderModel(kind="linear", hidden=(), latent=2), (1, 2, 3))
    losses = terms(AutoencoderObjective())
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(losses(net, Batch(x, None), 0))
        loss.backward()
        return loss

    optimizer.step(closure)
    pixels = (x.flatten(1).double().numpy() + 1) / 2
    _, _, axes = np.linalg.svd(pixels - pixels.mean(0))
    principal = axes[:2].T @ axes[:2]  # the projection [D, D]
    learned, _ = np.linalg.qr(net.coder.down_weights[0].detach().double().numpy())
    np.testing.assert_allclose(learned @ learned.T, principal, atol=1e-3)
    residual = (pixels - pixels.mean(0)) @ (np.eye(6) - principal)
    assert float(closure().detach()) == pytest.approx((residual**2).mean(), rel=1e-3)


def test_linear_has_no_bend():
    net = Autoencoder(AutoencoderModel(kind="linear", hidden=(4,), latent=3), (1, 8, 8))
    a, b, c = pictures(3, (1, 8, 8)).split(1)
    combined = net.coder.decode(net.encode(a + b - c))
    torch.testing.assert_close(combined, sum(s * net.coder.decode(net.encode(v)) for s, v in ((1, a), (1, b), (-1, c))))


def test_tied_weights_are_one_set():
    net = Autoencoder(AutoencoderModel(**DENSE, tied=True), (1, 8, 8))
    matrices = [p for p in net.parameters() if p.dim() == 2]
    assert [tuple(p.shape) for p in matrices] == [(9, 64), (5, 9)]
    z = torch.rand(4, 5)
    w1, w2 = matrices
    b1, b2 = net.coder.down_biases
    by_hand = torch.relu(z @ w2 + b2) @ w1 + b1
    torch.testing.assert_close(net.coder.decode(z).flatten(1), by_hand)


def test_conv_halves_sizes_rounding_up():
    net = Autoencoder(AutoencoderModel(kind="conv", hidden=(16, 32, 64), latent=30), (1, 28, 28))
    assert net.coder.seed_shape == (16, 4, 4)
    assert [(layer.in_channels, layer.out_channels) for layer in net.coder.downs] == [(16, 32), (32, 16), (16, 1)]


def test_recurrent_reads_rows_of_all_channels_from_the_top():
    net = Autoencoder(AutoencoderModel(kind="recurrent", hidden=(6,), latent=4), (3, 5, 7))
    x = pictures(2, (3, 5, 7))
    seen = []
    net.coder.ups[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.encode(x)
    row = ((x[1, :, 3] + 1) / 2).flatten()  # the fourth row of the second image: 7 numbers of each channel
    torch.testing.assert_close(seen[0][1, 3], row)
    # A code that is read from the last step knows the last row; the output's rows go back where they came from.
    changed = x.clone()
    changed[:, :, -1] += 0.3
    assert not torch.allclose(net.encode(x), net.encode(changed))
    torch.nn.init.zeros_(net.coder.row.weight)
    with torch.no_grad():
        net.coder.row.bias.copy_(torch.arange(21) / 21)
    torch.testing.assert_close(net.coder.decode(torch.zeros(1, 4))[0, :, 2], torch.arange(21.0).reshape(3, 7) / 21)


def test_gaussian_noise_and_dropout_touch_the_input_only():
    net = Autoencoder(AutoencoderModel(**DENSE), (1, 40, 40))
    seen = []
    real = net.coder.encode
    net.coder.encode = lambda pixels, noise=0.0: seen.append(pixels) or real(pixels, noise)
    x = torch.zeros(8, 1, 40, 40)  # pixels of 0.5
    terms(AutoencoderObjective(noise="gaussian", noise_level=0.2))(net, Batch(x, None), 0)
    assert float(seen[-1].std()) == pytest.approx(0.2, rel=0.05) and float(seen[-1].mean()) == pytest.approx(
        0.5, abs=0.01
    )
    terms(AutoencoderObjective(noise="dropout", noise_level=0.25))(net, Batch(x, None), 0)
    assert sorted(seen[-1].unique().tolist()) == pytest.approx([0, 0.5 / 0.75])
    assert float((seen[-1] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    terms(AutoencoderObjective())(net, Batch(x, None), 0)
    assert torch.equal(seen[-1], torch.full_like(x, 0.5))


def test_sparsity_terms_are_those_of_the_code():
    model = AutoencoderModel(**DENSE, activation="sigmoid")
    net, x = Autoencoder(model, (1, 8, 8)), pictures()
    h = net.encode(x)
    l1 = terms(AutoencoderObjective(sparsity="l1", sparsity_weight=0.5))(net, Batch(x, None), 0)
    torch.testing.assert_close(l1.per_image["sparsity"], sparsity_l1(h))
    assert l1.weights == {"mse": 1.0, "sparsity": 0.5}
    kl = terms(AutoencoderObjective(sparsity="kl", sparsity_weight=0.5, sparsity_target=0.2))(net, Batch(x, None), 0)
    torch.testing.assert_close(kl.batch["sparsity"], sparsity_kl(h, 0.2))


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
def test_contraction_is_the_autograd_jacobian_s_norm(hidden, activation):
    net = Autoencoder(AutoencoderModel(kind="dense", hidden=hidden, latent=5, activation=activation), (1, 4, 4))
    pixels = torch.rand(3, 1, 4, 4)
    penalty = net.coder.contraction(pixels)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda x: net.coder.encode(x[None])[0], pixels[i])
        assert float(penalty[i].detach()) == pytest.approx(float(jacobian.square().sum()), rel=1e-4)


def test_hashing_noise_lies_below_the_code_and_in_training_alone():
    net = Autoencoder(AutoencoderModel(**DENSE, hashing=15.0), (1, 8, 8))
    coder, x = net.coder, pictures(400)
    pixels = (x + 1) / 2
    noisy, clean = torch.logit(coder.encode(pixels, 0.5)), torch.logit(net.encode(x))
    # The difference before the sigmoid is W_2 (0.5 e): its covariance is 0.25 W_2 W_2^T.
    w = coder.up_weights[-1].detach()
    torch.testing.assert_close(torch.cov((noisy - clean).T), 0.25 * w @ w.T, atol=0.06, rtol=0)
    spoiled, again = (terms(AutoencoderObjective())(net, Batch(x, None), 0).per_image["mse"] for _ in range(2))
    assert not torch.equal(spoiled, again)


def test_hashing_draws_whole_bits():
    net = Autoencoder(AutoencoderModel(**DENSE, hashing=4.0), (1, 8, 8))
    net.fit_prior(torch.randint(2, (100, 5)).float())
    assert set(net.prior(200, torch.Generator().manual_seed(0)).unique().tolist()) == {0.0, 1.0}


class TestGreedy:
    MODEL = AutoencoderModel(kind="dense", hidden=(9, 7), latent=5)
    OBJECTIVE = AutoencoderObjective(greedy_images=Images(300))

    @pytest.mark.parametrize(
        ("images", "moving"),
        [(0, {0}), (99, {0}), (100, {1}), (199, {1}), (200, {2}), (299, {2}), (300, {0, 1, 2}), (9999, {0, 1, 2})],
    )
    def test_only_the_layer_in_turn_has_gradients(self, images, moving):
        net = Autoencoder(self.MODEL, (1, 8, 8))
        found = terms(self.OBJECTIVE)(net, Batch(pictures(), None), images)
        assert set(found.per_image) == {"layer", "mse"}
        loss_of(found).backward()
        coder = net.coder
        for part in (coder.up_weights, coder.up_biases, coder.down_weights, coder.down_biases):
            assert {i for i, parameter in enumerate(part) if parameter.grad is not None} == moving

    def test_a_layer_restores_what_the_one_below_hands_it(self):
        net = Autoencoder(self.MODEL, (1, 8, 8))
        w, x = net.coder, pictures()
        found = terms(self.OBJECTIVE)(net, Batch(x, None), 150)
        pixels = ((x + 1) / 2).flatten(1)
        below = torch.relu(pixels @ w.up_weights[0].T + w.up_biases[0])
        inside = torch.relu(below @ w.up_weights[1].T + w.up_biases[1])
        restored = torch.relu(inside @ w.down_weights[1].T + w.down_biases[1])
        torch.testing.assert_close(found.per_image["layer"], (restored - below).square().mean(1))
        image = restored @ w.down_weights[0].T + w.down_biases[0]
        torch.testing.assert_close(found.per_image["mse"], (image - pixels).square().mean(1))

    def test_it_ends_as_plain_training(self):
        net, batch = Autoencoder(self.MODEL, (1, 8, 8)), Batch(pictures(), None)
        last = terms(self.OBJECTIVE)(net, batch, 300)
        assert torch.equal(loss_of(last), loss_of(terms(AutoencoderObjective())(net, batch, 0)))

    def test_denoising_spoils_what_the_layer_is_handed(self):
        net, batch = Autoencoder(self.MODEL, (1, 8, 8)), Batch(pictures(), None)
        noisy = terms(AutoencoderObjective(greedy_images=Images(300), noise="gaussian"))
        for images in (0, 150, 300):
            clean = terms(self.OBJECTIVE)(net, batch, images)
            assert not torch.equal(loss_of(noisy(net, batch, images)), loss_of(clean))


CONV, RECURRENT = AutoencoderModel(kind="conv", hidden=(4,)), AutoencoderModel(kind="recurrent", hidden=(4,))


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("autoencoder.widths", AutoencoderModel(latent=0)),
        ("autoencoder.widths", AutoencoderModel(hidden=(10, 0))),
        ("autoencoder.recurrent_hidden", AutoencoderModel(kind="recurrent", hidden=())),
        ("autoencoder.dense_only", AutoencoderModel(kind="conv", hidden=(4,), hashing=1.0)),
        ("autoencoder.dense_only", AutoencoderModel(kind="recurrent", hidden=(4,), tied=True)),
    ],
)
def test_networks_that_cannot_be_are_refused_in_a_sentence(key, model):
    with pytest.raises(Problem) as problem:
        Autoencoder(model, (1, 8, 8))
    assert problem.value.key == key and "{" not in str(problem.value)


@pytest.mark.parametrize(
    ("key", "model", "objective"),
    [
        ("autoencoder.kl_needs_sigmoid", AutoencoderModel(), AutoencoderObjective(sparsity="kl")),
        ("autoencoder.kl_needs_sigmoid", RECURRENT, AutoencoderObjective(sparsity="kl")),
        ("autoencoder.dense_only", CONV, AutoencoderObjective(contractive=0.1)),
        ("autoencoder.dense_only", RECURRENT, AutoencoderObjective(greedy_images=Images(10))),
    ],
)
def test_objectives_that_do_not_fit_are_refused_in_a_sentence(key, model, objective):
    net = Autoencoder(model, (1, 8, 8))
    with pytest.raises(Problem) as problem:
        terms(objective)(net, Batch(pictures(), None), 0)
    assert problem.value.key == key and "{" not in str(problem.value)


def test_the_prior_is_saved_with_the_network():
    case = CASES[1]
    one, two = Autoencoder(case.model, (1, 8, 8)), Autoencoder(case.model, (1, 8, 8))
    one.fit_prior(torch.rand(50, 5))
    two.load_state_dict(one.state_dict())
    draws = [net.prior(4, torch.Generator().manual_seed(1)) for net in (one, two)]
    assert torch.equal(*draws)


def test_every_relu_starts_alive():
    coder = Autoencoder(AutoencoderModel(hidden=(100,), latent=30), (1, 28, 28)).coder
    assert isinstance(coder, Dense)
    x = torch.rand(200, 1, 28, 28) * torch.linspace(0, 1, 200)[:, None, None, None]
    below = coder.up(0, x.flatten(1))
    code = coder.up(1, below)
    for h in (below, code, coder.down(1, code)):
        assert (h > 0).any(0).float().mean() > 0.9


@pytest.mark.parametrize("tied", [False, True])
def test_a_sigmoid_code_passes_its_input_on_at_first(tied):
    """Up, around the middle of the sigmoid, and down again through the transposed weights: lengths are kept."""
    coder = Autoencoder(AutoencoderModel(hidden=(), latent=64, activation="sigmoid", tied=tied), (1, 8, 8)).coder
    assert isinstance(coder, Dense)
    down = coder.up_weights[0] if tied else coder.up_weights[0] / coder.up_weights[0].norm(dim=1, keepdim=True)
    x = torch.rand(20, 1, 8, 8) * 1e-2
    restored = (coder.encode(x) - 0.5) @ down
    assert torch.allclose(restored, x.flatten(1), rtol=1e-3, atol=1e-5)
