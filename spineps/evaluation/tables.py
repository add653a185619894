"""Tables, and the three forms in which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from spineps.evaluation.scores import Summary

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "<": r"$<$",
    ">": r"$>$",
    "≥": r"$\geq$",
    "µ": r"$\mu$",
    "σ": r"$\sigma$",
    "–": "--",
}
EMPTY: Final = "–"


class Form(str, Enum):
    """How a table is written; the value is the file suffix."""

    MARKDOWN = "md"
    LATEX = "tex"
    TSV = "tsv"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading between rows."""

    title: str


Row = tuple[str, ...] | Section


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells.

    Parameters
    ----------
    name : str
        File name without suffix.
    title : str
        Heading.
    header : tuple of str
        Names of the columns.
    rows : tuple of (tuple of str or Section)
        Cells, as many as the header has, or headings between rows.
    notes : tuple of str
        Sentences below the table.
    grouped : bool
        In print, a first cell that repeats the one above stays empty.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    grouped: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if not isinstance(row, Section) and len(row) != len(self.header):
                raise ValueError(f"expected {len(self.header)} cells, found {row}")

    def render(self, form: Form | str) -> str:
        """The table as text that ends in a newline; the form also by its suffix: "md", "tex" or "tsv"."""
        writers = {Form.MARKDOWN: _markdown, Form.LATEX: _latex, Form.TSV: _tsv}
        return writers[Form(form)](self)

    def printed_rows(self) -> Iterator[Row]:
        """The rows as they are printed; see ``grouped``."""
        above = ""
        for row in self.rows:
            if isinstance(row, Section):
                above = ""
                yield row
            else:
                yield ("", *row[1:]) if self.grouped and row[0] == above else row
                above = row[0]


def number(value: float | None, decimals: int = 3) -> str:
    """A number with fixed decimals, or a dash."""
    return EMPTY if value is None else f"{value:.{decimals}f}"


def mean_and_sd(summary: Summary, decimals: int = 3) -> str:
    """``mean ± SD`` over subjects, the mean alone of one subject, or a dash."""
    if summary.mean is None or summary.sd is None:
        return number(summary.mean, decimals)
    return f"{summary.mean:.{decimals}f} ± {summary.sd:.{decimals}f}"


def p_value(value: float | None) -> str:
    """A p-value with three decimals, ``<0.001`` below, or a dash."""
    if value is None:
        return EMPTY
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def mark_best(cells: Sequence[str], means: Sequence[float | None], *, lower_is_better: bool) -> tuple[str, ...]:
    """Cells with an asterisk behind the best mean, as the paper marks it; none where all are equal or one stands alone."""
    known = [m for m in means if m is not None]
    if len(known) < 2 or min(known) == max(known):
        return tuple(cells)
    best = min(known) if lower_is_better else max(known)
    return tuple(f"{cell}*" if mean == best else cell for cell, mean in zip(cells, means, strict=True))


def _markdown(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    lines = [f"### {table.title}", "", line(table.header), line("---" for _ in table.header)]
    for row in table.printed_rows():
        if isinstance(row, Section):
            lines.append(line((f"**{row.title}**", *("" for _ in table.header[1:]))))
        else:
            lines.append(line(row))
    if table.notes:
        lines += ["", *(f"{note}  " for note in table.notes)]
    return "\n".join([*lines, ""])


def _latex(table: Table) -> str:
    columns = "ll" + "c" * (len(table.header) - 2)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns[: len(table.header)]}}}",
        r"\hline",
        _latex_row(table.header),
        r"\hline",
    ]
    for row in table.printed_rows():
        if isinstance(row, Section):
            lines.append(rf"\multicolumn{{{len(table.header)}}}{{l}}{{\textbf{{{_escaped(row.title)}}}}} \\")
        else:
            lines.append(_latex_row(row))
    caption = " ".join((f"{table.title}.", *table.notes))
    lines += [r"\hline", r"\end{tabular}", rf"\caption{{{_escaped(caption)}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _tsv(table: Table) -> str:
    """Plain cells; the section becomes the first column, so that every row stands by itself."""
    sections = any(isinstance(row, Section) for row in table.rows)
    current = ""
    lines = ["\t".join((*(("Section",) if sections else ()), *table.header))]
    for row in table.rows:
        if isinstance(row, Section):
            current = row.title
        else:
            cells = (cell.replace("\t", " ") for cell in row)
            lines.append("\t".join((*((current,) if sections else ()), *cells)))
    return "\n".join([*lines, ""])
