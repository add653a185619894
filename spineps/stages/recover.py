"""Check of the merged instances against the bodies: none skipped, none merged, none invented (SPINEPS paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, Spacing
from spineps.stages.assign import CLEAR_MAJORITY
from spineps.stages.components import label_boxes
from spineps.stages.corpora import Corpus
from spineps.stages.cutouts import CENTRE, Vote
from spineps.stages.merge import Instances

MAIN_SHARE: Final = 0.5
"""An instance is that of a body if it holds more than this share of it."""
BODY_SHARE: Final = 0.35
"""An instance with more body than this share of the usual one is a vertebra, though no centre was found for it: where bodies
are merged and not told apart, the cutouts above and below still show the one between."""
MERGED_VOLUME_RATIO: Final = 1.6
"""Only an instance this much larger than its neighbours is divided: C2 with its dens is one, and can show two centres."""
MERGED_BODY_RATIO: Final = 1.75
"""Or if its bodies are: of two fused vertebrae the arch may have gone to a third. C2 with its dens reaches about 1.5."""
MERGED_NEIGHBOURS: Final = 4
EDGE_VOXELS: Final = 1
"""An instance this near to the first or last plane of the labels' surroundings is cut by the image's edge."""
LEAST_PITCH: Final = 0.6
"""Two bodies nearer to each other than this share of the usual distance may be the halves of one (a fracture, a hole)."""


def with_every_corpus(instances: Instances, corpora: Sequence[Corpus], votes: Sequence[Vote], spacing_mm: Spacing) -> Instances:
    """Give each vertebral body one instance of its own, and the whole body to one instance.

    The couples can miss a body of which the network said too little, join two bodies, or leave a remnant that is the
    vertebra of no body. A missed body gets what its own cutout says of its centre; bodies that share an instance divide it;
    a remnant between bodies is dissolved, so that post-processing gives its voxels to the vertebrae around.

    Parameters
    ----------
    instances : Instances
        As merged.
    corpora : sequence of Corpus
        From top to bottom, in the same grid.
    votes : sequence of Vote
        That the instances were merged from.

    Returns
    -------
    Instances
        Numbered without gaps.
    """
    labels = instances.labels.copy()
    agreement = dict(instances.agreement)
    central = {vote.cutout: vote for vote in votes if vote.relation == CENTRE}
    owners = [_owner(labels, corpus) for corpus in corpora]
    _unite_bodies(labels, owners, corpora)
    _dissolve_remnants(labels, owners, corpora)
    for owner in _oversized(labels, {o for o in owners if o}, corpora):
        sharing = _far_apart([k for k, o in enumerate(owners) if o == owner], corpora, spacing_mm)
        if len(sharing) > 1:
            _divide(labels, agreement, owner, [corpora[k] for k in sharing], spacing_mm)
    for k, (owner, corpus) in enumerate(zip(owners, corpora, strict=True)):
        if owner == 0:
            _claim(labels, agreement, corpus, central.get(k))
    return _renumbered(labels, agreement)


def _owner(labels: NDArray[np.uint8], corpus: Corpus) -> int:
    """The instance that holds most of a body, or 0."""
    counts = np.bincount(labels[corpus.box.slices][corpus.mask], minlength=2)
    best = int(np.argmax(counts[1:])) + 1
    return best if counts[best] > MAIN_SHARE * corpus.size else 0


def _unite_bodies(labels: NDArray[np.uint8], owners: Sequence[int], corpora: Sequence[Corpus]) -> None:
    """Give a body as a whole to the instance that clearly holds most of it: where a body ends, the semantic mask knows."""
    for owner, corpus in zip(owners, corpora, strict=True):
        part = labels[corpus.box.slices]
        counts = np.bincount(part[corpus.mask], minlength=3)
        counts[0] = 0
        runner_up = int(np.sort(counts)[-2])
        if owner and corpus.single and counts[owner] > CLEAR_MAJORITY * runner_up:
            part[corpus.mask] = owner


def _dissolve_remnants(labels: NDArray[np.uint8], owners: Sequence[int], corpora: Sequence[Corpus]) -> None:
    """Clear instances without a body of their own, save where the image cuts one: there a vertebra may show its arch alone."""
    bodies = _body_sizes(labels, corpora)
    usual = float(np.median([bodies[owner] for owner in owners if owner] or [0]))
    top, bottom = corpora[0].centre_vox[1], corpora[-1].centre_vox[1]
    for number, box in label_boxes(labels).items():
        if number in owners or bodies[number] > BODY_SHARE * usual:
            continue
        part = labels[box.slices]
        plane = float(np.nonzero(part == number)[1].mean()) + box.start[1]
        cut = box.start[1] <= EDGE_VOXELS or box.stop[1] >= labels.shape[1] - EDGE_VOXELS
        if top <= plane <= bottom or not cut:
            part[part == number] = 0


def _oversized(labels: NDArray[np.uint8], owners: set[int], corpora: Sequence[Corpus]) -> list[int]:
    """Instances that are large enough to be two, as a whole or by their bodies."""
    sizes, bodies = np.bincount(labels.reshape(-1), minlength=256), _body_sizes(labels, corpora)
    planes = {n: (box.start[1] + box.stop[1]) / 2 for n, box in label_boxes(labels).items() if n in owners}
    found = []
    for number in sorted(owners):
        others = sorted(owners - {number}, key=lambda n: (abs(planes[n] - planes[number]), n))[:MERGED_NEIGHBOURS]
        if not others:
            continue
        whole, body = (float(counts[number] / max(1.0, np.median(counts[others]))) for counts in (sizes, bodies))
        if whole > MERGED_VOLUME_RATIO or body > MERGED_BODY_RATIO:
            found.append(number)
    return found


def _body_sizes(labels: NDArray[np.uint8], corpora: Sequence[Corpus]) -> NDArray[np.int64]:
    """Body voxels of each instance."""
    sizes = np.zeros(256, np.int64)
    for corpus in corpora:
        sizes += np.bincount(labels[corpus.box.slices][corpus.mask], minlength=256)
    return sizes


def _far_apart(sharing: Sequence[int], corpora: Sequence[Corpus], spacing_mm: Spacing) -> list[int]:
    """Of bodies that share an instance, those that are too far from each other to be the parts of one."""
    centres = np.array([corpus.centre_vox for corpus in corpora]) * spacing_mm
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    apart: list[int] = []
    for k in sharing:
        near = np.r_[steps[max(0, k - 4) : max(0, k - 1)], steps[k : k + 3]]
        usual = float(np.median(near)) if near.size else 0.0
        if not apart or np.linalg.norm(centres[k] - centres[apart[-1]]) >= LEAST_PITCH * usual:
            apart.append(k)
    return apart


def _divide(
    labels: NDArray[np.uint8], agreement: dict[int, float], owner: int, bodies: Sequence[Corpus], spacing_mm: Spacing
) -> None:
    """Divide an instance among bodies: each voxel goes to the nearest centre."""
    found = np.argwhere(labels == owner)
    centres = np.array([body.centre_vox for body in bodies]) * spacing_mm
    distance = ((found[:, None] * np.asarray(spacing_mm) - centres) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    for n in range(1, len(bodies)):
        number = _new(agreement, agreement[owner])
        if number:
            labels[tuple(found[nearest == n].T)] = number


def _claim(labels: NDArray[np.uint8], agreement: dict[int, float], corpus: Corpus, vote: Vote | None) -> None:
    """A new instance for a missed body: the free voxels of the vote for it and of the body itself."""
    number = _new(agreement, 0.0)
    if not number:
        return
    areas: list[tuple[Box, NDArray[np.bool_]]] = [(corpus.box, corpus.mask)]
    if vote is not None:
        areas.append((vote.box, vote.mask))
    for box, mask in areas:
        part = labels[box.slices]
        part[mask & (part == 0)] = number


def _new(agreement: dict[int, float], value: float) -> int:
    number = max(agreement, default=0) + 1
    if number > np.iinfo(np.uint8).max:
        return 0
    agreement[number] = value
    return number


def _renumbered(labels: NDArray[np.uint8], agreement: dict[int, float]) -> Instances:
    table = np.zeros(256, np.uint8)
    for n, number in enumerate(sorted(label_boxes(labels)), start=1):
        table[number] = n
    kept = {int(table[number]): value for number, value in agreement.items() if table[number]}
    return Instances(table[labels], kept)
