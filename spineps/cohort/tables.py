"""``cohort.tsv``: a line a scan, what became of it; no path, no name of a file, no time."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spineps.cohort.files import ROOT, read_json
from spineps.cohort.layout import RECORD, Case
from spineps.cohort.plan import Plan, Summary
from spineps.cohort.settings import ScanReport, ScanState
from spineps.cohort.sidecars import as_tsv
from spineps.io import atomic

TABLE: Final = "cohort.tsv"
COLUMNS: Final = ("case", "participant_id", "session_id", "scan", "status", "code", "message", "vertebrae", "findings", "score")


def write_cohort_table(plan: Plan) -> None:
    """Write the table. Rows of scans that this run did not ask for stay; rows of scans that are gone from the dataset go.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    place = plan.root / TABLE
    rows = {case.name: _row(case, plan) for case in plan.cases}
    select = plan.settings.select
    if select.participants or select.sessions or select.filters:
        rows = {**_rows_of(place), **rows}
    ordered = sorted(rows.values(), key=lambda row: (row["scan"], row["case"]))
    text = as_tsv(COLUMNS, list(ordered))
    if not _is(place, text):
        with atomic.stage(plan.root, ROOT) as staged:
            staged.write_text(TABLE, text)
            staged.commit()


def identity_columns(entities: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Columns that say which scan a row is about; the labels of a BIDS name are pseudonyms, other names are not told."""
    if "sub" not in entities:
        return {"participant_id": "", "session_id": "", "scan": ""}
    session = f"ses-{entities['ses']}" if "ses" in entities else ""
    return {"participant_id": f"sub-{entities['sub']}", "session_id": session, "scan": prefix}


def _row(case: Case, plan: Plan) -> dict[str, Any]:
    report: ScanReport | None = plan.reports.get(case.name)
    state = report.state if report is not None else ScanState.PLANNED
    finished = state in (ScanState.DONE, ScanState.UP_TO_DATE)
    summary = plan.summaries.get(case.name)
    if summary is None:
        summary = Summary.of(read_json(case.place(RECORD)) or {}) if finished else Summary(0, ())
    return {
        "case": case.name,
        **identity_columns(case.scan.entities, case.prefix),
        "status": "done" if finished else state.value,
        "code": report.code if report is not None else None,
        "message": report.message if report is not None else None,
        "vertebrae": summary.vertebrae if finished else None,
        "findings": ",".join(summary.findings) if finished else None,
        "score": summary.score if finished else None,
    }


def _rows_of(place: Path) -> dict[str, dict[str, Any]]:
    """Rows of a table that is there; none where there is no such table."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        return {}
    return {row["case"]: {column: "" if row[column] == "n/a" else row[column] for column in COLUMNS} for row in reader}


def _is(place: Path, text: str) -> bool:
    try:
        return place.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
