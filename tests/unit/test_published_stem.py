"""The first convolution of the published instance network is computed in a box, with the same bits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from spineps.networks.published.stem import StemConv, varying

SIDES = (32, 48, 24)


def cutout(channels, box, seed=0):
    """One-hot classes in a box, background around it."""
    classes = np.zeros(SIDES, np.uint8)
    inside = np.random.default_rng(seed).integers(0, max(2, channels), SIDES, np.uint8)
    classes[box] = inside[box]
    if channels == 1:
        return torch.from_numpy(classes / np.float32(9))[None, None]
    return torch.from_numpy((classes == np.arange(channels)[:, None, None, None]).astype(np.float32))[None]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 11])
@pytest.mark.parametrize(
    "box", [np.s_[12:18, 14:30, 9:15], np.s_[0:9, 20:48, 5:9], np.s_[25:32, 0:7, 0:24], np.s_[15:16, 15:16, 15:16]]
)
@torch.inference_mode()
def test_the_box_and_its_surround_have_the_bits_of_the_whole_convolution(channels, box, precision):
    torch.manual_seed(1)
    stem = StemConv(channels, 8).to(precision)
    given = cutout(channels, box, seed=3).to(precision)
    if not (given != given[..., :1, :1, :1]).any():
        given[(0, 0, *box)] = 0.5
    assert varying(given[0]) is not None
    assert torch.equal(stem(given), nn.Conv3d.forward(stem, given))


@torch.inference_mode()
def test_less_is_computed():
    stem, seen = StemConv(11, 8), []
    whole = nn.Conv3d._conv_forward

    def counted(given, weight, bias):
        seen.append(given[0, 0].numel())
        return whole(stem, given, weight, bias)

    stem._conv_forward = counted
    stem(cutout(11, np.s_[12:18, 14:30, 9:15]))
    assert sum(seen) < 0.4 * np.prod(SIDES)


def test_what_spares_nothing_is_computed_whole():
    assert varying(cutout(11, np.s_[:, :, :])[0]) is None
    assert varying(cutout(11, np.s_[0:0, 0:0, 0:0])[0]) is None


@torch.inference_mode()
def test_a_recorded_graph_holds_the_whole_convolution():
    stem = StemConv(2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of itself being old
        recorded = torch.jit.trace(stem, cutout(2, np.s_[12:18, 14:30, 9:15]), check_trace=False)
    other = cutout(2, np.s_[2:9, 3:12, 3:5], seed=8)
    torch.testing.assert_close(recorded(other), stem(other))
