"""The bundled networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spineps.labels import SEGMENTED, Structure
from spineps.networks.classes import INSTANCE_CHANNELS, SEMANTIC_CLASSES, SEMANTIC_TABLE, one_hot_groups
from spineps.networks.unet import InstanceNorm, InstanceUNet, SemanticUNet


def test_shapes_in_are_shapes_out():
    image = torch.zeros(1, 1, 32, 48, 16)
    assert SemanticUNet()(image).shape == (1, 15, 32, 48, 16)
    assert SemanticUNet().forward_half(image).shape == (1, 15, 16, 24, 16)
    assert InstanceUNet()(torch.zeros(1, 13, 16, 24, 8)).shape == (1, 4, 16, 24, 8)


@pytest.mark.parametrize("network", [SemanticUNet, InstanceUNet])
def test_bundled_networks_stay_below_ten_megabytes_in_bf16(network):
    assert 2 * sum(p.numel() for p in network().parameters()) < 10_000_000


def test_the_norm_of_a_sample_does_not_depend_on_its_batch():
    norm = InstanceNorm(3)
    batch = torch.randn(2, 3, 4, 5, 6) * torch.tensor([1.0, 50.0])[:, None, None, None, None]
    torch.testing.assert_close(norm(batch)[:1], norm(batch[:1]))


def test_every_structure_has_a_class_and_both_endplates_share_one():
    assert set(SEMANTIC_CLASSES) == {Structure.BACKGROUND, *SEGMENTED}
    assert SEMANTIC_TABLE[Structure.ENDPLATE_SUPERIOR] == SEMANTIC_TABLE[Structure.ENDPLATE]
    assert SEMANTIC_TABLE[7] == 0


def test_one_hot_groups_cord_with_canal():
    labels = np.array([0, Structure.CORD, Structure.CANAL, Structure.CORPUS], np.uint8).reshape(4, 1, 1)
    one_hot = one_hot_groups(labels)
    assert one_hot.shape == (INSTANCE_CHANNELS, 4, 1, 1)
    assert one_hot[:, 0].sum() == 0
    np.testing.assert_array_equal(one_hot[:, 1], one_hot[:, 2])
    assert one_hot[:, 3].sum() == 1
