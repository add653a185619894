"""Worker processes as a run sees them: started, told, heard, measured, ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spineps.cohort.wire import line
from spineps.cohort.worker import END

_START: Final = "import sys; sys.path[:] = sys.argv.pop(1).split(chr(31)); from spineps.cohort.worker import main; main()"
"""The worker sees the packages of the run, and nothing else of it: neither its script nor its working folder's modules."""
_PATHS: Final = chr(31)
_END_S: Final = 20.0
_GIVE_BACK_MEMORY: Final = "MALLOC_TRIM_THRESHOLD_"
"""Dask sets this for its workers; memory that is given back and taken anew costs a scan three quarters more time (measured)."""
Message = Mapping[str, Any]
Heard = tuple["WorkerProcess | None", Message | None]
"""Who said what; None in place of the word where a worker has ended, in place of both where somebody else wants to be heard."""


class WorkerProcess:
    """One worker process.

    Parameters
    ----------
    heard : queue of (WorkerProcess, message or None)
        Where its messages go; None when it has ended.
    threads : int
        Threads of its networks.
    """

    def __init__(self, heard: queue.Queue[Heard], *, threads: int, debug: bool = False) -> None:
        command = [sys.executable, "-c", _START, _PATHS.join(sys.path), str(threads), *(["--debug"] if debug else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,
            env=_environment(threads),
        )
        self._heard = heard
        threading.Thread(target=self._hear, name="hear", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def tell(self, message: Any) -> None:
        """Send a message; one to a worker that has died is lost, and its end is heard all the same."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line(message))
                self._process.stdin.flush()

    def resident_bytes(self) -> int | None:
        """Memory that it holds, or None where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Let it end by itself, or end it."""
        self.tell(END)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.forget()

    def forget(self) -> int:
        """Wait for its end, close its pipes; the exit status."""
        status = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return status

    def _hear(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        with contextlib.suppress(OSError, ValueError):
            for text in stdout:
                self._heard.put((self, json.loads(text)))
        self._heard.put((self, None))


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment(threads: int) -> dict[str, str]:
    """That of the run, with the number of threads where numerical libraries look for it when they are loaded."""
    kept = {name: value for name, value in os.environ.items() if name != _GIVE_BACK_MEMORY}
    return {**kept, "OMP_NUM_THREADS": str(threads)}
