"""Connected components with their boxes, and the morphology that the stages share; no pass over the volume per component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Box, Spacing

FACES: Final = 6
"""Connectivity of voxels that share a face."""
EDGES: Final = 18
"""Connectivity of voxels that share a face or an edge."""
CORNERS: Final = 26
"""Connectivity of voxels that share a face, an edge or a corner."""

REFERENCE_VOXEL_MM3: Final = 0.75 * 0.75 * 1.65
"""Voxel of the published models (SPINEPS paper, appendix A); their thresholds in voxels are scaled by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Connected components of an array.

    Parameters
    ----------
    numbers : ndarray of int, 3D
        0 for background, component k elsewhere.
    sizes : ndarray of int, shape (n + 1,)
        Voxels of each component; entry 0 is the background's.
    boxes : tuple of Box
        Of each component; entry 0 is the background's.
    centres : ndarray of float, shape (n + 1, 3)
        Centre of mass of each component in voxels.
    """

    numbers: NDArray[Any]
    sizes: NDArray[np.int64]
    boxes: tuple[Box, ...]
    centres: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.sizes) - 1

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Voxels of one component inside its own box."""
        inside: NDArray[np.bool_] = self.numbers[self.boxes[number].slices] == number
        return inside


def connected(array: NDArray[Any], connectivity: int) -> Components:
    """Connected components; in an array of labels, neighbours with different labels are different components."""
    numbers, count = cc3d.connected_components(np.ascontiguousarray(array), connectivity=connectivity, return_N=True)
    whole = Box.whole((array.shape[0], array.shape[1], array.shape[2]))
    if count == 0:
        return Components(numbers, np.array([array.size], np.int64), (whole,), np.zeros((1, 3)))
    found = cc3d.statistics(numbers)
    # Without background voxels the background has no box.
    boxes = tuple(whole if slices is None else box_of(slices) for slices in found["bounding_boxes"])
    return Components(numbers, found["voxel_counts"].astype(np.int64), boxes, found["centroids"].astype(np.float64))


def box_of(slices: Sequence[slice]) -> Box:
    """The box that three slices cut out."""
    a, b, c = (int(s.start) for s in slices)
    d, e, f = (int(s.stop) for s in slices)
    return Box((a, b, c), (d, e, f))


def label_boxes(labels: NDArray[Any]) -> dict[int, Box]:
    """Smallest box around each label, found in one pass."""
    found = ndimage.find_objects(labels)
    return {k: box_of(slices) for k, slices in enumerate(found, start=1) if slices is not None}


def around(box: Box, margin_mm: float, spacing_mm: Spacing, shape: Sequence[int]) -> Box:
    """A box with a margin, as far as the grid reaches."""
    grown = box.grown([int(np.ceil(margin_mm / s)) for s in spacing_mm])
    return grown.intersect(Box.whole((shape[0], shape[1], shape[2])))


def erode_18(mask: NDArray[np.bool_], iterations: int) -> NDArray[np.bool_]:
    """Erosion by the 18-neighbourhood; voxels beyond the array count as background.

    The neighbourhood is the union of the three 3x3 squares through its centre, so that the erosion is the intersection of
    three separable ones.
    """
    for _ in range(iterations):
        along = [_erode_axis(mask, axis) for axis in range(3)]
        mask = _erode_axis(along[1], 0) & _erode_axis(along[2], 0) & _erode_axis(along[2], 1)
    return mask


def dilate_18(mask: NDArray[np.bool_], iterations: int) -> NDArray[np.bool_]:
    """Dilation by the 18-neighbourhood; the array keeps its size."""
    # The erosion takes what lies beyond the array for background, so the complement needs a rim.
    outside = np.pad(~mask, iterations, constant_values=True)
    inner = tuple(slice(iterations, n + iterations) for n in mask.shape)
    grown: NDArray[np.bool_] = ~erode_18(outside, iterations)[inner]
    return grown


def _erode_axis(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    out = np.zeros_like(mask)
    if mask.shape[axis] < 3:
        return out

    def part(start: int, stop: int | None) -> tuple[slice, ...]:
        return tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))

    out[part(1, -1)] = mask[part(0, -2)] & mask[part(1, -1)] & mask[part(2, None)]
    return out


def reference_voxels(count: float, spacing_mm: Sequence[float]) -> float:
    """A published threshold, given in voxels of the published models, in voxels of this grid."""
    return count * REFERENCE_VOXEL_MM3 / float(np.prod(spacing_mm))
