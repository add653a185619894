"""The files of an evaluation: tables in three forms, all numbers, plots and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spineps.evaluation.cervical import LEVELS, mann_whitney_table, vertebra_table
from spineps.evaluation.cohort import EvaluationSettings, Outcome, Protocol
from spineps.evaluation.compare import comparison_table, difference_table, lowest_table, worst_table
from spineps.evaluation.page import render_page
from spineps.evaluation.paper_tables import canal_of, complete_table, table_2, table_3, table_5, wilcoxon_table
from spineps.evaluation.plots import Picture, plots
from spineps.evaluation.scan_tables import ranking_table, scan_table
from spineps.evaluation.scores import Results
from spineps.evaluation.statistics import Correction
from spineps.evaluation.tables import Form, Table
from spineps.io import atomic

PAGE: Final = "report.html"
SCORES: Final = "scores.tsv"


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the tables show; no number changes by them.

    Parameters
    ----------
    correction : Correction
        Of the p-values.
    groups : Mapping of str to str
        Case to ``fold-0``..., ``internal`` or ``external``, for the cervical tables.
    levels : tuple of str
        Vertebrae of the cervical tables.
    literature : bool
        Add the columns that the cervical paper quotes.
    """

    correction: Correction = Correction.NONE
    groups: Mapping[str, str] = field(default_factory=dict)
    levels: tuple[str, ...] = LEVELS
    literature: bool = False


def main_tables(results: Results, settings: EvaluationSettings, options: ReportOptions) -> list[Table]:
    """The tables that a user wants to see first: those of the paper whose numbers were measured."""
    if settings.protocol is Protocol.SPINEPS:
        return _spineps_tables(results, settings, options)
    if settings.protocol is Protocol.VERSE:
        tables = [scan_table(results, "verse", "VerSe")]
        ranked = ranking_table(results)
        return tables if ranked is None else [*tables, ranked]
    if settings.protocol is Protocol.CERVICAL:
        tables = [
            vertebra_table(results, m, options.groups, levels=options.levels, literature=options.literature)
            for m in results.methods
        ]
        if len(results.methods) > 1:
            tables.append(mann_whitney_table(results, options.groups, levels=options.levels, correction=options.correction))
        return tables
    return [scan_table(results, "planar", "2D masks")]


def write_report(
    outcome: Outcome, settings: EvaluationSettings, options: ReportOptions, folder: Path
) -> tuple[list[Table], list[Path]]:
    """Write everything into a folder.

    Returns
    -------
    list of Table
        The main tables, for the terminal.
    list of Path
        The files, the page last.
    """
    results = outcome.results
    shown = main_tables(results, settings, options)
    page_tables, file_tables = [*shown], [*shown]
    if settings.protocol is Protocol.SPINEPS:
        file_tables.append(complete_table(results))
    if len(results.methods) == 2:
        first, second = results.methods
        page_tables += [comparison_table(results, first, second), worst_table(results, first, second)]
        file_tables += [comparison_table(results, first, second), difference_table(results, first, second)]
    page_tables += [lowest_table(results, method) for method in results.methods]
    pictures = plots(results)
    written = list(_write_tables(file_tables, folder))
    atomic.write_text(folder / SCORES, "".join(_score_lines(results)))
    written.append(folder / SCORES)
    for picture in pictures:
        path = folder / "plots" / f"{_plain(picture.name)}.png"
        atomic.write_bytes(path, picture.png)
        written.append(path)
    remarks = [f"{method}, {case}: {remark}" for method, case, remark in results.remarks]
    remarks += [f"{f.method}, {f.case}: not measured. {f.message}" for f in outcome.failures]
    atomic.write_text(folder / PAGE, _page(outcome, settings, page_tables, pictures, remarks))
    return shown, [*written, folder / PAGE]


def _spineps_tables(results: Results, settings: EvaluationSettings, options: ReportOptions) -> list[Table]:
    canal = canal_of(results)
    tables = [table_2(results, canal=canal), table_3(results, canal=canal)]
    if settings.panoptic.regions:
        tables += [table_5(results, method, canal=canal) for method in results.methods]
    if len(results.methods) > 1:
        tables.append(wilcoxon_table(results, correction=options.correction))
    return tables


def _page(
    outcome: Outcome,
    settings: EvaluationSettings,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    remarks: Sequence[str],
) -> str:
    results = outcome.results
    cases = {case for key in results.all_keys() for method in results.methods for case in results.scores(method, key)}
    lines = [f"{len(cases)} cases, methods: {', '.join(results.methods)}. Protocol: {settings.protocol.value}."]
    if settings.protocol is Protocol.SPINEPS:
        lines.append(
            f"Instances matched by panoptica ({settings.panoptic.matcher.value}, IoU ≥ {settings.panoptic.threshold:g})."
        )
    if outcome.failures:
        lines.append(f"{len(outcome.failures)} cases could not be measured; see the remarks.")
    return render_page("Evaluation", lines, tables, pictures, remarks)


def _write_tables(tables: Sequence[Table], folder: Path) -> Iterator[Path]:
    for table in tables:
        for form in Form:
            path = folder / f"{_plain(table.name)}.{form.value}"
            atomic.write_text(path, table.render(form))
            yield path


def _score_lines(results: Results) -> Iterator[str]:
    """Every number of every case, a line each: a tidy table for pandas and R."""
    yield "method\tcase\tlevel\tregion\tstructure\tmetric\tvalue\tnote\n"
    for method in results.methods:
        for key in results.all_keys():
            for case, score in results.scores(method, key).items():
                value = "" if score.value is None else repr(score.value)
                cells = (method, case, key.level.value, key.region, key.structure, key.metric.value, value, score.note.value)
                yield "\t".join(cells) + "\n"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name)
