"""Rows of the fault table that are accepted: the right voxels and place, and the finding that says what was done."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spineps.errors import ErrorCode, FindingCode, InputError
from spineps.io.nifti import AffineChoice, ReadOptions, read_labels, read_scan
from spineps.io.rawfile import open_raw
from spineps.volume import Scan

from . import build
from .test_refused import DEFAULT, FLIPPED, FLOATS, GOOD, GOOD_GZ, refuse, replaced, shear

NOISE = build.voxels()
MIB = 1 << 20


def accept(path: Path, *codes: FindingCode, options: ReadOptions = DEFAULT, voxels: Any = NOISE) -> Scan:
    """Read a file that must be accepted with just these findings, and give these voxels."""
    before = path.read_bytes()
    scan = read_scan(path, options)
    assert [finding.code for finding in scan.source.findings] == list(codes)
    assert all(finding.message.isprintable() and build.CANARY not in finding.message for finding in scan.source.findings)
    if voxels is not None:
        np.testing.assert_array_equal(scan.image, voxels)
    assert path.read_bytes() == before
    return scan


def test_row_3_link(tmp_path: Path) -> None:
    (tmp_path / "annex").mkdir()
    target = build.put(tmp_path / "annex", GOOD_GZ, "MD5E-s1--0.nii.gz")
    (tmp_path / "sub-1_T2w.nii.gz").symlink_to(target)
    accept(tmp_path / "sub-1_T2w.nii.gz")


def test_row_8_suffix(tmp_path: Path) -> None:
    accept(build.put(tmp_path, GOOD, "a.nii.gz"), FindingCode.SUFFIX_MISMATCH)
    accept(build.put(tmp_path, GOOD_GZ, "a.nii"), FindingCode.SUFFIX_MISMATCH)


@pytest.mark.parametrize("content", [GOOD + bytes(512), build.gz(GOOD + bytes(512)), GOOD_GZ + bytes(512)])
def test_row_16_zero_padding(tmp_path: Path, content: bytes) -> None:
    name = "a.nii.gz" if content[:2] == b"\x1f\x8b" else "a.nii"
    scan = accept(build.put(tmp_path, content, name), FindingCode.TRAILING_PADDING)
    assert "512" in scan.source.findings[0].message


@pytest.mark.parametrize("size", [1, 7, 352, 1000, 30_000])
def test_row_17_many_gzip_members(tmp_path: Path, size: int) -> None:
    parts = [GOOD[i : i + size] for i in range(0, len(GOOD), size)][:2000]
    parts[-1] += GOOD[sum(map(len, parts)) :]
    accept(build.put(tmp_path, b"".join(gzip.compress(part, 1, mtime=5) for part in parts), "a.nii.gz"))


def test_row_19_no_permission(tmp_path: Path) -> None:
    path = build.put(tmp_path, GOOD)
    path.chmod(0)
    with unprivileged(tmp_path), pytest.raises(InputError) as caught:
        read_scan(path)
    assert caught.value.code is ErrorCode.INPUT_PERMISSION


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Act as a user who owns nothing where the tests run as root, who may read everything."""
    if os.geteuid():
        yield
        return
    for place in (folder, folder.parent, folder.parent.parent):  # pytest's own, closed to others
        place.chmod(place.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_row_20_changes_while_being_read(tmp_path: Path, change: str) -> None:
    path = build.put(tmp_path, GOOD)
    with open_raw(path) as raw:
        raw.read(1000)
        if change == "append":
            build.put(tmp_path, GOOD + b"more")
        elif change == "replace":
            build.put(tmp_path, GOOD, "new").replace(path)
        else:
            path.unlink()
        with pytest.raises(InputError) as caught:
            raw.check_unchanged()
    assert caught.value.code is ErrorCode.INPUT_CHANGED


@pytest.mark.parametrize("name", ["Wirbelsäule 脊椎.nii", "a b'c\"d.nii", "-i.nii", "two\nlines.nii", "n" * 251 + ".nii"])
def test_row_21_names(tmp_path: Path, name: str) -> None:
    accept(build.put(tmp_path, GOOD, name))
    (tmp_path / name).unlink()
    refuse(build.put(tmp_path, GOOD[:-1], name), ErrorCode.INPUT_TRUNCATED)


def test_row_24_header_size(tmp_path: Path) -> None:
    for order in ("<", ">"):
        accept(build.put(tmp_path, build.nifti(order=order, sizeof_hdr=7)), FindingCode.HEADER_REPAIRED)


@pytest.mark.parametrize("second", [False, True], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_row_25_byte_orders_and_types(tmp_path: Path, code: str, second: bool) -> None:
    codes = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
    voxels = (build.voxels() % 120).astype(code)
    fields = {"datatype": codes[code], "bitpix": voxels.dtype.itemsize * 8, "second": second}
    for order in ("<", ">"):
        scan = accept(build.put(tmp_path, build.nifti(voxels, order, **fields)), voxels=voxels)
        np.testing.assert_array_equal(scan.geometry.affine, build.straight().astype("f4"))


def test_row_35_bitpix(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(bitpix=8)), FindingCode.HEADER_REPAIRED)


@pytest.mark.parametrize(("slope", "intercept"), [(math.nan, 0), (math.inf, 0), (0, 0), (0, 9), (2, math.nan)])
def test_row_36_scaling_that_is_none(tmp_path: Path, slope: float, intercept: float) -> None:
    accept(build.put(tmp_path, build.nifti(scl_slope=slope, scl_inter=intercept)), FindingCode.SCALING_IGNORED)


def test_scaling(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(scl_slope=0.5, scl_inter=-10)), voxels=NOISE * 0.5 - 10)


def test_row_38_offset_not_given(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(vox_offset=0)), FindingCode.HEADER_REPAIRED)


@pytest.mark.parametrize("order", ["<", ">"])
def test_row_39_valid_extensions(tmp_path: Path, order: str) -> None:
    two = build.extension(order=order) + build.extension(order=order, content=bytes(8))
    for extension in (two, two + bytes(16)):
        fields = {"flag": b"\1\0\0\0", "extension": extension, "vox_offset": 352 + len(extension)}
        accept(build.put(tmp_path, build.nifti(order=order, **fields)))


@pytest.mark.parametrize("size", [math.nan, 0, -3, 9])
def test_row_40_voxel_sizes(tmp_path: Path, size: float) -> None:
    path = build.put(tmp_path, build.nifti(pixdim=[1, size, 2, 2, 1, 1, 1, 1]))
    assert accept(path, FindingCode.SPACING_FROM_AFFINE).geometry.spacing_mm == build.SPACING


def test_row_42_one_volume(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(NOISE[..., None])), FindingCode.SQUEEZED)


def test_row_43_chosen_volume(tmp_path: Path) -> None:
    voxels = build.voxels((*build.SHAPE, 3))
    for content in (build.nifti(voxels), build.gz(build.nifti(voxels))):
        for volume in range(3):
            path = build.put(tmp_path, content, f"a.nii{'.gz' if content[0] == 0x1F else ''}")
            options = ReadOptions(volume=volume)
            accept(path, FindingCode.VOLUME_SELECTED, options=options, voxels=voxels[..., volume])


@pytest.mark.parametrize("bad", [np.full((3, 4), math.nan), np.zeros((3, 4)), shear(0.0)[:, [0, 0, 2, 3]]])
def test_row_44_45_falls_to_the_qform(tmp_path: Path, bad: np.ndarray) -> None:
    path = build.put(tmp_path, build.nifti(sform=bad, **build.quaternion(build.straight())))
    scan = accept(path, FindingCode.AFFINE_FROM_QFORM)
    np.testing.assert_allclose(scan.geometry.affine, build.straight())


def test_row_44_bad_qform_next_to_a_good_sform(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(qform_code=1, quatern_b=math.nan)), FindingCode.HEADER_REPAIRED)


def test_qform_alone(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    fields = {"sform_code": 0, "qform_code": 1, "quatern_d": half, "pixdim": [-1, 3, 2, 2, 1, 1, 1, 1]}
    scan = accept(build.put(tmp_path, build.nifti(**fields)))
    expected = np.array([[0, -2, 0, 0], [3, 0, 0, 0], [0, 0, -2, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(scan.geometry.affine, expected, atol=1e-6)


def test_row_46_base(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.nifti(sform_code=0))
    scan = accept(path, FindingCode.AFFINE_CHOSEN, options=ReadOptions(AffineChoice.BASE))
    assert scan.geometry.axes == ("L", "A", "S")


def test_row_47_chosen_affine(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.nifti(sform=FLIPPED, **build.quaternion(build.straight())))
    for choice, direction in ((AffineChoice.SFORM, "L"), (AffineChoice.QFORM, "R")):
        scan = accept(path, FindingCode.AFFINE_CHOSEN, options=ReadOptions(choice))
        assert scan.geometry.axes[0] == direction


def test_row_48_small_differences(tmp_path: Path) -> None:
    fields = build.quaternion(build.straight())
    accept(build.put(tmp_path, build.nifti(**(fields | {"qoffset_x": fields["qoffset_x"] + 1.4}))))


def test_row_50_little_shear(tmp_path: Path) -> None:
    accept(build.put(tmp_path, build.nifti(sform=shear(math.tan(math.radians(1.0))))), FindingCode.SHEAR)
    accept(build.put(tmp_path, build.nifti(sform=shear(1e-4))))


def test_row_55_far_origin(tmp_path: Path) -> None:
    affine = build.straight()
    affine[:3, 3] += 1e6
    assert accept(build.put(tmp_path, build.nifti(sform=affine))).geometry.spacing_mm == build.SPACING


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_row_59_few_nonfinite(tmp_path: Path, value: float) -> None:
    voxels = replaced(build.voxels(), 0.009, value)
    expected = np.where(np.isfinite(voxels), voxels, voxels[np.isfinite(voxels)].min())
    accept(build.put(tmp_path, build.nifti(voxels, **FLOATS)), FindingCode.NONFINITE_REPLACED, voxels=expected)


@pytest.mark.parametrize("voxels", [NOISE - 500.0, NOISE * 1e27, NOISE * 1e-30])
def test_row_61_ranges(tmp_path: Path, voxels: np.ndarray) -> None:
    accept(build.put(tmp_path, build.nifti(voxels.astype("f4"), **FLOATS)), voxels=voxels.astype("f4"))


def test_labels_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.zeros(build.SHAPE)
    labels[2:9, 3:9, 5:9], labels[2:9, 3:9, 12:20] = 26, 207
    for highest, dtype in ((207, np.uint8), (300, np.uint16)):
        labels[labels >= 207] = highest
        for code, fields in (("i2", {}), ("f4", FLOATS), ("f8", {"datatype": 64, "bitpix": 64})):
            found = read_labels(build.put(tmp_path, build.nifti(labels.astype(code), **fields)))
            assert found.labels.dtype == dtype
            np.testing.assert_array_equal(found.labels, labels)


def test_real_scans_and_masks(real_data: Path) -> None:
    folders = ("native", "lumbar_discs", "sct", "tptbox_crop", "panoptica_pair", "other")
    files = [file for folder in folders for file in sorted((real_data / folder).rglob("*.nii.gz"))]
    masks = [file for file in files if any(mark in str(file) for mark in ("_seg", "panoptica_pair"))]
    assert len(files) > len(masks) > 5
    for file in masks:
        assert read_labels(file).source.findings == ()
        refuse(file, ErrorCode.INPUT_LOOKS_LIKE_LABELS)
    for file in set(files) - set(masks):
        assert read_scan(file).source.findings == ()
