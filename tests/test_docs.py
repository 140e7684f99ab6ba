"""What the READMEs say is so: commands and presets that exist, pictures that are there, both languages alike."""

import re
import shlex
from pathlib import Path

import pytest

from latente import cli
from latente.presets import PRESETS

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.es.md")


def commands(name: str) -> list[list[str]]:
    """The latente commands of a README, as words."""
    text = (ROOT / name).read_text(encoding="utf-8")
    written = re.findall(r"^    latente (.*)$", text, re.M) + re.findall(r"`latente ([^`]+)`", text)
    return [shlex.split(command.partition("#")[0]) for command in written]


@pytest.mark.parametrize("name", READMES)
def test_every_command_exists(name, capsys):
    found = commands(name)
    assert len(found) > 5
    for words in found:
        assert words[0] in cli.VERBS
        if words[0] == "train" and len(words) > 1 and "--help" not in words:
            assert cli.main([*words, "--dry-run"]) == 0, words


@pytest.mark.parametrize("name", READMES)
def test_presets_and_pictures_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"`([a-z0-9-]+)`", text)) >= set(PRESETS)
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (ROOT / link).exists(), link


def test_the_two_readmes_say_the_same():
    english, spanish = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert len(re.findall(r"^## ", english, re.M)) == len(re.findall(r"^## ", spanish, re.M))
    assert [words[0] for words in commands(READMES[0])] == [words[0] for words in commands(READMES[1])]
    numbers = [sorted(re.findall(r"\d+[.,]\d+", text.replace(",", "."))) for text in (english, spanish)]
    assert numbers[0] == numbers[1], "the same figures"


def test_the_first_lines_are_the_two_commands():
    for name in READMES:
        lines = [
            line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("    ")
        ]
        assert lines[0].startswith("make demo") and lines[1].startswith("make test")
        assert ".venv\\Scripts\\latente demo" in lines and ".venv\\Scripts\\python -m pytest" in lines
