"""Surface distances against a computation of every pair of surface voxels, and overlap against set arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spineps.evaluation.overlap import Overlap, joint_counts
from spineps.evaluation.surface import surface_distances, surface_points_mm

spacings = st.tuples(*[st.sampled_from((0.5, 0.75, 1.0, 1.65, 3.3, 4.4))] * 3)
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))


def brute_surface(mask):
    """Voxels of the mask with a face neighbour outside it, one by one."""
    padded = np.pad(mask, 1)
    found = []
    for voxel in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                neighbour = voxel + 1
                neighbour[axis] += step
                if not padded[tuple(neighbour)]:
                    found.append(tuple(voxel))
    return np.array(sorted(set(found)), dtype=float)


def brute_distances(one, two, spacing):
    a, b = brute_surface(one) * spacing, brute_surface(two) * spacing
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return table.min(axis=1), table.min(axis=0)


@given(st.data(), spacings)
def test_distances_are_those_of_every_pair_of_surface_voxels(data, spacing):
    one = data.draw(masks)
    two = data.draw(hnp.arrays(np.bool_, one.shape))
    found = surface_distances(one, two, spacing)
    if not one.any() or not two.any():
        assert found is None
        return
    there, back = brute_distances(one, two, np.array(spacing))
    pooled = np.concatenate((there, back))
    assert found is not None
    assert found.assd == pytest.approx(pooled.mean(), abs=1e-9)
    assert found.assd_two_way == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-9)
    assert found.hausdorff == pytest.approx(pooled.max(), abs=1e-9)
    assert found.hausdorff95 == pytest.approx(np.percentile(pooled, 95), abs=1e-9)
    assert found.hausdorff95_max == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-9)


@given(masks, spacings)
def test_a_mask_lies_on_itself(mask, spacing):
    found = surface_distances(mask, mask, spacing)
    assert found is None or (found.assd, found.hausdorff, found.hausdorff95) == (0, 0, 0)


def test_spacing_counts_along_its_own_axis():
    # One voxel each, 2 steps of 3 mm apart along the second axis: every distance is 6 mm.
    one, two = np.zeros((3, 5, 3), bool), np.zeros((3, 5, 3), bool)
    one[1, 1, 1] = two[1, 3, 1] = True
    found = surface_distances(one, two, (1.0, 3.0, 0.5))
    assert found is not None
    assert (found.assd, found.hausdorff, found.hausdorff95) == (6, 6, 6)


def test_voxels_at_the_edge_of_the_array_are_surface():
    assert len(surface_points_mm(np.ones((3, 3, 3), bool), (1, 1, 1))) == 26


def test_distances_in_two_dimensions():
    one, two = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    one[0, 0] = two[3, 4] = True
    found = surface_distances(one, two, (1.0, 1.0))
    assert found is not None
    assert found.hausdorff == 5


def test_other_shapes_and_spacings_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), (1, 1, 1))
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), (1, 1))


label_arrays = hnp.arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 4))


@given(label_arrays, label_arrays, st.sets(st.integers(1, 5), min_size=1))
def test_overlaps_are_those_of_sets_of_voxels(one, two, members):
    overlap = joint_counts(one, two).overlap(members)
    first, second = np.isin(one, list(members)), np.isin(two, list(members))
    assert (overlap.reference, overlap.prediction, overlap.both) == (first.sum(), second.sum(), (first & second).sum())


def test_overlap_takes_an_iterator_of_labels_once():
    labels = np.array([[[1, 2]]], np.uint8)
    assert joint_counts(labels, labels).overlap(label for label in (1, 2)).dice == 1


def test_ratios_by_hand():
    overlap = Overlap(reference=6, prediction=4, both=3)
    assert overlap.dice == pytest.approx(6 / 10)
    assert overlap.iou == pytest.approx(3 / 7)
    assert overlap.ppv == pytest.approx(3 / 4)
    assert overlap.sensitivity == pytest.approx(3 / 6)


def test_what_has_no_denominator_has_no_value():
    empty = Overlap(0, 0, 0)
    assert (empty.dice, empty.iou, empty.ppv, empty.sensitivity) == (None, None, None, None)
    assert Overlap(5, 0, 0).ppv is None
    assert Overlap(5, 0, 0).dice == 0
