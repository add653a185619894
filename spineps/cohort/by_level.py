"""Measurements of a cohort level by level: how each column is distributed over the scans.

Only rows whose level has a name take part. Numbers of vertebrae that were counted from the top are no levels: the same number
is another vertebra in another scan, so that such rows are never joined.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spineps.cohort.files import ROOT
from spineps.cohort.sidecars import as_tsv
from spineps.io import atomic
from spineps.measures.quantities import BODY_CUT, CUT, QUANTITIES, UNSURE, VERTEBRA
from spineps.outputs.measures import MISSING, SEPARATOR
from spineps.volume import LevelStatus

MEASURES: Final = "group_measures.tsv"
BY_LEVEL: Final = "group_by_level.tsv"
COLUMNS: Final = ("structure", "level", "measure", "n", "mean", "sd", "median", "least", "most", "left_out")
_WHOLE_VERTEBRA: Final = ("volume_ml",)
"""Columns of a vertebra for which its processes count, so that they are cut with these."""


@dataclass(slots=True)
class _Cell:
    """Values of one column at one level, and how many were left out for their flags."""

    values: list[float] = field(default_factory=list)
    left_out: int = 0


def write_by_level(root: Path) -> int:
    """Write ``group_by_level.tsv`` beside ``group_measures.tsv``.

    Parameters
    ----------
    root : Path
        Folder with the tables of :func:`spineps.cohort.group.write_group_tables`.

    Returns
    -------
    int
        Rows of the table; 0, and no table, where nothing was measured at a named level.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    source = root / MEASURES
    if not source.is_file():
        return 0
    with source.open(encoding="utf-8", newline="") as file:
        rows = by_level(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows:
        atomic.write_text(root / BY_LEVEL, as_tsv(COLUMNS, rows), tag=ROOT)
    return len(rows)


def by_level(rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Number, mean, standard deviation, median and range of each column at each named level.

    Parameters
    ----------
    rows : iterable of mapping
        Of tables of measurements (:mod:`spineps.outputs.measures`).

    Returns
    -------
    list of dict
        With :data:`COLUMNS`, in the order in which structures and levels first come up. ``left_out`` counts values that have a
        flag: cut by the field of view, too coarse, or at a level that is not sure.
    """
    cells: dict[tuple[str, str, str], _Cell] = defaultdict(_Cell)
    for row in rows:
        level = row.get("level", MISSING)
        if row.get("level_status") == LevelStatus.NUMBERED.value or level in (MISSING, "", None):
            continue
        for name in QUANTITIES:
            value = _number(row.get(name))
            if value is not None:
                cell = cells[row["structure"], level, name]
                if _flagged(row, name):
                    cell.left_out += 1
                else:
                    cell.values.append(value)
    return [_summary(key, cell) for key, cell in cells.items()]


def _flagged(row: Mapping[str, str], name: str) -> bool:
    flags = set((row.get("flags") or "").split(SEPARATOR))
    cutting = BODY_CUT if row["structure"] == VERTEBRA and name not in _WHOLE_VERTEBRA else CUT
    return cutting in flags or UNSURE in flags or name in (row.get("too_thick_for") or "").split(SEPARATOR)


def _summary(key: tuple[str, str, str], cell: _Cell) -> dict[str, Any]:
    structure, level, name = key
    digits = QUANTITIES[name].digits + 1
    row: dict[str, Any] = {"structure": structure, "level": level, "measure": name, "n": len(cell.values)}
    if cell.values:
        row |= {
            "mean": round(statistics.fmean(cell.values), digits),
            "median": round(statistics.median(cell.values), digits),
            "least": min(cell.values),
            "most": max(cell.values),
        }
    if len(cell.values) > 1:
        row["sd"] = round(statistics.stdev(cell.values), digits)
    return {**row, "left_out": cell.left_out}


def _number(text: str | None) -> float | None:
    if text in (None, "", MISSING):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
