"""One volume out of a NIfTI file, as stored, with its grid: header, size, bytes to the last one, affine, in this order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.geometry import Geometry
from spineps.io.affine import AffineChoice, choose_affine
from spineps.io.header import Header, read_header
from spineps.io.rawfile import RawFile, open_raw
from spineps.io.shown import refusal
from spineps.volume import Source

MOST_VOXELS: Final = 1 << 30
"""Voxels of the largest volume that is read (1024³, 4 GiB as float32)."""
BOMB_BYTES: Final = 1 << 30
BOMB_RATIO: Final = 100
"""A file that promises more than :data:`BOMB_BYTES` and is over a hundred times smaller itself is no scan."""

_MAYBE_DAMAGE: Final = frozenset(
    {
        ErrorCode.INPUT_NOT_NIFTI,
        ErrorCode.INPUT_FORMAT,
        ErrorCode.INPUT_HEADER,
        ErrorCode.INPUT_SHAPE,
        ErrorCode.INPUT_DTYPE,
        ErrorCode.INPUT_TOO_LARGE,
    }
)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user says about an input where it leaves a choice.

    Parameters
    ----------
    affine : AffineChoice
        Which affine of the header to use.
    volume : int or None
        Which volume of a 4D image, counted from 0; None refuses an image with more than one.
    """

    affine: AffineChoice = AffineChoice.AUTO
    volume: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A volume as stored.

    Parameters
    ----------
    numbers : ndarray, 3D
        Stored numbers, of any real type.
    scaling : tuple of 2 float or None
        Slope and intercept from stored numbers to values.
    geometry : Geometry
        Grid.
    source : Source
        Hash of the file and what was found while reading.
    """

    numbers: NDArray[Any]
    scaling: tuple[float, float] | None
    geometry: Geometry
    source: Source


def load_file(path: Path, options: ReadOptions) -> Stored:
    """Read one volume of a file and check every byte.

    Raises
    ------
    InputError
        With the code of what is wrong.
    MemoryError
        If the volume does not fit.
    """
    with open_raw(path) as raw:
        try:
            header = _header(raw, path)
            volume, squeezed = select_volume(header.dims, options.volume, raw.name)
            numbers = _numbers(raw, header, volume)
            findings = raw.finish()
        except InputError:
            raw.check_unchanged()
            raise
        geometry, placed = choose_affine(header.affine, options.affine, raw.name)
        source = Source(raw.sha256, (*findings, *header.findings, *squeezed, *placed))
        return Stored(numbers, header.scaling, geometry, source)


def select_volume(dims: tuple[int, ...], volume: int | None, name: str) -> tuple[int, tuple[Finding, ...]]:
    """Which volume of an image of three or four axes to read.

    Raises
    ------
    InputError
        INPUT_SHAPE where there are several and none was chosen, or where the chosen one does not exist.
    """
    count = dims[3] if len(dims) == 4 else 1
    if volume is not None and not 0 <= volume < count:
        what = f"has no volume {volume}; counted from 0, its last one is {count - 1}"
        raise refusal(ErrorCode.INPUT_SHAPE, name, what, remedy="Choose another one with --volume.")
    if count > 1 and volume is None:
        what = f"has {count} volumes where one is expected"
        raise refusal(ErrorCode.INPUT_SHAPE, name, what, remedy="Choose one with --volume K, counted from 0.")
    if count > 1:
        return volume or 0, (Finding(FindingCode.VOLUME_SELECTED, f"Volume {volume} of {count} was read, as asked."),)
    if len(dims) == 4:
        return 0, (Finding(FindingCode.SQUEEZED, "The fourth axis, of one volume, was dropped."),)
    return 0, ()


def require_size(shape: tuple[int, ...], name: str) -> None:
    """Refuse a volume that no scanner makes, before anything is allocated.

    Raises
    ------
    InputError
        INPUT_TOO_LARGE.
    """
    voxels = math.prod(shape)
    if voxels > MOST_VOXELS:
        what = f"states {' x '.join(str(n) for n in shape)} voxels, more than the {MOST_VOXELS:,} that are read at most"
        raise refusal(ErrorCode.INPUT_TOO_LARGE, name, what, remedy="Crop or resample it.")


def _header(raw: RawFile, path: Path) -> Header:
    """The header, its size checked; what looks like a wrong header may be damage that the gzip checks tell."""
    try:
        header = read_header(raw, path)
        require_size(header.dims[:3], raw.name)
    except InputError as error:
        if error.code in _MAYBE_DAMAGE:
            raw.drain()
        raise
    total = header.vox_offset + math.prod(header.dims) * header.dtype.itemsize
    raw.expect(total)
    if raw.compressed and total > BOMB_BYTES and total > BOMB_RATIO * raw.size:
        what = f"would grow from {raw.size / 1e6:,.1f} MB to {total / 1e9:,.1f} GB when inflated"
        raise refusal(ErrorCode.INPUT_TOO_LARGE, raw.name, what, remedy="If it is a real image, store it uncompressed (.nii).")
    return header


def _numbers(raw: RawFile, header: Header, volume: int) -> NDArray[Any]:
    """Stored numbers of one volume, first axis fastest."""
    shape = header.dims[:3]
    size = math.prod(shape) * header.dtype.itemsize
    count = header.dims[3] if len(header.dims) == 4 else 1
    if raw.plain_size is not None and raw.plain_size < header.vox_offset + size * count:
        raise _cut(raw, raw.plain_size - header.vox_offset, size * count)
    before = raw.skip(volume * size)
    buffer = np.empty(size, np.uint8)  # takes memory only as it is filled: a header may promise what the file does not hold
    filled = raw.read_into(buffer.data)
    after = raw.skip((count - volume - 1) * size)
    if before + filled + after < size * count:
        raise _cut(raw, before + filled + after, size * count)
    return buffer.view(header.dtype).reshape(shape, order="F")


def _cut(raw: RawFile, found: int, expected: int) -> InputError:
    what = f"breaks off after {found:,} of {expected:,} bytes of voxels"
    return refusal(ErrorCode.INPUT_TRUNCATED, raw.name, what, remedy="Copy or download the file again.")
