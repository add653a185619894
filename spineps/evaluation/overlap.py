"""Overlap of masks, counted once for all labels of a pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_SLAB_VOXELS: Final = 1 << 21


@dataclass(frozen=True, slots=True)
class Overlap:
    """Sizes of two masks and of what they share, in voxels.

    A ratio without a denominator is None: two empty masks have no Dice, neither 0 nor 1.
    """

    reference: int
    prediction: int
    both: int

    @property
    def dice(self) -> float | None:
        """Dice similarity coefficient."""
        return _ratio(2 * self.both, self.reference + self.prediction)

    @property
    def iou(self) -> float | None:
        """Intersection over union."""
        return _ratio(self.both, self.reference + self.prediction - self.both)

    @property
    def ppv(self) -> float | None:
        """Positive predictive value: the share of the prediction that is right; None of an empty prediction."""
        return _ratio(self.both, self.prediction)

    @property
    def sensitivity(self) -> float | None:
        """The share of the reference that was found; None of an empty reference."""
        return _ratio(self.both, self.reference)


@dataclass(frozen=True, slots=True, eq=False)
class JointCounts:
    """How many voxels carry each pair of labels.

    Parameters
    ----------
    table : ndarray of int64, shape (reference labels, prediction labels)
        ``table[r, p]`` voxels are r in the reference and p in the prediction.
    """

    table: Counts

    def overlap(self, reference: Iterable[int], prediction: Iterable[int] | None = None) -> Overlap:
        """Overlap of the unions of the given labels (the same labels on both sides unless told)."""
        labels = list(reference)
        rows, columns = self._known(labels, 0), self._known(labels if prediction is None else prediction, 1)
        both = int(self.table[np.ix_(rows, columns)].sum())
        return Overlap(int(self.table[rows].sum()), int(self.table[:, columns].sum()), both)

    def reference_labels(self) -> list[int]:
        """Labels of the reference, without background, ascending."""
        return [int(i) for i in np.flatnonzero(self.table.sum(axis=1)) if i]

    def prediction_labels(self) -> list[int]:
        """Labels of the prediction, without background, ascending."""
        return [int(i) for i in np.flatnonzero(self.table.sum(axis=0)) if i]

    def _known(self, labels: Iterable[int], axis: int) -> list[int]:
        return sorted({int(i) for i in labels if 0 <= int(i) < self.table.shape[axis]})


def joint_counts(reference: NDArray[Any], prediction: NDArray[Any]) -> JointCounts:
    """Count the pairs of labels in one pass, slab by slab, without a copy of either array.

    Parameters
    ----------
    reference, prediction : ndarray of unsigned integers, equal shape
        Label arrays.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"expected arrays of one shape, found {reference.shape} and {prediction.shape}")
    rows, columns = (int(a.max(initial=0)) + 1 for a in (reference, prediction))
    table = np.zeros(rows * columns, dtype=np.int64)
    step = max(1, _SLAB_VOXELS // max(1, int(np.prod(reference.shape[1:]))))
    for start in range(0, reference.shape[0], step):
        pair = reference[start : start + step].astype(np.int64).ravel() * columns
        pair += prediction[start : start + step].ravel()
        table += np.bincount(pair, minlength=table.size)
    return JointCounts(table.reshape(rows, columns))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
