"""Bench of the evaluation.

    python bench/evaluation.py speed [--pairs 40] [--workers 2]      seconds and memory of large pairs
    python bench/evaluation.py phantoms [--count 20] [--out FOLDER]  bundled models on phantoms, then the paper's tables

``speed`` enlarges one phantom's true masks to 20 million voxels, moves them by a voxel as prediction, and evaluates that pair
under many names. ``phantoms`` makes phantoms, segments them with and without post-processing and compares both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from spineps.evaluation.cohort import EvaluationSettings, evaluate_cohort
from spineps.evaluation.pairs import pair_folders
from spineps.geometry import Geometry
from spineps.io.atomic import write_nifti

VOXELS = 20_000_000
FIRST_SEED = 9000


def speed(pairs: int, workers: int) -> int:
    """Write the pairs, then evaluate them in a fresh process, as the command does, and watch its memory."""
    with tempfile.TemporaryDirectory() as name:
        shape = write_pair(Path(name), pairs)
        print(f"{pairs} pairs of {np.prod(shape) / 1e6:.1f} million voxels on {workers} processes", flush=True)
        process = subprocess.Popen([sys.executable, __file__, "measured", name, "--workers", str(workers)])
        with Peak(process.pid) as peak:
            code = process.wait()
    print(f"peak memory of all its processes together {peak.megabytes:.0f} MB (shared pages counted once)")
    return code


def measured(folder: Path, workers: int) -> int:
    pairs = pair_folders(folder / "ref", {"moved": folder / "out"})
    start, worked = time.perf_counter(), time.process_time()
    outcome = evaluate_cohort(pairs, EvaluationSettings(), folder / "records", workers=workers)
    print(f"{(time.perf_counter() - start) / len(pairs):.1f} s a pair, imports included")
    if workers == 1:
        print(f"{(time.process_time() - worked) / len(pairs):.1f} s of processor time a pair")
    return 1 if outcome.failures else 0


def write_pair(folder: Path, pairs: int) -> tuple[int, ...]:
    from spineps.phantom.phantom import make_phantom

    phantom = make_phantom(FIRST_SEED, vertebrae=16, spacing_mm=(1.2, 1.2, 3.3))
    factor = round((VOXELS / phantom.semantic.labels.size) ** (1 / 3) + 0.5)
    for mask, kind in ((phantom.semantic, "spine"), (phantom.instance, "vert")):
        labels = mask.labels.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
        labels = labels[:, :, : max(1, VOXELS // (labels.shape[0] * labels.shape[1]) + 1)]
        spacing = tuple(s / factor for s in mask.geometry.spacing_mm)
        geometry = Geometry.from_spacing(labels.shape, spacing)
        for side, array in (("ref", labels), ("out", np.roll(labels, 1, axis=0))):
            first = folder / side / f"sub-0_seg-{kind}_msk.nii.gz"
            write_nifti(first, array, geometry)
            for i in range(1, pairs):
                os.link(first, folder / side / f"sub-{i}_seg-{kind}_msk.nii.gz")
    return labels.shape


class Peak:
    """Largest memory of a process and its children together, as the kernel's proportional set size."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid

    def __enter__(self) -> Peak:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.megabytes = max(self.megabytes, sum(proportional_kb(pid) for pid in family(self._pid)) / 1024)


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task").glob("*/children")
        return [pid, *(p for c in children for child in c.read_text().split() for p in family(int(child)))]
    except OSError:
        return [pid]


def proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # the process is gone, or this is not Linux
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def phantoms(count: int, out: Path) -> int:
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        spineps("phantom", out / "ref", "--seed", seed, "--vertebrae", 8, "--spacing", 1, 1, 3.3)
        scan = out / "ref" / f"phantom-{seed}_T2w.nii.gz"
        spineps("sample", "-i", scan, "-o", out / "ours")
        spineps("sample", "-i", scan, "-o", out / "raw", "--no-postprocess")
    spineps("evaluate", out / "ref", out / "raw", out / "ours", "-o", out / "evaluation", "--regions")
    return 0


def spineps(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "spineps", *map(str, arguments)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("speed")
    one.add_argument("--pairs", type=int, default=40)
    one.add_argument("--workers", type=int, default=2)
    two = commands.add_parser("phantoms")
    two.add_argument("--count", type=int, default=20)
    two.add_argument("--out", type=Path, default=Path("phantom-evaluation"))
    three = commands.add_parser("measured", help="the part of speed that is measured")
    three.add_argument("folder", type=Path)
    three.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.command == "measured":
        return measured(args.folder, args.workers)
    return speed(args.pairs, args.workers) if args.command == "speed" else phantoms(args.count, args.out)


if __name__ == "__main__":
    sys.exit(main())
