"""What a file that is not NIfTI looks like, for messages that help."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, InputError
from spineps.io.shown import refusal

SUPPORTED: Final = "Convert it to NIfTI (.nii or .nii.gz), the format that spineps reads."
_FETCH: Final = "Fetch the file itself, then run again."

# Start of the content, what it is called.
_FORMATS: Final = (
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"NRRD", "an NRRD file"),
    (b"\x00\x00\x00\x01", "an MGH file"),
    (b"ObjectType", "a MetaImage header"),
    (b"NDims", "a MetaImage header"),
    (b"\x89HDF", "an HDF5 or MINC file"),
    (b"CDF", "a NetCDF or MINC file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
)
_TEXTS: Final = (
    (b"/annex/objects/", "a git-annex pointer", "Fetch the file itself with 'git annex get' or 'datalad get'."),
    (b".git/annex/objects/", "a git-annex pointer", "Fetch the file itself with 'git annex get' or 'datalad get'."),
    (b"version https://git-lfs", "a git LFS pointer", "Fetch the file itself with 'git lfs pull'."),
    (b"<!doctype html", "an HTML page", "Download the file again: the server sent a page in its place."),
    (b"<html", "an HTML page", "Download the file again: the server sent a page in its place."),
    (b"<?xml", "an XML document", _FETCH),
    (b"{", "JSON text", _FETCH),
)
_PAIR_SUFFIXES: Final = (".hdr", ".img")
_DICOM_AT: Final = 128


def not_nifti(head: bytes, name: str, path: Path) -> InputError:
    """The error for content that is no single-file NIfTI.

    Parameters
    ----------
    head : bytes
        The first bytes of the content (inflated).
    name : str
        Shown name.
    path : Path
        Whose suffix tells ANALYZE and NIfTI pairs, which have no telling content.
    """
    if kind := _format_of(head, path):
        return refusal(ErrorCode.INPUT_FORMAT, name, f"is {kind}, which is not supported", remedy=SUPPORTED)
    text = head.lstrip().lower()
    for start, kind, remedy in _TEXTS:
        if start in text[:256] if b"annex" in start else text.startswith(start):
            return refusal(ErrorCode.INPUT_NOT_NIFTI, name, f"is no NIfTI file but looks like {kind}", remedy=remedy)
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return refusal(ErrorCode.INPUT_NOT_NIFTI, name, "is no NIfTI file but looks like text", remedy=_FETCH)
    what = "is no NIfTI file: the mark of that format is missing from its header"
    return refusal(ErrorCode.INPUT_NOT_NIFTI, name, what, remedy=SUPPORTED)


def _format_of(head: bytes, path: Path) -> str | None:
    """Name of a known image or archive format that is not supported."""
    if head[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return "a DICOM file"
    if head[344:348] == b"ni1\x00" or head[4:8] == b"ni2\x00" or path.suffix.lower() in _PAIR_SUFFIXES:
        return "one half of a NIfTI or ANALYZE pair (.hdr and .img)"
    return next((kind for start, kind in _FORMATS if head.startswith(start)), None)
