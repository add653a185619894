"""All measurements of a scan, from both masks and the names of the levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from spineps.geometry import Matrix
from spineps.labels import DISC_OFFSET, SACRUM_INSTANCE
from spineps.measures.bodies import Block, Heights, depth_and_width_mm, heights, mean_height_mm, rear_corner_mm
from spineps.measures.canal import Section
from spineps.measures.curves import S1, measure_curves
from spineps.measures.frames import Frame, turn_back, turn_right, unit
from spineps.measures.quantities import BODY_CUT, CANAL, CORD, CUT, DISC, QUANTITIES, SACRUM, UNSURE, VERTEBRA
from spineps.measures.spine import Spine, canal_directions, find_spine
from spineps.measures.surfaces import Plate
from spineps.volume import LabelMap, Levels, LevelStatus, StructureMeasures

SURE: Final = 0.9
"""A level with a smaller posterior is flagged unsure."""
LEAST_STEPS: Final = 4.0
"""A length of fewer voxels than this is flagged: the error of half a voxel is then over an eighth of it."""
LEAST_STEPS_ACROSS: Final = 6.0
"""The same for the width of a cross-section, which is one chord rather than the mean of many columns, and for the width over
which the lean of an endplate to the side is taken."""
LEAST_STEPS_SECTION: Final = 4.5
"""Area and depth of a cross-section of fewer voxels across are flagged as well."""
_ML: Final = 1e-3

Values = dict[str, float]


def measure_structures(semantic: LabelMap, instance: LabelMap, levels: Levels) -> tuple[StructureMeasures, ...]:
    """Measure bodies, discs, canal and curves.

    Parameters
    ----------
    semantic, instance : LabelMap
        Both masks in PIR orientation, in the same grid.
    levels : Levels
        Names of the vertebrae and how sure they are.

    Returns
    -------
    tuple of StructureMeasures
        Vertebrae and discs from top to bottom, the sacrum, canal and cord, then curves. Columns and their definitions:
        :data:`spineps.measures.quantities.QUANTITIES` and ``docs/measurements.md``.
    """
    spine = find_spine(semantic, instance, levels.names)
    return _Table(spine, levels).rows()


class _Table:
    """The rows of one scan."""

    def __init__(self, spine: Spine, levels: Levels) -> None:
        self._spine = spine
        self._names = levels.names
        named = levels.status is not LevelStatus.NUMBERED
        self._unsure = frozenset(label for label in spine.vertebrae if named and levels.confidence(label) < SURE)
        self._canal = canal_directions(spine)
        self._bodies_cut = frozenset(b.label for b in spine.bodies if b.cut)
        self._heights = {body.label: heights(body) for body in spine.bodies if _whole(body)}

    def rows(self) -> tuple[StructureMeasures, ...]:
        out = []
        places = {body.label: index for index, body in enumerate(self._spine.bodies)}
        for label in self._spine.vertebrae:
            if label not in places:
                out.append(self._row(VERTEBRA, label, self._names.get(label), self._vertebra_volumes(label)))
                continue
            out.append(self._vertebra(self._spine.bodies[places[label]]))
            if DISC_OFFSET + label in self._spine.voxels:
                out.append(self._disc(places[label]))
        if SACRUM_INSTANCE in self._spine.voxels:
            out.append(self._row(SACRUM, SACRUM_INSTANCE, "S" if self._names else None, self._volume(SACRUM_INSTANCE)))
        out.extend(self._long_structures())
        out.extend(measure_curves(self._spine, self._names, self._unsure))
        return tuple(out)

    def _vertebra(self, body: Block) -> StructureMeasures:
        values = self._vertebra_volumes(body.label)
        found = self._heights.get(body.label)
        if found is not None:
            values |= _height_values(found)
            values["wedge_ratio"] = found.anterior / found.posterior
            values["biconcavity_ratio"] = found.middle / found.posterior
        if body.superior is not None and body.inferior is not None:
            values["wedge_deg"] = turn_back(body.superior.normal, body.inferior.normal, body.frame.right)
        values["depth_mm"], values["width_mm"] = depth_and_width_mm(body)
        values |= self._tilts(body)
        values |= self._sections((False, body.label))
        return self._row(VERTEBRA, body.label, self._names.get(body.label), values, body.frame)

    def _tilts(self, body: Block) -> Values:
        """Both endplates against the cross-section of the midline there."""
        out: Values = {}
        midline = self._spine.midline
        for side, plate in (("superior", body.superior), ("inferior", body.inferior)):
            if plate is not None and midline is not None:
                down = midline.direction(plate.centre_mm)
                out[f"tilt_{side}_sagittal_deg"] = turn_back(down, plate.normal, body.frame.right)
                out[f"tilt_{side}_coronal_deg"] = turn_right(down, plate.normal, body.frame.back)
        return out

    def _disc(self, index: int) -> StructureMeasures:
        upper = self._spine.bodies[index]
        lower = self._spine.below(index)
        disc = self._spine.discs.get(upper.label)
        label = DISC_OFFSET + upper.label
        values = self._volume(label)
        if disc is not None:
            found = heights(disc)
            values |= {} if found is None else _height_values(found)
            values["height_mean_mm"] = mean_height_mm(disc)
            values["depth_mm"], values["width_mm"] = depth_and_width_mm(disc)
            values |= self._height_index(values["height_mean_mm"], upper, lower)
        values |= self._between(index, upper, lower)
        values |= self._sections((True, upper.label))
        return self._row(DISC, label, self._disc_level(upper, lower), values, upper.frame if disc is None else disc.frame)

    def _disc_level(self, upper: Block, lower: Block | None) -> str | None:
        first = self._names.get(upper.label)
        second = self._names.get(lower.label) if lower is not None else S1 if self._spine.sacral_top is not None else None
        return first if first is None or second is None else f"{first}-{second}"

    def _height_index(self, height: float, *bodies: Block | None) -> Values:
        beside = [self._heights.get(body.label) for body in bodies if body is not None]
        known = [found.mean for found in beside if found is not None]
        return {"height_index": height / float(np.mean(known))} if known else {}

    def _between(self, index: int, upper: Block, lower: Block | None) -> Values:
        """Wedge angle and slip between a body and what is below it."""
        top = self._spine.sacral_top if index + 1 == len(self._spine.bodies) else None
        plate = lower.superior if lower is not None else top.plate if top is not None else None
        frame = lower.frame if lower is not None else top.frame if top is not None else None
        if upper.inferior is None or plate is None or frame is None:
            return {}
        right = unit(upper.frame.right + frame.right)
        values = {"wedge_deg": turn_back(upper.inferior.normal, plate.normal, right)}
        corner = rear_corner_mm(upper, upper=False)
        if lower is not None:
            other = rear_corner_mm(lower, upper=True)
            depth: float | None = depth_and_width_mm(lower)[0]
        else:
            other, depth = (None, None) if top is None else (top.rear_corner_mm, top.depth_mm)
        if corner is not None and other is not None:
            values["slip_mm"] = _slip_mm(corner, other, plate, frame)
            if depth:
                values["slip_percent"] = 100 * values["slip_mm"] / depth
        return values

    def _sections(self, key: tuple[bool, int]) -> Values:
        if key not in self._canal:
            return {}
        frame, direction, centre = self._canal[key]
        canal, cord = self._spine.canal.sections(frame, direction, centre)
        return _section_values("canal", canal) | _section_values("cord", cord)

    def _long_structures(self) -> list[StructureMeasures]:
        canal = self._spine.canal
        rows = []
        for kind, voxels, length, cut in zip((CANAL, CORD), canal.voxels, canal.lengths_mm(), canal.cut, strict=True):
            if voxels:
                volume = voxels * self._spine.geometry.voxel_volume_mm3 * _ML
                flags = (CUT,) if cut else ()
                rows.append(StructureMeasures(kind, None, None, {"volume_ml": volume, "length_mm": length}, flags))
        return rows

    def _vertebra_volumes(self, label: int) -> Values:
        body = self._spine.body_voxels[label] * self._spine.geometry.voxel_volume_mm3 * _ML
        return {**self._volume(label), "body_volume_ml": body}

    def _volume(self, label: int) -> Values:
        return {"volume_ml": self._spine.voxels[label] * self._spine.geometry.voxel_volume_mm3 * _ML}

    def _row(self, kind: str, label: int, level: str | None, values: Values, frame: Frame | None = None) -> StructureMeasures:
        known = {name: float(values[name]) for name in QUANTITIES if name in values and math.isfinite(values[name])}
        flags: tuple[str, ...] = (CUT,) if label in self._spine.cut else ()
        flags += (BODY_CUT,) if label in self._bodies_cut else ()
        flags += (UNSURE,) if label % DISC_OFFSET in self._unsure else ()
        coarse = () if frame is None else _too_thick(known, frame, self._spine.geometry.spacing_mm)
        return StructureMeasures(kind, label, level, known, flags, coarse)


def _whole(body: Block) -> bool:
    return body.superior is not None and body.inferior is not None


def _height_values(found: Heights) -> Values:
    return {
        "height_anterior_mm": found.anterior,
        "height_middle_mm": found.middle,
        "height_posterior_mm": found.posterior,
    }


def _section_values(name: str, section: Section | None) -> Values:
    if section is None:
        return {}
    return {f"{name}_area_mm2": section.area, f"{name}_depth_mm": section.depth, f"{name}_width_mm": section.width}


def _slip_mm(corner: Matrix, other: Matrix, plate: Plate, frame: Frame) -> float:
    """How far a rear corner stands in front of the one below, along the endplate below."""
    back = unit(frame.back - (frame.back @ plate.normal) * plate.normal)
    return float((other - corner) @ back)


def _too_thick(values: Mapping[str, float], frame: Frame, spacing_mm: tuple[float, float, float]) -> tuple[str, ...]:
    """Columns that span fewer than :data:`LEAST_STEPS` voxels in their direction."""
    steps = np.sqrt(((frame.axes * np.asarray(spacing_mm)) ** 2).sum(axis=1))
    out = []
    for name, value in values.items():
        if not name.endswith("_mm") or name in ("slip_mm", "length_mm", "canal_width_mm", "cord_width_mm"):
            continue
        axis = 2 if name.startswith("height") else 0 if name.endswith("depth_mm") else 1
        if value < LEAST_STEPS * steps[axis]:
            out.append(name)
    for name in ("canal", "cord"):
        columns = [f"{name}_area_mm2", f"{name}_depth_mm", f"{name}_width_mm"]
        wide = _ellipse_width_mm(values.get(columns[0]), values.get(columns[1]))
        coarse = wide < LEAST_STEPS_SECTION * steps[1]
        if coarse or any(column in out for column in columns):  # coarse in one direction, coarse altogether
            out.extend(column for column in columns if column in values)
        elif columns[2] in values and wide < LEAST_STEPS_ACROSS * steps[1]:
            out.append(columns[2])
    if values.get("width_mm", math.inf) < LEAST_STEPS_ACROSS * steps[1]:
        out.extend(name for name in values if "_coronal_" in name)
    return tuple(name for name in QUANTITIES if name in out)


def _ellipse_width_mm(area: float | None, depth: float | None) -> float:
    """Width of the ellipse of a cross-section's area and depth, which thick slices blur less than the width itself.

    Were the measured width asked whether it can be trusted, those that came out too wide would be, and the others not.
    """
    return math.inf if area is None or not depth else 4 / math.pi * area / depth
