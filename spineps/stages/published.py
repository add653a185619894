"""The first phase with a model made elsewhere: the image prepared as it was for the model's training, labels on its own grid.

The steps and their order are those of the published SPINEPS, for a network's answer depends on them: intensities from 0 to at
most 1500, N4 within the box of what is brighter than noise, a margin of four voxels, cubic resampling from the first voxel's
centre without smoothing. A scan of whole numbers stays one at each step, as it does there: what cubic splines add around the
field of view is then zero again, and the background is cut away as in training.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from spineps.config import PipelineConfig
from spineps.geometry import Box, FloatArray, Geometry, Spacing, resample
from spineps.inference.protocols import ScanPredictor
from spineps.inference.sliding import Progress, Slab
from spineps.labels import Scheme
from spineps.stages.bias import bias_field
from spineps.stages.cutouts import instance_grid
from spineps.stages.semantic import ScoreObserver
from spineps.volume import LabelMap, Scan

HIGHEST: Final = 1500.0
"""Intensities above are scaled down to it; those of an image that does not reach it stay."""
MARGIN_VOX: Final = 4
NOISE: Final = 60.0
"""What is darker is no signal, on the scale up to :data:`HIGHEST`."""
_N4_SHRINK: Final = 4
_N4_ITERATIONS: Final = (50, 50, 50, 50)
_SAME_SPACING_MM: Final = 1e-3
_SAME_GRID_MM: Final = 1e-6
_CUBIC: Final = 3


@dataclass(frozen=True, slots=True)
class Numbers:
    """The kind of numbers that a scan is kept in while it is prepared: that of its file, as in the published tool.

    Parameters
    ----------
    whole : bool
        Whole numbers: scaled intensities lose their fractions, interpolated ones are rounded.
    signed : bool
        False where there is nothing below zero.
    """

    whole: bool
    signed: bool = True

    @classmethod
    def of(cls, scan: Scan) -> Numbers:
        """Those of a scan's file or, where that is not known, of its values."""
        if scan.source.stored_as is None:
            return cls(bool((scan.image == np.rint(scan.image)).all()))
        kind = np.dtype(scan.source.stored_as).kind
        return cls(kind in "iu", kind != "u")

    def cut(self, values: FloatArray) -> FloatArray:
        """Scaled values without their fractions."""
        return np.trunc(values) if self.whole else values

    def rounded(self, values: FloatArray) -> FloatArray:
        """Interpolated values as they are stored."""
        if not self.whole:
            return values
        return np.rint(values) if self.signed else np.maximum(np.rint(values), np.float32(0))


def label_scan(
    scan: Scan,
    predictor: ScanPredictor,
    config: PipelineConfig,
    *,
    progress: Progress | None = None,
    on_scores: ScoreObserver | None = None,
) -> LabelMap:
    """Label a whole scan.

    Parameters
    ----------
    scan : Scan
        In PIR orientation, its intensities as they were.
    predictor : ScanPredictor
        The network.
    config : PipelineConfig
        Its ``preprocess`` and ``semantic`` settings are used; ``n4=None`` is what the model was made for.
    progress : callable, optional
        Told the number of tiles done and of all tiles.
    on_scores : callable, optional
        Told the probabilities, as one slab, and their grid.

    Returns
    -------
    LabelMap
        On the grid of the model, which reaches four voxels of the scan beyond it.
    """
    numbers = Numbers.of(scan)
    values, grid = prepare_image(scan, predictor, config, numbers)
    values, grid = cubic(values, grid, predictor.spacing_for(grid.spacing_mm), numbers)
    labels = predictor.label(
        values,
        grid.spacing_mm,
        step_share=config.semantic.step_size or predictor.step_share,
        mirror=predictor.mirror if config.semantic.mirror is None else config.semantic.mirror,
        progress=progress,
        on_scores=None if on_scores is None else lambda scores: on_scores(Slab(scores, Box.whole(grid.shape)), grid),
    )
    return LabelMap(labels, grid, Scheme.SEMANTIC)


def prepare_image(
    scan: Scan, predictor: ScanPredictor, config: PipelineConfig, numbers: Numbers
) -> tuple[FloatArray, Geometry]:
    """Range of intensities, bias field and margin, at the scan's own spacing; its grid."""
    facts = predictor.scan_model
    n4 = facts.n4 if config.preprocess.n4 is None else config.preprocess.n4
    values = in_range(scan.image, numbers) if facts.normalise else scan.image.astype(np.float32)
    whole = Box.whole(scan.geometry.shape)
    box = (Box.around(values > values.min()) or whole) if config.preprocess.crop else whole
    inner = values[box.slices]
    if n4:
        inner = numbers.cut(without_bias(inner, scan.geometry.spacing_mm))
    values[box.slices] = in_range(inner, numbers) if facts.normalise else inner
    padded = np.pad(values, MARGIN_VOX, constant_values=float(values.min()))
    return padded, scan.geometry.cropped(whole.grown([MARGIN_VOX] * 3))


def in_range(image: FloatArray, numbers: Numbers) -> FloatArray:
    """Intensities shifted to begin at 0 and, where they reach beyond it, scaled to :data:`HIGHEST`."""
    shifted: FloatArray = (image - image.min()).astype(np.float32)
    most = float(shifted.max())
    return numbers.cut(shifted * np.float32(HIGHEST / most)) if most > HIGHEST else shifted


def on_grid(mask: LabelMap, grid: Geometry) -> LabelMap:
    """A mask on another grid with parallel axes, each voxel from the nearest; as it is where the grids agree."""
    if mask.geometry.matches(grid, tolerance_mm=_SAME_GRID_MM):
        return mask
    labels = resample(mask.labels.astype(np.uint16), mask.geometry, grid, order=0)
    return LabelMap(labels.astype(np.uint8) if mask.labels.dtype == np.uint8 else labels, grid, mask.scheme, mask.source)


def without_bias(image: FloatArray, spacing_mm: Spacing) -> FloatArray:
    """The image divided by its bias field (N4, Tustison et al. 2010), with the published settings.

    The field is fitted to the box of the voxels above :data:`NOISE`; of an image that is darker as a whole, to that of the
    voxels above the same share of its brightest one.
    """
    threshold = min(NOISE, float(image.max()) * NOISE / HIGHEST)
    box = Box.around(image >= threshold)
    if box is None or not image.any():
        return image
    mask = np.zeros(image.shape, np.bool_)
    mask[box.slices] = True
    corrected: FloatArray = image / bias_field(image, mask, spacing_mm, _N4_ITERATIONS, shrink=_N4_SHRINK)
    return corrected.astype(np.float32)


def cubic(image: FloatArray, geometry: Geometry, spacing_mm: Spacing, numbers: Numbers) -> tuple[FloatArray, Geometry]:
    """An image sampled at another spacing by cubic splines, the first voxel's centre kept; as it is where spacings agree."""
    if np.allclose(spacing_mm, geometry.spacing_mm, rtol=0, atol=_SAME_SPACING_MM):
        return image, geometry
    grid = instance_grid(geometry, spacing_mm)
    ratio = np.asarray(grid.spacing_mm) / np.asarray(geometry.spacing_mm)
    with warnings.catch_warnings():  # SciPy before 1.16 warns of a change in 0.18 whenever the matrix is a diagonal
        warnings.simplefilter("ignore", UserWarning)
        sampled: FloatArray = ndimage.affine_transform(
            image, ratio, output_shape=grid.shape, order=_CUBIC, mode="nearest", output=np.float32
        )
    return numbers.rounded(sampled), grid
