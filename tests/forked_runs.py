"""Runs of ``spineps dataset`` that are killed at a certain write or moment, a hundred times in minutes.

The run and its worker are copies (fork) of this process, which has loaded the models and computed each scan once. All else is
what the command line starts: planning, claims, the worker and its pipes, pictures, files.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import cohort_scans

from spineps.api import load_models
from spineps.cli import main
from spineps.cohort import case, process, worker
from spineps.cohort.plan import make_plan
from spineps.cohort.settings import CohortSettings, ModelFolders, OutputSettings, ScanSettings
from spineps.cohort.tables import TABLE
from spineps.config import ComputeConfig, Device, PipelineConfig, Precision
from spineps.errors import ExitCode, SpinepsError

FLAGS: Final = (*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1", "-v")
COMPUTE: Final = ComputeConfig(Device.CPU, Precision.FP32, 1)
FOLDERS: Final = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
KILLED: Final = -signal.SIGKILL
_CHANGES: Final = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime"})
_SEGMENTED: Final = case._segmented


class Runs:
    """Runs over one dataset.

    Parameters
    ----------
    dataset : Path
        Of :func:`cohort_scans.make_dataset`.
    """

    def __init__(self, dataset: Path) -> None:
        self._dataset, self._log = dataset, dataset.with_suffix(".log")
        self._results: dict[str, Any] = {}
        models = load_models(COMPUTE, semantic_folder=FOLDERS.semantic, instance_folder=FOLDERS.instance)
        scan = ScanSettings(PipelineConfig(compute=COMPUTE), FOLDERS)
        plan = make_plan(dataset, CohortSettings(scan=scan, output=OutputSettings(folder=dataset / "nowhere")))
        for ready in (case.make_ready(plan.task(waiting, keep_semantic=False)) for waiting in plan.waiting):
            if ready.scan is not None:
                try:
                    self._results[ready.scan.source.sha256] = _SEGMENTED(ready, models, lambda _stage: None)
                except SpinepsError as error:
                    self._results[ready.scan.source.sha256] = error

    def run(self, root: Path, *, at_change: int = 0, after_s: float | None = None) -> int:
        """The exit status of a run; killed with all its processes before its n-th change of a file, or after a time."""
        changes = multiprocessing.Value("i")
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _watch(str(root), changes, at_change)
            case._segmented, process.subprocess.Popen = self._segmented, _Copy
            _say_into(self._log)
            os._exit(main(["dataset", "-i", str(self._dataset), "-o", str(root), *FLAGS]))
        with suppress(OSError):  # whichever of the two comes first
            os.setpgid(child, child)
        began = time.monotonic()
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if after_s is not None and time.monotonic() - began > after_s:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.002)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def faults_after(self, root: Path, whole: dict[str, str], *, ended: bool = False) -> list[str]:
        """What is wrong after a kill: files that are not whole, and after resuming, files that are others or left over.

        A run that ended in order has left its table, which says how far it came.
        """
        left = cohort_scans.tree(root) if root.exists() else {}
        if ended:
            left.pop(TABLE, None)
        faults = [f"not whole: {name}" for name in left if not name.endswith(".partial") and left[name] != whole[name]]
        status = self.run(root)
        others = {name for name, _ in cohort_scans.tree(root).items() ^ whole.items()}
        if status != ExitCode.COHORT_INCOMPLETE or others:
            faults.append(f"resumed with exit {status}, unlike the undisturbed run in {sorted(others)}")
        faults += ["a traceback was said"] if "Traceback" in self._log.read_text() else []
        faults += [f"left over: {name}" for name in cohort_scans.partial_files(root)]
        return faults + [f"left over: {claim.name}" for claim in (root / ".spineps" / "claims").iterdir()]

    def _segmented(self, ready: case.Ready, *_: object) -> Any:
        """As the real one, computed before."""
        result = self._results[ready.scan.source.sha256] if ready.scan is not None else None
        if isinstance(result, SpinepsError):
            raise result
        return result


class _Copy:
    """A worker process that is a copy of its run; stands for :class:`subprocess.Popen`."""

    def __init__(self, _command: object, **_: object) -> None:
        (tasks, self._tasks), (self._replies, replies) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._tasks)
            os.close(self._replies)
            os.dup2(tasks, 0)
            os.dup2(replies, 1)
            sys.stdin, sys.stdout, sys.argv = os.fdopen(0), os.fdopen(1, "w"), ["worker", str(COMPUTE.threads)]
            worker.main()
            os._exit(0)
        os.close(tasks)
        os.close(replies)
        self.stdin, self.stdout = os.fdopen(self._tasks, "wb"), os.fdopen(self._replies, "rb")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, _timeout: float | None = None) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # waited for before
            return 0


def _watch(root: str, changes: Any, at_change: int) -> None:
    """Count what this process and its copies change under a folder, and kill them all before a certain change."""

    def change(event: str, args: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        if (opened or event in _CHANGES) and str(args[0]).startswith(root):
            with changes.get_lock():
                changes.value += 1
                if changes.value == at_change:
                    os.killpg(0, signal.SIGKILL)

    sys.addaudithook(change)


def _say_into(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
