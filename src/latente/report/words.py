"""Texts and numbers in every language at once: the page holds them all, and a button shows one."""

import math
from collections.abc import Iterable
from html import escape
from pathlib import PurePath

from latente.messages import LANGUAGES, say

Text = dict[str, str]  # language -> what is read there
Field = str | int | float | Text  # what a sentence is filled with; numbers are written as each language does

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_THIN = "\N{NARROW NO-BREAK SPACE}"


def text(key: str, /, **fields: Field) -> Text:
    """The sentence `report.key` (or a key of another area, with its dot) in every language."""
    key = key if "." in key else f"report.{key}"
    return {lang: say(key, lang=lang, **{n: _in(lang, v) for n, v in fields.items()}) for lang in LANGUAGES}


def same(name: str) -> Text:
    """A name, which is the same in every language."""
    return dict.fromkeys(LANGUAGES, name)


def number(value: int | float) -> Text:
    """A number as each language writes it, four significant digits."""
    return _written(value, 4)


def _written(value: int | float, significant: int) -> Text:
    return {lang: _number(value, lang, significant) for lang in LANGUAGES}


def marks(values: list[float]) -> list[Text]:
    """The marks of an axis, with as many decimals as tell them apart."""
    decimals = next(
        (d for d in range(5) if all(abs(round(v, d) - v) < 1e-9 * max(map(abs, values)) for v in values)), None
    )
    if decimals is None or max(map(abs, values)) >= 1e6:
        tries = ([_written(value, digits) for value in values] for digits in range(4, 16))
        return next(
            (found for found in tries if len({text["es"] for text in found}) == len(values)),
            [number(value) for value in values],
        )
    sign = {True: "\N{MINUS SIGN}", False: ""}
    return [
        {lang: sign[value < 0] + _punctuated(f"{abs(value):,.{decimals}f}", lang) for lang in LANGUAGES}
        for value in values
    ]


def short(images: int) -> Text:
    """Images shown, as short as on the command line: 300k, 1.5M; three digits."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if images >= unit:
            return {lang: _number(float(f"{images / unit:.3g}"), lang) + letter for lang in LANGUAGES}
    return number(images)


def join(texts: Iterable[Text], between: str = ", ") -> Text:
    """Several texts as one."""
    found = list(texts)
    return {lang: between.join(one[lang] for one in found) for lang in LANGUAGES}


def duration(seconds: float) -> str:
    """3 h 20 min, 5 min 3 s, 12 s: international symbols, the same in every language."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def moment(at: str) -> str:
    """An ISO time in UTC -> 2026-11-22 13:05 UTC."""
    return f"{at[:10]} {at[11:16]} UTC"


def name_of(source: str) -> str:
    """A set's name, or the last part of its path: where it lies on somebody's disk is nobody else's business."""
    return PurePath(source).name or source


def html(what: Text) -> str:
    """A text as HTML: once where all languages agree, else one span a language."""
    if len(set(what.values())) == 1:
        return escape(next(iter(what.values())))
    return "".join(f'<span lang="{lang}">{escape(one)}</span>' for lang, one in what.items())


def attribute(name: str, what: Text, lang: str) -> str:
    """A text as an attribute, which can hold one language; the script takes the others from data-*."""
    others = "".join(f' data-{code}="{escape(one)}"' for code, one in what.items())
    return f' {name}="{escape(what[lang])}"{others}'


def _in(lang: str, field: Field) -> str:
    if isinstance(field, dict):
        return field[lang]
    return field if isinstance(field, str) else _number(field, lang)


def _number(value: int | float, lang: str, significant: int = 4) -> str:
    if not math.isfinite(value):
        return str(value)
    size = abs(value) if isinstance(value, int) or abs(value) >= 1000 else float(f"{abs(value):.{significant}g}")
    power = ""
    if isinstance(value, int) or 1000 <= size < 1e15:
        digits = f"{size:,.0f}"
    elif "e" in (digits := f"{size:.{significant}g}"):
        mantissa, _, exponent = digits.partition("e")
        digits, power = mantissa, f" × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return ("\N{MINUS SIGN}" if value < 0 else "") + _punctuated(digits, lang) + power


def _punctuated(digits: str, lang: str) -> str:
    """60,000.5 -> as the language has it; in Spanish four digits stand together."""
    if lang != "es":
        return digits
    whole, point, fraction = digits.partition(".")
    return whole.replace(",", "" if len(whole) == 5 else _THIN) + ("," if point else "") + fraction
