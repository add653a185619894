"""Models as published scripts hold them: asked for by id or folder, loaded when they are first used.

See :mod:`spineps.compat.find` for how a model is asked for.
"""

# ruff: noqa: ARG002
# Signatures are the published ones; an argument that changes nothing here is taken all the same.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from spineps.compat.codes import Acquisition, Modality, ModelType, OutputType, SpinepsPhase
from spineps.config import ComputeConfig, Device, PipelineConfig, PostprocessConfig, PreprocessConfig
from spineps.config import SemanticConfig as SemanticSettings
from spineps.errors import ErrorCode, Finding, FindingCode, UsageError
from spineps.zoo.card import Kind

if TYPE_CHECKING:
    from spineps.inference.engine import InstanceEngine, SemanticEngine
    from spineps.zoo.registry import PublishedModel

Spacing: TypeAlias = tuple[float, float, float]

_MR: Final = (Modality.T2w, Modality.T1w, Modality.Vibe, Modality.MPR, Modality.PD, Modality.FLAIR)


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """What a script may ask of a model without loading it.

    Parameters
    ----------
    log_name : str
        Its name.
    modalities : tuple of Modality
        Kinds of image that it was made for.
    acquisition : Acquisition
        Plane that it was made for.
    resolution_range : sequence
        Voxel spacing in mm, or the smallest and the largest one.
    has_c1 : bool
        Whether it segments the atlas.
    n4 : bool
        Whether it expects images whose bias field was corrected; ours do not.
    """

    log_name: str
    modalities: tuple[Modality, ...]
    acquisition: Acquisition = Acquisition.sag
    resolution_range: Sequence[Any] = ()
    has_c1: bool = False
    n4: bool = False


class SegmentationModel:
    """A semantic or an instance model.

    Parameters
    ----------
    model_folder : Path or str, optional
        Folder of a published model or of one of ours; None for the bundled one.
    inference_config : InferenceConfig, optional
        By default that of the folder.
    use_cpu : bool
        Use no GPU.
    default_verbose, default_allow_tqdm : bool
        Accepted; what a run has to say goes to the logger ``spineps``.
    """

    def __init__(
        self,
        model_folder: str | Path | None,
        inference_config: InferenceConfig | None = None,
        use_cpu: bool = False,
        default_verbose: bool = False,
        default_allow_tqdm: bool = True,
    ) -> None:
        self.model_folder = None if model_folder is None else Path(model_folder)
        self.phase, described = describe(self.model_folder)
        self.inference_config = inference_config or described
        self.use_cpu = use_cpu
        self.default_verbose, self.default_allow_tqdm = default_verbose, default_allow_tqdm
        self.stands_in_for: str | None = None
        self._mirror: bool | None = None
        self._engine: SemanticEngine | InstanceEngine | None = None

    @property
    def predictor(self) -> SemanticEngine | InstanceEngine | None:
        """The network; None before it is loaded."""
        return self._engine

    @property
    def kind(self) -> Kind:
        """Phase that it serves."""
        return Kind(self.phase.name.lower())

    def load(self, folds: tuple[str, ...] | None = None) -> SegmentationModel:
        """Read the weights now; otherwise the first use does.

        Raises
        ------
        ModelError
            If they are missing, damaged or unsafe.
        """
        self._engine = self.engine()
        return self

    def engine(self, *, amp: bool = False) -> Any:
        """The network, ready to run.

        Parameters
        ----------
        amp : bool
            Half precision.
        """
        compute = ComputeConfig(device=Device.CPU if self.use_cpu else Device.AUTO, amp=amp)
        return load_engine(self.kind, self.model_folder, compute.of_instances)

    def set_test_time_augmentation(self, enabled: bool) -> None:
        """Average with the mirrored prediction, or do not."""
        self._mirror = enabled

    @property
    def mirror(self) -> bool | None:
        """What :meth:`set_test_time_augmentation` said; None leaves it to the model."""
        return self._mirror

    def modalities(self) -> list[Modality]:
        """Kinds of image that the model was made for."""
        return list(self.inference_config.modalities)

    def acquisition(self) -> Acquisition:
        """Plane that the model was made for."""
        return self.inference_config.acquisition

    def modelid(self, include_log_name: bool = False) -> str:
        """Its name for people."""
        name = "bundled" if self.model_folder is None else self.model_folder.name
        return f"{name} -- {self.inference_config.log_name}" if include_log_name else name

    def dict_representation(self) -> dict[str, str]:
        """What centroid files say of it; no path, which may name people or places."""
        config = self.inference_config
        return {
            "name": self.modelid(),
            "modality": str([str(modality) for modality in config.modalities]),
            "aquisition": str(config.acquisition),
            "resolution_range": str(config.resolution_range),
        }

    def described(self) -> dict[str, str]:
        """What the record of a run says of it; empty where no network does the work."""
        engine = self.engine()
        if engine is None:
            return {}
        card = engine.card
        return {"name": card.name, "version": card.version, "weights_sha256": card.weights_sha256, "engine": engine.engine.name}

    def calc_recommended_resampling_zoom(self, input_zoom: Spacing) -> Spacing:
        """Voxel spacing (P, I, R) in mm that an image of the given spacing is sampled at."""
        p, i, r = self.engine().spacing_mm
        return float(p), float(i), float(r)

    def same_modelzoom_as_model(self, model: SegmentationModel, input_zoom: Spacing) -> bool:
        """Tell whether two models work at one spacing."""
        mine, other = self.calc_recommended_resampling_zoom(input_zoom), model.calc_recommended_resampling_zoom(input_zoom)
        return all(abs(a - b) < 1e-4 for a, b in zip(mine, other, strict=True))

    def segment_scan(
        self,
        input_image: Any,
        pad_size: int = 0,
        step_size: float | None = None,
        resample_to_recommended: bool = True,
        resample_output_to_input_space: bool = True,
        verbose: bool = False,
    ) -> dict[OutputType, Any]:
        """The semantic network's own mask, not cleaned, in the grid of the image.

        Parameters
        ----------
        input_image : path, NII or BIDS_FILE
            The scan, or a mapping with one.
        step_size : float, optional
            Step between tiles as a share of a tile.
        pad_size, resample_to_recommended, resample_output_to_input_space, verbose
            Accepted; the scan is sampled as the model needs it and the mask brought back.

        Raises
        ------
        UsageError
            For an instance model: see :func:`spineps.predict_instance_mask`.
        """
        from spineps import api, pipeline
        from spineps.compat.grids import open_image

        if self.kind is not Kind.SEMANTIC:
            raise UsageError(
                ErrorCode.USAGE,
                "segment_scan was asked of a model of the instance phase, which sees a semantic mask.",
                remedy="Call predict_instance_mask with the mask.",
            )
        if isinstance(input_image, dict):
            (input_image,) = input_image.values()
        config = PipelineConfig(
            preprocess=PreprocessConfig(n4=False, crop=False),
            semantic=SemanticSettings(step_size=step_size, mirror=self.mirror),
            postprocess=PostprocessConfig(clean=False),
            force=True,
        )
        mask = pipeline.segment_semantic(open_image(input_image), self.engine(), config)
        return {OutputType.seg: api.to_nii(mask), OutputType.softmax_logits: None}

    def findings(self) -> tuple[Finding, ...]:
        """MODEL_BUNDLED where it stands in for published weights that are not on this machine."""
        if self.stands_in_for is None:
            return ()
        text = (
            f"The published model {self.stands_in_for} is not on this machine; the bundled {self.kind.value} model takes its "
            f"place. 'spineps models fetch {self.stands_in_for}' gets it."
        )
        return (Finding(FindingCode.MODEL_BUNDLED, text),)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.modelid(include_log_name=True)})"

    __repr__ = __str__


Segmentation_Model = SegmentationModel
"""The older generation's name of :class:`SegmentationModel`."""


class VertLabelingClassifier(SegmentationModel):
    """A model that names the levels."""


class BundledModel(SegmentationModel):
    """The model of a phase that travels with the package.

    Parameters
    ----------
    kind : Kind
        The phase.
    in_place_of : PublishedModel, optional
        The published model that was asked for; the bundled one is then for the same kinds of scan.
    use_cpu, default_verbose, default_allow_tqdm : bool
        As for any model.
    """

    def __init__(self, kind: Kind, in_place_of: PublishedModel | None = None, **options: Any) -> None:
        suits = _MR if in_place_of is None else known_modalities(in_place_of.suits)
        super().__init__(None, InferenceConfig("bundled", suits), **options)
        self.phase = SpinepsPhase[kind.name]
        self.stands_in_for = None if in_place_of is None else in_place_of.id


@lru_cache(maxsize=4)
def load_engine(kind: Kind, folder: Path | None, compute: ComputeConfig) -> Any:
    """The network of a folder (imported first, if it is a published one), or the bundled one, loaded once a process."""
    from spineps.inference.load import load_instance, load_labeling, load_semantic
    from spineps.zoo.store import is_bundled

    if kind is Kind.LABELING:
        return None if folder is None and not is_bundled(kind) else load_labeling(compute, folder)
    return load_semantic(compute, folder) if kind is Kind.SEMANTIC else load_instance(compute, folder)


def describe(folder: Path | None) -> tuple[SpinepsPhase, InferenceConfig]:
    """Phase and description of a model from the small files of its folder.

    Raises
    ------
    ModelError
        MODEL_MISSING or MODEL_CORRUPT where they cannot be read.
    """
    from spineps.zoo.published.config import CONFIG, read_config
    from spineps.zoo.store import CARD, read_card

    if folder is None:
        return SpinepsPhase.SEMANTIC, InferenceConfig("bundled", _MR)
    if not (folder / CARD).is_file():
        given = read_config(folder / CONFIG)
        kinds = known_modalities(given.modality)
        phase = SpinepsPhase.INSTANCE if Modality.SEG in kinds else SpinepsPhase.SEMANTIC
        if given.modeltype == ModelType.classifier:
            phase = SpinepsPhase.LABELING
        return phase, InferenceConfig(
            given.log_name,
            kinds,
            Acquisition[given.acquisition],
            given.resolution_range,
            given.has_c1,
            not given.ct,
        )
    card = read_card(folder)
    phase, made = SpinepsPhase[card.kind.name], card.elsewhere
    if made is None:
        return phase, InferenceConfig(card.name, _MR, resolution_range=card.spacing_mm)
    return phase, InferenceConfig(
        card.name,
        known_modalities(made.modalities),
        Acquisition[made.acquisition],
        (made.zoom_low, made.zoom_high),
        bool(getattr(made, "has_c1", False)),
        bool(getattr(made, "n4", False)),
    )


def known_modalities(names: Iterable[str]) -> tuple[Modality, ...]:
    """Kinds of image from their names, in any case; unknown ones are left out."""
    members = {member.name.lower(): member for member in Modality}
    return tuple(members[name.lower()] for name in names if name.lower() in members)
