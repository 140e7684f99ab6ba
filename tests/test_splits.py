"""The split by content against counting by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latente.data import splits


def in_order(values):
    return np.sort(np.array(values, np.uint64))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
def test_groups_and_copies_are_what_counting_gives(values):
    ordered = in_order(values)
    counted = {int(v): int(c) for piece in splits.groups(ordered) for v, c in zip(*piece, strict=True)}
    assert counted == Counter(values)
    assert splits.extra_copies(ordered) == len(values) - len(set(values))


def test_groups_in_many_pieces(monkeypatch):
    monkeypatch.setattr(splits, "_PIECE", 4)
    values = np.repeat(np.arange(10), [1, 9, 2, 1, 1, 30, 1, 4, 4, 5])
    pieces = list(splits.groups(in_order(values)))
    assert len(pieces) > 3
    assert np.concatenate([counts for _, counts in pieces]).tolist() == [1, 9, 2, 1, 1, 30, 1, 4, 4, 5]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=400, unique=True))
def test_without_duplicates_five_percent_are_held_out(values):
    chosen = splits.choose(in_order(values))
    assert chosen.tolist() == sorted(values)[: max(1, round(0.05 * len(values)))]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=300))
def test_with_duplicates_both_sides_get_some_and_never_too_many(values):
    chosen = set(splits.choose(in_order(values)).tolist())
    counted = Counter(values)
    if len(counted) < 2:
        assert not chosen
        return
    held = sum(counted[value] for value in chosen)
    assert 1 <= held < len(values)
    assert held <= max(1, round(0.05 * len(values))) or chosen == {min(counted, key=lambda v: (counted[v], v))}


def test_at_most_5000():
    assert len(splits.choose(np.arange(200_000, dtype=np.uint64))) == 5000


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_hashes_depend_on_content_alone(pieces):
    images = np.random.default_rng(0).integers(0, 256, (14, 3, 4, 4), dtype=np.uint8)
    images[9] = images[2]
    whole = splits.content_hashes(images)
    assert np.array_equal(np.concatenate([splits.content_hashes(p) for p in np.array_split(images, pieces)]), whole)
    assert whole[9] == whole[2] and len(np.unique(whole)) == 13


@given(st.lists(st.booleans(), max_size=60))
def test_swaps_put_the_held_out_last(held_out):
    mask = np.array(held_out, np.bool_)
    one, other = splits.swaps(mask)
    moved = mask.copy()
    moved[one], moved[other] = mask[other], mask[one]
    assert np.array_equal(moved, np.sort(mask))
