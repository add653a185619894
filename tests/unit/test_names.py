"""File names: the published ones for BIDS names, something usable for every other name, a clear error where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spineps.errors import ErrorCode, OutputError
from spineps.outputs.names import check_places, instance_folder, names_for, output_folder, prefix_of


@pytest.mark.parametrize(
    ("file", "prefix"),
    [
        ("sub-X_T2w.nii.gz", "sub-X_mod-T2w"),
        ("sub-X_T2w.nii", "sub-X_mod-T2w"),
        ("sub-X_T2w.NII.GZ", "sub-X_mod-T2w"),
        ("sub-X_ses-1_acq-sag_run-2_T2w.nii.gz", "sub-X_ses-1_acq-sag_mod-T2w_run-2"),
        ("sub-X_part-water_acq-sag_chunk-1_mod-q_T2w.nii.gz", "sub-X_acq-sag_chunk-1_mod-T2w_part-water"),
        ("sub-X_foo-bar_T2w.nii.gz", "sub-X_mod-T2w_foo-bar"),
        ("sub-X.nii.gz", "sub-X"),
        ("sub-X_T2w_extra.nii.gz", "sub-X-T2w-extra_mod-extra"),
        ("scan.nii.gz", "sub-scan_mod-scan"),
        ("my_scan.v2.nii.gz", "sub-my-scan-v2_mod-scan-v2"),
        ("acq-sag_sub-X_T1w.nii.gz", "sub-acq-sag-sub-X-T1w_mod-T1w"),
        ("sub-X_mod-T2w_seg-spine_msk.nii.gz", "sub-X_mod-T2w"),
        ("sub-X_dseg.nii.gz", "sub-X"),
        ("sch\u00f6n \u692f 'x'.nii", "sub-sch\u00f6n \u692f 'x'_mod-sch\u00f6n \u692f 'x'"),
        ("-a.nii", "sub-a_mod-a"),
        ("line\nbreak.nii", "sub-line-break_mod-line-break"),
    ],
)
def test_prefix_of_a_file(file: str, prefix: str) -> None:
    assert prefix_of(Path("somewhere") / file) == prefix


def test_published_names() -> None:
    names = names_for("sub-X_mod-T2w")
    assert names.all() == (
        "sub-X_mod-T2w_seg-spine_msk.nii.gz",
        "sub-X_mod-T2w_seg-vert_msk.nii.gz",
        "sub-X_mod-T2w_seg-spine_ctd.json",
        "sub-X_mod-T2w_seg-spine_snp.png",
        "sub-X_mod-T2w_measures.tsv",
        "sub-X_mod-T2w_measures.json",
        "sub-X_mod-T2w_levels.tsv",
        "sub-X_mod-T2w_seg-spine_poi.json",
        "sub-X_mod-T2w_seg-vb_ctd.json",
        "sub-X_mod-T2w_report.html",
        "sub-X_mod-T2w_run.json",
    )


def test_entities_are_in_the_published_order() -> None:
    names = names_for("sub-X_ses-1_mod-T2w_run-2")
    assert names.semantic == "sub-X_ses-1_mod-T2w_seg-spine_run-2_msk.nii.gz"
    assert names.record == "sub-X_ses-1_mod-T2w_run-2_run.json"


@pytest.mark.parametrize(("file", "suffix"), [("sub-X_T2w", "T2w"), ("sub-X_ses-1_acq-sag_run-2_T2w", "T2w"), ("scan", "scan")])
def test_same_names_as_tptbox(file: str, suffix: str, tmp_path: Path) -> None:
    from TPTBox import BIDS_FILE

    theirs = BIDS_FILE(tmp_path / f"{file}.nii.gz", dataset=tmp_path, verbose=False).get_changed_path(
        bids_format="msk",
        parent="derivatives_seg",
        info={"seg": "spine", "mod": suffix},
        non_strict_mode=not file.startswith("sub"),
    )
    scan = tmp_path / f"{file}.nii.gz"
    assert output_folder(scan) / names_for(prefix_of(scan)).semantic == theirs


def test_any_prefix_will_do() -> None:
    assert names_for("case 7").semantic == "case 7_seg-spine_msk.nii.gz"


@pytest.mark.parametrize("prefix", ["", "a/b", "a\\b", "a\nb", ".hidden", ".."])
def test_prefix_that_is_no_part_of_a_file_name(prefix: str) -> None:
    with pytest.raises(OutputError) as caught:
        names_for(prefix)
    assert caught.value.code is ErrorCode.OUTPUT_NAME


def test_names_of_more_than_255_bytes() -> None:
    longest = "sub-" + "x" * (255 - len("sub-_seg-spine_msk.nii.gz"))
    assert len(names_for(longest).semantic) == 255
    with pytest.raises(OutputError, match="256 bytes"):
        names_for(f"{longest}y")
    with pytest.raises(OutputError) as caught:
        names_for("sub-" + "\u692f" * 80)
    assert caught.value.code is ErrorCode.OUTPUT_NAME


@given(st.text(min_size=1, max_size=40).filter(lambda text: "/" not in text and text not in (".", "..") and "\0" not in text))
def test_every_file_name_gives_a_prefix_or_a_named_error(name: str) -> None:
    try:
        names = names_for(prefix_of(Path(f"{name}.nii.gz")))
    except OutputError as error:
        assert error.code is ErrorCode.OUTPUT_NAME  # noqa: PT017
    except UnicodeEncodeError:  # a lone surrogate is no file name
        return
    else:
        assert all("/" not in file and file.isprintable() for file in names.all())
        assert len(set(names.all())) == len(names.all())


def test_folders(tmp_path: Path) -> None:
    scan = tmp_path / "rawdata" / "sub-X" / "ses-1" / "sub-X_T2w.nii.gz"
    assert output_folder(scan) == scan.parent / "derivatives_seg"
    assert output_folder(scan, dataset=tmp_path) == tmp_path / "derivatives_seg" / "sub-X" / "ses-1"
    assert output_folder(tmp_path / "scan.nii", dataset=tmp_path) == tmp_path / "derivatives_seg"
    mask = tmp_path / "derivatives_seg" / "sub-X" / "sub-X_mod-T2w_seg-spine_msk.nii.gz"
    assert instance_folder(mask) == tmp_path / "derivatives_instance" / "sub-X"
    assert instance_folder(tmp_path / "mask.nii.gz") == tmp_path / "derivatives_instance"


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    names = names_for("sub-X_mod-T2w")
    mask = tmp_path / names.semantic
    mask.touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(OutputError, match="never overwritten"):
            check_places(folder, names, inputs=(mask,))
    check_places(tmp_path / "other", names, inputs=(mask,))


def test_path_that_no_system_takes() -> None:
    with pytest.raises(OutputError) as caught:
        check_places(Path("/", *["x" * 200] * 25), names_for("a"))
    assert caught.value.code is ErrorCode.OUTPUT_NAME
