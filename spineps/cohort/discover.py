"""Which files of a dataset are scans to segment.

A walk over the folders by the naming rules of BIDS 1.10, without an index: on the layouts of the official BIDS examples it
finds what pybids finds (TPTBox takes derivatives for scans there), also where a dataset has no description or a file no rights,
and 30,000 scans need a few seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spineps.cohort.filters import meets_any
from spineps.cohort.settings import Selection
from spineps.errors import ErrorCode, InputError

SUFFIXES: Final = (".nii.gz", ".nii")
NOT_RAW: Final = frozenset({"sourcedata", "code", "stimuli", "phenotype"})
"""Folders of a BIDS dataset without raw scans; those that begin with ``derivatives`` or a dot hold none either."""
DERIVED: Final = frozenset({"desc", "space", "res", "den", "label", "seg", "atlas", "from", "to"})
"""Entities that only derivatives have."""
_DATATYPES: Final = frozenset({"anat", "func", "dwi", "fmap", "perf", "pet"})
_MASKS: Final = frozenset({"msk", "seg", "dseg", "probseg", "mask", "label", "defacemask"})
_PAIR: Final = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+.]+)")
_OTHER_PLANE: Final = re.compile(r"(ax|axial|tra|trans|cor|coronal)", re.IGNORECASE)
_NOT_MAGNITUDE: Final = frozenset({"phase", "real", "imag"})


@dataclass(frozen=True, slots=True)
class FoundScan:
    """A file to segment.

    Parameters
    ----------
    path : Path
        Where it is; a link is not followed.
    relative : str
        From the root of the scans, with ``/``.
    entities : Mapping of str to str
        Of a BIDS name, in its order: ``{"sub": "01", "ses": "1"}``; empty for other names.
    suffix : str
        Of a BIDS name, such as ``T2w``.
    problem : ErrorCode or None
        Why it cannot be looked at: a folder that may not be opened stands for what is in it.
    """

    path: Path
    relative: str
    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    problem: ErrorCode | None = None


def scans_root(dataset: Path, selection: Selection) -> Path:
    """Folder in which scans are looked for.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND or INPUT_NOT_FILE if the dataset is no folder.
    """
    if not dataset.is_dir():
        code = ErrorCode.INPUT_NOT_FILE if dataset.exists() else ErrorCode.INPUT_NOT_FOUND
        raise InputError(code, "the dataset is not a folder.", remedy="Give the folder that holds the scans.")
    rawdata = dataset / selection.rawdata
    return rawdata if selection.rawdata and rawdata.is_dir() else dataset


def find_scans(dataset: Path, selection: Selection, *, leave_out: Path | None = None) -> tuple[FoundScan, ...]:
    """Every scan of a dataset that was asked for, by path.

    Parameters
    ----------
    dataset : Path
        A BIDS dataset, or any folder.
    selection : Selection
        What is asked for. Names that BIDS gives to derivatives, to phase images and to planes other than sagittal are left out
        unless ``selection.any_name`` is set.
    leave_out : Path, optional
        Folder of results, wherever it lies.

    Raises
    ------
    InputError
        If the dataset is no folder.
    """
    root = scans_root(dataset, selection)
    found = (_described(path, root, problem) for path, problem in _walk(root, leave_out))
    return tuple(sorted((scan for scan in found if _wanted(scan, selection)), key=lambda scan: os.fsencode(scan.relative)))


def parse_name(name: str) -> tuple[dict[str, str], str]:
    """Entities and suffix of a BIDS file name without its extension; both empty where it is none."""
    *parts, suffix = name.split("_")
    pairs = [_PAIR.fullmatch(part) for part in parts]
    if not parts or not all(pairs) or not parts[0].startswith("sub-") or not suffix.isalnum():
        return {}, ""
    return {pair[1]: pair[2] for pair in pairs if pair}, suffix


def _walk(root: Path, leave_out: Path | None) -> Iterator[tuple[Path, ErrorCode | None]]:
    """Files that end like images, and folders that may not be opened. A folder that two links lead to is entered once."""
    waiting, entered = [root], {os.path.realpath(leave_out)} if leave_out is not None else set()
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield folder, ErrorCode.INPUT_PERMISSION
            continue
        for entry in listed:
            image = entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            if image:
                yield Path(entry.path), None
            elif not _hidden(entry.name) and _is_folder(entry):
                waiting.append(Path(entry.path))


def _hidden(name: str) -> bool:
    return name.startswith((".", "derivatives")) or name in NOT_RAW


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _described(path: Path, root: Path, problem: ErrorCode | None) -> FoundScan:
    relative = path.relative_to(root).as_posix()
    if problem is not None:
        parts = [_PAIR.fullmatch(part) for part in path.relative_to(root).parts]
        return FoundScan(path, relative, {pair[1]: pair[2] for pair in parts if pair}, "", problem)
    name = path.name
    for ending in SUFFIXES:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    entities, suffix = parse_name(name)
    return FoundScan(path, relative, entities, suffix)


def _wanted(scan: FoundScan, selection: Selection) -> bool:
    if not _by_label(scan, "sub", selection.participants) or not _by_label(scan, "ses", selection.sessions):
        return False
    if scan.problem is not None:
        return True
    if selection.any_name:
        return (scan.suffix or scan.path.name.split("_")[-1].split(".")[0]) not in _MASKS
    if not scan.entities or scan.entities.keys() & DERIVED or scan.entities.get("part") in _NOT_MAGNITUDE:
        return False
    if selection.filters:
        return meets_any(_queried(scan), selection.filters)
    return scan.suffix in selection.modalities and not _OTHER_PLANE.match(scan.entities.get("acq", ""))


def _by_label(scan: FoundScan, entity: str, labels: tuple[str, ...]) -> bool:
    """Whether the scan has one of the labels; a folder that may not be opened has, as long as it does not say otherwise."""
    if not labels:
        return True
    label = scan.entities.get(entity)
    if label is None and scan.problem is not None:
        return True
    return label in {label.removeprefix(f"{entity}-") for label in labels}


def _queried(scan: FoundScan) -> dict[str, Any]:
    """What a BIDS filter can ask for."""
    folder = scan.path.parent.name
    name = scan.path.name
    extension = next((name[-len(ending) :] for ending in SUFFIXES if name.lower().endswith(ending)), "")
    datatype = folder if folder in _DATATYPES else "anat"
    return {**scan.entities, "suffix": scan.suffix, "datatype": datatype, "extension": extension}
