"""Names of vertebrae on held-out phantoms: how many sequences are right, and whether the others say that they are not sure.

    python bench/levels.py [--count 200] [--variants 40] [--seed 60000] [--workers 1] [--masks true corrupted]
                           [--network FOLDER] [--fields DIR] [--out DIR]
    python bench/levels.py --count 20 --variants 0 --network FOLDER --measure    # what naming and measuring cost together

Phantoms of seeds below 100 000, which nothing is trained or calibrated on. From each, the masks as they are and the masks
with errors as a network makes them; with ``--network`` a labeling network looks at an image, too. Further phantoms have a T13
in fields of view of the whole spine and of the lumbar spine, or an L6 in lumbar ones. Also holds the solver against brute
force on ``--tables`` random score tables. Writes ``levels.md`` and ``levels.json`` under ``--out``; ends with 1 where a
target is missed.

Which fields show enough to tell a variant follows from what it is. A T13 is the thirteenth vertebra with ribs: only a count
from the dens to L1 can say so, and only where the field shows ribs of T12 and of T13 (a rib may be missing, or lie beside the
field). An L6 is the sixth vertebra between the last rib and the sacrum: T12 must show a rib. A lumbar field with a T13 shows
no more than ribs that are short, on two levels instead of one: those are counted apart. So are, among the fields that show
the sacrum or the dens, those that show enough of a variant (``anchored_told``) and the others. (In patients only images of
the whole spine tell such variants for certain: Tins and Balain, Insights Imaging 2016; 7:199-203.)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from level_fields import Field, draw_field

from spineps.labeling.evidence import gather_evidence
from spineps.labeling.naming import decide
from spineps.labeling.population import position_of
from spineps.labels import SACRUM_INSTANCE, Scheme
from spineps.measures import measure_structures
from spineps.volume import LabelMap, Levels, LevelStatus

if TYPE_CHECKING:
    from spineps.inference.levels import LevelEngine

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "unit"))

FIRST_SEED = 60_000
VARIANT_SEEDS = {"t13": 10_000, "t13, lumbar": 15_000, "l6": 20_000}
"""How far the seeds of each kind of field lie behind the first."""
TARGETS = {"anchored": 0.97, "others": 0.85, "flagged": 0.90, "variants": 0.85, "false_alarms": 0.02, "lumbar_seconds": 3.0}
LESS_IS_BETTER = ("false_alarms", "lumbar_seconds")
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)


@dataclass(frozen=True)
class Outcome:
    """What was found in one field of view; ``bodies`` are the names of those that it shows whole, ``ribs`` of those beside
    which it shows a rib.

    ``posteriors`` are the solver's of each name in ``best``, which stand in the order of ``truth``. ``seconds`` are what the
    names took of the processor, ``measuring`` what the measurements did.
    """

    seed: int
    masks: str
    drawn: str
    sacrum: bool
    bodies: list[str]
    ribs: list[str]
    truth: list[str]
    best: list[str]
    posteriors: list[float]
    probability: float
    status: str
    seconds: float
    measuring: float | None

    @property
    def anchored(self) -> bool:
        """Whether the field of view shows the sacrum or the dens."""
        return self.sacrum or "C2" in self.truth

    @property
    def right(self) -> bool:
        """Whether every vertebra has its own name."""
        return self.truth == self.best

    @property
    def flagged(self) -> bool:
        """Whether the scan says that its names are not certain."""
        return self.status != LevelStatus.NAMED.value


@dataclass(frozen=True)
class Setting:
    """What is looked at of each phantom."""

    masks: tuple[str, ...]
    network: Path | None
    fields: Path | None
    measure: bool


def look_at(task: tuple[int, str], setting: Setting) -> list[Outcome]:
    """Name the vertebrae of one phantom."""
    seed, drawn = task
    field = draw_field(seed, drawn, setting.fields)
    network = None if setting.network is None else loaded(setting.network)
    return [Outcome(seed, masks, drawn, *named(field, masks, network, setting)) for masks in setting.masks]


def named(field: Field, masks: str, network: LevelEngine | None, setting: Setting) -> tuple[Any, ...]:
    """Name the vertebrae of a field of view, and measure them where that is asked for."""
    semantic, instance = (
        LabelMap(labels, field.geometry, scheme)
        for labels, scheme in zip(field.masks[masks], (Scheme.SEMANTIC, Scheme.INSTANCE), strict=True)
    )
    began = time.process_time()
    evidence = gather_evidence(semantic, instance, field.image, network)
    levels = decide(evidence).levels
    seconds = time.process_time() - began
    measuring = None
    if setting.measure:
        measure_structures(semantic, instance, given_levels(field))
        measuring = time.process_time() - began - seconds
    instances = [] if evidence is None else list(evidence.column.instances)
    truth = sorted((field.levels[number] for number in instances if number in field.levels), key=position_of)
    shown = (SACRUM_INSTANCE in field.levels, field.bodies, field.ribs, truth)
    sure = [levels.confidence(number) for number in levels.names]
    found = (list(levels.best), sure, levels.probability, levels.status.value)
    return (*shown, *found, seconds, measuring)


def given_levels(field: Field) -> Levels:
    """The phantom's own names, for measuring."""
    names = {number: name for number, name in field.levels.items() if number != SACRUM_INSTANCE}
    return Levels(LevelStatus.NAMED, names, {number: {name: 1.0} for number, name in names.items()})


@cache
def loaded(folder: Path) -> LevelEngine:
    """The labeling network of a model folder."""
    from spineps.config import ComputeConfig
    from spineps.inference.load import load_levels

    return load_levels(ComputeConfig(threads=1), folder)


def enough_to_tell(outcome: Outcome) -> bool:
    """Whether a field of view shows what its variants are known by.

    Of thoracic vertebrae all from the dens to L1, of lumbar ones those from the last rib to the sacrum; and the ribs of the
    vertebrae by which the count of ribs ends there.
    """
    truth, needed, ribs = outcome.truth, set[str](), set[str]()
    if "T13" in truth or ("T11", "L1") in pairwise(truth):
        needed |= {"C2", "L1"}
        ribs |= {"T12", "T13"} if "T13" in truth else {"T11"}
    if "L6" in truth or (outcome.sacrum and truth[-1:] == ["L4"]):
        needed |= {"T12", truth[-1]}
        ribs |= {"T12"}
    return needed <= set(outcome.bodies) and ribs <= set(outcome.ribs) and (outcome.sacrum or "T12" not in needed)


def shows_variant(names: Sequence[str]) -> bool:
    return bool({"T13", "L6"} & set(names))


def share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return float(np.mean(values)) if values else None


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The numbers that the targets are about."""
    population = [o for o in outcomes if o.drawn == "any"]
    wrong = [o for o in population if not o.right]
    variants = [o for o in outcomes if o.drawn != "any"]
    told = [o for o in variants if {"T13", "L6"} & set(o.bodies) and enough_to_tell(o)]
    short_ribs = [o for o in variants if {"T12", "T13", "L1"} <= set(o.bodies) and o.sacrum and not enough_to_tell(o)]
    regular = [o for o in population if not shows_variant(o.truth)]
    lumbar = [o for o in outcomes if o.sacrum]
    return {
        "fields": len(population),
        "anchored_fields": sum(o.anchored for o in population),
        "anchored": share(o.right for o in population if o.anchored),
        "anchored_untold_fields": sum(o.anchored and not enough_to_tell(o) for o in population),
        "anchored_told": share(o.right for o in population if o.anchored and enough_to_tell(o)),
        "others": share(o.right for o in population if not o.anchored),
        "wrong": len(wrong),
        "flagged": share(o.flagged for o in wrong),
        "ambiguous": share(o.flagged for o in population),
        "variant_fields": len(told),
        "variants": share(o.right for o in told),
        "t13": share(o.right for o in told if "T13" in o.truth),
        "l6": share(o.right for o in told if "L6" in o.truth),
        "t13_by_short_ribs_fields": len(short_ribs),
        "t13_by_short_ribs": share(o.right for o in short_ribs),
        "variants_named_wrong": share(not o.right and not o.flagged for o in variants),
        "false_alarms": share(shows_variant(o.best) and not o.flagged for o in regular),
        "false_alarms_with_flagged": share(shows_variant(o.best) for o in regular),
        "seconds": float(np.median([o.seconds for o in outcomes])) if outcomes else None,
        "lumbar_seconds": max((o.seconds + o.measuring for o in lumbar if o.measuring is not None), default=None),
    }


def reliability(outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Share of right sequences in bins of their probability."""
    rows = []
    for low, high in pairwise(BINS):
        upper = 1.01 if high == 1.0 else high
        inside = [o for o in outcomes if o.drawn == "any" and low <= o.probability < upper]
        if inside:
            mean = float(np.mean([o.probability for o in inside]))
            rows.append([f"{low:.2f} to {high:.2f}", len(inside), mean, share(o.right for o in inside)])
    return rows


def missed(numbers: dict[str, Any]) -> list[str]:
    """Targets that are missed."""
    known = {name: numbers[name] for name in TARGETS if numbers[name] is not None}
    least = [name for name, value in known.items() if name not in LESS_IS_BETTER and value < TARGETS[name]]
    return least + [name for name, value in known.items() if name in LESS_IS_BETTER and value >= TARGETS[name]]


def check_solver(tables: int) -> int:
    """Hold the solver against brute force; returns how many tables were looked at."""
    from labeling_brute import check_against_brute_force, random_scores

    for seed in range(tables):
        check_against_brute_force(random_scores(np.random.default_rng(seed)))
    return tables


def as_markdown(report: dict[str, Any]) -> str:
    from report import table

    parts = [f"Solver against brute force: {report['tables']} random score tables, all equal."]
    for masks, numbers in report["numbers"].items():
        rows = [[name, value, TARGETS.get(name, "")] for name, value in numbers.items()]
        parts += [f"### Masks: {masks}", table(["what", "value", "target"], rows)]
        parts += [table(["probability", "fields", "mean", "right"], report["reliability"][masks])]
    return "\n\n".join(parts) + "\n"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="phantoms as they are drawn (default 200)")
    parser.add_argument("--variants", type=int, default=40, help="further phantoms of each kind with a variant (default 40)")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="seed of the first phantom (default: %(default)s)")
    parser.add_argument("--tables", type=int, default=10_000, help="random score tables for the solver (default 10000)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--masks", nargs="+", choices=("true", "corrupted"), default=["true", "corrupted"])
    parser.add_argument("--network", type=Path, metavar="FOLDER", help="labeling model that joins the masks")
    parser.add_argument("--fields", type=Path, metavar="DIR", help="folder that keeps the fields of view for another time")
    parser.add_argument("--measure", action="store_true", help="measure the vertebrae, too, and say what both cost")
    parser.add_argument("--out", type=Path, default=Path("bench/out/levels"), help="folder for results (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    tables = check_solver(arguments.tables)
    tasks = [(arguments.seed + k, "any") for k in range(arguments.count)]
    for drawn, ahead in VARIANT_SEEDS.items():
        tasks += [(arguments.seed + ahead + k, drawn) for k in range(arguments.variants)]
    look = partial(look_at, setting=Setting(tuple(arguments.masks), arguments.network, arguments.fields, arguments.measure))
    with ProcessPoolExecutor(arguments.workers) as pool:
        outcomes = [outcome for found in pool.map(look, tasks, chunksize=4) for outcome in found]
    by_masks = {masks: [o for o in outcomes if o.masks == masks] for masks in arguments.masks}
    report = {
        "seed": arguments.seed,
        "tables": tables,
        "numbers": {masks: summary(found) for masks, found in by_masks.items()},
        "reliability": {masks: reliability(found) for masks, found in by_masks.items()},
        "outcomes": [asdict(outcome) | {"right": outcome.right} for outcome in outcomes],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "levels.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = as_markdown(report)
    (arguments.out / "levels.md").write_text(text, encoding="utf-8")
    print(text)
    short = {masks: missed(numbers) for masks, numbers in report["numbers"].items()}
    for masks, names in short.items():
        if names:
            print(f"{masks}: missed {', '.join(names)}")
    return 1 if any(short.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
