from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labeling_brute import anatomies, check_against_brute_force, random_scores

from spineps.labeling.sequence import INDEX, L6, NAMES, T13, VARIANTS, legal_sequences, solve


@given(st.integers(0, 2**63 - 1))
def test_the_solver_equals_brute_force(seed: int) -> None:
    check_against_brute_force(random_scores(np.random.default_rng(seed)))


@pytest.mark.parametrize("count", [1, 2, 7, 13, 25, 27])
def test_legal_sequences_are_the_windows_of_all_spines(count: int) -> None:
    windows = {tuple(spine[k : k + count]) for spine in anatomies() for k in range(len(spine) - count + 1)}
    found = [tuple(NAMES[i] for i in walk) for walk in legal_sequences(count).names]
    assert len(found) == len(set(found))
    assert set(found) == windows


def test_more_vertebrae_than_a_spine_has_have_no_sequence() -> None:
    assert solve(np.zeros((28, len(NAMES)))) is None
    with pytest.raises(ValueError, match="1 or more"):
        legal_sequences(0)


def test_a_row_of_which_nothing_is_known_is_counted() -> None:
    scores = np.zeros((3, len(NAMES)))
    scores[0, INDEX["L3"]] = scores[2, INDEX["L5"]] = 30
    solution = solve(scores)
    assert solution is not None
    assert solution.best.names == ("L3", "L4", "L5")
    assert solution.odds > 1e6


def test_evidence_about_a_whole_sequence_counts() -> None:
    whole = np.where([("T13" in [NAMES[i] for i in walk]) for walk in legal_sequences(4).names], 0.0, -50.0)
    solution = solve(np.zeros((4, len(NAMES))), whole)
    assert solution is not None
    assert "T13" in solution.best.names
    assert solution.variants[T13] > 0.99


def test_variants_can_be_left_out() -> None:
    scores = np.zeros((3, len(NAMES)))
    scores[1, INDEX["L6"]] = 30
    scores[2] = -np.inf
    scores[2, INDEX["S1"]] = 0
    free, strict = solve(scores), solve(scores, variants=False)
    assert free is not None
    assert strict is not None
    assert free.best.names == ("L5", "L6", "S1")
    assert strict.best.names == ("L4", "L5", "S1")
    assert strict.variants[L6] == 0


def test_an_unseen_variant_is_as_probable_as_in_the_population() -> None:
    scores = np.full((4, len(NAMES)), -np.inf)
    for row, name in enumerate(("C3", "C4", "C5", "C6")):
        scores[row, INDEX[name]] = 0
    solution = solve(scores)
    assert solution is not None
    assert dict(solution.variants) == pytest.approx(dict(VARIANTS))
    assert solution.runner_up is None
