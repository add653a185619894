"""Every voxel of vertebra gets a vertebra (SPINEPS paper, section 2.4): growth, components, loose fragments.

The functions work on a crop with an empty rim of at least one voxel, and return new arrays. What they compute runs on lists
of the voxels in question, not on the volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from spineps.geometry import FloatArray, Spacing
from spineps.labels import ARTICULAR, BODY, VERTEBRA, Structure, lookup
from spineps.stages.components import CORNERS, EDGES, REFERENCE_VOXEL_MM3, around, connected, label_boxes

Semantic = NDArray[np.uint8]
Instance = NDArray[np.uint8]

CLEAR_MAJORITY: Final = 2.0
"""An articular process belongs as a whole to the vertebra that holds more than this many times the runner-up's share of it
(published SPINEPS, which counted the background as a vertebra)."""
SPLIT_VOLUME_SHARE: Final = 0.5
"""The topmost instance can be a part of the next one if it is smaller than this share of it (published SPINEPS)."""
SPLIT_CONTACT_MM2: Final = 20 * REFERENCE_VOXEL_MM3 ** (2 / 3)
"""And if their bodies touch over more than this area (published SPINEPS, which took any contact: a vertebra that the field of
view cuts touches the next one with its articular processes)."""

FRONT_SHARE: Final = 0.2
"""So much of a spinous process is its front, which the laminae carry."""
CLEARLY_NEARER: Final = 1.25
"""A spinous process belongs to an arch if every other one is this many times as far from its front."""
TWO_PROCESSES: Final = 1.3
"""What is taller than so many distances between arches may be two spinous processes."""

NO_BODY_WEIGHT: Final = 1e-9
"""Weight of other voxels in the centre of a body: they decide only where no body shows."""

_IS_VERTEBRA = lookup(VERTEBRA)
_IS_ARTICULAR = lookup(ARTICULAR)
_IS_BODY = lookup(BODY)
_LOOSE = lookup((Structure.ARCUS, Structure.SPINOUS))


def clip_to_vertebrae(semantic: Semantic, instance: Instance) -> Instance:
    """Zero where the semantic mask shows no vertebra."""
    return np.where(_IS_VERTEBRA[semantic], instance, np.uint8(0))


def assign_articular(semantic: Semantic, instance: Instance) -> Instance:
    """Give each articular process as a whole to the vertebra that clearly holds most of it."""
    parts = connected(np.where(_IS_ARTICULAR[semantic], semantic, np.uint8(0)), CORNERS)
    where = np.flatnonzero(parts.numbers)
    numbers = parts.numbers.reshape(-1)[where].astype(np.int64)
    counts = np.bincount(numbers * 256 + instance.reshape(-1)[where], minlength=(parts.count + 1) * 256).reshape(-1, 256)
    counts[:, 0] = 0
    best = counts.argmax(axis=1)
    ordered = np.sort(counts, axis=1)
    clear = ordered[:, -1] > CLEAR_MAJORITY * ordered[:, -2]
    chosen = clear[numbers]
    out = instance.copy()
    out.reshape(-1)[where[chosen]] = best[numbers[chosen]]
    return out


def grow(domain: NDArray[np.bool_], semantic: Semantic, instance: Instance, rounds: int) -> Instance:
    """Grow the instances into ``domain``, a voxel a round, until nothing changes or the rounds are over.

    A voxel follows the majority of its six neighbours; those with its own semantic label count first, so that a process does
    not change owner where it touches that of the next vertebra.
    """
    out = instance.copy()
    flat, labels = out.reshape(-1), semantic.reshape(-1)
    missing = np.flatnonzero(domain & (instance == 0))
    steps = _face_steps(out.shape)
    for _ in range(rounds):
        if missing.size == 0:
            break
        neighbours = missing[:, None] + steps
        owners = flat[neighbours]
        touched = owners.any(axis=1)
        if not touched.any():
            break
        voxels, owners, neighbours = missing[touched], owners[touched], neighbours[touched]
        weights = 1 + len(steps) * (labels[neighbours] == labels[voxels][:, None])
        flat[voxels] = _majority(owners, weights)
        missing = missing[~touched]
    return out


def _majority(owners: NDArray[np.uint8], weights: NDArray[Any]) -> NDArray[np.uint8]:
    """For each row the owner with the largest summed weight; the smallest number among equals; 0 is no owner."""
    scores = np.zeros(owners.shape, np.int64)
    for column in range(owners.shape[1]):
        same = owners == owners[:, column : column + 1]
        scores[:, column] = np.where(owners[:, column] > 0, (weights * same).sum(axis=1), 0)
    best = np.argmax(scores * 256 - owners, axis=1)
    chosen: NDArray[np.uint8] = owners[np.arange(len(owners)), best]
    return chosen


def _face_steps(shape: tuple[int, ...]) -> NDArray[np.int64]:
    planes = shape[1] * shape[2]
    return np.array([-planes, -shape[2], -1, 1, shape[2], planes], np.int64)


def assign_components(semantic: Semantic, instance: Instance) -> tuple[Semantic, Instance, int]:
    """Give each component without an instance to the one with most neighbouring voxels; remove those without neighbours.

    Returns
    -------
    semantic, instance : ndarray
        The masks, both without the components that touch no vertebra.
    removed : int
        Voxels removed.
    """
    missing = _IS_VERTEBRA[semantic] & (instance == 0)
    parts = connected(missing, EDGES)
    new_semantic, new_instance, removed = semantic.copy(), instance.copy(), 0
    for number in range(1, parts.count + 1):
        mask, counts = ring_counts(parts.numbers, number, parts.boxes[number].grown((1, 1, 1)).slices, instance)
        part = new_instance[parts.boxes[number].grown((1, 1, 1)).slices]
        if counts[1:].any():
            part[mask] = int(np.argmax(counts[1:])) + 1
        else:
            new_semantic[parts.boxes[number].grown((1, 1, 1)).slices][mask] = 0
            removed += int(parts.sizes[number])
    return new_semantic, new_instance, removed


def ring_counts(
    numbers: NDArray[Any], number: int, region: tuple[slice, slice, slice], instance: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """A component in a region, and how many voxels of each instance touch it by a face, an edge or a corner."""
    mask = numbers[region] == number
    ring = mask.copy()
    for axis in range(3):
        spread = ring.copy()
        forward = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        backward = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        spread[forward] |= ring[backward]
        spread[backward] |= ring[forward]
        ring = spread
    counts: NDArray[np.int64] = np.bincount(instance[region][ring & ~mask], minlength=256)
    return mask, counts


def reassign_fragments(semantic: Semantic, instance: Instance) -> Instance:
    """Give loose fragments of arch and spinous process to the only other vertebra that they touch."""
    out = instance.copy()
    for number, box in label_boxes(instance).items():
        parts = connected(instance[box.slices] == number, CORNERS)
        if parts.count < 2:
            continue
        largest = int(np.argmax(parts.sizes[1:])) + 1
        for k in range(1, parts.count + 1):
            here = parts.boxes[k].shifted(box.start)
            if k == largest or not _LOOSE[semantic[here.slices][parts.mask(k)]].all():
                continue
            whole = here.grown((1, 1, 1))
            local = np.zeros(whole.shape, np.uint8)
            local[1:-1, 1:-1, 1:-1] = parts.mask(k)
            mask, counts = ring_counts(local, 1, (slice(None), slice(None), slice(None)), instance[whole.slices])
            counts[[0, number]] = 0
            touched = np.flatnonzero(counts)
            if touched.size == 1:
                out[whole.slices][mask] = touched[0]
    return out


def unite_loose_spinous(semantic: Semantic, instance: Instance, spacing_mm: Spacing) -> Instance:
    """Give a spinous process that touches nothing else of a vertebra as a whole to the one whose arch its front is nearest to.

    Nothing shows the network which vertebra such a piece belongs to, and it may cut it in two.
    """
    vertebra = _IS_VERTEBRA[semantic]
    parts = connected(vertebra, CORNERS)
    other = np.bincount(parts.numbers[vertebra & (semantic != Structure.SPINOUS)], minlength=parts.count + 1)
    loose = np.flatnonzero(other[1:] == 0) + 1
    arches = _voxels_mm(instance, (semantic == Structure.ARCUS) & (instance > 0), spacing_mm) if loose.size else {}
    if len(arches) < 2:
        return instance
    out = instance.copy()
    trees = {number: spatial.KDTree(places) for number, places in arches.items()}
    for k in loose:
        box, mask = parts.boxes[k], parts.mask(k)
        carrier = _carrier((np.argwhere(mask) + box.start) * np.asarray(spacing_mm), trees)
        if carrier is not None:
            out[box.slices][mask] = carrier
    return out


def _carrier(places: NDArray[np.float64], arches: Mapping[int, spatial.KDTree]) -> int | None:
    """The vertebra whose arch carries the spinous process at ``places`` (mm); None where that is not clear."""
    front = places[places[:, 0] <= np.quantile(places[:, 0], FRONT_SHARE)]
    distances = {number: float(np.median(arch.query(front)[0])) for number, arch in arches.items()}
    heights = {number: float(arch.data[:, 1].mean()) for number, arch in arches.items()}
    nearest, second = sorted(distances, key=lambda n: (distances[n], n))[:2]
    pitch = min(abs(heights[nearest] - height) for number, height in heights.items() if number != nearest)
    clear = distances[second] > CLEARLY_NEARER * distances[nearest]
    below = places[:, 1].mean() > heights[nearest]  # no process rises above its arch, which may be out of view
    return nearest if clear and below and np.ptp(places[:, 1]) < TWO_PROCESSES * pitch else None


def _voxels_mm(instance: Instance, chosen: NDArray[np.bool_], spacing_mm: Spacing) -> dict[int, FloatArray]:
    """Places in mm of the chosen voxels of each instance."""
    where = np.argwhere(chosen)
    owners = instance[tuple(where.T)]
    return {int(n): (where[owners == n] * np.asarray(spacing_mm)).astype(np.float32) for n in np.unique(owners)}


def join_split_top(semantic: Semantic, instance: Instance, spacing_mm: Spacing) -> Instance:
    """Join the topmost instance with the next one if both are parts of one body (C2 and its dens)."""
    order = top_to_bottom(semantic, instance)
    if len(order) < 2:
        return instance
    first, second = order[:2]
    sizes = np.bincount(instance.reshape(-1), minlength=256)
    if sizes[first] >= SPLIT_VOLUME_SHARE * sizes[second]:
        return instance
    box = around(label_boxes(instance)[first], max(spacing_mm), spacing_mm, instance.shape)
    bodies = np.where(_IS_BODY[semantic[box.slices]], instance[box.slices], 0)
    if _contact_mm2(bodies == first, bodies == second, spacing_mm) <= SPLIT_CONTACT_MM2:
        return instance
    return np.where(instance == first, np.uint8(second), instance)


def _contact_mm2(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """Area of the faces between two masks."""
    area = 0.0
    for axis in range(3):
        face = float(np.prod(spacing_mm)) / spacing_mm[axis]
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        area += face * float(np.count_nonzero(one[low] & other[high]) + np.count_nonzero(one[high] & other[low]))
    return area


def top_to_bottom(semantic: Semantic, instance: Instance) -> list[int]:
    """Numbers of the instances by the position of their bodies along I (of the whole vertebra where no body shows)."""
    where = np.flatnonzero(instance)
    numbers = instance.reshape(-1)[where].astype(np.int64)
    plane = (where // instance.shape[2]) % instance.shape[1]
    weights = np.where(_IS_BODY[semantic.reshape(-1)[where]], 1.0, NO_BODY_WEIGHT)
    totals = np.bincount(numbers, weights=weights, minlength=256)
    sums = np.bincount(numbers, weights=weights * plane, minlength=256)
    found = np.flatnonzero(totals)
    return [int(n) for n in sorted(found, key=lambda n: (sums[n] / totals[n], n))]
