"""Rows 75 to 79, at random: whatever is run, killed, damaged, exchanged and set otherwise, nothing is ever wrongly called done.

Planning, proof, staging, records and the networks' results are the real ones; each result is computed once, and in place of
pictures and masks a run writes three small files that hold the hash of the masks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import cohort_scans
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from spineps.api import load_models
from spineps.cohort import case as case_module
from spineps.cohort.case import Ready, Task, finish, make_ready
from spineps.cohort.plan import Plan, make_plan
from spineps.cohort.proof import Standing
from spineps.cohort.settings import CohortSettings, ModelFolders, OutputSettings, ScanSettings
from spineps.config import ComputeConfig, Device, EndplateOwner, PipelineConfig, PostprocessConfig, Precision, PreprocessConfig
from spineps.io import atomic
from spineps.outputs import save

COMPUTE: Final = ComputeConfig(Device.CPU, Precision.FP32, 1)
FOLDERS: Final = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
FIRST: Final = PipelineConfig(compute=COMPUTE)
CONFIGS: Final = (
    FIRST,
    replace(FIRST, postprocess=PostprocessConfig(endplate_owner=EndplateOwner.VERTEBRA)),
    replace(FIRST, preprocess=PreprocessConfig(crop=False)),
)
"""Two that differ in the second phase alone, and one with another first phase."""
SCANS: Final = 2
WRITERS: Final = frozenset({"os.rename", "os.remove", "os.mkdir"})
MOST_CHANGES: Final = 40
settings_numbers = st.integers(0, len(CONFIGS) - 1)


class Archive:
    """Versions of one scan, two good and one damaged, and what each comes to with each setting."""

    def __init__(self, folder: Path) -> None:
        self.models = load_models(COMPUTE, semantic_folder=FOLDERS.semantic, instance_folder=FOLDERS.instance)
        good = [cohort_scans.phantom_scan(folder / f"{seed}.nii.gz", seed, 2).read_bytes() for seed in (4, 5)]
        self.versions = (*good, good[0][:-100])
        self._results: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self._trees: dict[tuple[int, int], dict[str, str]] = {}

    def segmented(self, ready: Ready, *_: object) -> tuple[Any, Any]:
        """As :func:`case._segmented`, once for each input, setting and first phase."""
        task = ready.task
        kept = hashlib.sha256(task.first_phase.read_bytes()).hexdigest() if task.keep_semantic else ""
        key = (ready.scan.source.sha256, task.recipe.rest, task.recipe.semantic, kept)
        if key not in self._results:
            self._results[key] = SEGMENTED(ready, self.models, lambda _stage: None)
        return self._results[key]

    def tree(self, version: int, number: int) -> dict[str, str]:
        """What an undisturbed run leaves of the scan of subject 000."""
        if (version, number) not in self._trees:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                cohort_scans.scan_place(folder, 0).write_bytes(self.versions[version])
                compute(make_plan(folder, asked(number, folder / "out")), self.models)
                self._trees[version, number] = results(folder / "out", 0)
        return self._trees[version, number]


SEGMENTED: Final = case_module._segmented


def small_outputs(staged: atomic.Staging, result: Any, names: Any) -> dict[str, str]:
    """In place of masks, centroids, picture and page: what they all follow from."""
    digest = hashlib.sha256(result.semantic.labels.tobytes() + result.instance.labels.tobytes()).hexdigest()
    roles = ("semantic", "instance", "snapshot")
    return {role: staged.write_bytes(getattr(names, role), f"{role} {digest}".encode()).sha256 for role in roles}


def asked(number: int, root: Path) -> CohortSettings:
    return CohortSettings(scan=ScanSettings(CONFIGS[number], FOLDERS), output=OutputSettings(folder=root))


def results(root: Path, subject: int) -> dict[str, str]:
    return {Path(name).name[7:]: sha for name, sha in cohort_scans.tree(root / f"sub-{subject:03d}").items()}


def tasks(plan: Plan) -> list[Task]:
    found = []
    for case in plan.waiting:
        verdict = plan.judged(case)
        found.append(plan.task(case, keep_semantic=verdict.standing is Standing.INSTANCE_PHASE))
    return found


def compute(plan: Plan, models: Any) -> None:
    for task in tasks(plan):
        finish(make_ready(task), models, lambda _stage: None)


def killed(work: Callable[[], None], folder: Path, number: int) -> bool:
    """Work in a copy of this process that is killed before its n-th change of the folder; whether it got that far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(args[2], int) and bool(args[2] & os.O_WRONLY)
            if (event in WRITERS or writes) and str(args[0]).startswith(str(folder)):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


class Cohorts(RuleBasedStateMachine):
    """A dataset of two scans, its results, and everything that can happen to them."""

    archive: Archive

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "out"
        self.versions = [0] * SCANS
        for subject in range(SCANS):
            self.put(subject, 0)

    def put(self, subject: int, version: int) -> None:
        self.versions[subject] = version
        place = cohort_scans.scan_place(self.folder, subject)
        place.unlink(missing_ok=True)
        place.write_bytes(self.archive.versions[version])

    def plan(self, number: int) -> Plan:
        return make_plan(self.folder, asked(number, self.root))

    @rule(number=settings_numbers)
    def run(self, number: int) -> None:
        compute(self.plan(number), self.archive.models)
        assert not self.plan(number).waiting
        for subject, version in enumerate(self.versions):
            assert results(self.root, subject) == self.archive.tree(version, number)

    @rule(number=settings_numbers, change=st.integers(1, MOST_CHANGES))
    def kill(self, number: int, change: int) -> None:
        plan = self.plan(number)
        for task in tasks(plan):  # what the networks give is computed here, so that the copy only writes
            ready = make_ready(task)
            if ready.error is None:
                self.archive.segmented(ready)
        killed(lambda: compute(plan, self.archive.models), self.root, change)
        for case in plan.cases:  # as the run does that takes over the claim
            plan.sweep(case)
        assert not cohort_scans.partial_files(self.root) if self.root.exists() else True

    @precondition(lambda self: any(self.root.rglob("*")))
    @rule(pick=st.integers(0, 10_000), how=st.sampled_from(["flip", "cut", "empty", "remove"]))
    def damage(self, pick: int, how: str) -> None:
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        if not files:
            return
        path = files[pick % len(files)]
        content = bytearray(path.read_bytes())
        time.sleep(0.02)  # the clock of a file system is coarse: a change within its tick is none
        if how == "remove" or not content:
            path.unlink()
        elif how == "flip":
            content[pick % len(content)] ^= 1
            path.write_bytes(content)
        else:
            path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])

    @rule(subject=st.integers(0, SCANS - 1), version=st.integers(0, 2))
    def exchange(self, subject: int, version: int) -> None:
        self.put(subject, version)

    @rule()
    def lose_the_state(self) -> None:
        shutil.rmtree(self.root / ".spineps", ignore_errors=True)

    @rule()
    def copy(self) -> None:
        new = Path(tempfile.mkdtemp())
        shutil.copytree(self.folder, new, dirs_exist_ok=True)
        shutil.rmtree(self.folder)
        self.folder, self.root = new, new / "out"

    @invariant()
    def never_a_wrong_done(self) -> None:
        if not hasattr(self, "root"):
            return
        for number in range(len(CONFIGS)):
            plan = self.plan(number)
            waiting = {case.name for case in plan.waiting}
            for subject, case in enumerate(plan.cases):
                if case.name not in waiting:
                    assert results(self.root, subject) == self.archive.tree(self.versions[subject], number)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


EXAMPLES: Final = MappingProxyType({"push": 12, "nightly": 400})


def test_never_a_wrong_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cohorts.archive = Archive(tmp_path)
    monkeypatch.setattr(case_module, "_segmented", Cohorts.archive.segmented)
    monkeypatch.setattr(save, "stage_result", small_outputs)
    examples = EXAMPLES[os.environ.get("HYPOTHESIS_PROFILE", "push")]
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large)
    chosen = settings(max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(Cohorts, settings=chosen)
