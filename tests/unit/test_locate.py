"""The first look at a wide field of view: only the part with the spine is seen at full resolution, and never too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spineps.config import PreprocessConfig
from spineps.geometry import Box, FloatArray, Geometry
from spineps.labels import Scheme, Structure
from spineps.stages import locate
from spineps.stages.extras import ScoreKeeper
from spineps.stages.preprocess import prepare
from spineps.stages.semantic import predict_semantic
from spineps.volume import LabelMap, Scan

AS_IT_IS = PreprocessConfig(crop=False)
SPACING_MM = (2.0, 2.0, 4.0)


class BrightIsBody:
    """A predictor that labels what is bright and counts the voxels that it sees."""

    spacing_mm = SPACING_MM
    patch_size = (24, 24, 12)
    step_share = 0.5
    mirror = False
    temperature = 1.0
    labels = np.array([0, Structure.CORPUS], np.uint8)

    def __init__(self) -> None:
        self.voxels = 0

    def __call__(self, patches: FloatArray) -> FloatArray:
        self.voxels += patches.size
        bright = (patches > 3).astype(np.float32)
        return np.stack([1 - bright, bright], axis=1)


def wide_scan(*, plate_to: int | None = None) -> Scan:
    """A bright column 170 mm from the front of a field of 300 mm; a plate, too thin for the first look, may lie before it."""
    image = np.random.default_rng(3).normal(0, 0.05, (150, 60, 16)).astype(np.float32)
    image[85:100, :, 4:12] = 8
    if plate_to is not None:
        image[plate_to:85, 20:21, 8:9] = 8
    return Scan(image, Geometry.from_spacing(image.shape, SPACING_MM))


def seen(scan: Scan) -> tuple[NDArray[Any], int, ScoreKeeper]:
    predictor, prepared = BrightIsBody(), prepare(scan, AS_IT_IS)
    keeper = ScoreKeeper(prepared, predictor, softmax=True)
    return predict_semantic(prepared, predictor, on_scores=keeper).labels, predictor.voxels, keeper


def test_only_the_part_with_the_spine_is_seen_and_the_labels_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = wide_scan()
    labels, voxels, keeper = seen(scan)
    monkeypatch.setattr(locate, "WIDE_MM", np.inf)
    whole, all_voxels, _ = seen(scan)
    assert np.array_equal(labels, whole)
    assert (labels > 0).any()
    assert voxels < 0.75 * all_voxels
    assert keeper.softmax is not None
    channel = keeper.softmax.channel(0)
    assert channel.shape == scan.image.shape
    assert channel[:40].min() == 1  # what was not looked at is background


def test_a_spine_that_goes_on_beyond_the_part_is_seen_whole() -> None:
    scan = wide_scan(plate_to=30)
    labels, voxels, keeper = seen(scan)
    assert np.array_equal(labels > 0, scan.image > 4)
    assert voxels > seen(wide_scan())[1]
    assert keeper.softmax is not None
    assert keeper.softmax.grid.shape == scan.image.shape  # nothing of the first view is left


def test_a_field_in_which_the_first_look_finds_nothing_is_seen_whole() -> None:
    image = np.random.default_rng(3).normal(0, 0.05, (150, 60, 16)).astype(np.float32)
    image[20:70:4, 10:50, 4:8:3] = 8  # rods, each too thin
    labels, _, _ = seen(Scan(image, Geometry.from_spacing(image.shape, SPACING_MM)))
    assert np.array_equal(labels > 0, image > 4)


def test_a_narrow_field_is_seen_once() -> None:
    scan = wide_scan()
    narrow = Scan(np.ascontiguousarray(scan.image[60:120]), Geometry.from_spacing((60, 60, 16), SPACING_MM))
    _, voxels, _ = seen(narrow)
    grid = prepare(narrow, AS_IT_IS).geometry
    assert locate.spine_part(narrow.image, grid, BrightIsBody()).shape == narrow.image.shape
    assert voxels == 4 * 4 * 2 * 24 * 24 * 12


def test_in_a_turned_field_the_spine_itself_counts_not_the_corners_of_its_box() -> None:
    """A column along a turned field runs from corner to corner of the scan's grid, far from where the view was cut."""
    scan_grid = Geometry.from_spacing((200, 200, 20), (1.0, 1.0, 1.0))
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    middle = scan_grid.to_mm(np.array([99.5, 99.5, 9.5]))
    affine = scan_grid.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = middle - affine[:3, :3] @ np.array([99.5, 99.5, 9.5])
    field = Geometry(scan_grid.shape, affine)
    along = field.to_vox(scan_grid.to_mm(np.indices(scan_grid.shape).reshape(3, -1).T)).T.reshape(3, *scan_grid.shape)
    column = LabelMap((np.abs(along[0] - 99.5) < 12).astype(np.uint8) * 49, scan_grid, Scheme.SEMANTIC)
    cut = Box((60, 0, 0), (140, 200, 20))
    assert not locate.goes_on(column, cut, field)
    assert locate.goes_on(column, Box((80, 0, 0), (140, 200, 20)), field)
    assert locate.goes_on(LabelMap(column.labels * 0, scan_grid, Scheme.SEMANTIC), cut, field)
