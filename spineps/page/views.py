"""The pictures of a scan's page as HTML: planes along the spine and through its discs, with names and reference lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np

from spineps.labels import DISC_OFFSET, SACRUM_INSTANCE, Structure
from spineps.page.axial import DiscPlane, axial_plane, disc_planes
from spineps.page.colours import STRUCTURE_COLOURS
from spineps.page.html import data_uri
from spineps.page.marks import called, in_words, least, percent, rank
from spineps.page.paint import body_places
from spineps.page.pictures import PNG, WEBP, MaskLayer, draw, thumbnail
from spineps.page.planes import CORONAL_WIDTH_MM, SAGITTAL_MARGIN_MM, Plane, SpineViews
from spineps.volume import Result

SAGITTAL_OFFSETS_MM: Final = (-24, -16, -8, 0, 8, 16, 24)
"""To the patient's right of the middle; the facet joints of lumbar vertebrae lie near the outer ones."""
_NAME_ROOM: Final = 0.16  # share of a sagittal picture's width that a name needs in front of its body
_NAME_HEIGHTS: Final = 0.06  # and of its height, which fills the window: a name and its confidence are 48 pixels wide
_NAME_EDGE: Final = 0.02  # share of the height that a name keeps from the edge
_LINE_MM: Final = 34.0  # half the length of the line that shows where an axial plane lies


@dataclass(frozen=True, slots=True)
class View:
    """One picture with everything that lies on it, as HTML.

    Parameters
    ----------
    title : str
        What it shows.
    key : str
        What scripts find it by: the disc's id, or the millimetres beside the middle.
    stack : str
        HTML.
    """

    title: str
    key: str
    stack: str


@dataclass(frozen=True, slots=True)
class ScanViews:
    """All pictures of a scan.

    Parameters
    ----------
    sagittal : tuple of View
        From the patient's left to the right.
    coronal : View
        Along the vertebral bodies.
    axial : tuple of View
        A disc each, from top to bottom.
    thumbnail : bytes
        A small WebP.
    width_mm, height_mm : float
        Of a sagittal and the coronal plane side by side.
    structures : tuple of Structure
        That occur in the mask.
    """

    sagittal: tuple[View, ...]
    coronal: View
    axial: tuple[View, ...]
    thumbnail: bytes
    width_mm: float
    height_mm: float
    structures: tuple[Structure, ...]


def scan_views(result: Result) -> ScanViews:
    """Draw all planes of a result."""
    views = SpineViews(result)
    discs = disc_planes(result, views)
    titles = disc_titles(result)
    middle = views.sagittal(margin_mm=SAGITTAL_MARGIN_MM)
    reach_mm = views.geometry.extent_mm[2] / 2
    offsets = [offset for offset in SAGITTAL_OFFSETS_MM if abs(offset) < reach_mm]
    sagittal = []
    for offset in offsets:
        plane = views.sagittal(margin_mm=SAGITTAL_MARGIN_MM, right_mm=offset) if offset else middle
        over = _lines(plane, discs, titles) + (_names(plane, result, in_front=True) if not offset else "")
        sagittal.append(View(_beside(offset), str(offset), _stack(plane, result, "AP", over)))
    coronal = views.coronal(width_mm=CORONAL_WIDTH_MM)
    axial = []
    for disc in discs:
        title = f"Disc {titles.get(disc.instance, disc.instance)}"
        axial.append(View(title, str(disc.instance), _stack(axial_plane(views, disc), result, "RL", "")))
    return ScanViews(
        tuple(sagittal),
        View("Coronal", "0", _stack(coronal, result, "RL", _names(coronal, result, in_front=False))),
        tuple(axial),
        thumbnail(middle, result.vertebrae),
        middle.width_mm + coronal.width_mm,
        middle.height_mm,
        tuple(Structure(i) for i in np.flatnonzero(np.bincount(result.semantic.labels.reshape(-1))) if i in STRUCTURE_COLOURS),
    )


def disc_titles(result: Result) -> dict[int, str]:
    """Disc id to the names of the two vertebrae around it, such as L4-L5."""
    ends = {SACRUM_INSTANCE: "S1"} if any(c.instance == SACRUM_INSTANCE for c in result.centroids) else {}
    names = [(vertebra.label, called(vertebra)) for vertebra in result.vertebrae] + list(ends.items())
    titles = {DISC_OFFSET + upper: f"{above}-{below}" for (upper, above), (_, below) in pairwise(names)}
    if names and names[-1][0] != SACRUM_INSTANCE:
        titles[DISC_OFFSET + names[-1][0]] = f"below {names[-1][1]}"
    if result.vertebrae:
        titles.setdefault(DISC_OFFSET + result.vertebrae[0].label - 1, f"above {names[0][1]}")
    return titles


def _beside(offset_mm: int) -> str:
    if offset_mm == 0:
        return "Sagittal, middle"
    return f"Sagittal, {abs(offset_mm)} mm {'right' if offset_mm > 0 else 'left'}"


def _stack(plane: Plane, result: Result, ends: str, over: str) -> str:
    picture = draw(plane, result.vertebrae)
    grey = (
        '<span class="grey none"></span>'
        if picture.grey is None
        else f'<img class="grey" alt="" src="{data_uri(picture.grey, WEBP)}">'
    )
    masks = "".join(
        f'<img class="mask {name} {part}" alt="" src="{data_uri(data, PNG)}">'
        for name, layer in (("vertebrae", picture.vertebrae), ("structures", picture.structures))
        for part, data in _parts(layer)
    )
    sides = f'<span class="end start">{ends[0]}</span><span class="end stop">{ends[1]}</span>'
    size = f"--w:{picture.width_mm:.1f};--h:{picture.height_mm:.1f}"
    return f'<div class="stack" style="{size}">{grey}{masks}{over}{sides}</div>'


def _parts(layer: MaskLayer) -> Iterator[tuple[str, bytes]]:
    yield "areas", layer.areas
    yield "outlines", layer.outlines


def _names(plane: Plane, result: Result, *, in_front: bool) -> str:
    """The name of each vertebra: in front of its body where there is room, else on it."""
    places = body_places(plane, result.vertebrae)
    front = min((front for _, front, _, _ in places), default=0)
    room = in_front and front > _NAME_ROOM and front * plane.width_mm > _NAME_HEIGHTS * plane.height_mm
    spans = []
    for vertebra, front, row, column in places:
        side = f"right:{100 * (1 - front) + 1:.2f}%" if room else f"left:{100 * column:.2f}%"
        height = 100 * min(max(row, _NAME_EDGE), 1 - _NAME_EDGE)
        kind = "beside" if room else "on"
        sure = least(vertebra)
        small = "" if sure is None else f"<small>{percent(sure)}</small>"
        spans.append(
            f'<button type="button" tabindex="-1" class="name {kind} {rank(sure)}" title="{in_words(vertebra)}" '
            f'style="{side};top:{height:.2f}%" data-vertebra="{vertebra.label}">'
            f"{escape(called(vertebra))}{small}</button>"
        )
    return "".join(spans)


def _lines(plane: Plane, discs: tuple[DiscPlane, ...], titles: dict[int, str]) -> str:
    """Where the axial planes cut a sagittal one; shown for the one that is looked at."""
    lines = []
    for disc in discs:
        along = np.array([disc.normal[1], -disc.normal[0]])  # in the sagittal plane, across the normal; (P, I)
        along = along / max(1e-9, float(np.hypot(*along))) * _LINE_MM
        x, y = disc.centre_mm[0] - plane.first_column * plane.column_mm, disc.centre_mm[1]
        lines.append(
            f'<line data-disc="{disc.instance}" x1="{x - along[0]:.1f}" y1="{y - along[1]:.1f}" '
            f'x2="{x + along[0]:.1f}" y2="{y + along[1]:.1f}"><title>{escape(titles.get(disc.instance, ""))}</title></line>'
        )
    box = f"0 0 {plane.width_mm:.1f} {plane.height_mm:.1f}"
    return f'<svg class="lines" viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{"".join(lines)}</svg>'
