"""Settings are plain values whose hash says whether two runs were set alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from enum import Enum
from typing import Any

import pytest

from spineps.config import ComputeConfig, Device, PipelineConfig, PreprocessConfig, SemanticConfig, Step


def changed(value: Any) -> Any:
    """Another valid value of the same setting."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Enum):
        return next(member for member in type(value) if member is not value)
    if value is None:
        return 0.25
    if isinstance(value, tuple):
        return (*value, next(iter(Step)))
    return f"{value}x" if isinstance(value, str) else value + 1


def variants(config: Any) -> Iterator[tuple[str, Any]]:
    """Copies of the settings that differ from them in one field each, with the field's name."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            for name, variant in variants(value):
                yield f"{item.name}.{name}", replace(config, **{item.name: variant})
        else:
            yield item.name, replace(config, **{item.name: changed(value)})


VARIANTS = dict(variants(PipelineConfig()))


def test_settings_survive_json() -> None:
    plain = PipelineConfig().as_dict()
    assert json.loads(json.dumps(plain)) == plain


def test_equal_settings_have_equal_hashes() -> None:
    first = PipelineConfig(preprocess=PreprocessConfig(n4=True), compute=ComputeConfig(device=Device.CPU))
    second = PipelineConfig(compute=ComputeConfig(device=Device.CPU), preprocess=PreprocessConfig(n4=True))
    assert first == second
    assert first.sha256() == second.sha256()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_counts(name: str) -> None:
    assert VARIANTS[name].sha256() != PipelineConfig().sha256()


def test_no_two_settings_are_taken_for_each_other() -> None:
    hashes = [config.sha256() for config in VARIANTS.values()]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_hash_is_the_same_in_another_process(seed: str) -> None:
    code = "from spineps.config import PipelineConfig; print(PipelineConfig().sha256())"
    env = {**os.environ, "PYTHONHASHSEED": seed}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == PipelineConfig().sha256()


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        SemanticConfig().step_size = 0.5  # type: ignore[misc]
