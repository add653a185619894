"""The things that travel through the pipeline: scans, label maps and results. They know no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding
from spineps.geometry import FloatArray, Geometry
from spineps.labels import Scheme

LabelArray = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of where data came from, without personal data.

    Parameters
    ----------
    sha256 : str or None
        Of the file's raw bytes; None for data that came from memory.
    findings : tuple of Finding
        What the reader repaired or assumed.
    prefix : str or None
        What files made from it are named by unless the user says otherwise; stands in file names, never inside of a file.
    """

    sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    prefix: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """An image: float32 intensities on a grid, read-only."""

    image: FloatArray
    geometry: Geometry
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", _frozen(np.asarray(self.image, dtype=np.float32), self.geometry))


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Labels on a grid, read-only; a type of its own, so that nobody interpolates labels linearly."""

    labels: LabelArray
    geometry: Geometry
    scheme: Scheme
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        if self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"expected labels of type uint8 or uint16, found {self.labels.dtype}")
        object.__setattr__(self, "labels", _frozen(self.labels, self.geometry))


@dataclass(frozen=True, slots=True)
class Centroid:
    """Centre of mass of one structure.

    Parameters
    ----------
    instance : int
        Instance id: vertebra X, disc 100 + X, endplate 200 + X, sacrum 26.
    structure : int
        Semantic id that the centre was taken over (a vertebra's is that of its body).
    voxel : tuple of 3 float
        In the instance mask's grid.
    """

    instance: int
    structure: int
    voxel: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Vertebra:
    """One vertebra of a result, from top to bottom.

    Parameters
    ----------
    label : int
        Its id in the instance mask.
    name : str or None
        Its level ("L4"), or None where levels were not named.
    centroid_mm : tuple of 3 float
        Centre of its body in RAS+ millimetres.
    volume_ml : float
        Volume of its mask.
    agreement : float
        Mean Dice (0 to 1) between the cutout predictions that it was merged from.
    partial : bool
        True where it touches the edge of the field of view above or below.
    """

    label: int
    name: str | None
    centroid_mm: tuple[float, float, float]
    volume_ml: float
    agreement: float
    partial: bool


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Everything that one run found out, in the grid of its input.

    Parameters
    ----------
    semantic, instance : LabelMap
        The two masks.
    vertebrae : tuple of Vertebra
        From top to bottom.
    centroids : tuple of Centroid
        Of each vertebra, disc, endplate and the sacrum.
    findings : tuple of Finding
        What is worth knowing, from reading the file to the last stage.
    provenance : Mapping
        Versions, models and their hashes, settings, input hash, seconds a stage; plain values for JSON.
    scan : Scan or None
        The input image, for the picture; None where phase two ran on a label map alone.
    """

    semantic: LabelMap
    instance: LabelMap
    vertebrae: tuple[Vertebra, ...]
    centroids: tuple[Centroid, ...]
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    scan: Scan | None = None


def _frozen(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """A read-only view of the array, which must have the grid's shape."""
    if array.shape != geometry.shape:
        raise ValueError(f"expected an array of shape {geometry.shape}, found {array.shape}")
    view = array.view()
    view.setflags(write=False)
    return view
