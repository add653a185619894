"""The phantom's anatomy: consistent labels, the right order, sizes near published ones, the same voxels for the same seed."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import cc3d
import numpy as np
import pytest

from spineps.geometry import PIR
from spineps.labels import (
    CANAL_AND_CORD,
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    LEFT_RIGHT_PAIRS,
    POSTERIOR,
    SACRUM_INSTANCE,
    T13_INSTANCE,
    VERTEBRA,
    Structure,
    lookup,
)
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy, spec_for_vertebrae
from spineps.phantom.morphometry import STATURE, TABLE, Variant, draw_morphometry, levels_of
from spineps.phantom.tissues import Tissue

REPOSITORY = Path(__file__).parents[2]
MESHES = Path(os.environ.get("SPINEPS_SHARED", REPOSITORY.parent / "shared")) / "data" / "anatomy"
GOLDEN = REPOSITORY / "tests" / "golden" / "phantom_anatomy.json"
CASES = ((0, 21.5), (1, 13.0), (2, 4.0), (3, 23.5), (4, 18.0))
COARSE = AnatomySpec(shape=(108, 150, 40), spacing_mm=(1.5, 1.5, 2.0))


@cache
def built(seed: int, level: float, variant: Variant | None = None) -> Anatomy:
    spec = AnatomySpec(COARSE.shape, COARSE.spacing_mm, centre_level=level, variant=variant)
    return build_anatomy(np.random.default_rng(seed), spec)


@cache
def lumbar(variant: Variant) -> Anatomy:
    last = {Variant.L6: 25, Variant.NO_L5: 23}.get(variant, 24)
    spec = AnatomySpec((100, 1, 40), (1.6, 1.6, 2.0), first=18, last=last, variant=variant, pathology=0)
    return build_anatomy(np.random.default_rng(5), spec)


def whole(anatomy: Anatomy, instance: int) -> bool:
    """Whether a vertebra does not touch the edge of the field of view."""
    places = np.argwhere(anatomy.instance == instance)
    return bool((places.min(axis=0) > 0).all() and (places.max(axis=0) < np.array(anatomy.instance.shape) - 1).all())


def pieces(mask: np.ndarray) -> int:
    return int(cc3d.connected_components(mask, connectivity=26).max())


def vertebrae(anatomy: Anatomy) -> list[int]:
    return [instance for instance in anatomy.levels if instance != SACRUM_INSTANCE]


@pytest.mark.parametrize(("seed", "level"), CASES)
def test_every_whole_vertebra_is_one_piece_with_all_its_parts(seed: int, level: float) -> None:
    anatomy = built(seed, level)
    seen = [instance for instance in vertebrae(anatomy) if whole(anatomy, instance)]
    assert len(vertebrae(anatomy)) >= 4
    for instance in seen:
        mask = anatomy.instance == instance
        assert pieces(mask) == 1
        missing = {int(s) for s in POSTERIOR} - set(np.unique(anatomy.semantic[mask]).tolist())
        assert not missing, f"{anatomy.levels[instance]} lacks {missing}"


@pytest.mark.parametrize(("seed", "level"), CASES)
def test_semantic_and_instance_agree(seed: int, level: float) -> None:
    anatomy = built(seed, level)
    vertebra = (anatomy.instance > 0) & (anatomy.instance < DISC_OFFSET) & (anatomy.instance != SACRUM_INSTANCE)
    np.testing.assert_array_equal(vertebra, lookup(VERTEBRA)[anatomy.semantic])
    disc = (anatomy.instance >= DISC_OFFSET) & (anatomy.instance < ENDPLATE_OFFSET)
    np.testing.assert_array_equal(disc, anatomy.semantic == Structure.DISC)
    plates = lookup((Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR))[anatomy.semantic]
    np.testing.assert_array_equal(anatomy.instance >= ENDPLATE_OFFSET, plates)
    np.testing.assert_array_equal(anatomy.instance == SACRUM_INSTANCE, anatomy.semantic == Structure.SACRUM)
    assert not (anatomy.instance == 1).any()


@pytest.mark.parametrize(("seed", "level"), CASES)
def test_vertebrae_discs_and_endplates_follow_each_other_downwards(seed: int, level: float) -> None:
    anatomy = built(seed, level)

    def height(mask: np.ndarray) -> float:
        return float(np.argwhere(mask)[:, 1].mean())

    bodies = [i for i in vertebrae(anatomy) if ((anatomy.instance == i) & (anatomy.semantic == Structure.CORPUS)).sum() > 100]
    heights = [height((anatomy.instance == i) & (anatomy.semantic == Structure.CORPUS)) for i in bodies]
    assert heights == sorted(heights)
    for upper, lower, above, below in zip(bodies, bodies[1:], heights, heights[1:], strict=False):
        disc = anatomy.instance == DISC_OFFSET + upper
        plates = anatomy.instance == ENDPLATE_OFFSET + upper
        assert above < height(disc) < below, (upper, lower)
        if plates.any():
            inferior = height(plates & (anatomy.semantic == Structure.ENDPLATE_INFERIOR))
            superior = height(plates & (anatomy.semantic == Structure.ENDPLATE_SUPERIOR))
            assert above < inferior < superior < below


@pytest.mark.parametrize(("seed", "level"), CASES)
def test_left_is_left_and_the_canal_is_one(seed: int, level: float) -> None:
    anatomy = built(seed, level)
    assert anatomy.geometry.axes == PIR
    for instance in vertebrae(anatomy):
        if not whole(anatomy, instance):
            continue
        for left, right in LEFT_RIGHT_PAIRS:
            sides = [np.argwhere((anatomy.instance == instance) & (anatomy.semantic == s))[:, 2].mean() for s in (left, right)]
            assert sides[0] < sides[1]
    assert pieces(lookup(CANAL_AND_CORD)[anatomy.semantic]) == 1


@pytest.mark.parametrize(("seed", "level"), CASES)
def test_spinous_processes_lie_behind_the_canal_and_the_canal_behind_the_bodies(seed: int, level: float) -> None:
    anatomy = built(seed, level)
    for instance in vertebrae(anatomy):
        if not whole(anatomy, instance):
            continue
        mask = anatomy.instance == instance
        body, spinous = (
            np.argwhere(mask & (anatomy.semantic == s)).mean(axis=0) for s in (Structure.CORPUS, Structure.SPINOUS)
        )
        row = lookup(CANAL_AND_CORD)[anatomy.semantic[:, round(body[1])]]
        assert body[0] < np.argwhere(row)[:, 0].mean() < spinous[0]


def test_the_same_seed_gives_the_same_voxels_and_another_seed_others() -> None:
    spec = AnatomySpec((60, 80, 16), (2.5, 2.5, 4.0))
    first, again, other = (build_anatomy(np.random.default_rng(seed), spec) for seed in (7, 7, 8))
    for name in ("tissue", "semantic", "instance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.tissue != other.tissue).mean() > 0.1


def test_results_are_read_only_and_of_known_tissues() -> None:
    anatomy = built(0, 21.5)
    with pytest.raises(ValueError, match="read-only"):
        anatomy.tissue[0, 0, 0] = 1
    assert set(np.unique(anatomy.tissue).tolist()) <= {int(t) for t in Tissue}
    assert len(np.unique(anatomy.tissue)) > 15


@pytest.mark.parametrize(
    ("variant", "present", "absent"),
    [
        (Variant.NONE, {19, 24}, {25, T13_INSTANCE}),
        (Variant.T13, {19, T13_INSTANCE, 20}, {25}),
        (Variant.L6, {24, 25}, {T13_INSTANCE}),
        (Variant.NO_T12, {18, 20}, {19}),
        (Variant.NO_L5, {22, 23}, {24}),
    ],
)
def test_variants_have_their_vertebrae_in_order(variant: Variant, present: set[int], absent: set[int]) -> None:
    anatomy = lumbar(variant)
    assert present <= set(anatomy.levels)
    assert not absent & set(anatomy.levels)
    bodies = [np.argwhere((anatomy.instance == i) & (anatomy.semantic == Structure.CORPUS)) for i in vertebrae(anatomy)]
    places = [body[:, 1].mean() for body in bodies if len(body)]
    assert len(places) >= 5
    assert places == sorted(places)


@pytest.mark.parametrize("count", [1, 4, 11, 24])
def test_a_field_of_view_for_so_many_vertebrae_shows_them(count: int) -> None:
    rng = np.random.default_rng(count)
    spec = spec_for_vertebrae(rng, count, (2.0, 2.0, 3.0))
    anatomy = build_anatomy(rng, spec)
    assert anatomy.geometry.shape[0] == spec.shape[0]
    assert anatomy.geometry.spacing_mm == pytest.approx((2.0, 2.0, 3.0))
    inside = [i for i in vertebrae(anatomy) if _body_whole(anatomy, i)]
    assert abs(len(inside) - min(count, 23)) <= 1


def _body_whole(anatomy: Anatomy, instance: int) -> bool:
    rows = np.flatnonzero(((anatomy.instance == instance) & (anatomy.semantic == Structure.CORPUS)).any(axis=(0, 2)))
    return rows.size > 0 and rows[0] > 0 and rows[-1] < anatomy.instance.shape[1] - 1


@pytest.mark.parametrize("count", [0, 25])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 24"):
        spec_for_vertebrae(np.random.default_rng(0), count, (1.0, 1.0, 1.0))


def test_a_vertebra_that_the_spine_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected first and last among"):
        build_anatomy(np.random.default_rng(0), AnatomySpec((20, 20, 8), first=20, last=25, variant=Variant.NONE))


def test_any_grid_is_filled() -> None:
    wide = build_anatomy(np.random.default_rng(3), AnatomySpec((100, 100, 12), (4.0, 4.0, 6.0), centre_level=22))
    tiny = build_anatomy(np.random.default_rng(3), AnatomySpec((16, 16, 3), (4.0, 4.0, 4.4), centre_level=22))
    assert wide.tissue.shape == (100, 100, 12)
    assert tiny.tissue.shape == (16, 16, 3)
    in_front = wide.tissue[:30]
    assert len(np.unique(in_front)) > 4


def test_a_healthy_spine_has_no_lesion_and_full_discs() -> None:
    anatomy = lumbar(Variant.NONE)
    assert not (anatomy.tissue == Tissue.LESION).any()
    assert (anatomy.tissue == Tissue.NUCLEUS).any()


def test_drawn_sizes_lie_around_the_published_means() -> None:
    levels = levels_of(Variant.NONE)
    rng = np.random.default_rng(0)
    people = [draw_morphometry(rng, levels, float(rng.uniform(*STATURE))) for _ in range(300)]
    for name in ("width", "depth", "height"):
        mean = np.mean([getattr(person, name) for person in people], axis=0)
        np.testing.assert_allclose(mean / np.array(TABLE[name]), np.mean(STATURE), atol=0.03)


def _mesh_body(path: Path) -> tuple[float, float, float]:
    """Width, depth and height (mm) of the body in a vertebra's mesh: what lies in front of its canal."""
    rows = np.array([line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v ")], dtype=float)
    in_metres = path.name.startswith("L")
    front, side, up = (rows * 1000).T if in_metres else (-rows[:, 1], rows[:, 0], rows[:, 2])
    side = side - np.median(side)
    middle = np.abs(side) < 4
    along = np.sort(front[middle])
    wall = along[np.argmax(np.diff(along)) + 1]
    points = np.stack([front, up], axis=1)
    body = middle & (front >= wall)

    def turned(angle: float) -> np.ndarray:
        return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    angle = min(np.deg2rad(np.arange(-40, 41)), key=lambda a: np.ptp(turned(a)[body], axis=0).prod())
    place = turned(angle)
    depth, height = np.ptp(place[body], axis=0)
    low = place[body].min(axis=0)
    near_plate = (place[:, 0] > low[0] + 0.5 * depth) & (place[:, 1] < low[1] + 0.25 * height)
    return float(np.ptp(side[near_plate])), float(depth), float(height)


@pytest.mark.skipif(not MESHES.is_dir(), reason=f"no meshes at {MESHES} (SPINEPS_SHARED says where shared data lie)")
@pytest.mark.parametrize("name", ["c3", "c4", "c5", "c6", "c7", "L1", "L2", "L3", "L4", "L5"])
def test_published_meshes_lie_within_the_drawn_population(name: str) -> None:
    index = int(name[1]) - 1 + (0 if name[0] == "c" else 19)
    levels = levels_of(Variant.NONE)
    people = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        people.append(draw_morphometry(rng, levels, float(rng.uniform(*STATURE))))
    for size, measured in zip(("width", "depth", "height"), _mesh_body(MESHES / f"{name}.obj"), strict=True):
        drawn = [getattr(person, size)[index] for person in people]
        low, high = np.percentile(drawn, (0.5, 99.5))
        assert low <= measured <= high, size


def summary(anatomy: Anatomy) -> dict[str, dict[str, int]]:
    """Voxels of each label: what the golden file holds."""
    return {
        name: {str(k): int(n) for k, n in enumerate(np.bincount(getattr(anatomy, name).reshape(-1))) if n}
        for name in ("semantic", "instance")
    }


def test_golden_voxel_counts() -> None:
    """Changes only together with a changelog line; written anew by tests/golden/make_phantom_anatomy.py."""
    golden = json.loads(GOLDEN.read_text())
    for case, expected in golden.items():
        seed, level = case.split("@")
        found = summary(built(int(seed), float(level)))
        for name, counts in expected.items():
            for label in counts.keys() | found[name].keys():
                want, have = counts.get(label, 0), found[name].get(label, 0)
                assert abs(want - have) <= 3 + 0.005 * want, (case, name, label, want, have)
