"""``spineps check``: a line a file, the exit code of the first bad one, no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import header_dtype as nifti2_dtype

from spineps.cli import main
from spineps.errors import ErrorCode, ExitCode
from spineps.io.header import NIFTI1, NIFTI2

from . import build
from .test_refused import FLIPPED, GOOD, GOOD_GZ, ROWS, Builder, blocks


def test_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(build.put(tmp_path, GOOD_GZ, "a.nii.gz"))]) == ExitCode.OK
    said = capsys.readouterr()
    assert said.out == "OK: 'a.nii.gz', 16 x 24 x 48 voxels of 3 x 2 x 2 mm, axes RAS.\n"
    assert said.err == ""


def test_findings_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(build.put(tmp_path, GOOD + bytes(9)))]) == ExitCode.OK
    assert "TRAILING_PADDING: 9 zero bytes" in capsys.readouterr().out


@pytest.mark.parametrize(("builder", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_row(tmp_path: Path, builder: Builder, code: ErrorCode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(builder(tmp_path))]) == ExitCode.INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{code}: ")
    assert said.err.count("\n") == 1
    assert str(tmp_path) not in said.err
    assert build.CANARY not in said.err


def test_every_file_gets_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [build.put(tmp_path, GOOD, "a.nii"), tmp_path / "none.nii", build.put(tmp_path, GOOD, "c.nii")]
    assert main(["check", *map(str, files)]) == ExitCode.INPUT
    said = capsys.readouterr()
    assert said.out.count("OK: ") == 2
    assert said.err == "INPUT_NOT_FOUND: 'none.nii' does not exist. Check the path.\n"


def test_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(build.put(tmp_path, build.nifti(sform=FLIPPED, **build.quaternion(build.straight()))))
    for choice, code in (("auto", ExitCode.INPUT), ("sform", ExitCode.OK), ("qform", ExitCode.OK), ("base", ExitCode.OK)):
        assert main(["check", path, "--affine", choice]) == code
    path = str(build.put(tmp_path, build.nifti(build.voxels((*build.SHAPE, 2))), "b.nii"))
    for arguments, code in (([], ExitCode.INPUT), (["--volume", "1"], ExitCode.OK), (["--volume", "2"], ExitCode.INPUT)):
        assert main(["check", path, *arguments]) == code


def test_labels(tmp_path: Path) -> None:
    path = str(build.put(tmp_path, build.nifti(blocks())))
    assert main(["check", path]) == ExitCode.INPUT
    assert main(["check", "--labels", path]) == ExitCode.OK


def test_usage() -> None:
    assert main(["check"]) == ExitCode.USAGE


def test_torch_stays_out(tmp_path: Path) -> None:
    code = (
        "import sys; from spineps.cli import main; exit_code = main(sys.argv[1:]); "
        "heavy = ('torch', 'TPTBox', 'matplotlib', 'scipy', 'nibabel'); "
        "sys.exit(exit_code or any(name in sys.modules for name in heavy) and 99)"
    )
    path = str(build.put(tmp_path, GOOD))
    done = subprocess.run([sys.executable, "-c", code, "check", path], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("ours", "known"), [(NIFTI1, nifti1_dtype), (NIFTI2, nifti2_dtype)])
def test_fields_lie_where_nibabel_knows_them(ours: np.dtype[Any], known: np.dtype[Any]) -> None:
    assert ours.itemsize == known.itemsize
    assert ours.fields is not None
    assert known.fields is not None
    assert {name: field[:2] for name, field in ours.fields.items()} == {name: known.fields[name][:2] for name in ours.fields}
