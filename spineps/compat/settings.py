"""What the published switches mean for our pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.compat.configs import Switches
from spineps.compat.grids import turned_back, upright
from spineps.compat.models import SegmentationModel
from spineps.config import (
    ComputeConfig,
    Device,
    InstanceConfig,
    Labeling,
    LabelingConfig,
    PipelineConfig,
    PostprocessConfig,
    PreprocessConfig,
    SemanticConfig,
    Step,
)
from spineps.errors import Finding
from spineps.geometry import PIR, Box, Reorientation, Shape, Spacing
from spineps.inference.protocols import InstancePredictor, LabelingPredictor, LevelPredictor, SpacedInstancePredictor
from spineps.labeling.naming import renamed
from spineps.labels import (
    CANAL_AND_CORD,
    Structure,
    lookup,
    unnamed_instances,
)
from spineps.stages.clean import SPECK_LABELS, SPECK_VOXELS, clean_semantic, fill_holes
from spineps.stages.components import CORNERS, FACES, connected, label_boxes, reference_voxels
from spineps.volume import LabelMap, LevelStatus, Result

_STEPS: Final[Mapping[str, Step]] = MappingProxyType(
    {
        "inst_corpus_clean": Step.BODY_EROSION,
        "inst_clean_small_cc_artifacts": Step.INSTANCE_SPECKS,
        "fill_3d_holes": Step.HOLES,
        "clean_inst_by_sem": Step.CLIP,
        "vertebra_inconsistency": Step.ARTICULAR,
        "assign_missing_cc": Step.MISSING,
        "merge_vertebra": Step.SPLIT_TOP,
        "assign_posterior": Step.POSTERIOR,
    }
)
"""The step that each published switch is for."""


def config_of(
    switches: Switches, model: SegmentationModel, *, force: bool, labeling: SegmentationModel | None = None
) -> PipelineConfig:
    """Settings of a run from the published switches.

    Parameters
    ----------
    switches : Switches
        As given.
    model : SegmentationModel
        The semantic model, or the instance model where there is no semantic one.
    force : bool
        Take scans that the model was not made for.
    labeling : SegmentationModel, optional
        The model that names the levels; without one they are numbered.
    """
    n4 = switches.sem_n4_bias_correction and model.inference_config.n4
    return PipelineConfig(
        preprocess=PreprocessConfig(n4=n4, crop=switches.sem_crop_input),
        semantic=SemanticConfig(step_size=switches.sem_step_size, mirror=model.mirror),
        instance=InstanceConfig(switches.inst_detect_and_solve_merged_corpi, switches.inst_batch_size, left_out(switches)),
        postprocess=PostprocessConfig(clean=cleans_fully(switches), without=left_out(switches)),
        labeling=LabelingConfig(
            method=Labeling.NONE if labeling is None else Labeling.AUTO, variants=not switches.lab_force_no_tl_anomaly
        ),
        compute=ComputeConfig(Device.CPU if model.use_cpu else Device.AUTO, amp=switches.inst_amp),
        force=force,
    )


def cleans_fully(switches: Switches) -> bool:
    """Tell whether the semantic mask is cleaned by the pipeline itself, with every step."""
    return switches.sem_clean_beyond_largest_bounding_box and switches.sem_clean_small_cc_artifacts


def runs_whole(switches: Switches) -> bool:
    """Tell whether the pipeline runs as it is, from scan to result."""
    return cleans_fully(switches) and not switches.sem_remove_inferior_beyond_canal


def left_out(switches: Switches) -> tuple[Step, ...]:
    """The steps that are switched off."""
    return tuple(step for name, step in _STEPS.items() if not getattr(switches, name))


def partly_cleaned(mask: LabelMap, switches: Switches) -> LabelMap:
    """A semantic mask with those steps of the clean-up that the switches ask for, where they do not ask for all.

    Parameters
    ----------
    mask : LabelMap
        Not cleaned, in any orientation.
    switches : Switches
        ``sem_clean_small_cc_artifacts`` removes specks, ``sem_clean_beyond_largest_bounding_box`` what lies away from the
        spine, ``sem_remove_inferior_beyond_canal`` what lies below the canal and is no sacrum.
    """
    labels = mask.labels.astype(np.uint8)
    if not cleans_fully(switches):
        specks = _specks(labels, mask.geometry.spacing_mm)
        if switches.sem_clean_small_cc_artifacts:
            labels = np.where(specks, np.uint8(0), labels)
        elif switches.sem_clean_beyond_largest_bounding_box:
            kept = _spine_alone(replace(mask, labels=labels))
            box = Box.around(kept > 0)
            if box is not None:
                kept[box.slices] = np.where(specks[box.slices], labels[box.slices], kept[box.slices])
            labels = kept
        labels = fill_holes(labels) if switches.fill_3d_holes else labels
    if switches.sem_remove_inferior_beyond_canal:
        labels = _without_what_lies_below_the_canal(labels, mask)
    return replace(mask, labels=labels)


def _specks(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """Voxels of the components that the clean-up takes for specks."""
    parts = connected(labels, FACES)
    small = parts.sizes < reference_voxels(SPECK_VOXELS, spacing_mm)
    small[0] = False
    found: NDArray[np.bool_] = small[parts.numbers] & lookup(SPECK_LABELS)[labels]
    return found


def _spine_alone(mask: LabelMap) -> NDArray[np.uint8]:
    cleaned = clean_semantic(upright(mask))[0].labels.astype(np.uint8)
    kept: NDArray[np.uint8] = turned_back(cleaned, mask.geometry, mask.scheme).labels.astype(np.uint8)
    return kept


def _without_what_lies_below_the_canal(labels: NDArray[np.uint8], mask: LabelMap) -> NDArray[np.uint8]:
    turn = Reorientation.between(mask.geometry.axes, PIR)
    out = turn.apply(labels)
    canal = Box.around(lookup(CANAL_AND_CORD)[out])
    if canal is None:
        return labels
    below = out[:, canal.stop[1] :]
    below[below != Structure.SACRUM] = 0
    return turn.inverse().apply(out)


class LargestComponents:
    """An instance network of which, in each cutout, only the largest components of each vertebra count.

    Parameters
    ----------
    network : InstancePredictor
        The network itself.
    count : int
        Components to keep.
    """

    def __init__(self, network: InstancePredictor, count: int) -> None:
        self._network, self._count = network, count

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""
        return self._network.spacing_mm

    @property
    def cutout_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""
        return self._network.cutout_size

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout."""
        return self._network.shift_mm

    @property
    def parts_fused(self) -> bool:
        """Whether its answers tell where bodies end that the mask fuses."""
        return self._network.parts_fused

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 to 3, shape (batch, P, I, R)."""
        return np.stack([self._kept(found) for found in self._network(cutouts)])

    def _kept(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.zeros_like(labels)
        for label, box in label_boxes(labels).items():
            parts = connected(labels[box.slices] == label, CORNERS)
            largest = np.argsort(-parts.sizes[1:], kind="stable")[: self._count] + 1
            out[box.slices][np.isin(parts.numbers, largest)] = label
        return out


@dataclass(frozen=True, slots=True)
class SpacedLargestComponents:
    """:class:`LargestComponents` of a network that works at a range of spacings."""

    network: SpacedInstancePredictor
    count: int

    def adapted(self, spacing_mm: Spacing) -> LargestComponents:
        """The predictor for a mask of a given spacing (P, I, R)."""
        return LargestComponents(self.network.adapted(spacing_mm), self.count)


def predictor_of(model: SegmentationModel, switches: Switches) -> Any:
    """The instance network that the switches ask for: an InstancePredictor or a SpacedInstancePredictor."""
    network, count = model.engine(amp=switches.inst_amp), switches.inst_largest_k_cc
    if count <= 0:
        return network
    if isinstance(network, SpacedInstancePredictor):
        return SpacedLargestComponents(network, count)
    return LargestComponents(network, count)


def at_spacing(network: Any, spacing_mm: Spacing) -> InstancePredictor:
    """An instance network for a mask of a given spacing (P, I, R)."""
    predictor: InstancePredictor = network.adapted(spacing_mm) if isinstance(network, SpacedInstancePredictor) else network
    return predictor


def level_network(
    labeling: SegmentationModel | None,
) -> tuple[LevelPredictor | LabelingPredictor | None, tuple[Finding, ...]]:
    """The network that names levels, and what is worth knowing about it.

    Parameters
    ----------
    labeling : SegmentationModel or None
        The model that was asked for.

    Returns
    -------
    LevelPredictor, LabelingPredictor or None
        None where the masks alone name the levels, or nobody does.
    tuple of Finding
        MODEL_BUNDLED.
    """
    if labeling is None:
        return None, ()
    network: LevelPredictor | LabelingPredictor | None = labeling.engine()
    return network, labeling.findings()


def numbered_from(result: Result, first: int) -> Result:
    """A result whose vertebrae, where they have no names, are counted from another number."""
    old = [vertebra.label for vertebra in result.vertebrae]
    if result.levels.status is not LevelStatus.NUMBERED or not old or old[0] == first:
        return result
    pairs = dict(zip(old, unnamed_instances(len(old), first), strict=True))
    ids = renamed(np.array([centroid.instance for centroid in result.centroids], np.uint16), pairs)
    return replace(
        result,
        instance=replace(result.instance, labels=renamed(result.instance.labels, pairs)),
        vertebrae=tuple(replace(vertebra, label=pairs[vertebra.label]) for vertebra in result.vertebrae),
        centroids=tuple(replace(c, instance=int(new)) for c, new in zip(result.centroids, ids, strict=True)),
    )
