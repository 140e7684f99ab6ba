"""Inception-v3: its structure by the published counts, its numbers by those of torch-fidelity on the same weights."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latente.evaluation import inception
from latente.evaluation.inception import Branch, Inception, Mixed


def invented() -> dict[str, Tensor]:
    """Weights drawn by numpy, the same everywhere, of a size that keeps the maps about as large as the image."""
    rng, found = np.random.default_rng(0), {}
    for key, shape in sorted(inception.shapes().items()):
        u = rng.random(shape, dtype=np.float32) * 2 - 1
        if key.endswith("conv.weight"):
            u = u * math.sqrt(6 / math.prod(shape[1:]))
        else:
            u = 1 + u / 2 if key.endswith(("running_var", "bn.weight")) else u / 4
        found[key] = torch.from_numpy(np.asarray(u, np.float32))
    return found


@pytest.fixture(scope="module")
def net() -> Inception:
    return inception.network(invented())


def test_every_tensor_has_the_published_name_and_the_counts_are_those_of_the_paper() -> None:
    shapes = inception.shapes()
    assert len(shapes) == 94 * 5  # convolutions, each with its normalisation
    learned = sum(math.prod(shape) for key, shape in shapes.items() if "running" not in key)
    assert learned == 21_785_568  # torchvision's 23 834 568 less the last layer's 2 049 000
    for key, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.conv.weight": (64, 288, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        inception.MARK: (192, 2048, 1, 1),
    }.items():
        assert shapes[key] == shape, key


# torch-fidelity 0.4.0: its network with these weights (loaded strictly), on the image of the test below: every 128th
# feature, and the sum of all.
GOLDEN = (1.159105, 10.890302, 0.188525, 0.297024, 21.677189, 12.246504, 9.382339, 0.625558)
GOLDEN += (0.098457, 1.197066, 7.230537, 0.058513, 0.579864, 36.089897, 0.332445, 18.467091)
GOLDEN_SUM = 12326.5605


def test_features_are_those_of_torch_fidelity(net: Inception) -> None:
    """Its pixels, 0 to 255, come in as ours do in [-1, 1]."""
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 299, 299), np.uint8)).float()
    with torch.no_grad():
        found = net(inception.prepare(x / 127.5 - 1))
    assert found.shape == (1, inception.SIZE)
    torch.testing.assert_close(found[0, ::128], torch.tensor(GOLDEN), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.sum(), torch.tensor(GOLDEN_SUM), rtol=1e-4, atol=0)


def test_rows_do_not_depend_on_each_other_nor_on_chance(net: Inception) -> None:
    before = torch.get_rng_state()
    x = torch.rand(2, 3, 75, 75)  # the smallest that leaves a pixel
    state = torch.get_rng_state()
    with torch.no_grad():
        both = net(x)
        torch.testing.assert_close(both[1:], net(x[1:]), rtol=1e-4, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)
    inception.network({key: torch.zeros(shape) for key, shape in inception.shapes().items()})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pool", ["mean", "maximum"])
def test_a_pool_leaves_the_padding_out(pool: str) -> None:
    """On maps of all -1 a mean that counts padding, or a maximum over zeros, would differ at the edges."""
    block = Mixed(2, Branch("one", ((3, 1, 1),)), pool=pool, pooled=2)  # type: ignore[arg-type]
    block.eval().requires_grad_(False)
    block.branch_pool.conv.weight.copy_(-torch.eye(2)[:, :, None, None])
    assert block.outputs == 5
    out = block(-torch.ones(1, 2, 4, 4))
    assert out.shape == (1, 5, 4, 4)
    torch.testing.assert_close(out[:, 3:], torch.ones(1, 2, 4, 4), rtol=0, atol=1e-2)  # over sqrt(1 + 0.001)


def test_a_block_that_halves_joins_the_maximum_of_what_it_read() -> None:
    block = Mixed(2, Branch("deep", ((3, 1, 1), (4, 3, 3)), halves=True), pool="halves").eval().requires_grad_(False)
    x = torch.arange(98.0).view(1, 2, 7, 7)
    out = block(x)
    assert set(dict(block.named_children())) == {"deep_1", "deep_2"}
    assert out.shape == (1, 6, 3, 3) and block.outputs == 6
    assert torch.equal(out[:, 4:], x[:, :, 2::2, 2::2])  # the last of each window of a rising ramp


@pytest.mark.parametrize("side", [28, 400])
def test_images_are_resized_as_by_pillow(side: int) -> None:
    x = torch.rand(1, 3, side, side + 5) * 2 - 1
    found = inception.prepare(x)
    assert found.shape == (1, 3, 299, 299)
    pillow = Image.fromarray(x[0, 1].numpy()).resize((299, 299), Image.Resampling.BILINEAR)
    pixels = (np.asarray(pillow) + 1) * 127.5
    np.testing.assert_allclose(found[0, 1], (pixels - 128) / 128, atol=1e-4)
