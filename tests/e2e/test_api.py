"""The same from Python: a path, a nibabel image or a TPTBox NII; nothing is written until it is saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import spineps
from spineps import api


@dataclass(frozen=True, slots=True)
class Watched:
    """A result, and what was told while it came about."""

    result: spineps.Result
    stages: list[str]
    steps: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def watched(phantom) -> Watched:
    before = sorted(phantom.scan.parent.iterdir())
    stages, steps = [], []
    result = spineps.segment_scan(
        str(phantom.scan), on_stage=lambda name, _: stages.append(name), progress=lambda *step: steps.append(step)
    )
    assert sorted(phantom.scan.parent.iterdir()) == before
    return Watched(result, stages, steps)


@pytest.fixture(scope="module")
def from_path(watched: Watched) -> spineps.Result:
    return watched.result


def same(first: spineps.Result, second: spineps.Result) -> bool:
    return np.array_equal(first.semantic.labels, second.semantic.labels) and np.array_equal(
        first.instance.labels, second.instance.labels
    )


def test_what_a_result_holds(from_path: spineps.Result) -> None:
    assert from_path.semantic.scheme is spineps.Scheme.SEMANTIC
    assert from_path.instance.scheme is spineps.Scheme.INSTANCE
    heights = [vertebra.centroid_mm[2] for vertebra in from_path.vertebrae]
    assert len(heights) >= 3
    assert heights == sorted(heights, reverse=True)
    assert from_path.scan is not None
    assert from_path.semantic.geometry is from_path.scan.geometry


def test_path_nibabel_and_nii_are_the_same_scan(phantom) -> None:
    from TPTBox import NII

    first = api.open_scan(phantom.scan)
    image = nib.load(phantom.scan)
    for given in (str(phantom.scan), image, NII(image), first):
        scan = api.open_scan(given)
        assert np.array_equal(scan.image, first.image)
        assert scan.geometry.matches(first.geometry, tolerance_mm=1e-3)


def test_nii_gives_the_same_as_the_path(phantom, from_path: spineps.Result) -> None:
    from TPTBox import NII

    assert same(spineps.segment_scan(NII.load(phantom.scan, seg=False)), from_path)


def test_same_as_the_command(from_path: spineps.Result, sample_run, tmp_path: Path) -> None:
    saved = spineps.save(from_path, tmp_path)
    for path in (saved.semantic, saved.instance, saved.centroids, saved.snapshot):
        assert path.read_bytes() == (sample_run.folder / path.name).read_bytes()


def test_models_are_loaded_once(from_path: spineps.Result) -> None:
    compute = spineps.ComputeConfig()
    assert api.load_models(compute).semantic is api.load_models(compute).semantic
    assert api.load_models(compute, semantic=False).instance is api.load_models(compute).instance
    assert api.load_models(compute, semantic=False).semantic is None
    assert from_path.provenance["models"].keys() >= {"semantic", "instance"}


def test_stages_and_progress_can_be_watched(watched: Watched) -> None:
    assert watched.stages[:2] == ["preprocess", "semantic"]
    assert {name for name, _, _ in watched.steps} == {"semantic", "instance"}
    assert all(0 < done <= total for _, done, total in watched.steps)


def test_instances_of_a_mask_from_memory(phantom) -> None:
    image = nib.load(phantom.semantic)
    from_file = spineps.segment_instances(phantom.semantic)
    assert len(from_file.vertebrae) >= 3
    assert same(spineps.segment_instances(image), from_file)
    mask = api.open_labels(image)
    assert same(spineps.segment_instances(spineps.to_nii(mask)), from_file)
    assert from_file.scan is None
    assert spineps.segment_instances(mask, image=phantom.scan).scan is not None


def test_mask_in_another_grid_than_its_image(phantom) -> None:
    mask = api.open_labels(phantom.semantic)
    moved = mask.geometry.affine.copy()
    moved[0, 3] += 30
    elsewhere = replace(mask, geometry=spineps.Geometry(mask.geometry.shape, moved))
    with pytest.raises(spineps.InputError, match="grid"):
        spineps.segment_instances(elsewhere, image=phantom.scan)


def test_mask_without_a_body_says_what_it_holds(phantom) -> None:
    with pytest.raises(spineps.InputError, match="ids 18, 19") as caught:
        spineps.segment_instances(phantom.instance)
    assert caught.value.code is spineps.ErrorCode.INPUT_LABELS


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="found ndarray"):
        spineps.segment_scan(np.zeros((10, 10, 10)))
