"""The field of view of a scan that was resampled onto a turned grid is found, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from spineps.geometry import Geometry, resample
from spineps.inference.sliding import probability_slabs
from spineps.stages.field import surround, turned_field
from spineps.stages.preprocess import prepare
from spineps.stages.semantic import labelled, predict_semantic, read_back
from spineps.volume import Scan

SHAPE, SPACING = (60, 80, 24), (1.5, 1.0, 3.0)


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).gamma(2, 50, shape).astype(np.float32)


def onto_turned_grid(image, degrees, *, clipped=False, spacing=(1.0, 1.0, 1.0)):
    """The image on a grid turned about all three axes, and the two grids."""
    own = Geometry.from_spacing(image.shape, SPACING)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    extent = np.asarray(own.extent_mm) if clipped else np.abs(turn) @ own.extent_mm + 4
    turned = Geometry.from_spacing([round(e / s) for e, s in zip(extent, spacing, strict=True)], spacing)
    affine = np.eye(4)
    affine[:3, :3] = turn
    turned = Geometry(turned.shape, affine @ turned.affine)
    return resample(image, own, turned, order=1, beyond=0), own, turned


@pytest.mark.parametrize("degrees", [(20, 0, 0), (0, 20, 0), (0, 0, -20), (10, -15, 5), (35, 0, 0)])
@pytest.mark.parametrize("clipped", [False, True])
def test_a_turned_field_is_found(degrees, clipped):
    image, own, turned = onto_turned_grid(noise(), degrees, clipped=clipped)
    empty = surround(image)
    field = turned_field(empty, turned)
    assert field is not None
    cosines = (field.affine[:3, :3] / field.spacing_mm).T @ (own.affine[:3, :3] / own.spacing_mm)
    assert np.rad2deg(np.arccos(np.clip(np.diag(cosines), -1, 1))).max() < 2.0
    if not clipped:
        assert np.abs(np.asarray(field.extent_mm) - own.extent_mm).max() < 4.0
        centre = [g.to_mm((np.asarray(g.shape) - 1) / 2) for g in (field, own)]
        assert np.abs(centre[0] - centre[1]).max() < 1.0


def test_a_scan_that_fills_its_grid_has_no_surround():
    assert surround(noise()) is None


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0.5, 0.5, 0.5)])
def test_a_field_along_its_grid_is_left_as_it_is(degrees):
    image, _, turned = onto_turned_grid(np.pad(noise(), 6), degrees)
    empty = surround(image)
    assert empty is not None
    assert turned_field(empty, turned) is None


def test_the_outline_of_a_patient_is_no_field():
    p, i, r = np.indices(SHAPE) - (np.asarray(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    for outline in ((p / 28) ** 2 + (r / 11) ** 2 < 1, (p / 28) ** 2 + (i / 38) ** 2 + (r / 11) ** 2 < 1):
        empty = surround(np.where(outline, noise(), np.float32(0)))
        assert empty is not None
        assert turned_field(empty, Geometry.from_spacing(SHAPE, SPACING)) is None


def test_a_flat_or_a_single_voxel_image_is_no_field():
    for voxels in ((30, 40, 12), (30, slice(10, 70), 12), (slice(5, 50), slice(5, 70), 12)):
        image = np.zeros(SHAPE, np.float32)
        image[voxels] = 1
        assert turned_field(surround(image), Geometry.from_spacing(SHAPE, SPACING)) is None


class Watcher:
    """Calls bright voxels body, and remembers what it was shown."""

    labels = np.array([0, 49], np.uint8)
    spacing_mm = (2.0, 2.0, 3.0)
    patch_size = (16, 16, 8)
    step_share = 0.5
    mirror = False

    def __init__(self):
        self.least, self.calls = np.inf, 0

    def __call__(self, patches):
        self.calls += 1
        self.least = min(self.least, float(patches.min()))
        return np.stack([1.5 - patches, patches - 1.5], axis=1).astype(np.float32)


def test_the_network_sees_no_surround_and_labels_come_back_to_the_scans_grid():
    image = np.full(SHAPE, 100, np.float32) + noise(seed=1) / 50
    image[20:40, 20:60, 6:18] = 400
    bright = (image > 300).astype(np.float32)
    turned_image, own, turned = onto_turned_grid(image, (0, 20, 0))
    truth = resample(bright, own, turned, order=1, beyond=0) > 0.5
    network = Watcher()
    found = predict_semantic(prepare(Scan(turned_image, turned)), network)
    assert network.least > -1.5  # the surround would lie far below the darkest tissue
    change = found.geometry
    back = ndimage.affine_transform(
        (found.labels == 49).astype(np.uint8), np.linalg.inv(change.affine) @ turned.affine, output_shape=turned.shape, order=0
    )
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.95


def test_what_lies_beyond_the_scans_own_grid_is_not_computed_and_no_label_changes():
    field = Geometry.from_spacing((60, 70, 12), Watcher.spacing_mm)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", 40, degrees=True).as_matrix()
    scan = Geometry.from_spacing((20, 80, 20), (1.2, 1.1, 1.5))
    scan = Geometry(scan.shape, turn @ scan.affine)
    image = ndimage.gaussian_filter(noise(field.shape), 2) / 50 - 0.5

    def labels_and_runs(needed):
        network = Watcher()
        slabs = probability_slabs(image, network, step_share=0.5, mirror=False, needed=needed)
        return labelled(slabs, field, scan, network.labels), network.calls

    labels, runs = labels_and_runs(read_back(field, scan))
    every_label, every_run = labels_and_runs(None)
    assert runs < 0.8 * every_run
    assert 0.1 < (labels > 0).mean() < 0.9
    np.testing.assert_array_equal(labels, every_label)
