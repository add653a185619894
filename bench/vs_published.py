"""How much faster, and in how much less memory, than the published SPINEPS, with the same weights and threads?

usage: python bench/vs_published.py --published PYTHON --models DIR [--only ROW ...] [--runs N] [--threads N] [--precision P]

``--published`` is the interpreter of an environment with the published package; ``--models`` holds the folders of
``peer/make_models.py`` and ``plain``, which ``plain_model.py`` makes; ``--peer`` holds the phantoms, what makes them, and the
perfect instance network. Each step runs in a process of its own, ours and theirs in turns, so that whatever else the machine
does meets both; ratios are taken within a round, and their median is told. The rows ``..., 0.6 of its memory`` give ours 0.6
of the memory that the published package took in the row before, and compare with what it took there. Every round is added to
``vs_published.json`` when it is done, so that a machine that is wanted elsewhere can run one row at a time, and a row that
fails takes no other with it; all that the file holds is printed and drawn in ``vs_published.png``. Ends with 1 if a row failed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from clock import ASIDE
from measure import Measured, measured
from report import table
from step_side import FILES, INSTANCE, MASKS, PREPARE, SEMANTIC

HERE: Final = Path(__file__).resolve().parent
SPINES: Final = {"ph2": 2, "ph24": 24}
"""Vertebrae of the phantoms that are made here."""
FIELD_MM: Final = (180.0, 92.4)
"""Depth and width of them; with the margin of the networks three tiles and one."""
SPACING: Final = (0.75, 0.75, 1.65)
MEMORY_SHARE: Final = 0.6
START: Final = "start"
PHASES: Final = (START, PREPARE, SEMANTIC, INSTANCE, MASKS, FILES)
TICKS: Final = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
Phases = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Step:
    """What ``step_side.py`` is asked for; nothing for start-up, which is timed from outside."""

    name: str = ""
    options: tuple[str, ...] = ()
    model: str | None = None
    semantic: str | None = None
    case: str | None = None
    within: str | None = None
    """The row whose memory of theirs limits ours."""

    @property
    def whole_process(self) -> bool:
        """Whether the process is timed from its start, imports and loading of networks included."""
        return self.name in {"", "whole"}


def whole(case: str, model: str, within: str | None = None) -> Step:
    """From the file of a scan to all its files."""
    return Step("whole", model=model, semantic="plain", case=case, within=within)


STEPS: Final = {
    "start-up": Step(),
    "semantic network, 30.8 M": Step("semantic", ("--shape", "128,192,64"), model="plain"),
    "instance network, width 8": Step("network", model="inst_new"),
    "instance network, width 16": Step("network", model="inst_legacy"),
    "no network, whole spine, clean": Step("phases", model="inst_new", case="ph22_clean"),
    "no network, whole spine, corrupted": Step("phases", model="inst_new", case="ph22_bad"),
    "N4, ours as for the bundled models": Step("n4", ("--shape", "400,400,16")),
    "end to end, two vertebrae": whole("ph2", "inst_new"),
    "end to end, two vertebrae, 0.6 of its memory": whole("ph2", "inst_new", "end to end, two vertebrae"),
    "end to end, six vertebrae": whole("ph6", "inst_legacy"),
    "end to end, whole spine": whole("ph24", "inst_new"),
    "end to end, whole spine, 0.6 of its memory": whole("ph24", "inst_new", "end to end, whole spine"),
}


class FailedError(Exception):
    """A step ended with an error, whose last words this is."""


@dataclass(frozen=True)
class Cost:
    """What one run took, and its phases where they are known."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    phases: Phases = field(default_factory=dict)


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
        middle = [
            statistics.median(getattr(cost, what) for cost in costs)
            for what in ("cpu_seconds", "seconds")
            for costs in (self.ours, self.theirs)
        ]
        peaks = [max(cost.peak_gb for cost in costs) for costs in (self.ours, self.theirs)]
        ratios = [f"{self.ratio(what):.1f}" for what in ("cpu_seconds", "seconds")]
        numbers = [f"{value:.2f}" for value in (*middle, *peaks)]
        return [self.step, self.precision, self.threads, len(self.ours), *numbers[:4], *ratios, *numbers[4:]]

    def phases(self, what: str) -> dict[str, tuple[float, float]]:
        """Seconds of ours and of theirs in each phase, medians over the rounds."""
        found = {name for cost in (*self.ours, *self.theirs) for name in cost.phases}

        def middle(costs: list[Cost], name: str) -> float:
            return statistics.median(cost.phases.get(name, {}).get(what, 0.0) for cost in costs)

        return {name: (middle(self.ours, name), middle(self.theirs, name)) for name in PHASES if name in found}

    def phase_cells(self) -> list[list[object]]:
        """A line of the table of phases for each, where there are several."""
        processor, clock = self.phases("cpu_seconds"), self.phases("seconds")
        if len(clock) < 2:
            return []
        return [[self.step, name, *(f"{value:.1f}" for value in (*processor[name], *clock[name]))] for name in clock]


HEAD: Final = [
    "step",
    "our precision",
    "threads",
    "rounds",
    "ours CPU s",
    "theirs CPU s",
    "ours s",
    "theirs s",
    "times faster (CPU)",
    "times faster (clock)",
    "ours GB",
    "theirs GB",
]


PHASES_HEAD: Final = ["step", "phase", "ours CPU s", "theirs CPU s", "ours s", "theirs s"]


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
        """One run of a step on one side.

        Raises
        ------
        FailedError
            Where it ends with another code than 0.
        """
        python = Path(sys.executable) if ours else self.published
        side = "ours" if ours else "theirs"
        log = self.out / f"{side}.log"
        if not step.name:
            return _cost(_checked(measured([python.with_name("spineps"), "--help"], log), log))
        command = [python, HERE / "step_side.py", side, step.name, *step.options, "--threads", str(self.threads)]
        for name, value in (("--model", step.model), ("--semantic", step.semantic)):
            command += [] if value is None else [name, str(self.models / value)]
        if step.case is not None:
            command += ["--case", str(self._case(step.case)), "--peer", str(self.peer)]
        found = _checked(measured([*command, "--precision", self.precision, *more], log), log)
        if "--load" in more:
            return _cost(found)
        phases: Phases = json.loads(log.read_text(encoding="utf-8", errors="replace").splitlines()[-1])
        return _cost(found, phases, whole_process=step.whole_process)

    def _case(self, name: str) -> Path:
        """A phantom of the peer's, or one that its script makes."""
        if name not in SPINES:
            return self.peer / "data" / f"sub-{name}"
        case = self.out / f"sub-{name}"
        if not Path(f"{case}_seg-gt_msk.nii.gz").is_file():
            make_spine(self.peer, SPINES[name], case)
        return case


def make_spine(peer: Path, vertebrae: int, case: Path) -> None:
    """Scan, semantic mask and vertebrae of a phantom."""
    import nibabel as nib

    sys.path.insert(0, str(peer))
    from phantom import affine, build

    arrays = build(vertebrae, SPACING, fov=FIELD_MM)
    for kind, array in zip(("T2w", "seg-sem_msk", "seg-gt_msk"), arrays, strict=True):
        nib.Nifti1Image(array, affine(SPACING)).to_filename(f"{case}_{kind}.nii.gz")


def _cost(found: Measured, phases: Phases | None = None, *, whole_process: bool = True) -> Cost:
    """What a process took: all of it with its start, or the phases that it told of; never what is the bench's own."""
    if phases is None:
        return Cost(found.seconds, found.cpu_seconds, found.peak_gb)
    own = {name: spent for name, spent in phases.items() if name != ASIDE}
    if whole_process:
        whole = {"seconds": found.seconds, "cpu_seconds": found.cpu_seconds}
        own[START] = {what: round(value - _total(phases, what), 3) for what, value in whole.items()}
    return Cost(_total(own, "seconds"), _total(own, "cpu_seconds"), found.peak_gb, own)


def _total(phases: Phases, what: str) -> float:
    return round(sum(spent[what] for spent in phases.values()), 3)


def _checked(found: Measured, log: Path) -> Measured:
    if found.exit_code:
        raise FailedError(log.read_text(encoding="utf-8", errors="replace")[-3000:])
    return found


def growing_row(name: str, at: Setting, runs: int, kept: list[Row]) -> Iterator[Row]:
    """A row after each of its rounds."""
    step, row = STEPS[name], Row(name, at.precision, at.threads, [], [])
    known = [] if step.within is None else _theirs_before(step.within, at, kept)
    limit = [f"--max-memory={MEMORY_SHARE * max(cost.peak_gb for cost in known):.3f}"] if known else []
    if step.name == "whole":
        at.run(step, "--load", ours=True)  # converts what is converted once
    for number in range(runs):
        ours = at.run(step, *limit, ours=True)
        theirs = known[number % len(known)] if known else at.run(step, ours=False)
        row = replace(row, ours=[*row.ours, ours], theirs=[*row.theirs, theirs])
        yield row


def run_row(name: str, at: Setting, runs: int, kept: Path) -> bool:
    """Run and keep a row; whether it did not fail."""
    try:
        for row in growing_row(name, at, runs, kept_rows(kept)):
            keep(row, kept)
    except FailedError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _theirs_before(name: str, at: Setting, kept: list[Row]) -> list[Cost]:
    """What an earlier row found of the published package on as many threads."""
    found = [cost for row in kept if (row.step, row.threads) == (name, at.threads) for cost in row.theirs]
    if not found:
        raise FailedError(f"the row {name!r} must be there first, on {at.threads} threads")
    return found


def kept_rows(path: Path) -> list[Row]:
    """Rows of earlier calls."""
    if not path.is_file():
        return []
    plain = json.loads(path.read_text(encoding="utf-8"))
    costs = ("ours", "theirs")
    return [Row(**row | {side: [Cost(**cost) for cost in row[side]] for side in costs}) for row in plain]


def keep(row: Row, path: Path) -> None:
    """Add a row to those of earlier calls, in place of an older one."""

    def key(row: Row) -> tuple[int, str, int]:
        return list(STEPS).index(row.step), row.precision, row.threads

    rows = [old for old in kept_rows(path) if key(old) != key(row)] + [row]
    path.write_text(json.dumps([asdict(row) for row in sorted(rows, key=key)], indent=1) + "\n", encoding="utf-8")


def plot(rows: list[Row], path: Path) -> None:
    """Ratios as bars, and where the time of whole runs goes."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    phased = [row for row in rows if len(row.phases("seconds")) > 1]
    heights = [0.5 * len(rows) + 1, *([0.8 * len(phased) + 1.4] if phased else [])]
    figure, panels = plt.subplots(
        len(heights), figsize=(11, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    ratios = panels[0, 0]
    names = [f"{row.step} ({row.precision}, {row.threads} threads)" for row in rows]
    for place, what, words in ((-0.2, "cpu_seconds", "processor seconds"), (0.2, "seconds", "seconds of the clock")):
        bars = ratios.barh([n + place for n in range(len(rows))], [row.ratio(what) for row in rows], 0.4, label=words)
        ratios.bar_label(bars, fmt="%.1f", padding=2)
    ratios.set_yticks(range(len(rows)), names)
    ratios.axvline(1, color="black", linewidth=0.8)
    ratios.set_xlabel("times faster than the published package (median of rounds)")
    ratios.set_xscale("log")
    ratios.set_xlim(0.2, 150)
    ratios.set_xticks(TICKS, [f"{value:g}" for value in TICKS])
    ratios.minorticks_off()
    ratios.invert_yaxis()
    ratios.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
    if phased:
        _plot_phases(panels[1, 0], phased)
    figure.savefig(path, dpi=120)


def _plot_phases(axes: Any, rows: list[Row]) -> None:
    """Two stacked bars a row, ours above theirs."""
    labels = [f"{row.step}: {side}" for row in rows for side in ("ours", "theirs")]
    left = [0.0] * len(labels)
    for name in PHASES:
        widths = [value for row in rows for value in row.phases("seconds").get(name, (0.0, 0.0))]
        axes.barh(labels, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.bar_label(axes.containers[-1], labels=[f"{value:.0f} s" for value in left], padding=2)
    axes.set_xlabel("seconds of the clock")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")


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
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")}
    os.environ |= {"SPINEPS_NO_CITATION_REMINDER": "1"}
    at = Setting(args.published, args.models, args.peer, args.out, threads, args.precision)
    kept = args.out / "vs_published.json"
    done = [run_row(name, at, args.runs, kept) for name in args.only]
    if rows := kept_rows(kept):
        plot(rows, args.out / "vs_published.png")
        print(table(HEAD, [row.cells() for row in rows]))
        print("\n" + table(PHASES_HEAD, [cells for row in rows for cells in row.phase_cells()]))
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
