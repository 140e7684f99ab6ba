"""What the verbs of the command line share: exit codes, and words typed -> values. Nothing heavy is imported."""

import argparse
import re
from collections.abc import Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NoReturn

from latente.config import RunConfig, count
from latente.messages import Problem, nearest, say

if TYPE_CHECKING:
    from latente.run import Run

DONE, FOUND, COULD_NOT, INTERRUPTED = 0, 1, 2, 130


def parse_words(
    argv: list[str], flags: dict[str, Any], positional: Sequence[str] = (), *, dotted: bool = False
) -> dict[str, Any]:
    """Flags (name -> type, None for a switch) and positionals -> values; with `dotted`, settings (--optim.lr) too."""
    settings_typed, argv = _take_dotted(argv, flags) if dotted else ({}, argv)
    argv = _joined(argv, flags)
    parser = _Parser(add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=None)
    for flag, kind in flags.items():
        options: dict[str, Any] = {"action": "store_true"} if kind is None else {"type": kind}
        parser.add_argument(flag, dest=flag[2:], **options)
    for name in positional:
        parser.add_argument(name, nargs="?")
    try:
        values, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise Problem("cli.needs_value", flag=error.argument_name) from None
    if rest:
        raise Problem("cli.unknown_flag", given=rest[0], near=nearest(rest[0], [*flags, "--lang", "--help"]))
    return vars(values) | {"dotted": settings_typed}


def _take_dotted(argv: list[str], flags: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Settings such as `--optim.lr 0.001` or `--optim.lr=0.001`, and what is left."""
    found: dict[str, str] = {}
    left: list[str] = []
    waiting = iter(argv)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and "." in flag and flag not in flags:
            given = value if equals else next(waiting, None)
            if given is None:
                raise Problem("cli.needs_value", flag=flag)
            found[flag[2:]] = given
        else:
            left.append(word)
    return found, left


def _joined(argv: list[str], flags: dict[str, Any]) -> list[str]:
    """`--to -1,0.5` -> `--to=-1,0.5`: argparse would take a list that begins with a minus sign for a flag."""
    found: list[str] = []
    for word in argv:
        if found and flags.get(found[-1]) is not None and re.match(r"-[\d.]", word):
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def take_many(argv: list[str], flag: str) -> tuple[list[str], list[str]]:
    """The words after a flag that takes several (`--images a.png b.png`), up to the next flag, and what is left."""
    if flag not in argv:
        return [], argv
    begin = argv.index(flag)
    end = next((i for i in range(begin + 1, len(argv)) if argv[i].startswith("--")), len(argv))
    if end == begin + 1:
        raise Problem("cli.needs_value", flag=flag)
    return argv[begin + 1 : end], argv[:begin] + argv[end:]


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours, in the person's language."""

    def error(self, message: str) -> NoReturn:
        raise Problem("cli.usage", message=message)


def positive(text: str) -> int:
    value = count(text)
    if value < 1:
        raise Problem("cli.not_a_count", given=text)
    return value


def whole(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise Problem("cli.not_whole", given=text)
    return int(text)


def number(text: str) -> float:
    try:
        value = float(text.replace(",", "."))  # 0,7 as well
    except ValueError:
        value = nan
    if not isfinite(value):
        raise Problem("cli.not_a_number", given=text)
    return value


def opened(folder: str | None, verb: str) -> "Run":
    from latente.run import open_run

    if folder is None:
        raise Problem("cli.needs_argument", verb=verb, what=say("cli.a_run"))
    return open_run(folder)


def preset_called(name: str | None) -> RunConfig:
    from latente.presets import PRESETS

    if name is None:
        raise Problem("cli.needs_argument", verb="train", what=say("cli.a_preset"))
    if name not in PRESETS:
        raise Problem("cli.unknown_preset", given=name, near=nearest(name, PRESETS))
    return PRESETS[name]()


def any_preset() -> RunConfig:
    from latente.presets import PRESETS

    return next(iter(PRESETS.values()))()
