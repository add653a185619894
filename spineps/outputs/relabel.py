"""Giving the vertebrae of a finished result other names, from its masks alone: no network runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from spineps.errors import ErrorCode, Finding, FindingCode, InputError, UsageError
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.io.nifti import read_labels
from spineps.io.shown import shown_name
from spineps.labeling.given import names_from, shifted_name
from spineps.labeling.naming import INSTANCE_OF, Naming, renamed
from spineps.labels import Scheme
from spineps.measures.scan import measure_structures
from spineps.outputs.names import names_for
from spineps.outputs.record import DONE
from spineps.outputs.save import SavedFiles, save
from spineps.stages.centroids import measure_instances, moved
from spineps.volume import LabelMap, Result, Scan, Source

RECORD_ENDING: Final = "_run.json"
_MADE_ANEW: Final = frozenset(
    {
        *("record_format", "status", "spineps", "versions", "input", "findings", "levels", "score", "vertebrae"),
        *("outputs", "timing"),
    }
)
"""Parts of a record that follow from the result; all others are taken over."""
_KEPT_FINDINGS: Final = frozenset(map(str, FindingCode)) - {
    str(FindingCode.AMBIGUOUS_LEVELS),
    str(FindingCode.UNNAMED_LEVELS),
    str(FindingCode.MISSING_VERTEBRA),
    str(FindingCode.PARTIAL_VERTEBRA),  # is found again
}


@dataclass(frozen=True, slots=True)
class Correction:
    """What is known of the levels of a scan.

    Parameters
    ----------
    anchors : Mapping of str to str
        A vertebra, by its id in the mask or by its present name, to its true name.
    shift : int
        Instead: how many levels lower all names are to be (higher where negative).
    """

    anchors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    shift: int = 0


def relabel(folder: Path, correction: Correction, *, prefix: str | None = None, image: Scan | None = None) -> SavedFiles:
    """Rename the vertebrae of a finished result; all files are written anew, in their place.

    Parameters
    ----------
    folder : Path
        Folder of the result.
    correction : Correction
        What is known.
    prefix : str, optional
        What the result's files begin with, where the folder holds more than one.
    image : Scan, optional
        The scan, for the picture and the page; without it they show the masks alone.

    Raises
    ------
    InputError
        Where there is no result, or its files cannot be read.
    UsageError
        Where the correction makes no sense.
    """
    prefix = _only_prefix(folder) if prefix is None else prefix
    record = _read_record(folder / f"{prefix}{RECORD_ENDING}")
    names = names_for(prefix)
    source = Source(sha256=record["input"].get("sha256"), prefix=prefix)
    semantic = replace(read_labels(folder / names.semantic), source=source)
    instance = replace(read_labels(folder / names.instance, scheme=Scheme.INSTANCE), source=source)
    if not instance.geometry.matches(semantic.geometry):
        raise InputError(ErrorCode.INPUT_LABELS, "the two masks lie in different grids.", remedy="Segment the scan again.")
    if image is not None and not image.geometry.matches(semantic.geometry):
        raise InputError(
            ErrorCode.INPUT_LABELS, "the scan and the masks lie in different grids.", remedy="Give the scan that was segmented."
        )
    turn = Reorientation.between(semantic.geometry.axes, PIR)
    upright = turn.apply_geometry(semantic.geometry)
    turned = [_turned(mask, turn, upright) for mask in (semantic, instance)]
    naming = _naming(turned[0], turned[1], correction, record)
    return save(_result(turned[0], turned[1], naming, record, (semantic, image, correction)), folder, prefix=prefix)


def _turned(mask: LabelMap, turn: Reorientation, geometry: Geometry) -> LabelMap:
    labels: Any = turn.apply(mask.labels)
    return replace(mask, labels=labels, geometry=geometry)


def _only_prefix(folder: Path) -> str:
    found = sorted(path.name.removesuffix(RECORD_ENDING) for path in folder.glob(f"*{RECORD_ENDING}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{shown_name(folder)} holds no record of a run ({RECORD_ENDING}).",
            remedy="Give the folder of a result under the published names.",
        )
    raise UsageError(
        ErrorCode.USAGE,
        f"{shown_name(folder)} holds {len(found)} results.",
        remedy="Say with --prefix what the files of the one to be renamed begin with.",
    )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = record["status"] == DONE and isinstance(record["input"], dict) and isinstance(record["vertebrae"], list)
    except OSError as error:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND, f"{shown_name(path)} cannot be read.", remedy="Check the folder and --prefix."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _no_result(path) from error
    if not known:
        raise _no_result(path)
    return record


def _no_result(path: Path) -> InputError:
    return InputError(
        ErrorCode.INPUT_FORMAT, f"{shown_name(path)} is no record of a finished result.", remedy="Segment the scan first."
    )


def _naming(semantic: LabelMap, instance: LabelMap, correction: Correction, record: Mapping[str, Any]) -> Naming:
    present = {int(v["label"]): v.get("name") for v in record["vertebrae"]}
    if bool(correction.anchors) == bool(correction.shift):
        raise UsageError(ErrorCode.USAGE, "one correction is needed, an anchor or a shift.", remedy="Give --anchor or --shift.")
    if correction.anchors:
        anchors = {_number(who, present): name.upper() for who, name in correction.anchors.items()}
        return names_from(semantic, instance, anchors)
    number, name = next(((number, name) for number, name in present.items() if name), (None, None))
    if number is None or name is None:
        raise UsageError(ErrorCode.USAGE, "the vertebrae have no names to shift.", remedy="Name one of them with --anchor.")
    anchors = {number: shifted_name(name, correction.shift)}
    return names_from(semantic, instance, anchors, variants=False)


def _number(who: str, present: Mapping[int, str | None]) -> int:
    """The id of a vertebra, from its id or its present name."""
    if who.isdigit():
        return int(who)
    for number, name in present.items():
        if name == who.upper():
            return number
    raise UsageError(
        ErrorCode.USAGE, f"no vertebra is called {who!r}.", remedy="Give its number in the mask, or its present name."
    )


def _result(
    semantic: LabelMap,
    instance: LabelMap,
    naming: Naming,
    record: Mapping[str, Any],
    given: tuple[LabelMap, Scan | None, Correction],
) -> Result:
    """The result with its new names; ``given`` are the mask in its own orientation, the scan and the correction."""
    mask, image, correction = given
    known = {naming.pairs[int(v["label"])]: v for v in record["vertebrae"] if int(v["label"]) in naming.pairs}
    named = replace(instance, labels=renamed(instance.labels, naming.pairs))
    agreement = {number: float(v.get("agreement") or 0.0) for number, v in known.items()}
    found, centroids, findings = measure_instances(semantic, named, agreement)
    back = Reorientation.between(PIR, mask.geometry.axes)
    order = list(naming.levels.names)
    vertebrae = tuple(
        replace(
            v,
            name=naming.levels.names.get(v.label),
            mask_confidence=known.get(v.label, {}).get("mask_confidence"),
            name_confidence=1.0,
        )
        for v in sorted(found, key=lambda v: order.index(v.label))
    )
    earlier = tuple(
        Finding(FindingCode(f["code"]), f["message"]) for f in record.get("findings", ()) if f["code"] in _KEPT_FINDINGS
    )
    told: dict[str, Any] = {"anchors": dict(correction.anchors)} if correction.anchors else {"shift": correction.shift}
    provenance = {key: value for key, value in record.items() if key not in _MADE_ANEW}
    return Result(
        semantic=mask,
        instance=_turned(named, back, mask.geometry),
        vertebrae=vertebrae,
        centroids=moved(centroids, named.geometry, mask.geometry),
        findings=(*earlier, *findings),
        provenance=MappingProxyType({**provenance, "relabelled": told, "seconds": record.get("timing", {})}),
        scan=image,
        levels=naming.levels,
        measures=measure_structures(semantic, named, naming.levels) if "measures" in record.get("outputs", {}) else (),
        score=record.get("score"),
    )


def parse_anchors(texts: list[str]) -> dict[str, str]:
    """Anchors such as ``23=L5`` or ``L4=L5``.

    Raises
    ------
    UsageError
        If one is not of that form, or its name is no level.
    """
    anchors = {}
    for text in texts:
        who, sign, name = text.partition("=")
        if not sign or not who.strip() or name.strip().upper() not in INSTANCE_OF:
            raise UsageError(
                ErrorCode.USAGE, f"{text!r} is no anchor.", remedy="Write the vertebra's number and its level, such as 3=L5."
            )
        anchors[who.strip()] = name.strip().upper()
    return anchors
