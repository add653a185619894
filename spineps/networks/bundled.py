"""The networks that models made by this package may have."""

from __future__ import annotations

from typing import Final

from spineps.networks.levels import LevelNet
from spineps.networks.unet import InstanceUNet, SemanticUNet

BundledNetwork = SemanticUNet | InstanceUNet | LevelNet

BUNDLED_NETWORKS: Final[dict[str, type[SemanticUNet] | type[InstanceUNet] | type[LevelNet]]] = {
    "SemanticUNet": SemanticUNet,
    "InstanceUNet": InstanceUNet,
    "LevelNet": LevelNet,
}
"""The network classes that a model card may name; no other code is ever looked up by name."""
