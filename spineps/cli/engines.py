"""``spineps engines``: what can run the networks on this machine, and how fast."""

from __future__ import annotations

import argparse
from pathlib import Path

from spineps.cli import options
from spineps.cli.console import Console
from spineps.cli.quantities import count


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "engines",
        help="say what can run the networks here, and how fast",
        description="Say what can run the networks on this machine and which of it runs take by themselves. That follows from "
        "a fixed table, so that all runs on a machine give the same bytes; a measurement only recommends.",
        allow_abbrev=False,
    )
    parser.add_argument("--probe", action="store_true", help="run one tile of a semantic model with each and say the seconds")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="semantic model to measure with (default: bundled)")
    parser.add_argument("--threads", type=count, default=0, metavar="N", help="threads (default: all cores)")
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.config import ComputeConfig
    from spineps.inference.machine import choose_engine
    from spineps.inference.probe import candidates, probe

    console: Console = options.console_of(args)
    default = choose_engine(ComputeConfig(threads=args.threads)).name
    measured = []
    for candidate in candidates(args.threads):
        if candidate.lacks:
            console.result(f"{candidate.name:20} {candidate.lacks}")
            continue
        found = probe(candidate, args.model) if args.probe else candidate
        measured.append(found)
        seconds = "" if found.seconds is None else f", {found.seconds:.2f} s a tile"
        console.result(f"{found.name:20} {'taken by default' if found.name == default else 'there'}{seconds}")
    if args.probe:
        fastest = min(measured, key=lambda found: found.seconds or 0)
        asked = f"--engine {fastest.config.engine.value} --precision {fastest.config.precision.value}"
        console.result(
            f"fastest here: {fastest.name}" + ("" if fastest.name == default else f"; ask for it with {asked}, for all scans")
        )
    return 0
