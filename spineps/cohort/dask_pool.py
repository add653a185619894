"""Scans on the workers of a Dask cluster: what :class:`spineps.cohort.pool.Pool` does with processes of one machine.

Dask decides which worker takes which scan, and gives a scan of a worker that died to another. Claims, proofs and files are
those of any run: the cluster keeps nothing that a new run would need.
"""

from __future__ import annotations

import json
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distributed import Client, KilledWorker
from distributed.comm import CommClosedError

import spineps
from spineps.cohort import dask_worker
from spineps.cohort.case import Outcome, Task
from spineps.cohort.cluster import GPU, connected, is_ours, keep_up, quiet
from spineps.cohort.files import ROOT, hash_of, read_json
from spineps.cohort.pool import AHEAD, TICK_S, Work
from spineps.cohort.settings import CohortSettings
from spineps.cohort.wire import line, order_to_plain, outcome_from_plain, task_to_plain
from spineps.config import Device
from spineps.errors import ErrorCode, ResourceError, SpinepsError
from spineps.io import atomic

if TYPE_CHECKING:
    from distributed import Future

ENGINE: Final = "engine.json"
"""File in the state folder: how networks run for these results, so that the next run does it the same way."""
_LOOK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Offer:
    """How a worker runs networks."""

    engine: str
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} with {self.threads} threads"


class DaskPool:
    """Runs tasks on a cluster until there are no more.

    Parameters
    ----------
    settings : CohortSettings
        Of the run.
    threads : int
        Threads of each worker's networks; 0 takes as many as the first worker offers.
    work : Work
        Where tasks come from and outcomes go.
    state_folder : Path
        Of the results.
    alone : callable
        Gives a context in which no other run writes into the state folder.
    debug : bool
        Let Dask say on stderr what it does.
    """

    def __init__(
        self,
        settings: CohortSettings,
        threads: int,
        work: Work,
        state_folder: Path,
        *,
        alone: Callable[[], AbstractContextManager[None]],
        debug: bool = False,
    ) -> None:
        self._settings, self._work, self._state_folder = settings, work, state_folder
        self._alone, self._debug = alone, debug
        scans = (settings.scan, *settings.by_modality.values())
        self._order = order_to_plain(scans)
        self._gpu = any(scan.pipeline.compute.device is Device.CUDA for scan in scans)
        machine = settings.machine
        self._terms = dask_worker.Terms(
            name=f"spineps-{uuid.uuid4().hex[:12]}",
            order=self._order,
            threads=threads,
            state_folder=str(state_folder.absolute()),
            version=spineps.__version__,
            time_limit_s=machine.time_limit_s,
            memory_limit_gb=machine.memory_limit_gb,
        )
        self._heard: queue.Queue[Mapping[str, Any] | Future] = queue.Queue()
        self._agreed: _Offer | None = None
        self._engaged: list[str] = []
        self._refused: dict[str, str] = {}
        self._waiting: deque[Task] = deque()
        self._given: dict[str, tuple[Future, Task]] = {}
        self._starts: Counter[str] = Counter()
        self._said: dict[str, Outcome] = {}
        self._looked_s = 0.0

    def run(self) -> None:
        """Work until there is nothing left to do.

        Raises
        ------
        SpinepsError
            Where no scan can be computed: no cluster, no worker that can be used, a model that is missing or damaged.
        """
        dask = self._settings.machine.dask
        if dask is None:
            raise ValueError("no cluster was asked for")
        first = self._work.next()
        if first is None:
            return
        self._waiting.append(first)
        with quiet(unless=self._debug), connected(dask, gpu=self._gpu) as client:
            try:
                self._hire(client)
                while self._feed(client):
                    self._listen(client)
                    self._look_around(client)
                    self._work.tick()
            except (OSError, CommClosedError) as error:
                raise _lost_cluster() from error
            finally:
                if not is_ours(dask):
                    self._leave(client)

    def _hire(self, client: Client) -> None:
        """Put a desk on every worker, also on those that come later."""
        client.subscribe_topic(self._terms.name, lambda event: self._heard.put(event[1]))
        try:
            client.register_plugin(dask_worker.ScanWorker(self._terms))
        except (ImportError, AttributeError) as error:
            remedy = "Install the same version of spineps for all workers."
            raise ResourceError(ErrorCode.CLUSTER, "workers of the cluster do not have this spineps.", remedy=remedy) from error

    def _leave(self, client: Client) -> None:
        """Take everything of this run off the cluster."""
        with suppress(OSError, RuntimeError, CancelledError):
            client.cancel([future for future, _ in self._given.values()], force=True)
            client.unregister_worker_plugin(self._terms.name)

    def _feed(self, client: Client) -> bool:
        """Give as many tasks to the cluster as its workers take; whether anything is under way."""
        while len(self._given) < AHEAD * len(self._engaged):
            task = self._next()
            if task is None:
                break
            name = self._terms.name
            resources = {name: 1.0, **({GPU: 1 / AHEAD} if self._gpu else {})}
            key = f"{name}-{task.name}"
            sent = line(task_to_plain(task))  # Dask would look into plain values one by one
            future = client.submit(dask_worker.compute_scan, name, sent, key=key, resources=resources, pure=False)
            self._given[key] = (future, task)
            future.add_done_callback(self._heard.put)
        if not self._given and not self._waiting:  # with no worker just now, there may still be something to do
            self._waiting.extend(task for task in (self._work.next(),) if task is not None)
        return bool(self._given or self._waiting)

    def _next(self) -> Task | None:
        return self._waiting.popleft() if self._waiting else self._work.next()

    def _listen(self, client: Client) -> None:
        """Take in what workers said and what became of tasks, waiting a little for the first word."""
        wait = True
        while True:
            try:
                heard = self._heard.get(wait, TICK_S if wait else None)
            except queue.Empty:
                return
            wait = False
            if isinstance(heard, Mapping):
                self._hear(client, heard)
            else:
                self._over(heard)

    def _hear(self, client: Client, said: Mapping[str, Any]) -> None:
        worker, topic, text = said["worker"], said["topic"], said["text"]
        if topic == dask_worker.OFFER:
            self._consider(client, worker, _Offer(text, said["threads"]))
        elif topic == dask_worker.REFUSED:
            self._refuse(client, worker, text)
        elif worker not in self._engaged:
            return
        elif topic == "started":
            self._starts[text] += 1
            self._work.started(text, self._engaged.index(worker))
        elif topic == dask_worker.OUTCOME:
            outcome = outcome_from_plain(json.loads(text))
            self._said[outcome.name] = outcome
        else:
            name, _, stage = text.partition(" ")
            self._work.stage(name, self._engaged.index(worker), stage)

    def _consider(self, client: Client, worker: str, offer: _Offer) -> None:
        """Engage a worker that runs networks as all others do."""
        if worker in self._engaged or worker in self._refused:
            return
        if self._agreed is None:
            with self._alone():
                self._agreed = self._agree(offer)
        if offer != self._agreed:
            remedy = "Use like machines, or say --device, --precision and --threads."
            self._refuse(client, worker, f"it offers {offer}, and this run needs {self._agreed}. {remedy}")
            return
        with suppress(OSError, KeyError):  # gone already
            client.run(dask_worker.engage, self._terms.name, workers=[worker])
            self._engaged.append(worker)

    def _agree(self, offer: _Offer) -> _Offer:
        """How networks run in this run: as for the results that are there, else as the first worker does it."""
        place, asked = self._state_folder / ENGINE, hash_of(self._order)
        known = read_json(place) or {}
        if not self._settings.redo and known.get("asked") == asked:
            return _Offer(str(known["engine"]), offer.threads)
        atomic.write_json(place, {"asked": asked, "engine": offer.engine}, tag=ROOT)
        return offer

    def _refuse(self, client: Client, worker: str, reason: str) -> None:
        self._refused[worker] = reason
        self._work.refused(reason)
        with suppress(OSError, KeyError):
            client.run(dask_worker.dismiss, self._terms.name, workers=[worker])

    def _over(self, future: Future) -> None:
        """Settle the task of a future."""
        if future.key not in self._given:
            return
        _, task = self._given.pop(future.key)
        said = self._said.pop(task.name, None)  # known sooner than by asking the worker for the value of its task
        outcome = said if said is not None and future.status == "finished" else _outcome_of(future, task)
        if self._starts.pop(task.name, 0) > 1 or outcome.status == ErrorCode.WORKER_DIED:
            self._work.lost(task)
        self._work.settled(task, outcome)

    def _look_around(self, client: Client) -> None:
        """Forget workers that have gone, and see that others come; end where every one there is cannot be used.

        Raises
        ------
        ResourceError
            In that case.
        """
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        keep_up(client)
        there = set(client.nthreads())
        self._engaged = [worker for worker in self._engaged if worker in there]
        if there and there <= set(self._refused):
            reason, remedy = self._refused[next(iter(there))].split(". ", 1)
            raise ResourceError(ErrorCode.CLUSTER, f"no worker of the cluster can be used: {reason}.", remedy=remedy)


def _outcome_of(future: Future, task: Task) -> Outcome:
    """What became of a task.

    Raises
    ------
    SpinepsError
        Where no scan can be computed.
    """
    if future.status == "finished":
        return outcome_from_plain(future.result())
    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        text = "every worker of the cluster that worked on the scan ended."
        return Outcome(task.name, str(ErrorCode.WORKER_DIED), text)
    if isinstance(error, SpinepsError):
        raise error
    raise _lost_cluster() from error


def _lost_cluster() -> ResourceError:
    remedy = "Start the cluster and run again: what is done stays done."
    return ResourceError(ErrorCode.CLUSTER, "the Dask scheduler was lost.", remedy=remedy)
