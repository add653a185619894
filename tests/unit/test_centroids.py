from __future__ import annotations

import numpy as np
import pytest

from spineps.errors import FindingCode
from spineps.geometry import Box, Reorientation
from spineps.labels import Structure
from spineps.stages.centroids import measure_instances, moved
from spineps.stages.postprocess import postprocess
from spineps.volume import LabelMap
from tests.spines import make_spine


@pytest.fixture(scope="module")
def done():
    spine = make_spine(4, (1.5, 1.5, 2.0))
    return spine, postprocess(spine.semantic, spine.truth, {k: 0.5 + k / 10 for k in range(1, 5)})


def test_vertebrae_from_top_to_bottom(done):
    spine, masks = done
    vertebrae, _, findings = measure_instances(masks.semantic, masks.instance, masks.agreement)
    assert [v.label for v in vertebrae] == [2, 3, 4, 5]
    assert [round(v.agreement, 3) for v in vertebrae] == [0.6, 0.7, 0.8, 0.9]
    assert all(v.name is None and not v.partial for v in vertebrae)
    assert findings == ()
    centres_mm = spine.semantic.geometry.to_mm(np.array(spine.centres_vox))
    assert np.abs(np.array([v.centroid_mm for v in vertebrae]) - centres_mm).max() < 1.5
    volume = np.count_nonzero(masks.instance.labels == 3) * spine.semantic.geometry.voxel_volume_mm3 / 1000
    assert vertebrae[1].volume_ml == pytest.approx(volume)


def test_every_structure_has_its_centre_of_mass(done):
    _, masks = done
    _, centroids, _ = measure_instances(masks.semantic, masks.instance, masks.agreement)
    found = {(c.instance, c.structure): c.voxel for c in centroids}
    assert len(found) == len(centroids)
    assert {i for i, _ in found} == set(np.unique(masks.instance.labels).tolist()) - {0}
    assert {s for i, s in found if i > 200} == {Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR}
    for (instance, structure), voxel in found.items():
        label = Structure.CORPUS if structure == Structure.CORPUS_INNER else structure
        where = np.argwhere((masks.instance.labels == instance) & (masks.semantic.labels == label))
        assert np.allclose(where.mean(axis=0), voxel)


def test_cut_vertebrae_are_partial(done):
    spine, masks = done
    start = spine.body_box(1).stop[1] - 4
    stop = spine.body_box(4).start[1] + 6
    box = Box((0, start, 0), (masks.instance.geometry.shape[0], stop, masks.instance.geometry.shape[2]))
    cut = [LabelMap(m.labels[box.slices], m.geometry.cropped(box), m.scheme) for m in (masks.semantic, masks.instance)]
    vertebrae, _, findings = measure_instances(cut[0], cut[1], {})
    assert [v.partial for v in vertebrae] == [True, False, False, True]
    assert [f.code for f in findings] == [FindingCode.PARTIAL_VERTEBRA]
    assert vertebrae[0].agreement == 0


def test_centres_move_with_the_grid(done):
    spine, masks = done
    _, centroids, _ = measure_instances(masks.semantic, masks.instance, {})
    turn = Reorientation.between(("P", "I", "R"), ("L", "A", "S"))
    target = turn.apply_geometry(spine.semantic.geometry)
    there = moved(centroids, spine.semantic.geometry, target)
    turned = turn.apply(masks.instance.labels), turn.apply(masks.semantic.labels)
    for centroid in there:
        label = Structure.CORPUS if centroid.structure == Structure.CORPUS_INNER else centroid.structure
        where = np.argwhere((turned[0] == centroid.instance) & (turned[1] == label))
        assert np.allclose(where.mean(axis=0), centroid.voxel, atol=1e-6)


def test_nothing_to_measure(done):
    spine, _ = done
    empty = LabelMap(np.zeros(spine.truth.shape, np.uint16), spine.semantic.geometry, spine.semantic.scheme)
    assert measure_instances(spine.semantic, empty, {}) == ((), (), ())
