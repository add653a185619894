"""Planes to pixels: the grey image, enlarged labels, their edges."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray
from spineps.labels import BODY, lookup
from spineps.page.planes import Plane
from spineps.volume import Vertebra

WINDOW_PERCENT: Final = (1.0, 99.0)
"""Percentiles of the shown intensities that become black and white."""
GAMMA: Final = 0.8
"""Lifts the bodies, which are dark beside the fluid of a T2-weighted image."""

_IS_BODY = lookup(BODY)


def windowed(image: FloatArray) -> FloatArray:
    """Intensities of a plane as brightness from 0 to 1."""
    low, high = np.percentile(image, WINDOW_PERCENT)
    level: FloatArray = np.clip((image - low) / max(high - low, 1e-12), 0, 1) ** GAMMA
    return level.astype(np.float32)


def enlarged(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Labels of a plane on a grid of another size that covers the same field: the nearest of each."""
    rows, columns = (
        np.clip(np.rint(centres(big, small)), 0, small - 1).astype(int) for big, small in zip(shape, labels.shape, strict=True)
    )
    found: NDArray[Any] = labels[rows[:, None], columns]
    return found


def centres(big: int, small: int) -> NDArray[np.float64]:
    """Position of each of ``big`` pixels in a row of ``small`` that covers the same length."""
    return (np.arange(big) + 0.5) * small / big - 0.5


def edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose neighbour below or to the right has another label."""
    edge = np.zeros(labels.shape, dtype=np.bool_)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge


def body_places(plane: Plane, vertebrae: tuple[Vertebra, ...]) -> list[tuple[Vertebra, float, float, float]]:
    """Each vertebra that a plane shows, with its body's front edge and middle.

    Returns
    -------
    list of (Vertebra, front, row, column)
        As shares of the plane's width (front and column) and height (row).
    """
    rows, columns = plane.instance.shape
    bodies = _IS_BODY[np.minimum(plane.semantic, 255)]
    places = []
    for vertebra in vertebrae:
        own = plane.instance == vertebra.label
        voxels = np.argwhere(own & bodies if (own & bodies).any() else own)
        if len(voxels):
            row, column = (voxels.mean(axis=0) + 0.5) / (rows, columns)
            places.append((vertebra, float(voxels[:, 1].min()) / columns, float(row), float(column)))
    return places
