"""BIDS filter files, as the BIDS Apps of NiPreps read them: a JSON object of queries, each an object of entities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from spineps.errors import ErrorCode, UsageError

LONG_NAMES: Final = MappingProxyType(
    {
        "subject": "sub",
        "session": "ses",
        "sample": "sample",
        "acquisition": "acq",
        "ceagent": "ce",
        "reconstruction": "rec",
        "direction": "dir",
        "inversion": "inv",
        "mtransfer": "mt",
        "modality": "mod",
        "proc": "proc",
    }
)
"""Names of entities in a filter to those in a file name; others are the same in both."""
_ANY: Final = ("*", "Query.ANY")
_NONE: Final = ("Query.NONE",)
_OPTIONAL: Final = ("Query.OPTIONAL",)


def read_filters(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read a filter file.

    Returns
    -------
    Mapping
        Name of a query (``t2w``) to what it asks for: ``{"session": "01", "acquisition": null}``.

    Raises
    ------
    UsageError
        If it cannot be read or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_filter("cannot be read as JSON") from error
    if not isinstance(content, dict) or not content or not all(isinstance(query, dict) for query in content.values()):
        raise _not_a_filter('is no object of queries, such as {"t2w": {"suffix": "T2w", "acquisition": "sag"}}')
    return MappingProxyType(content)


def meets_any(scan: Mapping[str, Any], filters: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a scan meets at least one query.

    Parameters
    ----------
    scan : Mapping
        Entities by their short names, and ``suffix``, ``datatype``, ``extension``.
    filters : Mapping
        See :func:`read_filters`.
    """
    return any(all(_meets(scan, name, wanted) for name, wanted in query.items()) for query in filters.values())


def _meets(scan: Mapping[str, Any], name: str, wanted: Any) -> bool:
    value = scan.get(LONG_NAMES.get(name, name))
    if isinstance(wanted, list):
        return any(_meets(scan, name, one) for one in wanted)
    if wanted is None or wanted in _NONE:
        return value is None
    if wanted in _OPTIONAL:
        return True
    if wanted in _ANY:
        return value is not None
    return value is not None and _same(str(value), str(wanted))


def _same(value: str, wanted: str) -> bool:
    """Equal as text, or both whole numbers and equal: ``run-01`` is run 1."""
    if value.isdecimal() and wanted.isdecimal():
        return int(value) == int(wanted)
    return value.lstrip(".") == wanted.lstrip(".")


def _not_a_filter(why: str) -> UsageError:
    return UsageError(ErrorCode.USAGE, f"the BIDS filter file {why}.", remedy="See docs/cohorts.md for an example.")
