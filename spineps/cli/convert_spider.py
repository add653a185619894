"""``spineps convert-spider``: the SPIDER data set as a folder that ``spineps train --data`` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from spineps.errors import ExitCode


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "convert-spider",
        help="turn the SPIDER data set into a folder to train on",
        description="Turn the SPIDER data set (images/*.mha, masks/*.mha) into a BIDS folder with masks in our labels, for "
        "spineps train --data: vertebrae and discs as instances, L5 being the lowest, and the canal.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with images/1_t2.mha, masks/1_t2.mha and so on")
    parser.add_argument("out", type=Path, metavar="OUT", help="BIDS folder to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.console import say
    from spineps.training.spider import convert_spider

    count = convert_spider(
        args.folder, args.out, lambda scan: say(f"{scan.name}: {scan.vertebrae} vertebrae, {scan.discs} discs")
    )
    say(f"{count} scans in {args.out.name}; go on with: spineps train semantic --data {args.out} --out my-model --hours 4")
    return int(ExitCode.OK)
