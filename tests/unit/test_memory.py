"""What a run needs of memory, the limit on it, and that no mask depends on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spineps.config import ComputeConfig, PipelineConfig, PreprocessConfig
from spineps.errors import ErrorCode, ExitCode, FindingCode, ResourceError
from spineps.geometry import Geometry
from spineps.inference import memory
from spineps.inference.load import load_instance, load_semantic
from spineps.inference.memory import GB, Plan, limit_of, plan_for
from spineps.pipeline import Models, segment_scan
from tests import published_models
from tests.spines import Oracle, make_spine
from tests.unit.test_pipeline import Reader, _scan

CONFIG = PipelineConfig(preprocess=PreprocessConfig(crop=False))
NEED = 2 * GB


class Sizeable:
    """Networks of a known size that count how often they give their memory back."""

    released = 0

    def need(self) -> int:
        return NEED

    def release(self) -> None:
        self.released += 1


class SizedReader(Sizeable, Reader):
    """The semantic network of the pipeline's tests; where asked to, it wants more memory than any machine has, once."""

    wants = 0

    def __call__(self, patches):
        if self.wants:
            self.wants -= 1
            np.zeros((1 << 60,), np.uint8)  # a real MemoryError
        return super().__call__(patches)


class SizedOracle(Sizeable, Oracle):
    """The instance network of the pipeline's tests."""


@pytest.fixture(scope="module")
def spine():
    return make_spine(3)


@pytest.fixture
def models(spine):
    return Models(SizedReader(), SizedOracle(spine))


def limited(gigabytes: float) -> PipelineConfig:
    return replace(CONFIG, compute=ComputeConfig(max_memory_gb=gigabytes))


def test_networks_that_stay_ready_count_together():
    plan = Plan(held=1, semantic=20, instance=30, first=5, second=7)
    assert plan.ready == 1 + 20 + 37
    assert plan.frugal == 1 + 37
    assert plan.keeps_networks(None)
    assert plan.keeps_networks(58)
    assert not plan.keeps_networks(57)
    assert plan.peak(58) == 58
    assert plan.peak(57) == 38
    with pytest.raises(ResourceError, match="needs about"):
        plan.peak(37)


def test_the_same_masks_on_every_rung(spine, models):
    scan = _scan(spine)
    whole = segment_scan(scan, models, limited(1000))
    assert models.semantic.released == models.instance.released == 0
    plan = plan_for(scan.geometry, models.semantic, models.instance)
    assert plan.frugal + NEED / 2 < plan.ready
    frugal = segment_scan(scan, models, limited((plan.frugal + NEED / 2) / GB))
    assert models.semantic.released == models.instance.released == 2
    models.semantic.wants = 1
    short = segment_scan(scan, models, limited(1000))
    assert [finding.code for finding in short.findings].count(FindingCode.MEMORY_SHORT) == 1
    assert FindingCode.MEMORY_SHORT not in [finding.code for finding in (*whole.findings, *frugal.findings)]
    for other in (frugal, short):
        assert np.array_equal(other.semantic.labels, whole.semantic.labels)
        assert np.array_equal(other.instance.labels, whole.instance.labels)
        assert [f for f in other.findings if f.code is not FindingCode.MEMORY_SHORT] == list(whole.findings)


def test_what_does_not_fit_is_refused_with_the_number(spine, models):
    with pytest.raises(ResourceError, match=r"needs about [2-9]\.\d+ GB of memory, and 1\.00 GB may be used") as caught:
        segment_scan(_scan(spine), models, limited(1))
    assert caught.value.code is ErrorCode.RESOURCE_MEMORY
    assert caught.value.exit_code is ExitCode.RESOURCE


def test_memory_that_runs_out_on_the_last_rung_is_an_error(spine, models):
    models.semantic.wants = 2
    with pytest.raises(ResourceError, match="memory ran out; this scan needs about"):
        segment_scan(_scan(spine), models, CONFIG)


def test_the_limit_is_what_was_asked_for_or_what_is_free():
    assert limit_of(ComputeConfig(max_memory_gb=1.5)) == 1_500_000_000
    free = limit_of(ComputeConfig())
    assert free is None or free > memory.resident() > 10_000_000


def test_a_published_model_is_planned_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))
    config = ComputeConfig(threads=1)
    network = load_semantic(config, published_models.semantic_folder(tmp_path / "s"))
    second = load_instance(config, published_models.instance_folder(tmp_path / "i"))
    plans = [plan_for(Geometry.from_spacing((n, 2 * n, 20), (1, 1, 3)), network, second) for n in (100, 200)]
    assert plans[0].semantic == plans[1].semantic > 0
    assert plans[0].instance > 0
    assert 0 < plans[0].first < plans[1].first
