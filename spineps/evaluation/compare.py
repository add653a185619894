"""Two methods side by side: tests, intervals, differences of each subject, the worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spineps.evaluation.scores import Key, Level, Metric, Results, mean_sd
from spineps.evaluation.statistics import TestResult, bootstrap_interval, wilcoxon
from spineps.evaluation.structures import SIDES, TARGETS
from spineps.evaluation.tables import EMPTY, Table, number, p_value

_COMPARED: Final = frozenset({Level.GLOBAL, Level.INSTANCE, Level.SCAN})
_LEFT_OUT: Final = frozenset({Metric.VOLUME_REFERENCE, Metric.VOLUME_PREDICTION, Metric.ASSD_TWO_WAY, Metric.HD95_MAX})
_SIDES: Final = frozenset(t.key for t in SIDES)
_TITLES: Final = {t.key: t.title for t in TARGETS}
WORST: Final = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of two methods on the same subjects.

    Parameters
    ----------
    key : Key
        Which number.
    first, second : float
        Means over the subjects that both methods have.
    difference : float
        Mean of second minus first.
    interval : tuple of 2 float or None
        95 % bootstrap interval of the mean difference.
    test : TestResult
        Two-sided paired Wilcoxon signed-rank test.
    """

    key: Key
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    test: TestResult


@dataclass(frozen=True, slots=True)
class CaseDifference:
    """One subject: the values of both methods, and second minus first."""

    case: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first


def compare(results: Results, first: str, second: str) -> list[Comparison]:
    """Compare two methods in every number of whole structures and scans that both have."""
    found = []
    for key in compared_keys(results):
        pairs = list(results.paired(first, second, key).values())
        if not pairs:
            continue
        differences = [b - a for a, b in pairs]
        means = [mean_sd(side)[0] or 0.0 for side in ([a for a, _ in pairs], [b for _, b in pairs], differences)]
        found.append(Comparison(key, means[0], means[1], means[2], bootstrap_interval(differences), wilcoxon(pairs)))
    return found


def compared_keys(results: Results) -> list[Key]:
    """The numbers that comparisons and plots speak of: no single vertebrae, no left and right, no second definitions."""
    return [
        key
        for key in results.all_keys()
        if key.level in _COMPARED and key.metric not in _LEFT_OUT and key.structure not in _SIDES
    ]


def case_differences(results: Results, first: str, second: str, key: Key) -> list[CaseDifference]:
    """Subjects from where the second method falls back the most to where it gains the most."""
    sign = -1 if key.metric.lower_is_better else 1
    listed = [CaseDifference(case, a, b) for case, (a, b) in results.paired(first, second, key).items()]
    return sorted(listed, key=lambda d: (sign * d.difference, d.case))


def comparison_table(results: Results, first: str, second: str) -> Table:
    """Means, mean difference with its bootstrap interval, and test, a row a number."""
    rows = []
    for c in compare(results, first, second):
        interval = EMPTY if c.interval is None else f"[{c.interval[0]:+.4f}, {c.interval[1]:+.4f}]"
        values = (str(c.test.n), number(c.first, 4), number(c.second, 4), f"{c.difference:+.4f}", interval)
        rows.append((*key_cells(c.key), *values, p_value(c.test.p_value)))
    header = ("Level", "Region", "Structure", "Metric", "n", first, second, "Difference", "95 % interval", "p")
    notes = (
        f"Difference: {second} minus {first}, mean over the subjects that both have.",
        "Interval: bootstrap over subjects (BCa, 9999 resamples, fixed seed). p: two-sided paired Wilcoxon signed-rank test.",
    )
    return Table("comparison", f"{second} against {first}", header, tuple(rows), notes)


def difference_table(results: Results, first: str, second: str) -> Table:
    """Every subject's difference in every number, the worst for the second method first within each number."""
    rows = [
        (*key_cells(key), d.case, number(d.first, 6), number(d.second, 6), f"{d.difference:+.6f}")
        for key in compared_keys(results)
        for d in case_differences(results, first, second, key)
    ]
    header = ("Level", "Region", "Structure", "Metric", "Case", first, second, "Difference")
    return Table("differences", f"Differences of each case: {second} minus {first}", header, tuple(rows))


def worst_table(results: Results, first: str, second: str, *, top: int = WORST) -> Table:
    """The cases in which the second method falls back the most, over all numbers between 0 and 1."""
    found: list[tuple[CaseDifference, Key]] = []
    for key in compared_keys(results):
        if not key.metric.unit:
            found += [(d, key) for d in case_differences(results, first, second, key) if d.difference < 0]
    found.sort(key=lambda entry: (entry[0].difference, entry[0].case))
    rows = [(d.case, *key_cells(key), number(d.first), number(d.second), f"{d.difference:+.3f}") for d, key in found[:top]]
    header = ("Case", "Level", "Region", "Structure", "Metric", first, second, "Difference")
    notes = () if rows else (f"In no case is a number of {second} below that of {first}.",)
    return Table("worst", f"Worst cases of {second} against {first}", header, tuple(rows), notes)


def lowest_table(results: Results, method: str, *, top: int = WORST) -> Table:
    """The lowest single values of one method, over all numbers between 0 and 1."""
    found = [
        (value, case, key)
        for key in compared_keys(results)
        if not key.metric.unit
        for case, value in results.values(method, key).items()
    ]
    found.sort(key=lambda entry: entry[:2])
    rows = [(case, *key_cells(key), number(value)) for value, case, key in found[:top]]
    return Table(
        "lowest", f"Lowest values of {method}", ("Case", "Level", "Region", "Structure", "Metric", "Value"), tuple(rows)
    )


def key_cells(key: Key) -> tuple[str, str, str, str]:
    """Level, region, structure and metric for a table."""
    return key.level.value, key.region, _TITLES.get(key.structure, key.structure), f"{key.metric.arrow} {key.metric.value}"
