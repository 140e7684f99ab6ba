"""How fast latente trains a DCGAN, beside the recipe that everybody starts from.

    LATENTE_DATA=... python benchmarks/dcgan_speed.py [--quick] [--rounds 6] [--images 640]

The networks of PyTorch's DCGAN tutorial (64 pixels, 64 filters, batch 64, Adam 2e-4 with beta1 0.5, non-saturating
cost), the same face photos, in one process, turn by turn (A B A B ...), --images a turn:

    tutorial   its recipe: a DataLoader of two workers that opens, crops and converts every photo by itself, eager
               float32, Adam as it comes, five .item() a step
    latente    preset dcgan at width 64 through latente's stream, step, loop and recorder: prepared images, fused Adam,
               channels last, and bfloat16 where the processor multiplies it itself and a probe finds it faster; it also
               averages the generator's weights

The last line is one JSON object; the full run also writes benchmarks/results/dcgan_speed_KIND.json. KIND is what the
processor multiplies with: amx (tiles of bfloat16), bfloat16 (in vectors), float32 (bfloat16 is not faster). Bar: 2.2
times as many images a second. dcgan_samples.py compares what the two make.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from latente import run
from latente.config import Images, RunConfig, override
from latente.data.datasets import load
from latente.data.stream import Stream
from latente.presets import PRESETS
from latente.training.assemble import assemble, channels_last
from latente.training.life import environment, facts
from latente.training.loop import fit
from latente.training.recorder import Recorder
from latente.training.resolve import resolve

BARS = {"over_tutorial": 2.2}
RESULTS = Path(__file__).parent / "results"
BATCH, SIZE, WIDTH, LATENT = 64, 64, 64, 100


class Photos(TorchDataset[Tensor]):
    """What torchvision's ImageFolder with Resize, CenterCrop, ToTensor and Normalize does for one photo."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.open(io.BytesIO(self.files[index].read_bytes())).convert("RGB")
        scale = SIZE / min(picture.size)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
        )
        left, top = (picture.width - SIZE) // 2, (picture.height - SIZE) // 2
        picture = picture.crop((left, top, left + SIZE, top + SIZE))
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).sub(0.5).div(0.5)  # [3, 64, 64]


def tutorial_generator() -> nn.Sequential:
    """z [N, 100, 1, 1] -> images [N, 3, 64, 64]."""
    layers: list[nn.Module] = []
    widths = (LATENT, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH)
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False), nn.BatchNorm2d(outputs)]
        layers.append(nn.ReLU(True))
    return nn.Sequential(*layers, nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1, bias=False), nn.Tanh())


def tutorial_critic() -> nn.Sequential:
    """Images [N, 3, 64, 64] -> probabilities [N, 1, 1, 1]."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for inputs, outputs in ((WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH), (4 * WIDTH, 8 * WIDTH)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * WIDTH, 1, 4, 1, 0, bias=False), nn.Sigmoid())


class Tutorial:
    """A: labels, two backward passes of the critic, one of the generator, and the numbers that it prints."""

    def __init__(self, photos: TorchDataset[Tensor], workers: int = 2, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self.generator, self.critic = tutorial_generator(), tutorial_critic()
        for net in (self.generator, self.critic):
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    nn.init.normal_(module.weight, 0, 0.02)
                elif isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.weight, 1, 0.02)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.5, 0.999))
        self.c_optimizer = torch.optim.Adam(self.critic.parameters(), 2e-4, (0.5, 0.999))
        self.loader = DataLoader(photos, BATCH, shuffle=True, num_workers=workers, drop_last=True)
        self.batches: Any = iter(self.loader)
        self.printed: list[tuple[float, ...]] = []

    def turn(self, images: int) -> None:
        for _ in range(images // BATCH):
            try:
                real = next(self.batches)
            except StopIteration:
                self.batches = iter(self.loader)
                real = next(self.batches)
            self.learn(real)

    def learn(self, real: Tensor) -> None:
        cost = nn.BCELoss()
        self.critic.zero_grad()
        label = torch.full((len(real),), 1.0)
        on_real = self.critic(real).view(-1)
        error_real = cost(on_real, label)
        error_real.backward()
        fake = self.generator(torch.randn(len(real), LATENT, 1, 1))
        on_fake = self.critic(fake.detach()).view(-1)
        error_fake = cost(on_fake, label.fill_(0.0))
        error_fake.backward()
        self.c_optimizer.step()
        self.generator.zero_grad()
        again = self.critic(fake).view(-1)
        error = cost(again, label.fill_(1.0))
        error.backward()
        self.g_optimizer.step()
        both = (error_real + error_fake).item()
        self.printed.append((both, error.item(), on_real.mean().item(), on_fake.mean().item(), again.mean().item()))


class Latente:
    """B: latente's own stream, step, loop and recorder; only pictures and checkpoints are left out."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        dataset = load(config.data)
        device = torch.device("cpu")
        self.config = resolve(config, dataset, device)
        self.assembly = assemble(self.config, dataset, device)
        last = channels_last(self.config, self.assembly.state.nets)
        self.stream = Stream(dataset.train, seed=1, device=device, channels_last=last)
        self.recorder = Recorder(run.create(folder, self.config, facts(dataset)), lambda images, row: None)

    def turn(self, images: int) -> None:
        state, t = self.assembly.state, self.config.training
        self.recorder.start(state)
        fit(
            state,
            self.assembly.step,
            self.stream,
            until=state.images + images,
            batch_at=self.assembly.batch_at,
            seed=t.seed,
            ema_halflife=t.ema_halflife,
            record=self.recorder.add,
            cadence=[(Images(images), self.recorder.tick)],
        )


def photos_of_faces() -> Path:
    """The archive that both train on."""
    return Path(os.environ["LATENTE_DATA"]) / "faces" / "utkface200_jpg.zip"


def recipe(source: Path) -> RunConfig:
    """The tutorial's networks, images and optimizer, in our words."""
    same = {"model.width": WIDTH, "training.batch": BATCH, "data.resolution": SIZE}
    return override(PRESETS["dcgan"](), same | {"data.source": str(source)})


def ceiling() -> float:
    """Floating-point operations a second of this machine in one large matrix product, float32."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / statistics.median(seconds)


def measure(rounds: int, images: int, work: Path) -> dict[str, Any]:
    """`rounds` turns of each, after one that does not count."""
    source = photos_of_faces()
    config = recipe(source)
    with zipfile.ZipFile(source) as archive:
        archive.extractall(work / "photos")
    contenders: dict[str, Tutorial | Latente] = {
        "tutorial": Tutorial(Photos(work / "photos")),
        "latente": Latente(replace(config), work / "runs"),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender.turn(images)
            if turn:
                rates[name].append(images / (time.perf_counter() - began))
    ours = contenders["latente"]
    assert isinstance(ours, Latente)
    return {
        "images_per_second": {name: round(statistics.median(each), 1) for name, each in rates.items()},
        "each_turn": {name: [round(rate, 1) for rate in each] for name, each in rates.items()},
        "precision": ours.config.training.precision,
        "gflop_per_image": 2.48,
        "matrix_product_gflops": round(ceiling() / 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short turns, for a look; stores nothing")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each")
    parser.add_argument("--images", type=int, default=640, help="a turn")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(2 if asked.quick else asked.rounds, 128 if asked.quick else asked.images, Path(folder))
    each = found["each_turn"]
    ratio = round(
        float(statistics.median(np.divide(each["latente"], each["tutorial"]))), 2
    )  # of each round: machines drift
    result = {"benchmark": "dcgan_speed", "quick": asked.quick, "over_tutorial": ratio, "bars": BARS}
    result |= {"met": ratio >= BARS["over_tutorial"], **found}
    if not asked.quick:
        stored = result | {
            "protocol": "PyTorch's DCGAN tutorial, 64 px, 64 filters, batch 64; turns in one process, medians; "
            "ours also averages the generator's weights",
            "machine": environment(torch.device("cpu")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        tiles = torch.cpu.get_capabilities().get("amx_bf16")
        kind = "amx" if tiles and found["precision"] == "bfloat16" else found["precision"]
        (RESULTS / f"dcgan_speed_{kind}.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
