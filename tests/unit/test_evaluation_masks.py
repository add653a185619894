"""Which files belong together, which masks fit together, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_masks import box_spine, write_masks

from spineps.errors import ErrorCode, InputError, UsageError
from spineps.evaluation.masks import Masks, onto_grid, pair_masks, read_masks, read_pair, scheme_of
from spineps.evaluation.pairs import MaskFiles, find_masks, pair_folders, read_pairs
from spineps.evaluation.subject import measure_subject
from spineps.geometry import Box, Geometry, Reorientation
from spineps.io.atomic import write_nifti, write_text
from spineps.labels import Scheme
from spineps.volume import LabelMap


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        write_text(folder / name, "x")
    return folder


@pytest.mark.parametrize(
    ("reference", "prediction"),
    [
        ("sub-01_T2w_seg-spine_msk.nii.gz", "sub-01_mod-T2w_seg-spine_msk.nii.gz"),
        ("phantom-1_seg-spine_msk.nii.gz", "sub-phantom-1-T2w_mod-T2w_seg-spine_msk.nii.gz"),
        ("01_seg-subreg_msk.nii.gz", "sub-01_space-orig_seg-spine_desc-T2w_dseg.nii.gz"),
        ("sub-01_ses-2_run-1_seg-spine_msk.nii", "sub-01_ses-2_run-1_mod-T2w_seg-spine_msk.nii.gz"),
    ],
)
def test_names_of_one_subject_meet(tmp_path, reference, prediction):
    touch(tmp_path / "ref", reference, "sub-01_T2w.nii.gz", "sub-01_seg-spine_snp.png")
    touch(tmp_path / "out", prediction)
    (pair,) = pair_folders(tmp_path / "ref", {"ours": tmp_path / "out"})
    assert pair.prediction is not None
    assert pair.reference.semantic == tmp_path / "ref" / reference
    assert pair.prediction.semantic == tmp_path / "out" / prediction


def test_kinds_are_told_by_the_names(tmp_path):
    touch(tmp_path, "sub-1_seg-spine_msk.nii.gz", "sub-1_seg-vert_msk.nii.gz", "sub-1_seg-subreg_ctd.json", "sub-2.nii.gz")
    found = find_masks(tmp_path)
    assert list(found) == ["1", "2"]
    assert all((found["1"].semantic, found["1"].instance, found["1"].centroids, found["2"].mask))


def test_a_result_folder_of_ours_is_a_side(tmp_path):
    mine = "sub-1_mod-T2w_seg-"
    touch(tmp_path, *(mine + end for end in ("spine_msk.nii.gz", "vert_msk.nii.gz", "spine_ctd.json", "vb_ctd.json")))
    touch(tmp_path, "sub-1_mod-T2w_seg-spine_poi.json", "sub-1_mod-T2w_seg-spine_snp.png", "sub-1_mod-T2w_run.json")
    (files,) = find_masks(tmp_path).values()
    assert [path.name for path in files.existing()] == [
        f"{mine}spine_msk.nii.gz",
        f"{mine}vert_msk.nii.gz",
        f"{mine}vb_ctd.json",
    ]


def test_two_scans_of_a_subject_stay_apart(tmp_path):
    touch(tmp_path, "sub-1_mod-T1w_seg-spine_msk.nii.gz", "sub-1_mod-T2w_seg-spine_msk.nii.gz")
    assert list(find_masks(tmp_path)) == ["1_mod-T1w", "1_mod-T2w"]


def test_what_cannot_be_paired_is_refused(tmp_path):
    touch(tmp_path / "ref", "sub-1_seg-vert_msk.nii.gz", "sub-2_seg-vert_msk.nii.gz")
    touch(tmp_path / "out", "sub-1_seg-vert_msk.nii.gz", "sub-9_seg-vert_msk.nii.gz")
    with pytest.raises(InputError, match="'9' of 'ours' has no reference"):
        pair_folders(tmp_path / "ref", {"ours": tmp_path / "out"})
    touch(tmp_path / "twice" / "a", "sub-1_seg-vert_msk.nii.gz")
    touch(tmp_path / "twice" / "b", "sub-1_seg-vert_msk.nii.gz")
    with pytest.raises(InputError, match="the same subject and kind"):
        find_masks(tmp_path / "twice")
    with pytest.raises(InputError, match="does not exist"):
        find_masks(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no mask"):
        find_masks(tmp_path / "empty")


def test_a_missing_prediction_stays_in_the_list(tmp_path):
    touch(tmp_path / "ref", "sub-1_seg-vert_msk.nii.gz", "sub-2_seg-vert_msk.nii.gz")
    touch(tmp_path / "out", "sub-1_seg-vert_msk.nii.gz", "README.txt")
    assert [p.prediction is None for p in pair_folders(tmp_path / "ref", {"ours": tmp_path / "out"})] == [False, True]


def test_a_table_of_pairs(tmp_path):
    touch(tmp_path, "r.nii.gz", "p.nii.gz")
    write_text(tmp_path / "pairs.tsv", "case\treference_mask\tprediction_mask\na\tr.nii.gz\tp.nii.gz\nb\tr.nii.gz\t\n")
    one, two = read_pairs(tmp_path / "pairs.tsv")
    assert one.prediction is not None
    assert (one.case, one.method, one.prediction.mask) == ("a", "prediction", tmp_path / "p.nii.gz")
    assert two.prediction is None
    for text, error in (("case\tfoo\n", "columns"), ("case\treference_mask\n\tr.nii.gz\n", "no case")):
        write_text(tmp_path / "bad.tsv", text)
        with pytest.raises(UsageError, match=error):
            read_pairs(tmp_path / "bad.tsv")
    write_text(tmp_path / "bad.tsv", "case\treference_mask\na\tno.nii.gz\n")
    with pytest.raises(InputError, match="does not exist"):
        read_pairs(tmp_path / "bad.tsv")


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ([0, 41, 49, 60, 100], Scheme.SEMANTIC),
        ([0, 26, 49, 52, 53], Scheme.SEMANTIC),
        ([0, 2, 3, 26, 102, 103, 202], Scheme.INSTANCE),
        ([0, 16, 24], Scheme.INSTANCE),
        ([0, 28, 128], Scheme.INSTANCE),
        ([0, 26, 100], None),
        ([0, 49, 7], None),
        ([0, 1, 77], None),
    ],
)
def test_schemes_are_told_by_the_labels(labels, scheme):
    assert scheme_of(np.array(labels, np.uint8).reshape(-1, 1, 1)) is scheme


def test_schemes_that_differ_are_refused(tmp_path):
    masks = box_spine()
    with pytest.raises(InputError, match="label schemes differ"):
        pair_masks(Masks(semantic=masks.semantic), Masks(instance=masks.instance))
    swapped = Masks(replace(masks.instance, scheme=Scheme.SEMANTIC), None)
    write_masks(swapped, tmp_path / "ref", "1")
    (pair,) = pair_folders(tmp_path / "ref", {"a": tmp_path / "ref"})
    with pytest.raises(InputError, match="expected labels of the semantic scheme") as error:
        read_pair(pair)
    assert error.value.code is ErrorCode.INPUT_LABELS


def test_grids_that_differ_are_refused_or_resampled():
    reference = box_spine()
    grid = reference.semantic.geometry
    turn = Reorientation.between(grid.axes, ("L", "A", "S"))
    turned = Masks(
        *(LabelMap(turn.apply(m.labels), turn.apply_geometry(grid), m.scheme) for m in (reference.semantic, reference.instance))
    )
    with pytest.raises(InputError, match="--resample") as error:
        pair_masks(reference, turned)
    assert error.value.code is ErrorCode.INPUT_SHAPE
    pair = pair_masks(reference, turned, resample=True)
    for scheme in Scheme:
        one, two = pair.arrays(scheme)
        assert np.array_equal(one, two)
    assert len(pair.remarks) == 2
    moved = Geometry(grid.shape, grid.affine + np.diag([0, 0, 0, 0]) + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3))
    with pytest.raises(InputError, match="other affines") as error:
        pair_masks(reference, Masks(replace(reference.semantic, geometry=moved)))
    assert error.value.code is ErrorCode.INPUT_AFFINE


def test_resampling_leaves_background_beyond_the_prediction():
    mask = box_spine().instance
    assert mask is not None
    bigger = Geometry.from_spacing((60, 60, 30), mask.geometry.spacing_mm)
    there = onto_grid(mask, bigger)
    assert np.count_nonzero(there.labels) == np.count_nonzero(mask.labels)
    assert np.array_equal(onto_grid(there, mask.geometry).labels, mask.labels)


def test_without_a_prediction_everything_is_missed(tmp_path):
    write_masks(box_spine(), tmp_path, "1")
    (pair,) = pair_folders(tmp_path, {"a": tmp_path})
    found = read_pair(replace(pair, prediction=None))
    assert found.prediction.kinds() == set(Scheme)
    assert not found.arrays(Scheme.SEMANTIC)[1].any()


def test_a_prediction_that_found_nothing_is_an_answer_not_an_error(tmp_path):
    geometry = Geometry.from_spacing((20, 60, 12), (1.0, 1.0, 2.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[4:12, 10:20, 3:9], labels[4:12, 25:35, 3:9] = 2, 3
    reference, prediction = tmp_path / "sub-1_seg-vert_msk.nii.gz", tmp_path / "found_sub-1_seg-vert_msk.nii.gz"
    write_nifti(reference, labels, geometry)
    write_nifti(prediction, np.zeros_like(labels), geometry)
    masks = read_masks(MaskFiles(instance=prediction))
    assert masks.instance is not None
    assert not masks.instance.labels.any()
    assert read_masks(MaskFiles(instance=reference)).instance.labels.any()


def test_the_air_around_a_patient_changes_no_number():
    def with_air(masks: Masks) -> Masks:
        def wider(mask: LabelMap) -> LabelMap:
            grid = mask.geometry.cropped(Box((-5, -3, -2), tuple(n + 4 for n in mask.geometry.shape)))
            return replace(mask, labels=np.pad(mask.labels, ((5, 4), (3, 4), (2, 4))), geometry=grid)

        return Masks(wider(masks.semantic), wider(masks.instance))

    one, two = box_spine(), box_spine(shift=1)
    tight, wide = pair_masks(one, two), pair_masks(with_air(one), with_air(two))
    assert wide.geometry.matches(tight.geometry)
    assert wide.geometry.shape == tight.geometry.shape < one.semantic.geometry.shape
    assert measure_subject(wide) == measure_subject(tight)
