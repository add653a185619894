"""Signs of a poor mask, the models that weigh them, and what a run says of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spineps.errors import Finding, FindingCode
from spineps.geometry import Box, Geometry
from spineps.labels import Scheme
from spineps.outputs.record import run_record
from spineps.stages.confidence import (
    Logistic,
    Term,
    calibration,
    certainty_map,
    name_signs,
    scan_signs,
    vertebra_signs,
    with_confidence,
)
from spineps.volume import LabelMap, Levels, LevelStatus, Vertebra
from tests.unit.handmade import made_result

UNNAMED = Levels(LevelStatus.NUMBERED)


def column(heights_mm: list[float], **changes: object) -> tuple[Vertebra, ...]:
    """Vertebrae at heights, alike but for the changes to the last."""
    made = [Vertebra(k + 2, None, (0.0, 0.0, -height), 50.0, 0.9, partial=False) for k, height in enumerate(heights_mm)]
    return (*made[:-1], replace(made[-1], **changes))


def instance_of(vertebrae: tuple[Vertebra, ...]) -> LabelMap:
    """A block of 8 voxels for each."""
    labels = np.zeros((10, 4 * len(vertebrae) + 4, 10), np.uint16)
    for place, vertebra in enumerate(vertebrae):
        labels[2:4, 4 * place + 1 : 4 * place + 3, 2:4] = vertebra.label
    return LabelMap(labels, Geometry.from_spacing(labels.shape, (1, 1, 1)), Scheme.INSTANCE)


# ---- signs


def test_even_vertebrae_have_even_signs() -> None:
    vertebrae = column([0, 30, 60, 90, 120])
    for signs in vertebra_signs(vertebrae, instance_of(vertebrae)):
        assert signs == pytest.approx({"agreement": 0.9, "whole": 1.0, "evenness": 0.0, "spacing": 0.0, "solid": 1.0})


def test_a_small_vertebra_a_gap_and_a_cut_are_seen() -> None:
    vertebrae = column([0, 30, 60, 90, 150], volume_ml=25.0, partial=True)
    signs = vertebra_signs(vertebrae, instance_of(vertebrae))
    assert signs[4]["evenness"] == pytest.approx(-math.log(2))
    assert signs[4]["spacing"] == pytest.approx(-math.log(2))
    assert signs[3]["spacing"] == pytest.approx(-math.log(2))
    assert signs[2]["spacing"] == pytest.approx(0, abs=1e-9)
    assert (signs[3]["whole"], signs[4]["whole"]) == (1.0, 0.0)
    assert signs[3]["evenness"] == pytest.approx(0)  # a vertebra that is cut is no measure for others


def test_a_vertebra_in_pieces_is_not_solid() -> None:
    vertebrae = column([0, 30, 60])
    instance = instance_of(vertebrae)
    labels = instance.labels.copy()
    labels[7:9, 5:7, 7:9] = 3
    assert vertebra_signs(vertebrae, replace(instance, labels=labels))[1]["solid"] == 0.5


def test_certainty_is_that_of_the_vertebras_own_voxels() -> None:
    vertebrae = column([0, 30])
    instance = instance_of(vertebrae)
    certainty = np.where(instance.labels == 2, 255, 51).astype(np.uint8)
    sure, unsure = vertebra_signs(vertebrae, instance, certainty)
    assert unsure["certainty"] == pytest.approx(-math.log(1 - 51 / 256))
    assert sure["certainty"] > 5


def test_few_vertebrae_leave_signs_unknown() -> None:
    one = column([0])
    assert set(vertebra_signs(one, instance_of(one))[0]) == {"agreement", "whole", "solid"}
    hidden = replace(one[0], label=99)
    assert set(vertebra_signs((hidden,), instance_of(one))[0]) == {"agreement", "whole"}


def test_signs_of_a_scan() -> None:
    vertebrae = tuple(
        replace(v, mask_confidence=c) for v, c in zip(column([0, 30, 60, 120]), (0.9, 0.9, 0.5, 0.9), strict=True)
    )
    findings = [Finding(FindingCode.MERGED_CORPUS_KEPT, ""), Finding(FindingCode.THICK_SLICES, "")]
    signs = scan_signs(vertebrae, UNNAMED, findings)
    assert signs["masks"] == pytest.approx(math.log(0.9**3 * 0.5))
    assert signs["weakest"] == pytest.approx(0)
    assert signs["gap"] == pytest.approx(-math.log(2))
    assert signs["calm"] == -1
    assert "names" not in signs
    named = Levels(LevelStatus.NAMED, {2: "L1"}, probability=0.75)
    assert scan_signs(vertebrae, named, ())["names"] == pytest.approx(math.log(3))


# ---- models


def test_an_unknown_sign_counts_as_average() -> None:
    model = Logistic(0.5, {"a": Term(2.0, 1.0, 1.0), "b": Term(0.0, 1.0, 3.0)})
    assert model.probability({"a": 2.0}) == model.probability({}) == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert 0 < model.probability({"b": -1e9}) < model.probability({"b": 1e9}) < 1


def test_no_weight_of_the_package_is_negative() -> None:
    fitted = calibration()
    for model in (fitted.mask, fitted.mask_alone, fitted.name, fitted.score, fitted.score_alone):
        assert model.terms
        assert all(term.weight >= 0 and term.spread > 0 for term in model.terms.values())
    assert "certainty" in fitted.mask.terms
    assert "certainty" not in fitted.mask_alone.terms


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_more_probable_name_is_never_less_sure(one: float, other: float) -> None:
    low, high = sorted((one, other))
    model = calibration().name
    assert model.probability(name_signs(low)) <= model.probability(name_signs(high))


@given(
    st.dictionaries(st.sampled_from(["agreement", "certainty", "evenness", "spacing", "solid", "whole"]), st.floats(-5, 5)),
    st.floats(0, 3),
)
def test_a_better_sign_never_lowers_a_confidence(signs: dict[str, float], more: float) -> None:
    for model in (calibration().mask, calibration().mask_alone):
        before = model.probability(signs)
        for name, value in signs.items():
            assert model.probability({**signs, name: value + more}) >= before


# ---- in a run


def test_a_result_gets_confidences_and_a_score() -> None:
    vertebrae = column([0, 30, 60, 90], agreement=0.2)
    named = tuple(replace(v, name=f"L{k + 1}") for k, v in enumerate(vertebrae))
    names = {v.label: v.name for v in named}
    posteriors = {label: {name: 0.9} for label, name in names.items()}
    levels = Levels(LevelStatus.NAMED, names, posteriors, probability=0.8)
    sure, score = with_confidence(named, instance_of(vertebrae), levels, ())
    assert score is not None
    assert 0 < score < 1
    assert all(v.mask_confidence is not None and v.name_confidence is not None for v in sure)
    assert sure[0].mask_confidence > sure[3].mask_confidence
    unnamed, _ = with_confidence(vertebrae, instance_of(vertebrae), UNNAMED, ())
    assert [v.name_confidence for v in unnamed] == [None] * 4


def test_certainty_of_the_network_tells_poor_masks() -> None:
    vertebrae = column([0, 30, 60, 90])
    instance = instance_of(vertebrae)
    certainty = np.full(instance.labels.shape, 250, np.uint8)
    certainty[instance.labels == 4] = 120
    sure, score = with_confidence(vertebrae, instance, UNNAMED, (), certainty)
    assert min(range(4), key=lambda k: sure[k].mask_confidence) == 2
    even, better = with_confidence(vertebrae, instance, UNNAMED, (), np.full_like(certainty, 250))
    assert even[2].mask_confidence > sure[2].mask_confidence
    assert better > score


def test_nothing_to_be_sure_of() -> None:
    assert with_confidence((), instance_of(column([0])), UNNAMED, ()) == ((), None)


def test_the_record_says_how_sure_a_run_is() -> None:
    result = made_result(2)
    sure = tuple(replace(v, mask_confidence=0.87654, name_confidence=None) for v in result.vertebrae)
    record = run_record(replace(result, vertebrae=sure, score=0.43219), {})
    assert record["score"] == 0.4322
    assert record["vertebrae"][0]["mask_confidence"] == 0.8765
    assert record["vertebrae"][0]["name_confidence"] is None
    assert json.dumps(record)


def test_the_map_of_certainty_lies_in_the_grid_of_the_scan() -> None:
    full = Geometry.from_spacing((8, 12, 6), (1, 1, 2))
    box = Box((2, 2, 1), (8, 10, 5))
    seen = full.cropped(box)
    scores = np.zeros((3, *seen.shape), np.float32)
    scores[0], scores[1] = 0.25, 0.75
    scores[:, :3] = np.array([0.4, 0.4, 0.2], np.float32)[:, None, None, None]
    prepared = SimpleNamespace(full=full, geometry=seen, box=box)
    certainty = certainty_map(scores.max(axis=0), seen, prepared)  # type: ignore[arg-type]
    assert certainty.dtype == np.uint8
    assert certainty.shape == full.shape
    assert (certainty[2:5, 2:10, 1:5] == 102).all()
    assert (certainty[5:, 2:10, 1:5] == 191).all()
    assert (certainty[:2] == 255).all()
