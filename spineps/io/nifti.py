"""The strict reader: a NIfTI file, or a nibabel image, into a scan or a label map.

What is damaged, cut off, contradictory or no scan at all is refused with one sentence and a code; what is harmless is
repaired with a finding. Only :class:`spineps.errors.SpinepsError` leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from spineps.errors import ErrorCode, ResourceError
from spineps.io.affine import AffineChoice
from spineps.io.content import checked_labels, checked_scan, scan_values
from spineps.io.load import ReadOptions, Stored, load_file
from spineps.io.shown import shown_name
from spineps.labels import Scheme
from spineps.volume import LabelMap, Scan, Source

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = ["AffineChoice", "ReadOptions", "from_nibabel", "labels_from_nibabel", "read_labels", "read_scan"]

_DEFAULT: Final = ReadOptions()


def read_scan(path: Path | str, options: ReadOptions = _DEFAULT) -> Scan:
    """Read an image file.

    Parameters
    ----------
    path : Path or str
        Single-file NIfTI-1 or NIfTI-2, gzipped or not (told by content, not by name).
    options : ReadOptions
        Choices that the file leaves open.

    Returns
    -------
    Scan
        With the sha256 of the file's bytes, and a finding for everything that was repaired or assumed.

    Raises
    ------
    SpinepsError
        An InputError with the code of what is wrong, or a ResourceError where memory does not suffice.
    """
    name = shown_name(path)
    with _reading(name):
        return _scan(load_file(Path(path), options), name)


def read_labels(
    path: Path | str,
    options: ReadOptions = _DEFAULT,
    *,
    scheme: Scheme = Scheme.SEMANTIC,
    allow_empty: bool = False,
) -> LabelMap:
    """Read a file with a label map.

    Parameters
    ----------
    path : Path or str
        As for :func:`read_scan`.
    options : ReadOptions
        Choices that the file leaves open.
    scheme : Scheme
        What the numbers mean.
    allow_empty : bool
        Take a map of zeros alone as one that shows nothing, for example a prediction that found nothing.

    Raises
    ------
    SpinepsError
        As for :func:`read_scan`, and INPUT_LABELS where the values are no labels.
    """
    name = shown_name(path)
    with _reading(name):
        return _label_map(load_file(Path(path), options), name, scheme, allow_empty=allow_empty)


def from_nibabel(image: SpatialImage, options: ReadOptions = _DEFAULT) -> Scan:
    """Take a scan from a nibabel image, which is copied and checked as a file is.

    Raises
    ------
    SpinepsError
        As for :func:`read_scan`.
    """
    from spineps.io.memory import IN_MEMORY_NAME, load_image

    with _reading(IN_MEMORY_NAME):
        return _scan(load_image(image, options), IN_MEMORY_NAME)


def labels_from_nibabel(image: SpatialImage, options: ReadOptions = _DEFAULT, *, scheme: Scheme = Scheme.SEMANTIC) -> LabelMap:
    """Take a label map from a nibabel image, which is copied and checked as a file is.

    Raises
    ------
    SpinepsError
        As for :func:`read_labels`.
    """
    from spineps.io.memory import IN_MEMORY_NAME, load_image

    with _reading(IN_MEMORY_NAME):
        return _label_map(load_image(image, options), IN_MEMORY_NAME, scheme)


def _scan(stored: Stored, name: str) -> Scan:
    image, replaced = checked_scan(scan_values(stored.numbers, stored.scaling), stored.geometry, name)
    source = Source(stored.source.sha256, (*stored.source.findings, *replaced), stored_as=stored.numbers.dtype.name)
    return Scan(image, stored.geometry, source)


def _label_map(stored: Stored, name: str, scheme: Scheme, *, allow_empty: bool = False) -> LabelMap:
    labels = checked_labels(stored.numbers, stored.scaling, name, allow_empty=allow_empty)
    return LabelMap(labels, stored.geometry, scheme, stored.source)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Map a lack of memory, and keep numpy quiet about numbers that are not finite: the checks look for them themselves."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except MemoryError as error:
        remedy = "Close other programs, use a machine with more memory, or crop the image."
        raise ResourceError(ErrorCode.RESOURCE_MEMORY, f"{name} does not fit into memory.", remedy=remedy) from error
