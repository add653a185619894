"""The bias field is that of ANTs, whose numbers stand here, that of ITK, and that of a phantom whose field is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from spineps.stages.bias import bias_field

ITERATIONS = (6, 4)


def chequers(shape):
    p, i, r = np.indices(shape, dtype=np.float32)
    image = ((300 + 100 * ((p // 8 + i // 8 + r) % 2)) * (1 + p / shape[0]) * (1 + i / 1000 + r / 2000)).astype(np.float32)
    mask = np.zeros(shape, np.bool_)
    mask[2:-3, 1:-1, 1:] = True
    return image, mask


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "shrink", "expected"),
    [
        ((61, 91, 14), (0.9, 0.9, 3.3), 4, (0.951493, 0.978675, 1.039261)),
        ((20, 31, 9), (8.0, 8.0, 8.2), 1, (0.930206, 0.950263, 1.1136)),
    ],
)
def test_the_field_is_that_of_ants(shape, spacing_mm, shrink, expected):
    """Of antspyx 0.5.3 with the same image, mask and settings; the first has an axis whose middle lies between two voxels."""
    image, mask = chequers(shape)
    field = bias_field(image, mask, spacing_mm, ITERATIONS, shrink=shrink)
    assert field.shape == shape
    found = (field[0, 0, 0], field[30 % shape[0], 20, 2], field[-1, -1, -1])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_whole_field_is_that_of_itk():
    """Two levels over two, one and one spans; an image that is a multiple of 100 mm long is not padded."""
    shape, spacing_mm, rng = (41, 26, 11), (5.0, 4.0, 10.0), np.random.default_rng(3)
    image = ((300 + 200 * rng.random(shape)) * (1 + np.indices(shape)[0] / 40)).astype(np.float32)
    mask = rng.random(shape) > 0.3
    field = bias_field(image, mask, spacing_mm, ITERATIONS)
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfControlPoints([5, 4, 4])
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(0)
    given = [SimpleITK.GetImageFromArray(np.ascontiguousarray(a.T)) for a in (image, mask.astype(np.uint8))]
    for part in given:
        part.SetSpacing(spacing_mm)
    n4.Execute(*given)
    theirs = np.exp(SimpleITK.GetArrayFromImage(n4.GetLogBiasFieldAsImage(given[0])).T)
    assert np.ptp(theirs) > 0.05
    np.testing.assert_allclose(field, theirs, rtol=5e-5)


@pytest.mark.parametrize("seen", [True, False])
def test_an_even_image_and_an_empty_mask_have_no_field(seen):
    field = bias_field(np.full((12, 10, 6), 300, np.float32), np.full((12, 10, 6), seen), (4.0, 4.0, 4.0), ITERATIONS)
    np.testing.assert_array_equal(field, 1)


def test_an_image_of_all_magnitudes_has_a_finite_field():
    image = np.float32(10) ** np.random.default_rng(0).uniform(-30, 3, (20, 20, 10)).astype(np.float32)
    field = bias_field(image, np.ones(image.shape, np.bool_), (8.0, 8.0, 8.0), (15, 10))
    assert np.isfinite(field).all()
    assert field.min() > 0


def test_a_known_field_is_found():
    p, i, _ = np.indices((20, 30, 10), dtype=np.float32)
    true = np.exp(0.3 * np.cos(p / 12) + 0.2 * np.sin(i / 15)).astype(np.float32)
    field = bias_field(400 * true, np.ones(true.shape, np.bool_), (8.0, 8.0, 8.0), (15, 10))
    left = (true / field).std() / (true / field).mean()
    assert left < 0.2 * true.std() / true.mean()


def test_a_single_slice_has_a_field():
    image, mask = chequers((40, 40, 1))
    mask[2:-3, 1:-1] = True  # every fourth slice of the padded image is looked at, but not this one
    assert np.isfinite(bias_field(image, mask, (2.0, 2.0, 4.0), ITERATIONS, shrink=4)).all()
