from __future__ import annotations

import numpy as np
import pytest

from spineps.config import Ambiguous
from spineps.errors import NoSpineError
from spineps.geometry import Geometry
from spineps.labeling.cutouts import LEAST_LOG, LEVEL_WEIGHT, LEVELS, weighed
from spineps.labeling.evidence import gather_evidence, mask_evidence
from spineps.labeling.features import Grid
from spineps.labeling.landmarks import Column, conus_rows, find_column
from spineps.labeling.naming import decide, level_above, renamed
from spineps.labels import SACRUM_INSTANCE, Scheme, Structure
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy
from spineps.phantom.morphometry import Variant
from spineps.volume import LabelMap, LevelStatus
from tests.spines import make_spine


def anatomy(first: int, last: int, *, seed: int = 3) -> Anatomy:
    spec = AnatomySpec((110, 1, 28), (1.5, 1.5, 3.0), first=first, last=last, variant=Variant.NONE, pathology=0.0)
    return build_anatomy(np.random.default_rng(seed), spec)


@pytest.fixture(scope="module")
def lumbar() -> Anatomy:
    return anatomy(17, 26)


@pytest.fixture(scope="module")
def cervical() -> Anatomy:
    return anatomy(2, 10)


def _named(found: Anatomy) -> dict[int, str]:
    evidence = mask_evidence(found.semantic, found.instance, found.geometry.spacing_mm)
    assert evidence is not None
    naming = decide(evidence)
    return {old: naming.levels.names[new] for old, new in naming.pairs.items()}


@pytest.mark.parametrize("which", ["lumbar", "cervical"])
def test_levels_of_a_phantom(which: str, request: pytest.FixtureRequest) -> None:
    found: Anatomy = request.getfixturevalue(which)
    assert _named(found) == {number: name for number, name in found.levels.items() if name != "S"}


def test_present_numbers_do_not_matter(lumbar: Anatomy) -> None:
    mixed = lumbar.instance.astype(np.uint16)
    for number in list(lumbar.levels):
        if number != 26:
            mixed[lumbar.instance == number] = 70 - number
    other = mask_evidence(lumbar.semantic, mixed, lumbar.geometry.spacing_mm)
    assert other is not None
    assert [70 - number for number in other.column.instances] == [n for n in lumbar.levels if n != 26]


def test_the_conus_is_found(lumbar: Anatomy) -> None:
    grid = Grid.of(lumbar.semantic, lumbar.instance, lumbar.geometry.spacing_mm)
    column = find_column(grid)
    assert column is not None
    low, high = conus_rows(grid, column)
    assert low == high
    names = [lumbar.levels[number] for number in column.instances]
    assert names.index("T11") <= low <= names.index("L3")
    without = Grid(np.where(grid.semantic == Structure.CORD, Structure.CANAL, grid.semantic), grid.instance, grid.spacing_mm)
    assert conus_rows(without, column)[0] == -np.inf


def test_a_missing_vertebra_is_passed_over(lumbar: Anatomy) -> None:
    gone = np.isin(lumbar.instance, (21, 121, 221))
    semantic, instance = np.where(gone, 0, lumbar.semantic), np.where(gone, 0, lumbar.instance)
    evidence = mask_evidence(semantic, instance, lumbar.geometry.spacing_mm)
    assert evidence is not None
    naming = decide(evidence)
    assert {old: new for old, new in naming.pairs.items() if old >= 20} == {20: 20, 22: 22, 23: 23, 24: 24}
    assert "MISSING_VERTEBRA" in [str(f.code) for f in naming.findings]


def test_distances_are_those_of_the_end_of_the_spine() -> None:
    heights = np.cumsum([0.0, 18, 18, 18, 20, 22, 24, 28, 34, 36, 36])
    centres = np.stack([np.zeros(11), heights, np.zeros(11)], axis=1)
    column = Column(tuple(range(2, 13)), centres, np.arange(11), None)
    assert column.pitch_mm == (18, 36)
    assert column.row_at(-18) == -1
    assert column.row_at(heights[-1] + 36) == 11


def test_vertebrae_of_which_only_arches_are_shown_leave_no_gap_above_the_sacrum(lumbar: Anatomy) -> None:
    bodies = np.isin(lumbar.instance, (22, 23, 24)) & (lumbar.semantic == Structure.CORPUS)
    column = find_column(Grid(np.where(bodies, 0, lumbar.semantic), lumbar.instance, lumbar.geometry.spacing_mm))
    assert column is not None
    assert column.sacrum_row == len(column.instances) == column.rows[-1] + 1


@pytest.mark.parametrize("at_the_edge", [False, True])
def test_a_small_sacrum_is_one_only_where_the_field_of_view_ends(lumbar: Anatomy, *, at_the_edge: bool) -> None:
    spacing = lumbar.geometry.spacing_mm
    sacrum = lumbar.instance == SACRUM_INSTANCE
    held = np.cumsum(sacrum.sum(axis=(0, 2))) * np.prod(spacing)
    stop = int(np.searchsorted(held, 3000))  # mm³
    lost = sacrum & (np.arange(sacrum.shape[1])[:, None] >= stop)
    seen = np.s_[:, : stop if at_the_edge else None]
    semantic, instance = (np.where(lost, 0, labels)[seen] for labels in (lumbar.semantic, lumbar.instance))
    column = find_column(Grid(semantic, instance, spacing))
    assert column is not None
    assert (column.sacrum_row is not None) == at_the_edge


def test_nothing_is_named_without_vertebrae_or_with_too_many() -> None:
    empty = np.zeros((8, 8, 8), np.uint8)
    assert mask_evidence(empty, empty, (1.0, 1.0, 1.0)) is None
    naming = decide(None)
    assert naming.levels.status is LevelStatus.NUMBERED
    assert [str(f.code) for f in naming.findings] == ["UNNAMED_LEVELS"]


def test_a_lone_vertebra_is_ambiguous_and_says_so() -> None:
    one = make_spine(1, sacrum=False)
    instance = LabelMap(one.truth, one.semantic.geometry, Scheme.INSTANCE)
    evidence = gather_evidence(one.semantic, instance)
    levels = decide(evidence).levels
    assert levels.status is LevelStatus.AMBIGUOUS
    assert levels.runner_up != levels.best
    assert 1 <= levels.odds < 100
    assert sum(next(iter(levels.posteriors.values())).values()) > 0.95
    numbered = decide(evidence, Ambiguous.NUMBER).levels
    assert numbered.status is LevelStatus.NUMBERED
    assert numbered.best == levels.best
    with pytest.raises(NoSpineError, match="LEVELS_AMBIGUOUS"):
        decide(evidence, Ambiguous.FAIL)


def test_discs_and_endplates_follow_their_vertebra() -> None:
    mask = np.array([101, 201, 2, 102, 202, 3, 103, 26], np.uint16)
    assert renamed(mask, {2: 19, 3: 28}).tolist() == [118, 218, 19, 119, 219, 28, 128, 26]
    assert renamed(mask, {2: 28, 3: 20}).tolist() == [119, 219, 28, 128, 228, 20, 120, 26]
    again = renamed(renamed(mask, {2: 28, 3: 20}), {28: 20, 20: 21})
    assert again.tolist() == [119, 219, 20, 120, 220, 21, 121, 26]
    assert [level_above(k) for k in (28, 20, 8)] == [19, 19, 7]


class Told:
    """A labeling network that is told its answer."""

    spacing_mm = (2.0, 2.0, 2.0)
    patch_size = (32, 48, 16)
    shift_mm = (0.0, 0.0, 0.0)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert images.shape == labels.shape == (len(self.names), *self.patch_size)
        assert {int(Structure.CORPUS), int(Structure.ARCUS)} <= set(np.unique(labels).tolist())
        out = np.full((len(self.names), len(LEVELS)), -20.0, np.float32)
        out[range(len(self.names)), [LEVELS.index(name) for name in self.names]] = 0
        return out


def test_a_network_joins_the_masks() -> None:
    spine = make_spine(3, sacrum=False)
    instance = LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE)
    image = np.random.default_rng(0).normal(100, 20, spine.truth.shape).astype(np.float32)
    alone = decide(gather_evidence(spine.semantic, instance, image)).levels
    told = decide(gather_evidence(spine.semantic, instance, image, Told(alone.runner_up))).levels
    assert told.best == alone.runner_up
    assert decide(gather_evidence(spine.semantic, instance, None, Told(alone.runner_up))).levels.best == alone.best


def test_a_network_is_not_heard_on_a_vertebra_whose_body_is_not_shown() -> None:
    spine = make_spine(3, sacrum=False)
    hidden = (spine.truth == 2) & (spine.semantic.labels == Structure.CORPUS)
    semantic = LabelMap(
        np.where(hidden, np.uint8(Structure.ARCUS), spine.semantic.labels), spine.semantic.geometry, Scheme.SEMANTIC
    )
    instance = LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE)
    image = np.random.default_rng(0).normal(100, 20, spine.truth.shape).astype(np.float32)
    alone, told = (gather_evidence(semantic, instance, image, network) for network in (None, Told(("L1", "L2", "L3"))))
    assert alone is not None
    assert told is not None
    changed = [bool((told.scores[row] != alone.scores[row]).any()) for row in alone.column.rows]
    assert dict(zip(alone.column.instances, changed, strict=True)) == {1: True, 2: False, 3: True}


def test_a_region_counts_in_full_and_a_level_within_it_less() -> None:
    said = np.full((1, len(LEVELS)), -30.0, np.float32)
    said[0, [LEVELS.index(name) for name in ("T12", "T13", "L1")]] = np.log([0.6, 0.3, 0.1])
    log = dict(zip(LEVELS, weighed(said)[0], strict=True))
    assert log["T12"] - log["L1"] == pytest.approx(np.log(0.9 / 0.1) + LEVEL_WEIGHT * np.log(0.6 / 0.9), abs=1e-4)
    assert log["T12"] - log["T13"] == pytest.approx(LEVEL_WEIGHT * np.log(2), abs=1e-4)
    assert log["C3"] == pytest.approx(LEAST_LOG + LEVEL_WEIGHT * np.log(1 / 6), abs=1e-3)


def test_geometry_of_labels_is_used() -> None:
    spine = make_spine(4)
    small = Geometry.from_spacing(spine.truth.shape, (1.0, 1.0, 1.0))
    scaled = LabelMap(spine.labels(), small, Scheme.SEMANTIC)
    evidence = gather_evidence(scaled, LabelMap(spine.truth, small, Scheme.INSTANCE))
    assert evidence is not None
    assert evidence.column.pitch_mm == pytest.approx((14, 14), abs=0.5)
