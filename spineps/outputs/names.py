"""Names of the files of a result: where they lie and what they are called.

The published names: for ``sub-X_T2w.nii.gz`` the masks ``sub-X_mod-T2w_seg-spine_msk.nii.gz`` and ``..._seg-vert_msk.nii.gz``,
beside them the centroids, the picture and the record of the run. Every file carries the scan's full entity prefix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, OutputError
from spineps.io.shown import shown_name

DERIVATIVE: Final = "derivatives_seg"
"""Folder of the results beside a scan, as published."""
INSTANCE_DERIVATIVE: Final = "derivatives_instance"
"""Folder of the results of phase two alone, apart from the masks that it began from."""

_SUFFIXES: Final = (".nii.gz", ".nii")
_MASK_SUFFIXES: Final = frozenset({"msk", "seg", "dseg", "mask", "label"})
_MAX_NAME_BYTES: Final = 255  # of one name on the file systems in use (ext4, XFS, APFS, NTFS)
_MAX_PATH_BYTES: Final = 4096  # PATH_MAX on Linux
# The order in which the published masks list their entities; others come after these.
# fmt: off
_ORDER: Final = (
    "sub", "ses", "sequ", "acq", "task", "chunk", "hemi", "sample", "split", "ce", "trc", "stain", "rec", "proc", "mod",
    "recording", "res", "dir", "echo", "flip", "inv", "mt", "part", "space", "seg", "source", "ovl", "run", "label", "den",
    "version", "desc",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class FileNames:
    """Names of the files of a result, without their folder."""

    semantic: str
    instance: str
    centroids: str
    snapshot: str
    record: str
    measures: str
    measures_json: str
    levels: str
    points: str
    verse: str
    page: str

    def all(self) -> tuple[str, ...]:
        """All names, the record of the run last."""
        return (
            self.semantic,
            self.instance,
            self.centroids,
            self.snapshot,
            self.measures,
            self.measures_json,
            self.levels,
            self.points,
            self.verse,
            self.page,
            self.record,
        )


def stem(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``, whatever their case."""
    name = path.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def prefix_of(path: Path) -> str:
    """Entity prefix of all files made from a scan.

    Parameters
    ----------
    path : Path
        The scan. Of a BIDS name the entities are kept and its suffix becomes the entity ``mod``; of any other name the whole,
        with ``_`` and ``.`` turned to ``-``, becomes the subject and its last part ``mod``, as published. A mask's own
        ``seg`` entity is dropped.

    Returns
    -------
    str
        Such as ``sub-X_ses-1_mod-T2w``.

    Raises
    ------
    OutputError
        OUTPUT_NAME if no usable name is left.
    """
    parts = _clean(stem(path)).split("_")
    entities = _entities(parts[:-1])
    suffix = parts[-1]
    if "sub" not in entities or "-" in suffix:
        whole = _entities(parts)
        if "sub" in whole:
            entities, suffix = whole, ""
        else:
            entities = {"sub": _as_value("_".join(parts)).removeprefix("sub-")}
            suffix = _as_value(suffix)
    entities.pop("seg", None)
    if suffix and suffix not in _MASK_SUFFIXES:
        entities["mod"] = suffix
    if not entities["sub"]:
        raise _bad_name(path.name, "gives no subject to name the results by")
    return _join(entities)


def names_for(prefix: str) -> FileNames:
    """Names of the files of a result under an entity prefix, such as that of :func:`prefix_of`.

    Raises
    ------
    OutputError
        OUTPUT_NAME if the prefix is no part of a file name, or a name would have more than 255 bytes.
    """
    if not prefix or prefix != _clean(prefix) or prefix.startswith("."):
        raise _bad_name(prefix, "is no part of a file name")
    spine, vert = _with_segmentation(prefix, "spine"), _with_segmentation(prefix, "vert")
    names = FileNames(
        semantic=f"{spine}_msk.nii.gz",
        instance=f"{vert}_msk.nii.gz",
        centroids=f"{spine}_ctd.json",
        snapshot=f"{spine}_snp.png",
        record=f"{prefix}_run.json",
        measures=f"{prefix}_measures.tsv",
        measures_json=f"{prefix}_measures.json",
        levels=f"{prefix}_levels.tsv",
        points=f"{spine}_poi.json",
        verse=f"{_with_segmentation(prefix, 'vb')}_ctd.json",
        page=f"{prefix}_report.html",
    )
    longest = max(len(os.fsencode(name)) for name in names.all())
    if longest > _MAX_NAME_BYTES:
        raise _bad_name(prefix, f"makes file names of {longest} bytes where {_MAX_NAME_BYTES} are possible")
    return names


@dataclass(frozen=True, slots=True)
class ExtraNames:
    """Names, under the folder of a result, of what a run gives beside it; the published ones.

    Parameters
    ----------
    raw, debug : str
        Folders for what is not a result but made on the way, such as ``output_raw_T2w`` and ``debug_T2w``.
    softmax, uncertainty, model_mask : str
        Files in ``raw``: probabilities, uncertainty, and the semantic mask on the network's grid.
    kind : str
        Kind of the scan (``T2w``), which ends the names of files in ``debug``.
    """

    raw: str
    debug: str
    softmax: str
    uncertainty: str
    model_mask: str
    kind: str


def extra_names(prefix: str) -> ExtraNames:
    """Names of what a run gives beside its masks, under an entity prefix."""
    spine = _with_segmentation(prefix, "spine")
    kind = _entities(prefix.split("_")).get("mod", "")
    end = f"_{kind}" if kind else ""
    return ExtraNames(
        raw=f"output_raw{end}",
        debug=f"debug{end}",
        softmax=f"{spine}_logit.npz",
        uncertainty=f"{spine}_unc.nii.gz",
        model_mask=f"{_with_segmentation(prefix, 'spine-modelres')}_msk.nii.gz",
        kind=kind,
    )


def output_folder(scan: Path, *, dataset: Path | None = None, derivative: str = DERIVATIVE) -> Path:
    """Folder in which the results of a scan lie if the user names none.

    Parameters
    ----------
    scan : Path
        The scan, or the link to it: results lie beside the link.
    dataset : Path, optional
        Root of its dataset; the folders between the dataset's first level (``rawdata``) and the scan are mirrored. Without
        it, the scan's own folder is the root.
    derivative : str
        Name of the results' folder in the root.
    """
    root = scan.parent if dataset is None else dataset
    return root.joinpath(derivative, *scan.parent.relative_to(root).parts[1:])


def instance_folder(semantic: Path) -> Path:
    """Folder for the results of phase two alone: beside the mask, or beside the derivatives folder that the mask lies in."""
    for folder in semantic.parents:
        if folder.name.startswith("derivatives"):
            return folder.parent.joinpath(INSTANCE_DERIVATIVE, *semantic.parent.relative_to(folder).parts)
    return semantic.parent / INSTANCE_DERIVATIVE


def check_places(folder: Path, names: FileNames, *, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse places that cannot be written to by their name, or that would overwrite an input.

    Raises
    ------
    OutputError
        OUTPUT_NAME.
    """
    taken = {os.path.realpath(path) for path in inputs} | {os.path.abspath(path) for path in inputs}  # noqa: PTH100
    nominal = os.path.abspath(folder)  # noqa: PTH100  (a path that may be too long for the system to look at)
    folders = {nominal, os.path.realpath(nominal)}
    for name in names.all():
        if len(os.fsencode(os.path.join(nominal, name))) >= _MAX_PATH_BYTES:  # noqa: PTH118
            raise _bad_name(name, f"has a path of more than {_MAX_PATH_BYTES - 1} bytes")
        if not taken.isdisjoint(os.path.join(place, name) for place in folders):  # noqa: PTH118
            raise _bad_name(name, "is the name of an input, which is never overwritten")


def _clean(name: str) -> str:
    """The name with path separators and control characters turned to ``-``."""
    return "".join("-" if char in "/\\" or not char.isprintable() else char for char in name)


def _as_value(text: str) -> str:
    return text.replace("_", "-").replace(".", "-").strip("-")


def _entities(parts: list[str]) -> dict[str, str]:
    """Entities of a BIDS name, or an empty mapping if a part is not of the form ``key-value`` or the first not ``sub``."""
    pairs = [part.partition("-") for part in parts]
    if not pairs or pairs[0][0] != "sub" or any(not key.isalnum() or not value for key, _, value in pairs):
        return {}
    return {key: value.replace(".", "-") for key, _, value in pairs}


def _join(entities: Mapping[str, str]) -> str:
    rank = {key: position for position, key in enumerate(_ORDER)}
    return "_".join(f"{key}-{entities[key]}" for key in sorted(entities, key=lambda key: rank.get(key, len(_ORDER))))


def _with_segmentation(prefix: str, segmentation: str) -> str:
    entities = _entities(prefix.split("_"))
    return _join({**entities, "seg": segmentation}) if entities else f"{prefix}_seg-{segmentation}"


def _bad_name(name: str, why: str) -> OutputError:
    return OutputError(
        ErrorCode.OUTPUT_NAME,
        f"{shown_name(name)} {why}.",
        remedy="Rename the input, or choose another output folder with -o.",
    )
