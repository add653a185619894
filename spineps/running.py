"""What goes along with a run: findings, seconds, who watches it, and the versions it ran with."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding
from spineps.volume import Softmax

Observer = Callable[[str, object], None]
"""Told the name and the value of each stage, for debugging and for progress."""
Progress = Callable[[str, int, int], None]
"""Told a stage, how much of it is done and how much there is to do."""

_PACKAGES: Final[tuple[str, ...]] = ("numpy", "torch", "openvino")


class Run:
    """Findings and seconds of a run while it goes on."""

    def __init__(self, on_stage: Observer | None, progress: Progress | None) -> None:
        self.findings: list[Finding] = []
        self.seconds: dict[str, float] = {}
        self.softmax: Softmax | None = None
        self.certainty: NDArray[np.uint8] | None = None
        self._on_stage = on_stage
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def show(self, name: str, value: object) -> None:
        """Tell the observer."""
        if self._on_stage is not None:
            self._on_stage(name, value)

    def progress(self, name: str) -> Callable[[int, int], None] | None:
        """Progress of one stage, to hand on to it."""
        told = self._progress
        return None if told is None else lambda done, total: told(name, done, total)


def versions() -> dict[str, str]:
    """Versions of the program, of Python, and of the packages that the numbers depend on, as far as this run loaded them."""
    loaded = {name: _version(name) for name in _PACKAGES if name in sys.modules}
    return {"spineps": _version("spineps"), "python": platform.python_version(), **loaded}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
