"""Tasks and outcomes as lines of JSON between a run and its worker processes; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spineps.cohort.case import Outcome, Task
from spineps.cohort.proof import Recipe
from spineps.cohort.settings import ModelFolders, Naming, ScanSettings
from spineps.config import ComputeConfig, PipelineConfig
from spineps.errors import Finding, FindingCode
from spineps.io.affine import AffineChoice
from spineps.io.load import ReadOptions

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Order(tuple[tuple[ComputeConfig, ModelFolders], ...]):
    """What a worker is to have loaded before its first scan: ways of running networks, and the networks."""

    __slots__ = ()


def line(message: dict[str, Any]) -> bytes:
    """One message on one line; file names that are no text survive as lone surrogates."""
    return json.dumps(message).encode("ascii") + b"\n"


def task_to_plain(task: Task) -> dict[str, Any]:
    """A task as plain values."""
    return {
        "name": task.name,
        "scan": str(task.scan),
        "prefix": task.prefix,
        "folder": str(task.folder),
        "files": dict(task.files),
        "known": str(task.known),
        "first_phase": str(task.first_phase),
        "crash": str(task.crash),
        "config": task.config.as_dict(),
        "models": _folders(task.models),
        "findings": [[finding.code.value, finding.message] for finding in task.findings],
        "read": [task.read.affine.value, task.read.volume],
        "naming": task.naming.value,
        "recipe": [task.recipe.semantic, task.recipe.rest],
        "keep_semantic": task.keep_semantic,
        "profile": task.profile,
    }


def task_from_plain(plain: dict[str, Any]) -> Task:
    """A task from what :func:`task_to_plain` gave."""
    affine, volume = plain["read"]
    return Task(
        name=plain["name"],
        scan=Path(plain["scan"]),
        prefix=plain["prefix"],
        folder=Path(plain["folder"]),
        files=plain["files"],
        known=Path(plain["known"]),
        first_phase=Path(plain["first_phase"]),
        crash=Path(plain["crash"]),
        config=config_from_plain(plain["config"]),
        models=ModelFolders(*map(_path, plain["models"])),
        read=ReadOptions(AffineChoice(affine), volume),
        naming=Naming(plain["naming"]),
        recipe=Recipe(*plain["recipe"]),
        findings=tuple(Finding(FindingCode(code), message) for code, message in plain["findings"]),
        keep_semantic=plain["keep_semantic"],
        profile=plain["profile"],
    )


def order_to_plain(scans: Iterable[ScanSettings]) -> dict[str, Any]:
    """What scans of these settings need, as plain values."""
    needed = {(scan.pipeline.compute, scan.models): scan.pipeline.as_dict()["compute"] for scan in scans}
    return {"order": [[plain, *_folders(models)] for (_, models), plain in needed.items()]}


def order_from_plain(plain: list[list[Any]]) -> Order:
    """An order from what :func:`order_to_plain` gave."""
    compute = _reader_of(ComputeConfig).validate_python
    return Order((compute(config), ModelFolders(*map(_path, folders))) for config, *folders in plain)


def config_from_plain(plain: dict[str, Any]) -> PipelineConfig:
    """Settings from what :meth:`PipelineConfig.as_dict` gave."""
    config: PipelineConfig = _reader_of(PipelineConfig).validate_python(plain)
    return config


def outcome_to_plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain values."""
    return asdict(outcome)


def outcome_from_plain(plain: dict[str, Any]) -> Outcome:
    """An outcome from what :func:`outcome_to_plain` gave."""
    return Outcome(**plain)


@cache
def _reader_of(kind: type) -> TypeAdapter[Any]:
    """What reads settings of a kind from plain values; to build it takes some 3 ms, to use it almost nothing."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _folders(models: ModelFolders) -> list[str | None]:
    return [None if path is None else str(path) for path in (models.semantic, models.instance, models.labeling)]


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
