"""What all metrics share: the run, its samples, the images beside them, and who looks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq

from latente import training
from latente.data.datasets import Dataset
from latente.evaluation import subject
from latente.evaluation.selfcheck import Check
from latente.evaluation.subject import Subject, of_mean, wilson
from latente.messages import Problem
from latente.run import Run, create
from latente.training import life
from toy import image_set, toy


def beside(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, grey: Path, **shared: Any) -> Subject:
    """A toy run of a preset, trained for a step, beside 300 images to learn from and 120 held out."""
    run = life.train(toy(name, grey, images=8, sample_every=8, checkpoint_every=8), out=folder / "runs")
    tree = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
    tree["dataset"] |= {"content": "toy", "train": 300, "test": 120}
    (run.folder / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    facts = {"content": "toy", "filter": "lanczos"}
    dataset = Dataset(image_set(300, seed=1), image_set(120, seed=2), facts, Path())
    monkeypatch.setattr(subject, "load", lambda config: dataset)
    return Subject(Run(run.folder), **shared)


def test_samples_are_what_the_shown_generator_makes_of_its_prior(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "AT_ONCE", 7)
    one = beside("r3gan", tmp_path, monkeypatch, grey, seed=4)
    net = one.run.network()
    expected = net.decode(net.prior(20, torch.Generator().manual_seed(4))).numpy()
    np.testing.assert_allclose(one.samples(20), expected, atol=1e-6)
    hidden = one.run.network(averaged=False)
    assert not np.allclose(hidden.decode(hidden.prior(20, torch.Generator().manual_seed(4))).numpy(), expected)
    assert np.array_equal(one.samples(20), Subject(one.run, seed=4).samples(20))
    assert not np.array_equal(one.samples(20), Subject(one.run, seed=5).samples(20))


def test_a_conditional_generator_is_asked_for_all_labels_alike(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = beside("dcgan conditional", tmp_path, monkeypatch, grey, seed=2)
    net = one.run.network()
    z = net.prior(10, torch.Generator().manual_seed(2))
    expected = net.decode(z, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])).numpy()
    np.testing.assert_allclose(one.samples(10), expected, atol=1e-6)


def test_a_run_that_goes_on_training_is_measured_at_one_checkpoint(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = beside("vae", tmp_path, monkeypatch, grey)
    assert one.clock == 8
    (one.run.folder / "checkpoints" / "000000016").mkdir()  # still empty
    assert one.clock == 8 and len(one.samples(3)) == 3


def test_held_out_images_are_seen_the_same_every_time(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = beside("vae-mlp", tmp_path, monkeypatch, grey)  # Bernoulli, binarised anew at every step
    assert one.run.config.objective.binarisation == "dynamic"  # type: ignore[union-attr]
    some = np.array([3, 50, 119])
    assert set(one.seen(some).unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(one.seen(some), one.seen(np.arange(120))[some])
    checksum = one.checksum(some)
    assert checksum == one.checksum(some) != one.checksum(some[::-1].copy())
    assert one.on(some)["references"] == checksum and one.on(some)["binarisation"] == "fixed"


def test_features_are_those_of_the_judge(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = beside("vae", tmp_path, monkeypatch, grey)
    held = one.dataset.test.images.reshape(120, -1) / 127.5 - 1
    np.testing.assert_allclose(one.features("held_out"), held, atol=1e-6)
    np.testing.assert_allclose(one.features("fakes"), one.fakes.reshape(300, -1) / 127.5 - 1, atol=1e-6)
    assert one.features("again").shape == (120, 64) and one.features("trained_on").shape == (300, 64)


def test_the_pixels_of_large_images_are_those_of_smaller_ones() -> None:
    small, large = subject.pixels((1, 28, 20)), subject.pixels((1, 65, 40))
    assert (small.size, large.size) == (28 * 20, 33 * 20) and subject.pixels((3, 32, 32)).size == 3 * 16 * 16
    x = torch.rand(2, 1, 65, 40) * 2 - 1
    means = large.features(x).view(2, 33, 20)
    assert means[1, 2, 4].item() == pytest.approx(x[1, 0, 4:6, 8:10].mean().item(), abs=1e-6)
    assert means[1, 32, 4].item() == pytest.approx(x[1, 0, 64:, 8:10].mean().item(), abs=1e-6)
    assert subject.smaller(x).shape == (2, 1, 22, 14) and torch.equal(
        subject.smaller(x[..., :32, :32]), x[..., :32, :32]
    )
    assert small.prepare != large.prepare


def test_images_that_are_gone_or_others(grey: Path, tmp_path: Path) -> None:
    source = tmp_path / "moved.npz"
    shutil.copy(grey, source)
    run = training.train(toy("vae", source, images=8, sample_every=8, checkpoint_every=8), out=tmp_path / "runs")
    assert len(Subject(run).dataset.train) == 46
    with np.load(source) as arrays:
        changed = {name: values[:40] for name, values in arrays.items()}
    np.savez(source, **changed)
    with pytest.raises(Problem) as problem:
        _ = Subject(run).dataset
    assert problem.value.key == "train.data_changed"
    source.unlink()
    with pytest.raises(Problem) as problem:
        _ = Subject(run).dataset
    assert "moved.npz" in str(problem.value)


def test_a_network_is_checked_once(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []
    known = [Check("blur", True, (0.5, 1.5), ("held-out", "1 px")), Check("noise", False, (2.0, 1.0), ("a", "b"))]

    def check(judge: Any, train: Any, test: Any) -> list[Check]:
        asked.append(judge.name)
        return known

    monkeypatch.setattr(subject, "selfcheck", check)
    one = beside("vae", tmp_path, monkeypatch, grey)
    assert one.checks == known == Subject(one.run).checks and asked == ["pixels"]
    other = replace(one.eyes, checksum="another")
    assert Subject(one.run, judge=other).checks == known and len(asked) == 2
    few = Dataset(image_set(300), image_set(99), {"content": "toy"}, Path())
    monkeypatch.setattr(subject, "load", lambda config: few)
    assert Subject(one.run, judge=replace(one.eyes, checksum="third")).checks == [] and len(asked) == 2


def test_a_mean_has_the_interval_of_its_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 500)
    found = of_mean(values)
    low, high = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert found["value"] == pytest.approx(values.mean()) and found["interval"] == pytest.approx([low, high], abs=1e-4)


def test_values_of_single_images_are_kept(tmp_path: Path) -> None:
    run = create(tmp_path, toy("vae"), {"image_shape": [1, 8, 8], "classes": []})
    run.checkpoint(64).mkdir(parents=True)
    path = Subject(run).per_image("mse", np.array([1.0, 2.0]))
    assert path == "evaluations/mse-000000064.npy"
    assert np.load(run.folder / path, allow_pickle=False).tolist() == [1.0, 2.0]


# ---- Wilson's interval ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("good", "n"), [(1, 10), (5, 10), (9, 10), (300, 10_000), (9890, 10_000), (9_999, 10_000)])
def test_wilson_inverts_the_normal_test(good: int, n: int) -> None:
    """Its ends are the shares p that |share - p| / sqrt(p (1 - p) / n) = 1.96 just fails to reject."""
    share = good / n
    ends = [
        brentq(lambda p: (share - p) ** 2 * n - 1.96**2 * p * (1 - p), *side, xtol=1e-14)
        for side in ((0, share), (share, 1))
    ]
    assert wilson(share, n) == pytest.approx(ends, abs=1e-10)
    known = stats.binomtest(good, n).proportion_ci(0.95, "wilson")
    assert wilson(share, n) == pytest.approx([known.low, known.high], rel=1e-4)


@pytest.mark.parametrize("n", [1, 7, 600, 9_999, 10_000])
def test_wilson_stays_within_0_and_1(n: int) -> None:
    (low, high), (lower, higher) = wilson(0.0, n), wilson(1.0, n)
    assert low == pytest.approx(0, abs=1e-12) and higher == pytest.approx(1, abs=1e-12)
    assert low >= 0 and higher <= 1 and high == pytest.approx(1 - lower) == pytest.approx(1.96**2 / (n + 1.96**2))
