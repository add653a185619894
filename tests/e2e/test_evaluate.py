"""The commands ``evaluate`` and ``folds`` as a user runs them, on spines of boxes, pictures and the public samples."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_masks import box_spine, write_masks

from spineps.cli import evaluate, folds
from spineps.errors import ErrorCode, ExitCode, InputError, UsageError
from spineps.evaluation.cohort import EvaluationSettings, Protocol, evaluate_cohort
from spineps.evaluation.pairs import pair_folders
from spineps.io.atomic import write_bytes, write_text

SPINE = (18, 19, 20, 21)


def spineps(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    evaluate.add_parser(subparsers)
    folds.add_parser(subparsers)
    args = parser.parse_args([str(a) for a in arguments])
    return int(args.run(args))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three subjects: references, a method that moves everything by a voxel, and a perfect one."""
    for case in ("1", "2", "3"):
        write_masks(box_spine(SPINE), tmp_path / "ref", case)
        write_masks(box_spine(SPINE, shift=1, left_out=(20,) if case == "2" else ()), tmp_path / "moved", case)
        write_masks(box_spine(SPINE), tmp_path / "ours", case)
    return tmp_path


def test_a_folder_that_sample_wrote(sample_run, phantom, tmp_path, capsys):
    command = ("evaluate", phantom.scan.parent, sample_run.folder, "-o", tmp_path, "--workers", 1)
    assert spineps(*command) == ExitCode.OK
    assert "Vertebra" in capsys.readouterr().out


def test_two_methods_and_all_files(cohort, capsys):
    out = cohort / "out"
    command = (
        "evaluate",
        cohort / "ref",
        f"baseline={cohort / 'moved'}",
        cohort / "ours",
        "-o",
        out,
        "--regions",
        "--workers",
        1,
    )
    assert spineps(*command) == ExitCode.OK
    told = capsys.readouterr()
    for title in ("### Table 2", "### Table 3", "### Table 5: baseline", "### Table 5: ours", "### Wilcoxon"):
        assert title in told.out
    assert "| Vertebra | ↑ DSC | 0.800 ± 0.000 | 1.000 ± 0.000* |" in told.out
    assert told.err.splitlines()[-1].endswith("report.html")
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {
        f"{t}.{s}" for t in ("table2", "table3", "table5_ours", "wilcoxon", "comparison") for s in ("md", "tex", "tsv")
    } <= names
    assert {"scores.tsv", "differences.tsv", "plots/global_DSC.png", "cases/ours/2.json"} <= names
    assert "://" not in (out / "report.html").read_text(encoding="utf-8")
    lines = (out / "scores.tsv").read_text(encoding="utf-8").splitlines()
    assert "baseline\t2\tinstance\tall\tvertebra\tRQ\t0.8571428571428571\t" in lines


def test_a_second_run_takes_what_is_there(cohort, capsys):
    command = (
        "evaluate",
        cohort / "ref",
        cohort / "ours",
        "-o",
        cohort / "out",
        "--protocol",
        "cervical",
        "--levels",
        "T11-L2",
    )
    assert spineps(*command, "--workers", 1) == ExitCode.OK
    first = {p: p.read_bytes() for p in (cohort / "out").rglob("*") if p.is_file()}
    (cohort / "out" / "cases" / "ours" / "2.json").unlink()
    capsys.readouterr()
    assert spineps(*command, "--workers", 1) == ExitCode.OK
    assert "2 cases were there already and unchanged." in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (cohort / "out").rglob("*") if p.is_file()} == first


def test_changed_files_settings_and_torn_records_are_measured_again(cohort):
    pairs = pair_folders(cohort / "ref", {"ours": cohort / "ours"})
    settings = EvaluationSettings(Protocol.CERVICAL)
    assert evaluate_cohort(pairs, settings, cohort / "out").resumed == 0
    assert evaluate_cohort(pairs, settings, cohort / "out").resumed == 3
    write_masks(box_spine(SPINE, shift=1), cohort / "ours", "1")
    write_text(cohort / "out" / "cases" / "ours" / "2.json", '{"fingerprint"')
    assert evaluate_cohort(pairs, settings, cohort / "out").resumed == 1
    assert evaluate_cohort(pairs, EvaluationSettings(Protocol.CERVICAL, resample=True), cohort / "out").resumed == 0


def test_processes_give_what_one_gives(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for side in ("ref", "out"):
        for case in range(4):
            array = np.zeros((32, 32), np.uint8)
            top, left = rng.integers(2, 12, 2)
            array[top : top + 12, left : left + 12] = 255
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / side / f"{case}.png")
    pairs = pair_folders(tmp_path / "ref", {"unet": tmp_path / "out"})
    settings = EvaluationSettings(Protocol.PLANAR)
    seen: list[tuple[int, int]] = []
    two = evaluate_cohort(pairs, settings, tmp_path / "two", workers=2, progress=lambda done, total: seen.append((done, total)))
    one = evaluate_cohort(pairs, settings, tmp_path / "one")
    keys = one.results.all_keys()
    assert [list(two.results.scores("unet", k).items()) for k in keys] == [
        list(one.results.scores("unet", k).items()) for k in keys
    ]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_one_bad_case_does_not_stop_the_others(cohort, capsys):
    write_bytes(cohort / "ours" / "sub-2_mod-T2w_seg-vert_msk.nii.gz", b"damaged")
    command = ("evaluate", cohort / "ref", cohort / "ours", "-o", cohort / "out", "--protocol", "cervical", "--workers", 1)
    assert spineps(*command, "--levels", "T11-L2") == ExitCode.COHORT_INCOMPLETE
    told = capsys.readouterr()
    assert "ours, 2: INPUT_" in told.err
    assert "ours, 2: not measured. INPUT_" in (cohort / "out" / "report.html").read_text(encoding="utf-8")
    for case in ("1", "3"):
        write_bytes(cohort / "ours" / f"sub-{case}_mod-T2w_seg-vert_msk.nii.gz", b"damaged")
    with pytest.raises(InputError, match="None of the 3 cases"):
        spineps(*command)


def test_missing_predictions_are_refused_left_out_or_missed(cohort, capsys):
    for kind in ("spine", "vert"):
        (cohort / "ours" / f"sub-2_mod-T2w_seg-{kind}_msk.nii.gz").unlink()
    command = ("evaluate", cohort / "ref", cohort / "ours", "--protocol", "cervical", "--levels", "T11-T11", "--workers", 1)
    with pytest.raises(InputError, match="1 of 3 references have no prediction: 2") as error:
        spineps(*command, "-o", cohort / "out")
    assert error.value.code is ErrorCode.INPUT_NOT_FOUND
    spineps(*command, "-o", cohort / "skip", "--missing", "skip")
    assert "1.000 ± 0.000" in capsys.readouterr().out
    spineps(*command, "-o", cohort / "zero", "--missing", "zero")
    assert "0.667 ± 0.577" in capsys.readouterr().out  # 1, 0, 1


def test_folds_and_the_cervical_table(cohort, capsys):
    assert spineps("folds", cohort / "ref", "-o", cohort / "folds.json", "-k", 2, "--nnunet", cohort / "splits_final.json") == 0
    assert len(json.loads((cohort / "splits_final.json").read_text())) == 2
    command = ("evaluate", cohort / "ref", cohort / "moved", cohort / "ours", "-o", cohort / "out", "--protocol", "cervical")
    assert (
        spineps(*command, "--folds", cohort / "folds.json", "--levels", "T11-L2", "--correction", "holm", "--workers", 1) == 0
    )
    told = capsys.readouterr().out
    assert "[1.000, 1.000]" in told
    assert "Mann-Whitney" in told


def test_verse_protocol_from_masks_alone(cohort, capsys):
    command = ("evaluate", cohort / "ref", cohort / "moved", cohort / "ours", "-o", cohort / "out", "--protocol", "verse")
    assert spineps(*command, "--workers", 1) == 0
    told = capsys.readouterr().out
    for mode in ("paper", "official", "strict"):
        assert f"| {mode} | ↑ id.rate |" in told
    assert "### VerSe ranking" in told


def test_usage_is_told(tmp_path):
    for arguments in ((), (tmp_path,), ("--pairs", tmp_path / "p.tsv", tmp_path, tmp_path)):
        with pytest.raises(UsageError, match="Expected a folder of references"):
            spineps("evaluate", *arguments)
    with pytest.raises(UsageError, match="Two methods"):
        spineps("evaluate", tmp_path, f"a={tmp_path}", f"a={tmp_path}")


def test_panoptica_samples_as_a_table_of_pairs(real_data, tmp_path, capsys):
    folder = real_data / "panoptica_pair"
    sides = [
        f"{folder / 'semantic' / name}.nii.gz\t{folder / kind / name}.nii.gz"
        for kind in ("matched_instance",)
        for name in ("ref", "pred")
    ]
    header = "case\treference_semantic\treference_instance\tprediction_semantic\tprediction_instance\n"
    write_text(tmp_path / "pairs.tsv", header + "sample\t" + "\t".join(sides) + "\n")
    assert spineps("evaluate", "--pairs", tmp_path / "pairs.tsv", "-o", tmp_path / "out", "-v") == 0
    told = capsys.readouterr()
    assert "| Vertebra | ↑ DSC | 0.963 |" in told.out
    assert "| Vertebra | ↑ DSC | 0.962 |" in told.out
    assert "spinal cord (60) and spinal canal (61) look exchanged" in told.err


def test_a_mask_against_itself(real_data, tmp_path, capsys):
    mask = real_data / "verse" / "sub-verse004_seg-vert_msk.nii.gz"
    assert spineps("evaluate", mask, f"itself={mask}", "-o", tmp_path, "--protocol", "cervical", "--levels", "T9-L5") == 0
    told = capsys.readouterr().out
    assert "| [T9, L5] | – | – | 1.000 ± 0.000 | – | – | 0.00 ± 0.00 |" in told
