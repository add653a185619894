"""The upper endplate of the sacrum and the walls of its first body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, Geometry, Matrix
from spineps.measures.bodies import MIDSAGITTAL, Block, on_plate
from spineps.measures.frames import Frame
from spineps.measures.surfaces import Columns, Occupancy, Plate, axis_mm, crossings

_FARTHEST_MM: Final = 30.0
"""The sacrum's endplate lies at most so far below the last body: a tall disc and its endplates."""
_MARGIN_MM: Final = 26.0
_SHARE: Final = 0.75
"""Share of the last body's radius over which the plate is looked for: its rim and the wings lie further out."""
_DEEP_MM: Final = (3.0, 9.0)
"""How far below the plate the walls of S1 are taken."""
_LEAST_HITS: Final = 0.6
_ABOVE_MM: Final = 6.0
_TURNS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class SacralTop:
    """The first sacral body as far as it can be measured.

    Parameters
    ----------
    frame : Frame
        Axes upright on the plate.
    plate : Plate
        Its upper endplate.
    rear_corner_mm : ndarray, shape (3,), or None
        Where its rear wall meets the plate.
    depth_mm : float or None
        Antero-posterior length of the plate.
    """

    frame: Frame
    plate: Plate
    rear_corner_mm: Matrix | None
    depth_mm: float | None


def find_sacral_top(sacrum: NDArray[np.bool_], geometry: Geometry, last: Block) -> SacralTop | None:
    """Find the plate of the sacrum below the last body, or None where the sacrum is not there.

    Parameters
    ----------
    sacrum : ndarray of bool
        Its mask in the whole grid.
    geometry : Geometry
        The grid, in PIR orientation.
    last : Block
        The body above it.
    """
    _, half, _ = last.columns.radius()
    origin = last.inferior.centre_mm if last.inferior is not None else last.centre_mm
    occupancy = _around(sacrum, geometry, origin + last.frame.down * 10, max(half) + _MARGIN_MM)
    if occupancy is None:
        return None
    frame = Frame.along(origin, last.frame.down, last.frame.back)
    plate: Plate | None = None
    low, high = 0.0, _FARTHEST_MM
    for _ in range(_TURNS):
        columns = _faces(occupancy, frame, (_SHARE * half[0], _SHARE * half[1]), (low, high))
        if columns is None or columns.cut(geometry, upper=True):
            return None
        plate = columns.plate(columns.top_mm)
        if plate is None:
            return None
        frame = Frame.along(plate.centre_mm, plate.normal, frame.back)
        low, high = -_ABOVE_MM, 2 * _ABOVE_MM
    if plate is None:
        return None
    front, rear = _walls(occupancy, frame, half)
    corner = None if rear is None else on_plate(frame, plate, rear, 0.0)
    depth = None if front is None or rear is None else rear - front
    return SacralTop(frame, plate, corner, depth)


def _around(mask: NDArray[np.bool_], geometry: Geometry, centre_mm: Matrix, reach_mm: float) -> Occupancy | None:
    spacing = np.asarray(geometry.spacing_mm)
    low, high = np.floor((centre_mm - reach_mm) / spacing), np.ceil((centre_mm + reach_mm) / spacing) + 1
    a, b, c = (int(v) for v in low)
    d, e, f = (int(v) for v in high)
    box = Box((a, b, c), (d, e, f)).intersect(Box.whole(geometry.shape))
    if box.empty or not mask[box.slices].any():
        return None
    return Occupancy.of(mask[box.slices], box, geometry)


def _faces(occupancy: Occupancy, frame: Frame, half_mm: tuple[float, float], range_mm: tuple[float, float]) -> Columns | None:
    """The first crossing into the sacrum below an ellipse; None where too little of it lies there."""
    back, right = (axis_mm(-half, half, 1.0) for half in half_mm)
    down = axis_mm(*range_mm, 0.5)
    top, _ = crossings(occupancy.sampled(frame, (back, right, down)), down)
    inside = np.hypot(*np.meshgrid(back / half_mm[0], right / half_mm[1], indexing="ij")) <= 1
    found = inside & (top > down[0])
    if found.sum() < _LEAST_HITS * inside.sum():
        return None
    top = np.where(found, top, np.nan)
    off = np.abs(top - np.nanmedian(top)) > 0.5 * min(half_mm) + 4
    top[off] = np.nan
    return Columns(frame, back, right, top, top + 1.0)


def _walls(occupancy: Occupancy, frame: Frame, half_mm: tuple[float, float]) -> tuple[float | None, float | None]:
    """Where the first sacral body ends in front and at the back, seen from its middle."""
    band = 2 * MIDSAGITTAL * half_mm[1]
    across, level = axis_mm(-band, band, 1.0), axis_mm(*_DEEP_MM, 1.0)
    reach = axis_mm(0.0, 1.7 * half_mm[0], 0.5)
    ends = []
    for places in (-reach, reach):
        ordered = np.sort(places)
        field = occupancy.sampled(frame, (ordered, across, level))
        outward = np.moveaxis(field if places is reach else field[::-1], 0, -1)
        exits, _ = crossings(1 - outward, reach)
        inside = (outward[..., 0] >= 0.5) & np.isfinite(exits)
        ends.append(float(exits[inside].mean()) if inside.mean() > 0.5 else None)
    return (None if ends[0] is None else -ends[0]), ends[1]
