"""A run over many scans: plan, claim, compute, prove, report."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spineps.cohort.case import Outcome, Task, record_failure, refused_unread
from spineps.cohort.claims import Claims
from spineps.cohort.cluster import local_workers
from spineps.cohort.events import Watcher
from spineps.cohort.files import ROOT
from spineps.cohort.keepsakes import LOGS, write_keepsakes
from spineps.cohort.layout import Case
from spineps.cohort.plan import Plan, make_plan, report_of
from spineps.cohort.pool import Pool, Work
from spineps.cohort.process import core_count
from spineps.cohort.proof import Standing
from spineps.cohort.settings import CohortReport, CohortSettings, Naming, ScanState
from spineps.cohort.sidecars import write_dataset_files
from spineps.cohort.tables import write_cohort_table
from spineps.errors import ErrorCode, OutputError, ResourceError, SpinepsError, UsageError
from spineps.io import atomic
from spineps.outputs.record import DONE

if TYPE_CHECKING:
    from spineps.cohort.dask_pool import DaskPool

_POLL_S: Final = 1.0
_DEFAULT: Final = CohortSettings()


def run_cohort(
    dataset: Path | str, settings: CohortSettings = _DEFAULT, *, watcher: Watcher | None = None, debug: bool = False
) -> CohortReport:
    """Segment every scan of a dataset that is not done yet.

    Workers are processes of their own, started anew: a script that calls this needs no ``__main__`` guard.

    Parameters
    ----------
    dataset : Path or str
        A BIDS dataset, or a folder of scans.
    settings : CohortSettings
        What to do.
    watcher : Watcher, optional
        Told how it goes on.
    debug : bool
        Let workers say on stderr what libraries print.

    Returns
    -------
    CohortReport
        What became of each scan. ``cohort.tsv`` in the root of the results says the same, without paths.

    Raises
    ------
    SpinepsError
        What keeps every scan from being done: no dataset, no model, no right to write. What is wrong with one scan is in its
        report.
    """
    plan = make_plan(Path(dataset), settings)
    watcher = watcher or Watcher()
    watcher.planned(list(plan.reports.values()), len(plan.waiting))
    if settings.dry_run:
        for case in plan.waiting:
            plan.reports[case.name] = report_of(case, ScanState.PLANNED)
        return _report(plan)
    atomic.check_writable(plan.root)
    _check_limits(settings)
    with Claims(plan.state_folder / "claims") as claims:
        with _writing_root(claims, plan):
            if settings.output.naming is Naming.BIDS:
                write_dataset_files(plan.root)
        try:
            _Run(plan, claims, watcher, debug=debug).run()
            _tidy(plan, claims)
        finally:
            with _writing_root(claims, plan):
                write_cohort_table(plan)
                write_keepsakes(plan)
    return _report(plan)


class _Run(Work):
    """The scans of a plan on their way through the workers."""

    def __init__(self, plan: Plan, claims: Claims, watcher: Watcher, *, debug: bool) -> None:
        self._plan, self._claims, self._watcher, self._debug = plan, claims, watcher, debug
        self._queue = deque(plan.waiting)
        self._of_others: list[Case] = []
        self._mine: dict[str, Case] = {}

    def run(self) -> None:
        """Compute all that waits; then, if asked for, what other runs left undone."""
        machine = self._plan.settings.machine
        try:
            while True:
                self._pool().run()
                if not self._of_others or not machine.wait:
                    break
                time.sleep(_POLL_S)
                self._watcher.tick()
                self._queue, self._of_others = deque(self._of_others), []
        finally:
            for case in tuple(self._mine.values()):
                self._plan.sweep(case)
                self._let_go(case.name)
        for case in self._of_others:
            claimed = replace(report_of(case, ScanState.CLAIMED), code=ErrorCode.CLAIMED)
            self._plan.reports[case.name] = claimed

    def _pool(self) -> Pool | DaskPool:
        """The workers: processes of this machine, or those of a cluster."""
        settings = self._plan.settings
        threads = _threads(settings)
        if settings.machine.dask is None:
            return Pool(settings.machine, threads, self, debug=self._debug)
        from spineps.cohort.dask_pool import DaskPool

        alone = partial(_writing_root, self._claims, self._plan)
        return DaskPool(settings, threads, self, self._plan.state_folder, alone=alone, debug=self._debug)

    def next(self) -> Task | None:
        """Claim the next scan that needs a worker: nobody else works on it or has done it, and its file can be opened."""
        while self._queue:
            case = self._queue.popleft()
            if not self._claims.take(case.name):
                self._of_others.append(case)
                continue
            self._mine[case.name] = case
            if case.name in self._claims.taken_over:
                self._plan.sweep(case)
            verdict = self._plan.judged(case)
            if self._plan.settle(case, verdict):
                self._let_go(case.name)
                self._watcher.finished(self._plan.reports[case.name], waiting=self._left())
                continue
            kept = verdict.standing is Standing.INSTANCE_PHASE and not self._plan.wants_scores(case)
            task = self._plan.task(case, keep_semantic=kept)
            refused = refused_unread(task)
            if refused is None:
                return task
            self.settled(task, refused)
        return None

    def settled(self, task: Task, outcome: Outcome) -> None:
        """Take over what became of a scan."""
        case = self._mine[task.name]
        if outcome.status in (ErrorCode.TIME_LIMIT, ErrorCode.WORKER_DIED, ErrorCode.RESOURCE_MEMORY):
            outcome = _written_down(task, outcome)
        done = outcome.status == DONE
        report = report_of(case, ScanState.DONE if done else ScanState.FAILED)
        report = replace(report, message=outcome.message, seconds=outcome.seconds)
        self._plan.reports[case.name] = report if done else replace(report, code=ErrorCode(outcome.status))
        self._let_go(case.name)
        self._watcher.finished(self._plan.reports[case.name], waiting=self._left())
        if outcome.status == ErrorCode.OUTPUT_SPACE:
            remedy = "Free some space or choose another output folder with -o; the next run goes on from here."
            raise OutputError(ErrorCode.OUTPUT_SPACE, f"the run stopped: {outcome.message}", remedy=remedy)

    def lost(self, task: Task) -> None:
        """A worker ended in the middle of a scan: what it was writing is taken away."""
        self._plan.sweep(self._mine[task.name])

    def started(self, name: str, slot: int) -> None:
        """A worker began."""
        self._watcher.started(name, slot)

    def stage(self, name: str, slot: int, stage: str) -> None:
        """A stage is done."""
        self._watcher.stage(name, slot, stage)

    def refused(self, reason: str) -> None:
        """A worker of the cluster cannot be used."""
        self._watcher.refused(reason)

    def tick(self) -> None:
        """Some time has passed."""
        self._watcher.tick()

    def _left(self) -> int:
        return len(self._queue) + len(self._mine) + len(self._of_others)

    def _let_go(self, name: str) -> None:
        """Give a claim back."""
        self._mine.pop(name)
        self._claims.release(name)


def _tidy(plan: Plan, claims: Claims) -> None:
    """Take away what killed runs left of scans that are done: their claims, and what they were writing then."""
    claimed = set(claims.names())
    for case in plan.cases:
        if case.name in claimed and claims.take(case.name):
            plan.sweep(case)
            claims.release(case.name)


def _written_down(task: Task, outcome: Outcome) -> Outcome:
    """Keep what a killed worker could not write itself, so that the next run does not fall into it again."""
    error = ResourceError(ErrorCode(outcome.status), outcome.message, remedy="Give more, then --retry-failed.")
    try:
        record_failure(task, error)
    except SpinepsError as unwritten:
        return replace(outcome, status=str(unwritten.code), message=unwritten.message)
    return outcome


@contextmanager
def _writing_root(claims: Claims, plan: Plan) -> Iterator[None]:
    """One run at a time writes what is no scan's, and takes away first what a killed one left half-written of it."""
    with claims.waiting_for(ROOT):
        for folder in {plan.root, plan.state_folder, plan.root / LOGS, plan.settings.output.snapshots or plan.root}:
            atomic.sweep(folder, ROOT)
        yield


def _threads(settings: CohortSettings) -> int:
    """Threads of each worker: what was asked for, or its share of the cores of this machine (0: of its own machine)."""
    asked = max(scan.pipeline.compute.threads for scan in (settings.scan, *settings.by_modality.values()))
    workers = settings.machine.jobs if settings.machine.dask is None else local_workers(settings.machine.dask)
    if asked > 0 or workers is None:
        return asked
    return max(1, core_count() // max(1, workers))


def _check_limits(settings: CohortSettings) -> None:
    if settings.machine.jobs < 1:
        raise UsageError(ErrorCode.USAGE, "a run needs at least one worker.", remedy="Use --jobs 1 or more.")
    if settings.machine.memory_limit_gb is not None and not Path("/proc/self/statm").exists():
        remedy = "Leave --memory-limit out here, or use the limits of the system or the cluster."
        raise UsageError(ErrorCode.USAGE, "this system does not say how much memory a process takes.", remedy=remedy)


def _report(plan: Plan) -> CohortReport:
    return CohortReport(plan.root, tuple(plan.reports[case.name] for case in plan.cases))
