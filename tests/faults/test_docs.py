"""Each code has a row in docs/errors.md, and each row a code."""

from __future__ import annotations

import re
from pathlib import Path

from spineps.errors import ErrorCode, FindingCode


def test_every_code_is_documented_once(repository: Path) -> None:
    page = (repository / "docs" / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.+)\|$", page, flags=re.MULTILINE)
    assert sorted(code for code, _ in rows) == sorted([*map(str, ErrorCode), *map(str, FindingCode)])
    assert all(cell.strip() for _, cells in rows for cell in cells.split("|"))
