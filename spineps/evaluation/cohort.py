"""Many subjects: measured in parallel, one at a time in memory, each with a record on disk, so that a killed run goes on.

A subject's record (``cases/METHOD/CASE.json``) is written when the subject is done and holds a fingerprint of its files and of
the settings; a later run takes it as it is while both are unchanged.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from enum import Enum
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from spineps.errors import ErrorCode, InputError, ResourceError, SpinepsError
from spineps.evaluation.landmarks import CentroidSource, Points, body_centroids_mm, mask_centroids_mm
from spineps.evaluation.masks import Masks, Pair, read_pair
from spineps.evaluation.pairs import PairFiles
from spineps.evaluation.scores import CaseScores, Level, Metric, Note, Results, Score, mean_sd
from spineps.evaluation.subject import PanopticSettings, measure_subject, swap_remarks
from spineps.evaluation.verse import measure_verse, vertebra_scores
from spineps.io import atomic
from spineps.labels import Scheme

Progress = Callable[[int, int], None]
_RECORD_FORMAT: Final = 1
VERTEBRAE: Final = "vertebrae"


class Protocol(str, Enum):
    """Which paper's numbers."""

    SPINEPS = "spineps"
    VERSE = "verse"
    CERVICAL = "cervical"
    PLANAR = "2d"


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Everything that can change a number.

    Parameters
    ----------
    protocol : Protocol
        Which paper's numbers.
    panoptic : PanopticSettings
        Matching, components and regions of the SPINEPS protocol.
    resample : bool
        Bring predictions on other grids to the reference's.
    centroids : CentroidSource
        Where the VerSe protocol takes centroids from.
    pixel_mm : tuple of 2 float
        Spacing of rows and columns of 2D images.
    """

    protocol: Protocol = Protocol.SPINEPS
    panoptic: PanopticSettings = field(default_factory=PanopticSettings)
    resample: bool = False
    centroids: CentroidSource = CentroidSource.AUTO
    pixel_mm: tuple[float, float] = (1.0, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True, slots=True)
class Failure:
    """A subject that could not be measured."""

    case: str
    method: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run over a cohort gave: the numbers, the failures, and how many records were there already."""

    results: Results
    failures: tuple[Failure, ...]
    resumed: int


def evaluate_case(files: PairFiles, settings: EvaluationSettings) -> CaseScores:
    """Measure one subject.

    Parameters
    ----------
    files : PairFiles
        Its masks.
    settings : EvaluationSettings
        What to measure.

    Raises
    ------
    SpinepsError
        If a file is refused, or the two sides do not fit together.
    """
    if settings.protocol is Protocol.PLANAR:
        return CaseScores(files.case, files.method, _planar(files, settings))
    pair = read_pair(files, resample=settings.resample)
    remarks = pair.remarks
    if settings.protocol is Protocol.SPINEPS:
        scores = measure_subject(pair, settings.panoptic)
        remarks += swap_remarks(pair)
    elif settings.protocol is Protocol.VERSE:
        points = centroids_mm(pair.reference, settings.centroids), centroids_mm(pair.prediction, settings.centroids)
        scores, told = measure_verse(pair, *points)
        remarks += told
    else:
        scores = _each_vertebra(pair)
    return CaseScores(files.case, files.method, scores, remarks)


def evaluate_cohort(
    pairs: Sequence[PairFiles],
    settings: EvaluationSettings,
    folder: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Measure many subjects.

    Parameters
    ----------
    pairs : sequence of PairFiles
        Subjects and methods.
    settings : EvaluationSettings
        What to measure.
    folder : Path
        Records go to its subfolder ``cases``; those of unchanged files and settings are not measured again.
    workers : int
        Processes; 1 measures in this one.
    progress : callable, optional
        Called with the number of subjects done and of all.

    Returns
    -------
    Outcome
        A subject that is refused does not stop the others; it is among the failures.

    Raises
    ------
    OutputError
        If a record cannot be written.
    ResourceError
        If a worker process dies.
    """
    done: dict[PairFiles, CaseScores] = {}
    open_pairs = []
    for pair in pairs:
        kept = _load_record(folder, pair, settings)
        if kept is None:
            open_pairs.append(pair)
        else:
            done[pair] = kept
    resumed = len(done)
    failures = []
    for index, (pair, outcome) in enumerate(_measured(open_pairs, settings, folder, workers), start=resumed + 1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            done[pair] = outcome
        if progress is not None:
            progress(index, len(pairs))
    ordered = Results(done[pair] for pair in pairs if pair in done)
    failures.sort(key=lambda f: (f.method, f.case))
    return Outcome(ordered, tuple(failures), resumed)


def centroids_mm(masks: Masks, source: CentroidSource) -> Points:
    """Centroids of one side, in RAS+ millimetres.

    Raises
    ------
    InputError
        INPUT_LABELS if the masks cannot give what is asked for.
    """
    if source in (CentroidSource.AUTO, CentroidSource.FILE) and masks.centroids_mm is not None:
        return masks.centroids_mm
    if masks.instance is not None and source is CentroidSource.MASK:
        return mask_centroids_mm(masks.instance.labels, masks.instance.geometry)
    if masks.instance is not None and masks.semantic is not None and source is not CentroidSource.FILE:
        return body_centroids_mm(masks.instance.labels, masks.semantic.labels, masks.instance.geometry)
    if masks.instance is not None and not masks.instance.labels.any():
        return {}
    raise InputError(
        ErrorCode.INPUT_LABELS,
        "There are no body centroids: neither a centroid file (*_ctd.json) nor a semantic mask to find the bodies in.",
        remedy="Give one of them, or compare centres of whole vertebrae with --centroids mask (about 1 cm from the bodies').",
    )


def _planar(files: PairFiles, settings: EvaluationSettings) -> tuple[Score, ...]:
    import numpy as np

    from spineps.evaluation.planar import measure_planar, read_boxes, read_image

    reference = read_image(files.reference.existing()[0])
    prediction = np.zeros_like(reference) if files.prediction is None else read_image(files.prediction.existing()[0])
    if reference.shape != prediction.shape:
        raise InputError(
            ErrorCode.INPUT_SHAPE,
            f"The reference has the shape {reference.shape}, the prediction {prediction.shape}.",
            remedy="Give images of one size.",
        )
    paths = files.reference.boxes, None if files.prediction is None else files.prediction.boxes
    shape = (reference.shape[0], reference.shape[1])
    boxes = None if paths[0] is None or paths[1] is None else (read_boxes(paths[0], shape), read_boxes(paths[1], shape))
    return measure_planar(reference, prediction, settings.pixel_mm, boxes=boxes)


def _each_vertebra(pair: Pair) -> tuple[Score, ...]:
    """Numbers of each vertebra, and their mean over the scan."""
    if pair.arrays(Scheme.INSTANCE) is None:
        raise InputError(
            ErrorCode.INPUT_LABELS, "Vertebrae need instance masks on both sides.", remedy="Give *_seg-vert_msk files."
        )
    scores = vertebra_scores(pair)
    for metric in (Metric.DSC, Metric.HD95):
        mean = mean_sd([s.value for s in scores if s.metric is metric and s.value is not None])[0]
        note = Note.UNDEFINED if mean is None else Note.NONE
        scores.append(Score(VERTEBRAE, Level.SCAN, metric, mean, note=note))
    return tuple(scores)


def _measured(
    pairs: Sequence[PairFiles], settings: EvaluationSettings, folder: Path, workers: int
) -> Iterator[tuple[PairFiles, CaseScores | Failure]]:
    if workers <= 1 or len(pairs) <= 1:
        for pair in pairs:
            yield pair, _measure_and_record(pair, settings, folder)
        return
    # Frozen, what was imported is left alone by the garbage collector, so that its pages stay shared.
    pool = ProcessPoolExecutor(min(workers, len(pairs)), mp_context=_context(settings), initializer=gc.freeze)
    try:
        futures: dict[Future[CaseScores | Failure], PairFiles] = {
            pool.submit(_measure_and_record, pair, settings, folder): pair for pair in pairs
        }
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise ResourceError(
            ErrorCode.RESOURCE_MEMORY,
            "A worker process ended by itself, most likely for lack of memory.",
            remedy="Run the same command again with fewer --workers; subjects that are done are kept.",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context(settings: EvaluationSettings) -> BaseContext:
    """Start method of the workers.

    On Linux they are forked from a clean process that has imported panoptica (with torch and pandas, 700 MB) once, whose pages
    they share; elsewhere each imports it for itself.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    heavy = ["panoptica"] if settings.protocol is Protocol.SPINEPS else []
    context.set_forkserver_preload([*heavy, __name__])
    return context


def _measure_and_record(pair: PairFiles, settings: EvaluationSettings, folder: Path) -> CaseScores | Failure:
    fingerprint = _fingerprint(pair, settings)
    try:
        case = evaluate_case(pair, settings)
    except SpinepsError as error:
        return Failure(pair.case, pair.method, str(error))
    atomic.write_json(_record_path(folder, pair), {"fingerprint": fingerprint, **case.to_plain()})
    return case


def _load_record(folder: Path, pair: PairFiles, settings: EvaluationSettings) -> CaseScores | None:
    """The record of a subject, if it is whole and of the same files and settings."""
    path = _record_path(folder, pair)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return CaseScores.from_plain(plain) if plain["fingerprint"] == _fingerprint(pair, settings) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record_path(folder: Path, pair: PairFiles) -> Path:
    return folder / "cases" / quote(pair.method, safe=" ") / f"{quote(pair.case, safe=' ')}.json"


def _fingerprint(pair: PairFiles, settings: EvaluationSettings) -> str:
    """Hash of the settings and of the sizes and times of the files."""
    files = [*pair.reference.existing(), *(pair.prediction.existing() if pair.prediction is not None else ())]
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    told = json.dumps([_RECORD_FORMAT, settings.as_dict(), stats], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
