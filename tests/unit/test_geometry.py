"""Worked examples of grids, boxes and resampling; tests/property holds the general laws."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.geometry import PIR, Box, Geometry, Reorientation, extract, resample


def test_a_pir_grid_runs_to_posterior_inferior_right() -> None:
    grid = Geometry.from_spacing((11, 21, 5), (1, 2, 3))
    assert grid.axes == PIR
    assert grid.spacing_mm == (1, 2, 3)
    assert grid.extent_mm == (11, 42, 15)
    assert grid.voxel_volume_mm3 == pytest.approx(6)
    # RAS+: one step to posterior is -1 mm on y, one step to inferior -2 mm on z, one to the right +3 mm on x
    assert grid.to_mm((6, 11, 3)) - grid.to_mm((5, 10, 2)) == pytest.approx([3, -1, -2])


def test_a_fresh_grid_is_centred_on_the_origin() -> None:
    grid = Geometry.from_spacing((11, 21, 5), (1, 2, 3), ("L", "A", "S"))
    assert grid.to_mm((5, 10, 2)) == pytest.approx([0, 0, 0])


@pytest.mark.parametrize(
    "affine",
    [np.eye(3), np.zeros((4, 4)), np.diag([1, 1, 0, 1]), np.diag([np.nan, 1, 1, 1]), np.diag([np.inf, 1, 1, 1])],
)
def test_an_impossible_affine_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Geometry((2, 2, 2), affine)


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2, 2), (0, 2, 2), (2, -1, 2)])
def test_an_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="axis lengths"):
        Geometry(shape, np.eye(4))  # type: ignore[arg-type]


def test_the_affine_is_copied_and_read_only() -> None:
    affine = np.eye(4)
    grid = Geometry((2, 2, 2), affine)
    affine[0, 3] = 7
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 7


def test_an_unknown_direction_is_named() -> None:
    with pytest.raises(ValueError, match="'X'"):
        Geometry.from_spacing((2, 2, 2), (1, 1, 1), ("X", "A", "S"))


def test_box_around_a_mask() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 4] = True
    assert Box.around(mask) == Box((1, 2, 3), (4, 3, 5))
    assert Box.around(np.zeros((2, 2, 2), bool)) is None


def test_extract_fills_what_lies_beyond_the_array() -> None:
    array = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    out = extract(array, Box((-1, 0, 1), (1, 2, 4)), fill=-5)
    assert out.shape == (2, 2, 3)
    assert np.array_equal(out[1], [[1, -5, -5], [3, -5, -5]])
    assert (out[0] == -5).all()


def test_extract_of_a_box_that_misses_the_array_is_all_fill() -> None:
    out = extract(np.ones((2, 2, 2), np.uint8), Box((5, 5, 5), (7, 8, 9)))
    assert out.shape == (2, 3, 4)
    assert not out.any()


def test_reorientation_follows_the_axes() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    turned = Reorientation.between(("R", "A", "S"), PIR).apply(array)
    assert turned.shape == (3, 4, 2)
    assert turned[0, 0, 0] == array[0, -1, -1]  # the most anterior, superior, left voxel
    assert turned.flags.c_contiguous


def test_resampling_onto_its_own_grid_copies() -> None:
    grid = Geometry.from_spacing((4, 5, 6), (1, 1, 2))
    array = np.random.default_rng(1).random(grid.shape).astype(np.float32)
    out = resample(array, grid, grid, order=3)
    assert np.array_equal(out, array)
    assert out is not array
    assert not np.shares_memory(out, array)


def test_an_image_is_smoothed_before_it_is_sampled_coarsely() -> None:
    fine = Geometry.from_spacing((32, 32, 32), (1, 1, 1))
    checkers = (np.indices(fine.shape).sum(axis=0) % 2).astype(np.float32)
    coarse = resample(checkers, fine, fine.resampled((4, 4, 4)), order=1)
    assert np.abs(coarse[1:-1, 1:-1, 1:-1] - 0.5).max() < 0.05


def test_labels_are_never_mixed() -> None:
    fine = Geometry.from_spacing((20, 20, 20), (1, 1, 1))
    labels = np.where(np.indices(fine.shape)[0] < 10, 49, 100).astype(np.uint8)
    out = resample(labels, fine, fine.resampled((3, 2, 0.7)), order=0)
    assert out.dtype == np.uint8
    assert set(np.unique(out)) == {49, 100}


@pytest.mark.parametrize("degrees", [0, 5, 20, 30])
def test_a_turned_patient_is_straightened_to_the_same_grid(degrees):
    upright = Geometry.from_spacing((30, 40, 12), (0.78125, 0.703125, 4.4), ("P", "I", "R"))
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = 17, -4, 1000
    turned = Geometry(upright.shape, (turn @ upright.affine).astype(np.float32).astype(np.float64)).straightened()
    np.testing.assert_array_equal(turned.affine, upright.straightened().affine)
    assert np.allclose(turned.affine, upright.affine, atol=5e-3)
