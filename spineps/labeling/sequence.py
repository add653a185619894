"""The exact weighing of all sequences of levels that an anatomy allows.

Vertebrae that follow each other carry names that follow each other, with four exceptions: T12 or L5 may be missing, a T13 or
an L6 may be there. On a graph of levels with these steps a sequence of n vertebrae is determined by where it begins and by
the exceptions on its way, so that there are fewer than a hundred of any length. All of them are weighed: the result is the
exact posterior, whatever the evidence looks like, evidence about a sequence as a whole included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final = (
    *(f"C{k}" for k in range(1, 8)),
    *(f"T{k}" for k in range(1, 14)),
    *(f"L{k}" for k in range(1, 7)),
    "S1",
)
"""The levels that a row of evidence knows, from top to bottom."""
INDEX: Final[Mapping[str, int]] = MappingProxyType({name: index for index, name in enumerate(NAMES)})

T11_ONLY: Final = "T11 only"
T13: Final = "T13"
L4_ONLY: Final = "L4 only"
L6: Final = "L6"
VARIANTS: Final[Mapping[str, float]] = MappingProxyType({T11_ONLY: 0.02, T13: 0.02, L4_ONLY: 0.03, L6: 0.05})
"""How often each numbering variant occurs, rounded: studies differ widely with their definition of a transitional vertebra
(4 to 30 % of people have one at the lumbosacral junction; Konin and Walz, AJNR 2010; 31:1778-1786), and most transitional
vertebrae leave the number of levels as it is."""

_LEAST: Final = 1e-12
"""A posterior below this counts as impossible when the odds are taken."""
_JUMPS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {("T11", "L1"): T11_ONLY, ("T12", "T13"): T13, ("L4", "S1"): L4_ONLY, ("L5", "L6"): L6}
)
"""The steps of each variant."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """All legal sequences of one length.

    Parameters
    ----------
    names : ndarray of int, shape (k, n)
        Indices into :data:`NAMES`, from top to bottom.
    log_prior : ndarray, shape (k,)
        Logarithm of what each is worth before any evidence: the same for each place to begin, times the variants' shares.
    """

    names: NDArray[np.intp]
    log_prior: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A sequence and its posterior probability."""

    names: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What the evidence says about a row of vertebrae.

    Parameters
    ----------
    best, runner_up : Ranked or None
        The two most probable sequences; there is no runner-up where evidence leaves only one.
    posteriors : ndarray, shape (n, len(NAMES))
        Probability of each name for each vertebra.
    variants : Mapping of str to float
        Probability of each numbering variant; that of the population where the field of view does not show its place.
    """

    best: Ranked
    runner_up: Ranked | None
    posteriors: NDArray[np.float64]
    variants: Mapping[str, float]

    @property
    def odds(self) -> float:
        """How many times more probable the best sequence is than the runner-up, at most 10^12."""
        other = self.runner_up.probability if self.runner_up is not None else 0.0
        return self.best.probability / max(other, _LEAST)


@lru_cache(maxsize=64)
def legal_sequences(count: int) -> Sequences:
    """All legal sequences of ``count`` levels.

    Parameters
    ----------
    count : int
        Rows, 1 or more. The sacrum may be the last of them.

    Raises
    ------
    ValueError
        If ``count`` is below 1. Of more rows than a spine has levels there is no legal sequence.
    """
    if count < 1:
        raise ValueError(f"expected a count of 1 or more, found {count}")
    found = [walk for start in NAMES for walk in _walks((start,), _log_start(start), count)]
    names = np.array([[INDEX[name] for name in walk] for walk, _ in found], np.intp).reshape(len(found), count)
    prior = np.array([log for _, log in found], np.float64)
    for array in (names, prior):
        array.setflags(write=False)
    return Sequences(names, prior)


def solve(scores: NDArray[np.floating], whole: NDArray[np.floating] | None = None, *, variants: bool = True) -> Solution | None:
    """Weigh all legal sequences.

    Parameters
    ----------
    scores : ndarray, shape (n, len(NAMES))
        Log-likelihood of what is known of each row under each name, up to a constant a row; ``-inf`` forbids a name. A row
        of zeros is a vertebra of which nothing is known.
    whole : ndarray, shape (k,), optional
        Log-likelihood of evidence about each sequence as a whole, in the order of :func:`legal_sequences`.
    variants : bool
        Whether sequences that show a numbering variant are among them.

    Returns
    -------
    Solution or None
        None where no legal sequence has a likelihood above zero.
    """
    legal = legal_sequences(len(scores))
    if not legal.log_prior.size:
        return None
    rows = np.arange(len(scores))
    log = legal.log_prior + np.asarray(scores, np.float64)[rows, legal.names].sum(axis=1)
    if whole is not None:
        log = log + whole
    if not variants:
        log = np.where(_irregular(len(scores)), -np.inf, log)
    top = log.max()
    if not np.isfinite(top):
        return None
    weight = np.exp(log - top)
    weight /= weight.sum()
    posteriors = np.zeros((len(scores), len(NAMES)))
    for row in rows:
        np.add.at(posteriors[row], legal.names[:, row], weight)
    order = np.argsort(-weight, kind="stable")
    ranked = [Ranked(tuple(NAMES[i] for i in legal.names[k]), float(weight[k])) for k in order[:2] if weight[k] > 0]
    shares = {name: float(weight @ _shown_share(len(scores), name)) if variants else 0.0 for name in VARIANTS}
    return Solution(ranked[0], ranked[1] if len(ranked) > 1 else None, posteriors, MappingProxyType(shares))


def _walks(walk: tuple[str, ...], log: float, count: int) -> Iterator[tuple[tuple[str, ...], float]]:
    """The walk itself once it is long enough, else its continuations."""
    if len(walk) == count:
        yield walk, log
        return
    for name, share in _steps(walk[-1]):
        yield from _walks((*walk, name), log + float(np.log(share)), count)


def _steps(name: str) -> tuple[tuple[str, float], ...]:
    """What may follow a level, and how often it does."""
    jumps = [(to, VARIANTS[variant]) for (above, to), variant in _JUMPS.items() if above == name]
    rest = 1 - sum(share for _, share in jumps)
    usual = {"T12": "L1", "T13": "L1", "L5": "S1", "L6": "S1", "S1": None}
    below = usual.get(name, NAMES[min(INDEX[name] + 1, len(NAMES) - 1)])
    return (*(((below, rest),) if below is not None else ()), *jumps)


def _log_start(name: str) -> float:
    """A spine may be seen from any level on; from T13 or L6 on as often as there is one."""
    return float(np.log(VARIANTS.get(name, 1.0)))


def _irregular(count: int) -> NDArray[np.bool_]:
    """Which legal sequences show a variant."""
    shown: NDArray[np.bool_] = np.any([_shown_share(count, name) == 1 for name in VARIANTS], axis=0)
    return shown


@lru_cache(maxsize=256)
def _shown_share(count: int, variant: str) -> NDArray[np.float64]:
    """For each legal sequence the probability of a variant: 1 where it shows it, 0 where it excludes it, else the prior's."""
    return np.array([_share_given(tuple(NAMES[i] for i in walk), variant) for walk in legal_sequences(count).names])


def _share_given(walk: tuple[str, ...], variant: str) -> float:
    if variant in {_JUMPS.get(pair) for pair in pairwise(walk)} or variant in walk:
        return 1.0
    (above,) = (above for (above, _), name in _JUMPS.items() if name == variant)
    followed = above in walk[:-1]
    if variant == T13:
        followed |= ("T11", "L1") in pairwise(walk)
    elif variant == L6:
        followed |= "S1" in walk
    elif variant == T11_ONLY:
        followed |= "T12" in walk or "T13" in walk
    elif variant == L4_ONLY:
        followed |= "L5" in walk or "L6" in walk
    return 0.0 if followed else VARIANTS[variant]
