"""Worker processes of this machine: fed, watched, replaced.

A worker that dies takes two scans with it: the one that its networks work on and the one that it prepares. Both are tried once
more, each alone in a worker, so that the one that kills is told from the one that was only there.
"""

from __future__ import annotations

import queue
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import spineps.errors
from spineps.cohort.case import Outcome, Task
from spineps.cohort.process import Heard, Message, WorkerProcess
from spineps.cohort.settings import MachineSettings
from spineps.cohort.wire import outcome_from_plain, task_to_plain
from spineps.errors import ErrorCode, ResourceError, SpinepsError

TICK_S: Final = 0.25
AHEAD: Final = 2
"""Scans that a worker has: the one in the networks, and the next one, which it reads and prepares meanwhile."""
TRIES: Final = 2
MOST_FALSE_STARTS: Final = 3


class Work(ABC):
    """Where tasks come from and outcomes go."""

    @abstractmethod
    def next(self) -> Task | None:
        """The next task, claimed for this run; None while there is none."""

    @abstractmethod
    def settled(self, task: Task, outcome: Outcome) -> None:
        """A task has its outcome."""

    @abstractmethod
    def lost(self, task: Task) -> None:
        """A worker ended in the middle of a task."""

    @abstractmethod
    def started(self, name: str, slot: int) -> None:
        """A worker's networks began with a task."""

    @abstractmethod
    def stage(self, name: str, slot: int, stage: str) -> None:
        """A stage of a task is done."""

    def offered(self, engine: str) -> None:  # noqa: B027  only who gave an order is told
        """A worker has loaded the models of its order, and runs them so."""

    def refused(self, reason: str) -> None:  # noqa: B027  on one machine none is
        """A worker of a cluster cannot be used."""

    @property
    def ended(self) -> bool:
        """Whether no task will come any more once those under way are settled."""
        return True

    @abstractmethod
    def tick(self) -> None:
        """Some time has passed."""


@dataclass(slots=True)
class _Pending:
    """A task on its way."""

    task: Task
    tries: int = 0

    @property
    def suspect(self) -> bool:
        """Whether a worker died with it before: it is then tried alone."""
        return self.tries > 0


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for a worker, with what its worker has to do."""

    number: int
    process: WorkerProcess
    tasks: deque[_Pending] = field(default_factory=deque)
    ready: bool = False
    since_s: float | None = None
    why_killed: ErrorCode | None = None

    @property
    def room(self) -> bool:
        """Whether it takes another task."""
        return len(self.tasks) < AHEAD and not any(pending.suspect for pending in self.tasks) and self.why_killed is None


class Pool:
    """Runs tasks in worker processes until there are no more.

    Parameters
    ----------
    machine : MachineSettings
        How many workers, and the limits of a scan.
    threads : int
        Threads of each worker's networks.
    work : Work
        Where tasks come from and outcomes go.
    order : Mapping, optional
        What each worker loads as soon as it starts; the first worker then starts at once, before any task.
    clock : callable
        Seconds, never going back.
    """

    def __init__(
        self,
        machine: MachineSettings,
        threads: int,
        work: Work,
        *,
        order: Message | None = None,
        debug: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine, self._threads, self._work, self._debug, self._clock = machine, threads, work, debug, clock
        self._order = order
        self._heard: queue.Queue[Heard] = queue.Queue()
        self._slots: list[_Slot] = []
        self._again: deque[_Pending] = deque()
        self._false_starts = 0

    def run(self) -> None:
        """Work until there is nothing left to do.

        Raises
        ------
        SpinepsError
            Where no scan can be computed: a model is missing or damaged, or workers do not start.
        """
        try:
            if self._order is not None:
                self._slots.append(_Slot(0, self._started()))
            while self._feed() or not self._work.ended:
                self._listen()
                self._enforce_limits()
                self._work.tick()
            for slot in self._slots:
                slot.process.end()
        finally:
            for slot in self._slots:
                slot.process.kill()
                slot.process.forget()
            self._slots = []

    def wake(self) -> None:
        """Look at once whether there is a task; without it, one that comes late waits for the next word of a worker."""
        self._heard.put((None, None))

    def _feed(self) -> bool:
        """Give out tasks: one to every worker, new workers included, then one ahead; whether anything is under way."""
        for slot in self._slots:
            if not slot.tasks:
                self._give(slot, self._next_for(slot))
        while len(self._slots) < self._machine.jobs and all(slot.tasks for slot in self._slots):
            pending = self._next_for(None)
            if pending is None:
                break
            self._slots.append(_Slot(len(self._slots), self._started()))
            self._give(self._slots[-1], pending)
        for slot in self._slots:
            if slot.tasks and slot.room:
                self._give(slot, self._next_for(slot))
        return any(slot.tasks for slot in self._slots)

    def _give(self, slot: _Slot, pending: _Pending | None) -> None:
        if pending is not None:
            slot.tasks.append(pending)
            slot.process.tell(task_to_plain(pending.task))

    def _started(self) -> WorkerProcess:
        process = WorkerProcess(self._heard, threads=self._threads, debug=self._debug)
        if self._order is not None:
            process.tell(self._order)
        return process

    def _next_for(self, slot: _Slot | None) -> _Pending | None:
        """The next task for a worker; a suspect one goes to an idle worker only."""
        idle = slot is None or not slot.tasks
        if self._again and (idle or not self._again[0].suspect):
            return self._again.popleft()
        task = self._work.next()
        return None if task is None else _Pending(task)

    def _listen(self) -> None:
        """Take in what workers said, waiting a little for the first word."""
        wait = True
        while True:
            try:
                process, message = self._heard.get(wait, TICK_S if wait else None)
            except queue.Empty:
                return
            wait = False
            slot = next((slot for slot in self._slots if slot.process is process), None)
            if slot is not None:
                self._hear(slot, message)

    def _hear(self, slot: _Slot, message: Message | None) -> None:
        if message is None:
            self._buried(slot)
        elif "ready" in message:
            slot.ready, self._false_starts = True, 0
        elif "started" in message:
            slot.since_s = self._clock()
            self._work.started(str(message["started"]), slot.number)
        elif "stage" in message:
            name, stage = message["stage"]
            self._work.stage(name, slot.number, stage)
        elif "done" in message:
            slot.since_s = None
            self._work.settled(slot.tasks.popleft().task, outcome_from_plain(message["done"]))
        elif "offer" in message:
            self._work.offered(str(message["offer"]))
        elif "unusable" in message:
            raise _rebuilt(message["unusable"])

    def _enforce_limits(self) -> None:
        """Kill workers whose scan takes too long or too much."""
        limit_s, limit_gb = self._machine.time_limit_s, self._machine.memory_limit_gb
        for slot in self._slots:
            if slot.why_killed is not None:
                continue
            if limit_s is not None and slot.since_s is not None and self._clock() - slot.since_s > limit_s:
                slot.why_killed = ErrorCode.TIME_LIMIT
            elif limit_gb is not None and (slot.process.resident_bytes() or 0) > limit_gb * 1e9:
                slot.why_killed = ErrorCode.RESOURCE_MEMORY
            if slot.why_killed is not None:
                slot.process.kill()

    def _buried(self, slot: _Slot) -> None:
        """A worker has ended: settle or repeat its scans, and start another in its place."""
        slot.process.kill()
        status = slot.process.forget()
        pendings = list(slot.tasks)
        for pending in pendings:
            self._work.lost(pending.task)
        if not slot.ready:
            self._false_starts += 1
            if self._false_starts >= MOST_FALSE_STARTS:
                raise _no_workers(status)
        elif slot.why_killed is not None and pendings:
            culprit = pendings.pop(0)
            self._work.settled(culprit.task, self._limit_outcome(culprit.task, slot.why_killed))
        else:
            for pending in pendings:
                pending.tries += 1
            for pending in [pending for pending in pendings if pending.tries >= TRIES]:
                pendings.remove(pending)
                self._work.settled(pending.task, _died(pending.task, status))
        self._again.extend(pendings)
        slot.process, slot.tasks = self._started(), deque()
        slot.ready, slot.since_s, slot.why_killed = False, None, None

    def _limit_outcome(self, task: Task, code: ErrorCode) -> Outcome:
        if code is ErrorCode.TIME_LIMIT:
            text = f"the scan took longer than {self._machine.time_limit_s:g} s and was stopped."
        else:
            text = f"the scan took more than {self._machine.memory_limit_gb:g} GB of memory and was stopped."
        return Outcome(task.name, str(code), text)


def _died(task: Task, status: int) -> Outcome:
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return Outcome(task.name, str(ErrorCode.WORKER_DIED), f"the process that worked on the scan ended twice, by {how}.")


def _no_workers(status: int) -> ResourceError:
    return ResourceError(
        ErrorCode.WORKER_DIED,
        f"worker processes do not start (status {status}).",
        remedy="Run again with --debug to see what they say.",
    )


def _rebuilt(plain: Mapping[str, Any]) -> SpinepsError:
    """The error that a worker met."""
    kind = getattr(spineps.errors, str(plain["kind"]), SpinepsError)
    error: SpinepsError = kind(ErrorCode(plain["code"]), plain["message"], remedy=plain["remedy"])
    return error
