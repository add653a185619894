"""What the published package promises: names, arguments in their order with their defaults, and keys of files."""

from __future__ import annotations

from types import MappingProxyType

NAMES = (  # noqa: SIM905  (as the contract lists them)
    "InstanceConfig LabelingConfig PostConfig SegmentationModel SemanticConfig SpinepsPipeline SpinepsResult entry_point "
    "get_instance_model get_labeling_model get_semantic_model perform_labeling_step phase_postprocess_combined "
    "predict_instance_mask predict_semantic_mask process_dataset segment segment_image "
    "process_img_nii Segmentation_Model"
).split()
"""Of the newer generation, and the two that only the older one has."""

REQUIRED = "required"
_SEMANTIC = {
    "proc_sem_crop_input": True,
    "proc_sem_n4_bias_correction": True,
    "proc_sem_remove_inferior_beyond_canal": False,
    "proc_sem_clean_beyond_largest_bounding_box": True,
    "proc_sem_clean_small_cc_artifacts": True,
    "proc_sem_step_size": None,
}
_INSTANCE = {
    "proc_inst_corpus_clean": True,
    "proc_inst_clean_small_cc_artifacts": True,
    "proc_inst_largest_k_cc": 0,
    "proc_inst_detect_and_solve_merged_corpi": True,
    "proc_inst_batch_size": 4,
    "proc_inst_amp": False,
}
_OVERRIDE = {
    "override_semantic": False,
    "override_instance": False,
    "override_postpair": False,
    "override_ctd": False,
}

SIGNATURES = MappingProxyType(
    {
        "segment_image": {
            "img_ref": REQUIRED,
            "model_semantic": REQUIRED,
            "model_instance": REQUIRED,
            "model_labeling": None,
            "derivative_name": "derivatives_seg",
            "save_modelres_mask": False,
            "save_softmax_logits": False,
            "save_debug_data": False,
            "save_raw": True,
            **_OVERRIDE,
            "proc_pad_size": 4,
            "proc_normalize_input": True,
            "crop": None,
            "auto_crop_to_spine": "auto",
            "auto_crop_when_max_res_leq": 1.2,
            "auto_crop_req_crop_min_dim": 200,
            **_SEMANTIC,
            **_INSTANCE,
            "vertebra_instance_labeling_offset": 2,
            "proc_lab_force_no_tl_anomaly": False,
            "proc_fill_3d_holes": True,
            "proc_assign_missing_cc": True,
            "proc_assign_missing_cc_fast": False,
            "proc_clean_inst_by_sem": True,
            "proc_vertebra_inconsistency": True,
            "lambda_semantic": None,
            "snapshot_copy_folder": None,
            "ignore_bids_filter": False,
            "ignore_compatibility_issues": False,
            "log_inference_time": True,
            "return_output_instead_of_save": False,
            "timing": False,
            "verbose": False,
            "_nii": None,
            "_dataset_id_ct_crop": 100,
        },
        "process_dataset": {
            "dataset_path": REQUIRED,
            "model_instance": REQUIRED,
            "model_semantic": None,  # required in the newer generation, could be None in the older one
            "model_labeling": None,
            "rawdata_name": "rawdata",
            "derivative_name": "derivatives_seg",
            "modalities": None,  # those of the models; the published default was T2w sagittal whatever the model
            "save_debug_data": False,
            "save_modelres_mask": False,
            "save_softmax_logits": False,
            "save_log_data": True,
            **_OVERRIDE,
            "snapshot_copy_folder": None,
            "pad_size": 4,
            **_SEMANTIC,
            **_INSTANCE,
            "proc_lab_force_no_tl_anomaly": False,
            "proc_fill_3d_holes": True,
            "proc_assign_missing_cc": True,
            "proc_clean_inst_by_sem": True,
            "proc_vertebra_inconsistency": True,
            "ignore_model_compatibility": False,
            "ignore_inference_compatibility": False,
            "ignore_bids_filter": False,
            "tta": None,
            "log_inference_time": True,
            "verbose": False,
        },
        "segment": {
            "image": REQUIRED,
            "model_semantic": "t2w",
            "model_instance": "instance",
            "model_labeling": "t2w_labeling",
            "use_cpu": False,
            "output_in_memory": False,
            "derivative_name": "derivatives_seg",
            "override": False,
            "semantic": None,
            "instance": None,
            "labeling": None,
            "post": None,
            "verbose": False,
        },
        "predict_semantic_mask": {
            "mri_nii": REQUIRED,
            "model": REQUIRED,
            "debug_data": REQUIRED,
            "proc_fill_3d_holes": True,
            "proc_clean_beyond_largest_bounding_box": True,
            "proc_remove_inferior_beyond_canal": False,
            "proc_clean_small_cc_artifacts": True,
            "step_size": None,
            "verbose": False,
        },
        "predict_instance_mask": {
            "seg_nii": REQUIRED,
            "model": REQUIRED,
            "debug_data": REQUIRED,
            "pad_size": 0,
            "proc_inst_fill_3d_holes": True,
            "proc_detect_and_solve_merged_corpi": True,
            "proc_corpus_clean": True,
            "proc_inst_clean_small_cc_artifacts": True,
            "proc_inst_largest_k_cc": 0,
            "proc_inst_batch_size": 4,
            "proc_inst_amp": False,
            "verbose": False,
        },
        "phase_postprocess_combined": {
            "img_nii": REQUIRED,
            "seg_nii": REQUIRED,
            "vert_nii": REQUIRED,
            "model_labeling": REQUIRED,
            "debug_data": REQUIRED,
            "labeling_offset": 0,
            "proc_lab_force_no_tl_anomaly": False,
            "proc_assign_missing_cc": True,
            "proc_assign_missing_cc_fast": False,
            "proc_clean_inst_by_sem": True,
            "n_vert_bodies": None,
            "process_merge_vertebra": True,
            "proc_vertebra_inconsistency": True,
            "proc_assign_posterior_instance_label": True,
            "verbose": False,
            "disable_c1": True,
            "sacrum_ids": (26,),
            "metal_ids": (80,),
        },
        "perform_labeling_step": {
            "model": REQUIRED,
            "img_nii": REQUIRED,
            "vert_nii": REQUIRED,
            "subreg_nii": None,
            "proc_lab_force_no_tl_anomaly": False,
            "disable_c1": True,
        },
    }
)

PATH_KEYS = frozenset(
    {
        "out_spine",
        "out_spine_raw",
        "out_vert",
        "out_vert_raw",
        "out_logits",
        "out_snap",
        "out_ctd",
        "out_snap2",
        "out_debug",
        "out_raw",
        "out_vibeseg",
    }
)

SUBMODULES = MappingProxyType(
    {
        "spineps.entrypoint": ("entry_point",),
        "spineps.get_models": ("get_actual_model", "get_instance_model", "get_labeling_model", "get_semantic_model"),
        "spineps.phase_instance": ("predict_instance_mask",),
        "spineps.phase_labeling": ("perform_labeling_step",),
        "spineps.phase_post": ("phase_postprocess_combined",),
        "spineps.phase_pre": ("preprocess_input",),
        "spineps.phase_semantic": ("predict_semantic_mask",),
        "spineps.seg_enums": ("Acquisition", "ErrCode", "Modality", "OutputType", "SpinepsPhase"),
        "spineps.seg_model": ("OutputType", "SegmentationModel", "Segmentation_Model"),
        "spineps.seg_pipeline": ("predict_centroids_from_both",),
        "spineps.seg_run": ("output_paths_from_input", "process_dataset", "segment_image"),
    }
)
