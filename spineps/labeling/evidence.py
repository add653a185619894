"""Evidence from the masks: log-likelihoods of all legal sequences of levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spineps.geometry import FloatArray, Matrix, Spacing
from spineps.inference.protocols import LabelingPredictor, LevelPredictor
from spineps.labeling.cutouts import network_scores
from spineps.labeling.features import SIZES, Grid, Sizes, measure_sizes
from spineps.labeling.landmarks import Column, conus_rows, find_column, room_mm
from spineps.labeling.population import POSITIONS, SCALE_SD, SCATTER, expected_sizes
from spineps.labeling.published import published_scores
from spineps.labeling.sequence import INDEX, NAMES, legal_sequences
from spineps.labels import Structure
from spineps.volume import LabelMap

SIZE_WEIGHT: Final = 0.5
"""Power of the sizes' likelihood: their errors are more alike within a scan than the model of them says. Where the posterior
is best calibrated on phantoms (``bench/levels.py``)."""
ROBUST_SD: Final = 2.0
"""A size farther off than so many standard deviations is trusted less, as by a distribution with long tails."""
PRIOR_COUNT: Final = 2.0
"""So many values of the expected scatter stand beside those of a scan where its own scatter is judged."""
UNTRUSTED: Final = 1.5
"""A size whose values scatter so many times more than they should around the sequence that fits them best is not what it is
taken for (half a spinous process has neither its length nor its angle), and says nothing."""
_NOTHING: Final = 1e3
_FARTHEST_SD: Final = 6.0
_ROBUST_ROUNDS: Final = 3
CONUS: Final = (19.15, 0.65)
"""Mean and standard deviation of the level at which the cord ends (L1 is 19): in the mean the lower third of L1, from T12 to
L3 (Saifuddin et al., Spine 1998; 23:1452-1456)."""
CONUS_DOUBT: Final = 0.1
"""Share of scans in which the mask's end of the cord is not the conus."""
SPAN_SD: Final = 0.18
"""Of the logarithm of the span of transverse processes, between people and levels together."""
SPAN_DOUBT: Final = 0.1
SPAN_WEIGHT: Final = 1.0
DENS_LOG: Final = 6.0
"""What a labelled dens says for C2."""
OPEN_LOG: Final = 3.0
"""What it says for C2 (or the last lumbar vertebra) if the field of view goes on above (or below) and shows no vertebra."""
OPEN_PITCH: Final = 1.3
"""How far it must go on, in distances between vertebrae."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Evidence about the rows of a column.

    Parameters
    ----------
    column : Column
        The rows.
    scores : ndarray, shape (rows, len(NAMES))
        Log-likelihood of each name for each row.
    whole : ndarray, shape (k,), or None
        Log-likelihood of each legal sequence, in the order of :func:`~spineps.labeling.sequence.legal_sequences`.
    """

    column: Column
    scores: Matrix
    whole: Matrix | None


def gather_evidence(
    semantic: LabelMap,
    instance: LabelMap,
    image: FloatArray | None = None,
    network: LevelPredictor | LabelingPredictor | None = None,
) -> Evidence | None:
    """Gather the evidence of both masks and, if there are an image and a network for it, of the image.

    Parameters
    ----------
    semantic, instance : LabelMap
        Final masks in PIR orientation.
    image : ndarray of float32, optional
        Intensities in the same grid.
    network : LevelPredictor or LabelingPredictor, optional
        One of ours or a published one. Without it, or without an image, the masks alone are looked at.

    Returns
    -------
    Evidence or None
        None where there is no vertebra, or more than a spine has.
    """
    found = mask_evidence(semantic.labels, instance.labels, semantic.geometry.spacing_mm)
    if found is None or image is None or network is None:
        return found
    scores, whole = found.scores.copy(), found.whole
    if isinstance(network, LabelingPredictor):
        said, of_sequences = published_scores(network, image, semantic, instance, found.column)
        whole = of_sequences if whole is None else whole + of_sequences
    else:
        said = network_scores(network, image, semantic, found.column)
    scores[found.column.rows] += said
    return replace(found, scores=scores, whole=whole)


def mask_evidence(
    semantic: NDArray[np.unsignedinteger], instance: NDArray[np.unsignedinteger], spacing_mm: Spacing
) -> Evidence | None:
    """Gather the evidence of both masks.

    Parameters
    ----------
    semantic, instance : ndarray, shape (P, I, R)
        Final masks; vertebrae may carry any ids that :func:`~spineps.labels.is_vertebra` knows, the sacrum 26.
    spacing_mm : tuple of 3 float
        Along (P, I, R).

    Returns
    -------
    Evidence or None
        None where there is no vertebra, or more than a spine has.
    """
    grid = Grid.of(semantic, instance, spacing_mm)
    column = find_column(grid)
    if column is None or not legal_sequences(column.count).log_prior.size:
        return None
    sizes = measure_sizes(grid, column.instances, column.centres_mm)
    whole = SIZE_WEIGHT * size_likelihood(sizes.values, column) + conus_likelihood(conus_rows(grid, column), column)
    scores = _landmark_scores(grid, column)
    scores[column.rows] += _span_scores(sizes)
    return Evidence(column, scores, whole)


def size_likelihood(sizes: Matrix, column: Column) -> Matrix:
    """Log-likelihood of the sizes under each legal sequence, up to a constant.

    All sizes of a scan are one draw of a normal distribution: the expectation of each level, a stature common to all lengths,
    an offset and a trend of each size that are the person's own, and the scatter between levels.

    Parameters
    ----------
    sizes : ndarray, shape (n, len(SIZES))
        Of the vertebrae of ``column``; NaN where unknown.
    column : Column
        Their rows.
    """
    names = legal_sequences(column.count).names
    scatter = [SCATTER[name] for name in SIZES]
    logarithm = np.array([s.logarithm for s in scatter])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(logarithm, np.log(sizes), sizes)
    row, size = np.nonzero(np.isfinite(values))
    if not row.size:
        return np.zeros(len(names))
    residual = values[row, size] - expected_sizes()[names[:, column.rows[row]], size]
    level = np.array([s.level for s in scatter])[size]
    effects = _effects(row, size, column)
    doubt: Matrix = np.ones(row.size)
    for _ in range(_ROBUST_ROUNDS):
        covariance = np.diag((level * doubt) ** 2) + effects @ effects.T
        weighted = np.linalg.solve(covariance, residual.T)
        best = int(np.argmin((residual.T * weighted).sum(axis=0)))
        own = (residual[best] - effects @ (effects.T @ weighted[:, best])) / level
        doubt = _doubt(own, size)
    covariance = np.diag((level * doubt) ** 2) + effects @ effects.T
    likelihood: Matrix = -0.5 * (residual.T * np.linalg.solve(covariance, residual.T)).sum(axis=0)
    return likelihood


def _doubt(residual: Matrix, size: NDArray[np.intp]) -> Matrix:
    """Factor on the scatter of each value.

    A size whose values scatter more than they should even around the sequence that fits them best is measured badly in this
    scan, and says less, from :data:`UNTRUSTED` on nothing; a single value that lies far off says less, too.
    """
    counts = np.bincount(size, minlength=len(SIZES))
    excess = np.bincount(size, weights=np.minimum(residual**2, _FARTHEST_SD**2), minlength=len(SIZES))
    common = np.sqrt(np.maximum(1.0, (excess + PRIOR_COUNT) / (counts + PRIOR_COUNT)))
    common = np.where(common > UNTRUSTED, _NOTHING, common)[size]
    factor: Matrix = common * np.maximum(1.0, np.abs(residual) / common / ROBUST_SD)
    return factor


def _effects(row: NDArray[np.intp], size: NDArray[np.intp], column: Column) -> Matrix:
    """How a person's stature, offsets and trends (each of variance 1) change each value, shape (values, effects)."""
    scatter = [SCATTER[name] for name in SIZES]
    count = len(SIZES)
    values = np.arange(row.size)
    effects = np.zeros((row.size, 1 + 2 * count))
    effects[:, 0] = np.array([s.logarithm for s in scatter])[size] * SCALE_SD
    effects[values, 1 + size] = np.array([s.person for s in scatter])[size]
    middle = (column.rows[0] + column.rows[-1]) / 2
    effects[values, 1 + count + size] = np.array([s.trend for s in scatter])[size] * (column.rows[row] - middle) / 12
    return effects


def conus_likelihood(rows: tuple[float, float], column: Column) -> Matrix:
    """Log-likelihood under each legal sequence of where the cord ends, given between which rows it does."""
    names = legal_sequences(column.count).names
    mean, sd = CONUS
    low, high = (_position(row, names) for row in rows)
    if rows[0] == rows[1]:
        density = np.exp(-0.5 * ((low - mean) / sd) ** 2) / sd / np.sqrt(2 * np.pi)
        return np.asarray(np.log((1 - CONUS_DOUBT) * density + CONUS_DOUBT / 8))
    share = special.ndtr((high - mean) / sd) - special.ndtr((low - mean) / sd)
    return np.asarray(np.log((1 - CONUS_DOUBT) * share + CONUS_DOUBT / 2))


def _position(row: float, names: NDArray[np.intp]) -> Matrix:
    """Position in the tables of a fractional row under each sequence."""
    if np.isinf(row):
        return np.full(len(names), row)
    last = names.shape[1] - 1
    inside = float(np.clip(row, 0, last))
    lower = min(int(inside), max(0, last - 1))
    upper = min(lower + 1, last)
    share = inside - lower
    places = POSITIONS[names]
    found: Matrix = places[:, lower] * (1 - share) + places[:, upper] * share + (row - inside)
    return found


def _span_scores(sizes: Sizes) -> Matrix:
    """What transverse processes say that are cut: their level's are longer than what is shown of them."""
    names = expected_sizes()[:, SIZES.index("transverse_span")]
    longer = special.ndtr((names - np.log(sizes.least_span_mm[:, None])) / SPAN_SD)
    return np.where(np.isnan(longer), 0.0, SPAN_WEIGHT * np.log((1 - SPAN_DOUBT) * longer + SPAN_DOUBT))


def _landmark_scores(grid: Grid, column: Column) -> Matrix:
    """What sacrum, dens and the ends of the field of view say about single rows."""
    scores = np.zeros((column.count, len(NAMES)))
    scores[:, INDEX["C1"]] = -np.inf  # no model that this evidence is made for segments C1
    scores[:, INDEX["S1"]] = -np.inf
    if column.sacrum_row is not None:
        scores[column.sacrum_row] = -np.inf
        scores[column.sacrum_row, INDEX["S1"]] = 0
    holders = grid.instance[grid.semantic == Structure.DENS]
    if holders.size:
        row = column.instances.index(int(np.bincount(holders).argmax()))
        scores[column.rows[row], INDEX["C2"]] += DENS_LOG
    above, below = room_mm(grid, column)
    if above > OPEN_PITCH * column.pitch_mm[0]:
        scores[0, INDEX["C2"]] += OPEN_LOG
    if below > OPEN_PITCH * column.pitch_mm[1] and column.sacrum_row is None:
        scores[-1, [INDEX["L4"], INDEX["L5"], INDEX["L6"]]] += OPEN_LOG
    return scores
