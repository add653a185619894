"""Training samples of the semantic network: turned, bent and painted patches of a phantom."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spineps.geometry import FloatArray, Shape, Spacing
from spineps.labels import left_right_table
from spineps.networks.classes import SEMANTIC_TABLE
from spineps.phantom.appearance import paint_patch
from spineps.phantom.contrasts import Contrast
from spineps.phantom.filters import smooth_field
from spineps.training.placement import Placement, Tilt, nearest_voxels, sample_grid
from spineps.training.pool import Volume

SEMANTIC_PATCH: Final[Shape] = (112, 144, 24)
"""Voxels (P, I, R) of a patch of the bundled semantic network."""
IGNORE: Final = 255
"""Target of voxels outside the phantom: no loss is taken there."""
CLIP_QUANTILES: Final = (0.005, 0.995)
"""Intensities are clipped to these quantiles before they are standardised, in training and inference alike."""

_CONTRASTS: Final = (Contrast.T2W, Contrast.WATER, Contrast.STIR, Contrast.T1W, Contrast.RANDOM)
_CONTRAST_SHARE: Final = (0.54, 0.09, 0.10, 0.15, 0.12)
_ANYWHERE: Final = 0.25
"""Share of patches whose centre lies anywhere: a network that sees only the spine finds spines everywhere."""
_CENTRE_SIGMA_MM: Final = (14.0, 12.0, 6.0)
_TILT: Final = Tilt(sigma=(7.0, 5.0, 12.0), limit=(26.0, 18.0, 36.0), uniform=0.3)
_LOG_SCALE: Final = (0.12, 0.07)
_SEARCH_STRIDE: Final = (8, 8, 4)
_ELASTIC: Final = ((30.0, 2.0), (12.0, 0.45))
"""Distance between nodes and largest sigma of the displacement, both in mm: coarse and fine."""
_CONTEXT_STRIDE: Final = (4, 4, 2)
_CONTEXT_FALL_OFF: Final = 2.5
"""Largest exponent by which a surface coil sees the front of the body less than the back."""
_CUT: Final = 0.2
"""Share of patches that show an edge of the field of view, beyond which there is nothing: scans come on turned grids too."""
_CUT_TILT: Final = Tilt(sigma=(6.0, 6.0, 12.0), limit=(25.0, 25.0, 45.0), uniform=0.5)
_CUT_DEPTH: Final = 0.3
"""Largest share of a patch's half-length that is cut off."""
_SCALE_SIGMA: Final = 0.2
_OFFSET_SIGMA: Final = 0.25


def draw_semantic_sample(
    volume: Volume, rng: np.random.Generator, patch_size: Shape = SEMANTIC_PATCH
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Draw a patch of a phantom and paint it.

    Parameters
    ----------
    volume : Volume
        Phantom to cut from.
    rng : numpy Generator
        Source of all randomness.
    patch_size : tuple of 3 int
        Voxels (P, I, R) at the phantom's spacing.

    Returns
    -------
    image : ndarray of float16, shape ``patch_size``
        Standardised intensities.
    target : ndarray of uint8, shape ``patch_size``
        Index into :data:`~spineps.networks.classes.SEMANTIC_CLASSES`; :data:`IGNORE` outside the phantom.
    """
    placement = _placement(volume, rng)
    grid = _bent_grid(rng, patch_size, volume.spacing_mm)
    index, outside = nearest_voxels(grid, placement, volume.shape, volume.spacing_mm)
    tissue = volume.tissue.reshape(-1)[index]
    semantic = volume.semantic.reshape(-1)[index]
    if placement.mirrored:
        semantic = left_right_table()[semantic]
    contrast = _CONTRASTS[rng.choice(len(_CONTRASTS), p=_CONTRAST_SHARE)]
    painting = paint_patch(tissue, volume.spacing_mm, rng, contrast)
    image = painting.image
    if outside.any() and rng.random() < 0.5:
        image = np.where(outside, np.float32(0), image)
    target = SEMANTIC_TABLE[semantic]
    target[outside] = IGNORE
    if rng.random() < _CUT:
        beyond = _beyond_an_edge(rng, patch_size)
        image = np.where(beyond, np.float32(0), image)
        target[beyond] = 0
    context = None if rng.random() < 0.3 else _context(volume, painting.response, rng)
    return _standardised(image, context, rng).astype(np.float16), target


def _placement(volume: Volume, rng: np.random.Generator) -> Placement:
    """Draw centre, rotation, scale and mirroring of a patch."""
    spacing = np.asarray(volume.spacing_mm)
    extent_mm = np.asarray(volume.shape) * spacing
    centre_mm = rng.uniform(0.1, 0.9, 3) * extent_mm
    if rng.random() >= _ANYWHERE:
        labelled = np.argwhere(volume.semantic[tuple(slice(None, None, k) for k in _SEARCH_STRIDE)] > 0) * _SEARCH_STRIDE
        if len(labelled):
            centre_mm = labelled[rng.integers(len(labelled))] * spacing + rng.normal(0, _CENTRE_SIGMA_MM)
    centre_mm = np.clip(centre_mm, 0.05 * extent_mm, 0.95 * extent_mm)
    return Placement.draw(rng, centre_mm, tilt=_TILT, log_scale=_LOG_SCALE, flip=0.5)


def _bent_grid(rng: np.random.Generator, shape: Shape, spacing_mm: Spacing) -> list[Tensor]:
    """Coordinates of a patch's voxels with smooth random displacements."""
    bends = [(rng.uniform(0, most), [node_mm / s for s in spacing_mm]) for node_mm, most in _ELASTIC]
    axes = sample_grid(shape, spacing_mm)
    for amplitude, cell in bends:
        axes = [axis + amplitude * smooth_field(rng, shape, cell) for axis in axes]
    return axes


def _beyond_an_edge(rng: np.random.Generator, shape: Shape) -> NDArray[np.bool_]:
    """Voxels of a patch on the far side of a plane that cuts off a piece of its front, back, upper or lower end."""
    normal = _CUT_TILT.draw(rng)[:, rng.integers(2)] * rng.choice((-1.0, 1.0))
    half = np.abs(normal) @ (np.asarray(shape) / 2)
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    terms = [axis * np.float32(part) for axis, part in zip(axes, normal, strict=True)]
    depth = terms[0][:, None, None] + terms[1][:, None] + terms[2]
    beyond: NDArray[np.bool_] = depth > half * rng.uniform(1 - 2 * _CUT_DEPTH, 0.9)
    return beyond


def _context(volume: Volume, response: FloatArray, rng: np.random.Generator) -> FloatArray:
    """About what the rest of the scan looks like: the response to a coarse grid of the phantom, cut to a random field."""
    coarse = volume.tissue[tuple(slice(int(rng.integers(k)), None, k) for k in _CONTEXT_STRIDE)]
    lengths = [max(4, int(n * rng.uniform(0.5, 1.0))) for n in coarse.shape]
    starts = [int(rng.integers(max(1, n - m + 1))) for n, m in zip(coarse.shape, lengths, strict=True)]
    part = coarse[tuple(slice(a, a + m) for a, m in zip(starts, lengths, strict=True))]
    depth = np.linspace(1, 0, part.shape[0], dtype=np.float32)
    gain = np.exp(-rng.uniform(0, _CONTEXT_FALL_OFF) * depth).astype(np.float32)
    seen: FloatArray = response[part] * gain[:, None, None]
    return seen.ravel() + np.abs(rng.normal(0, 0.03, seen.size)).astype(np.float32)


def _standardised(image: FloatArray, context: FloatArray | None, rng: np.random.Generator) -> FloatArray:
    """Clip and standardise as inference does, by the statistics of the surrounding scan as far as they are known."""
    reference = image.ravel()[::13]
    if context is not None:
        reference = np.concatenate([reference, context[:: max(1, context.size // 20_000)]])
    low, high = np.quantile(reference, CLIP_QUANTILES)
    reference = np.clip(reference, low, high)
    out = (np.clip(image, low, high) - reference.mean()) / (reference.std() + 1e-4)
    out = out * np.exp(rng.normal(0, _SCALE_SIGMA)) + rng.normal(0, _OFFSET_SIGMA)
    return np.asarray(np.clip(out, -10, 10), dtype=np.float32)
