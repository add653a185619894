"""A worker process: takes tasks on stdin, answers on stdout, one line of JSON each; its models are loaded once, with the first
task or as soon as an order names them.

While the networks work on one scan, a thread reads and prepares the next. What libraries print goes nowhere: it might name a
patient. When stdin ends without a word, the run is gone, and so is the worker, at once: the run that takes over its claims must
not meet it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from spineps.cohort.case import Ready, Task, finish, make_ready
from spineps.cohort.settings import ModelFolders
from spineps.cohort.wire import Order, line, order_from_plain, outcome_to_plain, task_from_plain
from spineps.config import ComputeConfig
from spineps.errors import SpinepsError

if TYPE_CHECKING:
    from spineps.pipeline import Models

END: Final = "end"
Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Work until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends its workers
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    if "--debug" not in sys.argv:
        _silence()
    say = _speaker(replies)
    tasks: queue.Queue[Task | Order | None] = queue.Queue()
    readies: queue.Queue[Ready | Order | None] = queue.Queue()
    threading.Thread(target=_listen, args=(tasks,), name="listen", daemon=True).start()
    threading.Thread(target=_prepare, args=(tasks, readies), name="prepare", daemon=True).start()
    threads = int(sys.argv[1])
    say({"ready": os.getpid()})
    while (ready := readies.get()) is not None:
        if isinstance(ready, Order):
            _offer(ready, threads, say)
        else:
            _work(ready, threads, say)
    replies.close()


def _offer(order: Order, threads: int, say: Say) -> None:
    """Load the models of a run before its first scan, and say how this machine runs them."""
    from spineps.inference.machine import choose_engine

    names = set()
    try:
        for asked, models in order:
            compute = replace(asked, threads=threads)
            _loaded(compute, models)
            names.add(choose_engine(compute).name)
    except SpinepsError as error:
        say(_unusable(error))
        return
    say({"offer": "+".join(sorted(names))})


def _work(ready: Ready, threads: int, say: Say) -> None:
    """Segment one scan and say what became of it; the number of threads is the machine's matter and in no record."""
    task = ready.task
    models = task.models
    compute = replace(task.config.compute, threads=threads)
    try:
        loaded = _loaded(compute, models)
    except SpinepsError as error:  # no other scan could be segmented either: the run ends
        say(_unusable(error))
        return
    say({"started": task.name})
    outcome = finish(ready, loaded, lambda stage: say({"stage": [task.name, stage]}))
    say({"done": outcome_to_plain(outcome)})


def _loaded(compute: ComputeConfig, models: ModelFolders) -> Models:
    """The networks of a run, loaded once a process."""
    from spineps.api import load_models

    return load_models(
        compute, semantic_folder=models.semantic, instance_folder=models.instance, labeling_folder=models.labeling
    )


def _unusable(error: SpinepsError) -> dict[str, Any]:
    return {"unusable": {"kind": type(error).__name__, "code": error.code, "message": error.message, "remedy": error.remedy}}


def _listen(tasks: queue.Queue[Task | Order | None]) -> None:
    for text in sys.stdin.buffer:
        message = json.loads(text)
        if message == END:
            tasks.put(None)
            return
        tasks.put(order_from_plain(message["order"]) if "order" in message else task_from_plain(message))
    os._exit(1)


def _prepare(tasks: queue.Queue[Task | Order | None], readies: queue.Queue[Ready | Order | None]) -> None:
    while (task := tasks.get()) is not None:
        readies.put(task if isinstance(task, Order) else make_ready(task))
    readies.put(None)


def _speaker(replies: BinaryIO) -> Say:
    def say(message: dict[str, Any]) -> None:
        try:
            replies.write(line(message))
        except OSError:
            os._exit(1)  # nobody listens any more

    return say


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
