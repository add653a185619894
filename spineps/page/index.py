"""The index of a cohort: all scans, worst first, each with its page beside it, and verdicts saved as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from spineps.errors import ErrorCode, InputError, OutputError
from spineps.io import atomic
from spineps.io.shown import shown_name
from spineps.page.collect import DONE, IndexedScan, IndexedVertebra, collect
from spineps.page.html import asset, document, embedded, filled
from spineps.page.marks import bar, percent, rank
from spineps.page.verdicts import FILE, Judged, read_verdicts

INDEX: Final = "index.html"
_MARK: Final = '<meta name="generator" content="spineps">'
_HEAD_CHARS: Final = 2000
_WEAKEST: Final = 3  # vertebrae named in a row
_FRAMES: Final = "'self' file:"


def write_index(folder: Path) -> tuple[Path, tuple[IndexedScan, ...]]:
    """Write the index of all results below a folder.

    Parameters
    ----------
    folder : Path
        Root of the results of a cohort. A table ``verdicts.tsv`` in it is taken over into the index.

    Returns
    -------
    Path
        ``index.html`` in the folder.
    tuple of IndexedScan
        Its scans, worst first.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND where there is no folder or no record in it; as :func:`~spineps.page.verdicts.read_verdicts`.
    OutputError
        OUTPUT_NAME where an index of somebody else is there, or if it cannot be written.
    """
    scans = collect(folder) if folder.is_dir() else ()
    if not scans:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{shown_name(folder.name or str(folder))} holds no results: no file ends in _run.json.",
            remedy="Give the folder that results were written to.",
        )
    place = folder / INDEX
    _refuse_foreign(place)
    table = folder / FILE
    judged = read_verdicts(table) if table.is_file() else ()
    atomic.write_text(place, index_page(scans, judged))
    return place, scans


def index_page(scans: Sequence[IndexedScan], judged: Sequence[Judged] = ()) -> str:
    """The index as HTML.

    Parameters
    ----------
    scans : sequence of IndexedScan
        In the order in which they are listed.
    judged : sequence of Judged
        Earlier verdicts; a browser's own, which are newer, go before them.
    """
    done = [scan for scan in scans if scan.status == DONE]
    body = filled(
        "index.html",
        count=f"{len(scans)} scans" if len(scans) != 1 else "1 scan",
        failed=f", {len(scans) - len(done)} without a result" if len(done) < len(scans) else "",
        rows="".join(_row(place, scan) for place, scan in enumerate(scans)),
    )
    data = {"scans": [_plain(scan) for scan in scans], "judged": [_judged(row) for row in judged]}
    script = f'"use strict";(() => {{\n{asset("verdicts.js")}\n{asset("index.js")}\n}})();'
    style = asset("common.css") + asset("index.css")
    return document("Spines", style=style, body=body + embedded("data", data), script=script, frames=_FRAMES)


def _plain(scan: IndexedScan) -> dict[str, Any]:
    """What the script needs of a scan."""
    weakest = min((min(_known(v), default=1.0) for v in scan.vertebrae), default=None)
    return {
        "scan": scan.scan,
        "folder": scan.folder,
        "status": scan.status,
        "score": scan.score,
        "weakest": weakest,
        "page": quote(scan.page),
        "result": scan.result or f"{scan.folder}/{scan.scan}",
        "message": scan.message,
    }


def _judged(row: Judged) -> dict[str, Any]:
    return {**asdict(row), "verdict": row.verdict.value if row.verdict else ""}


def _row(place: int, scan: IndexedScan) -> str:
    picture = f'<img alt="" loading="lazy" decoding="async" src="{scan.thumbnail}">' if scan.thumbnail else "<i></i>"
    if scan.status == DONE:
        levels = f" · levels {scan.level_status}" if scan.level_status in ("ambiguous", "numbered") else ""
        facts = f'<p class="quiet">{escape(_extent(scan.vertebrae) + levels)}</p>{_doubts(scan.vertebrae)}{_codes(scan)}'
    else:
        facts = f'<p class="failed"><b>{escape(scan.status)}</b> {escape(scan.message)}</p>'
    where = f'<span class="quiet">{escape(scan.folder)}/</span>' if scan.folder else ""
    return (
        f'<li data-place="{place}"><button type="button" class="row"><span class="thumb">{picture}</span>'
        f'<span class="text"><span class="scan">{where}{escape(scan.scan)}</span>'
        f'<span>{bar(scan.score) if scan.status == DONE else ""}<span class="said"></span></span>{facts}</span></button></li>'
    )


def _extent(vertebrae: Sequence[IndexedVertebra]) -> str:
    if not vertebrae:
        return "no vertebra"
    ends = vertebrae[0].name if len(vertebrae) == 1 else f"{vertebrae[0].name} to {vertebrae[-1].name}"
    return f"{len(vertebrae)} vertebrae, {ends}" if len(vertebrae) > 1 else f"1 vertebra, {ends}"


def _known(vertebra: IndexedVertebra) -> list[float]:
    return [value for value in (vertebra.mask, vertebra.level) if value is not None]


def _doubts(vertebrae: Sequence[IndexedVertebra]) -> str:
    """The least sure vertebrae."""
    doubtful = [(min(_known(v)), v) for v in vertebrae if _known(v) and rank(min(_known(v))) != "sure"]
    doubtful.sort(key=lambda pair: pair[0])
    parts = []
    for value, vertebra in doubtful[:_WEAKEST]:
        what = "name" if vertebra.level is not None and vertebra.level == value else "mask"
        parts.append(f'<span class="chip {rank(value)}">{escape(vertebra.name)} {what} {percent(value)}</span>')
    if len(doubtful) > _WEAKEST:
        parts.append(f'<span class="quiet">and {len(doubtful) - _WEAKEST} more</span>')
    return f'<p class="chips">{"".join(parts)}</p>' if parts else ""


def _codes(scan: IndexedScan) -> str:
    codes = dict(scan.findings)
    chips = "".join(f'<span class="chip" title="{escape(message)}">{escape(code)}</span>' for code, message in codes.items())
    return f'<p class="chips">{chips}</p>' if chips else ""


def _refuse_foreign(place: Path) -> None:
    """An ``index.html`` that is not ours is not written over."""
    if not place.exists():
        return
    try:
        with place.open(encoding="utf-8", errors="replace") as file:
            ours = _MARK in file.read(_HEAD_CHARS)
    except OSError:
        ours = False
    if not ours:
        raise OutputError(
            ErrorCode.OUTPUT_NAME,
            f"{INDEX} is there already and was not written by spineps.",
            remedy="Move it away, or give another folder.",
        )
