"""The picture: the same bytes each time, of bearable size, for every kind of result; neighbours in different colours."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from spineps.geometry import Axes
from spineps.labels import Structure
from spineps.outputs.snapshot import snapshot_png
from spineps.page.colours import STRUCTURE_COLOURS, instance_table, vertebra_colours
from spineps.page.planes import SpineViews
from tests.unit.handmade import made_result


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("with_scan", [True, False])
@pytest.mark.parametrize("count", [1, 3, 24])
def test_size_of_the_picture(count: int, with_scan: bool) -> None:
    png = snapshot_png(made_result(count, with_scan=with_scan))
    height, width, _ = pixels(png).shape
    assert width <= 2500
    assert height <= 2000
    assert len(png) < 2_000_000


def test_same_result_same_bytes_and_no_text_of_others() -> None:
    first, second = snapshot_png(made_result()), snapshot_png(made_result(prefix="sub-CANARY_mod-T2w"))
    assert first == second
    assert Image.open(BytesIO(first)).info.keys() <= {"dpi"}


def test_it_shows_the_structures_in_their_colours() -> None:
    shown = pixels(snapshot_png(made_result(with_scan=False)))
    for structure in (Structure.CORPUS, Structure.DISC, Structure.CANAL):
        in_legend = (np.abs(shown - STRUCTURE_COLOURS[structure]).max(axis=2) <= 2).sum()
        assert in_legend > 100, structure


@pytest.mark.parametrize("axes", [("P", "I", "R"), ("R", "A", "S"), ("L", "P", "S"), ("A", "S", "L"), ("I", "L", "A")])
def test_orientation_of_the_file_does_not_matter(axes: Axes) -> None:
    assert np.array_equal(pixels(snapshot_png(made_result(axes=axes))), pixels(snapshot_png(made_result())))


def test_planes_follow_the_spine() -> None:
    result = made_result(4)
    views = SpineViews(result)
    assert np.ptp(views.curve.r_of_i) > 0.5
    for plane in (views.sagittal(margin_mm=10), views.coronal(width_mm=40)):
        assert {2, 3, 4, 5, 102, 103, 104, 105} <= set(np.unique(plane.instance).tolist())
        assert plane.image is not None
        assert plane.image.shape == plane.instance.shape == plane.semantic.shape
    coronal = views.coronal(width_mm=40)
    assert coronal.width_mm == pytest.approx(coronal.semantic.shape[1] * 3.3)


def test_patients_right_is_on_the_left_of_the_coronal_picture() -> None:
    result = made_result(1)
    labels = result.instance.labels.copy()
    labels[:, :, 10:] = 99  # the third axis runs to the right
    plane = SpineViews(replace(result, instance=replace(result.instance, labels=labels))).coronal(width_mm=90)
    assert 99 in plane.instance[:, 0]
    assert 99 not in plane.instance[:, -1]


def test_result_without_vertebrae_can_be_drawn() -> None:
    assert pixels(snapshot_png(replace(made_result(), vertebrae=(), centroids=()))).shape[1] <= 2500


def test_findings_and_vertebrae_without_a_pixel_in_the_planes() -> None:
    result = made_result()
    hidden = replace(result.vertebrae[0], label=25)
    assert snapshot_png(replace(result, vertebrae=(*result.vertebrae, hidden), findings=()))


@pytest.mark.parametrize("labels", [range(1, 26), [17, 18, 19, 28, 20, 21], [17, 18, 20, 21], [5, 15, 25], [3]])
def test_neighbours_differ_in_colour(labels: range | list[int]) -> None:
    colours = list(vertebra_colours(labels).values())
    for above, below in pairwise(colours):
        assert np.abs(np.subtract(above, below)).sum() > 100


def test_discs_and_endplates_are_shades_of_their_vertebra() -> None:
    table = instance_table([5], np.array([0, 5, 105, 205, 26, 300])).astype(int)
    assert (table[105] >= table[5]).all()
    assert (table[205] <= table[5]).all()
    assert (table[5] != table[26]).any()
