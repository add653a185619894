"""Where results lie and what they and their scans are called; tables of excluded scans; messages between processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spineps.cohort import process
from spineps.cohort.case import Outcome, Task, anonymous
from spineps.cohort.discover import FoundScan, parse_name
from spineps.cohort.exclude import excluded_cases
from spineps.cohort.layout import CASE_DIGITS, cases_of
from spineps.cohort.proof import Recipe
from spineps.cohort.settings import ModelFolders, Naming
from spineps.cohort.wire import config_from_plain, line, outcome_from_plain, outcome_to_plain, task_from_plain, task_to_plain
from spineps.config import EndplateOwner, PipelineConfig, PostprocessConfig
from spineps.errors import Finding, FindingCode, UsageError
from spineps.io.affine import AffineChoice
from spineps.io.load import ReadOptions

ROOT = Path("out")


def scan(relative: str) -> FoundScan:
    name = Path(relative).name
    return FoundScan(Path("data") / relative, relative, *parse_name(name.removesuffix(".gz").removesuffix(".nii")))


def one(relative: str, naming: Naming = Naming.SPINEPS):
    (case,) = cases_of([scan(relative)], ROOT, naming)
    return case


def test_published_names() -> None:
    case = one("sub-1/ses-2/anat/sub-1_ses-2_run-3_T2w.nii.gz")
    assert case.folder == ROOT / "sub-1/ses-2/anat"
    assert case.files["semantic"] == "sub-1_ses-2_mod-T2w_seg-spine_run-3_msk.nii.gz"
    assert case.files["record"] == "sub-1_ses-2_mod-T2w_run-3_run.json"


def test_bids_names() -> None:
    case = one("x/sub-1_ses-2_acq-sag_run-3_chunk-1_T2w.nii.gz", Naming.BIDS)
    base = "sub-1_ses-2_acq-sag_run-3_chunk-1"
    assert case.folder == ROOT / "sub-1/ses-2/anat"
    assert case.files["semantic"] == f"{base}_seg-spine_desc-T2w_dseg.nii.gz"
    assert case.files["instance"] == f"{base}_seg-vert_desc-T2w_dseg.nii.gz"
    assert case.files["instance_sidecar"] == f"{base}_seg-vert_desc-T2w_dseg.json"
    assert case.files["softmax"] == f"{base}_seg-spine_desc-T2w_probseg.nii.gz"
    assert case.files["record"] == f"{base}_desc-T2w_run.json"


@pytest.mark.parametrize("naming", Naming)
@pytest.mark.parametrize("relative", ["sub-1_T2w.nii.gz", "Patient 7.nii", "a/b_c.nii.gz", "sub-1/sub-1_run-1_T1w.nii"])
def test_no_two_results_share_a_name(relative: str, naming: Naming) -> None:
    case = one(relative, naming)
    assert case.problem is None
    assert len(set(case.files.values())) == len(case.files)


def test_no_two_scans_share_results() -> None:
    for naming in Naming:
        first, second = cases_of([scan("sub-1_T2w.nii"), scan("sub-1_T2w.nii.gz")], ROOT, naming)
        assert first.problem is None
        assert second.problem is not None
    bids = cases_of([scan("sub-1_T1w.nii"), scan("sub-1_T2w.nii")], ROOT, Naming.BIDS)
    assert not any(case.problem for case in bids)


def test_a_name_too_long_for_results_is_a_problem_of_that_scan() -> None:
    assert one(f"sub-{'1' * 245}_T2w.nii").problem is not None


def test_case_names_follow_from_the_place_and_tell_nothing() -> None:
    case = one("sub-1/anat/sub-1_T2w.nii.gz")
    assert case.name == one("sub-1/anat/sub-1_T2w.nii.gz").name
    assert case.name != one("sub-2/anat/sub-2_T2w.nii.gz").name
    assert len(case.name) == CASE_DIGITS
    assert int(case.name, 16) >= 0


# ---- tables of excluded scans

CASES = cases_of([scan(f"sub-{s}_ses-{k}_T2w.nii.gz") for s in (1, 2) for k in (1, 2)], ROOT, Naming.SPINEPS)


def excluded(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "x.tsv").write_text(text)
    names = excluded_cases(CASES, tmp_path / "x.tsv")
    return [case.prefix for case in CASES if case.name in names]


def test_exclude_by_person_session_scan_and_case(tmp_path: Path) -> None:
    prefixes = [case.prefix for case in CASES]
    assert excluded(tmp_path, "participant_id\nsub-1\n") == prefixes[:2]
    assert excluded(tmp_path, "participant_id\tsession_id\nsub-2\tses-1\n") == [prefixes[2]]
    assert excluded(tmp_path, f"scan\n{prefixes[3]}\n") == [prefixes[3]]
    assert excluded(tmp_path, f"case\tnote\n{CASES[1].name}\twhatever\n") == [prefixes[1]]


def test_only_failing_verdicts_exclude(tmp_path: Path) -> None:
    prefixes = [case.prefix for case in CASES]
    rows = "\n".join(
        f"{prefix}\t{verdict}" for prefix, verdict in zip(prefixes, ("pass", "fail", "needs work", "FAIL"), strict=True)
    )
    assert excluded(tmp_path, f"scan\tverdict\n{rows}\n") == [prefixes[1], prefixes[3]]


def test_verdicts_of_pages_exclude_in_both_ways_of_naming(tmp_path: Path) -> None:
    for naming, scan_name in ((Naming.SPINEPS, "sub-1_mod-T2w"), (Naming.BIDS, "sub-1_desc-T2w")):
        case = one("sub-1/anat/sub-1_T2w.nii.gz", naming)
        (tmp_path / "v.tsv").write_text(f'scan\tfolder\tverdict\tnote\n{scan_name}\tsub-1/anat\tfail\t"not closed\n')
        assert excluded_cases([case], tmp_path / "v.tsv") == {case.name}


@pytest.mark.parametrize("text", ["", "name\nsub-1\n", "verdict\nfail\n"])
def test_what_is_no_table_of_scans(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--exclude"):
        excluded(tmp_path, text)


# ---- messages between processes

TASK = Task(
    name="0123456789ab",
    scan=Path("data") / "odd\udcff name\n.nii.gz",
    prefix="sub-1_mod-T2w",
    folder=ROOT / "ü",
    files={"record": "sub-1_mod-T2w_run.json"},
    known=ROOT / "known.json",
    first_phase=ROOT / "first.gz",
    crash=ROOT / "crash.txt",
    config=replace(PipelineConfig(), postprocess=PostprocessConfig(endplate_owner=EndplateOwner.VERTEBRA), force=True),
    models=ModelFolders(semantic=Path("models/x")),
    read=ReadOptions(AffineChoice.SFORM, 2),
    naming=Naming.BIDS,
    recipe=Recipe("a", "b"),
    findings=(Finding(FindingCode.SHEAR, "text"),),
    keep_semantic=True,
    profile=True,
)


def test_tasks_and_outcomes_survive_their_way() -> None:
    sent = line(task_to_plain(TASK))
    assert sent.count(b"\n") == 1
    assert task_from_plain(json.loads(sent)) == TASK
    outcome = Outcome("case", "DONE", "text", 1.5, True)
    assert outcome_from_plain(json.loads(line(outcome_to_plain(outcome)))) == outcome


def test_settings_survive_their_way() -> None:
    assert config_from_plain(json.loads(json.dumps(TASK.config.as_dict()))) == TASK.config
    assert config_from_plain(TASK.config.as_dict()).sha256() == TASK.config.sha256()


def test_messages_do_not_name_the_file() -> None:
    assert anonymous("'sub-1_T2w.nii.gz' is empty.", Path("a/sub-1_T2w.nii.gz")) == "The scan is empty."


def test_workers_keep_their_memory_under_dask_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    worker = process._environment(2)
    assert "MALLOC_TRIM_THRESHOLD_" not in worker
    assert worker["OMP_NUM_THREADS"] == "2"
