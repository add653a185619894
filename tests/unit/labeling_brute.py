"""All legal sequences of levels by their definition, to hold the solver against."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from spineps.labeling.sequence import INDEX, L4_ONLY, L6, NAMES, T11_ONLY, T13, VARIANTS

CERVICAL = [f"C{k}" for k in range(1, 8)]


def anatomies() -> list[list[str]]:
    """Every spine: eleven to thirteen thoracic and four to six lumbar vertebrae."""
    return [
        [*CERVICAL, *(f"T{k}" for k in range(1, t + 1)), *(f"L{k}" for k in range(1, n + 1)), "S1"]
        for t, n in product((11, 12, 13), (4, 5, 6))
    ]


def brute_force(scores: np.ndarray) -> dict[tuple[str, ...], float]:
    """Unnormalised weight of every legal sequence, from windows of whole spines."""
    count = len(scores)
    windows = {tuple(spine[k : k + count]) for spine in anatomies() for k in range(len(spine) - count + 1)}
    found = {}
    for window in windows:
        log = np.log(prior(window)) + sum(scores[row, INDEX[name]] for row, name in enumerate(window))
        found[window] = float(log)
    return found


def prior(window: tuple[str, ...]) -> float:
    """How often a window's choices are made: at T11 and T12, at L4 and L5, and at its own beginning."""
    p = VARIANTS
    weight = {"T13": p[T13], "L6": p[L6]}.get(window[0], 1.0)
    choices = {
        ("T11", "T12"): 1 - p[T11_ONLY],
        ("T11", "L1"): p[T11_ONLY],
        ("T12", "L1"): 1 - p[T13],
        ("T12", "T13"): p[T13],
        ("L4", "L5"): 1 - p[L4_ONLY],
        ("L4", "S1"): p[L4_ONLY],
        ("L5", "S1"): 1 - p[L6],
        ("L5", "L6"): p[L6],
    }
    for pair in pairwise(window):
        weight *= choices.get(pair, 1.0)
    return weight


def random_scores(rng: np.random.Generator) -> np.ndarray:
    """A score table of 1 to 25 rows, at times with forbidden names or a known sacrum below."""
    scores = rng.normal(0, rng.choice([0.3, 3.0, 20.0]), (int(rng.integers(1, 26)), len(NAMES)))
    if rng.random() < 0.3:
        scores[rng.random(scores.shape) < 0.2] = -np.inf
    if rng.random() < 0.3:
        scores[-1] = -np.inf
        scores[-1, INDEX["S1"]] = 0
    return scores


def check_against_brute_force(scores: np.ndarray) -> None:
    """Best sequence, runner-up and all posteriors are those of brute force."""
    from spineps.labeling.sequence import solve

    weights = brute_force(scores)
    top = max(weights.values(), default=-np.inf)
    solution = solve(scores)
    if not np.isfinite(top):
        assert solution is None
        return
    assert solution is not None
    total = sum(np.exp(w - top) for w in weights.values())
    shares = {window: float(np.exp(w - top) / total) for window, w in weights.items()}
    ranked = sorted(shares.values(), reverse=True)
    assert np.isclose(shares[solution.best.names], ranked[0])
    assert np.isclose(solution.best.probability, ranked[0])
    if len(ranked) > 1 and ranked[1] > 0:
        assert solution.runner_up is not None
        assert np.isclose(shares[solution.runner_up.names], ranked[1])
        assert np.isclose(solution.runner_up.probability, ranked[1])
        assert solution.runner_up.names != solution.best.names
    expected = np.zeros(scores.shape)
    for window, share in shares.items():
        expected[range(len(window)), [INDEX[name] for name in window]] += share
    assert np.allclose(solution.posteriors, expected)
    for variant, (above, below) in {
        T11_ONLY: ("T11", "L1"),
        T13: ("T12", "T13"),
        L4_ONLY: ("L4", "S1"),
        L6: ("L5", "L6"),
    }.items():
        shown = sum(s for w, s in shares.items() if (above, below) in pairwise(w) or w[0] == below == variant)
        assert shown - 1e-9 <= solution.variants[variant] <= shown + VARIANTS[variant] + 1e-9
