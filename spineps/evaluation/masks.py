"""Masks of one subject, reference and prediction, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import fastremap
import numpy as np
from scipy import ndimage

from spineps.errors import ErrorCode, InputError
from spineps.evaluation.landmarks import Points, read_centroids
from spineps.evaluation.pairs import MaskFiles, PairFiles
from spineps.geometry import Box, Geometry, Spacing
from spineps.labels import DISC_OFFSET, SACRUM_INSTANCE, T13_INSTANCE, Scheme, Structure
from spineps.volume import LabelArray, LabelMap

_SEMANTIC_ONLY: Final = frozenset(int(s) for s in Structure if T13_INSTANCE < s < DISC_OFFSET)
_SHARED: Final = frozenset({SACRUM_INSTANCE, DISC_OFFSET})
_LARGEST_INSTANCE: Final = 299


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Label maps and centroids of one subject on one side; None for what is not there.

    Parameters
    ----------
    semantic, instance : LabelMap or None
        The masks.
    centroids_mm : Mapping of int to tuple of 3 float, or None
        From a centroid file: label to point in RAS+ millimetres.
    """

    semantic: LabelMap | None = None
    instance: LabelMap | None = None
    centroids_mm: Points | None = None

    def kinds(self) -> set[Scheme]:
        """The kinds that are there."""
        return {m.scheme for m in (self.semantic, self.instance) if m is not None}

    def get(self, scheme: Scheme) -> LabelMap | None:
        """The mask of a kind."""
        return self.semantic if scheme is Scheme.SEMANTIC else self.instance


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Both sides of a subject in the part of the reference's grid that either labels.

    Parameters
    ----------
    reference, prediction : Masks
        With the same kinds on both sides.
    geometry : Geometry
        That part of the reference's grid.
    remarks : tuple of str
        What was done to the masks: resampled, left out.
    """

    reference: Masks
    prediction: Masks
    geometry: Geometry
    remarks: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing in mm."""
        return self.geometry.spacing_mm

    def arrays(self, scheme: Scheme) -> tuple[LabelArray, LabelArray] | None:
        """Label arrays of a kind, reference and prediction, or None if there is no such mask."""
        one, two = self.reference.get(scheme), self.prediction.get(scheme)
        return None if one is None or two is None else (one.labels, two.labels)


def read_pair(files: PairFiles, *, resample: bool = False) -> Pair:
    """Read both sides of a subject and bring them together.

    Parameters
    ----------
    files : PairFiles
        Where they lie. Without a prediction, empty masks stand for it: everything in the reference is missed.
    resample : bool
        Bring a prediction on another grid to the reference's by nearest neighbours, instead of refusing it.

    Raises
    ------
    InputError
        As :func:`spineps.io.nifti.read_labels`; INPUT_LABELS if the labels are of no known scheme or the two sides have no
        kind of mask in common; INPUT_SHAPE or INPUT_AFFINE if the grids differ.
    """
    reference = read_masks(files.reference)
    prediction = _empty_like(reference) if files.prediction is None else read_masks(files.prediction)
    return pair_masks(reference, prediction, resample=resample)


def read_masks(files: MaskFiles) -> Masks:
    """Read the masks of one side; see :func:`read_pair`."""
    semantic = None if files.semantic is None else _read(files.semantic, Scheme.SEMANTIC)
    instance = None if files.instance is None else _read(files.instance, Scheme.INSTANCE)
    if files.mask is not None:
        other = _read(files.mask, None)
        if other.scheme is Scheme.SEMANTIC and semantic is None:
            semantic = other
        elif other.scheme is Scheme.INSTANCE and instance is None:
            instance = other
    if semantic is not None and instance is not None and not semantic.geometry.matches(instance.geometry):
        raise _grids_differ("the semantic mask", semantic.geometry, "the instance mask", instance.geometry)
    centroids = None
    if files.centroids is not None:
        grid = next((m.geometry for m in (instance, semantic) if m is not None), None)
        if grid is None:
            raise InputError(
                ErrorCode.INPUT_LABELS,
                f"{files.centroids.name!r} has no mask beside it, whose grid says where its points lie.",
                remedy="Give the mask that the centroids belong to as well.",
            )
        centroids = read_centroids(files.centroids).to_mm(grid)
    return Masks(semantic, instance, centroids)


def pair_masks(reference: Masks, prediction: Masks, *, resample: bool = False) -> Pair:
    """Bring the masks of both sides together; parameters and errors as :func:`read_pair`."""
    common = reference.kinds() & prediction.kinds()
    if not common:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"The label schemes differ: the reference has {_named(reference)}, the prediction {_named(prediction)}.",
            remedy="Give masks of the same kind on both sides.",
        )
    remarks = [
        f"The {scheme.value} mask of one side has none on the other and was left out."
        for scheme in sorted(reference.kinds() ^ prediction.kinds())
    ]
    wanted = next(m.geometry for m in (reference.semantic, reference.instance) if m is not None)
    moved: dict[str, LabelMap] = {}
    for scheme in sorted(common):
        mask = prediction.get(scheme)
        if mask is None or mask.geometry.matches(wanted):
            continue
        if not resample:
            raise _grids_differ("the reference", wanted, "the prediction", mask.geometry)
        moved[scheme.value] = onto_grid(mask, wanted)
        remarks.append(f"The predicted {scheme.value} mask was resampled to the reference's grid.")
    kept = {s.value: (reference.get(s) if s in common else None) for s in Scheme}
    both = {s.value: (moved.get(s.value, prediction.get(s)) if s in common else None) for s in Scheme}
    box = _around_all([m for m in (*kept.values(), *both.values()) if m is not None])
    return Pair(
        Masks(**_cut_out(kept, box), centroids_mm=reference.centroids_mm),
        Masks(**_cut_out(both, box), centroids_mm=prediction.centroids_mm),
        wanted.cropped(box),
        tuple(remarks),
    )


def _around_all(masks: Sequence[LabelMap]) -> Box:
    """The box around everything that any mask labels, so that no measure goes over the air around a patient."""
    labelled = np.zeros(masks[0].geometry.shape, np.bool_)
    for mask in masks:
        labelled |= mask.labels > 0
    return Box.around(labelled) or Box.whole(masks[0].geometry.shape)


def _cut_out(masks: Mapping[str, LabelMap | None], box: Box) -> dict[str, LabelMap | None]:
    return {
        name: mask and replace(mask, labels=mask.labels[box.slices].copy(), geometry=mask.geometry.cropped(box))
        for name, mask in masks.items()
    }


def onto_grid(mask: LabelMap, target: Geometry) -> LabelMap:
    """A label map on another grid, by nearest neighbours; background where the map does not reach.

    Parameters
    ----------
    mask : LabelMap
        On any grid, oblique or turned.
    target : Geometry
        The wanted grid.
    """
    matrix = np.linalg.inv(mask.geometry.affine) @ target.affine
    labels: LabelArray = ndimage.affine_transform(
        mask.labels, matrix[:3, :3], offset=matrix[:3, 3], output_shape=target.shape, order=0, mode="constant", cval=0
    )
    return replace(mask, labels=labels, geometry=target)


def scheme_of(labels: LabelArray) -> Scheme | None:
    """Tell the scheme of a label array from its labels; None where they fit no scheme, or nothing but what both share."""
    found = {int(i) for i in fastremap.unique(labels)} - {0}
    if found & _SEMANTIC_ONLY:
        return Scheme.SEMANTIC if found <= {int(s) for s in Structure} else None
    if not found - _SHARED:
        return None
    in_range = all(i <= T13_INSTANCE or DISC_OFFSET < i <= _LARGEST_INSTANCE for i in found - _SHARED)
    return Scheme.INSTANCE if in_range else None


def _read(path: Path, scheme: Scheme | None) -> LabelMap:
    """Read a mask and make sure that its labels are of the scheme that its name says, or find out the scheme."""
    from spineps.io.nifti import read_labels

    mask = read_labels(path, scheme=scheme or Scheme.SEMANTIC, allow_empty=True)
    told = scheme_of(mask.labels)
    if (told is None and scheme is None) or told not in (None, scheme or told):
        shown = ", ".join(str(i) for i in np.unique(mask.labels[mask.labels > 0])[:12])
        wanted = f"labels of the {scheme.value} scheme" if scheme else "labels of the semantic or the instance scheme"
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"{path.name!r} holds the labels {shown}, expected {wanted}.",
            remedy="Name files *_seg-spine_msk (semantic) and *_seg-vert_msk (instance), with the labels of the documentation.",
        )
    return replace(mask, scheme=scheme or told or Scheme.SEMANTIC)


def _empty_like(masks: Masks) -> Masks:
    def empty(mask: LabelMap | None) -> LabelMap | None:
        return None if mask is None else replace(mask, labels=np.zeros(mask.geometry.shape, dtype=np.uint8))

    return Masks(empty(masks.semantic), empty(masks.instance), None if masks.centroids_mm is None else {})


def _grids_differ(first: str, one: Geometry, second: str, two: Geometry) -> InputError:
    if one.shape != two.shape:
        return InputError(
            ErrorCode.INPUT_SHAPE,
            f"{first} has the shape {one.shape}, {second} {two.shape}.",
            remedy="Give masks on one grid, or use --resample to bring the prediction to the reference's grid.",
        )
    return InputError(
        ErrorCode.INPUT_AFFINE,
        f"{first} and {second} have the shape {one.shape} but other affines (spacing {_mm(one)} against {_mm(two)}, "
        f"axes {''.join(one.axes)} against {''.join(two.axes)}).",
        remedy="Give masks on one grid, or use --resample to bring the prediction to the reference's grid.",
    )


def _mm(geometry: Geometry) -> str:
    return " x ".join(f"{s:.3g}" for s in geometry.spacing_mm) + " mm"


def _named(masks: Masks) -> str:
    kinds = [f"a mask of the {s.value} scheme" for s in sorted(masks.kinds())]
    return " and ".join(kinds) if kinds else "no mask"
