"""Phantoms beside published surface meshes of C3-C7 and L1-L5: sizes by level, and silhouettes from the side and from above.

    python bench/phantom_shapes.py --data DIR --out docs/images/phantom-shapes.png [--people N]

The band is the 2.5th to 97.5th percentile of 400 drawn people, a dot one mesh (one person). Silhouettes: the mesh filled, the
outlines those of phantoms of several people, scaled to the mesh by the depth of the body. Prints which size of a mesh lies
outside of the band.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy import ndimage

from spineps.labels import LEVEL_NAMES, Structure
from spineps.phantom.anatomy import AnatomySpec, build_anatomy
from spineps.phantom.morphometry import STATURE, Variant, draw_morphometry, levels_of

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import PolyCollection

SIZES = ("width", "depth", "height")
MESHES = ("c3", "c4", "c5", "c6", "c7", "L1", "L2", "L3", "L4", "L5")
SHOWN = ("c4", "c6", "L1", "L3", "L5")
PEOPLE = 400
SPACING_MM = (1.0, 1.0, 1.5)


@dataclass(frozen=True)
class Mesh:
    """Points (behind, below, beside; mm) from the centre of the body in its own frame, triangles, and the body's sizes."""

    points: np.ndarray
    faces: np.ndarray
    sizes: tuple[float, float, float]


def level_of(name: str) -> int:
    """Index of a level, C1 being 0."""
    return int(name[1]) - 1 + (0 if name[0] == "c" else 19)


def read_mesh(path: Path) -> Mesh:
    """A vertebra, turned so that its body stands upright: the body is what lies in front of the canal in the midline."""
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = np.array([line[1:4] for line in lines if line[:1] == ["v"]], dtype=float)
    faces = np.array([[int(word.split("/")[0]) - 1 for word in line[1:4]] for line in lines if line[:1] == ["f"]])
    in_metres = path.name.startswith("L")
    front, side, up = (rows * 1000).T if in_metres else (-rows[:, 1], rows[:, 0], rows[:, 2])
    side = side - np.median(side)
    middle = np.abs(side) < 4
    along = np.sort(front[middle])
    body = middle & (front >= along[np.argmax(np.diff(along)) + 1])

    def turned(angle: float) -> np.ndarray:
        return np.stack([front, up], axis=1) @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    angle = min(np.deg2rad(np.arange(-40, 41)), key=lambda a: np.ptp(turned(a)[body], axis=0).prod())
    place = turned(angle)
    low, high = place[body].min(axis=0), place[body].max(axis=0)
    depth, height = high - low
    near_plate = (place[:, 0] > low[0] + 0.5 * depth) & (place[:, 1] < low[1] + 0.25 * height)
    centre = (low + high) / 2
    points = np.stack([centre[0] - place[:, 0], centre[1] - place[:, 1], side], axis=1)
    return Mesh(points, faces, (float(np.ptp(side[near_plate])), float(depth), float(height)))


def phantom_vertebrae(people: int) -> dict[str, list[np.ndarray]]:
    """Voxels (behind, below, beside; mm) of the shown vertebrae of healthy phantoms, from the body's centre in its frame."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in SHOWN}
    for seed in range(people):
        for region, centre in (("c", 4.5), ("L", 21.5)):
            spec = AnatomySpec((150, 240, 76), SPACING_MM, centre_level=centre, variant=Variant.NONE, pathology=0.0)
            anatomy = build_anatomy(np.random.default_rng(seed), spec)
            for name in (name for name in SHOWN if name[0] == region):
                voxels = _in_frame(anatomy.semantic, anatomy.instance == level_of(name) + 1)
                if voxels is not None:
                    found[name].append(voxels)
    return found


def _in_frame(semantic: np.ndarray, vertebra: np.ndarray) -> np.ndarray | None:
    """None where a vertebra is cut by the edge."""
    body = np.argwhere(vertebra & (semantic == Structure.CORPUS)) * SPACING_MM
    if not len(body) or any(vertebra.take(end, axis).any() for axis in (0, 1) for end in (0, -1)):
        return None
    moved = body - body.mean(axis=0)

    def extent(angle: float) -> float:
        return float(np.prod(np.ptp(np.percentile(moved[:, :2] @ _turn(angle), (2, 98), axis=0), axis=0)))

    turn = np.eye(3)
    turn[:2, :2] = _turn(min(np.deg2rad(np.arange(-40, 41, 2)), key=extent))
    place = moved @ turn
    middle = (place.min(axis=0) + place.max(axis=0)) / 2
    voxels = (np.argwhere(vertebra) * SPACING_MM - body.mean(axis=0)) @ turn - middle
    return voxels / np.ptp(place[:, 0])


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def draw_sizes(axes: list[plt.Axes], meshes: dict[str, Mesh]) -> list[str]:
    """Three panels; returns what lies outside of the band."""
    people = []
    for seed in range(PEOPLE):
        rng = np.random.default_rng(seed)
        people.append(draw_morphometry(rng, levels_of(Variant.NONE), float(rng.uniform(*STATURE))))
    outside = []
    for place, (panel, size) in enumerate(zip(axes, SIZES, strict=True)):
        drawn = np.array([getattr(person, size) for person in people])[:, 2:]
        low, middle, high = np.percentile(drawn, (2.5, 50, 97.5), axis=0)
        x = np.arange(2, 2 + drawn.shape[1])
        panel.fill_between(x, low, high, alpha=0.25, label="phantoms, 95 %")
        panel.plot(x, middle, label="median")
        for name, mesh in meshes.items():
            at = level_of(name) - 2
            inside = low[at] <= mesh.sizes[place] <= high[at]
            panel.plot(at + 2, mesh.sizes[place], "o", color="black" if inside else "red", markersize=4)
            outside += [] if inside else [f"{name} {size} {mesh.sizes[place]:.1f} ({low[at]:.1f} to {high[at]:.1f})"]
        panel.set_title(f"{size} of the body, mm")
        panel.set_xticks(x[::3], [LEVEL_NAMES[k + 1] for k in x[::3]])
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return outside


def draw_silhouette(panel: plt.Axes, mesh: Mesh, vertebrae: list[np.ndarray], across: int) -> None:
    """A mesh filled, phantoms' outlines over it; ``across`` is the axis to look along (1: from above, 2: from the side)."""
    x, y = (0, 1) if across == 2 else (2, 0)
    panel.add_collection(PolyCollection(mesh.points[mesh.faces][:, :, (x, y)], facecolor="0.75", edgecolor="0.75"))
    edges = np.arange(-110, 111, 1.5)
    middles = (edges[1:] + edges[:-1]) / 2
    for voxels in vertebrae:
        place = voxels * mesh.sizes[1]
        seen = np.histogram2d(place[:, x], place[:, y], bins=(edges, edges))[0] > 0
        seen = ndimage.binary_closing(seen, iterations=2)  # scaled voxels leave gaps between the bins
        panel.contour(middles, middles, seen.T.astype(float), levels=[0.5], linewidths=0.9, colors="tab:blue")
    reach = np.abs(mesh.points).max() * 1.25
    wide, high = ((-reach, reach), (reach, -reach * 0.4))
    if across == 2:
        wide, high = ((-reach * 0.4, reach), (reach * 0.7, -reach * 0.5))
    panel.set(xlim=wide, ylim=high, aspect="equal", xticks=[], yticks=[])


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("SPINEPS_SHARED", Path(__file__).parents[2] / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=4)
    args = parser.parse_args()
    if not (args.data / "anatomy").is_dir():
        print(f"no meshes at {args.data / 'anatomy'}")
        return
    meshes = {name: read_mesh(args.data / "anatomy" / f"{name}.obj") for name in MESHES}
    figure = plt.figure(figsize=(11, 9), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    outside = draw_sizes(list(upper.subplots(1, 3)), meshes)
    vertebrae = phantom_vertebrae(args.people)
    panels = lower.subplots(2, len(SHOWN))
    for column, name in enumerate(SHOWN):
        for row, across in enumerate((2, 1)):
            draw_silhouette(panels[row, column], meshes[name], vertebrae[name], across)
        panels[0, column].set_title(f"{name.upper()}, from the side")
        panels[1, column].set_title("from above")
    figure.savefig(args.out, dpi=100)
    print(f"{len(meshes) * len(SIZES) - len(outside)} of {len(meshes) * len(SIZES)} sizes of meshes lie within the band")
    print("\n".join(outside))


if __name__ == "__main__":
    main()
