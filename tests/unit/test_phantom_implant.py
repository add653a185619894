"""Screws and rods: metal in the tissue and a void in the image, the labels as without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spineps.labels import Structure
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy
from spineps.phantom.appearance import paint
from spineps.phantom.contrasts import Contrast
from spineps.phantom.implant import SHARE, draw_implant
from spineps.phantom.tissues import Tissue

SPEC = AnatomySpec((90, 1, 50), (1.6, 1.6, 1.6), first=18, last=24, pathology=0)


@pytest.fixture(scope="module")
def pair() -> tuple[Anatomy, Anatomy]:
    plain, operated = (build_anatomy(np.random.default_rng(5), replace(SPEC, implant=flag)) for flag in (False, True))
    return plain, operated


def test_metal_replaces_tissue_and_no_label(pair: tuple[Anatomy, Anatomy]) -> None:
    plain, operated = pair
    assert np.array_equal(plain.semantic, operated.semantic)
    assert np.array_equal(plain.instance, operated.instance)
    metal = operated.tissue == Tissue.METAL
    assert np.array_equal(plain.tissue[~metal], operated.tissue[~metal])
    assert not (plain.tissue == Tissue.METAL).any()
    within = set(np.unique(operated.semantic[metal]).tolist())
    assert {int(Structure.CORPUS), int(Structure.ARCUS), 0} <= within
    assert not within & {int(Structure.CORD), int(Structure.SPINOUS)}
    screwed = np.unique(operated.instance[metal & (operated.semantic == Structure.CORPUS)])
    assert 2 <= len(screwed) <= 4
    assert (np.diff(screwed) == 1).all()


def test_metal_takes_the_signal_around_it(pair: tuple[Anatomy, Anatomy]) -> None:
    metal = pair[1].tissue == Tissue.METAL
    signal = np.zeros(2)
    for seed in range(4):
        signal += [paint(one.tissue, SPEC.spacing_mm, np.random.default_rng(seed), Contrast.T2W)[metal].mean() for one in pair]
    assert signal[1] < 0.5 * signal[0]


def test_hardware_is_rare_and_never_in_the_neck() -> None:
    positions = np.arange(24.0)
    drawn = [draw_implant(np.random.default_rng(seed), positions, SHARE) for seed in range(2000)]
    assert 0.012 < np.mean([bool(one) for one in drawn]) < 0.03
    assert all(min(one) >= 10 for one in drawn if one)
    assert not any(draw_implant(np.random.default_rng(seed), positions, 0.0) for seed in range(50))
