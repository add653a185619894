"""What a run tells whoever watches it. Every method may be overridden; none needs to be."""

from __future__ import annotations

from collections.abc import Sequence

from spineps.cohort.settings import ScanReport


class Watcher:
    """Told how a run goes on; this one does not listen. All calls come from one thread."""

    def planned(self, reports: Sequence[ScanReport], waiting: int) -> None:
        """The plan is made: scans that are settled already, and how many are to be computed."""

    def started(self, case: str, slot: int) -> None:
        """A worker began with a scan."""

    def stage(self, case: str, slot: int, stage: str) -> None:
        """A worker ended a stage of a scan."""

    def finished(self, report: ScanReport, *, waiting: int) -> None:
        """A scan is settled; so many are left."""

    def refused(self, reason: str) -> None:
        """A worker of a cluster cannot be used, for this reason and with this remedy."""

    def tick(self) -> None:
        """Some time has passed (about a quarter of a second)."""
