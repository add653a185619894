"""What can be asked of a run over many scans, and what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from spineps.config import PipelineConfig
from spineps.errors import ErrorCode, ExitCode, Finding
from spineps.io.load import ReadOptions
from spineps.outputs.names import DERIVATIVE

DEFAULT_MODALITIES: Final = ("T2w",)
"""Sagittal T2w is what is scanned most, and what the published command looks for."""
DEFAULT_TIME_LIMIT_S: Final = 3600.0


class Naming(str, Enum):
    """How files of results are named."""

    SPINEPS = "spineps"
    BIDS = "bids"


class ScanState(str, Enum):
    """What became of a scan in a run."""

    DONE = "done"
    UP_TO_DATE = "up-to-date"
    FAILED = "failed"
    CLAIMED = "claimed"
    EXCLUDED = "excluded"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a dataset are scans to segment.

    Parameters
    ----------
    modalities : tuple of str
        BIDS suffixes (``T2w``, ``T1w``, ...).
    participants, sessions : tuple of str
        Labels with or without ``sub-`` and ``ses-``; empty takes all.
    filters : Mapping
        Content of a BIDS filter file as fMRIPrep reads it: name of a query to ``{entity: value, list of values or None}``; a
        scan is taken if it meets one of the queries. With filters, ``modalities`` does not count.
    rawdata : str
        Folder of the dataset in which scans are looked for if it exists, else the dataset itself.
    any_name : bool
        Take every NIfTI file outside of derivatives, whatever its name.
    exclude : Path or None
        TSV table of scans to leave out; see :mod:`spineps.cohort.exclude`.
    """

    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    rawdata: str = "rawdata"
    any_name: bool = False
    exclude: Path | None = None


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where results go and what they are called.

    Parameters
    ----------
    folder : Path or None
        Root of all results; None: the folder ``derivative`` in the dataset.
    derivative : str
        Its name where ``folder`` is None.
    naming : Naming
        Published names or BIDS derivatives.
    snapshots : Path or None
        Folder that gets a copy of every picture.
    log : bool
        Keep what became of each scan, with the time, in ``logs``.
    """

    folder: Path | None = None
    derivative: str = DERIVATIVE
    naming: Naming = Naming.SPINEPS
    snapshots: Path | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """Model folders; None is the model that travels with the package."""

    semantic: Path | None = None
    instance: Path | None = None
    labeling: Path | None = None


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How a scan is segmented.

    Parameters
    ----------
    pipeline : PipelineConfig
        Settings of all stages.
    models : ModelFolders
        Networks.
    findings : tuple of Finding
        What is worth knowing about the choice of the models; goes into the record of each scan.
    """

    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    models: ModelFolders = field(default_factory=ModelFolders)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class DaskSettings:
    """A Dask cluster that a run works on.

    Parameters
    ----------
    where : str
        ``local:N`` (N processes of this machine), the address or the scheduler file (``.json``) of a running cluster, or the
        name of a batch system: ``slurm``, ``pbs``, ``lsf`` or ``sge``.
    config : Path or None
        For a batch system: YAML as dask-jobqueue reads it, and ``jobs``, how many jobs to keep running.
    """

    where: str
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """How much of a machine a run may take. Nothing of it can change a result.

    Parameters
    ----------
    jobs : int
        Worker processes, each with its own models.
    time_limit_s : float or None
        Seconds that one scan may take.
    memory_limit_gb : float or None
        Resident memory (10^9 bytes) that a worker process may take.
    wait : bool
        At the end, wait for scans that other runs are working on, and take over those whose run died.
    profile : bool
        Write where the time of each scan went beside its results.
    dask : DaskSettings or None
        Work on a Dask cluster instead of ``jobs`` processes of this machine; the limits are those of each of its workers.
    """

    jobs: int = 1
    time_limit_s: float | None = DEFAULT_TIME_LIMIT_S
    memory_limit_gb: float | None = None
    wait: bool = True
    profile: bool = False
    dask: DaskSettings | None = None


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """Everything that a run over many scans is told.

    Parameters
    ----------
    scan : ScanSettings
        How a scan is segmented.
    by_modality : Mapping of str to ScanSettings
        How scans of a BIDS suffix (``T1w``) are segmented instead.
    read : ReadOptions
        Choices that a file leaves open.
    select : Selection
        Which scans.
    output : OutputSettings
        Where to.
    machine : MachineSettings
        With what.
    redo : bool
        Compute everything again.
    redo_instances : bool
        Compute everything again but the semantic network's masks.
    retry_failed : bool
        Compute again what failed before for a reason that lies in the scan.
    verify : bool
        Hash every file again instead of trusting its size, time and inode.
    dry_run : bool
        Plan only; nothing is written.
    """

    scan: ScanSettings = field(default_factory=ScanSettings)
    by_modality: Mapping[str, ScanSettings] = field(default_factory=lambda: MappingProxyType({}))
    read: ReadOptions = field(default_factory=ReadOptions)
    select: Selection = field(default_factory=Selection)
    output: OutputSettings = field(default_factory=OutputSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)
    redo: bool = False
    redo_instances: bool = False
    retry_failed: bool = False
    verify: bool = False
    dry_run: bool = False

    def of(self, modality: str) -> ScanSettings:
        """How a scan of a BIDS suffix is segmented."""
        return self.by_modality.get(modality, self.scan)


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What became of one scan.

    Parameters
    ----------
    case : str
        Name of the scan in messages, from which nobody learns the file's.
    path : Path
        The scan; for callers in Python, never logged.
    prefix : str
        What its results' names begin with.
    state : ScanState
        What became of it.
    code : ErrorCode or None
        Why it failed.
    message : str
        One sentence about it, without the file's name.
    seconds : float
        Spent on it in this run.
    """

    case: str
    path: Path
    prefix: str
    state: ScanState
    code: ErrorCode | None = None
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CohortReport:
    """What became of all scans, in the order of the plan.

    Parameters
    ----------
    folder : Path
        Root of the results, with ``cohort.tsv``.
    scans : tuple of ScanReport
        One a scan that the selection found.
    """

    folder: Path
    scans: tuple[ScanReport, ...]

    @property
    def counts(self) -> Mapping[ScanState, int]:
        """How many scans there are of each state."""
        found = Counter(scan.state for scan in self.scans)
        return MappingProxyType({state: found[state] for state in ScanState})

    @property
    def exit_code(self) -> ExitCode:
        """COHORT_INCOMPLETE if a scan failed, else CLAIMED if other runs still work on some, else OK."""
        counts = self.counts
        if counts[ScanState.FAILED]:
            return ExitCode.COHORT_INCOMPLETE
        return ExitCode.CLAIMED if counts[ScanState.CLAIMED] else ExitCode.OK
