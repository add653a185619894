"""BIDS derivatives and group tables pass the schema-based BIDS validator, which runs offline from its package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cohort_scans
import pytest

from spineps.api import load_models
from spineps.cohort.case import finish, make_ready
from spineps.cohort.group import write_group_tables
from spineps.cohort.plan import make_plan
from spineps.cohort.settings import CohortSettings, ModelFolders, Naming, OutputSettings, ScanSettings
from spineps.cohort.sidecars import write_dataset_files
from spineps.cohort.tables import write_cohort_table
from spineps.config import ComputeConfig, Device, ExtraConfig, PipelineConfig, Precision

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
FOLDERS = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
CONFIG = PipelineConfig(
    compute=ComputeConfig(Device.CPU, Precision.FP32, 1), extras=ExtraConfig(softmax=True, uncertainty=True)
)


def _may_be_alone() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0


def validated(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the validator says of a folder; without a network, where the kernel lets us take it away."""
    alone = ["unshare", "-n"] if _may_be_alone() else []
    return subprocess.run([*alone, VALIDATOR, folder], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="the package bids-validator-deno is not installed")
def test_derivatives_are_valid(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "out"
    cohort_scans.make_dataset(data, good=1, bad=1, seed=4)
    settings = CohortSettings(scan=ScanSettings(CONFIG, FOLDERS), output=OutputSettings(folder=root, naming=Naming.BIDS))
    plan = make_plan(data, settings)
    models = load_models(CONFIG.compute, semantic_folder=FOLDERS.semantic, instance_folder=FOLDERS.instance)
    write_dataset_files(root)
    for case in plan.waiting:
        finish(make_ready(plan.task(case, keep_semantic=False)), models, lambda _stage: None)
    write_cohort_table(make_plan(data, replace(settings, dry_run=True)))
    write_group_tables(root)
    done = validated(root)
    assert done.returncode == 0, done.stdout + done.stderr
    (root / "sub-000" / "anat" / "no_name.nii.gz").write_bytes(b"")
    assert validated(root).returncode != 0
