"""Folds: no patient leaks, the same seed gives the same split, files come back as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spineps.errors import InputError, UsageError
from spineps.evaluation.folds import Folds, make_folds, patients_of
from spineps.io.atomic import write_text

scans = st.dictionaries(st.integers(0, 40).map("p{}".format), st.integers(1, 4), min_size=10, max_size=40)


@given(scans, st.integers(2, 5), st.sampled_from((0.0, 0.2)), st.integers(0, 5))
def test_no_patient_leaks(patients, k, holdout, seed):
    cases = {f"sub-{p}_run-{i}": p for p, count in patients.items() for i in range(count)}
    folds = make_folds(cases, k=k, holdout=holdout, seed=seed)
    for train, validation in folds.splits():
        assert not {cases[c] for c in train} & {cases[c] for c in validation}
        assert not {cases[c] for c in (*train, *validation)} & set(folds.holdout)
    # Every scan outside the holdout is validated on exactly once.
    validated = [c for _, validation in folds.splits() for c in validation]
    assert sorted(validated) == sorted(c for c, p in cases.items() if p not in folds.holdout)
    sizes = [len(fold) for fold in folds.folds]
    assert max(sizes) - min(sizes) <= 1
    assert len(folds.holdout) == round(len(patients) * holdout)


def test_the_paper_split():
    # 172 patients: 37 kept out (22 %), 135 in five folds of 27.
    folds = make_folds({f"sub-{i}": str(i) for i in range(172)}, k=5, holdout=37 / 172)
    assert [len(f) for f in folds.folds] == [27] * 5
    assert len(folds.holdout) == 37


def test_order_does_not_matter_and_seeds_do():
    cases = {f"sub-{i}": str(i) for i in range(20)}
    again = dict(reversed(cases.items()))
    assert make_folds(cases, seed=1) == make_folds(again, seed=1)
    assert make_folds(cases, seed=1) != make_folds(cases, seed=2)


def test_saved_and_read_back(tmp_path):
    folds = make_folds(patients_of([f"sub-{i}_ses-{s}" for i in range(10) for s in (1, 2)]), k=3, holdout=0.1)
    folds.save(tmp_path / "folds.json")
    assert Folds.load(tmp_path / "folds.json") == folds
    assert folds.group_of(next(iter(folds.cases))) in {"fold-0", "fold-1", "fold-2", "internal"}
    assert folds.group_of("unknown") is None
    folds.save_nnunet(tmp_path / "splits_final.json")
    splits = json.loads((tmp_path / "splits_final.json").read_text())
    assert [set(s) for s in splits] == [{"train", "val"}] * 3


def test_a_file_with_a_patient_in_two_folds_is_refused(tmp_path):
    make_folds({f"sub-{i}": str(i) for i in range(6)}, k=2).save(tmp_path / "folds.json")
    plain = json.loads((tmp_path / "folds.json").read_text())
    plain["folds"][0].append(plain["folds"][1][0])
    write_text(tmp_path / "folds.json", json.dumps(plain))
    with pytest.raises(InputError, match="one fold only"):
        Folds.load(tmp_path / "folds.json")
    write_text(tmp_path / "folds.json", "{}")
    with pytest.raises(InputError, match="no file of folds"):
        Folds.load(tmp_path / "folds.json")


def test_patients_by_name_and_impossible_splits():
    assert patients_of(["sub-01_ses-1_T2w", "sub-01_ses-2_T2w", "7"]) == {
        "sub-01_ses-1_T2w": "01",
        "sub-01_ses-2_T2w": "01",
        "7": "7",
    }
    with pytest.raises(UsageError, match="names no patient"):
        patients_of(["_x"])
    for k, holdout in ((1, 0.0), (4, 0.0), (2, 1.0)):
        with pytest.raises(UsageError, match="cannot be split"):
            make_folds({"a": "a", "b": "b", "c": "c"}, k=k, holdout=holdout)
