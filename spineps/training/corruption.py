"""Errors as semantic networks make them, put into true label maps: what the instance network has to live with.

Every function takes a label cutout (uint8, axes P, I, R) and a numpy generator and gives a changed copy of the same shape
and type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.labels import ARTICULAR, BODY, ENDPLATES, LEFT_RIGHT_PAIRS, POSTERIOR, SEGMENTED, VERTEBRA, Structure, lookup
from spineps.phantom.filters import smooth_field

Labels = NDArray[np.uint8]
Corruption = Callable[[Labels, np.random.Generator], Labels]

_CLEAN: Final = 0.1
"""Share of samples that are left as they are."""
_MISTAKEN_FOR: Final = (
    Structure.ARCUS,
    Structure.INFERIOR_ARTICULAR_LEFT,
    Structure.SUPERIOR_ARTICULAR_LEFT,
    Structure.CORPUS,
    Structure.DISC,
)
_IS_VERTEBRA: Final = lookup(VERTEBRA)
_IS_POSTERIOR: Final = lookup(POSTERIOR)
_IS_BODY: Final = lookup(BODY)
_IS_ENDPLATE: Final = lookup(ENDPLATES)
_IS_ARTICULAR: Final = lookup(ARTICULAR)


def corrupt(labels: Labels, rng: np.random.Generator) -> Labels:
    """Put a random selection of errors into a label cutout.

    Parameters
    ----------
    labels : ndarray of uint8, shape (P, I, R)
        True semantic labels at about 2 mm.
    rng : numpy Generator
        Source of all randomness.

    Returns
    -------
    ndarray of uint8
        A copy with errors, of the same shape.
    """
    out = labels.copy()
    if rng.random() < _CLEAN:
        return out
    for probability, corruption in _TABLE:
        if rng.random() < probability:
            out = corruption(out, rng)
    return out


def blob_dropouts(labels: Labels, rng: np.random.Generator) -> Labels:
    """Balls of 2 to 6 voxels radius that are missing, or taken for another structure."""
    out = labels.copy()
    for _ in range(int(rng.integers(1, 6))):
        centre = _random_labelled(out, rng)
        ball = _ball(out.shape, centre, rng.uniform(2, 6)) & (out > 0)
        out[ball] = 0 if rng.random() < 0.6 else rng.choice(_MISTAKEN_FOR)
    return out


def holes(labels: Labels, rng: np.random.Generator) -> Labels:
    """Irregular small gaps all over."""
    field = _field(labels, rng, rng.uniform(1.5, 4))
    return np.where(field > rng.uniform(0.9, 1.4), np.uint8(0), labels)


def fused_bodies(labels: Labels, rng: np.random.Generator) -> Labels:
    """A disc and its endplates are taken for vertebral body, wholly or in part: two bodies become one."""
    part = _random_disc(labels, rng, with_endplates=True)
    if rng.random() < 0.6:
        part &= _half_space(labels.shape, rng)
    return np.where(part, np.uint8(Structure.CORPUS), labels)


def missing_disc(labels: Labels, rng: np.random.Generator) -> Labels:
    """A disc is not found."""
    return np.where(_random_disc(labels, rng, with_endplates=bool(rng.random() < 0.3)), np.uint8(0), labels)


def endplates_elsewhere(labels: Labels, rng: np.random.Generator) -> Labels:
    """All endplates are taken for body or disc, or not found."""
    return np.where(_IS_ENDPLATE[labels], np.uint8(rng.choice([Structure.CORPUS, Structure.DISC, 0])), labels)


def boundary_noise(labels: Labels, rng: np.random.Generator) -> Labels:
    """In patches the labels are those of a neighbour: borders run elsewhere."""
    shift = tuple(int(s) for s in rng.integers(-2, 3, 3))
    moved = _shifted(labels, shift)
    return np.where(_field(labels, rng, 4) > rng.uniform(0.2, 0.9), moved, labels)


def moved_voxels(labels: Labels, rng: np.random.Generator) -> Labels:
    """Single voxels carry the label of a voxel nearby."""
    share = rng.uniform(0.02, 0.2)
    chosen = np.nonzero(rng.random(labels.shape, dtype=np.float32) < share)
    steps = rng.integers(-2, 3, (3, chosen[0].size))
    source = tuple(np.clip(c + s, 0, n - 1) for c, s, n in zip(chosen, steps, labels.shape, strict=True))
    out = labels.copy()
    out[chosen] = labels[source]
    return out


def missing_posterior(labels: Labels, rng: np.random.Generator) -> Labels:
    """Posterior parts are not found: of a band of levels, of one side, or single structures throughout."""
    posterior = _IS_POSTERIOR[labels]
    kind = rng.integers(3)
    if kind == 0:
        start = int(rng.integers(labels.shape[1]))
        band = np.zeros(labels.shape, dtype=np.bool_)
        band[:, start : start + int(rng.integers(8, 30))] = True
        posterior &= band
    elif kind == 1:
        posterior &= _half_space(labels.shape, rng)
    else:
        posterior &= lookup(tuple(rng.choice(POSTERIOR, int(rng.integers(1, 4)), replace=False)))[labels]
    return np.where(posterior, np.uint8(0), labels)


def false_islands(labels: Labels, rng: np.random.Generator) -> Labels:
    """Labelled blobs where there is nothing."""
    out = labels.copy()
    for _ in range(int(rng.integers(1, 5))):
        centre = [int(rng.integers(n)) for n in labels.shape]
        ball = _ball(labels.shape, centre, rng.uniform(1, 5)) & (out == 0)
        out[ball] = rng.choice(SEGMENTED)
    return out


def swapped_parts(labels: Labels, rng: np.random.Generator) -> Labels:
    """Articular processes are taken for arch, for each other or for those of the other side, in patches."""
    table = np.arange(256, dtype=np.uint8)
    kind = rng.integers(3)
    if kind == 0:
        table[list(ARTICULAR)] = Structure.ARCUS
    elif kind == 1:
        upper_left, upper_right, lower_left, lower_right = ARTICULAR
        table[[upper_left, upper_right, lower_left, lower_right]] = lower_left, lower_right, upper_left, upper_right
    else:
        for left, right in LEFT_RIGHT_PAIRS:
            table[[left, right]] = right, left
    return np.where(_field(labels, rng, 6) > rng.uniform(-0.5, 0.6), table[labels], labels)


def eroded(labels: Labels, rng: np.random.Generator) -> Labels:
    """All vertebrae, or their posterior parts alone, are a voxel too thin."""
    part = (_IS_VERTEBRA if rng.random() < 0.5 else _IS_POSTERIOR)[labels]
    skin = part & ~ndimage.binary_erosion(part)
    if rng.random() < 0.5:
        skin &= _field(labels, rng, 5) > 0
    return np.where(skin, np.uint8(0), labels)


def thickened(labels: Labels, rng: np.random.Generator) -> Labels:
    """Posterior parts are a voxel too thick, so that neighbouring arches touch."""
    grown = ndimage.grey_dilation(np.where(_IS_POSTERIOR[labels], labels, 0), size=(3, 3, 3))
    free = (labels == 0) & (_field(labels, rng, 5) > rng.uniform(-0.5, 0.5))
    return np.asarray(np.where(free, grown, labels), dtype=np.uint8)


def thick_slices(labels: Labels, rng: np.random.Generator) -> Labels:
    """Steps along the left-right axis: a scan of 3.3 to 4.4 mm slices (here 1.65 to 2.2 voxels) brought to a finer grid."""
    return _coarse(labels, (1.0, 1.0, rng.uniform(1.65, 2.2)), rng)


def down_and_up(labels: Labels, rng: np.random.Generator) -> Labels:
    """Sampled coarsely along all axes and back (SPINEPS paper, appendix A)."""
    return _coarse(labels, (rng.uniform(1, 2), rng.uniform(1, 2), rng.uniform(1, 2)), rng)


_TABLE: Final[tuple[tuple[float, Corruption], ...]] = (
    (0.25, thick_slices),
    (0.1, down_and_up),
    (0.3, endplates_elsewhere),
    (0.15, fused_bodies),
    (0.1, missing_disc),
    (0.15, eroded),
    (0.15, thickened),
    (0.2, missing_posterior),
    (0.3, swapped_parts),
    (0.4, boundary_noise),
    (0.25, moved_voxels),
    (0.15, holes),
    (0.5, blob_dropouts),
    (0.3, false_islands),
)


def _coarse(labels: Labels, step_vox: tuple[float, float, float], rng: np.random.Generator) -> Labels:
    indices = []
    for n, step in zip(labels.shape, step_vox, strict=True):
        phase = rng.uniform(0, step)
        centres = (np.floor((np.arange(n) + phase) / step) + 0.5) * step - phase
        indices.append(np.clip(np.rint(centres - 0.5), 0, n - 1).astype(np.intp))
    chosen: Labels = labels[np.ix_(*indices)]
    return chosen


def _field(labels: Labels, rng: np.random.Generator, cell_vox: float) -> NDArray[np.float32]:
    p, i, r = labels.shape
    field: NDArray[np.float32] = smooth_field(rng, (p, i, r), (cell_vox,) * 3).numpy()
    return field


def _shifted(labels: Labels, shift: tuple[int, ...]) -> Labels:
    """Moved by whole voxels, edges repeated."""
    indices = [np.clip(np.arange(n) - s, 0, n - 1) for n, s in zip(labels.shape, shift, strict=True)]
    chosen: Labels = labels[np.ix_(*indices)]
    return chosen


def _ball(shape: tuple[int, ...], centre: list[int], radius: float) -> NDArray[np.bool_]:
    p, i, r = (np.arange(n) - c for n, c in zip(shape, centre, strict=True))
    ball: NDArray[np.bool_] = p[:, None, None] ** 2 + i[:, None] ** 2 + r**2 < radius**2
    return ball


def _half_space(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One side of a random plane near the centre."""
    normal = rng.normal(size=3)
    p, i, r = (np.arange(n) - n * rng.uniform(0.35, 0.65) for n in shape)
    side: NDArray[np.bool_] = normal[0] * p[:, None, None] + normal[1] * i[:, None] + normal[2] * r > 0
    return side


def _random_labelled(labels: Labels, rng: np.random.Generator) -> list[int]:
    """A labelled voxel, or any voxel where there is none."""
    places = np.flatnonzero(labels)
    index = int(places[rng.integers(places.size)]) if places.size else int(rng.integers(labels.size))
    return [int(k) for k in np.unravel_index(index, labels.shape)]


def _random_disc(labels: Labels, rng: np.random.Generator, *, with_endplates: bool) -> NDArray[np.bool_]:
    """Mask of one connected disc, with the endplates that touch it if asked for; empty where there is no disc."""
    components, count = ndimage.label(labels == Structure.DISC)
    if count == 0:
        return np.zeros(labels.shape, dtype=np.bool_)
    disc: NDArray[np.bool_] = components == int(rng.integers(1, count + 1))
    if with_endplates:
        disc |= ndimage.binary_dilation(disc, iterations=2) & _IS_ENDPLATE[labels]
    return disc
