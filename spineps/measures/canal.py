"""Cross-sections of the spinal canal and the cord, at right angles to the canal's own course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Box, Geometry, Matrix
from spineps.labels import Structure
from spineps.measures.frames import Course, Frame, unit
from spineps.measures.surfaces import Occupancy, axis_mm

_SLAB_MM: Final = 3.0
"""Thickness over which a cross-section is averaged: levels the steps of the voxels; a stenosis at a disc is longer."""
_REACH_MM: Final = 26.0
_STEP_MM: Final = 0.5
_BEHIND_MM: Final = (4.0, 45.0)
"""Where the canal lies behind the middle of a body or disc."""
_CENTRE_SHARE: Final = 0.2
"""Diameters are means over this share of the other diameter, in its middle."""
_FIT_SHARE: Final = 0.7
"""Share of the other diameter over which the chords are smoothed by a parabola."""
_LEAST_AREA_MM2: Final = 4.0
_COURSE_STEP_MM: Final = 8.0
"""Distance between the points through which a course is drawn."""


@dataclass(frozen=True, slots=True)
class Section:
    """A cross-section: area (mm²), antero-posterior and left-right diameter (mm)."""

    area: float
    depth: float
    width: float


class Canal:
    """The canal and the cord of a scan.

    Parameters
    ----------
    semantic : ndarray of uint8
        In PIR orientation.
    geometry : Geometry
        Its grid.
    """

    def __init__(self, semantic: NDArray[np.unsignedinteger], geometry: Geometry) -> None:
        cord = semantic == Structure.CORD
        canal = cord | (semantic == Structure.CANAL)
        self._geometry = geometry
        self._canal, self._cord = _raw(canal, geometry), _raw(cord, geometry)
        self.voxels = int(canal.sum()), int(cord.sum())
        self.cut = _cut(canal), _cut(cord)
        spacing = np.asarray(geometry.spacing_mm)
        self._points_mm = np.argwhere(canal) * spacing
        self._cord_mm = np.argwhere(cord) * spacing

    @property
    def known(self) -> bool:
        """False where no canal is labelled."""
        return self._canal is not None

    def centre_behind(self, centre_mm: Matrix, down: Matrix, slab_mm: float = 8.0) -> Matrix | None:
        """Centre of the canal in the slab across the spine at a body or a disc; None where there is none behind it."""
        if not self.known:
            return None
        offset = self._points_mm - centre_mm
        along = offset @ down
        distance = np.sqrt(np.maximum((offset * offset).sum(axis=1) - along * along, 0))
        near = (np.abs(along) <= slab_mm / 2) & (distance <= _BEHIND_MM[1]) & (distance >= _BEHIND_MM[0])
        if near.sum() * self._geometry.voxel_volume_mm3 < _LEAST_AREA_MM2 * slab_mm:
            return None
        return np.asarray(self._points_mm[near].mean(axis=0))

    def sections(self, frame: Frame, direction: Matrix, centre_mm: Matrix) -> tuple[Section | None, Section | None]:
        """Cross-sections of canal and cord at one level.

        Parameters
        ----------
        frame : Frame
            Axes of the body or disc in front, for what is back and right.
        direction : ndarray, shape (3,)
            Of the canal's course there.
        centre_mm : ndarray, shape (3,)
            Of the canal there.

        Returns
        -------
        canal, cord : Section or None
            None where there is none, or the field of view cuts it.
        """
        across = Frame.along(centre_mm, direction, frame.back)
        return _section(self._canal, across), _section(self._cord, across)

    def lengths_mm(self) -> tuple[float, float]:
        """Lengths of canal and cord along their course within the field of view."""
        return _length(self._points_mm), _length(self._cord_mm)


def courses(centres: Sequence[tuple[Frame, Matrix | None]]) -> list[Matrix | None]:
    """Direction of the canal at each level, from its centres there; that of the level's own axis where there is but one."""
    known = [centre for _, centre in centres if centre is not None]
    apart = [known[k] for k in range(len(known)) if k == 0 or np.linalg.norm(known[k] - known[k - 1]) > 1.0]
    course = Course(np.array(apart)) if len(apart) > 1 else None
    return [None if centre is None else frame.down if course is None else course.direction(centre) for frame, centre in centres]


def _raw(mask: NDArray[np.bool_], geometry: Geometry) -> Occupancy | None:
    box = Box.around(mask)
    return None if box is None else Occupancy.of(mask[box.slices], box, geometry, smoothing_vox=0.0)


def _cut(mask: NDArray[np.bool_]) -> bool:
    return any(bool(mask.take(index, axis=axis).any()) for axis in range(3) for index in (0, -1))


def _section(occupancy: Occupancy | None, frame: Frame) -> Section | None:
    if occupancy is None:
        return None
    places = axis_mm(-_REACH_MM, _REACH_MM, _STEP_MM)
    levels = axis_mm(-_SLAB_MM / 2, _SLAB_MM / 2, 1.0)
    if _outside(occupancy.geometry, frame):
        return None
    density = occupancy.sampled(frame, (places, places, levels)).mean(axis=-1)
    pieces, count = ndimage.label(density > 0.02)
    if count == 0:
        return None
    sizes = ndimage.sum_labels(density, pieces, np.arange(1, count + 1))
    density = np.where(pieces == 1 + int(np.argmax(sizes)), density, 0.0)
    cell = (places[1] - places[0]) ** 2
    area = float(density.sum() * cell)
    edge = density[[0, -1]].sum() + density[:, [0, -1]].sum()
    if area < _LEAST_AREA_MM2 or edge * cell > 0.05 * area:
        return None
    back, right = (float((density.sum(axis=1 - a) @ places) / density.sum()) for a in (0, 1))
    voxel_back, voxel_right, _ = np.sqrt(((frame.axes * np.asarray(occupancy.geometry.spacing_mm)) ** 2).sum(axis=1))
    depth = width = float(np.sqrt(area))
    for _ in range(3):  # the bands that the diameters are averaged over depend on the diameters
        depth = _chord(density.sum(axis=0) * _STEP_MM, places - right, width, voxel_right)
        width = _chord(density.sum(axis=1) * _STEP_MM, places - back, depth, voxel_back)
    return Section(area, depth, width)


def _chord(lengths: Matrix, offset: Matrix, across_mm: float, voxel_mm: float) -> float:
    """Mean length of the chords in the middle of a cross-section.

    Parameters
    ----------
    lengths : ndarray, shape (n,)
        Length of each chord.
    offset : ndarray, shape (n,)
        How far from the centre it lies.
    across_mm : float
        The diameter at right angles.
    voxel_mm : float
        Size of the scan's voxels along ``offset``: lengths between voxels are interpolated, which shortens those of a round
        cross-section (by a twelfth of the voxel size squared times the curvature, that of the parabola through them).
    """
    near = np.abs(offset) <= max(_FIT_SHARE * across_mm / 2, 1.2 * _STEP_MM)
    terms = np.stack([np.ones(int(near.sum())), offset[near], offset[near] ** 2], axis=1)
    middle, _, bend = (float(c) for c in np.linalg.lstsq(terms, lengths[near], rcond=None)[0])
    bend = min(0.0, bend)
    return max(0.0, middle + bend * (_CENTRE_SHARE * across_mm) ** 2 / 12 - bend * voxel_mm**2 / 6)


def _outside(geometry: Geometry, frame: Frame) -> bool:
    """Tell whether the middle of a cross-section lies so near to the edge of the field of view that its slab is cut."""
    ends = frame.to_mm(np.array([[0.0, 0.0, side * _SLAB_MM / 2] for side in (-1, 1)])) / np.asarray(geometry.spacing_mm)
    return bool((ends < -0.5).any() or (ends > np.asarray(geometry.shape) - 0.5).any())


def _length(points_mm: Matrix) -> float:
    """Length of the course of a long thin structure: along the centres of slabs across it."""
    if len(points_mm) < 2:
        return 0.0
    slab = np.floor((points_mm[:, 1] - points_mm[:, 1].min()) / _COURSE_STEP_MM).astype(int)
    counts = np.bincount(slab)
    shown = counts > 0
    centres = np.stack([np.bincount(slab, weights=points_mm[:, a])[shown] / counts[shown] for a in range(3)], axis=1)
    if len(centres) < 2:
        return float(np.ptp(points_mm[:, 1]))
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    ends = [unit(centres[1] - centres[0]), unit(centres[-1] - centres[-2])]
    before = float(((centres[0] - points_mm[slab == slab.min()]) @ ends[0]).max())
    after = float(((points_mm[slab == slab.max()] - centres[-1]) @ ends[1]).max())
    return float(steps.sum() + max(0.0, before) + max(0.0, after))
