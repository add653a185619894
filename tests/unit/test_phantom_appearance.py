"""Painting: every contrast, deterministic, in range, with the signal order that the contrast is known for."""

import numpy as np
import pytest
import torch

from spineps.phantom.appearance import MAX_INTENSITY, paint, paint_averaged, paint_patch
from spineps.phantom.artefacts import (
    bias_field,
    coil_fall_off,
    end_fall_off,
    ghost,
    gibbs_ringing,
    low_resolution,
    metal_void,
    motion,
    rician_noise,
    saturation_band,
    slice_jitter,
    wrap_around,
)
from spineps.phantom.contrasts import TISSUES, Contrast, draw_signal
from spineps.phantom.filters import blur, box_weights, correlate, gaussian_weights, smooth_field
from spineps.phantom.tissues import Tissue

SPACING = (1.0, 1.0, 2.0)
ARTEFACTS = (
    bias_field,
    coil_fall_off,
    end_fall_off,
    ghost,
    gibbs_ringing,
    low_resolution,
    motion,
    rician_noise,
    saturation_band,
    slice_jitter,
    wrap_around,
)


@pytest.fixture
def tissue() -> np.ndarray:
    """Blocks of all tissues."""
    blocks = np.random.default_rng(0).integers(0, TISSUES, (8, 9, 4)).astype(np.uint8)
    return np.kron(blocks, np.ones((5, 5, 3), np.uint8))


@pytest.mark.parametrize("contrast", list(Contrast))
def test_paint_is_deterministic_finite_and_in_range(tissue: np.ndarray, contrast: Contrast) -> None:
    images = [paint(tissue, SPACING, np.random.default_rng(seed), contrast) for seed in (1, 1, 2)]
    assert images[0].dtype == np.float32
    assert images[0].shape == tissue.shape
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert np.isfinite(images[0]).all()
    assert images[0].min() >= 0
    assert float(images[0].max()) <= MAX_INTENSITY + 0.5 / 255 + 1e-6  # rounded to 8 bit, in fp32


def test_paint_leaves_the_global_random_states_and_its_input_alone(tissue: np.ndarray) -> None:
    tissue.setflags(write=False)
    before = torch.random.get_rng_state()
    paint(tissue, SPACING, np.random.default_rng(0), Contrast.RANDOM)
    assert torch.equal(before, torch.random.get_rng_state())


def test_response_is_what_the_image_shows(tissue: np.ndarray) -> None:
    # Of many images, since fields and coils make single ones uneven.
    agreement = []
    for seed in range(10):
        painting = paint_patch(tissue, SPACING, np.random.default_rng(seed), Contrast.RANDOM)
        shown = [painting.image[tissue == t].mean() for t in range(TISSUES)]
        agreement.append(np.corrcoef(shown, painting.response)[0, 1])
    assert np.median(agreement) > 0.8


@pytest.mark.parametrize(
    ("contrast", "brighter", "darker"),
    [
        (Contrast.T2W, Tissue.CSF, Tissue.CORTICAL_BONE),
        (Contrast.T2W, Tissue.CSF, Tissue.CORD),
        (Contrast.T2W, Tissue.SUBCUTANEOUS_FAT, Tissue.MUSCLE),
        (Contrast.T1W, Tissue.SUBCUTANEOUS_FAT, Tissue.CSF),
        (Contrast.T1W, Tissue.BODY_MARROW, Tissue.CSF),
        (Contrast.STIR, Tissue.CSF, Tissue.SUBCUTANEOUS_FAT),
        (Contrast.WATER, Tissue.NUCLEUS, Tissue.SUBCUTANEOUS_FAT),
        (Contrast.WATER, Tissue.MUSCLE, Tissue.CORTICAL_BONE),
        (Contrast.FAT, Tissue.SUBCUTANEOUS_FAT, Tissue.CSF),
        (Contrast.FAT, Tissue.BODY_MARROW, Tissue.NUCLEUS),
    ],
)
def test_signal_order_of_contrasts(contrast: Contrast, brighter: Tissue, darker: Tissue) -> None:
    signals = [draw_signal(np.random.default_rng(seed), contrast).mean for seed in range(50)]
    assert np.mean([s[brighter] > s[darker] for s in signals]) > 0.95


def test_signal_is_not_negative_and_metal_is_void() -> None:
    for seed in range(30):
        for contrast in Contrast:
            signal = draw_signal(np.random.default_rng(seed), contrast)
            assert signal.mean.shape == signal.spread.shape == (TISSUES,)
            assert signal.mean.min() >= 0
            assert signal.spread.min() >= 0
            assert signal.mean[Tissue.METAL] == 0


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_artefacts_keep_shape_and_change_something(artefact) -> None:
    image = torch.rand(40, 48, 6, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    out = artefact(image, SPACING, np.random.default_rng(3))
    assert out.shape == image.shape
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert torch.equal(image, before)
    assert not torch.equal(out, image)


def test_metal_takes_the_signal_around_it() -> None:
    metal = torch.zeros(30, 30, 10, dtype=torch.bool)
    metal[13:17, 13:17, 4:6] = True
    out = metal_void(torch.ones(30, 30, 10), metal, SPACING, np.random.default_rng(0))
    assert out[metal].max() < 0.3
    assert out[0, 0, 0] == pytest.approx(1.0)


def test_averaging_is_partial_volume() -> None:
    tissue = np.zeros((30, 30, 9), np.uint8)
    tissue[:, :, 4:] = Tissue.CSF  # the middle slice of three is air in one of its three fine slices
    painting = paint_averaged(tissue, (1.0, 1.0, 1.0), np.random.default_rng(8), Contrast.T2W, per_voxel=(1, 1, 3))
    dark, mixed, bright = painting.image.mean(axis=(0, 1))
    assert painting.image.shape == (30, 30, 3)
    assert dark < mixed < bright


@pytest.mark.parametrize("per_voxel", [(1, 1, 2), (1, 1, 5)])
def test_averaging_asks_for_odd_divisors(per_voxel: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="odd divisors"):
        paint_averaged(np.zeros((6, 6, 6), np.uint8), SPACING, np.random.default_rng(0), Contrast.T2W, per_voxel=per_voxel)


@pytest.mark.parametrize("weights", [gaussian_weights(0.7), box_weights(1), box_weights(3), box_weights(2.4)])
def test_filters_keep_the_mean_of_a_constant(weights: list[float]) -> None:
    assert len(weights) % 2 == 1
    assert sum(weights) == pytest.approx(1)
    out = correlate(torch.full((5, 6, 7), 2.0), weights, 1)
    assert torch.allclose(out, torch.tensor(2.0))


def test_blur_and_smooth_field() -> None:
    field = smooth_field(np.random.default_rng(0), (20, 30, 10), (5, 5, 5))
    assert field.shape == (20, 30, 10)
    assert blur(field, (2, 2, 0)).std() < field.std()
    assert torch.equal(blur(field, (0.1, 0, 0)), field)
