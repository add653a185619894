"""Scans are found in the layouts of the official BIDS examples, rebuilt as empty files, and pybids agrees."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spineps.cohort.discover import find_scans, parse_name
from spineps.cohort.filters import meets_any, read_filters
from spineps.cohort.settings import Selection
from spineps.errors import ErrorCode, InputError, UsageError

BOTH = Selection(modalities=("T1w", "T2w"))


def subjects(count: int, pattern: str) -> list[str]:
    return [pattern.format(s=f"{number:02d}") for number in range(1, count + 1)]


# Name of the example to the raw T1w and T2w scans in it, and to other files of it.
LAYOUTS = {
    "7t_trt": (
        subjects(3, "sub-{s}/ses-1/anat/sub-{s}_ses-1_T1w.nii.gz"),
        [
            *subjects(3, "sub-{s}/ses-1/anat/sub-{s}_ses-1_T1map.nii.gz"),
            *subjects(3, "sub-{s}/ses-2/fmap/sub-{s}_ses-2_run-1_magnitude1.nii.gz"),
            "derivatives/bids-validator/output.json",
        ],
    ),
    "hcp_example_bids": (
        ["sub-100307/anat/sub-100307_T1w.nii.gz", "sub-100307/anat/sub-100307_T2w.nii.gz"],
        ["sub-100307/fmap/sub-100307_acq-forT1w_phasediff.nii.gz", "sub-100307/dwi/sub-100307_dir-LR_dwi.nii.gz"],
    ),
    "pet001": (["sub-01/ses-01/anat/sub-01_ses-01_T1w.nii"], ["sub-01/ses-01/pet/sub-01_ses-01_pet.nii.gz"]),
    "ds000117": (
        subjects(2, "sub-{s}/ses-mri/anat/sub-{s}_ses-mri_acq-mprage_T1w.nii.gz"),
        [
            *subjects(2, "sub-{s}/ses-mri/anat/sub-{s}_ses-mri_run-1_echo-1_FLASH.nii.gz"),
            "derivatives/meg_derivatives/sub-01/ses-meg/meg/sub-01_ses-meg_proc-sss_meg.fif",
            "sub-emptyroom/ses-20090409/meg/sub-emptyroom_ses-20090409_task-noise_meg.fif",
        ],
    ),
    "synthetic": (
        subjects(2, "sub-{s}/ses-01/anat/sub-{s}_ses-01_T1w.nii"),
        [
            *subjects(2, "derivatives/fmriprep/sub-{s}/ses-01/func/sub-{s}_ses-01_task-rest_space-T1w_desc-preproc_bold.nii"),
            *subjects(2, "derivatives/fmriprep/sub-{s}/anat/sub-{s}_desc-preproc_T1w.nii"),
            "sub-01/ses-01/func/sub-01_ses-01_task-rest_bold.nii.gz",
        ],
    ),
    "ds000001-fmriprep": (
        [],
        [
            "sub-10/anat/sub-10_desc-preproc_T1w.nii.gz",
            "sub-10/anat/sub-10_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz",
        ],
    ),
    "qmri_mp2rage": ([], ["sub-1/anat/sub-1_inv-1_MP2RAGE.nii.gz", "sub-1/anat/sub-1_inv-2_part-mag_MP2RAGE.nii.gz"]),
    "atlas-4S": (
        [],
        [
            "sub-01/ses-2mo/anat/sub-01_ses-2mo_space-anat_desc-preproc_T1w.nii.gz",
            "sourcedata/atlas-4S/tpl-MNIInfant/cohort-1/anat/tpl-MNIInfant_cohort-1_T1w.nii.gz",
        ],
    ),
    "spine": (
        [
            *(
                f"sub-amu01/ses-1/anat/sub-amu01_ses-1_acq-sag_{rest}T2w.nii.gz"
                for rest in ("run-1_", "run-2_", "rec-norm_run-1_", "ce-gad_", "chunk-1_", "chunk-2_")
            ),
            "sub-amu01/ses-1/anat/sub-amu01_ses-1_T1w.nii.gz",
            "sub-02/anat/sub-02_T2w.nii.gz",
        ],
        [
            "sub-02/anat/sub-02_defacemask.nii.gz",
            "sub-02/anat/sub-02_T2star.nii.gz",
            "sourcedata/sub-02/anat/sub-02_T2w.nii.gz",
            "code/sub-02_T2w.nii.gz",
            ".git/annex/objects/sub-02_T2w.nii.gz",
            "derivatives/labels/sub-02/anat/sub-02_T2w.nii.gz",
            "derivatives/labels/sub-02/anat/sub-02_T2w_seg.nii.gz",
        ],
    ),
}
DERIVATIVES = {"ds000001-fmriprep", "atlas-4S"}


def build(folder: Path, files: list[str], name: str = "made") -> Path:
    for file in files:
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    description = {"Name": name, "BIDSVersion": "1.8.0"}
    if name in DERIVATIVES:
        description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "made"}]}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


def found(folder: Path, selection: Selection = BOTH) -> list[str]:
    return [scan.relative for scan in find_scans(folder, selection)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_the_bids_examples(tmp_path: Path, name: str) -> None:
    scans, others = LAYOUTS[name]
    assert found(build(tmp_path, scans + others, name)) == sorted(scans)


@pytest.mark.parametrize("name", LAYOUTS)
def test_pybids_finds_the_same(tmp_path: Path, name: str) -> None:
    bids = pytest.importorskip("bids", reason="pybids is not installed")
    scans, others = LAYOUTS[name]
    folder = build(tmp_path, scans + others, name)
    listed = bids.BIDSLayout(folder).get(suffix=["T1w", "T2w"], extension=[".nii", ".nii.gz"])
    assert sorted(os.path.relpath(file.path, folder) for file in listed) == found(folder)


def test_one_modality_sessions_and_participants(tmp_path: Path) -> None:
    scans, others = LAYOUTS["spine"]
    folder = build(tmp_path, scans + others)
    assert found(folder, Selection(modalities=("T1w",))) == ["sub-amu01/ses-1/anat/sub-amu01_ses-1_T1w.nii.gz"]
    assert found(folder, Selection(participants=("sub-02",))) == found(folder, Selection(participants=("02",)))
    assert len(found(folder, Selection(participants=("02",)))) == 1
    assert len(found(folder, Selection(sessions=("ses-1",)))) == 6


def test_other_planes_and_phase_images_are_left_out_by_name(tmp_path: Path) -> None:
    folder = build(
        tmp_path, [f"sub-1/anat/sub-1_{x}T2w.nii.gz" for x in ("", "acq-ax_", "acq-cor_", "part-phase_", "part-mag_")]
    )
    assert found(folder) == ["sub-1/anat/sub-1_T2w.nii.gz", "sub-1/anat/sub-1_part-mag_T2w.nii.gz"]


def test_a_rawdata_folder_is_the_root_of_the_scans(tmp_path: Path) -> None:
    build(tmp_path, ["rawdata/sub-1/anat/sub-1_T2w.nii.gz", "other/sub-2_T2w.nii.gz"])
    assert found(tmp_path) == ["sub-1/anat/sub-1_T2w.nii.gz"]
    assert found(tmp_path, Selection(rawdata="other")) == ["sub-2_T2w.nii.gz"]


def test_results_are_never_taken_for_scans(tmp_path: Path) -> None:
    build(tmp_path, ["sub-1_T2w.nii.gz", "derivatives_seg/sub-1_T2w.nii.gz", "results/sub-1_T2w.nii.gz"])
    assert [scan.relative for scan in find_scans(tmp_path, BOTH, leave_out=tmp_path / "results")] == ["sub-1_T2w.nii.gz"]


def test_any_name_takes_every_image_but_masks(tmp_path: Path) -> None:
    build(tmp_path, ["Patient 7.nii", "a/scan.NII.GZ", "a/scan_seg.nii.gz", "a/notes.txt", ".hidden.nii"])
    assert found(tmp_path, Selection(any_name=True)) == ["Patient 7.nii", "a/scan.NII.GZ"]
    assert found(tmp_path) == []


def test_links_are_followed_once(tmp_path: Path) -> None:
    build(tmp_path, ["sub-1/anat/sub-1_T2w.nii.gz"])
    (tmp_path / "sub-1" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub-2_T2w.nii.gz").symlink_to("nowhere.nii.gz")
    assert found(tmp_path) == ["sub-1/anat/sub-1_T2w.nii.gz", "sub-2_T2w.nii.gz"]


def test_a_folder_named_as_a_scan_is_one_to_be_refused(tmp_path: Path) -> None:
    (tmp_path / "sub-1_T2w.nii.gz").mkdir()
    assert found(tmp_path) == ["sub-1_T2w.nii.gz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    build(tmp_path, ["sub-1/anat/sub-1_T2w.nii.gz"])
    (tmp_path / "sub-1" / "anat").chmod(0)
    (scan,) = find_scans(tmp_path, BOTH)
    (tmp_path / "sub-1" / "anat").chmod(0o755)
    assert scan.problem is ErrorCode.INPUT_PERMISSION
    assert scan.entities == {"sub": "1"}


@pytest.mark.parametrize("there", [False, True])
def test_a_dataset_that_is_no_folder_is_refused(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "x").touch()
    with pytest.raises(InputError, match="not a folder"):
        find_scans(tmp_path / "x", BOTH)


@pytest.mark.parametrize("name", ["T2w", "sub-1", "ses-1_T2w", "sub-1_T2w_", "sub-1_acq_T2w", "sub-_T2w", "Sub-1_T2w"])
def test_what_is_no_bids_name(name: str) -> None:
    assert parse_name(name) == ({}, "")


def test_parse_name() -> None:
    assert parse_name("sub-01_ses-2mo_run-1_T2w") == ({"sub": "01", "ses": "2mo", "run": "1"}, "T2w")


# ---- filter files

SCAN = {"sub": "01", "acq": "sag", "run": "01", "suffix": "T2w", "datatype": "anat", "extension": ".nii.gz"}


@pytest.mark.parametrize(
    ("query", "met"),
    [
        ({"suffix": "T2w"}, True),
        ({"suffix": ["T1w", "T2w"], "acquisition": "sag"}, True),
        ({"acquisition": None}, False),
        ({"session": None}, True),
        ({"session": "*"}, False),
        ({"acquisition": "*"}, True),
        ({"run": 1}, True),
        ({"run": "2"}, False),
        ({"session": "Query.OPTIONAL"}, True),
        ({"extension": "nii.gz", "datatype": "anat"}, True),
    ],
)
def test_filters(query: dict, met: bool) -> None:
    assert meets_any(SCAN, {"t2w": query}) is met
    assert meets_any(SCAN, {"other": {"suffix": "bold"}, "t2w": query}) is met


def test_filter_files_choose_scans(tmp_path: Path) -> None:
    scans, others = LAYOUTS["spine"]
    folder = build(tmp_path, scans + others)
    place = tmp_path / "filter.json"
    place.write_text('{"t2w": {"suffix": "T2w", "run": [1, 2], "reconstruction": null}}')
    assert [name.split("_")[3] for name in found(folder, Selection(filters=read_filters(place)))] == ["run-1", "run-2"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"t2w": 1}'])
def test_what_is_no_filter_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(UsageError, match="the BIDS filter file"):
        read_filters(tmp_path / "f.json")
