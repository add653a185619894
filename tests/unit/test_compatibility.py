"""What is no sagittal MRI is refused by name, or run with a finding where forced."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.errors import ErrorCode, FindingCode, InputError
from spineps.geometry import PIR, Axes, Geometry, Spacing
from spineps.stages.compatibility import check_compatibility
from spineps.volume import Scan, Source


def scan(
    spacing: Spacing = (0.8, 0.8, 3.3), axes: Axes = PIR, image: np.ndarray | None = None, prefix: str | None = None
) -> Scan:
    image = np.random.default_rng(0).normal(300, 100, (40, 50, 16)) if image is None else image
    return Scan(image.astype(np.float32), Geometry.from_spacing(image.shape, spacing, axes), Source(prefix=prefix))


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 3.3), (1.0, 1.0, 1.0), (1.1, 1.0, 1.0), (2.0, 2.0, 2.0)])
def test_sagittal_and_isotropic_scans_pass_without_a_word(spacing):
    assert check_compatibility(scan(spacing)) == ()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (scan((0.8, 3.3, 0.8)), "axial"),
        (scan((3.3, 0.8, 0.8), image=np.ones((16, 40, 40))), "coarse|coronal|wide"),
        (scan((2.0, 0.8, 0.8)), "coronal"),
        (scan((0.8, 0.8, 3.3), ("R", "P", "S")), "axial|coronal"),
        (scan((3.0, 3.0, 3.0)), "3.0 mm wide"),
        (scan(prefix="sub-1_mod-ct_label-22"), "named as a CT"),
    ],
)
def test_what_is_no_sagittal_mri_is_refused_and_can_be_forced(given, word):
    with pytest.raises(InputError, match=word) as caught:
        check_compatibility(given)
    assert caught.value.code is ErrorCode.COMPAT
    assert {f.code for f in check_compatibility(given, force=True)} == {FindingCode.COMPAT_FORCED}


def test_hounsfield_units_are_told_from_an_mri_with_negative_values():
    rng = np.random.default_rng(0)
    ct = np.where(rng.random((40, 50, 16)) < 0.3, -1000, rng.normal(40, 60, (40, 50, 16)))
    ct[0, 0, 0] = 900
    with pytest.raises(InputError, match="look like a CT"):
        check_compatibility(scan(image=ct))
    assert check_compatibility(scan(image=rng.normal(0, 1, (40, 50, 16)))) == ()
    assert check_compatibility(scan(image=rng.normal(300, 100, (40, 50, 16)) - 30000)) == ()


def test_thick_slices_are_a_finding():
    assert {f.code for f in check_compatibility(scan((0.5, 0.5, 8.0)))} == {FindingCode.THICK_SLICES}
