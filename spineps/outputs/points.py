"""Points of each level: body, spinous process, disc below, both endplates and the canal; and bodies in the form of VerSe."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import EndplateOwner
from spineps.geometry import PIR, Reorientation
from spineps.labeling.features import Grid, frames
from spineps.labeling.naming import level_above
from spineps.labels import (
    BODY,
    CANAL_AND_CORD,
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    Structure,
    is_vertebra,
    lookup,
)
from spineps.volume import Centroid, Result

SLAB_SHARE: Final = 0.25
"""The canal of a level is looked at within this share of the distance to the next vertebra above and below its middle."""
LONE_SLAB_MM: Final = 8.0
_DECIMALS: Final = 4
_STRUCTURES: Final = 256


def level_points(result: Result) -> tuple[Centroid, ...]:
    """Centres of the parts of each level, in voxels of the result.

    Returns
    -------
    tuple of Centroid
        By vertebra: its body (50), spinous process (42), the disc below it (100), its own superior (52) and inferior (53)
        endplate where the semantic mask tells them apart, and the canal beside its body (61); those that are shown.
    """
    turn = Reorientation.between(result.instance.geometry.axes, PIR)
    semantic: NDArray[Any] = turn.apply(result.semantic.labels)
    instance: NDArray[Any] = turn.apply(result.instance.labels)
    order = [vertebra.label for vertebra in result.vertebrae]
    parts = _centres(semantic, instance)
    found: dict[tuple[int, int], NDArray[np.float64]] = {}
    for place, number in enumerate(order):
        above = order[place - 1] if place else level_above(number)
        owner = number if _owned(result) else above
        wanted = {
            int(Structure.CORPUS_INNER): _body(parts, number),
            int(Structure.SPINOUS): parts.get((number, int(Structure.SPINOUS))),
            int(Structure.DISC): parts.get((DISC_OFFSET + number, int(Structure.DISC))),
            int(Structure.ENDPLATE_SUPERIOR): parts.get((ENDPLATE_OFFSET + owner, int(Structure.ENDPLATE_SUPERIOR))),
            int(Structure.ENDPLATE_INFERIOR): parts.get((ENDPLATE_OFFSET + number, int(Structure.ENDPLATE_INFERIOR))),
        }
        found |= {(number, structure): point for structure, point in wanted.items() if point is not None}
    geometry = turn.apply_geometry(result.instance.geometry)
    found |= _canal(Grid(semantic, instance, geometry.spacing_mm), order, found)
    centroids = []
    for (number, structure), point in found.items():
        a, b, c = result.instance.geometry.to_vox(geometry.to_mm(point))
        centroids.append(Centroid(number, structure, (float(a), float(b), float(c))))
    return tuple(centroids)


def verse_document(result: Result) -> list[dict[str, Any]]:
    """Centres of the bodies in the form of VerSe's centroid files: a direction, then a label with X, Y and Z each."""
    entries: list[dict[str, Any]] = [{"direction": list(result.instance.geometry.axes)}]
    centres = [c for c in result.centroids if c.structure == Structure.CORPUS_INNER and is_vertebra(c.instance)]
    for centre in sorted(centres, key=lambda c: c.instance):
        x, y, z = (round(value, _DECIMALS) + 0.0 for value in centre.voxel)
        entries.append({"label": centre.instance, "X": x, "Y": y, "Z": z})
    return entries


def _owned(result: Result) -> bool:
    """Whether endplates carry the number of their own vertebra."""
    settings = result.provenance.get("settings", {}).get("postprocess", {})
    return bool(settings.get("endplate_owner") == EndplateOwner.VERTEBRA.value)


def _centres(
    semantic: NDArray[np.unsignedinteger], instance: NDArray[np.unsignedinteger]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Centre of each pair of instance and structure, in voxels."""
    where = np.flatnonzero(instance)
    pairs = instance.reshape(-1)[where].astype(np.int64) * _STRUCTURES + semantic.reshape(-1)[where]
    counts = np.bincount(pairs)
    shown = np.flatnonzero(counts)
    index = np.unravel_index(where, instance.shape)
    sums = np.stack([np.bincount(pairs, weights=axis)[shown] for axis in index], axis=1)
    centres = sums / counts[shown, None]
    return {(int(p // _STRUCTURES), int(p % _STRUCTURES)): centre for p, centre in zip(shown, centres, strict=True)}


def _body(parts: dict[tuple[int, int], NDArray[np.float64]], number: int) -> NDArray[np.float64] | None:
    return next((parts[number, int(label)] for label in BODY if (number, int(label)) in parts), None)


def _canal(
    grid: Grid, order: list[int], found: dict[tuple[int, int], NDArray[np.float64]]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Centre of the canal beside each body, in voxels."""
    spacing = np.asarray(grid.spacing_mm)
    shown = [number for number in order if (number, int(Structure.CORPUS_INNER)) in found]
    if not shown:
        return {}
    centres = np.array([found[number, int(Structure.CORPUS_INNER)] for number in shown]) * spacing
    canal = np.argwhere(lookup(CANAL_AND_CORD)[grid.semantic]) * spacing
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    half = SLAB_SHARE * float(np.median(steps)) if len(steps) else LONE_SLAB_MM
    out = {}
    for number, centre, frame in zip(shown, centres, frames(centres), strict=True):
        near = canal[np.abs((canal - centre) @ frame[1]) < half]
        if len(near):
            out[number, int(Structure.CANAL)] = near.mean(axis=0) / spacing
    return out
