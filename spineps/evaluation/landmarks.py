"""Vertebral centroids: VerSe files read and written, and centroids taken from masks.

VerSe's centroids are points in the vertebral body. The centre of a whole vertebra mask lies about a centimetre behind them,
half the distance that the identification rate allows, so body centroids are the default everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.errors import ErrorCode, InputError
from spineps.evaluation.structures import CORPUS, is_counted_vertebra
from spineps.geometry import Axes, Geometry, Reorientation
from spineps.io import atomic

Point = tuple[float, float, float]
Points = Mapping[int, Point]
_DECIMALS: Final = 4
_AXES: Final = ("LR", "PA", "IS")


class CentroidSource(str, Enum):
    """Where centroids come from."""

    AUTO = "auto"
    """A centroid file where there is one, else the bodies."""
    FILE = "file"
    BODY = "body"
    MASK = "mask"
    """Centre of the whole vertebra mask: not what VerSe's centroids are."""


@dataclass(frozen=True, slots=True)
class VerseCentroids:
    """Content of a VerSe centroid file.

    Parameters
    ----------
    points_vox : Mapping of int to tuple of 3 float
        Label to voxel coordinates, in the mask's grid turned to ``axes``.
    axes : tuple of 3 str
        Direction that each coordinate runs to, such as ``("P", "I", "R")``.
    """

    points_vox: Points
    axes: Axes

    def to_mm(self, geometry: Geometry) -> dict[int, Point]:
        """Points in RAS+ millimetres, of the mask whose grid is ``geometry`` (in any orientation)."""
        turned = Reorientation.between(geometry.axes, self.axes).apply_geometry(geometry)
        return {label: _point(turned.to_mm(point)) for label, point in self.points_vox.items()}

    @classmethod
    def from_mm(cls, points_mm: Points, geometry: Geometry) -> VerseCentroids:
        """Points in RAS+ millimetres to those of a centroid file beside a mask whose grid is ``geometry``."""
        points = {label: _point(geometry.to_vox(point)) for label, point in sorted(points_mm.items())}
        return cls(MappingProxyType(points), geometry.axes)


def read_centroids(path: Path) -> VerseCentroids:
    """Read a VerSe centroid file; entries without finite coordinates are left out, as in the official code.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND, or INPUT_FORMAT if it is not the list of a direction and of labels with X, Y and Z.
    """
    if not path.is_file():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{path.name!r} does not exist.", remedy="Check the path.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        axes = _axes(next(e["direction"] for e in entries if "direction" in e))
        listed = [(int(e["label"]), (float(e["X"]), float(e["Y"]), float(e["Z"]))) for e in entries if "label" in e]
    except (ValueError, TypeError, KeyError, StopIteration, AttributeError) as error:
        raise InputError(
            ErrorCode.INPUT_FORMAT,
            f"{path.name!r} is no VerSe centroid file (a list of a direction and of labels with X, Y and Z).",
            remedy="Give a VerSe *_ctd.json, or take centroids from the masks with --centroids body.",
        ) from error
    points = {label: point for label, point in listed if all(math.isfinite(c) for c in point)}
    return VerseCentroids(MappingProxyType(points), axes)


def write_centroids(path: Path, centroids: VerseCentroids) -> None:
    """Write a VerSe centroid file."""
    entries: list[dict[str, Any]] = [{"direction": list(centroids.axes)}]
    for label, point in sorted(centroids.points_vox.items()):
        x, y, z = (round(c, _DECIMALS) for c in point)
        entries.append({"label": label, "X": x, "Y": y, "Z": z})
    atomic.write_json(path, entries)


def body_centroids_mm(instance: NDArray[Any], semantic: NDArray[Any], geometry: Geometry) -> dict[int, Point]:
    """Centre of the body voxels of each vertebra, in RAS+ millimetres.

    Parameters
    ----------
    instance, semantic : ndarray of unsigned integers, 3D
        The two masks of one scan.
    geometry : Geometry
        Their grid.

    Returns
    -------
    dict of int to tuple of 3 float
        A vertebra without a body (C1) takes the centre of its whole mask.
    """
    body = np.isin(semantic, CORPUS)
    return _centres(instance, geometry, body)


def mask_centroids_mm(instance: NDArray[Any], geometry: Geometry) -> dict[int, Point]:
    """Centre of the whole mask of each vertebra, in RAS+ millimetres."""
    return _centres(instance, geometry, None)


def _centres(instance: NDArray[Any], geometry: Geometry, preferred: NDArray[np.bool_] | None) -> dict[int, Point]:
    centres = {}
    for index, box in enumerate(ndimage.find_objects(instance)):
        label = index + 1
        if box is None or not is_counted_vertebra(label):
            continue
        mask = instance[box] == label
        inner = mask if preferred is None else mask & preferred[box]
        voxels = np.argwhere(inner if inner.any() else mask).mean(axis=0) + [s.start for s in box]
        centres[label] = _point(geometry.to_mm(voxels))
    return centres


def _axes(direction: list[str]) -> Axes:
    a, b, c = direction
    if sorted("".join(pair) for pair in _AXES if sum(code in pair for code in (a, b, c)) == 1) != sorted(_AXES):
        raise ValueError(f"expected three anatomical directions, found {direction}")
    return str(a), str(b), str(c)


def _point(values: Any) -> Point:
    x, y, z = (float(v) for v in values)
    return x, y, z
