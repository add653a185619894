"""What an index says of each scan of a cohort, from the records of the runs and the pages beside them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spineps.page.scan import CARD, SUFFIX

RECORD_SUFFIX: Final = "_run.json"
DONE: Final = "DONE"
DAMAGED: Final = "DAMAGED_RECORD"
"""Status of a scan whose record cannot be read."""

_HEAD_BYTES: Final = 1 << 16  # in which the card of a page lies
_CARD: Final = re.compile(rf'<script type="application/json" id="{CARD}">(.*?)</script>', re.DOTALL)
_THUMBNAIL: Final = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]*")
_RESULT: Final = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True)
class IndexedVertebra:
    """A vertebra of an index: its name or number, the probabilities that mask and name are right, whether it is cut."""

    name: str
    mask: float | None
    level: float | None
    partial: bool


@dataclass(frozen=True, slots=True)
class IndexedScan:
    """A scan of an index.

    Parameters
    ----------
    scan : str
        Entity prefix of its files.
    folder : str
        Of its results within the cohort's, with ``/``; empty for the same.
    status : str
        ``DONE``, the code of the error that ended its run, or :data:`DAMAGED`.
    message : str
        What the error said.
    score : float or None
        Probability that nothing is wrong with its vertebrae.
    vertebrae : tuple of IndexedVertebra
        From top to bottom.
    findings : tuple of (str, str)
        Codes and messages.
    level_status : str
        ``named``, ``ambiguous`` or ``numbered``; empty where the record does not say.
    page : str
        Address of its page, relative to the index; empty where there is none.
    result : str
        Short name of the result that the page shows.
    thumbnail : str
        Picture as a ``data:`` address, or empty.
    """

    scan: str
    folder: str
    status: str
    message: str = ""
    score: float | None = None
    vertebrae: tuple[IndexedVertebra, ...] = ()
    findings: tuple[tuple[str, str], ...] = ()
    level_status: str = ""
    page: str = ""
    result: str = ""
    thumbnail: str = ""

    @property
    def rank(self) -> tuple[int, float, str, str]:
        """Sorts scans worst first: those that failed, those without a score, then from the lowest score on."""
        if self.status != DONE:
            return 0, 0.0, self.folder, self.scan
        return (1, 0.0, self.folder, self.scan) if self.score is None else (2, self.score, self.folder, self.scan)


def collect(folder: Path) -> tuple[IndexedScan, ...]:
    """Every scan with a record below a folder, worst first; hidden folders are passed over."""
    scans = (_indexed(record, folder) for record in _records(folder))
    return tuple(sorted(scans, key=lambda scan: scan.rank))


def _records(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob(f"*{RECORD_SUFFIX}")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _indexed(path: Path, root: Path) -> IndexedScan:
    scan = path.name.removesuffix(RECORD_SUFFIX)
    place = path.parent.relative_to(root).as_posix()
    place = "" if place == "." else place
    page = path.with_name(scan + SUFFIX)
    record = _read_record(path)
    if record is None:
        return IndexedScan(scan, place, DAMAGED, "The record of the run cannot be read.")
    card = _card(page)
    levels = record.get("levels")
    return IndexedScan(
        scan=scan,
        folder=place,
        status=str(record.get("status", DAMAGED)),
        message=str(record.get("message", "")),
        score=_share(record.get("score")),
        vertebrae=tuple(_vertebra(item) for item in _mappings(record.get("vertebrae"))),
        findings=tuple((str(f.get("code", "")), str(f.get("message", ""))) for f in _mappings(record.get("findings"))),
        level_status=str(levels.get("level_status", "")) if isinstance(levels, Mapping) else "",
        page=page.relative_to(root).as_posix() if card is not None else "",
        result=_matching(_RESULT, card, "id"),
        thumbnail=_matching(_THUMBNAIL, card, "thumbnail"),
    )


def _read_record(path: Path) -> Mapping[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _card(page: Path) -> Mapping[str, Any] | None:
    """The card of a page; None where there is no page of ours."""
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            found = _CARD.search(file.read(_HEAD_BYTES))
        card = json.loads(found[1]) if found else None
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _matching(pattern: re.Pattern[str], card: Mapping[str, Any] | None, key: str) -> str:
    """A text of the card if it is of the form that we write; what somebody else wrote does not enter the index."""
    text = str((card or {}).get(key, ""))
    return text if pattern.fullmatch(text) else ""


def _vertebra(item: Mapping[str, Any]) -> IndexedVertebra:
    name = str(item.get("name") or item.get("label", ""))
    mask, level = _share(item.get("mask_confidence")), _share(item.get("name_confidence"))
    return IndexedVertebra(name, mask, level, bool(item.get("partial")))


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, Sequence) else []


def _share(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, float(value)))
