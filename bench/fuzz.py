"""Fuzzes the reader: whatever the bytes, only a SpinepsError leaves it, within ten seconds and 512 MB.

    python bench/fuzz.py --minutes 10                 # guided by coverage, where atheris is installed
    python bench/fuzz.py --minutes 10 --engine plain  # mutations at random; runs everywhere
    python bench/fuzz.py --inputs 10000 --scan FILE   # so many of them, of this file too
    python bench/fuzz.py --replay FILE                # what one file does

Seeds are the good and the bad files of the table of faults. The first byte of an input says what the rest is: a file as it is,
or the content of a gzip member that is made whole, so that changed headers pass the checksum. A file that breaks the rule is
kept in --corpus and ends the run with exit code 1; it belongs into the table of faults.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MEMORY_MB = 512
SECONDS = 10.0
OPTIONS = 3
_REPORT_S = 30.0
PLAIN, PACKED = 0, 1
SHAPE = (8, 8, 24)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--inputs", type=int, metavar="N", help="so many mutations at random, however long it takes")
    parser.add_argument("--scan", type=Path, metavar="FILE", help="a scan that is mutated too (.nii.gz)")
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument(
        "--corpus", type=Path, default=Path(__file__).parent / "out" / "fuzz", help="inputs that were worth keeping"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.replay is not None:
            print(Target(Path(scratch))(args.replay.read_bytes()))
            return 0
        args.corpus.mkdir(parents=True, exist_ok=True)
        if args.inputs is not None:
            return fuzz_plain(Path(scratch), args)
        guided = args.engine == "atheris" or (args.engine == "auto" and importlib.util.find_spec("atheris") is not None)
        return fuzz_guided(Path(scratch), args) if guided else fuzz_plain(Path(scratch), args)


class Target:
    """Reads an input, as an image or as labels, and counts what became of it."""

    def __init__(self, scratch: Path) -> None:
        from spineps.errors import SpinepsError
        from spineps.io.nifti import AffineChoice, ReadOptions, read_labels, read_scan

        self._refused = SpinepsError
        first, second = (ReadOptions(choice, volume) for choice, volume in ((AffineChoice.AUTO, None), (AffineChoice.BASE, 0)))
        self._reads: tuple[Callable[[Path], object], ...] = (
            lambda path: read_scan(path, first),
            lambda path: read_labels(path, first),
            lambda path: read_scan(path, second),
        )
        self._place = scratch / "input.nii.gz"
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    def __call__(self, data: bytes) -> str:
        """What became of an input; what else than a SpinepsError is raised goes on."""
        kind, content = (data[0], data[1:]) if data else (PLAIN, b"")
        self._place.write_bytes(gzip.compress(content, 1, mtime=0) if kind % 2 == PACKED else content)
        began = time.process_time()
        try:
            self._reads[kind // 2 % OPTIONS](self._place)
            outcome = "read"
        except self._refused as error:
            outcome = str(error.code)
        seconds = time.process_time() - began
        self.slowest = max(self.slowest, seconds)
        self.counts[outcome] += 1
        if seconds > SECONDS:
            raise TimeoutError(f"{seconds:.0f} s for {len(data)} bytes")
        return outcome

    def report(self, inputs: str) -> None:
        """Say what was found so far."""
        print(f"{sum(self.counts.values())} {inputs}: {dict(self.counts.most_common())}")
        print(f"slowest {self.slowest:.2f} s of computing, peak memory of the process {peak_mb():.0f} MB", flush=True)


def peak_mb() -> float:
    """Most memory that this program held (what is told of a process counts the one that it was copied from)."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 1024


def seeds() -> Iterator[bytes]:
    """The files of the table of faults that fit into a few hundred kilobytes."""
    from tests.faults import build

    voxels = build.voxels(SHAPE)
    affine = build.straight(shape=SHAPE)
    good = build.nifti(voxels)
    fields = ({}, {"second": True}, {"order": ">"}, {"scl_slope": 2.0}, {"dim": [4, *SHAPE, 1, 1, 1, 1]})
    for content in (build.nifti(voxels, **more) for more in fields):
        yield from (bytes([PLAIN]) + content, bytes([PACKED]) + content, bytes([PLAIN]) + build.gz(content))
    yield bytes([PACKED]) + build.nifti(voxels, flag=b"\1\0\0\0", extension=build.extension(), vox_offset=384)
    yield bytes([PACKED + 2]) + build.nifti(np.repeat([0, 1, 2, 3], voxels.size // 4).reshape(SHAPE).astype("i2"))
    yield bytes([PACKED + 4]) + build.nifti(voxels, sform_code=0, **build.quaternion(affine))
    yield bytes([PLAIN]) + build.gz(good) + build.gz(good)
    yield bytes([PLAIN]) + build.gz(good)[:-8]
    yield bytes([PLAIN]) + good[:400]


def fuzz_guided(scratch: Path, args: argparse.Namespace) -> int:
    """With libFuzzer through atheris, guided by the reader's branches; it ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["spineps.io", "spineps.geometry"]):
        target = Target(scratch)
    corpus = args.corpus / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:02d}").write_bytes(seed)
    seconds, reported = args.minutes * 60, time.monotonic()

    def one(data: bytes) -> None:
        nonlocal reported
        target(data)
        if time.monotonic() - reported > _REPORT_S:
            reported = time.monotonic()
            target.report("inputs, guided by coverage")

    flags = (
        f"-max_total_time={int(seconds)}",
        f"-rss_limit_mb={MEMORY_MB + 256}",
        f"-timeout={int(SECONDS)}",
        "-max_len=65536",
    )
    atheris.Setup([sys.argv[0], *flags, f"-seed={args.seed + 1}", f"-artifact_prefix={args.corpus}/found-", str(corpus)], one)
    atheris.Fuzz()
    return 0


def fuzz_plain(scratch: Path, args: argparse.Namespace) -> int:
    """Mutations of seeds: bytes, blocks, cuts, repeats and splices."""
    target, rng, pool = Target(scratch), np.random.default_rng(args.seed), list(seeds())
    if args.scan is not None:
        content = args.scan.read_bytes()
        pool += [bytes([PLAIN]) + content, bytes([PACKED]) + gzip.decompress(content)]
    end = time.monotonic() + args.minutes * 60
    while sum(target.counts.values()) < args.inputs if args.inputs is not None else time.monotonic() < end:
        data = mutated(pool[int(rng.integers(len(pool)))], pool, rng)
        try:
            target(data)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a find
            place = args.corpus / f"found-{type(error).__name__}-{time.time_ns()}"
            place.write_bytes(data)
            target.report("inputs")
            print(f"{type(error).__name__}: {error}: {place}")
            return 1
    target.report("inputs, mutated at random")
    return int(peak_mb() > MEMORY_MB)


def mutated(seed: bytes, pool: list[bytes], rng: np.random.Generator) -> bytes:
    """One to eight changes, most of them in the header."""
    data = bytearray(seed)
    for _ in range(int(rng.integers(1, 9))):
        size = len(data) if rng.random() < 0.3 else min(len(data), 600)
        place = int(rng.integers(size)) if size else 0
        how = int(rng.integers(8))
        if how < 3:
            data[place : place + 1] = rng.bytes(1)
        elif how == 3:
            extreme = (0, -1, 1, 2**31 - 1, -(2**31), 0x7FC00000, 0x7F800000, 0x3F800000)[int(rng.integers(8))]
            data[place : place + 4] = (extreme & 0xFFFFFFFF).to_bytes(4, "little" if rng.random() < 0.7 else "big")
        elif how == 4:
            data[place : place + 1] = bytes([(data[place] if size else 0) ^ (1 << int(rng.integers(8)))])
        elif how == 5 and rng.random() < 0.3:
            del data[place:]
        elif how == 6:
            other = pool[int(rng.integers(len(pool)))]
            data[place : place + 64] = other[place : place + 64]
        else:
            data += rng.bytes(int(rng.integers(1, 30))) if rng.random() < 0.2 else b""
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
