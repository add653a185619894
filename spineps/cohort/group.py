"""Tables over all results: a row a scan, a row a vertebra, and the rows of every other table that scans have.

They are made from the run records and tables beside the masks alone, so that any run, on any machine, can make them again. Rows
are joined by the instance id of a vertebra, never by the name of its level, which a scan may not have.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from spineps.cohort.discover import parse_name
from spineps.cohort.files import ROOT, read_json
from spineps.cohort.proof import intact
from spineps.cohort.sidecars import as_tsv
from spineps.cohort.tables import identity_columns
from spineps.errors import ErrorCode, InputError
from spineps.io import atomic
from spineps.outputs.record import DONE

SCANS: Final = "group_scans.tsv"
VERTEBRAE: Final = "group_vertebrae.tsv"
JOINED: Final = ("levels", "measures")
"""Tables of a scan (``<prefix>_levels.tsv``) that are put together to one of all scans (``group_levels.tsv``)."""
_RECORD_END: Final = "_run.json"
_IDENTITY: Final = ("participant_id", "session_id", "scan")
_AXES: Final = ("r", "a", "s")
_Row = dict[str, Any]


def write_group_tables(root: Path) -> dict[str, int]:
    """Write the tables into the root of the results.

    Parameters
    ----------
    root : Path
        Folder of the results of ``spineps dataset`` or ``spineps bids``.

    Returns
    -------
    dict of str to int
        Name of each table to the number of its rows.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND if no scan was done here.
    OutputError
        If a table cannot be written.
    """
    tables: dict[str, list[_Row]] = {SCANS: [], VERTEBRAE: []}
    for record_path, record in _records(root):
        who = _identity(record_path)
        tables[SCANS].append({**who, **scan_row(record)})
        tables[VERTEBRAE].extend({**who, **vertebra_row(vertebra)} for vertebra in record.get("vertebrae", ()))
        for kind in JOINED:
            rows = _rows_of(record_path, kind, record)
            if rows:
                tables.setdefault(f"group_{kind}.tsv", []).extend({**who, **row} for row in rows)
    if not tables[SCANS]:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            "no run record is in the folder of the results.",
            remedy="Run the participant level first.",
        )
    with atomic.stage(root, ROOT) as staged:
        for name, rows in tables.items():
            staged.write_text(name, as_tsv(_columns(rows), rows))
        staged.commit()
    return {name: len(rows) for name, rows in tables.items()}


def scan_row(record: Mapping[str, Any]) -> _Row:
    """What a run record says of a scan as a whole."""
    given = record.get("input", {})
    models = record.get("models", {})
    row: _Row = {"status": "done" if record["status"] == DONE else "failed"}
    row["code"] = None if record["status"] == DONE else record["status"]
    row["vertebrae"] = len(record.get("vertebrae", ()))
    row["findings"] = ",".join(sorted({str(finding["code"]) for finding in record.get("findings", ())}))
    row |= {f"spacing_{axis}_mm": step for axis, step in zip("ijk", given.get("spacing_mm", ()), strict=False)}
    row["orientation"] = given.get("orientation")
    for phase in ("semantic", "instance"):
        described = models.get(phase, {})
        row |= {f"{phase}_{key}": described.get(key) for key in ("name", "version", "engine")}
    row["spineps"] = record.get("spineps")
    known = {"spineps", "status", "record_format", "settings_sha256", "message"}
    row |= {key: value for key, value in record.items() if key not in known and isinstance(value, (int, float, str, bool))}
    return row


def vertebra_row(vertebra: Mapping[str, Any]) -> _Row:
    """What a run record says of a vertebra, nested values as columns of their own."""
    row: _Row = {}
    for key, value in vertebra.items():
        if isinstance(value, (list, tuple)) and len(value) == len(_AXES):
            row |= {f"{key.removesuffix('_mm')}_{axis}_mm": part for axis, part in zip(_AXES, value, strict=True)}
        elif isinstance(value, Mapping):
            row |= {f"{key}_{inner}": part for inner, part in value.items() if not isinstance(part, (list, Mapping))}
        elif not isinstance(value, (list, tuple)):
            row[key] = value
    return row


def _records(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every whole record under the root, by path."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_RECORD_END):
                record = read_json(Path(folder) / name)
                if record is not None and intact(record):
                    yield Path(folder) / name, record


def _identity(record: Path) -> _Row:
    """Which scan a record is about, by its name."""
    prefix = record.name.removesuffix(_RECORD_END)
    entities, _ = parse_name(f"{prefix}_run")
    return dict(identity_columns(entities, prefix))


def _rows_of(record_path: Path, kind: str, record: Mapping[str, Any]) -> list[_Row]:
    """Rows of a table beside a record that the record speaks for."""
    if kind not in record.get("outputs", {}):
        return []
    path = record_path.with_name(record_path.name.removesuffix(_RECORD_END) + f"_{kind}.tsv")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{key: None if value == "n/a" else value for key, value in row.items() if key} for row in reader]


def _columns(rows: Iterable[_Row]) -> tuple[str, ...]:
    """Columns in the order in which they first come up, those that say which scan it is in front."""
    seen = dict.fromkeys(_IDENTITY)
    for row in rows:
        seen.update(dict.fromkeys(row))
    return tuple(seen)
