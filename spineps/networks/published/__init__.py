"""Network classes of models made elsewhere, with the tensor names of their checkpoints. Imports torch, is imported lazily.

Written after the published descriptions of the architectures and the tensor names of the checkpoints; only the nnU-Net classes
come from a package, ``dynamic_network_architectures``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spineps.networks.published.classifier import VertebraClassifier
from spineps.networks.published.nnunet import NnunetFolds
from spineps.networks.published.unet3d import Unet3D

PublishedNetwork = NnunetFolds | Unet3D | VertebraClassifier

PUBLISHED_NETWORKS: Final[dict[str, Callable[..., PublishedNetwork]]] = {
    "NnunetFolds": NnunetFolds,
    "Unet3D": Unet3D,
    "VertebraClassifier": VertebraClassifier,
}
"""The network classes that the card of an imported model may name."""
