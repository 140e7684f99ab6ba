"""The stream is a pure function of position, shows every image once an epoch, and binarises as it says."""

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latente.data.stream import _BLOCK, Binarisation, Stream, condition, known, see, shuffled
from toy import factor_set, image_set


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 700), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 10**9))
def test_every_epoch_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    positions = np.arange(epoch * size, (epoch + 1) * size)
    assert sorted(shuffled(positions, size, seed).tolist()) == list(range(size))


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 10**9), seed=st.integers(0, 10**6), data=st.data())
def test_a_position_alone_has_the_index_it_has_among_others(size: int, seed: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=20)))
    together = shuffled(positions, size, seed)
    assert ((0 <= together) & (together < size)).all()
    assert together.tolist() == [shuffled(np.array([p]), size, seed)[0] for p in positions.tolist()]


def test_orders_are_fair() -> None:
    """All 24 orders of 4 images come up alike: chi-square with 23 degrees of freedom, 0.1 % level."""
    epochs = 24 * 200
    orders = shuffled(np.arange(4 * epochs), 4, seed=1).reshape(-1, 4)
    counts = np.array([(orders == order).all(1).sum() for order in itertools.permutations(range(4))])
    assert counts.sum() == epochs
    assert ((counts - 200.0) ** 2 / 200).sum() < 49.7


def test_orders_differ_by_epoch_and_by_seed() -> None:
    size = 100
    first, second = shuffled(np.arange(2 * size), size, seed=0).reshape(2, size)
    other = shuffled(np.arange(size), size, seed=1)
    for one, two in itertools.combinations((first, second, other), 2):
        assert (one == two).mean() < 0.1


def test_neighbours_are_not_kept_together() -> None:
    """Images next to each other in the set are not so in an epoch: folders are sorted by class."""
    order = shuffled(np.arange(10_000), 10_000, seed=3)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert (np.abs(np.diff(order)) == 1).mean() < 0.002


@pytest.mark.parametrize("binarisation", get_args(Binarisation))
def test_what_was_taken_before_does_not_matter(binarisation: Binarisation) -> None:
    def stream() -> Stream:
        return Stream(image_set(), seed=4, binarisation=binarisation, conditional=True)

    used = stream()
    for position in (0, 16, 8, 40):  # past the epoch's end, and back
        images, condition = used.take(position, 8)
        fresh, labels = stream().take(position, 8)
        assert torch.equal(images, fresh)
        assert condition is not None and labels is not None and torch.equal(condition, labels)


def test_a_batch_across_blocks_and_epochs() -> None:
    images = image_set(24)
    for at in (_BLOCK - 3, 3 * _BLOCK - 3, 24 * 7 - 3):
        joined = torch.cat([Stream(images, seed=2).take(at + i, 1).images for i in range(8)])
        assert torch.equal(Stream(images, seed=2).take(at, 8).images, joined)


def test_the_order_of_two_blocks_is_kept_and_no_more() -> None:
    stream = Stream(image_set(24))
    for block in (0, 1, 2, 3, 1, 0, 7):
        stream.take(block * _BLOCK, 4)
        assert len(stream._order) <= 2


def test_processes_share_a_batch() -> None:
    stream = Stream(image_set(), seed=1, conditional=True)
    whole, labels = stream.take(16, 9)
    parts = [stream.take(16, 9, rank, world=2) for rank in range(2)]
    assert labels is not None
    for rank, part in enumerate(parts):
        assert torch.equal(part.images, whole[rank::2])
        assert part.condition is not None and torch.equal(part.condition, labels[rank::2])


def test_processes_draw_other_noise() -> None:
    images = image_set()
    images.images[:] = 128
    stream = Stream(images, binarisation="dynamic")
    one, two = (stream.take(0, 8, rank, world=2).images for rank in range(2))
    assert 0.3 < (one == two).float().mean() < 0.7


def test_labels_belong_to_their_images() -> None:
    images = image_set()
    images.images[:] = images.labels[:, None, None, None] * 100  # type: ignore[index]
    shown, labels = Stream(images, conditional=True).take(0, 48)
    assert labels is not None and labels.dtype == torch.int64
    assert torch.equal(((shown[:, 0, 0, 0] + 1) * 127.5 / 100).round().long(), labels)
    assert Stream(images).take(0, 4).condition is None
    assert Stream(image_set(labels=False), conditional=True).take(0, 4).condition is None


def test_grey_levels_fill_minus_one_to_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    shown = see(levels)
    assert shown.dtype == torch.float32
    assert shown.min() == -1 and shown.max() == 1
    assert torch.allclose(shown.flatten(), torch.linspace(-1, 1, 256), atol=1e-6)
    assert torch.equal(
        levels, torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    )  # what was given is not touched


def test_channels_last_changes_the_layout_alone() -> None:
    images = image_set(shape=(3, 8, 8))
    plain, last = Stream(images).take(0, 8).images, Stream(images, channels_last=True).take(0, 8).images
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


@pytest.mark.parametrize("binarisation", ["dynamic", "fixed"])
def test_a_pixel_is_on_as_often_as_it_is_bright(binarisation: Binarisation) -> None:
    """Every grey level, 4096 draws each: within five standard errors, and exact at black and white."""
    pixels = torch.arange(256, dtype=torch.uint8).repeat(4096, 1).reshape(4096, 1, 16, 16)
    shown = see(pixels, binarisation, seed=7, indices=np.arange(4096), position=3)
    assert set(shown.unique().tolist()) == {-1.0, 1.0}
    share = ((shown + 1) / 2).mean(0).flatten().double()  # [256]
    p = torch.arange(256).double() / 255
    assert ((share - p).abs() <= 5 * (p * (1 - p) / 4096).sqrt() + 1e-9).all()
    assert share[0] == 0 and share[255] == 1


def test_dynamic_is_drawn_anew_and_fixed_is_not() -> None:
    images = image_set(8)
    images.images[:] = 128
    for binarisation, same in (("dynamic", False), ("fixed", True)):
        stream = Stream(images, seed=1, binarisation=binarisation)  # type: ignore[arg-type]
        epochs = []
        for epoch in range(2):
            order = shuffled(np.arange(8 * epoch, 8 * epoch + 8), 8, 1)
            epochs.append(stream.take(8 * epoch, 8).images[np.argsort(order)])  # by index
        assert torch.equal(*epochs) is same


def test_fixed_does_not_depend_on_the_batch_but_on_the_seed() -> None:
    pixels = torch.full((6, 1, 8, 8), 128, dtype=torch.uint8)
    indices = np.array([5, 0, 3, 9, 1, 7])
    whole = see(pixels, "fixed", seed=2, indices=indices)
    alone = torch.cat([see(pixels[:1], "fixed", seed=2, indices=indices[i : i + 1]) for i in range(6)])
    assert torch.equal(whole, alone)
    assert not torch.equal(whole, see(pixels, "fixed", seed=3, indices=indices))
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 6  # other noise for each image


def test_threshold_cuts_in_the_middle() -> None:
    pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert see(pixels, "threshold").flatten().tolist() == [-1, -1, 1, 1]
    assert torch.equal(see(pixels, "grey"), see(pixels))


def test_torchs_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    Stream(image_set(), binarisation="dynamic").take(0, 8)
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_known_of_an_image_travels_with_it() -> None:
    """Labels as integers; of a set without labels its factors side by side, in their order; of one with neither,
    nothing."""
    images = factor_set()
    assert images.factors is not None
    stream, plain = Stream(images, seed=2, conditional=True), Stream(images, seed=2)
    order = shuffled(np.arange(40), 24, 2)
    batch = stream.take(0, 40)
    assert batch.condition is not None and batch.condition.shape == (40, 3) and batch.condition.dtype == torch.float32
    for row, index in zip(batch.condition, order, strict=True):
        assert row.tolist() == pytest.approx([float(values[index]) for values in images.factors.values()], rel=1e-7)
    assert torch.equal(batch.images, plain.take(0, 40).images) and plain.take(0, 40).condition is None
    for rank in range(2):
        part = stream.take(0, 40, rank, 2).condition
        assert part is not None and torch.equal(part, batch.condition[rank::2])
    labelled, bare = image_set(), image_set(labels=False)
    told = condition(labelled, order)
    assert told is not None and told.dtype == torch.int64 and told.tolist() == labelled.labels[order].tolist()  # type: ignore[index]
    assert list(known(labelled)) == ["label"] and known(bare) == {} and condition(bare, order) is None
