"""One scan on its way through the pipeline, with what an earlier run has left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineps import api, pipeline
from spineps.compat.configs import Switches
from spineps.compat.grids import in_world, open_mask, read_on
from spineps.compat.models import SegmentationModel
from spineps.compat.phases import semantic_mask
from spineps.compat.settings import config_of, level_network, numbered_from, predictor_of, runs_whole
from spineps.config import ExtraConfig
from spineps.errors import Finding
from spineps.geometry import Box, Geometry, extract
from spineps.labels import Scheme
from spineps.pipeline import Models
from spineps.stages.instances import RawInstances
from spineps.volume import LabelMap, Result, Scan


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for beside the steps themselves; the names are those of the published arguments."""

    save_modelres_mask: bool
    save_softmax_logits: bool
    save_debug_data: bool
    save_raw: bool
    override_semantic: bool
    override_instance: bool
    override_postpair: bool
    override_ctd: bool
    crop: tuple[slice, slice, slice] | None
    vertebra_instance_labeling_offset: int
    lambda_semantic: Callable[[Any], Any] | None
    snapshot_copy_folder: Path | None
    ignore_compatibility_issues: bool
    return_output_instead_of_save: bool

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Wanted:
        """Those among the arguments of :func:`segment_image`."""
        return cls(**{name: arguments[name] for name in cls.__slots__})

    @property
    def overrides(self) -> bool:
        """Whether anything is to be made again."""
        return self.override_semantic or self.override_instance or self.override_postpair or self.override_ctd


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of the three phases; without the last the vertebrae are numbered."""

    semantic: SegmentationModel
    instance: SegmentationModel
    labeling: SegmentationModel | None = None


@dataclass(frozen=True, slots=True)
class Segmented:
    """A result, and what it came from.

    Parameters
    ----------
    result : Result
        In the grid of the scan.
    made : dict of str to LabelMap
        The masks of the first two phases that this run made, by the published keys of their files; in the grid of the scan
        (or of the part of it that was asked for), or in that of the model.
    debug : dict of str to LabelMap
        Further masks, by their published names.
    """

    result: Result
    made: dict[str, LabelMap] = field(default_factory=dict)
    debug: dict[str, LabelMap] = field(default_factory=dict)


class ImageRun:
    """What is to be done with one scan.

    Masks of the first two phases are kept beside the results, as published: what is there is not made again. A new semantic
    mask makes the instances new as well.
    """

    def __init__(
        self,
        paths: dict[str, Path],
        wanted: Wanted,
        switches: Switches,
        models: ModelSet,
    ) -> None:
        self._paths, self._wanted, self._switches, self._models = paths, wanted, switches, models
        self._levels, self._level_findings = level_network(models.labeling)
        self._config = replace(
            config_of(switches, models.semantic, force=wanted.ignore_compatibility_issues, labeling=models.labeling),
            extras=ExtraConfig(
                softmax=wanted.save_softmax_logits,
                uncertainty=wanted.save_softmax_logits,
                model_mask=wanted.save_modelres_mask,
            ),
        )
        self._made: dict[str, LabelMap] = {}
        self._debug: dict[str, LabelMap] = {}

    def segmented(self, scan: Scan) -> Segmented:
        """Run what is to be run.

        Raises
        ------
        SpinepsError
            As :func:`spineps.segment_scan`.
        """
        box = None if self._wanted.crop is None else _box_of(self._wanted.crop, scan)
        part = scan if box is None else Scan(extract(scan.image, box), scan.geometry.cropped(box), scan.source)
        first = 1 if self._models.semantic.inference_config.has_c1 else self._wanted.vertebra_instance_labeling_offset
        result = numbered_from(self._result(part), first)
        return Segmented(result if box is None else _pasted(result, scan, box), self._made, self._debug)

    def _result(self, scan: Scan) -> Result:
        if self._semantic_is_there():
            mask = replace(read_on(self._paths["out_spine_raw"], Scheme.SEMANTIC, scan.geometry), source=scan.source)
            return self._second_phase(scan, mask)
        if self._wanted.lambda_semantic is None and runs_whole(self._switches):
            return self._both_phases(scan)
        mask = semantic_mask(scan, self._models.semantic, self._switches, force=self._config.force)
        if self._wanted.lambda_semantic is not None:
            changed = open_mask(self._wanted.lambda_semantic(api.to_nii(mask)), Scheme.SEMANTIC)
            mask = replace(changed, source=mask.source)
        self._made["out_spine_raw"] = mask
        return self._second_phase(scan, mask)

    def _semantic_is_there(self) -> bool:
        return self._paths["out_spine_raw"].exists() and not self._wanted.override_semantic

    def _instances_are_there(self) -> bool:
        kept = self._paths["out_vert_raw"].exists() and not self._wanted.override_instance
        return kept and "out_spine_raw" not in self._made

    def _both_phases(self, scan: Scan) -> Result:
        findings = (*scan.source.findings, *self._models.semantic.findings(), *self._findings())
        models = self._networks(self._models.semantic)
        scan = replace(scan, source=replace(scan.source, findings=findings))
        return pipeline.segment_scan(scan, models, self._config, on_stage=self._watcher(scan))

    def _second_phase(self, scan: Scan, semantic: LabelMap) -> Result:
        source = replace(semantic.source, findings=(*semantic.source.findings, *self._findings()))
        semantic = replace(semantic, source=source)
        models = self._networks(None)
        config = replace(self._config, postprocess=replace(self._config.postprocess, clean=False), extras=ExtraConfig())
        if self._instances_are_there():
            raw = read_on(self._paths["out_vert_raw"], Scheme.INSTANCE, scan.geometry)
            return pipeline.complete_instances(semantic, raw, models, config, image=scan)
        return pipeline.segment_instances(semantic, models, config, image=scan, on_stage=self._watcher(scan))

    def _findings(self) -> tuple[Finding, ...]:
        return (*self._models.instance.findings(), *self._level_findings)

    def _networks(self, semantic: SegmentationModel | None) -> Models:
        """The networks of a run; without the semantic one where its mask is there."""
        used = {"semantic": semantic, "instance": self._models.instance}
        if self._levels is not None:
            used["labeling"] = self._models.labeling
        return Models(
            None if semantic is None else semantic.engine(),
            predictor_of(self._models.instance, self._switches),
            {phase: model.described() for phase, model in used.items() if model is not None},
            self._levels,
        )

    def _watcher(self, scan: Scan) -> Callable[[str, object], None]:
        """Keeps the masks of the stages, each in its own grid."""
        grid: Geometry | None = None

        def watch(stage: str, value: object) -> None:
            nonlocal grid
            if isinstance(value, LabelMap):
                grid = value.geometry
            if stage == "semantic" and isinstance(value, LabelMap):
                self._debug["sem_raw"] = in_world(value.labels, grid, scan, Scheme.SEMANTIC)
            elif stage == "clean" and isinstance(value, LabelMap):
                self._made["out_spine_raw"] = in_world(value.labels, grid, scan, Scheme.SEMANTIC)
            elif stage == "instance" and isinstance(value, RawInstances):
                self._made["out_vert_raw"] = in_world(value.labels, grid, scan, Scheme.INSTANCE)
                self._debug["inst_uncropped_vert_arr_a"] = self._made["out_vert_raw"]

        return watch


def _box_of(crop: tuple[slice, slice, slice], scan: Scan) -> Box:
    spans = [part.indices(length)[:2] for part, length in zip(crop, scan.geometry.shape, strict=True)]
    (a, b), (c, d), (e, f) = spans
    return Box((a, c, e), (b, d, f))


def _pasted(result: Result, scan: Scan, box: Box) -> Result:
    """A result on a part of a scan in the grid of the whole."""

    def whole(mask: LabelMap) -> LabelMap:
        labels: NDArray[Any] = np.zeros(scan.geometry.shape, mask.labels.dtype)
        labels[box.slices] = mask.labels
        return LabelMap(labels, scan.geometry, mask.scheme, mask.source)

    def moved(voxel: tuple[float, float, float]) -> tuple[float, float, float]:
        (x, y, z), (a, b, c) = voxel, box.start
        return x + a, y + b, z + c

    return replace(
        result,
        semantic=whole(result.semantic),
        instance=whole(result.instance),
        centroids=tuple(replace(centroid, voxel=moved(centroid.voxel)) for centroid in result.centroids),
        scan=scan,
    )
