"""``spineps evaluate``: compare predictions with references, and methods with each other."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spineps.cli.quantities import positive, share
from spineps.errors import ErrorCode, ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from spineps.evaluation.cohort import EvaluationSettings, Outcome
    from spineps.evaluation.pairs import PairFiles
    from spineps.evaluation.report import ReportOptions

_PROTOCOLS = ("spineps", "verse", "cervical", "2d")
_MATCHERS = ("naive", "bipartite", "merge", "labels")
_CENTROIDS = ("auto", "file", "body", "mask")
_DESCRIPTION = """\
Compare masks with references and print the tables of a paper; everything goes into a folder as well, with a page to look at.
  spineps evaluate REFERENCES PREDICTIONS
  spineps evaluate REFERENCES baseline=FOLDER raw=FOLDER ours=FOLDER -o OUT
Run again after a stop, it goes on where it was."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    from spineps.cli import options

    parser = subparsers.add_parser(
        "evaluate",
        help="compare masks with references, and methods with each other",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("reference", nargs="?", type=Path, metavar="REFERENCES", help="folder of reference masks, or one mask")
    parser.add_argument("predictions", nargs="*", metavar="[NAME=]FOLDER", help="folder of a method's masks, or one mask")
    parser.add_argument("--pairs", type=Path, metavar="TSV", help="table of files that belong together, instead of folders")
    options.add_output(parser, "./evaluation")
    parser.add_argument("--protocol", choices=_PROTOCOLS, default="spineps", help="whose numbers (default: %(default)s)")
    parser.add_argument("--resample", action="store_true", help="bring predictions on another grid to the reference's")
    parser.add_argument(
        "--missing",
        choices=("refuse", "skip", "zero"),
        default="refuse",
        help="a reference without a prediction: refuse (default), skip the case, or count all of it as missed",
    )
    parser.add_argument("--correction", choices=("none", "holm", "fdr"), default="none", help="of p-values (default: none)")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: all cores)")
    _add_spineps(parser)
    _add_others(parser)
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns
    -------
    int
        0, or 7 where single cases were refused, or 3 where all were.
    """
    from spineps.cli.options import console_of
    from spineps.evaluation.cohort import evaluate_cohort
    from spineps.evaluation.report import write_report
    from spineps.evaluation.tables import Form

    console = console_of(args)
    pairs = _pairs(args)
    settings, shown = _settings(args), _report_options(args, pairs)
    folder: Path = args.output or Path("evaluation")
    workers = args.workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    with console.work(f"Evaluating {len(pairs)} cases") as work:
        progress = partial(work.progress, "evaluated")
        outcome = evaluate_cohort(pairs, settings, folder, workers=workers, progress=progress)
    if outcome.resumed:
        console.say(f"{outcome.resumed} cases were there already and unchanged.")
    _tell_failures(outcome, len(pairs), console.say)
    tables, files = write_report(outcome, settings, shown, folder)
    for table in tables:
        console.result(table.render(Form.MARKDOWN))
    for method, case, remark in outcome.results.remarks:
        console.detail(f"{method}, {case}: {remark}")
    if outcome.results.remarks:
        console.say(f"{len(outcome.results.remarks)} remarks on single cases are on the page (-v shows them here).")
    console.say(f"{len(files)} files in {folder}; to look at: {files[-1]}")
    return int(ExitCode.COHORT_INCOMPLETE if outcome.failures else ExitCode.OK)


def _add_spineps(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocol spineps (SPINEPS paper, tables 2, 3 and 5)")
    group.add_argument("--matcher", choices=_MATCHERS, default="naive", help="how instances are matched (default: %(default)s)")
    group.add_argument("--iou", type=share, default=0.5, metavar="X", help="smallest IoU of a true positive (default: 0.5)")
    group.add_argument("--components", action="store_true", help="without instance masks, take connected components")
    group.add_argument(
        "--regions", action="store_true", help="cervical, thoracic and lumbar apart; the references' ids must be level names"
    )


def _add_others(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocols verse, cervical and 2d")
    group.add_argument("--centroids", choices=_CENTROIDS, default="auto", help="verse: centroid files, else bodies (default)")
    group.add_argument("--folds", type=Path, metavar="JSON", help="cervical: file of 'spineps folds'; other cases are external")
    group.add_argument("--groups", type=Path, metavar="TSV", help="cervical: table case, group (fold-0, internal, external)")
    group.add_argument("--levels", default="C1-T1", metavar="FIRST-LAST", help="cervical: vertebrae (default: C1-T1)")
    group.add_argument("--literature", action="store_true", help="cervical: add the columns that the paper quotes")
    group.add_argument("--pixel", type=float, nargs=2, default=(1.0, 1.0), metavar=("ROW", "COL"), help="2d: pixel in mm")


def _pairs(args: argparse.Namespace) -> list[PairFiles]:
    from spineps.evaluation.pairs import pair_folders, read_pairs

    if (args.pairs is None) == (args.reference is None) or (args.reference is not None and not args.predictions):
        raise UsageError(
            ErrorCode.USAGE,
            "Expected a folder of references and at least one of predictions, or --pairs.",
            remedy="See 'spineps evaluate --help'.",
        )
    pairs = read_pairs(args.pairs) if args.pairs else pair_folders(args.reference, _methods(args.predictions))
    lacking = [p for p in pairs if p.prediction is None]
    if args.missing == "refuse" and lacking:
        named = ", ".join(f"{p.case} ({p.method})" for p in lacking[:3])
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{len(lacking)} of {len(pairs)} references have no prediction: {named}{', ...' if len(lacking) > 3 else ''}.",
            remedy="Use --missing zero to count them as missed, or --missing skip to leave them out.",
        )
    return [p for p in pairs if p.prediction is not None] if args.missing == "skip" else pairs


def _methods(arguments: Sequence[str]) -> dict[str, Path]:
    """Method to folder; a folder without a name is called after itself."""
    methods: dict[str, Path] = {}
    for argument in arguments:
        name, equals, place = argument.partition("=")
        path = Path(place if equals and not Path(argument).exists() else argument)
        name = name if path != Path(argument) else (path.resolve().name.split(".")[0] or "prediction")
        if name in methods:
            raise UsageError(ErrorCode.USAGE, f"Two methods are called {name!r}.", remedy="Name them: one=FOLDER two=FOLDER.")
        methods[name] = path
    return methods


def _settings(args: argparse.Namespace) -> EvaluationSettings:
    from spineps.evaluation.cohort import EvaluationSettings, Protocol
    from spineps.evaluation.landmarks import CentroidSource
    from spineps.evaluation.panoptic import Matcher
    from spineps.evaluation.subject import PanopticSettings

    return EvaluationSettings(
        Protocol(args.protocol),
        PanopticSettings(Matcher(args.matcher), args.iou, args.components, args.regions),
        args.resample,
        CentroidSource(args.centroids),
        (args.pixel[0], args.pixel[1]),
    )


def _report_options(args: argparse.Namespace, pairs: Sequence[PairFiles]) -> ReportOptions:
    from spineps.evaluation.cervical import level_range
    from spineps.evaluation.report import ReportOptions
    from spineps.evaluation.statistics import Correction

    groups = _groups(args, pairs) if args.protocol == "cervical" else {}
    return ReportOptions(Correction(args.correction), groups, level_range(args.levels), args.literature)


def _groups(args: argparse.Namespace, pairs: Sequence[PairFiles]) -> Mapping[str, str]:
    """Group of each case; without a table or folds, all are the external test."""
    from spineps.evaluation.cervical import EXTERNAL, read_groups
    from spineps.evaluation.folds import Folds

    if args.groups is not None:
        return read_groups(args.groups)
    if args.folds is None:
        return {pair.case: EXTERNAL for pair in pairs}
    folds = Folds.load(args.folds)
    return {pair.case: folds.group_of(pair.case) or EXTERNAL for pair in pairs}


def _tell_failures(outcome: Outcome, total: int, say: Callable[[str], None]) -> None:
    for failure in outcome.failures:
        say(f"{failure.method}, {failure.case}: {failure.message}")
    if outcome.failures and len(outcome.failures) == total:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"None of the {total} cases could be measured.",
            remedy="The lines above say why.",
        )
