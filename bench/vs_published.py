"""How much faster, and in how much less memory, than the published SPINEPS, with the same weights and threads?

usage: python bench/vs_published.py --published PYTHON --models DIR [--only ROW ...] [--runs N] [--threads N] [--precision P]

``--published`` is the interpreter of an environment with the published package; ``--models`` holds the folders of
``peer/make_models.py`` and ``plain``, which ``plain_model.py`` makes; ``--peer`` holds the phantoms and the perfect instance
network. Each step runs in a process of its own, ours and theirs in turns, so that whatever else the machine does meets both;
ratios are taken within a round, and their median is told. Rows are added to ``vs_published.json``, so that a machine that is
wanted elsewhere can run one at a time; all that it holds are printed and drawn in ``vs_published.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from measure import Measured, measured
from report import table

HERE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Step:
    """What ``step_side.py`` is asked for; nothing for start-up, which is timed from outside."""

    name: str = ""
    options: tuple[str, ...] = ()
    model: str | None = None
    semantic: str | None = None
    case: str | None = None
    whole_process: bool = False
    """Time the process from its start, imports and loading of networks included."""


STEPS: Final = {
    "start-up": Step(whole_process=True),
    "semantic network, 30.8 M": Step("semantic", ("--shape", "128,192,64"), model="plain"),
    "instance network, width 8": Step("network", model="inst_new"),
    "instance network, width 16": Step("network", model="inst_legacy"),
    "no network, whole spine, clean": Step("phases", model="inst_new", case="ph22_clean"),
    "no network, whole spine, corrupted": Step("phases", model="inst_new", case="ph22_bad"),
    "N4, ours as for the bundled models": Step("n4", ("--shape", "400,400,16")),
    "end to end, six vertebrae": Step("whole", model="inst_legacy", semantic="plain", case="ph6", whole_process=True),
}


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Row:
    """One step: what each round took."""

    step: str
    precision: str
    threads: int
    ours: list[Cost]
    theirs: list[Cost]

    def ratio(self, what: str) -> float:
        """Median over the rounds of theirs to ours."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(getattr(theirs, what) / getattr(ours, what) for ours, theirs in pairs)

    def cells(self) -> list[object]:
        """One line of the table."""
        middle = [statistics.median(cost.cpu_seconds for cost in costs) for costs in (self.ours, self.theirs)]
        peaks = [max(cost.peak_gb for cost in costs) for costs in (self.ours, self.theirs)]
        ratios = [f"{self.ratio(what):.1f}" for what in ("cpu_seconds", "seconds")]
        numbers = [f"{value:.2f}" for value in (*middle, *peaks)]
        return [self.step, self.precision, len(self.ours), *numbers[:2], *ratios, *numbers[2:]]


HEAD: Final = [
    "step",
    "our precision",
    "rounds",
    "ours CPU s",
    "theirs CPU s",
    "times faster (CPU)",
    "times faster (clock)",
    "ours GB",
    "theirs GB",
]


@dataclass(frozen=True)
class Setting:
    """Where things lie."""

    published: Path
    models: Path
    peer: Path
    out: Path
    threads: int
    precision: str

    def run(self, step: Step, *more: str, ours: bool) -> Cost:
        """One run of a step on one side."""
        python = Path(sys.executable) if ours else self.published
        side = "ours" if ours else "theirs"
        log = self.out / f"{side}.log"
        if not step.name:
            found = _checked(measured([python.with_name("spineps"), "--help"], log), log)
            return Cost(found.seconds, found.cpu_seconds, found.peak_gb)
        command = [python, HERE / "step_side.py", side, step.name, *step.options, "--threads", str(self.threads)]
        for name, value in (("--model", step.model), ("--semantic", step.semantic)):
            command += [] if value is None else [name, str(self.models / value)]
        if step.case is not None:
            command += ["--case", str(self._case(step.case)), "--peer", str(self.peer)]
        found = _checked(measured([*command, "--precision", self.precision, *more], log), log)
        if step.whole_process or more:
            return Cost(found.seconds, found.cpu_seconds, found.peak_gb)
        said = json.loads(log.read_text(encoding="utf-8", errors="replace").splitlines()[-1])
        return Cost(said["seconds"], said["cpu_seconds"], found.peak_gb)

    def _case(self, name: str) -> Path:
        return self.peer / "data" / f"sub-{name}"


def _checked(found: Measured, log: Path) -> Measured:
    if found.exit_code:
        raise SystemExit(log.read_text(encoding="utf-8", errors="replace")[-3000:])
    return found


def row_of(name: str, at: Setting, runs: int) -> Row:
    step = STEPS[name]
    if step.whole_process and step.name:
        at.run(step, "--load", ours=True)  # converts what is converted once
    rounds = [(at.run(step, ours=True), at.run(step, ours=False)) for _ in range(runs)]
    ours, theirs = zip(*rounds, strict=True)
    return Row(name, at.precision, at.threads, list(ours), list(theirs))


def kept_rows(path: Path) -> list[Row]:
    """Rows of earlier calls."""
    if not path.is_file():
        return []
    plain = json.loads(path.read_text(encoding="utf-8"))
    costs = ("ours", "theirs")
    return [Row(**row | {side: [Cost(**cost) for cost in row[side]] for side in costs}) for row in plain]


def plot(rows: list[Row], path: Path) -> None:
    """Ratios as bars."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.6 * len(rows) + 1.2), layout="constrained")
    bars = axes.barh([f"{row.step} ({row.precision})" for row in rows], [row.ratio("cpu_seconds") for row in rows])
    axes.bar_label(bars, fmt="%.1f")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times fewer processor seconds than the published package (median of rounds)")
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("SPINEPS_SHARED", HERE.parents[1] / "shared"))
    parser.add_argument("--published", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--peer", type=Path, default=shared / "peer")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), metavar="ROW", help=", ".join(STEPS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of both sides (default: all cores)")
    parser.add_argument("--precision", default="auto", help="of ours (default: that of published models, fp32); theirs is fp32")
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    threads = args.threads or len(os.sched_getaffinity(0))
    os.environ |= {"OMP_NUM_THREADS": str(threads), "SPINEPS_NO_CITATION_REMINDER": "1"}
    at = Setting(args.published, args.models, args.peer, args.out, threads, args.precision)
    kept = args.out / "vs_published.json"
    for name in args.only:
        row = row_of(name, at, args.runs)
        rows = [old for old in kept_rows(kept) if (old.step, old.precision) != (row.step, row.precision)] + [row]
        rows.sort(key=lambda row: (list(STEPS).index(row.step), row.precision))
        kept.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    rows = kept_rows(kept)
    plot(rows, args.out / "vs_published.png")
    print(table(HEAD, [row.cells() for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
