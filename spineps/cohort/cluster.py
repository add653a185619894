"""Dask clusters that a run can work on: processes of this machine, one that is there already, or jobs of a batch system."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from spineps.cohort.settings import DaskSettings
from spineps.errors import ErrorCode, ResourceError, UsageError

if TYPE_CHECKING:
    from dask_jobqueue import JobQueueCluster
    from distributed import Client
    from distributed.deploy import Cluster

GPU: Final = "GPU"
"""Name of the Dask resource that stands for a graphics card."""
BATCH_SYSTEMS: Final = MappingProxyType(
    {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
)
"""Batch systems, and the classes of dask-jobqueue for them."""
THREADS_PER_WORKER: Final = 2
"""Dask threads of a worker, which only wait: for the scan in the networks, and for the next one, which is read meanwhile."""
_LOCAL: Final = "local:"
_CONNECT_S: Final = 10
_HERE: Final = "127.0.0.1"
_UNWATCHED: Final = MappingProxyType({"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "500ms"})
"""Dask looks at every thread a hundred times a second, for its status page."""
_NO_PAGE: Final = MappingProxyType({"dashboard": False, "dashboard_address": f"{_HERE}:0"})
"""The scheduler's status page names scans and shows other machines what runs here: only on demand."""


def local_workers(dask: DaskSettings) -> int | None:
    """How many workers ``local:N`` asks for; None where they are on other machines.

    Raises
    ------
    UsageError
        If N is no number of workers.
    """
    if not dask.where.startswith(_LOCAL):
        return None
    number = dask.where.removeprefix(_LOCAL)
    if not (number.isascii() and number.isdigit() and int(number)):
        raise _usage(f"--dask {_LOCAL} wants a number of workers, found {number!r}.", f"Use --dask {_LOCAL}2.")
    return int(number)


@contextmanager
def connected(dask: DaskSettings, *, gpu: bool = False) -> Iterator[Client]:
    """A client of the cluster, which is started first and ended last where the run has to.

    Parameters
    ----------
    dask : DaskSettings
        Which cluster.
    gpu : bool
        Whether workers of this machine have a graphics card.

    Raises
    ------
    UsageError
        If Dask is not installed, or what was asked for makes no sense.
    ResourceError
        If the cluster does not answer.
    """
    try:
        import distributed
    except ImportError as error:
        raise _not_installed("Dask") from error
    workers = local_workers(dask)
    if workers is not None:
        with _local_cluster(workers, gpu=gpu) as cluster, distributed.Client(cluster) as client:
            yield client
    elif dask.where in BATCH_SYSTEMS:
        with batch_cluster(dask) as cluster, distributed.Client(cluster) as client:
            yield client
    else:
        with _client_of(dask.where) as client:
            yield client


def keep_up(client: Client) -> None:
    """Start or submit again what has ended of a cluster that the run started; Dask gives up workers that are gone for long."""
    if client.cluster is not None:
        client.cluster.scale(len(client.cluster.plan))


@contextmanager
def _local_cluster(workers: int, *, gpu: bool) -> Iterator[Cluster]:
    """A cluster of processes of this machine."""
    import distributed
    from dask import config

    with config.set(_UNWATCHED):
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=THREADS_PER_WORKER,
            host=_HERE,
            dashboard_address=f"{_HERE}:0",
            memory_limit=0,
            silence_logs="CRITICAL",
            resources={GPU: 1} if gpu else None,
        )
        with _ended(cluster):
            yield cluster


@contextmanager
def quiet(*, unless: bool) -> Iterator[None]:
    """While it lasts, Dask's own loggers say nothing: what ends in the middle is no matter of the user."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in () if unless else loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def is_ours(dask: DaskSettings) -> bool:
    """Whether the run starts the cluster, and ends it."""
    return dask.where in BATCH_SYSTEMS or dask.where.startswith(_LOCAL)


@contextmanager
def batch_cluster(dask: DaskSettings) -> Iterator[JobQueueCluster]:
    """A cluster of jobs of a batch system; jobs that end are submitted again.

    Raises
    ------
    UsageError
        If dask-jobqueue is not installed, or the file does not say what it needs.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        raise _not_installed("dask-jobqueue") from error
    options = dict(_batch_options(dask))
    jobs = options.pop("jobs", 1)
    if not isinstance(jobs, int) or jobs < 1:
        raise _usage(f"jobs is a number of jobs, found {jobs!r}.", "Correct the file of --dask-config.")
    scheduler = {**_NO_PAGE, **options.pop("scheduler_options", {})}
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[dask.where])(scheduler_options=scheduler, **{"processes": 1, **options})
    except (TypeError, ValueError, AttributeError, OSError) as error:
        reason = str(error).split("\n", 1)[0].strip()
        remedy = f"Correct the section {dask.where} in the file of --dask-config."
        raise _usage(f"dask-jobqueue does not take these settings ({reason}).", remedy) from error
    with _ended(cluster):
        submit = str(cluster.job_cls.submit_command).split()[0]
        if shutil.which(submit) is None:
            raise _usage(f"no command {submit} is on this machine.", "Start the run where jobs are submitted from.")
        cluster.scale(jobs=jobs)
        with suppress(RuntimeError, ValueError):
            cluster.sync(_all_submitted, cluster)
        if any(job.job_id is None for job in cluster.workers.values()):
            remedy = f"Run with --debug to see what it says, and correct the section {dask.where} in the file of --dask-config."
            raise _usage(f"{submit} does not take the jobs.", remedy)
        yield cluster


async def _all_submitted(cluster: JobQueueCluster) -> None:
    await cluster


@contextmanager
def _ended(cluster: Cluster) -> Iterator[None]:
    """A cluster that is ended last; what goes wrong with that is no matter of the run, whose results are files already.

    (Dask asserts that jobs are closed, and those of a batch system are not when some reference keeps them alive.)
    """
    try:
        yield
    finally:
        with suppress(AssertionError, OSError, RuntimeError):
            cluster.close()


def _client_of(where: str) -> Client:
    """A client of a cluster that is there already."""
    import distributed

    try:
        if where.endswith(".json"):
            return distributed.Client(scheduler_file=where, timeout=_CONNECT_S)
        return distributed.Client(where, timeout=_CONNECT_S)
    except (OSError, ValueError, TypeError) as error:
        remedy = f"Check the address, or use {_LOCAL}N or one of {', '.join(BATCH_SYSTEMS)}."
        raise ResourceError(ErrorCode.CLUSTER, f"no Dask scheduler answers at {where}.", remedy=remedy) from error


def _batch_options(dask: DaskSettings) -> Mapping[str, Any]:
    """The section of a batch system in the file, with names as Python has them."""
    if dask.config is None:
        raise _usage(f"--dask {dask.where} needs to know what a job is.", "Describe it in a YAML file: --dask-config FILE.")
    section = _read_yaml(dask.config)
    for name in ("jobqueue", dask.where):
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        remedy = "See docs/cluster.md for an example."
        raise _usage(f"the file of --dask-config has no section jobqueue: {dask.where}.", remedy)
    return {str(name).replace("-", "_"): value for name, value in section.items()}


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _usage("the file of --dask-config cannot be read as YAML.", "Give a YAML file.") from error


def _usage(message: str, remedy: str) -> UsageError:
    return UsageError(ErrorCode.USAGE, message, remedy=remedy)


def _not_installed(what: str) -> UsageError:
    return _usage(f"{what} is not installed.", "Install it: pip install 'spineps[cluster]'.")
