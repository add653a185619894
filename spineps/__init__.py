"""Segmentation of the spine in MRI: semantic and instance masks, centroids and a picture from one sagittal scan.

>>> import spineps
>>> result = spineps.segment_scan("sub-01_T2w.nii.gz")  # doctest: +SKIP
>>> [vertebra.label for vertebra in result.vertebrae]  # doctest: +SKIP
[2, 3, 4, 5, 6]
>>> spineps.save(result, "results")  # doctest: +SKIP

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spineps.api import save, segment_instances, segment_scan, to_nibabel, to_nii
    from spineps.config import (
        ComputeConfig,
        Device,
        EndplateLabels,
        EndplateOwner,
        InstanceConfig,
        PipelineConfig,
        PostprocessConfig,
        Precision,
        PreprocessConfig,
        SemanticConfig,
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
    "spineps.api": ("save", "segment_instances", "segment_scan", "to_nibabel", "to_nii"),
    "spineps.config": (
        "ComputeConfig",
        "Device",
        "EndplateLabels",
        "EndplateOwner",
        "InstanceConfig",
        "PipelineConfig",
        "PostprocessConfig",
        "Precision",
        "PreprocessConfig",
        "SemanticConfig",
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
    "InstanceConfig",
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
    "SemanticConfig",
    "Source",
    "SpinepsError",
    "Structure",
    "UsageError",
    "Vertebra",
    "__version__",
]


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
