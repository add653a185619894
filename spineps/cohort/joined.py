"""The measurements of all results of a folder in one table, whether ``spineps sample`` or a cohort's run made them."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spineps.cohort.by_level import MEASURES
from spineps.cohort.discover import parse_name
from spineps.cohort.files import ROOT, read_json
from spineps.cohort.sidecars import as_tsv
from spineps.cohort.tables import identity_columns
from spineps.errors import ErrorCode, InputError
from spineps.io import atomic
from spineps.io.shown import shown_name
from spineps.measures.quantities import QUANTITIES
from spineps.outputs.measures import HEADER, MISSING
from spineps.outputs.record import DONE

_RECORD_END: Final = "_run.json"
_TABLE_END: Final = "_measures.tsv"
_ROLE: Final = "measures"
_IDENTITY: Final = ("participant_id", "session_id", "scan")


@dataclass(frozen=True, slots=True)
class Joined:
    """What was put together: scans, rows, and how many results have no measurements that their record vouches for."""

    scans: int
    rows: int
    left_out: int


def write_joined_measures(root: Path) -> Joined:
    """Write ``group_measures.tsv``: the rows of every ``<prefix>_measures.tsv`` below a folder, each with its scan.

    Parameters
    ----------
    root : Path
        Folder of results, with or without subfolders.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND where the folder holds no result, or is none.
    OutputError
        If the table cannot be written.
    """
    rows: list[Mapping[str, Any]] = []
    scans = left_out = 0
    for place, record in _done(root):
        table = _table(place, record)
        if table is None:
            left_out += 1
            continue
        scans += 1
        prefix = place.name.removesuffix(_RECORD_END)
        who = dict(identity_columns(parse_name(f"{prefix}_run")[0], prefix))
        who["scan"] = who["scan"] or prefix
        rows.extend({**who, **row} for row in table)
    if not scans and not left_out:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{shown_name(root)} holds no results.",
            remedy="Give the folder that 'spineps sample', 'dataset' or 'bids' wrote into.",
        )
    if rows:
        atomic.write_text(root / MEASURES, as_tsv((*_IDENTITY, *HEADER, *QUANTITIES), rows), tag=ROOT)
    return Joined(scans, len(rows), left_out)


def _done(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Records of runs that ended well, by path."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_RECORD_END):
                record = read_json(Path(folder) / name)
                if record is not None and record.get("status") == DONE and isinstance(record.get("outputs"), dict):
                    yield Path(folder) / name, record


def _table(place: Path, record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of the table beside a record; None where there is none, or another than the record speaks of."""
    path = place.with_name(place.name.removesuffix(_RECORD_END) + _TABLE_END)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != record["outputs"].get(_ROLE):
        return None
    reader = csv.DictReader(content.decode("utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{key: None if value == MISSING else value for key, value in row.items() if key} for row in reader]
