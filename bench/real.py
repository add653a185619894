"""Run the installed ``spineps sample`` on real scans and score what it writes.

    python bench/real.py --data DIR [--out DIR] [--only PATTERN] [--spineps-args ...]

Writes under ``--out``: the outputs of each scan, ``real.md`` and ``real.json`` with the scores, the time and the peak memory
of each run, and ``sheet.png`` with all snapshots. Ends with 1 if a run ended otherwise than it must, with 0 where the data
folder is absent (it says so). The scans are described in the data folder's own README; none of them trains a model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cases import Case, find_cases
from measure import measured
from report import as_markdown
from scoring import ScoreInputs, away_ml
from sheet import contact_sheet

CODE_LINE = re.compile(r"^([A-Z][A-Z0-9_]{2,}): ", re.MULTILINE)


@dataclass
class Outcome:
    """What one run did."""

    kind: str
    name: str
    exit_code: int
    seconds: float
    peak_gb: float
    error: str | None = None
    findings: list[str] = field(default_factory=list)
    as_expected: bool = True
    away_ml: float | None = None
    vertebrae: int | None = None
    levels: str | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Bench:
    """Where things lie and what is passed on to the program."""

    program: Path
    data: Path
    out: Path
    extra: tuple[str, ...]

    def run(self, case: Case) -> Outcome:
        """Segment one scan, measured, and score its masks."""
        folder = self.out / case.kind.value / case.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        outcome = self._segment(case, folder)
        semantic, instance = find_one(folder, "*_seg-spine*_msk.nii.gz"), find_one(folder, "*_seg-vert*_msk.nii.gz")
        outcome.as_expected = ends_as_it_must(case, outcome) and bool(semantic and instance) == (outcome.exit_code == 0)
        if semantic and instance:
            outcome.away_ml = away_ml(semantic)
            if case.score:
                outcome.scores = case.score(ScoreInputs(self.data, case.references, semantic, instance))
        return outcome

    def _segment(self, case: Case, folder: Path) -> Outcome:
        log = folder / "log.txt"
        run = measured([self.program, "sample", "-i", case.scan, "-o", folder, *self.extra], log)
        outcome = Outcome(case.kind.value, case.name, run.exit_code, run.seconds, run.peak_gb)
        record = find_one(folder, "*_run.json")
        if record:
            plain = json.loads(record.read_text(encoding="utf-8"))
            outcome.findings = sorted({item["code"] for item in plain.get("findings", ())})
            outcome.vertebrae = len(plain["vertebrae"]) if "vertebrae" in plain else None
            outcome.levels = levels_of(plain.get("levels") or {})
        text = log.read_text(encoding="utf-8", errors="replace")
        code = CODE_LINE.search(text)
        if run.exit_code and code:
            outcome.error = code.group(1)
            outcome.message = text[code.start() :].splitlines()[0]
        return outcome


def levels_of(levels: dict[str, Any]) -> str | None:
    """The names of a run in a few words, with their certainty."""
    best = levels.get("best")
    if not best:
        return levels.get("level_status")
    odds = f", {levels['odds']:.3g} times {levels['runner_up'][0]} to {levels['runner_up'][-1]}" if levels["runner_up"] else ""
    return f"{levels['level_status']}: {best[0]} to {best[-1]} ({levels['probability']:.2f}{odds})"


def find_one(folder: Path, pattern: str) -> Path | None:
    """The one file that fits the pattern anywhere in the folder, if there is one."""
    return next(iter(sorted(folder.rglob(pattern))), None)


def ends_as_it_must(case: Case, outcome: Outcome) -> bool:
    """Tell whether the run ended well, or with one of the case's codes."""
    if not case.codes:
        return outcome.exit_code == 0
    return outcome.error in case.codes if outcome.exit_code else bool(case.codes & set(outcome.findings))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--out", type=Path, default=Path("bench/out/real"), help="folder for results (default: %(default)s)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases by name or kind/name, such as 'bodies/*'")
    parser.add_argument("--spineps-args", nargs=argparse.REMAINDER, default=[], help="handed on to `spineps sample`; last")
    return parser.parse_args()


def find_program() -> Path:
    """The ``spineps`` beside this Python, else the one on the path."""
    beside = Path(sys.executable).with_name("spineps")
    found = beside if beside.is_file() else shutil.which("spineps")
    if found is None:
        raise SystemExit("spineps is not installed here: pip install .")
    return Path(found)


def main() -> int:
    arguments = parse_arguments()
    if not arguments.data.is_dir():
        print(f"skipped: no data folder {arguments.data}")
        return 0
    cases, reasons = find_cases(arguments.data, arguments.only)
    for reason in reasons:
        print(f"skipped {reason}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(find_program(), arguments.data, arguments.out, tuple(arguments.spineps_args))
    outcomes = []
    for case in cases:
        outcome = bench.run(case)
        outcomes.append(asdict(outcome))
        verdict = "" if outcome.as_expected else "  NOT AS EXPECTED"
        print(f"{outcome.kind}/{outcome.name}: {outcome.error or outcome.exit_code}, {outcome.seconds} s{verdict}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    plain = {"machine": machine, "arguments": list(bench.extra), "outcomes": outcomes}
    (arguments.out / "real.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    table = as_markdown(plain)
    (arguments.out / "real.md").write_text(table, encoding="utf-8")
    folders = [(f"{o['kind']}/{o['name']}", arguments.out / o["kind"] / o["name"]) for o in outcomes]
    pictures = [(name, path) for name, folder in folders if (path := find_one(folder, "*_snp.png"))]
    if pictures:
        contact_sheet(pictures, arguments.out / "sheet.png")
    print(f"\n{table}\n{arguments.out / 'real.json'}\n{arguments.out / 'sheet.png'}")
    return 0 if all(outcome["as_expected"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
