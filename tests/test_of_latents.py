"""Rows of path length and separability: what they are of, and that they are what the formulas say."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latente.evaluation import of_latents, of_samples, smoothness
from latente.evaluation.judges import Judge
from latente.evaluation.subject import Subject
from latente.messages import LANGUAGES, Problem, set_language
from latente.paths import lerp, slerp
from styles import Styles
from test_subject import beside


@pytest.fixture
def styled(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A run whose generator has styles, 24 ways through its latents."""
    monkeypatch.setattr(of_latents, "_WAYS", 24)
    monkeypatch.setattr(of_latents, "_AT_ONCE", 10)
    one = beside("dcgan", tmp_path, monkeypatch, grey, seed=3)
    one.__dict__["net"] = Styles()
    return one


def test_lengths_are_those_of_small_steps(styled: Subject) -> None:
    """In float64, by two images a small step apart, as the paper has it."""
    rows = of_latents.path_lengths(styled)
    assert list(rows) == ["path_z_full", "path_z_end", "path_w_full", "path_w_end"]
    net, generator, step = Styles(), torch.Generator().manual_seed(3), 1e-4
    a, b, t = net.prior(24, generator), net.prior(24, generator), torch.rand(24, generator=generator)
    a, b, t = a.double(), b.double(), t.double()
    net = net.double()
    real = styled.features("held_out").astype(np.float64)
    real = np.random.default_rng(0).permutation(real)
    unit = np.square(real[:60] - real[60:]).sum(1).mean()
    with torch.no_grad():

        def length(show: Any, go: Any, a: Tensor, b: Tensor, t: Tensor) -> float:
            apart = (show(go(a, b, t + step)) - show(go(a, b, t))) / step
            return smoothness.trimmed(apart.square().flatten(1).sum(1).numpy() / unit)[0]

        def of_style(w: Tensor) -> Tensor:
            return net.synthesis(net.broadcast(w))

        w = net.mapping(a), net.mapping(b)
        at_zero = torch.zeros(24).double()
        expected = {
            "path_z_full": length(net.decode, slerp, a, b, t),
            "path_z_end": length(net.decode, slerp, a, b, at_zero),
            "path_w_full": length(of_style, lerp, *w, t),
            "path_w_end": length(of_style, lerp, *w, at_zero),
        }
    for name, row in rows.items():
        assert row["value"] == pytest.approx(expected[name], rel=2e-3), name
        assert row["interval"][0] < row["value"] < row["interval"][1]
        assert row["protocol"]["way"] == ("slerp" if "_z_" in name else "lerp") and row["protocol"]["ways"] == 24


@pytest.mark.parametrize("language", LANGUAGES)
def test_recall_goes_with_it(styled: Subject, language: str) -> None:
    set_language(language)
    recall = of_samples.set_neighbours(styled)["recall"]["value"]
    for row in of_latents.path_lengths(styled).values():
        assert row["recall"] == recall and f"{100 * recall:.0f} %" in row["remark"], "no point or comma to get wrong"


def test_lengths_do_not_hang_on_the_scale_of_the_features(styled: Subject) -> None:
    twice = Judge("twice", "twice", 64, "x 2", lambda x: 2 * x.flatten(1))
    other = replace(styled, judge=twice, kept={})
    other.__dict__["net"] = Styles()
    here, there = of_latents.path_lengths(styled), of_latents.path_lengths(other)
    for name, row in here.items():
        assert there[name]["value"] == pytest.approx(row["value"], rel=1e-4)


@pytest.mark.parametrize(("name", "way"), [("vae", "lerp"), ("dcgan conditional", "slerp")])
def test_what_has_no_styles_has_ways_in_its_own_space(
    name: str, way: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_latents, "_WAYS", 9)
    rows = of_latents.path_lengths(beside(name, tmp_path, monkeypatch, grey))
    assert list(rows) == ["path_z_full", "path_z_end"]
    assert all(row["protocol"]["way"] == way and row["value"] > 0 for row in rows.values())


# ---- Separability ---------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """Sees glasses where the left is bright, in three kinds, and a mouth where the top is."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = {"glasses": 3, "mouth": 0, "hair": 2}

    def forward(self, x: Tensor) -> Tensor:
        left, top = x[:, 0, :, :4].mean((1, 2)), x[:, 0, :4].mean((1, 2))
        zero = torch.zeros_like(left)
        return torch.stack([zero, left, 2 * left, top, zero, zero], 1)


def test_attributes_are_scored_by_their_odds() -> None:
    x = torch.zeros(2, 1, 8, 8)
    x[0, :, :, :4] = 0.5
    x[1] = -0.25
    found = of_latents.attributes(Reader(), x)  # type: ignore[arg-type]
    assert set(found) == {"glasses", "mouth"}, "hair is not a thing that one has or has not"
    np.testing.assert_allclose(
        found["glasses"], [math.log(np.exp(0.5) + np.exp(1)), math.log(np.exp(-0.25) + np.exp(-0.5))]
    )
    np.testing.assert_allclose(found["mouth"], [0.25, -0.25])


def test_both_spaces_are_parted(styled: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_latents, "_PARTED", 600)
    monkeypatch.setattr(Reader, "forward", lambda self, x: torch.stack([x[:, 0, i, i] - level[i] for i in range(6)], 1))
    level = Styles().decode(torch.zeros(1, 6))[0, 0].diag()
    task = SimpleNamespace(objective=SimpleNamespace(task="factors"))
    run = SimpleNamespace(folder=Path("00001-reader"), config=task, dataset={"image_shape": [1, 8, 8]}, network=Reader)
    one = replace(styled, classifier=run)
    one.__dict__["net"] = Styles()
    rows = of_latents.separabilities(one)
    assert list(rows) == ["separability_z", "separability_w"]
    for row in rows.values():
        assert row["value"] == pytest.approx(math.exp(sum(row["entropies"].values()))) and row["value"] >= 1
        assert row["protocol"]["samples"] == 600 and row["protocol"]["classifier"] == "reader"
    with pytest.raises(Problem) as problem:
        of_latents.separabilities(styled)
    assert problem.value.key == "evaluate.needs_classifier"
