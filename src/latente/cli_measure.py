"""The verbs that measure: evaluate and features. torch and everything heavy is imported inside them."""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, any_preset, opened, parse_words, whole
from latente.config import parse, settings
from latente.messages import Problem, say

if TYPE_CHECKING:
    from latente.run import Run


def evaluate(argv: list[str]) -> int:
    """Measure a run."""
    flags: dict[str, Any] = {"--metrics": str, "--seed": whole, "--classifier": str, "--json": None}
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "evaluate")
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
        if row.get("remark"):
            print(f"{'':14} {row['remark']}")
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
    data, folder = run.config.data, cache_root() / "classifiers"
    kept = [one for one in found(folder) if one.stopped() == "finished"]
    if source == data.source:  # the very same images: names of files may come to mean others
        same = ("content", "classes")
        kept = [one for one in kept if all(one.dataset[fact] == run.dataset[fact] for fact in same)]
    else:
        data = replace(data, source=source, channels="auto")
        kept = [one for one in kept if one.dataset["source"] == source]
        kept = [one for one in kept if one.dataset["image_shape"][1:] == run.dataset["image_shape"][1:]]
    if kept:
        return kept[-1]
    config = replace(PRESETS["classifier"](), data=data)
    print(say("evaluate.classifier", source=source), file=sys.stderr)
    with contextlib.redirect_stdout(sys.stderr), progress(0, config.training.images) as watch:
        trained = training.train(config, out=folder, watch=watch)
    if trained.stopped() == "interrupted":  # half-trained, it would count wrongly
        raise KeyboardInterrupt
    if trained.stopped() != "finished":
        raise Problem("evaluate.needs_classifier", source=source)
    return trained


def features(argv: list[str]) -> int:
    """What a network makes of images, as an array for other programs."""
    options = parse_words(argv, {"--data": str, "--out": Path, "--resolution": str}, ("run",))
    run = opened(options["run"], "features")
    from latente.evaluation.features import write

    data = run.config.data  # of other images, as the run's own were prepared
    if options["data"]:
        data = replace(data, source=options["data"])
    if options["resolution"]:
        hint = settings(any_preset())["data.resolution"][0]
        data = replace(data, resolution=parse(options["resolution"], hint, "--resolution"))
    out = options["out"] or Path("features.npz")
    try:
        shapes = write(run, data, out)
    except OSError as error:
        raise Problem("cli.cannot_write", path=out, reason=error.strerror or error) from None
    print(say("evaluate.features", path=out, **shapes))
    return DONE
