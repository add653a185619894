"""Laws that hold for every grid, orientation and box."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spineps.geometry import PIR, Axes, Box, Geometry, Reorientation, Shape, extract, resample

ORIENTATIONS: list[Axes] = [
    (a[i], b[j], c[k]) for a, b, c in permutations(("LR", "PA", "IS")) for i, j, k in product((0, 1), repeat=3)
]
TOLERANCE_MM = 1e-9

orientations = st.sampled_from(ORIENTATIONS)
shapes = st.tuples(*[st.integers(1, 7)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
offsets = st.tuples(*[st.integers(-9, 9)] * 3)
boxes = st.builds(
    lambda start, shape: Box(start, (start[0] + shape[0], start[1] + shape[1], start[2] + shape[2])), offsets, shapes
)
unit_vectors = (
    st.tuples(*[st.floats(-1, 1)] * 3)
    .filter(lambda v: np.linalg.norm(v) > 0.1)
    .map(lambda v: np.asarray(v) / np.linalg.norm(v))
)


def turned(grid: Geometry, axis: np.ndarray, degrees: float, shift_mm: tuple[float, float, float] = (0, 0, 0)) -> Geometry:
    """The same voxels, turned and moved in the world."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    motion[:3, 3] = shift_mm
    return Geometry(grid.shape, motion @ grid.affine)


grids = st.builds(
    turned,
    st.builds(Geometry.from_spacing, shapes, spacings, orientations),
    unit_vectors,
    st.floats(0, 180),
    st.tuples(*[st.floats(-500, 500)] * 3),
)


def numbered(shape: Shape) -> np.ndarray:
    """An array in which every voxel has a number of its own."""
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def positions_mm(array: np.ndarray, grid: Geometry) -> np.ndarray:
    """World position of each voxel of a numbered array, in the order of their numbers."""
    voxels = np.stack(np.unravel_index(np.argsort(array, axis=None), array.shape), axis=-1)
    return grid.to_mm(voxels)


def test_there_are_forty_eight_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("axes", ORIENTATIONS, ids="".join)
class TestEveryOrientation:
    def grid(self, axes: Axes) -> Geometry:
        return Geometry.from_spacing((3, 4, 5), (0.7, 1.1, 3.3), axes)

    def test_a_grid_knows_its_axes(self, axes: Axes) -> None:
        assert self.grid(axes).axes == axes

    def test_to_pir_and_back_is_exact(self, axes: Axes) -> None:
        grid, array = self.grid(axes), numbered((3, 4, 5))
        there = Reorientation.between(axes, PIR)
        back = there.inverse()
        assert np.array_equal(back.apply(there.apply(array)), array)
        assert back.apply_geometry(there.apply_geometry(grid)).matches(grid, tolerance_mm=TOLERANCE_MM)
        assert back == Reorientation.between(PIR, axes)

    def test_every_voxel_keeps_its_place_in_the_world(self, axes: Axes) -> None:
        grid, array = self.grid(axes), numbered((3, 4, 5))
        there = Reorientation.between(axes, PIR)
        pir = there.apply_geometry(grid)
        assert pir.axes == PIR
        assert positions_mm(there.apply(array), pir) == pytest.approx(positions_mm(array, grid), abs=TOLERANCE_MM)

    def test_to_every_other_orientation_by_way_of_pir(self, axes: Axes) -> None:
        array = numbered((3, 4, 5))
        through_pir = Reorientation.between(axes, PIR).apply(array)
        for target in ORIENTATIONS:
            direct = Reorientation.between(axes, target).apply(array)
            assert np.array_equal(Reorientation.between(PIR, target).apply(through_pir), direct)


@given(grids, orientations)
def test_reorienting_an_oblique_grid_keeps_every_voxel_in_place(grid: Geometry, target: Axes) -> None:
    array = numbered(grid.shape)
    change = Reorientation.between(grid.axes, target)
    moved = change.apply_geometry(grid)
    assert np.allclose(positions_mm(change.apply(array), moved), positions_mm(array, grid), atol=1e-6)
    assert change.inverse().apply_geometry(moved).matches(grid, tolerance_mm=1e-6)


@given(st.builds(Geometry.from_spacing, shapes, spacings, orientations), unit_vectors, st.floats(-30, 30))
def test_a_tilt_of_up_to_thirty_degrees_leaves_the_axes_names(grid: Geometry, axis: np.ndarray, degrees: float) -> None:
    assert turned(grid, axis, degrees).axes == grid.axes


@given(grids)
def test_the_axes_of_any_grid_name_each_world_axis_once(grid: Geometry) -> None:
    assert grid.axes in ORIENTATIONS


@given(grids, st.tuples(*[st.floats(-300, 300)] * 3))
def test_voxels_to_millimetres_and_back(grid: Geometry, point: tuple[float, float, float]) -> None:
    assert np.allclose(grid.to_vox(grid.to_mm(point)), point, atol=1e-6)


@given(grids)
def test_a_rotation_changes_neither_spacing_nor_volume(grid: Geometry) -> None:
    assert np.isclose(grid.voxel_volume_mm3, np.prod(grid.spacing_mm))


@given(grids, boxes)
def test_cropping_keeps_every_voxel_in_place(grid: Geometry, box: Box) -> None:
    part = grid.cropped(box)
    assert part.shape == box.shape
    assert np.allclose(part.to_mm((0, 0, 0)), grid.to_mm(box.start), atol=1e-6)
    assert np.allclose(part.to_mm(box.shape), grid.to_mm(box.stop), atol=1e-6)


@given(grids, boxes)
def test_cropping_is_undone_by_the_opposite_box(grid: Geometry, box: Box) -> None:
    back = Box.whole(grid.shape).shifted([-s for s in box.start])
    assert grid.cropped(box).cropped(back).matches(grid, tolerance_mm=1e-6)


@given(shapes, boxes)
def test_extract_and_its_inverse_keep_what_both_boxes_hold(shape: Shape, box: Box) -> None:
    array = numbered(shape) + 1
    back = extract(extract(array, box), Box.whole(shape).shifted([-s for s in box.start]))
    kept = np.zeros(shape, bool)
    inside = box.intersect(Box.whole(shape))
    if not inside.empty:
        kept[inside.slices] = True
    assert np.array_equal(back, np.where(kept, array, 0))


@given(shapes, offsets)
def test_padding_loses_nothing(shape: Shape, margin: Shape) -> None:
    array = numbered(shape)
    margins = [abs(m) for m in margin]
    padded = extract(array, Box.whole(shape).grown(margins), fill=-1)
    assert np.array_equal(extract(padded, Box.whole(shape).shifted(margins)), array)
    assert (padded >= 0).sum() == array.size


@given(grids, spacings)
def test_another_spacing_keeps_the_centre_and_the_extent(grid: Geometry, spacing: tuple[float, float, float]) -> None:
    other = grid.resampled(spacing)
    centre = (np.asarray(grid.shape) - 1) / 2
    other_centre = (np.asarray(other.shape) - 1) / 2
    assert np.allclose(other.spacing_mm, spacing)
    assert np.allclose(other.to_mm(other_centre), grid.to_mm(centre), atol=1e-6)
    loss = np.abs(np.subtract(other.extent_mm, grid.extent_mm))
    assert np.all((loss <= np.asarray(spacing) / 2 + 1e-6) | (np.asarray(other.shape) == 1))


@given(st.builds(Geometry.from_spacing, shapes, spacings, orientations))
def test_labels_survive_a_finer_grid_and_back(grid: Geometry) -> None:
    fine = grid.resampled(np.asarray(grid.spacing_mm) / 3)
    labels = numbered(grid.shape).astype(np.uint16)
    there = resample(labels, grid, fine, order=0)
    assert there.shape == tuple(3 * n for n in grid.shape)
    assert np.array_equal(resample(there, fine, grid, order=0), labels)


@given(grids, unit_vectors)
def test_a_ramp_is_sampled_exactly_inside_the_field(grid: Geometry, slope: np.ndarray) -> None:
    fine = grid.resampled(np.asarray(grid.spacing_mm) / 2)
    assume(min(grid.shape) > 1)

    def ramp(where: Geometry) -> np.ndarray:
        return np.asarray(where.to_mm(np.moveaxis(np.indices(where.shape), 0, -1)) @ slope)

    out = resample(ramp(grid), grid, fine, order=1)
    assert np.allclose(out[1:-1, 1:-1, 1:-1], ramp(fine)[1:-1, 1:-1, 1:-1], atol=1e-4)


@given(grids, grids)
def test_matching_is_reflexive_and_symmetric(first: Geometry, second: Geometry) -> None:
    assert first.matches(first)
    assert first.matches(second) == second.matches(first)


@given(grids, st.floats(0.02, 5))
def test_a_grid_moved_beyond_the_tolerance_does_not_match(grid: Geometry, shift_mm: float) -> None:
    moved = turned(grid, np.array([1.0, 0, 0]), 0, (shift_mm, 0, 0))
    assert not grid.matches(moved)
    assert grid.matches(moved, tolerance_mm=shift_mm + 1e-6)


@given(boxes, boxes)
def test_intersection_is_symmetric_and_within_both(first: Box, second: Box) -> None:
    common = first.intersect(second)
    assert common.shape == second.intersect(first).shape
    if not common.empty:
        assert common.intersect(first) == common
        assert common.intersect(second) == common


@given(boxes, boxes)
def test_intersection_holds_just_the_voxels_of_both(first: Box, second: Box) -> None:
    canvas = Box((-10, -10, -10), (20, 20, 20))

    def voxels(box: Box) -> np.ndarray:
        out = np.zeros(canvas.shape, bool)
        out[box.shifted([10, 10, 10]).slices] = True
        return out

    common = first.intersect(second)
    both = voxels(first) & voxels(second)
    assert common.empty == (not both.any())
    assert np.prod(common.shape) == both.sum()


@given(boxes)
def test_a_box_meets_itself_and_nothing_of_what_lies_beside_it(box: Box) -> None:
    assert box.intersect(box) == box
    assert box.intersect(box.shifted(box.shape)).empty


@given(boxes, offsets)
def test_growing_and_moving_are_undone(box: Box, offset: Shape) -> None:
    margin = [abs(o) for o in offset]
    assert box.grown(margin).grown([-m for m in margin]) == box
    assert box.shifted(offset).shifted([-o for o in offset]) == box
    assert box.grown(margin).intersect(box) == box


@given(shapes, st.data())
def test_the_box_around_a_mask_is_the_smallest(shape: Shape, data: st.DataObject) -> None:
    hits = data.draw(st.lists(st.integers(0, int(np.prod(shape)) - 1), min_size=1, max_size=4))
    mask = np.zeros(shape, bool)
    mask.flat[hits] = True
    box = Box.around(mask)
    assert box is not None
    assert mask[box.slices].sum() == mask.sum()
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        profile = mask[box.slices].any(axis=others)
        assert profile[0]
        assert profile[-1]
