"""Masks and boxes in two dimensions, as the YOLO-UNet paper measures them (Digital Health 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from spineps.errors import ErrorCode, InputError
from spineps.evaluation.overlap import Overlap
from spineps.evaluation.scores import Level, Metric, Note, Score
from spineps.evaluation.surface import surface_distances

BOX_IOU: Final = 0.5
VERTEBRAE: Final = "vertebral bodies"


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A box in an image, in pixels: ``start`` included, ``stop`` excluded; coordinates (row, column) may be fractions."""

    start: tuple[float, float]
    stop: tuple[float, float]

    @property
    def area(self) -> float:
        """In square pixels; 0 of an empty box."""
        return max(0.0, self.stop[0] - self.start[0]) * max(0.0, self.stop[1] - self.start[1])

    def iou(self, other: PixelBox) -> float:
        """Intersection over union; 0 of two empty boxes, which match nothing."""
        rows, columns = (
            max(0.0, min(a, b) - max(c, d)) for a, b, c, d in zip(self.stop, other.stop, self.start, other.start, strict=True)
        )
        both = rows * columns
        union = self.area + other.area - both
        return both / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """Boxes found, wrongly found and not found."""

    tp: int
    fp: int
    fn: int

    @property
    def accuracy(self) -> float | None:
        """TP / (TP + FP + FN); None where there is nothing to find and nothing found."""
        total = self.tp + self.fp + self.fn
        return self.tp / total if total else None

    @property
    def ppv(self) -> float | None:
        """Share of the found boxes that are right."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def sensitivity(self) -> float | None:
        """Share of the boxes that were found."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None


def detect(reference: Sequence[PixelBox], prediction: Sequence[PixelBox], *, threshold: float = BOX_IOU) -> Detection:
    """Match boxes one to one, as many as possible with an IoU at or above the threshold.

    The paper gives an accuracy of detection without its definition; TP / (TP + FP + FN) counts every kind of error once.
    """
    if not reference or not prediction:
        return Detection(0, len(prediction), len(reference))
    ious = np.array([[one.iou(two) for two in prediction] for one in reference])
    # Every match counts 1, the IoU only decides between assignments with equally many matches.
    gain = np.where(ious >= threshold, 1 + ious / (1 + min(ious.shape)), 0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    tp = int((ious[rows, columns] >= threshold).sum())
    return Detection(tp, len(prediction) - tp, len(reference) - tp)


def boxes_of(mask: NDArray[Any]) -> list[PixelBox]:
    """Box of each label of a label image, or of each 8-connected part of a binary one."""
    labels = mask if mask.max(initial=0) > 1 else ndimage.label(mask, structure=np.ones((3, 3)))[0]
    return [
        PixelBox((float(b[0].start), float(b[1].start)), (float(b[0].stop), float(b[1].stop)))
        for b in ndimage.find_objects(labels)
        if b is not None
    ]


def measure_planar(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    *,
    boxes: tuple[Sequence[PixelBox], Sequence[PixelBox]] | None = None,
) -> tuple[Score, ...]:
    """Dice, Hausdorff distance, IoU, PPV, sensitivity and detection accuracy of a 2D pair.

    Parameters
    ----------
    reference, prediction : ndarray, 2D
        Masks or label images of equal shape; everything that is not 0 is vertebral body.
    spacing_mm : tuple of 2 float
        Of rows and columns; 1 gives the distance in pixels, as the paper does.
    boxes : tuple of two sequences of PixelBox, optional
        Detected boxes, reference and prediction; those of the masks by default.

    Raises
    ------
    ValueError
        If the arrays are not two-dimensional or differ in shape.
    """
    if reference.ndim != 2 or reference.shape != prediction.shape:
        raise ValueError(f"expected two 2D masks of one shape, found {reference.shape} and {prediction.shape}")
    one, two = reference != 0, prediction != 0
    overlap = Overlap(int(one.sum()), int(two.sum()), int((one & two).sum()))
    note = Note.NONE
    if not overlap.reference:
        note = Note.ONLY_IN_PREDICTION if overlap.prediction else Note.NOT_IN_REFERENCE
    elif not overlap.prediction:
        note = Note.MISSED
    surface = surface_distances(one, two, spacing_mm)
    found = detect(*(boxes or (boxes_of(reference), boxes_of(prediction))))
    left_out = not overlap.reference
    values = (
        (Metric.DSC, None if left_out else overlap.dice),
        (Metric.HD, None if surface is None else surface.hausdorff),
        (Metric.IOU, None if left_out else overlap.iou),
        (Metric.PPV, None if left_out else overlap.ppv),
        (Metric.SENSITIVITY, overlap.sensitivity),
        (Metric.DETECTION, found.accuracy),
    )
    return tuple(Score(VERTEBRAE, Level.SCAN, metric, value, note=note) for metric, value in values)


def read_image(path: Path) -> NDArray[np.uint16]:
    """Read a 2D label image: a PNG, or a NIfTI mask with one slice.

    Returns
    -------
    ndarray of uint16, 2D
        A PNG in colours is refused; a grey one whose only values are 0 and 255 is a binary mask.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND, INPUT_FORMAT, or INPUT_SHAPE if it has more than one slice.
    """
    if path.suffix.lower() == ".png":
        return _read_png(path)
    from spineps.io.nifti import read_labels

    labels = np.squeeze(read_labels(path).labels)
    if labels.ndim != 2:
        raise InputError(
            ErrorCode.INPUT_SHAPE, f"{path.name!r} has the shape {labels.shape}, expected one slice.", remedy="Give 2D masks."
        )
    return labels.astype(np.uint16)


def read_boxes(path: Path, shape: tuple[int, int]) -> list[PixelBox]:
    """Read boxes in YOLO's form: a line ``class x y width height`` each, centres and sizes as shares of the image.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND or INPUT_FORMAT.
    """
    if not path.is_file():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{path.name!r} does not exist.", remedy="Check the path.")
    boxes = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                x, y, width, height = (float(v) for v in line.split()[1:5])
                rows, columns = shape
                start = ((y - height / 2) * rows, (x - width / 2) * columns)
                boxes.append(PixelBox(start, ((y + height / 2) * rows, (x + width / 2) * columns)))
    except ValueError as error:
        raise InputError(
            ErrorCode.INPUT_FORMAT,
            f"{path.name!r} has a line that is not 'class x y width height'.",
            remedy="Give boxes in YOLO's text form.",
        ) from error
    return boxes


def _read_png(path: Path) -> NDArray[np.uint16]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image if image.mode in ("L", "P", "1", "I", "I;16") else None)
    except FileNotFoundError as error:
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"{path.name!r} does not exist.", remedy="Check the path.") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(
            ErrorCode.INPUT_FORMAT, f"{path.name!r} is no PNG that can be read.", remedy="Save it again."
        ) from error
    if pixels.ndim != 2:
        raise InputError(ErrorCode.INPUT_FORMAT, f"{path.name!r} is a colour image.", remedy="Give a grey label image.")
    labels = pixels.astype(np.uint16)
    return np.minimum(labels, 1) if set(np.unique(labels)) <= {0, 255} else labels
