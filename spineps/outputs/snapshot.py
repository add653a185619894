"""The picture of a result: what one glance needs to see whether the vertebrae were found.

Sagittal and coronal planes that follow the spine's curve, each as the image alone, with the structures and with the vertebrae.
It shows no file name and no text of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import FloatArray
from spineps.labels import Structure
from spineps.page.colours import STRUCTURE_COLOURS, instance_table, structure_table, vertebra_colours
from spineps.page.paint import body_places, centres, edges, enlarged, windowed
from spineps.page.planes import CORONAL_WIDTH_MM, SAGITTAL_MARGIN_MM, Plane, SpineViews
from spineps.volume import Result, Vertebra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_WIDTH_PX: Final = 2400
MAX_PANEL_HEIGHT_PX: Final = 1500
MAX_PX_PER_MM: Final = 5.0

_DPI: Final = 100
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
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(result)
    legend = _legend_entries(panels)
    scale = _px_per_mm(panels)
    row_height = max(round(panel.plane.height_mm * scale) for panel in panels)
    widths = [max(40, round(panel.plane.width_mm * scale)) for panel in panels]
    width = max(_MIN_WIDTH_PX, sum(widths) + _GAP_PX * (len(panels) + 1))
    columns = max(1, (width - 2 * _GAP_PX) // _COLUMN_PX)
    foot = _ROW_PX * (-(-len(legend) // columns) + 1) + _GAP_PX
    height = _TITLE_PX + row_height + foot
    with mpl.rc_context({"font.family": "DejaVu Sans", "text.usetex": False, "path.simplify": True}):
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_hex(_PAPER))
        left = (width - sum(widths) - _GAP_PX * (len(panels) - 1)) // 2
        for panel, panel_width in zip(panels, widths, strict=True):
            axes = _place(figure, left, _TITLE_PX, panel_width, row_height)
            _draw_panel(figure, axes, panel, result.vertebrae)
            left += panel_width + _GAP_PX
        strip = _place(figure, _GAP_PX, _TITLE_PX + row_height + _GAP_PX // 2, width - 2 * _GAP_PX, foot - _GAP_PX // 2)
        _draw_legend(strip, legend, _summary(result), columns)
        out = BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None}, pil_kwargs={"compress_level": 6})
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


def _place(figure: Figure, left: int, top: int, width: int, height: int) -> Axes:
    """Axes at a place given in pixels from the upper left corner, whose units are pixels too."""
    total_width, total_height = figure.get_size_inches() * _DPI
    box = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    axes: Axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def _draw_panel(figure: Figure, axes: Axes, panel: _Panel, vertebrae: tuple[Vertebra, ...]) -> None:
    width, height = round(axes.get_xlim()[1]), round(axes.get_ylim()[0])
    shape = (round(height * _share_of_row(panel, width, height)), width)
    pixels = _grey(panel.plane.image, shape)
    if panel.labels is not None:
        fill = _FILL_ALONE if panel.plane.image is None else _FILL
        pixels = _overlaid(pixels, enlarged(panel.labels, shape), panel.table, fill=fill)
    box = axes.bbox
    figure.figimage(pixels, round(box.x0), round(box.y1) - shape[0], origin="upper", zorder=-1)  # unlike imshow, as it is
    axes.text(width / 2, -8, panel.title, color=_INK, fontsize=11, ha="center", va="bottom")
    for x, side, text in ((6, "left", panel.ends[0]), (width - 6, "right", panel.ends[1])):
        axes.text(x, 6, text, color=_INK, fontsize=9, ha=side, va="top", alpha=0.8)
    if panel.numbered:
        _draw_numbers(axes, panel, vertebrae, shape)


def _share_of_row(panel: _Panel, width: int, height: int) -> float:
    """Share of the row's height that the panel fills at the right aspect ratio."""
    return min(1.0, panel.plane.height_mm / panel.plane.width_mm * width / height)


def _draw_numbers(axes: Axes, panel: _Panel, vertebrae: tuple[Vertebra, ...], shape: tuple[int, int]) -> None:
    """Name or number of each vertebra: beside its body in the sagittal plane, on it in the narrow coronal one."""
    from matplotlib.patheffects import withStroke

    colours = vertebra_colours(v.label for v in vertebrae)
    anchors = [
        (vertebra, front * shape[1], row * shape[0], column * shape[1])
        for vertebra, front, row, column in body_places(panel.plane, vertebrae)
    ]
    beside = panel.ends == "AP" and min((front for _, front, _, _ in anchors), default=0) > _NUMBER_ROOM_PX
    for vertebra, front, row, column in anchors:
        axes.text(
            front - 8 if beside else column,
            row,
            (vertebra.name or str(vertebra.label)) + ("*" if vertebra.partial else ""),
            color=_hex(colours[vertebra.label]) if beside else "white",
            fontsize=12,
            fontweight="bold",
            ha="right" if beside else "center",
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground="black")],
        )


def _legend_entries(panels: tuple[_Panel, ...]) -> tuple[Structure, ...]:
    """Structures that are shown, in the order of their ids."""
    shown = np.unique(np.concatenate([np.unique(panel.plane.semantic) for panel in panels]))
    return tuple(structure for structure in STRUCTURE_COLOURS if structure in shown)


def _draw_legend(axes: Axes, entries: tuple[Structure, ...], summary: str, columns: int) -> None:
    from matplotlib.patches import Rectangle

    for place, structure in enumerate(entries):
        x, y = (place % columns) * _COLUMN_PX, (place // columns + 0.5) * _ROW_PX
        colour = _hex(STRUCTURE_COLOURS[structure])
        axes.add_patch(Rectangle((x, y - _SWATCH_PX / 2), _SWATCH_PX, _SWATCH_PX, facecolor=colour, edgecolor="none"))
        axes.text(x + _SWATCH_PX + 8, y, structure.title, color=_INK, fontsize=10, ha="left", va="center")
    axes.text(0, (-(-len(entries) // columns) + 0.5) * _ROW_PX, summary, color=_INK, fontsize=10, ha="left", va="center")


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


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
