"""Builds every bad file of the fault table by hand, from header fields and bytes; nothing here goes through the reader."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import header_dtype
from nibabel.nifti2 import header_dtype as header2_dtype
from numpy.typing import NDArray

SHAPE = (16, 24, 48)
SPACING = (3.0, 2.0, 2.0)
CANARY = "DOE^JANE"
_ROWS = ("srow_x", "srow_y", "srow_z")


def voxels(shape: tuple[int, ...] = SHAPE, dtype: str = "i2") -> NDArray[Any]:
    """Noise that no check takes for labels or for a constant image."""
    return np.random.default_rng(7).integers(1, 900, shape).astype(dtype)


def straight(spacing: tuple[float, float, float] = SPACING, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """RAS affine with the grid's centre at the origin."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape[:3]) - 1) / 2)
    return affine


def header(order: str = "<", *, second: bool = False, shape: tuple[int, ...] = SHAPE, **fields: Any) -> bytes:
    """A valid header with some fields replaced; ``dim``, ``pixdim`` and ``sform`` are given whole."""
    values = np.zeros((), dtype=(header2_dtype if second else header_dtype).newbyteorder(order))
    values["sizeof_hdr"] = 540 if second else 348
    values["magic"] = b"n+2" if second else b"n+1"
    if second:
        values["eol_check"] = (13, 10, 26, 10)
    values["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    values["datatype"], values["bitpix"] = 4, 16
    values["pixdim"] = [1, *SPACING, 1, 1, 1, 1]
    values["vox_offset"] = 544 if second else 352
    values["scl_slope"] = 1
    values["sform_code"] = 1
    values["descrip"] = CANARY.encode()
    if not second:
        values["db_name"] = CANARY.encode()
    sform = fields.pop("sform", straight(shape=shape if len(shape) >= 3 else SHAPE))
    for name, row in zip(_ROWS, sform, strict=False):
        values[name] = row
    for name, value in fields.items():
        values[name] = value
    return values.tobytes()


def nifti(
    data: NDArray[Any] | bytes | None = None,
    order: str = "<",
    *,
    flag: bytes = bytes(4),
    extension: bytes = b"",
    **fields: Any,
) -> bytes:
    """A single file: header, extension flag, extension, voxels (noise where none are given)."""
    if not isinstance(data, bytes):
        array = voxels(fields.get("shape", SHAPE)) if data is None else data
        fields.setdefault("shape", array.shape)
        data = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    return header(order, **fields) + flag + extension + data


def extension(stated: int | None = None, content: bytes = CANARY.encode().ljust(24), order: str = "<") -> bytes:
    """One header extension (code 2: raw DICOM), its stated length true unless given."""
    return struct.pack(f"{order}ii", 8 + len(content) if stated is None else stated, 2) + content


def gz(data: bytes, level: int = 6) -> bytes:
    """One gzip member without time or name."""
    return gzip.compress(data, level, mtime=0)


def same_content(squeezed: bytes, plain: bytes) -> bool:
    """Whether Python's own gzip finds the content sound and unchanged (some bits of a stream matter to no byte of it)."""
    try:
        return gzip.decompress(squeezed) == plain
    except (OSError, EOFError, zlib.error):
        return False


def endless_gz(start: bytes, inflated: int, block: int = 1 << 24) -> bytes:
    """A gzip stream of ``start`` and then zeros, ``inflated`` bytes or more in all, made without inflating it."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + squeeze.compress(start) + squeeze.flush(zlib.Z_FULL_FLUSH)
    zeros = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    repeated = zeros.compress(bytes(block)) + zeros.flush(zlib.Z_FULL_FLUSH)
    count = inflated // block + 1
    return head + repeated * count + squeeze.flush() + struct.pack("<II", 0, (count * block + len(start)) & 0xFFFFFFFF)


def quaternion(affine: NDArray[Any]) -> dict[str, Any]:
    """Header fields of a qform without rotation: the axes along those of the affine, which must be diagonal."""
    x, y, z = affine[:3, 3]
    return {"qform_code": 1, "qoffset_x": x, "qoffset_y": y, "qoffset_z": z}


def put(folder: Path, data: bytes, name: str = "scan.nii") -> Path:
    """Write a file and return where."""
    path = folder / name
    path.write_bytes(data)
    return path
