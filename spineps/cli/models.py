"""``spineps models``: what models there are, and bringing them here, checking them and taking them away."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spineps.cli import options
from spineps.cli.console import Console, complain
from spineps.errors import ErrorCode, ExitCode, SpinepsError, UsageError

if TYPE_CHECKING:
    from spineps.zoo.registry import Listed

_HEADING = ("id", "phase", "version", "where")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "models",
        help="list, fetch, import, verify and remove models",
        description="Models of this program and of the published SPINEPS. They lie in the folder that SPINEPS_MODELS names, by "
        "default in the user's cache; model folders of the published tool are also found where SPINEPS_SEGMENTOR_MODELS says. "
        "'fetch' is the only command of spineps that uses the network.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    _add_list(actions)
    _add_fetch(actions)
    _add_import(actions)
    _add_verify(actions)
    _add_remove(actions)


def _add_list(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser("list", help="say what models there are", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="as JSON, with their folders")
    parser.set_defaults(run=run_list)


def _add_fetch(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "fetch",
        help="download published models",
        description="Download published models. The publisher states no hashes: that of the first download is kept, and every "
        "later one must have it. What was cut off is taken up by the same command.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="+", metavar="ID", help="as 'spineps models list' names them")
    parser.add_argument("--url", metavar="ADDRESS", help="a mirror of the zip file, for one ID (https)")
    options.add_verbosity(parser)
    parser.set_defaults(run=run_fetch)


def _add_import(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "import",
        help="import a model folder or a zip of one",
        description="Import a model folder of the published SPINEPS, or a plain nnU-Net v2 result folder, or a zip of either. "
        "Nothing of it is executed: checkpoints that hold anything but numbers and settings are refused.",
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder or zip file")
    parser.add_argument(
        "--label-map",
        type=Path,
        metavar="FILE",
        help="for a plain nnU-Net folder: what its labels mean, as JSON or a table (see 'spineps instance --help')",
    )
    parser.add_argument(
        "--orientation",
        default="PIR",
        metavar="AXES",
        help="for a plain nnU-Net folder: axes of the images that it was trained on (default: %(default)s)",
    )
    options.add_verbosity(parser)
    parser.set_defaults(run=run_import)


def _add_verify(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "verify", help="check the models that are here: hashes, tensors, golden values", allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="ID", help="which (default: all)")
    parser.set_defaults(run=run_verify)


def _add_remove(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser("remove", help="remove fetched and imported models", allow_abbrev=False)
    parser.add_argument("names", nargs="+", metavar="ID", help="as 'spineps models list' names them")
    parser.add_argument(
        "--forget", action="store_true", help="also forget the hash kept for it, so that a replaced file is taken next time"
    )
    parser.set_defaults(run=run_remove)


def run_list(args: argparse.Namespace) -> int:
    """Say what models there are."""
    from spineps.zoo.registry import listed

    rows = listed()
    console = Console()
    if args.json:
        console.result(json.dumps([_plain(row) for row in rows], indent=2))
        return ExitCode.OK
    cells = [_HEADING, *((row.id, _phase(row), row.version, row.where.value) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADING))]
    for line in cells:
        console.result("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return ExitCode.OK


def run_fetch(args: argparse.Namespace) -> int:
    """Download models."""
    from spineps.zoo.install import fetch_model
    from spineps.zoo.registry import PUBLISHED, published

    console = options.console_of(args)
    models = [published(name) for name in args.names]
    wrong = [name for name, model in zip(args.names, models, strict=True) if model is None]
    if wrong:
        known = ", ".join(model.id for model in PUBLISHED)
        raise UsageError(ErrorCode.USAGE, f"no published model is called {wrong[0]!r}.", remedy=f"There are: {known}.")
    if args.url and len(models) > 1:
        raise UsageError(ErrorCode.USAGE, "--url is the address of one model.", remedy="Fetch one model at a time with it.")
    for model in filter(None, models):
        with console.work(f"Fetching {model.id} {model.version}") as work:
            done = fetch_model(model, url=args.url, progress=partial(work.progress, "download"), say=console.say)
        console.say(_NEWS[done.news].format(sha256=done.sha256))
        console.result(f"{model.id}: {done.folder}")
    return ExitCode.OK


_NEWS = {
    "present": "It is here already.",
    "fetched": "Its sha256 is the one that it had before: {sha256}",
    "pinned": "Its sha256 is kept, and every later download must have it: {sha256}",
}


def run_import(args: argparse.Namespace) -> int:
    """Import a model."""
    from spineps.cli.instance import read_label_map
    from spineps.zoo.published.convert import PlainNnunet, import_folder
    from spineps.zoo.store import read_card

    plain = None if args.label_map is None else PlainNnunet(read_label_map(args.label_map), args.orientation)
    folder = import_folder(args.path, plain)
    card = read_card(folder)
    options.console_of(args).say(f"A model of the {card.kind.value} phase; name it as {folder.name} to use it.")
    Console().result(f"{folder.name}: {folder}")
    return ExitCode.OK


def run_verify(args: argparse.Namespace) -> int:
    """Check models; the exit code is that of the first that is damaged."""
    from spineps.zoo.registry import Where, listed

    wanted = {name.lower() for name in args.names}
    rows = [row for row in listed() if row.folder is not None and row.where is not Where.FOLDER]
    unknown = sorted(wanted - {row.id for row in rows})
    if unknown:
        raise UsageError(
            ErrorCode.USAGE, f"no model called {unknown[0]!r} is here to be verified.", remedy="See 'spineps models list'."
        )
    codes = [_verify(row) for row in rows if not wanted or row.id in wanted]
    return int(next((code for code in codes if code), ExitCode.OK))


def _verify(row: Listed) -> ExitCode:
    from spineps.zoo.install import verify

    if row.folder is None:
        return ExitCode.OK
    try:
        card = verify(row.folder)
    except SpinepsError as error:
        complain(f"{row.id} {_phase(row)}: {error}")
        return error.exit_code
    Console().result(f"OK: {row.id} {card.kind.value} {card.version}, weights {card.weights_sha256[:12]}")
    return ExitCode.OK


def run_remove(args: argparse.Namespace) -> int:
    """Remove models."""
    from spineps.zoo.install import remove

    console = Console()
    for name in args.names:
        folder = remove(name, forget=args.forget)
        console.result(f"removed: {name}" if folder is not None else f"forgotten: {name}")
    return ExitCode.OK


def _phase(row: Listed) -> str:
    return "?" if row.kind is None else row.kind.value


def _plain(row: Listed) -> dict[str, str | None]:
    folder = None if row.folder is None else str(row.folder)
    return {"id": row.id, "phase": _phase(row), "version": row.version, "where": row.where.value, "folder": folder}
