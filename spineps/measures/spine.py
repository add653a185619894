"""What is measured from: bodies and discs from top to bottom with their axes, the sacral plate, the canal, the midline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Geometry, Matrix
from spineps.labels import BODY, DISC_OFFSET, POSTERIOR, SACRUM_INSTANCE, Structure, is_vertebra, lookup
from spineps.measures.bodies import Block, at_edge, find_block, mass_centre_mm, occupancy_of
from spineps.measures.canal import Canal, courses
from spineps.measures.frames import Course, Frame, unit
from spineps.measures.sacrum import SacralTop, find_sacral_top
from spineps.measures.surfaces import DISC_TALL, Occupancy
from spineps.volume import LabelMap

_IS_BODY: Final = lookup(BODY)
_IS_POSTERIOR: Final = lookup(POSTERIOR)
_DOWN: Final = np.array([0.0, 1.0, 0.0])
_BACK: Final = np.array([1.0, 0.0, 0.0])
_C2: Final = "C2"
_FARTHEST_NEIGHBOUR_MM: Final = 75.0
"""Two bodies further apart than this are no neighbours: one between them is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Spine:
    """Everything that measurements are taken from.

    Parameters
    ----------
    geometry : Geometry
        The grid, in PIR orientation.
    vertebrae : tuple of int
        Instance ids from top to bottom.
    bodies : tuple of Block
        Of those whose body is large enough to be measured, from top to bottom.
    discs : Mapping of int to Block
        Instance id of the vertebra above to the disc below it.
    voxels : Mapping of int to int
        Voxels of each instance.
    body_voxels : Mapping of int to int
        Voxels of each vertebra's body.
    cut : frozenset of int
        Instances that reach the edge of the grid.
    sacral_top : SacralTop or None
        The endplate below the last body.
    canal : Canal
        Canal and cord.
    midline : Course or None
        Through the middles of the bodies and the sacral plate; None where there are fewer than two.
    """

    geometry: Geometry
    vertebrae: tuple[int, ...]
    bodies: tuple[Block, ...]
    discs: Mapping[int, Block]
    voxels: Mapping[int, int]
    body_voxels: Mapping[int, int]
    cut: frozenset[int]
    sacral_top: SacralTop | None
    canal: Canal
    midline: Course | None

    def below(self, index: int) -> Block | None:
        """The next body below one, if it is its neighbour."""
        if index + 1 >= len(self.bodies):
            return None
        lower = self.bodies[index + 1]
        gap = float(np.linalg.norm(lower.centre_mm - self.bodies[index].centre_mm))
        return lower if gap <= _FARTHEST_NEIGHBOUR_MM else None


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The mask of one body, and where the rest of its vertebra is."""

    label: int
    occupancy: Occupancy
    centre_mm: Matrix
    posterior_mm: Matrix | None


def find_spine(semantic: LabelMap, instance: LabelMap, names: Mapping[int, str]) -> Spine:
    """Find bodies, discs, sacrum and canal, and set each upright on its own faces.

    Parameters
    ----------
    semantic, instance : LabelMap
        Both masks in PIR orientation, in the same grid.
    names : Mapping of int to str
        Levels of the vertebrae, where known.
    """
    geometry = instance.geometry
    boxes = ndimage.find_objects(instance.labels)
    found: list[_Found] = []
    voxels: dict[int, int] = {}
    body_voxels: dict[int, int] = {}
    discs: dict[int, Occupancy] = {}
    cut: set[int] = set()
    heights: dict[int, float] = {}
    for label, box in enumerate(boxes, start=1):
        if box is None or label >= 2 * DISC_OFFSET:
            continue
        start = (box[0].start, box[1].start, box[2].start)
        here = instance.labels[box] == label
        voxels[label] = int(here.sum())
        if at_edge(np.array(start), np.array([s.stop for s in box]), geometry.shape):
            cut.add(label)
        if is_vertebra(label):
            parts = semantic.labels[box]
            body = here & _IS_BODY[parts]
            body_voxels[label] = int(body.sum())
            shown = body if body_voxels[label] else here
            heights[label] = start[1] + float(np.average(np.arange(here.shape[1]), weights=shown.sum(axis=(0, 2))))
            occupancy = occupancy_of(body, start, geometry)
            if occupancy is not None:
                found.append(
                    _Found(label, occupancy, mass_centre_mm(occupancy), _centre(here & _IS_POSTERIOR[parts], box, geometry))
                )
        elif label != SACRUM_INSTANCE:
            disc = occupancy_of(here & (semantic.labels[box] == Structure.DISC), start, geometry)
            if disc is not None:
                discs[label - DISC_OFFSET] = disc
    found.sort(key=lambda body: body.centre_mm[1])
    canal = Canal(semantic.labels, geometry)
    bodies = tuple(_without_dens(block, names) for block in _upright(found, canal))
    top = find_sacral_top(instance.labels == SACRUM_INSTANCE, geometry, bodies[-1]) if bodies else None
    return Spine(
        geometry=geometry,
        vertebrae=tuple(sorted(heights, key=heights.__getitem__)),
        bodies=bodies,
        discs=_discs(discs, bodies, top),
        voxels=voxels,
        body_voxels=body_voxels,
        cut=frozenset(cut),
        sacral_top=top,
        canal=canal,
        midline=_midline(bodies, top),
    )


def _centre(mask: NDArray[np.bool_], box: tuple[slice, ...], geometry: Geometry) -> Matrix | None:
    index = np.argwhere(mask)
    if not len(index):
        return None
    return np.asarray((index.mean(axis=0) + [s.start for s in box]) * np.asarray(geometry.spacing_mm))


def _upright(found: Sequence[_Found], canal: Canal) -> list[Block]:
    """Bodies with their axes: first along the line through their middles, then upright on their own faces."""
    centres = np.array([body.centre_mm for body in found]).reshape(-1, 3)
    blocks = []
    back = _BACK
    for index, body in enumerate(found):
        low, high = max(0, index - 1), min(len(found) - 1, index + 1)
        down = unit(centres[high] - centres[low]) if high > low else _DOWN
        behind = canal.centre_behind(body.centre_mm, down)
        if behind is None:
            behind = body.posterior_mm
        if behind is not None:
            back = behind - body.centre_mm
        block = find_block(body.label, body.occupancy, Frame.along(body.centre_mm, down, back))
        if block is not None:
            blocks.append(block)
            back = block.frame.back
    return blocks


def _without_dens(block: Block, names: Mapping[int, str]) -> Block:
    """C2 has no upper endplate: its dens stands there."""
    return replace(block, superior=None) if names.get(block.label) == _C2 else block


def _discs(discs: Mapping[int, Occupancy], bodies: Sequence[Block], top: SacralTop | None) -> dict[int, Block]:
    """Discs with the axes halfway between those of the bodies above and below."""
    out = {}
    for index, upper in enumerate(bodies):
        if upper.label not in discs:
            continue
        occupancy = discs[upper.label]
        lower = bodies[index + 1] if index + 1 < len(bodies) else None
        above = None if upper.inferior is None else upper.inferior.normal
        plate = top.plate if lower is None and top is not None else None if lower is None else lower.superior
        known = [normal for normal in (above, None if plate is None else plate.normal) if normal is not None]
        down = unit(np.sum(known, axis=0)) if known else upper.frame.down
        back = upper.frame.back if lower is None else upper.frame.back + lower.frame.back
        frame = Frame.along(mass_centre_mm(occupancy), down, back)
        block = find_block(upper.label, occupancy, frame, upright=len(known) < 2, tall=DISC_TALL)
        if block is not None:
            out[upper.label] = block
    return out


def _midline(bodies: Sequence[Block], top: SacralTop | None) -> Course | None:
    whole = (body for body in bodies if not body.cut or (body.superior is not None and body.inferior is not None))
    points = [body.centre_mm for body in whole]
    if top is not None:
        points.append(top.plate.centre_mm)
    return Course(np.array(points)) if len(points) > 1 else None


def canal_directions(spine: Spine) -> dict[tuple[bool, int], tuple[Frame, Matrix, Matrix]]:
    """Axes in front of the canal, direction of its course and its centre, at each body (False, id) and disc (True, id)."""
    keys: list[tuple[bool, int]] = []
    centres: list[tuple[Frame, Matrix | None]] = []
    for body in spine.bodies:
        for is_disc, block in ((False, body), (True, spine.discs.get(body.label))):
            if block is not None:
                keys.append((is_disc, body.label))
                centres.append((block.frame, spine.canal.centre_behind(block.centre_mm, block.frame.down)))
    found = zip(keys, centres, courses(centres), strict=True)
    return {
        key: (frame, direction, centre)
        for key, (frame, centre), direction in found
        if centre is not None and direction is not None
    }
