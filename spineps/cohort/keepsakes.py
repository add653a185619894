"""What a run leaves beside results where it is asked to: a copy of all pictures in one folder, what became of each scan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from spineps.cohort.files import ROOT
from spineps.cohort.plan import Plan
from spineps.cohort.settings import ScanState
from spineps.io import atomic

LOGS: Final = "logs"
_PICTURE: Final = "snapshot"


def write_keepsakes(plan: Plan) -> None:
    """Write what the settings ask for.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    output = plan.settings.output
    if output.snapshots is not None:
        _copy_pictures(plan, output.snapshots)
    if output.log:
        stamp = time.strftime("%Y%m%dT%H%M%S")
        atomic.write_text(plan.root / LOGS / f"run_{stamp}.txt", _log(plan), tag=ROOT)


def _copy_pictures(plan: Plan, folder: Path) -> None:
    for case in plan.cases:
        report = plan.reports.get(case.name)
        if report is None or report.state not in (ScanState.DONE, ScanState.UP_TO_DATE):
            continue
        picture = case.place(_PICTURE)
        copy = folder / picture.name
        if picture.is_file() and (report.state is ScanState.DONE or not copy.is_file()):
            atomic.write_bytes(copy, picture.read_bytes(), tag=ROOT)


def _log(plan: Plan) -> str:
    """A line a scan: case, state, code, seconds, message."""
    lines = []
    for case in plan.cases:
        report = plan.reports.get(case.name)
        if report is not None:
            lines.append(f"{case.name}\t{report.state.value}\t{report.code or ''}\t{report.seconds:.1f} s\t{report.message}")
    return "\n".join(lines) + "\n"
