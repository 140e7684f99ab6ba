"""Photos found again: those that a generator made come back, and w+ comes nearer than w."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from known import linear_gaussian
from latente.exploration import invert
from latente.exploration.invert import Eyes, project, project_all
from latente.exploration.spaces import home, show, spaces
from latente.models.vae import VAE
from styles import Plane, Styles


@pytest.fixture
def net() -> Styles:
    return Styles()


def made(net: nn.Module, n: int = 2, seed: int = 9) -> torch.Tensor:
    return net.decode(net.prior(n, torch.Generator().manual_seed(seed)))  # type: ignore[operator]


def test_which_spaces_there_are(net: Styles) -> None:
    assert spaces(net) == ("z", "w", "w+") and home(net) == "w"
    assert spaces(Plane()) == ("z",) and home(Plane()) == "z"
    vae, *_ = linear_gaussian()
    assert spaces(vae) == ("codes",) and home(vae) == "codes"


def test_a_linear_image_comes_back_with_its_z() -> None:
    plane = Plane()
    z = plane.prior(3, torch.Generator().manual_seed(2))
    found = project(plane, plane.decode(z), "z", steps=150)
    assert (found.distance < 1e-3).all() and (found.mse < 1e-4).all()
    np.testing.assert_allclose(found.latent, z, atol=0.1)


@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_what_the_generator_made_is_found_again(net: Styles, space: str) -> None:
    net.share = 0.005
    photos = made(net)
    begun, found = (project(net, photos, space, steps=steps) for steps in (0, 200))
    assert (found.distance < 0.01).all() and (found.distance < begun.distance / 2).all()
    shown = show(net, space, found.latent, noise=found.noise)
    assert np.abs(shown.numpy() - (found.images / 127.5 - 1)).max() < 0.01, "the images are those of the latents"
    assert found.latent.shape == ((2, 3, 6) if space == "w+" else (2, 6))


def test_w_plus_is_at_least_as_near_as_w(net: Styles) -> None:
    other = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1  # nothing that it can make
    found = project_all(net, other, steps=60)
    assert list(found) == ["z", "w", "w+"]
    assert (found["w+"].mse <= found["w"].mse).all() and found["w+"].mse.sum() < 0.99 * found["w"].mse.sum()
    assert torch.equal(project_all(net, other, ("w",), steps=60)["w"].latent, found["w"].latent), "no chance in it"


def test_each_image_is_looked_for_by_itself(net: Styles) -> None:
    net.share = 0.0  # noise is drawn for all of a batch at once
    photos = made(net, 3)
    found, alone = (project(net, x, "w+", steps=30, start=project(net, x, "w", steps=0)) for x in (photos, photos[2:]))
    np.testing.assert_allclose(found.latent[2:], alone.latent, atol=1e-3)
    assert found.mse[2] == pytest.approx(alone.mse[0], rel=0.01)


def test_an_encoder_says_where_to_begin() -> None:
    vae, photos, _ = linear_gaussian()
    found = project_all(vae, photos[:4], steps=80)
    assert list(found) == ["encoder", "codes"]
    np.testing.assert_allclose(found["encoder"].latent, vae.encode(photos[:4]).detach())
    assert (found["codes"].mse <= found["encoder"].mse).all() and found["codes"].mse.sum() < found["encoder"].mse.sum()
    best = nearest_by_algebra(vae, photos[:4])
    np.testing.assert_allclose(found["codes"].mse, best, rtol=0.02)


def nearest_by_algebra(vae: VAE, photos: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    """The least squared error a pixel that any code of a linear decoder reaches."""
    with torch.no_grad():
        zero = vae.decode(torch.zeros(1, 2)).flatten(1).double()
        a = vae.decode(torch.eye(2)).flatten(1).double() - zero  # [2, 6]
        y = photos.flatten(1).double() - zero
        code = torch.linalg.lstsq(a.T, y.T).solution.T
        return ((code @ a - y).square().mean(1) / 4).numpy()  # type: ignore[no-any-return]


def test_it_is_never_left_farther_away_than_it_began(net: Styles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invert, "_LR", 1e4)
    photos = made(net)
    begun, ended = (project(net, photos, "w", steps=steps) for steps in (0, 3))
    assert torch.equal(begun.latent, ended.latent)
    monkeypatch.setattr(invert, "rate", lambda t: float("nan"))
    lost = project(net, photos, "w", steps=3)
    assert torch.equal(begun.latent, lost.latent) and np.isfinite(lost.distance).all()


def test_features_count_as_much_as_pixels(net: Styles) -> None:
    """Eyes that see the mean alone: the feature distance falls to nothing, and is what they say."""
    eyes = Eyes("means", lambda x: x.mean((2, 3)))
    photos = torch.full((1, 1, 8, 8), 0.4)
    found = project(net, photos, "w", eyes=eyes, steps=100)
    samples = made(net, 256, 0)
    with torch.no_grad():
        mine = eyes.read(show(net, "w", found.latent, noise=found.noise).clamp(-1, 1))
    assert found.eyes == "means" and found.distance[0] < 0.01
    far = (mine - 0.4).square().mean() / samples.mean((2, 3)).var()
    assert found.distance[0] < 5 * far + 1e-4


def test_the_unit_is_the_distance_of_two_samples() -> None:
    plane = Plane()
    samples = plane.decode(plane.prior(4000, torch.Generator().manual_seed(4)))
    found = project(plane, samples[:2000], "z", steps=0)
    assert found.distance.mean() < 0.5
    ruler = invert._ruler(plane, samples[:2000], invert.PIXELS, None, torch.Generator().manual_seed(1))
    far, mse = ruler.distances(samples[2000:])
    assert far.mean() == pytest.approx(1, abs=0.2)
    assert far.mean() * ruler.of_pixels / 4 == pytest.approx(float(mse.mean()), rel=1e-4)


def test_the_rate_rises_and_falls() -> None:
    rates = [invert.rate(t / 1000) for t in range(1000)]
    assert rates[0] == 0 and rates[25] == pytest.approx(0.5) and max(rates) == 1 and rates[999] < 1e-4
    assert all(rate == 1 for rate in rates[50:750]) and rates[875] == pytest.approx(0.5)


def test_signal_in_noise_is_seen_and_noise_is_not() -> None:
    noise = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = noise + noise.roll(1, 2)
    coarse = noise[..., :8, :8].repeat_interleave(4, 2).repeat_interleave(4, 3)
    spoiled = [float(invert.correlation([m / m.std()])) for m in (noise, smooth, coarse)]
    assert spoiled[0] < 0.1 < 0.2 < spoiled[1] and spoiled[2] > 1
    tiny = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[None, None]  # neighbours are opposites, both ways
    assert float(invert.correlation([tiny])) == pytest.approx(2)


def test_noise_maps_stay_noise(net: Styles) -> None:
    found = project(net, made(net), "w", steps=20)
    for one in found.noise:
        assert one.mean((1, 2, 3)).abs().max() < 1e-5 and one.std((1, 2, 3), correction=0) == pytest.approx(1, abs=1e-4)


def test_progress_is_told_step_by_step(net: Styles) -> None:
    told: list[tuple[int, float]] = []
    project(net, made(net, 1), "w", steps=5, watch=lambda step, row: told.append((step, row["distance"])))
    assert [step for step, _ in told] == [1, 2, 3, 4, 5] and all(math.isfinite(far) for _, far in told)
