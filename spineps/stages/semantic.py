"""The semantic phase: from a prepared image to fourteen structures (SPINEPS paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import SemanticConfig
from spineps.geometry import Box, FloatArray, Geometry, Spacing, resample, sampled, smoothed, smoothing_reach
from spineps.inference.protocols import SemanticPredictor
from spineps.inference.sliding import Needed, Progress, Slab, probability_slabs
from spineps.labels import Scheme
from spineps.stages.field import surround, turned_field
from spineps.stages.locate import goes_on, spine_part
from spineps.stages.preprocess import Prepared, normalise
from spineps.volume import LabelMap

ScoreObserver = Callable[[Slab, Geometry], None]
"""Told the probabilities of each part of the network's grid, and that grid; who keeps them copies them."""
LEAST_WEIGHT: Final = 0.05
"""Least share of the image in a value beside the surround of a turned field."""
MARGIN_VOX: Final = 2
"""Model voxels around the labelled ones within which probabilities are brought back to the input's grid."""
SUM_ERROR: Final = 1e-3
"""Relative; far above what rounding leaves in a sum of probabilities."""
BLOCK_PLANES: Final = 16
"""Planes of the scan that are labelled at once."""


def predict_semantic(
    prepared: Prepared,
    predictor: SemanticPredictor,
    config: SemanticConfig | None = None,
    *,
    progress: Progress | None = None,
    on_scores: ScoreObserver | None = None,
) -> LabelMap:
    """Label every voxel of the scan.

    The image is normalised, sampled linearly at the predictor's spacing and predicted tile by tile; the probabilities, not
    the labels, are interpolated back to the grid of the scan, where the most probable label wins. A scan that was resampled
    onto a turned grid is predicted on the grid of its own field of view, and of a wide field only the part with the spine
    (:mod:`spineps.stages.locate`). No more probabilities are held than the next planes of the scan need. ``on_scores`` is
    told each part of them; another grid than before takes the place of all that was told of that.

    Returns
    -------
    LabelMap
        In the PIR-oriented grid of the whole scan, ids as in :class:`spineps.labels.Structure` (endplates undivided).
    """
    config = config or SemanticConfig()
    grid, image = _on_network_grid(prepared, predictor.spacing_mm)

    def seen(part: Box) -> LabelMap:
        cropped = grid.cropped(part)
        slabs = probability_slabs(
            np.ascontiguousarray(image[part.slices]),
            predictor,
            step_share=config.step_size or predictor.step_share,
            mirror=predictor.mirror if config.mirror is None else config.mirror,
            progress=progress,
            needed=read_back(cropped, prepared.geometry),
        )
        told = _told(slabs, cropped, on_scores)
        return LabelMap(labelled(told, cropped, prepared.geometry, predictor.labels), prepared.geometry, Scheme.SEMANTIC)

    whole, part = Box.whole(grid.shape), spine_part(image, grid, predictor)
    found = seen(part)
    if part != whole and goes_on(found, part, grid):
        found = seen(whole)
    labels = np.zeros(prepared.full.shape, np.uint8)
    labels[prepared.box.slices] = found.labels
    return LabelMap(labels, prepared.full, Scheme.SEMANTIC)


def _on_network_grid(prepared: Prepared, spacing_mm: Spacing) -> tuple[Geometry, FloatArray]:
    """The network's grid over the field of view, and the normalised image on it."""
    empty = surround(prepared.image)
    field = None if empty is None else turned_field(empty, prepared.geometry)
    if empty is None or field is None:
        grid = prepared.geometry.resampled(spacing_mm)
        return grid, resample(normalise(prepared.image), prepared.geometry, grid, order=1)
    grid = field.resampled(spacing_mm)
    seen = (~empty).astype(np.float32)
    total = resample(normalise(prepared.image, empty) * seen, prepared.geometry, grid, order=1)
    weight = resample(seen, prepared.geometry, grid, order=1)  # the surround has no part in the values beside it
    return grid, total / np.maximum(weight, LEAST_WEIGHT)


def read_back(grid: Geometry, target: Geometry) -> Needed:
    """Which parts of the network's grid labels on ``target`` are made from.

    The field of view of a turned scan reaches beyond the scan's own grid, where nobody asks for labels. Two boxes that are
    turned against each other are apart where one lies on one side of a face of the other.
    """
    reach = [MARGIN_VOX + 1 + n for n in smoothing_reach(grid, target)]
    corners = grid.to_vox(target.to_mm(_ends(Box.whole(target.shape))))
    last = np.asarray(target.shape) - 1

    def needed(part: Box) -> bool:
        near = part.grown(reach)
        there = target.to_vox(grid.to_mm(_ends(near)))
        on_target = (there.max(axis=0) >= 0).all() and (there.min(axis=0) <= last).all()
        on_grid = (corners.max(axis=0) >= near.start).all() and (corners.min(axis=0) < near.stop).all()
        return bool(on_target and on_grid)

    return needed


def _ends(box: Box) -> list[tuple[int, ...]]:
    """The voxels in the corners of a box."""
    return list(product(*[(low, high - 1) for low, high in zip(box.start, box.stop, strict=True)]))


def _told(slabs: Iterable[Slab], grid: Geometry, on_scores: ScoreObserver | None) -> Iterator[Slab]:
    for slab in slabs:
        if on_scores is not None:
            on_scores(slab, grid)
        yield slab


def labelled(slabs: Iterable[Slab], grid: Geometry, target: Geometry, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels on ``target`` from probabilities on ``grid`` that arrive in slabs along its longest axis.

    Blocks of planes of ``target`` are labelled as soon as what they lie in has arrived, and what no later block lies in is
    forgotten. The blocks depend on the grids alone, so that the labels do, too.
    """
    axis = int(np.argmax(grid.shape))
    found = np.zeros(target.shape, np.uint8)
    waiting = list(_blocks(grid, target, axis))
    held: Slab | None = None
    for slab in slabs:
        held = slab if held is None else _joined(held, slab, axis, min((block.first for block in waiting), default=0))
        arrived = held.box.stop[axis]
        ready = [block for block in waiting if block.last <= arrived]
        waiting = [block for block in waiting if block.last > arrived]
        for block in ready:
            near = _between(held.box, axis, block.first, block.last)
            p, i, r = near.shifted([-n for n in held.box.start]).slices
            region = target.cropped(block.box)
            found[block.box.slices] = most_probable(held.scores[:, p, i, r], grid.cropped(near), region, labels)
    return found


@dataclass(frozen=True, slots=True)
class _Block:
    """Planes of the scan, and the planes of the network's grid, first and one beyond the last, that they lie in."""

    box: Box
    first: int
    last: int


def _blocks(grid: Geometry, target: Geometry, axis: int) -> Iterator[_Block]:
    """The blocks of a scan that meet the network's grid."""
    margin = MARGIN_VOX + 1 + smoothing_reach(grid, target)[axis]
    whole = Box.whole(target.shape)
    for start in range(0, target.shape[axis], BLOCK_PLANES):
        box = _between(whole, axis, start, min(target.shape[axis], start + BLOCK_PLANES))
        ends = [(low - 0.5, high - 0.5) for low, high in zip(box.start, box.stop, strict=True)]
        along = grid.to_vox(target.to_mm(list(product(*ends))))[:, axis]
        first, last = int(np.floor(along.min())) - margin, int(np.ceil(along.max())) + 1 + margin
        if first < grid.shape[axis] and last > 0:
            yield _Block(box, max(0, first), min(grid.shape[axis], last))


def _between(box: Box, axis: int, first: int, last: int) -> Box:
    """The part of a box between two planes."""
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = max(start[axis], first), min(stop[axis], last)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _joined(held: Slab, slab: Slab, axis: int, first: int) -> Slab:
    """Two slabs that follow each other, without the planes before the first that is still needed."""
    first = min(max(first, held.box.start[axis]), held.box.stop[axis])
    kept = _between(held.box, axis, first, held.box.stop[axis])
    p, i, r = kept.shifted([-n for n in held.box.start]).slices
    return Slab(np.concatenate([held.scores[:, p, i, r], slab.scores], axis=axis + 1), Box(kept.start, slab.box.stop))


def most_probable(scores: FloatArray, grid: Geometry, target: Geometry, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels on ``target`` from class probabilities on ``grid``, one class at a time.

    Parameters
    ----------
    scores : ndarray of float32, shape (C, P, I, R)
        Probabilities, background first.
    grid, target : Geometry
        Grids of the same space.
    labels : ndarray of uint8, shape (C,)
        Id of each class.
    """
    found = np.zeros(target.shape, np.uint8)
    foreground = Box.around(scores[1:].max(axis=0, initial=-np.inf) > scores[0])
    if foreground is None:
        return found
    near = foreground.grown([MARGIN_VOX] * 3).intersect(Box.whole(grid.shape))
    part = grid.cropped(near)
    there = _box_on(target, part)
    if there.empty:
        return found
    region = target.cropped(there)
    p, i, r = near.slices
    winner = _winner(scores[:, p, i, r], part, region, labels)
    if not part.parallel_to(region):
        winner *= resample(np.ones(part.shape, np.uint8), part, region, order=0, beyond=0)
    found[there.slices] = winner
    return found


def _winner(scores: FloatArray, part: Geometry, region: Geometry, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most probable label of each voxel of ``region``.

    The winner of a voxel has at least its share of the sum, so that each class is interpolated only around where it has that.
    """
    share = float(scores.sum(axis=0).min()) / len(scores)
    least = share - SUM_ERROR * abs(share)
    best = np.full(region.shape, -1.0, np.float32)
    winner = np.zeros(region.shape, np.uint8)
    for label, score in zip(labels, scores, strict=True):
        values = smoothed(score, part, region)
        likely = Box.around(values >= least)
        if likely is None:
            continue
        likely = likely.grown((1, 1, 1)).intersect(Box.whole(part.shape))
        seen = part.cropped(likely)
        box = _box_on(region, seen)
        if box.empty:
            continue
        here = sampled(np.ascontiguousarray(values[likely.slices]), seen, region.cropped(box), order=1)
        better = here > best[box.slices]
        best[box.slices][better] = here[better]
        winner[box.slices][better] = label
    return winner


def _box_on(target: Geometry, part: Geometry) -> Box:
    """Smallest box of ``target`` with all voxels whose centres lie within the field of view of ``part``."""
    corners = target.to_vox(part.to_mm(list(product(*[(-0.5, n - 0.5) for n in part.shape]))))
    low, high = np.ceil(corners.min(axis=0)).astype(int), np.floor(corners.max(axis=0)).astype(int) + 1
    a, b, c = (int(v) for v in low)
    d, e, f = (int(v) for v in high)
    return Box((a, b, c), (d, e, f)).intersect(Box.whole(target.shape))
