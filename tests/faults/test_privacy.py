"""Names planted in every text field of a header leave it neither in messages nor in written files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from spineps.errors import SpinepsError
from spineps.io.atomic import write_json, write_nifti
from spineps.io.nifti import ReadOptions, read_scan
from spineps.io.poi import poi_document
from spineps.volume import Centroid

from . import build

PLANTED = {
    "data_type": b"DOE^JANE",
    "db_name": b"DOE^JANE",
    "descrip": b"DOE^JANE born 1950-01-01",
    "aux_file": b"/home/DOE^JANE/scan",
    "intent_name": b"DOE^JANE",
    "flag": b"\1\0\0\0",
    "extension": build.extension(),
    "vox_offset": 384,
}
DAMAGE = [
    {"dim": [9] * 8},
    {"datatype": 128},
    {"vox_offset": -1},
    {"sform_code": 0},
    {"extension": build.extension(-16)},
    {"bitpix": 7},
    {"scl_slope": 0},
    {"pixdim": [0] * 8},
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: next(iter(damage)))
def test_messages(tmp_path: Path, damage: dict) -> None:
    folder = tmp_path / build.CANARY
    folder.mkdir()
    try:
        said = str(read_scan(build.put(folder, build.nifti(**(PLANTED | damage)))).source)
    except SpinepsError as error:
        said = str(error)
    assert build.CANARY not in said
    assert "/" not in said


def test_written_files(tmp_path: Path) -> None:
    scan = read_scan(build.put(tmp_path, build.nifti(**PLANTED)), ReadOptions())
    write_nifti(tmp_path / "image.nii.gz", scan.image, scan.geometry)
    write_nifti(tmp_path / "mask.nii", (scan.image > 500).astype(np.uint8), scan.geometry)
    write_json(tmp_path / "points.json", poi_document([Centroid(2, 49, (1.0, 2.0, 3.0))], scan.geometry))
    for name in ("image.nii.gz", "mask.nii", "points.json"):
        content = (tmp_path / name).read_bytes()
        plain = zlib.decompress(content, 31) if name.endswith(".gz") else content
        assert b"DOE" not in plain
        assert str(tmp_path).encode() not in plain
