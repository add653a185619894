"""Which structure each channel of the bundled networks stands for."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray
from spineps.labels import ARTICULAR, BODY, ENDPLATES, Structure

SEMANTIC_CLASSES: Final[tuple[Structure, ...]] = (
    Structure.BACKGROUND,
    Structure.SACRUM,
    Structure.ARCUS,
    Structure.SPINOUS,
    Structure.COSTAL_LEFT,
    Structure.COSTAL_RIGHT,
    Structure.SUPERIOR_ARTICULAR_LEFT,
    Structure.SUPERIOR_ARTICULAR_RIGHT,
    Structure.INFERIOR_ARTICULAR_LEFT,
    Structure.INFERIOR_ARTICULAR_RIGHT,
    Structure.CORPUS,
    Structure.CORD,
    Structure.CANAL,
    Structure.ENDPLATE,
    Structure.DISC,
)
"""Output channels of the semantic network, background first."""

INSTANCE_GROUPS: Final[tuple[Structure, ...]] = (
    Structure.CORPUS,
    Structure.ARCUS,
    Structure.SPINOUS,
    Structure.COSTAL_LEFT,
    Structure.COSTAL_RIGHT,
    Structure.SUPERIOR_ARTICULAR_LEFT,
    Structure.SUPERIOR_ARTICULAR_RIGHT,
    Structure.INFERIOR_ARTICULAR_LEFT,
    Structure.INFERIOR_ARTICULAR_RIGHT,
    Structure.DISC,
    Structure.ENDPLATE,
    Structure.CANAL,
    Structure.SACRUM,
)
"""One-hot input channels of the instance network; the cord counts as canal, everything else as nothing."""


INSTANCE_CHANNELS: Final = len(INSTANCE_GROUPS)

LEVEL_GROUPS: Final[tuple[tuple[Structure, ...], ...]] = (
    (Structure.CORPUS,),
    (Structure.ARCUS,),
    (Structure.SPINOUS,),
    (Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT),
    ARTICULAR,
    (Structure.DISC,),
    (Structure.CANAL,),
    (Structure.CORD,),
    (Structure.SACRUM,),
)
"""Groups of structures that the labeling network is shown, each a channel after the image; endplates count as disc."""
LEVEL_CHANNELS: Final = 1 + len(LEVEL_GROUPS)


def _table(members: tuple[Structure, ...], *, first: int) -> NDArray[np.uint8]:
    """Structure ids to their place among the members, counted from ``first``; 0 elsewhere."""
    table = np.zeros(256, dtype=np.uint8)
    for index, structure in enumerate(members, start=first):
        table[structure] = index
    table[list(BODY)] = table[Structure.CORPUS]
    table[list(ENDPLATES)] = table[Structure.ENDPLATE]
    if Structure.CORD not in members:
        table[Structure.CORD] = table[Structure.CANAL]
    table.setflags(write=False)
    return table


SEMANTIC_TABLE: Final = _table(SEMANTIC_CLASSES, first=0)
"""Semantic id to the index of its class in :data:`SEMANTIC_CLASSES`, shape (256,), uint8; unknown ids are background."""

INSTANCE_TABLE: Final = _table(INSTANCE_GROUPS, first=1)
"""Semantic id to its channel in :data:`INSTANCE_GROUPS` plus one, shape (256,), uint8; 0 is in no channel."""


def one_hot_groups(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Input of the instance network: one channel for each of :data:`INSTANCE_GROUPS`.

    Parameters
    ----------
    labels : ndarray of uint8, shape (P, I, R)
        Semantic ids.

    Returns
    -------
    ndarray of float32, shape (13, P, I, R)
        One where a voxel belongs to the group, zero elsewhere.
    """
    groups = INSTANCE_TABLE[labels]
    channels = np.arange(1, INSTANCE_CHANNELS + 1, dtype=np.uint8)[:, None, None, None]
    return np.asarray(groups == channels, dtype=np.float32)


def level_channels(image: FloatArray, labels: NDArray[np.uint8]) -> FloatArray:
    """Input of the labeling network: the image, then one channel for each of :data:`LEVEL_GROUPS`.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Standardised intensities.
    labels : ndarray of uint8, shape (P, I, R)
        Semantic ids.

    Returns
    -------
    ndarray of float32, shape (10, P, I, R)
    """
    channels = np.empty((LEVEL_CHANNELS, *image.shape), np.float32)
    channels[0] = image
    groups = _LEVEL_TABLE[labels]
    for number in range(1, LEVEL_CHANNELS):
        channels[number] = groups == number
    return channels


def _level_table() -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    for number, members in enumerate(LEVEL_GROUPS, start=1):
        table[list(members)] = number
    table[list(BODY)] = table[Structure.CORPUS]
    table[list(ENDPLATES)] = table[Structure.DISC]
    table.setflags(write=False)
    return table


_LEVEL_TABLE: Final = _level_table()
