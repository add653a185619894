"""Angles between endplates: lordosis, kyphosis and the coronal Cobb angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from spineps.geometry import Matrix
from spineps.measures.frames import Frame, turn_back, turn_right, unit
from spineps.measures.quantities import CORONAL_CURVE, CURVE, UNSURE
from spineps.measures.spine import Spine
from spineps.measures.surfaces import Plate
from spineps.volume import StructureMeasures

S1: Final = "S1"
_LORDOSES: Final = (("C2", "C7"), ("L1", "L5"), ("L1", S1), ("L4", S1))
_KYPHOSES: Final = (("T1", "T12"), ("T4", "T12"), ("T5", "T12"))
_FROM_LOWER_FACE: Final = ("C2",)
"""Curves that begin at the lower face of their first vertebra: C2 has no upper one."""


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """A vertebra (or the sacrum) as an end of curves."""

    name: str
    label: int
    frame: Frame
    superior: Plate | None
    inferior: Plate | None


def measure_curves(spine: Spine, names: Mapping[int, str], unsure: frozenset[int]) -> tuple[StructureMeasures, ...]:
    """Curves between the levels that the scan shows, and the largest coronal angle.

    Parameters
    ----------
    spine : Spine
        Bodies and sacrum.
    names : Mapping of int to str
        Levels of the vertebrae; without names there are no lordosis and kyphosis.
    unsure : frozenset of int
        Vertebrae whose level is not sure.

    Returns
    -------
    tuple of StructureMeasures
        ``level`` is the pair of ends, such as ``"L1-S1"``.
    """
    ends = _ends(spine, names)
    by_name = {end.name: end for end in ends if end.name}
    rows = []
    for column, pairs, sign in (("lordosis_deg", _LORDOSES, 1.0), ("kyphosis_deg", _KYPHOSES, -1.0)):
        for first, last in pairs:
            if first in by_name and last in by_name:
                angle = _sagittal(by_name[first], by_name[last], ends)
                if angle is not None:
                    flags = (UNSURE,) if unsure & {by_name[first].label, by_name[last].label} else ()
                    rows.append(StructureMeasures(CURVE, None, f"{first}-{last}", {column: sign * angle}, flags))
    cobb = _largest_coronal(ends)
    if cobb is not None:
        angle, first_end, last_end = cobb
        flags = (UNSURE,) if unsure & {first_end.label, last_end.label} else ()
        level = f"{first_end.name}-{last_end.name}" if first_end.name and last_end.name else None
        rows.append(StructureMeasures(CORONAL_CURVE, None, level, {"cobb_deg": angle}, flags))
    return tuple(rows)


def _ends(spine: Spine, names: Mapping[int, str]) -> list[_End]:
    ends = [_End(names.get(b.label, ""), b.label, b.frame, b.superior, b.inferior) for b in spine.bodies]
    if spine.sacral_top is not None:
        ends.append(_End(S1 if names else "", 0, spine.sacral_top.frame, spine.sacral_top.plate, None))
    return ends


def _sagittal(first: _End, last: _End, ends: Sequence[_End]) -> float | None:
    """Angle from the upper face of the first to the lower of the last vertebra, in the mean sagittal plane between them."""
    start = first.inferior if first.name in _FROM_LOWER_FACE else first.superior
    stop = last.superior if last.name == S1 else last.inferior
    if start is None or stop is None:
        return None
    right = _mean([end.frame.right for end in ends[ends.index(first) : ends.index(last) + 1]])
    return turn_back(start.normal, stop.normal, right)


def _largest_coronal(ends: Sequence[_End]) -> tuple[float, _End, _End] | None:
    """Cobb angle: between the upper face of one and the lower face of another vertebra, the largest, without its sign."""
    best: tuple[float, _End, _End] | None = None
    whole = [end for end in ends if end.inferior is not None or end.superior is not None]
    if len(whole) < 2:
        return None
    back = _mean([end.frame.back for end in whole])
    for first, last in combinations(whole, 2):
        start = first.superior if first.superior is not None else first.inferior
        stop = last.inferior if last.inferior is not None else last.superior
        if start is None or stop is None:
            continue
        angle = abs(turn_right(start.normal, stop.normal, back))
        if best is None or angle > best[0]:
            best = (angle, first, last)
    return best


def _mean(directions: Sequence[Matrix]) -> Matrix:
    return unit(np.sum(directions, axis=0))
