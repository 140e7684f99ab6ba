"""The verbs that measure: evaluate and features. torch and everything heavy is imported inside them."""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, any_preset, opened, parse_words, positive, whole
from latente.config import parse, settings
from latente.messages import Problem, say

if TYPE_CHECKING:
    from rich.table import Table

    from latente.evaluation.judges import Judge
    from latente.run import Run


def evaluate(argv: list[str]) -> int:
    """Measure a run."""
    flags: dict[str, Any] = {
        "--metrics": str,
        "--seed": whole,
        "--classifier": str,
        "--features": str,
        "--references": positive,
        "--k": positive,
        "--steps": positive,
        "--json": None,
    }
    options = parse_words(argv, flags, ("run",))
    run = opened(options["run"], "evaluate")
    from latente.evaluation import measure
    from latente.run import open_run

    metrics = tuple(name for name in (options["metrics"] or "").split(",") if name)
    measure.check(run, metrics)
    classifier = open_run(options["classifier"]) if options["classifier"] else _classifier(run, metrics)
    found = measure.evaluate(
        run,
        metrics,
        classifier=classifier,
        judge=_judge(run, metrics, options["features"]),
        **{name: options[name] for name in ("seed", "references", "k", "steps") if options[name] is not None},
        measuring=lambda name: print(say("evaluate.measuring", name=name), file=sys.stderr),
        leaving_out=lambda name, why: print(say("evaluate.left_out", name=name, why=why), file=sys.stderr),
    )
    if options["json"]:
        print(json.dumps(found, ensure_ascii=False))
        return DONE
    if not found:
        print(say("evaluate.nothing", folder=run.folder))
        return DONE
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)  # a class may be called [red]
    console.print(_table(found), "", _notes(run, found))
    for name in measure.slow(run) if not metrics else ():
        console.print(f"\n{say('evaluate.slow', name=name, folder=run.folder)}")
    return DONE


# --- For people -------------------------------------------------------------------------------------------------------


def _table(found: dict[str, dict[str, Any]]) -> "Table":
    """A line a value, its interval below it, the same of real images beside it, and what it is."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(say("evaluate.column_metric"), no_wrap=True)
    table.add_column(say("evaluate.column_value"), no_wrap=True)
    table.add_column(say("evaluate.column_real"), no_wrap=True)
    table.add_column(say("evaluate.column_what"))
    for name, row in found.items():
        value = _figure(row["value"])
        if row.get("of"):
            value = say("evaluate.of", value=value, of=_figure(row["of"]))
        if row.get("interval"):
            low, high = (_figure(end) for end in row["interval"])
            value += f"\n{say('compare.interval', low=low, high=high)}"
        real = next((row[key] for key in ("real", "floor") if row.get(key) is not None), None)
        table.add_row(name, value, "" if real is None else _figure(real), say(f"evaluate.unit_{name}"))
        for part, one in _parts(row).items():
            table.add_row(f"  {say(f'evaluate.part_{part}')}", _figure(one))
    return table


def _parts(row: dict[str, Any]) -> dict[str, float]:
    """Values that stand beside another: of reconstructions, the terms of a bound, the samples that it is worth."""
    alone = {"reconstructions": row.get("reconstruction"), "effective": row.get("effective")}
    terms: dict[str, float] = row.get("terms", {})
    return terms | {name: value for name, value in alone.items() if value is not None}


def _notes(run: "Run", found: dict[str, dict[str, Any]]) -> "Table":
    """Sentences under the table, each beside the metric that it is about."""
    from rich.table import Table

    notes = Table.grid(padding=(0, 2))
    notes.add_column(no_wrap=True)
    notes.add_column()
    if any(row.get("floor") is not None for row in found.values()):
        notes.add_row(say("evaluate.column_real"), say("evaluate.beside"))
    remarks: dict[str, list[str]] = {}  # a sentence -> the metrics that it is about
    for name, row in found.items():
        if row.get("shares"):
            notes.add_row(name, ", ".join(f"{one} {_figure(share)}" for one, share in row["shares"].items()))
        if row.get("remark"):
            remarks.setdefault(row["remark"], []).append(name)
        if row.get("picture"):
            notes.add_row(name, say("evaluate.picture", path=run.folder / row["picture"]))
    for remark, names in remarks.items():
        notes.add_row("\n".join(names), remark)
    return notes


def _figure(value: float | None) -> str:
    """A value, from a thousand on without its decimals."""
    from latente.terminal import number

    if value is None:
        return "-"
    return number(round(value) if abs(value) >= 1000 else value)


# --- Networks that look -----------------------------------------------------------------------------------------------


def _judge(run: "Run", metrics: tuple[str, ...], asked: str | None) -> "Judge | None":
    """The feature network of distances, None for the pixels, or where no metric takes one."""
    from latente.evaluation import measure

    source = measure.looks(run, metrics)
    if source is None and asked is not None:
        print(say("evaluate.nobody_looks", given=asked), file=sys.stderr)
    return None if source is None else judge_of(run, source, asked)


def judge_of(run: "Run", source: str, asked: str | None) -> "Judge | None":
    """Who looks at the images of a set: what was asked for ("pixels", a file of weights, a run), or the set's own
    classifier; None for the pixels."""
    from latente.evaluation import judges
    from latente.run import open_run

    if asked == "pixels":
        return None
    if asked is not None:
        path = Path(asked)
        judge = judges.of_run(open_run(path)) if path.is_dir() else judges.of_weights(path)
        print(say("evaluate.judge", name=judge.name, checksum=judge.checksum[:16]), file=sys.stderr)
        return judge
    task = task_of(run)
    height, width = run.dataset["image_shape"][1:]
    if task == "rotations" and height != width:  # it cannot be turned
        return None
    return judges.of_run(reader_of(run, source, task))


def _classifier(run: "Run", metrics: tuple[str, ...]) -> "Run | None":
    """The classifier that some metrics read images with."""
    from latente.evaluation.measure import reader

    source = reader(run, metrics)
    return None if source is None else reader_of(run, source, task_of(run))


def task_of(run: "Run") -> str:
    """What a classifier of the run's images learns: their labels; where there are none, the factors that they were made
    from, or which way up they are."""
    from latente.data.names import known

    if len(run.dataset["classes"]) > 1:
        return "labels"
    return "factors" if known(run.config.data.source.partition(":")[0]) == "caras" else "rotations"


def reader_of(run: "Run", source: str, task: str) -> "Run":
    """A run of the `classifier` family that reads images of a set: trained once for each set and task, and kept in the
    cache."""
    from latente import training
    from latente.data.cache import cache_root
    from latente.presets import PRESETS
    from latente.run import runs as found
    from latente.terminal import progress

    preset = "classifier" if task == "labels" else f"classifier-{task}"
    data, folder = run.config.data, cache_root() / "classifiers"
    kept = [one for one in found(folder) if one.stopped() == "finished" and one.tree["preset"] == preset]
    if source == data.source:  # the very same images: names of files may come to mean others
        same = ("content", "classes")
        kept = [one for one in kept if all(one.dataset.get(fact) == run.dataset.get(fact) for fact in same)]
    else:
        data = replace(data, source=source, channels="auto")
        kept = [one for one in kept if one.config.data.source == source]
        kept = [one for one in kept if one.dataset["image_shape"][1:] == run.dataset["image_shape"][1:]]
    if kept:
        return kept[-1]
    config = replace(PRESETS[preset](), data=data)
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
