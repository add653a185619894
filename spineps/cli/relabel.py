"""``spineps relabel``: other names for the vertebrae of a finished result, without any network."""

from __future__ import annotations

import argparse
from pathlib import Path

from spineps.cli import options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "relabel",
        help="correct the level names of a finished result",
        description="Correct the level names of a finished result from its masks, without any network. All its files are "
        "written anew in their place.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the result")
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--anchor",
        action="append",
        metavar="N=LEVEL",
        help="the level of a vertebra, by its number in the instance mask or its present name: 3=L5, or L4=L5; the others "
        "follow; may be given more than once",
    )
    known.add_argument(
        "--shift", type=int, metavar="STEPS", help="move all names: 1 makes L4 of L3, -1 makes L2 of it (twelve T, five L)"
    )
    parser.add_argument("--prefix", help="what the result's files begin with, where the folder holds several results")
    parser.add_argument("--image", type=Path, metavar="SCAN", help="the scan, for picture and page; else they show masks alone")
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps import api
    from spineps.outputs.relabel import Correction, parse_anchors

    console = options.console_of(args)
    correction = Correction(parse_anchors(args.anchor)) if args.anchor else Correction(shift=args.shift)
    image = None if args.image is None else api.open_scan(options.existing_or_with_suffix(args.image))
    saved = api.relabel(args.folder, correction, prefix=args.prefix, image=image)
    console.say("renamed from the masks")
    for role, path in (("instance mask", saved.instance), ("levels", saved.levels), ("record", saved.record)):
        console.result(f"{role}: {path}")
    return 0
