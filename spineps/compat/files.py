"""What a result becomes: the published files, or the published values in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from spineps import api
from spineps.compat.grids import to_poi
from spineps.compat.run import Segmented, Wanted
from spineps.io import atomic
from spineps.outputs.save import save
from spineps.volume import Result

if TYPE_CHECKING:
    from TPTBox import NII, POI

_MASK: Final = "_msk.nii.gz"
_SEGMENTATION: Final = "_seg-spine"


def in_memory(result: Result) -> tuple[NII, NII, POI]:
    """Semantic mask, instance mask and centroids."""
    points = to_poi(result.centroids, result.instance.geometry, {"source": "spineps"})
    return api.to_nii(result.semantic), api.to_nii(result.instance), points


def write_files(done: Segmented, paths: dict[str, Path], wanted: Wanted) -> None:
    """Write the masks of the phases first, then the results, the record of the run last.

    Raises
    ------
    OutputError
        If a file cannot be written; nothing half-written is left then.
    """
    if wanted.save_debug_data:
        ending = paths["out_debug"].name.removeprefix("debug")
        for name, mask in done.debug.items():
            place = paths["out_debug"] / f"{name}{ending}.nii.gz"
            atomic.write_nifti(place, mask.labels.astype(np.uint16), mask.geometry)
    if wanted.save_raw and done.made:
        with atomic.stage(paths["out_raw"]) as staged:
            for key, mask in done.made.items():
                staged.write_nifti(paths[key].name, mask.labels.astype(np.uint16), mask.geometry)
            staged.commit()
    spine = paths["out_spine"]
    save(done.result, spine.parent, prefix=spine.name.removesuffix(_MASK).replace(_SEGMENTATION, "", 1))
    if wanted.snapshot_copy_folder is not None:
        atomic.write_bytes(paths["out_snap2"], paths["out_snap"].read_bytes())
