"""Time and peak memory of a command.

The command is started by a small process of its own (this file as a script): a child inherits the peak of the process that
starts it, and the bench, which scores masks, is larger than some of the programs that it measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB elsewhere


@dataclass(frozen=True)
class Measured:
    """How a command ended, its wall time, the processor's time, and the largest memory that it or one of its children held."""

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_gb: float


def measured(command: Sequence[str | Path], log: Path) -> Measured:
    """Run a command, its output into ``log``, start-up included in the time."""
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as out:
        answer = Path(folder) / "answer.json"
        launcher = [sys.executable, "-I", "-S", __file__, answer, *command]
        subprocess.run(launcher, stdout=out, stderr=subprocess.STDOUT, check=True)
        return Measured(**json.loads(answer.read_text(encoding="utf-8")))


def _launch(answer: str, *command: str) -> None:
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = round(time.perf_counter() - begin, 2)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak_gb = round(usage.ru_maxrss * MAXRSS_UNIT / 1e9, 3)
    cpu_seconds = round(usage.ru_utime + usage.ru_stime, 2)
    plain = {"exit_code": process.returncode, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gb": peak_gb}
    Path(answer).write_text(json.dumps(plain), encoding="utf-8")


if __name__ == "__main__":
    _launch(*sys.argv[1:])
