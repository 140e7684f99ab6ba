import math

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from latente.config import DataConfig
from latente.data import check, datasets, points
from latente.data.stream import Stream
from latente.messages import LANGUAGES, Problem, set_language


@pytest.mark.parametrize(("name", "k", "apart", "sd"), [("ring8", 8, 0.6123, 0.008), ("grid25", 25, 0.4, 0.01)])
def test_the_mixtures_of_the_literature(name: str, k: int, apart: float, sd: float) -> None:
    world = points.world(name)
    assert world.centres is not None and world.weights is not None
    assert world.centres.shape == (k, 2) and world.sd == sd and world.weights.sum() == pytest.approx(1)
    gaps = np.linalg.norm(world.centres[:, None] - world.centres, axis=2) + 9 * np.eye(k)
    np.testing.assert_allclose(gaps.min(1), apart, atol=1e-4)


@pytest.mark.parametrize("name", ["ring8", "grid25", "line"])
def test_samples_of_a_mixture_have_its_mean_and_covariance(name: str) -> None:
    world = points.world(name)
    assert world.centres is not None and world.weights is not None
    x = world.sample(100_000, np.random.default_rng(1))
    covariance = np.einsum("k,ki,kj->ij", world.weights, world.centres, world.centres) + world.sd**2 * np.eye(
        world.dimensions
    )
    np.testing.assert_allclose(x.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(np.atleast_2d(np.cov(x.T)), covariance, atol=0.005)


def test_densities_integrate_to_one_and_weigh_each_mode_alike() -> None:
    line = points.world("line")
    halves = [quad(lambda x: line.density(np.array([[x]]))[0], *ends)[0] for ends in ((-1.5, 0), (0, 1.5))]
    np.testing.assert_allclose(halves, 0.5, atol=1e-7)
    grid = points.world("grid25")
    assert grid.centres is not None
    x, y = grid.centres[3]
    around = [x - 0.06, x + 0.06, y - 0.06, y + 0.06]
    mass = dblquad(lambda b, a: grid.density(np.array([[a, b]]))[0], *around, epsabs=1e-6)[0]
    assert mass == pytest.approx(1 / 25, abs=1e-4)


def test_the_spiral_is_covered_evenly() -> None:
    spiral = points.world("spiral")
    with pytest.raises(ValueError, match="closed form"):
        spiral.density(np.zeros((1, 2)))
    t = np.linspace(0, 1, 100_001)
    places = points._spiral(t)
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=1).reshape(10, -1).sum(1)
    assert lengths.max() / lengths.min() < 1.35  # a plain angle would give 8 times as much outside
    x = spiral.sample(2000, np.random.default_rng(0))
    gaps = np.linalg.norm(x[:, None] - places[::200], axis=2).min(1)
    assert 0.8 < np.sqrt(np.square(gaps).mean()) / spiral.sd < 1.1


@pytest.mark.parametrize("source", points.NAMES)
def test_a_data_set_of_points(source: str) -> None:
    data = datasets.load(DataConfig(source=source))
    again = datasets.load(DataConfig(source=source))
    d = points.parse(source).dimensions
    assert data.train.images.shape == (200_000, d, 1, 1) and data.test.images.shape == (10_000, d, 1, 1)
    assert data.train.images.dtype == np.float32 and data.train.labels is None and data.train.classes == ()
    np.testing.assert_array_equal(data.train.images, again.train.images)
    assert data.facts == again.facts and data.facts["kind"] == "points" and data.facts["shape"] == [d, 1, 1]
    largest = np.abs(data.train.images).max()
    assert 0.5 < largest < 1  # nothing is cut off
    assert not np.isin(data.test.images[:, 0, 0, 0], data.train.images[:100, 0, 0, 0]).all()


def test_worlds_differ_in_content() -> None:
    assert len({datasets.load(DataConfig(source=source)).facts["content"] for source in points.NAMES}) == 4


def test_a_stream_shows_the_points_as_they_are() -> None:
    data = datasets.load(DataConfig(source="points:ring8"))
    shown = Stream(data.train, seed=3).take(0, 500).images
    assert shown.shape == (500, 2, 1, 1)
    known = data.train.images[..., 0, 0].copy().view(np.complex64)  # a pair is one number
    assert np.isin(shown[..., 0, 0].numpy().copy().view(np.complex64), known).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_settings_are_answered_in_a_sentence(language: str) -> None:
    set_language(language)
    wrong = [
        DataConfig(source="points:grid52"),
        DataConfig(source="points:"),
        DataConfig(source="points:grid25", resolution=32),
        DataConfig(source="points:grid25", channels="grey"),
    ]
    said = []
    for config in wrong:
        with pytest.raises(Problem) as caught:
            datasets.load(config)
        said.append(str(caught.value))
    assert "points:grid25" in said[0] and "--resolution 32" in said[2] and "--data.channels grey" in said[3]
    assert all("\n" not in sentence and sentence.endswith(".") for sentence in said)
    with pytest.raises(Problem) as caught:
        datasets.load(DataConfig(source="grid25"))
    assert "points:grid25" in str(caught.value)


def test_points_are_listed_and_checked() -> None:
    assert set(points.NAMES) <= {row["name"] for row in datasets.listing() if row["present"]}
    sentences, fault = check.verdict(check.examine(DataConfig(source="points:line")))
    assert not fault and "200000" in sentences[0] and len(sentences) == 2


def test_the_seed_of_a_world_is_its_own() -> None:
    line, ring = (points.draw(source)[0] for source in ("points:line", "points:ring8"))
    assert math.isclose(np.abs(line).max(), 0.9, abs_tol=0.1) and line.shape[1] != ring.shape[1]
