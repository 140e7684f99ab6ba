"""A small convolutional classifier: it reads the digits of Stacked MNIST, counts the classes among generated images and
lends its features.

It learns what is known of each image: its label, or the factors it was made from (a head each), or, where nothing is
known, which way up it is (Gidaris, Singh and Komodakis 2018, 1803.07728).

Legend
    x       image [N, C, H, W] in [-1, 1]
    logits  [N, K], K = `classes`; their softmax is the probability of each class
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latente.config import ClassifierModel, SupervisedObjective
from latente.messages import Problem
from latente.objectives import Terms

if TYPE_CHECKING:
    from latente.data.stream import Batch

_AT_ONCE = 500
WEIGHT = 5.0  # of the squared errors of numbers, in variances of the factor: those of a Gaussian of 0.32 deviations
TURNS = 4  # 0, 90, 180 and 270 degrees, anticlockwise


def level(inputs: int, outputs: int) -> list[nn.Module]:
    """[N, inputs, h, w] -> [N, outputs, h // 2, w // 2]: two 3x3 convolutions, the maps halved after the first.

    The maximum is taken before the normalisation, which then costs a quarter.
    """
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Classifier(nn.Module):
    """Levels that halve the maps until their shorter side is under 4, then fully connected layers.

    Channels go from `width` to 4 x `width` (28 -> 14 -> 7 -> 3 pixels with 32, 64 and 128 channels). Dropout precedes
    every fully connected layer. With the task "factors" the last layer holds all heads, in the order of `factors`:
    logits of a factor with values, and of one without, the number itself in standard units.
    """

    mean: Tensor  # [factors]; 0 for those with values
    scale: Tensor  # [factors]; 1 for those with values

    def __init__(
        self,
        model: ClassifierModel,
        image_shape: tuple[int, int, int],
        classes: int,
        objective: SupervisedObjective | None = None,
    ) -> None:
        super().__init__()
        objective = objective or SupervisedObjective()
        channels, height, width = image_shape
        if objective.task == "labels" and classes < 2:
            raise Problem("classifier.no_labels", classes=classes)
        if objective.task == "rotations" and height != width:
            raise Problem("classifier.not_square", height=height, width=width)
        if min(height, width) < 4:
            raise Problem("classifier.too_small", height=height, width=width)
        if objective.task == "factors" and not objective.factors:
            raise ValueError("which factors there are has to be said: training.assemble.described does")
        self.image_shape = image_shape
        self.factors = heads(objective.factors) if objective.task == "factors" else {}
        self.classes = {"labels": classes, "rotations": TURNS, "factors": 0}[objective.task]
        self.maps = nn.Sequential()
        while min(height, width) >= 4:
            outputs = min(max(2 * channels, model.width), 4 * model.width) if self.maps else model.width
            self.maps += nn.Sequential(*level(channels, outputs))
            channels, height, width = outputs, height // 2, width // 2
        widths = (channels * height * width, *model.hidden)
        self.hidden = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.hidden += nn.Sequential(nn.Dropout(model.dropout), nn.Linear(inputs, outputs), nn.ReLU())
        outputs = sum(sizes(self.factors)) or self.classes
        self.last = nn.Sequential(nn.Dropout(model.dropout), nn.Linear(widths[-1], outputs))
        if self.factors:
            self.register_buffer("mean", torch.zeros(len(self.factors)))
            self.register_buffer("scale", torch.ones(len(self.factors)))

    def start_from(self, known: Mapping[str, NDArray[Any]]) -> None:
        """Learn the mean and the scale of the factors that are numbers, of all training images: name -> [N]."""
        for i, (name, values) in enumerate(self.factors.items()):
            if not values:
                self.mean[i] = float(np.mean(known[name], dtype=np.float64))
                self.scale[i] = float(np.std(known[name], dtype=np.float64)) or 1.0

    def features(self, x: Tensor) -> Tensor:
        """Images -> what the last layer reads, [N, hidden[-1]]. Call eval() first, or batch and chance have a say."""
        h: Tensor = self.hidden(self.maps(x).flatten(1))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Images -> logits [N, K]; of factors, the outputs of all heads."""
        logits: Tensor = self.last(self.features(x))
        return logits

    def predict(self, x: Tensor) -> Tensor:
        """Images -> labels (or quarter turns), int64 [N]. Call eval() first."""
        assert not self.factors, "factors are read by predict_factors"
        return self.forward(x).argmax(1)

    @torch.no_grad()
    def predict_factors(self, x: Tensor) -> dict[str, NDArray[Any]]:
        """Images -> name -> [N]: int64, the likeliest value, or float32 in the factor's own units. Call eval()
        first."""
        found = []
        for part in torch.split(x, _AT_ONCE):
            outputs = torch.split(self.forward(part).float(), sizes(self.factors), 1)
            found.append([out.argmax(1) if out.shape[1] > 1 else out[:, 0] for out in outputs])
        read = [torch.cat(parts).cpu() for parts in zip(*found, strict=True)]
        mean, scale = self.mean.cpu(), self.scale.cpu()
        return {
            name: (read[i] if values else mean[i] + scale[i] * read[i]).numpy()
            for i, (name, values) in enumerate(self.factors.items())
        }


def heads(factors: str) -> dict[str, int]:
    """How many values each factor has, 0 for a number: "skin 6, mouth" -> {"skin": 6, "mouth": 0}."""
    words = [part.split() for part in factors.split(",")]
    return {name: int(values[0]) if values else 0 for name, *values in words}


def described(known: Mapping[str, NDArray[Any]]) -> str:
    """The inverse of `heads`, from the factors themselves: name -> [N], integers from 0 or numbers."""
    counts = {name: int(np.max(v)) + 1 if np.issubdtype(v.dtype, np.integer) else 0 for name, v in known.items()}
    return ", ".join(f"{name} {max(values, 2)}" if values else name for name, values in counts.items())


def sizes(factors: Mapping[str, int]) -> list[int]:
    """Outputs of each head."""
    return [max(values, 1) for values in factors.values()]


def terms(objective: SupervisedObjective) -> Callable[[Classifier, "Batch", int], Terms]:
    """The function a training step calls: (net, batch, images shown) -> Terms.

    Per image: "loss", the cross-entropy in nats with smoothed labels (Szegedy et al. 2016, section 7: a share of every
    label is spread evenly over all K classes), and "error", 1 where the likeliest class is not the label. Of factors
    see `of_factors`.
    """

    def classifier_terms(net: Classifier, batch: "Batch", images: int) -> Terms:
        x = shifted(batch.images, objective.shift) if net.training else batch.images
        smoothing = objective.smoothing if net.training else 0.0
        targets = batch.condition
        if objective.task == "rotations":  # held-out images are turned the same way every time
            targets = torch.randint(TURNS, x.shape[:1], device=x.device) if net.training else _in_turn(x)
            x = turned(x, targets)
        if targets is None:
            raise ValueError("a classifier learns from labels")
        outputs = net(x).float()
        if objective.task == "factors":
            return of_factors(net, outputs, targets.view(len(x), -1).float(), smoothing)
        loss = F.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)  # [N]
        error = (outputs.argmax(1) != targets).float()
        return Terms({"loss": loss, "error": error}, {}, {"loss": 1.0})

    return classifier_terms


def of_factors(net: Classifier, outputs: Tensor, targets: Tensor, smoothing: float) -> Terms:
    """The losses of all heads. outputs: of all of them, [N, sum of sizes]; targets: [N, factors].

    Per image: "loss", the sum of cross-entropies and, of numbers, `WEIGHT` squared errors in standard deviations of the
    factor; error/NAME, 1 where the likeliest value is wrong; rmse/NAME, the root mean square error over the batch, in
    standard deviations, the same for each image; and "error", the mean of all error/NAME.
    """
    losses, found, wrong = [], {}, []
    standard = (targets - net.mean) / net.scale  # [N, factors]
    parts = torch.split(outputs, sizes(net.factors), 1)
    for i, (name, values) in enumerate(net.factors.items()):
        if values:
            labels = targets[:, i].long()
            losses.append(F.cross_entropy(parts[i], labels, reduction="none", label_smoothing=smoothing))
            wrong.append((parts[i].argmax(1) != labels).float())
            found[f"error/{name}"] = wrong[-1]
        else:
            squared = (parts[i][:, 0] - standard[:, i]).square()
            losses.append(WEIGHT * squared)
            found[f"rmse/{name}"] = squared.detach().mean().sqrt().expand(len(squared))
    if wrong:
        found["error"] = torch.stack(wrong).mean(0)
    return Terms({"loss": torch.stack(losses).sum(0), **found}, {}, {"loss": 1.0})


def _in_turn(x: Tensor) -> Tensor:
    """0, 1, 2, 3, 0, 1, ... [N]."""
    return torch.arange(len(x), device=x.device) % TURNS


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each square image turned anticlockwise by its number of quarter turns, int64 [N] in 0 .. 3."""
    every = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(TURNS)])  # [4, N, C, H, W]
    return every[turns, torch.arange(len(x), device=x.device)]


def shifted(x: Tensor, most: int) -> Tensor:
    """Each image moved by its own draw of -most .. most pixels down and right, edges repeated. Global generator."""
    if most == 0:
        return x
    n, channels, height, width = x.shape
    move = torch.randint(-most, most + 1, (2, n, 1), device=x.device)
    rows = (torch.arange(height, device=x.device) - move[0]).clamp(0, height - 1)  # [n, H]
    columns = (torch.arange(width, device=x.device) - move[1]).clamp(0, width - 1)  # [n, W]
    index = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)  # [n, C, HW]
    return x.flatten(2).gather(2, index).view_as(x)
