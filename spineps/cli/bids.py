"""``spineps bids``: the command line of a BIDS App, for array jobs, BABS and snakebids."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from spineps.cli import cohort_options, options
from spineps.errors import ExitCode


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "bids",
        help="segment a BIDS dataset, as a BIDS App",
        description="participant: segment every scan of a BIDS dataset, or of some of its participants, into BIDS derivatives; "
        "several jobs may do so at once in one folder. group: write tables of all results, a row a scan and a row a vertebra.",
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="BIDS dataset")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="folder of the results")
    parser.add_argument("analysis_level", choices=("participant", "group"), help="what to do")
    parser.add_argument(
        "--naming", choices=("bids", "spineps"), default="bids", help="BIDS derivatives, or published names (default: bids)"
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
        Exit code, as that of ``spineps dataset``.
    """
    if args.analysis_level == "group":
        return _group(args)
    from spineps.cli.dataset import run_and_report
    from spineps.cohort.settings import Naming, OutputSettings

    settings = cohort_options.settings_of(args)
    output = OutputSettings(folder=args.output_dir, naming=Naming(args.naming))
    return run_and_report(args, args.bids_dir, replace(settings, output=output))


def _group(args: argparse.Namespace) -> int:
    from spineps.cohort.group import write_group_tables

    console = options.console_of(args)
    for name, rows in write_group_tables(args.output_dir).items():
        console.result(f"{name}: {rows} rows")
    return int(ExitCode.OK)
