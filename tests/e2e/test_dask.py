"""Runs on Dask clusters of real processes give what any run gives: with killed workers, a lost scheduler, a batch system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cohort_scans
import psutil
import pytest

from spineps.cohort.cluster import BATCH_SYSTEMS, batch_cluster
from spineps.cohort.dask_pool import ENGINE
from spineps.cohort.settings import DaskSettings
from spineps.config import ComputeConfig, Device, Precision
from spineps.errors import ExitCode, SpinepsError
from spineps.inference.machine import choose_engine
from spineps.io import atomic

GOOD, BAD = 3, 2
FLAGS = (*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1", "-v")
JOB = """
jobqueue:
  {}:
    jobs: 1
    cores: 2
    memory: 4 GB
    walltime: '08:00:00'
    interface: lo
    death-timeout: 600
{}"""
pytestmark = pytest.mark.timeout(900)  # each worker loads PyTorch anew, on a busy machine a minute's work


def command(dataset: Path, root: Path, *more: str | Path) -> list[str]:
    return [sys.executable, "-m", "spineps", "dataset", *map(str, ("-i", dataset, "-o", root, *FLAGS, *more))]


def run(dataset: Path, root: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(dataset, root, *more), capture_output=True, text=True, check=False)


@contextmanager
def running(*program: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A program that is ended with all its children."""
    with subprocess.Popen([*map(str, program)], stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def workers_of(run: int) -> list[psutil.Process]:
    """Dask workers of a run on this machine that have a process of ours behind them."""
    found = []
    for child in psutil.Process(run).children():
        with suppress(psutil.NoSuchProcess):
            found += [child] if child.children() else []
    return found


def put_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]) -> None:
    """Commands of a batch system, before all others."""
    for name, script in scripts.items():
        atomic.write_text(folder / name, f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def end_jobs(pids: Path) -> None:
    """End the jobs of our batch system at once, with all that they started."""
    for pid in pids.read_text().split():
        with suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    cohort_scans.make_dataset(folder, good=GOOD, bad=BAD)
    return folder


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Results of one process on this machine."""
    root = tmp_path_factory.mktemp("alone")
    done = run(dataset, root)
    assert done.returncode == ExitCode.COHORT_INCOMPLETE, done.stderr
    return cohort_scans.tree(root)


def test_local_workers_killed_again_and_again(dataset: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """First all of them, so that scans find no worker at all; then one of those that came after."""
    kills = [2, 1]
    with running(*command(dataset, tmp_path, "--dask", "local:2")) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if ": started" in line and kills:
                for worker in workers_of(process.pid)[: kills.pop(0)]:
                    worker.kill()
        assert process.wait(60) == ExitCode.COHORT_INCOMPLETE, said
    assert not kills
    assert "Traceback" not in "".join(said)
    assert cohort_scans.tree(tmp_path) == undisturbed
    assert not cohort_scans.partial_files(tmp_path)
    assert (tmp_path / ".spineps" / ENGINE).is_file()
    again = run(dataset, tmp_path, "--dask", "local:2")
    assert again.returncode == ExitCode.COHORT_INCOMPLETE
    assert ": started" not in again.stderr


def test_a_lost_scheduler_loses_nothing(dataset: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    file, root = tmp_path / "scheduler.json", tmp_path / "out"
    python = (sys.executable, "-m")
    scheduler = (*python, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1", "--port", "0")
    worker = (*python, "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "2", "--no-dashboard")
    with running(*scheduler, "--scheduler-file", file) as first, running(*worker) as second:
        for process in (first, second):
            assert process.stderr is not None
            process.stderr.readline()
        with running(*command(dataset, root, "--dask", file)) as lost:
            assert lost.stderr is not None
            assert any(": done in" in line for line in lost.stderr)
            os.killpg(first.pid, signal.SIGKILL)
            os.killpg(second.pid, signal.SIGKILL)
            last = lost.stderr.readlines()[-1]
            assert lost.wait(120) == ExitCode.RESOURCE, last
    assert last.startswith("CLUSTER: the Dask scheduler was lost.")
    refused = run(dataset, root, "--dask", file)
    assert refused.returncode == ExitCode.RESOURCE
    assert refused.stderr.splitlines()[-1].startswith("CLUSTER: no Dask scheduler answers")
    resumed = run(dataset, root)
    assert resumed.returncode == ExitCode.COHORT_INCOMPLETE, resumed.stderr
    assert resumed.stderr.count(": done in") < GOOD
    assert cohort_scans.tree(root) == undisturbed


def test_a_batch_system(dataset: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sbatch that runs the job's script on this machine; the job is killed when it has begun, and another submitted."""
    commands, jobs, root = tmp_path / "bin", tmp_path / "jobs", tmp_path / "out"
    commands.mkdir()
    jobs.mkdir()
    (jobs / "pids").touch()
    system = {
        # the script is removed as soon as it is submitted
        "sbatch": f'cp "$1" {jobs}/$$.sh\nsetsid sh {jobs}/$$.sh >{jobs}/$$.log 2>&1 &\n'
        f'echo $! >>{jobs}/pids\necho "Submitted batch job $!"',
        "scancel": 'for job in "$@"; do kill -9 -- "-$job"; done',
    }
    put_commands(commands, monkeypatch, system)
    config = tmp_path / "slurm.yaml"
    config.write_text(JOB.format("slurm", "    queue: long\n    job-extra-directives: ['--gres=gpu:1']\n"))
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "1s")
    said = []
    try:
        with running(*command(dataset, root, "--dask", "slurm", "--dask-config", config)) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if ": started" in line and not any(": started" in earlier for earlier in said):
                    end_jobs(jobs / "pids")
                said.append(line)
            assert process.wait(60) == ExitCode.COHORT_INCOMPLETE, said
    finally:
        end_jobs(jobs / "pids")
    assert len((jobs / "pids").read_text().split()) > 1
    assert cohort_scans.tree(root) == undisturbed
    script = next(jobs.glob("*.sh")).read_text()
    for directive in ("-p long", "--cpus-per-task=2", "--mem=4G", "-t 08:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {directive}\n" in script
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:" in script


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_job_scripts(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_commands(tmp_path, monkeypatch, dict.fromkeys(("sbatch", "qsub", "bsub"), "echo Job 7"))
    config = tmp_path / "job.yaml"
    config.write_text(JOB.format(system, "    worker-extra-args: ['--resources', 'GPU=1', '--lifetime', '7h']\n"))
    with batch_cluster(DaskSettings(system, config)) as cluster:
        script = cluster.job_script()
    assert script.startswith("#!/usr/bin/env bash")
    assert "08:00" in script
    assert "--nthreads 2" in script
    assert "--resources GPU=1 --lifetime 7h" in script


def test_a_batch_system_that_complains_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that are over already cannot be cancelled, and Dask asserts that nobody holds them any more."""
    put_commands(tmp_path, monkeypatch, {"sbatch": "echo Submitted batch job 7", "scancel": "exit 1"})
    config = tmp_path / "job.yaml"
    config.write_text(JOB.format("slurm", ""))
    with batch_cluster(DaskSettings("slurm", config)) as cluster:
        held = list(cluster.workers.values())
        assert [job.job_id for job in held] == ["7"]
    assert cluster.status.name == "closing"


def test_a_batch_system_that_takes_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_commands(tmp_path, monkeypatch, {"sbatch": "exit 1"})
    config = tmp_path / "job.yaml"
    config.write_text(JOB.format("slurm", ""))
    with (
        pytest.raises(SpinepsError, match="sbatch does not take the jobs") as caught,
        batch_cluster(DaskSettings("slurm", config)),
    ):
        pass
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "needs to know what a job is"),
        ("jobqueue: [", "cannot be read as YAML"),
        ("jobqueue:\n  pbs: {cores: 1}\n", "no section jobqueue: slurm"),
        ("jobqueue:\n  slurm: {cores: 1, memory: 1 GB, colour: red}\n", "unexpected keyword argument 'colour'"),
        ("jobqueue:\n  slurm: {jobs: many}\n", "jobs is a number of jobs"),
        ("jobqueue:\n  slurm: {memory: 1 GB}\n", "does not take these settings"),
    ],
)
def test_a_bad_description_of_jobs(text: str | None, reason: str, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(text or "")
    with pytest.raises(SpinepsError, match=reason) as caught, batch_cluster(DaskSettings("slurm", config if text else None)):
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_workers_that_cannot_offer_the_engine_are_refused(dataset: Path, tmp_path: Path) -> None:
    few = ("--participant-label", "000")
    assert run(dataset, tmp_path, "--dask", "local:1", *few).returncode == ExitCode.OK
    place = tmp_path / ".spineps" / ENGINE
    engine = choose_engine(ComputeConfig(Device.CPU, Precision.FP32)).name
    place.write_text(place.read_text().replace(engine, "torch-cuda-bf16"))
    done = run(dataset, tmp_path, "--dask", "local:1")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == ExitCode.RESOURCE, done.stderr
    assert last.startswith(f"CLUSTER: no worker of the cluster can be used: it offers {engine} with 1 threads")
    assert "torch-cuda-bf16" in last
    assert not list((tmp_path / ".spineps" / "claims").iterdir())
    many = run(dataset, tmp_path, "--dask", "local:1", "--threads", "4096")
    assert many.returncode == ExitCode.RESOURCE
    assert "4096 threads were asked for" in many.stderr.splitlines()[-1]
