"""DINOv2: its structure by the published counts, its numbers by those of transformers on the same weights."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latente.evaluation import dinov2

GRID = "embeddings.position_embeddings"


def outline(size: int, depth: int, side: int) -> dict[str, Tensor]:
    """Enough of the tensors of a network to say of what size it is."""
    tensors = {dinov2.MARK: torch.empty(1, 1, size, device="meta")}
    tensors[GRID] = torch.empty(1, side**2 + 1, size, device="meta")
    return tensors | {f"encoder.layer.{i}.norm1.bias": torch.empty(size, device="meta") for i in range(depth)}


def invented(size: int, depth: int, side: int) -> dict[str, Tensor]:
    """Weights drawn by numpy, the same everywhere."""
    rng, found = np.random.default_rng(0), {}
    for key, shape in sorted(dinov2.shapes(outline(size, depth, side)).items()):
        flat = len(shape) == 1 or ("embeddings" in key and "patch" not in key)
        u = (rng.random(shape, dtype=np.float32) * 2 - 1) * (1 if flat else math.sqrt(6 / math.prod(shape[1:])))
        found[key] = torch.from_numpy(np.asarray(u, np.float32))
    return found


@pytest.mark.parametrize(
    ("name", "size", "depth", "count"),
    [
        ("dinov2-small", 384, 12, 22_056_192),
        ("dinov2-base", 768, 12, 86_579_712),
        ("dinov2-large", 1024, 24, 304_367_616),
    ],
)
def test_the_published_sizes(name: str, size: int, depth: int, count: int) -> None:
    """Counts of transformers' Dinov2Model, less the mask token."""
    w = outline(size, depth, 37)
    assert dinov2.recognises(w) and dinov2.name(w) == name
    assert sum(math.prod(shape) for shape in dinov2.shapes(w).values()) == count


def test_what_is_no_dinov2_is_not_recognised() -> None:
    assert not dinov2.recognises({})
    assert not dinov2.recognises({dinov2.MARK: torch.empty(1, 1, 100), "encoder.layer.0.norm1.bias": torch.empty(1)})
    assert not dinov2.recognises({dinov2.MARK: torch.empty(1, 1, 128)})
    assert dinov2.name(outline(128, 2, 6)) == "dinov2-128"


# transformers 5.23.0: Dinov2Model.from_pretrained on these weights, width 128, 2 layers, 2 heads, patches of 14 pixels,
# `image_size` 14 x side; the [CLS] token of its last hidden state: every 16th number of the first image, and the sum.
GOLDEN = {
    6: ((1.005542, 0.080956, 0.237945, -0.814527, -0.976454, 0.641012, 0.251518, 0.41666), 19.61427),
    16: ((-0.271801, -0.240158, 0.672744, -0.236441, 0.252929, -0.938411, 0.886036, -0.655385), -5.18472),
}


@pytest.mark.parametrize("side", [6, 16])
def test_features_are_those_of_transformers(side: int) -> None:
    """A grid of 6x6 positions is resized to the 16x16 patches of 224 pixels; one of 16x16 is not."""
    x = torch.from_numpy(np.random.default_rng(1).random((2, 3, 224, 224), dtype=np.float32) * 4 - 2)
    found = dinov2.features(invented(128, 2, side), x)
    numbers, total = GOLDEN[side]
    assert found.shape == (2, 128)
    torch.testing.assert_close(found[0, ::16], torch.tensor(numbers), rtol=0, atol=2e-5)
    torch.testing.assert_close(found.sum(), torch.tensor(total), rtol=0, atol=1e-3)


def test_rows_do_not_depend_on_each_other() -> None:
    w, x = invented(64, 1, 4), torch.randn(3, 3, 56, 56)
    torch.testing.assert_close(dinov2.features(w, x)[1:2], dinov2.features(w, x[1:2]), rtol=0, atol=1e-5)


def test_attention_is_a_softmax_a_head() -> None:
    w, h = invented(128, 1, 2), torch.randn(2, 5, 128)
    layer = "encoder.layer.0"
    q, k, v = (dinov2.linear(w, f"{layer}.attention.attention.{each}", h) for each in ("query", "key", "value"))
    mixed = torch.zeros_like(h)
    for n in range(2):
        for head in (slice(0, 64), slice(64, 128)):
            weight = (q[n, :, head] @ k[n, :, head].T / 8).softmax(1)
            mixed[n, :, head] = weight @ v[n, :, head]
    expected = dinov2.linear(w, f"{layer}.attention.output.dense", mixed)
    torch.testing.assert_close(dinov2.attended(w, layer, h), expected, rtol=0, atol=1e-5)


def test_positions_are_resized_in_their_places() -> None:
    """A grid that rises from row to row still does so, down the rows and not along them."""
    rows = torch.arange(4.0).repeat_interleave(4)  # patch 4 i + j is in row i
    learned = torch.cat([torch.tensor([9.0]), rows])[None, :, None].expand(1, 17, 64)
    w = {GRID: learned}
    assert dinov2.positions(w, 4, 4) is learned
    grid = dinov2.positions(w, 8, 6)
    assert grid.shape == (1, 49, 64) and torch.all(grid[:, 0] == 9)
    grid = grid[0, 1:, 0].view(8, 6)
    assert torch.allclose(grid, grid[:, :1].expand(-1, 6)) and (grid[1:, 0] > grid[:-1, 0]).all()


@pytest.mark.parametrize("side", [28, 300])
def test_images_are_prepared_as_by_pillow(side: int) -> None:
    x = torch.rand(1, 3, side, side + 5).round() * 2 - 1  # black and white: bicubic overshoots
    found = dinov2.prepare(x)
    assert found.shape == (1, 3, 224, 224)
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        pillow = Image.fromarray(x[0, channel].numpy()).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = (np.clip(np.asarray(pillow), -1, 1) + 1) / 2
        np.testing.assert_allclose(found[0, channel], (pixels - mean) / deviation, atol=5e-4)
