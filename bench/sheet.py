"""A contact sheet: the snapshots of many scans on one picture, with their names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

TILE = (480, 480)
CAPTION = 18
INK, PAPER = "white", "black"


def contact_sheet(pictures: Sequence[tuple[str, Path]], target: Path, *, columns: int = 4) -> None:
    """Write the pictures, each fitted into a tile under its name, as one PNG."""
    width, height = TILE[0], TILE[1] + CAPTION
    sheet = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (name, path) in enumerate(pictures):
        left, top = number % columns * width, number // columns * height
        with Image.open(path) as picture:
            tile = picture.convert("RGB")
            tile.thumbnail(TILE)
            sheet.paste(tile, (left + (TILE[0] - tile.width) // 2, top + CAPTION))
        draw.text((left + 4, top + 3), name, fill=INK)
    sheet.save(target)
