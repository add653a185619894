"""Plots of an evaluation: boxes with every subject, and Bland-Altman plots of volumes, as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from spineps.evaluation.compare import compared_keys
from spineps.evaluation.scores import ALL_REGIONS, Key, Level, Metric, Results, mean_sd
from spineps.evaluation.structures import CANAL, CORD, DISC, SACRUM, TARGETS, VERTEBRA

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
"""Okabe and Ito's colours, told apart with every colour vision."""
LIMITS_OF_AGREEMENT: Final = 1.96
_DPI: Final = 110
_JITTER: Final = 0.12
_TITLES: Final = {t.key: t.title for t in TARGETS}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A plot: its file name without suffix, what it shows in a sentence, and its bytes."""

    name: str
    caption: str
    png: bytes


def plots(results: Results) -> list[Picture]:
    """A plot of each metric and level, and the Bland-Altman plots of each method."""
    groups: dict[tuple[Level, Metric], list[Key]] = {}
    for key in compared_keys(results):
        if key.region == ALL_REGIONS:
            groups.setdefault((key.level, key.metric), []).append(key)
    pictures = [box_plot(results, level, metric, keys) for (level, metric), keys in groups.items()]
    pictures += [picture for method in results.methods if (picture := bland_altman(results, method)) is not None]
    return pictures


def box_plot(results: Results, level: Level, metric: Metric, keys: Sequence[Key]) -> Picture:
    """One metric: a box a structure and method, a dot a subject, the subject's dots of several methods joined by a line.

    Parameters
    ----------
    results : Results
        The numbers.
    level, metric : Level, Metric
        What is shown.
    keys : sequence of Key
        Its structures.
    """
    methods = results.methods
    width = 0.8 / len(methods)
    figure, axes = _figure(max(3.2, 1.2 + len(keys) * (0.35 + 0.25 * len(methods))), 4.2)
    for column, key in enumerate(keys):
        places = [column + (i - (len(methods) - 1) / 2) * width for i in range(len(methods))]
        shown = [results.values(method, key) for method in methods]
        _lines(axes, shown, places)
        for place, values, colour in zip(places, shown, _colours(len(methods)), strict=True):
            if values:
                _box(axes, place, list(values.values()), width, colour)
    axes.set_xticks(range(len(keys)), [_TITLES.get(k.structure, k.structure) for k in keys], rotation=30, ha="right")
    unit = f" ({metric.unit})" if metric.unit else ""
    axes.set_ylabel(f"{metric.arrow} {metric.value}{unit}")
    axes.set_title(f"{metric.value}, {level.value}")
    _legend(axes, methods)
    caption = f"{metric.value}{unit}, {level.value}: a dot is a subject, the box the quartiles, the line the median."
    return Picture(f"{level.value}_{metric.value}".replace(" ", "-"), caption, _png(figure))


def bland_altman(results: Results, method: str) -> Picture | None:
    """Volumes of a method against the reference: difference over mean, with bias and 95 % limits of agreement.

    Returns
    -------
    Picture or None
        None where no volumes were measured.
    """
    panels = []
    for target in (VERTEBRA, DISC, CANAL, CORD, SACRUM):
        reference = results.values(method, Key(target.key, Level.GLOBAL, Metric.VOLUME_REFERENCE))
        prediction = results.values(method, Key(target.key, Level.GLOBAL, Metric.VOLUME_PREDICTION))
        pairs = [(reference[case], prediction[case]) for case in reference if case in prediction]
        if pairs:
            panels.append((target.title, pairs))
    if not panels:
        return None
    figure, all_axes = _figure(2.9 * len(panels), 3.0, columns=len(panels))
    for axes, (title, pairs) in zip(np.atleast_1d(all_axes), panels, strict=True):
        _bland_altman_panel(axes, pairs)
        axes.set_title(title)
        axes.set_xlabel("mean (ml)")
    np.atleast_1d(all_axes)[0].set_ylabel("prediction - reference (ml)")
    caption = f"Bland-Altman plots of volumes, {method}: bias (line) and 95 % limits of agreement (dashed)."
    return Picture(f"bland-altman_{method}", caption, _png(figure))


def agreement(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Bias (second minus first) and the lower and upper 95 % limits of agreement (Bland and Altman 1986)."""
    mean, sd = mean_sd([b - a for a, b in pairs])
    bias, spread = mean or 0.0, LIMITS_OF_AGREEMENT * (sd or 0.0)
    return bias, bias - spread, bias + spread


def _bland_altman_panel(axes: Any, pairs: Sequence[tuple[float, float]]) -> None:
    axes.scatter([(a + b) / 2 for a, b in pairs], [b - a for a, b in pairs], s=16, color=COLOURS[0], alpha=0.8, linewidths=0)
    bias, low, high = agreement(pairs)
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.axhline(bias, color="0.2", linewidth=1)
    for limit in (low, high) if len(pairs) > 1 else ():
        axes.axhline(limit, color="0.2", linewidth=1, linestyle="--")


def _lines(axes: Any, shown: Sequence[dict[str, float]], places: Sequence[float]) -> None:
    for case in shown[0]:
        points = [(p, values[case]) for p, values in zip(places, shown, strict=True) if case in values]
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), color="0.85", linewidth=0.6, zorder=0)


def _box(axes: Any, place: float, values: list[float], width: float, colour: str) -> None:
    # The spread of the dots follows from their order, so that the same numbers give the same picture.
    offsets = [_JITTER * width * math.sin(1 + 2.4 * i) for i in range(len(values))]
    axes.scatter([place + o for o in offsets], values, s=11, color=colour, alpha=0.65, linewidths=0, zorder=2)
    axes.boxplot(
        [values],
        positions=[place],
        widths=[width * 0.75],
        showfliers=False,
        manage_ticks=False,
        boxprops={"color": colour},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        medianprops={"color": "0.1"},
    )


def _legend(axes: Any, methods: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=m) for m, c in zip(methods, _colours(len(methods)), strict=True)
    ]
    axes.legend(handles=handles, loc="best", frameon=False, fontsize=8)


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _figure(width: float, height: float, *, columns: int = 1) -> tuple[Any, Any]:
    """A figure of its own canvas, so that no global state of pyplot is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="0.93", linewidth=0.8)
        one.set_axisbelow(True)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
