"""Planes as pictures for a page: the grey image and, apart from it, the masks as transparent layers."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spineps.page.colours import instance_table, structure_table
from spineps.page.paint import enlarged, windowed
from spineps.page.planes import Plane
from spineps.volume import Vertebra

PNG: Final = "image/png"
WEBP: Final = "image/webp"
MAX_HEIGHT_PX: Final = 1500
MAX_PX_PER_MM: Final = 3.0
QUALITY: Final = 86
"""Of the grey images (WebP, 0 to 100): no difference is seen between it and the original at any window."""
THUMBNAIL_PX: Final = (112, 160)
"""Most columns and rows of a thumbnail."""
THUMBNAIL_QUALITY: Final = 60

_FILL: Final = 0.45  # opacity of a vertebra over the image, in thumbnails
_MOST_COLOURS: Final = 256


@dataclass(frozen=True, slots=True)
class MaskLayer:
    """One mask of a plane as two transparent PNGs of one size: areas, and their outlines."""

    areas: bytes
    outlines: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """A plane as a page shows it.

    Parameters
    ----------
    width_mm, height_mm : float
        Its size; all layers are stretched to it.
    grey : bytes or None
        WebP, a pixel a voxel; None where there is no scan.
    vertebrae, structures : MaskLayer
        The instance mask and the semantic mask.
    """

    width_mm: float
    height_mm: float
    grey: bytes | None
    vertebrae: MaskLayer
    structures: MaskLayer


def draw(plane: Plane, vertebrae: tuple[Vertebra, ...]) -> Picture:
    """Draw a plane; equal planes give equal bytes."""
    return Picture(
        plane.width_mm,
        plane.height_mm,
        None if plane.image is None else _webp(_bytes(windowed(plane.image)), QUALITY),
        _layer(plane, plane.instance, instance_table((v.label for v in vertebrae), np.unique(plane.instance))),
        _layer(plane, plane.semantic, structure_table()),
    )


def thumbnail(plane: Plane, vertebrae: tuple[Vertebra, ...]) -> bytes:
    """A small WebP of a plane with its vertebrae, at most :data:`THUMBNAIL_PX` large."""
    share = min(THUMBNAIL_PX[0] / plane.width_mm, THUMBNAIL_PX[1] / plane.height_mm)
    shape = max(1, round(plane.height_mm * share)), max(1, round(plane.width_mm * share))
    grey = np.zeros(plane.semantic.shape, np.uint8) if plane.image is None else _bytes(windowed(plane.image))
    small = Image.fromarray(grey).resize((shape[1], shape[0]), Image.Resampling.BOX)
    labels = enlarged(plane.instance, shape)
    table = instance_table((v.label for v in vertebrae), np.unique(plane.instance))
    opacity = np.where(labels > 0, _FILL, 0.0)[..., None]
    mixed = np.asarray(small, np.float32)[..., None] * (1 - opacity) + table[labels] * opacity
    return _webp(mixed.astype(np.uint8), THUMBNAIL_QUALITY)


def _layer(plane: Plane, labels: NDArray[Any], table: NDArray[np.uint8]) -> MaskLayer:
    scale = min(MAX_PX_PER_MM, MAX_HEIGHT_PX / plane.height_mm)
    shape = max(1, round(plane.height_mm * scale)), max(1, round(plane.width_mm * scale))
    big = enlarged(labels, shape)
    return MaskLayer(_png(big, table), _png(np.where(_outline(big), big, 0), table))


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of each label that touch another, or the background, on any of their four sides."""
    edge = np.zeros(labels.shape, np.bool_)
    down, right = labels[:-1] != labels[1:], labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= down
    edge[1:] |= down
    edge[:, :-1] |= right
    edge[:, 1:] |= right
    return edge


def _png(labels: NDArray[Any], table: NDArray[np.uint8]) -> bytes:
    """Labels in their colours on a transparent ground."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = True  # the transparent one is the first
    ids = np.flatnonzero(present)[:_MOST_COLOURS]
    index = np.zeros(len(present), np.uint8)
    index[ids] = np.arange(len(ids))
    picture = Image.frombytes("P", (labels.shape[1], labels.shape[0]), index[labels].tobytes())
    picture.putpalette(table[ids].tobytes())
    out = BytesIO()
    picture.save(out, "PNG", transparency=0)
    return out.getvalue()


def _bytes(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(level * 255).astype(np.uint8)


def _webp(pixels: NDArray[np.uint8], quality: int) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()
