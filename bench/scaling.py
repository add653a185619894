"""Does the time of a run grow no faster than what it looks at: vertebrae of a field of view, voxels of a spine?

usage: python bench/scaling.py [--vertebrae N ...] [--spacings MM ...] [--spine N] [--threads N] [--only SERIES ...]

Two series of phantoms, segmented by the bundled models. ``vertebrae``: the lowest 5 to 24 of one spine, one depth of field.
``voxels``: one spine in three resolutions, the slices as much thinner as the voxels in plane. Each point runs in a process of
its own, from the file of a scan to all its files; start-up and the loading of networks are left out, for they do not depend on
the scan. The slope is that of a straight line through the logarithms of processor seconds and of vertebrae or voxels: 1 is
linear. Points are added to ``scaling.json`` when they are done; ``scaling.png`` draws all that it holds. Ends with 1 where a
whole run has a slope above 1.05.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from clock import ASIDE, REST, Clock, watch_stages
from measure import measured
from report import table

from spineps.config import ComputeConfig, PipelineConfig, Precision
from spineps.geometry import Box
from spineps.phantom.phantom import Phantom, make_phantom
from spineps.volume import Scan

MOST_SLOPE: Final = 1.05
SEED: Final = 60_001
SAME_SPACING_MM: Final = (0.9, 0.9, 3.3)
WHOLE: Final = 24
SLICE_SHARE: Final = 3.3 / 0.9
"""Slices of the resolutions, in voxels of the plane."""
VERTEBRAE: Final = "vertebrae"
VOXELS: Final = "voxels"
LEAST_SHARE: Final = 0.02
"""Phases below this share of a run are not fitted: their seconds are those of the timer."""
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Point:
    """One run."""

    series: str
    vertebrae: int
    voxels: int
    spacing_mm: Spacing
    threads: int
    seconds: float
    cpu_seconds: float
    peak_gb: float
    phases: dict[str, dict[str, float]]

    @property
    def size(self) -> int:
        """What the series varies."""
        return self.vertebrae if self.series == VERTEBRAE else self.voxels


def side(scan: str, out: str, threads: str, precision: str) -> None:
    """The part that runs in a process of its own."""
    from spineps import api
    from spineps.outputs.save import save

    clock = Clock()
    watch_stages(clock)
    config = PipelineConfig(compute=ComputeConfig(threads=int(threads), precision=Precision(precision)))
    models = api.load_models(config.compute)
    with clock.phase(REST):
        result = api.segment_scan(Path(scan), config=config, models=models)
        with clock.phase("save"):
            save(result, Path(out))
    print(json.dumps({"vertebrae": len(result.vertebrae), "phases": clock.spent()}))


@lru_cache(maxsize=1)
def spine(vertebrae: int, spacing: Spacing) -> Phantom:
    """A healthy phantom."""
    return make_phantom(SEED, vertebrae=vertebrae, spacing_mm=spacing, pathology=0.0)


def lowest(phantom: Phantom, count: int) -> Scan:
    """The part of a spine's scan that begins with the highest of its lowest vertebrae."""
    true, p_and_r = phantom.instance.labels, (0, 2)
    names = {label: name for label, name in phantom.levels.items() if not name.startswith("S")}
    tops = sorted(int(np.flatnonzero((true == label).any(axis=p_and_r))[0]) for label in names)
    p, i, r = true.shape
    box = Box((0, tops[-count], 0), (p, i, r))
    return Scan(phantom.scan.image[box.slices], phantom.scan.geometry.cropped(box))


def point_of(series: str, vertebrae: int, spacing: Spacing, compute: tuple[int, str]) -> Point:
    """Make a phantom and segment it."""
    threads, precision = compute
    with tempfile.TemporaryDirectory() as folder:
        import nibabel as nib

        work = Path(folder)
        whole = series == VERTEBRAE
        scan = lowest(spine(WHOLE, spacing), vertebrae) if whole else spine(vertebrae, spacing).scan
        nib.Nifti1Image(scan.image, scan.geometry.affine).to_filename(work / "sub-1_T2w.nii.gz")
        log = work / "log"
        command = [sys.executable, __file__, "--side", work / "sub-1_T2w.nii.gz", work / "out", str(threads), precision]
        found = measured(command, log)
        words = log.read_text(encoding="utf-8", errors="replace")
    if found.exit_code:
        raise SystemExit(words[-3000:])
    told = json.loads(words.splitlines()[-1])
    phases = {name: spent for name, spent in told["phases"].items() if name != ASIDE}
    seconds, cpu_seconds = (round(sum(spent[what] for spent in phases.values()), 3) for what in ("seconds", "cpu_seconds"))
    voxels = int(np.prod(scan.geometry.shape))
    return Point(series, told["vertebrae"], voxels, spacing, threads, seconds, cpu_seconds, found.peak_gb, phases)


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def slopes(points: list[Point]) -> dict[str, float]:
    """Of the whole run, its memory, and its phases."""
    sizes = [point.size for point in points]
    found = {"whole run": slope(sizes, [point.cpu_seconds for point in points])}
    found["peak memory"] = slope(sizes, [point.peak_gb for point in points])
    for name in points[0].phases:
        spent = [point.phases.get(name, {}).get("cpu_seconds", 0.0) for point in points]
        if min(spent) > 0 and max(s / p.cpu_seconds for s, p in zip(spent, points, strict=True)) >= LEAST_SHARE:
            found[name] = slope(sizes, spent)
    return found


def kept_points(path: Path) -> list[Point]:
    """Points of earlier calls."""
    if not path.is_file():
        return []
    plain = json.loads(path.read_text(encoding="utf-8"))
    return [Point(**point | {"spacing_mm": tuple(point["spacing_mm"])}) for point in plain]


def keep(point: Point, path: Path) -> None:
    """Add a point in place of an older one."""

    def key(point: Point) -> tuple[Any, ...]:
        return point.series, point.voxels, point.threads

    points = [old for old in kept_points(path) if key(old) != key(point)] + [point]
    path.write_text(json.dumps([asdict(point) for point in sorted(points, key=key)], indent=1) + "\n", encoding="utf-8")


def plot(series: dict[str, list[Point]], path: Path) -> None:
    """Seconds over sizes, both as logarithms, the whole run and its phases."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(series), figsize=(6 * len(series), 5), layout="constrained", squeeze=False)
    for axes, (name, points) in zip(panels[0], series.items(), strict=True):
        sizes = [point.size for point in points]
        for phase, value in slopes(points).items():
            if phase == "peak memory":
                continue
            whole = phase == "whole run"
            seconds = [point.cpu_seconds if whole else point.phases[phase]["cpu_seconds"] for point in points]
            axes.loglog(sizes, seconds, "o-", color="black" if whole else None, label=f"{phase}: slope {value:.2f}")
        axes.set_xlabel(name)
        axes.set_ylabel("processor seconds")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def report(series: dict[str, list[Point]]) -> None:
    """The points, and the slopes of all phases."""
    head = ["series", "vertebrae", "million voxels", "CPU s", "s", "GB"]
    rows = [
        [name, p.vertebrae, p.voxels / 1e6, p.cpu_seconds, p.seconds, p.peak_gb]
        for name, points in series.items()
        for p in points
    ]
    print(table(head, rows), "\n")
    fitted = {name: slopes(points) for name, points in series.items()}
    phases = dict.fromkeys(phase for found in fitted.values() for phase in found)
    print(table(["slope of", *fitted], [[phase, *(found.get(phase) for found in fitted.values())] for phase in phases]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vertebrae", nargs="+", type=int, default=[5, 8, 12, 18, 24])
    parser.add_argument("--spacings", nargs="+", type=float, default=[1.2, 0.9, 0.675], help="in plane, mm")
    parser.add_argument("--spine", type=int, default=12, help="vertebrae of the spine in several resolutions")
    parser.add_argument("--only", nargs="+", choices=[VERTEBRAE, VOXELS], default=[VERTEBRAE, VOXELS])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="auto", choices=[p.value for p in Precision])
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    threads = args.threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    kept = args.out / "scaling.json"
    wanted = {
        VERTEBRAE: [(count, SAME_SPACING_MM) for count in args.vertebrae],
        VOXELS: [(args.spine, (mm, mm, round(mm * SLICE_SHARE, 3))) for mm in args.spacings],
    }
    for name in args.only:
        for count, spacing in wanted[name]:
            keep(point_of(name, count, spacing, (threads, args.precision)), kept)
    found = [point for point in kept_points(kept) if point.threads == threads]
    series = {name: [p for p in found if p.series == name] for name in (VERTEBRAE, VOXELS)}
    series = {name: points for name, points in series.items() if len(points) > 1}
    report(series)
    if series:
        plot(series, args.out / "scaling.png")
    return 0 if all(slopes(points)["whole run"] <= MOST_SLOPE for points in series.values()) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(*sys.argv[2:])
    else:
        sys.exit(main())
