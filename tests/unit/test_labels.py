"""The label scheme keeps the published ids and its tables are consistent."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.labels import (
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    LEFT_RIGHT_PAIRS,
    LEVEL_NAMES,
    POSTERIOR,
    SACRUM_INSTANCE,
    SEGMENTED,
    T13_INSTANCE,
    VERTEBRA,
    Structure,
    is_vertebra,
    left_right_table,
    lookup,
)

PUBLISHED_IDS = {
    "SACRUM": 26,
    "ARCUS": 41,
    "SPINOUS": 42,
    "COSTAL_LEFT": 43,
    "COSTAL_RIGHT": 44,
    "SUPERIOR_ARTICULAR_LEFT": 45,
    "SUPERIOR_ARTICULAR_RIGHT": 46,
    "INFERIOR_ARTICULAR_LEFT": 47,
    "INFERIOR_ARTICULAR_RIGHT": 48,
    "CORPUS": 49,
    "ENDPLATE_SUPERIOR": 52,
    "ENDPLATE_INFERIOR": 53,
    "CORD": 60,
    "CANAL": 61,
    "ENDPLATE": 62,
    "DISC": 100,
}


@pytest.mark.parametrize(("name", "value"), PUBLISHED_IDS.items())
def test_ids_are_those_of_the_published_masks(name: str, value: int) -> None:
    assert Structure[name] == value


def test_a_semantic_model_predicts_fourteen_structures_once_each() -> None:
    assert len(SEGMENTED) == len(set(SEGMENTED)) == 14


def test_every_structure_has_a_title_of_its_own() -> None:
    titles = [structure.title for structure in Structure]
    assert all(titles)
    assert len(set(titles)) == len(titles)


def test_left_right_table_is_an_involution() -> None:
    table = left_right_table()
    assert np.array_equal(table[table], np.arange(256))


def test_left_right_table_moves_only_the_pairs() -> None:
    table = left_right_table()
    moved = {int(i) for i in np.flatnonzero(table != np.arange(256))}
    assert moved == {int(side) for pair in LEFT_RIGHT_PAIRS for side in pair}


def test_each_pair_is_one_structure_on_two_sides() -> None:
    for left, right in LEFT_RIGHT_PAIRS:
        assert left.title.replace("left", "right") == right.title


def test_lookup_is_true_at_its_members_alone() -> None:
    table = lookup(POSTERIOR)
    assert set(np.flatnonzero(table)) == set(POSTERIOR)
    assert table.dtype == np.bool_


def test_posterior_elements_belong_to_the_vertebra() -> None:
    assert set(POSTERIOR) < set(VERTEBRA)


def test_levels_run_from_c1_to_l6_and_are_unique() -> None:
    ids = [*range(1, 20), T13_INSTANCE, *range(20, 26), SACRUM_INSTANCE]
    names = [f"C{i}" for i in range(1, 8)] + [f"T{i}" for i in range(1, 14)] + [f"L{i}" for i in range(1, 7)] + ["S"]
    assert [LEVEL_NAMES[i] for i in ids] == names
    assert len(LEVEL_NAMES) == len(names)


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (0, False),
        (1, True),
        (25, True),
        (SACRUM_INSTANCE, False),
        (27, True),
        (T13_INSTANCE, True),
        (DISC_OFFSET, False),
        (DISC_OFFSET + 5, False),
        (ENDPLATE_OFFSET + 5, False),
    ],
)
def test_is_vertebra(instance: int, expected: bool) -> None:
    assert is_vertebra(instance) is expected
