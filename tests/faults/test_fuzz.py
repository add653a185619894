"""Whatever the bytes, only a SpinepsError leaves the reader, and damage that a checksum tells is never accepted."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spineps.errors import SpinepsError
from spineps.io.nifti import AffineChoice, ReadOptions, read_labels, read_scan

from . import build
from .test_refused import GOOD, GOOD_GZ

EXAMPLES = max(100, settings().max_examples)
OPTIONS = [ReadOptions(choice, volume) for choice in AffineChoice for volume in (None, 0)]
header_bytes = st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6)


def outcome(content: bytes, options: ReadOptions, name: str = "scan.nii") -> np.ndarray | None:
    """Voxels, or None where the file is refused as it should be; anything else that is raised fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = build.put(Path(folder), content, name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning would be a second line on stderr
            labels, line = attempt(lambda: read_labels(path, options).labels)
            image, other_line = attempt(lambda: read_scan(path, options).image)
    for said in (line, other_line):
        assert said.isprintable()
        assert build.CANARY not in said
        assert folder not in said
    return labels if image is None else image


def attempt(read: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """What a reader gives, or None and what it says."""
    try:
        return read(), ""
    except SpinepsError as error:
        return None, str(error)


@settings(max_examples=EXAMPLES)
@given(header_bytes, st.sampled_from(OPTIONS), st.booleans())
def test_header_bytes(changes: list[tuple[int, int]], options: ReadOptions, squeezed: bool) -> None:
    content = bytearray(GOOD)
    for place, value in changes:
        content[place] = value
    outcome(build.gz(bytes(content)) if squeezed else bytes(content), options)


NUMBERS = ("scl_slope", "scl_inter", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
extreme = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 1e30, 1e12, 2e-4]), st.floats())
wild_fields = st.fixed_dictionaries(
    {},
    optional={
        "sform": st.lists(st.lists(extreme, min_size=4, max_size=4), min_size=3, max_size=3),
        "pixdim": st.lists(extreme, min_size=8, max_size=8),
        **dict.fromkeys(NUMBERS, extreme),
        "sform_code": st.integers(0, 2),
        "qform_code": st.integers(0, 2),
    },
)


@settings(max_examples=EXAMPLES)
@given(wild_fields, st.sampled_from(OPTIONS))
def test_wild_numbers(fields: dict[str, object], options: ReadOptions) -> None:
    outcome(build.nifti(second=True, **fields), options)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, len(GOOD_GZ) - 1), st.integers(0, 7))
def test_gzip_bits(place: int, bit: int) -> None:
    content = bytearray(GOOD_GZ)
    content[place] ^= 1 << bit
    accepted = outcome(bytes(content), ReadOptions(), "scan.nii.gz")
    if accepted is not None:  # a bit of the stream's time, level or system, or of a code that no voxel uses
        np.testing.assert_array_equal(accepted, build.voxels())
        assert build.same_content(bytes(content), GOOD)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, len(GOOD_GZ) - 1))
def test_any_cut(length: int) -> None:
    assert outcome(GOOD_GZ[:length], ReadOptions(), "scan.nii.gz") is None
    assert outcome(GOOD[: length % len(GOOD)], ReadOptions()) is None


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=600))
def test_any_bytes(content: bytes) -> None:
    assert outcome(content, ReadOptions()) is None
    assert outcome(GOOD[:352] + content, ReadOptions()) is None


@settings(max_examples=EXAMPLES)
@given(
    st.sampled_from(["<", ">"]),
    st.tuples(*[st.integers(8, 12)] * 2, st.integers(24, 30)),
    st.sampled_from([(4, "i2"), (512, "u2"), (16, "f4"), (2, "u1")]),
    st.sampled_from([(1.0, 0.0), (2.0, -3.0), (0.5, 7.0)]),
)
def test_agrees_with_nibabel_on_good_files(
    order: str, shape: tuple[int, int, int], kind: tuple[int, str], scaling: tuple[float, float]
) -> None:
    voxels = (build.voxels(shape) % 250).astype(kind[1])
    fields = {"datatype": kind[0], "bitpix": voxels.dtype.itemsize * 8, "scl_slope": scaling[0], "scl_inter": scaling[1]}
    with tempfile.TemporaryDirectory() as folder:
        path = build.put(Path(folder), build.gz(build.nifti(voxels, order, **fields)), "scan.nii.gz")
        scan, image = read_scan(path), nib.load(path)
        np.testing.assert_array_equal(scan.image, image.get_fdata(dtype=np.float32))
        np.testing.assert_array_equal(scan.geometry.affine, image.affine)


@settings(max_examples=EXAMPLES)
@given(st.binary(min_size=64, max_size=64), st.sampled_from([(16, "f4"), (64, "f8"), (4, "i2")]), st.sampled_from(["<", ">"]))
def test_any_voxels(content: bytes, kind: tuple[int, str], order: str) -> None:
    size = np.dtype(kind[1]).itemsize
    voxels = (content * (np.prod(build.SHAPE) * size // 64)).ljust(np.prod(build.SHAPE) * size)
    for slope in (1, 3):
        outcome(build.nifti(voxels, order, datatype=kind[0], bitpix=size * 8, scl_slope=slope), ReadOptions())
