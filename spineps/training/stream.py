"""A stream of training samples: worker processes build phantoms, keep a pool of them fresh and cut samples from it.

Every phantom and every sample has a number of its own, and all its randomness comes from that number; which phantoms a
sample can be cut from depends on what the pool holds at that moment.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from spineps.errors import ErrorCode, ResourceError, UsageError
from spineps.geometry import Shape
from spineps.training.instance_samples import INSTANCE_CUTOUT, INSTANCE_SHIFT_MM, INSTANCE_SPACING_MM, draw_instance_sample
from spineps.training.labeling_samples import (
    LABELING_PATCH,
    LABELING_SHIFT_MM,
    LABELING_SPACING_MM,
    build_labeling_volume,
    draw_labeling_sample,
)
from spineps.training.pool import (
    FIRST_TRAINING_SEED,
    HELD_OUT_SEEDS,
    SEMANTIC_SPACING_MM,
    Build,
    Volume,
    build_volume,
    fill_pool,
    load_volume,
    pool_files,
    save_volume,
    seed_of,
)
from spineps.training.semantic_samples import IGNORE, SEMANTIC_PATCH, draw_semantic_sample

__all__ = [
    "FIRST_TRAINING_SEED",
    "HELD_OUT_SEEDS",
    "IGNORE",
    "INSTANCE_CUTOUT",
    "INSTANCE_SHIFT_MM",
    "INSTANCE_SPACING_MM",
    "LABELING_PATCH",
    "LABELING_SHIFT_MM",
    "LABELING_SPACING_MM",
    "SEMANTIC_PATCH",
    "SEMANTIC_SPACING_MM",
    "Stream",
    "StreamConfig",
    "Volume",
    "build_volume",
    "draw_instance_sample",
    "draw_labeling_sample",
    "draw_semantic_sample",
    "fill_pool",
    "instance_stream",
    "labeling_stream",
    "load_volume",
    "semantic_stream",
]

Sample = tuple[NDArray[Any], NDArray[np.uint8]]
Draw = Callable[[Volume, np.random.Generator], Sample]

_NICENESS: Final = 10
_POLL_SECONDS: Final = 0.2
_CLOSE_SECONDS: Final = 10.0
_FIRST_SAMPLE_SECONDS: Final = 300.0
"""Spawning a process and building the first phantom takes seconds; a worker silent for longer than this is stuck."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Settings of a stream.

    Parameters
    ----------
    pool : Path
        Folder of the phantoms; several streams may share it.
    seed : int
        Of the samples.
    workers : int
        Processes, one core each.
    pool_size : int
        Phantoms that the pool holds when full; then the oldest make room.
    samples_per_volume : int
        A worker builds a new phantom after so many samples at the latest, and whenever nobody waits for samples.
    queue_size : int
        Finished samples that wait for the trainer.
    reuse : int
        Latest samples from which one is drawn again where no fresh one waits.
    first_volume : int
        Seed of the first phantom of this stream; 0 goes on behind those that the pool holds.
    build : callable
        Seed to phantom; travels to the workers, so a function of a module.
    """

    pool: Path
    seed: int
    workers: int = 1
    pool_size: int = 150
    samples_per_volume: int = 60
    queue_size: int = 16
    reuse: int = 150
    first_volume: int = 0
    build: Build = build_volume


def semantic_stream(
    pool_dir: Path, *, seed: int, workers: int, patch_size: Shape = SEMANTIC_PATCH, state: dict[str, Any] | None = None
) -> Stream:
    """Stream of painted patches and their class indices; see :func:`draw_semantic_sample`."""
    return Stream(StreamConfig(pool_dir, seed, workers), partial(draw_semantic_sample, patch_size=patch_size), state=state)


def instance_stream(
    pool_dir: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None, build: Build = build_volume
) -> Stream:
    """Stream of label cutouts and their vertebrae; see :func:`draw_instance_sample`."""
    return Stream(StreamConfig(pool_dir, seed, workers, build=build), draw_instance_sample, state=state)


def labeling_stream(pool_dir: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
    """Stream of cutouts around vertebrae and their levels; see :func:`draw_labeling_sample`."""
    config = StreamConfig(pool_dir, seed, workers, samples_per_volume=24, reuse=120, build=build_labeling_volume)
    return Stream(config, draw_labeling_sample, state=state)


def next_volume(config: StreamConfig, state: dict[str, Any] | None = None) -> int:
    """Seed of the first phantom that a stream builds: behind those of the pool and of an earlier run."""
    taken = [seed_of(path) + 1 for path in pool_files(config.pool)]
    before = int(state["volumes"][1]) if state else 0
    return max(FIRST_TRAINING_SEED, config.first_volume, before, *taken)


class Stream:
    """Samples from worker processes. Use as a context manager, or call :meth:`close`.

    Parameters
    ----------
    config : StreamConfig
        Settings.
    draw : callable
        Cuts a sample from a phantom; travels to the workers, so a function of a module or a ``partial`` of one.
    state : dict or None
        What :meth:`state` returned in an earlier run: no sample and no phantom of that run comes again.

    Raises
    ------
    UsageError
        If the pool holds phantoms that must not be trained on.
    """

    def __init__(self, config: StreamConfig, draw: Draw, *, state: dict[str, Any] | None = None) -> None:
        _check(config)
        context = multiprocessing.get_context("spawn")
        begin = next_volume(config, state)
        self._first_volume = int(state["volumes"][0]) if state else begin
        self._next_volume = context.Value("q", begin)
        self._next_sample = context.Value("q", int(state["samples"]) if state else 0)
        self._rng = np.random.default_rng(config.seed)
        if state:
            self._rng.bit_generator.state = state["rng"]
        self._stop = context.Event()
        self._queue: Any = context.Queue(config.queue_size)
        self._recent: deque[Sample] = deque(maxlen=config.reuse)
        self.fresh = int(state["fresh"]) if state else 0
        shared = _Shared(config, draw, self._queue, self._stop, self._next_volume, self._next_sample, os.getpid())
        self._workers: list[SpawnProcess] = [
            context.Process(target=_work, args=(shared,), daemon=True) for _ in range(config.workers)
        ]
        for worker in self._workers:
            worker.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def next(self) -> Sample:
        """A fresh sample if one waits, else one of the latest again; waits only for the very first.

        Returns
        -------
        tuple of two ndarrays
            Input and target.

        Raises
        ------
        ResourceError
            If a worker process ended; with what it said.
        """
        try:
            return self._received(self._queue.get_nowait())
        except queue.Empty:
            self._check_workers()
        if self._recent:
            return self._recent[int(self._rng.integers(len(self._recent)))]
        return self._first()

    def state(self) -> dict[str, Any]:
        """Counters and random state as plain values for JSON, to go on from in a later run."""
        return {
            "volumes": [self._first_volume, int(self._next_volume.value)],
            "samples": int(self._next_sample.value),
            "fresh": self.fresh,
            "rng": self._rng.bit_generator.state,
        }

    def seeds(self) -> list[int]:
        """First seed of this stream's phantoms, and the one after the last."""
        return [self._first_volume, int(self._next_volume.value)]

    def close(self) -> None:
        """End the workers; may be called twice."""
        self._stop.set()
        deadline = time.monotonic() + _CLOSE_SECONDS
        while any(worker.is_alive() for worker in self._workers) and time.monotonic() < deadline:
            self._waited_for()
        for worker in self._workers:
            if worker.is_alive():
                worker.terminate()
            worker.join()
        self._queue.close()
        self._queue.cancel_join_thread()

    def _first(self) -> Sample:
        deadline = time.monotonic() + _FIRST_SAMPLE_SECONDS
        while time.monotonic() < deadline:
            message = self._waited_for()
            if message is not None:
                return self._received(message)
            self._check_workers()
        raise _worker_error(f"no sample came within {_FIRST_SAMPLE_SECONDS:.0f} s")

    def _received(self, message: Sample | str) -> Sample:
        if isinstance(message, str):
            raise _worker_error(message)
        self._recent.append(message)
        self.fresh += 1
        return message

    def _check_workers(self) -> None:
        for worker in self._workers:
            if not worker.is_alive():
                message = self._waited_for()  # what it said may still be in the pipe
                if message is None:
                    raise _worker_error(f"it ended with exit code {worker.exitcode}")
                self._received(message)

    def _waited_for(self) -> Sample | str | None:
        """What comes next from the workers, or None if nothing comes soon."""
        try:
            message: Sample | str = self._queue.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None
        return message


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a worker process is given."""

    config: StreamConfig
    draw: Draw
    queue: Any
    stop: Any
    next_volume: Any
    next_sample: Any
    parent: int


def _work(shared: _Shared) -> None:
    """Life of a worker process; whatever ends it early is sent to the parent."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICENESS)
    torch.set_num_threads(1)
    try:
        _make_samples(shared)
    except Exception:  # noqa: BLE001 - the process boundary: the parent raises it again with this text
        shared.queue.put(traceback.format_exc())


def _make_samples(shared: _Shared) -> None:
    """Cut samples; build a phantom every so many samples, and whenever nobody waits."""
    drawn = 0
    while not _ended(shared):
        if drawn >= shared.config.samples_per_volume or len(pool_files(shared.config.pool)) < 2 * shared.config.workers:
            _renew(shared)
            drawn = 0
        sample = _draw(shared)
        while sample is not None and not _ended(shared):
            if _put(shared, sample):
                sample, drawn = None, drawn + 1
            else:
                _renew(shared)
                drawn = 0


def _put(shared: _Shared, sample: Sample) -> bool:
    """Hand a sample to the trainer; False if it has enough of them."""
    try:
        shared.queue.put_nowait(sample)
    except queue.Full:
        return False
    return True


def _ended(shared: _Shared) -> bool:
    return bool(shared.stop.is_set()) or os.getppid() != shared.parent


def _renew(shared: _Shared) -> None:
    """Build the next phantom and remove the oldest beyond the pool's size."""
    volume = shared.config.build(_take(shared.next_volume))
    if not _ended(shared):
        save_volume(shared.config.pool, volume)
    for path in pool_files(shared.config.pool)[: -shared.config.pool_size]:
        path.unlink(missing_ok=True)


def _draw(shared: _Shared) -> Sample | None:
    """Cut the next sample from a random phantom; None if it was removed meanwhile or shows no vertebra."""
    rng = np.random.default_rng([shared.config.seed, _take(shared.next_sample)])
    files = pool_files(shared.config.pool)
    try:
        volume = load_volume(files[rng.integers(len(files))])
    except FileNotFoundError:
        return None
    return shared.draw(volume, rng) if volume.centres_vox else None


def _take(counter: Any) -> int:
    with counter.get_lock():
        value = int(counter.value)
        counter.value = value + 1
    return value


def _check(config: StreamConfig) -> None:
    if config.workers < 1:
        raise UsageError(ErrorCode.USAGE, "A stream needs at least one worker.", remedy="Set workers to 1 or more.")
    held_out = [path.name for path in pool_files(config.pool) if seed_of(path) < FIRST_TRAINING_SEED]
    if held_out:
        raise UsageError(
            ErrorCode.USAGE,
            f"The pool holds phantoms that are not for training: {', '.join(held_out[:3])}.",
            remedy="Give the training a pool folder of its own.",
        )


def _worker_error(message: str) -> ResourceError:
    return ResourceError(
        ErrorCode.TRAINING_WORKER, f"A worker process of the training stream failed: {message}", remedy="Resume the training."
    )
