"""The table of faults has 79 rows. Each has a test in this folder, found here by its number; this is still to come:

| row | fault | why |
|---|---|---|
| 78, in part | no memory on a graphics card | needs one; that lack of memory is named, and a worker that is killed, is tested |

A row's number stands in the name of a test (``test_row_15_...``), at the start of a case's name (``"15 one bit"``), or in the
first line of a module that tests rows as a whole (``Rows 68, 69 and 74``).
"""

from __future__ import annotations

import re
from pathlib import Path

ROWS = set(range(1, 80))
TO_COME: set[int] = set()


def rows_of(text: str) -> set[int]:
    """Rows that a module's text names."""
    names = re.findall(r"def test_row_((?:\d+_)*\d+)", text)
    cases = re.findall(r'^\s*f?"(\d+) ', text, flags=re.MULTILINE) + re.findall(r'\(f?"(\d+) ', text)
    found = {int(number) for name in names for number in name.split("_")} | {int(number) for number in cases}
    title = text.split("\n", 1)[0]
    if re.match(r'"""Rows? (\d+(, | and |,| of|:))+', title):
        found |= {int(number) for number in re.findall(r"\d+", title.split(" of the table")[0].split(":")[0])}
    return found


def test_every_row_has_a_test() -> None:
    modules = [path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    found = {number for path in modules for number in rows_of(path.read_text("utf-8"))}
    assert ROWS - found <= TO_COME


def test_rows_are_found_in_names_cases_and_titles() -> None:
    assert rows_of('"""Rows 68, 69 and 74 of the table of faults: 3 models."""') == {68, 69, 74}
    assert rows_of('"""Row 70 of the table of faults: zip files."""') == {70}
    assert rows_of('x\ndef test_row_44_45_falls() -> None:\n    ("9 header", a),\n        f"39 size",\n') == {44, 45, 9, 39}
    assert rows_of('"""Content of 12 files."""\n') == set()
