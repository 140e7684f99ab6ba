"""The verb compare: several runs side by side. Everything heavy is imported inside it."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latente.cli_arguments import DONE, parse_words
from latente.messages import Problem, catalogue, language, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from latente.evaluation.compare import Comparison, Configuration, Metric, Pair, Value

# Names in a protocol that are told in words; others stand as they are.
_IN_WORDS = {
    *("samples", "seed", "weights", "split", "features", "features_checksum", "filter", "binarisation", "truncation"),
    *("k", "steps", "classifier", "references", "data", "image_shape", "unit", "better", "images", "bins", "how"),
    *("real_images", "train", "draws", "likelihood", "chains", "leaps", "initial", "checkpoint", "window", "scales"),
    *("classifier_checksum", "features_prepare"),
}
_MOST = 6  # settings shown of those that differ
_LONGEST = 28  # letters of a value in a protocol: a checksum needs no more to be told apart


def compare(argv: list[str]) -> int:
    """Put the newest values of several runs side by side."""
    folders, flags = _folders(argv)
    options = parse_words(flags, {"--metrics": str, "--json": None})
    if len(folders) < 2:
        raise Problem("compare.too_few")
    from latente.evaluation.compare import compare as side_by_side
    from latente.run import open_run

    metrics = tuple(name for name in (options["metrics"] or "").split(",") if name)
    found = side_by_side([open_run(folder) for folder in folders], metrics)
    if options["json"]:
        print(json.dumps(as_json(found), ensure_ascii=False))
        return DONE
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)  # a folder may be called [red]
    for part in page(found):
        console.print(part)
    return DONE


def _folders(argv: list[str]) -> tuple[list[str], list[str]]:
    """Runs, of which there are as many as there are, and the flags with their values."""
    folders: list[str] = []
    flags: list[str] = []
    waiting = iter(argv)
    for word in waiting:
        (flags if word.startswith("-") else folders).append(word)
        if word == "--metrics":
            flags.extend([value for value in [next(waiting, None)] if value is not None])
    return folders, flags


def as_json(found: "Comparison") -> dict[str, Any]:
    """Everything that was found, in plain values; why a metric is not ranked is a key and its fields."""
    return {
        "configurations": [
            {
                "label": one.label,
                "runs": [str(run.folder) for run in one.runs],
                "preset": one.runs[0].config.preset,
                "data": one.runs[0].config.data.source,
                "images": one.images,
                "seeds": list(one.seeds),
                "one_seed": one.one_seed,
            }
            for one in found.configurations
        ],
        "metrics": {
            metric.name: {
                "unit": metric.unit,
                "better": metric.better,
                "values": {label: value._asdict() for label, value in metric.values.items()},
                "ranked": metric.ranked,
                "order": metric.order,
                "pairs": [pair._asdict() | {"clear": pair.clear} for pair in metric.pairs],
                "reason": {"key": metric.reason, **metric.fields} if metric.reason else None,
            }
            for metric in found.metrics
        },
    }


# --- For people -------------------------------------------------------------------------------------------------------


def page(found: "Comparison") -> list["RenderableType"]:
    """The configurations, the table, and a sentence for each thing that was or was not ranked."""
    return [_legend(found), "", _table(found), "", *_notes(found)]


def _legend(found: "Comparison") -> "RenderableType":
    from rich.table import Table

    from latente.terminal import number

    legend = Table.grid(padding=(0, 2))
    legend.add_column(no_wrap=True)
    legend.add_column(overflow="fold")
    for one in found.configurations:
        config = one.runs[0].config
        seeds = ", ".join(map(str, one.seeds))
        counted = (
            say("compare.one_seed", seed=seeds) if one.one_seed else say("compare.seeds", n=len(one.seeds), seeds=seeds)
        )
        facts = {"preset": config.preset, "data": config.data.source, "images": number(one.images), "seeds": counted}
        lines = [*(str(run.folder) for run in one.runs), say("compare.configuration", **facts)]
        own = _own_settings(one, found)
        legend.add_row(one.label, "\n".join([*lines, own] if own else lines))
    return legend


def _own_settings(one: "Configuration", found: "Comparison") -> str:
    """--optim.lr 0.001 --model.latent 8: what this one does otherwise than another of its family."""
    from latente.config import settings

    trees = [settings(other.runs[0].config) for other in found.configurations]
    mine = settings(one.runs[0].config)
    alike = [tree for tree in trees if tree.keys() == mine.keys()]
    own = [name for name in mine if name != "training.seed" and any(tree[name][1] != mine[name][1] for tree in alike)]
    words = [f"--{name} {mine[name][1]}" for name in own[:_MOST]]
    return " ".join([*words, "..."] if len(own) > _MOST else words)


def _table(found: "Comparison") -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(say("compare.metric"), no_wrap=True)
    for one in found.configurations:
        table.add_column(one.label, overflow="fold")
    real = any(value.real is not None for metric in found.metrics for value in metric.values.values())
    if real:
        table.add_column(say("compare.real"), overflow="fold")
    table.add_column(say("compare.order"), overflow="fold")
    for metric in found.metrics:
        cells = [_cell(metric.values.get(one.label)) for one in found.configurations]
        table.add_row(metric.name, *cells, *([_real(metric)] if real else []), _order(metric))
    return table


def _unit(metric: "Metric") -> str:
    """The unit in the person's language, where there is a text for it."""
    known = f"unit_{metric.name}" in catalogue(language(), "evaluate")
    return say(f"evaluate.unit_{metric.name}") if known else metric.unit


def _cell(value: "Value | None") -> str:
    if value is None:
        return "-"
    if value.spread is not None:
        return f"{_figure(value.value)}\n\N{PLUS-MINUS SIGN} {_figure(value.spread)} (n = {value.seeds})"
    return _figure(value.value) + (f"\n{_interval(*value.interval)}" if value.interval else "")


def _real(metric: "Metric") -> str:
    return "\n".join(dict.fromkeys(_figure(value.real) for value in metric.values.values() if value.real is not None))


def _order(metric: "Metric") -> str:
    """Best first; those that cannot be told apart stand together."""
    if len(metric.order) < 2:
        return say("compare.not_ranked")
    return ", ".join(f" {say('compare.or')} ".join(place) for place in metric.order)


def _figure(value: float) -> str:
    """A value, from a thousand on without its decimals."""
    from latente.terminal import number

    return number(round(value) if abs(value) >= 1000 else value)


def _interval(low: float, high: float) -> str:
    return say("compare.interval", low=_figure(low), high=_figure(high))


def _notes(found: "Comparison") -> list[str]:
    """Sentences under the table, those that several metrics share told once."""
    told: dict[str, list[str]] = {}
    for metric in found.metrics:
        unit = _unit(metric)
        told.setdefault(_verdict(metric), []).append(f"{metric.name} ({unit})" if unit else metric.name)
    notes = [f"{', '.join(names)}: {sentence}" for sentence, names in told.items()]
    notes += [note for one in found.configurations for note in _late(found, one)]
    if any(value.spread is not None for metric in found.metrics for value in metric.values.values()):
        notes.append(say("compare.spread"))
    single = [one.label for one in found.configurations if one.one_seed]
    if single:
        notes.append(say("compare.mark", labels=_and(single)))
    return notes


def _verdict(metric: "Metric") -> str:
    """Why a metric is not ranked; or each difference between neighbours, and each that is not clear."""
    if metric.reason == "compare.protocols_differ":
        return say("compare.protocols_differ", differences=_unlike(metric.fields["differences"]))
    if metric.reason == "compare.no_interval":
        return say("compare.no_interval", labels=_and(metric.fields["labels"]))
    if metric.reason == "compare.alone":
        labels = metric.fields["labels"]
        return say("compare.alone", labels=labels[0]) if labels else say("compare.nobody")
    if metric.reason == "compare.no_direction":
        return say("compare.no_direction")
    line = sorted(metric.values, key=lambda label: metric.values[label].value)
    neighbours = {frozenset(line[i : i + 2]) for i in range(len(line) - 1)}
    return " ".join(_pair(pair) for pair in metric.pairs if not pair.clear or frozenset(pair[:2]) in neighbours)


def _pair(pair: "Pair") -> str:
    from latente.terminal import number

    facts = {"first": pair.first, "second": pair.second, "difference": _figure(pair.difference)}
    facts["interval"] = _interval(*pair.interval)
    facts["how"] = say("compare.paired", n=number(pair.n)) if pair.how == "paired" else say("compare.by_intervals")
    return say("compare.clear", **facts) if pair.clear else say("compare.not_clear", **facts)


def _unlike(differences: Mapping[str, list[tuple[Any, list[str]]]]) -> str:
    """number of samples: 10,000 in A, 2,000 in B; seed: 0 in A, 1 in B"""
    parts = []
    for key, values in differences.items():
        word = say(f"compare.protocol_{key}") if key in _IN_WORDS else key
        parts.append(
            f"{word}: "
            + ", ".join(say("compare.value_in", value=_said(value), labels=_and(labels)) for value, labels in values)
        )
    return "; ".join(parts)


def _said(value: Any) -> str:
    if value is None:
        return say("compare.not_said")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _figure(value)
    text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _late(found: "Comparison", one: "Configuration") -> list[str]:
    """A sentence where some values of a configuration are older than its others."""
    from latente.terminal import number

    older: dict[int, list[str]] = {}
    for metric in found.metrics:
        value = metric.values.get(one.label)
        if value is not None and value.images != one.images:
            older.setdefault(value.images, []).append(metric.name)
    return [
        say(
            "compare.older", label=one.label, metrics=", ".join(names), images=number(images), newest=number(one.images)
        )
        for images, names in older.items()
    ]


def _and(labels: list[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} {say('compare.and')} {labels[-1]}"
