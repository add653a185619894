"""Where the time of a run went, function by function, as a text beside its results."""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spineps.io import atomic

_LINES: Final = 80


@contextmanager
def profiled(folder: Path, prefix: str, *, wanted: bool = True, tag: str = "") -> Iterator[None]:
    """While it lasts, note where this thread spends its time; then write ``<prefix>_profile.txt``, the costliest first.

    Parameters
    ----------
    folder : Path
        Of the results.
    prefix : str
        Of their names.
    wanted : bool
        False does nothing.
    tag : str
        As in :class:`spineps.io.atomic.Staging`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if not wanted:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative").print_stats(_LINES)
    atomic.write_text(folder / f"{prefix}_profile.txt", text.getvalue(), tag=tag)
