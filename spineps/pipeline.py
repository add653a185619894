"""The list of stages: a scan or a label map in, a result out. No disk, no network, no global state."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import PipelineConfig
from spineps.errors import ErrorCode, Finding, FindingCode, InputError, NoSpineError
from spineps.geometry import PIR, Reorientation
from spineps.inference.protocols import InstancePredictor, SemanticPredictor
from spineps.labels import VERTEBRA, Scheme, Structure, lookup
from spineps.stages.centroids import measure_instances, moved
from spineps.stages.clean import clean_semantic
from spineps.stages.compatibility import check_compatibility
from spineps.stages.instances import RawInstances, find_instances
from spineps.stages.postprocess import Postprocessed, postprocess
from spineps.stages.preprocess import prepare
from spineps.stages.semantic import predict_semantic
from spineps.volume import LabelMap, Result, Scan

Observer = Callable[[str, object], None]
"""Told the name and the value of each stage, for debugging and for progress."""
Progress = Callable[[str, int, int], None]
"""Told a stage, how much of it is done and how much there is to do."""

LEAST_SACRUM_ML: Final = 5.0
"""A scan without vertebrae is one of the sacrum alone if it shows at least this much of it; less is noise."""
_PACKAGES: Final = ("numpy", "torch", "openvino")


@dataclass(frozen=True, slots=True)
class Models:
    """The networks of a run.

    Parameters
    ----------
    semantic : SemanticPredictor or None
        None where only label maps are segmented.
    instance : InstancePredictor
        Network of the second phase.
    provenance : Mapping
        What is written into the record of a run: names, versions, hashes.
    """

    semantic: SemanticPredictor | None
    instance: InstancePredictor
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class _Run:
    """Findings and seconds of a run while it goes on."""

    def __init__(self, on_stage: Observer | None, progress: Progress | None) -> None:
        self.findings: list[Finding] = []
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def show(self, name: str, value: object) -> None:
        """Tell the observer."""
        if self._on_stage is not None:
            self._on_stage(name, value)

    def progress(self, name: str) -> Callable[[int, int], None] | None:
        """Progress of one stage, to hand on to it."""
        told = self._progress
        return None if told is None else lambda done, total: told(name, done, total)


def segment_scan(
    scan: Scan,
    models: Models,
    config: PipelineConfig | None = None,
    *,
    on_stage: Observer | None = None,
    progress: Progress | None = None,
) -> Result:
    """Segment the spine in a sagittal MRI.

    Parameters
    ----------
    scan : Scan
        In any orientation.
    models : Models
        With a semantic network.
    config : PipelineConfig, optional
        Settings of all stages.
    on_stage : callable, optional
        Told each intermediate result.
    progress : callable, optional
        Told how far the two networks are.

    Returns
    -------
    Result
        In the grid of the scan.

    Raises
    ------
    InputError
        COMPAT where the scan is no sagittal MRI and ``config.force`` is not set.
    NoSpineError
        NO_SPINE, with the stage that found nothing.
    ValueError
        If ``models`` has no semantic network.
    """
    config = config or PipelineConfig()
    if models.semantic is None:
        raise ValueError("segment_scan needs a semantic network, found models of the second phase alone")
    run = _Run(on_stage, progress)
    run.findings.extend(scan.source.findings)
    run.findings.extend(check_compatibility(scan, force=config.force))
    with run.stage("preprocess"):
        prepared = prepare(replace(scan, geometry=scan.geometry.straightened()), config.preprocess)
    run.show("preprocess", prepared)
    with run.stage("semantic"):
        raw = predict_semantic(prepared, models.semantic, config.semantic, progress=run.progress("semantic"))
    run.show("semantic", raw)
    if not raw.labels.any():
        raise _no_spine("semantic", "no voxel was labelled")
    result = _second_phase(replace(raw, source=scan.source), models, config, run)
    return _in_grid_of(scan, result, models, config, run)


def segment_instances(
    semantic: LabelMap,
    models: Models,
    config: PipelineConfig | None = None,
    *,
    image: Scan | None = None,
    on_stage: Observer | None = None,
    progress: Progress | None = None,
) -> Result:
    """Second phase alone: vertebra instances from any semantic mask of vertebrae, a hand-corrected one included.

    Parameters
    ----------
    semantic : LabelMap
        Semantic ids as in :class:`spineps.labels.Structure`, in any orientation; endplates divided (52, 53) or not (62).
    models : Models
        Only the instance network is used.
    image : Scan, optional
        The image that the mask belongs to, for the picture.

    Raises
    ------
    InputError
        INPUT_LABELS where the map is no semantic mask or lies in another grid than the image.
    NoSpineError
        NO_SPINE where the mask shows no vertebra.
    """
    config = config or PipelineConfig()
    run = _Run(on_stage, progress)
    run.findings.extend(semantic.source.findings)
    known = _known_labels(semantic, run)
    if image is not None and not image.geometry.matches(semantic.geometry):
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"the label map ({semantic.geometry.shape}) and the image ({image.geometry.shape}) lie in different grids.",
            remedy="Resample one of them onto the other.",
        )
    turn = Reorientation.between(semantic.geometry.axes, PIR)
    turned = LabelMap(
        turn.apply(known), turn.apply_geometry(semantic.geometry.straightened()), Scheme.SEMANTIC, semantic.source
    )
    result = _second_phase(turned, models, config, run)
    return _in_grid_of(image if image is not None else semantic, result, models, config, run)


def _known_labels(semantic: LabelMap, run: _Run) -> NDArray[np.uint8]:
    """The labels as uint8, those without a meaning set to background."""
    if semantic.scheme is not Scheme.SEMANTIC:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"expected a semantic label map, found one of scheme {semantic.scheme.value!r}.",
            remedy="Give the semantic mask (seg-spine), not the instance mask (seg-vert).",
        )
    counts = np.bincount(semantic.labels.reshape(-1))
    unknown = [int(i) for i in np.flatnonzero(counts) if i not in set(Structure)]
    if unknown:
        text = f"Labels without a meaning were ignored: {', '.join(map(str, unknown))}."
        run.findings.append(Finding(FindingCode.LABELS_IGNORED, text))
    table = np.arange(len(counts))
    table[unknown] = 0
    return table.astype(np.uint8)[semantic.labels]


def _second_phase(semantic: LabelMap, models: Models, config: PipelineConfig, run: _Run) -> Postprocessed:
    """From a semantic mask in PIR orientation to both final masks."""
    if config.postprocess.enabled:
        with run.stage("clean"):
            semantic, findings = clean_semantic(semantic)
        run.findings.extend(findings)
        run.show("clean", semantic)
    with run.stage("instance"):
        raw = _instances(semantic, models, config, run)
    run.findings.extend(raw.findings)
    run.show("instance", raw)
    with run.stage("postprocess"):
        done = postprocess(
            semantic, raw.labels, raw.agreement, config.postprocess, instance_spacing_mm=models.instance.spacing_mm
        )
    run.findings.extend(done.findings)
    run.show("postprocess", done)
    return done


def _instances(semantic: LabelMap, models: Models, config: PipelineConfig, run: _Run) -> RawInstances:
    if not lookup(VERTEBRA)[semantic.labels].any():
        sacrum_ml = np.count_nonzero(semantic.labels == Structure.SACRUM) * semantic.geometry.voxel_volume_mm3 / 1000
        if sacrum_ml < LEAST_SACRUM_ML:
            raise _no_spine("corpora", "no vertebra was labelled")
        text = "The field of view shows no vertebra above the sacrum."
        run.findings.append(Finding(FindingCode.PARTIAL_VERTEBRA, text))
        return RawInstances(np.zeros(semantic.geometry.shape, np.uint8), {}, ())
    raw = find_instances(semantic, models.instance, config.instance, progress=run.progress("instance"))
    if not raw.corpora:
        raise _no_spine("corpora", "no vertebral body is large enough to be one")
    if not raw.agreement:
        raise _no_spine("instance", "the instance network found no vertebra around the bodies")
    return raw


def _no_spine(stage: str, reason: str) -> NoSpineError:
    return NoSpineError(
        ErrorCode.NO_SPINE,
        f"the {stage} stage found no spine: {reason}.",
        remedy="Look at the scan; if it shows a spine, its contrast or field of view is beyond the model.",
    )


def _in_grid_of(given: Scan | LabelMap, done: Postprocessed, models: Models, config: PipelineConfig, run: _Run) -> Result:
    """Measure, turn the masks back to the input's own orientation and write down how they came about."""
    with run.stage("measure"):
        turn = Reorientation.between(given.geometry.axes, PIR)
        placed = turn.apply_geometry(given.geometry)  # so far the patient stood upright at the origin
        pir_semantic, pir_instance = (replace(mask, geometry=placed) for mask in (done.semantic, done.instance))
        vertebrae, centroids, findings = measure_instances(pir_semantic, pir_instance, done.agreement)
        semantic, instance = (_turned(mask, turn.inverse(), given) for mask in (pir_semantic, pir_instance))
        centroids = moved(centroids, placed, given.geometry)
    return Result(
        semantic=semantic,
        instance=instance,
        vertebrae=vertebrae,
        centroids=centroids,
        findings=(*run.findings, *findings),
        provenance=MappingProxyType(_provenance(given, models, config, run)),
        scan=given if isinstance(given, Scan) else None,
    )


def _turned(mask: LabelMap, turn: Reorientation, given: Scan | LabelMap) -> LabelMap:
    turned: Any = turn.apply(mask.labels)
    return LabelMap(turned, given.geometry, mask.scheme, given.source)


def _provenance(given: Scan | LabelMap, models: Models, config: PipelineConfig, run: _Run) -> dict[str, Any]:
    return {
        "versions": {"spineps": _version("spineps"), "python": platform.python_version(), **_loaded_versions()},
        "models": dict(models.provenance),
        "settings": config.as_dict(),
        "settings_sha256": config.sha256(),
        "input_sha256": given.source.sha256,
        "seconds": {name: round(value, 3) for name, value in run.seconds.items()},
    }


def _loaded_versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on, of those that this run loaded."""
    return {name: _version(name) for name in _PACKAGES if name in sys.modules}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
