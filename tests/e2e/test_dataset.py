"""``spineps dataset`` and ``spineps bids`` as a user runs them, on phantoms with the small models."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cohort_scans
import pytest

from spineps.cohort.run import run_cohort
from spineps.cohort.settings import CohortSettings, MachineSettings, ModelFolders, OutputSettings, ScanSettings, ScanState
from spineps.config import ComputeConfig, Device, PipelineConfig, Precision
from spineps.errors import ErrorCode, ExitCode

GOOD = 2
FLAGS = (*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1")
pytestmark = pytest.mark.timeout(900)  # each worker loads PyTorch anew, on a busy machine a minute's work
SPY = """
import sys
def tell(word):
    with open({!r}, "a") as file:
        print(word, file=file)
def hear(event, arguments):
    if event == "socket.__new__" and arguments[1] > 1:  # neither one of this machine alone nor one that is there already
        tell("socket")
tell("process")
sys.addaudithook(hear)
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def spineps(*arguments: str | Path, **options: object) -> Done:
    began = time.perf_counter()
    command = [sys.executable, "-m", "spineps", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    return Done(done.returncode, done.stdout, done.stderr, time.perf_counter() - began)


def wait_for(text: str, said: IO[str]) -> None:
    """Read what a command says until it says a text."""
    assert any(text in line for line in said)


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def settings(root: Path, **machine: object) -> CohortSettings:
    models = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
    config = PipelineConfig(compute=ComputeConfig(Device.CPU, Precision.FP32, 1))
    return CohortSettings(
        scan=ScanSettings(config, models),
        output=OutputSettings(folder=root),
        machine=MachineSettings(**machine),  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Cohort:
    """A dataset, what it should come to, and what its first run said."""

    dataset: Path
    root: Path
    expected: dict[str, ErrorCode | None]
    run: Done
    spied: list[str]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp(cohort_scans.CANARY)
    dataset = folder / "dataset"
    expected = cohort_scans.make_dataset(dataset, good=GOOD, bad=len(cohort_scans.BAD))
    root = dataset / "derivatives_seg"
    before = inputs(dataset)
    environment, spied = spied_on(folder / "spy")
    run = spineps("dataset", "-i", dataset, *FLAGS, "--save-log", env=environment)
    assert inputs(dataset) == before
    return Cohort(dataset, root, expected, run, spied.read_text().split())


def spied_on(folder: Path) -> tuple[dict[str, str], Path]:
    """An environment in which every Python process says that it starts or opens a socket, and the file where."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SPY.format(str(folder / "said")))
    return {**os.environ, "PYTHONPATH": str(folder)}, folder / "said"


def inputs(dataset: Path) -> dict[str, tuple[int, str]]:
    """Time and hash of every file outside of the results."""
    found = {}
    for path in sorted(dataset.rglob("*")):
        if "derivatives_seg" not in path.parts and path.is_file():
            found[str(path)] = (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def test_good_scans_are_done_and_bad_ones_named(cohort: Cohort) -> None:
    assert cohort.run.code == ExitCode.COHORT_INCOMPLETE, cohort.run.stderr
    assert "Traceback" not in cohort.run.stderr
    table = {row["scan"]: row for row in rows(cohort.root / "cohort.tsv")}
    assert {scan: row["code"] for scan, row in table.items()} == {
        scan: "n/a" if code is None else str(code) for scan, code in cohort.expected.items()
    }
    assert [row["status"] for row in table.values()].count("done") == GOOD
    for scan, code in cohort.expected.items():
        masks = list(cohort.root.rglob(f"{scan}_seg-*_msk.nii.gz"))
        assert len(masks) == (2 if code is None else 0), scan
    assert not cohort_scans.partial_files(cohort.root)
    assert not list((cohort.root / ".spineps" / "claims").iterdir())


def test_no_socket_is_opened(cohort: Cohort, tmp_path: Path) -> None:
    assert len(cohort.spied) > 1  # the run and its worker
    assert set(cohort.spied) == {"process"}
    environment, spied = spied_on(tmp_path / "spy")
    subprocess.run([sys.executable, "-c", "import socket; socket.socket()"], env=environment, check=True)
    assert spied.read_text().split() == ["process", "socket"]


def test_no_canary_is_told(cohort: Cohort) -> None:
    assert cohort_scans.CANARY not in cohort.run.stdout + cohort.run.stderr
    assert "sub-0" not in cohort.run.stderr
    for path in cohort.root.rglob("*"):
        assert cohort_scans.CANARY not in path.name
        assert path.is_dir() or cohort_scans.CANARY.encode() not in path.read_bytes(), path.name
    logs = list((cohort.root / "logs").glob("run_*.txt"))
    assert len(logs) == 1
    assert "sub-0" not in logs[0].read_text()


def test_a_second_run_computes_nothing(cohort: Cohort, tmp_path: Path) -> None:
    """It starts no worker either: links to nowhere, pipes and folders, which have no record, need none."""
    before = cohort_scans.tree(cohort.root)
    for folder in (cohort.root, cohort.root / ".spineps", cohort.root / "logs"):
        (folder / ".spineps-root-0.partial").touch()  # as a killed run leaves it
    environment, spied = spied_on(tmp_path / "spy")
    again = spineps("dataset", "-i", cohort.dataset, *FLAGS, env=environment)
    assert spied.read_text().split() == ["process"]
    assert again.code == ExitCode.COHORT_INCOMPLETE
    assert f"{GOOD} up to date" in again.stderr
    assert cohort_scans.tree(cohort.root) == before
    assert not cohort_scans.partial_files(cohort.root)


def test_dry_run_says_which_file_a_case_is_and_writes_nothing(cohort: Cohort, tmp_path: Path) -> None:
    plan = spineps("dataset", "-i", cohort.dataset, "-o", tmp_path / "new", *FLAGS, "--dry-run")
    assert plan.code == ExitCode.OK
    assert len(plan.stdout.splitlines()) == len(cohort.expected)
    assert all("planned" in line for line in plan.stdout.splitlines())
    assert not (tmp_path / "new").exists()


def test_excluded_scans_are_left_out(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("participant_id\tverdict\nsub-000\tfail\nsub-001\tpass\n")
    plan = spineps("dataset", "-i", cohort.dataset, *FLAGS, "--dry-run", "--exclude", tmp_path / "x.tsv")
    assert [line.split()[1] for line in plan.stdout.splitlines()].count("excluded") == 1


def test_bids_app_and_group(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    participant = spineps("bids", cohort.dataset, out, "participant", *FLAGS, "--participant-label", "000", "002")
    assert participant.code == ExitCode.COHORT_INCOMPLETE, participant.stderr
    names = {path.name for path in (out / "sub-000" / "anat").iterdir()}
    assert {
        "sub-000_seg-spine_desc-T2w_dseg.nii.gz",
        "sub-000_seg-vert_desc-T2w_dseg.json",
        "sub-000_desc-T2w_run.json",
    } <= names
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "spineps"
    validate(out)
    group = spineps("bids", cohort.dataset, out, "group")
    assert group.code == ExitCode.OK, group.stderr
    scans, vertebrae = rows(out / "group_scans.tsv"), rows(out / "group_vertebrae.tsv")
    assert [row["participant_id"] for row in scans] == ["sub-000", "sub-002"]
    assert int(scans[0]["vertebrae"]) == len(vertebrae) > 0
    assert float(vertebrae[0]["volume_ml"]) > 0
    validate(out)


def validate(derivatives: Path) -> None:
    """The schema-based BIDS validator, where it is installed (package bids-validator-deno), finds no error."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if validator.is_file():
        said = subprocess.run([validator, derivatives], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout


def test_several_runs_at_once_compute_each_scan_once(cohort: Cohort, tmp_path: Path) -> None:
    root = tmp_path / "shared"
    command = [sys.executable, "-m", "spineps", "dataset", "-i", str(cohort.dataset), "-o", str(root), *FLAGS, "-v"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=280)[1] for run in runs]
    assert {run.returncode for run in runs} == {ExitCode.COHORT_INCOMPLETE}, said
    done = [line for text in said for line in text.splitlines() if ": done in" in line]
    assert len(done) == len({line.split(":")[0] for line in done}) == GOOD
    assert cohort_scans.tree(root) == without_logs(cohort)


def without_logs(cohort: Cohort) -> dict[str, str]:
    return {name: digest for name, digest in cohort_scans.tree(cohort.root).items() if not name.startswith("logs")}


def test_a_killed_run_goes_on_to_the_same_files(cohort: Cohort, tmp_path: Path) -> None:
    root = tmp_path / "out"
    command = [sys.executable, "-m", "spineps", "dataset", "-i", str(cohort.dataset), "-o", str(root), *FLAGS, "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stderr is not None
        wait_for(": done in", run.stderr)
        os.killpg(run.pid, signal.SIGKILL)
    assert spineps(*command[3:]).code == ExitCode.COHORT_INCOMPLETE
    assert cohort_scans.tree(root) == without_logs(cohort)


def test_sigterm_ends_workers_and_claims(cohort: Cohort, tmp_path: Path) -> None:
    root = tmp_path / "out"
    command = [sys.executable, "-m", "spineps", "dataset", "-i", str(cohort.dataset), "-o", str(root), *FLAGS, "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        wait_for(": started", run.stderr)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    assert run.returncode == ExitCode.TERMINATED
    assert not cohort_scans.partial_files(root)
    assert not list((root / ".spineps" / "claims").iterdir())


def test_a_worker_that_dies_is_replaced_and_a_slow_or_large_scan_stopped(tmp_path: Path) -> None:
    from spineps.cohort.events import Watcher

    class Killer(Watcher):
        """Kills the worker of the first scan, once."""

        killed = 0

        def started(self, case: str, slot: int) -> None:  # noqa: ARG002
            if not self.killed:
                self.killed = 1
                for worker in cohort_scans.worker_processes():
                    worker.kill()

    only = tmp_path / "only"
    cohort_scans.make_dataset(only, good=1, bad=0)
    killer = Killer()
    report = run_cohort(only, settings(tmp_path / "a"), watcher=killer)
    assert killer.killed
    assert [scan.state for scan in report.scans] == [ScanState.DONE]
    stopped = run_cohort(only, settings(tmp_path / "b", time_limit_s=1e-3))
    assert [scan.code for scan in stopped.scans] == [ErrorCode.TIME_LIMIT]
    assert stopped.exit_code is ExitCode.COHORT_INCOMPLETE
    assert [row["code"] for row in rows(tmp_path / "b" / "cohort.tsv")] == ["TIME_LIMIT"]
    stopped = run_cohort(only, settings(tmp_path / "c", memory_limit_gb=0.1))
    assert [scan.code for scan in stopped.scans] == [ErrorCode.RESOURCE_MEMORY]


def test_a_damaged_model_ends_the_run_before_any_scan(cohort: Cohort, tmp_path: Path) -> None:
    for kind in ("semantic", "instance"):
        for file in (cohort_scans.MODELS / kind).iterdir():
            place = tmp_path / "models" / kind / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    weights = tmp_path / "models" / "instance" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    flags = ("-ms", tmp_path / "models/semantic", "-mi", tmp_path / "models/instance")
    run = spineps("dataset", "-i", cohort.dataset, "-o", tmp_path / "out", *flags)
    assert run.code == ExitCode.MODEL, run.stderr
    assert run.stderr.splitlines()[-1].startswith("MODEL_CORRUPT: ")
