from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spineps.errors import FindingCode
from spineps.geometry import Geometry
from spineps.labels import Scheme, Structure
from spineps.stages.clean import clean_semantic, fill_holes
from spineps.volume import LabelMap
from tests.spines import make_spine


@pytest.fixture(scope="module")
def spine():
    return make_spine(6, (1.5, 1.5, 2.5))


def test_a_clean_spine_stays_as_it_is(spine):
    cleaned, findings = clean_semantic(spine.semantic)
    assert np.array_equal(cleaned.labels, spine.semantic.labels)
    assert findings == ()


def test_an_empty_mask_stays_empty():
    empty = LabelMap(np.zeros((9, 9, 9), np.uint8), Geometry.from_spacing((9, 9, 9), (1, 1, 1)), Scheme.SEMANTIC)
    assert not clean_semantic(empty)[0].labels.any()


def test_specks_of_a_label_go(spine):
    labels = spine.labels()
    p, i, r = (int(v) for v in spine.centres_vox[2])
    labels[p : p + 2, i : i + 2, r] = Structure.SPINOUS  # 22 mm³, inside a body
    cleaned, _ = clean_semantic(spine.edited(labels))
    assert np.array_equal(cleaned.labels, spine.semantic.labels)  # removed, and the hole that it left is filled


def test_an_island_in_front_of_the_spine_goes_with_a_finding():
    spine = make_spine(6, (1.5, 1.5, 2.5))
    wide = np.pad(spine.labels(), ((40, 0), (0, 0), (0, 0)))
    geometry = Geometry.from_spacing(wide.shape, (1.5, 1.5, 2.5))
    clean = LabelMap(wide.copy(), geometry, Scheme.SEMANTIC)
    wide[2:30, 20:90, 4:20] = Structure.CORPUS  # larger than the whole column
    wide[2:20, 95:110, 4:20] = Structure.DISC
    cleaned, findings = clean_semantic(LabelMap(wide, geometry, Scheme.SEMANTIC))
    assert np.array_equal(cleaned.labels, clean.labels)
    assert [f.code for f in findings] == [FindingCode.STRAY_REMOVED]


@pytest.mark.parametrize("gap", [(60, 78), (62, 92)])
def test_a_spine_that_a_gap_breaks_is_kept_whole(spine, gap):
    labels = spine.labels()
    labels[:, gap[0] : gap[1]] = 0
    cleaned, findings = clean_semantic(spine.edited(labels))
    lost = np.count_nonzero(labels) - np.count_nonzero(cleaned.labels)
    assert lost < 0.01 * np.count_nonzero(labels)
    assert len(findings) == (lost > 0)


def test_a_sacrum_beside_the_lumbar_spine_goes_and_the_true_one_stays(spine):
    labels = spine.labels()
    labels[0:6, 40:70, 4:20][labels[0:6, 40:70, 4:20] == 0] = Structure.SACRUM
    cleaned, _ = clean_semantic(spine.edited(labels))
    assert np.array_equal(cleaned.labels, spine.semantic.labels)


def test_a_sacrum_in_two_pieces_is_kept(spine):
    labels = spine.labels()
    sacrum = np.flatnonzero((labels == Structure.SACRUM).any(axis=(0, 2)))
    middle = int(sacrum.mean())
    part = labels[:, middle : middle + 3]
    part[part == Structure.SACRUM] = 0
    cleaned, _ = clean_semantic(spine.edited(labels))
    assert np.array_equal(cleaned.labels == Structure.SACRUM, labels == Structure.SACRUM)


def test_the_top_of_a_sacrum_beside_the_last_disc_is_kept(spine):
    labels = spine.labels()
    discs = np.argwhere(labels == Structure.DISC)
    low = int(discs[:, 1].max())
    disc = discs[discs[:, 1] > low - 5]
    labels = labels[:, : low + 1].copy()  # the field of view ends with the disc
    behind = labels[disc[:, 0].max() + 2 : disc[:, 0].max() + 8, low - 5 : low, :10]
    behind[behind == 0] = Structure.SACRUM
    cut = LabelMap(labels, Geometry.from_spacing(labels.shape, spine.semantic.geometry.spacing_mm), Scheme.SEMANTIC)
    assert np.array_equal(clean_semantic(cut)[0].labels == Structure.SACRUM, labels == Structure.SACRUM)


def test_a_piece_beside_the_sacrum_goes(spine):
    labels = spine.labels()
    sacrum = np.argwhere(labels == Structure.SACRUM)
    p, i = (int(sacrum[:, axis].max()) for axis in (0, 1))
    behind = labels[p + 6 : p + 12, i - 8 : i]  # 9 mm behind its hindmost voxel
    behind[:, :, 10:20][behind[:, :, 10:20] == 0] = Structure.SACRUM
    cleaned, _ = clean_semantic(spine.edited(labels))
    assert np.array_equal(cleaned.labels, spine.semantic.labels)


def test_a_loose_spinous_process_is_kept(spine):
    labels = spine.labels()
    box = labels[:, : spine.body_box(2).stop[1]]
    gap = (spine.truth[:, : box.shape[1]] == 1) & (box == Structure.SPINOUS)
    planes = np.flatnonzero(gap.any(axis=(1, 2)))
    gap[planes[0] + 4 :] = False  # cut off the first 6 mm of the process
    box[gap] = 0
    cleaned, _ = clean_semantic(spine.edited(labels))
    assert np.array_equal(cleaned.labels, labels)


def test_holes_are_filled_but_the_cord_in_the_canal_is_none(spine):
    labels = spine.labels()
    p, i, r = (int(v) for v in spine.centres_vox[1])
    labels[p - 2 : p + 2, i - 2 : i + 2, r - 1 : r + 1] = 0
    filled = fill_holes(labels)
    assert np.array_equal(filled, spine.semantic.labels)
    ball = np.full((9, 9, 9), Structure.CANAL, np.uint8)
    ball[3:6, 3:6, 3:6] = Structure.CORD
    assert np.array_equal(fill_holes(ball), ball)


def test_cleaning_twice_changes_nothing(spine):
    rng = np.random.default_rng(4)
    labels = spine.labels()
    labels[rng.random(labels.shape) < 0.002] = Structure.DISC
    once, _ = clean_semantic(spine.edited(labels))
    twice, _ = clean_semantic(once)
    assert np.array_equal(once.labels, twice.labels)


def test_a_body_painted_below_the_sacrum_goes_and_the_sacrum_stays(spine):
    labels = np.pad(spine.labels(), ((0, 0), (0, 60), (0, 0)))
    sacrum = np.argwhere(labels == Structure.SACRUM)
    p, r = (int(sacrum[:, axis].mean()) for axis in (0, 2))
    bottom = int(sacrum[:, 1].max())
    clean = labels.copy()
    labels[p - 4 : p + 4, bottom + 3 : bottom + 14, r - 4 : r + 4] = Structure.CORPUS
    geometry = Geometry.from_spacing(labels.shape, spine.semantic.geometry.spacing_mm)
    cleaned, findings = clean_semantic(LabelMap(labels, geometry, Scheme.SEMANTIC))
    assert np.array_equal(cleaned.labels, clean)
    assert [f.code for f in findings] == [FindingCode.STRAY_REMOVED]


def test_a_canal_painted_beside_the_spine_goes_though_it_touches_a_body(spine):
    labels = np.pad(spine.labels(), ((0, 0), (0, 0), (0, 16)))
    geometry = Geometry.from_spacing(labels.shape, spine.semantic.geometry.spacing_mm)
    clean = labels.copy()
    body = np.argwhere(labels == Structure.CORPUS)
    p, i = (int(body[:, axis].mean()) for axis in (0, 1))
    r = int(body[:, 2].max()) + 1
    side = labels[p - 5 : p + 15, i - 20 : i + 20, r : r + 14]
    side[side == 0] = Structure.CANAL
    assert np.count_nonzero(labels) > np.count_nonzero(clean) + 5000
    cleaned, findings = clean_semantic(LabelMap(labels, geometry, Scheme.SEMANTIC))
    assert np.array_equal(cleaned.labels, clean)
    assert [f.code for f in findings] == [FindingCode.STRAY_REMOVED]


def test_an_arch_larger_than_the_only_body_does_not_stop_the_run() -> None:
    labels = np.zeros((60, 60, 20), np.uint8)
    labels[10:30, 5:25, 2:18] = Structure.CORPUS
    labels[40:58, 30:58, 1:19] = Structure.ARCUS
    cleaned = clean_semantic(LabelMap(labels, Geometry.from_spacing(labels.shape, (1, 1, 2)), Scheme.SEMANTIC))[0].labels
    assert np.array_equal(cleaned == Structure.CORPUS, labels == Structure.CORPUS)


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(
        st.tuples(st.sampled_from(list(Structure)), st.integers(0, 30), st.integers(0, 30), st.integers(1, 24)), max_size=5
    )
)
def test_no_mask_stops_the_cleaning(blocks: list[tuple[Structure, int, int, int]]) -> None:
    labels = np.zeros((44, 44, 16), np.uint8)
    for structure, front, top, size in blocks:
        labels[front : front + size, top : top + size, 2:14] = structure
    cleaned = clean_semantic(LabelMap(labels, Geometry.from_spacing(labels.shape, (1, 1, 2)), Scheme.SEMANTIC))[0].labels
    assert set(np.unique(cleaned)) <= {0, *np.unique(labels)}
