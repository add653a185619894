"""The curve through the centres of vertebrae."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from spineps.measures.frames import Course


@pytest.mark.parametrize("count", [2, 3, 5, 24])
def test_a_course_is_the_natural_spline_through_its_points(count: int) -> None:
    rng = np.random.default_rng(count)
    points = np.cumsum(rng.uniform((-6, 15, -4), (6, 40, 4), (count, 3)), axis=0)
    places = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    if count == 2:
        along = (points[1] - points[0]) / places[1]
        spline = CubicSpline(places, points, bc_type=((1, along), (1, along)))
    else:
        spline = CubicSpline(places, points, bc_type="natural")
    fine = np.linspace(0, places[-1], 4001)
    course = Course(points)
    length = np.linalg.norm(np.diff(spline(fine), axis=0), axis=1).sum()
    assert course.length_mm == pytest.approx(length, rel=2e-4)
    for place in rng.uniform(0, places[-1], 8):
        slope = spline(place, 1) / np.linalg.norm(spline(place, 1))
        assert course.direction(spline(place)) @ slope > np.cos(np.radians(2))  # found to the millimetre
    ends = [spline(place, 1) / np.linalg.norm(spline(place, 1)) for place in (0.0, places[-1])]
    assert np.allclose([course.direction(points[0]), course.direction(points[-1])], ends)
