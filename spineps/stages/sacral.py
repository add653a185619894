"""The first body of the sacrum, where a network took it for one more vertebra because the field of view ends at it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding, FindingCode
from spineps.geometry import Matrix, Spacing
from spineps.labels import BODY, ENDPLATES, VERTEBRA, Structure, lookup
from spineps.stages.assign import top_to_bottom
from spineps.stages.components import CORNERS, connected, label_boxes
from spineps.stages.instances import RawInstances
from spineps.volume import LabelMap

TURN_DEG: Final = 19.0
"""The disc above the sacrum is tilted backwards against the one above it by at least this much, the disc above L5 by less: in
phantoms, which follow published segmental angles, 24 (SD 5) and 14 (SD 4) degrees."""
ROOM: Final = 0.65
"""Share of the distance between two bodies: with more of the field of view below it, a first sacral body shows its second."""
SMALLER: Final = 0.85
"""The first sacral body is at most so large, of the last vertebra: it tapers, and is cut."""
LEAST_VOXELS: Final = 20
"""Of a disc, for its tilt to be seen."""
CORD_MM2: Final = 15.0
"""Cross-section of a cord beside a body, from which on the body is no sacrum. Above the conus a cord has 40 and more (diameters
of 8.3 and 6.3 mm at T8: Frostell et al., Front Neurol 2016; 7:238), specks in a sacral canal that are taken for cord have few.
"""

_IS_BODY = lookup(BODY)
_IS_VERTEBRA = lookup(VERTEBRA)
_IS_BETWEEN = lookup((Structure.DISC, *ENDPLATES))


def with_first_sacral(semantic: LabelMap, raw: RawInstances) -> tuple[LabelMap, RawInstances]:
    """Give the sacrum its first body back, if the lowest instance is that.

    Parameters
    ----------
    semantic : LabelMap
        In PIR orientation.
    raw : RawInstances
        In the same grid.

    Returns
    -------
    LabelMap, RawInstances
        The same two where the lowest instance is a vertebra. Otherwise it is sacrum, with what lies below its middle of discs
        and endplates, and a finding says so.
    """
    found = _find(semantic.labels, raw.labels, semantic.geometry.spacing_mm)
    if found is None:
        return semantic, raw
    number, centres, turn = found
    labels, instances = semantic.labels.copy(), raw.labels.copy()
    sacral = (instances == number) & _IS_VERTEBRA[labels]
    where = np.argwhere(_IS_BETWEEN[labels])
    below = (where * np.asarray(semantic.geometry.spacing_mm) - centres[-1]) @ (centres[-1] - centres[-2]) > 0
    sacral[tuple(where[below].T)] = True
    labels[sacral], instances[instances == number] = Structure.SACRUM, 0
    text = (
        "The lowest body, at the end of the field of view, is taken for the first of the sacrum: the disc above it is tilted "
        f"by {turn:.0f} degrees against the next."
    )
    agreement = {k: value for k, value in raw.agreement.items() if k != number}
    findings = (*raw.findings, Finding(FindingCode.SACRAL_BODY, text))
    return replace(semantic, labels=labels), replace(raw, labels=instances, agreement=agreement, findings=findings)


def _find(
    semantic: NDArray[np.unsignedinteger], instance: NDArray[np.uint8], spacing_mm: Spacing
) -> tuple[int, Matrix, float] | None:
    """Number of the first sacral body, centres of the last three bodies (mm), and how far the disc turns (degrees)."""
    last = top_to_bottom(semantic, instance)[-3:]
    boxes = label_boxes(instance)
    step = np.asarray(spacing_mm)
    bodies = []
    for number in last:
        box = boxes[number]
        own = (instance[box.slices] == number) & _IS_BODY[semantic[box.slices]]
        bodies.append(np.argwhere(own) + np.asarray(box.start))
    if len(bodies) < 3 or not all(map(len, bodies)) or len(bodies[2]) > SMALLER * len(bodies[1]):
        return None
    centres = np.stack([body.mean(axis=0) for body in bodies]) * step
    top, bottom = bodies[2][:, 1].min(), bodies[2][:, 1].max()
    room_mm = (semantic.shape[1] - 1 - bottom) * step[1]
    cord_mm2 = np.count_nonzero(semantic[:, top : bottom + 1] == Structure.CORD) * step[0] * step[2] / (bottom + 1 - top)
    if room_mm > ROOM * np.linalg.norm(centres[2] - centres[1]) or cord_mm2 >= CORD_MM2:
        return None
    tilts = _disc_tilts(semantic, centres, step)
    turn = float(tilts[1] - tilts[0])
    return (last[-1], centres, turn) if turn >= TURN_DEG else None


def _disc_tilts(semantic: NDArray[np.unsignedinteger], centres: Matrix, step: Matrix) -> list[float]:
    """How far the disc below each body but the last is tilted backwards (degrees); NaN where none is seen."""
    discs = connected(semantic == Structure.DISC, CORNERS)
    heights = discs.centres[:, 1] * step[1]
    tilts = []
    for upper, lower in pairwise(centres[:, 1]):
        between = np.where((heights > upper) & (heights < lower), discs.sizes, 0)
        between[0] = 0
        number = int(between.argmax())
        if between[number] < LEAST_VOXELS:
            tilts.append(np.nan)
            continue
        points = np.argwhere(discs.mask(number)) * step
        _, axes = np.linalg.eigh(np.cov(points[:, :2].T))
        behind, down = axes[:, 0] * np.sign(axes[1, 0])
        tilts.append(float(np.degrees(np.arctan2(behind, down))))
    return tilts
