"""One small phantom and one run on it, shared by the tests of a file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from spineps.cli import main

SEED, VERTEBRAE, SPACING_MM = "8", "3", ("1.5", "1.5", "4")


@dataclass(frozen=True, slots=True)
class Phantom:
    """Files of a phantom."""

    scan: Path
    semantic: Path
    instance: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A finished command."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    """A healthy spine of three whole vertebrae, named as a BIDS data set names them."""
    made, data = tmp_path_factory.mktemp("phantom"), tmp_path_factory.mktemp("data")
    arguments = ["--seed", SEED, "--vertebrae", VERTEBRAE, "--spacing", *SPACING_MM, "--healthy", "--orientation", "LAS"]
    assert main(["phantom", str(made), *arguments]) == 0
    files = Phantom(
        data / "sub-CANARY_T2w.nii.gz",
        data / "sub-CANARY_mod-T2w_seg-spine_msk.nii.gz",
        data / "sub-CANARY_mod-T2w_seg-vert_msk.nii.gz",
    )
    for pattern, file in (("*T2w*", files.scan), ("*seg-spine*", files.semantic), ("*seg-vert*", files.instance)):
        next(made.glob(pattern)).rename(file)
    return files


@pytest.fixture(scope="session")
def sample_run(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``spineps sample`` on the phantom, as a user runs it."""
    folder = tmp_path_factory.mktemp("results")
    before = digest(phantom.scan)
    command = [sys.executable, "-m", "spineps", "sample", "-i", str(phantom.scan), "-o", str(folder), "-v"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(phantom.scan) == before
    return Run(folder, done.stdout, done.stderr)


def digest(path: Path) -> str:
    """Sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
