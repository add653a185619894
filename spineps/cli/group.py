"""``spineps group``: the measurements of all results of a folder put together."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    from spineps.cli import options

    parser = subparsers.add_parser(
        "group",
        help="put the measurements of all results together",
        description="Put the measurements of all results in a folder together: group_measures.tsv has a row a structure of "
        "each scan, group_by_level.tsv how each measurement is distributed at each level. Vertebrae that were numbered "
        "rather than named are never joined by level. In the folder of a cohort the other group tables are made as well.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of results, with or without subfolders")
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.options import console_of
    from spineps.cohort.by_level import BY_LEVEL, MEASURES, write_by_level
    from spineps.cohort.group import write_group_tables
    from spineps.cohort.joined import write_joined_measures
    from spineps.cohort.tables import TABLE

    console = console_of(args)
    tables = write_group_tables(args.folder) if (args.folder / TABLE).is_file() else {}
    joined = write_joined_measures(args.folder)
    if joined.rows:
        tables |= {MEASURES: joined.rows, BY_LEVEL: write_by_level(args.folder)}
    console.say(f"{joined.scans} scans measured, {joined.left_out} without measurements")
    for name, count in tables.items():
        if count:
            console.say(f"{name}: {count} rows")
            console.result(f"table: {args.folder / name}")
    return 0
