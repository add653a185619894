"""How a run over many scans is shown: a live table on a terminal, elsewhere a line a minute; failures at once, by case."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from spineps.cli.console import Console, Verbosity, one_line
from spineps.cohort.events import Watcher
from spineps.cohort.settings import CohortReport, ScanReport, ScanState
from spineps.errors import ErrorCode

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

LINE_S: Final = 60.0
_REDRAW_S: Final = 0.5
_SHOWN: Final = (
    (ScanState.DONE, "done"),
    (ScanState.UP_TO_DATE, "up to date"),
    (ScanState.FAILED, "failed"),
    (ScanState.EXCLUDED, "excluded"),
    (ScanState.CLAIMED, "with other runs"),
    (ScanState.PLANNED, "to do"),
)


class LineView(Watcher):
    """Says how a run goes on in plain lines.

    Parameters
    ----------
    console : Console
        Where to say it.
    clock : callable
        Seconds, never going back.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._since = self._said = clock()
        self._first_done: float | None = None
        self.computed = self.failed = self.waiting = 0
        self.working: dict[int, tuple[str, str]] = {}

    def planned(self, reports: Sequence[ScanReport], waiting: int) -> None:
        """Say the plan."""
        self.waiting = waiting
        counts = [f"{sum(report.state is state for report in reports)} {name}" for state, name in _SHOWN[1:4]]
        self._console.say(f"{len(reports) + waiting} scans: {waiting} to do, {', '.join(counts)}")

    def started(self, case: str, slot: int) -> None:
        """Note who works on what."""
        self.working[slot] = (case, "")
        self._console.detail(f"{case}: started")

    def stage(self, case: str, slot: int, stage: str) -> None:
        """Note how far it is."""
        self.working[slot] = (case, stage)

    def finished(self, report: ScanReport, *, waiting: int) -> None:
        """Say a failure at once."""
        self.waiting = waiting
        self.working = {slot: (case, stage) for slot, (case, stage) in self.working.items() if case != report.case}
        if report.state is ScanState.FAILED:
            self.failed += 1
            self._console.say(f"{report.code}: case {report.case}: {one_line(report.message)}")
        elif report.state is ScanState.DONE:
            self._console.detail(f"{report.case}: done in {report.seconds:.1f} s")
        if report.seconds:
            self.computed += 1
            self._first_done = self._first_done or self._clock()

    def refused(self, reason: str) -> None:
        """Say that a worker of a cluster cannot be used."""
        self._console.say(f"{ErrorCode.CLUSTER}: a worker was refused: {one_line(reason)}")

    def tick(self) -> None:
        """Say a line a minute."""
        if self._clock() - self._said >= LINE_S:
            self._said = self._clock()
            self._console.say(self.line())

    def line(self) -> str:
        """How far the run is."""
        hour, left = self.pace()
        return f"{self.computed} computed, {self.failed} failed, {self.waiting} left, {hour} scans an hour, {left} left"

    def pace(self) -> tuple[str, str]:
        """Scans an hour, and the time that the rest takes."""
        elapsed = self._clock() - self._since
        if not self.computed or elapsed <= 0:
            return "?", "?"
        rate = self.computed / elapsed
        return f"{rate * 3600:.0f}", _time(self.waiting / rate)


class TableView(LineView):
    """Shows how a run goes on in a table that stays in place."""

    def __init__(self, console: Console, live: Live) -> None:
        super().__init__(console)
        self._live = live
        self._drawn = 0.0

    def tick(self) -> None:
        """Draw the table anew."""
        now = self._clock()
        if now - self._drawn >= _REDRAW_S:
            self._drawn = now
            self._live.update(self._table())

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        hour, left = self.pace()
        table = Table(title="spineps", show_edge=False)
        for column in ("computed", "failed", "left", "scans an hour", "time left"):
            table.add_column(column, justify="right")
        table.add_row(str(self.computed), str(self.failed), str(self.waiting), hour, left)
        for slot, (case, stage) in sorted(self.working.items()):
            table.add_row(Text(f"worker {slot + 1}"), Text(case), Text(f"after {stage}" if stage else "began"), "", "")
        return table


@contextmanager
def watching(console: Console) -> Iterator[LineView]:
    """The view that fits where stderr goes."""
    if console.verbosity is Verbosity.QUIET or not sys.stderr.isatty():
        yield LineView(console)
        return
    from rich.console import Console as Terminal
    from rich.live import Live

    with Live(console=Terminal(stderr=True), transient=True, auto_refresh=False, redirect_stderr=True) as live:
        yield TableView(console, live)


def summary(report: CohortReport) -> str:
    """What became of all scans, on one line."""
    counts = report.counts
    shown = [f"{counts[state]} {name}" for state, name in _SHOWN if counts[state]]
    return f"{len(report.scans)} scans: {', '.join(shown)}"


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
