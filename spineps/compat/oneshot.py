"""``segment`` and ``SpinepsPipeline``: the published one-call interface."""

# ruff: noqa: PLR0913
# Signatures are the published ones; an argument that changes nothing here is taken all the same.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from spineps.compat.codes import ErrCode
from spineps.compat.configs import InstanceConfig, LabelingConfig, PostConfig, SemanticConfig
from spineps.compat.find import (
    INSTANCE_BY_DEFAULT,
    LABELING_BY_DEFAULT,
    SEMANTIC_BY_DEFAULT,
    get_actual_model,
    get_instance_model,
    get_labeling_model,
    get_semantic_model,
)
from spineps.compat.grids import bids_file, in_memory_file
from spineps.compat.image import segment_image
from spineps.compat.models import SegmentationModel
from spineps.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from TPTBox import BIDS_FILE, NII, POI

ModelInput: TypeAlias = SegmentationModel | str | Path


@dataclass
class SpinepsResult:
    """What became of one scan.

    Parameters
    ----------
    errcode : ErrCode
        How it ended.
    semantic, vertebra : NII or None
        The masks, where they were asked for in memory.
    centroids : POI or None
        Centres, where they were asked for in memory.
    output_paths : dict of str to Path or None
        Where the files are, where they were written.
    """

    errcode: ErrCode
    semantic: NII | None = None
    vertebra: NII | None = None
    centroids: POI | None = None
    output_paths: dict[str, Path] | None = None

    @property
    def success(self) -> bool:
        """True where the masks are there, made now or before."""
        return self.errcode in (ErrCode.OK, ErrCode.ALL_DONE)


class SpinepsPipeline:
    """Models that are loaded once and segment many scans.

    Parameters
    ----------
    model_semantic, model_instance : SegmentationModel, str or Path
        Models, or their ids or folders. Where nothing is said: the published ``t2w`` and ``instance`` if they are on this
        machine, else the bundled ones.
    model_labeling : SegmentationModel, str, Path or None
        Model that names the levels; None leaves them numbered.
    use_cpu : bool
        Use no GPU.
    """

    def __init__(
        self,
        model_semantic: ModelInput = SEMANTIC_BY_DEFAULT,
        model_instance: ModelInput = INSTANCE_BY_DEFAULT,
        model_labeling: ModelInput | None = LABELING_BY_DEFAULT,
        *,
        use_cpu: bool = False,
    ) -> None:
        self.model_semantic = _model(model_semantic, get_semantic_model, use_cpu)
        self.model_instance = _model(model_instance, get_instance_model, use_cpu)
        self.model_labeling = None if model_labeling is None else _model(model_labeling, get_labeling_model, use_cpu)

    def segment(
        self,
        image: BIDS_FILE | NII | str | Path,
        *,
        output_in_memory: bool = False,
        derivative_name: str = "derivatives_seg",
        override: bool = False,
        semantic: SemanticConfig | None = None,
        instance: InstanceConfig | None = None,
        labeling: LabelingConfig | None = None,
        post: PostConfig | None = None,
        verbose: bool = False,
    ) -> SpinepsResult:
        """Segment one scan.

        Parameters
        ----------
        image : BIDS_FILE, NII, str or Path
            The scan; the folder of a lone path is its data set. An NII has no place: ask for its results in memory.
        output_in_memory : bool
            Give the masks and write nothing.
        derivative_name : str
            Folder of the results.
        override : bool
            Make everything again.
        semantic, instance, labeling, post
            Settings of the steps.

        Returns
        -------
        SpinepsResult
            With the masks, or with the paths of the files.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        SpinepsError
            As :func:`~spineps.compat.image.segment_image`.
        """
        settings = (
            semantic or SemanticConfig(),
            instance or InstanceConfig(),
            labeling or LabelingConfig(),
            post or PostConfig(),
        )
        in_memory = _is_nii(image)
        if in_memory and not output_in_memory:
            raise UsageError(
                ErrorCode.USAGE,
                "an image from memory has no place for its results.",
                remedy="Ask for them with output_in_memory=True, or give the path of a file.",
            )
        given = segment_image(
            in_memory_file() if in_memory else bids_file(image),
            self.model_semantic,
            self.model_instance,
            self.model_labeling,
            derivative_name=derivative_name,
            override_semantic=override,
            override_instance=override,
            override_postpair=override,
            override_ctd=override,
            return_output_instead_of_save=output_in_memory,
            verbose=verbose,
            _nii=image if in_memory else None,
            **{name: value for config in settings for name, value in config.to_kwargs().items()},
        )
        if len(given) == 2:
            paths, code = given
            return SpinepsResult(code, output_paths=paths)
        masks, vertebrae, points, code = given
        return SpinepsResult(code, masks, vertebrae, points)


def segment(
    image: BIDS_FILE | NII | str | Path,
    *,
    model_semantic: ModelInput = SEMANTIC_BY_DEFAULT,
    model_instance: ModelInput = INSTANCE_BY_DEFAULT,
    model_labeling: ModelInput | None = LABELING_BY_DEFAULT,
    use_cpu: bool = False,
    output_in_memory: bool = False,
    derivative_name: str = "derivatives_seg",
    override: bool = False,
    semantic: SemanticConfig | None = None,
    instance: InstanceConfig | None = None,
    labeling: LabelingConfig | None = None,
    post: PostConfig | None = None,
    verbose: bool = False,
) -> SpinepsResult:
    """Segment one scan; see :class:`SpinepsPipeline` and its ``segment`` for the parameters."""
    return SpinepsPipeline(model_semantic, model_instance, model_labeling, use_cpu=use_cpu).segment(
        image,
        output_in_memory=output_in_memory,
        derivative_name=derivative_name,
        override=override,
        semantic=semantic,
        instance=instance,
        labeling=labeling,
        post=post,
        verbose=verbose,
    )


def _model(given: ModelInput, by_name: Callable[..., SegmentationModel], use_cpu: bool) -> SegmentationModel:
    if isinstance(given, SegmentationModel):
        return given
    if isinstance(given, Path):
        return get_actual_model(given, use_cpu=use_cpu)
    return by_name(given, use_cpu=use_cpu)


def _is_nii(image: object) -> bool:
    from TPTBox import NII

    return isinstance(image, NII)
