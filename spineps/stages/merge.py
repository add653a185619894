"""From votes to instances: couples of agreeing votes, written from the most to the least agreeing (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final

import fill_voids
import numpy as np
from numpy.typing import NDArray

from spineps.config import Step
from spineps.geometry import Box, Shape, Spacing
from spineps.stages.components import CORNERS, connected, label_boxes, reference_voxels
from spineps.stages.cutouts import Vote

REACH: Final = 2
"""A vote is compared with those of the cutouts up to this many bodies away: no other cutout can show its vertebra."""
PARTNERS: Final = 2
"""With two partners a couple holds all three predictions of a vertebra."""
LEAST_DICE: Final = 0.3
"""Votes that agree less do not mean the same vertebra (published SPINEPS)."""
CERTAIN_BASE: Final = 0.3
CERTAIN_STEP: Final = 0.15
"""Below an agreement of 0.3 + 0.15 x (4 - votes) one vote suffices for a voxel (published SPINEPS)."""
TAKEN_SHARE: Final = 0.6
"""A couple is dropped where more than this share of it is taken already (published SPINEPS)."""
LEAST_VOXELS: Final = 250
"""Components below this many voxels of the published models are no vertebra (published ``vert_size_threshold``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Vertebrae in a volume.

    Parameters
    ----------
    labels : ndarray of uint8
        0 for background, 1 to n for the vertebrae.
    agreement : dict of int to float
        For each vertebra the mean Dice between its votes; 0 where there is but one.
    """

    labels: NDArray[np.uint8]
    agreement: dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Couple:
    votes: tuple[Vote, ...]
    agreement: float

    @property
    def rank(self) -> tuple[float, int, tuple[tuple[int, int], ...]]:
        """Sorts couples from the most to the least agreeing; larger ones first, then by name."""
        return -(len(self.votes) + 1) * self.agreement, -sum(v.size for v in self.votes), tuple(v.key for v in self.votes)


def merge_votes(votes: Sequence[Vote], shape: Shape, spacing_mm: Spacing, *, without: Container[Step] = ()) -> Instances:
    """Reconcile the predictions of all cutouts.

    Each vote looks for the two votes of nearby cutouts that agree best with it; they form a couple. Couples are written from
    the most to the least agreeing, each into the voxels that are still free, so that no vertebra is written twice. The
    result does not depend on the order of the votes.

    Parameters
    ----------
    votes : sequence of Vote
        Of one volume.
    shape : tuple of 3 int
        Of the volume.
    spacing_mm : tuple of 3 float
        Its voxel spacing, for the size threshold.
    without : container of Step
        INSTANCE_SPECKS leaves small components, HOLES leaves holes.
    """
    votes = sorted((v for v in votes if v.size), key=lambda v: v.key)
    labels = np.zeros(shape, np.uint8)
    agreement: dict[int, float] = {}
    for couple in sorted(find_couples(votes), key=lambda c: c.rank):
        number = len(agreement) + 1
        if number <= np.iinfo(labels.dtype).max and _write(labels, couple, number):
            agreement[number] = couple.agreement
    least = 0.0 if Step.INSTANCE_SPECKS in without else reference_voxels(LEAST_VOXELS, spacing_mm)
    return _cleaned(labels, agreement, least, fill=Step.HOLES not in without)


def dice(one: Vote, other: Vote) -> float:
    """Dice of two votes, computed where their boxes overlap."""
    both = one.box.intersect(other.box)
    if both.empty:
        return 0.0
    a = one.mask[both.shifted([-s for s in one.box.start]).slices]
    b = other.mask[both.shifted([-s for s in other.box.start]).slices]
    return 2 * int(np.count_nonzero(a & b)) / (one.size + other.size)


def find_couples(votes: Sequence[Vote]) -> list[_Couple]:
    """Each vote with its best partners; couples that several votes arrive at count once."""
    near = [
        (i, j)
        for i, one in enumerate(votes)
        for j in range(i + 1, len(votes))
        if one.cutout != votes[j].cutout and abs(one.cutout - votes[j].cutout) <= REACH
    ]
    agreement = {pair: dice(votes[pair[0]], votes[pair[1]]) for pair in near}

    def between(i: int, j: int) -> float:
        return agreement.get((min(i, j), max(i, j)), 0.0)

    couples: dict[tuple[int, ...], _Couple] = {}
    for i in range(len(votes)):
        partners = sorted((j for j in range(len(votes)) if between(i, j) > LEAST_DICE), key=lambda j: (-between(i, j), j))
        best = partners[:PARTNERS]
        if len(best) == PARTNERS and between(*best) < LEAST_DICE:
            best = best[:1]
        members = tuple(sorted((i, *best)))
        pairs = [between(a, b) for n, a in enumerate(members) for b in members[n + 1 :]]
        couples[members] = _Couple(tuple(votes[m] for m in members), float(np.mean(pairs)) if pairs else 0.0)
    return list(couples.values())


def _write(labels: NDArray[np.uint8], couple: _Couple, number: int) -> bool:
    """Write a couple into the free voxels; False where most of it is taken."""
    low = np.min([v.box.start for v in couple.votes], axis=0)
    high = np.max([v.box.stop for v in couple.votes], axis=0)
    union = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
    counts = np.zeros(union.shape, np.uint8)
    for vote in couple.votes:
        counts[vote.box.shifted([-s for s in union.start]).slices] += vote.mask
    n = len(couple.votes)
    unsure = n <= 2 or couple.agreement < CERTAIN_BASE + CERTAIN_STEP * (4 - n)
    chosen = counts >= (1 if unsure else 2)
    inside = union.intersect(Box.whole((labels.shape[0], labels.shape[1], labels.shape[2])))
    chosen = chosen[inside.shifted([-s for s in union.start]).slices]
    there = labels[inside.slices]
    total, free = int(np.count_nonzero(chosen)), chosen & (there == 0)
    left = int(np.count_nonzero(free))
    if left == 0 or total - left > TAKEN_SHARE * total:
        return False
    there[free] = number
    return True


def _cleaned(labels: NDArray[np.uint8], agreement: dict[int, float], least: float, *, fill: bool) -> Instances:
    """Drop small components, fill holes and number what is left without gaps."""
    kept: dict[int, float] = {}
    out = np.zeros_like(labels)
    for number, box in label_boxes(labels).items():
        mask = labels[box.slices] == number
        parts = connected(mask, CORNERS)
        mask &= (parts.sizes >= least)[parts.numbers]
        if not mask.any():
            continue
        kept[len(kept) + 1] = agreement[number]
        part = out[box.slices]
        part[mask] = len(kept)
        if not fill:
            continue
        part[fill_voids.fill(mask) & (labels[box.slices] == 0) & (part == 0)] = len(kept)
    return Instances(out, kept)
