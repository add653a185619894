"""Segmentation of the spine in MRI: semantic and instance masks, centroids and a picture from one sagittal scan.

>>> import spineps
>>> result = spineps.segment_scan("sub-01_T2w.nii.gz")  # doctest: +SKIP
>>> [vertebra.label for vertebra in result.vertebrae]  # doctest: +SKIP
[2, 3, 4, 5, 6]
>>> spineps.save(result, "results")  # doctest: +SKIP

The names of the published SPINEPS package are here as well, see :mod:`spineps.compat`. ``SemanticConfig`` and
``InstanceConfig`` are the published ones; the settings of our own phases of those names are in :mod:`spineps.config`.

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spineps.api import save, segment_instances, segment_scan, to_nibabel, to_nii
    from spineps.compat.codes import Acquisition, ErrCode, Modality
    from spineps.compat.configs import InstanceConfig, LabelingConfig, PostConfig, SemanticConfig
    from spineps.compat.dataset import process_dataset
    from spineps.compat.find import get_instance_model, get_labeling_model, get_semantic_model
    from spineps.compat.image import process_img_nii, segment_image
    from spineps.compat.models import Segmentation_Model, SegmentationModel
    from spineps.compat.oneshot import SpinepsPipeline, SpinepsResult, segment
    from spineps.compat.phases import (
        perform_labeling_step,
        phase_postprocess_combined,
        predict_instance_mask,
        predict_semantic_mask,
    )
    from spineps.compat.program import entry_point
    from spineps.config import (
        ComputeConfig,
        Device,
        EndplateLabels,
        EndplateOwner,
        PipelineConfig,
        PostprocessConfig,
        Precision,
        PreprocessConfig,
    )
    from spineps.errors import (
        ErrorCode,
        ExitCode,
        Finding,
        FindingCode,
        InputError,
        ModelError,
        NoSpineError,
        OutputError,
        ResourceError,
        SpinepsError,
        UsageError,
    )
    from spineps.geometry import Geometry
    from spineps.labels import Scheme, Structure
    from spineps.outputs.save import SavedFiles
    from spineps.volume import Centroid, LabelMap, Result, Scan, Source, Vertebra

    __version__: str

_HOMES: Final = {
    "spineps.compat.codes": ("Acquisition", "ErrCode", "Modality"),
    "spineps.compat.configs": ("InstanceConfig", "LabelingConfig", "PostConfig", "SemanticConfig"),
    "spineps.compat.dataset": ("process_dataset",),
    "spineps.compat.image": ("process_img_nii", "segment_image"),
    "spineps.compat.find": ("get_instance_model", "get_labeling_model", "get_semantic_model"),
    "spineps.compat.models": ("Segmentation_Model", "SegmentationModel"),
    "spineps.compat.oneshot": ("SpinepsPipeline", "SpinepsResult", "segment"),
    "spineps.compat.phases": (
        "perform_labeling_step",
        "phase_postprocess_combined",
        "predict_instance_mask",
        "predict_semantic_mask",
    ),
    "spineps.compat.program": ("entry_point",),
    "spineps.api": ("save", "segment_instances", "segment_scan", "to_nibabel", "to_nii"),
    "spineps.config": (
        "ComputeConfig",
        "Device",
        "EndplateLabels",
        "EndplateOwner",
        "PipelineConfig",
        "PostprocessConfig",
        "Precision",
        "PreprocessConfig",
    ),
    "spineps.errors": (
        "ErrorCode",
        "ExitCode",
        "Finding",
        "FindingCode",
        "InputError",
        "ModelError",
        "NoSpineError",
        "OutputError",
        "ResourceError",
        "SpinepsError",
        "UsageError",
    ),
    "spineps.geometry": ("Geometry",),
    "spineps.labels": ("Scheme", "Structure"),
    "spineps.outputs.save": ("SavedFiles",),
    "spineps.volume": ("Centroid", "LabelMap", "Result", "Scan", "Source", "Vertebra"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022  (what a user calls first, then the types)
    "save",
    "segment_instances",
    "segment_scan",
    "to_nibabel",
    "to_nii",
    "Centroid",
    "ComputeConfig",
    "Device",
    "EndplateLabels",
    "EndplateOwner",
    "ErrorCode",
    "ExitCode",
    "Finding",
    "FindingCode",
    "Geometry",
    "InputError",
    "LabelMap",
    "ModelError",
    "NoSpineError",
    "OutputError",
    "PipelineConfig",
    "PostprocessConfig",
    "Precision",
    "PreprocessConfig",
    "ResourceError",
    "Result",
    "SavedFiles",
    "Scan",
    "Scheme",
    "Source",
    "SpinepsError",
    "Structure",
    "UsageError",
    "Vertebra",
    "__version__",
    # the published package's
    "Acquisition",
    "ErrCode",
    "InstanceConfig",
    "LabelingConfig",
    "Modality",
    "PostConfig",
    "SegmentationModel",
    "Segmentation_Model",
    "SemanticConfig",
    "SpinepsPipeline",
    "SpinepsResult",
    "entry_point",
    "get_instance_model",
    "get_labeling_model",
    "get_semantic_model",
    "perform_labeling_step",
    "phase_postprocess_combined",
    "predict_instance_mask",
    "predict_semantic_mask",
    "process_dataset",
    "process_img_nii",
    "segment",
    "segment_image",
]

# Published scripts import submodules as well (``from spineps.seg_run import ...``): they lie together, out of the way.
__path__.append(f"{__path__[0]}/compat/modules")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'spineps' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """Version of the installed package, or that of a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("spineps")
    except PackageNotFoundError:
        return "0+unknown"
