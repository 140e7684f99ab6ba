"""How fast latente trains a small VAE, beside the recipe that everybody starts from.

    LATENTE_DATA=... python benchmarks/vae_speed.py [--quick]

One network (784-400-20, ReLU: the VAE of pytorch/examples), batch 128, Adam 1e-3, float32, MNIST in grey levels, the
same number of images, all in one process, turn by turn (A B C A B C ...), an epoch a turn:

    tutorial   that example's recipe: a DataLoader that makes a PIL image and a tensor of every single digit, no workers
               (as it has on a CPU), probabilities and binary cross entropy, Adam as it comes, one .item() a step
    in memory  the same, but all digits are one float tensor from which batches are indexed
    latente    preset vae-mlp with that network, through latente's stream, step, loop and recorder

Each epoch's rate is images per second without evaluation. The last line is one JSON object; the full run also writes
benchmarks/results/vae_speed.json. Bars: latente 5 times the first, 1.3 times the second, final test bounds within 1 %.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from latente import run
from latente.config import Images, OptimConfig, override
from latente.data.datasets import ImageSet, load
from latente.data.stream import Stream, see
from latente.evaluation.likelihood import elbo, standard_error
from latente.presets import PRESETS
from latente.training.assemble import assemble
from latente.training.life import environment
from latente.training.loop import fit
from latente.training.recorder import Recorder

BARS = {"over_tutorial": 5.0, "over_in_memory": 1.3, "bounds_within": 0.01}
RESULT = Path(__file__).parent / "results" / "vae_speed.json"
BATCH = 128


class Digits(TorchDataset[tuple[Tensor, int]]):
    """What torchvision's MNIST with ToTensor does for one digit: an array, a PIL image, a float tensor in [0, 1]."""

    def __init__(self, images: ImageSet) -> None:
        assert images.labels is not None
        self.data = torch.from_numpy(images.images[:, 0].copy())  # [N, 28, 28]
        self.targets = torch.from_numpy(images.labels.copy())  # [N]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, target = self.data[index], int(self.targets[index])
        picture = Image.fromarray(image.numpy())
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands())).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255), target  # [1, 28, 28]


class TutorialVAE(nn.Module):
    """784-400-20 and back, as the tutorial writes it: two heads, ReLU, a sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean, self.logvar = nn.Linear(400, 20), nn.Linear(400, 20)
        self.back = nn.Linear(20, 400)
        self.pixels = nn.Linear(400, 784)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = F.relu(self.hidden(x.view(-1, 784)))
        return self.mean(h), self.logvar(h)  # [N, 20] each

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.pixels(F.relu(self.back(z))))  # [N, 784] probabilities

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        return -F.binary_cross_entropy(output, x.view(-1, 784), reduction="none").sum(1)  # [N]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.posterior(x)
        std = torch.exp(0.5 * logvar)
        return self.output(mu + torch.randn_like(std) * std), mu, logvar


class Tutorial:
    """Trains the tutorial's network from whatever gives batches of pixels in [0, 1]."""

    def __init__(self, test: Tensor) -> None:
        self.test = test
        torch.manual_seed(1)
        self.net = TutorialVAE()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def learn(self, x: Tensor) -> float:
        self.optimizer.zero_grad()
        output, mu, logvar = self.net(x)
        cross_entropy = F.binary_cross_entropy(output, x.view(-1, 784), reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = cross_entropy + kl
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    def bound(self) -> Tensor:
        return elbo(self.net, self.test, 10).bound  # [N]


class FromLoader(Tutorial):
    """A: every digit decoded and converted by itself."""

    def __init__(self, images: ImageSet, test: Tensor) -> None:
        super().__init__(test)
        self.loader = DataLoader(Digits(images), batch_size=BATCH, shuffle=True)
        self.n = len(images)

    def epoch(self) -> int:
        for x, _ in self.loader:
            self.learn(x)
        return self.n


class FromMemory(Tutorial):
    """B: all digits are one tensor."""

    def __init__(self, images: ImageSet, test: Tensor) -> None:
        super().__init__(test)
        self.data = torch.from_numpy(images.images.copy()).float().div(255)  # [N, 1, 28, 28]

    def epoch(self) -> int:
        for indices in torch.randperm(len(self.data)).split(BATCH):
            self.learn(self.data[indices])
        return len(self.data)


class Latente:
    """C: latente's own stream, step, loop and recorder; only pictures and checkpoints are left out."""

    def __init__(self, images: ImageSet, dataset: Any, test: Tensor, folder: Path) -> None:
        changes = {
            "data.source": "mnist",
            "model.hidden": (400,),
            "model.activation": "relu",
            "model.init": "torch",
            "objective.binarisation": "grey",
            "training.batch": BATCH,
            "training.precision": "float32",
            "training.seed": 1,
        }
        self.config = replace(override(PRESETS["vae-mlp"](), changes), optim=OptimConfig(name="adam", lr=1e-3))
        self.test = test
        device = torch.device("cpu")
        self.assembly = assemble(self.config, dataset, device)
        self.stream = Stream(images, seed=1, device=device, binarisation=self.assembly.binarisation)
        self.recorder = Recorder(
            run.create(folder, self.config, {"image_shape": [1, 28, 28], "classes": []}), _unwatched
        )
        self.per_epoch = len(images)

    def epoch(self) -> int:
        state, t = self.assembly.state, self.config.training
        began = state.images
        self.recorder.start(state)
        fit(
            state,
            self.assembly.step,
            self.stream,
            until=began + self.per_epoch,
            batch_at=self.assembly.batch_at,
            seed=t.seed,
            ema_halflife=t.ema_halflife,
            record=self.recorder.add,
            cadence=[(Images(self.per_epoch // 4), self.recorder.tick)],
        )
        return state.images - began

    def bound(self) -> Tensor:
        net: Any = self.assembly.state.nets["net"]
        return elbo(net, self.test, 10).bound  # [N]


def _unwatched(images: int, row: dict[str, Any]) -> None:
    pass


def ceiling() -> float:
    """Images per second if a step were its matrix products and nothing else: forward, and both gradients of each."""
    shapes = [(784, 400), (400, 40), (20, 400), (400, 784)]
    parts = [(torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o)) for i, o in shapes]

    def products() -> None:
        for number, (x, weight, g) in enumerate(parts):
            x @ weight.t()  # forward
            g.t() @ x  # gradient of the weight
            if number > 0:
                g @ weight  # gradient of the input; the image needs none

    rates = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(100):
            products()
        rates.append(100 * BATCH / (time.perf_counter() - began))
    return statistics.median(rates[2:])


def timed(epoch: Callable[[], int]) -> float:
    """Images per second of one epoch."""
    began = time.perf_counter()
    images = epoch()
    return images / (time.perf_counter() - began)


def measure(rounds: int, share: float, folder: Path) -> dict[str, Any]:
    """`rounds` epochs of each contender, in turns, on the first `share` of the training images."""
    dataset = load(override(PRESETS["vae-mlp"](), {"data.source": "mnist"}).data)
    n = int(len(dataset.train) * share)
    assert dataset.train.labels is not None
    images = ImageSet(dataset.train.name, dataset.train.images[:n], dataset.train.labels[:n], (), None)
    pixels = torch.from_numpy(dataset.test.images.copy())
    unit = pixels.float().div(255)  # [N, 1, 28, 28] in [0, 1], as the tutorial sees them
    contenders: dict[str, FromLoader | FromMemory | Latente] = {
        "tutorial": FromLoader(images, unit),
        "in_memory": FromMemory(images, unit),
        "latente": Latente(images, dataset, see(pixels, "grey"), folder),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, contender in contenders.items():
            rates[name].append(timed(contender.epoch))
        print(f"epoch {turn + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}" for name, each in rates.items()), flush=True)
    torch.manual_seed(0)
    bounds = {name: contender.bound() for name, contender in contenders.items()}
    return {
        "images_per_second": {name: round(statistics.median(each)) for name, each in rates.items()},
        "each_epoch": {name: [round(rate) for rate in each] for name, each in rates.items()},
        "test_bound": {name: round(-float(bound.mean()), 3) for name, bound in bounds.items()},
        "test_bound_standard_error": round(standard_error(bounds["latente"]), 3),
        "images": rounds * n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute, for a look; stores nothing")
    parser.add_argument("--rounds", type=int, default=10, help="epochs of each contender")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(2 if asked.quick else asked.rounds, 0.1 if asked.quick else 1.0, Path(folder))
    rate, bound = found["images_per_second"], found["test_bound"]
    # Of each round, so that a machine that drifts does no harm
    ratios = {
        f"over_{name}": round(
            statistics.median(np.divide(found["each_epoch"]["latente"], found["each_epoch"][name])), 2
        )
        for name in ("tutorial", "in_memory")
    }
    spread = round(max(bound.values()) / min(bound.values()) - 1, 4)
    met = all(ratios[name] >= BARS[name] for name in ratios) and spread <= BARS["bounds_within"]
    figures = {**ratios, "bounds_within": spread, "bars": BARS, "met": met}
    found["matrix_products_alone"] = round(ceiling())
    found["share_of_matrix_products"] = round(rate["latente"] / found["matrix_products_alone"], 2)
    if not asked.quick:
        stored = {
            "benchmark": "vae_speed",
            **figures,
            **found,
            "protocol": "784-400-20 ReLU VAE, MNIST grey, batch 128, Adam 1e-3, float32; an epoch a turn, medians; "
            "bound: test -ELBO with the grey cross entropy, 10 samples of z, nats an image",
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"benchmark": "vae_speed", "quick": asked.quick, **figures, "images_per_second": rate, **found}))


if __name__ == "__main__":
    main()
