"""The things that travel through the pipeline: scans, label maps and results. They know no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding
from spineps.geometry import Box, FloatArray, Geometry, Reorientation, Shape, resample
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
    stored_as : str or None
        Number format of the stored voxels, for example ``int16``; None where it is not known.
    """

    sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    prefix: str | None = None
    stored_as: str | None = None


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
    mask_confidence : float or None
        Probability (0 to 1) that its mask is right; None where it was not computed. See
        :mod:`spineps.stages.confidence`.
    name_confidence : float or None
        Probability that its level is right; None where it has none.
    """

    label: int
    name: str | None
    centroid_mm: tuple[float, float, float]
    volume_ml: float
    agreement: float
    partial: bool
    mask_confidence: float | None = None
    name_confidence: float | None = None


class LevelStatus(str, Enum):
    """How far the names of the vertebrae can be trusted."""

    NAMED = "named"
    """One sequence of levels is far more probable than any other."""
    AMBIGUOUS = "ambiguous"
    """Another sequence of levels is nearly as probable; the names are the most probable ones."""
    NUMBERED = "numbered"
    """Not named: vertebrae are counted from the top, and their numbers are no levels."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Which level each vertebra is, and how sure that is.

    Parameters
    ----------
    status : LevelStatus
        Named, ambiguous or numbered.
    names : Mapping of int to str
        Instance id of each vertebra (from top to bottom) to its level, such as 23 to "L4"; empty where numbered.
    posteriors : Mapping of int to (Mapping of str to float)
        Instance id to the probability of each level that is not negligible; known also where vertebrae are numbered
        because the scan was ambiguous.
    variants : Mapping of str to float
        Probability of each numbering variant ("T11 only", "T13", "L4 only", "L6"), given what the scan shows.
    best : tuple of str
        The most probable names from top to bottom.
    probability : float
        Of those names together.
    runner_up : tuple of str
        The second most probable names; empty if there are none.
    odds : float
        How many times more probable the best names are than the runner-up.
    """

    status: LevelStatus
    names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    posteriors: Mapping[int, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    variants: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    best: tuple[str, ...] = ()
    probability: float = 0.0
    runner_up: tuple[str, ...] = ()
    odds: float = 1.0

    def confidence(self, instance: int) -> float:
        """Probability of the name that a vertebra carries; 0 where it has none."""
        return self.posteriors.get(instance, {}).get(self.names.get(instance, ""), 0.0)


@dataclass(frozen=True, slots=True)
class StructureMeasures:
    """What was measured of one structure: a row of ``<prefix>_measures.tsv``.

    Parameters
    ----------
    kind : str
        ``vertebra``, ``disc``, ``sacrum``, ``canal``, ``cord`` or ``curve`` and ``coronal_curve`` (between two
        endplates).
    label : int or None
        Its id in the instance mask; None for canal, cord and curves.
    level : str or None
        Its level ("L4"; of a disc "L4-L5"; of a curve its two ends, "L1-S1"), or None where levels were not named.
    values : Mapping of str to float
        Column of :data:`spineps.measures.quantities.QUANTITIES` (the unit is in its name, ``height_middle_mm``) to value; only
        what could be measured.
    flags : tuple of str
        ``cut`` where the field of view cuts it, ``body_cut`` where it cuts a vertebra's body, ``unsure`` where the level is.
    too_thick : tuple of str
        Columns for which the voxels are too coarse.
    """

    kind: str
    label: int | None
    level: str | None
    values: Mapping[str, float]
    flags: tuple[str, ...] = ()
    too_thick: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Softmax:
    """Probability of each structure, kept on the network's grid and brought to the scan's a class at a time.

    Parameters
    ----------
    scores : ndarray of float16, shape (C, P, I, R)
        On ``grid``; of each class of ``labels``, background first.
    labels : ndarray of uint8, shape (C,)
        Semantic id of each class.
    grid : Geometry
        The network's grid.
    seen : Geometry
        The part of the scan that the network saw, in PIR orientation.
    box : Box
        Where ``seen`` lies in the whole scan.
    shape : tuple of 3 int
        Of the whole scan in PIR orientation.
    turn : Reorientation
        From PIR to the scan's own axes.
    """

    scores: NDArray[np.float16]
    labels: NDArray[np.uint8]
    grid: Geometry
    seen: Geometry
    box: Box
    shape: Shape
    turn: Reorientation

    def channel(self, index: int) -> FloatArray:
        """Probability of a class in the grid of the scan; what the network did not see is background."""
        whole = np.full(self.shape, 1.0 if index == 0 else 0.0, np.float32)
        whole[self.box.slices] = resample(self.scores[index].astype(np.float32), self.grid, self.seen, order=1)
        return self.turn.apply(whole)


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """What a run gave beside its masks, of what :class:`spineps.config.ExtraConfig` asked for.

    Parameters
    ----------
    softmax : Softmax or None
        Probability of each structure before any clean-up.
    uncertainty : ndarray of float32 or None
        In the grid of the scan, 0 (sure) to 1 (all structures equally probable).
    model_mask : LabelMap or None
        The semantic network's own mask on its own grid.
    """

    softmax: Softmax | None = None
    uncertainty: FloatArray | None = None
    model_mask: LabelMap | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FirstPhase:
    """What the first phase gave, from which the second can go on.

    Parameters
    ----------
    labels : LabelMap
        The semantic network's own mask in PIR orientation, the patient upright at the world's origin.
    certainty : ndarray of uint8 or None
        How sure the network is of each voxel of the scan, 0 to 255, in PIR orientation; None where that is not known.
    """

    labels: LabelMap
    certainty: NDArray[np.uint8] | None


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
    levels : Levels
        Level names with their probabilities.
    measures : tuple of StructureMeasures
        Vertebrae and discs from top to bottom, the sacrum, canal and cord, then curves; empty where measuring was left out.
    score : float or None
        Probability (0 to 1) that nothing is wrong with the scan's vertebrae; sorts a cohort, worst first. None where it was not
        computed.
    extras : Extras or None
        What was asked for beside the masks; None where nothing was.
    """

    semantic: LabelMap
    instance: LabelMap
    vertebrae: tuple[Vertebra, ...]
    centroids: tuple[Centroid, ...]
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    scan: Scan | None = None
    levels: Levels = field(default_factory=lambda: Levels(LevelStatus.NUMBERED))
    measures: tuple[StructureMeasures, ...] = ()
    score: float | None = None
    extras: Extras | None = None


def _frozen(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """A read-only view of the array, which must have the grid's shape."""
    if array.shape != geometry.shape:
        raise ValueError(f"expected an array of shape {geometry.shape}, found {array.shape}")
    view = array.view()
    view.setflags(write=False)
    return view
