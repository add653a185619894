"""``segment_image`` and ``process_img_nii``: one scan in, the published files out."""

# ruff: noqa: PLR0913, PLR0917
# Signatures are the published ones; an argument that changes nothing here is taken all the same.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from spineps.compat.codes import ErrCode, Modality
from spineps.compat.configs import Switches
from spineps.compat.files import in_memory, write_files
from spineps.compat.grids import open_image
from spineps.compat.models import SegmentationModel
from spineps.compat.phases import code_or_raise, tell
from spineps.compat.places import output_paths_from_input
from spineps.compat.run import ImageRun, ModelSet, Wanted
from spineps.errors import ErrorCode, InputError, SpinepsError
from spineps.labels import FIRST_UNNAMED_INSTANCE

if TYPE_CHECKING:
    from TPTBox import BIDS_FILE, NII

_FINAL: Final = ("out_spine", "out_vert", "out_ctd", "out_snap")


def segment_image(
    img_ref: BIDS_FILE,
    model_semantic: SegmentationModel,
    model_instance: SegmentationModel,
    model_labeling: SegmentationModel | None = None,
    derivative_name: str = "derivatives_seg",
    save_modelres_mask: bool = False,
    save_softmax_logits: bool = False,
    save_debug_data: bool = False,
    save_raw: bool = True,
    override_semantic: bool = False,
    override_instance: bool = False,
    override_postpair: bool = False,
    override_ctd: bool = False,
    proc_pad_size: int = 4,
    proc_normalize_input: bool = True,
    crop: tuple[slice, slice, slice] | None = None,
    auto_crop_to_spine: bool | Literal["auto"] = "auto",
    auto_crop_when_max_res_leq: float = 1.2,
    auto_crop_req_crop_min_dim: int = 200,
    proc_sem_crop_input: bool = True,
    proc_sem_n4_bias_correction: bool = True,
    proc_sem_remove_inferior_beyond_canal: bool = False,
    proc_sem_clean_beyond_largest_bounding_box: bool = True,
    proc_sem_clean_small_cc_artifacts: bool = True,
    proc_sem_step_size: float | None = None,
    proc_inst_corpus_clean: bool = True,
    proc_inst_clean_small_cc_artifacts: bool = True,
    proc_inst_largest_k_cc: int = 0,
    proc_inst_detect_and_solve_merged_corpi: bool = True,
    proc_inst_batch_size: int = 4,
    proc_inst_amp: bool = False,
    vertebra_instance_labeling_offset: int = FIRST_UNNAMED_INSTANCE,
    proc_lab_force_no_tl_anomaly: bool = False,
    proc_fill_3d_holes: bool = True,
    proc_assign_missing_cc: bool = True,
    proc_assign_missing_cc_fast: bool = False,
    proc_clean_inst_by_sem: bool = True,
    proc_vertebra_inconsistency: bool = True,
    lambda_semantic: Callable[[NII], NII] | None = None,
    snapshot_copy_folder: Path | None = None,
    ignore_bids_filter: bool = False,
    ignore_compatibility_issues: bool = False,
    log_inference_time: bool = True,
    return_output_instead_of_save: bool = False,
    timing: bool = False,
    verbose: bool = False,
    _nii: NII | None = None,
    _dataset_id_ct_crop: int = 100,
) -> Any:
    """Segment one scan and write the published files.

    Each argument does what it did in the published package, apart from those listed in ``docs/compatibility.md``.

    Parameters
    ----------
    img_ref : BIDS_FILE
        The scan.
    model_semantic, model_instance : SegmentationModel
        Models of the two phases.
    model_labeling : SegmentationModel, optional
        Model that names the levels; without one they are numbered from the top.
    derivative_name : str
        Folder of the results in the dataset.
    return_output_instead_of_save : bool
        Give the results and write nothing.

    Returns
    -------
    dict of str to Path, ErrCode
        Paths as of :func:`~spineps.compat.places.output_paths_from_input`, and OK; ALL_DONE where all files were there and
        nothing is to be made again; COMPATIBILITY, EMPTY or SHAPE where nothing was made. Or, with
        ``return_output_instead_of_save``, semantic mask (NII), instance mask (NII), centroids (POI) and OK.

    Raises
    ------
    SpinepsError
        Whatever else ends a run: a damaged file, a missing model, a full disk.
    """
    arguments = dict(locals())
    wanted, switches = Wanted.of(arguments), Switches.of(arguments)
    paths = output_paths_from_input(
        img_ref, derivative_name, snapshot_copy_folder, img_ref.format, ignore_bids_filter, _dataset_id_ct_crop
    )
    if _all_there(paths, wanted):
        return paths, ErrCode.ALL_DONE
    run = ImageRun(paths, wanted, switches, ModelSet(model_semantic, model_instance, model_labeling))
    try:
        _check_modality(img_ref, model_semantic, wanted)
        scan = open_image(img_ref if _nii is None else _nii)
        done = run.segmented(scan)
    except SpinepsError as error:
        return paths, code_or_raise(error)
    tell(done.result.findings)
    if return_output_instead_of_save:
        return *in_memory(done.result), ErrCode.OK
    write_files(done, paths, wanted)
    return paths, ErrCode.OK


process_img_nii = segment_image
"""The older generation's name of :func:`segment_image`."""


def _all_there(paths: dict[str, Path], wanted: Wanted) -> bool:
    if wanted.overrides or wanted.return_output_instead_of_save:
        return False
    keys = (*_FINAL, "out_snap2") if wanted.snapshot_copy_folder is not None else _FINAL
    return all(paths[key].exists() for key in keys)


def _check_modality(image: BIDS_FILE, model: SegmentationModel, wanted: Wanted) -> None:
    """Refuse a scan whose file name says that it is of another modality than the model's."""
    suits = Modality.format_keys(model.modalities())
    if image.format in suits or image.format not in Modality.known_format_keys() or wanted.ignore_compatibility_issues:
        return
    raise InputError(
        ErrorCode.COMPAT,
        f"the file is named as {image.format}, the model expects one of {', '.join(suits)}.",
        remedy="Give another model, or ignore_compatibility_issues=True to run all the same.",
    )
