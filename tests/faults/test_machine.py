"""Rows 22 and 75 to 79: names too long, disks full or closed, kills, lack of memory, interrupts."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohort_scans
import forked_runs
import pytest

from spineps.cohort import case as case_module
from spineps.cohort.case import finish, make_ready
from spineps.cohort.claims import Claims
from spineps.cohort.events import Watcher
from spineps.cohort.plan import make_plan
from spineps.cohort.run import run_cohort
from spineps.cohort.settings import MachineSettings, ScanState
from spineps.errors import ErrorCode, ExitCode, OutputError
from spineps.io import atomic
from spineps.outputs import save
from spineps.outputs.record import DONE

from .test_states import Archive, asked, compute, killed, results, small_outputs

FLAGS = (*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1", "-v")
pytestmark = pytest.mark.timeout(900)  # each worker loads PyTorch anew, on a busy machine a minute's work


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def dataset(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One good scan, whose result is computed once for all tests and written as three small files."""
    monkeypatch.setattr(case_module, "_segmented", archive.segmented)
    monkeypatch.setattr(save, "stage_result", small_outputs)
    cohort_scans.scan_place(tmp_path, 0).write_bytes(archive.versions[0])
    archive.tree(0, 0)
    return tmp_path


def test_row_22_long_names(tmp_path: Path) -> None:
    name = f"sub-{'a' * 235}"
    (tmp_path / f"{name}_T2w.nii.gz").write_bytes(b"")
    (report,) = make_plan(tmp_path, asked(0, tmp_path / "out")).reports.values()
    assert (report.state, report.code) == (ScanState.FAILED, ErrorCode.OUTPUT_NAME)
    with pytest.raises(OutputError) as caught:
        atomic.write_bytes(Path("/", *["d" * 250] * 17, "x"), b"")
    assert caught.value.code is ErrorCode.OUTPUT_NAME
    assert caught.value.exit_code is ExitCode.RESOURCE


# ---- disks


@pytest.mark.parametrize("size", [0, 40, 2000, 20_000])
def test_row_75_no_file_may_grow(dataset: Path, archive: Archive, size: int) -> None:
    """A limit on the size of files: every write beyond it fails as on a full disk."""
    root = dataset / "out"
    plan = make_plan(dataset, asked(0, root))
    if (child := os.fork()) == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            (case,) = plan.waiting
            outcome = finish(make_ready(plan.task(case, keep_semantic=False)), archive.models, lambda _stage: None)
            status = 0 if outcome.status == ErrorCode.OUTPUT_SPACE else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not cohort_scans.partial_files(root) if root.exists() else True
    assert make_plan(dataset, asked(0, root)).waiting
    compute(make_plan(dataset, asked(0, root)), archive.models)
    assert results(root, 0) == archive.tree(0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes rights that are missing here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_row_75_a_full_disk_ends_the_run_and_the_next_goes_on(small_disk: Path, tmp_path: Path) -> None:
    data, root = tmp_path / "data", small_disk / "out"
    cohort_scans.make_dataset(data, good=1, bad=0, seed=4)
    with pytest.raises(OutputError) as caught:
        run_cohort(data, asked(0, root))
    assert caught.value.code is ErrorCode.OUTPUT_SPACE
    assert caught.value.exit_code is ExitCode.RESOURCE
    assert not cohort_scans.partial_files(small_disk)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert run_cohort(data, asked(0, root)).exit_code is ExitCode.OK
    assert not make_plan(data, asked(0, root)).waiting


def held_to_rights(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Our program without a home, held to the rights of files even where the tests run as root."""
    bound = () if os.geteuid() else ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if bound and (shutil.which("setpriv") is None or subprocess.run([*bound, "true"], check=False).returncode):
        pytest.skip("root's rights cannot be taken away here")
    program = [*bound, sys.executable, "-m", "spineps", *map(str, command)]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ, "HOME": "/nonexistent"})


def test_row_76_closed_folders(tmp_path: Path) -> None:
    """A results' folder that may not be written is named before any network runs; inputs are only read; HOME is not needed."""
    data, closed = tmp_path / "data", tmp_path / "closed"
    cohort_scans.make_dataset(data, good=1, bad=0, seed=4)
    closed.mkdir()
    places = [closed, data, *data.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        read = held_to_rights("check", cohort_scans.scan_place(data, 0))
        refused = held_to_rights("dataset", "-i", data, "-o", closed / "out", *FLAGS)
    finally:
        for place in places:
            place.chmod(0o755)
    assert read.returncode == ExitCode.OK, read.stderr
    assert refused.returncode == ExitCode.RESOURCE, refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("OUTPUT_PERMISSION: ")
    assert ": started" not in refused.stderr


# ---- kills


def test_row_77_killed_at_every_change_of_a_file(dataset: Path, archive: Archive) -> None:
    """Each time the results go on to the tree of a run that nobody disturbed."""
    whole, changes = archive.tree(0, 0), 0
    while True:
        root = dataset / f"out{changes}"
        plan = make_plan(dataset, asked(0, root))
        killed_it = killed(lambda plan=plan: compute(plan, archive.models), root, changes + 1)
        left = results(root, 0)
        for case in plan.cases:
            plan.sweep(case)
        kept = results(root, 0)
        assert all(whole[name] == digest for name, digest in kept.items())
        assert not cohort_scans.partial_files(root) if root.exists() else True
        done = not make_plan(dataset, asked(0, root)).waiting
        assert not done or kept == whole
        compute(make_plan(dataset, asked(0, root)), archive.models)
        assert results(root, 0) == whole
        changes += 1
        if not killed_it:
            break
        shutil.rmtree(root)
    assert changes > 20
    assert left == whole


def test_row_77_a_whole_run_killed_at_changes_of_files(tmp_path: Path) -> None:
    """The run with its worker, claims and table, a good scan and a bad one; ``bench/cohort.py`` kills it at every change."""
    data, change = tmp_path / "data", 3
    cohort_scans.make_dataset(data, good=1, bad=0, seed=4)
    cohort_scans.scan_place(data, 1).touch()
    runs = forked_runs.Runs(data)
    assert runs.run(tmp_path / "whole") == ExitCode.COHORT_INCOMPLETE
    whole = cohort_scans.tree(tmp_path / "whole")
    while runs.run(root := tmp_path / f"out{change}", at_change=change) == forked_runs.KILLED:
        assert runs.faults_after(root, whole) == []
        change += 17
    assert change > 60


def test_row_77_killed_while_a_mistake_is_written_down(
    dataset: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the moment, the crash file is there, whole, before the record says that there is one."""

    def mistake(*_: object) -> Any:
        raise ValueError("a mistake")

    monkeypatch.setattr(case_module, "_segmented", mistake)
    plan = make_plan(dataset, asked(0, dataset / "whole"))
    compute(plan, archive.models)
    whole, changes, half_written = plan.crash_place(plan.cases[0]).read_bytes(), 0, 0
    while True:
        changes, plan = changes + 1, make_plan(dataset, asked(0, dataset / f"out{changes}"))
        (case,) = plan.cases
        if not killed(lambda plan=plan: compute(plan, archive.models), plan.root, changes):
            break
        half_written += any("crashes/" in name for name in cohort_scans.partial_files(plan.root))
        plan.sweep(case)
        assert not cohort_scans.partial_files(plan.root)
        place = plan.crash_place(case)
        assert place.read_bytes() == whole if place.exists() else not results(plan.root, 0)
    assert half_written


# ---- memory and workers


def test_row_78_lack_of_memory_is_named(dataset: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(case_module, "_segmented", no_memory)
    plan = make_plan(dataset, asked(0, dataset / "out"))
    outcome = finish(make_ready(plan.task(plan.cases[0], keep_semantic=False)), archive.models, lambda _stage: None)
    assert outcome.status == ErrorCode.RESOURCE_MEMORY


class Killer(Watcher):
    """Kills the worker as soon as it begins with a scan."""

    def __init__(self) -> None:
        self.kills = 0

    def started(self, case: str, slot: int) -> None:  # noqa: ARG002
        self.kills += 1
        for worker in cohort_scans.worker_processes():
            worker.kill()


def test_row_78_a_scan_whose_worker_is_killed_twice_is_named(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "out"
    cohort_scans.make_dataset(data, good=1, bad=0, seed=4)
    killer = Killer()
    settings = replace(asked(0, root), machine=MachineSettings(time_limit_s=None))
    report = run_cohort(data, settings, watcher=killer)
    assert killer.kills == 2
    assert [scan.code for scan in report.scans] == [ErrorCode.WORKER_DIED]
    assert report.exit_code is ExitCode.COHORT_INCOMPLETE


# ---- several runs, interrupts


def test_row_79_a_stale_claim_and_a_clock_that_is_wrong(tmp_path: Path) -> None:
    now = [0.0]
    with Claims(tmp_path) as other, Claims(tmp_path, clock=lambda: now[0]) as ours:
        assert other.take("a")
        (file,) = (tmp_path / "a.claim").iterdir()
        owner = cohort_scans.json.loads(file.read_text())
        file.write_text(cohort_scans.json.dumps({**owner, "host": "elsewhere"}))
        os.utime(file, (4e9, 4e9))  # its clock is decades ahead
        assert not ours.take("a")
        now[0] = 89.0
        assert not ours.take("a")
        now[0] = 91.0
        assert ours.take("a")
        assert "a" in ours.taken_over


def test_row_79_interrupted_twice(tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background, and its children, ignore it
    data, root = tmp_path / "data", tmp_path / "out"
    cohort_scans.make_dataset(data, good=2, bad=0)
    command = [sys.executable, "-m", "spineps", "dataset", "-i", str(data), "-o", str(root), *FLAGS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert any(": started" in line for line in run.stderr)
        for _ in range(2):
            run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=120)[1]
    assert run.returncode == ExitCode.INTERRUPTED, said
    assert "Traceback" not in said
    assert not cohort_scans.partial_files(root)
    assert not list((root / ".spineps" / "claims").iterdir())


def test_row_79_a_run_after_another_computes_nothing_again(dataset: Path, archive: Archive) -> None:
    root = dataset / "out"
    compute(make_plan(dataset, asked(0, root)), archive.models)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*_*") if path.is_file()}
    plan = make_plan(dataset, asked(0, root))
    assert not plan.waiting
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert cohort_scans.json.loads(plan.cases[0].place("record").read_text())["status"] == DONE
