"""Small synthetic spines and a network that knows the answer, for tests of the stages after the semantic network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from spineps.geometry import PIR, Box, Geometry, Spacing, extract, resample
from spineps.labels import VERTEBRA, Scheme, Structure, lookup
from spineps.stages.cutouts import instance_grid
from spineps.volume import LabelMap

TOP_MM = 14.0
MIDDLE_R_MM = 30.0
FIELD_P_MM = 96.0


@dataclass(frozen=True)
class Spine:
    """A semantic mask, the number of each vertebra voxel (1 is the topmost), and the body centres in voxels."""

    semantic: LabelMap
    truth: NDArray[np.uint8]
    centres_vox: tuple[tuple[float, float, float], ...]

    def edited(self, labels: NDArray[np.uint8]) -> LabelMap:
        return LabelMap(labels, self.semantic.geometry, Scheme.SEMANTIC)

    def labels(self) -> NDArray[np.uint8]:
        return self.semantic.labels.astype(np.uint8)

    def body_box(self, number: int) -> Box:
        """Box around the body of one vertebra."""
        box = Box.around((self.truth == number) & (self.semantic.labels == Structure.CORPUS))
        assert box is not None
        return box


class _Canvas:
    def __init__(self, shape: Sequence[int], spacing_mm: Spacing) -> None:
        self.labels = np.zeros(shape, np.uint8)
        self.truth = np.zeros(shape, np.uint8)
        self.mm = [np.arange(n) * step for n, step in zip(shape, spacing_mm, strict=True)]
        self.mm = list(np.ix_(*self.mm))

    def paint(self, low: Sequence[float], high: Sequence[float], label: int, number: int, *, round_: bool = False) -> None:
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        half = [(b - a) / 2 for a, b in zip(low, high, strict=True)]
        offset = [np.abs(x - m) / h for x, m, h in zip(self.mm, middle, half, strict=True)]
        inside = (offset[0] <= 1) & (offset[1] <= 1) & (offset[2] <= 1)
        if round_:
            inside &= offset[0] ** 4 + offset[2] ** 4 <= 1
        free = inside & (self.labels == 0)
        self.labels[free] = label
        self.truth[free] = number


def make_spine(
    count: int = 5,
    spacing_mm: Spacing = (2.0, 2.0, 2.0),
    *,
    pitch_mm: float = 28.0,
    bend_mm: float = 6.0,
    sacrum: bool = True,
) -> Spine:
    """A spine of ``count`` vertebrae on a gentle curve, all fourteen structures, the lower levels a little larger."""
    tail = 46.0 if sacrum else 12.0
    extent = (FIELD_P_MM, TOP_MM + count * pitch_mm + tail, 2 * MIDDLE_R_MM)
    shape = [round(e / s) for e, s in zip(extent, spacing_mm, strict=True)]
    canvas = _Canvas(shape, spacing_mm)
    centres = []
    for k in range(count):
        middle = TOP_MM + (k + 0.5) * pitch_mm
        front = 14 + bend_mm * (1 + np.sin(2.2 * k / max(1, count)))
        centres.append((front + 14, middle, MIDDLE_R_MM))
        _paint_vertebra(canvas, k + 1, front, middle, pitch_mm)
        _paint_disc(canvas, front, middle, pitch_mm)
    back = centres[-1][0] - 14
    if sacrum:
        low = TOP_MM + count * pitch_mm + 2
        canvas.paint((back + 4, low, 12), (back + 34, low + 36, 48), Structure.SACRUM, 0)
    geometry = Geometry.from_spacing(shape, spacing_mm, PIR)
    truth = np.where(lookup(VERTEBRA)[canvas.labels], canvas.truth, 0).astype(np.uint8)
    vox = tuple(tuple(float(c / s) for c, s in zip(centre, spacing_mm, strict=True)) for centre in centres)
    return Spine(LabelMap(canvas.labels, geometry, Scheme.SEMANTIC), truth, vox)


def _paint_vertebra(canvas: _Canvas, number: int, front: float, middle: float, pitch: float) -> None:
    height = 0.36 * pitch
    right = MIDDLE_R_MM
    canvas.paint(
        (front, middle - height, right - 18), (front + 28, middle + height, right + 18), Structure.CORPUS, number, round_=True
    )
    for low, high in ((-height - 2.2, -height + 0.5), (height - 0.5, height + 2.2)):
        canvas.paint(
            (front + 1, middle + low, right - 17), (front + 27, middle + high, right + 17), Structure.ENDPLATE, 0, round_=True
        )
    canvas.paint((front + 32, middle - pitch / 2, right - 4), (front + 40, middle + pitch / 2, right + 4), Structure.CORD, 0)
    canvas.paint((front + 29, middle - pitch / 2, right - 8), (front + 43, middle + pitch / 2, right + 8), Structure.CANAL, 0)
    for side in (-1, 1):
        canvas.paint(*_sided((front + 27, front + 46), (middle - 4, middle + 4), (8, 14), side), Structure.ARCUS, number)
        left = side < 0
        costal = Structure.COSTAL_LEFT if left else Structure.COSTAL_RIGHT
        upper = Structure.SUPERIOR_ARTICULAR_LEFT if left else Structure.SUPERIOR_ARTICULAR_RIGHT
        lower = Structure.INFERIOR_ARTICULAR_LEFT if left else Structure.INFERIOR_ARTICULAR_RIGHT
        canvas.paint(*_sided((front + 36, front + 43), (middle - 4, middle + 4), (14, 25), side), costal, number)
        canvas.paint(*_sided((front + 39, front + 45), (middle - 0.52 * pitch, middle - 4), (8, 14), side), upper, number)
        canvas.paint(*_sided((front + 46, front + 52), (middle + 3, middle + 0.4 * pitch), (8, 14), side), lower, number)
    canvas.paint((front + 43, middle - 4, right - 14), (front + 50, middle + 5, right + 14), Structure.ARCUS, number)
    canvas.paint((front + 50, middle - 4, right - 4), (front + 70, middle + 8, right + 4), Structure.SPINOUS, number)


def _sided(
    p: tuple[float, float], i: tuple[float, float], r: tuple[float, float], side: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    a, b = sorted((MIDDLE_R_MM + side * r[0], MIDDLE_R_MM + side * r[1]))
    return (p[0], i[0], a), (p[1], i[1], b)


def _paint_disc(canvas: _Canvas, front: float, middle: float, pitch: float) -> None:
    low, high = middle + 0.36 * pitch + 1, middle + 0.64 * pitch - 2.4
    canvas.paint((front, low, MIDDLE_R_MM - 18), (front + 28, high, MIDDLE_R_MM + 18), Structure.DISC, 0, round_=True)


def fused_with_a_waist(spine: Spine) -> NDArray[np.uint8]:
    """The labels of a spine with its third and fourth body fused, and thinnest within the upper one."""
    labels, (upper, lower) = spine.labels(), (spine.body_box(n) for n in (3, 4))
    p, last, r = upper.slices
    labels[p, last.stop - 1 : lower.start[1] + 1, r.start + 1 : r.stop - 1] = Structure.CORPUS
    neck = labels[p, last.stop - 6 : last.stop - 4, r]
    thin = np.zeros(neck.shape, np.bool_)
    thin[8:-8, :, 6:-6] = True
    neck[~thin] = 0
    return labels


class Oracle:
    """An instance network that looks its answer up.

    It finds where a cutout lies by correlating it with the whole mask. ``error`` is the share of cutouts that name the
    wrong vertebra as their centre, and of votes of which a part is missing.
    """

    def __init__(
        self,
        spine: Spine,
        spacing_mm: Spacing = (2.0, 2.0, 2.0),
        cutout_size: tuple[int, int, int] = (56, 56, 32),
        *,
        shift_mm: Spacing = (16.0, 0.0, 0.0),
        error: float = 0.0,
        seed: int = 0,
        parts_fused: bool = False,
    ) -> None:
        self.parts_fused = parts_fused
        self.spacing_mm, self.cutout_size, self.shift_mm = spacing_mm, cutout_size, shift_mm
        self.calls = 0
        self._error, self._seed = error, seed
        source = spine.semantic.geometry
        grid = instance_grid(source, spacing_mm)
        self._labels = resample(spine.labels(), source, grid, order=0)
        self._truth = resample(spine.truth, source, grid, order=0)
        self._size = [fft.next_fast_len(n + c, real=True) for n, c in zip(grid.shape, cutout_size, strict=True)]
        whole = self._labels.astype(np.float32)
        self._spectrum = fft.rfftn(whole, self._size)
        window = fft.rfftn(np.ones(cutout_size, np.float32), self._size)
        self._energy = fft.irfftn(fft.rfftn(whole**2, self._size) * np.conj(window), self._size)

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.calls += 1
        return np.stack([self.answer(self.place(cutout), cutout) for cutout in cutouts])

    def place(self, cutout: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Where the cutout's first voxel lies in the mask."""
        spectrum = fft.rfftn(cutout.astype(np.float32), self._size)
        match = fft.irfftn(self._spectrum * np.conj(spectrum), self._size)
        best = np.unravel_index(np.argmin(self._energy - 2 * match), match.shape)
        a, b, c = (int(v) - (n if v >= m else 0) for v, n, m in zip(best, self._size, self._labels.shape, strict=True))
        return a, b, c

    def answer(self, start: tuple[int, int, int], cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The vertebrae above, at and below the body that the cutout was made around."""
        box = Box(start, tuple(s + n for s, n in zip(start, self.cutout_size, strict=True)))
        truth = extract(self._truth, box)
        shift = [round(s / step) for s, step in zip(self.shift_mm, self.spacing_mm, strict=True)]
        centre = np.array([n // 2 - s for n, s in zip(self.cutout_size, shift, strict=True)])
        found = np.argwhere(truth)
        number = int(truth[tuple(found[np.argmin(((found - centre) ** 2).sum(axis=1))])]) if len(found) else 0
        rng = np.random.default_rng([self._seed, *(s + 10_000 for s in start)])
        if rng.random() < self._error:
            number = max(1, number + int(rng.choice([-1, 1])))
        out = np.zeros(cutout.shape, np.uint8)
        for relation in (1, 2, 3):
            mask = (truth == number + relation - 2) & (number + relation > 2)
            if rng.random() < self._error and mask.any():
                mask = _with_part_missing(mask, rng)
            out[mask & (cutout > 0)] = relation
        return out


def _with_part_missing(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    axis = int(rng.integers(3))
    shown = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    cut = [slice(None)] * 3
    cut[axis] = slice(int(shown[0] + 0.7 * (shown[-1] - shown[0])), None)
    out = mask.copy()
    out[tuple(cut)] = False
    return out


def dices(truth: NDArray[np.uint8], found: NDArray[np.unsignedinteger], first: int = 2) -> list[float]:
    """Dice of truth k with label ``first + k - 1``."""
    out = []
    for number in range(1, int(truth.max()) + 1):
        a, b = truth == number, found == first + number - 1
        out.append(float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))))
    return out
