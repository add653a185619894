"""What a scan's page says in words and numbers, as HTML: vertebrae, findings, measurements, the record of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from spineps.labels import DISC_OFFSET
from spineps.measures.quantities import CANAL, CORD, CORONAL_CURVE, CURVE, DISC, QUANTITIES, SACRUM, VERTEBRA
from spineps.page.html import cells, table
from spineps.page.marks import bar, called, percent
from spineps.volume import Levels, LevelStatus, Result, StructureMeasures, Vertebra

_KINDS: Final = (
    (VERTEBRA, "Vertebrae"),
    (DISC, "Discs"),
    (SACRUM, "Sacrum"),
    (CANAL, "Spinal canal"),
    (CORD, "Spinal cord"),
    (CURVE, "Curvatures"),
    (CORONAL_CURVE, "Curvatures, coronal"),
)
_UNITS: Final = ("mm", "mm2", "mm3", "ml", "deg", "percent")
_UNTIMED: Final = ("timing", "outputs")  # of the record: one differs from run to run, the other is not known yet
_LEAST_SHOWN: Final = 0.01
_DIGITS: Final = 2  # at most: the tables have all
_TOO_THICK: Final = "The voxels are too coarse for this measure."


def headline(result: Result) -> str:
    """The scan in one line of plain text."""
    count = len(result.vertebrae)
    text = "1 vertebra" if count == 1 else f"{count} vertebrae"
    if count > 1:
        text += f", {called(result.vertebrae[0])} to {called(result.vertebrae[-1])}"
    shape = " × ".join(map(str, result.semantic.geometry.shape))
    spacing = " × ".join(f"{step:.2f}" for step in result.semantic.geometry.spacing_mm)
    return f"{text} · {shape} voxels of {spacing} mm"


def notices(result: Result) -> str:
    """What to know before looking at the names; HTML."""
    levels = result.levels
    if levels.status is LevelStatus.AMBIGUOUS:
        runner = _range(levels.runner_up)
        text = f"Level names are ambiguous: {_range(levels.best)} is {levels.odds:.1f} times as probable as {runner}."
        return f'<p class="notice doubtful">{escape(text)}</p>'
    if levels.status is LevelStatus.NUMBERED and result.vertebrae:
        return '<p class="notice">Levels are not named: vertebrae are counted from the top of the picture.</p>'
    return ""


def vertebra_table(result: Result) -> str:
    """A row a vertebra; HTML."""
    rows = []
    for vertebra in result.vertebrae:
        remarks = "; ".join(_remarks(vertebra, result.levels))
        rows.append(
            f'<tr data-vertebra="{vertebra.label}" data-disc="{DISC_OFFSET + vertebra.label}">'
            f'<th scope="row"><button type="button" class="pick">{escape(called(vertebra))}</button></th>'
            f"<td>{bar(vertebra.mask_confidence)}</td><td>{bar(vertebra.name_confidence)}</td>"
            f"{cells((f'{vertebra.volume_ml:.1f}', remarks))}</tr>"
        )
    return table(("Vertebra", "Mask", "Name", "Volume (ml)", "Remarks"), rows)


def findings_list(result: Result) -> str:
    """The findings; HTML."""
    if not result.findings:
        return "<p>None.</p>"
    items = "".join(
        f"<li><code>{escape(str(finding.code))}</code> {escape(finding.message)}</li>" for finding in result.findings
    )
    return f'<ul class="findings">{items}</ul>'


def measure_tables(result: Result) -> str:
    """The measurements, a table a kind of structure; HTML."""
    parts = []
    for kind, title in _KINDS:
        rows = [row for row in result.measures if row.kind == kind]
        if rows:
            parts.append(f"<h3>{escape(title)}</h3>{_measure_table(rows)}")
    return "".join(parts) or "<p>Nothing was measured.</p>"


def record_block(record: Mapping[str, Any]) -> str:
    """The record of a run, but for what differs between equal runs; HTML."""
    record = {key: value for key, value in record.items() if key not in _UNTIMED}
    models = record.get("models", {})
    lines = [f"spineps {record.get('spineps', '')}, settings {str(record.get('settings_sha256', ''))[:12]}"]
    lines += [f"{role} model: {_model(model)}" for role, model in sorted(models.items())] if isinstance(models, Mapping) else []
    facts = "".join(f"<li>{escape(line)}</li>" for line in lines)
    whole = escape(json.dumps(record, indent=2, default=str))
    return f"<ul>{facts}</ul><details><summary>Everything</summary><pre>{whole}</pre></details>"


def _model(model: Any) -> str:
    if not isinstance(model, Mapping):
        return str(model)
    shown = (model.get("name"), model.get("version"), str(model.get("weights_sha256", ""))[:12], model.get("engine"))
    return " ".join(str(value) for value in shown if value)


def _remarks(vertebra: Vertebra, levels: Levels) -> Iterable[str]:
    if vertebra.partial:
        yield "cut by the edge of the scan"
    others = {name: share for name, share in levels.posteriors.get(vertebra.label, {}).items() if name != vertebra.name}
    likely = max(others, key=lambda name: others[name], default=None)
    if likely is not None and others[likely] >= _LEAST_SHOWN:
        yield f"or {likely} ({percent(others[likely])})"


def _range(names: Sequence[str]) -> str:
    if not names:
        return "no other"
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _measure_table(rows: Sequence[StructureMeasures]) -> str:
    known = dict.fromkeys(column for row in rows for column in row.values)
    columns = [*(column for column in QUANTITIES if column in known), *(column for column in known if column not in QUANTITIES)]
    lines = []
    for row in rows:
        name = row.level or ("" if row.label is None else str(row.label))
        numbers = "".join(_number(row, column) for column in columns)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{numbers}{cells([", ".join(row.flags)])}</tr>')
    return table(("", *map(_heading, columns), "Flags"), lines)


def _number(row: StructureMeasures, column: str) -> str:
    value = row.values.get(column)
    if value is None:
        return "<td></td>"
    digits = min(QUANTITIES[column].digits, _DIGITS) if column in QUANTITIES else _DIGITS
    shown = f"{round(value, digits) + 0.0:.{digits}f}"  # no negative zeros
    if column in row.too_thick:
        return f'<td class="coarse" title="{escape(_TOO_THICK)}">≈ {shown}</td>'
    return f"<td>{shown}</td>"


def _heading(column: str) -> str:
    """The name of a column with its unit in brackets."""
    words, _, unit = column.rpartition("_")
    if words and unit in _UNITS:
        return f"{words.replace('_', ' ')} ({unit.replace('2', '²').replace('3', '³')})"
    return column.replace("_", " ")
