"""The command line: one module a command; each parses, calls the API, prints.

A failure is one line on stderr, ``CODE: sentence. Remedy.``, and an exit code of :class:`spineps.errors.ExitCode`.
"""

from __future__ import annotations

import argparse
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from spineps.cli import (
    bids,
    check,
    combine,
    console,
    convert_spider,
    crash,
    dataset,
    engines,
    evaluate,
    folds,
    group,
    instance,
    models,
    page,
    phantom,
    relabel,
    sample,
    train,
    version,
)
from spineps.cli.parser import Parser
from spineps.errors import ExitCode, SpinepsError

_COMMANDS = (
    *(sample, dataset, bids, page, group, instance, relabel, check, evaluate, folds, models, engines, phantom, train, combine),
    *(convert_spider, version),
)


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); unwinds like an interrupt, so that nothing half-written stays."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        An :class:`~spineps.errors.ExitCode`.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help or what is wrong with the usage
        return int(stop.code or 0)
    try:
        with _terminable():
            return int(args.run(args))
    except KeyboardInterrupt:
        console.complain("Interrupted; nothing half-written was left.")
        return ExitCode.INTERRUPTED
    except Terminated:
        console.complain("Terminated; nothing half-written was left.")
        return ExitCode.TERMINATED
    except Exception as error:  # noqa: BLE001  the one place where a bug becomes a crash file
        return _failed(error, args)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="spineps",
        description="Segment the spine in MRI: semantic and instance masks, centroids and a picture from one sagittal scan.",
        epilog="Exit codes: 0 done, 2 usage, 3 input refused, 4 no spine found, 5 model, 6 memory, disk or output, 7 scans of "
        "a cohort not done, 8 another run works on them, 70 a bug.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def _failed(error: Exception, args: argparse.Namespace) -> int:
    """Say in one line why the command failed; a mistake of the program's own goes to a crash file."""
    if getattr(args, "debug", False):
        traceback.print_exception(error)
    known = error if isinstance(error, SpinepsError) else crash.as_known(error)
    if known is None:
        console.complain(crash.report(error, command=args.command))
        return ExitCode.BUG
    console.complain(str(known))
    return known.exit_code


@contextmanager
def _terminable() -> Iterator[None]:
    """While it lasts, SIGTERM raises :class:`Terminated` in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
