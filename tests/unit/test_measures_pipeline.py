"""Measurements as part of a run: on by default, left out on request, in the patient's axes whatever the file's."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from spineps.cli import options
from spineps.config import Labeling, LabelingConfig, MeasureConfig, PipelineConfig
from spineps.geometry import PIR, Reorientation
from spineps.labels import Scheme
from spineps.pipeline import Models, segment_instances
from spineps.volume import LabelMap
from tests.spines import Oracle, make_spine

UNNAMED = PipelineConfig(labeling=LabelingConfig(method=Labeling.NONE))


@pytest.fixture(scope="module")
def spine():
    return make_spine(3)


def test_every_vertebra_and_disc_of_a_run_is_measured(spine) -> None:
    result = segment_instances(spine.semantic, Models(None, Oracle(spine)), UNNAMED)
    rows = [row for row in result.measures if row.kind == "vertebra"]
    assert [row.label for row in rows] == [vertebra.label for vertebra in result.vertebrae]
    for row, vertebra in zip(rows, result.vertebrae, strict=True):
        assert row.values["volume_ml"] == pytest.approx(vertebra.volume_ml, rel=1e-6)
        assert row.values["height_middle_mm"] == pytest.approx(2 * 0.36 * 28, abs=2.0)
        assert row.values["depth_mm"] == pytest.approx(28, abs=2.5)
        assert row.level is None
    assert {"disc", "sacrum", "canal", "cord"} <= {row.kind for row in result.measures}
    assert "measure" in result.provenance["seconds"]


def test_another_orientation_of_the_file_measures_the_same(spine) -> None:
    models = Models(None, Oracle(spine))
    straight = segment_instances(spine.semantic, models, UNNAMED)
    turn = Reorientation.between(PIR, ("L", "A", "S"))
    turned = LabelMap(turn.apply(spine.labels()), turn.apply_geometry(spine.semantic.geometry), Scheme.SEMANTIC)
    for row, other in zip(straight.measures, segment_instances(turned, models, UNNAMED).measures, strict=True):
        assert (row.kind, row.label, row.flags, row.too_thick) == (other.kind, other.label, other.flags, other.too_thick)
        assert dict(other.values) == pytest.approx(dict(row.values), abs=1e-6)


def test_measuring_can_be_left_out(spine) -> None:
    config = replace(UNNAMED, measures=MeasureConfig(enabled=False))
    assert segment_instances(spine.semantic, Models(None, Oracle(spine)), config).measures == ()
    parser = argparse.ArgumentParser()
    options.add_processing(parser)
    assert options.processing_config(parser.parse_args([])).measures.enabled
    assert not options.processing_config(parser.parse_args(["--no-measures"])).measures.enabled
