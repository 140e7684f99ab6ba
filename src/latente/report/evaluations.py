"""What `latente evaluate` has measured of a run: the newest value of each metric, and how it was made."""

import json
import math
import shlex
from html import escape
from typing import Any

from latente.messages import catalogue
from latente.report.history import address
from latente.report.parts import fold, image, p, scrolling, section, table, typed
from latente.report.sheets import Shown
from latente.report.words import Text, html, number, same, text
from latente.run import Run, rows

_BESIDE = ("floor", "real")  # what real images give: training images held against held-out ones, or the data itself
_REMARKS = {"parzen": "likelihood.parzen", "nll": "likelihood.density_has_no_bits"}  # in every language
_SHOWN = {"metric", "images", "at", "value", "unit", "interval", "reconstruction", "picture", "protocol", *_BESIDE}
_LONG = {"per_image", "kl_of_each"}  # left to the file
_WIDEST = 24  # letters of a checksum: no more are needed to tell two apart


def newest(run: Run) -> dict[str, dict[str, Any]]:
    """The newest row of each metric, in the order of the file."""
    found = {row["metric"]: row for row in rows(run.folder / "evaluations.jsonl") if "metric" in row}
    return {name: row for name, row in found.items() if "value" in row and "images" in row}


def evaluation(run: Run, pictures: dict[str, Shown]) -> str:
    """The section; nothing of a network that makes no images. `pictures`: by their paths inside the run folder."""
    if run.config.model.family == "classifier":
        return ""
    found = newest(run)
    command = typed(f"latente evaluate {shlex.quote(address(run.folder))}")
    if not found:
        return section("evaluation", p(text("evaluation_none")), command if run.checkpoints() else "")
    again = any("reconstruction" in row for row in found.values())
    head = [("column_metric", ""), ("column_value", "number"), ("column_real", "number")]
    head += [("column_reconstruction", "number")] if again else []
    lines = [_row(run, name, row, again) for name, row in found.items()]
    remarks = [p(text(_REMARKS[name]), "soft") for name, row in found.items() if row.get("remark") and name in _REMARKS]
    old = any(_stale(run, row) for row in found.values())
    return section(
        "evaluation",
        p(text("evaluation_about")),
        scrolling("evaluation", table(head, lines)),
        *remarks,
        *([p(text("evaluation_again")), command] if old else []),
        *(_picture(pictures[row["picture"]]) for row in found.values() if row.get("picture") in pictures),
        fold(text("evaluation_protocol"), _protocols(found)),
    )


def _row(run: Run, name: str, row: dict[str, Any], again: bool) -> str:
    value = number(row["value"]) if _finite(row["value"]) else same("–")
    if isinstance(row.get("of"), int):
        value = text("of_images", images=row["value"], until=row["of"])
    interval = text("no_interval")
    if row.get("interval") and all(map(_finite, row["interval"])):
        interval = text("interval", low=row["interval"][0], high=row["interval"][1])
    beside = next((key for key in _BESIDE if _finite(row.get(key))), None)
    cells = [f"{html(value)}<small>{html(interval)}</small>", "–"]
    if beside:
        cells[1] = f"{html(number(row[beside]))}<small>{html(text(f'beside_{beside}'))}</small>"
    if again:
        cells.append(html(number(row["reconstruction"])) if _finite(row.get("reconstruction")) else "–")
    stale = _stale(run, row)
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code><small>{_unit(name, row)}</small>'
        + (f'<small class="stale">{html(stale)}</small>' if stale else "")
        + f"</th>{numbers}</tr>"
    )


def _unit(name: str, row: dict[str, Any]) -> str:
    """What a metric counts, in words; as the row has it where nobody has put it in words."""
    if f"unit_{name}" in catalogue("en", "evaluate"):
        return html(text(f"evaluate.unit_{name}"))
    return f"<code>{escape(str(row.get('unit', '?')))}</code>"


def _stale(run: Run, row: dict[str, Any]) -> Text | None:
    """Why a value is not that of the newest weights."""
    later = [turn for turn in run.interventions() if turn["at"] >= row.get("at", "") and turn["to"] < row["images"]]
    if later:
        return text("evaluation_abandoned", images=row["images"])
    if run.checkpoints() and row["images"] < run.checkpoints()[-1]:
        return text("evaluation_old", images=row["images"])
    return None


def _picture(shown: Shown) -> str:
    content = f'<div class="copies">{image(shown, text("copies_alt"))}</div>'
    return f"<figure>{scrolling('copies', content)}<figcaption>{html(text('copies_about'))}</figcaption></figure>"


def _protocols(found: dict[str, dict[str, Any]]) -> str:
    """Each protocol once, under the metrics that share it; then what else a row has to say."""
    sharing: dict[str, list[str]] = {}
    for name, row in found.items():
        sharing.setdefault(json.dumps(row.get("protocol", {}), sort_keys=True), []).append(name)
    parts = []
    for protocol, names in sharing.items():
        facts = [(_fact(key), _plain(value)) for key, value in json.loads(protocol).items() if value is not None]
        for name in names:
            prefix = f"{name}: " if len(names) > 1 else ""
            more = {key: value for key, value in found[name].items() if key not in _SHOWN | _LONG}
            facts += [(f"<code>{escape(prefix + key)}</code>", _plain(value)) for key, value in more.items()]
        items = "".join(f"<li>{said}: <code>{escape(value)}</code></li>" for said, value in facts)
        heading = ", ".join(f"<code>{escape(name)}</code>" for name in names)
        parts.append(f'<h3 class="protocol">{heading}</h3><ul class="protocol">{items}</ul>')
    return "".join(parts)


def _fact(key: str) -> str:
    known = f"protocol_{key}" in catalogue("en", "compare")
    return html(text(f"compare.protocol_{key}")) if known else f"<code>{escape(key)}</code>"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and len(value) > 2 * _WIDEST and " " not in value:
        return value[:_WIDEST] + "…"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
