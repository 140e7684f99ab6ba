"""Every sentence exists in both languages with the same fields; all that are asked for exist; none is left over."""

import ast
import re
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import latente
from latente import messages
from latente.messages import LANGUAGES, Problem, nearest, say, set_language

SOURCE = Path(latente.__file__).parent
CATALOGUES = {
    code: {
        f"{path.stem}.{key}": text
        for path in sorted((SOURCE / "messages" / code).glob("*.toml"))
        for key, text in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }
    for code in LANGUAGES
}
AREAS = {key.partition(".")[0] for key in CATALOGUES["en"]}
TREES = {path.relative_to(SOURCE): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if name in ("say", "Problem", "complain"):
                    yield f"{path}:{node.lineno}", node


def asked(key: ast.expr) -> list[str]:
    """The keys that an expression can stand for, as regular expressions; [] where it is a variable."""
    if isinstance(key, ast.Constant):
        return [re.escape(key.value)]
    if isinstance(key, ast.IfExp):
        return asked(key.body) + asked(key.orelse)
    if isinstance(key, ast.JoinedStr):
        return ["".join(re.escape(p.value) if isinstance(p, ast.Constant) else r"[\w-]+" for p in key.values)]  # type: ignore[arg-type]
    return []


CALLS = list(calls())


def test_there_is_something_to_test() -> None:
    assert len(CALLS) > 40 and len(CATALOGUES["es"]) > 60


def test_both_languages_have_the_same_keys() -> None:
    assert CATALOGUES["es"].keys() == CATALOGUES["en"].keys()


def test_every_text_is_whole_in_both_languages() -> None:
    for key, en in CATALOGUES["en"].items():
        es = CATALOGUES["es"][key]
        assert fields(es) == fields(en), key
        assert all(name.isidentifier() and name != "lang" for name in fields(en)), key  # `say` takes `lang` for itself
        for text in (es, en):
            assert text.strip() and not re.search(r"[ \t]$", text, re.M), key


def test_what_is_asked_for_exists_and_is_given_its_fields() -> None:
    for where, call in CALLS:
        given = {keyword.arg for keyword in call.keywords} - {"lang"}
        for pattern in asked(call.args[0]):
            keys = [key for key in CATALOGUES["en"] if re.fullmatch(pattern, key)]
            assert keys, f"{where}: no text {pattern}"
            exact = isinstance(call.args[0], ast.Constant | ast.IfExp) and None not in given  # None: **facts
            for key in keys if exact else []:
                assert fields(CATALOGUES["en"][key]) <= given, f"{where}: {key}"


def test_no_text_is_left_over() -> None:
    constants = {n.value for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    patterns = [p for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in asked(n)]
    started = [p for p in patterns if p.partition(r"\.")[0] in AREAS]
    unused = {k for k in CATALOGUES["en"] if k not in constants and not any(re.fullmatch(p, k) for p in started)}
    assert unused == set()


def test_no_sentence_is_written_into_the_code() -> None:
    """What is raised for people is a Problem with a key: an f-string or a sentence as its key is a slip."""
    for where, call in CALLS:
        for pattern in asked(call.args[0]):
            assert " " not in pattern, where


def test_the_language_is_the_one_set_then_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LATENTE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value, expected in (
        ("LANG", "es_AR.UTF-8", "es"),
        ("LC_MESSAGES", "en_GB.UTF-8", "en"),
        ("LC_ALL", "es", "es"),
        ("LATENTE_LANG", "fr", "en"),
        ("LATENTE_LANG", "es-UY", "es"),
    ):  # each outdoes those before it
        monkeypatch.setenv(name, value)
        assert messages.language() == expected, name
    set_language("en")
    assert messages.language() == "en"
    set_language(None)
    assert messages.language() == "es"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(Problem) as problem:
        set_language("pt")
    assert "pt" in str(problem.value) and "es" in str(problem.value)


def test_a_problem_is_read_in_the_language_of_the_reader() -> None:
    problem = Problem("cli.not_a_count", given="7x")
    set_language("en")
    english = str(problem)
    set_language("es")
    assert "7x" in english and "7x" in str(problem) and str(problem) != english
    assert say("cli.not_a_count", lang="en", given="7x") == english


def test_braces_in_what_was_given_do_no_harm() -> None:
    assert "{x} {0} %s" in str(Problem("cli.not_a_count", given="{x} {0} %s"))


def test_nearest_names() -> None:
    names = ["vae", "vae-mlp", "iwae", "ae-conv", "ae-tied", "ae-linear", "ae-stacked"]
    assert nearest("VAE-mpl", names).split(", ")[0] == "vae-mlp"
    assert nearest("zzzzzz", names) == ", ".join(names[:6])
    assert nearest("glases", ["glasses", "glasses", "hair"]) == "glasses", "each name once"
    assert nearest("x", iter(["a"])) == "a"
