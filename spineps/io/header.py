"""The NIfTI header: 348 (NIfTI-1) or 540 (NIfTI-2) bytes into plain values, refused or repaired as docs/errors.md says."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.geometry import Matrix
from spineps.io.rawfile import RawFile
from spineps.io.shown import refusal
from spineps.io.sniff import not_nifti

HEAD_BYTES: Final = 352
"""A NIfTI-1 header with the four bytes that announce extensions."""
EXTENSION_LIMIT: Final = 1 << 26
"""Extensions hold a copy of a DICOM header at most; voxels that begin later than this are a damaged offset."""
LONGEST_AXIS: Final = 32767

_NIFTI2_HEAD_BYTES: Final = 544
_SIZES: Final = (348, 540)
_FIELDS: Final = {
    "sizeof_hdr": ("i4", 0, "i4", 0),
    "dim": ("8i2", 40, "8i8", 16),
    "datatype": ("i2", 70, "i2", 12),
    "bitpix": ("i2", 72, "i2", 14),
    "pixdim": ("8f4", 76, "8f8", 104),
    "vox_offset": ("f4", 108, "i8", 168),
    "scl_slope": ("f4", 112, "f8", 176),
    "scl_inter": ("f4", 116, "f8", 184),
    "qform_code": ("i2", 252, "i4", 344),
    "sform_code": ("i2", 254, "i4", 348),
    "quatern_b": ("f4", 256, "f8", 352),
    "quatern_c": ("f4", 260, "f8", 360),
    "quatern_d": ("f4", 264, "f8", 368),
    "qoffset_x": ("f4", 268, "f8", 376),
    "qoffset_y": ("f4", 272, "f8", 384),
    "qoffset_z": ("f4", 276, "f8", 392),
    "srow_x": ("4f4", 280, "4f8", 400),
    "srow_y": ("4f4", 296, "4f8", 432),
    "srow_z": ("4f4", 312, "4f8", 464),
}
"""The fields that are read: type and first byte in NIfTI-1, then in NIfTI-2 (nifti1.h, nifti2.h of the NIfTI group). Nibabel
has them, too, but takes longer to import than a scan to be checked."""
_NIFTI1_MAGIC: Final = b"n+1\x00"
_NIFTI2_MAGIC: Final = b"n+2\x00\r\n\x1a\n"
_EXPORT_AGAIN: Final = "Export or convert the scan again from its source."
_DATATYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI datatype codes of real numbers, with numpy's names."""
_REFUSED_DATATYPES: Final = {
    1: "single bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit floats",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}


def _layout(version: int) -> np.dtype[Any]:
    """Where the fields lie in the bytes of a NIfTI-1 or NIfTI-2 header."""
    formats, offsets = zip(*(field[2 * version - 2 : 2 * version] for field in _FIELDS.values()), strict=True)
    size = _SIZES[version - 1]
    return np.dtype({"names": list(_FIELDS), "formats": list(formats), "offsets": list(offsets), "itemsize": size})


NIFTI1: Final = _layout(1)
NIFTI2: Final = _layout(2)


@dataclass(frozen=True, slots=True, eq=False)
class AffineFields:
    """What a header says of position: two affines with their codes, and the voxel sizes.

    Parameters
    ----------
    sform_code, qform_code : int
        0 where the affine is not given.
    sform : ndarray, shape (4, 4)
        As written, possibly not finite.
    quaternion : tuple of 3 float
        b, c, d of the rotation's quaternion.
    offset : tuple of 3 float
        Translation of the qform.
    pixdim : tuple of 4 float
        The qform's handedness, then the voxel sizes.
    shape : tuple of 3 int
        Voxels along each axis.
    """

    sform_code: int
    qform_code: int
    sform: Matrix
    quaternion: tuple[float, float, float]
    offset: tuple[float, float, float]
    pixdim: tuple[float, float, float, float]
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What is needed of a header to read the voxels.

    Parameters
    ----------
    dims : tuple of int
        Axis lengths, three or four.
    dtype : numpy.dtype
        Of the stored numbers, byte order included.
    vox_offset : int
        Where the voxels begin in the content.
    scaling : tuple of 2 float or None
        Slope and intercept; None where stored numbers are the values.
    affine : AffineFields
        Position.
    findings : tuple of Finding
        What was repaired.
    """

    dims: tuple[int, ...]
    dtype: np.dtype[Any]
    vox_offset: int
    scaling: tuple[float, float] | None
    affine: AffineFields
    findings: tuple[Finding, ...]


def read_header(raw: RawFile, path: Path) -> Header:
    """Read and check the header and the extensions of a file; the next byte that ``raw`` gives is the first voxel's.

    Raises
    ------
    InputError
        INPUT_EMPTY, INPUT_NOT_NIFTI, INPUT_FORMAT, INPUT_TRUNCATED, INPUT_HEADER, INPUT_SHAPE or INPUT_DTYPE.
    """
    head = raw.read(HEAD_BYTES)
    if not head:
        raise refusal(ErrorCode.INPUT_EMPTY, raw.name, "has no content", remedy="Copy or download the file again.")
    second = head[4:12] == _NIFTI2_MAGIC
    if not second and head[344:348] != _NIFTI1_MAGIC:
        raise _no_magic(head, raw.name, path)
    if second:
        head += raw.read(_NIFTI2_HEAD_BYTES - HEAD_BYTES)
    wanted = _NIFTI2_HEAD_BYTES if second else HEAD_BYTES
    if len(head) < wanted:
        raise _cut_header(len(head), raw.name, wanted)
    header = parse_header(head, raw.name)
    _skip_extensions(raw, header.vox_offset, head)
    return header


def parse_header(head: bytes, name: str) -> Header:
    """Check the fields of a header that carries the right magic.

    Parameters
    ----------
    head : bytes
        At least 348 (NIfTI-1) or 540 (NIfTI-2) bytes.
    name : str
        Shown name for messages.

    Raises
    ------
    InputError
        INPUT_HEADER, INPUT_SHAPE or INPUT_DTYPE.
    """
    fields, findings = _fields(head, name)
    dims = _dims(fields, name)
    dtype, repaired = _dtype(fields, name)
    findings += repaired
    scaling, ignored = _scaling(fields)
    findings += ignored
    vox_offset, moved = _vox_offset(fields, name)
    findings += moved
    return Header(dims, dtype, vox_offset, scaling, affine_fields(fields, dims[:3]), tuple(findings))


def _no_magic(head: bytes, name: str, path: Path) -> InputError:
    sizes = (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if len(head) < _SIZES[0] and any(size in _SIZES for size in sizes):
        return _cut_header(len(head), name, HEAD_BYTES)
    return not_nifti(head, name, path)


def _cut_header(found: int, name: str, wanted: int) -> InputError:
    what = f"ends inside its header, after {found} of {wanted} bytes"
    return refusal(ErrorCode.INPUT_TRUNCATED, name, what, remedy="Copy or download the file again.")


def _fields(head: bytes, name: str) -> tuple[NDArray[Any], list[Finding]]:
    """The header as a structured scalar in its own byte order, which its size field or else its dimensions tell."""
    layout = NIFTI2 if head[4:12] == _NIFTI2_MAGIC else NIFTI1
    size = layout.itemsize
    orders = {order: np.frombuffer(head[:size], dtype=layout.newbyteorder(order))[0] for order in ("<", ">")}
    for fields in orders.values():
        if int(fields["sizeof_hdr"]) == size:
            return fields, []
    message = f"{name} states a wrong header size; its mark and dimensions were trusted instead."
    for fields in orders.values():
        if 1 <= int(fields["dim"][0]) <= 7:
            return fields, [Finding(FindingCode.HEADER_REPAIRED, message)]
    raise _bad_header(name, "has neither a valid header size nor a valid number of dimensions")


def _dims(fields: NDArray[Any], name: str) -> tuple[int, ...]:
    count = int(fields["dim"][0])
    if not 0 <= count <= 7:
        raise _bad_header(name, f"states {count} dimensions where 1 to 7 are possible")
    dims = tuple(int(n) for n in fields["dim"][1 : count + 1])
    if any(n < 0 for n in dims):
        raise _bad_header(name, f"states a negative axis length ({_times(dims)})")
    if 0 in dims or count not in (3, 4):
        found = _times(dims) if dims else "no dimension"
        remedy = "Give one scan as a three-dimensional volume."
        raise refusal(ErrorCode.INPUT_SHAPE, name, f"has {found} voxels where a 3D volume is expected", remedy=remedy)
    if max(dims) > LONGEST_AXIS:
        what = f"has an axis of {max(dims):,} voxels, more than the {LONGEST_AXIS:,} of NIfTI-1"
        raise refusal(ErrorCode.INPUT_TOO_LARGE, name, what, remedy="Crop or resample it.")
    return dims


def _dtype(fields: NDArray[Any], name: str) -> tuple[np.dtype[Any], list[Finding]]:
    code = int(fields["datatype"])
    if code not in _DATATYPES:
        kind = _REFUSED_DATATYPES.get(code)
        what = f"holds {kind}" if kind else f"has the unknown datatype code {code}"
        remedy = "Convert it to a grey image of integers or 32-bit floats."
        raise refusal(ErrorCode.INPUT_DTYPE, name, f"{what} where real numbers are expected", remedy=remedy)
    dtype = np.dtype(_DATATYPES[code]).newbyteorder("<" if fields.dtype["dim"].base.str.startswith("<") else ">")
    if int(fields["bitpix"]) == dtype.itemsize * 8:
        return dtype, []
    message = f"{name} states {int(fields['bitpix'])} bits a voxel; its datatype has {dtype.itemsize * 8}, and these were read."
    return dtype, [Finding(FindingCode.HEADER_REPAIRED, message)]


def _scaling(fields: NDArray[Any]) -> tuple[tuple[float, float] | None, list[Finding]]:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if math.isfinite(slope) and math.isfinite(intercept) and slope != 0:
        return (None if (slope, intercept) == (1, 0) else (slope, intercept)), []
    message = "The header's intensity scaling is zero or not finite; stored values were taken as they are."
    return None, [Finding(FindingCode.SCALING_IGNORED, message)]


def _vox_offset(fields: NDArray[Any], name: str) -> tuple[int, list[Finding]]:
    least = _NIFTI2_HEAD_BYTES if int(fields.dtype.itemsize) == _SIZES[1] else HEAD_BYTES
    offset = float(fields["vox_offset"])
    if offset == 0:
        message = f"{name} does not state where its voxels begin; they were read from behind the header."
        return least, [Finding(FindingCode.HEADER_REPAIRED, message)]
    if not least <= offset <= EXTENSION_LIMIT or not offset.is_integer():
        raise _bad_header(name, f"states that its voxels begin at byte {offset:g}, which is impossible")
    return int(offset), []


def affine_fields(fields: Any, shape: tuple[int, ...]) -> AffineFields:
    """Position out of a header's fields, which a numpy structure or a nibabel header gives by name."""
    sform = np.eye(4)
    sform[:3] = [fields["srow_x"], fields["srow_y"], fields["srow_z"]]
    quaternion = (float(fields["quatern_b"]), float(fields["quatern_c"]), float(fields["quatern_d"]))
    offset = (float(fields["qoffset_x"]), float(fields["qoffset_y"]), float(fields["qoffset_z"]))
    handedness, x, y, z = (float(v) for v in fields["pixdim"][:4])
    codes = int(fields["sform_code"]), int(fields["qform_code"])
    return AffineFields(*codes, sform, quaternion, offset, (handedness, x, y, z), (shape[0], shape[1], shape[2]))


def _skip_extensions(raw: RawFile, vox_offset: int, head: bytes) -> None:
    """Walk over the extensions, which are read for nothing but their lengths: they often hold patients' names."""
    gap = vox_offset - len(head)
    if raw.plain_size is not None and raw.plain_size < vox_offset:
        what = f"states that its voxels begin at byte {vox_offset:,}, but ends after {raw.plain_size:,}"
        raise _bad_header(raw.name, what)
    block = raw.read(gap)
    if len(block) < gap:
        what = f"states that its voxels begin at byte {vox_offset:,}, but ends after {raw.position:,}"
        raise _bad_header(raw.name, what)
    if not head[-4]:
        return
    order = "<" if int.from_bytes(head[:4], "little") in _SIZES else ">"
    place = 0
    while place == 0 or any(block[place:]):
        length = struct.unpack_from(f"{order}i", block, place)[0] if place + 8 <= gap else 0
        if length < 8 or place + length > gap:
            raise _bad_header(raw.name, "has a header extension whose stated length is impossible")
        place += length


def _bad_header(name: str, what: str) -> InputError:
    return refusal(ErrorCode.INPUT_HEADER, name, what, remedy=_EXPORT_AGAIN)


def _times(dims: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in dims)
