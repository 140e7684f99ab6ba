"""Does a critic learn to see? A linear classifier on a DCGAN critic's features, on PCA and on raw pixels.

    LATENTE_DATA=... python benchmarks/features.py [--quick] [--run RUN] [--labels 1000] [--work FOLDER]

Radford et al. 2015, section 5: the critic's activations of all layers, max-pooled to 4x4 grids and flattened, then a
linear SVM on a thousand labelled images. The critic has seen no label. Beside it the same SVM on as many principal
components as explain 95 % of the variance, and on the pixels. C is chosen for each on a fifth of the labelled images;
Fashion-MNIST, its own test set.
--run takes a trained run of `dcgan`; otherwise one is trained (300 000 images).

The last line is one JSON object; the full run also writes benchmarks/results/features.json.
"""

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from finished import finished
from latente import run
from latente.config import Images, RunConfig, override
from latente.data.datasets import load
from latente.evaluation.features import write
from latente.presets import PRESETS

RESULT = Path(__file__).parent / "results" / "features.json"
STRENGTHS = (0.00001, 0.0001, 0.001, 0.01, 0.1)  # of C, tried for each kind of features
Floats = NDArray[np.float32]


def recipe(images: int) -> RunConfig:
    """What is trained where no run is given."""
    return override(PRESETS["dcgan"](), {"data.source": "fashion-mnist", "training.images": Images(images)})


def accuracy(train_x: Floats, train_y: NDArray[np.int64], test_x: Floats, test_y: NDArray[np.int64]) -> dict[str, Any]:
    """Of a linear SVM on standardised features, its C chosen on the last fifth of the training rows."""
    scaler = StandardScaler().fit(train_x)
    x, held = scaler.transform(train_x), scaler.transform(test_x)
    cut = len(x) * 4 // 5
    began = time.perf_counter()
    # in the primal: the dual needs far more than its thousand rounds
    scores = {
        c: LinearSVC(C=c, dual=False).fit(x[:cut], train_y[:cut]).score(x[cut:], train_y[cut:]) for c in STRENGTHS
    }
    best = max(scores, key=lambda c: scores[c])
    score = LinearSVC(C=best, dual=False).fit(x, train_y).score(held, test_y)
    seconds = round(time.perf_counter() - began, 1)
    return {"accuracy": round(float(score), 4), "c": best, "size": x.shape[1], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 labels, two thousand images; stores nothing")
    parser.add_argument("--run", help="a trained run of dcgan on fashion-mnist")
    parser.add_argument("--labels", type=int, default=1000, help="labelled training images")
    parser.add_argument("--work", type=Path, default=Path("runs/features"), help="where the run folder is")
    asked = parser.parse_args()
    n = 200 if asked.quick else asked.labels
    work = asked.work / "quick" if asked.quick else asked.work
    here = run.open_run(asked.run) if asked.run else finished(work, recipe(2_000 if asked.quick else 300_000))
    dataset = load(here.config.data)
    assert dataset.train.labels is not None and dataset.test.labels is not None
    labels, truth = np.asarray(dataset.train.labels[:n]), np.asarray(dataset.test.labels)
    with tempfile.TemporaryDirectory() as folder:
        write(here, here.config.data, Path(folder) / "f.npz")
        with np.load(Path(folder) / "f.npz") as arrays:
            critic = arrays["train"][:n], arrays["test"]
    pixels = tuple(
        part.images.reshape(len(part), -1).astype(np.float32) / 255 for part in (dataset.train, dataset.test)
    )
    components = PCA(0.95, random_state=0).fit(pixels[0][:n])
    found = {
        "critic": accuracy(critic[0], labels, critic[1], truth),
        "pca": accuracy(components.transform(pixels[0][:n]), labels, components.transform(pixels[1]), truth),
        "pixels": accuracy(pixels[0][:n], labels, pixels[1], truth),
    }
    result = {
        "benchmark": "features",
        "quick": asked.quick,
        "accuracy": found,
        "labels": n,
        "test_images": len(truth),
        "critic_images": here.checkpoints()[-1],
        "model": here.tree["model"],
        "protocol": "linear SVM (scikit-learn) on standardised features, C chosen on the last fifth of the labels",
        "date": datetime.now(UTC).date().isoformat(),
    }
    if not asked.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
