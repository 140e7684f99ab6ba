"""DINOv2: a vision transformer that learned without labels, with the weights of `facebook/dinov2-small, -base, -large`.

Oquab et al. 2023 (2304.07193), after Dosovitskiy et al. 2021 (2010.11929; equations 1 to 4 there). As a measure of
generated images, Stein et al. 2023 (2306.04675), who find that it follows people's judgement better than Inception.
Key names are those of Hugging Face's files; position embeddings are resized as there (to the number of patches,
bicubic, not antialiased), which differs from the authors' code by an offset of a tenth of a patch.

Legend
    D   width: 384, 768 or 1024; heads have 64 each
    P   pixels a side of a patch: 14
    T   tokens: 1 + (224 / P)^2, the first of them [CLS]
    h   tokens [N, T, D]
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MARK = "embeddings.cls_token"  # a key that no other network has
PREPARE = "224x224 bicubic antialiased, ImageNet mean and deviation"
UNUSED = "embeddings.mask_token"  # of training; in the file
NAMES = {(384, 12): "small", (768, 12): "base", (1024, 24): "large"}  # width and depth
_POSITIONS = "embeddings.position_embeddings"
_SIDE, _PATCH, _HEAD = 224, 14, 64
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, pixels in [0, 1]

Weights = dict[str, Tensor]


def features(w: Weights, x: Tensor) -> Tensor:
    """Prepared images [N, 3, 224, 224] -> the normalised [CLS] token of the last layer, [N, D]."""
    h = embedded(w, x)
    for i in range(depth(w)):
        layer = f"encoder.layer.{i}"
        h = h + w[f"{layer}.layer_scale1.lambda1"] * attended(w, layer, normalised(w, f"{layer}.norm1", h))
        inner = F.gelu(linear(w, f"{layer}.mlp.fc1", normalised(w, f"{layer}.norm2", h)))  # [N, T, 4D]
        h = h + w[f"{layer}.layer_scale2.lambda1"] * linear(w, f"{layer}.mlp.fc2", inner)
    return normalised(w, "layernorm", h[:, 0])  # [N, D]


def embedded(w: Weights, x: Tensor) -> Tensor:
    """Patches, each by one linear map, behind [CLS]; to each its position is added: [N, 3, H, W] -> [N, T, D]."""
    kernel = w["embeddings.patch_embeddings.projection.weight"]  # [D, 3, P, P]
    patches = F.conv2d(x, kernel, w["embeddings.patch_embeddings.projection.bias"], stride=_PATCH)
    tokens = patches.flatten(2).transpose(1, 2)  # [N, T - 1, D]
    first = w["embeddings.cls_token"].expand(len(x), -1, -1)  # [N, 1, D]
    return torch.cat([first, tokens], 1) + positions(w, patches.shape[2], patches.shape[3])


def positions(w: Weights, rows: int, columns: int) -> Tensor:
    """Position embeddings of [CLS] and of rows x columns patches, [1, T, D]; resized if they were learned on another
    grid."""
    learned = w[_POSITIONS]  # [1, 1 + side^2, D]
    side = math.isqrt(learned.shape[1] - 1)
    if (rows, columns) == (side, side):
        return learned
    grid = learned[:, 1:].view(1, side, side, -1).permute(0, 3, 1, 2)  # [1, D, side, side]
    grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([learned[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def attended(w: Weights, layer: str, h: Tensor) -> Tensor:
    """Multi-head self-attention: [N, T, D] -> [N, T, D]."""
    q, k, v = (
        linear(w, f"{layer}.attention.attention.{each}", h).view(*h.shape[:2], -1, _HEAD).transpose(1, 2)
        for each in ("query", "key", "value")
    )  # [N, D / 64, T, 64]
    mixed = F.scaled_dot_product_attention(q, k, v)  # softmax(q k^T / sqrt(64)) v
    return linear(w, f"{layer}.attention.output.dense", mixed.transpose(1, 2).flatten(2))


def linear(w: Weights, name: str, h: Tensor) -> Tensor:
    """An affine map of the last axis."""
    return F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"])


def normalised(w: Weights, name: str, h: Tensor) -> Tensor:
    """Layer normalisation of the last axis."""
    return F.layer_norm(h, h.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)


def depth(w: Weights) -> int:
    """How many layers there are among the keys."""
    return len({key.split(".")[2] for key in w if key.startswith("encoder.layer.")})


def recognises(w: Weights) -> bool:
    """Whether these are weights of a DINOv2, whole or not."""
    size = w[MARK].numel() if MARK in w else 0
    return size > 0 and size % _HEAD == 0 and depth(w) > 0


def name(w: Weights) -> str:
    """dinov2-small, -base or -large; any other goes by its width."""
    size = w[MARK].numel()
    return f"dinov2-{NAMES.get((size, depth(w)), size)}"


def shapes(w: Weights) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor that a network of this width, depth and grid of positions uses."""
    size = w[MARK].numel()
    learned = w[_POSITIONS].numel() // size if _POSITIONS in w else 1
    found: dict[str, tuple[int, ...]] = {
        MARK: (1, 1, size),
        _POSITIONS: (1, math.isqrt(max(learned - 1, 1)) ** 2 + 1, size),
        "embeddings.patch_embeddings.projection.weight": (size, 3, _PATCH, _PATCH),
        "embeddings.patch_embeddings.projection.bias": (size,),
    }
    affine = {f"attention.attention.{each}": (size, size) for each in ("query", "key", "value")}
    affine |= {"attention.output.dense": (size, size), "mlp.fc1": (4 * size, size), "mlp.fc2": (size, 4 * size)}
    for i in range(depth(w)):
        layer = f"encoder.layer.{i}"
        for part, (outputs, inputs) in affine.items():
            found |= {f"{layer}.{part}.weight": (outputs, inputs), f"{layer}.{part}.bias": (outputs,)}
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            found[f"{layer}.{part}"] = (size,)
        found |= {f"{layer}.layer_scale{j}.lambda1": (size,) for j in (1, 2)}
    return found | {"layernorm.weight": (size,), "layernorm.bias": (size,)}


def prepare(x: Tensor) -> Tensor:
    """Colour images [N, 3, H, W] in [-1, 1] -> [N, 3, 224, 224] as in training: clamped where the resizing overshoots,
    then less ImageNet's mean and over its deviation."""
    x = F.interpolate(x, (_SIDE, _SIDE), mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (_MEAN, _DEVIATION))  # [3, 1, 1]
    return ((x + 1) / 2 - mean) / deviation
