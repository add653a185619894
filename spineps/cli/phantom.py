"""``spineps phantom``: make a digital phantom, a scan with its true masks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spineps.errors import ExitCode

_SUFFIXES: Final = {"t2w": "T2w", "t1w": "T1w", "stir": "STIR", "water": "water", "fat": "fat", "random": "MR"}
"""Contrast to the suffix of the image's file name (BIDS where it has one for the contrast)."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "phantom",
        help="make a digital phantom: a scan of a spine with its true masks",
        description="Make a digital phantom: a procedural spine as MRI shows it. The same arguments give the same voxels.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    parser.add_argument("--seed", type=int, default=0, help="which phantom, from 0 on (default 0)")
    parser.add_argument(
        "--vertebrae", type=int, metavar="N", help="whole vertebrae in the field of view, 1 to 24 (default: random)"
    )
    parser.add_argument("--contrast", choices=tuple(_SUFFIXES), default="t2w", help="kind of image (default t2w)")
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("P", "I", "R"),
        help="voxel spacing in mm along these directions (default: random)",
    )
    parser.add_argument("--orientation", default="PIR", metavar="AXES", help="directions of the array axes (default PIR)")
    parser.add_argument("--implant", action="store_true", help="screws and rods in some vertebrae")
    parser.add_argument("--healthy", action="store_true", help="no fractures, degenerated discs or other irregularities")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the phantom and write its files.

    Returns
    -------
    int
        Exit code.
    """
    from spineps.cli.console import say
    from spineps.io.atomic import stage
    from spineps.phantom.contrasts import Contrast
    from spineps.phantom.phantom import make_phantom, parse_orientation

    phantom = make_phantom(
        args.seed,
        vertebrae=args.vertebrae,
        contrast=Contrast(args.contrast),
        spacing_mm=tuple(args.spacing) if args.spacing else None,
        orientation=parse_orientation(args.orientation),
        pathology=0.0 if args.healthy else 1.0,
        implant=args.implant or None,
    )
    prefix = f"phantom-{args.seed}"
    image = f"{prefix}_{_SUFFIXES[args.contrast]}.nii.gz"
    with stage(args.out) as staged:
        staged.write_text(f"{prefix}_levels.tsv", _levels_table(phantom.levels))
        staged.write_nifti(f"{prefix}_seg-spine_msk.nii.gz", phantom.semantic.labels, phantom.semantic.geometry)
        staged.write_nifti(f"{prefix}_seg-vert_msk.nii.gz", phantom.instance.labels, phantom.instance.geometry)
        staged.write_nifti(image, phantom.scan.image, phantom.scan.geometry)
        staged.commit()
    say(f"{args.out / image}: {', '.join(phantom.levels.values())}")
    return int(ExitCode.OK)


def _levels_table(levels: Mapping[int, str]) -> str:
    """Instance id and name of each vertebra, from top to bottom, as a TSV table."""
    return "\n".join(["label\tname", *(f"{label}\t{name}" for label, name in levels.items()), ""])
