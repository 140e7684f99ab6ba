"""Every autoencoder of chapter 17 of the course's book, beside the validation error that the book's notebook shows.

    LATENTE_DATA=... python benchmarks/book_autoencoders.py [--quick] [--only ae-conv,ae-tied] [--work FOLDER]

Fashion-MNIST; as in the book the last 5 000 training images are held out for validation and 55 000 train. Each preset
is trained as `latente train` does it, for the number of images in it (the book's epochs or fewer), one seed, and
measured at its end: mean squared error of the network's output before it is clamped, pixels in [0, 1], as the book's
"val_loss" (which, in its two sparse autoencoders, holds the penalty too: `val_loss` is that sum). The bar: within
10 % of the book. PCA with as many components stands beside the linear one.

An interrupted benchmark goes on where it was: finished presets are kept in FOLDER, others resume. --quick trains on a
fiftieth of the images, for a look. The last line is one JSON object; after each preset a full run writes it to
benchmarks/results/book_autoencoders.json, where presets that FOLDER has no figures of are marked "not run".
"""

import argparse
import gzip
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latente import run
from latente.config import AutoencoderObjective, override
from latente.data.datasets import ImageSet, load
from latente.data.stream import Batch, see
from latente.models.autoencoder import Autoencoder, terms
from latente.presets import PRESETS, scaled
from latente.training import resume, train
from latente.training.life import environment
from latente.training.minimise import total

BOOK = {  # preset -> (validation error in the notebook, epochs); ageron/handson-ml3, chapter 17
    "ae-linear": (None, None),
    "ae-stacked": (0.0132, 20),
    "ae-tied": (0.0133, 10),
    "ae-greedy": (0.0133, 25),
    "ae-conv": (0.0121, 10),
    "ae-recurrent": (0.0104, 10),
    "ae-denoising": (0.0166, 10),
    "ae-sparse-l1": (0.0111, 10),
    "ae-sparse-kl": (0.0099, 10),
    "ae-contractive": (None, None),
    "ae-hashing": (0.0345, 10),
}
BAR = 1.10
EPOCH, HELD_OUT = 55_000, 5_000
RESULT = Path(__file__).parent / "results" / "book_autoencoders.json"


def split_as_the_book(images: NDArray[np.uint8], folder: Path) -> Path:
    """Write the book's split as a folder of idx files, which `latente train --data` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", images[:-HELD_OUT]), ("t10k", images[-HELD_OUT:])):
        header = b"".join(number.to_bytes(4, "big") for number in (2051, len(part), 28, 28))
        target = folder / f"{name}-images-idx3-ubyte.gz"
        if not target.exists():
            target.write_bytes(gzip.compress(header + part.tobytes(), 1, mtime=0))
    return folder


def errors(net: Autoencoder, objective: AutoencoderObjective, images: ImageSet) -> dict[str, float]:
    """Means over a set: squared error before and after clamping, of the rounded code (hashing), and the whole loss."""
    sums = {"mse": 0.0, "mse_clamped": 0.0, "mse_of_bits": 0.0, "loss": 0.0}
    torch.manual_seed(0)
    for part in np.array_split(np.arange(len(images)), -(-len(images) // 500)):
        x = see(images.gather(part))
        pixels, z = (x + 1) / 2, net.encode(x)
        output = net.coder.decode(z)
        found = {
            "mse": (output - pixels).square().mean(),
            "mse_clamped": (output.clamp(0, 1) - pixels).square().mean(),
            "mse_of_bits": (net.coder.decode(z.round()) - pixels).square().mean(),
            "loss": total(terms(objective)(net, Batch(x, None), 10**12)),
        }
        for name, value in found.items():
            sums[name] += float(value) * len(part) / len(images)
    if not net.hashing:
        del sums["mse_of_bits"]
    return sums


def pca_error(train_images: NDArray[np.uint8], held_out: NDArray[np.uint8], components: int) -> float:
    """Mean squared error of held-out images, projected on the training set's first principal components."""
    x, v = (part.reshape(len(part), -1).astype(np.float64) / 255 for part in (train_images, held_out))
    mean = x.mean(0)
    axes = np.linalg.eigh(np.cov((x - mean).T))[1][:, -components:]
    return float((((v - mean) - (v - mean) @ axes @ axes.T) ** 2).mean())


def measure(name: str, data: Path, work: Path, test: ImageSet, quick: bool) -> dict[str, Any]:
    """Train one preset, or take it up again, and measure it."""
    config = override(PRESETS[name](), {"data.source": str(data)})
    if quick:
        config, _ = scaled(config, config.training.images // 50, keep=set())
    runs = work / name
    known = sorted(runs.glob("*/config.json"))
    here = run.Run(known[-1].parent) if known else train(config, out=runs)
    if known and here.stopped() != "finished":
        here = resume(here)
    if here.stopped() != "finished":
        raise KeyboardInterrupt  # taken up again next time
    dataset = load(here.config.data)
    net, objective = here.network(), config.objective
    assert isinstance(net, Autoencoder) and isinstance(objective, AutoencoderObjective)
    with torch.no_grad():
        held_out, tested = (errors(net.eval(), objective, part) for part in (dataset.test, test))
    book, epochs = BOOK[name]
    found: dict[str, Any] = {
        "epochs": config.training.images / EPOCH,
        "batch": config.training.batch,
        "lr": config.optim.lr,
        "val_mse": held_out["mse"],
        "val_mse_clamped": held_out["mse_clamped"],
        "val_loss": held_out["loss"],
        "test_mse": tested["mse"],
        "test_mse_clamped": tested["mse_clamped"],
        "seconds": sum(row["seconds"] for row in here.timing() if "seconds" in row),
    }
    if "mse_of_bits" in held_out:
        found["val_mse_of_bits"] = held_out["mse_of_bits"]
    if name == "ae-linear":
        found["pca_val_mse"] = pca_error(dataset.train.images, dataset.test.images, net.latent)
    if book is not None:
        found |= {
            "book": book,
            "book_epochs": epochs,
            "limit": round(BAR * book, 5),
            "over_book": held_out["mse"] / book,
        }
        found["held"] = held_out["mse"] <= BAR * book and found["epochs"] <= epochs
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(BOOK), help="presets, separated by commas")
    parser.add_argument("--work", type=Path, help="where runs and finished figures are kept")
    arguments = parser.parse_args()
    default = Path(tempfile.gettempdir()) / f"latente-book-autoencoders{'-quick' if arguments.quick else ''}"
    work = arguments.work or default
    official = load(override(PRESETS["ae-stacked"](), {"data.source": "fashion-mnist"}).data)
    data = split_as_the_book(official.train.images, work / "data")
    for name in arguments.only.split(","):
        kept = work / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(measure(name, data, work, official.test, arguments.quick)))
        row = json.loads(kept.read_text())
        print(f"{name:15} {row['val_mse']:.5f}  limit {row.get('limit', '-')}  {row['seconds']:.0f} s", flush=True)
        result = report(work, arguments.quick)
        if not arguments.quick:
            RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def report(work: Path, quick: bool) -> dict[str, Any]:
    """All figures that FOLDER holds. The bar is held once every preset has been run and holds it."""
    figures = {}
    for name, (book, epochs) in BOOK.items():
        kept = work / f"{name}.json"
        unknown = {"status": "not run", "book": book, "book_epochs": epochs}
        figures[name] = json.loads(kept.read_text()) if kept.exists() else unknown
    barred = [figures[name] for name, (book, _) in BOOK.items() if book is not None]
    return {
        "benchmark": "book_autoencoders",
        "quick": quick,
        "bar": f"val_mse at most {BAR} x the book's, in its number of epochs or fewer",
        "held": all(row.get("held", False) for row in barred),
        "not_run": [name for name, row in figures.items() if "status" in row],
        "presets": figures,
        "protocol": {
            "data": "fashion-mnist, last 5000 of train held out, 55000 for training; test split beside it",
            "val_mse": "mean squared error before clamping, pixels in [0, 1], clean input, no noise",
            "seeds": 1,
            "seconds": "of training, by the clock, each preset by itself; other work on the machine slows it",
        },
        "machine": environment(torch.device("cpu")) | {"cores": os.cpu_count()},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
