"""Sheets: where images lie, how much they are enlarged, and that no label is cut off."""

import numpy as np
import pytest
from PIL import Image

from latente.exploration import lettering, sheet
from latente.exploration.sheet import Block, Sheet, draw, enlargement, folded, number
from latente.messages import set_language

RED, GREEN = np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)
RED[0], GREEN[1] = 255, 255


def where(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a colour."""
    found = np.argwhere((np.asarray(picture) == colour).all(2))
    return (*found.min(0)[::-1], *(found.max(0)[::-1] + 1))


def test_images_lie_in_their_rows_and_columns_enlarged_by_a_whole_number():
    picture = draw(Sheet("t", [Block([[RED, None], [None, GREEN]], ["", ""], ["", ""])]))
    red, green = where(picture, (255, 0, 0)), where(picture, (0, 255, 0))
    side = red[2] - red[0]
    assert side == red[3] - red[1] == 4 * enlargement(4, 4, 2) == 128
    assert green[0] > red[2] and green[1] > red[3], "below and to the right"
    assert (np.asarray(picture)[red[1] : red[3], red[0] : red[2]] == (255, 0, 0)).all()


@pytest.mark.parametrize(("side", "columns", "expected"), [(32, 9, 3), (32, 4, 4), (64, 8, 2), (256, 8, 1), (8, 60, 2)])
def test_enlargement(side, columns, expected):
    assert enlargement(side, side, columns) == expected


@pytest.mark.parametrize(("n", "widths"), [(9, [9]), (16, [16]), (17, [9, 8]), (24, [12, 12]), (47, [16, 16, 15])])
def test_more_columns_than_can_be_seen_become_several_lines(n, widths):
    cells = [[np.full((3, 32, 32), i + 100 * row, np.uint8) for i in range(n)] for row in range(2)]
    block = Block(cells, ["a", "b"], [str(i) for i in range(n)], "h")
    parts = folded(block)
    assert [len(part.cells[0]) for part in parts] == widths
    assert [column for part in parts for column in part.columns if column] == block.columns
    for row in range(2):
        assert np.array_equal(np.concatenate([part.cells[row] for part in parts]), cells[row])
    assert {len(part.columns) for part in parts} == {widths[0]}, "one width, so one enlargement"
    assert [part.heading for part in parts] == ["h"] + [""] * (len(parts) - 1)
    assert draw(Sheet("t", [block])).width < 1400


def test_transparency_lies_on_white_and_grey_is_grey():
    clear = np.zeros((4, 4, 4), np.uint8)
    grey = np.full((1, 4, 4), 100, np.uint8)
    assert (np.asarray(draw(Sheet("", [Block([[clear]], [""], [""])]))) == 255).all()
    assert where(draw(Sheet("", [Block([[grey]], [""], [""])])), (100, 100, 100))


def test_no_word_is_cut_off(monkeypatch):
    """Every piece of text lies wholly within its picture."""
    seen = []
    write = lettering.write

    def checked(picture, place, text, size, colour=lettering.INK):
        seen.append((picture.size, place, lettering.width(text, size), text))
        write(picture, place, text, size, colour)

    monkeypatch.setattr(lettering, "write", checked)
    long = "una etiqueta larga de verdad, que no entra en el ancho de una imagen"
    block = Block([[RED, GREEN]] * 2, [long, "b"], [long, "desoxirribonucleótido"], heading=long * 2)
    draw(Sheet(long * 3, [block], [long * 4]))
    assert len(seen) > 15
    for size, (x, y), wide, text in seen:
        assert 0 <= x and x + wide <= size[0], text
        assert 0 <= y and y < size[1], text


def test_numbers_in_both_languages():
    assert [number(value) for value in (0.5, 1.0, -0.001, 2.25, 10)] == ["0.5", "1", "0", "2.25", "10"]
    set_language("es")
    assert number(-2.25) == "-2,25"


def test_large_images_are_not_reduced():
    large = np.full((3, 300, 300), 7, np.uint8)
    left, top, right, bottom = where(draw(Sheet("", [Block([[large] * 4], [""], [""] * 4)])), (7, 7, 7))
    assert bottom - top == 300 and right - left > 1200
    assert sheet.enlargement(300, 300, 4) == 1
