"""Where the time of a run goes: seconds of the clock and of the processor of each phase, those of the bench itself set aside.

It runs on both sides of bench/vs_published.py, so that it needs nothing but Python.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

Made = TypeVar("Made")

ASIDE: Final = "aside"
"""What belongs to the bench, not to what is measured."""
REST: Final = "rest"


class Clock:
    """Books each moment on the innermost phase that is open."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._open: list[str] = []
        self._since = (0.0, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book what follows on a phase."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def timed(self, name: str, work: Callable[..., Made]) -> Callable[..., Made]:
        """A function whose calls are booked on a phase."""

        def call(*given: Any, **more: Any) -> Made:
            with self.phase(name):
                return work(*given, **more)

        return call

    def aside(self, work: Callable[[], Made]) -> Made:
        """Do something whose time does not count."""
        return self.timed(ASIDE, work)()

    def spent(self) -> dict[str, dict[str, float]]:
        """Seconds of each phase, that of the bench too."""
        return {
            name: {"seconds": round(clock, 3), "cpu_seconds": round(processor, 3)}
            for name, (clock, processor) in self._spent.items()
        }

    def _book(self) -> None:
        now = time.perf_counter(), time.process_time()
        if self._open:
            for k in range(2):
                self._spent[self._open[-1]][k] += now[k] - self._since[k]
        self._since = now


def watch_stages(clock: Clock, phases: dict[str, str] | None = None) -> None:
    """Book our own stages on phases of a clock, under their own names or those that are given."""
    from spineps.running import Run

    stage = Run.stage

    @contextmanager
    def booked(run: Run, name: str) -> Iterator[None]:
        with stage(run, name), clock.phase((phases or {}).get(name, name)):
            yield

    Run.stage = booked  # type: ignore[method-assign]
