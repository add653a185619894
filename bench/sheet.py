"""A contact sheet: the snapshots of many scans on one picture, with their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, TALLEST = 960, 640
CAPTION, GAP = 24, 6
INK, PAPER = "white", "black"


def contact_sheet(pictures: Sequence[tuple[str, Path]], target: Path, *, columns: int = 2) -> None:
    """Write the pictures, each fitted into its column under its name, as one PNG."""
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    strips = [[(name, _fitted(path)) for name, path in row] for row in rows]
    heights = [CAPTION + max(tile.height for _, tile in strip) + GAP for strip in strips]
    sheet = Image.new("RGB", (min(columns, len(pictures)) * (WIDTH + GAP), sum(heights)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION - 8)
    top = 0
    for strip, height in zip(strips, heights, strict=True):
        for column, (name, tile) in enumerate(strip):
            left = column * (WIDTH + GAP)
            draw.text((left + 4, top + 2), name, fill=INK, font=font)
            sheet.paste(tile, (left, top + CAPTION))
        top += height
    sheet.save(target)


def _fitted(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        tile = picture.convert("RGB")
    scale = min(WIDTH / tile.width, TALLEST / tile.height)
    return tile.resize((round(tile.width * scale), round(tile.height * scale)), Image.Resampling.LANCZOS)
