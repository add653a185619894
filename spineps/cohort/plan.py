"""What a run has to do: every scan of the dataset with what its files say of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spineps.cohort.case import Task
from spineps.cohort.discover import find_scans
from spineps.cohort.exclude import excluded_cases
from spineps.cohort.files import KnownFiles
from spineps.cohort.layout import CRASHES, STATE_FOLDER, Case, cases_of
from spineps.cohort.proof import Recipe, Standing, Verdict, judge, recipe_of
from spineps.cohort.settings import CohortSettings, ScanReport, ScanState
from spineps.errors import ErrorCode, InputError
from spineps.io import atomic

_READERS: Final = 8
"""Threads that look at files: a network drive answers several questions at once."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a line of a table says of a record: how many vertebrae were found, the codes of what is worth knowing, the score."""

    vertebrae: int
    findings: tuple[str, ...]
    score: float | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Summary:
        """Of a record, which may be empty."""
        codes = {str(finding["code"]) for finding in record.get("findings", ())}
        return cls(len(record.get("vertebrae", ())), tuple(sorted(codes)), record.get("score"))


@dataclass(slots=True)
class Plan:
    """A dataset's scans, their results' places, and what is to be done.

    Parameters
    ----------
    settings : CohortSettings
        Of the run.
    root : Path
        Of all results.
    recipes : dict of str to Recipe
        What the results of scans of a modality depend on.
    cases : tuple of Case
        All scans, by path.
    reports : dict of str to ScanReport
        What became of each case so far, by name.
    waiting : list of Case
        Those to be computed.
    summaries : dict of str to Summary
        What the record of each settled case says, by name; the records themselves would be too much for many thousands.
    """

    settings: CohortSettings
    root: Path
    recipes: dict[str, Recipe]
    cases: tuple[Case, ...]
    reports: dict[str, ScanReport] = field(default_factory=dict)
    waiting: list[Case] = field(default_factory=list)
    summaries: dict[str, Summary] = field(default_factory=dict)

    @property
    def state_folder(self) -> Path:
        """Where claims and times of files are kept."""
        return self.root / STATE_FOLDER

    def known_place(self, case: Case) -> Path:
        """Where the hashes and times of a case's files are kept."""
        return self.state_folder / "files" / f"{case.name}.json"

    def first_phase_place(self, case: Case) -> Path:
        """Where what the first phase gave is kept."""
        return self.state_folder / "first" / f"{case.name}.gz"

    def crash_place(self, case: Case) -> Path:
        """Where a mistake of the program is described that a case met."""
        return self.root / CRASHES / f"{case.name}.txt"

    def sweep(self, case: Case) -> None:
        """Remove what a killed process left half-written of a case."""
        state = (self.known_place(case), self.first_phase_place(case), self.crash_place(case))
        for folder in {place.parent for place in (*state, *map(case.place, case.files))}:
            atomic.sweep(folder, case.name)

    def judged(self, case: Case) -> Verdict:
        """What is to be done for a case, by its files, as they are now and by what was asked for."""
        if self.settings.redo:
            return Verdict(Standing.TO_DO)
        known = KnownFiles(self.known_place(case), trusted=not self.settings.verify)
        verdict = judge(case, self.recipes[case.scan.suffix], known, self.first_phase_place(case))
        if not self.settings.dry_run:
            known.save()
        if verdict.standing is Standing.FAILED_BEFORE and self.settings.retry_failed:
            return Verdict(Standing.TO_DO)
        if verdict.standing is Standing.UP_TO_DATE and self.settings.redo_instances:
            return Verdict(Standing.INSTANCE_PHASE, verdict.record)
        return verdict

    def settle(self, case: Case, verdict: Verdict) -> bool:
        """Take over what a record proves; whether the case is settled by it."""
        if verdict.standing is Standing.UP_TO_DATE:
            self.reports[case.name] = report_of(case, ScanState.UP_TO_DATE)
        elif verdict.standing is Standing.FAILED_BEFORE:
            record = verdict.record
            failed = report_of(case, ScanState.FAILED)
            self.reports[case.name] = replace(failed, code=_code(record["status"]), message=str(record.get("message", "")))
        else:
            return False
        self.summaries[case.name] = Summary.of(verdict.record)
        return True

    def wants_scores(self, case: Case) -> bool:
        """Whether files are asked for that only the first phase's probabilities can give."""
        return self.settings.of(case.scan.suffix).pipeline.extras.wanted

    def task(self, case: Case, *, keep_semantic: bool) -> Task:
        """What a worker is told of a case."""
        settings, scan = self.settings, self.settings.of(case.scan.suffix)
        return Task(
            name=case.name,
            scan=case.scan.path.absolute(),
            prefix=case.prefix,
            folder=case.folder.absolute(),
            files=case.files,
            known=self.known_place(case).absolute(),
            first_phase=self.first_phase_place(case).absolute(),
            crash=self.crash_place(case).absolute(),
            config=scan.pipeline,
            models=scan.models,
            findings=scan.findings,
            read=settings.read,
            naming=settings.output.naming,
            recipe=self.recipes[case.scan.suffix],
            keep_semantic=keep_semantic,
            profile=settings.machine.profile,
        )


def make_plan(dataset: Path, settings: CohortSettings) -> Plan:
    """Find the scans of a dataset and out what is to be done for each.

    Raises
    ------
    InputError
        If the dataset is no folder or holds no scan that was asked for.
    ModelError
        If a model is not there.
    UsageError
        If the table of excluded scans is none.
    """
    root = settings.output.folder if settings.output.folder is not None else dataset / settings.output.derivative
    cases = cases_of(find_scans(dataset, settings.select, leave_out=root), root, settings.output.naming)
    if not cases:
        remedy = "Check the folder and what was asked for (--modality, --participant-label, --bids-filter-file)."
        raise InputError(ErrorCode.INPUT_NOT_FOUND, "no scan that was asked for is in the dataset.", remedy=remedy)
    recipes = {suffix: recipe_of(settings, settings.of(suffix)) for suffix in {case.scan.suffix for case in cases}}
    plan = Plan(settings, root, recipes, cases)
    excluded = excluded_cases(cases, settings.select.exclude) if settings.select.exclude is not None else frozenset()
    looked_at = []
    for case in cases:
        report = _settled_at_once(case, excluded)
        if report is None:
            looked_at.append(case)
        else:
            plan.reports[case.name] = report
    with ThreadPoolExecutor(_READERS) as readers:
        for case, verdict in zip(looked_at, readers.map(plan.judged, looked_at), strict=True):
            if not plan.settle(case, verdict):
                plan.waiting.append(case)
    return plan


def report_of(case: Case, state: ScanState) -> ScanReport:
    """The report of a case, without a reason."""
    return ScanReport(case.name, case.scan.path, case.prefix, state)


def _settled_at_once(case: Case, excluded: frozenset[str]) -> ScanReport | None:
    """A case that needs no look at its files."""
    if case.name in excluded:
        return report_of(case, ScanState.EXCLUDED)
    if case.problem is not None:
        failed = report_of(case, ScanState.FAILED)
        return replace(failed, code=case.problem.code, message=case.problem.message)
    if case.scan.problem is not None:
        failed = report_of(case, ScanState.FAILED)
        return replace(failed, code=case.scan.problem, message="the folder may not be opened.")
    return None


def _code(status: str) -> ErrorCode | None:
    return ErrorCode(status) if status in ErrorCode.__members__ else None
