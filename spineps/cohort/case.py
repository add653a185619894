"""One scan of a cohort, from its file to its files: read and prepared ahead, segmented, written, its record last.

What runs here knows nothing of other scans, of claims or of where it runs: in a worker process of this machine or of a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spineps.cohort import sidecars
from spineps.cohort.files import Identity, KnownFiles, identity_of, remove_quietly, sha256_of
from spineps.cohort.first_phase import packed, unpacked
from spineps.cohort.layout import RECORD
from spineps.cohort.proof import FIRST, INPUT, MACHINE_FAULTS, Recipe, proven
from spineps.cohort.settings import ModelFolders, Naming
from spineps.config import PipelineConfig
from spineps.errors import ErrorCode, Finding, InputError, OutputError, SpinepsError
from spineps.io import atomic
from spineps.io.load import ReadOptions
from spineps.io.rawfile import require_readable
from spineps.io.shown import shown_name
from spineps.outputs.names import FileNames
from spineps.outputs.record import DONE, failure_record, run_record
from spineps.volume import FirstPhase, Source
from spineps.zoo.store import read_card

if TYPE_CHECKING:
    from spineps.pipeline import Models
    from spineps.stages.preprocess import Prepared
    from spineps.volume import Result, Scan

Stage = Callable[[str], None]
_NO_SCAN_NAME: Final = "The scan"


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told of one scan.

    Parameters
    ----------
    name : str
        Of the case, for messages.
    scan : Path
        The file.
    prefix : str
        Entity prefix of the scan.
    folder : Path
        Where results go.
    files : Mapping of str to str
        Role of each result to its file name.
    known : Path
        Where hashes and times of the case's files are kept.
    first_phase : Path
        Where what the first phase gave is kept.
    crash : Path
        Where a mistake of the program is described.
    config : PipelineConfig
        Settings.
    models : ModelFolders
        Networks.
    findings : tuple of Finding
        About the choice of the networks.
    read : ReadOptions
        Choices that the file leaves open.
    naming : Naming
        How results are named.
    recipe : Recipe
        What the results depend on.
    keep_semantic : bool
        Go on from what the first phase of an earlier run gave.
    profile : bool
        Write where the time went beside the results.
    """

    name: str
    scan: Path
    prefix: str
    folder: Path
    files: Mapping[str, str]
    known: Path
    first_phase: Path
    crash: Path
    config: PipelineConfig
    models: ModelFolders
    read: ReadOptions
    naming: Naming
    recipe: Recipe
    findings: tuple[Finding, ...] = ()
    keep_semantic: bool = False
    profile: bool = False

    def place(self, role: str) -> Path:
        """Path of a result."""
        return self.folder / self.files[role]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    name : str
        Of the case.
    status : str
        ``DONE`` or the code of what ended it.
    message : str
        One sentence, without the file's name.
    seconds : float
        From the network's first to the record's last byte.
    kept_semantic : bool
        Whether the first phase was left out.
    """

    name: str
    status: str
    message: str = ""
    seconds: float = 0.0
    kept_semantic: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A scan that was read and prepared, or why it was not.

    Parameters
    ----------
    task : Task
        What it is for.
    identity : tuple or None
        Size, times and inode of the file before it was read.
    scan : Scan or None
        The scan.
    start : Prepared, FirstPhase or None
        What the pipeline begins with: the scan as the semantic network is given it, or what the first phase of an earlier run
        gave.
    error : Exception or None
        Why there is nothing to go on with.
    """

    task: Task
    identity: Identity | None
    scan: Scan | None = None
    start: Prepared | FirstPhase | None = None
    error: Exception | None = None


@dataclass(slots=True)
class _Seen:
    """What the pipeline showed on its way."""

    stage: Stage
    keep: Callable[[str, object], None] | None = None
    first: FirstPhase | None = None

    def __call__(self, name: str, value: object) -> None:
        if self.keep is not None:
            self.keep(name, value)
        if isinstance(value, FirstPhase):
            self.first = value
        else:
            self.stage(name)


def refused_unread(task: Task) -> Outcome | None:
    """What becomes of a scan whose file cannot be opened, which takes no worker to find out; None for any other.

    No record is written, because there is nothing to take a hash of: each run looks again.
    """
    try:
        require_readable(task.scan)
    except InputError as error:
        remove_quietly(task.crash)
        return Outcome(task.name, str(error.code), anonymous(error.message, task.scan))
    return None


def make_ready(task: Task) -> Ready:
    """Read a scan and prepare it for the semantic network; needs no network, so that it can be done ahead."""
    from spineps.io.nifti import read_scan
    from spineps.pipeline import prepare_scan
    from spineps.stages.compatibility import check_compatibility

    remove_quietly(task.crash)
    identity = identity_of(task.scan)
    try:
        scan = read_scan(task.scan, task.read)
        findings = (*scan.source.findings, *task.findings)
        scan = replace(scan, source=replace(scan.source, findings=findings, prefix=task.prefix))
        check_compatibility(scan, force=task.config.force)
        if task.keep_semantic:
            return Ready(task, identity, scan, unpacked(task.first_phase))
        prepares_itself = task.models.semantic is not None and read_card(task.models.semantic).elsewhere is not None
        return Ready(task, identity, scan, None if prepares_itself else prepare_scan(scan, task.config))
    except Exception as error:  # noqa: BLE001  whatever is wrong with one scan is said of that scan alone
        return Ready(task, identity, error=error)


def finish(ready: Ready, models: Models, stage: Stage) -> Outcome:
    """Segment a scan and write its results; whatever goes wrong becomes an outcome.

    Parameters
    ----------
    ready : Ready
        From :func:`make_ready`.
    models : Models
        Those of the task.
    stage : callable
        Told the name of each stage when it ends.
    """
    began = time.perf_counter()
    task = ready.task
    error = ready.error if ready.error is not None else _attempt(ready, models, stage)
    outcome = Outcome(task.name, DONE, kept_semantic=task.keep_semantic) if error is None else _failed(ready, error)
    return replace(outcome, seconds=round(time.perf_counter() - began, 3))


def record_failure(task: Task, error: SpinepsError, *, identity: Identity | None = None, scan: Scan | None = None) -> None:
    """Write the record of a scan that failed, in place of all results that were there; nothing for faults of the machine.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if error.code in MACHINE_FAULTS or RECORD not in task.files:
        return
    sha256 = scan.source.sha256 if scan is not None else sha256_of(task.scan)
    if sha256 is None:
        return
    given = scan if scan is not None else Source(sha256)
    clean = type(error)(error.code, anonymous(error.message, task.scan), remedy=error.remedy)
    record = proven(failure_record(given, task.config, clean), task.recipe.keys(sha256))
    with atomic.stage(task.folder, task.name) as staged:
        staged.write_json(task.files[RECORD], record)
        staged.commit()
    _remove_others(task, set())
    remove_quietly(task.first_phase)
    known = KnownFiles(task.known)
    known.learn(INPUT, task.scan, sha256, identity)
    known.save()


def anonymous(message: str, scan: Path) -> str:
    """A message without the name of the scan's file."""
    return message.replace(shown_name(scan), _NO_SCAN_NAME)


def _attempt(ready: Ready, models: Models, stage: Stage) -> Exception | None:
    """Segment and save; what went wrong, or None."""
    from spineps.outputs.profile import profiled

    task = ready.task
    try:
        with profiled(task.folder, task.prefix, wanted=task.profile, tag=task.name):
            _save(ready, *_segmented(ready, models, stage))
    except Exception as error:  # noqa: BLE001  whatever is wrong with one scan is said of that scan alone
        return error
    stage("saved")
    return None


def _segmented(ready: Ready, models: Models, stage: Stage) -> tuple[Result, FirstPhase]:
    """The result, and what its first phase gave."""
    from spineps import pipeline
    from spineps.outputs.extras import StageKeeper

    if ready.scan is None:
        raise ValueError("a scan that was not read cannot be segmented")
    config, kept = ready.task.config, StageKeeper(ready.scan)
    seen = _Seen(stage, kept if config.extras.stages else None)
    result = pipeline.segment_scan(ready.scan, models, config, start=ready.start, on_stage=seen)
    if config.extras.stages:
        kept.save(ready.task.folder, prefix=ready.task.prefix)
    first = ready.start if isinstance(ready.start, FirstPhase) else seen.first
    if first is None:
        raise ValueError("the pipeline did not show what its first phase gave")
    return result, first


def _save(ready: Ready, result: Result, first: FirstPhase) -> None:
    """All files of a scan, moved into place together, the record last."""
    from spineps.outputs.save import stage_result

    task = ready.task
    names = FileNames(**{role: name for role, name in task.files.items() if role in FileNames.__dataclass_fields__})
    with atomic.stage(task.first_phase.parent, task.name) as staged:
        kept = staged.write_chunks(task.first_phase.name, packed(first))
        staged.commit()
    with atomic.stage(task.folder, task.name) as staged:
        outputs = stage_result(staged, result, names)
        outputs |= _extras(staged, task, result)
        sha256 = str(result.provenance["input_sha256"])
        record = proven(run_record(result, outputs), task.recipe.keys(sha256), first_phase=kept.sha256)
        written = staged.write_json(task.files[RECORD], record)
        staged.commit()
    _remove_others(task, set(outputs))
    known = KnownFiles(task.known)
    known.learn(INPUT, task.scan, sha256, ready.identity)
    known.learn(FIRST, task.first_phase, kept.sha256)
    for role, digest in {**outputs, RECORD: written.sha256}.items():
        known.learn(role, task.place(role), digest)
    known.save()


def _extras(staged: atomic.Staging, task: Task, result: Result) -> dict[str, str]:
    """What belongs to the masks in this way of naming, and what was asked for beside them."""
    from spineps.outputs.extras import save_extras

    if task.naming is Naming.BIDS:
        return sidecars.stage_sidecars(staged, task.files) | sidecars.stage_extras(staged, result, task.files)
    written = save_extras(result, task.folder, prefix=task.prefix, tag=task.name)
    return {role: file.sha256 for role, file in written.items()}


def _remove_others(task: Task, roles: set[str]) -> None:
    """Take away results of an earlier run that this one did not write: no record speaks for them any more."""
    for role, name in task.files.items():
        if role != RECORD and role not in roles:
            remove_quietly(task.folder / name)


def _failed(ready: Ready, error: Exception) -> Outcome:
    """Name what went wrong, and write it down where it will be so again."""
    from spineps.outputs import crash

    task = ready.task
    known = error if isinstance(error, SpinepsError) else crash.as_known(error)
    if known is None:
        with suppress(OutputError):
            atomic.write_text(task.crash, crash.crash_text(error, command="cohort"), tag=task.name)
        known = SpinepsError(
            ErrorCode.BUG, f"spineps failed ({type(error).__name__}).", remedy="Send the crash file to the developers."
        )
    message = anonymous(known.message, task.scan)
    try:
        record_failure(task, known, identity=ready.identity, scan=ready.scan)
    except SpinepsError as unwritten:
        return Outcome(task.name, str(unwritten.code), anonymous(unwritten.message, task.scan))
    return Outcome(task.name, str(known.code), message)
