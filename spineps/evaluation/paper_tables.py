"""Tables 2, 3 and 5 of the SPINEPS paper in their layout, a table of everything, and their Wilcoxon tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from spineps.evaluation.scores import ALL_REGIONS, Key, Level, Metric, Note, Results, Summary
from spineps.evaluation.statistics import Correction, adjusted, wilcoxon
from spineps.evaluation.structures import (
    CANAL,
    CANAL_WITH_CORD,
    CORD,
    DISC,
    INSTANCE_TARGETS,
    SUBSTRUCTURES,
    TARGETS,
    VERTEBRA,
    Region,
    Target,
)
from spineps.evaluation.tables import EMPTY, Row, Section, Table, mark_best, mean_and_sd, number, p_value

_GLOBAL: Final = Section("Global structure-wise")
_INSTANCE: Final = Section("Instance-wise")
_PARTS: Final = Section("Vertebra substructures")
_INSTANCE_METRICS: Final = (Metric.DSC, Metric.RQ, Metric.SQ, Metric.PQ, Metric.ASSD)
_TESTED: Final = (Metric.DSC, Metric.RQ)
"""Statistical significance was determined on the Dice and the recognition quality (section 2.6)."""

CONVENTIONS: Final = (
    "Mean ± sample standard deviation (n - 1) over subjects; the best mean is marked with an asterisk.",
    "Instance-wise DSC, SQ and ASSD are means over the true positives of a subject (IoU ≥ 0.5, matched with panoptica).",
    "ASSD in mm, over all surface voxels, both directions pooled.",
)


def table_2(results: Results, *, canal: Target = CANAL) -> Table:
    """Table 2: methods side by side, global and instance-wise.

    Parameters
    ----------
    results : Results
        Of one or more methods.
    canal : Target
        The canal without the cord, or :data:`~spineps.evaluation.structures.CANAL_WITH_CORD` where the reference has no cord.
    """
    keys: list[tuple[Target, Key] | Section] = [_GLOBAL]
    keys += [(t, Key(t.key, Level.GLOBAL, Metric.DSC)) for t in (VERTEBRA, DISC, canal)]
    keys += [_INSTANCE]
    keys += [(t, Key(t.key, Level.INSTANCE, m)) for t in INSTANCE_TARGETS for m in _INSTANCE_METRICS]
    return _by_method("table2", "Table 2: methods, global and instance-wise", results, keys)


def table_3(results: Results, *, canal: Target = CANAL) -> Table:
    """Table 3: methods side by side, structures and substructures."""
    return _by_method("table3", "Table 3: methods, structures and substructures", results, list(_table_3_keys(canal)))


def table_5(results: Results, method: str, *, canal: Target = CANAL) -> Table:
    """Table 5: one method, a column a region."""
    regions = [r.value for r in Region]
    rows: list[Row] = []
    missing: list[str] = []
    for entry in _table_3_keys(canal):
        if isinstance(entry, Section):
            rows.append(entry)
            continue
        target, key = entry
        keys = [Key(key.structure, key.level, key.metric, region) for region in regions]
        summaries = [results.summary(method, k) for k in keys]
        rows.append(_row(target, key.metric, summaries))
        missing += [
            _missing(target, region, s) for region, s in zip(regions, summaries, strict=True) if key.metric is Metric.DSC
        ]
    notes = (*CONVENTIONS, "A voxel belongs to the region of its vertebra.", *(m for m in missing if m))
    header = ("Structure", "Metric", "Cervical region", "Thoracic region", "Lumbar region")
    return Table(f"table5_{_file_name(method)}", f"Table 5: {method} by region", header, tuple(rows), notes, grouped=True)


def complete_table(results: Results) -> Table:
    """Every structure and number that was measured, with the subjects behind it: for files rather than for print."""
    rows = []
    titles = {t.key: t.title for t in TARGETS}
    for method in results.methods:
        for key in results.all_keys():
            if key.level not in (Level.GLOBAL, Level.INSTANCE) or key.metric in (
                Metric.VOLUME_REFERENCE,
                Metric.VOLUME_PREDICTION,
            ):
                continue
            s = results.summary(method, key)
            counts = (str(s.n), str(s.missed), str(s.unmatched), str(s.extra))
            metric = f"{key.metric.arrow} {key.metric.value}"
            cells = (key.level.value, key.region, titles[key.structure], metric, number(s.mean, 4), number(s.sd, 4), *counts)
            rows.append((method, *cells))
    header = ("Method", "Level", "Region", "Structure", "Metric", "Mean", "SD", "n", "Missed", "Unmatched", "Only predicted")
    return Table("all_numbers", "All numbers", header, tuple(rows), CONVENTIONS)


def wilcoxon_table(results: Results, *, correction: Correction = Correction.NONE) -> Table:
    """Two-sided Wilcoxon signed-rank tests of every two methods on the rows of tables 2 and 3.

    Parameters
    ----------
    results : Results
        Of two or more methods.
    correction : Correction
        Over the tests of each two methods (the paper corrects none).
    """
    keys = [(t, Key(t.key, Level.GLOBAL, Metric.DSC)) for t in (VERTEBRA, DISC, CANAL, CORD, *SUBSTRUCTURES)]
    keys += [(t, Key(t.key, Level.INSTANCE, m)) for t in INSTANCE_TARGETS for m in _TESTED]
    rows = []
    for first, second in combinations(results.methods, 2):
        tests = [wilcoxon(list(results.paired(first, second, key).values())) for _, key in keys]
        corrected = adjusted([t.p_value for t in tests], correction)
        for (target, key), test, p in zip(keys, tests, corrected, strict=True):
            if not test.n:
                continue
            difference = _difference(results, first, second, key)
            significant = EMPTY if p is None else ("yes" if p < 0.05 else "no")
            cells = (key.level.value, target.title, key.metric.value, str(test.n), difference, p_value(p), significant)
            rows.append((f"{first} vs {second}", *cells))
    header = ("Methods", "Level", "Structure", "Metric", "n", "Mean difference", "p", "p < 0.05")
    note = "Two-sided paired Wilcoxon signed-rank test; mean difference is the second minus the first method"
    note += f"; p corrected ({correction.value})." if correction is not Correction.NONE else "; p not corrected."
    return Table("wilcoxon", "Wilcoxon signed-rank tests", header, tuple(rows), (note,))


def _table_3_keys(canal: Target) -> Iterator[tuple[Target, Key] | Section]:
    yield _GLOBAL
    for target in (VERTEBRA, DISC, canal, CORD):
        yield target, Key(target.key, Level.GLOBAL, Metric.DSC)
    yield _PARTS
    for target in SUBSTRUCTURES:
        for metric in (Metric.DSC, Metric.ASSD):
            yield target, Key(target.key, Level.GLOBAL, metric)


def _by_method(name: str, title: str, results: Results, keys: Sequence[tuple[Target, Key] | Section]) -> Table:
    rows: list[Row] = []
    missing: list[str] = []
    for entry in keys:
        if isinstance(entry, Section):
            rows.append(entry)
            continue
        target, key = entry
        summaries = [results.summary(method, key) for method in results.methods]
        rows.append(_row(target, key.metric, summaries))
        if key.metric is Metric.DSC:
            missing += [_missing(target, m, s, key.level) for m, s in zip(results.methods, summaries, strict=True)]
    notes = (*CONVENTIONS, *(m for m in missing if m))
    return Table(name, title, ("Structure", "Metric", *results.methods), tuple(rows), notes, grouped=True)


def _row(target: Target, metric: Metric, summaries: Sequence[Summary]) -> tuple[str, ...]:
    cells = [mean_and_sd(s) for s in summaries]
    marked = mark_best(cells, [s.mean for s in summaries], lower_is_better=metric.lower_is_better)
    return (target.title, f"{metric.arrow} {metric.value}", *marked)


def _missing(target: Target, where: str, summary: Summary, level: Level = Level.GLOBAL) -> str:
    """The sentence that counts the subjects behind a special value, or nothing."""
    total = summary.n + summary.extra
    told = []
    if summary.missed:
        told.append(f"in {summary.missed} of {total} the prediction has none (DSC 0, no ASSD)")
    if summary.unmatched:
        told.append(f"in {summary.unmatched} of {total} no instance was matched (DSC 0, no ASSD)")
    if summary.extra:
        told.append(f"in {summary.extra} only the prediction has it (left out)")
    return f"{target.title} ({where}, {level.value}): {', '.join(told)}." if told else ""


def _difference(results: Results, first: str, second: str, key: Key) -> str:
    pairs = list(results.paired(first, second, key).values())
    return f"{sum(b - a for a, b in pairs) / len(pairs):+.4f}"


def _file_name(method: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in method)


def canal_of(results: Results) -> Target:
    """The canal that the tables show: with the cord where no reference separates the two."""
    cord = [results.scores(method, Key(CORD.key, Level.GLOBAL, Metric.DSC, ALL_REGIONS)) for method in results.methods]
    separated = any(s.note is not Note.ONLY_IN_PREDICTION for scores in cord for s in scores.values())
    return CANAL if separated else CANAL_WITH_CORD
