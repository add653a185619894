"""Rearranged graphs give the numbers of the plain ones, and compute less."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spineps.config import Precision
from spineps.inference import machine
from spineps.networks.published.unet3d import Unet3D

pytestmark = pytest.mark.skipif(not machine.has_openvino(), reason="OpenVINO is not installed")
PRECISIONS = [
    Precision.FP32,
    pytest.param(
        Precision.BF16,
        marks=pytest.mark.skipif(not machine.BF16_FLAGS & machine.cpu_flags(), reason="this CPU has no bf16"),
    ),
]
SIDES = (32, 48, 24)


class OneLayer(nn.Module):
    """A network of one convolution."""

    divisors = (8, 8, 8)

    def __init__(self, channels, features, kernel):
        super().__init__()
        self.input_channels = channels
        self.layer = nn.Conv3d(channels, features, kernel, padding=kernel // 2)

    def forward(self, x):
        return self.layer(x)


def runner(network, precision):
    from spineps.inference.openvino_runner import OpenvinoRunner

    return OpenvinoRunner(SimpleNamespace(network=network.eval()), precision, 1)


def plain(made, sample):
    """What the graph says as it was recorded."""
    return plainly(made, sample.shape)(sample)


def plainly(made, shape):
    """The graph as it was recorded."""
    graph = made._graph.clone()
    graph.reshape([1, *shape])
    request = made._request(graph)
    return lambda sample: request.infer({0: sample[None]})[0]


def cutout(channels, box, seed=3):
    """One-hot classes in a box, background around it."""
    classes = np.zeros(SIDES, np.uint8)
    classes[box] = np.random.default_rng(seed).integers(1, max(2, channels), SIDES, np.uint8)[box]
    if channels == 1:
        return (classes / np.float32(9))[None]
    return (classes == np.arange(channels)[:, None, None, None]).astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("width", "channels"), [(8, 11), (16, 1)])
def test_the_published_network_gives_the_bits_of_its_plain_graph(width, channels, precision):
    torch.manual_seed(1)
    made = runner(Unet3D(width, channels), precision)
    recorded = plainly(made, (channels, *SIDES))
    for box in (
        np.s_[12:18, 14:30, 9:14],
        np.s_[0:9, 20:48, 5:24],
        np.s_[25:32, 0:7, 0:3],
        np.s_[:, :, :],
        np.s_[0:0, 0:0, 0:0],
    ):
        sample = cutout(channels, box)
        truth = recorded(sample)
        assert truth.std() > 0
        np.testing.assert_array_equal(made.logits(sample[None]), truth)
        np.testing.assert_array_equal(made.classes(sample[None])[0], truth[0].argmax(axis=0))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("features", "kernel"), [(1, 3), (4, 3), (5, 5), (8, 3), (8, 1), (12, 3)])
@pytest.mark.parametrize("length", [16, 15])
def test_neighbours_side_by_side_have_the_bits_of_the_plain_graph(features, kernel, length, precision):
    torch.manual_seed(2)
    made = runner(OneLayer(3, features, kernel), precision)
    sample = np.random.default_rng(0).standard_normal((3, 9, 10, length)).astype(np.float32)
    np.testing.assert_array_equal(made.logits(sample[None]), plain(made, sample))


@pytest.mark.parametrize("sides", [(7, 8, 9), (5, 8, 6), (3, 3, 3)])
def test_a_stem_of_a_small_sample(sides):
    torch.manual_seed(4)
    made = runner(OneLayer(2, 8, 7), Precision.FP32)
    features, sample = np.full((8, *sides), np.nan, np.float32), np.zeros((2, *sides), np.float32)
    sample[:, 2, 2, 2] = 1
    assert fill(made, features, sample)[-1] <= features[0].size
    np.testing.assert_array_equal(features, plain(made, sample)[0])


def test_less_is_computed_where_little_is_shown():
    made = runner(OneLayer(11, 8, 7), Precision.FP32)
    sample = cutout(11, np.s_[12:18, 14:30, 9:14])
    features = np.zeros((8, *SIDES), np.float32)
    assert sum(fill(made, features, sample)) < 0.4 * np.prod(SIDES)
    np.testing.assert_array_equal(features, plain(made, sample)[0])


def fill(made, features, sample):
    """Fill features by the stem of a graph; how many voxels were computed each time."""
    from spineps.inference.openvino_graph import cut_off
    from spineps.inference.openvino_runner import _runs

    stem, computed = cut_off(made._graph.clone()), []
    run = _runs(made._request(stem.graph))

    def counted(batch):
        computed.append(batch[0, 0].size)
        return run(batch)

    stem.fill(features, sample, counted)
    return computed
