"""The pool of phantoms that training samples are cut from: one file a phantom, made by worker processes, read by all.

A file is a safetensors file without compression, so that every process maps it into memory and reads only the part that it
needs; the system's file cache is the one copy that all processes share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy import ndimage

from spineps.errors import ErrorCode, InputError
from spineps.geometry import Shape, Spacing
from spineps.io import atomic
from spineps.labels import SACRUM_INSTANCE, Structure, is_vertebra
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy

SEMANTIC_SPACING_MM: Final[Spacing] = (1.0, 1.0, 2.0)
"""Grid (P, I, R) of the pool and of the bundled semantic network."""
FIRST_TRAINING_SEED: Final = 1_000_000
"""Phantoms for training have this seed or a higher one."""
HELD_OUT_SEEDS: Final = range(100_000)
"""Seeds of phantoms that are never trained on: validation, benchmarks, examples."""

_FIELD_OF_VIEW_MM: Final = ((120.0, 400.0), (160.0, 380.0), (50.0, 120.0))
_REGIONS: Final = ((0.5, 9.0), (8.0, 18.0), (17.0, 25.5))
"""Ranges of the level at the centre, counted from C1 = 0: cervical, thoracic, lumbar with sacrum."""
_REGION_SHARE: Final = (0.27, 0.23, 0.5)
_SMALLEST_BODY: Final = 0.3
"""A body with less than this share of its neighbours' median volume is cut by the edge: no cutout is centred on it."""
_NAME: Final = "volume-{seed:010d}.safetensors"
_ARRAYS: Final = ("tissue", "semantic", "instance")


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A phantom's anatomy as the samplers see it; the arrays may be memory-mapped and are read-only.

    Parameters
    ----------
    tissue, semantic, instance : ndarray of uint8, shape (P, I, R)
        Tissue ids, semantic labels (endplates 52 and 53) and instance ids.
    spacing_mm : tuple of 3 float
        Voxel spacing along (P, I, R).
    seed : int
        Seed of the phantom.
    centres_vox : Mapping of int to tuple of 3 float
        Centre of the body of each whole vertebra, by instance id.
    order : tuple of int
        Instance ids of all vertebrae from top to bottom (T13 is 28 and stands below 19).
    predicted : bool
        The semantic labels are those of a network, not the truth.
    """

    tissue: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    spacing_mm: Spacing
    seed: int
    centres_vox: Mapping[int, tuple[float, float, float]]
    order: tuple[int, ...]
    predicted: bool = False

    @property
    def shape(self) -> Shape:
        """Voxels along (P, I, R)."""
        p, i, r = self.tissue.shape
        return p, i, r

    def check_bodies(self) -> None:
        """Raise an InputError if there is no whole vertebral body."""
        if not self.centres_vox:
            message = f"Phantom {self.seed} shows no whole vertebral body."
            raise InputError(ErrorCode.INPUT_LABELS, message, remedy="Draw from another phantom.")


Build = Callable[[int], Volume]
"""Seed to phantom."""


def draw_spec(rng: np.random.Generator, spacing_mm: Spacing = SEMANTIC_SPACING_MM) -> AnatomySpec:
    """Draw field of view and region of a phantom for training: all regions, half of them lumbar."""
    fov_mm = [rng.uniform(*limits) for limits in _FIELD_OF_VIEW_MM]
    p, i, r = (round(length / step) for length, step in zip(fov_mm, spacing_mm, strict=True))
    region = _REGIONS[rng.choice(len(_REGIONS), p=_REGION_SHARE)]
    return AnatomySpec(shape=(p, i, r), spacing_mm=spacing_mm, centre_level=float(rng.uniform(*region)))


def build_volume(seed: int) -> Volume:
    """Build the phantom of a seed in memory."""
    rng = np.random.default_rng(seed)
    return volume_of(build_anatomy(rng, draw_spec(rng)), seed=seed)


def volume_of(anatomy: Anatomy, *, seed: int) -> Volume:
    """The parts of an anatomy that training needs, with the centres of its bodies."""
    centres, order = bodies_of(anatomy.semantic, anatomy.instance)
    return Volume(
        anatomy.tissue, anatomy.semantic, anatomy.instance, anatomy.geometry.spacing_mm, seed, MappingProxyType(centres), order
    )


def save_volume(pool: Path, volume: Volume) -> Path:
    """Write a volume into a pool under the name that follows from its seed; returns the file."""
    path = volume_path(pool, volume.seed)
    facts = {
        "seed": volume.seed,
        "spacing_mm": volume.spacing_mm,
        "centres_vox": {str(k): v for k, v in volume.centres_vox.items()},
        "order": volume.order,
        "predicted": volume.predicted,
    }
    arrays = {name: np.ascontiguousarray(getattr(volume, name)) for name in _ARRAYS}
    pool.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, save(arrays, metadata={"volume": json.dumps(facts)}))
    return path


def load_volume(path: Path) -> Volume:
    """Map a volume of a pool into memory.

    Raises
    ------
    FileNotFoundError
        If another process has removed it meanwhile.
    InputError
        If the file is not a volume.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(length))
        facts = json.loads(header["__metadata__"]["volume"])
        tissue, semantic, instance = (_mapped(path, header[name], 8 + length) for name in _ARRAYS)
        centres = {int(k): (float(p), float(i), float(r)) for k, (p, i, r) in facts["centres_vox"].items()}
    except (ValueError, KeyError) as error:
        raise InputError(
            ErrorCode.INPUT_CORRUPT, f"{path.name} is not a volume of a training pool.", remedy="Remove the file."
        ) from error
    spacing = facts["spacing_mm"]
    return Volume(
        tissue,
        semantic,
        instance,
        (spacing[0], spacing[1], spacing[2]),
        facts["seed"],
        MappingProxyType(centres),
        tuple(facts["order"]),
        bool(facts.get("predicted", False)),
    )


def fill_pool(pool: Path, first_seed: int, count: int, build: Build = build_volume) -> list[Path]:
    """Build the phantoms of ``count`` seeds from ``first_seed`` on, except those that the pool already holds.

    Returns
    -------
    list of Path
        Their files, by seed.
    """
    paths = []
    for seed in range(first_seed, first_seed + count):
        path = volume_path(pool, seed)
        paths.append(path if path.is_file() else save_volume(pool, build(seed)))
    return paths


def volume_path(pool: Path, seed: int) -> Path:
    """Where the volume of a seed lies in a pool."""
    return pool / _NAME.format(seed=seed)


def pool_files(pool: Path) -> list[Path]:
    """The volumes of a pool, from the lowest seed (the oldest) to the highest."""
    return sorted(pool.glob("volume-*.safetensors"))


def seed_of(path: Path) -> int:
    """Seed of a volume, from its file name."""
    return int(path.stem.partition("-")[2])


def _mapped(path: Path, entry: dict[str, Any], data_start: int) -> NDArray[np.uint8]:
    p, i, r = entry["shape"]
    return np.memmap(path, dtype=np.uint8, mode="r", offset=data_start + entry["data_offsets"][0], shape=(p, i, r))


def bodies_of(
    semantic: NDArray[np.uint8], instance: NDArray[np.uint8]
) -> tuple[dict[int, tuple[float, float, float]], tuple[int, ...]]:
    """Centres of the bodies that are whole enough to be a cutout's centre, and all vertebrae from top to bottom."""
    body = np.where(semantic == Structure.CORPUS, instance, 0)
    found = ndimage.find_objects(body, max_label=255)
    centres: dict[int, tuple[float, float, float]] = {}
    sizes: dict[int, int] = {}
    for label, box in enumerate(found, start=1):
        if box is None or not is_vertebra(label):
            continue
        points = np.argwhere(body[box] == label)
        p, i, r = points.mean(axis=0) + [s.start for s in box]
        centres[label], sizes[label] = (float(p), float(i), float(r)), len(points)
    order = tuple(sorted(centres, key=lambda label: centres[label][1]))
    whole = {}
    for place, label in enumerate(order):
        neighbours = [sizes[n] for n in order[max(0, place - 2) : place + 3]]
        if sizes[label] >= _SMALLEST_BODY * float(np.median(neighbours)):
            whole[label] = centres[label]
    return whole, tuple(label for label in order if label != SACRUM_INSTANCE)
