"""``spineps dataset``: every scan of a BIDS folder, or of any folder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spineps.cli import cohort_options, options
from spineps.cli import published_flags as flags
from spineps.cli.console import Console, one_line

if TYPE_CHECKING:
    from spineps.cohort.settings import CohortReport, CohortSettings

SNAPSHOTS = "snaps_seg"
"""Folder of copied pictures in the dataset, as published."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "dataset",
        help="segment every scan of a folder",
        description="Segment every scan of a BIDS folder that is not done yet. A scan that fails does not stop the others; a "
        "run that is stopped goes on where it was. cohort.tsv, in the folder of the results, has a line a scan. Exits with 7 "
        "if a scan is not done.",
        allow_abbrev=False,
    )
    flags.add_dataset(parser)
    options.add_output(parser, "derivatives_seg in the folder")
    parser.add_argument(
        "--naming",
        choices=("spineps", "bids"),
        default="spineps",
        help="published names, or BIDS derivatives (default: spineps)",
    )
    cohort_options.add_selection(parser)
    cohort_options.add_doing(parser)
    cohort_options.add_processing(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit code: 0 if every scan is done, 7 if one is not, 8 if other runs still work on some.
    """
    from spineps.cohort.settings import Naming, OutputSettings

    settings = cohort_options.settings_of(args)
    select = replace(settings.select, rawdata=args.rawdata_name, any_name=args.ignore_bids_filter)
    output = OutputSettings(
        folder=args.output,
        derivative=flags.derivative_of(args),
        naming=Naming(args.naming),
        snapshots=args.directory / SNAPSHOTS if args.save_snaps_folder else None,
        log=args.save_log,
    )
    return run_and_report(args, args.directory, replace(settings, select=select, output=output))


def run_and_report(args: argparse.Namespace, dataset: Path, settings: CohortSettings) -> int:
    """Run over a dataset, show how it goes on and say what became of it."""
    from spineps.cli.cohort_view import summary, watching
    from spineps.cohort.run import run_cohort

    console = options.console_of(args)
    with watching(console) as view:
        report = run_cohort(dataset, settings, watcher=view, debug=args.debug)
    if settings.dry_run:
        _show_plan(console, report)
    console.say(summary(report))
    return int(report.exit_code)


def _show_plan(console: Console, report: CohortReport) -> None:
    """A line a scan, with its file: the one place where a case's file is told."""
    for scan in report.scans:
        console.result(one_line(f"{scan.case}  {scan.state.value:10}  {scan.code or '':14}  {scan.path}"))
