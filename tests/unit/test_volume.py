"""Scans and label maps are read-only and fit their grid."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.geometry import Geometry
from spineps.labels import Scheme
from spineps.volume import LabelMap, Result, Scan, Source

GRID = Geometry.from_spacing((3, 4, 5), (1, 1, 2))


def test_a_scan_becomes_float32() -> None:
    scan = Scan(np.arange(60, dtype=np.int16).reshape(3, 4, 5), GRID)  # type: ignore[arg-type]
    assert scan.image.dtype == np.float32
    assert np.array_equal(scan.image.ravel(), np.arange(60))


def test_a_scan_is_read_only() -> None:
    scan = Scan(np.zeros((3, 4, 5), np.float32), GRID)
    with pytest.raises(ValueError, match="read-only"):
        scan.image[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        scan.image = np.ones((3, 4, 5), np.float32)  # type: ignore[misc]


def test_a_label_map_is_read_only() -> None:
    labels = LabelMap(np.zeros((3, 4, 5), np.uint16), GRID, Scheme.INSTANCE)
    with pytest.raises(ValueError, match="read-only"):
        labels.labels[0, 0, 0] = 1


def test_the_caller_keeps_a_writable_array() -> None:
    array = np.zeros((3, 4, 5), np.float32)
    Scan(array, GRID)
    array[0, 0, 0] = 1
    assert array.flags.writeable


@pytest.mark.parametrize("shape", [(3, 4), (5, 4, 3), (3, 4, 5, 1)])
def test_an_array_of_another_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(3, 4, 5\), found") as error:
        Scan(np.zeros(shape, np.float32), GRID)
    assert str(shape) in str(error.value)
    with pytest.raises(ValueError, match=r"\(3, 4, 5\), found"):
        LabelMap(np.zeros(shape, np.uint8), GRID, Scheme.SEMANTIC)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32, np.bool_])
def test_labels_of_another_type_are_refused(dtype: type[np.generic]) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        LabelMap(np.zeros((3, 4, 5), dtype), GRID, Scheme.SEMANTIC)  # type: ignore[arg-type]


def test_a_source_from_memory_knows_no_file() -> None:
    assert Scan(np.zeros((3, 4, 5), np.float32), GRID).source == Source(sha256=None, findings=())


def test_provenance_of_a_bare_result_is_empty_and_read_only() -> None:
    labels = LabelMap(np.zeros((3, 4, 5), np.uint8), GRID, Scheme.SEMANTIC)
    result = Result(labels, labels, vertebrae=(), centroids=())
    assert dict(result.provenance) == {}
    with pytest.raises(TypeError):
        result.provenance["seconds"] = 1  # type: ignore[index]
