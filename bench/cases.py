"""The real scans of the bench: where each lies, what it is scored against, how its run must end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from scoring import ScoreInputs, score_bodies, score_by_script, score_cord, score_crop

from spineps.errors import ErrorCode, FindingCode

Score = Callable[[ScoreInputs], dict[str, Any]]


class Kind(str, Enum):
    """Groups of the report, in its order."""

    NATIVE = "native"
    BODIES = "bodies"
    DISCS = "discs"
    CROP = "crop"
    CORD = "cord"
    REFUSED = "refused"


@dataclass(frozen=True)
class Case:
    """One scan.

    ``codes`` are the ways in which its run may end, any one of them: error codes of a run that stops, or findings of a run
    that goes on. Empty: it must end well.
    """

    kind: Kind
    scan: Path
    references: tuple[Path, ...] = ()
    score: Score | None = None
    codes: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """File name of the scan without its suffix; a bare name is preceded by its folder's."""
        stem = self.scan.name.removesuffix(".nii.gz")
        return stem if stem.startswith("sub-") else f"{self.scan.parent.name}-{stem}"


OTHER_MODALITY = frozenset(map(str, (ErrorCode.COMPAT, ErrorCode.NO_SPINE, FindingCode.COMPAT_FORCED)))
OTHER_REGION = OTHER_MODALITY | frozenset(map(str, (ErrorCode.INPUT_FOV, FindingCode.THICK_SLICES)))
LABELS = frozenset({str(ErrorCode.INPUT_LOOKS_LIKE_LABELS)})
MASKS = (
    "lumbar_bodies/*_seg-body_caudal1.nii.gz",
    "lumbar_discs/*_seg-disc_caudal1.nii.gz",
    "tptbox_crop/*_msk.nii.gz",
    "sct/*_seg.nii.gz",
    "verse/*_msk.nii.gz",
    "panoptica_pair/*/ref.nii.gz",
)


def find_cases(data: Path, pattern: str = "*") -> tuple[list[Case], list[str]]:
    """Cases under ``data`` whose ``kind/name`` fits the pattern, and a reason for each group that is absent."""
    cases: list[Case] = []
    reasons: list[str] = []
    for kind, found in _groups(data).items():
        if not found:
            reasons.append(f"{kind.value}: no such scans under the data folder")
        cases += [case for case in found if fnmatch(f"{kind.value}/{case.name}", pattern) or fnmatch(case.name, pattern)]
    return cases, reasons


def _groups(data: Path) -> dict[Kind, list[Case]]:
    return {
        Kind.NATIVE: [Case(Kind.NATIVE, path) for path in sorted(data.glob("native/*.nii.gz"))],
        Kind.BODIES: list(_scored(data / "lumbar_bodies", Kind.BODIES, "body")),
        Kind.DISCS: list(_scored(data / "lumbar_discs", Kind.DISCS, "disc")),
        Kind.CROP: list(_crop(data / "tptbox_crop")),
        Kind.CORD: list(_cords(data / "sct")),
        Kind.REFUSED: list(_refused(data)),
    }


def _scored(folder: Path, kind: Kind, structure: str) -> Iterator[Case]:
    for reference in sorted(folder.glob(f"*_seg-{structure}_caudal1.nii.gz")):
        scan = folder / reference.name.replace(f"_seg-{structure}_caudal1", "")
        if scan.is_file():
            yield Case(kind, scan, (reference,), score_bodies if structure == "body" else score_by_script(structure))


def _crop(folder: Path) -> Iterator[Case]:
    references = tuple(folder / f"sub-mri_seg-{kind}_label-6_msk.nii.gz" for kind in ("subreg", "vert"))
    scan = folder / "sub-mri_label-6_T2w.nii.gz"
    if scan.is_file() and all(path.is_file() for path in references):
        yield Case(Kind.CROP, scan, references, score_crop)


def _cords(folder: Path) -> Iterator[Case]:
    for scan in sorted([*folder.glob("*_T2w.nii.gz"), *folder.glob("*_T1w.nii.gz")]):
        reference = folder / f"{scan.name.split('_')[0]}_label-cord_seg.nii.gz"
        if reference.is_file():
            yield Case(Kind.CORD, scan, (reference,), score_cord)


def _refused(data: Path) -> Iterator[Case]:
    for path in sorted(data.glob("tptbox_crop/*_ct.nii.gz")):
        yield Case(Kind.REFUSED, path, codes=OTHER_MODALITY)
    for path in sorted(data.glob("other/*.nii.gz")):
        yield Case(Kind.REFUSED, path, codes=OTHER_MODALITY if "_ct" in path.name else OTHER_REGION)
    for pattern in MASKS:
        for path in sorted(data.glob(pattern)):
            yield Case(Kind.REFUSED, path, codes=LABELS)
