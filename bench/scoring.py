"""Scores of predicted masks against references that know only some of the structures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import PIR, Reorientation, Spacing
from spineps.io import nifti
from spineps.labels import (
    CANAL_AND_CORD,
    DISC_OFFSET,
    ENDPLATES,
    LEVEL_NAMES,
    POSTERIOR,
    SEGMENTED,
    VERTEBRA,
    Structure,
    is_vertebra,
    left_right_table,
)

Labels = NDArray[np.int32]
NEAR_MM = 5.0
"""Foreground farther than this from the largest connected part counts as away from the spine."""


@dataclass(frozen=True)
class ScoreInputs:
    """What a score is made from: the data folder, the references of a case, and its two predicted masks."""

    data: Path
    references: tuple[Path, ...]
    semantic: Path
    instance: Path


def read_labels(path: Path, like: Path | None = None) -> Labels:
    """Labels of a mask; with ``like``, of a mask that must lie in that file's grid."""
    image = nib.load(path)
    if like is not None:
        other = nib.load(like)
        if image.shape != other.shape or not np.allclose(image.affine, other.affine, atol=1e-2):
            raise SystemExit(f"{path.name} is not in the grid of {like.name}")
    return np.asarray(image.dataobj).astype(np.int32)


def upright(path: Path) -> tuple[NDArray[np.unsignedinteger], Spacing]:
    """Labels of a mask to posterior, inferior and right, and its spacing (mm)."""
    mask = nifti.read_labels(path)
    turn = Reorientation.between(mask.geometry.axes, PIR)
    return turn.apply(mask.labels), turn.apply_geometry(mask.geometry).spacing_mm


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks; 1 where both are empty."""
    total = int(first.sum() + second.sum())
    return 1.0 if total == 0 else float(2 * (first & second).sum() / total)


def merged(semantic: Labels) -> Labels:
    """The labels that a reference knows: one kind of body, one kind of endplate."""
    out = np.where(np.isin(semantic, [int(s) for s in ENDPLATES]), int(Structure.ENDPLATE), semantic)
    return np.where(out == Structure.CORPUS_INNER, int(Structure.CORPUS), out).astype(np.int32)


def away_ml(semantic: Path) -> float:
    """Volume of the foreground in ml that is not within :data:`NEAR_MM` of its largest connected part."""
    image = nib.load(semantic)
    foreground = np.asarray(image.dataobj) > 0
    if not foreground.any():
        return 0.0
    spacing_mm = image.header.get_zooms()[:3]
    # Two parts lie within NEAR_MM of each other where both, grown by half of it, touch.
    near = ndimage.distance_transform_edt(~foreground, sampling=spacing_mm) <= NEAR_MM / 2
    sizes = np.bincount(ndimage.label(near)[0][foreground])
    return float((foreground.sum() - sizes.max()) * np.prod(spacing_mm) / 1000)


def score_by_script(structure: str) -> Callable[[ScoreInputs], dict[str, Any]]:
    """Score with the data folder's own ``score.py`` for ``body`` or ``disc``."""

    def score(inputs: ScoreInputs) -> dict[str, Any]:
        command = [sys.executable, inputs.data / "score.py", inputs.references[0], inputs.semantic, inputs.instance]
        answer = subprocess.run([*command, "--kind", structure], capture_output=True, text=True, check=True)
        plain: dict[str, Any] = json.loads(answer.stdout)
        return plain

    return score


def score_bodies(inputs: ScoreInputs) -> dict[str, Any]:
    """The script's scores, and whether each body carries the name of its level; see :func:`score_levels`."""
    return {**score_by_script("body")(inputs), **score_levels(inputs)}


def score_levels(inputs: ScoreInputs) -> dict[str, Any]:
    """Names of the vertebrae against a reference that counts the bodies from the last: k is L(6-k) up to 5, T(18-k) above.

    Returns
    -------
    dict
        ``levels`` are the reference's bodies, ``named_right`` those whose most overlapping instance carries their name,
        ``wrong_names`` what the others are called.
    """
    reference = inputs.references[0]
    truth, found = read_labels(reference), read_labels(inputs.instance, reference)
    wrong = {}
    bodies = [int(v) for v in np.unique(truth) if v]
    for body in bodies:
        counts = np.bincount(found[(truth == body) & (found > 0) & (found < DISC_OFFSET)], minlength=1)
        name = LEVEL_NAMES.get(int(counts.argmax()), "none") if counts.any() else "none"
        expected = f"L{6 - body}" if body <= 5 else f"T{18 - body}"
        if name != expected:
            wrong[expected] = name
    return {"levels": len(bodies), "named_right": len(bodies) - len(wrong), "wrong_names": wrong}


def score_cord(inputs: ScoreInputs) -> dict[str, Any]:
    """Dice of the cord."""
    reference, scan = inputs.references[0], inputs.semantic
    return {"cord": dice(read_labels(reference) > 0, read_labels(scan, reference) == Structure.CORD)}


def score_crop(inputs: ScoreInputs) -> dict[str, Any]:
    """Dice of the fourteen structures, of unions that forgive a wrong boundary inside, and of each vertebra."""
    semantic, vertebrae = inputs.references
    truth, found = merged(read_labels(semantic)), merged(read_labels(inputs.semantic, semantic))
    unions: dict[str, Iterable[Structure]] = {
        "canal + cord": CANAL_AND_CORD,
        "posterior elements": POSTERIOR,
        "whole vertebrae": VERTEBRA,
        "disc + endplate": (Structure.DISC, Structure.ENDPLATE),
    }
    structures = {structure.title: dice(truth == structure, found == structure) for structure in SEGMENTED}
    together = {name: dice(_any_of(truth, parts), _any_of(found, parts)) for name, parts in unions.items()}
    instances = score_instances(read_labels(vertebrae), read_labels(inputs.instance, vertebrae))
    return {"structures": structures, "unions": together, "instances": instances, "sides_swapped": sides_swapped(truth, found)}


def score_instances(truth: Labels, found: Labels) -> dict[str, float]:
    """Dice of each true vertebra with the predicted one that overlaps it best, by its id; a ``cut`` one meets an edge."""
    scores = {}
    for label in (int(v) for v in np.unique(truth) if is_vertebra(int(v))):
        mask = truth == label
        rivals = [int(v) for v in np.unique(found[mask]) if is_vertebra(int(v))]
        best = max((dice(mask, found == rival) for rival in rivals), default=0.0)
        scores[f"{label}{' (cut)' if _touches_edge(mask) else ''}"] = best
    return scores


def sides_swapped(truth: Labels, found: Labels) -> bool:
    """Tell whether the paired structures fit better with left and right exchanged: a wrong axis, not a weak model."""
    paired = np.flatnonzero(left_right_table() != np.arange(256))
    mirrored = left_right_table()[truth.astype(np.uint8)]
    as_is = sum(int(((truth == label) & (found == label)).sum()) for label in paired)
    swapped = sum(int(((mirrored == label) & (found == label)).sum()) for label in paired)
    return swapped > as_is


def _any_of(labels: Labels, structures: Iterable[Structure]) -> NDArray[np.bool_]:
    return np.isin(labels, [int(structure) for structure in structures])


def _touches_edge(mask: NDArray[np.bool_]) -> bool:
    return any(bool(np.take(mask, side, axis=axis).any()) for axis in range(3) for side in (0, -1))
