from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from spineps.config import Ambiguous, Labeling, LabelingConfig, PipelineConfig, PostprocessConfig, PreprocessConfig
from spineps.errors import ErrorCode, FindingCode, InputError, NoSpineError
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.labels import SEGMENTED, Scheme, Structure
from spineps.pipeline import Models, segment_instances, segment_scan
from spineps.volume import LabelMap, LevelStatus, Scan, Source
from tests.spines import Oracle, dices, make_spine

LABELS = np.array([0, *sorted(SEGMENTED)], np.uint8)
LARGEST = Structure.SACRUM
ORIENTATIONS = [axes for order in permutations((("L", "R"), ("P", "A"), ("I", "S"))) for axes in product(*order)]


NUMBERED = PipelineConfig(labeling=LabelingConfig(Labeling.NONE))


class Reader:
    """A semantic network that reads the label out of the intensity: the brighter, the later in the list."""

    spacing_mm = (2.0, 2.0, 2.0)
    patch_size = (64, 128, 32)
    step_share = 0.5
    mirror = False
    temperature = 1.0
    labels = LABELS

    def __call__(self, patches):
        low, high = patches.min(), patches.max()
        rank = np.rint((patches - low) / max(1e-6, high - low) * (len(LABELS) - 1)).astype(int)
        return np.moveaxis(np.eye(len(LABELS), dtype=np.float32)[rank], -1, 1)


@pytest.fixture(scope="module")
def spine():
    return make_spine(4)


@pytest.fixture(scope="module")
def models(spine):
    return Models(Reader(), Oracle(spine), {"instance": "oracle"})


def _scan(spine):
    image = np.searchsorted(LABELS, spine.labels()).astype(np.float32)
    image[0, 0, :] = image[-1, -1, :] = len(LABELS) - 1  # the brightest value occurs often enough not to be clipped
    return Scan(image * 40 + 100, spine.semantic.geometry, Source(sha256="ab" * 32))


def test_instances_of_a_label_map(spine, models):
    result = segment_instances(spine.semantic, models, NUMBERED)
    assert min(dices(spine.truth, result.instance.labels)) == 1
    assert [v.label for v in result.vertebrae] == [2, 3, 4, 5]
    assert result.scan is None
    assert result.instance.scheme is Scheme.INSTANCE
    assert result.findings == ()
    assert {c.instance for c in result.centroids} == set(np.unique(result.instance.labels).tolist()) - {0}


def test_a_scan_goes_through_both_phases(spine, models):
    seen = []
    config = PipelineConfig(preprocess=PreprocessConfig(crop=False))
    result = segment_scan(_scan(spine), models, config, on_stage=lambda name, _: seen.append(name))
    assert seen == ["preprocess", "semantic", "first phase", "clean", "instance", "postprocess", "labeling"]
    assert len(result.vertebrae) == 4
    assert min(dices(spine.truth, result.instance.labels, result.vertebrae[0].label)) > 0.98
    assert result.scan is not None


def test_the_record_of_a_run(spine, models):
    record = segment_scan(_scan(spine), models, PipelineConfig(preprocess=PreprocessConfig(crop=False))).provenance
    assert set(record["seconds"]) == {"preprocess", "semantic", "clean", "instance", "postprocess", "labeling", "measure"}
    assert record["input_sha256"] == "ab" * 32
    assert record["models"] == {"instance": "oracle"}
    assert record["settings_sha256"] == PipelineConfig(preprocess=PreprocessConfig(crop=False)).sha256()
    assert {"spineps", "python", "numpy"} <= set(record["versions"])
    json.dumps(dict(record))


def test_twice_is_the_same(spine, models):
    one, other = (segment_instances(spine.semantic, models) for _ in range(2))
    assert np.array_equal(one.instance.labels, other.instance.labels)
    assert one.vertebrae == other.vertebrae
    assert one.centroids == other.centroids


def test_each_of_48_orientations_gives_the_same_masks(spine, models):
    assert len(set(ORIENTATIONS)) == 48
    straight = segment_instances(spine.semantic, models)
    for axes in ORIENTATIONS[::5]:
        turn = Reorientation.between(PIR, axes)
        turned = LabelMap(turn.apply(spine.labels()), turn.apply_geometry(spine.semantic.geometry), Scheme.SEMANTIC)
        result = segment_instances(turned, models)
        assert result.instance.geometry.axes == axes
        assert np.array_equal(turn.inverse().apply(result.instance.labels), straight.instance.labels)
        assert np.array_equal(turn.inverse().apply(result.semantic.labels), straight.semantic.labels)
        assert np.allclose([v.centroid_mm for v in result.vertebrae], [v.centroid_mm for v in straight.vertebrae])
        for there, here in zip(result.centroids, straight.centroids, strict=True):
            assert np.allclose(turned.geometry.to_mm(there.voxel), spine.semantic.geometry.to_mm(here.voxel))


def test_findings_travel_with_the_result(spine, models):
    labels = spine.labels().astype(np.uint16)
    labels[0:3, 0:3, 0:3] = Structure.DISC
    labels[40:44, 0:4, 0:4] = 333
    result = segment_instances(LabelMap(labels, spine.semantic.geometry, Scheme.SEMANTIC), models)
    codes = [f.code for f in result.findings]
    assert codes[:2] == [FindingCode.LABELS_IGNORED, FindingCode.STRAY_REMOVED]


def test_vertebrae_above_a_sacrum_get_lumbar_names(spine, models):
    result = segment_instances(spine.semantic, models)
    ids = [v.label for v in result.vertebrae]
    assert [v.name for v in result.vertebrae] == list(result.levels.best) == list(result.levels.names.values())
    assert ids == list(result.levels.names) == list(range(ids[0], ids[0] + 4))
    assert result.levels.best[-1] in ("L4", "L5", "L6")
    assert min(dices(spine.truth, result.instance.labels, ids[0])) == 1
    assert {int(i) - 100 for i in np.unique(result.instance.labels) if 100 < i < 200} == set(ids)
    assert {int(i) - 200 for i in np.unique(result.instance.labels) if i > 200} == {ids[0] - 1, *ids}
    numbered = segment_instances(spine.semantic, models, NUMBERED)
    assert numbered.levels.status is LevelStatus.NUMBERED
    assert [v.label for v in numbered.vertebrae] == [2, 3, 4, 5]


def test_an_uncertain_scan_can_be_numbered_or_fail(models):
    one = make_spine(1, sacrum=False)
    networks = Models(None, Oracle(one))
    kept = segment_instances(one.semantic, networks)
    assert kept.levels.status is LevelStatus.AMBIGUOUS
    assert kept.levels.runner_up
    assert FindingCode.AMBIGUOUS_LEVELS in [f.code for f in kept.findings]
    config = PipelineConfig(labeling=LabelingConfig(ambiguous=Ambiguous.NUMBER))
    counted = segment_instances(one.semantic, networks, config)
    assert counted.levels.status is LevelStatus.NUMBERED
    assert [v.label for v in counted.vertebrae] == list(counted.levels.posteriors) == [2]
    with pytest.raises(NoSpineError) as caught:
        segment_instances(one.semantic, networks, PipelineConfig(labeling=LabelingConfig(ambiguous=Ambiguous.FAIL)))
    assert caught.value.code is ErrorCode.LEVELS_AMBIGUOUS


def test_raw_masks_on_request(spine, models):
    labels = spine.labels()
    labels[0:3, 0:3, 0:3] = Structure.ARCUS
    raw = segment_instances(spine.edited(labels), models, PipelineConfig(postprocess=PostprocessConfig(enabled=False)))
    assert np.array_equal(raw.semantic.labels, labels)


def test_one_vertebra_and_the_sacrum_alone(models):
    one = make_spine(1)
    assert [v.label for v in segment_instances(one.semantic, Models(None, Oracle(one)), NUMBERED).vertebrae] == [2]
    labels = np.where(one.labels() == Structure.SACRUM, one.labels(), 0).astype(np.uint8)
    result = segment_instances(one.edited(labels), models)
    assert result.vertebrae == ()
    assert set(np.unique(result.instance.labels).tolist()) == {0, 26}
    assert FindingCode.PARTIAL_VERTEBRA in [f.code for f in result.findings]


def test_no_spine_names_the_stage(spine, models):
    empty = spine.edited(np.zeros_like(spine.labels()))
    with pytest.raises(NoSpineError, match="corpora"):
        segment_instances(empty, models)
    arches = spine.edited(np.where(spine.labels() == Structure.ARCUS, spine.labels(), 0).astype(np.uint8))
    with pytest.raises(NoSpineError, match="corpora"):
        segment_instances(arches, models)

    class Silent(Oracle):
        def __call__(self, cutouts):
            return np.zeros_like(cutouts)

    with pytest.raises(NoSpineError, match="instance"):
        segment_instances(spine.semantic, Models(None, Silent(spine)))

    class Blind(Reader):
        def __call__(self, patches):
            return np.moveaxis(np.eye(len(LABELS), dtype=np.float32)[np.zeros(patches.shape, int)], -1, 1)

    with pytest.raises(NoSpineError, match="semantic") as caught:
        segment_scan(_scan(spine), replace(models, semantic=Blind()))
    assert caught.value.code is ErrorCode.NO_SPINE


def test_what_cannot_be_done_is_refused(spine, models):
    with pytest.raises(InputError, match="seg-spine"):
        segment_instances(LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE), models)
    other = Scan(np.zeros((5, 5, 5), np.float32), Geometry.from_spacing((5, 5, 5), (1, 1, 1)))
    with pytest.raises(InputError, match="different grids"):
        segment_instances(spine.semantic, models, image=other)
    with pytest.raises(ValueError, match="semantic network"):
        segment_scan(_scan(spine), Models(None, models.instance))


def test_wrong_planes_are_refused_before_any_network_runs(spine, models):
    axial = Scan(_scan(spine).image, Geometry.from_spacing(spine.truth.shape, (1.0, 4.0, 1.0)))
    with pytest.raises(InputError) as caught:
        segment_scan(axial, models)
    assert caught.value.code is ErrorCode.COMPAT
