"""Tasks and outcomes as lines of JSON between a run and its worker processes; nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spineps.cohort.case import Outcome, Task
from spineps.cohort.proof import Recipe
from spineps.cohort.settings import ModelFolders, Naming
from spineps.config import PipelineConfig
from spineps.errors import Finding, FindingCode
from spineps.io.affine import AffineChoice
from spineps.io.load import ReadOptions


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
        "config": task.config.as_dict(),
        "models": [_text(task.models.semantic), _text(task.models.instance)],
        "findings": [[finding.code.value, finding.message] for finding in task.findings],
        "read": [task.read.affine.value, task.read.volume],
        "naming": task.naming.value,
        "recipe": [task.recipe.semantic, task.recipe.rest],
        "keep_semantic": task.keep_semantic,
    }


def task_from_plain(plain: dict[str, Any]) -> Task:
    """A task from what :func:`task_to_plain` gave."""
    semantic, instance = plain["models"]
    affine, volume = plain["read"]
    return Task(
        name=plain["name"],
        scan=Path(plain["scan"]),
        prefix=plain["prefix"],
        folder=Path(plain["folder"]),
        files=plain["files"],
        known=Path(plain["known"]),
        first_phase=Path(plain["first_phase"]),
        config=config_from_plain(plain["config"]),
        models=ModelFolders(_path(semantic), _path(instance)),
        read=ReadOptions(AffineChoice(affine), volume),
        naming=Naming(plain["naming"]),
        recipe=Recipe(*plain["recipe"]),
        findings=tuple(Finding(FindingCode(code), message) for code, message in plain["findings"]),
        keep_semantic=plain["keep_semantic"],
    )


def config_from_plain(plain: dict[str, Any]) -> PipelineConfig:
    """Settings from what :meth:`PipelineConfig.as_dict` gave."""
    from pydantic import TypeAdapter

    return TypeAdapter(PipelineConfig).validate_python(plain)


def outcome_to_plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain values."""
    return asdict(outcome)


def outcome_from_plain(plain: dict[str, Any]) -> Outcome:
    """An outcome from what :func:`outcome_to_plain` gave."""
    return Outcome(**plain)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
