"""Training samples from scans of one's own: patches of the image and cutouts of the masks, turned, scaled, mirrored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from torch.nn import functional

from spineps.geometry import FloatArray, Shape, Spacing, resample
from spineps.io import atomic
from spineps.labels import Structure
from spineps.phantom.filters import smooth_field
from spineps.stages.preprocess import normalise, prepare
from spineps.training.marginal import ANYTHING, Sets, mirrored_sets
from spineps.training.own_cases import Case
from spineps.training.placement import Placement, Tilt, nearest_voxels, sample_grid
from spineps.training.pool import Volume, bodies_of
from spineps.volume import Scan

_TILT: Final = Tilt(sigma=(5.0, 4.0, 8.0), limit=(15.0, 10.0, 20.0), uniform=0.2)
_LOG_SCALE: Final = (0.1, 0.05)
_ANYWHERE: Final = 0.2
"""Share of patches whose centre lies anywhere in the scan, not on the spine."""
_CENTRE_SIGMA_MM: Final = 10.0
_GAMMA_SIGMA: Final = 0.2
_SCALE_SIGMA: Final = 0.2
_OFFSET_SIGMA: Final = 0.2
_NOISE: Final = 0.15
_BIAS: Final = 0.3
_BIAS_CELL_MM: Final = 60.0
_SEARCH_STRIDE: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class OwnVolume:
    """A scan at the network's spacing with what its voxels may be, and its masks as a volume for instance cutouts.

    Parameters
    ----------
    image : ndarray of float16, shape (P, I, R)
        Normalised as for inference.
    sets : ndarray of uint16, shape (P, I, R)
        See :data:`spineps.training.marginal.Sets`.
    masks : Volume
        Semantic and instance labels (its tissue is empty).
    """

    image: NDArray[np.float16]
    sets: Sets
    masks: Volume


def own_volume(case: Case, labelled: frozenset[Structure], spacing_mm: Spacing, number: int) -> OwnVolume:
    """Bring a case to the grid of the network, as inference would: cropped, normalised, sampled linearly, labels nearest."""
    prepared = prepare(Scan(case.scan.image, case.scan.geometry.straightened()))
    grid = prepared.geometry.resampled(spacing_mm)
    image = resample(normalise(prepared.image), prepared.geometry, grid, order=1)
    labels: list[NDArray[Any]] = [
        resample(np.ascontiguousarray(array[prepared.box.slices]), prepared.geometry, grid, order=0)
        for array in (case.sets(labelled), case.semantic, case.instance)
    ]
    return OwnVolume(image.astype(np.float16), labels[0], _masks(labels[1], labels[2], spacing_mm, number))


def save_own(path: Path, volume: OwnVolume, facts: dict[str, Any]) -> None:
    """Write a prepared case, with facts that tell whether it is still what is wanted."""
    arrays = {
        "image": volume.image,
        "sets": volume.sets,
        "semantic": volume.masks.semantic,
        "instance": volume.masks.instance,
    }
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, save(plain, metadata={"facts": json.dumps(facts)}))


def load_own(path: Path, facts: dict[str, Any]) -> OwnVolume | None:
    """Read a prepared case; None where there is none made from the same files and settings."""
    if not path.is_file():
        return None
    with safe_open(path, framework="np") as file:
        if json.loads(file.metadata()["facts"]) != json.loads(json.dumps(facts)):
            return None
        image, sets, semantic, instance = (file.get_tensor(name) for name in ("image", "sets", "semantic", "instance"))
    return OwnVolume(image, sets, _masks(semantic, instance, facts["spacing_mm"], facts["number"]))


def draw_own_patch(
    volume: OwnVolume, rng: np.random.Generator, patch_size: Shape, *, augment: bool = True
) -> tuple[NDArray[np.float16], Sets]:
    """Draw a patch of a scan: turned, scaled, mirrored, its contrast changed a little (or, for validation, as it is).

    Returns
    -------
    image : ndarray of float16, shape ``patch_size``
        Normalised intensities.
    sets : ndarray of uint16, same shape
        What each voxel may be; anything beyond the scan.
    """
    spacing = volume.masks.spacing_mm
    placement = Placement(_centre_mm(volume, rng), np.eye(3), mirrored=False)
    if augment:
        placement = Placement.draw(rng, placement.centre_mm, tilt=_TILT, log_scale=_LOG_SCALE, flip=0.5)
    grid = sample_grid(patch_size, spacing)
    index, outside = nearest_voxels(grid, placement, volume.masks.shape, spacing)
    sets = volume.sets.reshape(-1)[index]
    if placement.mirrored:
        sets = _MIRRORED[sets]
    sets = np.where(outside, np.uint16(ANYTHING), sets)
    image = _linear(volume.image, grid, placement, spacing)
    if not augment:
        return image.astype(np.float16), sets
    if rng.random() < 0.5:
        image = np.where(outside, np.float32(0), image)
    return _recoloured(image, spacing, rng).astype(np.float16), sets


def _masks(semantic: NDArray[np.uint8], instance: NDArray[np.uint8], spacing_mm: Sequence[float], number: int) -> Volume:
    centres, order = bodies_of(semantic, instance)
    p, i, r = spacing_mm
    return Volume(semantic, semantic, instance, (p, i, r), number, MappingProxyType(centres), order)


def _centre_mm(volume: OwnVolume, rng: np.random.Generator) -> NDArray[np.float64]:
    spacing = np.asarray(volume.masks.spacing_mm)
    extent = np.asarray(volume.masks.shape) * spacing
    if rng.random() >= _ANYWHERE:
        coarse = volume.sets[::_SEARCH_STRIDE, ::_SEARCH_STRIDE] & 1
        labelled = np.argwhere(coarse == 0) * (_SEARCH_STRIDE, _SEARCH_STRIDE, 1)
        if len(labelled):
            near = labelled[rng.integers(len(labelled))] * spacing + rng.normal(0, _CENTRE_SIGMA_MM, 3)
            return np.asarray(np.clip(near, 0, extent))
    return np.asarray(rng.uniform(0.1, 0.9, 3) * extent)


def _linear(
    image: NDArray[np.float16], axes_mm: Sequence[torch.Tensor], placement: Placement, spacing_mm: Spacing
) -> FloatArray:
    """Intensities between the voxels; those of the edge beyond it."""
    where = []
    for row, centre, step, count in zip(placement.matrix, placement.centre_mm, spacing_mm, image.shape, strict=True):
        terms = [axis * float(factor / step) for axis, factor in zip(axes_mm, row, strict=True)]
        where.append((terms[0] + terms[1] + terms[2] + float(centre / step)) * (2 / max(1, count - 1)) - 1)
    field = torch.stack(where[::-1], dim=-1)[None]
    source = torch.from_numpy(image.astype(np.float32))[None, None]
    sampled: FloatArray = functional.grid_sample(source, field, padding_mode="border", align_corners=True)[0, 0].numpy()
    return sampled


def _recoloured(image: FloatArray, spacing_mm: Spacing, rng: np.random.Generator) -> FloatArray:
    """Gamma, a smooth bias field, noise, scale and offset: all small, for the contrast is that of real scans already."""
    low, high = float(image.min()), float(image.max())
    span = max(high - low, 1e-3)
    out = ((image - low) / span) ** np.exp(rng.normal(0, _GAMMA_SIGMA)) * span + low
    p, i, r = image.shape
    field = smooth_field(rng, (p, i, r), [_BIAS_CELL_MM / s for s in spacing_mm]).numpy()
    out = out * (1 + rng.uniform(0, _BIAS) * np.clip(field, -1.5, 1.5) / 2)
    out = out + rng.normal(0, rng.uniform(0, _NOISE), out.shape)
    out = out * np.exp(rng.normal(0, _SCALE_SIGMA)) + rng.normal(0, _OFFSET_SIGMA)
    return np.asarray(np.clip(out, -10, 10), dtype=np.float32)


_MIRRORED: Final = mirrored_sets()
