"""The verb of the failure museum. torch and everything heavy is imported inside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, INTERRUPTED, parse_words, whole
from latente.config import RunConfig
from latente.messages import Problem, say

if TYPE_CHECKING:
    from latente.data.datasets import Dataset
    from latente.diagnosis.museum import Exhibit
    from latente.run import Run


def museum(argv: list[str]) -> int:
    """What can go wrong, on purpose: all exhibits, or one of them."""
    options = parse_words(argv, {"--twin": None, "--out": Path, "--seed": whole, "--dry-run": None}, ("name",))
    from latente.diagnosis.museum import DIRAC, exhibit

    name, out = options["name"], options["out"] or Path("runs")
    if name is None:
        return _listed()
    if name == DIRAC:
        return _dirac(out)
    return _shown(name, exhibit(name), bool(options["twin"]), out, options["seed"] or 0, bool(options["dry-run"]))


def _listed() -> int:
    """Every exhibit: name, what it shows, how long it takes."""
    from rich.console import Console
    from rich.table import Table

    from latente.diagnosis.museum import DIRAC, EXHIBITS

    table = Table(box=None, pad_edge=False)
    for heading in ("exhibit", "shows", "data", "time"):
        table.add_column(say(f"museum.column_{heading}"), overflow="fold")
    for name, shown in EXHIBITS.items():
        table.add_row(name, say(f"museum.show_{name}"), shown.source, _time(shown.minutes))
    table.add_row(DIRAC, say(f"museum.show_{DIRAC}"), "", _time(0.2))
    Console().print(table)
    print(say("museum.how"))
    return DONE


def _time(minutes: float) -> str:
    from latente.terminal import duration

    return duration(60 * minutes)


def _dirac(out: Path) -> int:
    """The smallest game there is: a table in the terminal, and a picture."""
    from rich.console import Console
    from rich.table import Table

    from latente.diagnosis import dirac

    rows = dirac.table()
    shown = Table(box=None, pad_edge=False)
    for heading in ("cost", "penalty", "eigenvalues", "at_once", "in_turn"):
        shown.add_column(say(f"museum.column_{heading}"))
    for row in rows:
        fates = [say(f"museum.{fate}") for fate in row.outcomes]
        shown.add_row(row.game.cost, row.game.penalty, dirac.written(row.eigenvalues), *fates)
    Console().print(shown)
    path = out / "dirac.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        dirac.draw(rows).save(path)
    except OSError as error:
        raise Problem("cli.cannot_write", path=path, reason=error.strerror or error) from None
    print(say("museum.dirac"))
    print(say("museum.picture", path=path))
    return DONE


def _shown(name: str, shown: "Exhibit", twin: bool, out: Path, seed: int, dry: bool) -> int:
    """Train an exhibit or its twin, and let the diagnosis speak."""
    import json

    from latente.config import to_json
    from latente.diagnosis.museum import config, few

    small = few(name, out) if shown.few and not twin and not dry else None
    asked = config(name, twin, seed, str(small) if small else None)
    if dry:
        print(json.dumps(to_json(asked), indent=1, ensure_ascii=False))
        return DONE
    print(say("museum.begin_twin" if twin else "museum.begin", name=name, time=_time(shown.minutes)))
    print(say(f"museum.show_{name}"))
    differs = ", ".join(f"--{setting} {value}" for setting, value in shown.cure.items())
    print(say("museum.differs_data" if shown.few else "museum.differs", settings=differs, n=shown.few))
    run = _trained(asked, out)
    if run.stopped() == "interrupted":
        return INTERRUPTED
    from latente.cli_diagnose import diagnose

    if shown.classes:
        _drawn(run)
    print()
    diagnose([str(run.folder)])
    print()
    if not twin:
        print(say("museum.expected", verdict=say(f"diagnosis.finding_{shown.verdict.replace('-', '_')}")))
        print(say("museum.see_twin"))
        print(f"  latente museum {name} --twin")
    return DONE


def _trained(config: RunConfig, out: Path) -> "Run":
    from latente import training
    from latente.terminal import progress

    def created(run: "Run", dataset: "Dataset") -> None:
        print(say("museum.where", folder=run.folder))

    with progress(0, config.training.images) as watch:
        return training.train(config, out=out, created=created, watch=watch)


def _drawn(run: "Run") -> None:
    """The share of each class among the fakes over time, as a picture and in words."""
    from latente.diagnosis import museum as exhibits

    course = exhibits.course(run)
    path = run.folder / "classes.png"
    exhibits.draw(course).save(path)
    for reign in course.reigns:
        fields: dict[str, Any] = {"label": course.classes[reign.label], "peak": round(100 * reign.peak)}
        fields |= {"begin": round(reign.begin), "end": round(reign.end)}
        print(say("museum.reign", **fields))
        if reign.after == reign.after:
            print(say("museum.forgotten", label=fields["label"], after=round(100 * reign.after)))
    if not course.reigns:
        print(say("museum.no_reign"))
    print(say("museum.picture", path=path))
