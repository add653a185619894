"""Training samples: pool files, semantic patches, instance cutouts, corruption, and a small real stream."""

import json
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from draws import failing_draw

from spineps.errors import InputError, ResourceError, UsageError
from spineps.labels import LEFT_RIGHT_PAIRS, Structure, left_right_table
from spineps.networks.classes import INSTANCE_GROUPS, INSTANCE_TABLE, SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.phantom.tissues import Tissue
from spineps.training import corruption, stream
from spineps.training.instance_samples import INSTANCE_CUTOUT, draw_instance_sample
from spineps.training.placement import Placement, nearest_voxels, sample_grid
from spineps.training.pool import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, Volume, bodies_of, load_volume, pool_files, save_volume
from spineps.training.semantic_samples import IGNORE, SEMANTIC_PATCH, _beyond_an_edge, draw_semantic_sample
from spineps.training.stream import Stream, StreamConfig

ORDER = (18, 19, 28, 20, 21)


def toy_volume(seed: int = FIRST_TRAINING_SEED) -> Volume:
    """Five bodies in a column, a disc below each, an arch and a left costal process behind; T13 is 28."""
    semantic = np.zeros((90, 200, 30), np.uint8)
    instance = np.zeros_like(semantic)
    for place, label in enumerate(ORDER):
        top = 5 + 38 * place
        for structure, p, i, r in (
            (Structure.CORPUS, slice(25, 50), slice(top, top + 28), slice(8, 22)),
            (Structure.ARCUS, slice(60, 75), slice(top + 5, top + 20), slice(10, 20)),
            (Structure.COSTAL_LEFT, slice(58, 66), slice(top + 5, top + 20), slice(2, 8)),
        ):
            semantic[p, i, r], instance[p, i, r] = structure, label
        semantic[25:50, top + 30 : top + 38, 8:22] = Structure.DISC
        instance[25:50, top + 30 : top + 38, 8:22] = 100 + label
        semantic[25:50, top + 28 : top + 30, 8:22] = Structure.ENDPLATE_INFERIOR
    tissue = np.full_like(semantic, Tissue.MUSCLE)
    tissue[semantic == Structure.CORPUS] = Tissue.BODY_MARROW
    tissue[semantic == Structure.DISC] = Tissue.NUCLEUS
    centres, order = bodies_of(semantic, instance)
    return Volume(tissue, semantic, instance, (1.0, 1.0, 2.0), seed, MappingProxyType(centres), order)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return toy_volume()


def test_order_follows_the_spine_and_not_the_ids(volume: Volume) -> None:
    assert volume.order == ORDER
    assert set(volume.centres_vox) == set(ORDER)
    assert volume.centres_vox[28] == pytest.approx((37, 94.5, 14.5))


def test_bodies_cut_by_the_edge_are_no_centres() -> None:
    whole = toy_volume()
    centres, order = bodies_of(whole.semantic[:, 28:], whole.instance[:, 28:])
    assert order == ORDER
    assert set(centres) == set(ORDER[1:])


def test_pool_file_round_trip(tmp_path: Path, volume: Volume) -> None:
    path = save_volume(tmp_path, volume)
    back = load_volume(path)
    for name in ("tissue", "semantic", "instance"):
        assert np.array_equal(getattr(back, name), getattr(volume, name))
        assert not getattr(back, name).flags.writeable
    assert (back.spacing_mm, back.seed, back.order) == (volume.spacing_mm, volume.seed, volume.order)
    assert dict(back.centres_vox) == dict(volume.centres_vox)
    assert pool_files(tmp_path) == [path]


def test_a_damaged_pool_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "volume-0001000000.safetensors"
    path.write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00{}   ")
    with pytest.raises(InputError, match="volume-0001000000"):
        load_volume(path)


def test_semantic_sample(volume: Volume) -> None:
    image, target = draw_semantic_sample(volume, np.random.default_rng(0))
    assert image.shape == target.shape == SEMANTIC_PATCH
    assert image.dtype == np.float16
    assert target.dtype == np.uint8
    assert np.isfinite(image).all()
    again = draw_semantic_sample(volume, np.random.default_rng(0))
    assert np.array_equal(image, again[0])
    assert np.array_equal(target, again[1])


def test_semantic_targets_are_classes_or_ignored(volume: Volume) -> None:
    seen = set()
    for seed in range(12):
        seen |= set(np.unique(draw_semantic_sample(volume, np.random.default_rng(seed), (48, 48, 12))[1]).tolist())
    classes = {SEMANTIC_CLASSES.index(s) for s in (Structure.CORPUS, Structure.DISC, Structure.ARCUS, Structure.ENDPLATE)}
    assert classes <= seen
    assert IGNORE in seen
    assert all(value < len(SEMANTIC_CLASSES) or value == IGNORE for value in seen)


def test_an_edge_of_the_field_of_view_cuts_off_a_piece_of_a_patch() -> None:
    shares = []
    for seed in range(40):
        beyond = _beyond_an_edge(np.random.default_rng(seed), (48, 64, 12))
        assert not beyond[24, 32, 6]
        shares.append(beyond.mean())
    assert min(shares) > 0
    assert max(shares) < 0.5


def test_mirroring_swaps_left_and_right(volume: Volume) -> None:
    left, right = SEMANTIC_TABLE[Structure.COSTAL_LEFT], SEMANTIC_TABLE[Structure.COSTAL_RIGHT]
    sides = set()
    for seed in range(30):
        _, target = draw_semantic_sample(volume, np.random.default_rng(seed), (80, 64, 24))
        body = np.argwhere(target == SEMANTIC_TABLE[Structure.CORPUS])
        for value in (left, right):
            process = np.argwhere(target == value)
            if len(process) > 50 and len(body) > 1000:  # the phantom's only process lies to the left: low R
                sides.add((int(value), bool(process[:, 2].mean() < body[:, 2].mean())))
    assert sides == {(int(left), True), (int(right), False)}


def test_nearest_voxels_of_an_aligned_sample_is_a_crop(volume: Volume) -> None:
    placement = Placement(np.array([40.0, 100.0, 28.0]), np.eye(3), mirrored=False)
    grid = sample_grid((11, 21, 5), volume.spacing_mm)
    index, outside = nearest_voxels(grid, placement, volume.shape, volume.spacing_mm)
    assert not outside.any()
    assert np.array_equal(volume.semantic.reshape(-1)[index], volume.semantic[35:46, 90:111, 12:17])


def test_instance_sample(volume: Volume) -> None:
    labels, target = draw_instance_sample(volume, np.random.default_rng(0))
    assert labels.shape == target.shape == INSTANCE_CUTOUT
    assert labels.dtype == target.dtype == np.uint8
    assert set(np.unique(target)) <= {0, 1, 2, 3}
    again = draw_instance_sample(volume, np.random.default_rng(0))
    assert np.array_equal(labels, again[0])
    assert np.array_equal(target, again[1])


def test_instance_targets_stand_in_the_order_of_the_spine(volume: Volume) -> None:
    three = 0
    for seed in range(30):
        labels, target = draw_instance_sample(volume, np.random.default_rng(seed), corrupt=False)
        assert not target[~np.isin(labels, range(Structure.ARCUS, Structure.CORPUS + 1))].any()
        heights = [np.argwhere(target == k)[:, 1].mean() for k in (1, 2, 3) if (target == k).sum() > 300]
        assert heights == sorted(heights)
        three += len(heights) == 3
    assert three > 10  # also around T13, whose neighbours' ids are not its own plus and minus one


def test_mirrored_cutouts_swap_labels(volume: Volume) -> None:
    found = {left_or_right(draw_instance_sample(volume, np.random.default_rng(seed), corrupt=False)[0]) for seed in range(30)}
    assert found - {None} == {("left", True), ("right", False)}


def left_or_right(labels: np.ndarray) -> tuple[str, bool] | None:
    body = np.argwhere(labels == Structure.CORPUS)
    for name, structure in (("left", Structure.COSTAL_LEFT), ("right", Structure.COSTAL_RIGHT)):
        process = np.argwhere(labels == structure)
        if len(process) > 50 and len(body) > 500:
            return name, bool(process[:, 2].mean() < body[:, 2].mean())
    return None


def test_a_phantom_without_bodies_is_refused(volume: Volume) -> None:
    empty = Volume(volume.tissue, volume.semantic, volume.instance, volume.spacing_mm, 1, MappingProxyType({}), ())
    with pytest.raises(InputError, match="no whole vertebral body"):
        draw_instance_sample(empty, np.random.default_rng(0))


CORRUPTIONS = [entry for _, entry in corruption._TABLE]


@pytest.mark.parametrize("function", CORRUPTIONS, ids=lambda f: f.__name__)
def test_each_corruption_keeps_shape_type_and_input(volume: Volume, function: corruption.Corruption) -> None:
    labels = np.ascontiguousarray(volume.semantic[::2, ::2])
    before = labels.copy()
    changed = 0
    for seed in range(6):
        out = function(labels, np.random.default_rng(seed))
        assert out.shape == labels.shape
        assert out.dtype == np.uint8
        changed += not np.array_equal(out, labels)
        assert np.array_equal(function(labels, np.random.default_rng(seed)), out)
    assert changed >= 3
    assert np.array_equal(labels, before)
    nothing = np.zeros((12, 14, 8), np.uint8)
    assert function(nothing, np.random.default_rng(0)).shape == nothing.shape


def test_fusing_joins_two_bodies(volume: Volume) -> None:
    from scipy import ndimage

    labels = np.ascontiguousarray(volume.semantic[::2, ::2])
    counts = [
        ndimage.label(corruption.fused_bodies(labels, np.random.default_rng(seed)) == Structure.CORPUS)[1] for seed in range(8)
    ]
    assert min(counts) < len(ORDER)


def test_corrupt_leaves_some_samples_clean(volume: Volume) -> None:
    labels = np.ascontiguousarray(volume.semantic[::2, ::2])
    same = [np.array_equal(corruption.corrupt(labels, np.random.default_rng(seed)), labels) for seed in range(40)]
    assert 1 <= sum(same) <= 15


def test_class_tables() -> None:
    assert [int(s) for s in SEMANTIC_CLASSES] == [0, 26, 41, 42, 43, 44, 45, 46, 47, 48, 49, 60, 61, 62, 100]
    assert [int(s) for s in INSTANCE_GROUPS] == [49, 41, 42, 43, 44, 45, 46, 47, 48, 100, 62, 61, 26]
    assert all(SEMANTIC_TABLE[s] == index for index, s in enumerate(SEMANTIC_CLASSES))
    assert SEMANTIC_TABLE[Structure.ENDPLATE_SUPERIOR] == SEMANTIC_TABLE[Structure.ENDPLATE]
    assert all(INSTANCE_TABLE[s] == index for index, s in enumerate(INSTANCE_GROUPS, start=1))
    assert INSTANCE_TABLE[Structure.CORD] == INSTANCE_TABLE[Structure.CANAL]
    assert INSTANCE_TABLE[Structure.BACKGROUND] == 0
    swapped = left_right_table()
    assert all(swapped[left] == right for left, right in LEFT_RIGHT_PAIRS)


def small(pool: Path, **changes) -> StreamConfig:
    return StreamConfig(pool, seed=3, **{"workers": 1, "pool_size": 3, "samples_per_volume": 3, "queue_size": 2} | changes)


def test_a_real_stream(tmp_path: Path) -> None:
    draw = partial(draw_semantic_sample, patch_size=(32, 40, 12))
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 3):
        save_volume(tmp_path, toy_volume(seed))
    with Stream(small(tmp_path), draw) as samples:
        first = samples.next()
        assert first[0].shape == first[1].shape == (32, 40, 12)
        deadline = time.monotonic() + 200
        renewed = tmp_path / "volume-0001000003.safetensors"
        while (samples.fresh < 3 or not renewed.is_file()) and time.monotonic() < deadline:
            samples.next()
            time.sleep(0.02)
        state = json.loads(json.dumps(samples.state()))
        assert samples.fresh >= 3
    assert state["volumes"][0] == FIRST_TRAINING_SEED + 3
    assert state["samples"] >= state["fresh"]
    seeds = [load_volume(path).seed for path in pool_files(tmp_path)]
    assert len(seeds) == 3
    assert min(seeds) > FIRST_TRAINING_SEED
    assert stream.next_volume(small(tmp_path), state) >= state["volumes"][1]


def test_no_training_seed_is_ever_held_out_or_used_twice(tmp_path: Path) -> None:
    assert stream.next_volume(small(tmp_path)) == FIRST_TRAINING_SEED
    assert FIRST_TRAINING_SEED not in HELD_OUT_SEEDS
    save_volume(tmp_path, toy_volume(FIRST_TRAINING_SEED + 7))
    assert stream.next_volume(small(tmp_path)) == FIRST_TRAINING_SEED + 8
    assert stream.next_volume(small(tmp_path), {"volumes": [1, FIRST_TRAINING_SEED + 9]}) == FIRST_TRAINING_SEED + 9
    assert stream.next_volume(small(tmp_path, first_volume=FIRST_TRAINING_SEED + 50)) == FIRST_TRAINING_SEED + 50


def test_a_worker_that_fails_is_heard(tmp_path: Path, volume: Volume) -> None:
    for seed in (FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 1):
        save_volume(tmp_path, toy_volume(seed))
    with Stream(small(tmp_path), failing_draw) as samples, pytest.raises(ResourceError, match="no sample from 10000"):
        samples.next()


def test_held_out_phantoms_are_not_trained_on(tmp_path: Path) -> None:
    save_volume(tmp_path, toy_volume(seed=50_000))
    with pytest.raises(UsageError, match="not for training"):
        stream.semantic_stream(tmp_path, seed=0, workers=1)
    with pytest.raises(UsageError, match="at least one worker"):
        stream.instance_stream(tmp_path / "other", seed=0, workers=0)
