"""Metrics of models that encode: the rows say what the library measures, and `compare` can read them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latente import training
from latente.data.datasets import Dataset
from latente.evaluation import annealing, likelihood, measure, of_codes, posterior, subject
from latente.evaluation.compare import compare
from latente.evaluation.subject import Subject
from latente.messages import Problem
from latente.run import Run, create
from test_subject import beside
from toy import factor_set, toy


@pytest.fixture
def vae(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    return beside("vae-mlp", tmp_path, monkeypatch, grey, references=30, k=7, steps=3)


def kept(subject: Subject, row: dict[str, Any]) -> Any:
    """Values of single images; what compare.py asks of them holds."""
    values = np.load(subject.run.folder / row["per_image"], allow_pickle=False)
    assert values.dtype == np.float64 and values.ndim == 1 and np.isfinite(values).all()
    assert math.isclose(values.mean(), row["value"], rel_tol=1e-9) and row["protocol"]["references"]
    assert len(values) == row["protocol"]["real_images"]
    return values


def test_the_error_of_reconstructions(vae: Subject) -> None:
    row = of_codes.reconstruction(vae)["mse"]
    x = vae.seen(np.arange(120))
    with torch.no_grad():
        again = vae.net.decode(vae.net.encode(x))
    expected = ((x - again) / 2).square().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(kept(vae, row), expected, rtol=1e-5)


def test_the_bound_and_its_terms(vae: Subject) -> None:
    row = of_codes.bound(vae)["elbo"]
    found = likelihood.elbo(vae.net, vae.seen(np.arange(120)), row["protocol"]["draws"])
    np.testing.assert_allclose(kept(vae, row), found.bound.numpy(), rtol=1e-6)
    assert row["terms"]["reconstruction"] - row["terms"]["kl"] == pytest.approx(row["value"], rel=1e-5)


def test_importance_sampling_and_the_bound_agree(vae: Subject) -> None:
    row, lower = of_codes.importance(vae)["nll"], of_codes.bound(vae)["elbo"]
    assert len(kept(vae, row)) == 30 and row["protocol"]["k"] == 7 and 1 <= row["effective"] <= 7
    indices = vae.dataset.test.spread(30)
    assert (-kept(vae, row) >= kept(vae, lower)[indices] - 1).all(), "nats; it is the tighter bound"
    assert row["protocol"]["binarisation"] == "fixed" and row["protocol"]["likelihood"] == "bernoulli"
    assert "remark" not in row


@pytest.mark.parametrize("kind", ["gaussian", "logistic"])
def test_bits_are_those_of_whole_levels(kind: Any, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = beside("vae", tmp_path, monkeypatch, grey, references=20, k=3)
    tree = json.loads((one.run.folder / "config.json").read_text(encoding="utf-8"))
    config = toy("vae", grey, images=8, sample_every=8, checkpoint_every=8)
    config = replace(config, objective=replace(config.objective, likelihood=kind))
    run = training.train(config, out=tmp_path / "other")
    facts = json.loads((run.folder / "config.json").read_text(encoding="utf-8")) | {"dataset": tree["dataset"]}
    (run.folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    one = Subject(Run(run.folder), references=20, k=3)
    found = of_codes.importance(one)
    assert ("bits_per_dimension" in found) == (kind == "logistic") == ("remark" not in found["nll"])
    if kind == "logistic":
        row, nats = found["bits_per_dimension"], found["nll"]
        np.testing.assert_allclose(kept(one, row), kept(one, nats) / (64 * math.log(2)), rtol=1e-5)
        assert row["interval"] == pytest.approx([end / (64 * math.log(2)) for end in nats["interval"]], rel=1e-5)
        assert row["protocol"] == nats["protocol"]


def test_annealing_says_how_it_was_done(vae: Subject) -> None:
    row = of_codes.annealed(vae)["ais"]
    how: Any = {"steps": 3, "chains": 4, "leaps": 5, "initial": "posterior"}
    assert row["protocol"].items() >= (how | {"seed": 0, "likelihood": "bernoulli"}).items()
    x = vae.seen(vae.dataset.test.spread(30))
    np.testing.assert_allclose(kept(vae, row), -annealing.ais(vae.net, x, **how).bound.numpy(), rtol=1e-9)
    gap = float(annealing.bdmc(vae.net, 30, **how).gap.mean())
    assert row["gap_on_own_images"] == pytest.approx(gap) and f"{gap:.2f}" in row["remark"]


def test_what_the_latents_say(vae: Subject) -> None:
    found = of_codes.latents(vae)
    mean, logvar = posterior.posteriors(vae.net, vae.seen(np.arange(120)))
    each = posterior.kl_per_dimension(mean, logvar)
    np.testing.assert_allclose(found["active"]["kl_of_each"], each.numpy(), atol=1e-4)
    assert found["active"]["of"] == 4 and found["active"]["value"] == int((mean.var(0) > 0.01).sum())
    both = found["information"]["value"] + found["gap"]["value"]
    assert both == pytest.approx(float(each.sum()), rel=1e-4)


def test_factors_and_a_seed_beyond_what_scikit_learn_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = factor_set(150)
    monkeypatch.setattr(subject, "load", lambda config: Dataset(test, test, {"content": "c"}, Path()))
    run = create(tmp_path, toy("vae", "caras"), {"image_shape": [3, 8, 8], "classes": []})
    run.checkpoint(8).mkdir(parents=True)

    class Net:
        """A code that is the factors themselves."""

        def encode(self, x: Any, condition: Any = None) -> Any:
            values = test.factors or {}
            index = [bytes(image) for image in test.images]
            images = np.rint((x.numpy() + 1) * 127.5).astype(np.uint8)
            rows = [index.index(bytes(image)) for image in images]
            return torch.tensor(np.stack([np.asarray(v, np.float32)[rows] for v in values.values()], 1))

    monkeypatch.setattr(Subject, "net", Net())
    found = of_codes.factors(Subject(run, seed=2**32 + 1))
    assert set(found) == {"mig", "sap", "disentanglement", "completeness", "informativeness"}
    assert found["disentanglement"]["value"] > 0.9 and found["mig"]["value"] > 0.8
    assert "scikit-learn" in found["completeness"]["protocol"]["how"] and "bins" in found["mig"]["protocol"]["how"]
    assert found["mig"]["protocol"]["seed"] == 2**32 + 1


def test_runs_can_be_compared_image_by_image(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a density and of bits alike, where the images are the same."""
    runs = []
    for name in ("vae", "ae-conv"):
        one = beside(name, tmp_path / name, monkeypatch, grey)
        measure.evaluate(one.run, ("reconstruction",))
        runs.append(one.run)
    [metric] = compare(runs, ("mse",)).metrics
    assert metric.reason in (None, "compare.not_clear") and metric.pairs[0].how == "paired" and metric.pairs[0].n == 120


def test_other_likelihoods_are_not_ranked(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for name in ("vae", "vae-mlp"):  # a density; bits
        one = beside(name, tmp_path / name, monkeypatch, grey)
        measure.evaluate(one.run, ("bound",))
        runs.append(one.run)
    [metric] = compare(runs, ("elbo",)).metrics
    assert metric.reason == "compare.protocols_differ"
    assert {"likelihood", "binarisation", "references"} <= set(metric.fields["differences"])


def test_of_one_image_nothing_can_be_said(vae: Subject) -> None:
    with pytest.raises(Problem) as problem:
        measure.evaluate(vae.run, ("nll",), references=1)
    assert problem.value.key == "evaluate.too_few_references"
