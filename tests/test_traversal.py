"""What each latent says: the order of use, the values that are shown, the plane of two."""

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from latente.data.stream import see, seen_as
from latente.exploration import traversal
from latente.exploration.sources import ground, source
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run
from test_sources import trained


@pytest.fixture(scope="module")
def vae(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae-mlp", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def autoencoder(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("ae-stacked", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


def test_the_use_of_a_latent_of_a_vae_is_its_kl(vae):
    place = ground(vae)
    known = traversal.use(place)
    train = place.dataset.train
    total = np.zeros(4)
    for i in range(len(train)):
        x = see(train.gather(np.array([i])), seen_as(vae.config), indices=np.array([i]))
        with torch.no_grad():
            q = place.net.posterior(x)
        for j in range(4):
            mean, variance = float(q.mean[0, j]), math.exp(float(q.logvar[0, j]))
            total[j] += 0.5 * (mean**2 + variance - 1 - math.log(variance))
    assert known.kind == "kl"
    np.testing.assert_allclose(known.amount.numpy(), total / len(train), rtol=1e-3, atol=1e-6)
    assert known.centre.tolist() == [0] * 4 and known.spread.tolist() == [1] * 4, "the prior's"


def test_rows_go_from_the_most_used_to_the_least(vae):
    place = ground(vae)
    sheet, facts = traversal.traversal(place, rows=3, steps=5)
    amounts = np.array(facts["amount"])
    assert facts["order"] == np.argsort(-amounts).tolist() and facts["shown"] == facts["order"][:3]
    for row, j in zip(sheet.blocks[0].cells, facts["shown"], strict=True):
        for cell, reach in zip(row, (-3, -1.5, 0, 1.5, 3), strict=True):
            code = torch.zeros(1, 4)
            code[0, j] = reach
            assert np.array_equal(cell, place.images(code, "codes")[0])
        assert str(j) in sheet.blocks[0].rows[facts["shown"].index(j)]


def test_around_an_image_only_one_latent_moves(vae):
    place = ground(vae)
    start = source(place, "test:0")
    base = place.of(start, "codes")
    sheet, facts = traversal.traversal(place, start, rows=1, steps=3)
    moved = base.clone()
    moved[facts["shown"][0]] = 3.0
    photo, row = sheet.blocks
    assert np.array_equal(row.cells[0][2], place.images(moved[None], "codes")[0])
    assert np.array_equal(photo.cells[1][0], place.images(base[None], "codes")[0]), "and the image beside its code"


def test_an_autoencoders_latents_vary_and_stay_within_its_codes(autoencoder):
    place = ground(autoencoder)
    known = traversal.use(place)
    train = place.dataset.train
    with torch.no_grad():
        codes = place.net.encode(train.gather(np.arange(len(train))).float() / 127.5 - 1).double().numpy()
    assert known.kind == "variance"
    np.testing.assert_allclose(known.amount.numpy(), codes.var(0), rtol=1e-4, atol=1e-9)
    moved = traversal.along(known, known.centre.float(), 1, torch.tensor([-100.0, 0.0, 100.0]))
    np.testing.assert_allclose(
        moved[:, 1].numpy(), [codes[:, 1].min(), codes[:, 1].mean(), codes[:, 1].max()], atol=1e-5
    )
    still = [0, 2, 3]
    np.testing.assert_allclose(moved[:, still].numpy(), codes.mean(0)[None, still].repeat(3, 0), atol=1e-5)


def test_the_plane_of_two_latents_by_the_normals_quantiles(vae):
    place = ground(vae)
    one = torch.ones(2).double()
    flat = traversal.Use("kl", one, 0 * one, one, -1e9 * one, 1e9 * one)
    seen = []

    def images(latents, space):
        seen.append(latents)
        return np.zeros((len(latents), 1, 8, 8), np.uint8)

    object.__setattr__(place, "images", images)
    sheet, facts = traversal.manifold(place, flat, side=4)
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 4) for i in range(4)]
    expected = [[across, up] for up in reversed(quantiles) for across in quantiles]
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-6)
    assert len(sheet.blocks[0].cells) == 4 and facts["side"] == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_generator_without_an_encoder_says_why(gan, language):
    set_language(language)
    with pytest.raises(Problem, match="dcgan") as problem:
        traversal.traversal(ground(gan))
    assert problem.value.key == "explore.no_encoder"
