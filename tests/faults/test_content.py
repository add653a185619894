"""Rows 51 to 67: grids, values and contents that a scan can have, through the whole pipeline with the small trained models."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import cohort_scans
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spineps.api import load_models
from spineps.cohort.case import finish, make_ready
from spineps.cohort.plan import make_plan
from spineps.cohort.settings import CohortSettings, ModelFolders, OutputSettings, ScanSettings, Selection
from spineps.config import ComputeConfig, Device, PipelineConfig, Precision
from spineps.errors import ErrorCode, FindingCode, InputError, NoSpineError
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.io.nifti import read_scan
from spineps.outputs.record import DONE
from spineps.phantom.phantom import make_phantom
from spineps.pipeline import Models, segment_instances, segment_scan
from spineps.stages.compatibility import check_compatibility
from spineps.volume import Result, Scan
from tests.spines import Oracle, make_spine

from . import build

COMPUTE = ComputeConfig(Device.CPU, Precision.FP32, 1)
FOLDERS = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
CONFIG = PipelineConfig(compute=COMPUTE)
ORIENTATIONS = [axes for order in permutations((("L", "R"), ("P", "A"), ("I", "S"))) for axes in product(*order)]


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(COMPUTE, semantic_folder=FOLDERS.semantic, instance_folder=FOLDERS.instance)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return make_phantom(4, vertebrae=3, spacing_mm=cohort_scans.SPACING_MM, pathology=0.0).scan


@pytest.fixture(scope="module")
def straight(scan: Scan, models: Models) -> Result:
    return segment_scan(scan, models, CONFIG)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the voxels labelled in either mask that have one label in both, counted as Dice."""
    return 2 * np.count_nonzero((one == other) & (one > 0)) / max(1, np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.parametrize("degrees", [5, 30, 40])
def test_row_51_oblique(scan: Scan, models: Models, straight: Result, degrees: float) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xz", [degrees, degrees / 2], degrees=True).as_matrix()
    oblique = replace(scan, geometry=Geometry(scan.geometry.shape, turn @ scan.geometry.affine))
    result = segment_scan(oblique, models, CONFIG)
    assert dice(result.semantic.labels, straight.semantic.labels) >= 0.98
    assert dice(result.instance.labels, straight.instance.labels) >= 0.98


@pytest.mark.parametrize("axes", ORIENTATIONS[3::12], ids="".join)
def test_row_52_orders_and_flips_of_axes(scan: Scan, models: Models, straight: Result, axes: tuple[str, str, str]) -> None:
    """Four of the 48; all of them in ``bench/invariance.py``."""
    turn = Reorientation.between(PIR, axes)
    turned = replace(scan, image=turn.apply(scan.image), geometry=turn.apply_geometry(scan.geometry))
    result = segment_scan(turned, models, CONFIG)
    np.testing.assert_array_equal(turn.inverse().apply(result.semantic.labels), straight.semantic.labels)
    np.testing.assert_array_equal(turn.inverse().apply(result.instance.labels), straight.instance.labels)


def test_row_54_thick_slices(tmp_path: Path) -> None:
    voxels = build.voxels((12, 160, 160))
    affine = build.straight((12.0, 0.3, 0.3), voxels.shape)
    scan = read_scan(build.put(tmp_path, build.nifti(voxels, sform=affine)))
    assert [finding.code for finding in check_compatibility(scan)] == [FindingCode.THICK_SLICES]


@pytest.mark.parametrize(("slope", "offset"), [(4.0, 0.0), (1.0, -4096.0), (2.0**60, 0.0)])
def test_row_61_brightness(scan: Scan, models: Models, straight: Result, slope: float, offset: float) -> None:
    image = (scan.image.astype(np.float64) * slope + offset).astype(np.float32)
    result = segment_scan(replace(scan, image=image), models, CONFIG)
    assert dice(result.semantic.labels, straight.semantic.labels) > 0.999
    assert dice(result.instance.labels, straight.instance.labels) > 0.999


def computed(dataset: Path, models: Models, config: PipelineConfig = CONFIG) -> tuple[str, list[str], dict[str, Any]]:
    """What became of the one scan of a dataset: status, names of files and the record."""
    settings = CohortSettings(
        scan=ScanSettings(config, FOLDERS), output=OutputSettings(folder=dataset / "out"), select=Selection(any_name=True)
    )
    plan = make_plan(dataset, settings)
    (case,) = plan.waiting
    outcome = finish(make_ready(plan.task(case, keep_semantic=False)), models, lambda _stage: None)
    files = sorted(path.name for path in case.folder.iterdir())
    return outcome.status, files, cohort_scans.json.loads(case.place("record").read_text())


def test_row_62_no_spine(models: Models, tmp_path: Path) -> None:
    cohort_scans.BAD["noise"][1](cohort_scans.scan_place(tmp_path, 0))
    status, files, record = computed(tmp_path, models)
    assert status == record["status"] == ErrorCode.NO_SPINE
    assert files == ["sub-000_mod-T2w_run.json"]


def test_row_63_wrong_plane(models: Models, tmp_path: Path) -> None:
    cohort_scans.BAD["axial"][1](cohort_scans.scan_place(tmp_path, 0))
    status, files, _ = computed(tmp_path, models)
    assert status == ErrorCode.COMPAT
    assert files == ["sub-000_mod-T2w_run.json"]
    scan = read_scan(cohort_scans.scan_place(tmp_path, 0))
    assert [finding.code for finding in check_compatibility(scan, force=True)] == [FindingCode.COMPAT_FORCED]


def test_row_63_ct() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(30, 60, (24, 24, 12)).astype(np.float32)
    image[:6], image[12:14] = -1000, 700
    with pytest.raises(InputError) as caught:
        check_compatibility(Scan(image, Geometry.from_spacing(image.shape, (1.0, 1.0, 2.0), PIR)))
    assert caught.value.code is ErrorCode.COMPAT


@pytest.mark.parametrize("cut", [(12, None), (0, -25), (12, -25)])
def test_row_65_cut_vertebrae(scan: Scan, models: Models, cut: tuple[int, int | None]) -> None:
    image = np.ascontiguousarray(scan.image[:, slice(*cut)])
    part = Scan(image, Geometry.from_spacing(image.shape, cohort_scans.SPACING_MM, PIR), scan.source)
    result = segment_scan(part, models, CONFIG)
    assert result.vertebrae
    assert FindingCode.PARTIAL_VERTEBRA in {finding.code for finding in result.findings}


def test_row_65_one_vertebra_and_the_sacrum_alone() -> None:
    one = make_spine(1)
    assert len(segment_instances(one.semantic, Models(None, Oracle(one))).vertebrae) == 1
    sacrum = one.edited(np.where(one.labels() == 26, one.labels(), 0).astype(np.uint8))
    result = segment_instances(sacrum, Models(None, Oracle(one)))
    assert FindingCode.PARTIAL_VERTEBRA in {finding.code for finding in result.findings}


def test_row_66_bodies_without_instances() -> None:
    class Silent(Oracle):
        def __call__(self, cutouts: np.ndarray) -> np.ndarray:
            return np.zeros_like(cutouts)

    spine = make_spine(2)
    with pytest.raises(NoSpineError, match="the instance stage") as caught:
        segment_instances(spine.semantic, Models(None, Silent(spine)))
    assert caught.value.code is ErrorCode.NO_SPINE


@pytest.mark.parametrize("seed", [11, 12])
def test_row_67_disease(models: Models, tmp_path: Path, seed: int) -> None:
    """Scoliosis, fused and collapsed bodies, metal: each phantom draws its own; scores are in the golden tests."""
    phantom = make_phantom(seed, vertebrae=4, spacing_mm=cohort_scans.SPACING_MM, pathology=4.0)
    cohort_scans.write_nifti(cohort_scans.scan_place(tmp_path, 0), phantom.scan.image, phantom.scan.geometry)
    status, files, record = computed(tmp_path, models)
    assert status == record["status"] == DONE
    assert len(record["vertebrae"]) >= 1
    assert not [name for name in files if name.endswith(".partial")]
