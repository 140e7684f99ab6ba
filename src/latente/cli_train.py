"""The verbs that train: demo, train and resume. torch and everything heavy is imported inside them."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, FOUND, INTERRUPTED, opened, parse_words, positive, preset_called
from latente.config import RunConfig, override, parse, settings, to_json
from latente.messages import Problem, nearest, say

if TYPE_CHECKING:
    from latente.data.datasets import Dataset
    from latente.diagnosis.findings import Finding
    from latente.run import Run

_DOTTED = {
    "data": "data.source",
    "resolution": "data.resolution",
    "on-bad": "data.on-bad",
    "device": "training.device",
    "on-finding": "training.on-finding",
}


def demo(argv: list[str]) -> int:
    """A small VAE on the embedded faces, then the report."""
    options = parse_words(argv, {"--out": Path, "--images": positive})
    from latente.presets import demo as preset

    return _train(_with_images(preset(), options["images"]), Path(options["out"] or "runs"), None)


def train(argv: list[str]) -> int:
    """Create a run and train it."""
    flags: dict[str, Any] = {
        "--data": str,
        "--images": positive,
        "--resolution": str,
        "--on-bad": str,
        "--device": str,
        "--on-finding": str,
        "--from": str,
        "--out": Path,
        "--conditional": None,
        "--dry-run": None,
    }
    options = parse_words(argv, flags, ("preset",), dotted=True)
    from latente.presets import suited

    config = suited(preset_called(options["preset"]), options["dotted"].get("data.source") or options["data"] or "")
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
    options = parse_words(argv, {"--images": positive, "--data": str}, ("run",))
    run = opened(options["run"], "resume")
    from latente import training
    from latente.terminal import progress

    untils = [row["until"] for row in run.events() if row["kind"] in ("start", "resume")]
    until = options["images"] or (untils[-1] if untils else run.config.training.images)
    with progress((run.checkpoints() or [0])[-1], until) as watch:
        training.resume(
            run, images=options["images"], data=options["data"], created=_resumed, watch=watch, heard=_heard
        )
    return _ended(run)


def _with_images(config: RunConfig, images: int | None, typed: dict[str, str] | None = None) -> RunConfig:
    """The preset with another length: its ramps and decays scale with it, but for those that were typed."""
    if images is None:
        return config
    from latente.presets import scaled

    config, names = scaled(config, images, keep=set(typed or {}))
    if names:
        print(say("train.scaled", names=", ".join(names), images=images), file=sys.stderr)
    return config


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

        training.train(config, out=out, start_from=start_from, created=created, watch=watched, heard=_heard)
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
    if run.dataset.get("kind") == "points":
        print(say("train.data_points", source=config.data.source, dimensions=run.dataset["image_shape"][0], **facts))
    else:
        print(say("train.data", source=config.data.source, shape=shape, **facts))
    for sentence in remarks(dataset.facts):
        print(sentence)
    if isinstance(config.objective, VAEObjective):
        from latente.kl_weight import explain

        print(explain(config.objective, tuple(run.dataset["image_shape"])))
        if (config.objective.likelihood, config.objective.binarisation) == ("bernoulli", "grey"):
            print(say("vae.grey_is_no_nll"))
    print(say("train.where", folder=run.folder, precision=config.training.precision))


def _heard(finding: "Finding") -> None:
    """A fault, as soon as it is found."""
    from latente.diagnosis.words import words

    said = words(finding)
    print(say("train.heard", name=said.name, confidence=said.confidence, remedy=said.flag or said.remedy))


def _resumed(run: "Run", dataset: "Dataset") -> None:
    from latente.terminal import number

    last = run.events()[-1]
    print(say("train.resumed", folder=run.folder, images=number(last["images"]), until=number(last["until"])))
    if last["differs"]:
        print(say("train.no_longer_exact", what=", ".join(say(f"report.differs_{name}") for name in last["differs"])))


def _ended(run: "Run") -> int:
    """Say how it ended, write the report, and say what to do next; the exit code."""
    from latente import report as pages
    from latente.diagnosis.words import typed
    from latente.terminal import duration, number

    begun, stop = [row for row in run.events() if row["kind"] in ("start", "resume", "stop")][-2:]
    shown, seconds = stop.get("shown", stop["images"] - begun["images"]), stop["seconds"]
    facts = {
        "images": number(stop["images"]),
        "time": duration(seconds),
        "rate": number(round(shown / max(seconds, 0.01))),
    }
    for row in run.interventions():
        if row["at"] >= begun["at"]:
            changed = " ".join(typed(name, value) for name, value in row["settings"].items()) or say("train.other_dice")
            name = say(f"diagnosis.finding_{row['finding'].replace('-', '_')}")
            print(
                say("train.went_back", name=name, images=number(row["images"]), to=number(row["to"]), changed=changed)
            )
    if stop["reason"] == "finding":
        facts["name"] = say(f"diagnosis.finding_{stop['finding'].replace('-', '_')}")
    if stop["reason"] == "non-finite":
        print(say("train.non_finite", term=stop["term"], checkpoint=number(stop["checkpoint"]), **facts))
    else:
        print(say(f"train.{stop['reason']}", **facts))
    _say_sigma(run)
    try:
        print(say("train.report", page=pages.write(run)))
    except Problem as problem:  # the run itself is safe
        print(f"latente: {problem}", file=sys.stderr)
    if stop["reason"] == "finding":
        print(f"  latente diagnose {run.folder}")
        print(f"  latente resume {run.folder}")
    if stop["reason"] in ("non-finite", "finding"):
        return FOUND
    if stop["reason"] == "interrupted":
        print(say("train.go_on"))
        print(f"  latente resume {run.folder}")
        return INTERRUPTED
    print(say("train.next"))
    points, classifies = run.dataset.get("kind") == "points", run.config.model.family == "classifier"
    if points:
        print(f"  latente evaluate {run.folder}")
    elif classifies:
        print(f"  latente features {run.folder} --out features.npz")
    else:
        print(f"  latente sample {run.folder} --n 64 --out {say('cli.grid_png')}")
    print(f"  latente resume {run.folder} --images {2 * stop['images']}")
    if not points:
        preset = "dcgan" if run.config.cure else "vae"
        print(f"  latente train {preset} --data {say('train.your_pictures')} --resolution 64")
    return DONE


def _say_sigma(run: "Run") -> None:
    """Which KL weight a learned or optimal sigma came to."""
    from latente.config import VAEObjective

    objective = run.config.objective
    sigmas = [row["sigma"] for row in run.metrics() if "sigma" in row]
    if isinstance(objective, VAEObjective) and objective.sigma != "fixed" and sigmas:
        from latente.kl_weight import explain

        print(explain(objective, tuple(run.dataset["image_shape"]), sigmas[-1]))
