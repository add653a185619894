"""Datasets for the cohort tests and benches: phantoms of two to four vertebrae at 2 mm, and scans that are bad in many ways."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import psutil

from spineps.errors import ErrorCode
from spineps.io.atomic import write_nifti
from spineps.phantom.phantom import make_phantom

SPACING_MM: Final = (2.0, 2.0, 2.0)
MODELS: Final = Path(__file__).parent / "data" / "models"
CANARY: Final = "CANARY"
"""Stands in every text field, side file and folder that could carry a patient's name."""
MODEL_FLAGS: Final = ("-ms", f"{MODELS}/semantic", "-mi", f"{MODELS}/instance")


def phantom_scan(place: Path, seed: int, vertebrae: int | None = None) -> Path:
    """Write a phantom's scan, with canaries in its header and in a side file."""
    phantom = make_phantom(seed, vertebrae=vertebrae or 2 + seed % 3, spacing_mm=SPACING_MM, pathology=0.0)
    write_nifti(place, phantom.scan.image, phantom.scan.geometry)
    image = nib.load(place)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = CANARY.encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY.encode()))
    nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header).to_filename(place)
    place.with_name(place.name.removesuffix(".nii.gz") + ".json").write_text(json.dumps({"PatientName": CANARY}))
    return place


def scan_place(dataset: Path, number: int) -> Path:
    """Where the scan of a subject lies."""
    subject = f"sub-{number:03d}"
    place = dataset / subject / "anat" / f"{subject}_T2w.nii.gz"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def make_dataset(
    folder: Path, *, good: int, bad: int, seed: int = 0, takes: Callable[[Path], bool] = lambda _: True
) -> dict[str, ErrorCode | None]:
    """A dataset of phantoms, of which each next one may be refused, and after them of bad scans.

    Returns
    -------
    dict of str to ErrorCode or None
        Prefix of each scan's results to the code that it must be refused with.
    """
    expected: dict[str, ErrorCode | None] = {}
    seeds = count(seed)
    for number in range(good):
        while not takes(phantom_scan(scan_place(folder, number), next(seeds))):
            pass
        expected[f"sub-{number:03d}_mod-T2w"] = None
    kinds = list(BAD)
    for number in range(good, good + bad):
        kind = kinds[(number - good) % len(kinds)]
        code, make = BAD[kind]
        make(scan_place(folder, number))
        expected[f"sub-{number:03d}_mod-T2w"] = code
    (folder / "dataset_description.json").write_text(json.dumps({"Name": CANARY, "BIDSVersion": "1.8.0", "License": "CC0"}))
    (folder / "participants.tsv").write_text(f"participant_id\tname\nsub-000\t{CANARY}\n")
    return expected


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder of results but the state of the machine; records without their times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != ".spineps":
            found[str(relative)] = hashlib.sha256(_without_times(path)).hexdigest()
    return found


def partial_files(folder: Path) -> list[str]:
    """Half-written files, under whatever name."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]


def worker_processes() -> list[psutil.Process]:
    """Worker processes that this process started."""
    return [child for child in psutil.Process().children() if any("spineps.cohort.worker" in word for word in child.cmdline())]


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if not path.name.endswith("_run.json"):
        return content
    record = json.loads(content)
    record.pop("timing", None)
    return json.dumps(record, sort_keys=True).encode()


def _noise(shape: tuple[int, ...] = (40, 40, 40)) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def _image(place: Path, data: np.ndarray | None = None, spacing: tuple[float, ...] = (2, 2, 2), **fields: Any) -> None:
    image = nib.Nifti1Image(_noise() if data is None else data, np.diag([*spacing, 1]))
    image.header["descrip"] = CANARY.encode()
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(place)


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A scan whose compressed bytes are changed."""

    def make(place: Path) -> None:
        _image(place)
        place.write_bytes(change(place.read_bytes()))

    return make


def _inside(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A scan whose inflated bytes are changed."""
    return _changed(lambda data: gzip.compress(change(gzip.decompress(data)), mtime=0))


def _content(data: bytes) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        place.write_bytes(data)

    return make


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def _without_affine(place: Path) -> None:
    _image(place)
    data = bytearray(gzip.decompress(place.read_bytes()))
    data[252:256] = bytes(4)  # qform_code and sform_code
    place.write_bytes(gzip.compress(bytes(data), mtime=0))


def _labels(place: Path) -> None:
    data = np.zeros((40, 40, 40), np.int16)
    data[10:30, 10:20, 10:30], data[10:30, 20:30, 10:30] = 49, 100
    _image(place, data)


def _not_finite(place: Path) -> None:
    data = _noise()
    data[::2] = np.nan
    _image(place, data)


def _link(place: Path) -> None:
    place.symlink_to(f"nowhere-{CANARY}.nii.gz")


BAD: Final[dict[str, tuple[ErrorCode, Callable[[Path], None]]]] = {
    "noise": (ErrorCode.NO_SPINE, _image),
    "cut inside gzip": (ErrorCode.INPUT_TRUNCATED, _changed(lambda data: data[: len(data) // 2])),
    "checksum cut": (ErrorCode.INPUT_TRUNCATED, _changed(lambda data: data[:-8])),
    "bit flipped": (ErrorCode.INPUT_CORRUPT, _changed(_flipped)),
    "garbage after": (ErrorCode.INPUT_CORRUPT, _changed(lambda data: data + CANARY.encode())),
    "voxels missing": (ErrorCode.INPUT_TRUNCATED, _inside(lambda data: data[:-1000])),
    "header alone": (ErrorCode.INPUT_TRUNCATED, _inside(lambda data: data[:352])),
    "empty": (ErrorCode.INPUT_EMPTY, _content(b"")),
    "web page": (ErrorCode.INPUT_NOT_NIFTI, _content(f"<!DOCTYPE html><html>{CANARY}</html>".encode())),
    "annex pointer": (ErrorCode.INPUT_NOT_NIFTI, _content(b"/annex/objects/MD5E-s1--0123.nii.gz\n")),
    "folder": (ErrorCode.INPUT_NOT_FILE, lambda place: place.mkdir()),
    "pipe": (ErrorCode.INPUT_NOT_FILE, os.mkfifo),
    "link to nowhere": (ErrorCode.INPUT_NOT_FOUND, _link),
    "several volumes": (ErrorCode.INPUT_SHAPE, lambda place: _image(place, _noise((20, 20, 20, 3)))),
    "flat": (ErrorCode.INPUT_FOV, lambda place: _image(place, _noise((40, 40, 2)))),
    "metres": (ErrorCode.INPUT_AFFINE, lambda place: _image(place, spacing=(0.002, 0.002, 0.002))),
    "no affine": (ErrorCode.INPUT_AFFINE, _without_affine),
    "constant": (ErrorCode.INPUT_CONSTANT, lambda place: _image(place, np.full((40, 40, 40), 7, np.float32))),
    "not finite": (ErrorCode.INPUT_NONFINITE, _not_finite),
    "labels": (ErrorCode.INPUT_LOOKS_LIKE_LABELS, _labels),
    "axial": (ErrorCode.COMPAT, lambda place: _image(place, _noise((60, 60, 20)), spacing=(1, 1, 5))),
}
"""Ways in which a scan can be bad: the code that it must be refused with, and how to make one."""
