"""Scans of one's own with masks in our label scheme: found by their names, paired, read onto one grid.

A mask lies beside its scan or anywhere below the folder (derivatives): ``sub-01_T2w.nii.gz`` belongs to
``sub-01_seg-spine_msk.nii.gz``, ``sub-01_mod-T2w_seg-vert_msk.nii.gz`` and ``sub-01_T2w_dseg.nii.gz`` alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, InputError, UsageError
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.io.nifti import read_labels, read_scan
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, VERTEBRA, Scheme, Structure, is_vertebra
from spineps.networks.classes import SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.training.marginal import ANY_PART, Sets, class_sets
from spineps.volume import Scan

_ENDINGS: Final = (".nii.gz", ".nii")
_PAIR: Final = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+.]+)")
_MASK_SUFFIXES: Final = frozenset({"msk", "mask", "dseg", "seg"})
_OF_MASKS: Final = frozenset({"seg", "mod", "desc", "label", "space", "res"})
_INSTANCE_NAMES: Final = ("vert", "instance", "vertebra", "vertebrae")
_NOT_READ: Final = frozenset({"sourcedata", "code"})
_UNKNOWN_SHARE: Final = 0.01
"""Where more than this share of a vertebra has no semantic label, its parts are unknown, not missing."""


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """A scan and its masks.

    Parameters
    ----------
    name : str
        Of the scan, without its ending.
    patient : str
        What follows ``sub-``; all scans of a patient stay on one side of a split.
    image : Path
        The scan.
    semantic, instance : Path or None
        Its masks; at least one is there.
    """

    name: str
    patient: str
    image: Path
    semantic: Path | None = None
    instance: Path | None = None

    def with_mask(self, scheme: Scheme, path: Path) -> CaseFiles:
        """The case with one more mask.

        Raises
        ------
        InputError
            INPUT_FORMAT where it has one of that scheme already.
        """
        there = self.semantic if scheme is Scheme.SEMANTIC else self.instance
        if there is not None:
            raise InputError(
                ErrorCode.INPUT_FORMAT,
                f"{path.name!r} and {there.name!r} are both the {scheme.value} mask of {self.name!r}.",
                remedy="Keep one of them in the folder.",
            )
        return replace(self, semantic=path) if scheme is Scheme.SEMANTIC else replace(self, instance=path)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A scan with its masks in PIR orientation, on the scan's grid.

    Parameters
    ----------
    scan : Scan
        As it was read.
    semantic, instance : ndarray of uint8, shape (P, I, R)
        Masks; zeros where there is none.
    geometry : Geometry
        Of the masks.
    """

    files: CaseFiles
    scan: Scan
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    geometry: Geometry

    def parts_unknown(self) -> bool:
        """Whether vertebrae are known as wholes of which the parts are not."""
        vertebrae = _VERTEBRA_INSTANCE[self.instance]
        count = int(vertebrae.sum())
        return count > 0 and int((vertebrae & (self.semantic == 0)).sum()) > _UNKNOWN_SHARE * count

    def labelled(self) -> frozenset[Structure]:
        """The structures that the masks name."""
        found = {SEMANTIC_CLASSES[c] for c in np.unique(SEMANTIC_TABLE[self.semantic]) if c}
        if self.parts_unknown():
            found |= set(VERTEBRA) & set(SEMANTIC_CLASSES)
        if (self.instance // DISC_OFFSET == 1).any():
            found.add(Structure.DISC)
        if (self.instance // ENDPLATE_OFFSET == 1).any():
            found.add(Structure.ENDPLATE)
        return frozenset(found)

    def sets(self, labelled: frozenset[Structure]) -> Sets:
        """What each voxel may be, if the masks name ``labelled`` where they are; shape (P, I, R)."""
        table = class_sets(labelled)
        found: Sets = table[self.semantic]
        silent = self.semantic == 0
        for members, of in (
            (_VERTEBRA_INSTANCE[self.instance], ANY_PART | int(table[Structure.CORPUS])),
            (self.instance // DISC_OFFSET == 1, int(table[Structure.DISC])),
            (self.instance // ENDPLATE_OFFSET == 1, int(table[Structure.ENDPLATE])),
        ):
            found[silent & members] = of
        return found


def find_cases(folder: Path) -> list[CaseFiles]:
    """All scans below a folder that have a mask, by name.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND where the folder does not exist or no scan has a mask; INPUT_FORMAT where two masks claim one place.
    """
    if not folder.is_dir():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{folder.name!r} is no folder.", remedy="Give a BIDS folder with masks.")
    scans: dict[str, CaseFiles] = {}
    masks: list[tuple[str, Scheme, Path]] = []
    for path in sorted(p for p in folder.rglob("*") if _stem(p) and not _NOT_READ & set(p.relative_to(folder).parts)):
        entities, suffix = _entities(_stem(path))
        if suffix in _MASK_SUFFIXES or "seg" in entities:
            masks.append((_mask_key(entities, _stem(path)), _scheme(entities), path))
        elif "sub" in entities:
            scans[_stem(path)] = CaseFiles(_stem(path), entities["sub"], path)
    for key, scheme, path in masks:
        for name in [n for n in scans if n == key or n.rpartition("_")[0] == key]:
            scans[name] = scans[name].with_mask(scheme, path)
    found = [case for case in scans.values() if case.semantic or case.instance]
    if not found:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{folder.name!r} holds {len(scans)} scans named as in BIDS and {len(masks)} masks, but no pair of them.",
            remedy="Name scans sub-01_T2w.nii.gz and masks sub-01_seg-spine_msk.nii.gz and sub-01_seg-vert_msk.nii.gz.",
        )
    return found


def read_case(files: CaseFiles) -> Case:
    """Read a scan and its masks.

    Raises
    ------
    InputError
        Where a file is damaged, a mask lies on another grid than its scan or holds labels of no structure.
    """
    scan = read_scan(files.image)
    turn = Reorientation.between(scan.geometry.axes, PIR)
    geometry = turn.apply_geometry(scan.geometry)
    arrays: list[NDArray[np.uint8]] = []
    for path, scheme in ((files.semantic, Scheme.SEMANTIC), (files.instance, Scheme.INSTANCE)):
        if path is None:
            arrays.append(np.zeros(geometry.shape, np.uint8))
            continue
        mask = read_labels(path, scheme=scheme, allow_empty=True)
        turned = Reorientation.between(mask.geometry.axes, PIR)
        if not turned.apply_geometry(mask.geometry).matches(geometry, tolerance_mm=0.1):
            raise InputError(
                ErrorCode.INPUT_AFFINE,
                f"{path.name!r} does not lie on the grid of {files.image.name!r}.",
                remedy="Resample the mask to its scan.",
            )
        labels: NDArray[Any] = turned.apply(mask.labels)
        if scheme is Scheme.SEMANTIC:
            _require_known(labels, path)
        arrays.append(labels.astype(np.uint8))
    return Case(files, scan, arrays[0], arrays[1], geometry)


def parse_structures(text: str) -> frozenset[Structure]:
    """Structures from their ids or names, separated by commas.

    Raises
    ------
    UsageError
        Where one is unknown.
    """
    names = {s.name.lower(): s for s in Structure} | {str(int(s)): s for s in Structure}
    words = [word.strip().lower() for word in text.split(",")]
    unknown = [word for word in words if word not in names]
    if unknown:
        raise UsageError(
            ErrorCode.USAGE, f"{unknown[0]!r} is no structure.", remedy="Give ids or names, for example 49,100 or corpus,disc."
        )
    return frozenset(names[word] for word in words)


def labelled_in(cases: Sequence[Case]) -> frozenset[Structure]:
    """The structures that any mask of a dataset names."""
    return frozenset().union(*(case.labelled() for case in cases))


def _require_known(labels: NDArray[Any], path: Path) -> None:
    known = {int(s) for s in Structure}
    unknown = [int(v) for v in np.unique(labels) if int(v) not in known]
    if unknown:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"{path.name!r} holds the labels {', '.join(map(str, unknown[:5]))}, which are no structures.",
            remedy="Use the ids of the documentation; name instance masks seg-vert. For SPIDER data: 'spineps convert-spider'.",
        )


def _stem(path: Path) -> str:
    """Name without its ending; empty of a file that is no image."""
    name = path.name
    ending = next((e for e in _ENDINGS if name.lower().endswith(e)), "")
    return name[: -len(ending)] if ending and not name.startswith(".") else ""


def _entities(stem: str) -> tuple[dict[str, str], str]:
    *parts, suffix = stem.split("_")
    pairs = [match for match in map(_PAIR.fullmatch, parts) if match]
    return {match[1]: match[2] for match in pairs}, suffix


def _mask_key(entities: dict[str, str], stem: str) -> str:
    """Name of the scan that a mask belongs to, with its kind of image where the mask says it."""
    own = [f"{key}-{value}" for key, value in entities.items() if key not in _OF_MASKS]
    words = [word for word in stem.split("_")[:-1] if not _PAIR.fullmatch(word)]
    return "_".join([*own, *words, *([entities["mod"]] if "mod" in entities else [])])


def _scheme(entities: dict[str, str]) -> Scheme:
    told = entities.get("seg", entities.get("desc", "")).lower()
    return Scheme.INSTANCE if told.startswith(_INSTANCE_NAMES) else Scheme.SEMANTIC


_VERTEBRA_INSTANCE: Final = np.array([is_vertebra(i) for i in range(256)])
