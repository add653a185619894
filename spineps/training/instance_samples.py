"""Training samples of the instance network: label cutouts around a vertebra, and which of its voxels are whose."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Shape, Spacing
from spineps.labels import ENDPLATES, SEGMENTED, VERTEBRA, Structure, left_right_table, lookup
from spineps.training.corruption import corrupt as corrupted
from spineps.training.placement import Placement, Tilt, nearest_voxels, sample_grid
from spineps.training.pool import Volume

INSTANCE_CUTOUT: Final[Shape] = (72, 88, 48)
"""Voxels (P, I, R) of a cutout of the bundled instance network."""
INSTANCE_SPACING_MM: Final[Spacing] = (2.0, 2.0, 2.0)
INSTANCE_SHIFT_MM: Final[Spacing] = (16.0, 0.0, 0.0)
"""From the centre of the vertebral body to that of the cutout, along (P, I, R): the arch lies behind the body."""
ABOVE, CENTRE, BELOW = 1, 2, 3
"""Target labels (SPINEPS paper, section 2.2)."""

_JITTER_MM: Final = (4.0, 3.0, 4.0)
"""Sigma of the error of a found body's centre."""
_TILT: Final = Tilt(sigma=(3.0, 3.0, 12.0), limit=(8.0, 8.0, 30.0), uniform=0.15)
_LOG_SCALE: Final = (0.1, 0.06)
_LABEL_DROP: Final = 0.1
_VERTICAL_CROP: Final = 0.25
_IS_VERTEBRA: Final = lookup(VERTEBRA)
_ENDPLATES_MERGED: Final = np.where(lookup(ENDPLATES), np.uint8(Structure.ENDPLATE), np.arange(256, dtype=np.uint8))

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def draw_instance_sample(
    volume: Volume, rng: np.random.Generator, *, corrupt: bool = True, size: Shape = INSTANCE_CUTOUT
) -> Pair:
    """Draw a cutout around a random vertebra of a phantom (augmentation: SPINEPS paper, appendix A).

    Parameters
    ----------
    volume : Volume
        Phantom to cut from.
    rng : numpy Generator
        Source of all randomness.
    corrupt : bool
        Put errors of a semantic network into the labels, unless they are those of one.
    size : tuple of 3 int
        Voxels (P, I, R) of the cutout.

    Returns
    -------
    labels : ndarray of uint8, shape ``size``
        Semantic ids at 2 mm, endplates as one structure.
    target : ndarray of uint8, same shape
        0 none, 1 the vertebra above, 2 the centre one, 3 the one below.

    Raises
    ------
    InputError
        If the phantom has no whole vertebral body.
    """
    volume.check_bodies()
    centres = sorted(volume.centres_vox)
    vertebra = centres[rng.integers(len(centres))]
    centre_mm = np.asarray(volume.centres_vox[vertebra]) * volume.spacing_mm + rng.normal(0, _JITTER_MM)
    placement = Placement.draw(rng, centre_mm, tilt=_TILT, log_scale=_LOG_SCALE, flip=0.5)
    grid = sample_grid(size, INSTANCE_SPACING_MM, INSTANCE_SHIFT_MM)
    index, outside = nearest_voxels(grid, placement, volume.shape, volume.spacing_mm)
    labels = np.where(outside, np.uint8(0), _ENDPLATES_MERGED[volume.semantic.reshape(-1)[index]])
    target = instance_target(labels, volume.instance.reshape(-1)[index], volume.order, vertebra)
    if placement.mirrored:
        labels = left_right_table()[labels]
    if rng.random() < _VERTICAL_CROP:
        labels, target = vertically_cropped(labels, target, rng)
    if rng.random() < _LABEL_DROP:
        labels, target = label_dropped(labels, target, rng)
    return (corrupted(labels, rng) if corrupt and not volume.predicted else labels), target


def instance_target(
    labels: NDArray[np.uint8], instance: NDArray[np.uint8], order: tuple[int, ...], vertebra: int
) -> NDArray[np.uint8]:
    """Above, centre and below by the order along the spine: ids do not follow each other where there is a T13."""
    place = order.index(vertebra)
    table = np.zeros(256, dtype=np.uint8)
    for offset, value in ((-1, ABOVE), (0, CENTRE), (1, BELOW)):
        if 0 <= place + offset < len(order):
            table[order[place + offset]] = value
    return np.where(_IS_VERTEBRA[labels], table[instance], np.uint8(0))


def vertically_cropped(labels: NDArray[np.uint8], target: NDArray[np.uint8], rng: np.random.Generator) -> Pair:
    """The field of view ends above or below the centre vertebra."""
    labels, target = labels.copy(), target.copy()
    length = labels.shape[1]
    gone = int(rng.integers(1, length * 2 // 5))
    beyond = slice(0, gone) if rng.random() < 0.5 else slice(length - gone, length)
    labels[:, beyond] = 0
    target[:, beyond] = 0
    return labels, target


def label_dropped(labels: NDArray[np.uint8], target: NDArray[np.uint8], rng: np.random.Generator) -> Pair:
    """One structure is missing throughout, as in label maps of fewer structures."""
    gone = labels == rng.choice(SEGMENTED)
    return np.where(gone, np.uint8(0), labels), np.where(gone, np.uint8(0), target)
