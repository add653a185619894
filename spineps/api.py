"""What users call from Python: segment a scan or a semantic mask, save the result, hand it on to other packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from spineps.config import ComputeConfig, PipelineConfig
from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.io.nifti import ReadOptions, from_nibabel, labels_from_nibabel, read_labels, read_scan
from spineps.labels import BODY, Scheme, Structure
from spineps.outputs.names import prefix_of
from spineps.outputs.save import SavedFiles, save
from spineps.volume import LabelMap, Result, Scan

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from TPTBox import NII

    from spineps.inference.engine import InstanceEngine, SemanticEngine
    from spineps.inference.levels import LevelEngine
    from spineps.inference.published import LabelingEngine, NnunetEngine, PublishedInstanceEngine
    from spineps.outputs.relabel import Correction
    from spineps.pipeline import Models

__all__ = [
    "SavedFiles",
    "load_models",
    "open_labels",
    "open_scan",
    "relabel",
    "save",
    "segment_instances",
    "segment_scan",
    "to_nibabel",
    "to_nii",
    "translated",
]

Image: TypeAlias = Any
"""A path, a nibabel image, a ``TPTBox.NII``, or a :class:`Scan` or :class:`LabelMap` of our own."""
Observer: TypeAlias = Callable[[str, object], None]
Progress: TypeAlias = Callable[[str, int, int], None]

_DEFAULT: Final = PipelineConfig()
_AS_WRITTEN: Final = ReadOptions()


def segment_scan(
    scan: Image,
    *,
    config: PipelineConfig = _DEFAULT,
    models: Models | None = None,
    on_stage: Observer | None = None,
    progress: Progress | None = None,
) -> Result:
    """Segment the spine in a sagittal MRI scan. Nothing is written.

    Parameters
    ----------
    scan : path, nibabel image, TPTBox.NII or Scan
        The scan, in any orientation.
    config : PipelineConfig
        Settings; the paper's by default.
    models : Models, optional
        Networks; the bundled ones by default, which are loaded once a process.
    on_stage : callable, optional
        Called with the name and the output of each stage.
    progress : callable, optional
        Called with the name of a stage, the steps done and all its steps.

    Returns
    -------
    Result
        Masks in the grid of the scan, vertebrae from top to bottom, findings and provenance.

    Raises
    ------
    SpinepsError
        An InputError, NoSpineError, ModelError or ResourceError that says what to do.
    """
    from spineps import pipeline

    opened = open_scan(scan)
    models = models if models is not None else load_models(config.compute)
    return pipeline.segment_scan(opened, models, config, on_stage=on_stage, progress=progress)


def segment_instances(
    label_map: Image,
    *,
    image: Image | None = None,
    label_map_ids: Mapping[int, int] | None = None,
    config: PipelineConfig = _DEFAULT,
    models: Models | None = None,
    progress: Progress | None = None,
) -> Result:
    """Find the vertebrae in a semantic mask, whatever made it: phase two alone. Nothing is written.

    Parameters
    ----------
    label_map : path, nibabel image, TPTBox.NII or LabelMap
        Semantic labels; those of :class:`~spineps.labels.Structure` unless ``label_map_ids`` translates them.
    image : path, nibabel image, TPTBox.NII or Scan, optional
        The scan in the same grid, for the picture.
    label_map_ids : mapping of int to int, optional
        From the ids of the mask to those of :class:`~spineps.labels.Structure`; ids that it does not name are left out.
    config : PipelineConfig
        Settings.
    models : Models, optional
        Networks; the bundled one by default.
    progress : callable, optional
        Called with the name of a stage, the steps done and all its steps.

    Raises
    ------
    SpinepsError
        INPUT_LABELS where the mask has no vertebral body, and as :func:`segment_scan`.
    """
    from spineps import pipeline

    semantic = translated(open_labels(label_map), label_map_ids)
    scan = None if image is None else open_scan(image)
    models = models if models is not None else load_models(config.compute, semantic=False)
    return pipeline.segment_instances(semantic, models, config, image=scan, progress=progress)


def relabel(folder: Path | str, correction: Correction, *, prefix: str | None = None, image: Image | None = None) -> SavedFiles:
    """Correct the level names of a finished result from its masks, without any network; all its files are written anew.

    Parameters
    ----------
    folder : Path or str
        Folder of the result.
    correction : Correction
        The true name of a vertebra, or by how many levels all names are to be moved.
    prefix : str, optional
        What the result's files begin with, where the folder holds several results.
    image : path, nibabel image, TPTBox.NII or Scan, optional
        The scan, for the picture and the page.

    Raises
    ------
    SpinepsError
        An InputError where there is no result, a UsageError where the correction makes no sense.
    """
    from spineps.outputs.relabel import relabel as renamed_result

    scan = None if image is None else open_scan(image)
    return renamed_result(Path(folder), correction, prefix=prefix, image=scan)


def open_scan(image: Image, options: ReadOptions = _AS_WRITTEN) -> Scan:
    """A scan from a path, a nibabel image, a ``TPTBox.NII`` or a :class:`Scan`, which is handed on as it is.

    Raises
    ------
    InputError
        If it is refused.
    """
    if isinstance(image, Scan):
        return image
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        scan = read_scan(path, options)
        return replace(scan, source=replace(scan.source, prefix=prefix_of(path)))
    return from_nibabel(_nibabel_image(image), options)


def open_labels(label_map: Image, options: ReadOptions = _AS_WRITTEN) -> LabelMap:
    """A semantic mask from a path, a nibabel image, a ``TPTBox.NII`` or a :class:`LabelMap`, which is handed on as it is.

    Raises
    ------
    InputError
        If it is refused.
    """
    if isinstance(label_map, LabelMap):
        return label_map
    if isinstance(label_map, (str, os.PathLike)):
        path = Path(label_map)
        labels = read_labels(path, options)
        return replace(labels, source=replace(labels.source, prefix=prefix_of(path)))
    return labels_from_nibabel(_nibabel_image(label_map), options)


def translated(label_map: LabelMap, ids: Mapping[int, int] | None) -> LabelMap:
    """A mask with its ids translated to those of :class:`~spineps.labels.Structure`; without ``ids`` it is only checked.

    Raises
    ------
    InputError
        INPUT_LABELS if there is no vertebral body in it.
    """
    present = [int(value) for value in np.unique(label_map.labels) if value]
    meaning = {value: ids.get(value, 0) if ids is not None else value for value in present}
    if not set(meaning.values()) & set(BODY):
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"the label map holds the ids {_listed(present)}, none of which is a vertebral body ({int(Structure.CORPUS)}).",
            remedy="Say what its ids mean with --label-map, or label_map_ids in Python.",
        )
    if ids is None:
        return label_map
    table = np.zeros(max(present) + 1, dtype=np.uint8)
    table[present] = list(meaning.values())
    source = label_map.source
    left_out = [value for value in present if value not in ids]
    if left_out:
        message = f"The ids {_listed(left_out)} of the label map were given no meaning and left out."
        source = replace(source, findings=(*source.findings, Finding(FindingCode.LABELS_IGNORED, message)))
    return LabelMap(table[label_map.labels], label_map.geometry, Scheme.SEMANTIC, source)


def load_models(
    compute: ComputeConfig,
    *,
    semantic: bool = True,
    semantic_folder: Path | None = None,
    instance_folder: Path | None = None,
    labeling_folder: Path | None = None,
) -> Models:
    """The networks of a run, by default the bundled ones, loaded once a process for each way of running them.

    Parameters
    ----------
    compute : ComputeConfig
        Device, precision and threads.
    semantic : bool
        Whether the first phase's network is needed.
    semantic_folder, instance_folder, labeling_folder : Path, optional
        Model folders with a card, such as :func:`spineps.zoo.choose.choose_models` gives.

    Raises
    ------
    ModelError
        If they are missing or damaged.
    """
    from spineps.pipeline import Models

    first = _load_semantic(compute, semantic_folder) if semantic else None
    second = _load_instance(compute.of_instances, instance_folder)
    provenance = {"instance": _described(second)}
    if first is not None:
        provenance = {"semantic": _described(first), **provenance}
    third = _load_labeling(compute, labeling_folder)
    if third is not None:
        provenance = {**provenance, "labeling": _described(third)}
    return Models(first, second, provenance, third)


@lru_cache(maxsize=2)
def _load_semantic(compute: ComputeConfig, folder: Path | None) -> SemanticEngine | NnunetEngine:
    from spineps.inference.load import load_semantic

    return load_semantic(compute, folder)


@lru_cache(maxsize=2)
def _load_instance(compute: ComputeConfig, folder: Path | None) -> InstanceEngine | PublishedInstanceEngine:
    from spineps.inference.load import load_instance

    return load_instance(compute, folder)


@lru_cache(maxsize=2)
def _load_labeling(compute: ComputeConfig, folder: Path | None) -> LevelEngine | LabelingEngine | None:
    """The labeling network; None where the package has none, and the masks alone name the levels."""
    from spineps.inference.load import load_labeling
    from spineps.zoo.card import Kind
    from spineps.zoo.store import is_bundled

    return None if folder is None and not is_bundled(Kind.LABELING) else load_labeling(compute, folder)


def _described(
    engine: SemanticEngine | NnunetEngine | InstanceEngine | PublishedInstanceEngine | LevelEngine | LabelingEngine,
) -> dict[str, str]:
    """What the record of a run says of a network."""
    card = engine.card
    return {"name": card.name, "version": card.version, "weights_sha256": card.weights_sha256, "engine": engine.engine.name}


def to_nibabel(volume: Scan | LabelMap) -> Nifti1Image:
    """A nibabel image of a scan (float32) or a label map (uint16)."""
    from nibabel.nifti1 import Nifti1Image

    voxels = volume.image if isinstance(volume, Scan) else volume.labels.astype(np.uint16)
    return Nifti1Image(np.array(voxels), volume.geometry.affine)


def to_nii(volume: Scan | LabelMap) -> NII:
    """A ``TPTBox.NII`` of a scan or a label map."""
    from TPTBox import NII

    return NII(to_nibabel(volume), seg=isinstance(volume, LabelMap))


def _nibabel_image(image: Image) -> Any:
    """The nibabel image of a nibabel image or a ``TPTBox.NII``."""
    from nibabel.spatialimages import SpatialImage

    tptbox = sys.modules.get("TPTBox")  # who hands over an NII has imported it
    if tptbox is not None and isinstance(image, tptbox.NII):
        return image.nii
    if not isinstance(image, SpatialImage):
        raise TypeError(f"expected a path, a nibabel image, a TPTBox.NII or our own type, found {type(image).__name__}")
    return image


def _listed(ids: list[int]) -> str:
    shown = ", ".join(str(value) for value in ids[:20])
    return f"{shown}, ..." if len(ids) > 20 else shown or "none"
