"""Rows of the fault table that are refused: the code, one line, nothing touched."""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spineps.errors import ErrorCode, ExitCode, InputError
from spineps.io.nifti import AffineChoice, ReadOptions, read_labels, read_scan

from . import build

Builder = Callable[[Path], Path]
GOOD = build.nifti()
GOOD_GZ = build.gz(GOOD)
# A stored block that claims more bytes than are left: the stream runs on through the CRC to the end of the file.
LOST_END = build.gz(GOOD, 0)[:10] + b"\0" + struct.pack("<HH", 60000, 60000 ^ 0xFFFF) + GOOD + GOOD_GZ[-8:]
FLIPPED = np.diag([-1.0, 1, 1, 1]) @ build.straight()
MIB = 1 << 20
DEFAULT = ReadOptions()


def data(content: bytes, name: str = "scan.nii") -> Builder:
    return lambda folder: build.put(folder, content, name)


def gz(content: bytes) -> Builder:
    return data(content, "scan.nii.gz")


def made(**fields: Any) -> Builder:
    return lambda folder: build.put(folder, build.nifti(**fields))


def dangling(folder: Path) -> Path:
    (folder / "scan.nii").symlink_to(folder / "gone.nii")
    return folder / "scan.nii"


def loop(folder: Path) -> Path:
    (folder / "a.nii").symlink_to(folder / "b.nii")
    (folder / "b.nii").symlink_to(folder / "a.nii")
    return folder / "a.nii"


def a_folder(folder: Path) -> Path:
    (folder / "x.nii.gz").mkdir()
    return folder / "x.nii.gz"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x.nii.gz")
    return folder / "x.nii.gz"


def shear(amount: float) -> np.ndarray:
    affine = build.straight()
    affine[0, 1] = amount * affine[1, 1]
    return affine


def singular() -> np.ndarray:
    affine = build.straight()
    affine[:3, 1] = affine[:3, 0]
    return affine


def replaced(array: np.ndarray, share: float, value: float) -> np.ndarray:
    array = array.astype("f4")
    array.reshape(-1)[: math.ceil(array.size * share)] = value
    return array


def blocks() -> np.ndarray:
    labels = np.zeros(build.SHAPE, dtype="i2")
    labels[4:10, 4:14, 4:20], labels[4:10, 4:14, 24:40] = 49, 41
    return labels


FLOATS = {"datatype": 16, "bitpix": 32}
NAN3 = (math.nan, math.nan, math.nan)
BASE = {"sform_code": 0}

ROWS: list[tuple[str, Builder, ErrorCode]] = [
    ("1 missing", lambda folder: folder / "none.nii.gz", ErrorCode.INPUT_NOT_FOUND),
    ("1 NUL in the name", lambda folder: folder / "a\0b.nii", ErrorCode.INPUT_NOT_FOUND),
    ("2 dangling link", dangling, ErrorCode.INPUT_NOT_FOUND),
    ("2 loop of links", loop, ErrorCode.INPUT_NOT_FOUND),
    ("4 folder", a_folder, ErrorCode.INPUT_NOT_FILE),
    ("5 pipe", pipe, ErrorCode.INPUT_NOT_FILE),
    ("5 device", lambda _: Path("/dev/zero"), ErrorCode.INPUT_NOT_FILE),
    ("5 a folder's name among the folders", lambda folder: build.put(folder, GOOD) / "b.nii", ErrorCode.INPUT_NOT_FOUND),
    ("6 empty", data(b""), ErrorCode.INPUT_EMPTY),
    ("6 empty gzip member", gz(build.gz(b"")), ErrorCode.INPUT_EMPTY),
    ("7 annex pointer", gz(b"/annex/objects/MD5E-s120--abc.nii.gz\n"), ErrorCode.INPUT_NOT_NIFTI),
    ("7 annex link as text", gz(b"../../.git/annex/objects/x1/MD5E-s120\n"), ErrorCode.INPUT_NOT_NIFTI),
    ("7 LFS pointer", gz(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), ErrorCode.INPUT_NOT_NIFTI),
    ("7 HTML", gz(b"<!DOCTYPE html><html><title>404</title></html>" * 20), ErrorCode.INPUT_NOT_NIFTI),
    ("7 text", data(b"no image at all"), ErrorCode.INPUT_NOT_NIFTI),
    ("9 header cut", data(GOOD[:100]), ErrorCode.INPUT_TRUNCATED),
    ("9 header cut, gzipped whole", gz(build.gz(GOOD[:100])), ErrorCode.INPUT_TRUNCATED),
    ("9 NIfTI-2 header cut", data(build.nifti(second=True)[:400]), ErrorCode.INPUT_TRUNCATED),
    ("10 no voxels", data(GOOD[:352]), ErrorCode.INPUT_TRUNCATED),
    ("10 no voxels, gzipped", gz(build.gz(GOOD[:352])), ErrorCode.INPUT_TRUNCATED),
    ("11 voxels cut", data(GOOD[:-1]), ErrorCode.INPUT_TRUNCATED),
    ("11 voxels cut inside gzip", gz(build.gz(GOOD[:-1000])), ErrorCode.INPUT_TRUNCATED),
    ("12 gzip cut", gz(GOOD_GZ[: len(GOOD_GZ) // 2]), ErrorCode.INPUT_TRUNCATED),
    ("12 gzip cut in the header", gz(GOOD_GZ[:60]), ErrorCode.INPUT_TRUNCATED),
    ("13 CRC cut", gz(GOOD_GZ[:-8]), ErrorCode.INPUT_TRUNCATED),
    ("13 length cut", gz(GOOD_GZ[:-1]), ErrorCode.INPUT_TRUNCATED),
    ("14 CRC wrong", gz(GOOD_GZ[:-8] + b"\0\1\2\3" + GOOD_GZ[-4:]), ErrorCode.INPUT_CORRUPT),
    ("14 length wrong", gz(GOOD_GZ[:-4] + b"\0\1\2\3"), ErrorCode.INPUT_CORRUPT),
    ("15 text flag", gz(GOOD_GZ[:3] + b"\1" + GOOD_GZ[4:]), ErrorCode.INPUT_CORRUPT),
    ("15 end of a member lost", gz(LOST_END), ErrorCode.INPUT_CORRUPT),
    ("16 garbage after gzip", gz(GOOD_GZ + b"garbage"), ErrorCode.INPUT_CORRUPT),
    ("16 garbage after padding", gz(GOOD_GZ + bytes(600) + b"x"), ErrorCode.INPUT_CORRUPT),
    ("16 garbage after voxels", data(GOOD + b"garbage"), ErrorCode.INPUT_CORRUPT),
    ("16 garbage after voxels, gzipped", gz(build.gz(GOOD + b"garbage")), ErrorCode.INPUT_CORRUPT),
    ("18 pair", data(build.nifti(magic=b"ni1"), "scan.hdr"), ErrorCode.INPUT_FORMAT),
    ("18 ANALYZE", data(build.nifti(magic=b""), "scan.img"), ErrorCode.INPUT_FORMAT),
    ("18 zstd", data(b"\x28\xb5\x2f\xfd" + GOOD, "scan.nii.zst"), ErrorCode.INPUT_FORMAT),
    ("18 MGH", data(struct.pack(">4i", 1, 16, 16, 16) + GOOD, "scan.mgh"), ErrorCode.INPUT_FORMAT),
    ("18 MGZ", data(build.gz(struct.pack(">4i", 1, 16, 16, 16) + GOOD), "scan.mgz"), ErrorCode.INPUT_FORMAT),
    ("18 NRRD", data(b"NRRD0004\ntype: short\n", "scan.nrrd"), ErrorCode.INPUT_FORMAT),
    ("18 DICOM", data(bytes(128) + b"DICM" + bytes(600), "scan.dcm"), ErrorCode.INPUT_FORMAT),
    ("23 magic wrong", made(magic=b"abc"), ErrorCode.INPUT_NOT_NIFTI),
    ("24 size and dims wrong", made(sizeof_hdr=0, dim=[9] * 8), ErrorCode.INPUT_HEADER),
    ("26 dim[0] = 0", made(dim=[0, 16, 24, 48, 1, 1, 1, 1]), ErrorCode.INPUT_SHAPE),
    ("27 dim[0] = 9", made(dim=[9, 16, 24, 48, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("27 dim[0] = -1", made(dim=[-1, 16, 24, 48, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("28 a dim = 0", made(dim=[3, 16, 0, 48, 1, 1, 1, 1]), ErrorCode.INPUT_SHAPE),
    ("29 a dim negative", made(dim=[3, 16, -24, 48, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("30 70 TB", made(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), ErrorCode.INPUT_TOO_LARGE),
    ("30 2000 cubed", made(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), ErrorCode.INPUT_TOO_LARGE),
    ("30 70 TB, gzipped", gz(build.gz(build.nifti(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]))), ErrorCode.INPUT_TOO_LARGE),
    (
        "30 a NIfTI-2 axis of 10^12",
        data(build.nifti(second=True, dim=[3, 10**12, 1, 1, 1, 1, 1, 1])),
        ErrorCode.INPUT_TOO_LARGE,
    ),
    ("32 zeros without end", gz(build.endless_gz(GOOD, 256 * MIB)), ErrorCode.INPUT_CORRUPT),
    ("33 datatype unknown", made(datatype=77), ErrorCode.INPUT_DTYPE),
    ("34 RGB", made(datatype=128, bitpix=24), ErrorCode.INPUT_DTYPE),
    ("34 RGBA", made(datatype=2304, bitpix=32), ErrorCode.INPUT_DTYPE),
    ("34 complex", made(datatype=32, bitpix=64), ErrorCode.INPUT_DTYPE),
    ("34 float128", made(datatype=1536, bitpix=128), ErrorCode.INPUT_DTYPE),
    ("34 single bits", made(datatype=1, bitpix=1), ErrorCode.INPUT_DTYPE),
    ("35 datatype wider than the voxels", made(datatype=8), ErrorCode.INPUT_TRUNCATED),
    ("37 vox_offset NaN", made(vox_offset=math.nan), ErrorCode.INPUT_HEADER),
    ("37 vox_offset infinite", made(vox_offset=math.inf), ErrorCode.INPUT_HEADER),
    ("38 vox_offset 1e9", made(vox_offset=1e9), ErrorCode.INPUT_HEADER),
    ("38 vox_offset beyond the file", made(vox_offset=1e6), ErrorCode.INPUT_HEADER),
    ("38 vox_offset beyond the gzip", gz(build.gz(build.nifti(vox_offset=1e6))), ErrorCode.INPUT_HEADER),
    ("38 vox_offset -1", made(vox_offset=-1), ErrorCode.INPUT_HEADER),
    ("38 vox_offset in the header", made(vox_offset=348), ErrorCode.INPUT_HEADER),
    ("38 vox_offset with a fraction", made(vox_offset=352.5), ErrorCode.INPUT_HEADER),
    *[
        (
            f"39 extension of {size}",
            made(vox_offset=384, flag=b"\1\0\0\0", extension=build.extension(size)),
            ErrorCode.INPUT_HEADER,
        )
        for size in (1 << 30, -16, 0, 7, 33)
    ],
    ("39 extension over the voxels", made(flag=b"\1\0\0\0", extension=build.extension()), ErrorCode.INPUT_HEADER),
    ("40 pixdim zero, qform only", made(**BASE, qform_code=1, pixdim=[1, 0, 2, 2, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("40 pixdim negative, no affine", made(**BASE, pixdim=[1, -3, 2, 2, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("40 pixdim NaN, no affine", made(**BASE, pixdim=[1, *NAN3, 1, 1, 1, 1]), ErrorCode.INPUT_HEADER),
    ("41 2D", made(data=build.voxels((64, 64))), ErrorCode.INPUT_SHAPE),
    ("41 5D", made(data=build.voxels((8, 8, 24, 1, 3))), ErrorCode.INPUT_SHAPE),
    ("43 4D", made(data=build.voxels((*build.SHAPE, 3))), ErrorCode.INPUT_SHAPE),
    ("44 sform NaN, no qform", made(sform=np.full((3, 4), math.nan)), ErrorCode.INPUT_AFFINE),
    ("45 sform singular, no qform", made(sform=singular()), ErrorCode.INPUT_AFFINE),
    ("45 sform zero, no qform", made(sform=np.zeros((3, 4))), ErrorCode.INPUT_AFFINE),
    ("46 both codes 0", made(**BASE), ErrorCode.INPUT_AFFINE),
    (
        "47 left-right flip",
        made(sform=FLIPPED, **build.quaternion(build.straight())),
        ErrorCode.INPUT_AFFINE_CONFLICT,
    ),
    (
        "47 one voxel apart",
        made(**(build.quaternion(build.straight()) | {"qoffset_x": 0.0})),
        ErrorCode.INPUT_AFFINE_CONFLICT,
    ),
    (
        "49 quaternion norm 3, qform only",
        made(**BASE, qform_code=1, quatern_b=1, quatern_c=1, quatern_d=1),
        ErrorCode.INPUT_AFFINE,
    ),
    ("49 quaternion NaN, qform only", made(**BASE, qform_code=1, quatern_b=math.nan), ErrorCode.INPUT_AFFINE),
    ("50 shear 0.3", made(sform=shear(0.3)), ErrorCode.INPUT_AFFINE),
    ("53 micrometres", made(sform=build.straight((3000, 2000, 2000))), ErrorCode.INPUT_AFFINE),
    ("53 metres", made(sform=build.straight((0.003, 0.002, 0.002))), ErrorCode.INPUT_AFFINE),
    ("56 one slice", made(data=build.voxels((1, 64, 64))), ErrorCode.INPUT_FOV),
    ("56 seven slices", made(data=build.voxels((7, 64, 64))), ErrorCode.INPUT_FOV),
    ("56 38 mm", made(data=build.voxels((16, 24, 19))), ErrorCode.INPUT_FOV),
    ("58 all NaN", made(data=np.full(build.SHAPE, math.nan, "f4"), **FLOATS), ErrorCode.INPUT_NONFINITE),
    ("59 2 % infinite", made(data=replaced(build.voxels(), 0.02, math.inf), **FLOATS), ErrorCode.INPUT_NONFINITE),
    (
        "59 doubles beyond float32",
        made(data=build.voxels(dtype="f8") * 1e300, datatype=64, bitpix=64),
        ErrorCode.INPUT_NONFINITE,
    ),
    ("60 constant", made(data=np.full(build.SHAPE, 5, "i2")), ErrorCode.INPUT_CONSTANT),
    ("60 zero", made(data=np.zeros(build.SHAPE, "i2")), ErrorCode.INPUT_CONSTANT),
    ("64 labels", made(data=blocks()), ErrorCode.INPUT_LOOKS_LIKE_LABELS),
]


def refuse(path: Path, code: ErrorCode, options: ReadOptions = DEFAULT) -> InputError:
    """Read a file that must be refused, and check what every refusal has in common."""
    before = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else None
    with pytest.raises(InputError) as caught:
        read_scan(path, options)
    error = caught.value
    assert error.code is code, str(error)
    assert error.exit_code is ExitCode.INPUT
    line = str(error)
    assert line.startswith(f"{code}: ")
    assert line.isprintable()
    assert error.message.endswith(".")
    assert error.remedy.endswith(".")
    assert str(path.parent) not in line
    assert build.CANARY not in line
    if before is not None:
        assert hashlib.sha256(path.read_bytes()).digest() == before
    return error


@pytest.mark.parametrize(("builder", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_row(tmp_path: Path, builder: Builder, code: ErrorCode) -> None:
    refuse(builder(tmp_path), code)


def test_good_file_is_good(tmp_path: Path) -> None:
    for name, content in (("a.nii", GOOD), ("a.nii.gz", GOOD_GZ)):
        scan = read_scan(build.put(tmp_path, content, name))
        np.testing.assert_array_equal(scan.image, build.voxels())
        assert scan.source.findings == ()
        assert scan.source.sha256 == hashlib.sha256(content).hexdigest()


def test_row_15_every_one_bit_flip_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    # Bytes 4 to 9 of a gzip stream are a time, a level and a system: no checksum covers them, no voxel depends on them.
    places = [0, 1, 2, 3, *rng.integers(10, len(GOOD_GZ), 300)]
    refused = 0
    for number, place in enumerate(places):
        flipped = bytearray(GOOD_GZ)
        flipped[place] ^= 1 << int(rng.integers(8))
        if place < 4 or not build.same_content(bytes(flipped), GOOD):
            refuse(build.put(tmp_path, bytes(flipped), f"{number}.nii.gz"), ErrorCode.INPUT_CORRUPT)
            refused += 1
    assert refused >= 300


def test_row_2_names_the_link(tmp_path: Path) -> None:
    assert "'scan.nii' is a link" in refuse(dangling(tmp_path), ErrorCode.INPUT_NOT_FOUND).message


def test_row_7_says_what_it_looks_like(tmp_path: Path) -> None:
    page = build.put(tmp_path, b"\n<html><body>404</body></html>", "scan.nii.gz")
    assert "HTML" in refuse(page, ErrorCode.INPUT_NOT_NIFTI).message
    pointer = build.put(tmp_path, b"/annex/objects/MD5E-s1--0.nii.gz", "other.nii.gz")
    assert "git annex get" in refuse(pointer, ErrorCode.INPUT_NOT_NIFTI).remedy


def test_row_10_says_how_many_bytes(tmp_path: Path) -> None:
    message = refuse(build.put(tmp_path, GOOD[:400]), ErrorCode.INPUT_TRUNCATED).message
    assert "48 of 36,864 bytes" in message


def test_row_43_volume_out_of_range(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.nifti(build.voxels((*build.SHAPE, 3))))
    for volume in (-1, 3):
        refuse(path, ErrorCode.INPUT_SHAPE, ReadOptions(volume=volume))


def test_row_46_47_affine_that_does_not_exist(tmp_path: Path) -> None:
    refuse(build.put(tmp_path, GOOD), ErrorCode.INPUT_AFFINE, ReadOptions(AffineChoice.QFORM))


def test_row_53_guesses_the_unit(tmp_path: Path) -> None:
    for factor, unit in ((1000.0, "micrometres"), (0.001, "in metres")):
        spacing = (3 * factor, 2 * factor, 2 * factor)
        path = build.put(tmp_path, build.nifti(sform=build.straight(spacing)))
        assert unit in refuse(path, ErrorCode.INPUT_AFFINE).message


def test_row_64_names_the_remedy(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.nifti(blocks()))
    assert "spineps instance" in refuse(path, ErrorCode.INPUT_LOOKS_LIKE_LABELS).remedy
    assert set(np.unique(read_labels(path).labels)) == {0, 41, 49}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(build.SHAPE, "f4"),
        -blocks().astype("f4"),
        blocks() + np.float32(0.5),
        np.where(blocks() > 0, np.float32(math.nan), np.float32(1)),
        blocks() * np.float32(1e9),
        build.voxels(dtype="f4"),
    ],
    ids=["zero", "negative", "fractions", "NaN", "huge", "scan"],
)
def test_no_labels(tmp_path: Path, array: np.ndarray) -> None:
    path = build.put(tmp_path, build.nifti(array.astype("f4"), **FLOATS))
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert caught.value.code is ErrorCode.INPUT_LABELS
