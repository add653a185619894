"""Where the heads of ribs lie: at the disc above, but at the body itself for the last two."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.labels import Structure
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy
from spineps.phantom.morphometry import Variant
from spineps.phantom.tissues import Tissue

SPACING_MM = (1.5, 1.5, 1.5)
T8, T9, T11, T12 = 15, 16, 18, 19


@pytest.fixture(scope="module")
def thorax() -> Anatomy:
    spec = AnatomySpec((80, 1, 60), SPACING_MM, first=14, last=20, variant=Variant.NONE, pathology=0.0)
    return build_anatomy(np.random.default_rng(11), spec)


def head_height(anatomy: Anatomy, vertebra: int) -> float:
    """Mean height of ribs close beside the rear of a body, in heights of the body below its centre."""
    body = np.argwhere((anatomy.instance == vertebra) & (anatomy.semantic == Structure.CORPUS)) * SPACING_MM
    low, high = np.percentile(body, (3, 97), axis=0)
    centre = (low + high) / 2
    rib = np.argwhere(anatomy.tissue == Tissue.RIB) * SPACING_MM
    beside = np.abs(rib[:, 2] - centre[2]) - (high[2] - low[2]) / 2
    offset = (rib[:, 1] - centre[1]) / (high[1] - low[1])
    near = (beside > 1.5) & (beside < 6) & (np.abs(rib[:, 0] - high[0] + 5) < 6) & (offset > -0.9) & (offset < 0.35)
    assert near.sum() > 10
    return float(offset[near].mean())


def test_heads_lie_at_the_disc_above_and_the_last_two_at_the_body(thorax: Anatomy) -> None:
    for vertebra in (T8, T9):
        assert head_height(thorax, vertebra) < -0.33
    for vertebra in (T11, T12):
        assert -0.33 < head_height(thorax, vertebra) < 0.2
