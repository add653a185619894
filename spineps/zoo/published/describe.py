"""The facts of a card from what a folder made elsewhere says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from spineps.errors import ErrorCode, UsageError
from spineps.geometry import PIR, Axes, Reorientation
from spineps.labels import Structure
from spineps.zoo.card import Kind
from spineps.zoo.elsewhere import InstanceModel, LabelingModel, NnunetModel
from spineps.zoo.published.config import InferenceConfig, checked_axes, corrupt
from spineps.zoo.published.lightning import PATCH, ROTATED, Found
from spineps.zoo.published.nnunet import Plans

if TYPE_CHECKING:
    from spineps.zoo.published.convert import PlainNnunet

VERSION: Final = "published"
_INSTANCE_CLASSES: Final = (0, 1, 2, 3)
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields of a :class:`spineps.zoo.card.ModelCard` other than hash and golden vector."""

    name: str
    kind: Kind
    network: str
    network_settings: dict[str, Any]
    spacing_mm: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    labels: tuple[int, ...]
    elsewhere: NnunetModel | InstanceModel | LabelingModel
    step_size: float = 0.5
    mirror: bool = False
    version: str = VERSION

    def fields(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self) | {"elsewhere": self.elsewhere}


def semantic(config: InferenceConfig, plans: Plans, mirror_axes: Sequence[int], folds: int, digest: str) -> Facts:
    """Of a published semantic model."""
    if config.expected_inputs != ("img",):
        raise corrupt(f"it expects the inputs {config.expected_inputs}, and there is one image")
    labels = config.output_labels()
    low, high = config.resolution_range
    made = NnunetModel(
        orientation=config.model_expected_orientation,
        zoom_low=low,
        zoom_high=high,
        modalities=config.modality,
        acquisition=config.acquisition,
        source_sha256=digest,
        transpose=plans.transpose,
        spacing=plans.spacing,
        patch=plans.patch,
        channel=plans.channel,
        mirror_axes=tuple(mirror_axes),
        regions=plans.regions,
        normalise_range=not config.ct,
        n4=not config.ct,
        has_c1=config.has_c1,
        needs_crop=config.needs_corp,
    )
    return Facts(
        name=config.log_name,
        kind=Kind.SEMANTIC,
        labels=_known([labels.get(label, 0) for label in plans.classes]),
        step_size=config.default_step_size,
        mirror=config.inference_augmentation,
        elsewhere=made,
        **_network(plans, made, folds),
    )


def plain(given: PlainNnunet, name: str, plans: Plans, mirror_axes: Sequence[int], folds: int, digest: str) -> Facts:
    """Of a plain nnU-Net: fixed spacing, intensities as they are, mirrored as nnU-Net mirrors by default."""
    axes = _axes(given.orientation)
    spacing = _image_axes(plans.spacing, plans.transpose)
    made = NnunetModel(
        orientation=axes,
        zoom_low=spacing,
        zoom_high=spacing,
        source_sha256=digest,
        transpose=plans.transpose,
        spacing=plans.spacing,
        patch=plans.patch,
        channel=plans.channel,
        mirror_axes=tuple(mirror_axes),
        regions=plans.regions,
        normalise_range=False,
        n4=False,
    )
    return Facts(
        name=name,
        kind=Kind.SEMANTIC,
        labels=_known([given.label_map.get(label, 0) for label in plans.classes]),
        mirror=bool(mirror_axes),
        elsewhere=made,
        **_network(plans, made, folds),
    )


def instance(config: InferenceConfig, read: Found, digest: str) -> Facts:
    """Of a published instance model."""
    low, high = config.resolution_range
    if any(size % 8 for size in config.cutout_size):
        raise corrupt(f"its cutout {config.cutout_size} is not of multiples of 8 voxels")
    made = InstanceModel(
        orientation=config.model_expected_orientation,
        zoom_low=low,
        zoom_high=high,
        modalities=config.modality,
        acquisition=config.acquisition,
        source_sha256=digest,
        mapping=config.mapping,
        classes=config.output_labels(),
        least_corpus_mm3=config.corpus_size_cleaning * float(np.prod(low)),
        least_vertebra_mm3=config.vert_size_threshold * float(np.prod(low)),
    )
    return Facts(
        name=config.log_name,
        kind=Kind.INSTANCE,
        network="Unet3D",
        network_settings=read.settings,
        spacing_mm=to_pir(low, made.orientation),
        patch_size=to_pir(config.cutout_size, made.orientation),
        labels=_INSTANCE_CLASSES,
        elsewhere=made,
    )


def labeling(config: InferenceConfig, read: Found, digest: str) -> Facts:
    """Of a published labeling model."""
    low, high = config.resolution_range
    try:
        p, i, r = (int(n) for n in read.options.get("final_size", PATCH))
    except (TypeError, ValueError) as error:
        raise corrupt("the size of its patch is not three numbers") from error
    made = LabelingModel(
        orientation=config.model_expected_orientation,
        zoom_low=low,
        zoom_high=high,
        modalities=config.modality,
        acquisition=config.acquisition,
        source_sha256=digest,
        heads=read.settings["heads"],
        rotated=ROTATED in str(read.options.get("ds_name") or ""),
    )
    return Facts(
        name=config.log_name,
        kind=Kind.LABELING,
        network="VertebraClassifier",
        network_settings=read.settings,
        spacing_mm=to_pir(low, made.orientation),
        patch_size=to_pir((p, i, r), made.orientation),
        labels=tuple(range(sum(made.heads.values()))),
        elsewhere=made,
    )


def to_pir(values: tuple[_Number, _Number, _Number], axes: Axes) -> tuple[_Number, _Number, _Number]:
    """Sizes along the given axes to those along (P, I, R)."""
    a, b, c = (values[old] for old in Reorientation.between(axes, PIR).order)
    return a, b, c


def _network(plans: Plans, made: NnunetModel, folds: int) -> dict[str, Any]:
    settings = {"architecture": plans.architecture, "input_channels": 1, "classes": len(plans.classes), "folds": folds}
    return {
        "network": "NnunetFolds",
        "network_settings": settings,
        "spacing_mm": to_pir(made.zoom_low, made.orientation),
        "patch_size": to_pir(_image_axes(plans.patch, plans.transpose), made.orientation),
    }


def _image_axes(values: tuple[_Number, _Number, _Number], transpose: tuple[int, int, int]) -> Any:
    """Sizes along the network's axes to those along the image's, which nnU-Net reads in reverse."""
    read = [values[transpose.index(axis)] for axis in range(3)]
    return read[2], read[1], read[0]


def _axes(codes: str) -> Axes:
    try:
        return checked_axes(codes.upper())
    except ValueError as error:
        raise UsageError(ErrorCode.USAGE, f"{codes!r} is no orientation.", remedy="Give axis codes such as PIR.") from error


def _known(labels: Sequence[int]) -> tuple[int, ...]:
    """Ids without a meaning here are background."""
    meaning: Mapping[int, Structure] = {int(structure): structure for structure in Structure}
    return tuple(label if label in meaning else 0 for label in labels)
