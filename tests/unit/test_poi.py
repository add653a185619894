"""POI files: TPTBox reads back what was written, and equal centroids give equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spineps.errors import ErrorCode, InputError
from spineps.geometry import Geometry
from spineps.io.poi import poi_document, read_poi, write_poi
from spineps.volume import Centroid

TURN = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 1, 100], [0, 0, 0, 1.0]])
GRID = Geometry((60, 200, 17), TURN @ Geometry.from_spacing((60, 200, 17), (0.7, 0.8, 3.3)).affine)
CENTROIDS = (
    Centroid(20, 49, (30.25, 100.5, 8.125)),
    Centroid(120, 100, (31.0, 110.0, 8.0)),
    Centroid(220, 53, (31.0, 105.0, 8.0)),
    Centroid(220, 52, (31.0, 115.0, 8.0)),
    Centroid(2, 51, (10.0, 5.0, 7.5)),
    Centroid(26, 26, (35.0, 180.0, 8.5)),
)


def test_tptbox_reads_it(tmp_path: Path) -> None:
    from TPTBox import POI

    write_poi(tmp_path / "a_ctd.json", CENTROIDS, GRID, info={"source": "spineps"})
    poi = POI.load(tmp_path / "a_ctd.json")
    parts = {(20, 50), (120, 100), (220, 53), (220, 52), (2, 50), (26, 50)}
    assert set(poi.keys()) == parts
    assert poi[20, 50] == pytest.approx((30.25, 100.5, 8.125))
    assert poi[220, 53] == pytest.approx((31.0, 105.0, 8.0))
    assert poi.orientation == GRID.axes
    assert poi.shape == GRID.shape
    np.testing.assert_allclose(poi.affine, GRID.affine, atol=1e-6)
    np.testing.assert_allclose(poi.to_global()[26, 50], GRID.to_mm((35.0, 180.0, 8.5)), atol=1e-3)


def test_round_trip(tmp_path: Path) -> None:
    write_poi(tmp_path / "a.json", CENTROIDS, GRID)
    centroids, geometry = read_poi(tmp_path / "a.json")
    assert geometry.matches(GRID, tolerance_mm=1e-9)
    assert sorted((c.instance, c.voxel) for c in centroids) == sorted((c.instance, c.voxel) for c in CENTROIDS)
    assert {c.structure for c in centroids} == {50, 52, 53, 100}


def test_order_does_not_matter(tmp_path: Path) -> None:
    one = write_poi(tmp_path / "a.json", CENTROIDS, GRID)
    two = write_poi(tmp_path / "b.json", CENTROIDS[::-1], GRID)
    assert one.sha256 == two.sha256


def test_header_is_not_overwritten_and_duplicates_are_refused() -> None:
    assert poi_document(CENTROIDS, GRID, info={"format": "mine"})[0]["format"] == "POI"
    with pytest.raises(ValueError, match="two centroids"):
        poi_document([Centroid(2, 49, (0, 0, 0)), Centroid(2, 50, (1, 1, 1))], GRID)


@pytest.mark.parametrize("content", ["", "{}", "[{}, {}]", '[{"shape": [1, 2]}, {}]', "\xff"])
def test_no_poi(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_poi(tmp_path / "a.json")
    assert caught.value.code is ErrorCode.INPUT_FORMAT
    with pytest.raises(InputError):
        read_poi(tmp_path / "none.json")
