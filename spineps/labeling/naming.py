"""From evidence to names: the decision, and masks whose ids say the level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import Ambiguous
from spineps.errors import ErrorCode, Finding, FindingCode, NoSpineError
from spineps.labeling.evidence import Evidence
from spineps.labeling.sequence import NAMES, Solution, solve
from spineps.labels import (
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    LEVEL_NAMES,
    SACRUM_INSTANCE,
    T13_INSTANCE,
    unnamed_instances,
)
from spineps.volume import Levels, LevelStatus

SURE: Final = 0.98
"""A sequence of this posterior probability is named; below it the scan is ambiguous. Of the sequences that are wrong on
phantoms nine in ten lie below (``bench/levels.py``)."""
CERTAIN_ODDS: Final = 1e12
"""Of names that were given, not found."""
LEAST_SHOWN: Final = 1e-3
"""Probabilities below this are not listed."""
INSTANCE_OF: Final[Mapping[str, int]] = MappingProxyType(
    {name: number for number, name in LEVEL_NAMES.items() if number != SACRUM_INSTANCE}
)
"""Level name of a vertebra to its instance id."""
_ABOVE_L1: Final = INSTANCE_OF["T12"]


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """What the vertebrae of a mask are called.

    Parameters
    ----------
    pairs : Mapping of int to int
        Id of each vertebra in the mask to its new one, from top to bottom.
    levels : Levels
        Keyed by the new ids.
    findings : tuple of Finding
        AMBIGUOUS_LEVELS, UNNAMED_LEVELS or MISSING_VERTEBRA.
    """

    pairs: Mapping[int, int]
    levels: Levels
    findings: tuple[Finding, ...] = field(default=())


def decide(evidence: Evidence | None, ambiguous: Ambiguous = Ambiguous.KEEP, *, variants: bool = True) -> Naming:
    """Name the vertebrae from the evidence.

    Parameters
    ----------
    evidence : Evidence or None
        None where there is none.
    ambiguous : Ambiguous
        What is done where another sequence is nearly as probable.
    variants : bool
        Whether there may be another number of thoracic vertebrae than twelve, and of lumbar ones than five.

    Raises
    ------
    NoSpineError
        LEVELS_AMBIGUOUS, if that is asked for.
    """
    solution = None if evidence is None else solve(evidence.scores, evidence.whole, variants=variants)
    if evidence is None or solution is None:
        finding = Finding(FindingCode.UNNAMED_LEVELS, "No sequence of levels fits the vertebrae: they are numbered.")
        return Naming(MappingProxyType({}), Levels(LevelStatus.NUMBERED), (finding,))
    instances, rows = evidence.column.instances, evidence.column.rows
    best = tuple(solution.best.names[row] for row in rows)
    other = () if solution.runner_up is None else tuple(solution.runner_up.names[row] for row in rows)
    sure = solution.best.probability >= SURE
    findings = _gaps(evidence)
    if not sure:
        findings = (*findings, _ambiguous(best, other, solution, ambiguous))
    ids = [INSTANCE_OF[name] for name in best]
    status = LevelStatus.NAMED if sure else LevelStatus.AMBIGUOUS
    if not sure and ambiguous is Ambiguous.NUMBER:
        ids, status = list(unnamed_instances(len(best))), LevelStatus.NUMBERED
    named = status is not LevelStatus.NUMBERED
    levels = Levels(
        status,
        MappingProxyType(dict(zip(ids, best, strict=True)) if named else {}),
        MappingProxyType({number: _listed(solution.posteriors[row]) for number, row in zip(ids, rows, strict=True)}),
        solution.variants,
        best,
        solution.best.probability,
        other,
        solution.odds,
    )
    return Naming(MappingProxyType(dict(zip(instances, ids, strict=True))), levels, findings)


def given_names(order: Sequence[int], names: Sequence[str]) -> Naming:
    """Names that somebody who knows them gave, for the instances from top to bottom."""
    ids = [INSTANCE_OF[name] for name in names]
    certain = {number: MappingProxyType({name: 1.0}) for number, name in zip(ids, names, strict=True)}
    levels = Levels(
        LevelStatus.NAMED,
        MappingProxyType(dict(zip(ids, names, strict=True))),
        MappingProxyType(certain),
        best=tuple(names),
        probability=1.0,
        odds=CERTAIN_ODDS,
    )
    return Naming(MappingProxyType(dict(zip(order, ids, strict=True))), levels)


def renamed(instance: NDArray[np.unsignedinteger], pairs: Mapping[int, int]) -> NDArray[np.uint16]:
    """An instance mask with new ids: discs and endplates follow their vertebra, those above the first the level above it.

    Parameters
    ----------
    instance : ndarray
        Vertebrae X, discs 100 + X, endplates 200 + X, sacrum 26.
    pairs : Mapping of int to int
        Old to new ids of the vertebrae, from top to bottom.
    """
    table = np.arange(max(2 * ENDPLATE_OFFSET, int(instance.max(initial=0)) + 1), dtype=np.uint16)
    old = list(pairs)
    if not old:
        return instance.astype(np.uint16)
    # What lies above the first vertebra carries the number before it, which is no vertebra of the mask.
    before_first = {min(old) - 1, old[0] - 1, level_above(old[0])} - set(old)
    moves = {**dict.fromkeys(before_first, level_above(pairs[old[0]])), **dict(pairs)}
    for before, after in moves.items():
        for offset in (DISC_OFFSET, ENDPLATE_OFFSET):
            table[before + offset] = after + offset
        if before in pairs:
            table[before] = after
    out: NDArray[np.uint16] = table[instance]
    return out


def level_above(number: int) -> int:
    """Instance id of the level above one; above L1 that of T12, above T13 too."""
    return _ABOVE_L1 if number == T13_INSTANCE else number - 1


def _listed(row: NDArray[np.float64]) -> Mapping[str, float]:
    order = np.argsort(-row, kind="stable")
    return MappingProxyType({NAMES[k]: float(row[k]) for k in order if row[k] >= LEAST_SHOWN})


def _gaps(evidence: Evidence) -> tuple[Finding, ...]:
    column = evidence.column
    count = int(column.rows[-1]) + 1 - len(column.rows)
    if column.sacrum_row is not None:
        count += column.sacrum_row - int(column.rows[-1]) - 1
    if count == 0:
        return ()
    noun = "vertebra seems" if count == 1 else "vertebrae seem"
    return (Finding(FindingCode.MISSING_VERTEBRA, f"{count} {noun} to be missing between those found; names pass over it."),)


def _ambiguous(best: tuple[str, ...], other: tuple[str, ...], solution: Solution, ambiguous: Ambiguous) -> Finding:
    """The finding, or the error if ambiguous scans are to fail."""
    rival = f"{other[0]} to {other[-1]}" if other else "none"
    text = (
        f"The levels are not certain: {best[0]} to {best[-1]} with a probability of {solution.best.probability:.2f}, "
        f"{solution.odds:.3g} times that of the runner-up, {rival}."
    )
    if ambiguous is Ambiguous.FAIL:
        remedy = "Look at the scan and name one vertebra with spineps relabel, or let --ambiguous keep the names."
        raise NoSpineError(ErrorCode.LEVELS_AMBIGUOUS, text[0].lower() + text[1:], remedy=remedy)
    return Finding(FindingCode.AMBIGUOUS_LEVELS, text)
