"""Tables of the cervical CT paper (Diotalevi et al., EMBC 2025): each vertebra's Dice and 95 % Hausdorff distance."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, InputError, UsageError
from spineps.evaluation.scores import Key, Level, Metric, Results, Score, mean_sd, summarise
from spineps.evaluation.statistics import Correction, adjusted, mann_whitney
from spineps.evaluation.tables import EMPTY, Table, mean_and_sd, number, p_value
from spineps.labels import LEVEL_NAMES, SACRUM_INSTANCE, T13_INSTANCE

LEVELS: Final = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1")
POOLED: Final = "[C1, T1]"
METRICS: Final = (Metric.DSC, Metric.HD95)
INTERNAL: Final = "internal"
EXTERNAL: Final = "external"
_FOLD: Final = re.compile(r"^fold-\d+$")
_DECIMALS: Final = {Metric.DSC: 3, Metric.HD95: 2}

DENG_2024: Final[Mapping[str, tuple[str, str, str]]] = {
    "C1": ("0.951 / 1.55", "0.957 / 1.34", "0.446 / 1.69"),
    "C2": ("0.974 / 1.15", "0.975 / 1.22", "0.923 / 1.20"),
    "C3": ("0.934 / 8.73", "0.945 / 7.55", "0.605 / 1.32"),
    "C4": ("0.946 / 1.90", "0.608 / 3.65", "0.613 / 0.95"),
    "C5": ("0.573 / 2.43", "0.726 / 3.13", "0.231 / 0.95"),
    "C6": ("0.802 / 4.51", "0.824 / 2.38", "0.121 / 1.07"),
    "C7": ("0.930 / 2.18", "0.899 / 2.16", "0.228 / 4.04"),
    "T1": ("0.952 / 1.60", "0.927 / 2.36", "0.623 / 2.53"),
    POOLED: (EMPTY, EMPTY, EMPTY),
}
"""Dice / HD95 (mm) of Deng et al. on CTSpine1K public, private and VerSe, as the paper quotes them."""


def vertebra_table(
    results: Results,
    method: str,
    groups: Mapping[str, str],
    *,
    levels: Sequence[str] = LEVELS,
    literature: bool = False,
) -> Table:
    """Dice and HD95 of each vertebra: [min, max] of the fold means, mean ± SD of the internal and the external set.

    Parameters
    ----------
    results : Results
        With numbers at :data:`Level.VERTEBRA`.
    method : str
        Which method.
    groups : Mapping of str to str
        Case to ``fold-0``..., ``internal`` or ``external``; other cases are left out.
    levels : sequence of str
        Rows; a pooled row over all of them follows.
    literature : bool
        Add the columns that the paper quotes from Deng et al.
    """
    header: tuple[str, ...] = ("Vertebrae",)
    for metric in METRICS:
        name = metric.value if not metric.unit else f"{metric.value} ({metric.unit})"
        header += (f"{name} cross-val. [min, max]", f"{name} int. val. µ ± σ", f"{name} ext. test µ ± σ")
    if literature:
        header += ("Deng test public", "Deng test private", "Deng test VerSe")
    pooled = f"[{levels[0]}, {levels[-1]}]"
    rows = []
    for name, members in (*((level, (level,)) for level in levels), (pooled, tuple(levels))):
        cells: tuple[str, ...] = (name,)
        for metric in METRICS:
            scores = _pooled(results, method, members, metric)
            cells += (
                _fold_range(scores, groups, _DECIMALS[metric]),
                mean_and_sd(summarise(_of(scores, groups, INTERNAL)), _DECIMALS[metric]),
                mean_and_sd(summarise(_of(scores, groups, EXTERNAL)), _DECIMALS[metric]),
            )
        rows.append((*cells, *(DENG_2024.get(name, (EMPTY,) * 3) if literature else ())))
    notes = (
        "A vertebra that the prediction lacks has Dice 0 and no distance; vertebrae are found in both masks by their label.",
        _missed_note(results, method, levels),
    )
    return Table(f"vertebrae_{method}", f"Each vertebra: {method}", header, tuple(rows), tuple(n for n in notes if n))


def mann_whitney_table(
    results: Results,
    groups: Mapping[str, str],
    *,
    levels: Sequence[str] = LEVELS,
    correction: Correction = Correction.NONE,
) -> Table:
    """Two-sided Mann-Whitney U tests of every two methods, a vertebra, metric and set.

    Parameters
    ----------
    results, groups, levels
        As for :func:`vertebra_table`.
    correction : Correction
        Over the vertebrae of one metric and set (the pooled row is not one of them); the paper corrects none.
    """
    pooled = f"[{levels[0]}, {levels[-1]}]"
    columns = [(metric, group) for metric in METRICS for group in (INTERNAL, EXTERNAL)]
    rows = []
    for first, second in combinations(results.methods, 2):
        cells = {}
        for metric, group in columns:
            single = [_compare(results, (first, second), (level,), metric, groups, group) for level in levels]
            cells[metric, group] = [
                *adjusted(single, correction),
                _compare(results, (first, second), levels, metric, groups, group),
            ]
        for index, name in enumerate((*levels, pooled)):
            rows.append((f"{first} vs {second}", name, *(p_value(cells[column][index]) for column in columns)))
    header = ("Methods", "Vertebrae", *(f"{m.value} {'int. val.' if g == INTERNAL else 'ext. test'} p" for m, g in columns))
    note = f"Two-sided Mann-Whitney U tests; correction of the single vertebrae: {correction.value}."
    return Table("mann_whitney", "Two-sided Mann-Whitney U tests", header, tuple(rows), (note,))


def _pooled(results: Results, method: str, levels: Sequence[str], metric: Metric) -> list[tuple[str, Score]]:
    return [
        (case, score) for level in levels for case, score in results.scores(method, Key(level, Level.VERTEBRA, metric)).items()
    ]


def _of(scores: list[tuple[str, Score]], groups: Mapping[str, str], group: str) -> list[Score]:
    return [score for case, score in scores if groups.get(case) == group]


def _fold_range(scores: list[tuple[str, Score]], groups: Mapping[str, str], decimals: int) -> str:
    folds = sorted({g for g in groups.values() if g.startswith("fold-")})
    means = [mean_sd([s.value for s in _of(scores, groups, fold) if s.value is not None])[0] for fold in folds]
    known = [m for m in means if m is not None]
    return f"[{number(min(known), decimals)}, {number(max(known), decimals)}]" if known else EMPTY


def _compare(
    results: Results,
    methods: tuple[str, str],
    levels: Sequence[str],
    metric: Metric,
    groups: Mapping[str, str],
    group: str,
) -> float | None:
    values = [
        [s.value for s in _of(_pooled(results, method, levels, metric), groups, group) if s.value is not None]
        for method in methods
    ]
    return mann_whitney(values[0], values[1]).p_value


def _missed_note(results: Results, method: str, levels: Sequence[str]) -> str:
    missed = [
        (level, summarise(results.scores(method, Key(level, Level.VERTEBRA, Metric.DSC)).values()).missed) for level in levels
    ]
    told = ", ".join(f"{level} {count}" for level, count in missed if count)
    return f"Missed vertebrae: {told}." if told else ""


def level_range(text: str) -> tuple[str, ...]:
    """Levels from first to last, such as ``C1-T1`` (T13 and L6 at their places), or a single one.

    Raises
    ------
    UsageError
        If a name is no level, or the last lies above the first.
    """
    first, _, last = text.partition("-")
    order = _ordered_levels()
    if first not in order or (last or first) not in order or order.index(first) > order.index(last or first):
        raise UsageError(ErrorCode.USAGE, f"{text!r} is no range of levels.", remedy="Write it like C1-T1 or C3-C7.")
    chosen = order[order.index(first) : order.index(last or first) + 1]
    return tuple(chosen)


def read_groups(table: Path) -> dict[str, str]:
    """Read a table of the columns ``case`` and ``group`` (``fold-0``..., ``internal``, ``external``), tabs between.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND or INPUT_FORMAT.
    """
    if not table.is_file():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{table.name!r} does not exist.", remedy="Check the path of the table.")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    groups = {row.get("case") or "": row.get("group") or "" for row in rows}
    wrong = sorted({g for g in groups.values() if g not in (INTERNAL, EXTERNAL) and not _FOLD.match(g)})
    if wrong or not rows or "" in groups:
        raise InputError(
            ErrorCode.INPUT_FORMAT,
            f"{table.name!r} has no cases, or groups that are not fold-0, fold-1, ..., internal or external: {wrong[:3]}.",
            remedy="Give a table of the columns case and group, tabs between.",
        )
    return groups


def _ordered_levels() -> list[str]:
    """All levels from top to bottom."""
    order = [LEVEL_NAMES[i] for i in range(1, SACRUM_INSTANCE)]
    order.insert(order.index("L1"), LEVEL_NAMES[T13_INSTANCE])
    return order
