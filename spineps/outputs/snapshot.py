"""The picture of a result: what one glance needs to see whether the vertebrae were found.

Sagittal and coronal planes that follow the spine's curve, each as the image alone, with the structures and with the vertebrae.
It shows no file name and no text of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from spineps.geometry import FloatArray
from spineps.labels import Structure
from spineps.page.colours import STRUCTURE_COLOURS, instance_table, structure_table, vertebra_colours
from spineps.page.paint import body_places, centres, edges, enlarged, windowed
from spineps.page.planes import CORONAL_WIDTH_MM, SAGITTAL_MARGIN_MM, Plane, SpineViews
from spineps.volume import Result, Vertebra

MAX_WIDTH_PX: Final = 2400
MAX_PANEL_HEIGHT_PX: Final = 1500
MAX_PX_PER_MM: Final = 5.0

_GAP_PX: Final = 14
_TITLE_PX: Final = 34
_ROW_PX: Final = 30  # of the legend
_COLUMN_PX: Final = 300
_SWATCH_PX: Final = 18
_MIN_WIDTH_PX: Final = 900
_GREYS: Final = 128  # levels of the image: enough for the eye, and half the file
_FILL: Final = 0.42  # opacity of a structure over the image
_FILL_ALONE: Final = 0.75  # and where there is no image
_EDGE: Final = 0.9
_NUMBER_ROOM_PX: Final = 48  # that a level's name needs beside its body
_EMPTY_GREY: Final = 36  # background where there is no scan
_PAPER: Final = (18, 18, 20)
_INK: Final = "#e8e8e8"

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """One picture in the row: a plane and what is laid over it."""

    title: str
    ends: str
    plane: Plane
    labels: NDArray[Any] | None
    table: Rgb
    numbered: bool


def snapshot_png(result: Result) -> bytes:
    """Draw a result.

    Parameters
    ----------
    result : Result
        With or without a scan; without one the masks are drawn on grey.

    Returns
    -------
    bytes
        A PNG, at most about 2400 pixels wide; the same bytes for the same result and the same libraries.
    """
    panels = _panels(result)
    legend = _legend_entries(panels)
    scale = _px_per_mm(panels)
    row_height = max(round(panel.plane.height_mm * scale) for panel in panels)
    widths = [max(40, round(panel.plane.width_mm * scale)) for panel in panels]
    width = max(_MIN_WIDTH_PX, sum(widths) + _GAP_PX * (len(panels) + 1))
    columns = max(1, (width - 2 * _GAP_PX) // _COLUMN_PX)
    legend_top = _TITLE_PX + row_height + _GAP_PX
    picture = Image.new("RGB", (width, legend_top + _ROW_PX * (-(-len(legend) // columns) + 1)), _PAPER)
    left = (width - sum(widths) - _GAP_PX * (len(panels) - 1)) // 2
    for panel, panel_width in zip(panels, widths, strict=True):
        _draw_panel(picture, panel, result.vertebrae, (left, panel_width, row_height))
        left += panel_width + _GAP_PX
    _draw_legend(ImageDraw.Draw(picture), legend, _summary(result), (legend_top, columns))
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _panels(result: Result) -> tuple[_Panel, ...]:
    views = SpineViews(result)
    sagittal = views.sagittal(margin_mm=SAGITTAL_MARGIN_MM)
    coronal = views.coronal(width_mm=CORONAL_WIDTH_MM)
    structures = structure_table()
    ids = np.unique(np.concatenate([sagittal.instance.ravel(), coronal.instance.ravel()]))
    instances = instance_table((v.label for v in result.vertebrae), ids)
    panels = []
    for title, ends, plane in (("sagittal", "AP", sagittal), ("coronal", "RL", coronal)):
        if plane.image is not None:
            panels.append(_Panel(title, ends, plane, None, structures, numbered=False))
        panels.append(_Panel("structures", ends, plane, plane.semantic, structures, numbered=False))
        panels.append(_Panel("vertebrae", ends, plane, plane.instance, instances, numbered=True))
    return tuple(panels)


def _px_per_mm(panels: tuple[_Panel, ...]) -> float:
    room = MAX_WIDTH_PX - _GAP_PX * (len(panels) + 1)
    tallest = max(panel.plane.height_mm for panel in panels)
    return min(room / sum(panel.plane.width_mm for panel in panels), MAX_PANEL_HEIGHT_PX / tallest, MAX_PX_PER_MM)


def _draw_panel(picture: Image.Image, panel: _Panel, vertebrae: tuple[Vertebra, ...], place: tuple[int, int, int]) -> None:
    """Draw a panel; ``place`` are its left edge, its width and the height of the row, in pixels."""
    left, width, height = place
    shape = (round(min(height, panel.plane.height_mm / panel.plane.width_mm * width)), width)
    pixels = _grey(panel.plane.image, shape)
    if panel.labels is not None:
        fill = _FILL_ALONE if panel.plane.image is None else _FILL
        pixels = _overlaid(pixels, enlarged(panel.labels, shape), panel.table, fill=fill)
    picture.paste(Image.fromarray(pixels), (left, _TITLE_PX))
    draw = ImageDraw.Draw(picture)
    draw.text((left + width / 2, _TITLE_PX - 8), panel.title, _INK, _font(15), anchor="ms")
    for x, side, text in ((left + 6, "l", panel.ends[0]), (left + width - 6, "r", panel.ends[1])):
        draw.text((x, _TITLE_PX + 6), text, _INK, _font(13), anchor=f"{side}t")
    if panel.numbered:
        _draw_numbers(draw, panel, vertebrae, (left, shape))


def _draw_numbers(
    draw: ImageDraw.ImageDraw, panel: _Panel, vertebrae: tuple[Vertebra, ...], place: tuple[int, tuple[int, int]]
) -> None:
    """Name or number of each vertebra: beside its body in the sagittal plane, on it in the narrow coronal one."""
    left, shape = place
    colours = vertebra_colours(v.label for v in vertebrae)
    anchors = [
        (vertebra, front * shape[1], row * shape[0], column * shape[1])
        for vertebra, front, row, column in body_places(panel.plane, vertebrae)
    ]
    beside = panel.ends == "AP" and min((front for _, front, _, _ in anchors), default=0) > _NUMBER_ROOM_PX
    for vertebra, front, row, column in anchors:
        draw.text(
            (left + (front - 8 if beside else column), _TITLE_PX + row),
            (vertebra.name or str(vertebra.label)) + ("*" if vertebra.partial else ""),
            colours[vertebra.label] if beside else "white",
            _font(18),
            anchor="rm" if beside else "mm",
            stroke_width=2,
            stroke_fill="black",
        )


def _legend_entries(panels: tuple[_Panel, ...]) -> tuple[Structure, ...]:
    """Structures that are shown, in the order of their ids."""
    shown = np.unique(np.concatenate([np.unique(panel.plane.semantic) for panel in panels]))
    return tuple(structure for structure in STRUCTURE_COLOURS if structure in shown)


def _draw_legend(draw: ImageDraw.ImageDraw, entries: tuple[Structure, ...], summary: str, place: tuple[int, int]) -> None:
    """Draw the legend and below it the summary; ``place`` are its upper edge in pixels and its columns."""
    top, columns = place
    for number, structure in enumerate(entries):
        x, y = _GAP_PX + (number % columns) * _COLUMN_PX, top + (number // columns) * _ROW_PX
        draw.rectangle((x, y, x + _SWATCH_PX, y + _SWATCH_PX), STRUCTURE_COLOURS[structure])
        draw.text((x + _SWATCH_PX + 8, y + _SWATCH_PX / 2), structure.title, _INK, _font(14), anchor="lm")
    row = -(-len(entries) // columns)
    draw.text((_GAP_PX, top + row * _ROW_PX + _SWATCH_PX / 2), summary, _INK, _font(14), anchor="lm")


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _summary(result: Result) -> str:
    """Vertebrae and findings in one line."""
    count = len(result.vertebrae)
    ends = [vertebra.name or str(vertebra.label) for vertebra in result.vertebrae]
    text = f"{count} vertebra" if count == 1 else f"{count} vertebrae"
    text += f" ({ends[0]} to {ends[-1]})" if count > 1 else ""
    text += ", * cut by the edge of the image" if any(vertebra.partial for vertebra in result.vertebrae) else ""
    codes = list(dict.fromkeys(str(finding.code) for finding in result.findings))
    shown = ", ".join(codes[:4]) + (", ..." if len(codes) > 4 else "")
    found = f"{len(result.findings)} finding{'s' if len(result.findings) > 1 else ''}: {shown}" if codes else "no findings"
    return f"{text}   |   {found}"


def _grey(image: FloatArray | None, shape: tuple[int, int]) -> Rgb:
    """The image windowed and enlarged, shape (*shape, 3)."""
    if image is None:
        return np.full((*shape, 3), _EMPTY_GREY, dtype=np.uint8)
    rows, columns = (centres(big, small) for big, small in zip(shape, image.shape, strict=True))
    grid = np.meshgrid(rows, columns, indexing="ij")
    big = ndimage.map_coordinates(windowed(image), grid, order=1, mode="nearest")
    grey = (np.rint(big * (_GREYS - 1)) * (255 / (_GREYS - 1))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _overlaid(pixels: Rgb, labels: NDArray[Any], table: Rgb, *, fill: float) -> Rgb:
    """Labels laid over an image: translucent inside, nearly opaque at their edge."""
    opacity = np.where(labels > 0, np.where(edges(labels), _EDGE, fill), 0.0)[..., None]
    mixed: Rgb = (pixels * (1 - opacity) + table[labels] * opacity).astype(np.uint8)
    return mixed
