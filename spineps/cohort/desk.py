"""A desk takes in scans one by one from elsewhere, has a worker process of this machine compute them, and hands outcomes back.

It is what stands on every worker of a cluster. The process behind it is the same as in a run on one machine, with the same
limits: a scan that takes too long or brings its process down never harms the one who gave it in.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from spineps.cohort.case import Outcome, Task
from spineps.cohort.pool import Pool, Work
from spineps.cohort.process import Message
from spineps.cohort.settings import MachineSettings
from spineps.errors import SpinepsError
from spineps.io import atomic

IDLE_S: Final = 600.0
"""After so long without a scan the process ends; the next scan starts another. A run that died leaves none behind."""
Say = Callable[[str, str], None]


class DeskClosed(Exception):  # noqa: N818  no mistake: the scan is for another worker
    """The desk takes no scans any more, and will not finish those that it had."""


class Desk(Work):
    """Where scans are handed in.

    Parameters
    ----------
    machine : MachineSettings
        Limits of a scan.
    threads : int
        Of the networks.
    order : Mapping
        What is loaded before the first scan.
    say : callable
        Told a topic (``offer``, ``refused``, ``started``, ``stage``) and a text.
    """

    def __init__(self, machine: MachineSettings, threads: int, order: Message, say: Say) -> None:
        self._machine, self._threads, self._order, self._say = machine, threads, order, say
        self._handed_in: queue.Queue[tuple[Task, Future[Outcome]] | None] = queue.Queue()
        self._open: dict[str, Future[Outcome]] = {}
        self._busy_s = time.monotonic()
        self._closed = threading.Event()
        self._pool: Pool | None = None
        threading.Thread(target=self._serve, name="desk", daemon=True).start()

    def compute(self, task: Task) -> Outcome:
        """Have a scan computed, and wait for it; several threads may do so, and the next scan is prepared meanwhile.

        Raises
        ------
        SpinepsError
            Where no scan can be computed here.
        DeskClosed
            If the desk is closed before the scan is done.
        """
        future: Future[Outcome] = Future()
        self._handed_in.put((task, future))
        if self._pool is not None:
            self._pool.wake()
        if self._closed.is_set():
            self._send_away(DeskClosed())
        return future.result()

    def close(self) -> None:
        """End the process; whoever waits is told so."""
        self._closed.set()
        self._handed_in.put(None)

    def next(self) -> Task | None:
        """The next scan that was handed in."""
        with contextlib.suppress(queue.Empty):
            handed_in = self._handed_in.get_nowait()
            if handed_in is not None:
                task, self._open[task.name] = handed_in
                return task
        return None

    @property
    def ended(self) -> bool:
        """Whether the desk is closed, or nobody came for long."""
        if self._open:
            self._busy_s = time.monotonic()
        return self._closed.is_set() or time.monotonic() - self._busy_s > IDLE_S

    def settled(self, task: Task, outcome: Outcome) -> None:
        """Hand an outcome back."""
        self._open.pop(task.name).set_result(outcome)

    def lost(self, task: Task) -> None:
        """Take away what the process that ended was writing."""
        for folder in (task.folder, task.first_phase.parent, task.known.parent, task.crash.parent):
            atomic.sweep(folder, task.name)

    def offered(self, engine: str) -> None:
        """The models are loaded."""
        self._say("offer", engine)

    def started(self, name: str, slot: int) -> None:  # noqa: ARG002
        """The networks began with a scan."""
        self._say("started", name)

    def stage(self, name: str, slot: int, stage: str) -> None:  # noqa: ARG002
        """A stage of a scan is done."""
        self._say("stage", f"{name} {stage}")

    def tick(self) -> None:
        """Some time has passed: who waits at a closed desk is sent away."""
        if self._closed.is_set() and self._open:
            raise DeskClosed

    def _serve(self) -> None:
        try:
            while not self._closed.is_set():
                self._work()
                if not self._closed.is_set():  # nobody came for long, or no scan can be computed: wait for the next one
                    self._handed_in.put(self._handed_in.get())
        finally:
            self._closed.set()
            self._send_away(DeskClosed())

    def _work(self) -> None:
        self._busy_s = time.monotonic()
        try:
            self._pool = Pool(self._machine, self._threads, self, order=self._order)
            self._pool.run()
        except SpinepsError as error:
            self._say("refused", f"{error.message} {error.remedy}")
            self._send_away(error)

    def _send_away(self, error: Exception) -> None:
        """Tell all who wait that their scans will not be done here."""
        waiting = [self._open.popitem()[1] for _ in tuple(self._open)]
        with contextlib.suppress(queue.Empty):
            while True:
                handed_in = self._handed_in.get_nowait()
                waiting += [] if handed_in is None else [handed_in[1]]
        for future in waiting:
            future.set_exception(error)
