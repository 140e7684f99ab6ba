"""Every sentence for people, in Spanish and English.

A key is ``area.name``; its text stands in ``es/area.toml`` and ``en/area.toml``. Areas are read when first used, so
that ``latente --help`` stays quick.
"""

import difflib
import locale
import os
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

LANGUAGES = ("es", "en")
_language: str | None = None


def set_language(code: str | None) -> None:
    """Choose the language of all texts: "es", "en", or None for the environment's choice."""
    global _language
    if code is not None and code not in LANGUAGES:
        raise Problem("cli.unknown_language", given=code, languages=", ".join(LANGUAGES))
    _language = code


def language() -> str:
    """The language in force: the one set, then LATENTE_LANG, then the locale; English where none says Spanish."""
    if _language is not None:
        return _language
    asked = os.environ.get("LATENTE_LANG") or _locale()
    return "es" if asked.lower().startswith(("es", "spanish")) else "en"  # Windows says Spanish_Argentina


def _locale() -> str:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):  # POSIX order
        if os.environ.get(name):
            return os.environ[name]
    return locale.getlocale()[0] or "en"  # Windows has no such variables


@cache
def catalogue(code: str, area: str) -> dict[str, str]:
    """The texts of one area in one language."""
    text = files("latente.messages").joinpath(code, f"{area}.toml").read_text(encoding="utf-8")
    texts: dict[str, str] = tomllib.loads(text)
    return texts


def say(key: str, /, *, lang: str | None = None, **fields: object) -> str:
    """The sentence `key` in the language in force (or in `lang`), with its fields filled in."""
    area, _, name = key.partition(".")
    return catalogue(lang or language(), area)[name].format(**fields)


def punctuated(digits: str, lang: str | None = None) -> str:
    """A number as Python writes it, as the language in force (or `lang`) does: 1,234.5 -> 1.234,5 in Spanish."""
    return digits.translate(str.maketrans(",.", ".,")) if (lang or language()) == "es" else digits


class Problem(Exception):
    """Something that a person can put right: one sentence, exit code 2, rendered in the language in force when read."""

    def __init__(self, key: str, /, **fields: object) -> None:
        super().__init__(key, fields)
        self.key = key
        self.fields = fields

    def __str__(self) -> str:
        return say(self.key, lang=None, **self.fields)


def nearest(name: str, names: Iterable[str]) -> str:
    """The three names most like `name`, or the first ones if none is: for "did you mean ...?"."""
    known = list(dict.fromkeys(names))
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return ", ".join(close or known[:6])
