"""Metrics of new images: that copies are called so and real images are not, and what the rows say."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latente.data.caras import generate, parse
from latente.data.datasets import Dataset, ImageSet
from latente.evaluation import distances, measure, neighbours, of_samples, similarity, subject
from latente.evaluation.parzen import parzen
from latente.evaluation.subject import Subject
from latente.messages import Problem
from latente.run import create
from test_subject import beside
from toy import image_set, toy


def seen(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32) / 127.5 - 1


@pytest.fixture
def vae(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    return beside("vae", tmp_path, monkeypatch, grey)


def showing(images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on these are the samples of any run."""
    monkeypatch.setattr(Subject, "samples", lambda subject, n: seen(images[:n]))


# ---- Memory ---------------------------------------------------------------------------------------------------------


def test_a_copy_of_the_training_set_is_called_memorising(vae: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    showing(vae.dataset.train.images, monkeypatch)
    row = measure.evaluate(vae.run, ("copies",))["copies"]
    assert row["value"] == 1 and row["interval"][0] > 0.9 and row["real"] == 0.05
    assert (vae.run.folder / row["picture"]).is_file()


def test_new_real_images_are_called_healthy(vae: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    showing(image_set(300, seed=7).images, monkeypatch)
    row = measure.evaluate(vae.run, ("copies", "distances", "neighbours"))
    low, high = row["copies"]["interval"]
    assert low < 0.05 < high and row["copies"]["value"] < 0.12
    assert row["frechet"]["value"] < 2 * row["frechet"]["floor"]
    assert row["kernel"]["interval"][0] < 0 < row["kernel"]["interval"][1]
    assert row["coverage"]["value"] == pytest.approx(row["coverage"]["floor"], abs=0.1)


def test_dropped_classes_are_seen(vae: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = image_set(900, seed=7)
    assert rest.labels is not None
    showing(rest.images[rest.labels == 0], monkeypatch)
    row = measure.evaluate(vae.run, ("distances", "neighbours", "diversity"))
    assert row["frechet"]["interval"][0] > 3 * row["frechet"]["floor"] and row["kernel"]["interval"][0] > 0
    assert row["recall"]["value"] < row["recall"]["floor"] / 2 and row["precision"]["value"] > 0.8
    assert row["ms_ssim"]["interval"][0] > row["ms_ssim"]["real"]


# ---- Rows -----------------------------------------------------------------------------------------------------------


def test_distances_are_those_of_the_features(vae: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_samples.set_distances(vae)
    fake, real, train, again = (vae.features(of) for of in ("fakes", "held_out", "trained_on", "again"))
    known = distances.moments(real)
    for key, x in (("value", fake), ("floor", train), ("reconstruction", again)):
        assert found["frechet"][key] == pytest.approx(distances.frechet(distances.moments(x), known), rel=1e-9)
        assert found["kernel"][key] == pytest.approx(distances.kernel_distance(x, real).value, rel=1e-9)
    protocol = found["frechet"]["protocol"]
    assert protocol == found["kernel"]["protocol"]
    assert (protocol["samples"], protocol["real_images"], protocol["references"]) == (300, 120, "toy")
    named = {"features": "pixels", "features_checksum": "pixels", "filter": "lanczos", "truncation": None}
    assert protocol.items() >= (named | {"seed": 0, "weights": "shown", "split": "held out"}).items()


def test_what_the_network_is_blind_for_is_said(vae: Subject) -> None:
    row = of_samples.set_distances(vae)["frechet"]
    assert row["selfcheck"] == {check.name: check.ordered for check in vae.checks} and len(row["selfcheck"]) == 6
    assert row["selfcheck"]["near"] and not row["selfcheck"]["copies"]
    assert "pixels" in row["remark"]


def test_neighbourhoods_beside_those_of_training_images(vae: Subject) -> None:
    found = of_samples.set_neighbours(vae)
    sets = {of: vae.features(of) for of in ("fakes", "held_out", "trained_on")}
    few = {of: x[np.linspace(0, len(x) - 1, 120).astype(int)] for of, x in sets.items()}
    here = neighbours.neighbourhoods(few["held_out"], few["fakes"])
    floor = neighbours.neighbourhoods(few["held_out"], few["trained_on"])
    assert {name: (row["value"], row["floor"]) for name, row in found.items()} == {
        name: (getattr(here, name), getattr(floor, name)) for name in ("precision", "recall", "density", "coverage")
    }
    assert {name: row["protocol"]["k"] for name, row in found.items()} == {
        "precision": 3, "recall": 3, "density": 5, "coverage": 5
    }  # fmt: skip


def test_pairs_of_samples(vae: Subject) -> None:
    row = of_samples.set_diversity(vae)["ms_ssim"]
    assert row["value"] == similarity.diversity(vae.fakes / 255.0).value
    assert row["real"] == similarity.diversity(vae.dataset.test.images / 255.0).value
    assert (row["protocol"]["samples"], row["protocol"]["real_images"]) == (300, 120)


def test_what_is_found_on_the_way_is_no_protocol(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs whose windows have other widths are measured alike."""
    one = beside("gan", tmp_path, monkeypatch, grey)
    row = of_samples.windows(one)["parzen"]
    test = torch.from_numpy(seen(one.dataset.test.images))
    found = parzen(torch.from_numpy(seen(one.fakes)), test[::2], test[1::2])
    assert row["value"] == pytest.approx(found.value) and row["sigma"] == found.sigma and row["remark"]
    assert "sigma" not in row["protocol"] and "better" not in row


def test_rows_are_plain(vae: Subject) -> None:
    for name in ("distances", "neighbours", "diversity", "copies"):
        for row in measure.evaluate(vae.run, (name,)).values():
            assert json.loads(json.dumps(row)) == row and math.isfinite(row["value"]) and row["unit"]
            assert {"seed", "weights", "truncation", "split", "filter", "samples"} <= set(row["protocol"])


# ---- Invention ------------------------------------------------------------------------------------------------------

RULE = "no-glasses-with-beard"


def faces(n: int, keep_out: Any = ()) -> ImageSet:
    images, factors = generate("test", 0, n, 32, keep_out=keep_out)
    return ImageSet("test", images, None, (), factors)


def all_knowing(truth: dict[bytes, dict[str, Any]], task: str = "factors", size: int = 32) -> Any:
    """A reader that remembers what each face was made from."""

    def predict_factors(x: torch.Tensor) -> dict[str, NDArray[Any]]:
        images = np.rint((x.numpy() + 1) * 127.5).astype(np.uint8)
        rows = [truth[image.tobytes()] for image in images]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    net = SimpleNamespace(predict_factors=predict_factors, state_dict=lambda: {"w": torch.ones(1)})
    config = SimpleNamespace(objective=SimpleNamespace(task=task))
    facts = {"image_shape": [3, size, size]}
    return SimpleNamespace(config=config, dataset=facts, folder=Path("00003-reader"), network=lambda: net)


@pytest.mark.parametrize("keep_out", [(), parse(RULE)])
def test_who_invents_and_who_remembers(keep_out: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the whole world shows what was kept out as often as the world does; one of the training set never."""
    test, made = faces(1500), generate("train", 0, 1000, 32, keep_out=keep_out)
    dataset = Dataset(test, test, {"content": "c"}, Path())
    monkeypatch.setattr(subject, "load", lambda config: dataset)
    showing(made[0], monkeypatch)
    run = create(tmp_path, toy("vae", f"caras:{RULE}"), {"image_shape": [3, 32, 32], "classes": []})
    run.checkpoint(8).mkdir(parents=True)
    truth: dict[bytes, dict[str, Any]] = {}
    for images, factors in ((test.images, test.factors), made):
        for i, image in enumerate(images):
            truth[image.tobytes()] = {name: values[i] for name, values in (factors or {}).items()}
    row = of_samples.inventions(Subject(run, classifier=all_knowing(truth)))["invention"]
    assert row["floor"] == 0 and row["sensitivity"] == 1 and row["real"] > 0.02
    low, high = row["interval"]
    if keep_out:
        assert row["value"] == row["raw"] == 0
    else:
        assert low < row["real"] < high and row["value"] > 0.01
    assert row["protocol"]["classifier"] == "reader" and "sensitivity" not in row["protocol"]


@pytest.mark.parametrize(("task", "size"), [("labels", 32), ("factors", 64)])
def test_who_cannot_read_these_faces(task: str, size: int, tmp_path: Path) -> None:
    run = create(tmp_path, toy("vae", f"caras:{RULE}"), {"image_shape": [3, 32, 32], "classes": []})
    for reader, key in ((all_knowing({}, task, size), "wrong_reader"), (None, "needs_classifier")):
        with pytest.raises(Problem) as problem:
            of_samples.inventions(Subject(run, classifier=reader))
        assert problem.value.key == f"evaluate.{key}"
