"""How near are the measurements to the truth, and do they stay where they are when the scan is turned or resampled?

    python bench/measures.py [--phantoms N] [--pathology SHARE] [--out DIR]

Phantoms of the lumbar spine with the sacrum, of the thoracic and of the cervical spine, painted finely once, are sampled onto
the grids of scans; their true sizes and angles come from the shapes that they are painted from (``phantom_truth.py``). Writes
``measures.md`` and ``measures.json``. Ends with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from phantom_truth import OutsideError, Truth, make_truth
from report import table
from scipy import ndimage
from scipy.spatial.transform import Rotation

from spineps.geometry import Geometry, Spacing
from spineps.labels import Scheme
from spineps.measures import measure_structures
from spineps.volume import LabelMap, Levels, LevelStatus, StructureMeasures

REGIONS = ((20, 26), (15, 20), (4, 8))  # L1 to the sacrum, T8 to L1, C4 to T1


@dataclass(frozen=True)
class Grid:
    """A grid that a scan may have: spacing (P, I, R) and a turn about the three axes, in degrees."""

    name: str
    spacing_mm: Spacing
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


GRIDS = (
    Grid("1 mm", (1.0, 1.0, 1.0)),
    Grid("1 mm, turned 20 degrees", (1.0, 1.0, 1.0), (8.0, 10.0, 20.0)),
    Grid("0.75 x 0.75 x 3.3 mm", (0.75, 0.75, 3.3)),
    Grid("0.75 x 0.75 x 4.4 mm", (0.75, 0.75, 4.4)),
    Grid("0.75 x 0.75 x 3.3 mm, turned", (0.75, 0.75, 3.3), (5.0, 6.0, 15.0)),
)
LENGTH_MM, ANGLE_DEG, VOLUME_SHARE = 0.6, 2.0, 0.04
LEAST_VALUES = 3  # of fewer there is no median
SECONDS = 3.0


def sampled(truth: Truth, grid: Grid) -> tuple[LabelMap, LabelMap]:
    """The fine masks at the voxel centres of another grid; each voxel shows what lies at its centre, as a phantom's does."""
    fine = truth.anatomy.geometry
    turn = Rotation.from_euler("xyz", grid.turn_deg, degrees=True).as_matrix()
    extent = np.abs(turn.T) @ np.asarray(fine.extent_mm)
    shape = tuple(int(n) for n in np.maximum(8, np.floor(extent / grid.spacing_mm)))
    matrix = turn * np.asarray(grid.spacing_mm) / np.asarray(fine.spacing_mm)[:, None]
    offset = (np.asarray(fine.shape) - 1) / 2 - matrix @ ((np.asarray(shape) - 1) / 2)
    masks = []
    geometry = Geometry.from_spacing(shape, grid.spacing_mm)
    for labels, scheme in ((truth.anatomy.semantic, Scheme.SEMANTIC), (truth.anatomy.instance, Scheme.INSTANCE)):
        voxels = ndimage.affine_transform(labels, matrix, offset=offset, output_shape=shape, order=0, mode="constant")
        masks.append(LabelMap(voxels, geometry, scheme))
    return masks[0], masks[1]


def levels_of(truth: Truth) -> Levels:
    names = {label: name for label, name in truth.anatomy.levels.items() if name != "S"}
    return Levels(LevelStatus.NAMED, names, {label: {name: 1.0} for label, name in names.items()})


def measured(truth: Truth, grid: Grid) -> tuple[dict[tuple[str, object], StructureMeasures], float]:
    semantic, instance = sampled(truth, grid)
    start = time.process_time()  # of one core; measuring uses no second one
    rows = measure_structures(semantic, instance, levels_of(truth))
    seconds = time.process_time() - start
    return {(row.kind, row.level if row.kind == "curve" else row.label): row for row in rows}, seconds


def group_of(name: str) -> str:
    """What a column is compared as: lengths, angles, volumes, areas, ratios."""
    for ending in ("mm2", "mm", "deg", "ml"):
        if name.endswith(f"_{ending}"):
            return ending
    return "ratio"


def errors(truth: Truth, found: Mapping[tuple[str, object], StructureMeasures]) -> dict[tuple[str, str], list[float]]:
    """Measured less true value of each kind and column; of volumes and areas as a share. What was flagged is left out."""
    out: dict[tuple[str, str], list[float]] = defaultdict(list)
    for key, values in truth.rows.items():
        row = found.get(key)
        if row is None:
            continue
        for name, value in values.items():
            cut = "body_cut" in row.flags or (name == "volume_ml" and row.flags)
            if name in row.values and not cut and name not in row.too_thick:
                share = value if group_of(name) in ("ml", "mm2") else 1.0
                out[key[0], name].append((row.values[name] - value) / share)
    return out


def passes(kind_and_name: tuple[str, str], values: list[float], grid: Grid) -> bool | None:
    """Whether the median error keeps the target; None where there is none, or where nearly all values were flagged."""
    name = kind_and_name[1]
    if len(values) < LEAST_VALUES:
        return None
    error = float(np.median(np.abs(values)))
    group = group_of(name)
    if group == "mm":
        # Half a voxel in the direction that is measured; no thick slice is asked for more than a cube of 1 mm is.
        half = 0.5 * (max(grid.spacing_mm) if "width" in name else grid.spacing_mm[0])
        return error <= max(LENGTH_MM, half)
    if group == "deg":
        return error <= ANGLE_DEG
    return error <= VOLUME_SHARE if group == "ml" else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=3, help="phantoms of each region")
    parser.add_argument("--pathology", type=float, default=0.0, help="factor on every irregularity (0: healthy)")
    parser.add_argument("--regions", type=int, default=len(REGIONS), help="how many of the regions, lumbar first")
    parser.add_argument("--seed", type=int, default=9000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    collected: dict[str, dict[tuple[str, str], list[float]]] = {g.name: defaultdict(list) for g in GRIDS}
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(args.phantoms):
        for first, last in REGIONS[: args.regions]:
            try:
                truth = make_truth(args.seed + number, first, last, pathology=args.pathology)
            except OutsideError:
                print(f"phantom {args.seed + number}, {first} to {last}: bends out of its field of view, left out")
                continue
            for grid in GRIDS:
                found, took = measured(truth, grid)
                seconds[grid.name].append(took)
                for key, values in errors(truth, found).items():
                    collected[grid.name][key] += values
            print(f"phantom {args.seed + number}, {first} to {last}")
    return written(collected, seconds, args.out)


def written(collected: dict[str, dict[tuple[str, str], list[float]]], seconds: dict[str, list[float]], out: Path) -> int:
    """Write the tables; 1 if a target is missed."""
    parts, plain, missed = ["# Measurements against the truth of phantoms", ""], {}, 0
    for grid in GRIDS:
        rows = []
        for key in sorted(collected[grid.name]):
            values = collected[grid.name][key]
            good = passes(key, values, grid)
            missed += good is False
            size = np.abs(values)
            cells = [f"{np.median(size):.3f}", f"{np.percentile(size, 90):.3f}", f"{np.mean(values):+.3f}"]
            rows.append([*key, str(len(values)), *cells, {True: "yes", False: "NO", None: "–"}[good]])
            plain[f"{grid.name}/{key[0]}/{key[1]}"] = {"n": len(values), "median": float(np.median(size)), "kept": good}
        slowest = max(seconds[grid.name])
        missed += slowest > SECONDS
        parts += [f"## {grid.name}", "", f"Slowest scan: {slowest:.2f} s (target {SECONDS:.0f} s).", ""]
        parts += [table(["structure", "column", "n", "median error", "90 %", "mean", "kept"], rows), ""]
    out.mkdir(parents=True, exist_ok=True)
    (out / "measures.md").write_text("\n".join(parts), encoding="utf-8")
    (out / "measures.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")
    print("\n".join(parts))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
