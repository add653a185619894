"""``spineps instance``: phase two alone, from any semantic mask of vertebrae."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from spineps.cli import options
from spineps.cli.check import add_read_options, read_options
from spineps.errors import ErrorCode, InputError, UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "instance",
        help="find the vertebrae in a semantic mask",
        description="Find the vertebrae in a semantic mask, whatever made it. Needs no image; with one, the picture shows it.",
        allow_abbrev=False,
    )
    parser.add_argument("--input", "-i", type=Path, required=True, metavar="SEMANTIC", help="NIfTI file of a semantic mask")
    parser.add_argument("--image", type=Path, metavar="SCAN", help="the scan in the same grid, for the picture")
    parser.add_argument(
        "--label-map",
        type=Path,
        metavar="FILE",
        help='what the ids of the mask mean: JSON such as {"1": 49, "2": 100}, or a table with their id and ours in its '
        "first two columns; ours is a number or a name such as CORPUS",
    )
    options.add_output(parser, "derivatives_instance beside the mask or its derivatives folder")
    add_read_options(parser)
    options.add_processing(parser)
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps import api
    from spineps.cli.report import show_saved, show_settings
    from spineps.io.atomic import check_writable
    from spineps.outputs import names

    console = options.console_of(args)
    path = options.existing_or_with_suffix(args.input)
    image_path = None if args.image is None else options.existing_or_with_suffix(args.image)
    config = options.processing_config(args)
    ids = None if args.label_map is None else read_label_map(args.label_map)
    label_map = api.translated(api.open_labels(path, read_options(args)), ids)
    image = None if image_path is None else api.open_scan(image_path, read_options(args))
    prefix = names.prefix_of(path)
    folder = names.instance_folder(path) if args.output is None else args.output
    inputs = (path,) if image_path is None else (path, image_path)
    names.check_places(folder, names.names_for(prefix), inputs=inputs)
    check_writable(folder)
    show_settings(console, config)
    with console.work("Segmenting") as work:
        result = api.segment_instances(label_map, image=image, config=config, progress=work.progress)
        saved = api.save(result, folder, prefix=prefix)
    show_saved(console, result, saved)
    return 0


def read_label_map(path: Path) -> dict[int, int]:
    """Read what the ids of a foreign mask mean.

    Parameters
    ----------
    path : Path
        A JSON object from their id to ours, or lines of two columns (tab, comma or blanks), a heading allowed. Ours is the
        number or the name of a :class:`~spineps.labels.Structure`.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND if it cannot be opened.
    UsageError
        If it is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND, "the file given with --label-map cannot be read as text.", remedy="Check its path."
        ) from error
    try:
        pairs = list(json.loads(text).items()) if text.lstrip().startswith("{") else _rows(text)
        ids = {int(theirs): _structure(ours) for theirs, ours in pairs}
    except (ValueError, KeyError, TypeError) as error:
        raise _unclear() from error
    if not ids:
        raise _unclear()
    return ids


def _rows(text: str) -> list[tuple[str, str]]:
    """First two columns of a table without its heading."""
    cells = [line.replace(",", " ").replace(";", " ").split() for line in text.splitlines() if line.strip()]
    start = 1 if cells and not cells[0][0].lstrip("-").isdigit() else 0
    return [(row[0], row[1] if len(row) > 1 else "") for row in cells[start:]]


def _structure(value: object) -> int:
    """Our id from a number or a name; 0 leaves a label out."""
    from spineps.labels import Structure

    text = str(value).strip()
    return int(Structure(int(text)) if text.isdigit() else Structure[text.upper()])


def _unclear() -> UsageError:
    return UsageError(
        ErrorCode.USAGE,
        "the file given with --label-map does not say which of their ids is which of ours.",
        remedy='Write JSON such as {"1": 49, "2": 100}, or a table with their id and ours in its first two columns.',
    )
