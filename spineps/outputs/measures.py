"""The measurements of a scan as a table and as JSON: a row a structure, units in the headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spineps.labels import DISC_OFFSET
from spineps.measures.quantities import DISC, QUANTITIES, VERTEBRA
from spineps.volume import Levels, Result, StructureMeasures

MISSING: Final = "n/a"
"""What a cell without a value holds, as BIDS writes it."""
HEADER: Final = (
    "structure",
    "label",
    "level",
    "level_status",
    "level_probability",
    "level_runner_up",
    "level_odds",
    "mask_confidence",
    "name_confidence",
    "flags",
    "too_thick_for",
)
"""The columns before the quantities."""
SEPARATOR: Final = ","
"""Between several flags or names in a cell."""
MOST_ODDS: Final = 1e6
_FORMAT: Final = 1


def measures_tsv(result: Result) -> str:
    """The table of a result's measurements, tab-separated; missing values are ``n/a``."""
    lines = ["\t".join((*HEADER, *QUANTITIES))]
    for row, head in _with_head(result):
        cells = [_cell(head[name]) for name in HEADER]
        cells += [_fixed(row.values[name], q.digits) if name in row.values else MISSING for name, q in QUANTITIES.items()]
        lines.append("\t".join(cells))
    return "\n".join([*lines, ""])


def measures_json(result: Result) -> dict[str, Any]:
    """The same as plain values for JSON, with the meaning of each column; only what is known."""
    rows = []
    for row, head in _with_head(result):
        known = {name: value for name, value in head.items() if value is not None}
        known |= {name: round(value, QUANTITIES[name].digits) + 0.0 for name, value in row.values.items()}
        rows.append(known)
    return {
        "format": _FORMAT,
        "columns": {name: quantity.meaning for name, quantity in QUANTITIES.items()},
        "structures": rows,
    }


def _with_head(result: Result) -> Iterator[tuple[StructureMeasures, dict[str, Any]]]:
    """Each row, with what stands in the columns before its quantities."""
    runners = _runners_up(result)
    levels = result.levels
    for row in result.measures:
        vertebra = _vertebra_of(row)
        yield (
            row,
            {
                "structure": row.kind,
                "label": row.label,
                "level": row.level,
                "level_status": levels.status.value,
                "level_probability": _probability(levels, vertebra),
                "level_runner_up": None if vertebra is None else runners.get(vertebra),
                "level_odds": round(min(levels.odds, MOST_ODDS), 2) if levels.runner_up else None,
                **_confidence(result, row.kind, vertebra),
                "flags": list(row.flags),
                "too_thick_for": list(row.too_thick),
            },
        )


def _vertebra_of(row: StructureMeasures) -> int | None:
    """The vertebra whose level a row has: its own, or that above a disc."""
    if row.label is None or row.kind not in (VERTEBRA, DISC):
        return None
    return row.label - DISC_OFFSET if row.kind == DISC else row.label


def _probability(levels: Levels, vertebra: int | None) -> float | None:
    return round(levels.confidence(vertebra), 4) if vertebra in levels.names and vertebra is not None else None


def _confidence(result: Result, kind: str, vertebra: int | None) -> dict[str, float | None]:
    """How sure the vertebra's mask and name are; of a disc the name of the vertebra above alone."""
    found = next((known for known in result.vertebrae if known.label == vertebra), None)
    if found is None:
        return {"mask_confidence": None, "name_confidence": None}
    mask, name = found.mask_confidence if kind == VERTEBRA else None, found.name_confidence
    return {
        "mask_confidence": None if mask is None else round(mask, 4),
        "name_confidence": None if name is None else round(name, 4),
    }


def _runners_up(result: Result) -> dict[int, str]:
    """The name of each vertebra in the second most probable sequence."""
    if len(result.levels.runner_up) != len(result.vertebrae):
        return {}
    return {vertebra.label: name for vertebra, name in zip(result.vertebrae, result.levels.runner_up, strict=True)}


def _fixed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no negative zeros


def _cell(value: Any) -> str:
    if value is None or value == []:
        return MISSING
    return SEPARATOR.join(value) if isinstance(value, list) else str(value)
