"""Phantoms as a semantic network labels them: what the instance network meets in a run, in place of true labels.

Every second phantom of such a pool is painted and goes through the first phase; the others keep their true labels, into which
the samplers put made errors (:mod:`spineps.training.corruption`). So perfect masks stay known to the network.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.config import ComputeConfig, EngineName, PipelineConfig
from spineps.errors import NoSpineError
from spineps.geometry import Geometry, Spacing
from spineps.inference.load import load_semantic
from spineps.inference.protocols import ScanPredictor, SemanticPredictor
from spineps.labels import VERTEBRA, is_vertebra, lookup
from spineps.phantom.appearance import paint
from spineps.phantom.contrasts import Contrast
from spineps.pipeline import segment_semantic
from spineps.training.pool import Build, Volume, bodies_of, build_volume, load_volume, volume_path
from spineps.volume import Scan
from spineps.zoo.store import open_model

OWNED_MM: Final = 4.0
"""A vertebra's voxel of the mask in tissue this near to a true vertebra belongs to it; what lies farther away to none."""
_SHOWN: Final = tuple(Contrast)
_IS_VERTEBRA: Final = lookup(VERTEBRA)
_IS_INSTANCE: Final = np.array([is_vertebra(i) for i in range(256)])


def predictions_pool(pool: Path, model: Path) -> Path:
    """Folder of the phantoms as a model labels them, within a pool."""
    return pool / f"labelled-by-{open_model(model).card.weights_sha256[:12]}"


def predictions_build(pool: Path, model: Path) -> Build:
    """What makes them; travels to worker processes."""
    return partial(predicted_volume, pool=pool, model=model)


def predicted_volume(seed: int, *, pool: Path, model: Path) -> Volume:
    """The phantom of a seed, taken from the pool where it lies there; of even seeds as the model labels it."""
    known = volume_path(pool, seed)
    volume = load_volume(known) if known.is_file() else build_volume(seed)
    return volume if seed % 2 else relabelled(volume, _network(model))


def relabelled(volume: Volume, network: SemanticPredictor | ScanPredictor) -> Volume:
    """Paint a phantom in a contrast that its seed decides, and label it by the first phase of a run.

    Returns
    -------
    Volume
        With the network's semantic labels, and instances that own them; the volume itself where the network finds no body of
        a vertebra that is there.
    """
    rng = np.random.default_rng([volume.seed, 1])
    image = paint(np.asarray(volume.tissue), volume.spacing_mm, rng, _SHOWN[rng.integers(len(_SHOWN))])
    scan = Scan(image, Geometry.from_spacing(volume.shape, volume.spacing_mm))
    try:
        found = segment_semantic(scan, network, PipelineConfig(force=True)).labels.astype(np.uint8)
    except NoSpineError:
        return volume
    instance = owned(found, volume.instance, volume.spacing_mm)
    centres, _ = bodies_of(found, instance)
    if not centres:
        return volume
    return replace(volume, semantic=found, instance=instance, centres_vox=MappingProxyType(centres), predicted=True)


def owned(semantic: NDArray[np.uint8], instance: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Instance ids for a predicted mask: each vertebra's voxel takes the nearest true vertebra within :data:`OWNED_MM`.

    What is truly a disc, an endplate or the sacrum belongs to no vertebra: the network is to tell merged bodies apart.
    """
    there = _IS_INSTANCE[instance]
    if not there.any():
        return np.zeros_like(semantic)
    distance, nearest = ndimage.distance_transform_edt(~there, sampling=spacing_mm, return_indices=True)
    free = (distance <= OWNED_MM) & (there | (instance == 0))
    ours = np.where(free, instance[tuple(nearest)], np.uint8(0))
    return np.where(_IS_VERTEBRA[semantic], ours, np.uint8(0)).astype(np.uint8)


@cache
def _network(model: Path) -> SemanticPredictor | ScanPredictor:
    return load_semantic(ComputeConfig(threads=1, engine=EngineName.TORCH), model)
