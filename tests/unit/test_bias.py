"""The bias field is that of ANTs, whose numbers stand here, and that of a phantom whose field is known."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.stages.bias import bias_field

ITERATIONS = (6, 4)


def chequers(shape):
    p, i, r = np.indices(shape, dtype=np.float32)
    image = ((300 + 100 * ((p // 8 + i // 8 + r) % 2)) * (1 + p / shape[0])).astype(np.float32)
    mask = np.zeros(shape, np.bool_)
    mask[2:-3, 1:-1, 1:] = True
    return image, mask


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "shrink", "expected"),
    [
        ((61, 91, 14), (0.9, 0.9, 3.3), 4, (0.968156, 0.989626, 1.019161)),
        ((20, 31, 9), (8.0, 8.0, 8.2), 1, (0.940673, 0.94685, 1.097982)),
    ],
)
def test_the_field_is_that_of_ants(shape, spacing_mm, shrink, expected):
    """Of antspyx 0.5.3 with the same image, mask and settings; the first has an axis whose middle lies between two voxels."""
    image, mask = chequers(shape)
    field = bias_field(image, mask, spacing_mm, ITERATIONS, shrink=shrink)
    assert field.shape == shape
    found = (field[0, 0, 0], field[30 % shape[0], 20, 2], field[-1, -1, -1])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_known_field_is_found():
    p, i, _ = np.indices((20, 30, 10), dtype=np.float32)
    true = np.exp(0.3 * np.cos(p / 12) + 0.2 * np.sin(i / 15)).astype(np.float32)
    field = bias_field(400 * true, np.ones(true.shape, np.bool_), (8.0, 8.0, 8.0), (15, 10))
    left = (true / field).std() / (true / field).mean()
    assert left < 0.2 * true.std() / true.mean()


def test_a_single_slice_has_a_field():
    image, mask = chequers((40, 40, 1))
    mask[2:-3, 1:-1] = True
    assert np.isfinite(bias_field(image, mask, (2.0, 2.0, 4.0), ITERATIONS, shrink=4)).all()
