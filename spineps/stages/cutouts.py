"""Cutouts around the vertebral bodies and what the instance network says of them (SPINEPS paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, Geometry, Spacing, extract
from spineps.inference.protocols import InstancePredictor
from spineps.labels import VERTEBRA, lookup
from spineps.stages.components import label_boxes
from spineps.stages.corpora import Corpus

ABOVE: Final = 1
CENTRE: Final = 2
BELOW: Final = 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """One vertebra as one cutout shows it; kept as a box, so that votes cost nothing for the rest of the volume.

    Parameters
    ----------
    cutout : int
        Number of the cutout: that of its vertebral body, from the top.
    relation : int
        1 the vertebra above the cutout's centre, 2 the one at it, 3 the one below.
    box : Box
        Smallest box around it, in the volume.
    mask : ndarray of bool
        Its voxels in the box.
    size : int
        How many.
    """

    cutout: int
    relation: int
    box: Box
    mask: NDArray[np.bool_]
    size: int

    @property
    def key(self) -> tuple[int, int]:
        """What tells this vote from all others."""
        return self.cutout, self.relation


def instance_grid(geometry: Geometry, spacing_mm: Spacing) -> Geometry:
    """Grid at the network's spacing whose first voxel has the centre of the first voxel of ``geometry``.

    The published models were run on this grid; :meth:`Geometry.resampled` keeps the centre of the field of view instead.
    """
    ratio = np.asarray(geometry.spacing_mm) / np.asarray(spacing_mm)
    a, b, c = (max(1, int(n)) for n in np.rint(np.asarray(geometry.shape) * ratio))
    affine = geometry.affine.copy()
    affine[:3, :3] /= ratio
    return Geometry((a, b, c), affine)


def cutout_box(corpus: Corpus, predictor: InstancePredictor) -> Box:
    """The box of a cutout; it may reach beyond the volume."""
    shift = [s / step for s, step in zip(predictor.shift_mm, predictor.spacing_mm, strict=True)]
    centre = [int(c + s) for c, s in zip(_on_foreground(corpus), shift, strict=True)]
    a, b, c = (p - size // 2 for p, size in zip(centre, predictor.cutout_size, strict=True))
    d, e, f = (lo + size for lo, size in zip((a, b, c), predictor.cutout_size, strict=True))
    return Box((a, b, c), (d, e, f))


def _on_foreground(corpus: Corpus) -> tuple[float, float, float]:
    """The centre, or the body's voxel nearest to it where the centre lies in a hole or beside a bent body."""
    inside = [int(c) - s for c, s in zip(corpus.centre_vox, corpus.box.start, strict=True)]
    if all(0 <= i < n for i, n in zip(inside, corpus.mask.shape, strict=True)) and corpus.mask[tuple(inside)]:
        return corpus.centre_vox
    voxels = np.argwhere(corpus.mask)
    a, b, c = voxels[np.argmin(((voxels - inside) ** 2).sum(axis=1))] + np.asarray(corpus.box.start)
    return float(a), float(b), float(c)


def predict_cutouts(
    semantic: NDArray[np.uint8],
    corpora: Sequence[Corpus],
    predictor: InstancePredictor,
    *,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> tuple[Vote, ...]:
    """Ask the instance network for the three vertebrae around each body.

    Parameters
    ----------
    semantic : ndarray of uint8, shape (P, I, R)
        Semantic mask at the predictor's spacing.
    corpora : sequence of Corpus
        In the same grid, from top to bottom.
    batch_size : int
        Cutouts that go through the network at once.
    progress : callable, optional
        Told the number of cutouts done and of all.

    Returns
    -------
    tuple of Vote
        At most three a cutout, of vertebra voxels of the semantic mask only.
    """
    boxes = [cutout_box(corpus, predictor) for corpus in corpora]
    votes: list[Vote] = []
    for first in range(0, len(boxes), max(1, batch_size)):
        batch = boxes[first : first + max(1, batch_size)]
        cutouts = np.stack([extract(semantic, box) for box in batch])
        for k, (box, cutout, labels) in enumerate(zip(batch, cutouts, predictor(cutouts), strict=True), start=first):
            votes.extend(_votes(k, box, cutout, labels))
        if progress is not None:
            progress(min(len(boxes), first + len(batch)), len(boxes))
    return tuple(votes)


_IS_VERTEBRA = lookup(VERTEBRA)


def _votes(number: int, box: Box, cutout: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Iterable[Vote]:
    for relation, found in sorted(label_boxes(labels).items()):
        if relation not in (ABOVE, CENTRE, BELOW):
            continue
        mask = (labels[found.slices] == relation) & _IS_VERTEBRA[cutout[found.slices]]
        tight = Box.around(mask)
        if tight is None:
            continue
        inside = np.ascontiguousarray(mask[tight.slices])
        where = tight.shifted(found.start).shifted(box.start)
        yield Vote(number, relation, where, inside, int(np.count_nonzero(inside)))
