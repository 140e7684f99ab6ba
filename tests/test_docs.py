"""What the READMEs and the pages of docs/ say is so: commands, presets, metrics, probes and thresholds that exist,
pictures that are there, both languages alike."""

import re
import shlex
from pathlib import Path

import pytest

from latente import cli
from latente.diagnosis.findings import LIMITS
from latente.diagnosis.museum import DIRAC, EXHIBITS
from latente.diagnosis.verdicts import ORDER
from latente.evaluation import measure
from latente.messages import catalogue, say
from latente.presets import PRESETS

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.es.md")
PAGES = tuple(
    f"docs/{page}{ending}"
    for page in ("adversarial", "evaluation", "diagnosis", "growing", "styles", "exploring", "editing", "results")
    for ending in (".md", ".es.md")
)
DIAGNOSIS = ("docs/diagnosis.md", "docs/diagnosis.es.md")
EVALUATION = ("docs/evaluation.md", "docs/evaluation.es.md")
EXPLORING = ("interpolate", "walk", "arithmetic", "traversal", "mix", "truncation", "noise")
SOURCE = ROOT / "src" / "latente"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")


def commands(name: str) -> list[list[str]]:
    """The latente commands of a page, as words."""
    text = read(name)
    written = re.findall(r"^    latente (.*)$", text, re.M) + re.findall(r"`latente ([^`]+)`", text)
    return [shlex.split(command.partition("#")[0]) for command in written]


def rows(name: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`, without the heading."""
    lines = read(name).splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


@pytest.mark.parametrize("name", [*READMES, *PAGES])
def test_every_command_exists(name, capsys):
    found = commands(name)
    assert len(found) > (1 if "results" in name else 4)
    for words in found:
        assert words[0] in cli.VERBS
        if words[0] == "train" and len(words) > 1 and "--help" not in words:
            assert cli.main([*words, "--dry-run"]) == 0, words
        if words[0] == "museum" and len(words) > 1:
            assert words[1] in (*EXHIBITS, DIRAC), words
        if words[0] in (*EXPLORING, "evaluate", "compare", "diagnose", "museum", "project", "directions", "edit"):
            flags = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
            assert all(flag in say(f"help.{words[0]}") for flag in flags), words


@pytest.mark.parametrize("name", [*READMES, *PAGES])
def test_pictures_and_links_lead_somewhere(name):
    text, here = read(name), (ROOT / name).parent
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (here / link).is_file(), link


@pytest.mark.parametrize("name", READMES)
def test_presets_and_pictures_are_named(name):
    text = read(name)
    assert set(re.findall(r"`([a-z0-9-]+)`", text)) >= set(PRESETS)
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)


@pytest.mark.parametrize("name", READMES)
def test_every_verb_has_a_line(name):
    quiet = {"demo", "runs", "presets", "data", "report", "features"}  # told of by the others and by --help
    assert {words[0] for words in commands(name)} >= set(cli.VERBS) - quiet


@pytest.mark.parametrize("pair", [READMES, *zip(PAGES[::2], PAGES[1::2], strict=True)], ids=lambda pair: pair[0])
def test_the_two_languages_say_the_same(pair):
    english, spanish = map(read, pair)
    for what in (r"^## ", r"^\| ", r"^[-*] ", r"^!\["):
        assert len(re.findall(what, english, re.M)) == len(re.findall(what, spanish, re.M)), what
    assert [words[0] for words in commands(pair[0])] == [words[0] for words in commands(pair[1])]
    assert figures(english, ",") == figures(spanish, "."), "the same figures"


def figures(text: str, thousands: str) -> list[str]:
    """The numbers with decimals, as English has them."""
    whole = re.sub(rf"(?<=\d){re.escape(thousands)}(?=\d{{3}}\b)", "", text)
    return sorted(re.findall(r"\d+\.\d+", whole.replace(",", ".")))


def test_the_first_lines_are_the_two_commands():
    for name in READMES:
        lines = [line.strip() for line in read(name).splitlines() if line.startswith("    ")]
        assert lines[0].startswith("make demo") and lines[1].startswith("make test")
        assert ".venv\\Scripts\\latente demo" in lines and ".venv\\Scripts\\python -m pytest" in lines


@pytest.mark.parametrize(("name", "first"), [(DIAGNOSIS[0], "verdict"), (DIAGNOSIS[1], "veredicto")])
def test_the_verdicts_and_their_thresholds(name, first):
    table = rows(name, first)
    assert {re.findall(r"`([^`]+)`", row[0])[0] for row in table} == set(ORDER)
    said = {}
    for key, sign, at in re.findall(r"`(\w+) ([<>]) (-?[\d.]+)`", read(name)):
        limit = LIMITS[key]
        assert float(at) == limit.at, key
        assert (sign == ">") == (limit.far > limit.at), key
        said[key] = at
    assert set(LIMITS) == set(said), "every threshold is told"


@pytest.mark.parametrize("name", DIAGNOSIS)
def test_the_columns_of_the_probes(name):
    text = read(name)
    told = set(re.findall(r"`(probe/[a-z/]+)", text))
    sources = [SOURCE / "diagnosis" / "panel.py", SOURCE / "training" / "probing.py"]
    written = "".join(path.read_text(encoding="utf-8") for path in sources)
    columns = set(re.findall(r'"(probe/[a-z/]+?)/?"', written)) | set(re.findall(r'"(probe/[a-z]+)/\{', written))
    columns -= {"probe/weights", "probe/move"}  # kept for the next probe, in the memory
    columns |= {f"probe/{each}" for each in ("precision", "recall", "density", "coverage")}
    roots = {column.rstrip("/") for column in told}
    assert {root for root in columns if not any(r == root or r.startswith(f"{root}/") for r in roots)} == set()
    assert {root for root in roots if not any(root == c or root.startswith(f"{c}/") for c in columns)} == set()


@pytest.mark.parametrize("name", EVALUATION)
def test_the_metrics(name):
    values = {key.removeprefix("unit_") for key in catalogue("en", "evaluate") if key.startswith("unit_")}
    table = rows(name, "`--metrics`")
    asked = {word for row in table for word in re.findall(r"`(\w+)`", row[0])}
    told = {word for row in table for word in re.findall(r"`(\w+)`", row[1])}
    assert told == values
    written = Path(measure.__file__).read_text(encoding="utf-8")
    known = set(re.findall(r'found\["(\w+)"\]', written)) | set(re.findall(r'"(\w+)": of_', written))
    assert asked == known
