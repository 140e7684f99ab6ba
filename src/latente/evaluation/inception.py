"""Inception-v3 with the weights of 2015, on whose features the published Fréchet distances are taken.

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision" (1512.00567), section 6 and figures 5
to 7 and 10; as a measure of generated images, Heusel et al. 2017 (1706.08500). The network is that of the TensorFlow
graph `inception-2015-12-05`, under the key names of torchvision, which all files converted from that graph carry. It
differs from torchvision's own in two ways: its average pools leave the padding out of the mean, and its last block has
a maximum where the paper has a mean.

Legend
    x   image [N, 3, 299, 299] in [-1, 1)
    h   maps [N, C, s, s]; s goes 149, 147, 73, 71, 35, 17, 8
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MARK = "Mixed_7c.branch_pool.conv.weight"  # a key that no other network has
SIZE = 2048  # features an image
PREPARE = "299x299 bilinear antialiased, (pixel - 128) / 128"
UNUSED = {"fc.weight": (1008, SIZE), "fc.bias": (1008,)}  # tell these weights from torchvision's, which have 1000


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU: [N, inputs, s, s] -> [N, outputs, s', s']."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, same: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, h: Tensor) -> Tensor:
        """Maps -> maps."""
        return F.relu(self.bn(self.conv(h)))


class Branch(NamedTuple):
    """Units one after another, called key_1, key_2, ... (a single one, key).

    `halves`: the last has stride 2 and no padding. `forks`: the last is two, [h, w] and [w, h], side by side.
    """

    key: str
    units: tuple[tuple[int, int, int], ...]  # channels out, kernel's height and width
    halves: bool = False
    forks: bool = False


class Mixed(nn.Module):
    """An Inception block: branches that read the same maps, and a pool; all that they make is joined by channel.

    The pool, over 3x3, is the mean without padding or the maximum, each with a 1x1 unit of `pooled` channels behind; or
    the maximum at stride 2 alone, in a block that halves the maps (figure 10).
    """

    def __init__(
        self, inputs: int, *branches: Branch, pool: Literal["mean", "maximum", "halves"] = "mean", pooled: int = 0
    ) -> None:
        super().__init__()
        self.pool = pool
        self.outputs = inputs if pool == "halves" else pooled
        self.steps: list[list[list[str]]] = []  # a branch's steps; a step's units
        for key, units, halves, forks in branches:
            channels, steps = inputs, []
            for i, (outputs, height, width) in enumerate(units, 1):
                last = i == len(units)
                name = key if len(units) == 1 else f"{key}_{i}"
                kernels = {name: (height, width)}
                if forks and last:
                    kernels = {f"{name}a": (height, width), f"{name}b": (width, height)}
                strided = halves and last
                for each, kernel in kernels.items():
                    self.add_module(each, Unit(channels, outputs, kernel, 2 if strided else 1, same=not strided))
                channels = outputs * len(kernels)
                steps.append(list(kernels))
            self.steps.append(steps)
            self.outputs += channels
        if pooled:
            self.branch_pool = Unit(inputs, pooled, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, s, s] -> [N, outputs, s, s], or (s - 1) // 2."""
        made = []
        for steps in self.steps:
            h = x
            for names in steps:
                h = torch.cat([self.get_submodule(name)(h) for name in names], 1)
            made.append(h)
        if self.pool == "halves":
            return torch.cat([*made, F.max_pool2d(x, 3, stride=2)], 1)
        if self.pool == "maximum":
            pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        else:
            pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([*made, self.branch_pool(pooled)], 1)


def figure5(inputs: int, pooled: int) -> Mixed:
    """35x35 maps. The graph keeps one 5x5 where the figure has two 3x3."""
    return Mixed(
        inputs,
        Branch("branch1x1", ((64, 1, 1),)),
        Branch("branch5x5", ((48, 1, 1), (64, 5, 5))),
        Branch("branch3x3dbl", ((64, 1, 1), (96, 3, 3), (96, 3, 3))),
        pooled=pooled,
    )


def figure6(n: int) -> Mixed:
    """17x17 maps: 7x7 convolutions taken apart into 1x7 and 7x1, with n channels in between."""
    return Mixed(
        768,
        Branch("branch1x1", ((192, 1, 1),)),
        Branch("branch7x7", ((n, 1, 1), (n, 1, 7), (192, 7, 1))),
        Branch("branch7x7dbl", ((n, 1, 1), (n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7))),
        pooled=192,
    )


def figure7(inputs: int, pool: Literal["mean", "maximum"]) -> Mixed:
    """8x8 maps: filter banks made wider by forks."""
    return Mixed(
        inputs,
        Branch("branch1x1", ((320, 1, 1),)),
        Branch("branch3x3", ((384, 1, 1), (384, 1, 3)), forks=True),
        Branch("branch3x3dbl", ((448, 1, 1), (384, 3, 3), (384, 1, 3)), forks=True),
        pool=pool,
        pooled=192,
    )


class Inception(nn.Module):
    """Table 1 up to the last pool, whose output is the features ("pool3")."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, (3, 3), 2, same=False)
        self.Conv2d_2a_3x3 = Unit(32, 32, (3, 3), same=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Unit(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Unit(80, 192, (3, 3), same=False)
        self.Mixed_5b = figure5(192, 32)
        self.Mixed_5c = figure5(256, 64)
        self.Mixed_5d = figure5(288, 64)
        self.Mixed_6a = Mixed(
            288,
            Branch("branch3x3", ((384, 3, 3),), halves=True),
            Branch("branch3x3dbl", ((64, 1, 1), (96, 3, 3), (96, 3, 3)), halves=True),
            pool="halves",
        )
        self.Mixed_6b = figure6(128)
        self.Mixed_6c = figure6(160)
        self.Mixed_6d = figure6(160)
        self.Mixed_6e = figure6(192)
        self.Mixed_7a = Mixed(
            768,
            Branch("branch3x3", ((192, 1, 1), (320, 3, 3)), halves=True),
            Branch("branch7x7x3", ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)), halves=True),
            pool="halves",
        )
        self.Mixed_7b = figure7(1280, "mean")
        self.Mixed_7c = figure7(2048, "maximum")

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 299, 299] in [-1, 1) -> features [N, 2048]."""
        h = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N, 64, 147, 147]
        h = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(h, 3, stride=2)))  # [N, 192, 71, 71]
        h = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(h, 3, stride=2))))  # [N, 288, 35, 35]
        h = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(h)))))  # [N, 768, 17, 17]
        h = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(h)))  # [N, 2048, 8, 8]
        features: Tensor = h.mean((2, 3))  # [N, 2048]
        return features


def shapes() -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor that is used."""
    with torch.device("meta"):
        tensors = Inception().state_dict()
    return {key: tuple(each.shape) for key, each in tensors.items() if not key.endswith("num_batches_tracked")}


def network(tensors: dict[str, Tensor]) -> Inception:
    """The network with weights float32 under the keys of `shapes`, in evaluation mode."""
    with torch.device("meta"):  # no time and no chance spent on weights that are replaced at once
        net = Inception()
    net.load_state_dict(tensors, strict=False, assign=True)  # not strict: number of batches, which is used in training
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False)


def prepare(x: Tensor) -> Tensor:
    """Colour images [N, 3, H, W] in [-1, 1] -> [N, 3, 299, 299], as the graph has them: a pixel p in 0 .. 255 becomes
    (p - 128) / 128.

    Without antialiasing a larger image would lose what lies between the pixels taken (Parmar et al. 2022, 2104.11222);
    a smaller one comes out the same either way.
    """
    x = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False, antialias=True)
    x = ((x + 1) * 127.5 - 128) / 128
    return x.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
