"""Measurements against exact shapes: at the spacings of scans, turned, moved, mirrored; their flags; nothing to measure."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spineps.geometry import Spacing
from spineps.labels import Scheme, Structure
from spineps.measures import QUANTITIES, measure_structures
from spineps.volume import LabelMap, LevelStatus, StructureMeasures
from tests.unit.measured_shapes import CANAL_HALF_MM, CORD_HALF_MM, Column, levels, measure, paint

SPACINGS: tuple[Spacing, ...] = ((1.0, 1.0, 1.0), (0.75, 0.75, 3.3), (0.75, 0.75, 4.4), (1.2, 0.9, 2.0))
ANGLES_DEG = 2.0
VOLUME_SHARE = 0.04
STRAIGHT = Column()
CURVED = Column(wedge=6.0, opening=8.0, hollow=2.5)


def turned(a: float, b: float, c: float) -> np.ndarray:
    return Rotation.from_euler("xyz", (a, b, c), degrees=True).as_matrix()


def tolerance(spacing: Spacing, name: str) -> float:
    if name.endswith("width_mm"):
        return max(0.6, 0.5 * spacing[2])
    return 0.6


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_cylinder(spacing: Spacing) -> None:
    rows = measure(paint(STRAIGHT, spacing, shift_mm=(0.3, 0.2, 0.4)), levels(STRAIGHT))
    body, disc = rows["vertebra", 21], rows["disc", 121]
    for row, height in ((body, STRAIGHT.height), (disc, STRAIGHT.disc)):
        for name in ("height_anterior_mm", "height_middle_mm", "height_posterior_mm"):
            assert row.values[name] == pytest.approx(height, abs=0.75 * spacing[1]), name
        assert row.values["depth_mm"] == pytest.approx(STRAIGHT.depth, abs=0.6)
        assert row.values["wedge_deg"] == pytest.approx(0, abs=ANGLES_DEG)
        volume = np.pi / 4 * STRAIGHT.depth * STRAIGHT.width * height / 1000
        assert row.values["volume_ml"] == pytest.approx(volume, rel=VOLUME_SHARE if height > 20 else 2 * VOLUME_SHARE)
    assert body.values["width_mm"] == pytest.approx(0.95 * STRAIGHT.width, abs=tolerance(spacing, "width_mm") + 0.3)
    assert body.values["wedge_ratio"] == pytest.approx(1, abs=0.03)
    assert body.values["biconcavity_ratio"] == pytest.approx(1, abs=0.03)
    assert disc.values["height_index"] == pytest.approx(STRAIGHT.disc / STRAIGHT.height, abs=0.04)
    assert disc.values["slip_mm"] == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_wedges_and_a_curve(spacing: Spacing) -> None:
    rows = measure(paint(CURVED, spacing, rotation=turned(4, 7, 11)), levels(CURVED))
    for label in (20, 21, 22):
        assert rows["vertebra", label].values["wedge_deg"] == pytest.approx(CURVED.wedge, abs=ANGLES_DEG)
        assert rows["vertebra", label].values["wedge_ratio"] > 1.03
        assert rows["vertebra", label].values["biconcavity_ratio"] < 0.97
    for label in (120, 121):
        assert rows["disc", label].values["wedge_deg"] == pytest.approx(CURVED.opening, abs=ANGLES_DEG)


@given(
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    shift=st.tuples(*[st.floats(-2, 2)] * 3),
    spacing=st.sampled_from(SPACINGS[:2]),
)
@settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_turning_moving_and_resampling_change_nothing(
    angles: tuple[float, float, float], shift: tuple[float, float, float], spacing: Spacing
) -> None:
    moved = measure(paint(CURVED, spacing, rotation=turned(*angles), shift_mm=shift), levels(CURVED))
    compared = 0
    for key, row in reference().items():
        for name, value in row.values.items():
            if row.kind == "coronal_curve":  # its ends follow the noise of a spine that has none
                continue
            found = moved[key].values.get(name)
            if found is None or name in moved[key].too_thick or "slip" in name:
                continue
            compared += 1
            if name.endswith("_mm") and name != "length_mm":
                thick = max(tolerance(spacing, name), 0.25 * max(spacing))
                assert found == pytest.approx(value, abs=2 * thick), (key, name)
            elif name.endswith("_deg") and "coronal" not in name:
                assert found == pytest.approx(value, abs=ANGLES_DEG), (key, name)
            elif name.endswith("_ml") and row.kind == "vertebra":
                assert found == pytest.approx(value, rel=VOLUME_SHARE), (key, name)
    assert compared > 40


@cache
def reference() -> dict[tuple[str, object], StructureMeasures]:
    return measure(paint(CURVED, (0.9, 0.9, 0.9), rotation=turned(3, 4, 5)), levels(CURVED))


def test_a_mirrored_patient_leans_to_the_other_side() -> None:
    masks = paint(CURVED, (1.0, 1.0, 2.0), rotation=turned(6, 0, 3))
    mirrored = tuple(LabelMap(m.labels[:, :, ::-1], m.geometry, m.scheme) for m in masks)
    plain, other = (measure((a, b), levels(CURVED)) for a, b in (masks, mirrored))
    for key, row in plain.items():
        assert other[key].too_thick == row.too_thick
        for name, value in row.values.items():
            sign = -1 if "coronal" in name else 1
            assert other[key].values[name] == pytest.approx(sign * value, abs=0.05), (key, name)


@pytest.mark.parametrize("slip", [-4.0, 6.0])
def test_slip(slip: float) -> None:
    rows = measure(paint(Column(slip=slip), (0.8, 0.8, 3.3), rotation=turned(0, 0, 9)), levels(STRAIGHT))
    assert rows["disc", 120].values["slip_mm"] == pytest.approx(slip, abs=0.6)
    assert rows["disc", 120].values["slip_percent"] == pytest.approx(100 * slip / STRAIGHT.depth, abs=3)
    assert rows["disc", 121].values["slip_mm"] == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.75, 0.75, 3.3)])
def test_canal_and_cord(spacing: Spacing) -> None:
    rows = measure(paint(STRAIGHT, spacing, rotation=turned(3, 2, 12)), levels(STRAIGHT))
    for name, (half_deep, half_wide) in (("canal", CANAL_HALF_MM), ("cord", CORD_HALF_MM)):
        row = rows["vertebra", 21]
        assert row.values[f"{name}_area_mm2"] == pytest.approx(np.pi * half_deep * half_wide, rel=0.06)
        assert row.values[f"{name}_depth_mm"] == pytest.approx(2 * half_deep, abs=0.6)
        assert row.values[f"{name}_width_mm"] == pytest.approx(2 * half_wide, abs=tolerance(spacing, "width_mm"))
        assert (f"{name}_width_mm" in row.too_thick) == (2 * half_wide < 6 * spacing[2])
    length = 3 * STRAIGHT.height + 2 * STRAIGHT.disc + STRAIGHT.disc + 2
    assert rows["canal", None].values["length_mm"] == pytest.approx(length, abs=6)


def test_lordosis_down_to_the_sacrum() -> None:
    column = Column(count=5, wedge=2.0, opening=6.0, sacrum=True)
    rows = measure(paint(column, (1.0, 1.0, 3.3)), levels(column))
    steps = {"L1-L5": 5 * 2 + 4 * 6, "L1-S1": 5 * 2 + 5 * 6, "L4-S1": 2 * 2 + 2 * 6}
    for level, angle in steps.items():
        assert rows["curve", level].values["lordosis_deg"] == pytest.approx(angle, abs=ANGLES_DEG)
    assert rows["disc", 124].level == "L5-S1"
    assert rows["disc", 124].values["wedge_deg"] == pytest.approx(6, abs=ANGLES_DEG)
    assert rows["disc", 124].values["slip_mm"] == pytest.approx(0, abs=1.0)
    assert rows["sacrum", 26].level == "S"
    cobb = next(row for row in rows.values() if "cobb_deg" in row.values)
    assert cobb.values["cobb_deg"] < ANGLES_DEG


def test_numbered_vertebrae_have_no_levels_and_no_lordosis() -> None:
    rows = measure_structures(*paint(STRAIGHT, (1.0, 1.0, 3.0)), levels(STRAIGHT, LevelStatus.NUMBERED))
    assert {row.level for row in rows} == {None}
    assert not any("lordosis_deg" in row.values for row in rows)
    assert not any(row.flags for row in rows if row.kind == "vertebra")


def test_an_unsure_level_is_flagged() -> None:
    rows = measure(paint(STRAIGHT, (1.0, 1.0, 3.0)), levels(STRAIGHT, LevelStatus.AMBIGUOUS, posterior=0.6))
    assert all("unsure" in row.flags for (kind, _), row in rows.items() if kind in ("vertebra", "disc"))


def test_what_the_field_of_view_cuts_is_flagged_and_has_no_angle() -> None:
    semantic, instance = paint(STRAIGHT, (1.0, 1.0, 2.0))
    tops = np.flatnonzero((instance.labels == 20).any(axis=(0, 2)))
    cut = [LabelMap(m.labels[:, tops[0] + 9 :], _shorter(m, tops[0] + 9), m.scheme) for m in (semantic, instance)]
    rows = measure((cut[0], cut[1]), levels(STRAIGHT))
    assert {"cut", "body_cut"} <= set(rows["vertebra", 20].flags)
    assert not {"wedge_deg", "height_middle_mm", "tilt_superior_sagittal_deg"} & rows["vertebra", 20].values.keys()
    assert "tilt_inferior_sagittal_deg" in rows["vertebra", 20].values
    assert rows["vertebra", 21].flags == ()
    assert "cut" in rows["canal", None].flags


def _shorter(mask: LabelMap, planes: int):
    from spineps.geometry import Box

    a, b, c = mask.geometry.shape
    return mask.geometry.cropped(Box((0, planes, 0), (a, b, c)))


def test_coarse_voxels_are_flagged() -> None:
    rows = measure(paint(Column(disc=4.0, height=12.0), (1.5, 1.5, 5.0)), levels(STRAIGHT))
    assert "height_middle_mm" in rows["disc", 120].too_thick
    assert "height_middle_mm" not in rows["vertebra", 20].too_thick
    assert {"cord_area_mm2", "cord_width_mm"} <= set(rows["vertebra", 21].too_thick)


def test_one_vertebra_without_a_canal() -> None:
    column = Column(count=1)
    semantic, instance = paint(column, (1.0, 1.0, 3.0), rotation=turned(0, 0, 8))
    bare = np.where(np.isin(semantic.labels, (Structure.CANAL, Structure.CORD)), 0, semantic.labels)
    rows = measure((LabelMap(bare.astype(np.uint8), semantic.geometry, Scheme.SEMANTIC), instance), levels(column))
    assert {kind for kind, _ in rows} <= {"vertebra", "coronal_curve"}
    assert rows["vertebra", 20].values["height_middle_mm"] == pytest.approx(column.height, abs=0.6)


def test_nothing_to_measure() -> None:
    semantic, instance = (LabelMap(np.zeros_like(m.labels), m.geometry, m.scheme) for m in paint(STRAIGHT, (2.0, 2.0, 4.0)))
    assert measure_structures(semantic, instance, levels(STRAIGHT, LevelStatus.NUMBERED)) == ()


def test_a_speck_is_listed_with_its_volume_alone() -> None:
    semantic, instance = paint(STRAIGHT, (1.0, 1.0, 3.0))
    instance_labels, semantic_labels = instance.labels.copy(), semantic.labels.copy()
    instance_labels[3:5, 3:5, 3], semantic_labels[3:5, 3:5, 3] = 19, Structure.CORPUS
    rows = measure_structures(
        LabelMap(semantic_labels, semantic.geometry, Scheme.SEMANTIC),
        LabelMap(instance_labels, instance.geometry, Scheme.INSTANCE),
        levels(STRAIGHT),
    )
    speck = next(row for row in rows if row.label == 19)
    assert set(speck.values) == {"volume_ml", "body_volume_ml"}


def test_columns_are_known_and_belong_to_their_kind() -> None:
    for row in reference().values():
        assert all(row.kind in QUANTITIES[name].kinds for name in row.values)
        assert all(np.isfinite(value) for value in row.values.values())
