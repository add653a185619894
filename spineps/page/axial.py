"""Axial planes through discs: each lies in its disc, however the spine is bent there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import PIR, Box, Matrix, Reorientation
from spineps.labels import DISC_OFFSET, is_vertebra
from spineps.page.planes import Plane, SpineViews
from spineps.volume import Result

BEFORE_MM: Final = 40.0
"""An axial picture reaches this far in front of the disc's centre, ..."""
BEHIND_MM: Final = 75.0
"""... this far behind it, so that it holds the spinous process, ..."""
BESIDE_MM: Final = 48.0
"""... and this far to either side."""
PIXEL_MM: Final = 0.8
MOST_TILT_DEGREES: Final = 35.0
"""A disc whose own plane is tilted further against the spine's course (or seen in part only) lies across the course."""

_REACH_MM: Final = (32.0, 22.0, 36.0)  # around a disc's centre, along (P, I, R), in which its voxels are looked for
_LEAST_VOXELS: Final = 30  # fewer make no plane
_TANGENT_MM: Final = 12.0  # the course of the spine at a disc is taken between this far above and below


@dataclass(frozen=True, slots=True, eq=False)
class DiscPlane:
    """A plane through a disc.

    Parameters
    ----------
    instance : int
        Id of the disc in the instance mask.
    centre_mm : ndarray of float64, shape (3,)
        Centre of the disc along (P, I, R), from the first voxel's centre.
    normal : ndarray of float64, shape (3,)
        Unit vector along (P, I, R), pointing to inferior.
    """

    instance: int
    centre_mm: Matrix
    normal: Matrix


def disc_planes(result: Result, views: SpineViews) -> tuple[DiscPlane, ...]:
    """The plane of each disc of a result, from top to bottom.

    A disc's plane is that of its two principal axes of greatest extent.
    """
    turn = Reorientation.between(result.instance.geometry.axes, PIR)
    geometry = turn.apply_geometry(result.instance.geometry)
    planes = []
    for centroid in result.centroids:
        if is_vertebra(centroid.instance - DISC_OFFSET):
            centre = geometry.to_vox(result.instance.geometry.to_mm(centroid.voxel))
            planes.append(_disc_plane(centroid.instance, np.asarray(centre, np.float64), views))
    return tuple(sorted(planes, key=lambda plane: float(plane.centre_mm[1])))


def axial_plane(views: SpineViews, disc: DiscPlane) -> Plane:
    """The picture in a disc's plane: anterior above, the patient's right to the left."""
    spacing = np.asarray(views.geometry.spacing_mm)
    to_right = _unit(np.array([0.0, 0.0, 1.0]) - disc.normal[2] * disc.normal)
    to_back = np.cross(disc.normal, to_right)
    to_back = to_back if to_back[0] > 0 else -to_back
    rows = np.arange(-BEFORE_MM, BEHIND_MM, PIXEL_MM)
    columns = np.arange(BESIDE_MM, -BESIDE_MM, -PIXEL_MM)
    points = disc.centre_mm + rows[:, None, None] * to_back + columns[None, :, None] * to_right
    voxels = np.moveaxis(points / spacing, -1, 0)
    image = None
    if views.image is not None:
        part, inside = _around(views.image, voxels)
        image = ndimage.map_coordinates(part, inside, order=1, mode="constant", output=np.float32)
    semantic, instance = (_nearest(mask, voxels) for mask in (views.semantic, views.instance))
    return Plane(image, semantic, instance, PIXEL_MM, PIXEL_MM)


def _disc_plane(instance: int, centre_vox: Matrix, views: SpineViews) -> DiscPlane:
    spacing = np.asarray(views.geometry.spacing_mm)
    course = _course(centre_vox, views)
    reach = np.ceil(np.asarray(_REACH_MM) / spacing).astype(int)
    a, b, c = (int(v) for v in np.rint(centre_vox).astype(int) - reach)
    d, e, f = (int(v) for v in np.rint(centre_vox).astype(int) + reach + 1)
    box = Box((a, b, c), (d, e, f)).intersect(Box.whole(views.geometry.shape))
    voxels = np.argwhere(views.instance[box.slices] == instance)
    normal = course
    if len(voxels) >= _LEAST_VOXELS:
        _, axes = np.linalg.eigh(np.cov((voxels * spacing).T))
        own = axes[:, 0] * np.sign(axes[1, 0] or 1.0)
        if own @ course >= np.cos(np.radians(MOST_TILT_DEGREES)):
            normal = own
    return DiscPlane(instance, centre_vox * spacing, normal)


def _course(centre_vox: Matrix, views: SpineViews) -> Matrix:
    """Direction of the spine at a place, towards inferior."""
    p_mm, i_mm, r_mm = views.geometry.spacing_mm
    step = max(1, round(_TANGENT_MM / i_mm))
    last = views.geometry.shape[1] - 1
    low, high = (int(np.clip(round(centre_vox[1]) + side * step, 0, last)) for side in (-1, 1))
    curve = views.curve
    p, r = curve.p_of_i[high] - curve.p_of_i[low], curve.r_of_i[high] - curve.r_of_i[low]
    return _unit(np.array([p * p_mm, max(1, high - low) * i_mm, r * r_mm]))


def _unit(vector: Matrix) -> Matrix:
    unit: Matrix = vector / np.linalg.norm(vector)
    return unit


def _around(volume: NDArray[Any], voxels: Matrix) -> tuple[NDArray[Any], Matrix]:
    """The part of a volume in which the places lie, and the places in it: interpolation copies no more than that."""
    limits = np.asarray(volume.shape)[:, None]
    flat = voxels.reshape(3, -1)
    low = np.clip(np.floor(flat.min(axis=1, keepdims=True)), 0, limits - 1).astype(int)
    high = np.clip(np.ceil(flat.max(axis=1, keepdims=True)), 0, limits - 1).astype(int) + 1
    part = volume[tuple(slice(int(a), int(b)) for a, b in zip(low[:, 0], high[:, 0], strict=True))]
    return part, voxels - low.reshape(3, 1, 1)


def _nearest(mask: NDArray[Any], voxels: Matrix) -> NDArray[Any]:
    """Labels of the nearest voxels; background outside of the volume."""
    index = np.rint(voxels).astype(int)
    limits = np.asarray(mask.shape).reshape(3, 1, 1)
    inside = ((index >= 0) & (index < limits)).all(axis=0)
    p, i, r = np.clip(index, 0, limits - 1)
    labels: NDArray[Any] = np.where(inside, mask[p, i, r], 0).astype(mask.dtype)
    return labels
