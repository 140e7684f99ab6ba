"""A small convolutional classifier: it reads the digits of Stacked MNIST and counts the classes among generated images.

Legend
    x       image [N, C, H, W] in [-1, 1]
    logits  [N, K], K = `classes`; their softmax is the probability of each class
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import ClassifierModel, SupervisedObjective
from latente.messages import Problem
from latente.objectives import Terms

if TYPE_CHECKING:
    from latente.data.stream import Batch


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
    every fully connected layer.
    """

    def __init__(self, model: ClassifierModel, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise Problem("classifier.no_labels", classes=classes)
        channels, height, width = image_shape
        if min(height, width) < 4:
            raise Problem("classifier.too_small", height=height, width=width)
        self.image_shape = image_shape
        self.classes = classes
        self.maps = nn.Sequential()
        while min(height, width) >= 4:
            outputs = min(max(2 * channels, model.width), 4 * model.width) if self.maps else model.width
            self.maps += nn.Sequential(*level(channels, outputs))
            channels, height, width = outputs, height // 2, width // 2
        widths = (channels * height * width, *model.hidden)
        self.hidden = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.hidden += nn.Sequential(nn.Dropout(model.dropout), nn.Linear(inputs, outputs), nn.ReLU())
        self.last = nn.Sequential(nn.Dropout(model.dropout), nn.Linear(widths[-1], classes))

    def features(self, x: Tensor) -> Tensor:
        """Images -> what the last layer reads, [N, hidden[-1]]. Call eval() first, or batch and chance have a say."""
        h: Tensor = self.hidden(self.maps(x).flatten(1))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Images -> logits [N, K]."""
        logits: Tensor = self.last(self.features(x))
        return logits

    def predict(self, x: Tensor) -> Tensor:
        """Images -> labels, int64 [N]. Call eval() first."""
        return self.forward(x).argmax(1)


def terms(objective: SupervisedObjective) -> Callable[[Classifier, "Batch", int], Terms]:
    """The function a training step calls: (net, batch, images shown) -> Terms.

    Per image: "loss", the cross-entropy in nats with smoothed labels (Szegedy et al. 2016, section 7: a share of every
    label is spread evenly over all K classes), and "error", 1 where the likeliest class is not the label.
    """

    def classifier_terms(net: Classifier, batch: "Batch", images: int) -> Terms:
        if batch.condition is None:
            raise ValueError("a classifier learns from labels")
        x = shifted(batch.images, objective.shift) if net.training else batch.images
        logits = net(x).float()
        smoothing = objective.smoothing if net.training else 0.0
        loss = F.cross_entropy(logits, batch.condition, reduction="none", label_smoothing=smoothing)  # [N]
        error = (logits.argmax(1) != batch.condition).float()
        return Terms({"loss": loss, "error": error}, {}, {"loss": 1.0})

    return classifier_terms


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
