"""The instance phase alone: from true semantic masks, clean and corrupted, how well are the vertebrae told apart?

    python bench/instances.py                        # 50 phantoms of 5 to 24 vertebrae, clean and corrupted
    python bench/instances.py --count 6 --kind clean
    python bench/instances.py --data DIR             # also DIR/tptbox_crop, the one real scan with instances

The phantoms' seeds are below 100000, those of training are not. A vertebra counts if the field of view does not cut it above
or below, nor its body at a side.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.config import ComputeConfig, PipelineConfig
from spineps.errors import SpinepsError
from spineps.geometry import PIR, Box, Reorientation
from spineps.inference.load import load_instance
from spineps.io.nifti import read_labels
from spineps.labels import BODY, ENDPLATES, VERTEBRA, Scheme, Structure, is_vertebra, lookup
from spineps.phantom.anatomy import build_anatomy, spec_for_vertebrae
from spineps.pipeline import Models, segment_instances
from spineps.volume import LabelMap

FIRST_SEED = 71_000
COUNT = 50
FEWEST, MOST = 5, 24
SPACINGS_MM = ((0.75, 0.75, 1.65), (0.9, 0.9, 3.3), (1.0, 1.0, 4.4), (1.2, 1.2, 2.0))
LIMITS = {"clean": (0.96, 0.99), "corrupted": (0.93, 0.97)}
LEAST_FAULTLESS = 45
CROP_DICE = 0.95


@dataclass(frozen=True)
class Case:
    """A semantic mask and the vertebrae in it (PIR)."""

    name: str
    kind: str
    semantic: LabelMap
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """How well one case went."""

    name: str
    kind: str
    vertebrae: int
    dice: float
    least: float
    quality: float
    merged: int
    skipped: int
    seconds: float


def phantoms(count: int, first_seed: int) -> Iterator[Case]:
    for k in range(count):
        seed = first_seed + k
        vertebrae = FEWEST + round(k * (MOST - FEWEST) / max(1, count - 1))
        rng = np.random.default_rng(seed)
        anatomy = build_anatomy(rng, spec_for_vertebrae(rng, vertebrae, SPACINGS_MM[k % len(SPACINGS_MM)]))
        truth = np.where(lookup(VERTEBRA)[anatomy.semantic], anatomy.instance, 0).astype(np.uint8)
        semantic = LabelMap(anatomy.semantic, anatomy.geometry, Scheme.SEMANTIC)
        name = f"{seed} ({vertebrae})"
        yield Case(name, "clean", semantic, truth)
        labels, moved = corrupted(anatomy.semantic, truth, anatomy.geometry.spacing_mm, np.random.default_rng([seed, 1]))
        yield Case(name, "corrupted", LabelMap(labels, anatomy.geometry, Scheme.SEMANTIC), moved)


def corrupted(
    labels: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: tuple[float, ...], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The mask with fused bodies, dropped and moved voxels; new vertebra voxels belong to the nearest vertebra."""
    out = labels.copy()
    _move_borders(out, spacing_mm, rng)
    _drop_blobs(out, spacing_mm, rng)
    _fuse_bodies(out, truth, spacing_mm, rng)
    bone = lookup(VERTEBRA)[out]
    owner = truth.copy()
    new = bone & (truth == 0)
    if new.any():
        box = Box.around(bone)
        index = ndimage.distance_transform_edt(
            truth[box.slices] == 0, sampling=spacing_mm, return_distances=False, return_indices=True
        )
        nearest = truth[box.slices][tuple(index)]
        owner[box.slices][new[box.slices]] = nearest[new[box.slices]]
    return out, np.where(bone, owner, 0).astype(np.uint8)


def _move_borders(out: NDArray[np.uint8], spacing_mm: tuple[float, ...], rng: np.random.Generator) -> None:
    """Where a smooth random field is high, the labels of a neighbour about 1.5 mm away hold."""
    step = [int(rng.integers(-1, 2)) * max(1, round(1.5 / s)) for s in spacing_mm]
    field = rng.standard_normal([max(2, round(n * s / 8)) for n, s in zip(out.shape, spacing_mm, strict=True)])
    field = ndimage.zoom(field, [n / m for n, m in zip(out.shape, field.shape, strict=True)], order=1)
    chosen = field > 0.6
    out[chosen] = np.roll(out, step, (0, 1, 2))[chosen]


def _drop_blobs(out: NDArray[np.uint8], spacing_mm: tuple[float, ...], rng: np.random.Generator) -> None:
    """Balls of 2 to 6 mm at random labelled places are lost or get another label."""
    places = np.argwhere(out)
    for place in places[rng.integers(len(places), size=max(4, out.shape[1] // 12))]:
        radius = rng.uniform(2, 6)
        reach = [int(radius / s) + 1 for s in spacing_mm]
        box = Box(tuple(place - reach), tuple(place + reach)).intersect(Box.whole(out.shape))
        grid = np.ogrid[box.slices]
        ball = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, place, spacing_mm, strict=True)) < radius**2
        part = out[box.slices]
        part[ball & (part > 0)] = rng.choice([0, 0, Structure.ARCUS, Structure.CORPUS, Structure.DISC])


def _fuse_bodies(
    out: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: tuple[float, ...], rng: np.random.Generator
) -> None:
    """Through one in five discs or so a column of body joins two neighbours."""
    bodies = lookup(BODY)[out]
    between = lookup((*ENDPLATES, Structure.DISC))
    numbers = [n for n in range(2, 25) if (bodies & (truth == n)).any() and (bodies & (truth == n + 1)).any()]
    for number in numbers:
        if rng.random() > 0.2:
            continue
        upper, lower = (np.argwhere(bodies & (truth == n)).mean(axis=0) for n in (number, number + 1))
        box = Box.around(np.isin(truth, (number, number + 1)) & bodies)
        grid = np.ogrid[box.slices]
        middle = (upper + lower) / 2
        across = ((grid[0] - middle[0]) * spacing_mm[0]) ** 2 + ((grid[2] - middle[2]) * spacing_mm[2]) ** 2
        column = (across < rng.uniform(4, 12) ** 2) & (grid[1] > upper[1]) & (grid[1] < lower[1])
        part = out[box.slices]
        part[column & (between[part] | (part == 0))] = Structure.CORPUS


def crop_case(data: Path) -> Case | None:
    """The MRI of tptbox_crop, with its own instances."""
    folder = data / "tptbox_crop"
    paths = [folder / f"sub-mri_seg-{kind}_label-6_msk.nii.gz" for kind in ("subreg", "vert")]
    if not all(path.is_file() for path in paths):
        print(f"skipped: no tptbox_crop masks under {data}")
        return None
    semantic, instance = (read_labels(path) for path in paths)
    turn = Reorientation.between(semantic.geometry.axes, PIR)
    labels = turn.apply(semantic.labels).astype(np.uint8)
    truth = np.where(lookup(VERTEBRA)[labels], turn.apply(instance.labels), 0).astype(np.uint8)
    return Case("tptbox_crop", "crop", LabelMap(labels, turn.apply_geometry(semantic.geometry), Scheme.SEMANTIC), truth)


def scored(case: Case, models: Models) -> Score:
    start = time.perf_counter()
    try:
        found = segment_instances(case.semantic, models, PipelineConfig()).instance.labels
    except SpinepsError as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        found = np.zeros(case.truth.shape, np.uint8)
    seconds = time.perf_counter() - start
    return compared(case, np.where(found < 100, found, 0) * lookup(VERTEBRA)[case.semantic.labels], seconds)


def compared(case: Case, found: NDArray[np.uint8], seconds: float) -> Score:
    """Score of the vertebrae that were found (PIR, 0 where there is none)."""
    pairs = np.bincount(case.truth.reshape(-1).astype(np.int64) * 256 + found.reshape(-1), minlength=65536).reshape(256, 256)
    body = lookup(BODY)[case.semantic.labels]
    bodies = np.bincount(case.truth[body].astype(np.int64) * 256 + found[body], minlength=65536).reshape(256, 256)
    truths = [n for n in range(1, 256) if is_vertebra(n) and pairs[n].sum() and bodies[n].sum()]
    if case.kind != "crop":
        truths = [n for n in truths if not _cut(case.truth == n, body)]
    if not truths:
        return Score(case.name, case.kind, 0, np.nan, np.nan, np.nan, 0, 0, seconds)
    size_true, size_found = pairs.sum(axis=1), pairs.sum(axis=0)
    dice = 2 * pairs / np.maximum(1, size_true[:, None] + size_found[None])
    best = {n: int(np.argmax(dice[n, 1:])) + 1 for n in truths}
    dices = np.array([dice[n, best[n]] for n in truths])
    hits = int((dices >= 2 / 3).sum())  # a Dice of 2/3 is an IoU of 1/2
    taken = set(best.values())
    present = [m for m in range(1, 256) if is_vertebra(m) and size_found[m] and m not in taken]
    others = [m for m in present if not pairs[1:, m].any() or int(np.argmax(pairs[1:, m])) + 1 in truths]
    holders = [int(np.argmax(bodies[n, 1:])) + 1 for n in truths if bodies[n, 1:].any()]
    merged = len(holders) - len(set(holders))
    quality = hits / (hits + 0.5 * (len(truths) - hits) + 0.5 * (len(others) + len(truths) - hits))
    skipped = int((dices < 2 / 3).sum())
    return Score(case.name, case.kind, len(truths), float(dices.mean()), float(dices.min()), quality, merged, skipped, seconds)


def _cut(mask: NDArray[np.bool_], body: NDArray[np.bool_]) -> bool:
    """Whether the first or last plane along I shows the vertebra, or one of the others its body."""
    own = mask & body
    planes = (mask[:, 0], mask[:, -1], own[0], own[-1], own[..., 0], own[..., -1])
    return any(plane.any() for plane in planes)


def report(scores: list[Score]) -> bool:
    """Print the means of each kind; False where a limit is missed."""
    good = True
    for kind in sorted({s.kind for s in scores}):
        group = [s for s in scores if s.kind == kind and s.vertebrae]
        dice, quality = (float(np.mean([getattr(s, name) for s in group])) for name in ("dice", "quality"))
        faultless = sum(s.merged == 0 and s.skipped == 0 for s in group)
        print(f"{kind}: mean Dice {dice:.4f}, RQ {quality:.4f}, nothing merged or skipped in {faultless} of {len(group)}")
        if kind == "crop":
            good &= group[0].least >= CROP_DICE
        else:
            least = LIMITS[kind]
            good &= dice >= least[0] and quality >= least[1] and faultless >= LEAST_FAULTLESS / COUNT * len(group)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="phantoms")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="first seed")
    parser.add_argument("--kind", choices=("clean", "corrupted", "both"), default="both")
    parser.add_argument("--data", type=Path, help="folder that holds tptbox_crop")
    parser.add_argument("--model", type=Path, help="folder of another instance model")
    options = parser.parse_args()
    models = Models(semantic=None, instance=load_instance(ComputeConfig(), options.model))
    scores: list[Score] = []
    print(f"{'case':14} {'kind':10} {'n':>3} {'Dice':>7} {'least':>7} {'RQ':>6} {'merged':>6} {'skipped':>7} {'s':>6}")
    crop = crop_case(options.data) if options.data else None
    cases = [crop] if crop else []
    for case in (*cases, *phantoms(options.count, options.seed)) if options.count > 0 else cases:
        if options.kind not in ("both", case.kind) and case.kind != "crop":
            continue
        s = scored(case, models)
        scores.append(s)
        print(
            f"{s.name:14} {s.kind:10} {s.vertebrae:3} {s.dice:7.4f} {s.least:7.4f} {s.quality:6.3f} "
            f"{s.merged:6} {s.skipped:7} {s.seconds:6.2f}",
            flush=True,
        )
    good = report(scores)
    print("passed" if good else "MISSED a limit")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
