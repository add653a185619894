"""What the masks show beside the vertebrae themselves: their order, gaps between them, the sacrum, the end of the cord."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Matrix
from spineps.labeling.features import Grid
from spineps.labels import BODY, CANAL_AND_CORD, POSTERIOR, SACRUM_INSTANCE, Structure, is_vertebra, lookup
from spineps.stages.components import label_boxes

LEAST_BODY_SHARE: Final = 0.04
"""An instance of which less than this is body shows no body: the field of view cuts it, and its arch alone is seen."""
CUT_SACRUM_ML: Final = 1.0
WHOLE_SACRUM_ML: Final = 5.0
"""A sacrum holds more, its first segment alone some 20 ml, unless the field of view cuts it; less is painted in error."""
SACRUM_PITCH: Final = 0.65
"""From the centre of the last vertebra to the nearest of the sacrum, in distances between vertebrae."""
GAP_PITCH: Final = 1.65
"""From this many usual distances between two neighbours on, a vertebra is missing between them."""
_STEP_MM: Final = 30.0
"""Distance between vertebrae where a scan shows but one."""
_AROUND: Final = 3
"""Neighbours on each side that say what distance is usual."""
_CORD_MM2: Final = 12.0
"""A plane shows the cord if it shows at least this much of it; less is a nerve root."""
_CANAL_MM2: Final = 20.0
_CORD_GAP_MM: Final = 12.0
"""The cord goes on across a gap of this length in its mask."""
_TAIL_MM: Final = 15.0
"""The cord ends where the canal goes on without it for at least this long."""
_IS_BODY: Final = lookup(BODY)
_IS_CANAL: Final = lookup(CANAL_AND_CORD)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The vertebrae of a scan as rows of the evidence.

    Parameters
    ----------
    instances : tuple of int
        Ids from top to bottom.
    centres_mm : ndarray, shape (n, 3)
        Their centres along (P, I, R).
    rows : ndarray of int, shape (n,)
        The row of each: a row is left out wherever a vertebra seems to be missing from the mask.
    sacrum_row : int or None
        The row of the sacrum, where it is shown.
    """

    instances: tuple[int, ...]
    centres_mm: Matrix
    rows: NDArray[np.intp]
    sacrum_row: int | None

    @property
    def count(self) -> int:
        """Rows in all, the sacrum's included."""
        return int(self.rows[-1]) + 1 if self.sacrum_row is None else self.sacrum_row + 1

    @property
    def pitch_mm(self) -> tuple[float, float]:
        """Usual distance between two vertebrae, at the upper and at the lower end: it doubles from neck to loin."""
        if len(self.rows) < 2:
            return _STEP_MM, _STEP_MM
        steps = np.linalg.norm(np.diff(self.centres_mm, axis=0), axis=1) / np.diff(self.rows)
        return float(np.median(steps[:_AROUND])), float(np.median(steps[-_AROUND:]))

    def row_at(self, inferior_mm: float) -> float:
        """The (fractional) row of a height, going on evenly beyond the ends."""
        heights = self.centres_mm[:, 1]
        first, last = heights[0], heights[-1]
        if inferior_mm < first:
            return float(self.rows[0] - (first - inferior_mm) / self.pitch_mm[0])
        if inferior_mm > last:
            return float(self.rows[-1] + (inferior_mm - last) / self.pitch_mm[1])
        return float(np.interp(inferior_mm, np.maximum.accumulate(heights), self.rows))


def find_column(grid: Grid) -> Column | None:
    """Bring the vertebrae into their order and find gaps and the sacrum; None where there is no vertebra.

    An instance of which only the arch is shown stands where its arch stands among the arches of the others: a spinous
    process hangs down as low as the next body.
    """
    boxes = {number: box for number, box in label_boxes(grid.instance).items() if is_vertebra(number)}
    if not boxes:
        return None
    bodies: dict[int, Matrix] = {}
    arches: dict[int, Matrix] = {}
    headless: dict[int, Matrix] = {}
    for number, box in boxes.items():
        own = grid.instance[box.slices] == number
        labels = grid.semantic[box.slices]
        body = own & _IS_BODY[labels]
        origin = np.asarray(box.start)
        arches[number] = _structure_heights(labels[own], (np.argwhere(own) + origin)[:, 1])
        points = np.argwhere(body if body.any() else own) + origin
        centre = points.mean(axis=0) * np.asarray(grid.spacing_mm)
        few = np.count_nonzero(body) < LEAST_BODY_SHARE * np.count_nonzero(own)
        (headless if few else bodies)[number] = centre
    if not bodies:
        bodies, headless = headless, {}
    order = sorted(bodies, key=lambda k: (bodies[k][1], k))
    for number in sorted(headless, key=lambda k: (headless[k][1], k)):
        order.insert(_place(number, order, arches), number)
    centres = _centres(order, bodies)
    edges = {0, grid.instance.shape[1] - 1}
    whole = [k in bodies and not edges & {boxes[k].start[1], boxes[k].stop[1] - 1} for k in order]
    return _with_gaps(grid, tuple(order), centres, np.array(whole))


def conus_rows(grid: Grid, column: Column) -> tuple[float, float]:
    """Between which rows the cord ends.

    Returns
    -------
    tuple of 2 float
        Twice the same row where its end is seen; infinite on the side that the field of view does not bound.
    """
    area = grid.spacing_mm[0] * grid.spacing_mm[2]
    cord = np.count_nonzero(grid.semantic == Structure.CORD, axis=(0, 2)) * area >= _CORD_MM2
    canal = np.count_nonzero(_IS_CANAL[grid.semantic], axis=(0, 2)) * area >= _CANAL_MM2
    step = grid.spacing_mm[1]
    planes = np.flatnonzero(canal)
    if not planes.size:
        return -np.inf, np.inf
    reach = max(1, round(_CORD_GAP_MM / step / 2))
    closed = ndimage.binary_closing(np.pad(cord, reach), iterations=reach)[reach:-reach]
    runs, count = ndimage.label(closed)
    if count == 0:
        return -np.inf, column.row_at(planes[0] * step)
    longest = 1 + int(np.argmax(np.bincount(runs)[1:]))
    end = int(np.flatnonzero(runs == longest)[-1])
    row = column.row_at(end * step)
    return (row, row) if (planes[-1] - end) * step >= _TAIL_MM else (row, np.inf)


def room_mm(grid: Grid, column: Column) -> tuple[float, float]:
    """Height of the field of view above the first body and below the last."""
    top, bottom = np.inf, -np.inf
    for number in (column.instances[0], column.instances[-1]):
        body = (grid.instance == number) & _IS_BODY[grid.semantic]
        planes = np.flatnonzero(body.any(axis=(0, 2)))
        if planes.size:
            top, bottom = min(top, float(planes[0])), max(bottom, float(planes[-1]))
    step = grid.spacing_mm[1]
    return (0.0, 0.0) if np.isinf(top) else (top * step, (grid.instance.shape[1] - 1 - bottom) * step)


def _structure_heights(labels: NDArray[np.unsignedinteger], planes: NDArray[np.int64]) -> Matrix:
    """Mean plane of each posterior structure (NaN where absent), and in the last column their voxels: shape (k, 2)."""
    out = np.full((len(POSTERIOR), 2), np.nan)
    for k, structure in enumerate(POSTERIOR):
        here = planes[labels == structure]
        out[k] = (here.mean(), here.size) if here.size else (np.nan, 0)
    return out


def _place(number: int, order: list[int], arches: dict[int, Matrix]) -> int:
    """Where an instance without a body belongs among the others, by the structure that it shows most of."""
    own = arches[number]
    structure = int(np.argmax(own[:, 1]))
    known = [(place, arches[k][structure, 0]) for place, k in enumerate(order) if arches[k][structure, 1] > 0]
    above = [place for place, height in known if height < own[structure, 0]]
    if above:
        return above[-1] + 1
    return known[0][0] if known else 0


def _centres(order: list[int], bodies: dict[int, Matrix]) -> Matrix:
    """Of the bodies; where one is not shown, in step with those that are."""
    known = np.array([place for place, k in enumerate(order) if k in bodies])
    shown = np.array([bodies[order[place]] for place in known])
    first = last = np.array([0.0, _STEP_MM, 0.0])
    if len(known) > 1:
        steps = np.diff(shown, axis=0) / np.diff(known)[:, None]
        first, last = np.median(steps[:_AROUND], axis=0), np.median(steps[-_AROUND:], axis=0)
    places = np.arange(len(order))
    centres = np.stack([np.interp(places, known, axis) for axis in shown.T], axis=1)
    above, below = np.minimum(0, places - known[0])[:, None], np.maximum(0, places - known[-1])[:, None]
    return np.asarray(centres + above * first + below * last)


def _with_gaps(grid: Grid, instances: tuple[int, ...], centres: Matrix, whole: NDArray[np.bool_]) -> Column:
    """Leave out rows where neighbours stand too far apart; a distance from a body that is cut says nothing."""
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    sure = whole[1:] & whole[:-1]
    missing = np.zeros(len(steps), np.intp)
    for k, step in enumerate(steps):
        around = [j for j in range(max(0, k - _AROUND), min(len(steps), k + 1 + _AROUND)) if j != k and sure[j]]
        near = steps[around]
        if sure[k] and near.size >= 2 and step > GAP_PITCH * np.median(near):
            missing[k] = max(1, round(float(step / np.median(near))) - 1)
    rows = np.concatenate([[0], np.cumsum(missing + 1)]).astype(np.intp)
    column = Column(instances, centres, rows, None)
    sacrum = np.argwhere(grid.instance == SACRUM_INSTANCE)
    sagittal = sacrum[:, :2]
    cut = bool((sagittal == 0).any() or (sagittal == np.asarray(grid.instance.shape[:2]) - 1).any())
    if len(sacrum) * np.prod(grid.spacing_mm) / 1000 < (CUT_SACRUM_ML if cut else WHOLE_SACRUM_ML):
        return column
    away = float(np.linalg.norm(sacrum * np.asarray(grid.spacing_mm) - centres[-1], axis=1).min())
    between = max(0, round(away / column.pitch_mm[1] - SACRUM_PITCH)) if whole[-1] else 0
    return Column(instances, centres, rows, int(rows[-1]) + 1 + between)
