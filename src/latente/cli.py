"""The command line: verb -> function. torch and everything heavy is imported inside the verbs."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latente.config import RunConfig, count, override, parse, settings, to_json
from latente.messages import Problem, nearest, say, set_language

if TYPE_CHECKING:
    from latente.data.datasets import Dataset
    from latente.run import Run

DONE, FOUND, COULD_NOT, INTERRUPTED = 0, 1, 2, 130
_DOTTED = {"data": "data.source", "resolution": "data.resolution", "on-bad": "data.on-bad", "device": "training.device"}


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


# ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def demo(argv: list[str]) -> int:
    """A small VAE on the embedded faces, then the report."""
    options = _parse(argv, {"--out": Path, "--images": _positive})
    from latente.presets import demo as preset

    return _train(_with_images(preset(), options["images"]), Path(options["out"] or "runs"), None)


def presets(argv: list[str]) -> int:
    """What can be trained."""
    _parse(argv, {})
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
    _parse(argv, {})
    from latente.data.datasets import listing

    for row in listing():
        print(f"{row['name']:15} {say('cli.here' if row['present'] else 'cli.not_here'):30} {row['licence']}")
    return DONE


def _data_check(argv: list[str]) -> int:
    flags = {"--resolution": _positive, "--data.channels": str, "--json": None}
    options = _parse(argv, flags, ("source",))
    from latente.config import DataConfig
    from latente.data import check
    from latente.training.estimate import times

    if options["source"] is None:
        raise Problem("cli.needs_argument", verb="data check", what=say("cli.a_path"))
    config = DataConfig(source=options["source"], resolution=options["resolution"])
    if options["data.channels"] is not None:
        hint = settings(_any_preset())["data.channels"][0]
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


def train(argv: list[str]) -> int:
    """Create a run and train it."""
    flags: dict[str, Any] = {
        "--data": str,
        "--images": _positive,
        "--resolution": str,
        "--on-bad": str,
        "--device": str,
        "--from": str,
        "--out": Path,
        "--conditional": None,
        "--dry-run": None,
    }
    options = _parse(argv, flags, ("preset",), dotted=True)
    from latente.presets import suited

    config = suited(_preset(options["preset"]), options["data"] or "")
    config = _with_images(config, options["images"], options["dotted"])
    known = settings(config)
    changes: dict[str, Any] = {}
    for flag, name in _DOTTED.items():
        if options[flag] is not None:
            changes[name] = parse(options[flag], known[name][0], f"--{flag}")
    for name, text in options["dotted"].items():
        if name not in known:
            raise Problem("cli.unknown_setting", given=name, near=nearest(name, known))
        changes[name] = parse(text, known[name][0], f"--{name}")
    if options["conditional"]:
        if "model.conditional" not in known:
            raise Problem("cli.not_conditional", preset=config.preset)
        changes["model.conditional"] = True
    config = override(config, changes)
    if options["dry-run"]:
        print(json.dumps(to_json(config), indent=1, ensure_ascii=False))
        return DONE
    start_from = None
    if options["from"]:
        from latente.run import open_run

        start_from = open_run(options["from"])
    return _train(config, Path(options["out"] or "runs"), start_from)


def resume(argv: list[str]) -> int:
    """Go on with a run."""
    options = _parse(argv, {"--images": _positive}, ("run",))
    run = _open(options["run"], "resume")
    from latente import training
    from latente.terminal import progress

    untils = [row["until"] for row in run.events() if row["kind"] in ("start", "resume")]
    until = options["images"] or (untils[-1] if untils else run.config.training.images)
    with progress((run.checkpoints() or [0])[-1], until) as watch:
        training.resume(run, images=options["images"], created=_resumed, watch=watch)
    return _ended(run)


def sample(argv: list[str]) -> int:
    """New images from a trained run."""
    flags = {"--n": _positive, "--seed": _whole, "--out": Path, "--label": _whole, "--checkpoint": count}
    options = _parse(argv, flags, ("run",))
    run = _open(options["run"], "sample")
    from latente import pictures
    from latente.exploration.latents import sample as draw

    n, out = options["n"] or 64, options["out"] or Path("samples.png")
    images = draw(run, n, options["seed"] or 0, options["label"], options["checkpoint"])
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


def evaluate(argv: list[str]) -> int:
    """Measure a run."""
    flags: dict[str, Any] = {"--metrics": str, "--seed": _whole, "--classifier": str, "--json": None}
    options = _parse(argv, flags, ("run",))
    run = _open(options["run"], "evaluate")
    from latente.evaluation import measure
    from latente.run import open_run
    from latente.terminal import number

    metrics = tuple(name for name in (options["metrics"] or "").split(",") if name)
    classifier = open_run(options["classifier"]) if options["classifier"] else _classifier(run, metrics)
    found = measure.evaluate(run, metrics, seed=options["seed"] or 0, classifier=classifier)
    if options["json"]:
        print(json.dumps(found, ensure_ascii=False))
        return DONE
    if not found:
        print(say("evaluate.nothing", folder=run.folder))
    for name, row in found.items():
        value = "-" if row["value"] is None else number(row["value"])
        if row.get("interval"):
            value += f" [{', '.join(number(end) for end in row['interval'])}]"
        real = f" ({say('evaluate.real', value=number(row['real']))})" if row.get("real") is not None else ""
        print(f"{name:14} {value}{real}  {say(f'evaluate.unit_{name}')}")
    return DONE


def _classifier(run: "Run", metrics: tuple[str, ...]) -> "Run | None":
    """The classifier that some metrics read images with: trained once for each set, and kept in the cache."""
    from latente import training
    from latente.data.cache import cache_root
    from latente.evaluation.measure import reader
    from latente.presets import PRESETS
    from latente.run import runs as found
    from latente.terminal import progress

    source = reader(run, metrics)
    if source is None:
        return None
    data = replace(run.config.data, source=source, channels="auto")
    folder = cache_root() / "classifiers"
    kept = [one for one in found(folder) if one.stopped() == "finished" and one.dataset["source"] == source]
    kept = [one for one in kept if one.dataset["image_shape"][1:] == run.dataset["image_shape"][1:]]
    if kept:
        return kept[-1]
    config = replace(PRESETS["classifier"](), data=data)
    print(say("evaluate.classifier", source=source), file=sys.stderr)
    with contextlib.redirect_stdout(sys.stderr), progress(0, config.training.images) as watch:
        return training.train(config, out=folder, watch=watch)


def features(argv: list[str]) -> int:
    """What a network makes of images, as an array for other programs."""
    options = _parse(argv, {"--data": str, "--out": Path, "--resolution": str}, ("run",))
    run = _open(options["run"], "features")
    from latente.config import DataConfig
    from latente.evaluation.features import write

    known = settings(_any_preset())
    size = parse(options["resolution"], known["data.resolution"][0], "--resolution") if options["resolution"] else None
    data = DataConfig(source=options["data"], resolution=size) if options["data"] else run.config.data
    out = options["out"] or Path("features.npz")
    try:
        shapes = write(run, data, out)
    except OSError as error:
        raise Problem("cli.cannot_write", path=out, reason=error.strerror or error) from None
    print(say("evaluate.features", path=out, **shapes))
    return DONE


def report(argv: list[str]) -> int:
    """A run -> one page."""
    options = _parse(argv, {}, ("run",))
    run = _open(options["run"], "report")
    from latente import report as pages

    print(pages.write(run))
    return DONE


def runs(argv: list[str]) -> int:
    """The runs in a folder."""
    options = _parse(argv, {"--json": None}, ("folder",))
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
    "evaluate": evaluate,
    "features": features,
    "report": report,
    "runs": runs,
}

# ── what the verbs share ─────────────────────────────────────────────────────────────────────────────────────────────


def _train(config: RunConfig, out: Path, start_from: "Run | None") -> int:
    from latente import training
    from latente.terminal import progress

    started: list[Run] = []

    def created(run: "Run", dataset: "Dataset") -> None:
        started.append(run)
        _introduce(run, dataset)

    with contextlib.ExitStack() as stack:
        watch: list[Any] = []

        def watched(images: int, row: dict[str, Any]) -> None:
            if not watch:  # the bar begins when training does, below the introduction
                watch.append(stack.enter_context(progress(0, config.training.images)))
            watch[0](images, row)

        training.train(config, out=out, start_from=start_from, created=created, watch=watched)
    return _ended(started[0])


def _introduce(run: "Run", dataset: "Dataset") -> None:
    """What is about to be trained, in words, before the first step."""
    from latente.config import VAEObjective
    from latente.data.datasets import remarks
    from latente.terminal import number

    config = run.config
    facts = {"train": number(len(dataset.train)), "test": number(len(dataset.test))}
    shape = " x ".join(str(side) for side in run.dataset["image_shape"][::-1])
    print(say("train.begin", preset=config.preset, paper=config.paper))
    print(say("train.data", source=config.data.source, shape=shape, **facts))
    for sentence in remarks(dataset.facts):
        print(sentence)
    if isinstance(config.objective, VAEObjective):
        from latente.kl_weight import explain

        print(explain(config.objective, tuple(run.dataset["image_shape"])))
        if (config.objective.likelihood, config.objective.binarisation) == ("bernoulli", "grey"):
            print(say("vae.grey_is_no_nll"))
    print(say("train.where", folder=run.folder, precision=config.training.precision))


def _resumed(run: "Run", dataset: "Dataset") -> None:
    from latente.terminal import number

    last = run.events()[-1]
    print(say("train.resumed", folder=run.folder, images=number(last["images"]), until=number(last["until"])))
    if last["differs"]:
        print(say("train.no_longer_exact", what=", ".join(say(f"report.differs_{name}") for name in last["differs"])))


def _ended(run: "Run") -> int:
    """Say how it ended, write the report, and say what to do next; the exit code."""
    from latente import report as pages
    from latente.terminal import duration, number

    begun, stop = [row for row in run.events() if row["kind"] in ("start", "resume", "stop")][-2:]
    shown, seconds = stop["images"] - begun["images"], stop["seconds"]
    facts = {
        "images": number(stop["images"]),
        "time": duration(seconds),
        "rate": number(round(shown / max(seconds, 0.01))),
    }
    if stop["reason"] == "non-finite":
        print(say("train.non_finite", term=stop["term"], checkpoint=number(stop["checkpoint"]), **facts))
    else:
        print(say(f"train.{stop['reason']}", **facts))
    _say_sigma(run)
    try:
        print(say("train.report", page=pages.write(run)))
    except Problem as problem:  # the run itself is safe
        print(f"latente: {problem}", file=sys.stderr)
    if stop["reason"] == "non-finite":
        return FOUND
    if stop["reason"] == "interrupted":
        print(say("train.go_on"))
        print(f"  latente resume {run.folder}")
        return INTERRUPTED
    print(say("train.next"))
    print(f"  latente sample {run.folder} --n 64 --out {say('cli.grid_png')}")
    print(f"  latente resume {run.folder} --images {2 * stop['images']}")
    print(f"  latente train vae --data {say('train.your_pictures')} --resolution 64")
    return DONE


def _say_sigma(run: "Run") -> None:
    """Which KL weight a learned or optimal sigma came to."""
    from latente.config import VAEObjective

    objective = run.config.objective
    sigmas = [row["sigma"] for row in run.metrics() if "sigma" in row]
    if isinstance(objective, VAEObjective) and objective.sigma != "fixed" and sigmas:
        from latente.kl_weight import explain

        print(explain(objective, tuple(run.dataset["image_shape"]), sigmas[-1]))


def _preset(name: str | None) -> RunConfig:
    from latente.presets import PRESETS

    if name is None:
        raise Problem("cli.needs_argument", verb="train", what=say("cli.a_preset"))
    if name not in PRESETS:
        raise Problem("cli.unknown_preset", given=name, near=nearest(name, PRESETS))
    return PRESETS[name]()


def _any_preset() -> RunConfig:
    from latente.presets import PRESETS

    return next(iter(PRESETS.values()))()


def _with_images(config: RunConfig, images: int | None, typed: dict[str, str] | None = None) -> RunConfig:
    """The preset with another length: its ramps and decays scale with it, but for those that were typed."""
    if images is None:
        return config
    from latente.presets import scaled

    config, names = scaled(config, images, keep=set(typed or {}))
    if names:
        print(say("train.scaled", names=", ".join(names), images=images), file=sys.stderr)
    return config


def _open(folder: str | None, verb: str) -> "Run":
    from latente.run import open_run

    if folder is None:
        raise Problem("cli.needs_argument", verb=verb, what=say("cli.a_run"))
    return open_run(folder)


def _positive(text: str) -> int:
    value = count(text)
    if value < 1:
        raise Problem("cli.not_a_count", given=text)
    return value


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**63:
        raise Problem("cli.not_whole", given=text)
    return int(text)


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours, in the person's language."""

    def error(self, message: str) -> NoReturn:
        raise Problem("cli.usage", message=message)


def _parse(
    argv: list[str], flags: dict[str, Any], positional: Sequence[str] = (), *, dotted: bool = False
) -> dict[str, Any]:
    """Flags (name -> type, None for a switch) and positionals -> values; with `dotted`, settings (--optim.lr) too."""
    settings_typed, argv = _take_dotted(argv, flags) if dotted else ({}, argv)
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


def _help(verb: str, rest: list[str]) -> int:
    print(say(f"help.{verb}"))
    from latente.presets import PRESETS

    names = [word for word in rest if word in PRESETS]
    if verb == "train" and names:
        from latente.config import expected

        print(say("help.settings", preset=names[0]))
        for name, (hint, value) in settings(_preset(names[0])).items():
            print(f"  --{name:28} {value!s:16} {expected(hint)}")
    return DONE
