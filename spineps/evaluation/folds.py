"""Patient-wise folds for cross-validation: made, saved, read back. No patient is ever on both sides of a split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from spineps.errors import ErrorCode, InputError, UsageError
from spineps.io import atomic

_FORMAT: Final = "spineps-folds-1"
_PATIENT: Final = re.compile(r"^(?:sub-)?([A-Za-z0-9]+)")


@dataclass(frozen=True, slots=True)
class Folds:
    """A split of patients.

    Parameters
    ----------
    folds : tuple of tuple of str
        Patients of each fold of the cross-validation.
    holdout : tuple of str
        Patients kept out of it, for the internal validation.
    cases : Mapping of str to str
        Case to its patient.
    seed : int
        That the split was made with.
    """

    folds: tuple[tuple[str, ...], ...]
    holdout: tuple[str, ...]
    cases: Mapping[str, str]
    seed: int

    def __post_init__(self) -> None:
        groups = [*self.folds, self.holdout]
        listed = [patient for group in groups for patient in group]
        if len(listed) != len(set(listed)):
            twice = sorted({p for p in listed if listed.count(p) > 1})
            raise ValueError(f"expected every patient in one fold only, found {twice[:3]} in several")
        unknown = set(self.cases.values()) - set(listed)
        if unknown:
            raise ValueError(f"expected every case's patient in a fold, found none for {sorted(unknown)[:3]}")

    def group_of(self, case: str) -> str | None:
        """``fold-0`` and so on, ``internal`` of a patient kept out, None of a case that the split does not know."""
        patient = self.cases.get(case)
        if patient is None:
            return None
        return next((f"fold-{i}" for i, fold in enumerate(self.folds) if patient in fold), "internal")

    def splits(self) -> list[tuple[list[str], list[str]]]:
        """Cases to train on and cases to validate on, for each fold."""
        groups = {case: self.group_of(case) for case in self.cases}
        names = [f"fold-{i}" for i in range(len(self.folds))]
        return [
            ([c for c, g in groups.items() if g in names and g != name], [c for c, g in groups.items() if g == name])
            for name in names
        ]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        plain = {
            "format": _FORMAT,
            "seed": self.seed,
            "folds": [list(f) for f in self.folds],
            "internal": list(self.holdout),
            "cases": dict(self.cases),
        }
        atomic.write_json(path, plain)

    def save_nnunet(self, path: Path) -> None:
        """Write nnU-Net's ``splits_final.json``, which makes it train on the same folds."""
        atomic.write_json(path, [{"train": train, "val": val} for train, val in self.splits()])

    @classmethod
    def load(cls, path: Path) -> Folds:
        """Read back what :meth:`save` wrote.

        Raises
        ------
        InputError
            INPUT_NOT_FOUND, or INPUT_FORMAT if it is no such file or a patient is in two folds.
        """
        if not path.is_file():
            raise InputError(
                ErrorCode.INPUT_NOT_FOUND, f"{path.name!r} does not exist.", remedy="Make it with 'spineps folds'."
            )
        try:
            plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            _require_format(plain["format"])
            folds = tuple(tuple(str(p) for p in fold) for fold in plain["folds"])
            return cls(folds, tuple(plain["internal"]), dict(plain["cases"]), int(plain["seed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                ErrorCode.INPUT_FORMAT, f"{path.name!r} is no file of folds: {error}.", remedy="Make it with 'spineps folds'."
            ) from error


def _require_format(found: object) -> None:
    if found != _FORMAT:
        raise ValueError(f"expected the format {_FORMAT}, found {found!r}")


def make_folds(cases: Mapping[str, str], *, k: int = 5, holdout: float = 0.0, seed: int = 0) -> Folds:
    """Split patients at random into folds of nearly equal size.

    Parameters
    ----------
    cases : Mapping of str to str
        Case (a scan) to its patient; all scans of a patient stay together.
    k : int
        Number of folds.
    holdout : float
        Share of the patients kept out of the folds, for the internal validation.
    seed : int
        The same seed and patients give the same split, in whatever order the cases come.

    Raises
    ------
    UsageError
        If there are fewer patients than folds, or the numbers make no sense.
    """
    patients = sorted(set(cases.values()))
    kept_out = round(len(patients) * holdout)
    if k < 2 or not 0 <= holdout < 1 or len(patients) - kept_out < k:
        raise UsageError(
            ErrorCode.USAGE,
            f"{len(patients)} patients cannot be split into {k} folds with a share of {holdout:g} kept out.",
            remedy="Take fewer folds (at least 2) or keep fewer patients out.",
        )
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    outside, inside = order[:kept_out], order[kept_out:]
    folds = tuple(tuple(sorted(inside[i::k])) for i in range(k))
    return Folds(folds, tuple(sorted(outside)), dict(sorted(cases.items())), seed)


def patients_of(cases: Iterable[str]) -> dict[str, str]:
    """Patient of each case by its BIDS name: what follows ``sub-``, up to the next ``_``, ``-`` or ``.``.

    Raises
    ------
    UsageError
        If a name does not begin with a letter or digit.
    """
    found = {}
    for case in cases:
        match = _PATIENT.match(case)
        if match is None:
            raise UsageError(ErrorCode.USAGE, f"{case!r} names no patient.", remedy="Give a table of cases and patients.")
        found[case] = match[1]
    return found
