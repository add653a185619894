"""Spines of exact cylinders and wedges, on any grid: what measurements must find is known without measuring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import PIR, Geometry, Spacing
from spineps.labels import SACRUM_INSTANCE, Scheme, Structure
from spineps.measures import measure_structures
from spineps.volume import LabelMap, Levels, LevelStatus, StructureMeasures

Points = NDArray[np.float64]
FIRST = 20
NAMES = {20: "L1", 21: "L2", 22: "L3", 23: "L4", 24: "L5"}
CANAL_HALF_MM = (8.0, 11.0)
CORD_HALF_MM = (4.0, 6.0)


@dataclass(frozen=True)
class Column:
    """Bodies that are elliptic cylinders cut by planes, discs between them, a canal behind; mm and degrees.

    Each body is ``wedge`` degrees higher in front, each disc opens by ``opening`` degrees more. ``slip`` is how far the second
    body, with all below, lies behind the first.
    """

    count: int = 3
    height: float = 26.0
    depth: float = 34.0
    width: float = 46.0
    disc: float = 9.0
    wedge: float = 0.0
    opening: float = 0.0
    slip: float = 0.0
    hollow: float = 0.0
    sacrum: bool = False
    first: int = FIRST


@dataclass(frozen=True)
class _Part:
    centre: Points
    turn: float

    def local(self, points: Points) -> tuple[Points, Points, Points]:
        offset = points - self.centre
        back, down = _axes(self.turn)
        return offset @ back, offset[..., 2], offset @ down


def _axes(turn: float) -> tuple[Points, Points]:
    return np.array([np.cos(turn), -np.sin(turn), 0.0]), np.array([np.sin(turn), np.cos(turn), 0.0])


def paint(
    column: Column,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    *,
    rotation: Points | None = None,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    margin_mm: float = 14.0,
) -> tuple[LabelMap, LabelMap]:
    """Semantic and instance mask: what lies at the centre of each voxel."""
    parts = _bodies(column)
    rotation = np.eye(3) if rotation is None else rotation
    middle = np.mean([part.centre for part in parts], axis=0)
    ends = np.array([part.centre for part in parts]) - middle
    half = np.abs(ends @ rotation.T).max(axis=0) + np.array([column.depth, column.height, column.width]) / 2 + margin_mm
    half[0] += 2 * CANAL_HALF_MM[0]
    half[1] += 30.0 if column.sacrum else 0.0
    shape = [int(2 * h / s) for h, s in zip(half, spacing_mm, strict=True)]
    steps = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    places = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    points = (places + np.array(shift_mm)) @ rotation + middle
    semantic, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    _paint_canal(points, parts, column, semantic)
    for index in range(len(parts)):
        _paint_level(points, parts, index, column, (semantic, instance))
    geometry = Geometry.from_spacing(shape, spacing_mm, PIR)
    return LabelMap(semantic, geometry, Scheme.SEMANTIC), LabelMap(instance, geometry, Scheme.INSTANCE)


def _bodies(column: Column) -> list[_Part]:
    parts, place, turn = [], np.zeros(3), 0.0
    step = np.deg2rad(column.wedge + column.opening)
    for index in range(column.count + column.sacrum):
        parts.append(_Part(place, turn))
        down, between = _axes(turn)[1], _axes(turn + step / 2)[1]
        place = place + down * column.height / 2 + between * column.disc
        turn += step
        place = place + _axes(turn)[1] * column.height / 2
        if index == 0:
            place = place + _axes(turn)[0] * column.slip
    return parts


def _faces(column: Column, u: Points, v: Points) -> tuple[Points, Points]:
    lean = np.tan(np.deg2rad(column.wedge / 2))
    round_ = np.clip(1 - (2 * u / column.depth) ** 2 - (2 * v / column.width) ** 2, 0, 1)
    half = column.height / 2 - lean * u - column.hollow * round_
    return -half, half


def _inside(column: Column, u: Points, v: Points) -> NDArray[np.bool_]:
    return (2 * u / column.depth) ** 2 + (2 * v / column.width) ** 2 < 1


def _paint_level(
    points: Points, parts: list[_Part], index: int, column: Column, masks: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    semantic, instance = masks
    u, v, w = parts[index].local(points)
    top, bottom = _faces(column, u, v)
    if column.sacrum and index == column.count:
        here = _inside(column, u, v) & (w > top) & (w < column.height)
        semantic[here], instance[here] = Structure.SACRUM, SACRUM_INSTANCE
        return
    here = _inside(column, u, v) & (w > top) & (w < bottom)
    semantic[here], instance[here] = Structure.CORPUS, column.first + index
    if index + 1 < len(parts):
        p, q, r = parts[index + 1].local(points)
        below = (w > bottom) & (w < bottom + 30) & (r < _faces(column, p, q)[0]) & (r > -column.height / 2 - 30)
        disc = below & _inside(column, (u + p) / 2, v)
        semantic[disc], instance[disc] = Structure.DISC, 100 + column.first + index


def _paint_canal(points: Points, parts: list[_Part], column: Column, semantic: NDArray[np.uint8]) -> None:
    reach = (column.height + column.disc) / 2 + 1
    for half, label in ((CANAL_HALF_MM, Structure.CANAL), (CORD_HALF_MM, Structure.CORD)):
        for part in parts:
            u, v, w = part.local(points)
            behind = u - column.depth / 2 - CANAL_HALF_MM[0] - 1
            semantic[((behind / half[0]) ** 2 + (v / half[1]) ** 2 < 1) & (np.abs(w) < reach)] = label


def levels(column: Column, status: LevelStatus = LevelStatus.NAMED, posterior: float = 1.0) -> Levels:
    """Levels of the bodies, each as sure as ``posterior``."""
    if status is LevelStatus.NUMBERED:
        return Levels(status)
    names = {label: NAMES[label] for label in range(column.first, column.first + column.count)}
    return Levels(status, names, {label: {name: posterior} for label, name in names.items()})


def measure(masks: tuple[LabelMap, LabelMap], found: Levels) -> dict[tuple[str, object], StructureMeasures]:
    """Rows by kind and label (curves by level)."""
    rows = measure_structures(*masks, found)
    return {(row.kind, row.level if row.label is None else row.label): row for row in rows}
