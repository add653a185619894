"""Where the results of a scan lie and what they are called, in both ways of naming; and what a scan is called in messages."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from spineps.cohort.discover import FoundScan, parse_name
from spineps.cohort.settings import Naming
from spineps.cohort.sidecars import extra_names as extra_image_names
from spineps.cohort.sidecars import sidecar_names
from spineps.errors import ErrorCode, OutputError
from spineps.outputs.names import FileNames, check_places, extra_names, names_for, prefix_of

RECORD: Final = "record"
EXTRAS: Final = ("softmax", "uncertainty", "model_mask")
"""Roles of what a run gives beside its masks where it is asked to."""
CRASHES: Final = "crashes"
"""Folder in the root of the results for what helps to find mistakes of the program, a file a scan."""
STATE_FOLDER: Final = ".spineps"
"""Folder in the root of the results for claims and for times of files; no result is in it."""
CASE_DIGITS: Final = 12
# The order in which BIDS 1.10 lists entities; others come after these.
# fmt: off
_BIDS_ORDER: Final = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "voi", "nuc", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo",
    "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc",
)
# fmt: on
_SEGMENTATION: Final = re.compile(r"_seg-([A-Za-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class Case:
    """A scan with the place of its results.

    Parameters
    ----------
    name : str
        What the scan is called in messages: 12 hexadecimal digits that follow from its place in the dataset.
    scan : FoundScan
        The file.
    folder : Path
        Where its results lie.
    prefix : str
        What their published names begin with, and what its row in tables is called.
    files : Mapping of str to str
        Role of each result (``semantic``, ``instance``, ..., ``record``) to its file name.
    problem : OutputError or None
        Why it cannot have results: an impossible name, or one that is another scan's.
    """

    name: str
    scan: FoundScan
    folder: Path
    prefix: str
    files: Mapping[str, str]
    problem: OutputError | None = None

    def place(self, role: str) -> Path:
        """Path of a result."""
        return self.folder / self.files[role]

    def file_names(self) -> FileNames:
        """The names of a result's own files, for :func:`spineps.outputs.save.stage_result`."""
        return FileNames(**{role: name for role, name in self.files.items() if role in FileNames.__dataclass_fields__})


def cases_of(scans: Iterable[FoundScan], root: Path, naming: Naming) -> tuple[Case, ...]:
    """The place of each scan's results under ``root``; two scans never share one."""
    cases, taken = [], set()
    for scan in scans:
        case = _case_of(scan, root, naming)
        place = (case.folder, case.files.get(RECORD))
        if case.problem is None and place in taken:
            case = replace(case, problem=_same_names())
        taken.add(place)
        cases.append(case)
    return tuple(cases)


def case_name(relative: str) -> str:
    """What a scan is called in messages."""
    return hashlib.sha256(os.fsencode(relative)).hexdigest()[:CASE_DIGITS]


def bids_names(scan: FoundScan, published: FileNames, prefix: str) -> dict[str, str]:
    """BIDS derivative names of all results: the scan's entities, ``seg-`` for masks, ``desc-`` for the scan's suffix.

    The suffix of the source stands in ``desc-``, so that a T1w and a T2w scan of one session keep apart.
    """
    entities = dict(scan.entities) or parse_name(f"{prefix}_x")[0] or {"sub": prefix.removeprefix("sub-")}
    entities.pop("mod", None)
    names = {}
    for role, name in asdict(published).items():
        segmentation = _SEGMENTATION.search(name.removeprefix(prefix))
        kind = name.rpartition("_")[2]
        own = {"seg": segmentation[1].replace("-", "")} if segmentation else {}
        own["desc"] = scan.suffix or "scan"
        names[role] = f"{_joined({**entities, **own})}_{'dseg.nii.gz' if kind == 'msk.nii.gz' else kind}"
    return names


def _case_of(scan: FoundScan, root: Path, naming: Naming) -> Case:
    name = case_name(scan.relative)
    folder = root / Path(scan.relative).parent
    try:
        prefix = prefix_of(scan.path)
        published = names_for(prefix)
        if naming is Naming.BIDS:
            files = bids_names(scan, published, prefix)
            folder = _bids_folder(scan, root, folder)
            files |= extra_image_names(files)
            files |= sidecar_names(files)
        else:
            files = asdict(published)
            files |= _extra_files(prefix)
        case = Case(name, scan, folder, prefix, MappingProxyType(files))
        check_places(folder, case.file_names(), inputs=(scan.path,))
    except OutputError as error:
        return Case(name, scan, folder, "", MappingProxyType({}), error)
    return case


def _bids_folder(scan: FoundScan, root: Path, mirrored: Path) -> Path:
    """``sub-X[/ses-Y]/anat``; for a name that is not of BIDS, the folders that the scan lies in."""
    if not scan.entities:
        return mirrored
    labels = [f"{key}-{scan.entities[key]}" for key in ("sub", "ses") if key in scan.entities]
    return root.joinpath(*labels, "anat")


def _extra_files(prefix: str) -> dict[str, str]:
    """Places of what a run gives beside its masks where it is asked to, from the scan's folder of results."""
    names = extra_names(prefix)
    return {role: f"{names.raw}/{name}" for role, name in asdict(names).items() if role in EXTRAS}


def _joined(entities: Mapping[str, str]) -> str:
    rank = {key: place for place, key in enumerate(_BIDS_ORDER)}
    return "_".join(f"{key}-{entities[key]}" for key in sorted(entities, key=lambda key: rank.get(key, len(_BIDS_ORDER))))


def _same_names() -> OutputError:
    return OutputError(
        ErrorCode.OUTPUT_NAME,
        "the results of this scan would have the names of another scan's.",
        remedy="Rename one of the two scans.",
    )
