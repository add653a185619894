"""Writing a result: all files staged, then moved into place, the record of the run last as the commit mark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from spineps.config import PipelineConfig
from spineps.errors import SpinepsError
from spineps.io import atomic
from spineps.io.poi import poi_document
from spineps.outputs.names import check_places, names_for
from spineps.outputs.record import failure_record, run_record
from spineps.outputs.snapshot import snapshot_png
from spineps.volume import LabelMap, Result, Scan

_PROGRAM: Final = "spineps"
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class SavedFiles:
    """Where the files of a result are.

    Parameters
    ----------
    semantic, instance : Path
        The masks, uint16 NIfTI in the grid of the input.
    centroids : Path
        POI file of the centres of vertebrae, discs and endplates.
    snapshot : Path
        Picture, PNG.
    record : Path
        Record of the run, JSON; written last.
    """

    semantic: Path
    instance: Path
    centroids: Path
    snapshot: Path
    record: Path


def save(result: Result, folder: Path | str, *, prefix: str | None = None) -> SavedFiles:
    """Write a result: two masks, centroids, a picture and the record of the run.

    Parameters
    ----------
    result : Result
        To be written.
    folder : Path or str
        Made if it is not there. Files of the same names are replaced, and only once all new ones are whole.
    prefix : str, optional
        What all names begin with, such as ``sub-X_mod-T2w``; by default that of the file that the result came from, and for
        data from memory ``scan``.

    Raises
    ------
    OutputError
        If a file cannot be written; nothing new is under a final name then.
    """
    folder = Path(folder)
    names = names_for(prefix if prefix is not None else default_prefix(result))
    check_places(folder, names)
    info = {"source": _PROGRAM}
    with atomic.stage(folder) as staged:
        semantic = staged.write_nifti(names.semantic, _voxels(result.semantic), result.semantic.geometry)
        instance = staged.write_nifti(names.instance, _voxels(result.instance), result.instance.geometry)
        points = poi_document(result.centroids, result.instance.geometry, info=info)
        centroids = staged.write_json(names.centroids, points)
        picture = staged.write_bytes(names.snapshot, snapshot_png(result))
        written = {"semantic": semantic, "instance": instance, "centroids": centroids, "snapshot": picture}
        staged.write_json(names.record, run_record(result, {role: file.sha256 for role, file in written.items()}))
        staged.commit()
    return SavedFiles(*(folder / name for name in names.all()))


def save_failure(scan: Scan, config: PipelineConfig, error: SpinepsError, folder: Path, *, prefix: str) -> Path:
    """Write the record alone of a scan in which there was nothing to segment.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    place = folder / names_for(prefix).record
    atomic.write_json(place, failure_record(scan, config, error))
    return place


def default_prefix(result: Result) -> str:
    """What a result's files are named by if the user says nothing: after its file, or its content, or else ``scan``."""
    source = result.semantic.source if result.scan is None else result.scan.source
    if source.prefix is not None:
        return source.prefix
    return f"scan-{source.sha256[:_HASH_DIGITS]}" if source.sha256 else "scan"


def _voxels(label_map: LabelMap) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Labels as uint16, as the published masks are stored."""
    return label_map.labels.astype(np.uint16)
