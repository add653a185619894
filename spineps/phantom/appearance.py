"""From a tissue map to an MR image: signal, texture, slices, artefacts, scaling.

The approach is domain randomisation (Billot et al. 2023, SynthSeg) around the priors of real contrasts: ranges much wider
than any one scanner's, so that a network trained on them takes a real scan for one more variation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spineps.geometry import FloatArray, Shape, Spacing
from spineps.phantom.artefacts import apply_artefacts, flow_void, metal_void
from spineps.phantom.contrasts import Contrast, draw_signal
from spineps.phantom.filters import blur, box_weights, correlate, quantile, resize, smooth_field, white_noise
from spineps.phantom.tissues import Tissue

WHITE_QUANTILE: Final = 0.995
"""The brightest voxels that are scaled to 1."""
MAX_INTENSITY: Final = 1.3
_SLICE_THICKNESS_MM: Final = (0.8, 5.0)
_POINT_SPREAD_VOX: Final = (0.4, 0.95)
"""Sigma of the in-plane point spread; below it edges are jagged as no scanner makes them."""
_STREAK_CELL_MM: Final = (4.0, 18.0, 5.0)
"""Fat between muscle fibres lies in strands along the spine."""
_PATCHY_CELL_MM: Final = (14.0, 14.0, 14.0)


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """A painted image, and what is needed to guess the intensities of its surroundings.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Intensities from 0 to :data:`MAX_INTENSITY`.
    response : ndarray of float32, shape (tissues,)
        Mean intensity of each tissue in ``image`` where no field is inhomogeneous.
    """

    image: FloatArray
    response: FloatArray


def paint(tissue: NDArray[np.uint8], spacing_mm: Spacing, rng: np.random.Generator, contrast: Contrast) -> FloatArray:
    """Paint a tissue map as an MR image; :func:`paint_patch` without the response.

    Returns
    -------
    ndarray of float32, shape (P, I, R)
        Intensities from 0 to :data:`MAX_INTENSITY`.
    """
    return paint_patch(tissue, spacing_mm, rng, contrast).image


def paint_patch(tissue: NDArray[np.uint8], spacing_mm: Spacing, rng: np.random.Generator, contrast: Contrast) -> Painting:
    """Paint a tissue map as an MR image on the same grid, through slices of a random thickness.

    Parameters
    ----------
    tissue : ndarray of uint8, shape (P, I, R)
        Ids of :class:`~spineps.phantom.tissues.Tissue`.
    spacing_mm : tuple of 3 float
        Voxel spacing along (P, I, R).
    rng : numpy Generator
        Source of all randomness; the same state gives the same image.
    contrast : Contrast
        Kind of image.

    Returns
    -------
    Painting
        The image, scaled so that its brightest half percent is about 1.
    """
    image, mean = _true_signal(tissue, spacing_mm, rng, contrast)
    thickness_mm = rng.uniform(*_SLICE_THICKNESS_MM)
    slices = min(image.shape[2], max(4, round(image.shape[2] * spacing_mm[2] / thickness_mm)))
    step_mm = image.shape[2] * spacing_mm[2] / slices
    shape = image.shape
    image = correlate(image, box_weights(thickness_mm / spacing_mm[2]), 2)
    image = resize(image, [shape[0], shape[1], slices])
    image = apply_artefacts(image, (spacing_mm[0], spacing_mm[1], step_mm), rng)
    return _developed(resize(image, shape), mean, rng)


def paint_averaged(
    tissue: NDArray[np.uint8], spacing_mm: Spacing, rng: np.random.Generator, contrast: Contrast, *, per_voxel: Shape
) -> Painting:
    """Paint a tissue map on a fine grid as a scan of larger voxels, each the average of the fine ones in it (partial volume).

    Parameters
    ----------
    tissue : ndarray of uint8
        Tissue ids on the fine grid (P, I, R).
    spacing_mm : tuple of 3 float
        Voxel spacing of the fine grid.
    rng, contrast
        As for :func:`paint_patch`.
    per_voxel : tuple of 3 int
        Fine voxels along each axis that are averaged into one; odd, so that one of them is the centre.

    Returns
    -------
    Painting
        Image of the fine grid's shape divided by ``per_voxel``.

    Raises
    ------
    ValueError
        If ``per_voxel`` is not odd or does not divide the shape.
    """
    if any(k % 2 == 0 or n % k for k, n in zip(per_voxel, tissue.shape, strict=True)):
        raise ValueError(f"expected odd divisors of the shape {tissue.shape}, found {per_voxel}")
    image, mean = _true_signal(tissue, spacing_mm, rng, contrast)
    gap = rng.uniform(0.85, 1.0)  # what the slice covers of the distance between slices
    for axis, (k, coverage) in enumerate(zip(per_voxel, (1.0, 1.0, gap), strict=True)):
        image = correlate(image, box_weights(max(1.0, coverage * k)), axis)
    image = image[tuple(slice(k // 2, None, k) for k in per_voxel)].contiguous()
    p, i, r = (s * k for s, k in zip(spacing_mm, per_voxel, strict=True))
    return _developed(apply_artefacts(image, (p, i, r), rng), mean, rng)


def _true_signal(
    tissue: NDArray[np.uint8], spacing_mm: Spacing, rng: np.random.Generator, contrast: Contrast
) -> tuple[Tensor, FloatArray]:
    """The object before it is scanned, with in-plane point spread, and the mean signal of each tissue."""
    signal = draw_signal(rng, contrast)
    index = torch.from_numpy(tissue.astype(np.int32))
    image = torch.from_numpy(signal.mean)[index]
    image += torch.from_numpy(signal.spread)[index] * _texture(rng, tissue.shape, spacing_mm)
    image = _inhomogeneous(image, index, spacing_mm, rng)
    if rng.random() < 0.25:
        image = flow_void(image, index == Tissue.CSF, spacing_mm, rng)
    metal = index == Tissue.METAL
    if bool(metal.any()):
        image = metal_void(image, metal, spacing_mm, rng)
    sigma_vox = rng.uniform(*_POINT_SPREAD_VOX)
    return blur(image.clamp_(min=0), (sigma_vox * rng.uniform(0.8, 1.25), sigma_vox, 0.0)), signal.mean


def _texture(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: Spacing) -> Tensor:
    """Fine and middle-sized texture of about unit standard deviation."""
    grid = (shape[0], shape[1], shape[2])
    texture = white_noise(rng, grid)
    if rng.random() < 0.7:
        texture = 0.5 * texture + smooth_field(rng, grid, [3.0 / spacing_mm[0], 3.0 / spacing_mm[1], 4.0 / spacing_mm[2]])
    return texture.add_(smooth_field(rng, grid, [9.0 / s for s in spacing_mm]), alpha=rng.uniform(0, 1.5))


def _inhomogeneous(image: Tensor, index: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Patchy tissue everywhere, and fatty strands in muscle."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    if rng.random() < 0.7:
        patchy = smooth_field(rng, shape, [c / s for c, s in zip(_PATCHY_CELL_MM, spacing_mm, strict=True)])
        image = image * (1 + rng.uniform(0, 0.35) * patchy)
    if rng.random() < 0.8:
        strands = smooth_field(rng, shape, [c / s for c, s in zip(_STREAK_CELL_MM, spacing_mm, strict=True)])
        gain = torch.exp(rng.uniform(0.1, 1.0) * strands)
        image = torch.where(index == Tissue.MUSCLE, image * gain, image)
    return image


def _developed(image: Tensor, mean: FloatArray, rng: np.random.Generator) -> Painting:
    """Scale to the brightest voxels, bend the grey scale, and sometimes round to 8 bit."""
    white = max(quantile(image, WHITE_QUANTILE), 1e-3)
    gamma = float(np.exp(rng.normal(0, 0.25)))
    image = (image / white).clamp_(min=0).pow_(gamma).clamp_(max=MAX_INTENSITY)
    if rng.random() < 0.25:
        image = torch.round(image * 255) / 255
    response = np.minimum((mean / white) ** gamma, MAX_INTENSITY)
    return Painting(image.numpy(), response.astype(np.float32))
