"""Two dimensions: masks and boxes, each number worked out by hand; images read and refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from spineps.errors import InputError
from spineps.evaluation.planar import PixelBox, boxes_of, detect, measure_planar, read_boxes, read_image
from spineps.evaluation.scores import Metric, Note
from spineps.io.atomic import write_bytes, write_text


def square(top, left, size=4, shape=(20, 20)):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + size, left : left + size] = 1
    return mask


def write_png(path, array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def values(reference, prediction, **options):
    return {s.metric: s.value for s in measure_planar(reference, prediction, **options)}


def test_a_square_moved_by_one_by_hand():
    # 16 pixels each, 12 shared: Dice 24/32, IoU 12/20, PPV and sensitivity 12/16, HD one pixel; one box of one, IoU 0.6.
    found = values(square(4, 4), square(4, 5))
    assert found == {
        Metric.DSC: 0.75,
        Metric.HD: 1,
        Metric.IOU: 0.6,
        Metric.PPV: 0.75,
        Metric.SENSITIVITY: 0.75,
        Metric.DETECTION: 1,
    }
    assert values(square(4, 4), square(4, 5), spacing_mm=(0.5, 0.2))[Metric.HD] == pytest.approx(0.2)


def test_a_missed_and_an_invented_body():
    missed = measure_planar(square(4, 4), np.zeros((20, 20), np.uint8))
    assert {s.metric: s.value for s in missed} == {
        Metric.DSC: 0,
        Metric.HD: None,
        Metric.IOU: 0,
        Metric.PPV: None,
        Metric.SENSITIVITY: 0,
        Metric.DETECTION: 0,
    }
    assert {s.note for s in missed} == {Note.MISSED}
    invented = measure_planar(np.zeros((20, 20), np.uint8), square(4, 4))
    assert {s.value for s in invented} == {None, 0}  # the detection accuracy alone is 0
    assert {s.note for s in invented} == {Note.ONLY_IN_PREDICTION}
    nothing = measure_planar(np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8))
    assert {s.value for s in nothing} == {None}


def test_detection_accuracy_by_hand():
    # Two found of three, one invented: 2 / (2 + 1 + 1).
    reference = [PixelBox((0, 0), (4, 4)), PixelBox((6, 0), (10, 4)), PixelBox((12, 0), (16, 4))]
    prediction = [PixelBox((0, 0), (4, 4)), PixelBox((6, 1), (10, 5)), PixelBox((30, 30), (34, 34))]
    found = detect(reference, prediction)
    assert (found.tp, found.fp, found.fn, found.accuracy) == (2, 1, 1, 0.5)
    assert (found.ppv, found.sensitivity) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert detect([], []).accuracy is None


def test_a_box_is_matched_once():
    one = [PixelBox((0, 0), (4, 4))]
    found = detect(one, one * 3)
    assert (found.tp, found.fp) == (1, 2)


def test_as_many_boxes_as_possible_are_matched():
    # The best single pair (1.0) would leave the other two boxes without a partner; both pairs reach 0.5.
    a, b = PixelBox((0, 0), (10, 1)), PixelBox((0, 0), (6, 1))
    p, q = PixelBox((0, 0), (10, 1)), PixelBox((0, 0), (20, 1))
    assert detect([a, b], [p, q]).tp == 2


def test_boxes_of_labels_and_of_parts():
    labels = square(2, 2) + 2 * square(10, 10)
    assert boxes_of(labels) == [PixelBox((2, 2), (6, 6)), PixelBox((10, 10), (14, 14))]
    assert boxes_of((labels > 0).astype(np.uint8)) == boxes_of(labels)


def test_images_are_read(tmp_path):
    write_png(tmp_path / "m.png", square(4, 4) * 255)
    assert np.array_equal(read_image(tmp_path / "m.png"), square(4, 4))
    write_png(tmp_path / "l.png", square(4, 4) * 3)
    assert read_image(tmp_path / "l.png").max() == 3
    write_text(tmp_path / "b.txt", "0 0.5 0.25 0.2 0.1\n")
    (box,) = read_boxes(tmp_path / "b.txt", (20, 40))
    assert box.start == (pytest.approx(4), pytest.approx(16))
    assert box.stop == (pytest.approx(6), pytest.approx(24))


def test_images_that_are_none_are_refused(tmp_path):
    write_png(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    write_text(tmp_path / "text.png", "no picture")
    write_text(tmp_path / "boxes.txt", "0 a b c d\n")
    for name, told in (("rgb.png", "colour"), ("text.png", "no PNG"), ("none.png", "does not exist")):
        with pytest.raises(InputError, match=told):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="class x y"):
        read_boxes(tmp_path / "boxes.txt", (4, 4))
    with pytest.raises(ValueError, match="2D masks"):
        measure_planar(square(4, 4), np.zeros((3, 3), np.uint8))
