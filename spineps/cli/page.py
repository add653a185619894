"""``spineps page``: the index of a cohort's results, to look at and to judge them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    from spineps.cli import options

    parser = subparsers.add_parser(
        "page",
        help="make an index of results to look at, worst first",
        description="Make index.html in a folder of results: every scan with its score, worst first, its page beside it, and "
        "keys for a verdict. Open it in a browser; nothing is fetched from the network.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of results, with or without subfolders")
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.options import console_of
    from spineps.page.collect import DONE
    from spineps.page.index import write_index

    console = console_of(args)
    place, scans = write_index(args.folder)
    lacking = sum(not scan.page for scan in scans if scan.status == DONE)
    failed = sum(scan.status != DONE for scan in scans)
    console.say(f"{len(scans)} scans, {failed} without a result, {lacking} without a page")
    for scan in scans[:5]:
        score = "no score" if scan.score is None else f"score {scan.score:.2f}"
        console.detail(f"{scan.folder}/{scan.scan}: {scan.status if scan.status != DONE else score}")
    console.result(f"index: {place}")
    return 0
