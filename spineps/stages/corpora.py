"""Centres of the vertebral bodies in a semantic mask (SPINEPS paper, section 2.3), with merged bodies told apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding, FindingCode
from spineps.geometry import Box, Matrix, Spacing
from spineps.labels import BODY, ENDPLATES, Structure, lookup
from spineps.stages.components import CORNERS, EDGES, Components, connected, dilate_18, erode_18, reference_voxels
from spineps.stages.fused import Piece, Size, looks_merged, one_body, split_piece

EROSION_MM: Final = 1.5
"""Depth of the erosion that parts bodies that touch: two voxels in plane of the published models."""
CORPUS_VOXELS: Final = 100
"""Eroded bodies below this many voxels of the published models are noise (published ``corpus_size_cleaning``)."""
RESTORED_MM3: Final = 1000.0
"""A body that the erosion wipes out is taken back above this volume: a thin slice of a vertebra at the edge of the field,
or one of few thick slices (the smallest cervical body has about 2500 mm³)."""
SAME_LEVEL_MM: Final = 7.5
"""Two bodies, or two discs, that lie this close along I are parts of one (published SPINEPS)."""
LIST_NEIGHBOURS: Final = 5
"""Bodies and discs before and after in the list from top to bottom that a body is compared with (published SPINEPS)."""
MERGED_VOLUME_RATIO: Final = 1.5
"""A body this much larger than the mean of its neighbours can be two (published SPINEPS)."""


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """One vertebral body.

    Parameters
    ----------
    centre_vox : tuple of 3 float
        Its centre of mass in the mask that it was found in (of the eroded body, as published).
    box : Box
        Where ``mask`` lies.
    mask : ndarray of bool
        Its voxels.
    single : bool
        False where it looks like several bodies that could not be told apart, or where the cut between them is not final.
    """

    centre_vox: tuple[float, float, float]
    box: Box
    mask: NDArray[np.bool_]
    single: bool = True

    @property
    def size(self) -> int:
        """Voxels of ``mask``."""
        return int(np.count_nonzero(self.mask))


def find_corpora(
    semantic: NDArray[np.uint8],
    spacing_mm: Spacing,
    *,
    split_merged: bool = True,
    erode: bool = True,
    cuts_are_final: bool = True,
) -> tuple[tuple[Corpus, ...], tuple[Finding, ...]]:
    """Find the vertebral bodies.

    Bodies are eroded, so that those that merely touch fall apart; small components are dropped; neighbours that are parts of
    one level are joined. A body that is much larger and taller than its neighbours is cut at its waist.

    Parameters
    ----------
    semantic : ndarray of uint8, shape (P, I, R)
        Semantic mask in PIR orientation.
    spacing_mm : tuple of 3 float
        Its voxel spacing.
    split_merged : bool
        Cut merged bodies; if False they are only reported.
    erode : bool
        Erode bodies before they are told apart.
    cuts_are_final : bool
        Merged bodies end where they are cut; if False the votes of the instance network decide.

    Returns
    -------
    tuple of Corpus, tuple of Finding
        From top to bottom; empty where the mask shows no body. MERGED_CORPUS_SPLIT or MERGED_CORPUS_KEPT for each body that
        looks merged.
    """
    body = semantic == Structure.CORPUS_INNER
    if not body.any():
        body = lookup(BODY)[semantic]
    box = Box.around(body)
    if box is None:
        return (), ()
    erosions = max(1, round(EROSION_MM / min(spacing_mm))) if erode else 0
    found = _eroded_bodies(np.ascontiguousarray(body[box.slices]), spacing_mm, erosions)
    pieces = _one_a_level([piece.shifted(box.start) for piece in found], spacing_mm)
    lost_mm = 2 * erosions * spacing_mm[1]
    discs = _disc_planes(semantic, spacing_mm)
    whole, findings = _without_merged(pieces, discs, spacing_mm, lost_mm, split=split_merged, final=cuts_are_final)
    return tuple(_restored(piece, single, body, erosions) for piece, single in whole), findings


def _restored(piece: Piece, single: bool, body: NDArray[np.bool_], erosions: int) -> Corpus:
    """The body that an eroded one was."""
    a, b, c = body.shape
    box = piece.box.grown((erosions, erosions, erosions)).intersect(Box.whole((a, b, c)))
    mask = np.zeros(box.shape, np.bool_)
    mask[piece.box.shifted([-s for s in box.start]).slices] = piece.mask
    return Corpus(_triple(piece.centre_vox), box, dilate_18(mask, erosions) & body[box.slices], single)


def _eroded_bodies(body: NDArray[np.bool_], spacing_mm: Spacing, erosions: int) -> list[Piece]:
    eroded = erode_18(body, erosions)
    parts = connected(eroded, CORNERS)
    enough = np.flatnonzero(parts.sizes[1:] >= reference_voxels(CORPUS_VOXELS, spacing_mm)) + 1
    pieces = [_piece(parts, int(k)) for k in enough]
    whole = connected(body, CORNERS)
    if whole.count == 0:
        return pieces
    survives = np.zeros(whole.count + 1, np.bool_)
    for piece in pieces:
        survives[np.unique(whole.numbers[piece.box.slices][piece.mask])] = True
    large = whole.sizes * float(np.prod(spacing_mm)) >= RESTORED_MM3
    return pieces + [_piece(whole, int(k)) for k in np.flatnonzero(large & ~survives) if k]


def _piece(parts: Components, number: int) -> Piece:
    return Piece(parts.centres[number], parts.boxes[number], parts.mask(number))


def _one_a_level(pieces: list[Piece], spacing_mm: Spacing) -> list[Piece]:
    """Join pieces that lie at one level (the published tool drops one of them), top to bottom."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: (float(p.centre_vox[1]), tuple(p.centre_vox))):
        if joined and (piece.centre_vox[1] - joined[-1].centre_vox[1]) * spacing_mm[1] < SAME_LEVEL_MM:
            joined[-1] = joined[-1].union(piece)
        else:
            joined.append(piece)
    return joined


def _disc_planes(semantic: NDArray[np.uint8], spacing_mm: Spacing) -> list[float]:
    """Position along I of the discs (with the endplates on them), in voxels."""
    disc = lookup((*ENDPLATES, Structure.DISC))[semantic]
    box = Box.around(disc)
    if box is None:
        return []
    parts = connected(disc[box.slices], EDGES)
    enough = parts.sizes >= reference_voxels(CORPUS_VOXELS, spacing_mm)
    planes: list[float] = []
    for plane in sorted(float(c[1]) + box.start[1] for c, large in zip(parts.centres[1:], enough[1:], strict=True) if large):
        if not planes or (plane - planes[-1]) * spacing_mm[1] >= SAME_LEVEL_MM:
            planes.append(plane)
    return planes


def _without_merged(
    pieces: list[Piece], discs: list[float], spacing_mm: Spacing, lost_mm: float, *, split: bool, final: bool
) -> tuple[list[tuple[Piece, bool]], tuple[Finding, ...]]:
    """Bodies with those that look merged cut, and whether each is a single one; erosion took ``lost_mm`` of their size."""
    axes = _spine_axes(pieces, spacing_mm)
    sizes = [
        Size(piece.height_mm(axis, spacing_mm) + lost_mm, piece.depth_mm(axis, spacing_mm) + lost_mm, float(piece.size))
        for piece, axis in zip(pieces, axes, strict=True)
    ]
    listed = _by_discs(pieces, discs, spacing_mm)
    out: list[tuple[Piece, bool]] = []
    findings: list[Finding] = []
    for k, piece in enumerate(pieces):
        if not looks_merged(k, sizes, out_of_order=k in listed):
            out.append((piece, True))
            continue
        parts = split_piece(piece, axes[k], one_body(k, sizes), lost_mm, spacing_mm) if split else [piece]
        done = len(parts) > 1
        code = FindingCode.MERGED_CORPUS_SPLIT if done else FindingCode.MERGED_CORPUS_KEPT
        fate = f"was split in {len(parts)}" if done else "was left as it is"
        findings.append(Finding(code, f"A vertebral body as tall as several (number {k + 1} from the top) {fate}."))
        out.extend((part, done and final) for part in parts)
    return sorted(out, key=lambda p: float(p[0].centre_vox[1])), tuple(findings)


def _spine_axes(pieces: list[Piece], spacing_mm: Spacing) -> list[Matrix]:
    """Direction of the spine (unit vector P, I, R in mm) at each body, from the neighbours' centres."""
    centres = np.array([piece.centre_vox for piece in pieces]).reshape(-1, 3) * spacing_mm
    axes: list[Matrix] = []
    for k in range(len(pieces)):
        step = centres[min(k + 1, len(pieces) - 1)] - centres[max(k - 1, 0)] if len(pieces) > 1 else np.array([0.0, 1.0, 0.0])
        axes.append(step / np.linalg.norm(step))
    return axes


def _by_discs(pieces: list[Piece], discs: list[float], spacing_mm: Spacing) -> set[int]:
    """Bodies that the order of bodies and discs gives away as merged (published SPINEPS).

    Bodies and discs alternate. Where two of a kind follow each other, the largest of the bodies around is suspected, if it
    is much larger than the others.
    """
    entries = sorted([(float(piece.centre_vox[1]), k) for k, piece in enumerate(pieces)] + [(plane, -1) for plane in discs])
    suspects: set[int] = set()
    for here, (one, other) in enumerate(pairwise(entries)):
        if (one[1] < 0) != (other[1] < 0) or (other[0] - one[0]) * spacing_mm[1] < SAME_LEVEL_MM:
            continue
        nearby = entries[max(0, here - LIST_NEIGHBOURS) : here + LIST_NEIGHBOURS + 2]
        bodies = [k for _, k in nearby if k >= 0]
        if len(bodies) < 3:
            continue
        largest = max(bodies, key=lambda k: pieces[k].size)
        rest = [pieces[k].size for k in bodies if k != largest]
        if pieces[largest].size > MERGED_VOLUME_RATIO * float(np.mean(rest)):
            suspects.add(largest)
    return suspects


def _triple(values: Matrix) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
