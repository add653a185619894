"""What stands on each worker of a Dask cluster: a plugin that loads the models once, and the task that brings it a scan.

A worker says what it offers (how it runs networks, with how many threads); the run engages those that offer the same, by
giving them the Dask resource that every scan takes one of. So a worker that cannot offer it never sees a scan.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distributed import Reschedule, Status, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

import spineps
from spineps.cohort.desk import Desk, DeskClosed
from spineps.cohort.pool import AHEAD
from spineps.cohort.process import Message, core_count
from spineps.cohort.settings import MachineSettings
from spineps.cohort.wire import outcome_to_plain, task_from_plain

if TYPE_CHECKING:
    from distributed import Worker

OFFER: Final = "offer"
REFUSED: Final = "refused"
OUTCOME: Final = "outcome"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run asks of every worker.

    Parameters
    ----------
    name : str
        Of the run on the cluster: that of its plugin, of its resource and of the topic of what workers say.
    order : Mapping
        Models to load.
    threads : int
        Of the networks; 0 takes those that Dask gave the worker.
    state_folder : str
        A folder that the run made, which a worker must see.
    version : str
        Of spineps.
    time_limit_s, memory_limit_gb : float or None
        Limits of a scan.
    """

    name: str
    order: Message
    threads: int
    state_folder: str
    version: str
    time_limit_s: float | None
    memory_limit_gb: float | None


class ScanWorker(WorkerPlugin):  # type: ignore[misc]
    """A desk on a worker of the cluster.

    Parameters
    ----------
    terms : Terms
        Of the run.
    """

    def __init__(self, terms: Terms) -> None:
        self.name = terms.name
        self._terms = terms
        self._desk: Desk | None = None

    def setup(self, worker: Worker) -> None:
        """Begin to load the models, unless this worker is of no use for the run."""
        terms = self._terms
        threads = terms.threads or worker.state.nthreads
        self._worker, self._threads = worker, threads
        reason = _reason_to_refuse(terms, threads)
        if reason:
            self._say(REFUSED, reason)
        else:
            machine = MachineSettings(1, terms.time_limit_s, terms.memory_limit_gb)
            self._desk = Desk(machine, threads, terms.order, self._say)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        """The run is over, or the worker is."""
        self.close()

    def compute(self, sent: bytes) -> dict[str, Any]:
        """One scan, from its file to its files; its task is a line of :mod:`spineps.cohort.wire`."""
        if self._desk is None:
            raise RuntimeError("a worker that refused was given a scan")
        outcome = outcome_to_plain(self._desk.compute(task_from_plain(json.loads(sent))))
        self._say(OUTCOME, json.dumps(outcome))
        return outcome

    def close(self) -> None:
        """End the process behind the desk."""
        if self._desk is not None:
            self._desk.close()

    def _say(self, topic: str, text: str) -> None:
        said = {"worker": self._worker.address, "topic": topic, "text": text}
        self._worker.log_event(self.name, said if topic != OFFER else {**said, "threads": self._threads})


def compute_scan(name: str, sent: bytes) -> dict[str, Any]:
    """The Dask task of one scan, for the run of that name."""
    plugin = get_worker().plugins.get(name)
    if plugin is None:  # taken off while the scan was on its way
        raise Reschedule
    try:
        return dict(plugin.compute(sent))
    except DeskClosed:
        raise Reschedule from None


async def engage(name: str, dask_worker: Worker) -> None:
    """Let a worker have scans: the one in its networks, and the next one, which is read meanwhile.

    Scans that found no worker wait in Dask, which looks at them again when a worker begins to run,
    not when its resources change.
    """
    await dask_worker.set_resources(**{name: AHEAD})
    if dask_worker.status is Status.running:
        dask_worker.status = Status.paused
        dask_worker.status = Status.running


async def dismiss(name: str, dask_worker: Worker) -> None:
    """Let go of a worker."""
    plugin = dask_worker.plugins.get(name)
    if plugin is not None:
        plugin.close()


def _reason_to_refuse(terms: Terms, threads: int) -> str:
    """Why a worker is of no use for a run; empty if it may be."""
    if spineps.__version__ != terms.version:
        return f"it has spineps {spineps.__version__}, the run has {terms.version}. Install the same version everywhere."
    if not Path(terms.state_folder).is_dir():
        return "it does not see the folder of the results. Mount it under the same path everywhere."
    if threads > core_count():
        return f"it may use {core_count()} cores, and {threads} threads were asked for. Ask for fewer with --threads."
    if not os.access(terms.state_folder, os.W_OK):
        return "it may not write into the folder of the results. Give it the right to."
    return ""
