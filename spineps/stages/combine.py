"""One semantic mask from several imperfect ones, for training labels (SPINEPS paper, section 2.2).

Sources are taken in order of priority, and what is labelled stays. The cord comes from a source of its own. Then the gap
between each vertebral body and its disc is closed, and the voxels where one becomes the other are the endplate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import edt
import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Spacing
from spineps.labels import BODY, CANAL_AND_CORD, ENDPLATES, Structure, lookup

GAP_MM: Final = 4.0
"""Widest gap between body and disc that is closed: two endplates' thickness."""
CORD_SOURCE: Final = "cord"
ENDPLATE_SOURCE: Final = "endplates"

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class NamedMask:
    """A semantic mask and what it is called.

    Parameters
    ----------
    name : str
        For the report.
    labels : ndarray of uint8, shape (P, I, R)
        Ids of :class:`spineps.labels.Structure`.
    """

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Share:
    """What one source gave of one structure, in voxels.

    Parameters
    ----------
    source : str
        Its name; ``endplates`` for what was closed and relabelled.
    structure : Structure
        Of the source.
    offered, taken : int
        Voxels in the source, and those of them that have this label in the result.
    """

    source: str
    structure: Structure
    offered: int
    taken: int


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """The combined mask and where it came from.

    Parameters
    ----------
    labels : ndarray of uint8
        Semantic ids.
    origin : ndarray of uint8
        Number of the source of each voxel, counted from 1 in the order of ``sources``; 0 background.
    sources : tuple of str
        Names: those of the masks by priority, then ``cord`` and ``endplates``.
    shares : tuple of Share
        One for each source and structure.
    """

    labels: Labels
    origin: Labels
    sources: tuple[str, ...]
    shares: tuple[Share, ...]


def combine(
    masks: Sequence[NamedMask], spacing_mm: Spacing, *, cord: Labels | None = None, gap_mm: float = GAP_MM
) -> Combination:
    """Combine masks of one scan.

    Parameters
    ----------
    masks : sequence of NamedMask
        The most trusted first; all of one shape.
    spacing_mm : tuple of 3 float
        Of their voxels.
    cord : ndarray, optional
        Where it is not 0 is spinal cord; it replaces canal and background, never bone or disc.
    gap_mm : float
        Widest gap between body and disc that is closed; 0 closes none and makes no endplates.

    Returns
    -------
    Combination
    """
    labels = np.zeros(masks[0].labels.shape, np.uint8)
    origin = np.zeros_like(labels)
    for number, mask in enumerate(masks, start=1):
        free = (labels == 0) & (mask.labels > 0)
        labels[free], origin[free] = mask.labels[free], number
    if cord is not None:
        inside = (cord > 0) & (lookup((Structure.BACKGROUND, *CANAL_AND_CORD))[labels])
        labels[inside], origin[inside] = Structure.CORD, len(masks) + 1
    plate = endplates(labels, spacing_mm, gap_mm) if gap_mm > 0 else np.zeros(labels.shape, np.bool_)
    labels[plate], origin[plate] = Structure.ENDPLATE, len(masks) + 2
    offered = [*masks, NamedMask(CORD_SOURCE, _as_cord(cord, labels)), NamedMask(ENDPLATE_SOURCE, _as_endplate(plate))]
    shares = tuple(share for number, mask in enumerate(offered, start=1) for share in _shares(mask, number, labels, origin))
    return Combination(labels, origin, tuple(mask.name for mask in offered), shares)


def endplates(labels: Labels, spacing_mm: Spacing, gap_mm: float = GAP_MM) -> NDArray[np.bool_]:
    """Where bodies become discs: the gap between them and, where they touch, the last layer of the body.

    Returns
    -------
    ndarray of bool
        Only free voxels, bodies and endplates are in it.
    """
    body, disc = lookup(BODY)[labels], labels == Structure.DISC
    if not body.any() or not disc.any():
        return np.zeros(labels.shape, np.bool_)
    to_body, to_disc = (edt.edt(~mask, anisotropy=spacing_mm, parallel=1) for mask in (body, disc))
    step = float(min(spacing_mm))
    between = (labels == 0) & (to_body + to_disc <= gap_mm + step) & (np.maximum(to_body, to_disc) <= gap_mm)
    touching = body & (to_disc <= step * _TOUCH)
    plate: NDArray[np.bool_] = between | touching | lookup(ENDPLATES)[labels]
    return plate


_TOUCH: Final = 1.01
"""Steps between the centres of two voxels that share a face, and a little."""


def _as_cord(cord: Labels | None, like: Labels) -> Labels:
    found = np.zeros_like(like)
    if cord is not None:
        found[cord > 0] = Structure.CORD
    return found


def _as_endplate(plate: NDArray[np.bool_]) -> Labels:
    return np.where(plate, np.uint8(Structure.ENDPLATE), np.uint8(0))


def _shares(mask: NamedMask, number: int, labels: Labels, origin: Labels) -> list[Share]:
    offered = np.bincount(mask.labels.reshape(-1), minlength=256)
    taken = np.bincount(labels[origin == number], minlength=256)
    ids = [int(i) for i in np.flatnonzero(offered) if i]
    return [Share(mask.name, Structure(i), int(offered[i]), int(taken[i])) for i in ids]
