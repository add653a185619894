"""``spineps check``: what the strict reader says of files, a line a file, without loading a network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from spineps.cli.console import Console, complain
from spineps.errors import ExitCode, SpinepsError

if TYPE_CHECKING:
    from spineps.io.nifti import ReadOptions
    from spineps.volume import LabelMap, Scan

_AFFINES = ("auto", "sform", "qform", "base")


def add_parser(subparsers: Any) -> None:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="say whether files can be read, and what is wrong or unusual",
        description="Read each file as 'spineps sample' would and say in one line whether it can be segmented. "
        f"Exits with {int(ExitCode.OK)} if all files are fine, else with {int(ExitCode.INPUT)}. Nothing is written.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="NIfTI file (.nii or .nii.gz)")
    parser.add_argument("--labels", action="store_true", help="check them as label maps, for 'spineps instance'")
    add_read_options(parser)
    parser.set_defaults(run=run)


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--affine`` and ``--volume``, which every command that reads a scan takes."""
    parser.add_argument(
        "--affine",
        choices=_AFFINES,
        default="auto",
        help="which affine of the header to use where it contradicts itself; 'base' guesses one from the voxel sizes",
    )
    parser.add_argument("--volume", type=int, metavar="K", help="which volume of a 4D image to use, counted from 0")


def read_options(args: argparse.Namespace) -> ReadOptions:
    """Reader options of a command with :func:`add_read_options`."""
    from spineps.io.nifti import AffineChoice, ReadOptions

    return ReadOptions(AffineChoice(args.affine), args.volume)


def run(args: argparse.Namespace) -> int:
    """Check the files.

    Returns
    -------
    int
        Exit code: 0 if every file is fine, else that of the first one that is not.
    """
    exit_codes = [_check(file, args) for file in args.files]
    return int(next((code for code in exit_codes if code), ExitCode.OK))


def _check(file: str, args: argparse.Namespace) -> ExitCode:
    """Say one line about a file, on stdout if it is fine, else on stderr; the exit code that it asks for."""
    try:
        Console().result(_describe(file, args))
    except SpinepsError as error:
        complain(str(error))
        return error.exit_code
    return ExitCode.OK


def _describe(file: str, args: argparse.Namespace) -> str:
    from spineps.io.nifti import read_labels, read_scan
    from spineps.io.shown import shown_name

    data = read_labels(file, read_options(args)) if args.labels else read_scan(file, read_options(args))
    return " ".join([f"OK: {shown_name(file)}, {_grid(data)}.", *(f"{f.code}: {f.message}" for f in data.source.findings)])


def _grid(data: Scan | LabelMap) -> str:
    shape = " x ".join(str(n) for n in data.geometry.shape)
    spacing = " x ".join(f"{step:.4g}" for step in data.geometry.spacing_mm)
    return f"{shape} voxels of {spacing} mm, axes {''.join(data.geometry.axes)}"
