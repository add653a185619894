"""True sizes and angles of a phantom, from the shapes that it is painted from rather than from its voxels.

A phantom's structures are implicit functions of coordinates along the curve (``u`` to the back, ``v`` to the right, ``s``
down). Points on its faces and walls are found in those coordinates and brought to millimetres by inverting the map from
space; the rest is distances and planes. Volumes and cross-sections of the canal are counted on a fine grid. None of the code
under test takes part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from spineps.geometry import Geometry
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, Structure
from spineps.phantom import anatomy as built
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy
from spineps.phantom.bodies import Block, Look, cross_section, draw_body_style, lower_plate, upper_plate
from spineps.phantom.canvas import Canvas, Patch, lay_out
from spineps.phantom.morphometry import C2, Variant
from spineps.phantom.vertebra import draw_bone_style

Points = NDArray[np.float64]
Values = dict[str, float]
FINE_MM = 0.6
NEWTON_STEPS = 12
CANAL_SLAB_MM = 3.0
COURSE_MM = 12.0


@dataclass(frozen=True, eq=False)
class Truth:
    """A phantom on a fine grid, and the true values of each structure by (kind, label), curves by (kind, level)."""

    anatomy: Anatomy
    rows: dict[tuple[str, object], Values]


@dataclass(frozen=True, eq=False)
class _Face:
    """A plate: its plane, and the axes of the phantom's own coordinates there."""

    centre: Points
    normal: Points


@dataclass(frozen=True, eq=False)
class _Axes:
    back: Points
    right: Points
    down: Points


class Spine:
    """The drawn shapes of one phantom and the map from their coordinates to grid millimetres."""

    def __init__(self, seed: int, spec: AnatomySpec) -> None:
        rng = np.random.default_rng(seed)
        person = built._draw_person(rng, spec)  # noqa: SLF001  (the drawing is private, and this is its own bench)
        geometry, pose = built._place(rng, spec, person)  # noqa: SLF001
        self.canvas: Canvas = lay_out(rng, geometry, person.stack, person.line, pose)
        built._slip(self.canvas, person)  # noqa: SLF001
        bone = draw_bone_style(rng, person.scale)
        self.look = Look(bone, draw_body_style(rng, person.scale), person.disease)
        self.geometry: Geometry = geometry
        self.spacing = np.asarray(geometry.spacing_mm)
        stack = person.stack
        sizes = [stack.sizes.of(k) for k in range(len(stack.levels))]
        self.blocks = [Block(k, level, sizes[k], float(stack.centre[k])) for k, level in enumerate(stack.levels)]
        last = sizes[-1]
        self.blocks.append(Block(len(sizes), None, last, stack.sacrum_top + last.height / 2))
        self._fields = (self.canvas.u, self.canvas.v, self.canvas.s)

    def place(self, u: Points, v: Points, s: Points) -> Points:
        """Grid millimetres of places in the phantom's coordinates (broadcast), shape (..., 3)."""
        target = np.stack(np.broadcast_arrays(u, v, s), axis=-1).astype(np.float64)
        flat = target.reshape(-1, 3)
        line, pose = self.canvas.line, self.canvas.pose
        vox = np.array([pose.to_grid(line.point(p[2], p[0], p[1])) for p in flat]) / self.spacing
        for _ in range(NEWTON_STEPS):
            here = self._at(vox)
            slope = np.stack([(self._at(vox + e) - self._at(vox - e)) / 2 for e in np.eye(3)], axis=-1)
            slope += 1e-6 * np.eye(3)  # beyond the grid there is none
            vox = vox + np.clip(np.linalg.solve(slope, (flat - here)[..., None])[..., 0], -6, 6)
        off = np.abs(self._at(vox) - flat).max(axis=1)
        vox[off > 0.05] = np.nan
        return (vox * self.spacing).reshape(target.shape)

    def _at(self, vox: Points) -> Points:
        values = [ndimage.map_coordinates(field, vox.T, order=1, mode="nearest") for field in self._fields]
        return np.stack(values, axis=-1).astype(float)

    def axes(self, s: float) -> _Axes:
        """Directions of the phantom's coordinates on the curve."""
        h = 3.0
        ends = self.place(
            np.array([h, -h, 0, 0, 0, 0]), np.array([0, 0, h, -h, 0, 0]), np.array([s, s, s, s, s + h, s - h], dtype=float)
        )
        return _Axes(*(_unit(ends[2 * k] - ends[2 * k + 1]) for k in range(3)))

    def surface(self, block: Block, u: Points, v: Points, *, upper: bool, side: float) -> Points:
        """Places on a plate, moved by ``side`` endplate half-thicknesses down."""
        flat_u, flat_v = (np.asarray(c, np.float32).reshape(-1) for c in np.broadcast_arrays(u, v))
        patch = Patch(np.zeros(0, np.intp), flat_u, flat_v, np.zeros_like(flat_u))
        plate = (upper_plate if upper else lower_plate)(patch, block, self.look)
        s = block.centre + np.asarray(plate, np.float64) + side * self.look.body.endplate_mm / 2
        return self.place(flat_u, flat_v, s).reshape(*np.broadcast(u, v).shape, 3)

    def face(self, block: Block, *, upper: bool) -> _Face:
        """The plane of a body's face (inside its endplate)."""
        u, v = (c.reshape(-1) for c in self._disc_of(block, 0.8))
        points = self.surface(block, u, v, upper=upper, side=1 if upper else -1)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) < 20:
            raise OutsideError
        centre = points.mean(axis=0)
        normal = np.linalg.svd(points - centre)[2][2]
        down = self.axes(block.centre).down
        return _Face(centre, normal * np.sign(normal @ down))

    def _disc_of(self, block: Block, share: float) -> tuple[Points, Points]:
        q = block.sizes
        u, v = np.meshgrid(
            np.linspace(-q.depth / 2, q.depth / 2, 15), np.linspace(-q.width / 2, q.width / 2, 15), indexing="ij"
        )
        inside = np.hypot(2 * u / q.depth, 2 * v / q.width) <= share
        return u[inside], v[inside]

    def walls(self, block: Block, v: float, relative: float) -> tuple[float, float]:
        """Front and rear wall at a height (-1 upper plate, 1 lower plate), off the midline by ``v``."""
        style, q = self.look.body, block.sizes
        stretch = (1 - style.waist * (1 - min(1.0, relative**2))) * (1 + style.spur * abs(relative) ** 3)
        u = np.linspace(-0.8 * q.depth, 0.8 * q.depth, 1601).astype(np.float32)
        radius = cross_section(u, np.full_like(u, v), (q.depth / 2 * stretch, q.width / 2 * stretch), style)
        inside = u[radius < 1]
        return float(inside[0]), float(inside[-1])

    def side_walls(self, block: Block, u: float, relative: float) -> tuple[float, float]:
        """Left and right wall at a height, off the middle by ``u``."""
        style, q = self.look.body, block.sizes
        stretch = (1 - style.waist * (1 - min(1.0, relative**2))) * (1 + style.spur * abs(relative) ** 3)
        v = np.linspace(-0.8 * q.width, 0.8 * q.width, 1601).astype(np.float32)
        radius = cross_section(np.full_like(v, u), v, (q.depth / 2 * stretch, q.width / 2 * stretch), style)
        inside = v[radius < 1]
        return float(inside[0]), float(inside[-1])


class OutsideError(Exception):
    """A structure that the field of view does not show whole."""


def make_truth(seed: int, first: int, last: int, *, pathology: float = 0.0) -> Truth:
    """A phantom of the vertebrae from ``first`` to ``last`` (instance ids; 26: the sacrum) and its true measures."""
    shape = (round(130 / FINE_MM), 1, round(84 / FINE_MM))
    spec = AnatomySpec(shape, (FINE_MM,) * 3, first=first, last=last, variant=Variant.NONE, pathology=pathology)
    anatomy = build_anatomy(np.random.default_rng(seed), spec)
    spine = Spine(seed, spec)
    if spine.canvas.shape != anatomy.geometry.shape:
        raise RuntimeError("the shapes were not drawn again as they were painted")
    anatomy = _whole(anatomy, first, last)
    counts = np.bincount(anatomy.instance.reshape(-1), minlength=256)
    body = np.bincount(anatomy.instance[anatomy.semantic == Structure.CORPUS].reshape(-1), minlength=256)
    rows: dict[tuple[str, object], Values] = {}
    for key, values in _structures(spine, anatomy, first, last):
        rows[key] = {name: value for name, value in values.items() if np.isfinite(value)}
    for (kind, label), values in list(rows.items()):
        if kind != "curve":
            values["volume_ml"] = float(counts[label]) * FINE_MM**3 / 1000
            if kind == "vertebra":
                values["body_volume_ml"] = float(body[label]) * FINE_MM**3 / 1000
    return Truth(anatomy, rows)


def _whole(anatomy: Anatomy, first: int, last: int) -> Anatomy:
    """The anatomy without the vertebrae that the field of view cuts above and below."""
    number = anatomy.instance % ENDPLATE_OFFSET % DISC_OFFSET
    left_out = (number > 0) & ((number < first) | (number > last))
    semantic, instance = (np.where(left_out, np.uint8(0), labels) for labels in (anatomy.semantic, anatomy.instance))
    return replace(anatomy, semantic=semantic, instance=instance)


def _structures(spine: Spine, anatomy: Anatomy, first: int, last: int) -> Iterator[tuple[tuple[str, object], Values]]:
    shown = [b for b in spine.blocks if first <= b.instance <= last and (b.level is None or b.level.position > C2)]
    faces = {}
    for block in shown:
        upper = spine.face(block, upper=True)
        faces[block.instance] = (upper, spine.face(block, upper=False) if block.level is not None else upper)
    midline = np.array([np.mean([face.centre for face in faces[block.instance]], axis=0) for block in shown])
    canal = _Canal(spine, anatomy)
    for block, following in zip(shown, [*shown[1:], None], strict=True):
        if block.level is None:
            continue
        values = _vertebra(spine, block, faces[block.instance], midline)
        yield ("vertebra", block.instance), values | canal.sections(block.centre)
        if following is not None:
            values = _disc(spine, (block, following), faces)
            place = (block.centre + block.sizes.height / 2 + following.centre - following.sizes.height / 2) / 2
            yield ("disc", DISC_OFFSET + block.instance), values | canal.sections(place)
    yield from _curves(spine, shown, faces)


def _curves(
    spine: Spine, shown: list[Block], faces: dict[int, tuple[_Face, _Face]]
) -> Iterator[tuple[tuple[str, object], Values]]:
    by_name = {block.level.name if block.level else "S1": block.instance for block in shown}
    rights = {block.instance: spine.axes(block.centre).right for block in shown}
    for first, last in (("L1", "S1"), ("L1", "L5")):
        if first in by_name and last in by_name:
            between = [rights[label] for label in rights if by_name[first] <= label <= by_name[last]]
            end = faces[by_name[last]][0 if last == "S1" else 1]
            angle = _sagittal(faces[by_name[first]][0].normal, end.normal, _unit(np.sum(between, axis=0)))
            yield ("curve", f"{first}-{last}"), {"lordosis_deg": angle}


def _tangent(midline: Points, place: Points) -> Points:
    """Direction at a place of the natural cubic spline through the middles of the bodies."""
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(midline, axis=0), axis=1))))
    line = CubicSpline(along, midline, bc_type="natural")
    fine = np.linspace(0, along[-1], 2000)
    return _unit(line(fine[np.argmin(np.linalg.norm(line(fine) - place, axis=1))], 1))


def _vertebra(spine: Spine, block: Block, faces: tuple[_Face, _Face], midline: Points) -> Values:
    q, axes = block.sizes, spine.axes(block.centre)
    front, rear = spine.walls(block, 0.0, 0.7)
    v = np.linspace(-q.width / 8, q.width / 8, 5)
    values = {}
    for name, low, high in (("anterior", 0.05, 0.15), ("middle", 0.4, 0.6), ("posterior", 0.85, 0.95)):
        u = front + np.linspace(low, high, 5)[:, None] * (rear - front)
        top = spine.surface(block, u, v[None], upper=True, side=1)
        bottom = spine.surface(block, u, v[None], upper=False, side=-1)
        values[f"height_{name}_mm"] = float(np.linalg.norm(bottom - top, axis=-1).mean())
    values["wedge_ratio"] = values["height_anterior_mm"] / values["height_posterior_mm"]
    values["biconcavity_ratio"] = values["height_middle_mm"] / values["height_posterior_mm"]
    values["wedge_deg"] = _sagittal(faces[0].normal, faces[1].normal, axes.right)
    depths, widths = [], []
    for relative in (-0.3, 0.0, 0.3):
        s = block.centre + relative * q.height / 2
        for share in (-0.1, 0.0, 0.1):
            ends = np.array(spine.walls(block, share * q.width, relative))
            depths.append(spine.place(ends, np.full(2, share * q.width), np.full(2, s)))
            share -= 0.15  # noqa: PLW2901  (in front of the pedicles)
            ends = np.array(spine.side_walls(block, share * q.depth, relative))
            widths.append(spine.place(np.full(2, share * q.depth), ends, np.full(2, s)))
    values["depth_mm"] = float(np.mean([np.linalg.norm(b - a) for a, b in depths]))
    values["width_mm"] = float(np.mean([np.linalg.norm(b - a) for a, b in widths]))
    for side, face in (("superior", faces[0]), ("inferior", faces[1])):
        down = _tangent(midline, face.centre)
        values[f"tilt_{side}_sagittal_deg"] = _sagittal(down, face.normal, axes.right)
        values[f"tilt_{side}_coronal_deg"] = _coronal(down, face.normal, axes.back)
    return values


def _disc(spine: Spine, pair: tuple[Block, Block], faces: dict[int, tuple[_Face, _Face]]) -> Values:
    upper, lower = pair
    q, p, style = upper.sizes, lower.sizes, spine.look.body
    half = (q.depth + p.depth) / 4
    front, rear = -half, half / (1 + style.notch)
    wide = (q.width + p.width) / 2
    v = np.linspace(-wide / 8, wide / 8, 5)
    values = {}

    def height(u: Points, across: Points) -> float:
        top = spine.surface(upper, u, across, upper=False, side=1)
        bottom = spine.surface(lower, u, across, upper=True, side=-1)
        return float(np.linalg.norm(bottom - top, axis=-1).mean())

    for name, low, high in (("anterior", 0.05, 0.15), ("middle", 0.4, 0.6), ("posterior", 0.85, 0.95)):
        values[f"height_{name}_mm"] = height(front + np.linspace(low, high, 5)[:, None] * (rear - front), v[None])
    u, across = np.meshgrid(np.linspace(-half, half, 21), np.linspace(-wide / 2, wide / 2, 21), indexing="ij")
    inside = cross_section(u.astype(np.float32), across.astype(np.float32), (half, wide / 2), style) < 1
    u, across = u[inside], across[inside]
    inner = np.hypot((u - u.mean()) / (2 * u.std()), across / (2 * across.std())) <= 0.8
    values["height_mean_mm"] = height(u[inner], across[inner])
    axes = spine.axes((upper.centre + lower.centre) / 2)
    above, below = faces[upper.instance][1], faces[lower.instance][0]
    values["wedge_deg"] = _sagittal(above.normal, below.normal, axes.right)
    if lower.level is not None:
        corners = [_corner(spine, upper, faces[upper.instance], 1), _corner(spine, lower, faces[lower.instance], -1)]
        back = spine.axes(lower.centre).back
        along = _unit(back - (back @ below.normal) * below.normal)
        values["slip_mm"] = float((corners[1] - corners[0]) @ along)
    return values


def _corner(spine: Spine, block: Block, faces: tuple[_Face, _Face], side: int) -> Points:
    """The rear wall (mean over a fifth of the height near the plate) brought to the plate along the body's axis."""
    face = faces[0 if side < 0 else 1]
    rear = float(np.mean([spine.walls(block, 0.0, side * relative)[1] for relative in (0.4, 0.5, 0.6, 0.7, 0.8)]))
    foot = spine.place(np.array([rear]), np.zeros(1), np.array([block.centre + side * 0.3 * block.sizes.height]))[0]
    down = _unit(faces[0].normal + faces[1].normal)
    return foot + down * ((face.centre - foot) @ face.normal) / (down @ face.normal)


class _Canal:
    """Cross-sections counted on the fine grid, in slabs at right angles to the canal's own course."""

    def __init__(self, spine: Spine, anatomy: Anatomy) -> None:
        cord = anatomy.semantic == Structure.CORD
        where = cord | (anatomy.semantic == Structure.CANAL)
        self._spine = spine
        self._is_cord = cord[where]
        self._points = np.argwhere(where) * FINE_MM
        self._s = spine.canvas.s[where].astype(float)

    def sections(self, s: float) -> Values:
        ends = [self._points[np.abs(self._s - place) <= CANAL_SLAB_MM / 2] for place in (s - COURSE_MM, s, s + COURSE_MM)]
        if min(len(points) for points in ends) < 200:
            return {}
        above, middle, below = (points.mean(axis=0) for points in ends)
        down = _unit(below - above)
        back = self._spine.axes(s).back
        back = _unit(back - (back @ down) * down)
        offset = self._points - middle
        slab = np.abs(offset @ down) <= CANAL_SLAB_MM / 2
        slab &= np.linalg.norm(offset, axis=1) < 30
        out: Values = {}
        for name, chosen in (("canal", slab), ("cord", slab & self._is_cord)):
            area = chosen.sum() * FINE_MM**3 / CANAL_SLAB_MM
            if area >= 8:
                u, v = offset[chosen] @ back, offset[chosen] @ np.cross(back, down)
                u, v = u - u.mean(), v - v.mean()
                depth = width = np.sqrt(area)
                for _ in range(3):
                    depth = area * np.mean(np.abs(v) < 0.1 * width) / (0.2 * width)
                    width = area * np.mean(np.abs(u) < 0.1 * depth) / (0.2 * depth)
                out |= {f"{name}_area_mm2": float(area), f"{name}_depth_mm": float(depth), f"{name}_width_mm": float(width)}
        return out


def _unit(vector: Points) -> Points:
    return vector / np.linalg.norm(vector)


def _sagittal(first: Points, second: Points, right: Points) -> float:
    a, b = first - (first @ right) * right, second - (second @ right) * right
    return float(np.degrees(np.arctan2(-right @ np.cross(a, b), a @ b)))


def _coronal(first: Points, second: Points, back: Points) -> float:
    a, b = first - (first @ back) * back, second - (second @ back) * back
    return float(np.degrees(np.arctan2(back @ np.cross(a, b), a @ b)))
