"""The HTML page of an evaluation: one file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from spineps.evaluation.plots import Picture
from spineps.evaluation.tables import Section, Table
from spineps.page.html import cells, data_uri, document, table

_FOLDED_ROWS: Final = 30
"""Longer tables are folded: those of the papers are shorter."""
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #fff; --quiet: #57606a; --line: #d0d7de; --raised: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --ground: #111214; --quiet: #a3a9b2; --line: #33383f; --raised: #1b1e22; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.1rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); padding-bottom: 0.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid var(--quiet); }
td { border-bottom: 1px solid var(--line); }
tr.section td { font-weight: 600; background: var(--raised); }
p.note, figcaption { color: var(--quiet); font-size: 0.85rem; margin: 0.3rem 0; }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem 2rem; align-items: flex-end; }
figure { margin: 0; }
figcaption { width: 0; min-width: 100%; }
img { max-width: 100%; height: auto; border-radius: 4px; }
details summary { cursor: pointer; }
"""


def render_page(
    title: str, lines: Sequence[str], tables: Sequence[Table], pictures: Sequence[Picture], remarks: Sequence[str]
) -> str:
    """The page as text.

    Parameters
    ----------
    title : str
        Heading.
    lines : sequence of str
        What was compared, with which settings: a paragraph each.
    tables : sequence of Table
        In the order in which they are read; long ones fold.
    pictures : sequence of Picture
        Plots, put into the page itself.
    remarks : sequence of str
        About single cases.
    """
    parts = [
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in lines),
        *(_table(shown) for shown in tables),
    ]
    if pictures:
        parts += ['<h2>Plots</h2><div class="plots">', *(_picture(picture) for picture in pictures), "</div>"]
    if remarks:
        items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
        parts.append(
            f"<h2>Remarks</h2><details><summary>{len(remarks)} remarks on single cases</summary><ul>{items}</ul></details>"
        )
    return document(title, style=_STYLE, body="\n".join([*parts, "</body>"]))


def _table(shown: Table) -> str:
    rows = []
    for row in shown.printed_rows():
        if isinstance(row, Section):
            rows.append(f'<tr class="section"><td colspan="{len(shown.header)}">{escape(row.title)}</td></tr>')
        else:
            rows.append(f"<tr>{cells(row)}</tr>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in shown.notes)
    body = (table(shown.header, rows) if rows else "") + notes
    if len(rows) > _FOLDED_ROWS:
        body = f"<details><summary>{len(rows)} rows</summary>{body}</details>"
    return f"<section><h2>{escape(shown.title)}</h2>{body}</section>"


def _picture(picture: Picture) -> str:
    caption = escape(picture.caption)
    source = data_uri(picture.png, "image/png")
    return f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>'
