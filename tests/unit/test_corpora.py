from __future__ import annotations

import numpy as np
import pytest

from spineps.errors import FindingCode
from spineps.labels import Structure
from spineps.stages.corpora import find_corpora
from tests.spines import make_spine


def _found(spine, labels=None, **options):
    labels = spine.labels() if labels is None else labels
    return find_corpora(labels, spine.semantic.geometry.spacing_mm, **options)


def _distances_mm(spine, corpora):
    spacing = np.asarray(spine.semantic.geometry.spacing_mm)
    offset = np.array([c.centre_vox for c in corpora]) - np.array(spine.centres_vox)
    return np.linalg.norm(offset * spacing, axis=1)


def _fuse(spine, upper, *, waist=0.6):
    """Body through the disc below one vertebra, as wide as a share of the bodies."""
    labels = spine.labels()
    one, other = spine.body_box(upper), spine.body_box(upper + 1)
    p, r = (int((one.start[a] + one.stop[a]) / 2) for a in (0, 2))
    half = [max(1, int(waist * one.shape[a] / 2)) for a in (0, 2)]
    region = (slice(p - half[0], p + half[0]), slice(one.stop[1] - 1, other.start[1] + 1), slice(r - half[1], r + half[1]))
    labels[region] = Structure.CORPUS
    return labels


@pytest.mark.parametrize("spacing", [(0.75, 0.75, 1.65), (1.0, 1.0, 4.4), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_body_is_found_at_its_centre(spacing, count):
    spine = make_spine(count, spacing)
    corpora, findings = _found(spine)
    assert len(corpora) == count
    assert _distances_mm(spine, corpora).max() < 1.5 * max(spacing)
    assert findings == ()


def test_cervical_bodies_survive_the_erosion():
    spine = make_spine(6, (2.0, 2.0, 2.0), pitch_mm=16.0)
    corpora, _ = _found(spine)
    assert len(corpora) == 6


def test_no_bodies_no_centres():
    spine = make_spine(2)
    labels = spine.labels()
    labels[labels == Structure.CORPUS] = 0
    assert _found(spine, labels) == ((), ())


@pytest.mark.parametrize("waist", [0.4, 0.8, 1.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 2.0), (2.0, 2.0, 2.0)])
def test_fused_bodies_are_split_with_a_finding(spacing, waist):
    spine = make_spine(6, spacing)
    corpora, findings = _found(spine, _fuse(spine, 3, waist=waist))
    assert len(corpora) == 6
    assert _distances_mm(spine, corpora).max() < 7
    assert [f.code for f in findings] == [FindingCode.MERGED_CORPUS_SPLIT]


def test_three_fused_bodies_are_split():
    spine = make_spine(8)
    labels = np.maximum(_fuse(spine, 3) * (_fuse(spine, 3) == Structure.CORPUS), 0)
    both = np.where((labels == Structure.CORPUS) | (_fuse(spine, 4) == Structure.CORPUS), Structure.CORPUS, spine.labels())
    corpora, findings = _found(spine, both.astype(np.uint8))
    assert len(corpora) == 8
    assert len(findings) == 1


def test_fused_bodies_are_split_where_all_discs_are_missing():
    spine = make_spine(6)
    labels = _fuse(spine, 2)
    labels[np.isin(labels, (Structure.DISC, Structure.ENDPLATE))] = 0
    assert len(_found(spine, labels)[0]) == 6


def test_two_fused_bodies_alone_are_split():
    spine = make_spine(2)
    assert len(_found(spine, _fuse(spine, 1))[0]) == 2


def test_fused_bodies_are_kept_and_reported_if_asked_so():
    spine = make_spine(6)
    corpora, findings = _found(spine, _fuse(spine, 3), split_merged=False)
    assert len(corpora) == 5
    assert [f.code for f in findings] == [FindingCode.MERGED_CORPUS_KEPT]


def test_missing_discs_do_not_split_bodies():
    spine = make_spine(7)
    labels = spine.labels()
    planes = slice(spine.body_box(3).start[1], spine.body_box(6).stop[1])
    part = labels[:, planes]
    part[np.isin(part, (Structure.DISC, Structure.ENDPLATE))] = 0
    corpora, findings = _found(spine, labels)
    assert len(corpora) == 7
    assert findings == ()


def test_a_collapsed_neighbour_does_not_split_a_healthy_body():
    spine = make_spine(6)
    labels = spine.labels()
    box = spine.body_box(3)
    part = labels[box.slices]
    part[:, : box.shape[1] // 2][part[:, : box.shape[1] // 2] == Structure.CORPUS] = 0
    corpora, findings = _found(spine, labels)
    assert len(corpora) == 6
    assert findings == ()


def test_halves_of_a_split_body_are_one():
    spine = make_spine(4, (1.0, 1.0, 1.5))
    labels = spine.labels()
    box = spine.body_box(2)
    middle = (box.start[2] + box.stop[2]) // 2
    labels[box.start[0] : box.stop[0], box.start[1] : box.stop[1], middle - 1 : middle + 1] = 0
    corpora, _ = _found(spine, labels)
    assert len(corpora) == 4


def test_a_thin_slice_of_a_body_at_the_edge_is_a_body():
    spine = make_spine(4, (1.0, 1.0, 1.5))
    cut = spine.body_box(1).stop[1] - 3
    labels = np.ascontiguousarray(spine.labels()[:, cut:])
    corpora, _ = find_corpora(labels, (1.0, 1.0, 1.5))
    assert len(corpora) == 4


def test_small_islands_are_no_bodies():
    spine = make_spine(4)
    labels = spine.labels()
    labels[1:4, 2:5, 1:4] = Structure.CORPUS
    assert len(_found(spine, labels)[0]) == 4


def test_the_masks_of_the_bodies_are_whole():
    spine = make_spine(3, (1.0, 1.0, 2.0))
    corpora, _ = _found(spine)
    body = spine.semantic.labels == Structure.CORPUS
    assert sum(np.count_nonzero(c.mask) for c in corpora) > 0.97 * np.count_nonzero(body)
    assert all(body[c.box.slices][c.mask].all() and c.single for c in corpora)


def test_cuts_that_are_not_final_are_marked():
    spine = make_spine(6)
    corpora, findings = _found(spine, _fuse(spine, 3), cuts_are_final=False)
    assert [c.single for c in corpora] == [True, True, False, False, True, True]
    assert [f.code for f in findings] == [FindingCode.MERGED_CORPUS_SPLIT]
