"""The published phases, one by one, on ``TPTBox`` images: each is a part of our pipeline."""

# ruff: noqa: PLR0913, PLR0917, ARG001
# Signatures are the published ones; an argument that changes nothing here is taken all the same.

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spineps import api, pipeline
from spineps.compat.codes import ErrCode, err_code_of
from spineps.compat.configs import Switches
from spineps.compat.grids import in_world, open_image, open_mask, to_poi, turned_back, upright
from spineps.compat.models import BundledModel, SegmentationModel
from spineps.compat.settings import at_spacing, config_of, level_network, numbered_from, partly_cleaned, predictor_of
from spineps.config import Labeling, LabelingConfig, PreprocessConfig
from spineps.errors import Finding, SpinepsError
from spineps.geometry import PIR, Reorientation
from spineps.inference.protocols import SemanticPredictor
from spineps.labeling.evidence import gather_evidence
from spineps.labeling.naming import decide, renamed
from spineps.labels import SACRUM_INSTANCE, Scheme, Structure, is_vertebra
from spineps.stages.centroids import measure_instances, moved
from spineps.stages.instances import find_instances
from spineps.stages.preprocess import prepare
from spineps.volume import LabelMap, Scan
from spineps.zoo.card import Kind

if TYPE_CHECKING:
    from TPTBox import NII, POI

DebugData = MutableMapping[str, Any]
_log = logging.getLogger("spineps")


def preprocess_input(
    mri_nii: NII,
    debug_data: DebugData,
    pad_size: int = 4,
    proc_normalize_input: bool = True,
    proc_do_n4_bias_correction: bool = True,
    proc_crop_input: bool = True,
    verbose: bool = False,
) -> tuple[NII | None, ErrCode]:
    """Crop a scan to its signal and correct its bias field.

    Parameters
    ----------
    mri_nii : NII
        The scan.
    debug_data : dict
        Receives nothing; the scan itself is the only intermediate value.
    pad_size, proc_normalize_input, verbose
        Accepted: each network pads and normalises its input as it needs it, and no result depends on either.
    proc_do_n4_bias_correction, proc_crop_input : bool
        The two steps.

    Returns
    -------
    NII or None, ErrCode
        In PIR orientation, float32. EMPTY or SHAPE, and no image, where there is nothing to segment.
    """
    try:
        prepared = prepare(open_image(mri_nii), PreprocessConfig(n4=proc_do_n4_bias_correction, crop=proc_crop_input))
    except SpinepsError as error:
        return None, code_or_raise(error)
    return api.to_nii(Scan(prepared.image, prepared.geometry)), ErrCode.OK


def predict_semantic_mask(
    mri_nii: NII,
    model: SegmentationModel,
    debug_data: DebugData,
    proc_fill_3d_holes: bool = True,
    proc_clean_beyond_largest_bounding_box: bool = True,
    proc_remove_inferior_beyond_canal: bool = False,
    proc_clean_small_cc_artifacts: bool = True,
    step_size: float | None = None,
    verbose: bool = False,
) -> tuple[NII | None, None, ErrCode]:
    """The semantic mask of a scan, cleaned.

    Parameters
    ----------
    mri_nii : NII
        The scan, prepared by :func:`preprocess_input` or not.
    model : SegmentationModel
        The semantic model.
    debug_data : dict
        Receives ``sem_raw``, the mask before it was cleaned.
    proc_clean_beyond_largest_bounding_box, proc_remove_inferior_beyond_canal, proc_clean_small_cc_artifacts : bool
        Steps of the clean-up.
    step_size : float, optional
        Step between tiles as a share of a tile; by default the model's.
    proc_fill_3d_holes : bool
        Fill holes.
    verbose : bool
        Accepted.

    Returns
    -------
    NII or None, None, ErrCode
        The mask in the grid of the scan; the second value is for logits, which the published function never gave either.
    """
    switches = Switches(
        sem_crop_input=False,
        sem_n4_bias_correction=False,
        sem_clean_beyond_largest_bounding_box=proc_clean_beyond_largest_bounding_box,
        sem_remove_inferior_beyond_canal=proc_remove_inferior_beyond_canal,
        sem_clean_small_cc_artifacts=proc_clean_small_cc_artifacts,
        sem_step_size=step_size,
        fill_3d_holes=proc_fill_3d_holes,
    )
    try:
        scan = open_image(mri_nii)
        mask = semantic_mask(scan, model, switches, debug_data=debug_data, force=True)
    except SpinepsError as error:
        return None, None, code_or_raise(error)
    tell(mask.source.findings)
    return api.to_nii(mask), None, ErrCode.OK


def semantic_mask(
    scan: Scan,
    model: SegmentationModel,
    switches: Switches,
    *,
    debug_data: DebugData | None = None,
    force: bool = False,
) -> LabelMap:
    """First phase: the semantic mask in the grid of the scan, cleaned as the switches say.

    Raises
    ------
    SpinepsError
        As :func:`spineps.segment_scan`.
    """
    network: SemanticPredictor = model.engine()

    def watch(name: str, value: object) -> None:
        if name == "semantic" and isinstance(value, LabelMap) and debug_data is not None:
            debug_data["sem_raw"] = api.to_nii(in_world(value.labels, value.geometry, scan, Scheme.SEMANTIC))

    mask = pipeline.segment_semantic(scan, network, config_of(switches, model, force=force), on_stage=watch)
    findings = (*mask.source.findings, *model.findings())
    return partly_cleaned(replace(mask, source=replace(mask.source, findings=findings)), switches)


def predict_instance_mask(
    seg_nii: NII,
    model: SegmentationModel,
    debug_data: DebugData,
    pad_size: int = 0,
    proc_inst_fill_3d_holes: bool = True,
    proc_detect_and_solve_merged_corpi: bool = True,
    proc_corpus_clean: bool = True,
    proc_inst_clean_small_cc_artifacts: bool = True,
    proc_inst_largest_k_cc: int = 0,
    proc_inst_batch_size: int = 4,
    proc_inst_amp: bool = False,
    verbose: bool = False,
) -> tuple[NII | None, ErrCode]:
    """Vertebra instances of a semantic mask, before post-processing.

    Parameters
    ----------
    seg_nii : NII
        The semantic mask; it is not changed.
    model : SegmentationModel
        The instance model.
    debug_data : dict
        Receives ``inst_uncropped_vert_arr_a``, the instances.
    proc_detect_and_solve_merged_corpi : bool
        Divide bodies that the mask joins.
    proc_inst_largest_k_cc : int
        Above 0: components of a vertebra that count in each cutout.
    proc_inst_batch_size : int
        Cutouts a batch.
    proc_inst_amp : bool
        Half precision.
    proc_inst_fill_3d_holes, proc_corpus_clean, proc_inst_clean_small_cc_artifacts : bool
        Steps: fill holes, erode bodies before they are told apart, remove specks.
    pad_size, verbose
        Accepted.

    Returns
    -------
    NII or None, ErrCode
        Vertebrae 1 to n in the grid of the mask; EMPTY, and no mask, where it shows no vertebra.
    """
    switches = Switches(
        inst_detect_and_solve_merged_corpi=proc_detect_and_solve_merged_corpi,
        inst_corpus_clean=proc_corpus_clean,
        inst_clean_small_cc_artifacts=proc_inst_clean_small_cc_artifacts,
        inst_largest_k_cc=proc_inst_largest_k_cc,
        inst_batch_size=proc_inst_batch_size,
        inst_amp=proc_inst_amp,
        fill_3d_holes=proc_inst_fill_3d_holes,
    )
    try:
        semantic = open_mask(seg_nii, Scheme.SEMANTIC)
    except SpinepsError as error:
        return None, code_or_raise(error)
    mask = upright(semantic)
    network = at_spacing(predictor_of(model, switches), mask.geometry.spacing_mm)
    raw = find_instances(mask, network, config_of(switches, model, force=True).instance)
    tell((*raw.findings, *model.findings()))
    if not raw.agreement:
        return None, ErrCode.EMPTY
    found = turned_back(raw.labels, semantic.geometry, Scheme.INSTANCE)
    debug_data["inst_uncropped_vert_arr_a"] = api.to_nii(found)
    return api.to_nii(found), ErrCode.OK


def phase_postprocess_combined(
    img_nii: NII,
    seg_nii: NII,
    vert_nii: NII,
    model_labeling: SegmentationModel | None,
    debug_data: DebugData | None,
    labeling_offset: int = 0,
    proc_lab_force_no_tl_anomaly: bool = False,
    proc_assign_missing_cc: bool = True,
    proc_assign_missing_cc_fast: bool = False,
    proc_clean_inst_by_sem: bool = True,
    n_vert_bodies: int | None = None,
    process_merge_vertebra: bool = True,
    proc_vertebra_inconsistency: bool = True,
    proc_assign_posterior_instance_label: bool = True,
    verbose: bool = False,
    disable_c1: bool = True,
    sacrum_ids: Sequence[int] = (SACRUM_INSTANCE,),
    metal_ids: Sequence[int] = (80,),
) -> tuple[NII, NII]:
    """Both masks made consistent and complete.

    Parameters
    ----------
    img_nii : NII
        The scan, in the grid of the masks.
    seg_nii, vert_nii : NII
        Semantic mask and raw instances; neither is changed.
    debug_data : dict or None
        Receives ``vert_arr_return_final``.
    labeling_offset : int
        Number of the topmost vertebra, less one, where levels are not named.
    model_labeling : SegmentationModel or None
        Model that names the levels; without one the vertebrae are numbered.
    proc_lab_force_no_tl_anomaly : bool
        Twelve thoracic and five lumbar vertebrae, whatever the scan shows.
    sacrum_ids : sequence of int
        Labels of the semantic mask that are sacrum.
    proc_assign_missing_cc, proc_clean_inst_by_sem, process_merge_vertebra, proc_vertebra_inconsistency, \
proc_assign_posterior_instance_label : bool
        Steps: :class:`spineps.config.Step` says what each does.
    proc_assign_missing_cc_fast, n_vert_bodies, verbose, disable_c1, metal_ids
        Accepted.

    Returns
    -------
    NII, NII
        Semantic and instance mask.

    Raises
    ------
    InputError
        INPUT_LABELS where the masks do not fit each other.
    """
    switches = Switches(
        assign_missing_cc=proc_assign_missing_cc,
        clean_inst_by_sem=proc_clean_inst_by_sem,
        vertebra_inconsistency=proc_vertebra_inconsistency,
        lab_force_no_tl_anomaly=proc_lab_force_no_tl_anomaly,
        merge_vertebra=process_merge_vertebra,
        assign_posterior=proc_assign_posterior_instance_label,
    )
    semantic = _with_one_sacrum(open_mask(seg_nii, Scheme.SEMANTIC), sacrum_ids)
    raw = open_mask(vert_nii, Scheme.INSTANCE)
    numbers = replace(config_of(switches, BundledModel(Kind.SEMANTIC), force=True), labeling=LabelingConfig(Labeling.NONE))
    result = pipeline.complete_instances(semantic, raw, config=numbers)
    tell(result.findings)
    if model_labeling is None:
        instance = numbered_from(result, labeling_offset + 1).instance
    else:
        image = None if img_nii is None else open_image(img_nii)
        instance = _named(result.instance, result.semantic, image, model_labeling, variants=not proc_lab_force_no_tl_anomaly)
    masks = api.to_nii(result.semantic), api.to_nii(instance)
    if debug_data is not None:
        debug_data["vert_arr_return_final"] = masks[1]
    return masks


def perform_labeling_step(
    model: SegmentationModel,
    img_nii: NII,
    vert_nii: NII,
    subreg_nii: NII | None = None,
    proc_lab_force_no_tl_anomaly: bool = False,
    disable_c1: bool = True,
) -> NII:
    """An instance mask whose ids say the level.

    Parameters
    ----------
    model : SegmentationModel
        Model that names the levels.
    img_nii : NII
        The scan, in the grid of the masks.
    vert_nii : NII
        Instance mask, vertebrae under any ids, with or without discs and endplates.
    subreg_nii : NII, optional
        Semantic mask; without it each vertebra as a whole counts as its body, and its size tells less.
    proc_lab_force_no_tl_anomaly : bool
        Twelve thoracic and five lumbar vertebrae, whatever the scan shows.
    disable_c1 : bool
        Accepted; C1 is named only where it is seen.

    Returns
    -------
    NII
        1 to 7 are C1 to C7, 8 to 19 T1 to T12, 28 T13, 20 to 25 L1 to L6; unchanged where no levels fit.
    """
    instance = open_mask(vert_nii, Scheme.INSTANCE)
    if subreg_nii is None:
        vertebrae = [int(label) for label in np.unique(instance.labels) if is_vertebra(int(label))]
        body: Any = np.where(np.isin(instance.labels, vertebrae), Structure.CORPUS, 0).astype(np.uint8)
        semantic = LabelMap(body, instance.geometry, Scheme.SEMANTIC)
    else:
        semantic = open_mask(subreg_nii, Scheme.SEMANTIC)
    image = open_image(img_nii)
    return api.to_nii(_named(instance, semantic, image, model, variants=not proc_lab_force_no_tl_anomaly))


def _named(instance: LabelMap, semantic: LabelMap, image: Scan | None, model: SegmentationModel, *, variants: bool) -> LabelMap:
    """The instance mask with the ids of its levels."""
    network, findings = level_network(model)
    values = None if image is None else Reorientation.between(image.geometry.axes, PIR).apply(image.image)
    mask = upright(instance)
    naming = decide(gather_evidence(upright(semantic), mask, values, network), variants=variants)
    tell((*findings, *naming.findings))
    return turned_back(renamed(mask.labels, naming.pairs), instance.geometry, Scheme.INSTANCE)


def predict_centroids_from_both(
    vert_nii_cleaned: NII,
    seg_nii: NII,
    models: Sequence[SegmentationModel | None],
    parameter: dict[str, Any],
) -> POI:
    """Centres of the vertebrae, discs, endplates and the sacrum of two final masks.

    Parameters
    ----------
    vert_nii_cleaned, seg_nii : NII
        Instance and semantic mask in one grid.
    models : sequence of SegmentationModel or None
        Written into the header.
    parameter : dict
        Written into the header.

    Returns
    -------
    POI
        Vertebrae and sacrum as part 50, discs and endplates as the part of their semantic id; the published function left
        the last two out.
    """
    instance, semantic = open_mask(vert_nii_cleaned, Scheme.INSTANCE), open_mask(seg_nii, Scheme.SEMANTIC)
    grid = semantic.geometry
    placed = Reorientation.between(grid.axes, PIR).apply_geometry(grid)
    turned = [replace(upright(mask), geometry=placed) for mask in (semantic, instance)]
    centroids = moved(measure_instances(turned[0], turned[1], {})[1], placed, grid)
    described = {n: {"name": "No Model"} if model is None else model.dict_representation() for n, model in enumerate(models)}
    return to_poi(centroids, grid, {"source": "spineps", "models": described, **{k: str(v) for k, v in parameter.items()}})


def code_or_raise(error: SpinepsError) -> ErrCode:
    """The published code of an error, with a line in the log; errors without one are raised."""
    code = err_code_of(error)
    if code is None:
        raise error
    _log.warning("%s", error)
    return code


def tell(findings: Iterable[Finding]) -> None:
    """Findings of a function that has no other way to tell them."""
    for finding in findings:
        _log.info("%s: %s", finding.code, finding.message)


def _with_one_sacrum(mask: LabelMap, sacrum_ids: Sequence[int]) -> LabelMap:
    others = [label for label in sacrum_ids if label != SACRUM_INSTANCE]
    if not others:
        return mask
    labels: Any = np.where(np.isin(mask.labels, others), Structure.SACRUM, mask.labels).astype(mask.labels.dtype)
    return replace(mask, labels=labels)
