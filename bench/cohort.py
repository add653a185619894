"""Cohorts at full size: bad scans among good ones, kills, several runs at once, flipped bits, mutated files, a full disk.

    python bench/cohort.py --good 160 --bad 40 --kills 100 --runs 8 --flips 1000 --mutations 10000

Every count can be made smaller; 0 leaves a part out. The scans are phantoms of two to four vertebrae at 2 mm, the models the
small ones of the tests, the program is the installed command line.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import cohort_scans
import forked_runs

from spineps.api import load_models
from spineps.config import PipelineConfig
from spineps.errors import SpinepsError
from spineps.io.nifti import read_scan
from spineps.pipeline import segment_scan

FLAGS = (*cohort_scans.MODEL_FLAGS, "--device", "cpu", "--precision", "fp32", "--threads", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=16, help="good scans")
    parser.add_argument("--bad", type=int, default=4, help="bad scans among them")
    parser.add_argument("--jobs", type=int, default=1, help="workers of a run")
    parser.add_argument("--kills", type=int, default=3, help="SIGKILLs at random moments")
    parser.add_argument("--kill-scans", type=int, default=4, help="good scans of the dataset of the kills")
    parser.add_argument("--every-change", type=int, default=0, metavar="K", help="kill at every K-th change of a file (1: all)")
    parser.add_argument("--moments", type=int, default=0, help="SIGKILLs at random moments of runs that are forked")
    parser.add_argument("--runs", type=int, default=2, help="runs at once on one folder")
    parser.add_argument("--run-scans", type=int, default=6, help="scans of their dataset")
    parser.add_argument("--full-disk", type=int, default=2, help="good scans of the dataset on a full disk")
    parser.add_argument("--flips", type=int, default=100, help="one-bit flips of a .nii.gz")
    parser.add_argument("--mutations", type=int, default=500, help="mutated NIfTI files")
    parser.add_argument("--sockets", type=int, default=1, help="0 leaves out the count of sockets, which needs strace")
    parser.add_argument("--dask-scans", type=int, default=0, help="scans for --dask local:2 beside two processes")
    parser.add_argument("--planned", type=int, default=0, help="empty scans that Dask hands out, to time the rest")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        whole_cohort(folder / "cohort", args)
        kills(folder / "kills", args)
        kills_of_copies(folder / "copies", args)
        runs_at_once(folder / "runs", args)
        full_disk(folder / "full", args)
        flips(folder / "flips", args)
        mutations(folder / "mutations", args)
        sockets(folder / "sockets", args)
        throughput(folder / "throughput", args)
        overhead(folder / "overhead", args)


class Cost(NamedTuple):
    """Seconds that pass, and that a command computes with all its processes."""

    wall_s: float
    processor_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s, computing {self.processor_s:.1f} s"


def spineps(*arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], Cost]:
    command = [sys.executable, "-m", "spineps", *map(str, arguments)]
    began, computed = time.perf_counter(), _computed_s()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, Cost(time.perf_counter() - began, _computed_s() - computed)


def _computed_s() -> float:
    """Seconds that all ended children of this process have computed."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def dataset_command(dataset: Path, root: Path, jobs: int) -> tuple[str | Path, ...]:
    return ("dataset", "-i", dataset, "-o", root, *FLAGS, "--jobs", str(jobs), "-v")


def whole_cohort(folder: Path, args: argparse.Namespace) -> None:
    if not args.good + args.bad:
        return
    plain = PlainPipeline()
    expected = cohort_scans.make_dataset(folder / "data", good=args.good, bad=args.bad, seed=args.seed, takes=plain.segments)
    print(f"phantoms left out, because spineps.segment_scan finds no vertebra with the small models: {plain.left_out}")
    inputs = _inputs(folder / "data")
    command = dataset_command(folder / "data", folder / "out", args.jobs)
    first, cost = spineps(*command)
    table = [line.split("\t") for line in (folder / "out" / "cohort.tsv").read_text().splitlines()[1:]]
    codes = {row[3]: None if row[5] == "n/a" else row[5] for row in table}
    right = sum(codes.get(scan) == (None if code is None else str(code)) for scan, code in expected.items())
    statuses = Counter(row[4] for row in table)
    print(f"cohort of {len(expected)}: {dict(statuses)}, {right} with the right code, exit {first.returncode}, {cost}")
    wrong = {scan: (code, codes.get(scan)) for scan, code in expected.items() if codes.get(scan) != (code and str(code))}
    print(f"  unlike expected: {wrong}; tracebacks: {first.stderr.count('Traceback')}")
    before = cohort_scans.tree(folder / "out")
    second, cost = spineps(*command)
    same = cohort_scans.tree(folder / "out") == before
    print(f"  second run: {second.stderr.count(': done in')} computed, {cost}, tree the same: {same}")
    print(f"  inputs unchanged, bytes and times: {_inputs(folder / 'data') == inputs}")


class PlainPipeline:
    """Tells, by one scan after the other without any cohort, whether the small models find vertebrae in a phantom."""

    def __init__(self) -> None:
        self._config = PipelineConfig(compute=forked_runs.COMPUTE)
        folders = forked_runs.FOLDERS
        self._models = load_models(forked_runs.COMPUTE, semantic_folder=folders.semantic, instance_folder=folders.instance)
        self.left_out = 0

    def segments(self, scan: Path) -> bool:
        """Whether a scan is segmented; counts those that are not."""
        try:
            segment_scan(read_scan(scan), self._models, self._config)
        except SpinepsError:
            self.left_out += 1
            return False
        return True


def kills(folder: Path, args: argparse.Namespace) -> None:
    if not args.kills:
        return
    dataset, root, rng = folder / "data", folder / "out", random.Random(args.seed)
    cohort_scans.make_dataset(dataset, good=args.kill_scans, bad=2, seed=args.seed)
    command = dataset_command(dataset, folder / "whole", args.jobs)
    _, (seconds, _) = spineps(*command)
    whole, partial, wrong, restarts, killed = cohort_scans.tree(folder / "whole"), 0, 0, 0, 0
    command = dataset_command(dataset, root, args.jobs)
    while killed < args.kills:
        program = [sys.executable, "-m", "spineps", *map(str, command)]
        with subprocess.Popen(program, stderr=subprocess.DEVNULL, start_new_session=True) as run:
            try:
                run.wait(rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                killed += 1
                os.killpg(run.pid, signal.SIGKILL)
        left = cohort_scans.tree(root) if root.exists() else {}
        partial += sum(left[name] != whole.get(name) for name in left if not name.endswith((".partial", "cohort.tsv")))
        if left == whole:
            shutil.rmtree(root)
            restarts += 1
    spineps(*command)
    wrong += cohort_scans.tree(root) != whole
    print(f"{killed} SIGKILLs at random moments of {seconds:.0f} s ({restarts} times from the start again):")
    print(f"  {partial} wrong or partial files under final names, trees unlike the undisturbed one after resuming: {wrong}")


def kills_of_copies(folder: Path, args: argparse.Namespace) -> None:
    """The same with runs that begin with everything loaded (see ``tests/forked_runs.py``): at every change, and at moments."""
    if not args.every_change + args.moments:
        return
    cohort_scans.make_dataset(folder / "data", good=2, bad=2, seed=args.seed)
    runs, whole, root, rng = forked_runs.Runs(folder / "data"), folder / "whole", folder / "out", random.Random(args.seed)
    began = time.monotonic()
    runs.run(whole)
    seconds, tree, faults, killed = time.monotonic() - began, cohort_scans.tree(whole), list[str](), 0
    while args.every_change and runs.run(root, at_change=1 + killed * args.every_change) == forked_runs.KILLED:
        killed += 1
        faults += runs.faults_after(root, tree)
        shutil.rmtree(root)
    print(f"{killed} SIGKILLs, at changes of a file, step {args.every_change}: {faults or 'nothing'} wrong", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    faults, killed = [], 0
    while killed < args.moments:
        if runs.run(root, after_s=rng.uniform(0, seconds)) == forked_runs.KILLED:
            killed += 1
            faults += runs.faults_after(root, tree)
        shutil.rmtree(root)
    print(f"{killed} SIGKILLs at random moments of {seconds:.1f} s: {faults or 'nothing'} wrong", flush=True)


def runs_at_once(folder: Path, args: argparse.Namespace) -> None:
    if not args.runs:
        return
    dataset = folder / "data"
    cohort_scans.make_dataset(dataset, good=args.run_scans, bad=2, seed=args.seed)
    spineps(*dataset_command(dataset, folder / "serial", args.jobs))
    command = [sys.executable, "-m", "spineps", *map(str, dataset_command(dataset, folder / "shared", 1))]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(args.runs)]
    said = [run.communicate()[1] for run in runs]
    done = Counter(line.split(":")[0] for text in said for line in text.splitlines() if ": done in" in line)
    same = cohort_scans.tree(folder / "shared") == cohort_scans.tree(folder / "serial")
    print(
        f"{args.runs} runs at once, {args.run_scans + 2} scans: {len(done)} good ones done, {sum(done.values())} times in all,"
    )
    print(f"  exit codes {sorted(run.returncode for run in runs)}, tree as of one run: {same}")


def full_disk(folder: Path, args: argparse.Namespace) -> None:
    """Small disks of memory, which the system must let us mount; then more space, and the run goes on."""
    if not args.full_disk:
        return
    cohort_scans.make_dataset(folder / "data", good=args.full_disk, bad=2, seed=args.seed)
    runs, whole, disk = forked_runs.Runs(folder / "data"), folder / "whole", folder / "disk"
    runs.run(whole)
    kib = sum(-(-path.stat().st_size // 4096) * 4 for path in whole.rglob("*") if path.is_file())
    tree, codes, faults = cohort_scans.tree(whole), Counter[int](), list[str]()
    disk.mkdir()
    for size in range(4, kib, max(4, kib // 24 // 4 * 4)):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            print("full disk: mounting one takes rights that are missing here")
            return
        try:
            codes[runs.run(disk / "out")] += 1
            faults += [f"partial: {name}" for name in cohort_scans.partial_files(disk)]
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            faults += runs.faults_after(disk / "out", tree, ended=True)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    print(
        f"full disk, {codes.total()} sizes up to {kib} KiB: exit codes {dict(codes)}; {faults or 'nothing'} wrong", flush=True
    )


def flips(folder: Path, args: argparse.Namespace) -> None:
    if not args.flips:
        return
    place = cohort_scans.phantom_scan(cohort_scans.scan_place(folder, 0), args.seed)
    data, rng, refused, harmless = place.read_bytes(), random.Random(args.seed), 0, 0
    for _ in range(args.flips):
        position = rng.randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        place.write_bytes(bytes(flipped))
        try:
            read_scan(place)
        except SpinepsError:
            refused += 1
        else:
            harmless += gzip.decompress(bytes(flipped)) == gzip.decompress(data)
    print(f"{args.flips} one-bit flips: {refused} refused, {harmless} in bits that no voxel depends on")


def mutations(folder: Path, args: argparse.Namespace) -> None:
    """In a process that only reads, so that its memory is that of the reader."""
    if not args.mutations:
        return
    place = cohort_scans.phantom_scan(cohort_scans.scan_place(folder, 0), args.seed)
    fuzz = Path(__file__).with_name("fuzz.py")
    options = ("--inputs", args.mutations, "--scan", place, "--corpus", folder / "found", "--seed", args.seed)
    done = subprocess.run([sys.executable, fuzz, *map(str, options)], capture_output=True, text=True, check=False)
    print(f"mutated files: exit {done.returncode}; {done.stdout.strip()}{done.stderr}")


def sockets(folder: Path, args: argparse.Namespace) -> None:
    """Sockets of the internet that the commands and their workers open, as the kernel sees them."""
    if not args.sockets or shutil.which("strace") is None:
        return
    cohort_scans.make_dataset(folder / "data", good=1, bad=1, seed=args.seed)
    scan, flags, trace = cohort_scans.scan_place(folder / "data", 0), FLAGS, folder / "trace"
    for command in (
        ("sample", "-i", scan, "-o", folder / "sample", *flags),
        ("dataset", "-i", folder / "data", "-o", folder / "dataset", *flags),
        ("bids", folder / "data", folder / "bids", "participant", *flags),
    ):
        program = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", trace, sys.executable, "-m", "spineps", *command]
        done = subprocess.run(list(map(str, program)), capture_output=True, check=False)
        opened = sum("AF_INET" in line for line in trace.read_text().splitlines())
        print(f"{command[0]}: exit {done.returncode}, {opened} sockets of the internet opened")


def throughput(folder: Path, args: argparse.Namespace) -> None:
    """Scans a second between the first and the last that is done: two workers of Dask, and two runs beside each other."""
    if not args.dask_scans:
        return
    halves = (folder / "first", folder / "second", folder / "all")
    for half, scans in zip(halves, (args.dask_scans // 2, args.dask_scans // 2, args.dask_scans), strict=True):
        cohort_scans.make_dataset(half, good=scans, bad=0, seed=args.seed)
    alone = _rate([dataset_command(half, half / "out", 1) for half in halves[:2]])
    dask = _rate([(*dataset_command(halves[2], halves[2] / "out", 1), "--dask", "local:2")])
    print(f"scans a second: two processes {alone:.3f}, --dask local:2 {dask:.3f}, ratio {dask / alone:.2f}")


def _rate(commands: list[tuple[str | Path, ...]]) -> float:
    """Scans a second of commands that run beside each other, without their starts."""
    times: list[float] = []

    def listen(command: tuple[str | Path, ...]) -> None:
        program = [sys.executable, "-m", "spineps", *map(str, command)]
        with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as run:
            times.extend(time.perf_counter() for line in run.stderr or () if ": done in" in line)

    with ThreadPoolExecutor() as listeners:
        list(listeners.map(listen, commands))
    return (len(times) - 1) / (max(times) - min(times))


def overhead(folder: Path, args: argparse.Namespace) -> None:
    """What a scan more costs besides its networks: every file is empty, handed out by Dask, and refused by a worker."""
    if not args.planned:
        return
    few, all_of_them = (_handed_out(folder / str(number), number) for number in (args.planned // 10, args.planned))
    more = args.planned - args.planned // 10
    wall_ms, processor_ms = (1000 * (late - early) / more for early, late in zip(few, all_of_them, strict=True))
    print(f"{more} scans more on Dask: {wall_ms:.1f} ms each, of which all processes together compute {processor_ms:.1f} ms")


def _handed_out(folder: Path, number: int) -> Cost:
    """What a number of empty files costs."""
    for subject in range(number):
        cohort_scans.scan_place(folder / "data", subject).touch()
    run, cost = spineps(*dataset_command(folder / "data", folder / "out", 1), "--dask", "local:2")
    print(f"{number} empty scans on Dask: {run.stderr.count('INPUT_EMPTY')} refused, {cost}")
    return cost


def _inputs(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file of a dataset."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


if __name__ == "__main__":
    main()
