"""The sliding window and the engine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.errors import UsageError
from spineps.geometry import Box
from spineps.inference.engine import InstanceEngine, SemanticEngine
from spineps.inference.machine import choose_engine
from spineps.inference.sliding import Tiles, accumulate, gaussian_weight, probability_slabs, tile_starts
from spineps.labels import Structure
from spineps.networks.classes import SEMANTIC_CLASSES
from spineps.networks.unet import InstanceUNet, SemanticUNet
from spineps.zoo.card import ModelCard
from spineps.zoo.golden import make_golden
from spineps.zoo.store import Model

CPU = ComputeConfig(Device.CPU, Precision.FP32, threads=1, engine=EngineName.TORCH)


class BrightIsBody:
    """A predictor that knows the answer: bright voxels are body, dark ones background, in any tile."""

    spacing_mm = (1.0, 1.0, 2.0)
    patch_size = (8, 12, 6)
    step_share = 0.5
    mirror = False
    labels = np.array([0, Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT], np.uint8)

    def __init__(self, *, sided: bool = False) -> None:
        self.sided = sided
        self.calls = 0

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        self.calls += 1
        bright = (patches > 0.5).astype(np.float32)
        left = np.arange(patches.shape[3]) < patches.shape[3] // 2 if self.sided else np.ones(patches.shape[3], bool)
        return np.stack([1 - bright, bright * left, bright * ~left], axis=1).astype(np.float32)


def probabilities(image: np.ndarray, predictor: BrightIsBody, **settings: object) -> np.ndarray:
    """The slabs of an image put together, each voxel from one of them."""
    slabs = list(probability_slabs(image, predictor, **settings))
    whole = np.full((len(predictor.labels), *image.shape), np.nan, np.float32)
    for slab in slabs:
        part = whole[(slice(None), *slab.box.slices)]
        assert np.isnan(part).all()
        part[...] = slab.scores
    assert not np.isnan(whole).any()
    return whole


@pytest.mark.parametrize(
    ("length", "tile", "share"), [(5, 8, 0.5), (8, 8, 0.5), (9, 8, 0.5), (100, 24, 0.5), (101, 24, 1.0), (37, 12, 0.3)]
)
def test_tiles_cover_the_axis_with_steps_no_longer_than_asked(length, tile, share):
    starts = tile_starts(length, tile, share)
    assert starts[0] == 0
    assert starts[-1] + tile >= length
    assert all(0 < b - a <= max(1, round(tile * share) + 1) for a, b in itertools.pairwise(starts))
    assert all(s + tile <= max(length, tile) for s in starts)


def test_gaussian_weight_peaks_in_the_middle_and_never_vanishes():
    weight = gaussian_weight((9, 9, 5))
    assert weight.shape == (9, 9, 5)
    assert weight.argmax() == weight.size // 2
    assert weight.min() > 0


@pytest.mark.parametrize("shape", [(20, 30, 9), (5, 6, 3), (8, 12, 6), (17, 12, 40)])
def test_probabilities_of_a_local_predictor_do_not_depend_on_tiles(shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    scores = probabilities(image, BrightIsBody(), step_share=0.5, mirror=False)
    assert scores.shape == (3, *shape)
    np.testing.assert_allclose(scores.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(scores.argmax(axis=0) > 0, image > 0.5)


def test_mirroring_swaps_left_and_right_back():
    image = np.ones((8, 12, 6), np.float32)
    scores = probabilities(image, BrightIsBody(sided=True), step_share=0.5, mirror=True)
    straight = probabilities(image, BrightIsBody(sided=True), step_share=0.5, mirror=False)
    np.testing.assert_allclose(scores, straight, rtol=1e-6)


@pytest.mark.parametrize("shape", [(20, 11, 9), (9, 30, 8), (8, 9, 21)])
def test_slabs_are_the_weighted_mean_of_all_tiles(shape):
    rng = np.random.default_rng(0)
    image, size = rng.random(shape).astype(np.float32), (8, 9, 7)
    weight = rng.random(size).astype(np.float32) + 0.1
    starts = tuple(tile_starts(n, t, 0.4) for n, t in zip(shape, size, strict=True))

    def network(tile):  # what it says of a voxel depends on the tile
        return np.stack([tile, tile.mean() - tile]).astype(np.float32)

    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    for corner in itertools.product(*starts):
        here = tuple(slice(s, s + t) for s, t in zip(corner, size, strict=True))
        total[(slice(None), *here)] += network(image[here]) * weight
        weights[here] += weight
    slabs = list(accumulate(shape, Tiles(starts, weight), lambda here: network(image[here])))
    axis = int(np.argmax(shape))
    assert len(slabs) == len(starts[axis]) > 1, "nothing larger than a tile is held"
    assert max(slab.box.shape[axis] for slab in slabs) <= size[axis]
    np.testing.assert_allclose(np.concatenate([slab.scores for slab in slabs], axis=axis + 1), total / weights, rtol=1e-5)


def test_tiles_that_nobody_needs_are_not_run_and_change_no_other_voxel():
    image = np.random.default_rng(1).random((40, 30, 9)).astype(np.float32)
    every, some = BrightIsBody(), BrightIsBody()
    whole = probabilities(image, every, step_share=0.5, mirror=False)
    part = Box((0, 4, 0), (14, 21, 9))
    scores = probabilities(image, some, step_share=0.5, mirror=False, needed=lambda tile: not tile.intersect(part).empty)
    assert 0 < some.calls < every.calls
    np.testing.assert_array_equal(scores[(slice(None), *part.slices)], whole[(slice(None), *part.slices)])
    np.testing.assert_array_equal(scores[:, 28:, 24:].argmax(axis=0), 0)
    np.testing.assert_allclose(scores.sum(axis=0), 1, rtol=1e-5)


def test_progress_counts_every_tile():
    seen: list[tuple[int, int]] = []
    predictor = BrightIsBody()
    image = np.zeros((20, 30, 9), np.float32)
    probabilities(image, predictor, step_share=0.5, mirror=False, progress=lambda a, b: seen.append((a, b)))
    assert [a for a, _ in seen] == list(range(1, predictor.calls + 1))
    assert seen[-1] == (predictor.calls, predictor.calls)


def _model(network, labels, **facts):
    card = ModelCard(
        name="t",
        version="1",
        network=type(network).__name__,
        labels=labels,
        weights_sha256="0" * 64,
        golden=make_golden(network, network.input_channels),
        **facts,
    )
    return Model(card, network.eval())


def test_semantic_engine_gives_probabilities_of_the_patch_shape():
    torch.manual_seed(0)
    network = SemanticUNet(15, 8, (8, 8, 16))
    engine = SemanticEngine(
        _model(network, SEMANTIC_CLASSES, kind="semantic", spacing_mm=(1, 1, 2), patch_size=(32, 32, 8)), CPU
    )
    patch = np.random.default_rng(0).standard_normal((2, 32, 32, 8)).astype(np.float32)
    scores = engine(patch)
    assert scores.shape == (2, 15, 32, 32, 8)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(engine(patch[:1])[0], scores[0], atol=1e-4, err_msg="a batch must not change a sample")
    assert engine.engine.name == "torch-cpu-fp32"


def test_threads_that_others_in_the_process_set_change_no_bit():
    torch.manual_seed(0)
    network = SemanticUNet(15, 32, (32, 32))
    model = _model(network, SEMANTIC_CLASSES, kind="semantic", spacing_mm=(1, 1, 2), patch_size=(64, 64, 8))
    engine = SemanticEngine(model, CPU)
    patch = np.random.default_rng(0).standard_normal((1, 64, 64, 8)).astype(np.float32)
    alone = engine(patch)
    try:
        torch.set_num_threads(2)  # sums over a volume depend on how it is divided
        np.testing.assert_array_equal(engine(patch), alone)
    finally:
        torch.set_num_threads(1)


def test_instance_engine_answers_each_cutout_alone():
    torch.manual_seed(0)
    network = InstanceUNet(13, (8, 8, 16))
    engine = InstanceEngine(_model(network, (0, 1, 2, 3), kind="instance", spacing_mm=(2, 2, 2), patch_size=(16, 24, 8)), CPU)
    cutouts = np.random.default_rng(0).choice([0, 49, 41, 100, 60], (3, 16, 24, 8)).astype(np.uint8)
    found = engine(cutouts)
    assert found.shape == cutouts.shape
    assert found.dtype == np.uint8
    assert found.max() <= 3
    np.testing.assert_array_equal(engine(cutouts[1:2])[0], found[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_engine(ComputeConfig(Device.CUDA))


def test_precision_can_be_chosen():
    assert choose_engine(ComputeConfig(Device.CPU, Precision.BF16)).dtype == torch.bfloat16
    assert choose_engine(ComputeConfig(Device.CPU, Precision.FP32)).dtype == torch.float32
