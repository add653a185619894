"""What scanners and patients do to an MR image: coils, motion, noise, resolution.

Every function takes a 3D float32 image (P, I, R), its spacing in mm and a numpy generator, and gives a new image of the same
shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from spineps.geometry import Spacing
from spineps.phantom.filters import blur, resize, smooth_field, white_noise

Artefact = Callable[[Tensor, Spacing, np.random.Generator], Tensor]

_BIAS_CELL_MM: Final = (70.0, 90.0, 60.0)
_COIL_DEPTH_MM: Final = (90.0, 600.0)
"""Depth over which a surface coil's sensitivity falls by a factor e; short: a small flat coil, long: a body coil."""
_NOISE: Final = (0.003, 0.05)
"""Standard deviation of the noise in each channel; cerebrospinal fluid in a T2w image is about 1."""
_VOID_SPREAD_MM: Final = 2.5
"""Reach of the signal void around an implant (susceptibility)."""


def bias_field(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Slow multiplicative inhomogeneity of transmit and receive fields."""
    cell_vox = [c / s for c, s in zip(_BIAS_CELL_MM, spacing_mm, strict=True)]
    field = smooth_field(rng, _shape(image), cell_vox)
    return image * torch.exp(rng.uniform(0.05, 0.5) * field)


def coil_fall_off(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Surface coil behind the patient: sensitivity falls towards anterior."""
    length_mm = image.shape[0] * spacing_mm[0]
    depth_mm = torch.linspace(length_mm, 0, image.shape[0])
    reach_mm = math.exp(rng.uniform(*np.log(_COIL_DEPTH_MM)))
    floor = rng.uniform(0.03, 0.25)
    return image * (floor + (1 - floor) * torch.exp(-depth_mm / reach_mm))[:, None, None]


def end_fall_off(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Signal lost towards the upper and lower end of the field of view, where gradients and coils end."""
    del spacing_mm
    along = torch.linspace(-1, 1, image.shape[1]) + rng.uniform(-0.3, 0.3)
    loss = rng.uniform(0.1, 0.8) * along.abs().clamp(max=1) ** rng.uniform(2, 6)
    return image * (1 - loss)[None, :, None]


def saturation_band(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """A dark oblique band, as it is laid over the belly or the throat to silence moving tissue."""
    del spacing_mm
    p, i = torch.linspace(0, 1, image.shape[0])[:, None], torch.linspace(-0.5, 0.5, image.shape[1])[None, :]
    distance = p - rng.uniform(-0.1, 0.25) + rng.uniform(-0.3, 0.3) * i
    width = rng.uniform(0.05, 0.2)
    band = torch.sigmoid((width - distance.abs()) / 0.012)
    return image * (1 - rng.uniform(0.4, 0.9) * band)[..., None]


def ghost(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Faint copies of the image moved along the phase encoding direction (pulsation, breathing)."""
    del spacing_mm
    axis = int(rng.integers(2))
    shift = int(rng.integers(8, max(9, image.shape[axis] // 3)))
    strength = rng.uniform(0.02, 0.1)
    return image + strength * torch.roll(image, shift, axis) + strength * rng.uniform(0, 1) * torch.roll(image, -shift, axis)


def motion(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Phase errors between the lines of k-space, as movement during the scan leaves them."""
    del spacing_mm
    axis = int(rng.integers(2))
    lines = torch.fft.rfft(image, dim=axis)
    count = lines.shape[axis]
    error = torch.from_numpy(rng.normal(0, rng.uniform(0.03, 0.2), count).astype(np.float32))
    error[: max(2, count // 12)] = 0  # the centre of k-space is acquired in too short a time for movement
    view = [1, 1, 1]
    view[axis] = count
    moved: Tensor = torch.fft.irfft(lines * torch.polar(torch.ones(count), error).view(view), n=image.shape[axis], dim=axis)
    return moved.abs()


def gibbs_ringing(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Truncate k-space along one in-plane axis: ringing along edges, and a coarser resolution."""
    del spacing_mm
    axis = int(rng.integers(2))
    lines = torch.fft.rfft(image, dim=axis)
    keep = int(lines.shape[axis] * rng.uniform(0.45, 0.85))
    lines.narrow(axis, keep, lines.shape[axis] - keep).zero_()
    ringing: Tensor = torch.fft.irfft(lines, n=image.shape[axis], dim=axis)
    return ringing.abs()


def low_resolution(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Scan at a coarser in-plane resolution and interpolate, as consoles do."""
    del spacing_mm
    factor = rng.uniform(0.5, 0.9)
    anisotropy = rng.uniform(0.85, 1.15)
    small = [max(8, int(n * factor * a)) for n, a in zip(image.shape[:2], (anisotropy, 1 / anisotropy), strict=True)]
    small = [min(n, m) for n, m in zip(small, image.shape[:2], strict=True)]
    smoothed = blur(image, [0.42 * n / m if m < n else 0.0 for n, m in zip(image.shape[:2], small, strict=True)] + [0.0])
    return resize(resize(smoothed, [*small, image.shape[2]]), image.shape)


def wrap_around(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Fold a strip of one end onto the other: a field of view too small for the body."""
    del spacing_mm
    axis = int(rng.integers(2))
    length = image.shape[axis]
    width = max(1, int(length * rng.uniform(0.05, 0.25)))
    folded = image.clone()
    far = image.narrow(axis, length - width, width)
    folded.narrow(axis, 0, width).add_(far, alpha=rng.uniform(0.2, 0.8))
    return folded


def slice_jitter(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Brightness that differs from slice to slice (interleaved acquisition, cross-talk)."""
    del spacing_mm
    count = image.shape[2]
    gain = 1 + rng.normal(0, rng.uniform(0.01, 0.06), count)
    gain += rng.uniform(-0.04, 0.04) * (np.arange(count) % 2)
    return image * torch.from_numpy(gain.astype(np.float32))


def rician_noise(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Magnitude of a complex image with Gaussian noise (Gudbjartsson and Patz 1995)."""
    del spacing_mm
    sigma = math.exp(rng.uniform(*np.log(_NOISE))) * (1 if rng.random() < 0.9 else 2)
    real = image + sigma * white_noise(rng, image.shape)
    return torch.hypot(real, sigma * white_noise(rng, image.shape))


def flow_void(image: Tensor, csf: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Darken moving cerebrospinal fluid in patches; ``csf`` is a boolean mask."""
    field = smooth_field(rng, _shape(image), [c / s for c, s in zip((5.0, 18.0, 5.0), spacing_mm, strict=True)])
    loss = rng.uniform(0.2, 0.8) * torch.sigmoid(6 * (field - rng.uniform(0.2, 1.0)))
    return torch.where(csf, image * (1 - loss), image)


def metal_void(image: Tensor, metal: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Signal void around implants with a bright rim where the signal piles up; ``metal`` is a boolean mask."""
    solid = metal.float()
    near = blur(solid, [_VOID_SPREAD_MM / s for s in spacing_mm])
    shift = int(rng.integers(-3, 4))
    rim = torch.roll(near, shift, int(rng.integers(2)))
    lost = (rng.uniform(2, 5) * near + solid).clamp(max=1)
    return image * (1 - lost) + rng.uniform(0, 1.2) * (rim * (1 - lost)).clamp(min=0)


def apply_artefacts(image: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Apply each artefact of the table with its own probability, in the order in which they arise."""
    for probability, artefact in _TABLE:
        if rng.random() < probability:
            image = artefact(image, spacing_mm, rng)
    return image


_TABLE: Final[tuple[tuple[float, Artefact], ...]] = (
    (0.35, slice_jitter),
    (1.0, bias_field),
    (0.6, coil_fall_off),
    (0.2, end_fall_off),
    (0.06, saturation_band),
    (0.05, wrap_around),
    (0.15, ghost),
    (0.1, motion),
    (0.1, gibbs_ringing),
    (0.15, low_resolution),
    (1.0, rician_noise),
)


def _shape(image: Tensor) -> tuple[int, int, int]:
    p, i, r = image.shape
    return p, i, r
