"""The golden cases of the VerSe definitions, each with its number worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_masks import box_spine

from spineps.evaluation.cohort import centroids_mm
from spineps.evaluation.landmarks import (
    CentroidSource,
    VerseCentroids,
    body_centroids_mm,
    mask_centroids_mm,
    read_centroids,
    write_centroids,
)
from spineps.evaluation.masks import Masks, pair_masks, read_masks
from spineps.evaluation.pairs import MaskFiles
from spineps.evaluation.scores import Level, Metric, Note
from spineps.evaluation.verse import Mode, foreground_dice, identify, measure_verse, vertebra_scores
from spineps.geometry import Geometry
from spineps.labels import Scheme
from spineps.volume import LabelMap


def column(**at_mm):
    """Points on one axis: ``v20=0.0`` is vertebra 20 at 0 mm."""
    return {int(name[1:]): (float(z), 0.0, 0.0) for name, z in at_mm.items()}


@pytest.mark.parametrize(("distance", "paper", "official"), [(19.9999, 1, 1), (20.0, 0, 1), (20.0001, 0, 0)])
def test_exactly_20_mm_is_a_hit_in_the_code_and_a_miss_in_the_paper(distance, paper, official):
    reference, prediction = column(v20=0), column(v20=distance)
    assert identify(reference, prediction, Mode.PAPER).id_rate == paper
    assert identify(reference, prediction, Mode.COMPETING).id_rate == paper
    assert identify(reference, prediction, Mode.STRICT).id_rate == paper
    assert identify(reference, prediction, Mode.OFFICIAL).id_rate == official


def test_a_tie_goes_to_the_first_label_in_the_code():
    # Both predictions lie 10 mm from both reference points. The code's argmin takes the first: 20 hit, 21 missed.
    reference, prediction = column(v20=0, v21=20), column(v20=10, v21=10)
    assert identify(reference, prediction, Mode.OFFICIAL).hits == {20: True, 21: False}
    assert identify(reference, prediction, Mode.PAPER).id_rate == 1  # no other point is nearer
    assert identify(reference, prediction, Mode.STRICT).id_rate == 0  # nothing tied counts


def test_leaving_out_a_neighbour_turns_a_miss_into_a_hit_in_the_code():
    # 20 is predicted 18 mm from its place, 12 mm from that of 21.
    reference = column(v20=0, v21=30)
    alone, both = column(v20=18), column(v20=18, v21=30)
    assert identify(reference, alone, Mode.OFFICIAL).hits[20]
    assert not identify(reference, both, Mode.OFFICIAL).hits[20]
    assert identify(reference, alone, Mode.COMPETING).hits[20]
    assert identify(reference, both, Mode.COMPETING).hits[20]
    for prediction in (alone, both):  # all N points of the reference compete
        assert not identify(reference, prediction, Mode.PAPER).hits[20]
        assert not identify(reference, prediction, Mode.STRICT).hits[20]
    assert identify(reference, alone, Mode.OFFICIAL).id_rate == 1 / 2  # 21 is missing all the same


def test_all_labels_shifted_by_one_gives_no_hit():
    # Vertebrae 25 mm apart, each called like its upper neighbour: 25 mm off and nearest to the neighbour's point.
    reference = column(v20=0, v21=25, v22=50)
    prediction = column(v20=25, v21=50, v22=75)
    for mode in Mode:
        assert identify(reference, prediction, mode).id_rate == 0
    assert identify(reference, prediction, Mode.PAPER).d_mean == 25


def test_an_extra_vertebra_costs_nothing_except_in_the_strict_mode():
    reference, prediction = column(v20=0, v21=30), column(v20=0, v21=30, v22=60)
    for mode in (Mode.PAPER, Mode.COMPETING, Mode.OFFICIAL):
        assert identify(reference, prediction, mode).id_rate == 1
    assert identify(reference, prediction, Mode.STRICT).id_rate == pytest.approx(2 / 3)


def test_an_empty_prediction_and_an_empty_reference():
    for mode in Mode:
        assert identify(column(v20=0), {}, mode).id_rate == 0
        assert identify({}, column(v20=0), mode).id_rate is None
    assert identify(column(v20=0), {}, Mode.PAPER).d_mean is None
    assert identify(column(v20=0), {}, Mode.STRICT).d_mean == 1000


def test_missing_vertebrae_are_left_out_of_d_mean_and_1000_mm_in_the_strict_mode():
    reference, prediction = column(v20=0, v21=30), column(v20=4)
    assert identify(reference, prediction, Mode.PAPER).d_mean == 4
    assert identify(reference, prediction, Mode.STRICT).d_mean == (4 + 1000) / 2
    assert identify(reference, prediction, Mode.OFFICIAL).d_mean is None


def test_t13_called_l1_shifts_everything_below():
    # T12 T13 L1 L2, 30 mm apart. The prediction has no T13: it calls it L1, L1 L2 and L2 L3.
    reference = column(v19=0, v28=30, v20=60, v21=90)
    prediction = column(v19=0, v20=30, v21=60, v22=90)
    for mode in (Mode.PAPER, Mode.COMPETING):
        found = identify(reference, prediction, mode)
        assert found.hits == {19: True, 20: False, 21: False, 28: False}
        assert found.id_rate == 1 / 4
        assert found.d_mean == (0 + 30 + 30) / 3
    assert identify(reference, prediction, Mode.STRICT).id_rate == 1 / 5


def test_l6_left_out_costs_one_vertebra():
    reference = column(v23=0, v24=30, v25=60)
    assert identify(reference, column(v23=0, v24=30), Mode.PAPER).id_rate == pytest.approx(2 / 3)


def test_all_labels_wrong_is_a_perfect_foreground():
    # Two vertebrae exchanged: the code's Dice sees the foreground alone and gives 1; each vertebra has Dice 0.
    reference = np.array([[[20, 20, 21, 21]]], np.uint8)
    prediction = np.array([[[21, 21, 20, 20]]], np.uint8)
    assert foreground_dice(reference, prediction) == 1
    pair = pair_masks(instances(reference), instances(prediction))
    dice = [s.value for s in vertebra_scores(pair) if s.metric is Metric.DSC]
    assert dice == [0, 0]


def test_foreground_dice_of_empty_masks():
    empty, full = np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.uint8)
    assert foreground_dice(empty, empty) == 1
    assert foreground_dice(empty, empty, empty_score=0.0) == 0
    assert foreground_dice(full, empty) == 0
    with pytest.raises(ValueError, match="one shape"):
        foreground_dice(empty, np.zeros((2, 2, 3), np.uint8))


def test_voxels_of_2_mm_count_half_in_the_code():
    # 15 voxels along the 2 mm axis are 30 mm: a miss, but a hit where distances stay in voxels.
    geometry = Geometry.from_spacing((4, 40, 4), (1.0, 2.0, 1.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[:, 2:6] = 20
    masks = Masks(instance=LabelMap(labels, geometry, Scheme.INSTANCE))
    pair = pair_masks(masks, masks)
    place = np.array((1.0, 5.0, 1.0))
    points = [{20: tuple(geometry.to_mm(place + step))} for step in ((0, 0, 0), (0, 15, 0))]
    scores, remarks = measure_verse(pair, points[0], points[1])
    rate = {s.structure: s.value for s in scores if s.metric is Metric.ID_RATE}
    assert rate == {"paper": 0, "paper, competing predictions": 0, "official": 1, "strict": 0}
    assert [s.value for s in scores if s.metric is Metric.D_MEAN and s.structure == "paper"] == [pytest.approx(30)]
    assert len(remarks) == 1
    assert remarks[0].startswith("L1 - paper: not identified, 30 mm away")
    assert "official: identified" in remarks[0]


def test_body_centroids_differ_from_mask_centroids():
    # The body spans 6 voxels of 1 mm, the arch 4 voxels whose centre lies 9 mm behind: 96 and 64 voxels.
    # The centre of both lies 9 * 64 / (96 + 64) = 3.6 mm behind the body's.
    masks = box_spine((20,))
    assert masks.instance is not None
    assert masks.semantic is not None
    instance, semantic, geometry = masks.instance.labels, masks.semantic.labels, masks.instance.geometry
    body = body_centroids_mm(instance, semantic, geometry)[20]
    whole = mask_centroids_mm(instance, geometry)[20]
    assert np.linalg.norm(np.subtract(body, whole)) == pytest.approx(3.6)
    assert centroids_mm(masks, CentroidSource.AUTO)[20] == pytest.approx(body)
    # A vertebra without a body, as C1, takes the centre of its mask.
    no_body = np.where(semantic == 49, 41, semantic).astype(np.uint8)
    assert body_centroids_mm(instance, no_body, geometry)[20] == pytest.approx(whole)


def test_missing_vertebrae_in_dice_and_hausdorff():
    # L1 and L2 perfect, L3 missing: Dice (1 + 1 + 0) / 3, HD mean of two zeros; strict: (0 + 0 + 100) / 3.
    pair = pair_masks(box_spine((20, 21, 22)), box_spine((20, 21, 22), left_out=(22,)))
    points = centroids_mm(pair.reference, CentroidSource.BODY), centroids_mm(pair.prediction, CentroidSource.BODY)
    scores, _ = measure_verse(pair, *points)
    found = {(s.structure, s.metric): s.value for s in scores if s.level is Level.SCAN}
    assert found["paper", Metric.DSC] == pytest.approx(2 / 3)
    assert found["paper", Metric.HD] == 0
    assert found["paper", Metric.ID_RATE] == pytest.approx(2 / 3)
    assert found["strict", Metric.HD] == pytest.approx(100 / 3)
    assert found["official", Metric.HD] is None
    notes = {s.structure: s.note for s in scores if s.level is Level.VERTEBRA and s.metric is Metric.DSC}
    assert notes == {"L1": Note.NONE, "L2": Note.NONE, "L3": Note.MISSED}


def test_the_centroid_file_of_verse_and_its_mask(real_data):
    files = MaskFiles(
        instance=real_data / "verse" / "sub-verse004_seg-vert_msk.nii.gz",
        centroids=real_data / "verse" / "sub-verse004_seg-subreg_ctd.json",
    )
    masks = read_masks(files)
    assert masks.instance is not None
    assert masks.centroids_mm is not None
    assert sorted(masks.centroids_mm) == list(range(16, 25))  # T9 to L5
    # Every centroid lies in its own vertebra.
    voxels = {k: np.rint(masks.instance.geometry.to_vox(p)).astype(int) for k, p in masks.centroids_mm.items()}
    assert {k: int(masks.instance.labels[tuple(v)]) for k, v in voxels.items()} == {k: k for k in voxels}
    # The centre of the whole mask lies 9.5 to 14.9 mm away (spec/evaluation.md, section 1).
    whole = mask_centroids_mm(masks.instance.labels, masks.instance.geometry)
    away = [np.linalg.norm(np.subtract(whole[k], masks.centroids_mm[k])) for k in voxels]
    assert min(away) == pytest.approx(9.5, abs=0.06)
    assert max(away) == pytest.approx(14.9, abs=0.06)


def test_the_verse_sample_against_itself_is_perfect(real_data):
    files = MaskFiles(
        instance=real_data / "verse" / "sub-verse004_seg-vert_msk.nii.gz",
        centroids=real_data / "verse" / "sub-verse004_seg-subreg_ctd.json",
    )
    masks = read_masks(files)
    pair = pair_masks(masks, masks)
    scores, remarks = measure_verse(pair, centroids_mm(masks, CentroidSource.AUTO), centroids_mm(masks, CentroidSource.AUTO))
    perfect = {Metric.ID_RATE: 1, Metric.DSC: 1, Metric.D_MEAN: 0, Metric.HD: 0, Metric.HD95: 0, Metric.ASSD: 0}
    assert all(s.value == perfect[s.metric] for s in scores if s.note is not Note.NOT_PROVIDED)
    assert len([s for s in scores if s.level is Level.VERTEBRA and s.metric is Metric.DSC]) == 9
    assert remarks == ()


def test_a_centroid_file_written_and_read_is_the_same(tmp_path, real_data):
    source = read_centroids(real_data / "verse" / "sub-verse004_seg-subreg_ctd.json")
    write_centroids(tmp_path / "again_ctd.json", source)
    assert read_centroids(tmp_path / "again_ctd.json") == source


def test_centroids_in_another_orientation_are_the_same_points(tmp_path):
    geometry = Geometry.from_spacing((5, 7, 9), (1.0, 2.0, 3.0))
    in_pir = VerseCentroids({20: (1.0, 2.0, 3.0)}, ("P", "I", "R"))
    # The same point in an array turned to L, A, S: sizes less one less the index, axes exchanged.
    in_las = VerseCentroids({20: (8 - 3.0, 4 - 1.0, 6 - 2.0)}, ("L", "A", "S"))
    assert in_las.to_mm(geometry)[20] == pytest.approx(in_pir.to_mm(geometry)[20])
    assert VerseCentroids.from_mm(in_las.to_mm(geometry), geometry).points_vox[20] == pytest.approx((1.0, 2.0, 3.0))


def instances(labels):
    """Masks of an instance array on a 1 mm grid."""
    return Masks(instance=LabelMap(labels, Geometry.from_spacing(labels.shape, (1, 1, 1)), Scheme.INSTANCE))


def test_entries_without_coordinates_are_left_out(tmp_path):
    path = tmp_path / "nan_ctd.json"
    path.write_text(
        '[{"direction": ["P", "I", "R"]}, {"label": 20, "X": NaN, "Y": 1, "Z": 2}, {"label": 21, "X": 1, "Y": 1, "Z": 2}]'
    )
    assert sorted(read_centroids(path).points_vox) == [21]
    assert replace(read_centroids(path), axes=("P", "I", "R")) == read_centroids(path)
