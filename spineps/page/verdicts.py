"""Verdicts of those who looked at the pages: a TSV table, written by the browser, read here."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, InputError
from spineps.io.shown import shown_name

FILE: Final = "verdicts.tsv"
"""Name under which an index saves the verdicts of a cohort, and looks for earlier ones."""
COLUMNS: Final = ("scan", "folder", "verdict", "note", "score", "reviewed", "result")
"""Of the table; ``scan`` is the entity prefix of the scan's files, ``folder`` that of its results within the cohort's."""


class Verdict(str, Enum):
    """What somebody found of a result."""

    PASS = "pass"  # noqa: S105  (a verdict)
    NEEDS_WORK = "needs-work"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of the table.

    Parameters
    ----------
    scan : str
        Entity prefix of the scan's files.
    folder : str
        Of its results, relative to the cohort's; empty where a single page was judged.
    verdict : Verdict or None
        None where there is a note alone.
    note : str
        What was written beside it.
    result : str
        The result that it was given for; see :func:`spineps.page.scan.result_id`.
    """

    scan: str
    folder: str
    verdict: Verdict | None
    note: str
    result: str


def read_verdicts(path: Path) -> tuple[Judged, ...]:
    """Read a table of verdicts; columns may stand in any order, and others may be there.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND, or INPUT_FORMAT where it is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "Check the path."
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{shown_name(path.name)} does not exist.", remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _no_table(path, "cannot be read as UTF-8 text") from error
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    if "scan" not in (rows.fieldnames or ()) or "verdict" not in (rows.fieldnames or ()):
        raise _no_table(path, "has no columns 'scan' and 'verdict'")
    return tuple(_judged(row, path) for row in rows if row["scan"])


def _judged(row: dict[str, str | None], path: Path) -> Judged:
    said = (row["verdict"] or "").strip()
    if said and said not in set(Verdict):
        raise _no_table(path, f"holds the verdict {said!r}, which is none of pass, needs-work and fail")
    folder, note, result = ((row.get(key) or "").strip() for key in ("folder", "note", "result"))
    return Judged((row["scan"] or "").strip(), folder, Verdict(said) if said else None, note, result)


def _no_table(path: Path, why: str) -> InputError:
    return InputError(
        ErrorCode.INPUT_FORMAT,
        f"{shown_name(path.name)} {why}.",
        remedy="Give a TSV table of verdicts as the pages save it.",
    )
