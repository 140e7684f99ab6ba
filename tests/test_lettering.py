"""Words on pictures: every letter of both languages is drawn, and none like another."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from latente.exploration import lettering
from latente.messages import catalogue


def ink(text: str, size: int = 20) -> np.ndarray:
    picture = Image.new("RGB", (max(lettering.width(text, size), 1) + 8, 2 * size), lettering.PAPER)
    lettering.write(picture, (4, 6), text, size)
    return 255 - np.asarray(picture.convert("L")).astype(int)


def test_every_letter_of_the_catalogues_can_be_drawn():
    signs = {sign for code in ("es", "en") for text in catalogue(code, "explore").values() for sign in text}
    signs |= set("áéíóúüñÁÉÍÓÚÜÑ¿¡")
    question = ink("?")
    for sign in signs - set(" \n?"):
        drawn = ink(sign)
        assert drawn.sum() > 0, sign
        assert drawn.shape != question.shape or not np.array_equal(drawn, question), f"{sign} is missing"


@pytest.mark.parametrize("size", [11, 15, 21])
@pytest.mark.parametrize("letter", "áéíóúüñÁÉÍÓÚÑ")
def test_a_mark_adds_ink_above_its_letter(letter, size):
    import unicodedata

    plain = unicodedata.normalize("NFD", letter)[0]
    marked, bare = ink(letter, size), ink(plain, size)
    assert marked.shape == bare.shape, "a mark takes no room"
    different = np.flatnonzero((marked != bare).any(1))
    body = np.flatnonzero(bare.any(1))
    middle = (body[0] + body[-1]) / 2
    assert len(different) and different[-1] < middle, "the letter itself is as it was"
    assert marked[0].sum() == 0, "not cut off above"


def test_signs_that_open_are_upside_down():
    opening, closing = ink("¿"), ink("?")
    rows = [np.flatnonzero(each.any(1)) for each in (opening, closing)]
    parts = [each[r[0] : r[-1] + 1] for each, r in zip((opening, closing), rows, strict=True)]
    columns = [np.flatnonzero(part.any(0)) for part in parts]
    shapes = [part[:, c[0] : c[-1] + 1] for part, c in zip(parts, columns, strict=True)]
    assert np.array_equal(shapes[0][::-1, ::-1], shapes[1])
    assert rows[0][-1] > rows[1][-1], "and hang lower"


def test_the_width_is_that_of_the_font():
    font = ImageFont.load_default(17)
    assert lettering.width("mapa", 17) == int(np.ceil(sum(font.getlength(letter) for letter in "mapa")))
    assert lettering.width("más", 17) == lettering.width("mas", 17)


def test_lines_fit_and_lose_no_word():
    text = "una línea recta que no termina nunca extraordinariamente"
    lines = lettering.wrapped(text, 15, 120)
    assert " ".join(lines) == text and len(lines) > 2
    assert all(lettering.width(line, 15) <= 120 for line in lines if " " in line)
    assert lettering.wrapped("one\ntwo", 15, 500) == ["one", "two"]


def test_what_the_font_lacks_becomes_a_question_mark():
    assert np.array_equal(ink("漢"), ink("?"))
    assert np.array_equal(ink("−3"), ink("-3"))
