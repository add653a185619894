"""Whole phantoms and the command that writes them."""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spineps.cli import phantom as command
from spineps.errors import UsageError
from spineps.labels import SEGMENTED, Structure
from spineps.phantom.phantom import Phantom, make_phantom, parse_orientation


@pytest.fixture(scope="module")
def three() -> Phantom:
    return make_phantom(1, vertebrae=3, spacing_mm=(1.2, 1.2, 4.0))


def test_one_geometry_for_all(three: Phantom) -> None:
    assert three.scan.geometry.axes == ("P", "I", "R")
    assert three.scan.geometry.spacing_mm == pytest.approx((1.2, 1.2, 4.0))
    assert three.semantic.geometry is three.scan.geometry
    assert three.instance.geometry is three.scan.geometry
    assert three.scan.image.dtype == np.float32
    assert three.scan.image.std() > 0


def test_labels_are_of_the_scheme(three: Phantom) -> None:
    known = {*SEGMENTED, Structure.BACKGROUND, Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR}
    assert set(np.unique(three.semantic.labels)) <= {int(s) for s in known}
    assert (three.semantic.labels == Structure.CORPUS).any()
    bodies = three.semantic.labels == Structure.CORPUS
    assert (three.instance.labels[bodies] > 0).all()


def test_levels_name_what_the_mask_holds(three: Phantom) -> None:
    vertebrae = {int(v) for v in np.unique(three.instance.labels) if 0 < v < 100}
    assert vertebrae == set(three.levels)
    assert len(three.levels) >= 3


@pytest.mark.parametrize("count", [1, 6])
def test_at_least_the_asked_number_of_whole_bodies(count: int) -> None:
    phantom = make_phantom(2, vertebrae=count, spacing_mm=(2.0, 2.0, 4.0), pathology=0)
    body = np.where(phantom.semantic.labels == Structure.CORPUS, phantom.instance.labels, 0)
    whole = [v for v in np.unique(body[body > 0]) if not ((body[:, 0] == v).any() or (body[:, -1] == v).any())]
    assert len(whole) >= count


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"seed": 0, "vertebrae": 0},
        {"seed": 0, "vertebrae": 25},
        {"seed": 0, "spacing_mm": (0.1, 1.0, 1.0)},
        {"seed": 0, "spacing_mm": (1.0, 1.0, float("nan"))},
        {"seed": 0, "orientation": ("P", "A", "R")},
        {"seed": 0, "orientation": ("P", "I")},
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict) -> None:
    with pytest.raises(UsageError):
        make_phantom(**arguments)


def test_parse_orientation() -> None:
    assert parse_orientation("las") == ("L", "A", "S")
    for wrong in ("PIX", "PI", "PIRA", "PPR", ""):
        with pytest.raises(UsageError):
            parse_orientation(wrong)


def test_command_writes_scan_masks_and_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    line = f"phantom {tmp_path / 'out'} --seed 5 --vertebrae 2 --contrast t1w --spacing 2 2 4 --orientation LAS --healthy"
    args = parser.parse_args(line.split())
    assert args.run(args) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "phantom-5_T1w.nii.gz",
        "phantom-5_levels.tsv",
        "phantom-5_seg-spine_msk.nii.gz",
        "phantom-5_seg-vert_msk.nii.gz",
    ]
    image, spine, vert = (nib.load(tmp_path / "out" / name) for name in (names[0], *names[2:]))
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
    assert image.shape == spine.shape == vert.shape
    rows = (tmp_path / "out" / names[1]).read_text(encoding="utf-8").splitlines()
    assert rows[0] == "label\tname"
    assert {int(row.split("\t")[0]) for row in rows[1:]} == {int(v) for v in np.unique(vert.dataobj) if 0 < v < 100}
    assert "phantom-5_T1w.nii.gz" in capsys.readouterr().err
