"""What is measured: a run at its newest checkpoint, its samples, the real images beside them, and who looks at them."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latente.data.cache import cache_root
from latente.data.datasets import Dataset, load
from latente.data.stream import condition, see, seen_as
from latente.evaluation import judges
from latente.evaluation.judges import Judge
from latente.evaluation.selfcheck import Check, selfcheck
from latente.messages import Problem
from latente.pictures import to_pixels
from latente.run import Run, write

AT_ONCE = 500  # images that go through a network together
SAMPLES = 10_000  # new images, and real ones of each split, at most
SIDE = 32  # pixels a side, at most, where copies are looked for
_PIXELS = 1024  # values an image, at most, where distances are taken on the pixels
_CHECKED = 100  # images of each split that a self-check takes
_SPARING = 500  # images of a self-check through a network that reads few at a time: each is read ten times

Rows = dict[str, dict[str, Any]]  # metric -> {value, unit, interval?, ..., protocol}


@dataclass(frozen=True)
class Subject:
    """A run and all that its metrics share, made when first asked for."""

    run: Run
    seed: int = 0
    classifier: Run | None = None  # a run of the family `classifier` that reads the images
    judge: Judge | None = None  # the feature network of distances; None: raw pixels
    references: int = 1000  # held-out images that a likelihood is measured on, at most
    k: int = 100  # samples of each in the importance-weighted bound
    steps: int = 100  # of annealed importance sampling
    kept: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @cached_property
    def clock(self) -> int:
        """Images shown at the newest checkpoint. The same to the end, even of a run that goes on training."""
        return self.run.checkpoints()[-1]

    @cached_property
    def net(self) -> Any:
        """The network that makes images, as it is shown."""
        return self.run.network(self.clock)

    @cached_property
    def dataset(self) -> Dataset:
        """The images of the run. Problem if they are gone, or are not those that it was trained on."""
        config = self.run.config
        found = load(config.data)
        if self.run.dataset.get("content") not in (None, found.facts["content"]):
            raise Problem("train.data_changed", source=config.data.source, folder=self.run.folder)
        return found

    @cached_property
    def eyes(self) -> Judge:
        """The feature network, or the pixels."""
        channels, height, width = self.run.dataset["image_shape"]
        return self.judge or pixels((channels, height, width))

    @torch.no_grad()
    def samples(self, n: int) -> NDArray[np.float32]:
        """n images [n, C, H, W] in [-1, 1], or points, as the shown weights make them; of a conditional model as many
        of each class."""
        net = self.net
        z = net.prior(n, torch.Generator().manual_seed(self.seed))
        conditional = getattr(self.run.config.model, "conditional", False)
        labels = torch.arange(n) % len(self.run.dataset["classes"]) if conditional else None
        parts = []
        for start in range(0, n, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            parts.append(net.decode(z[part], None if labels is None else labels[part]).numpy())
        return np.concatenate(parts)

    @cached_property
    def fakes(self) -> NDArray[np.uint8]:
        """New images, uint8 [n, C, H, W] as they would be saved; at most as many as there are real ones to set beside
        them."""
        return to_pixels(self.samples(min(SAMPLES, max(len(self.dataset.train), len(self.dataset.test)))))

    @cached_property
    def again(self) -> NDArray[np.uint8]:
        """Held-out images, encoded and decoded, uint8 [n, C, H, W]."""
        return to_pixels(np.concatenate([self.decoded(i).numpy() for i in self.parts(self.held_out)]))

    @cached_property
    def held_out(self) -> NDArray[np.int64]:
        """Indices of the held-out images."""
        return self.dataset.test.spread(SAMPLES)

    @cached_property
    def trained_on(self) -> NDArray[np.int64]:
        """Indices of as many training images."""
        return self.dataset.train.spread(SAMPLES)

    def parts(self, indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """A few indices at a time."""
        yield from np.array_split(indices, -(-len(indices) // AT_ONCE))

    def seen(self, indices: NDArray[np.int64]) -> Tensor:
        """Held-out images as the network sees them, the same every time: [n, C, H, W] in [-1, 1]."""
        return see(self.dataset.test.gather(indices), seen_as(self.run.config), indices=indices)

    def told(self, indices: NDArray[np.int64]) -> Tensor | None:
        """Their labels, where the network is told them."""
        conditional = getattr(self.run.config.model, "conditional", False)
        return condition(self.dataset.test, indices) if conditional else None

    @torch.no_grad()
    def decoded(self, indices: NDArray[np.int64]) -> Tensor:
        """Held-out images through the bottleneck, [n, C, H, W] in [-1, 1]."""
        labels = self.told(indices)
        images: Tensor = self.net.decode(self.net.encode(self.seen(indices), labels), labels)
        return images

    def features(self, of: str) -> NDArray[np.float32]:
        """What the feature network makes of "fakes", "again", "held_out" or "trained_on", [n, F]; kept."""
        if of not in self.kept:
            images = self.dataset.test if of == "held_out" else self.dataset.train
            made = getattr(self, of)
            parts = []
            for part in self.parts(np.arange(len(made))):
                shown = images.gather(made[part]) if of in ("held_out", "trained_on") else torch.from_numpy(made[part])
                parts.append(self.eyes.features(see(shown)).numpy())
            self.kept[of] = np.concatenate(parts)
        return self.kept[of]

    @cached_property
    def checks(self) -> list[Check]:
        """What the feature network sees, and for what it is blind: found once for each network and set of images, and
        kept in the cache. [] where there are too few images to tell."""
        train, test = self.dataset.train, self.dataset.test
        if min(len(train), len(test)) < _CHECKED:
            return []
        name = f"selfcheck-{self.eyes.checksum[:16]}-{self.dataset.facts['content'][:16]}.json"
        path = cache_root() / "classifiers" / name
        if not path.exists():
            sparing = {"images": _SPARING} if self.eyes.at_once < AT_ONCE else {}
            found = selfcheck(self.eyes, train, test, **sparing)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, {"network": self.eyes.name, "checks": [asdict(check) for check in found]})
        kept = json.loads(path.read_text(encoding="utf-8"))["checks"]
        return [Check(one["name"], one["ordered"], tuple(one["values"]), tuple(one["levels"])) for one in kept]

    def protocol(self, **more: Any) -> dict[str, Any]:
        """What every value of a run hangs on."""
        return {"seed": self.seed, "weights": "shown", "checkpoint": "newest", "truncation": None, **more}

    def judged(self, **more: Any) -> dict[str, Any]:
        """The same for what was seen through the feature network, beside held-out images."""
        return self.protocol(**self.eyes.protocol(), **self.real(), **more)

    def real(self) -> dict[str, Any]:
        """Which real images new ones are set beside."""
        facts = self.dataset.facts
        return {"references": facts["content"], "split": "held out", "filter": facts.get("filter")}

    def on(self, indices: NDArray[np.int64], **more: Any) -> dict[str, Any]:
        """The same for what was measured on held-out images as the network sees them."""
        seen = {"references": self.checksum(indices), "real_images": len(indices), "split": "held out"}
        how = {"filter": self.dataset.facts.get("filter"), "binarisation": seen_as(self.run.config)}
        return self.protocol(**seen, **how, **more)

    def per_image(self, name: str, values: NDArray[np.float64]) -> str:
        """Keep the values of single images, for comparisons image by image: the path inside the run's folder."""
        path = f"evaluations/{name}-{self.clock:09d}.npy"
        (self.run.folder / "evaluations").mkdir(exist_ok=True)
        with (self.run.folder / path).open("wb") as file:
            np.save(file, values)
        return path

    def checksum(self, indices: NDArray[np.int64]) -> str:
        """Of held-out images as the network sees them, in their order."""
        total = hashlib.sha256()
        for part in self.parts(indices):
            total.update(self.seen(part).numpy().tobytes())
        return total.hexdigest()[:16]


def pixels(image_shape: tuple[int, int, int]) -> Judge:
    """The pixels themselves; of large images those of a smaller one, whose covariance can be taken often enough."""
    factor, whole = 1, torch.zeros(1, *image_shape)
    while shrunk(whole, factor).numel() > _PIXELS:
        factor += 1
    if factor == 1:
        return judges.pixels(image_shape)
    size, how = shrunk(whole, factor).numel(), f"as they are, [-1, 1], means of {factor}x{factor} pixels"
    return Judge("pixels", "pixels", size, how, lambda images: shrunk(images, factor).flatten(1))


def smaller(images: Tensor) -> Tensor:
    """[n, C, H, W] -> at most `SIDE` pixels a side, each the mean of a square."""
    return shrunk(images, -(-max(images.shape[2:]) // SIDE))


def shrunk(images: Tensor, factor: int) -> Tensor:
    """Each `factor` x `factor` pixels become their mean; at the edges, of those that there are."""
    return F.avg_pool2d(images, factor, ceil_mode=True) if factor > 1 else images


def name_of(classifier: Run, net: Any) -> dict[str, str]:
    """A run that reads images, in a protocol: its name without the number, which means nothing elsewhere, and the
    checksum of its weights."""
    name = re.sub(r"^\d{5}-", "", classifier.folder.resolve().name)
    return {"classifier": name, "classifier_checksum": judges.checksum(net.state_dict())}


def wilson(share: float, n: int) -> list[float]:
    """Wilson's 95 % interval of a share of n independent samples."""
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [max(middle - half, 0.0), min(middle + half, 1.0)]  # beyond them by rounding alone


def of_mean(values: NDArray[np.float64]) -> dict[str, Any]:
    """Value and interval of a mean over independent images [N]."""
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"value": mean, "interval": [mean - half, mean + half], "interval_is": "95 %, normal, over images"}
