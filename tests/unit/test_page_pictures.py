"""Layers of pictures: their colours, their transparency, their size; planes through tilted discs."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from spineps.geometry import PIR, Geometry
from spineps.labels import Scheme, Structure
from spineps.page.axial import axial_plane, disc_planes
from spineps.page.colours import vertebra_colours
from spineps.page.pictures import THUMBNAIL_PX, draw, thumbnail
from spineps.page.planes import SpineViews
from spineps.volume import Centroid, LabelMap, Result, Scan, Vertebra
from tests.unit.handmade import made_result

DISC = 105


def rgba(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA"), dtype=int)


def test_areas_are_transparent_where_nothing_is_and_coloured_elsewhere() -> None:
    result = made_result(3)
    plane = SpineViews(result).sagittal(margin_mm=10)
    picture = draw(plane, result.vertebrae)
    areas = rgba(picture.vertebrae.areas)
    shown = {tuple(colour) for colour in areas[areas[..., 3] > 0][:, :3]}
    assert set(vertebra_colours(v.label for v in result.vertebrae).values()) <= shown
    share = (areas[..., 3] == 0).mean()
    assert share == pytest.approx((plane.instance == 0).mean(), abs=0.02)
    assert set(np.unique(areas[..., 3])) == {0, 255}


def test_outlines_surround_every_side() -> None:
    plane = SpineViews(made_result(1)).sagittal(margin_mm=10)
    picture = draw(plane, made_result(1).vertebrae)
    areas, outlines = (rgba(png)[..., 3] > 0 for png in (picture.vertebrae.areas, picture.vertebrae.outlines))
    rows, columns = np.nonzero(areas)
    for edge in (rows.min(), rows.max()):
        assert np.array_equal(outlines[edge], areas[edge])
    for edge in (columns.min(), columns.max()):
        assert np.array_equal(outlines[:, edge], areas[:, edge])
    assert 0 < outlines.sum() < areas.sum()


def test_thumbnails_are_small() -> None:
    result = made_result(24)
    data = thumbnail(SpineViews(result).sagittal(margin_mm=45), result.vertebrae)
    width, height = Image.open(BytesIO(data)).size
    assert width <= THUMBNAIL_PX[0]
    assert height <= THUMBNAIL_PX[1]
    assert len(data) < 6000


def test_planes_beside_the_middle_have_the_same_frame() -> None:
    views = SpineViews(made_result(2))
    middle, beside, outside = (views.sagittal(margin_mm=10, right_mm=mm) for mm in (0.0, 8.0, 500.0))
    assert middle.first_column == beside.first_column
    assert middle.semantic.shape == beside.semantic.shape == outside.semantic.shape
    assert not np.array_equal(middle.semantic, beside.semantic)


def tilted(degrees: float) -> Result:
    """One disc, 8 mm thick, tilted forwards; its left side marked in the scan, its front in the mask."""
    grid = Geometry.from_spacing((100, 120, 80), (1.0, 1.0, 1.0), PIR)
    p, i, r = (axis - (n - 1) / 2 for axis, n in zip(np.indices(grid.shape), grid.shape, strict=True))
    turn = np.radians(degrees)
    along, across = p * np.cos(turn) + i * np.sin(turn), -p * np.sin(turn) + i * np.cos(turn)
    inside = (np.abs(across) <= 4) & (along**2 + r**2 <= 18**2)
    semantic = np.where(inside, Structure.DISC, 0).astype(np.uint8)
    semantic[inside & (along < -12)] = Structure.ENDPLATE
    instance = np.where(inside, DISC, 0).astype(np.uint16)
    image = (inside & (r < -8)).astype(np.float32)
    centre = tuple((n - 1) / 2 for n in grid.shape)
    vertebra = Vertebra(5, None, (0.0, 0.0, 0.0), 1.0, 1.0, partial=False)
    masks = LabelMap(semantic, grid, Scheme.SEMANTIC), LabelMap(instance, grid, Scheme.INSTANCE)
    return Result(*masks, (vertebra,), (Centroid(DISC, Structure.DISC, centre),), scan=Scan(image, grid))


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 20.0])
def test_an_axial_plane_lies_in_its_disc(degrees: float) -> None:
    result = tilted(degrees)
    views = SpineViews(result)
    (disc,) = disc_planes(result, views)
    lies = np.array([-np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0.0])
    assert disc.normal @ lies > np.cos(np.radians(2))
    plane = axial_plane(views, disc)
    area_mm2 = (plane.instance == DISC).sum() * plane.row_mm * plane.column_mm
    assert area_mm2 == pytest.approx(np.pi * 18**2, rel=0.05)


def test_front_is_above_and_the_patients_right_on_the_left() -> None:
    result = tilted(10.0)
    views = SpineViews(result)
    plane = axial_plane(views, disc_planes(result, views)[0])
    front, whole = (np.argwhere(plane.semantic == label) for label in (Structure.ENDPLATE, Structure.DISC))
    assert front[:, 0].mean() < whole[:, 0].mean()
    assert plane.image is not None
    marked = np.argwhere(plane.image > 0.5)  # the patient's left
    assert marked[:, 1].mean() > np.argwhere(plane.instance == DISC)[:, 1].mean()


def test_a_sliver_of_a_disc_lies_across_the_spine() -> None:
    result = tilted(0.0)
    labels = result.instance.labels.copy()
    labels[:, :, 1:] = 0
    labels[:, :20] = 0
    few = replace(result, instance=replace(result.instance, labels=labels))
    (disc,) = disc_planes(few, SpineViews(few))
    assert disc.normal[1] == pytest.approx(1.0, abs=0.05)
