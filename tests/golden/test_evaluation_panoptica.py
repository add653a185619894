"""Panoptic numbers: panoptica's own results on its own examples, and small cases worked out by hand."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from spineps.evaluation.masks import read_masks
from spineps.evaluation.pairs import MaskFiles
from spineps.evaluation.panoptic import Matcher, panoptic_quality
from spineps.evaluation.scores import Metric, Note
from spineps.evaluation.subject import instance_scores

GROUPS = {
    "vertebra": lambda labels: np.where(labels < 100, labels, 0),
    "disc": lambda labels: np.where((labels > 100) & (labels < 200), labels, 0),
}


def panoptica_itself(kind, reference, prediction, spacing_mm):
    """The whole way through panoptica, as its documentation shows it."""
    import panoptica as p

    p.disable_citation_reminder()
    steps = {
        "matched_instance": {"expected_input": p.InputType.MATCHED_INSTANCE},
        "unmatched_instance": {
            "expected_input": p.InputType.UNMATCHED_INSTANCE,
            "instance_matcher": p.NaiveThresholdMatching(),
        },
        "semantic": {
            "expected_input": p.InputType.SEMANTIC,
            "instance_approximator": p.ConnectedComponentsInstanceApproximator(),
            "instance_matcher": p.NaiveThresholdMatching(),
        },
    }
    metrics = [p.Metric.DSC, p.Metric.IOU, p.Metric.ASSD]
    evaluator = p.Panoptica_Evaluator(instance_metrics=metrics, global_metrics=[], **steps[kind])
    (result,) = evaluator.evaluate(prediction, reference, voxelspacing=spacing_mm).values()
    return result


@pytest.mark.parametrize("kind", ["matched_instance", "unmatched_instance", "semantic"])
@pytest.mark.parametrize("group", ["vertebra", "disc"])
def test_parity_with_panoptica(real_data, kind, group):
    folder = real_data / "panoptica_pair" / kind
    sides = [read_masks(MaskFiles(mask=folder / f"{name}.nii.gz")) for name in ("ref", "pred")]
    masks = [s.semantic if kind == "semantic" else s.instance for s in sides]
    spacing_mm = masks[0].geometry.spacing_mm
    if kind == "semantic":
        wanted = np.arange(41, 51) if group == "vertebra" else np.array([100])
        one, two = (np.isin(m.labels, wanted).astype(np.uint8) for m in masks)
    else:
        one, two = (GROUPS[group](m.labels) for m in masks)
    matcher = Matcher.LABELS if kind == "matched_instance" else Matcher.NAIVE
    ours = panoptic_quality(one, two, spacing_mm, matcher=matcher, components=kind == "semantic")
    theirs = panoptica_itself(kind, one, two, spacing_mm)
    assert (ours.tp, ours.fp, ours.fn) == (theirs.tp, theirs.fp, theirs.fn)
    assert (ours.rq, ours.sq, ours.pq, ours.dice) == (theirs.rq, theirs.sq, theirs.pq, theirs.sq_dsc)
    assert ours.assd_two_way == pytest.approx(theirs.sq_assd, abs=1e-6)  # it rounds distances to float32's precision
    assert ours.tp > 0


@pytest.mark.parametrize("components", [False, True])
@pytest.mark.parametrize("matcher", [Matcher.NAIVE, Matcher.BIPARTITE, Matcher.MERGE])
def test_panoptica_over_the_whole_volume_says_the_same(matcher, components):
    import panoptica as p

    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 4, (2, 4, 5, 3)) * rng.integers(0, 2, (2, 4, 5, 3))
    reference, prediction = coarse.repeat(3, 1).repeat(2, 2).repeat(3, 3).astype(np.uint16)
    reference[reference == 3], prediction[0] = 300, reference[0]
    prediction[1:7] = np.where(reference[1:7] > 0, reference[1:7] // 2 + 1, 0)
    ours = panoptic_quality(reference, prediction, (1, 1, 1), matcher=matcher, components=components)
    matchers = (p.NaiveThresholdMatching, p.MaxBipartiteMatching, p.instance_matcher.MaximizeMergeMatching)
    whole = p.Panoptica_Evaluator(
        expected_input=p.InputType.SEMANTIC if components else p.InputType.UNMATCHED_INSTANCE,
        instance_approximator=p.ConnectedComponentsInstanceApproximator() if components else None,
        instance_matcher=matchers[[Matcher.NAIVE, Matcher.BIPARTITE, Matcher.MERGE].index(matcher)](),
        instance_metrics=[p.Metric.DSC, p.Metric.IOU],
        global_metrics=[],
    )
    (theirs,) = whole.evaluate(prediction, reference).values()
    assert (ours.tp, ours.fp, ours.fn) == (theirs.tp, theirs.fp, theirs.fn)
    assert (ours.rq, ours.sq, ours.pq, ours.dice) == (theirs.rq, theirs.sq, theirs.pq, theirs.sq_dsc)
    assert 0 < ours.tp < ours.n_reference


def test_nothing_holds_the_arrays_of_a_subject_that_is_done():
    def measured():
        masks = [line(1, 1, 0, 2, 2), line(1, 1, 0, 0, 3)]
        panoptic_quality(*masks, (1, 1, 1))
        return [weakref.ref(mask) for mask in masks]

    gc.disable()
    try:
        assert all(array() is None for array in measured())
    finally:
        gc.enable()


def line(*labels):
    return np.array(labels, np.uint8).reshape(-1, 1, 1)


def test_qualities_by_hand():
    # Reference 1: 4 voxels, prediction 5 on 3 of them: IoU 3/4, Dice 6/7. Reference 2 missed. Prediction 6 is false.
    # RQ = 1 / (1 + 1/2 + 1/2) = 1/2, SQ = 3/4, PQ = 3/8.
    reference = line(1, 1, 1, 1, 0, 2, 2, 2, 0, 0, 0)
    prediction = line(5, 5, 5, 0, 0, 0, 0, 0, 0, 6, 6)
    found = panoptic_quality(reference, prediction, (2.0, 1.0, 1.0))
    assert (found.tp, found.fp, found.fn) == (1, 1, 1)
    assert (found.rq, found.sq, found.pq) == (0.5, 0.75, 0.375)
    assert found.dice == pytest.approx(6 / 7)
    # Every voxel is surface; distances 0 0 0 and 2 mm one way, 0 0 0 the other: 2 / 7, and (2/4 + 0) / 2 two-way.
    assert found.assd == pytest.approx(2 / 7)
    assert found.assd_two_way == pytest.approx(1 / 4)


def test_an_iou_of_exactly_one_half_is_a_true_positive():
    found = panoptic_quality(line(1, 1, 1, 1), line(3, 3, 0, 0), (1, 1, 1))
    assert (found.tp, found.sq) == (1, 0.5)
    below = panoptic_quality(line(1, 1, 1, 1, 1), line(3, 3, 0, 0, 0), (1, 1, 1))
    assert (below.tp, below.rq, below.pq, below.assd) == (0, 0, 0, None)


def test_matchers_differ_where_they_should():
    # One vertebra of 10 voxels predicted in two pieces of 6 and 4.
    reference, prediction = line(*[1] * 10), line(*[1] * 6, *[2] * 4)
    naive = panoptic_quality(reference, prediction, (1, 1, 1))
    assert (naive.tp, naive.fp, naive.sq) == (1, 1, 0.6)
    merged = panoptic_quality(reference, prediction, (1, 1, 1), matcher=Matcher.MERGE)
    assert (merged.tp, merged.fp, merged.sq) == (1, 0, 1.0)
    assert panoptic_quality(reference, prediction, (1, 1, 1), matcher=Matcher.BIPARTITE).tp == 1
    renamed = line(*[7] * 10)
    assert panoptic_quality(reference, renamed, (1, 1, 1), matcher=Matcher.LABELS).tp == 0
    assert panoptic_quality(reference, renamed, (1, 1, 1)).tp == 1


@pytest.mark.parametrize(
    ("reference", "prediction", "note", "dice", "rq"),
    [
        (line(1, 1, 0), line(0, 0, 0), Note.MISSED, 0, 0),
        (line(0, 0, 0), line(1, 1, 0), Note.ONLY_IN_PREDICTION, None, None),
        (line(1, 1, 0, 0), line(0, 0, 2, 2), Note.UNMATCHED, 0, 0),
    ],
)
def test_edge_cases_are_named(reference, prediction, note, dice, rq):
    quality = panoptic_quality(reference, prediction, (1, 1, 1))
    scores = {s.metric: s for s in instance_scores("vertebra", "all", quality)}
    assert {s.note for s in scores.values()} == {note}
    assert (scores[Metric.DSC].value, scores[Metric.RQ].value, scores[Metric.ASSD].value) == (dice, rq, None)


def test_nothing_on_both_sides_is_no_number():
    assert instance_scores("disc", "all", panoptic_quality(line(0, 0), line(0, 0), (1, 1, 1))) == []
