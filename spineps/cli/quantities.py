"""Numbers on the command line; what is out of range is refused with what was expected."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, least=0)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, least=1)


def amount(text: str) -> float:
    """A finite number of at least 0."""
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {text}")
    return number


def size(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number


def share(text: str) -> float:
    """A number above 0 up to 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1, found {text}")
    return number


def _whole(text: str, *, least: int) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"expected {least} or more, found {number}")
    return number
