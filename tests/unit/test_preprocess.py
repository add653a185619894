"""Preparation of a scan and the way of probabilities back to its grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spineps.config import PreprocessConfig, SemanticConfig
from spineps.errors import InputError
from spineps.geometry import PIR, Box, Geometry, Reorientation, resample
from spineps.inference.sliding import Slab
from spineps.labels import Scheme, Structure
from spineps.stages.preprocess import correct_bias_field, normalise, prepare, signal_box
from spineps.stages.semantic import labelled, most_probable, predict_semantic
from spineps.volume import Scan


class BrightIsBody:
    """A predictor that labels what is brighter than the mean."""

    spacing_mm = (1.0, 1.0, 2.0)
    patch_size = (24, 24, 12)
    step_share = 0.5
    mirror = False
    labels = np.array([0, Structure.CORPUS], np.uint8)

    def __call__(self, patches):
        bright = (patches > 0.5).astype(np.float32)
        return np.stack([1 - bright, bright], axis=1)


def block_scan(axes=PIR, spacing=(0.8, 0.8, 3.0)):
    image = np.zeros((60, 80, 20), np.float32)
    image[5:55, 5:75, 2:18] = 100
    image[20:40, 30:50, 6:14] = 400
    geometry = Geometry.from_spacing(image.shape, spacing)
    turn = Reorientation.between(PIR, axes)
    return Scan(turn.apply(image), turn.apply_geometry(geometry))


def test_signal_box_drops_empty_margins_only():
    scan = block_scan()
    assert signal_box(scan.image) == Box((5, 5, 2), (55, 75, 18))
    assert signal_box(np.zeros((4, 5, 6), np.float32)) == Box((0, 0, 0), (4, 5, 6))


@pytest.mark.parametrize("axes", [("P", "I", "R"), ("L", "A", "S"), ("S", "R", "A"), ("R", "P", "S")])
def test_prepare_turns_every_orientation_into_the_same_image(axes):
    straight, turned = prepare(block_scan()), prepare(block_scan(axes))
    np.testing.assert_array_equal(straight.image, turned.image)
    assert straight.geometry.matches(turned.geometry)
    assert turned.full.axes == PIR


@pytest.mark.parametrize(("a", "b"), [(1, 0), (1e30, 0), (0.001, -3), (7, 30000)])
def test_normalise_is_invariant_to_affine_intensity_changes(a, b):
    image = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    np.testing.assert_allclose(normalise((a * image + b).astype(np.float32)), normalise(image), atol=2e-2)


def test_normalise_refuses_a_constant_image():
    with pytest.raises(InputError, match="constant"):
        normalise(np.full((5, 5, 5), 3, np.float32))


@pytest.mark.parametrize("ends", [(0.7, 1.3), (1.3, 0.7)])
def test_bias_field_correction_flattens_a_slope_without_moving_voxels(ends):
    scan = block_scan()
    slope = np.linspace(*ends, 80, dtype=np.float32)[None, :, None]
    corrected = correct_bias_field(scan.image * slope, scan.geometry)
    tissue = scan.image == 100
    before, after = (scan.image * slope)[tissue], corrected[tissue]
    assert after.std() / after.mean() < 0.1 * before.std() / before.mean()
    np.testing.assert_array_equal(correct_bias_field(scan.image * slope, scan.geometry), corrected)


def test_n4_is_reached_through_the_settings():
    scan = block_scan()
    assert not np.array_equal(prepare(scan, PreprocessConfig(n4=True)).image, prepare(scan).image)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 3.0), (1.0, 1.0, 2.0), (1.5, 1.5, 1.5)])
def test_predicted_labels_lie_on_the_structure_in_the_grid_of_the_scan(spacing):
    scan = block_scan(spacing=spacing)
    prepared = prepare(scan)
    found = predict_semantic(prepared, BrightIsBody(), SemanticConfig())
    assert found.scheme is Scheme.SEMANTIC
    assert found.geometry is prepared.full
    truth = scan.image == 400
    overlap = 2 * (truth & (found.labels == Structure.CORPUS)).sum() / (truth.sum() + (found.labels > 0).sum())
    assert overlap > 0.9


def test_most_probable_interpolates_probabilities_not_labels():
    grid = Geometry.from_spacing((4, 4, 4), (2, 2, 2))
    target = grid.resampled((1, 1, 1))
    scores = np.zeros((3, 4, 4, 4), np.float32)
    scores[0], scores[1, :2], scores[2, 2:] = 0.1, 0.9, 0.9
    labels = np.array([0, 41, 100], np.uint8)
    found = most_probable(scores, grid, target, labels)
    assert set(np.unique(found)) == {41, 100}
    np.testing.assert_array_equal(found[:4], 41)
    np.testing.assert_array_equal(found[4:], 100)


@pytest.mark.parametrize(
    ("spacing", "degrees"), [((0.9, 1.1, 1.3), 0), ((3.5, 3.2, 5.1), 0), ((1.5, 2.0, 3.5), 15), ((4, 4, 5), 15)]
)
def test_most_probable_is_the_class_with_the_largest_interpolated_probability(spacing, degrees):
    grid = Geometry.from_spacing((24, 28, 16), (2, 2, 3))
    rng = np.random.default_rng(5)
    sharp = np.exp(ndimage.gaussian_filter(rng.standard_normal((6, *grid.shape)), (0, 3, 3, 2)) * 60)
    scores = (sharp / sharp.sum(axis=0)).astype(np.float32)
    turn = np.eye(4)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    target = grid.resampled(spacing)
    target = Geometry(target.shape, turn @ target.affine)
    labels = np.array([0, 41, 42, 43, 49, 100], np.uint8)
    expected = labels[np.stack([resample(score, grid, target, order=1) for score in scores]).argmax(axis=0)]
    if degrees:
        expected *= resample(np.ones(grid.shape, np.uint8), grid, target, order=0, beyond=0)
    assert len(np.unique(expected)) == 6
    np.testing.assert_array_equal(most_probable(scores, grid, target, labels), expected)


def test_most_probable_of_nothing_is_nothing():
    grid = Geometry.from_spacing((4, 4, 4), (2, 2, 2))
    scores = np.stack([np.ones((4, 4, 4)), np.zeros((4, 4, 4))]).astype(np.float32)
    assert not most_probable(scores, grid, grid.resampled((1, 1, 1)), np.array([0, 49], np.uint8)).any()


@pytest.mark.parametrize("target", ["finer", "coarser", "turned", "shifted"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_from_slabs_are_those_from_all_probabilities_at_once(target, axis):
    shape = [14, 15, 16]
    shape[axis] = 45
    rng = np.random.default_rng(axis)
    scores = ndimage.gaussian_filter(rng.random((3, *shape)), (0, 2, 2, 2)).astype(np.float32)
    scores[0] += 0.003
    grid = Geometry.from_spacing(tuple(shape), (2, 2, 3))
    affine = grid.affine.copy()
    angle = np.deg2rad(12)
    affine[:2, :3] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ affine[:2, :3]
    affine[:3, 3] += 4
    moved = grid.affine.copy()
    moved[:3, 3] += (11, -9, 7)
    other = {
        "finer": grid.resampled((0.9, 1.1, 1.3)),
        "coarser": grid.resampled((3.5, 3.2, 5.1)),
        "turned": Geometry(grid.shape, affine),
        "shifted": Geometry(grid.shape, moved),
    }[target]
    labels = np.array([0, 41, 100], np.uint8)
    parts = np.split(scores, [9, 13, 30], axis=axis + 1)
    ends = np.cumsum([0, 9, 4, 17, 15])
    slabs = []
    for part, begin, end in zip(parts, ends, ends[1:], strict=False):
        low, high = [0, 0, 0], list(shape)
        low[axis], high[axis] = int(begin), int(end)
        slabs.append(Slab(part, Box(tuple(low), tuple(high))))
    found = labelled(slabs, grid, other, labels)
    whole = most_probable(scores, grid, other, labels)
    assert len(np.unique(whole)) == 3
    assert (found != whole).mean() < 1e-4, "but for ties in the last bit"
    np.testing.assert_array_equal(found, labelled([Slab(scores, Box.whole(grid.shape))], grid, other, labels))
