"""Directions: against numpy, against a plane that is known, and moved along where the answer is known."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latente.exploration import edit, spaces
from latente.exploration.edit import Direction
from latente.messages import LANGUAGES, Problem, set_language
from latente.models.autoencoder import Autoencoder
from latente.run import Run, create
from styles import Plane, Styles
from toy import image_set, toy


def kept_run(folder: Path, name: str = "dcgan", classes: tuple[str, ...] = ()) -> Run:
    return create(folder, toy(name), {"image_shape": [1, 8, 8], "classes": list(classes)})


@pytest.fixture
def styled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose generator is a small one of styles."""
    return of(Styles(), tmp_path, monkeypatch)


def of(net: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(edit, "generator_of", lambda run: net)
    return kept_run(folder)


# ---- Vectors --------------------------------------------------------------------------------------------------------


def test_principal_components_are_numpys() -> None:
    x = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)) @ torch.randn(5, 5) + 3
    vectors, shares = edit.principal(x)
    values, theirs = np.linalg.eigh(np.cov(x.double().numpy().T))
    np.testing.assert_allclose(shares, values[::-1] / values.sum(), rtol=1e-4)
    np.testing.assert_allclose(np.abs((vectors.numpy() * theirs.T[::-1]).sum(1)), 1, atol=1e-4)
    assert all(vector[vector.abs().argmax()] > 0 for vector in vectors)


def test_what_weights_stretch_most_is_numpys() -> None:
    a = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    vectors, values = edit.stretched(a)
    _, singular, right = np.linalg.svd(a.double().numpy())
    np.testing.assert_allclose(values, singular**2, rtol=1e-4)
    np.testing.assert_allclose(np.abs((vectors.numpy() * right).sum(1)), 1, atol=1e-4)
    theirs = np.linalg.eig(a.numpy().T @ a.numpy()).eigenvalues
    np.testing.assert_allclose(values, np.sort(theirs)[::-1], rtol=1e-4)
    np.testing.assert_allclose((a @ vectors[0]).norm() ** 2, values[0], rtol=1e-4)


def test_a_boundary_is_the_plane_that_is_known() -> None:
    rng = np.random.default_rng(0)
    normal = np.array([0.6, 0.0, -0.8, 0.0])
    x = rng.normal(size=(3000, 4)) * [1, 3, 0.5, 1]
    shows = x @ normal + 0.1 * rng.normal(size=3000) > 0.4
    found = edit.boundary(x, shows)
    assert found.normal @ normal > 0.99 and found.accuracy > 0.95 and found.held_out == 600
    assert found.commonest == pytest.approx(max(shows.mean(), 1 - shows.mean()), abs=0.05)
    blind = edit.boundary(x, rng.random(3000) < 0.7)
    assert blind.accuracy == pytest.approx(blind.commonest, abs=0.03), "no better than always saying the commoner"


def test_a_boundary_needs_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Problem) as problem:
        edit.boundary(np.zeros((4, 2)), np.array([True, False, True, False]))
    assert problem.value.key == "edit.needs_sklearn"


# ---- The first weights ----------------------------------------------------------------------------------------------


def test_the_styles_of_each_layer_are_found() -> None:
    net = Styles()
    found = edit.first_weights(net)
    assert [layer for layer, _ in found] == [0, 1, 2]
    for layer, a in found:
        style = net.styles[layer]
        np.testing.assert_allclose(a, style.weight * style.scale, atol=1e-6)


@pytest.mark.parametrize("name", ["dcgan", "dcgan conditional", "r3gan", "r3gan conditional", "vae", "vae-mlp", "gan"])
def test_the_first_layer_of_every_family(name: str) -> None:
    """What is found is the slope of the first layer: images hang on z through it alone."""
    from latente import models

    config = toy(name)
    nets = models.build(config, (1, 8, 8), 3)
    net = nets[models.decoder_of(config) or ""].eval()
    [(layer, a)] = edit.first_weights(net)
    assert layer == 0 and a.shape[1] == 4
    blind = torch.linalg.svd(torch.cat([a, torch.zeros(4, 4)])).Vh[-1] if a.shape[0] < 4 else None
    assert blind is None and torch.linalg.matrix_rank(a) == 4


def test_weights_that_no_module_holds_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy("ae-tied")
    net = Autoencoder(config.model, (1, 8, 8)).eval()  # type: ignore[arg-type]
    with pytest.raises(Problem) as problem:
        edit.factorised(of(net, tmp_path, monkeypatch))
    assert problem.value.key == "edit.no_first_layer"


def test_factorised_directions_are_the_eigenvectors(styled: Run) -> None:
    net = Styles()
    found = edit.factorised(styled, n=3, layers=(1, 2))
    a = torch.cat([style.weight * style.scale for style in net.styles[1:]]).double().numpy()
    values, vectors = np.linalg.eigh(a.T @ a)
    for i, one in enumerate(found):
        assert one.name == f"factor-1-2-{i + 1}" and one.layers == (1, 2) and one.space == "w"
        assert one.facts["eigenvalue"] == pytest.approx(values[-1 - i], rel=1e-4)
        assert abs(one.vector.numpy() @ vectors[:, -1 - i]) == pytest.approx(1, abs=1e-4)
    w = spaces.drawn(net, 10_000)
    assert found[0].spread == pytest.approx(float((w @ found[0].vector).std()), rel=1e-4)


def test_layers_that_there_are_not(styled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem) as problem:
        edit.factorised(styled, layers=(0, 3))
    assert problem.value.key == "edit.layers"
    with monkeypatch.context() as patch:  # a network of which the last layer has not grown yet
        patch.setattr(edit, "first_weights", lambda net, known=edit.first_weights: known(net)[:2])
        assert edit.factorised(styled, n=1, layers=(1, 2))[0].layers == (1, 2)
        with pytest.raises(Problem, match="1") as problem:
            edit.factorised(styled, layers=(2, 2))
        assert problem.value.key == "edit.layers"
    with pytest.raises(Problem) as problem:
        edit.factorised(of(Plane(), tmp_path / "other", monkeypatch), layers=(0, 1))
    assert problem.value.key == "edit.no_layers"


# ---- Components and boundaries of generators ------------------------------------------------------------------------


def test_components_are_those_of_w(styled: Run) -> None:
    found = edit.components(styled, n=4, seed=3)
    vectors, shares = edit.principal(spaces.drawn(Styles(), 10_000, 3))
    assert [one.name for one in found] == ["pca-1", "pca-2", "pca-3", "pca-4"]
    assert [one.facts["share"] for one in found] == pytest.approx(shares[:4].tolist())
    assert torch.equal(found[2].vector, vectors[2])


def test_components_of_codes_are_those_of_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Autoencoder(toy("ae-conv").model, (1, 8, 8)).eval()  # type: ignore[arg-type]
    images = image_set(40)
    monkeypatch.setattr(spaces, "load", lambda config: SimpleNamespace(train=images, facts={"content": "others"}))
    [found, *_] = edit.components(of(net, tmp_path, monkeypatch))
    with torch.no_grad():
        codes = net.encode(torch.from_numpy(images.images).float() / 127.5 - 1)
    assert found.space == "codes" and found.spread == pytest.approx(float((codes @ found.vector).std()), rel=1e-4)
    assert found.facts["share"] == pytest.approx(float(edit.principal(codes)[1][0]), rel=1e-4)
    changed = create(tmp_path / "changed", toy("ae-conv"), {"image_shape": [1, 8, 8], "classes": [], "content": "ours"})
    with pytest.raises(Problem) as problem:
        edit.components(changed)
    assert problem.value.key == "train.data_changed"


def test_z_has_no_components(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem) as problem:
        edit.components(of(Plane(), tmp_path, monkeypatch))
    assert problem.value.key == "edit.no_components"


def test_towards_images_that_show_a_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a linear world, whether a pixel is bright is a plane in z: its normal is a row of the weights."""
    net = Plane()
    run = of(net, tmp_path, monkeypatch)
    told: list[int] = []
    middle = float(net.linear.bias[6])

    def bright(images: Tensor) -> Any:
        return (images[:, 0, 1, 2] > middle).numpy()

    found = edit.between(run, "bright", bright, n=2000, watch=lambda done, row: told.append(done))
    row = net.linear.weight[6] / net.linear.weight[6].norm()
    assert float(found.vector @ row) > 0.99 and found.facts["accuracy"] > 0.95 and told[-1] == 2000
    strengths = np.linspace(-2, 2, 9)
    images = edit.moved(net, "z", torch.zeros(1, 3), found, strengths.tolist())
    levels = images[:, 0, 1, 2]
    assert (levels.diff() > 0).all() and levels[4] == pytest.approx(middle, abs=1e-6)
    np.testing.assert_allclose(levels.diff(), levels.diff().mean(), rtol=1e-3)


def test_what_nobody_shows_has_no_boundary(styled: Run) -> None:
    with pytest.raises(Problem) as problem:
        edit.between(styled, "hats", lambda images: np.zeros(len(images), bool), n=300)
    assert problem.value.key == "edit.one_sided" and "hats" in str(problem.value)


# ---- Moving ---------------------------------------------------------------------------------------------------------


def test_a_layer_range_moves_those_layers_alone() -> None:
    net = Styles()
    w = spaces.drawn(net, 1, 4)
    vector = torch.eye(6)[2]
    one = Direction("d", "factorised", "w", vector, 0.5, (1, 1))
    images = edit.moved(net, "w", w, one, [-1.0, 0.0, 2.0])
    ws = net.broadcast(w)
    for image, strength in zip(images, [-1.0, 0.0, 2.0], strict=True):
        by_hand = ws.clone()
        by_hand[:, 1, 2] += strength * 0.5
        np.testing.assert_allclose(image, net.synthesis(by_hand)[0], atol=1e-6)


def test_what_is_moved_may_come_from_any_space_of_styles() -> None:
    net = Styles()
    z = net.prior(1, torch.Generator().manual_seed(4))
    one = Direction("d", "components", "w", torch.eye(6)[0], 1.0)
    noise = net.noise_maps(1, torch.Generator().manual_seed(8))
    from_z, from_w = (
        edit.moved(net, space, x, one, [0.0, 1.0], noise=noise) for space, x in (("z", z), ("w", net.mapping(z)))
    )
    from_ws = edit.moved(net, "w+", net.broadcast(net.mapping(z)), one, [0.0, 1.0], noise=noise)
    assert torch.equal(from_z, from_w) and torch.equal(from_w, from_ws)
    assert not torch.equal(from_w, edit.moved(net, "w", net.mapping(z), one, [0.0, 1.0]))


# ---- Kept -----------------------------------------------------------------------------------------------------------


def test_directions_are_kept_and_read_back(tmp_path: Path) -> None:
    run = kept_run(tmp_path)
    one = Direction("glasses", "boundary", "w", torch.tensor([0.6, 0.8]), 1.5, (0, 3), {"accuracy": 0.9})
    other = Direction("factor-1", "factorised", "z", torch.tensor([1.0, 0.0]), 1.0)
    for each in (one, other):
        edit.keep(run, each)
    assert edit.kept(run) == ["factor-1", "glasses"]
    back = edit.read_kept(run, "glasses")
    assert torch.equal(back.vector, one.vector) and (back.layers, back.spread, back.facts) == ((0, 3), 1.5, one.facts)
    assert edit.read_kept(run, "factor-1").layers is None
    facts = json.loads((run.folder / "directions" / "glasses.json").read_text(encoding="utf-8"))
    assert facts["accuracy"] == 0.9 and facts["space"] == "w"


@pytest.mark.parametrize("language", LANGUAGES)
def test_directions_that_are_not_there_or_damaged(tmp_path: Path, language: str) -> None:
    set_language(language)
    run = kept_run(tmp_path)
    with pytest.raises(Problem) as problem:
        edit.read_kept(run, "glasses")
    assert problem.value.key == "edit.none_yet" and str(run.folder) in str(problem.value)
    edit.keep(run, Direction("beard", "boundary", "w", torch.ones(2), 1.0))
    with pytest.raises(Problem) as problem:
        edit.read_kept(run, "bread")
    assert problem.value.key == "edit.no_such" and "beard" in str(problem.value)
    (run.folder / "directions" / "beard.safetensors").write_bytes(b"no")
    with pytest.raises(Problem) as problem:
        edit.read_kept(run, "beard")
    assert problem.value.key == "edit.damaged"


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 61])
def test_names_that_files_cannot_have(name: str) -> None:
    with pytest.raises(Problem) as problem:
        edit.checked_name(name)
    assert problem.value.key == "edit.bad_name"
    assert edit.checked_name("pose_x-2") == "pose_x-2"
