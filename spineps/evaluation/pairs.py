"""Which files belong together: masks of a subject in the reference folder and in each method's folder.

Files are told by their names: ``seg-spine`` or ``seg-subreg`` is a semantic mask, ``seg-vert`` an instance mask, ``_ctd.json``
VerSe centroids; a mask of any other name is told by its labels. Subjects are the names without these parts. Where names do not
say it, a table of pairs does.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, InputError, UsageError

_MASKS: Final = (".nii.gz", ".nii", ".png")
_CENTROIDS: Final = "_ctd.json"
_VERSE_FORM: Final = "seg-vb_"
_KINDS: Final = (
    (re.compile(r"seg-(spine|subreg|semantic)\w*", re.IGNORECASE), "semantic"),
    (re.compile(r"seg-(vert|vertebra|vertebrae|instance)\w*", re.IGNORECASE), "instance"),
)
_DROPPED: Final = re.compile(r"^(seg|desc|space|res|ovl)-", re.IGNORECASE)
_SUFFIXES: Final = frozenset({"msk", "mask", "dseg", "seg", "label", "labels", "ctd"})
_MODALITY: Final = re.compile(r"^mod-", re.IGNORECASE)
_IMAGES: Final = frozenset({"t1w", "t2w", "t2star", "pdw", "flair", "dixon", "ct", "mr", "mri", "stir", "water", "uni"})
_PICTURES: Final = frozenset({"snp", "snapshot"})
_COLUMN: Final = re.compile(r"^(reference|prediction)_(semantic|instance|mask|centroids|boxes)$")


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """Files of one subject on one side.

    Parameters
    ----------
    semantic, instance : Path or None
        The two masks.
    mask : Path or None
        A mask whose kind its labels tell.
    centroids : Path or None
        VerSe centroid file.
    boxes : Path or None
        Detected boxes of a 2D image, in YOLO's text form (from a table of pairs alone).
    """

    semantic: Path | None = None
    instance: Path | None = None
    mask: Path | None = None
    centroids: Path | None = None
    boxes: Path | None = None

    def existing(self) -> tuple[Path, ...]:
        """The files that are named."""
        return tuple(p for p in (self.semantic, self.instance, self.mask, self.centroids, self.boxes) if p is not None)


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Files of one subject, reference and one method's prediction (None where the method has none)."""

    case: str
    method: str
    reference: MaskFiles
    prediction: MaskFiles | None


def find_masks(place: Path) -> dict[str, MaskFiles]:
    """All subjects of a folder, subfolders included, or the one of a file.

    Parameters
    ----------
    place : Path
        A folder or a mask.

    Returns
    -------
    dict of str to MaskFiles
        Subject to files, sorted by subject.

    Raises
    ------
    InputError
        If the place does not exist or holds no mask, or two files claim the same role of a subject.
    """
    if place.is_file():
        return {"": MaskFiles(mask=place)}
    if not place.is_dir():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{place.name!r} does not exist.", remedy="Check the path of the folder.")
    paths = sorted(p for p in place.rglob("*") if _is_mask(p))
    found = _collect(paths, _short_key)
    if found is None:
        found = _collect(paths, _full_key)
    if found is None:
        raise _ambiguous(place, paths)
    if not found:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{place.name!r} holds no mask (.nii, .nii.gz or .png).",
            remedy="Give the folder that the masks lie in.",
        )
    return dict(sorted(found.items()))


def pair_folders(reference: Path, methods: Mapping[str, Path]) -> list[PairFiles]:
    """Pair a reference folder with the folders of one or more methods.

    A single reference and a single prediction belong together whatever their names. Every subject of the reference is listed
    for every method; a prediction without a reference is refused, because its subject would silently be missing.

    Raises
    ------
    InputError
        As :func:`find_masks`, or if a method has subjects that the reference has not.
    """
    expected = find_masks(reference)
    pairs = []
    for method, folder in methods.items():
        found = find_masks(folder)
        if len(expected) == len(found) == 1:
            found = dict(zip(expected, found.values(), strict=True))
        unknown = sorted(set(found) - set(expected))
        if unknown:
            raise InputError(
                ErrorCode.INPUT_NOT_FOUND,
                f"{_listed(unknown)} of {method!r} has no reference of that name in {reference.name!r} "
                f"(which has {_listed(list(expected))}).",
                remedy="Rename the files, or give a table of pairs with --pairs.",
            )
        pairs += [PairFiles(case or "scan", method, files, found.get(case)) for case, files in expected.items()]
    return pairs


def read_pairs(table: Path) -> list[PairFiles]:
    """Read a table of pairs.

    Parameters
    ----------
    table : Path
        Tab-separated, with the columns ``case`` and any of ``reference_semantic``, ``reference_instance``, ``reference_mask``,
        ``reference_centroids`` and ``reference_boxes``, the same with ``prediction_``, and ``method`` (default "prediction").
        Paths are relative to the table's folder; an empty prediction means that the method has none.

    Raises
    ------
    InputError
        If the table cannot be read or a file does not exist.
    UsageError
        If a column is unknown or a row has no reference.
    """
    if not table.is_file():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{table.name!r} does not exist.", remedy="Check the path of the table.")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        unknown = [c for c in reader.fieldnames or () if c not in ("case", "method") and not _COLUMN.match(c)]
        if unknown or "case" not in (reader.fieldnames or ()):
            raise UsageError(
                ErrorCode.USAGE,
                f"{table.name!r} has the columns {_listed(list(reader.fieldnames or ()))}.",
                remedy="Name them case, method, reference_semantic, reference_instance, prediction_semantic and so on.",
            )
        return [_row(table.parent, row, table.name) for row in reader]


def _row(folder: Path, row: dict[str, str | None], table: str) -> PairFiles:
    sides: dict[str, MaskFiles] = {"reference": MaskFiles(), "prediction": MaskFiles()}
    for column, value in row.items():
        match = _COLUMN.match(column or "")
        if match and value:
            path = folder / value
            if not path.is_file():
                raise InputError(
                    ErrorCode.INPUT_NOT_FOUND, f"{value!r} in {table!r} does not exist.", remedy="Correct the table of pairs."
                )
            sides[match[1]] = replace(sides[match[1]], **{match[2]: path})
    case = row.get("case") or ""
    if not case or not sides["reference"].existing():
        raise UsageError(ErrorCode.USAGE, f"A row of {table!r} has no case or no reference.", remedy="Complete the row.")
    prediction = sides["prediction"] if sides["prediction"].existing() else None
    return PairFiles(case, row.get("method") or "prediction", sides["reference"], prediction)


def _collect(paths: Iterable[Path], key_of: Callable[[Path], str]) -> dict[str, MaskFiles] | None:
    """Subject to files; None where two files claim the same role."""
    found: dict[str, MaskFiles] = {}
    for path in paths:
        key, kind = key_of(path), _kind(path)
        files = found.get(key, MaskFiles())
        if files.centroids is not None and kind == "centroids" and _in_verse_form(path) != _in_verse_form(files.centroids):
            taken = path if _in_verse_form(path) else files.centroids
        elif getattr(files, kind) is None:
            taken = path
        else:
            return None
        found[key] = replace(files, **{kind: taken})
    return found


def _in_verse_form(path: Path) -> bool:
    """Tell the body centroids of a result of ours from its other points, which it keeps beside them."""
    return _VERSE_FORM in path.name.lower()


def _is_mask(path: Path) -> bool:
    """Tell masks and centroid files from scans (``sub-01_T2w.nii.gz``), pictures and hidden files."""
    if path.name.startswith(".") or not path.name.lower().endswith((*_MASKS, _CENTROIDS)):
        return False
    named = any(pattern.search(path.name) for pattern, _ in _KINDS) or path.name.lower().endswith(_CENTROIDS)
    last = _stem(path).rsplit("_", 1)[-1].lower()
    return (named and last not in _PICTURES) or last not in _IMAGES | _PICTURES


def _kind(path: Path) -> str:
    if path.name.lower().endswith(_CENTROIDS):
        return "centroids"
    return next((kind for pattern, kind in _KINDS if pattern.search(path.name)), "mask")


def _short_key(path: Path) -> str:
    """Subject without its modality: ``sub-01_mod-T2w_seg-vert_msk.nii.gz`` and ``01.nii.gz`` are both ``01``."""
    key = "_".join(p for p in _full_key(path).split("_") if not _MODALITY.match(p) and p.lower() not in _IMAGES)
    # Published names of a scan that is not named as in BIDS: the whole name, modality included, becomes the subject.
    head, dash, tail = key.rpartition("-")
    return head if dash and tail.lower() in _IMAGES else key


def _full_key(path: Path) -> str:
    """Subject with its modality, where one folder holds several images of a subject."""
    parts = [p for p in _stem(path).split("_") if p and not _DROPPED.match(p)]
    while len(parts) > 1 and parts[-1].lower() in _SUFFIXES:
        parts.pop()
    return "_".join(parts).removeprefix("sub-")


def _stem(path: Path) -> str:
    suffix = next((s for s in (_CENTROIDS, *_MASKS) if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def _ambiguous(place: Path, paths: list[Path]) -> InputError:
    seen: dict[tuple[str, str], Path] = {}
    for path in paths:
        first = seen.setdefault((_full_key(path), _kind(path)), path)
        if first is not path:
            names = f"{first.relative_to(place)} and {path.relative_to(place)}"
            break
    else:
        names = "two files"
    return InputError(
        ErrorCode.INPUT_NOT_FOUND,
        f"In {place.name!r}, {names} have the same subject and kind.",
        remedy="Keep one of them there, or give a table of pairs with --pairs.",
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
