"""What the masks show of each vertebra that tells levels apart: its sizes in a frame that follows the curve of the spine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Matrix, Spacing
from spineps.labels import BODY, CANAL_AND_CORD, Structure, lookup
from spineps.stages.components import label_boxes

SIZES: Final = (
    "depth",
    "height",
    "width",
    "pitch",
    "canal_depth",
    "canal_width",
    "transverse_span",
    "transverse_back",
    "spinous_length",
    "spinous_angle",
)
"""What is measured of each vertebra: lengths in mm; ``transverse_back`` (mm) and ``spinous_angle`` (degrees) have a sign."""

FINEST_MM: Final = 0.7
"""Masks are looked at in steps of at least this: moments of thousands of voxels gain nothing from finer ones."""
_CORE_MM: Final = 8.0
"""Half width of the column in the middle of a body in which depth and height are measured: the pedicles lie beside it."""
_LEAST_VOXELS: Final = 12
_TIP_SHARE: Final = 0.9
"""The tip of a transverse process: what lies beyond this share of its reach."""
_UNIFORM: Final = 12.0
"""The variance of a column of length 1 is one twelfth: its length is then exact, and steady where its ends are ragged."""
_DISC: Final = 16.0
"""The same of the diameter of an ellipse."""
_IS_BODY: Final = lookup(BODY)
_IS_CANAL: Final = lookup(CANAL_AND_CORD)
_IS_COSTAL: Final = lookup((Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Both masks in PIR orientation, thinned out to steps of about :data:`FINEST_MM`.

    Parameters
    ----------
    semantic, instance : ndarray, shape (P, I, R)
        Labels.
    spacing_mm : tuple of 3 float
        Along (P, I, R).
    """

    semantic: NDArray[np.unsignedinteger]
    instance: NDArray[np.unsignedinteger]
    spacing_mm: Spacing

    @classmethod
    def of(cls, semantic: NDArray[np.unsignedinteger], instance: NDArray[np.unsignedinteger], spacing_mm: Spacing) -> Grid:
        """Every k-th voxel of both masks."""
        a, b, c = (max(1, int(FINEST_MM / step + 1e-6)) for step in spacing_mm)
        steps = (slice(None, None, a), slice(None, None, b), slice(None, None, c))
        return cls(semantic[steps], instance[steps], (spacing_mm[0] * a, spacing_mm[1] * b, spacing_mm[2] * c))


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Sizes of the vertebrae.

    Parameters
    ----------
    values : ndarray, shape (n, len(SIZES))
        NaN where a size cannot be measured: the part is missing or cut by the edge of the field of view.
    least_span_mm : ndarray, shape (n,)
        How far transverse processes that the field of view cuts reach at least; NaN where none is cut.
    """

    values: Matrix
    least_span_mm: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Voxels of one vertebra in its own frame.

    Parameters
    ----------
    labels : ndarray of uint8, shape (m,)
        Semantic ids.
    back, down, right : ndarray, shape (m,)
        Millimetres from the centre of the body: to posterior, along the spine to inferior, to the right.
    cut : ndarray of bool, shape (m, 3)
        Whether a voxel lies at the edge of the field of view along (P, I, R).
    """

    labels: NDArray[np.unsignedinteger]
    back: Matrix
    down: Matrix
    right: Matrix
    cut: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_]) -> Voxels:
        """Some of the voxels."""
        return Voxels(self.labels[chosen], self.back[chosen], self.down[chosen], self.right[chosen], self.cut[chosen])

    @property
    def few(self) -> bool:
        """Too few to measure."""
        return len(self.labels) < _LEAST_VOXELS


def frames(centres_mm: Matrix) -> Matrix:
    """Unit vectors (to posterior, along the spine, to the right) at each vertebra, shape (n, 3, 3); rows are the vectors."""
    count = len(centres_mm)
    along = np.gradient(centres_mm, axis=0) if count > 1 else np.array([[0.0, 1.0, 0.0]])
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    back = np.array([1.0, 0.0, 0.0]) - along * along[:, :1]
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    return np.stack([back, along, np.cross(back, along)], axis=1)


def measure_sizes(grid: Grid, instances: tuple[int, ...], centres_mm: Matrix) -> Sizes:
    """Measure each vertebra.

    Parameters
    ----------
    grid : Grid
        Both masks.
    instances : tuple of int
        Ids from top to bottom.
    centres_mm : ndarray, shape (n, 3)
        Centres of their bodies along (P, I, R).
    """
    boxes = label_boxes(grid.instance)
    canal = np.argwhere(_IS_CANAL[grid.semantic])
    rows, spans = [], []
    for number, centre, frame in zip(instances, centres_mm, frames(centres_mm), strict=True):
        box = boxes[number]
        points = np.argwhere(grid.instance[box.slices] == number) + np.asarray(box.start)
        own = _in_frame(grid, points, centre, frame)
        near = np.abs(canal[:, 1] * grid.spacing_mm[1] - centre[1]) < 25
        found = _body(own) | _transverse(own) | _spinous(own)
        found |= _canal(_in_frame(grid, canal[near], centre, frame), found["height"])
        rows.append([found.get(name, np.nan) for name in SIZES])
        spans.append(_least_span(own))
    sizes = np.array(rows, np.float64).reshape(len(instances), len(SIZES))
    sizes[:-1, SIZES.index("pitch")] = np.linalg.norm(np.diff(centres_mm, axis=0), axis=1)
    cut = np.isnan(sizes[:, SIZES.index("height")])
    sizes[cut, SIZES.index("pitch")] = np.nan
    sizes[:-1][cut[1:], SIZES.index("pitch")] = np.nan
    return Sizes(sizes, np.array(spans))


def _in_frame(grid: Grid, points: NDArray[np.int64], centre_mm: Matrix, frame: Matrix) -> Voxels:
    offset = (points * np.asarray(grid.spacing_mm) - centre_mm) @ frame.T
    edges = (points == 0) | (points == np.asarray(grid.instance.shape) - 1)
    labels = grid.semantic[points[:, 0], points[:, 1], points[:, 2]]
    return Voxels(labels, offset[:, 0], offset[:, 1], offset[:, 2], edges)


def _length(values: Matrix, factor: float = _UNIFORM) -> float:
    return float(np.sqrt(factor * values.var()))


def _body(own: Voxels) -> dict[str, float]:
    body = own.part(_IS_BODY[own.labels])
    nothing = {"height": np.nan, "depth": np.nan, "width": np.nan}
    if body.few:
        return nothing
    core = body.part(np.abs(body.right) < _CORE_MM)
    rear = core.part(core.back > 0)  # a wedge fracture takes the front's height
    if core.few or rear.few or body.cut[:, 1].any():
        return nothing
    height = _length(rear.down)
    slab = core.part(np.abs(core.down) < height / 4)
    wide = body.part((np.abs(body.down) < height / 4) & (body.back < 0))
    depth = np.nan if slab.few or slab.cut[:, 0].any() else _length(slab.back)
    width = np.nan if wide.few or body.cut[:, 2].any() else _length(wide.right)
    return {"height": height, "depth": depth, "width": width}


def _canal(canal: Voxels, height: float) -> dict[str, float]:
    if np.isnan(height):
        return {}
    slab = canal.part((np.abs(canal.down) < height / 3) & (canal.back > 0) & (np.abs(canal.right) < 25))
    if slab.few or slab.cut[:, (0, 2)].any():
        return {}
    return {"canal_depth": _length(slab.back, _DISC), "canal_width": _length(slab.right, _DISC)}


def _transverse(own: Voxels) -> dict[str, float]:
    """Reach of the transverse processes to the side, and how far behind the body's centre their tips lie."""
    costal = own.part(_IS_COSTAL[own.labels])
    spans, backs = [], []
    for label in (Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT):
        side = costal.part(costal.labels == label)
        if side.few or side.cut.any():
            continue
        lateral = np.abs(side.right)
        reach = float(np.quantile(lateral, 0.98))
        spans.append(reach)
        backs.append(float(side.back[lateral > _TIP_SHARE * reach].mean()))
    return {"transverse_span": float(np.mean(spans)), "transverse_back": float(np.mean(backs))} if spans else {}


def _least_span(own: Voxels) -> float:
    """Reach to the side of the transverse processes that are cut there."""
    costal = own.part(_IS_COSTAL[own.labels])
    return float(np.abs(costal.right).max()) if costal.cut[:, 2].any() else np.nan


def _spinous(own: Voxels) -> dict[str, float]:
    """Length and slope of the spinous process, from a line through its voxels in the sagittal plane."""
    process = own.part(own.labels == Structure.SPINOUS)
    if process.few or process.cut[:, :2].any():
        return {}
    variance = float(process.back.var())
    if variance < 1:
        return {}
    slope = float(((process.back - process.back.mean()) * process.down).mean()) / variance
    length = _length(process.back) * float(np.hypot(1, slope))
    return {
        "spinous_length": length,
        "spinous_angle": float(np.degrees(np.arctan(slope))),
    }
