"""Names that somebody who knows a scan gives: one vertebra's name, or a shift of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from spineps.errors import ErrorCode, UsageError
from spineps.geometry import Matrix
from spineps.labeling.evidence import Evidence, mask_evidence
from spineps.labeling.naming import INSTANCE_OF, Naming, given_names
from spineps.labeling.sequence import INDEX, NAMES, solve
from spineps.volume import LabelMap

_REGULAR: Final = tuple(name for name in NAMES if name not in ("T13", "L6", "S1"))


def shifted_name(name: str, steps: int) -> str:
    """The level so many steps below another (above it where negative), in a spine of twelve thoracic and five lumbar levels.

    Raises
    ------
    UsageError
        If there is none.
    """
    start = {"T13": "T12", "L6": "L5"}.get(name, name)
    place = _REGULAR.index(start) + steps
    if not 0 <= place < len(_REGULAR):
        raise UsageError(
            ErrorCode.USAGE, f"there is no level {abs(steps)} {'below' if steps > 0 else 'above'} {name}.", remedy="Shift less."
        )
    return _REGULAR[place]


def names_from(semantic: LabelMap, instance: LabelMap, anchors: Mapping[int, str], *, variants: bool = True) -> Naming:
    """Name all vertebrae of a mask from the names of some.

    The names of the others follow from the anatomy; where it leaves a choice (a T13 between two anchors, say), from the
    evidence of the masks.

    Parameters
    ----------
    semantic, instance : LabelMap
        Final masks in PIR orientation.
    anchors : Mapping of int to str
        Instance id of a vertebra to its name.
    variants : bool
        Whether numbering variants are looked for; they are not where a whole sequence is only moved.

    Raises
    ------
    UsageError
        Where a vertebra or a name is not known, or no sequence of levels has these names.
    """
    evidence = mask_evidence(semantic.labels, instance.labels, semantic.geometry.spacing_mm)
    if evidence is None:
        raise UsageError(ErrorCode.USAGE, "the mask holds no vertebrae that could be named.", remedy="Check the mask.")
    column = evidence.column
    rows: dict[int, str] = {}
    for number, name in anchors.items():
        if number not in column.instances:
            shown = ", ".join(map(str, column.instances))
            raise UsageError(
                ErrorCode.USAGE, f"the mask has no vertebra {number}, only {shown}.", remedy="Give one of these in --anchor."
            )
        if name not in INSTANCE_OF:
            raise UsageError(ErrorCode.USAGE, f"{name!r} is no level.", remedy="Give C1 to C7, T1 to T13 or L1 to L6.")
        rows[int(column.rows[column.instances.index(number)])] = name
    for attempt in _attempts(evidence):
        solution = solve(_anchored(attempt, rows), attempt.whole, variants=variants)
        if solution is not None:
            return given_names(column.instances, [solution.best.names[row] for row in column.rows])
    given = ", ".join(f"{number}={name}" for number, name in anchors.items())
    raise UsageError(
        ErrorCode.USAGE,
        f"{len(column.instances)} vertebrae cannot be named with {given}: no spine has such levels.",
        remedy="Check the number of the vertebra and its name.",
    )


def _attempts(evidence: Evidence) -> tuple[Evidence, ...]:
    """The evidence, and without the sacrum, which may be a mistake of the mask: who gives a name has seen the scan."""
    column = evidence.column
    if column.sacrum_row is None:
        return (evidence,)
    count = int(column.rows[-1]) + 1
    alone = Evidence(replace(column, sacrum_row=None), evidence.scores[:count], None)
    return evidence, alone


def _anchored(evidence: Evidence, rows: Mapping[int, str]) -> Matrix:
    """The scores of rows, those with a given name without any other."""
    scores = evidence.scores.copy()
    for row, name in rows.items():
        scores[row] = -np.inf
        scores[row, INDEX[name]] = 0
    return scores
