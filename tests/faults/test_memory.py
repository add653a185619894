"""nibabel images pass the same checks as files, and only a SpinepsError says that they do not; scans beyond the memory."""

from __future__ import annotations

import math
from pathlib import Path

import cohort_scans
import nibabel as nib
import numpy as np
import pytest

from spineps.cli import main
from spineps.errors import ErrorCode, ExitCode, FindingCode, InputError
from spineps.inference.memory import GB, resident
from spineps.io.nifti import AffineChoice, ReadOptions, from_nibabel, labels_from_nibabel, read_scan
from spineps.labels import Scheme

from . import build
from .test_refused import FLIPPED, GOOD, GOOD_GZ, blocks, replaced, shear

AFFINE = build.straight()


def image(array: np.ndarray, affine: np.ndarray | None = AFFINE) -> nib.Nifti1Image:
    return nib.Nifti1Image(array, affine)


REFUSED = [
    (image(build.voxels((64, 64))), ErrorCode.INPUT_SHAPE),
    (image(build.voxels((*build.SHAPE, 2))), ErrorCode.INPUT_SHAPE),
    (image(build.voxels(dtype="c8")), ErrorCode.INPUT_DTYPE),
    (image(build.voxels(), None), ErrorCode.INPUT_AFFINE),
    (image(build.voxels(), shear(0.3)), ErrorCode.INPUT_AFFINE),
    (image(build.voxels(), build.straight((3000, 2000, 2000))), ErrorCode.INPUT_AFFINE),
    (image(build.voxels((8, 8, 8))), ErrorCode.INPUT_FOV),
    (image(np.full(build.SHAPE, math.nan)), ErrorCode.INPUT_NONFINITE),
    (image(np.zeros(build.SHAPE, "u1")), ErrorCode.INPUT_CONSTANT),
    (image(blocks()), ErrorCode.INPUT_LOOKS_LIKE_LABELS),
]


@pytest.mark.parametrize(("refused", "code"), REFUSED, ids=[str(code) for _, code in REFUSED])
def test_refused(refused: nib.Nifti1Image, code: ErrorCode) -> None:
    with pytest.raises(InputError) as caught:
        from_nibabel(refused)
    assert caught.value.code is code


def test_equal_to_the_file(tmp_path: Path) -> None:
    path = build.put(tmp_path, GOOD_GZ, "a.nii.gz")
    scan, file = from_nibabel(nib.load(path)), read_scan(path)
    np.testing.assert_array_equal(scan.image, file.image)
    np.testing.assert_array_equal(scan.geometry.affine, file.geometry.affine)
    assert scan.source.sha256 is None


def test_copies(tmp_path: Path) -> None:
    array = build.voxels(dtype="f4")
    scan = from_nibabel(image(array))
    array[:] = 0
    np.testing.assert_array_equal(scan.image, build.voxels())


def test_affine_set_in_memory_wins() -> None:
    turned = nib.Nifti1Image(build.voxels(), AFFINE)
    turned.header.set_sform(FLIPPED, code=1)
    assert from_nibabel(turned).geometry.axes == ("R", "A", "S")


def test_conflict_and_choice(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.nifti(sform=FLIPPED, **build.quaternion(AFFINE)))
    with pytest.raises(InputError) as caught:
        from_nibabel(nib.load(path))
    assert caught.value.code is ErrorCode.INPUT_AFFINE_CONFLICT
    scan = from_nibabel(nib.load(path), ReadOptions(AffineChoice.QFORM))
    assert scan.geometry.axes == ("R", "A", "S")


def test_other_formats_and_volumes() -> None:
    scan = from_nibabel(nib.MGHImage(build.voxels(dtype="f4"), AFFINE))
    np.testing.assert_allclose(scan.geometry.affine, AFFINE, atol=1e-4)
    volumes = build.voxels((*build.SHAPE, 2))
    scan = from_nibabel(image(volumes), ReadOptions(volume=1))
    np.testing.assert_array_equal(scan.image, volumes[..., 1])
    assert [finding.code for finding in scan.source.findings] == [FindingCode.VOLUME_SELECTED]


def test_few_nonfinite() -> None:
    scan = from_nibabel(image(replaced(build.voxels(), 0.005, math.inf)))
    assert [finding.code for finding in scan.source.findings] == [FindingCode.NONFINITE_REPLACED]


def test_labels() -> None:
    for array in (blocks(), blocks().astype("f4"), blocks() > 0):
        found = labels_from_nibabel(nib.Nifti1Image(array.astype(array.dtype if array.dtype != bool else "u1"), AFFINE))
        np.testing.assert_array_equal(found.labels, array)
    assert labels_from_nibabel(image(blocks()), scheme=Scheme.INSTANCE).scheme is Scheme.INSTANCE


@pytest.mark.parametrize("content", [GOOD[:-100], GOOD_GZ[:-9000]], ids=["plain", "gzip"])
def test_damage_that_nibabel_meets_late(tmp_path: Path, content: bytes) -> None:
    name = "a.nii" if content[:1] != b"\x1f" else "a.nii.gz"
    loaded = nib.load(build.put(tmp_path, content, name))
    with pytest.raises(InputError) as caught:
        from_nibabel(loaded)
    assert caught.value.code is ErrorCode.INPUT_CORRUPT
    assert str(tmp_path) not in str(caught.value)


def test_row_57_a_scan_beyond_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A huge scan is done on the frugal way with the same bytes, or refused with the number needed, before any work."""
    cohort_scans.make_dataset(tmp_path / "data", good=1, bad=0, seed=4)
    (scan,) = (tmp_path / "data").rglob("*_T2w.nii.gz")
    flags = [*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1"]

    def sample(name: str, *more: str) -> int:
        return main(["sample", "-i", str(scan), "-o", str(tmp_path / name), *flags, *more])

    assert sample("whole") == ExitCode.OK
    planned = float(next(line for line in capsys.readouterr().err.splitlines() if line.startswith("memory")).split()[2])
    assert sample("refused", "--max-memory", f"{resident() / GB / 2:.3f}") == ExitCode.RESOURCE
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("RESOURCE_MEMORY: this scan needs about ")
    assert float(last.split()[5]) <= planned + 0.2, "the number is that of the frugal way"
    assert not [path for path in (tmp_path / "refused").rglob("*") if path.is_file()]
    assert sample("limited", "--max-memory", f"{float(last.split()[5]) + 0.1:.2f}") == ExitCode.OK
    for mask in (tmp_path / "whole").rglob("*_msk.nii.gz"):
        assert mask.read_bytes() == (tmp_path / "limited" / mask.relative_to(tmp_path / "whole")).read_bytes()
