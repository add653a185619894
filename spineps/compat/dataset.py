"""``process_dataset``: every fitting scan of a BIDS data set."""

# ruff: noqa: PLR0913, PLR0917
# Signatures are the published ones; an argument that changes nothing here is taken all the same.

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from spineps.compat.codes import Acquisition, ErrCode, Modality
from spineps.compat.grids import image_path
from spineps.compat.image import segment_image
from spineps.compat.models import SegmentationModel
from spineps.errors import SpinepsError

if TYPE_CHECKING:
    from TPTBox import BIDS_FILE

ModalityPair: TypeAlias = tuple[Modality, Acquisition]

SNAPSHOTS: Final = "snaps_seg"
"""Folder of all pictures in the data set, where one is asked for without a name."""
_FILE_TYPES: Final = ["nii.gz", "nii"]
_log = logging.getLogger("spineps")


def process_dataset(
    dataset_path: Path | str,
    model_instance: SegmentationModel,
    model_semantic: list[SegmentationModel] | SegmentationModel | None = None,
    model_labeling: SegmentationModel | None = None,
    rawdata_name: str = "rawdata",
    derivative_name: str = "derivatives_seg",
    modalities: list[ModalityPair] | ModalityPair | None = None,
    save_debug_data: bool = False,
    save_modelres_mask: bool = False,
    save_softmax_logits: bool = False,
    save_log_data: bool = True,
    override_semantic: bool = False,
    override_instance: bool = False,
    override_postpair: bool = False,
    override_ctd: bool = False,
    snapshot_copy_folder: Path | bool | None = None,
    pad_size: int = 4,
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
    proc_lab_force_no_tl_anomaly: bool = False,
    proc_fill_3d_holes: bool = True,
    proc_assign_missing_cc: bool = True,
    proc_clean_inst_by_sem: bool = True,
    proc_vertebra_inconsistency: bool = True,
    ignore_model_compatibility: bool = False,
    ignore_inference_compatibility: bool = False,
    ignore_bids_filter: bool = False,
    tta: bool | None = None,
    log_inference_time: bool = True,
    verbose: bool = False,
) -> dict[str, Any]:
    """Segment every fitting scan of a BIDS data set, one after the other.

    A scan that fails is counted and does not stop the others. This is a loop over
    :func:`~spineps.compat.image.segment_image` and not the runner behind ``spineps dataset``: it takes models that live in the
    caller's process, takes up the raw masks that the published tool left, and counts a scan as done by its files, as scripts
    expect. The runner loads models in processes of its own and takes nothing for done without a proof; for many scans it is
    the better way.

    Parameters
    ----------
    dataset_path : Path
        The data set.
    model_instance : SegmentationModel
        Instance model.
    model_semantic : SegmentationModel or list of SegmentationModel
        Semantic model, or one for each of ``modalities``; None is the bundled one.
    model_labeling : SegmentationModel, optional
        Model that names the levels.
    rawdata_name, derivative_name : str
        Folders of the scans and of the results.
    modalities : pair or list of pairs of Modality and Acquisition, optional
        Which scans: by default those that each semantic model was made for.
    snapshot_copy_folder : Path or bool, optional
        Folder for a copy of every picture; True names it ``snaps_seg``.
    pad_size, save_log_data, log_inference_time, verbose
        Accepted; messages go to the logger ``spineps``.
    ignore_model_compatibility : bool
        Take models for scans that they were not made for.
    ignore_inference_compatibility : bool
        Take scans that do not suit the model.
    ignore_bids_filter : bool
        Take every image, whatever its name.
    tta : bool, optional
        Average with the mirrored prediction; None leaves it to the model.

    Other arguments are those of :func:`~spineps.compat.image.segment_image`.

    Returns
    -------
    dict
        Counts ``seen``, ``processed``, ``already_done`` and ``failed``, and ``failures``: an ErrCode and a path for each scan
        that was not segmented.

    Raises
    ------
    ValueError
        Where models and modalities do not fit each other.
    """
    arguments = dict(locals())
    root = Path(dataset_path)
    pairs = _jobs(model_semantic, modalities, check=not ignore_model_compatibility)
    if tta is not None:
        for model, _, _ in pairs:
            model.set_test_time_augmentation(tta)
    options = _options_of_one_scan(arguments, _snapshot_folder(root, snapshot_copy_folder))
    counts: dict[ErrCode, int] = {}
    failures: list[tuple[ErrCode, str]] = []
    for scan, model in _scans(root, rawdata_name, pairs, every=ignore_bids_filter):
        code = _segmented(scan, model, options)
        counts[code] = counts.get(code, 0) + 1
        if code not in (ErrCode.OK, ErrCode.ALL_DONE):
            failures.append((code, str(image_path(scan))))
    if not counts:
        _log.warning(
            "No scan to segment was found; is %r the folder of the scans, and are they named as BIDS asks?", rawdata_name
        )
    return {
        "seen": sum(counts.values()),
        "processed": counts.get(ErrCode.OK, 0),
        "already_done": counts.get(ErrCode.ALL_DONE, 0),
        "failed": len(failures),
        "failures": failures,
    }


def _options_of_one_scan(arguments: dict[str, Any], snapshots: Path | None) -> dict[str, Any]:
    """The arguments of :func:`segment_image` among those of a data set."""
    own = {
        "dataset_path",
        "model_semantic",
        "rawdata_name",
        "modalities",
        "save_log_data",
        "pad_size",
        "ignore_model_compatibility",
        "ignore_inference_compatibility",
        "tta",
    }
    return {
        **{name: value for name, value in arguments.items() if name not in own},
        "proc_pad_size": arguments["pad_size"],
        "ignore_compatibility_issues": arguments["ignore_inference_compatibility"],
        "snapshot_copy_folder": snapshots,
    }


def _snapshot_folder(root: Path, given: Path | bool | None) -> Path | None:
    if given is None or given is False:
        return None
    return root / SNAPSHOTS if given is True else Path(given)


def _jobs(
    models: list[SegmentationModel] | SegmentationModel | None,
    modalities: list[ModalityPair] | ModalityPair | None,
    *,
    check: bool,
) -> list[tuple[SegmentationModel, Modality, Acquisition]]:
    """Each kind of scan with its model."""
    if models is None:
        models = SegmentationModel(None)
    listed = models if isinstance(models, list) else [models]
    if modalities is None:
        return [(model, modality, model.acquisition()) for model in listed for modality in model.modalities()]
    pairs = modalities if isinstance(modalities, list) else [modalities]
    if len(listed) == 1:
        listed = listed * len(pairs)
    if not pairs or len(pairs) != len(listed):
        raise ValueError(f"expected a model for each kind of scan, found {len(listed)} models for {len(pairs)} kinds of scan")
    for model, (modality, plane) in zip(listed, pairs, strict=True):
        fits = modality in model.modalities() and plane in (model.acquisition(), Acquisition.iso)
        if check and not fits:
            raise ValueError(
                f"{model.modelid()} was not made for {modality.name} {plane.name} scans; "
                "ignore_model_compatibility=True takes it all the same"
            )
    return [(model, *pair) for model, pair in zip(listed, pairs, strict=True)]


def _scans(
    root: Path, rawdata: str, jobs: list[tuple[SegmentationModel, Modality, Acquisition]], *, every: bool
) -> Iterator[tuple[BIDS_FILE, SegmentationModel]]:
    """The scans to segment, subject by subject, each once."""
    from TPTBox import BIDS_Global_info

    data = BIDS_Global_info(datasets=[root], parents=[rawdata], verbose=False)
    for name, subject in data.enumerate_subjects(sort=True):
        if name == "unsorted" and not every:
            continue
        seen: set[Path] = set()
        for model, modality, plane in jobs:
            query = subject.new_query(flatten=True)
            query.filter_filetype(_FILE_TYPES)
            query.filter_non_existence("seg", required=True)
            if not every:
                _keep_kind(query, modality, plane)
            for scan in query.loop_list(sort=True):
                path = image_path(scan)
                if path not in seen:
                    seen.add(path)
                    yield scan, model


def _keep_kind(query: Any, modality: Modality, plane: Acquisition) -> None:
    """Keep the images of one kind that are no masks, and where a Dixon scan has several contrasts, the one in phase."""
    planes = [*Acquisition.format_keys(plane), *Acquisition.format_keys(Acquisition.iso)]
    query.filter_format(Modality.format_keys(modality))
    query.filter_dixon_only_inphase()
    for entity in ("lesions", "label"):
        query.filter_non_existence(entity, required=True)
    query.filter("acq", lambda value: value in planes, required=False)


def _segmented(scan: BIDS_FILE, model: SegmentationModel, options: dict[str, Any]) -> ErrCode:
    """Segment one scan; what the published package had no code for is UNKNOWN, so that the other scans are done."""
    try:
        code: ErrCode = segment_image(img_ref=scan, model_semantic=model, **options)[1]
    except SpinepsError as error:
        _log.warning("%s", error)
        return ErrCode.UNKNOWN
    return code
