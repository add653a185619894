"""Vertebral bodies and discs as blocks: their axes, faces, walls and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, FloatArray, Geometry, Matrix
from spineps.measures.frames import Frame, unit
from spineps.measures.surfaces import BODY_TALL, Columns, Occupancy, Plate, axis_mm, crossings

EDGE_VOX: Final = 1
"""A structure this near to the first or last plane along I is taken as cut by the field of view."""
COARSE_MM: Final = 1.5
FINE_MM: Final = 0.75
_TURNS: Final = 2
"""Times that the axes of a block are set upright on its own faces."""
MIDSAGITTAL: Final = 0.125
"""Half width of the midsagittal band, as a share of a block's width: a quarter of it in all."""
WALL: Final = (0.05, 0.15)
"""Where the anterior and posterior height are taken: this far from the wall, as shares of the depth."""
MIDDLE: Final = (0.4, 0.6)
_HALF_HEIGHT: Final = (1 / 3, 2 / 3)
"""Part of the height over which depth and width are taken."""
_BEFORE_PEDICLES: Final = (-0.5, -0.1)
"""Where the width is taken, in half depths from the middle: further back pedicles join the body, and masks tell them apart
differently."""
_CORNER: Final = (0.1, 0.3)
"""Part of the height, from a face, over which the rear wall next to it is taken."""
INNER: Final = 0.8
"""Share of the radius over which the mean height of a disc is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A vertebral body or a disc, upright on its own faces.

    Parameters
    ----------
    label : int
        Instance id.
    occupancy : Occupancy
        Its mask.
    columns : Columns
        Its faces.
    superior, inferior : Plate or None
        Its faces as planes; None where the field of view cuts them or they are no planes.
    cut : bool
        Whether the field of view cuts the block anywhere.
    """

    label: int
    occupancy: Occupancy
    columns: Columns
    superior: Plate | None
    inferior: Plate | None
    cut: bool

    @property
    def frame(self) -> Frame:
        """Its axes."""
        return self.columns.frame

    @property
    def centre_mm(self) -> Matrix:
        """Middle between its faces, in grid millimetres."""
        (back, right), _, radius = self.columns.radius()
        inner = self.columns.footprint & (radius <= INNER)
        level = (self.columns.top_mm[inner] + self.columns.bottom_mm[inner]).mean() / 2
        return self.frame.to_mm(np.array([back, right, level]))


def occupancy_of(mask: NDArray[np.bool_], start: tuple[int, int, int], geometry: Geometry) -> Occupancy | None:
    """Occupancy of a mask within a box of the grid that begins at ``start``; None where it is empty."""
    box = Box.around(mask)
    if box is None:
        return None
    return Occupancy.of(mask[box.slices], box.shifted(start), geometry)


def touches_edge(occupancy: Occupancy) -> bool:
    """Tell whether the box of a mask reaches the edge of the grid; see :func:`at_edge`."""
    low, high = _box_of(occupancy)
    return at_edge(low, high, occupancy.geometry.shape)


def at_edge(low: Matrix, high: Matrix, shape: tuple[int, int, int]) -> bool:
    """Tell whether a box (``high`` excluded) reaches the edge of the grid; masks often leave the top and bottom plane empty."""
    margin = np.array([0, EDGE_VOX, 0])
    return bool((low <= margin).any() or (high >= np.asarray(shape) - margin).any())


def _box_of(occupancy: Occupancy) -> tuple[Matrix, Matrix]:
    pad = 3
    return occupancy.start_vox + pad, occupancy.start_vox + np.asarray(occupancy.values.shape) - pad


def mass_centre_mm(occupancy: Occupancy) -> Matrix:
    """Centre of mass, in grid millimetres."""
    weight = occupancy.values
    total = float(weight.sum())
    places = [
        float(weight.sum(axis=tuple(b for b in range(3) if b != a)) @ np.arange(n)) / total for a, n in enumerate(weight.shape)
    ]
    return np.asarray((np.array(places) + occupancy.start_vox) * np.asarray(occupancy.geometry.spacing_mm))


def find_block(
    label: int, occupancy: Occupancy, frame: Frame, *, upright: bool = True, tall: float = BODY_TALL
) -> Block | None:
    """Set a block upright on its own faces and find them.

    Parameters
    ----------
    label : int
        Its instance id.
    occupancy : Occupancy
        Its mask.
    frame : Frame
        A first guess of its axes.
    upright : bool
        False to keep the guess (a disc between two bodies has the axes that they give it).
    tall : float
        How tall a column must be to count, as a share of the height that is usual at its place.

    Returns
    -------
    Block or None
        None where the mask is too small.
    """
    reach = _reach_mm(occupancy, frame)
    if upright:
        for _ in range(_TURNS):
            columns = Columns.of(occupancy, frame, reach, COARSE_MM, tall)
            if columns.empty:
                return None
            normals = [plate.normal for plate in _plates(columns, occupancy.geometry) if plate is not None]
            down = unit(np.sum(normals, axis=0)) if normals else frame.down
            frame = Frame.along(_middle_mm(columns), down, frame.back)
            reach = _reach_mm(occupancy, frame)
    columns = Columns.of(occupancy, frame, reach, min(FINE_MM, *occupancy.geometry.spacing_mm), tall)
    if columns.empty:
        return None
    return Block(label, occupancy, columns, *_plates(columns, occupancy.geometry), touches_edge(occupancy))


def _plates(columns: Columns, geometry: Geometry) -> tuple[Plate | None, Plate | None]:
    return (
        None if columns.cut(geometry, upper=True) else columns.plate(columns.top_mm),
        None if columns.cut(geometry, upper=False) else columns.plate(columns.bottom_mm),
    )


def _middle_mm(columns: Columns) -> Matrix:
    (back, right), _, _ = columns.radius()
    level = float(np.nanmedian((columns.top_mm + columns.bottom_mm) / 2))
    return columns.frame.to_mm(np.array([back, right, level]))


def _reach_mm(occupancy: Occupancy, frame: Frame) -> tuple[float, float, float]:
    """How far the box of the mask extends along the axes, to both sides of the frame's origin."""
    low, high = _box_of(occupancy)
    spacing = np.asarray(occupancy.geometry.spacing_mm)
    corners = np.array(np.meshgrid(*zip(low - 1, high, strict=True), indexing="ij")).reshape(3, -1).T * spacing
    a, b, c = np.abs(frame.to_local(corners)).max(axis=0)
    return float(a), float(b), float(c)


@dataclass(frozen=True, slots=True)
class Heights:
    """Heights (mm) in the midsagittal band near the front wall, in the middle and near the rear wall."""

    anterior: float
    middle: float
    posterior: float

    @property
    def mean(self) -> float:
        """Mean of the three."""
        return (self.anterior + self.middle + self.posterior) / 3


def midsagittal(block: Block) -> tuple[NDArray[np.bool_], Matrix]:
    """Which columns across lie in the midsagittal band (shape (n,)), and the mean height along it (shape (m,); 0: none)."""
    (_, centre), (_, half), _ = block.columns.radius()
    band = np.abs(block.columns.right_mm - centre) <= max(2 * MIDSAGITTAL * half, 0.51 * _step(block.columns.right_mm))
    height = np.nan_to_num(block.columns.height_mm[:, band])
    known = (height > 0).sum(axis=1)
    return band, np.where(known * 2 >= band.sum(), height.sum(axis=1) / np.maximum(known, 1), 0.0)


def walls_mm(block: Block) -> tuple[float, float]:
    """Where the footprint begins in front and ends at the back, along the midsagittal band, in the block's frame."""
    band, _ = midsagittal(block)
    height = np.nan_to_num(block.columns.height_mm[:, band])
    usual = float(np.median(height[height > 0])) if (height > 0).any() else 1.0
    share = np.clip(height.mean(axis=1) / usual, 0, 1)[None, :]
    first, last = crossings(share.astype(np.float32), block.columns.back_mm)
    return float(first[0]), float(last[0])


def heights(block: Block) -> Heights | None:
    """Anterior, middle and posterior height, or None where the footprint is too small for them."""
    _, height = midsagittal(block)
    front, rear = walls_mm(block)
    share = (block.columns.back_mm - front) / max(1e-6, rear - front)
    places = (WALL, MIDDLE, (1 - WALL[1], 1 - WALL[0]))
    found = [height[(share >= low) & (share <= high) & (height > 0)] for low, high in places]
    if any(len(values) == 0 for values in found):
        return None
    return Heights(*(float(values.mean()) for values in found))


def mean_height_mm(block: Block) -> float:
    """Mean height away from the rim."""
    _, _, radius = block.columns.radius()
    return float(block.columns.height_mm[block.columns.footprint & (radius <= INNER)].mean())


def depth_and_width_mm(block: Block) -> tuple[float, float]:
    """Antero-posterior length (in the middle fifth across) and left-right length (in front of the pedicles) at half height."""
    (back, right), (deep, wide), _ = block.columns.radius()
    top, bottom = _faces_mm(block)
    level = axis_mm(top + _HALF_HEIGHT[0] * (bottom - top), top + _HALF_HEIGHT[1] * (bottom - top), 1.0)
    deep_axis, wide_axis = block.columns.back_mm, block.columns.right_mm
    across = axis_mm(right - 0.2 * wide, right + 0.2 * wide, 1.0)
    field = block.occupancy.sampled(block.frame, (deep_axis, across, level))
    depth = _mean_length(np.moveaxis(field, 0, -1), deep_axis)
    across = axis_mm(back + _BEFORE_PEDICLES[0] * deep, back + _BEFORE_PEDICLES[1] * deep, 1.0)
    field = block.occupancy.sampled(block.frame, (across, wide_axis, level))
    return depth, _mean_length(np.moveaxis(field, 1, -1), wide_axis)


def rear_corner_mm(block: Block, *, upper: bool) -> Matrix | None:
    """Where the rear wall meets the upper or the lower face in the midsagittal band; None where the face is not known."""
    plate = block.superior if upper else block.inferior
    if plate is None:
        return None
    (_, right), (_, wide), _ = block.columns.radius()
    top, bottom = _faces_mm(block)
    near, far = (share * (bottom - top) for share in _CORNER)
    level = axis_mm(top + near, top + far, 1.0) if upper else axis_mm(bottom - far, bottom - near, 1.0)
    across = axis_mm(right - 2 * MIDSAGITTAL * wide, right + 2 * MIDSAGITTAL * wide, 1.0)
    field = block.occupancy.sampled(block.frame, (block.columns.back_mm, across, level))
    _, last = crossings(np.moveaxis(field, 0, -1), block.columns.back_mm)
    if not np.isfinite(last).any():
        return None
    return on_plate(block.frame, plate, float(np.nanmean(last)), right)


def on_plate(frame: Frame, plate: Plate, back_mm: float, right_mm: float) -> Matrix:
    """The point of a plane above or below a place (back, right) of a frame."""
    foot = frame.to_mm(np.array([back_mm, right_mm, 0.0]))
    rise = ((plate.centre_mm - foot) @ plate.normal) / float(frame.down @ plate.normal)
    return np.asarray(foot + rise * frame.down)


def _faces_mm(block: Block) -> tuple[float, float]:
    """Typical levels of the faces along the block's axis."""
    return float(np.nanmedian(block.columns.top_mm)), float(np.nanmedian(block.columns.bottom_mm))


def _mean_length(field: FloatArray, places: Matrix) -> float:
    first, last = crossings(field, places)
    length = last - first
    return float(np.nanmean(length)) if np.isfinite(length).any() else float("nan")


def _step(places: Matrix) -> float:
    return float(places[1] - places[0])
