"""How much faster, and in how much less memory, than the published SPINEPS, with the same weights and threads?

usage: python bench/vs_published.py --published PYTHON --models DIR [--runs N] [--threads N] [--only NAME ...] [--out FOLDER]

``--published`` is the interpreter of an environment with the published package; ``--models`` holds the folders of
``peer/make_models.py``. Each step runs in a process of its own, ours and theirs in turns, so that whatever else the machine
does meets both; ratios are taken within a round, and their median is told. Writes ``vs_published.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from measure import Measured, measured
from report import table

HERE: Final = Path(__file__).resolve().parent
CUTOUT: Final = "248,304,64"
STEPS: Final = {
    "start-up": None,
    "instance network, width 8": ("network", "inst_new", f"11,{CUTOUT}"),
    "instance network, width 16": ("network", "inst_legacy", f"10,{CUTOUT}"),
    "N4, ours as for the bundled models": ("n4", "-", "400,400,16"),
}


@dataclass(frozen=True)
class Row:
    """One step: seconds of each round, and the peak memory of its process."""

    step: str
    ours_s: list[float]
    theirs_s: list[float]
    ours_gb: float
    theirs_gb: float

    @property
    def ratio(self) -> float:
        """Median over the rounds of theirs to ours."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.ours_s, self.theirs_s, strict=True))


@dataclass(frozen=True)
class Setting:
    """Where things lie."""

    published: Path
    models: Path
    out: Path
    threads: int

    def run(self, step: str, *, ours: bool) -> tuple[float, float]:
        """Seconds and peak memory of a step on one side."""
        python = sys.executable if ours else str(self.published)
        log = self.out / f"{'ours' if ours else 'theirs'}.log"
        asked = STEPS[step]
        if asked is None:
            found = measured([Path(python).with_name("spineps"), "--help"], log)
            return self._checked(found, log).seconds, found.peak_gb
        what, model, shape = asked
        side = "ours" if ours else "theirs"
        found = measured([python, HERE / "step_side.py", side, what, self.models / model, shape, str(self.threads)], log)
        self._checked(found, log)
        return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"]), found.peak_gb

    @staticmethod
    def _checked(found: Measured, log: Path) -> Measured:
        if found.exit_code:
            raise SystemExit(log.read_text(encoding="utf-8", errors="replace")[-3000:])
        return found


def row_of(step: str, at: Setting, runs: int) -> Row:
    at.run(step, ours=True)  # converts what is converted once
    rounds = [(at.run(step, ours=True), at.run(step, ours=False)) for _ in range(runs)]
    ours, theirs = zip(*rounds, strict=True)
    return Row(step, [s for s, _ in ours], [s for s, _ in theirs], max(gb for _, gb in ours), max(gb for _, gb in theirs))


def plot(rows: list[Row], path: Path) -> None:
    """Ratios as bars."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.6 * len(rows) + 1.2), layout="constrained")
    bars = axes.barh([row.step for row in rows], [row.ratio for row in rows])
    axes.bar_label(bars, fmt="%.1f")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than the published package (median of rounds)")
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of both sides (default: all cores)")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    threads = args.threads or len(os.sched_getaffinity(0))
    os.environ |= {"OMP_NUM_THREADS": str(threads), "SPINEPS_NO_CITATION_REMINDER": "1"}
    at = Setting(args.published, args.models, args.out, threads)
    rows = [row_of(step, at, args.runs) for step in args.only]
    plain = {"threads": threads, "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}
    (args.out / "vs_published.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    plot(rows, args.out / "vs_published.png")
    head = ["step", "ours s", "theirs s", "times faster", "ours GB", "theirs GB"]
    cells = [
        [r.step, statistics.median(r.ours_s), statistics.median(r.theirs_s), r.ratio, r.ours_gb, r.theirs_gb] for r in rows
    ]
    print(table(head, cells))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
