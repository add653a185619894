"""Do all engines give the labels of PyTorch in fp32 on real scans, and what do they cost?

usage: python bench/engines.py SCAN [SCAN ...] [--threads N] [--runs N] [--out FILE.json]

Each engine of this machine runs each scan from start to end in a process of its own, in turns (one run of each, then the next
round), so that whatever else the machine does meets all of them. A row holds the share of equal semantic labels among all
voxels and among those that either labels, medians of seconds (of the clock and of the processor), and the peak memory. Ends
with 1 where an engine agrees in less than 99.9 % of all or 99.4 % of labelled voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measure import MAXRSS_UNIT
from report import table

from spineps.config import ComputeConfig, Device, EngineName, PipelineConfig, Precision
from spineps.inference.probe import candidates

EXACT = "torch-cpu-fp32"
LEAST_OF_ALL = 0.999
LEAST_OF_LABELLED = 0.994


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Row:
    """One engine on one scan."""

    scan: str
    engine: str
    of_all: float
    of_labelled: float
    seconds: float
    cpu_seconds: float
    peak_gb: float

    @property
    def holds(self) -> bool:
        """Whether it agrees with the exact engine."""
        return self.of_all >= LEAST_OF_ALL and self.of_labelled >= LEAST_OF_LABELLED


def one_run(scan: Path, config: ComputeConfig, out: Path) -> Cost:
    """Segment a scan in a process of its own; the semantic labels lie in ``out``."""
    asked = [config.engine.value, config.device.value, config.precision.value, str(config.threads)]
    command = [sys.executable, __file__, "--side", str(scan), str(out), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def side(scan: str, out: str, *asked: str) -> None:
    """The part that runs in a process of its own."""
    begin = time.perf_counter()
    from spineps import api

    engine, device, precision, threads = asked
    compute = ComputeConfig(Device(device), Precision(precision), int(threads), engine=EngineName(engine))
    result = api.segment_scan(Path(scan), config=PipelineConfig(compute=compute))
    seconds = time.perf_counter() - begin
    with Path(out).open("wb") as file:
        np.lib.format.write_array(file, np.asarray(result.semantic.labels))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT / 1e9
    print(json.dumps(asdict(Cost(round(seconds, 2), round(time.process_time(), 2), round(peak, 3)))))


def rows_of(scan: Path, configs: dict[str, ComputeConfig], runs: int, work: Path) -> list[Row]:
    costs: dict[str, list[Cost]] = {name: [] for name in configs}
    for name, config in configs.items():  # converts the networks, and gives the labels
        one_run(scan, config, work / f"{name}.npy")
    for _ in range(runs):
        for name, config in configs.items():
            costs[name].append(one_run(scan, config, work / "again.npy"))
            if (work / "again.npy").read_bytes() != (work / f"{name}.npy").read_bytes():
                raise SystemExit(f"{name} gave other labels in a second run")
    exact = np.load(work / f"{EXACT}.npy")
    rows = []
    for name in configs:
        equal, labelled = (found := np.load(work / f"{name}.npy")) == exact, (found > 0) | (exact > 0)
        medians = [
            round(statistics.median(getattr(cost, what) for cost in costs[name]), 2) for what in ("seconds", "cpu_seconds")
        ]
        peak = max(cost.peak_gb for cost in costs[name])
        rows.append(Row(scan.name, name, float(equal.mean()), float(equal[labelled].mean()), *medians, peak))
    return rows


def _cells(row: Row) -> list[object]:
    plain = asdict(row) | {"of_all": f"{row.of_all:.5f}", "of_labelled": f"{row.of_labelled:.4f}"}
    return list(plain.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="ENGINE", help="engines to compare with the exact one (default: all)")
    parser.add_argument("--out", type=Path, default=Path("bench/out/engines.json"))
    args = parser.parse_args()
    here = {candidate.name: candidate.config for candidate in candidates(args.threads) if not candidate.lacks}
    configs = {name: config for name, config in here.items() if name == EXACT or name in (args.only or here)}
    with tempfile.TemporaryDirectory() as work:
        rows = [row for scan in args.scans for row in rows_of(scan, configs, args.runs, Path(work))]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    print(table(list(asdict(rows[0])), [_cells(row) for row in rows]))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(*sys.argv[2:])
    else:
        sys.exit(main())
