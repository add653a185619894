"""``spineps version``: versions of the program and of what it runs on."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "version",
        help="show versions",
        description="Show the version of spineps and of the packages that can change a result.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001  (the signature of every command)
    """Run the command."""
    import spineps
    from spineps.cli.console import Console
    from spineps.outputs.record import versions

    console = Console()
    console.result(f"spineps {spineps.__version__}")
    for name, number in versions().items():
        console.result(f"{name} {number}")
    return 0
