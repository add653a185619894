"""The entry point of the published command line."""

from __future__ import annotations

from spineps.cli import main


def entry_point() -> None:
    """Run the command line on the arguments of the process.

    Raises
    ------
    SystemExit
        With the exit code of the command, where it is not 0.
    """
    code = main()
    if code:
        raise SystemExit(code)
