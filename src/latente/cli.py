"""The command line: verb -> function. torch and everything heavy is imported inside the verbs."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latente.cli_arguments import (
    COULD_NOT,
    DONE,
    FOUND,
    INTERRUPTED,
    any_preset,
    number,
    opened,
    parse_words,
    positive,
    preset_called,
    whole,
)
from latente.cli_compare import compare
from latente.cli_diagnose import diagnose
from latente.cli_edit import directions, edit, project
from latente.cli_explore import arithmetic, interpolate, traversal, walk
from latente.cli_measure import evaluate, features
from latente.cli_museum import museum
from latente.cli_styles import mix, noise, truncation
from latente.cli_train import demo, resume, train
from latente.config import count, parse, settings
from latente.messages import Problem, nearest, say, set_language


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _choose_language(arguments)
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(say("help.latente"))
            return DONE
        if arguments[0] == "--version":
            from latente import __version__

            print(f"latente {__version__}")
            return DONE
        verb, rest = arguments[0], arguments[1:]
        if verb not in VERBS:
            raise Problem("cli.unknown_verb", given=verb, near=nearest(verb, VERBS))
        if "-h" in rest or "--help" in rest:
            return _help(verb, rest)
        return VERBS[verb](rest)
    except Problem as problem:
        print(f"latente: {problem}", file=sys.stderr)
        return COULD_NOT
    except KeyboardInterrupt:
        print(f"\nlatente: {say('cli.interrupted')}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `latente ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _choose_language(arguments: list[str]) -> None:
    """Take --lang out of the arguments, wherever it stands."""
    for i, argument in enumerate(arguments):
        if argument == "--lang":
            if i + 1 == len(arguments):
                raise Problem("cli.needs_value", flag="--lang")
            set_language(arguments[i + 1])
            del arguments[i : i + 2]
            return
        if argument.startswith("--lang="):
            set_language(argument.removeprefix("--lang="))
            del arguments[i]
            return
    set_language(None)


def presets(argv: list[str]) -> int:
    """What can be trained."""
    parse_words(argv, {})
    from rich.console import Console
    from rich.table import Table

    from latente.presets import PRESETS

    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "what", "paper"):
        table.add_column(say(f"cli.column_{heading}"), overflow="fold")
    for name, preset in PRESETS.items():
        table.add_row(name, say(f"presets.{name}"), preset().paper)
    Console().print(table)
    return DONE


def data(argv: list[str]) -> int:
    """`data list` and `data check`."""
    known = {"list": _data_list, "check": _data_check}
    if not argv or argv[0] not in known:
        raise Problem("cli.unknown_verb", given=" ".join(["data", *argv[:1]]), near="data list, data check")
    return known[argv[0]](argv[1:])


def _data_list(argv: list[str]) -> int:
    parse_words(argv, {})
    from latente.data.datasets import listing

    for row in listing():
        print(f"{row['name']:15} {say('cli.here' if row['present'] else 'cli.not_here'):30} {row['licence']}")
    return DONE


def _data_check(argv: list[str]) -> int:
    flags = {"--resolution": positive, "--data.channels": str, "--json": None}
    options = parse_words(argv, flags, ("source",))
    from latente.config import DataConfig
    from latente.data import check
    from latente.training.estimate import times

    if options["source"] is None:
        raise Problem("cli.needs_argument", verb="data check", what=say("cli.a_path"))
    config = DataConfig(source=options["source"], resolution=options["resolution"])
    if options["data.channels"] is not None:
        hint = settings(any_preset())["data.channels"][0]
        config = replace(config, channels=parse(options["data.channels"], hint, "--data.channels"))
    report = check.examine(config)
    if "shape" in report:
        report["times"] = times(tuple(report["shape"]))
    in_words = {name: say("cli.time", **row) for name, row in _time_words(report.get("times", {})).items()}
    sentences, fault = check.verdict(report, in_words)
    print(json.dumps(report, ensure_ascii=False) if options["json"] else "\n".join(sentences))
    return FOUND if fault else DONE


def _time_words(times: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    from latente.terminal import duration, number

    return {
        name: {
            "time": duration(row["seconds"]),
            "images": number(row["images"]),
            "gflop": number(row["gflop_per_image"]),
        }
        for name, row in times.items()
    }


def sample(argv: list[str]) -> int:
    """New images from a trained run."""
    flags: dict[str, Any] = {"--n": positive, "--seed": whole, "--out": Path, "--label": whole, "--checkpoint": count}
    flags |= {"--truncation": number, "--cutoff": positive}
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "sample")
    from latente import pictures
    from latente.exploration.latents import sample as draw

    n, out = options["n"] or 64, options["out"] or Path("samples.png")
    styles = (options["truncation"], options["cutoff"])
    images = draw(run, n, options["seed"] or 0, options["label"], options["checkpoint"], *styles)
    try:
        if out.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            pictures.save(pictures.grid(images, columns=min(n, max(8, round(n**0.5)))), out)
        else:
            for i, image in enumerate(images):
                pictures.save(pictures.single(image), out / f"{i:05d}.png")
    except OSError as error:
        raise Problem("cli.cannot_write", path=out, reason=error.strerror or error) from None
    print(say("cli.samples_written", n=n, path=out))
    return DONE


def report(argv: list[str]) -> int:
    """A run -> one page."""
    options = parse_words(argv, {}, ("run",))
    run = opened(options["run"], "report")
    from latente import report as pages

    print(pages.write(run))
    return DONE


def runs(argv: list[str]) -> int:
    """The runs in a folder."""
    options = parse_words(argv, {"--json": None}, ("folder",))
    from latente.run import runs as found

    folder = Path(options["folder"] or "runs")
    here = [
        {
            "run": str(r.folder),
            "preset": r.tree["preset"],
            "images": (r.checkpoints() or [0])[-1],
            "stopped": r.stopped(),
        }
        for r in found(folder)
    ]
    if options["json"]:
        print(json.dumps({"runs": here}, ensure_ascii=False))
    elif not here:
        print(say("cli.no_runs", folder=folder))
    for row in here if not options["json"] else []:
        state = say(f"cli.state_{str(row['stopped']).replace('-', '_').lower()}")
        print(say("cli.run_line", run=row["run"], images=row["images"], state=state))
    return DONE


VERBS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "presets": presets,
    "data": data,
    "train": train,
    "resume": resume,
    "sample": sample,
    "interpolate": interpolate,
    "walk": walk,
    "arithmetic": arithmetic,
    "traversal": traversal,
    "mix": mix,
    "truncation": truncation,
    "noise": noise,
    "project": project,
    "directions": directions,
    "edit": edit,
    "evaluate": evaluate,
    "compare": compare,
    "diagnose": diagnose,
    "features": features,
    "museum": museum,
    "report": report,
    "runs": runs,
}


def _help(verb: str, rest: list[str]) -> int:
    print(say(f"help.{verb}"))
    from latente.presets import PRESETS

    names = [word for word in rest if word in PRESETS]
    if verb == "train" and names:
        from latente.config import expected

        print(say("help.settings", preset=names[0]))
        for name, (hint, value) in settings(preset_called(names[0])).items():
            print(f"  --{name:28} {value!s:16} {expected(hint)}")
    return DONE
