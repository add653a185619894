"""The page of one scan: pictures, names with their confidence, findings, measurements, and keys for a verdict.

It holds neither the scan's name nor any other text from outside of the program: what it is called is read from its own file
name when it is opened, so that a page that is renamed gives nothing away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any, Final

import numpy as np

from spineps.page.colours import STRUCTURE_COLOURS
from spineps.page.facts import findings_list, headline, measure_tables, notices, record_block, vertebra_table
from spineps.page.html import asset, data_uri, document, embedded, filled
from spineps.page.marks import bar
from spineps.page.pictures import WEBP
from spineps.page.views import ScanViews, View, scan_views
from spineps.volume import Result

SUFFIX: Final = "_report.html"
"""What follows the scan's prefix in the page's name."""
CARD: Final = "card"
"""Id of the block that an index reads of a page."""
_ID_DIGITS: Final = 16


def scan_page(result: Result, record: Mapping[str, Any]) -> str:
    """The page of a result.

    Parameters
    ----------
    result : Result
        With or without its scan; without it the masks are shown on black.
    record : Mapping
        Record of the run, plain values; of it the times and the hashes of the outputs are not shown.

    Returns
    -------
    str
        HTML that needs nothing else; the same text for the same result.
    """
    views = scan_views(result)
    identity = result_id(result)
    card = {"format": 1, "id": identity, "thumbnail": data_uri(views.thumbnail, WEBP)}
    body = filled(
        "scan.html",
        identity=identity,
        headline=escape(headline(result)),
        score=bar(result.score),
        notices=notices(result),
        size=f"--W:{views.width_mm:.1f};--H:{views.height_mm:.1f}",
        legend=_legend(views),
        sagittal=_carousel("sagittal", views.sagittal, _middle(views)),
        coronal=f'<figure id="coronal"><figcaption>{escape(views.coronal.title)}</figcaption>{views.coronal.stack}</figure>',
        axial=_templates("axial", views.axial),
        discs=_choices(views.axial),
        vertebrae=vertebra_table(result),
        findings=findings_list(result),
        findings_count=str(len(result.findings)),
        measures=measure_tables(result),
        record=record_block(record),
    )
    style = asset("common.css") + asset("scan.css")
    script = f'"use strict";(() => {{\n{asset("verdicts.js")}\n{asset("scan.js")}\n}})();'
    return document("Spine", style=style, body=body, script=script, head=embedded(CARD, card))


def result_id(result: Result) -> str:
    """Short name of a result by its instance mask: a verdict holds for this result, not for a later one."""
    labels = np.ascontiguousarray(result.instance.labels.astype(np.uint16))
    digest: Any = hashlib.sha256(repr(labels.shape).encode())
    digest.update(labels.data)
    return str(digest.hexdigest())[:_ID_DIGITS]


def _middle(views: ScanViews) -> int:
    return next(place for place, view in enumerate(views.sagittal) if view.key == "0")


def _carousel(name: str, views: tuple[View, ...], shown: int) -> str:
    """A figure that shows one view; the others wait in templates, undecoded."""
    view = views[shown]
    figure = f'<figure id="{name}"><figcaption aria-live="polite">{escape(view.title)}</figcaption>{view.stack}</figure>'
    return figure + _templates(name, views, without=shown)


def _templates(name: str, views: tuple[View, ...], *, without: int = -1) -> str:
    return "".join(
        f'<template data-view="{name}" data-key="{view.key}" data-title="{escape(view.title)}">'
        f"{view.stack if place != without else ''}</template>"
        for place, view in enumerate(views)
    )


def _legend(views: ScanViews) -> str:
    items = []
    for structure in views.structures:
        red, green, blue = STRUCTURE_COLOURS[structure]
        items.append(f'<li><i style="background:rgb({red},{green},{blue})"></i>{escape(structure.title)}</li>')
    return "".join(items)


def _choices(views: tuple[View, ...]) -> str:
    return "".join(
        f'<button type="button" data-disc="{view.key}" aria-pressed="false">{escape(view.title.removeprefix("Disc "))}</button>'
        for view in views
    )
