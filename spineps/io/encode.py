"""NIfTI bytes of an array: a fresh header that carries nothing of the input's, and deterministic compression."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from nibabel import Nifti1Header
from numpy.typing import NDArray

from spineps.geometry import Geometry

GZIP_LEVEL: Final = 6
QFORM_TOLERANCE_VOX: Final = 1e-2
"""A quaternion stands for the affine if it moves no corner of the grid by more than this."""

_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time, system unknown
_VOX_OFFSET: Final = 352
_CODE_SCANNER: Final = 1
_NO_EXTENSIONS: Final = bytes(4)
_DTYPES: Final = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_SLAB_BYTES: Final = 1 << 24


def nifti_chunks(array: NDArray[Any], geometry: Geometry, *, compress: bool) -> Iterator[bytes]:
    """Bytes of a single-file NIfTI-1, little-endian, chunk by chunk.

    Parameters
    ----------
    array : ndarray of uint8, uint16 or float32, 3D
        Voxels on the grid ``geometry``.
    geometry : Geometry
        Grid; becomes the sform and, where it has no shear, the equal qform.
    compress : bool
        Whether to gzip, without time or name, so that equal voxels give equal bytes.

    Raises
    ------
    ValueError
        If the array has another type or another shape than the grid.
    """
    if array.dtype not in _DTYPES:
        raise ValueError(f"expected uint8, uint16 or float32 voxels, found {array.dtype}")
    if array.shape != geometry.shape:
        raise ValueError(f"expected an array of shape {geometry.shape}, found {array.shape}")
    plain = _plain_chunks(array, geometry)
    return gzip_chunks(plain) if compress else plain


def nifti_series_chunks(volumes: Iterable[NDArray[np.float32]], count: int, geometry: Geometry) -> Iterator[bytes]:
    """Bytes of a gzipped single-file NIfTI-1 of several volumes on one grid, a volume at a time.

    Parameters
    ----------
    volumes : iterable of ndarray of float32, 3D
        ``count`` volumes on the grid ``geometry``.
    count : int
        How many there are.
    geometry : Geometry
        Their grid.
    """
    return gzip_chunks(_series(volumes, count, geometry))


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member (RFC 1952) whose bytes depend on the content and the zlib library alone."""
    deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc, length = 0, 0
    yield _GZIP_HEADER
    for chunk in chunks:
        crc, length = zlib.crc32(chunk, crc), length + len(chunk)
        yield deflate.compress(chunk)
    yield deflate.flush() + struct.pack("<II", crc, length & 0xFFFFFFFF)


def _plain_chunks(array: NDArray[Any], geometry: Geometry) -> Iterator[bytes]:
    yield _header(array.dtype, array.shape, geometry)
    little = array.dtype.newbyteorder("<")
    slab_bytes = max(1, array.shape[0] * array.shape[1] * array.itemsize)
    step = max(1, _SLAB_BYTES // slab_bytes)
    for start in range(0, array.shape[2], step):
        yield array[:, :, start : start + step].astype(little, copy=False).tobytes(order="F")


def _series(volumes: Iterable[NDArray[np.float32]], count: int, geometry: Geometry) -> Iterator[bytes]:
    yield _header(np.dtype(np.float32), (*geometry.shape, count), geometry)
    for volume in volumes:
        if volume.shape != geometry.shape:
            raise ValueError(f"expected volumes of shape {geometry.shape}, found {volume.shape}")
        yield volume.astype("<f4", copy=False).tobytes(order="F")


def _header(dtype: np.dtype[Any], shape: tuple[int, ...], geometry: Geometry) -> bytes:
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_zooms(_zooms(geometry, shape))
    header.set_xyzt_units("mm", "unknown" if len(shape) == 3 else "sec")
    header.set_sform(geometry.affine, code=_CODE_SCANNER)
    header.set_qform(geometry.affine, code=_CODE_SCANNER, strip_shears=True)
    if not _quaternion_fits(header, geometry):
        header.set_qform(None, code=0)
        header.set_zooms(_zooms(geometry, shape))
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = _VOX_OFFSET
    binary: bytes = header.binaryblock
    return binary + _NO_EXTENSIONS


def _zooms(geometry: Geometry, shape: tuple[int, ...]) -> tuple[float, ...]:
    return (*geometry.spacing_mm, *[1.0] * (len(shape) - 3))


def _quaternion_fits(header: Nifti1Header, geometry: Geometry) -> bool:
    """Whether the header's qform puts every corner of the grid where its affine does."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in geometry.shape], indexing="ij")).reshape(3, -1).T
    qform = np.asarray(header.get_qform(), dtype=np.float64)
    moved_mm = corners @ qform[:3, :3].T + qform[:3, 3] - geometry.to_mm(corners)
    return bool((np.abs(moved_mm) / min(geometry.spacing_mm)).max() <= QFORM_TOLERANCE_VOX)
