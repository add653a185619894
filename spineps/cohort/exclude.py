"""The table of scans to leave out: one that somebody wrote, or the verdicts of the pages."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from spineps.cohort.layout import RECORD, Case
from spineps.errors import ErrorCode, UsageError

VERDICT: Final = "verdict"
FAIL: Final = "fail"
_BY_SCAN: Final = ("case", "scan", "prefix")
_BY_PERSON: Final = ("participant_id", "session_id")


def excluded_cases(cases: Iterable[Case], table: Path) -> frozenset[str]:
    """Names of the cases that a table leaves out.

    Parameters
    ----------
    cases : iterable of Case
        Of the dataset.
    table : Path
        TSV with a header. A row names a scan by ``case`` (as in ``cohort.tsv``), by ``scan`` (or ``prefix``: what its results'
        names begin with), or by ``participant_id`` and, if the table has it, ``session_id``. With a column ``verdict`` only
        rows whose verdict is ``fail`` count.

    Raises
    ------
    UsageError
        If it cannot be read, or has none of these columns.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("cannot be read as text") from error
    reader = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = set(reader.fieldnames or ())
    keys = [column for column in _BY_SCAN if column in columns]
    by_person = [column for column in _BY_PERSON if column in columns]
    if not keys and "participant_id" not in columns:
        raise _unreadable("has no column 'case', 'scan' or 'participant_id'")
    rows = [row for row in reader if VERDICT not in columns or (row[VERDICT] or "").strip().lower() == FAIL]
    named = {row[key].strip() for row in rows for key in keys if row[key]}
    persons = set() if keys else {tuple(_label(row[column]) for column in by_person) for row in rows}
    return frozenset(case.name for case in cases if _names(case) & named or _person(case, by_person) in persons)


def _names(case: Case) -> set[str]:
    """What a row may call a case; the pages call it by the prefix of its own record, which follows the way of naming."""
    return {case.name, case.prefix, case.files.get(RECORD, "").removesuffix("_run.json")} - {""}


def _person(case: Case, columns: Sequence[str]) -> tuple[str, ...]:
    entities = case.scan.entities
    return tuple(_label(entities.get({"participant_id": "sub", "session_id": "ses"}[column])) for column in columns)


def _label(text: str | None) -> str:
    label = (text or "").strip()
    return "" if label == "n/a" else label.removeprefix("sub-").removeprefix("ses-")


def _unreadable(why: str) -> UsageError:
    return UsageError(ErrorCode.USAGE, f"the table of --exclude {why}.", remedy="See docs/cohorts.md for its columns.")
