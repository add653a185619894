from __future__ import annotations

import numpy as np
import pytest

from spineps.errors import ErrorCode, FindingCode, InputError
from spineps.geometry import Geometry
from spineps.stages.compatibility import check_compatibility
from spineps.volume import Scan

RNG = np.random.default_rng(0)
MR = RNG.gamma(2.0, 200.0, (24, 24, 12)).astype(np.float32)


def _scan(spacing, axes=("P", "I", "R"), image=MR):
    return Scan(image, Geometry.from_spacing(image.shape, spacing, axes))


def _ct():
    image = RNG.normal(30, 60, (24, 24, 12)).astype(np.float32)
    image[:6] = RNG.normal(-1000, 10, (6, 24, 12))
    image[12:14] = RNG.normal(700, 200, (2, 24, 12))
    return image


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 3.3), (1.0, 1.0, 1.0), (0.9, 0.8, 1.0), (1.0, 1.0, 0.9), (0.5, 0.5, 5.5)])
def test_sagittal_and_isotropic_scans_pass(spacing):
    assert check_compatibility(_scan(spacing)) == ()


@pytest.mark.parametrize(
    ("spacing", "axes", "plane"),
    [
        ((0.8, 4.0, 0.8), ("P", "I", "R"), "axial"),
        ((4.0, 0.8, 0.8), ("P", "I", "R"), "coronal"),
        ((1, 1, 3), ("R", "A", "S"), "axial"),
    ],
)
def test_other_planes_are_refused_or_forced(spacing, axes, plane):
    with pytest.raises(InputError, match=plane) as caught:
        check_compatibility(_scan(spacing, axes))
    assert caught.value.code is ErrorCode.COMPAT
    assert [f.code for f in check_compatibility(_scan(spacing, axes), force=True)] == [FindingCode.COMPAT_FORCED]


def test_thick_slices_are_reported():
    assert [f.code for f in check_compatibility(_scan((0.8, 0.8, 6.6)))] == [FindingCode.THICK_SLICES]


def test_a_ct_is_refused_or_forced():
    with pytest.raises(InputError, match="CT"):
        check_compatibility(_scan((1, 1, 2), image=_ct()))
    padded = _ct()
    padded[:, :, 0] = -3024
    with pytest.raises(InputError, match="CT"):
        check_compatibility(_scan((1, 1, 2), image=padded))
    assert [f.code for f in check_compatibility(_scan((1, 1, 2), image=_ct()), force=True)] == [FindingCode.COMPAT_FORCED]


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (0.01, -3), (30, -30000), (1e27, -1e29), (2, -600)])
def test_an_mri_of_any_scale_is_none(factor, offset):
    assert check_compatibility(_scan((1, 1, 2), image=(MR * factor + offset).astype(np.float32))) == ()
