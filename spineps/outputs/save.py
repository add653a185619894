"""Writing a result: all files staged, then moved into place, the record of the run last as the commit mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from spineps.config import PipelineConfig
from spineps.errors import SpinepsError
from spineps.io import atomic
from spineps.io.poi import poi_document
from spineps.outputs.extras import save_extras
from spineps.outputs.levels import levels_tsv
from spineps.outputs.measures import measures_json, measures_tsv
from spineps.outputs.names import FileNames, check_places, extra_names, names_for
from spineps.outputs.points import level_points, verse_document
from spineps.outputs.record import failure_record, run_record
from spineps.outputs.snapshot import snapshot_png
from spineps.page.scan import scan_page
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
    page : Path
        HTML page to look at the result with.
    levels : Path
        Level of each vertebra with its probability, as a table.
    points, verse : Path
        Points of each level as a POI file, and the bodies' centres in the form of VerSe.
    measures, measures_json : Path or None
        Measurements as a table and as JSON; None where nothing was measured.
    extras : Mapping of str to Path
        What was asked for beside the masks: ``softmax``, ``uncertainty``, ``model_mask``.
    """

    semantic: Path
    instance: Path
    centroids: Path
    snapshot: Path
    record: Path
    levels: Path
    points: Path
    verse: Path
    page: Path
    measures: Path | None = None
    measures_json: Path | None = None
    extras: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


def save(result: Result, folder: Path | str, *, prefix: str | None = None) -> SavedFiles:
    """Write a result: two masks, centroids, a picture, a page to look at it, measurements and the record of the run.

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
    prefix = prefix if prefix is not None else default_prefix(result)
    names = names_for(prefix)
    check_places(folder, names)
    with atomic.stage(folder) as staged:
        written = stage_result(staged, result, names)
        extras = save_extras(result, folder, prefix=prefix)
        written |= {role: file.sha256 for role, file in extras.items()}
        staged.write_json(names.record, run_record(result, written))
        staged.commit()
    return SavedFiles(
        semantic=folder / names.semantic,
        instance=folder / names.instance,
        centroids=folder / names.centroids,
        snapshot=folder / names.snapshot,
        record=folder / names.record,
        levels=folder / names.levels,
        points=folder / names.points,
        verse=folder / names.verse,
        page=folder / names.page,
        measures=folder / names.measures if result.measures else None,
        measures_json=folder / names.measures_json if result.measures else None,
        extras=MappingProxyType({role: folder / extra_names(prefix).raw / file.name for role, file in extras.items()}),
    )


def stage_result(staged: atomic.Staging, result: Result, names: FileNames) -> dict[str, str]:
    """Stage every file of a result but its record, which whoever stages it writes last.

    Returns
    -------
    dict of str to str
        What each file is, by the name of its field in ``names``, and the sha256 of its bytes.
    """
    points = poi_document(result.centroids, result.instance.geometry, info={"source": _PROGRAM})
    written = {
        "semantic": staged.write_nifti(names.semantic, _voxels(result.semantic), result.semantic.geometry),
        "instance": staged.write_nifti(names.instance, _voxels(result.instance), result.instance.geometry),
        "centroids": staged.write_json(names.centroids, points),
        "snapshot": staged.write_bytes(names.snapshot, snapshot_png(result)),
        "page": staged.write_text(names.page, scan_page(result, run_record(result, {}))),
    }
    points = poi_document(level_points(result), result.instance.geometry, info={"source": _PROGRAM})
    written |= {
        "levels": staged.write_text(names.levels, levels_tsv(result)),
        "points": staged.write_json(names.points, points),
        "verse": staged.write_json(names.verse, verse_document(result)),
    }
    if result.measures:
        written["measures"] = staged.write_text(names.measures, measures_tsv(result))
        written["measures_json"] = staged.write_json(names.measures_json, measures_json(result))
    return {role: file.sha256 for role, file in written.items()}


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
