"""How file names appear in messages: the base name alone, on one line, of bearable length."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, InputError

LONGEST_SHOWN: Final = 80


def shown_name(path: Path | str) -> str:
    """Base name of a path for a message: quoted, control characters escaped, the middle left out where it is long.

    A folder on the way may carry a patient's name and is never shown.
    """
    name = Path(path).name or "."
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    if len(printable) > LONGEST_SHOWN:
        printable = f"{printable[: LONGEST_SHOWN - 23]}...{printable[-20:]}"
    return f"'{printable}'"


def refusal(code: ErrorCode, name: str, what: str, *, remedy: str) -> InputError:
    """The error that refuses an input: ``name`` is a shown name, ``what`` its predicate without the full stop."""
    return InputError(code, f"{name} {what}.", remedy=remedy)
