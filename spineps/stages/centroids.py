"""Centres, volumes and the list of vertebrae, from both masks in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding, FindingCode
from spineps.geometry import Geometry, Matrix
from spineps.labels import BODY, Structure, is_vertebra, lookup
from spineps.volume import Centroid, LabelMap, Vertebra

EDGE_VOX: Final = 1
"""A vertebra this near to the first or last plane along I is taken as cut by the field of view."""

_STRUCTURES: Final = 256
_IS_BODY = lookup(BODY)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Voxels and summed coordinates for each pair of instance and structure; first and last plane along I of each instance."""

    instances: NDArray[np.int64]
    structures: NDArray[np.int64]
    counts: NDArray[np.int64]
    coordinates: Matrix
    planes: dict[int, tuple[int, int]]

    def centre(self, chosen: NDArray[np.bool_]) -> tuple[float, float, float]:
        a, b, c = self.coordinates[chosen].sum(axis=0) / self.counts[chosen].sum()
        return float(a), float(b), float(c)


def measure_instances(
    semantic: LabelMap, instance: LabelMap, agreement: Mapping[int, float]
) -> tuple[tuple[Vertebra, ...], tuple[Centroid, ...], tuple[Finding, ...]]:
    """List the vertebrae and the centres of all structures.

    Parameters
    ----------
    semantic, instance : LabelMap
        Both masks in PIR orientation, in the same grid.
    agreement : Mapping of int to float
        Of each vertebra id.

    Returns
    -------
    tuple of Vertebra
        From top to bottom; level names are left open.
    tuple of Centroid
        Of each vertebra (over its body; structure 50, as in published centroid files), each disc (100), each endplate (52,
        53 or 62) and the sacrum (26), by instance id.
    tuple of Finding
        PARTIAL_VERTEBRA where the field of view cuts vertebrae.
    """
    sums = _sums(semantic.labels, instance.labels)
    found: list[tuple[float, Vertebra]] = []
    centroids: list[Centroid] = []
    for number in sorted({int(n) for n in sums.instances}):
        here = sums.instances == number
        if is_vertebra(number):
            body = here & _IS_BODY[sums.structures]
            centre = sums.centre(body if body.any() else here)
            centroids.append(Centroid(number, int(Structure.CORPUS_INNER), centre))
            found.append((centre[1], _vertebra(number, centre, sums, instance.geometry, agreement)))
        else:
            parts = [np.arange(len(here)) == k for k in np.flatnonzero(here)]
            centroids.extend(Centroid(number, int(sums.structures[part][0]), sums.centre(part)) for part in parts)
    vertebrae = tuple(vertebra for _, vertebra in sorted(found, key=lambda pair: pair[0]))
    return vertebrae, tuple(centroids), _partial(vertebrae)


def moved(centroids: tuple[Centroid, ...], source: Geometry, target: Geometry) -> tuple[Centroid, ...]:
    """The same centres in voxels of another grid."""
    out = []
    for centroid in centroids:
        a, b, c = target.to_vox(source.to_mm(centroid.voxel))
        out.append(Centroid(centroid.instance, centroid.structure, (float(a), float(b), float(c))))
    return tuple(out)


def _sums(semantic: NDArray[np.unsignedinteger], instance: NDArray[np.unsignedinteger]) -> _Sums:
    where = np.flatnonzero(instance)
    index = np.unravel_index(where, instance.shape)
    owner = instance.reshape(-1)[where].astype(np.int64)
    pairs = owner * _STRUCTURES + semantic.reshape(-1)[where]
    counts = np.bincount(pairs)
    keys = np.flatnonzero(counts)
    coordinates = np.stack([np.bincount(pairs, weights=axis)[keys] for axis in index], axis=1).astype(np.float64)
    planes = np.zeros((int(owner.max(initial=0)) + 1, instance.shape[1]), np.bool_)
    planes[owner, index[1]] = True
    shown = {int(n): np.flatnonzero(planes[n]) for n in np.flatnonzero(planes.any(axis=1))}
    spans = {n: (int(found[0]), int(found[-1])) for n, found in shown.items()}
    return _Sums(keys // _STRUCTURES, keys % _STRUCTURES, counts[keys].astype(np.int64), coordinates, spans)


def _vertebra(
    number: int, centre: tuple[float, float, float], sums: _Sums, geometry: Geometry, agreement: Mapping[int, float]
) -> Vertebra:
    x, y, z = (float(v) for v in geometry.to_mm(centre))
    volume_ml = float(sums.counts[sums.instances == number].sum()) * geometry.voxel_volume_mm3 / 1000
    first, last = sums.planes[number]
    partial = first <= EDGE_VOX or last >= geometry.shape[1] - 1 - EDGE_VOX
    return Vertebra(number, None, (x, y, z), volume_ml, float(agreement.get(number, 0.0)), partial)


def _partial(vertebrae: tuple[Vertebra, ...]) -> tuple[Finding, ...]:
    cut = [str(v.label) for v in vertebrae if v.partial]
    if not cut:
        return ()
    message = f"The field of view cuts {len(cut)} of {len(vertebrae)} vertebrae (label {', '.join(cut)})."
    return (Finding(FindingCode.PARTIAL_VERTEBRA, message),)
