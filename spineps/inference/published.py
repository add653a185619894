"""Predictors of models that were made elsewhere, behind the protocols that the stages know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from spineps.config import ComputeConfig
from spineps.geometry import PIR, Box, FloatArray, Reorientation, Shape, Spacing
from spineps.inference.engine import InstanceNetwork, NetworkEngine, SemanticNetwork
from spineps.inference.nnunet import Window, answer
from spineps.inference.protocols import ScanModel
from spineps.inference.sliding import Progress
from spineps.zoo.elsewhere import InstanceModel, LabelingModel, Made, NnunetModel, Triple
from spineps.zoo.published.describe import to_pir
from spineps.zoo.store import AnyModel

_Made = TypeVar("_Made", bound=Made)
_Scalar = TypeVar("_Scalar", bound=np.generic)

ONE_CHANNEL_SCALE: Final = 9
"""Networks with one input channel see the number of the class divided by this (the number of classes)."""


class NnunetEngine(SemanticNetwork):
    """A semantic nnU-Net (see :class:`spineps.inference.protocols.ScanPredictor`)."""

    def __init__(self, model: AnyModel, config: ComputeConfig) -> None:
        super().__init__(model, config)
        self.model = _expect(model, NnunetModel)
        self._turn = Reorientation.between(PIR, self.model.orientation)

    @property
    def scan_model(self) -> ScanModel:
        """How scans are prepared for the model."""
        return ScanModel(normalise=self.model.normalise_range, n4=self.model.n4)

    def spacing_for(self, spacing_mm: Spacing) -> Spacing:
        """Spacing (P, I, R) that an image of a given spacing is brought to."""
        return limited(spacing_mm, self.model)

    def label(
        self,
        image: FloatArray,
        spacing_mm: Spacing,
        *,
        step_share: float,
        mirror: bool,
        progress: Progress | None = None,
        on_scores: Callable[[FloatArray], None] | None = None,
    ) -> NDArray[np.uint8]:
        """Semantic ids of an image at the spacing of :meth:`spacing_for`, both of shape (P, I, R)."""
        arranged = self._arranged(image)
        found = answer(
            arranged,
            self.tile_logits,
            self.model,
            Window(step_share, mirror, progress),
            spacing=self._to_network_axes(to_axes(spacing_mm, self.model.orientation)),
            probabilities=on_scores is not None,
        )
        if found is None:
            return np.zeros(image.shape, np.uint8)
        if on_scores is not None and found.probabilities is not None:
            on_scores(np.stack([self._back(channel) for channel in found.probabilities]))
        ids = np.concatenate([np.zeros(1, np.uint8), self.labels]) if self.model.regions else self.labels
        labels: NDArray[np.uint8] = ids[self._back(found.channels)]
        return labels

    def _arranged(self, image: FloatArray) -> FloatArray:
        """An image (P, I, R) in the axes of the network's arrays."""
        return np.ascontiguousarray(self._turn.apply(image).transpose(2, 1, 0).transpose(self.model.transpose))

    def _back(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """An array in the network's axes as (P, I, R)."""
        return self._turn.inverse().apply(array.transpose(np.argsort(self.model.transpose)).transpose(2, 1, 0))

    def _to_network_axes(self, values: Triple) -> Triple:
        read = values[::-1]
        a, b, c = (read[axis] for axis in self.model.transpose)
        return a, b, c

    def tile_logits(self, tile: FloatArray) -> FloatArray:
        """Logits, shape (C, X, Y, Z), of one normalised tile in the axes of the network's arrays."""
        scores: FloatArray = self.runner.logits(tile[None, None])[0]
        return scores


class PublishedInstanceEngine(InstanceNetwork):
    """A published instance network (see :class:`spineps.inference.protocols.InstancePredictor`)."""

    def __init__(self, model: AnyModel, config: ComputeConfig) -> None:
        super().__init__(model, config)
        self._model = _expect(model, InstanceModel)
        self._turn = Reorientation.between(PIR, self._model.orientation)
        self._channels = int(model.card.network_settings["channels"])
        self._classes = np.zeros(256, np.uint8)
        for ours, theirs in self._model.mapping.items():
            if 0 <= ours < 256:
                self._classes[ours] = theirs
        self._answers = np.zeros(256, np.uint8)
        for theirs, relation in self._model.classes.items():
            if 0 <= theirs < 256:
                self._answers[theirs] = relation

    @property
    def parts_fused(self) -> bool:
        """Its votes alone make the instances, as in the published tool."""
        return True

    def adapted(self, spacing_mm: Spacing) -> AtSpacing:
        """The same network at the spacing at which it works on a mask of a given spacing."""
        return AtSpacing(self, limited(spacing_mm, self._model))

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 to 3, shape (batch, P, I, R), of semantic cutouts of the same shape."""
        found = [self._one(cutout) for cutout in cutouts]
        return np.stack(found) if found else np.zeros(cutouts.shape, np.uint8)

    def logits(self, cutout: NDArray[np.uint8]) -> FloatArray:
        """Logits, shape (4, P, I, R), of one semantic cutout of shape (P, I, R)."""
        scores = self.runner.logits(self.encoded(self._turn.apply(cutout))[None])[0]
        back = self._turn.inverse()
        return np.stack([back.apply(channel) for channel in scores])

    def encoded(self, cutout: NDArray[np.uint8]) -> FloatArray:
        """Input of the network, shape (channels, X, Y, Z): one channel a class with the background first, or the class
        number over :data:`ONE_CHANNEL_SCALE`; classes beyond the channels are background.
        """
        classes = self._classes[cutout]
        if self._channels == 1:
            return (classes / np.float32(ONE_CHANNEL_SCALE)).astype(np.float32)[None]
        classes[classes >= self._channels] = 0
        one_hot: FloatArray = np.zeros((self._channels, *cutout.shape), np.float32)
        one_hot[0] = 1
        box = Box.around(classes > 0)
        if box is not None:  # memory that nobody writes to costs nothing
            channels = np.arange(self._channels, dtype=np.uint8)[:, None, None, None]
            p, i, r = box.slices
            one_hot[:, p, i, r] = classes[p, i, r] == channels
        return one_hot

    def _one(self, cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found = self.runner.classes(self.encoded(self._turn.apply(cutout))[None])[0]
        return self._turn.inverse().apply(self._answers[found])


@dataclass(frozen=True, slots=True, eq=False)
class AtSpacing:
    """An instance network at one spacing of its range (see :class:`spineps.inference.protocols.InstancePredictor`).

    Parameters
    ----------
    engine : PublishedInstanceEngine
        The network.
    spacing_mm : tuple of 3 float
        Voxel spacing (P, I, R).
    """

    engine: PublishedInstanceEngine
    spacing_mm: Spacing

    @property
    def cutout_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""
        return self.engine.cutout_size

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout."""
        return self.engine.shift_mm

    @property
    def parts_fused(self) -> bool:
        """Whether its answers tell where bodies end that the mask fuses."""
        return self.engine.parts_fused

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 to 3, shape (batch, P, I, R), of semantic cutouts of the same shape."""
        return self.engine(cutouts)


class LabelingEngine(NetworkEngine):
    """A published labeling network (see :class:`spineps.inference.protocols.LabelingPredictor`)."""

    def __init__(self, model: AnyModel, config: ComputeConfig) -> None:
        super().__init__(model, config)
        self._model = _expect(model, LabelingModel)
        self._turn = Reorientation.between(PIR, self._model.orientation)

    @property
    def rotated(self) -> bool:
        """Whether patches are turned so that the spine runs straight down."""
        return self._model.rotated

    @property
    def heads(self) -> Mapping[str, int]:
        """Classes of each head."""
        return self._model.heads

    def spacing_for(self, spacing_mm: Spacing) -> Spacing:
        """Spacing (P, I, R) that an image of a given spacing is brought to."""
        return limited(spacing_mm, self._model)

    def __call__(self, patch: FloatArray) -> dict[str, FloatArray]:
        """Probability of each class of each head for a patch of shape (P, I, R), intensities as in the scan.

        The patch may be larger than :attr:`patch_size`: it is normalised to zero mean and unit variance over its non-zero
        voxels, and its centre is looked at.
        """
        arranged = self._turn.apply(patch.astype(np.float32))
        seen = arranged != 0
        if seen.any():
            values = arranged[seen]
            deviation = values.std()
            arranged[seen] = (values - values.mean()) / (deviation if deviation > 0 else 1)
        centre = _centre(arranged, self._turn_shape(self.patch_size))
        logits = self.runner.logits(centre[None, None])[0]
        parts = np.split(logits, np.cumsum(list(self.heads.values()))[:-1])
        return {name: softmax(part) for name, part in zip(self.heads, parts, strict=True)}

    def _turn_shape(self, shape: Shape) -> Shape:
        a, b, c = (shape[axis] for axis in self._turn.order)
        return a, b, c


def limited(spacing_mm: Spacing, model: Made) -> Spacing:
    """A spacing (P, I, R), limited to the range of a model."""
    low, high = to_pir(model.zoom_low, model.orientation), to_pir(model.zoom_high, model.orientation)
    a, b, c = (max(min(s, most), least) for s, least, most in zip(spacing_mm, low, high, strict=True))
    return a, b, c


def to_axes(values: Triple, axes: tuple[str, str, str]) -> Triple:
    """Sizes along (P, I, R) to those along the given axes."""
    a, b, c = (values[axis] for axis in Reorientation.between(PIR, axes).order)
    return a, b, c


def _centre(array: FloatArray, size: Shape) -> FloatArray:
    """The middle of an array, at most of the given size."""
    begin = [max(0, n // 2 - s // 2) for n, s in zip(array.shape, size, strict=True)]
    part = tuple(slice(b, min(n, b + s)) for b, n, s in zip(begin, array.shape, size, strict=True))
    return np.ascontiguousarray(array[part])


def _expect(model: AnyModel, kind: type[_Made]) -> _Made:
    if not isinstance(model.card.elsewhere, kind):
        raise TypeError(f"expected a model of kind {kind.__name__}, found {model.card.network}")
    return model.card.elsewhere
