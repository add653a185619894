"""Training samples of the labeling network: vertebrae of one painted phantom, with their levels."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Matrix, Shape, Spacing, extract
from spineps.labeling.cutouts import LEVELS, boxes_around, standardised
from spineps.labels import BODY, ENDPLATES, LEVEL_NAMES, Structure, left_right_table, lookup
from spineps.phantom.anatomy import AnatomySpec, build_anatomy
from spineps.phantom.appearance import paint_patch
from spineps.phantom.contrasts import Contrast
from spineps.phantom.morphometry import Variant
from spineps.stages.components import label_boxes
from spineps.training.corruption import corrupt as corrupted
from spineps.training.placement import Placement, Tilt, nearest_voxels, sample_grid
from spineps.training.pool import Volume, volume_of

LABELING_PATCH: Final[Shape] = (48, 48, 40)
"""Voxels (P, I, R) of a cutout: a vertebra with half of each neighbour, and its ribs to where the last of them end. What lies
farther away is the sequence's to judge."""
LABELING_SPACING_MM: Final[Spacing] = (2.0, 2.0, 2.0)
LABELING_SHIFT_MM: Final[Spacing] = (4.0, 0.0, 0.0)
"""From the centre of the body to that of the cutout: room in front for ribs and vessels, behind for processes."""
VERTEBRAE: Final = 8
"""Vertebrae of one sample at most, from one phantom painted once."""
VARIANT_SHARES: Final = MappingProxyType(
    {
        Variant.NONE: 0.5,
        Variant.T13: 0.14,
        Variant.L6: 0.12,
        Variant.NO_T12: 0.07,
        Variant.NO_L5: 0.07,
        Variant.NO_T12_RIB: 0.1,
    }
)
"""How often each variant is drawn for training: more often than it is found, since the solver knows how rare it is."""
REGIONS: Final = "CTL"
"""First letters of the levels of each region, in the order of :data:`spineps.networks.levels.REGIONS`."""

_CONTRASTS: Final = (Contrast.T2W, Contrast.WATER, Contrast.STIR, Contrast.T1W, Contrast.RANDOM)
_CONTRAST_SHARE: Final = (0.6, 0.07, 0.08, 0.15, 0.10)
_JITTER_MM: Final = (3.0, 3.0, 3.0)
_TILT: Final = Tilt(sigma=(3.0, 3.0, 8.0), limit=(8.0, 8.0, 22.0), uniform=0.15)
_LOG_SCALE: Final = (0.06, 0.03)
_FIELD_MM: Final = ((90.0, 220.0), (150.0, 380.0), (46.0, 100.0))
"""Field of view that a sample is cut to, so that the edges of images lie anywhere."""
_CENTRE_SIGMA_MM: Final = (15.0, 30.0, 5.0)
_PHANTOM_MM: Final = ((120.0, 220.0), (160.0, 320.0), (60.0, 110.0))
_CENTRE_LEVELS: Final = ((2.0, 10.0), (9.0, 17.0), (17.0, 23.5))
_CENTRE_SHARE: Final = (0.2, 0.25, 0.55)
_BLIND: Final = 0.1
"""Share of samples whose image is noise: the masks alone must do."""
_LEAST_VOXELS: Final = 60
"""Half a millilitre of body: less is no vertebra that a network could be asked about."""
_IS_BODY: Final = lookup(BODY)
_ENDPLATES_MERGED: Final = np.where(lookup(ENDPLATES), np.uint8(Structure.ENDPLATE), np.arange(256, dtype=np.uint8))

Sample = tuple[NDArray[Any], NDArray[np.uint8]]


def build_labeling_volume(seed: int) -> Volume:
    """Build a phantom for labeling samples: on their own coarse grid, and with more variants than people have."""
    rng = np.random.default_rng(seed)
    fov_mm = [rng.uniform(*limits) for limits in _PHANTOM_MM]
    p, i, r = (round(length / step) for length, step in zip(fov_mm, LABELING_SPACING_MM, strict=True))
    centre = float(rng.uniform(*_CENTRE_LEVELS[rng.choice(len(_CENTRE_LEVELS), p=_CENTRE_SHARE)]))
    variant = list(VARIANT_SHARES)[rng.choice(len(VARIANT_SHARES), p=list(VARIANT_SHARES.values()))]
    spec = AnatomySpec((p, i, r), LABELING_SPACING_MM, centre_level=centre, variant=variant)
    return volume_of(build_anatomy(rng, spec), seed=seed)


def draw_labeling_sample(volume: Volume, rng: np.random.Generator, *, corrupt: bool = True) -> Sample:
    """Draw cutouts around vertebrae of a phantom.

    Parameters
    ----------
    volume : Volume
        Phantom to cut from.
    rng : numpy Generator
        Source of all randomness.
    corrupt : bool
        Put errors of a semantic network into the labels.

    Returns
    -------
    cutouts : ndarray of float16, shape (n, 2, *LABELING_PATCH)
        Standardised image, and semantic ids, of all vertebrae shown, at most :data:`VERTEBRAE`.
    targets : ndarray of uint8, shape (n, 3)
        Index of the level in :data:`~spineps.labeling.cutouts.LEVELS`, region, 1 where the vertebra is whole.

    Raises
    ------
    InputError
        If the phantom has no whole vertebral body.
    """
    volume.check_bodies()
    image, labels, instance = _scan_of(volume, rng)
    while not (shown := _shown(labels, instance)):  # the drawn field of view may miss all bodies
        image, labels, instance = _scan_of(volume, rng)
    if corrupt:
        labels = corrupted(labels, rng)
    if rng.random() < _BLIND:
        image = rng.normal(0, 1, image.shape).astype(np.float32)
    cutouts, targets = [], []
    for number in rng.choice(list(shown), min(VERTEBRAE, len(shown)), replace=False):
        centre_vox, whole = shown[int(number)]
        offset = (np.asarray(LABELING_SHIFT_MM) + rng.normal(0, _JITTER_MM)) / np.asarray(LABELING_SPACING_MM)
        box = boxes_around((centre_vox + offset)[None], LABELING_PATCH)[0]
        cutouts.append(np.stack([extract(image, box), extract(labels, box).astype(np.float32)]))
        name = LEVEL_NAMES[int(number)]
        targets.append((LEVELS.index(name), REGIONS.index(name[0]), whole))
    return np.stack(cutouts).astype(np.float16), np.array(targets, np.uint8)


def _scan_of(volume: Volume, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.uint8], NDArray[np.uint8]]:
    """A turned, scaled and cropped view of the phantom at 2 mm, painted: image, semantic labels, instances."""
    extent_mm = np.asarray(volume.shape) * np.asarray(volume.spacing_mm)
    field = [min(rng.uniform(*limits), length) for limits, length in zip(_FIELD_MM, extent_mm, strict=True)]
    p, i, r = (max(8, round(length / step)) for length, step in zip(field, LABELING_SPACING_MM, strict=True))
    bodies = np.array([volume.centres_vox[number] for number in sorted(volume.centres_vox)]) * volume.spacing_mm
    room = np.maximum(0, extent_mm - field)
    wanted = bodies[rng.integers(len(bodies))] + rng.normal(0, _CENTRE_SIGMA_MM)
    centre_mm = np.clip(wanted, (extent_mm - room) / 2, (extent_mm + room) / 2)
    placement = Placement.draw(rng, centre_mm, tilt=_TILT, log_scale=_LOG_SCALE, flip=0.5)
    index, outside = nearest_voxels(sample_grid((p, i, r), LABELING_SPACING_MM), placement, volume.shape, volume.spacing_mm)
    tissue = volume.tissue.reshape(-1)[index]
    labels = np.where(outside, np.uint8(0), _ENDPLATES_MERGED[volume.semantic.reshape(-1)[index]])
    instance = np.where(outside, np.uint8(0), volume.instance.reshape(-1)[index])
    contrast = _CONTRASTS[rng.choice(len(_CONTRASTS), p=_CONTRAST_SHARE)]
    image = standardised(paint_patch(tissue, LABELING_SPACING_MM, rng, contrast).image)
    if placement.mirrored:
        labels = left_right_table()[labels]
    return image, labels, instance


def _shown(labels: NDArray[np.uint8], instance: NDArray[np.uint8]) -> dict[int, tuple[Matrix, bool]]:
    """Centre of the body of each vertebra in the field of view, and whether the field of view holds all of its height."""
    found = {}
    for number, box in label_boxes(np.where(_IS_BODY[labels], instance, 0)).items():
        if LEVEL_NAMES.get(number) not in LEVELS:
            continue
        points = np.argwhere((instance[box.slices] == number) & _IS_BODY[labels[box.slices]]) + np.asarray(box.start)
        if len(points) >= _LEAST_VOXELS:
            found[number] = (points.mean(axis=0), box.start[1] > 0 and box.stop[1] < instance.shape[1])
    return found
