from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spineps.geometry import Box
from spineps.stages.components import CORNERS, FACES, connected, dilate_18, erode_18, label_boxes


def test_components_of_nothing_and_of_everything():
    assert connected(np.zeros((3, 4, 5), np.bool_), FACES).count == 0
    whole = connected(np.ones((3, 4, 5), np.bool_), CORNERS)
    assert whole.count == 1
    assert whole.boxes[1] == Box.whole((3, 4, 5))
    assert whole.mask(1).all()


def test_neighbours_with_different_labels_are_apart():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1], labels[1, 1, 2] = 3, 7
    assert connected(labels, CORNERS).count == 2
    assert connected(labels > 0, CORNERS).count == 1
    assert label_boxes(labels) == {3: Box((1, 1, 1), (2, 2, 2)), 7: Box((1, 1, 2), (2, 2, 3))}


@pytest.mark.parametrize("shape", [(9, 12, 7), (2, 9, 9)])
@pytest.mark.parametrize("iterations", [1, 2])
def test_erosion_is_that_of_the_18_neighbourhood(shape, iterations):
    mask = np.random.default_rng(3).random(shape) < 0.93
    structure = ndimage.generate_binary_structure(3, 2)
    assert np.array_equal(erode_18(mask, iterations), ndimage.binary_erosion(mask, structure, iterations))


@pytest.mark.parametrize("iterations", [1, 2])
def test_dilation_is_that_of_the_18_neighbourhood(iterations):
    mask = np.random.default_rng(3).random((9, 12, 7)) < 0.02
    structure = ndimage.generate_binary_structure(3, 2)
    assert np.array_equal(dilate_18(mask, iterations), ndimage.binary_dilation(mask, structure, iterations))
