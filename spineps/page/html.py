"""Pieces of stand-alone HTML: everything is escaped here, pictures lie in the page, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {script}; frame-src {frames}; base-uri 'none'; "
    "form-action 'none'"
)
_UNSAFE: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that a page carries itself; ``kind`` is a media type such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def cells(values: Iterable[object], tag: str = "td") -> str:
    """Cells of a table's row, escaped."""
    return "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values)


def table(header: Sequence[str], rows: Iterable[str], *, caption: str = "") -> str:
    """A table that scrolls sideways where it is too wide.

    Parameters
    ----------
    header : sequence of str
        Escaped here.
    rows : iterable of str
        HTML of whole rows (``<tr>``), made with :func:`cells`.
    caption : str
        What the table shows, for those who cannot see it as well; escaped here.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "".join(rows)
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def embedded(name: str, value: Any) -> str:
    """Plain values as a block of JSON in the page, that no text in it can break out of."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char, code in _UNSAFE.items():
        text = text.replace(char, code)
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def document(title: str, *, style: str, body: str, script: str = "", head: str = "", frames: str = "'none'") -> str:
    """A whole page.

    A content security policy in it forbids every request to the network, and every script but the one given.

    Parameters
    ----------
    title : str
        Escaped here.
    style, script : str
        Content of the style sheet and of the only script.
    body, head : str
        HTML.
    frames : str
        Sources that the page may show in a frame, as in a content security policy.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = _POLICY.format(script=f"'sha256-{digest}'" if script else "'none'", frames=frames)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="generator" content="spineps">',
        f"<title>{escape(title)}</title><style>{style}</style>{head}</head>",
        body,
        f"<script>{script}</script></html>\n" if script else "</html>\n",
    ]
    return "\n".join(parts)


@lru_cache(maxsize=32)
def asset(name: str) -> str:
    """Text of one of the package's templates, style sheets or scripts."""
    return (files("spineps.page") / "templates" / name).read_text(encoding="utf-8")


def filled(name: str, **values: str) -> str:
    """A template of the package with its places filled; values are HTML already."""
    return Template(asset(name)).substitute(values)
