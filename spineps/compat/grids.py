"""Between ``TPTBox`` and the package's own types: images, masks, centroids, whatever a published function takes or gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spineps import api
from spineps.errors import ErrorCode, InputError
from spineps.geometry import PIR, Box, Geometry, Reorientation, extract, resample
from spineps.io.nifti import read_labels
from spineps.io.poi import poi_document
from spineps.io.shown import shown_name
from spineps.labels import Scheme
from spineps.volume import Centroid, LabelArray, LabelMap, Scan

PARALLEL: Final = 1e-3
"""Largest difference between direction cosines of grids whose axes are parallel: what rounding in a header makes."""

SAME_GRID_MM: Final = 0.1
"""Grids whose corners are this near to each other are one: what rounding a spacing makes over the length of a scan."""
IN_MEMORY: Final = Path("in-memory/sub-spineps_T2w.nii.gz")
"""Stands for the file of an image that has none; it is never read or written."""

if TYPE_CHECKING:
    from TPTBox import BIDS_FILE, POI


def open_image(image: Any) -> Scan:
    """A scan from a path, a ``BIDS_FILE``, an ``NII`` or a nibabel image.

    Raises
    ------
    InputError
        If it is refused.
    """
    from TPTBox import BIDS_FILE

    if isinstance(image, BIDS_FILE):
        return api.open_scan(image_path(image))
    return api.open_scan(image)


def open_mask(mask: Any, scheme: Scheme) -> LabelMap:
    """A label map from an ``NII``, a nibabel image or a path.

    Raises
    ------
    InputError
        If it is refused.
    """
    return replace(api.open_labels(mask), scheme=scheme)


def read_on(path: Path, scheme: Scheme, grid: Geometry) -> LabelMap:
    """A mask from a file, brought to another grid: masks of the published tool lie at its model's resolution.

    Parameters
    ----------
    path : Path
        Of the mask, in any orientation.
    scheme : Scheme
        What its numbers mean.
    grid : Geometry
        Grid of the scan that it belongs to, which must have parallel axes.

    Raises
    ------
    InputError
        If the file is refused.
    """
    mask = read_labels(path)
    turn = Reorientation.between(mask.geometry.axes, grid.axes)
    geometry, labels = turn.apply_geometry(mask.geometry), turn.apply(mask.labels)
    if np.abs(geometry.affine[:3, :3] / geometry.spacing_mm - grid.affine[:3, :3] / grid.spacing_mm).max() > PARALLEL:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"{shown_name(path)} is turned against its scan, so that it is not a mask of it.",
            remedy="Remove the folder of raw masks, or make the masks again with override_semantic=True.",
        )
    rim = Box.whole(geometry.shape).grown((1, 1, 1))  # beyond the mask there is background, not the label of its last voxel
    on_grid: Any = resample(extract(labels, rim), geometry.cropped(rim), grid, order=0)
    return LabelMap(on_grid, grid, scheme)


def upright(mask: LabelMap) -> LabelMap:
    """A mask in PIR orientation at the world's origin, as the stages take it."""
    turn = Reorientation.between(mask.geometry.axes, PIR)
    labels: Any = turn.apply(mask.labels)
    return LabelMap(labels, turn.apply_geometry(mask.geometry.straightened()), mask.scheme, mask.source)


def turned_back(labels: LabelArray, grid: Geometry, scheme: Scheme) -> LabelMap:
    """Labels in PIR orientation as a mask in the orientation of a grid."""
    turn = Reorientation.between(grid.axes, PIR).inverse()
    turned: Any = turn.apply(labels)
    return LabelMap(turned, grid, scheme)


def in_world(labels: LabelArray, upright_grid: Geometry | None, scan: Scan, scheme: Scheme) -> LabelMap:
    """A mask of a stage where its scan lies: in the scan's own grid, or, from a model with another, in that.

    Parameters
    ----------
    labels : ndarray, shape (P, I, R)
        As a stage gave them.
    upright_grid : Geometry or None
        Their grid, the patient upright at the world's origin; None for that of the scan.
    scan : Scan
        The scan.
    scheme : Scheme
        What the numbers mean.
    """
    turn = Reorientation.between(scan.geometry.axes, PIR)
    whole = turn.apply_geometry(scan.geometry.straightened())
    if upright_grid is None or upright_grid.matches(whole, tolerance_mm=SAME_GRID_MM):
        return turned_back(labels, scan.geometry, scheme)
    placed = turn.apply_geometry(scan.geometry)
    affine = placed.affine @ np.linalg.inv(whole.affine) @ upright_grid.affine
    return LabelMap(labels, Geometry(upright_grid.shape, affine), scheme)


def image_path(image: BIDS_FILE) -> Path:
    """The image file of a ``BIDS_FILE``.

    Raises
    ------
    FileNotFoundError
        If it has none.
    """
    path = image.get_nii_file()
    if path is None:
        raise FileNotFoundError(f"there is no NIfTI file of {image.get_identifier([])}")
    return Path(path)


def bids_file(image: BIDS_FILE | str | Path) -> BIDS_FILE:
    """A ``BIDS_FILE`` from one, or from a path; the folder of a lone path is its dataset.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    from TPTBox import BIDS_FILE

    if isinstance(image, BIDS_FILE):
        return image
    path = Path(image).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.name} in {path.parent.name or path.parent}")
    return BIDS_FILE(path, path.parent, verbose=False)


def in_memory_file() -> BIDS_FILE:
    """A ``BIDS_FILE`` in the place of a file, for an image that has none."""
    from TPTBox import BIDS_FILE

    return BIDS_FILE(IN_MEMORY, IN_MEMORY.parent, verbose=False)


def to_poi(centroids: Sequence[Centroid], grid: Geometry, info: Mapping[str, Any]) -> POI:
    """A ``TPTBox.POI`` of centroids, as reading the centroid file gives it."""
    from TPTBox import POI

    header, points = poi_document(centroids, grid)
    return POI(
        {(int(label), int(part)): tuple(point) for label, parts in points.items() for part, point in parts.items()},
        orientation=tuple(header["direction"]),
        zoom=tuple(header["zoom"]),
        shape=tuple(header["shape"]),
        rotation=np.array(header["rotation"]),
        origin=tuple(header["origin"]),
        info=dict(info),
    )
