"""The list of stages: a scan or a label map in, a result out. No disk, no network, no global state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineps.config import Labeling, LabelingConfig, PipelineConfig, PreprocessConfig, Step
from spineps.errors import ErrorCode, Finding, FindingCode, InputError, NoSpineError
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.inference.memory import Ladder, limit_of, plan_for
from spineps.inference.protocols import InstancePredictor, LabelingPredictor, LevelPredictor, ScanPredictor, SemanticPredictor
from spineps.labeling.evidence import gather_evidence
from spineps.labeling.landmarks import WHOLE_SACRUM_ML
from spineps.labeling.naming import decide, renamed
from spineps.labels import VERTEBRA, Scheme, Structure, lookup
from spineps.measures.scan import measure_structures
from spineps.running import Observer, Progress, Run, versions
from spineps.stages.centroids import measure_instances, moved
from spineps.stages.clean import clean_semantic
from spineps.stages.compatibility import check_compatibility
from spineps.stages.confidence import with_confidence
from spineps.stages.extras import ScoreKeeper, gather_extras
from spineps.stages.instances import RawInstances, find_instances
from spineps.stages.postprocess import Postprocessed, postprocess
from spineps.stages.preprocess import Prepared, prepare
from spineps.stages.published import label_scan, on_grid
from spineps.stages.sacral import with_first_sacral
from spineps.stages.semantic import predict_semantic
from spineps.volume import FirstPhase, LabelMap, Levels, LevelStatus, Result, Scan, Vertebra


@dataclass(frozen=True, slots=True)
class Models:
    """The networks of a run.

    Parameters
    ----------
    semantic : SemanticPredictor, ScanPredictor or None
        None where only label maps are segmented.
    instance : InstancePredictor
        Network of the second phase.
    provenance : Mapping
        What is written into the record of a run: names, versions, hashes.
    labeling : LevelPredictor, LabelingPredictor or None
        Network that names levels, one of ours or a published one; without it the masks alone do.
    """

    semantic: SemanticPredictor | ScanPredictor | None
    instance: InstancePredictor
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    labeling: LevelPredictor | LabelingPredictor | None = None


def segment_scan(
    scan: Scan,
    models: Models,
    config: PipelineConfig | None = None,
    *,
    start: Prepared | FirstPhase | None = None,
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
    start : Prepared or FirstPhase, optional
        What :func:`prepare_scan` made of the scan, where that was done ahead, or what the first phase of an earlier run gave.
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
    ResourceError
        RESOURCE_MEMORY, with the number needed, where the scan does not fit into the memory that may be used.
    ValueError
        If ``models`` has no semantic network.
    """
    config = config or PipelineConfig()
    if models.semantic is None:
        raise ValueError("segment_scan needs a semantic network, found models of the second phase alone")
    run, network = Run(on_stage, progress), models.semantic
    plan = plan_for(scan.geometry, network, models.instance)
    ladder = Ladder(plan, limit_of(config.compute), (network, models.instance), run.findings)
    raw = ladder.run(lambda: _first_phase(scan, network, config, run, start))
    done = ladder.run(lambda: _second_phase(raw, models, config, run, grid=_whole_grid(scan, network)))
    if run.softmax is None:
        return _in_grid_of(scan, done, models, config, run)
    with run.stage("extras"):
        extras = gather_extras(run.softmax, scan, models.semantic, config.extras)
    return replace(_in_grid_of(scan, done, models, config, run), extras=extras)


def segment_semantic(
    scan: Scan,
    network: SemanticPredictor | ScanPredictor,
    config: PipelineConfig | None = None,
    *,
    on_stage: Observer | None = None,
    progress: Progress | None = None,
) -> LabelMap:
    """First phase alone: the semantic mask, cleaned unless the settings leave that out, its endplates undivided.

    Parameters and errors are those of :func:`segment_scan`, with the semantic network in place of all models.

    Returns
    -------
    LabelMap
        In the grid of the scan; ``source.findings`` holds those of the scan and of the phase.
    """
    config = config or PipelineConfig()
    run = Run(on_stage, progress)
    semantic = on_grid(_cleaned(_first_phase(scan, network, config, run), config, run), _whole_grid(scan, network))
    turn = Reorientation.between(scan.geometry.axes, PIR).inverse()
    source = replace(scan.source, findings=tuple(run.findings))
    return LabelMap(turn.apply(semantic.labels.astype(np.uint8)), scan.geometry, Scheme.SEMANTIC, source)


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
    run = Run(on_stage, progress)
    turned = _upright(semantic, image, run)
    result = _second_phase(turned, models, config, run)
    return _in_grid_of(image if image is not None else semantic, result, models, config, run)


def complete_instances(
    semantic: LabelMap,
    instance: LabelMap,
    models: Models | None = None,
    config: PipelineConfig | None = None,
    *,
    image: Scan | None = None,
) -> Result:
    """Post-processing alone: both masks made consistent and complete from a semantic mask and raw instances.

    Parameters
    ----------
    semantic : LabelMap
        As for :func:`segment_instances`; it is not cleaned again.
    instance : LabelMap
        Vertebrae, one id each (1 to 255) in any order, in the same grid.
    models : Models, optional
        Those that made the masks: they are recorded, and the instances were found at the spacing of the instance network.
    config : PipelineConfig, optional
        Without settings the vertebrae are numbered, not named.
    image : Scan, optional
        The image that the masks belong to.

    Raises
    ------
    InputError
        INPUT_LABELS where the masks lie in different grids or hold ids beyond those of a vertebra.
    """
    config = config or PipelineConfig(labeling=LabelingConfig(Labeling.NONE))
    run = Run(None, None)
    turned = _upright(semantic, image, run)
    _same_grid(semantic, instance, "instances")
    if instance.labels.max() > np.iinfo(np.uint8).max:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"the raw instances hold the id {int(instance.labels.max())}, expected at most 255 vertebrae.",
            remedy="Give the instances before discs and endplates are numbered.",
        )
    numbers = Reorientation.between(semantic.geometry.axes, PIR).apply(instance.labels.astype(np.uint8))
    done = _postprocessed(turned, RawInstances(numbers, {}, ()), models, config, run)
    return _in_grid_of(image if image is not None else semantic, done, models, config, run)


def prepare_scan(scan: Scan, config: PipelineConfig, network: SemanticPredictor | ScanPredictor | None = None) -> Prepared:
    """What the semantic network is given of a scan: reading and preparing the next scan need not wait for the networks.

    A network that was made elsewhere prepares the scan itself; without a network it is prepared for the bundled one.
    """
    upright = replace(scan, geometry=_upright_grid(scan, network))
    as_it_is = PreprocessConfig(n4=False, crop=False)
    return prepare(upright, as_it_is if isinstance(network, ScanPredictor) else config.preprocess)


def _upright_grid(scan: Scan, network: SemanticPredictor | ScanPredictor | None) -> Geometry:
    """The scan's grid, the patient upright at the world's origin; for published models with the spacing to the last digit."""
    given = scan.geometry
    if isinstance(network, ScanPredictor):
        return Geometry.from_spacing(given.shape, given.spacing_mm, given.axes)
    return given.straightened()


def _whole_grid(scan: Scan, network: SemanticPredictor | ScanPredictor) -> Geometry:
    """The scan's upright grid in PIR orientation."""
    return Reorientation.between(scan.geometry.axes, PIR).apply_geometry(_upright_grid(scan, network))


def _first_phase(
    scan: Scan,
    network: SemanticPredictor | ScanPredictor,
    config: PipelineConfig,
    run: Run,
    start: Prepared | FirstPhase | None = None,
) -> LabelMap:
    """The semantic network's own mask in PIR orientation, on the scan's grid or on that of a network made elsewhere."""
    run.findings.extend(scan.source.findings)
    run.findings.extend(check_compatibility(scan, force=config.force))
    if isinstance(start, FirstPhase):
        run.certainty = start.certainty
        return replace(start.labels, source=scan.source)
    with run.stage("preprocess"):
        ahead = start is not None and not isinstance(network, ScanPredictor)
        prepared = start if ahead and start is not None else prepare_scan(scan, config, network)
    run.show("preprocess", prepared)
    with run.stage("semantic"):
        ours, wanted = not isinstance(network, ScanPredictor), config.extras.wanted
        keeper = ScoreKeeper(prepared, network, certainty=ours, softmax=wanted)  # confidence was fitted on our own models
        kept, progress = keeper if ours or wanted else None, run.progress("semantic")
        if isinstance(network, ScanPredictor):
            whole = Scan(prepared.image, prepared.geometry, scan.source)
            raw = label_scan(whole, network, config, progress=progress, on_scores=kept)
        else:
            raw = predict_semantic(prepared, network, config.semantic, progress=progress, on_scores=kept)
        run.certainty, run.softmax = keeper.certainty, keeper.softmax
    run.show("semantic", raw)
    if not raw.labels.any():
        raise _no_spine("semantic", "no voxel was labelled")
    run.show("first phase", FirstPhase(raw, run.certainty))
    return replace(raw, source=scan.source)


def _upright(semantic: LabelMap, image: Scan | None, run: Run) -> LabelMap:
    """A semantic mask from outside in PIR orientation, at the world's origin, with known labels alone."""
    run.findings.extend(semantic.source.findings)
    known = _known_labels(semantic, run)
    if image is not None:
        _same_grid(semantic, image, "image")
    turn = Reorientation.between(semantic.geometry.axes, PIR)
    straight = turn.apply_geometry(semantic.geometry.straightened())
    return LabelMap(turn.apply(known), straight, Scheme.SEMANTIC, semantic.source)


def _same_grid(semantic: LabelMap, other: Scan | LabelMap, what: str) -> None:
    if not other.geometry.matches(semantic.geometry):
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"the label map ({semantic.geometry.shape}) and the {what} ({other.geometry.shape}) lie in different grids.",
            remedy="Resample one of them onto the other.",
        )


def _known_labels(semantic: LabelMap, run: Run) -> NDArray[np.uint8]:
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


def _second_phase(
    semantic: LabelMap, models: Models, config: PipelineConfig, run: Run, *, grid: Geometry | None = None
) -> Postprocessed:
    """From a semantic mask in PIR orientation to both final masks, on ``grid`` where that is another than the mask's."""
    own = grid is not None and not isinstance(models.semantic, ScanPredictor)
    semantic = _cleaned(semantic, config, run)
    with run.stage("instance"):
        raw = _instances(semantic, models, config, run)
        if own and config.postprocess.enabled and config.postprocess.clean:
            semantic, raw = with_first_sacral(semantic, raw)
    run.findings.extend(raw.findings)
    run.show("instance", raw)
    if grid is not None:
        raw = replace(raw, labels=on_grid(replace(semantic, labels=raw.labels), grid).labels.astype(np.uint8))
        semantic = on_grid(semantic, grid)
    return _postprocessed(semantic, raw, models, config, run)


def _cleaned(semantic: LabelMap, config: PipelineConfig, run: Run) -> LabelMap:
    if not (config.postprocess.enabled and config.postprocess.clean):
        return semantic
    with run.stage("clean"):
        semantic, findings = clean_semantic(semantic, fill=Step.HOLES not in config.postprocess.without)
    run.findings.extend(findings)
    run.show("clean", semantic)
    return semantic


def _postprocessed(
    semantic: LabelMap, raw: RawInstances, models: Models | None, config: PipelineConfig, run: Run
) -> Postprocessed:
    spacing_mm = None if models is None else models.instance.spacing_mm
    with run.stage("postprocess"):
        done = postprocess(semantic, raw.labels, raw.agreement, config.postprocess, instance_spacing_mm=spacing_mm)
    run.findings.extend(done.findings)
    run.show("postprocess", done)
    return done


def _instances(semantic: LabelMap, models: Models, config: PipelineConfig, run: Run) -> RawInstances:
    if not lookup(VERTEBRA)[semantic.labels].any():
        sacrum_ml = np.count_nonzero(semantic.labels == Structure.SACRUM) * semantic.geometry.voxel_volume_mm3 / 1000
        if sacrum_ml < WHOLE_SACRUM_ML:
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


def _in_grid_of(given: Scan | LabelMap, done: Postprocessed, models: Models | None, config: PipelineConfig, run: Run) -> Result:
    """Measure, turn the masks back to the input's own orientation and write down how they came about."""
    turn = Reorientation.between(given.geometry.axes, PIR)
    done, levels = _named(given, done, models, config, run)
    with run.stage("measure"):
        placed = turn.apply_geometry(given.geometry)  # so far the patient stood upright at the origin
        pir_semantic, pir_instance = (replace(mask, geometry=placed) for mask in (done.semantic, done.instance))
        vertebrae, centroids, findings = measure_instances(pir_semantic, pir_instance, done.agreement)
        back: Any = turn.inverse()
        semantic, instance = (
            LabelMap(back.apply(mask.labels), given.geometry, mask.scheme, given.source)
            for mask in (pir_semantic, pir_instance)
        )
        centroids = moved(centroids, placed, given.geometry)
        named = _with_names(vertebrae, levels)
        told = (*run.findings, *findings)
        vertebrae, score = with_confidence(named, pir_instance, levels, told, run.certainty)
        measures = measure_structures(pir_semantic, pir_instance, levels) if config.measures.enabled else ()
    return Result(
        semantic=semantic,
        instance=instance,
        vertebrae=vertebrae,
        centroids=centroids,
        findings=told,
        provenance=MappingProxyType(_provenance(given, models, config, run)),
        scan=given if isinstance(given, Scan) else None,
        levels=levels,
        measures=measures,
        score=score,
    )


def _named(
    given: Scan | LabelMap, done: Postprocessed, models: Models | None, config: PipelineConfig, run: Run
) -> tuple[Postprocessed, Levels]:
    """Give each vertebra the id of its level, and with it its disc and endplates."""
    if config.labeling.method is Labeling.NONE or not done.agreement:
        return done, Levels(LevelStatus.NUMBERED)
    with run.stage("labeling"):
        network = models.labeling if models is not None and config.labeling.method is Labeling.AUTO else None
        image = Reorientation.between(given.geometry.axes, PIR).apply(given.image) if isinstance(given, Scan) else None
        evidence = gather_evidence(done.semantic, done.instance, image, network)
        naming = decide(evidence, config.labeling.ambiguous, variants=config.labeling.variants)
        instance = replace(done.instance, labels=renamed(done.instance.labels, naming.pairs))
    run.findings.extend(naming.findings)
    agreement = {naming.pairs.get(number, number): value for number, value in done.agreement.items()}
    named = replace(done, instance=instance, agreement=agreement)
    run.show("labeling", naming)
    return named, naming.levels


def _with_names(vertebrae: tuple[Vertebra, ...], levels: Levels) -> tuple[Vertebra, ...]:
    """The vertebrae with their names, in the order of the names."""
    order = {number: place for place, number in enumerate(levels.names)}
    named = (replace(vertebra, name=levels.names.get(vertebra.label)) for vertebra in vertebrae)
    return tuple(sorted(named, key=lambda vertebra: order.get(vertebra.label, 0)))


def _provenance(given: Scan | LabelMap, models: Models | None, config: PipelineConfig, run: Run) -> dict[str, Any]:
    return {
        "versions": versions(),
        "models": {} if models is None else dict(models.provenance),
        "settings": config.as_dict(),
        "settings_sha256": config.sha256(),
        "input_sha256": given.source.sha256,
        "seconds": {name: round(value, 3) for name, value in run.seconds.items()},
    }
