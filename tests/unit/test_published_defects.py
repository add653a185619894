"""Each known defect of the published tool, with a test that ours does it right.

The numbers are those of the list of its defects; ``docs/compatibility.md`` tells users of them. Those that show in whole runs
are tested where those are, see :data:`ELSEWHERE`.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from oracle_model import OracleModel
from TPTBox import NII

import spineps
from spineps import api
from spineps.compat.configs import Switches
from spineps.compat.dataset import _jobs, _scans
from spineps.compat.find import ByDefault, get_semantic_model
from spineps.compat.grids import read_on
from spineps.compat.models import InferenceConfig, SegmentationModel
from spineps.compat.settings import config_of, runs_whole
from spineps.config import Labeling, LabelingConfig, PipelineConfig
from spineps.geometry import Geometry, resample
from spineps.io.atomic import write_nifti
from spineps.labels import ENDPLATES, Scheme, Structure, is_vertebra, lookup
from spineps.phase_pre import preprocess_input
from spineps.pipeline import Models, segment_instances
from spineps.volume import LabelMap
from tests.spines import Oracle, Spine, make_spine

ORIENTATIONS = ("PIR", "LAS", "RPI", "LPS", "ASL")
ELSEWHERE = {
    "5 the mask of the network on its own grid ended in an error": (
        "e2e/test_published_commands.py",
        "both_generations_write_the_same",
    ),
    "9 probabilities were not written": (
        "e2e/test_published_commands.py",
        "probabilities_and_uncertainty_belong_to_the_mask",
    ),
    "12 a download that failed went unsaid": ("faults/test_downloads.py", "69_what_goes_wrong_leaves_the_old_model"),
    "13 nobody checked what was downloaded": ("faults/test_downloads.py", "fetch_pins_the_hash_and_checks_it_ever_after"),
    "15 a cutout's centre was moved until it hit something": (
        "unit/test_cutouts.py",
        "the_centre_of_a_hollow_body_is_moved_onto_it",
    ),
    "16 it waited for memory, for up to 40 minutes": ("faults/test_machine.py", "row_78_lack_of_memory_is_named"),
    "the head for a thirteenth thoracic vertebra was never read": (
        "unit/test_labeling_published.py",
        "the_head_for_a_thirteenth_thoracic_vertebra_is_heard",
    ),
    "an instance network with one channel saw nothing": ("unit/test_published_inference.py", "logits_of_the_instance_networks"),
}
"""Module and test."""


@pytest.mark.parametrize("defect", ELSEWHERE)
def test_it_is_tested_where_it_shows(defect: str) -> None:
    module, name = ELSEWHERE[defect]
    assert re.search(rf"^def test_{name}\(", (Path(__file__).parents[1] / module).read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def spine() -> Spine:
    return make_spine(4)


def image_of(values: np.ndarray, spacing_mm: float = 2.0) -> NII:
    return NII(nib.Nifti1Image(values, np.diag([spacing_mm] * 3 + [1.0])), seg=False)


def textured(low: float, high: float) -> np.ndarray:
    """A smooth body in noise, with values from ``low`` to ``high``."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij"))
    values = 0.2 * rng.random((32, 32, 32)) + np.clip(1.2 - np.linalg.norm(grid, axis=0), 0, 1)
    return low + (high - low) * (values - values.min()) / np.ptp(values)


def test_1_images_of_small_values_have_their_bias_field_corrected() -> None:
    """The published N4 looked for voxels of at least 60 and failed where there were none."""
    image, code = preprocess_input(image_of(textured(0, 1).astype(np.float32)), {})
    assert code == "OK"
    assert np.ptp(image.get_array()) > 0


def test_2_a_wide_range_of_integers_does_not_wrap() -> None:
    """-30000 to 28050 became -1499 to 1499."""
    values = textured(-30000, 28050).astype(np.int16)
    image, code = preprocess_input(image_of(values), {}, proc_do_n4_bias_correction=False, proc_crop_input=False)
    assert code == "OK"
    back = image.reorient(("R", "A", "S")).get_array().astype(np.float64)
    assert np.corrcoef(back.ravel(), values.ravel())[0, 1] > 0.999


def test_3_voxels_that_are_no_numbers_are_replaced_or_named(caplog: pytest.LogCaptureFixture) -> None:
    """They were reported as an empty image."""
    values = textured(0, 900).astype(np.float32)
    values[0, 0, :5] = np.nan
    image, code = preprocess_input(image_of(values), {}, proc_do_n4_bias_correction=False)
    assert code == "OK"
    assert np.isfinite(image.get_array()).all()
    values[:3] = np.nan
    assert preprocess_input(image_of(values), {}) == (None, spineps.ErrCode.EMPTY)
    assert "INPUT_NONFINITE" in caplog.text


def test_4_four_dimensions_have_a_code() -> None:
    """They ended in an AssertionError."""
    values = textured(0, 900).astype(np.float32)
    assert preprocess_input(image_of(values[..., None]), {}, proc_do_n4_bias_correction=False)[1] == "OK"
    assert preprocess_input(image_of(np.stack([values, values], -1)), {}) == (None, spineps.ErrCode.SHAPE)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_6_a_split_topmost_vertebra_is_joined_in_every_orientation(spine: Spine, orientation: str) -> None:
    """The published tool looked along the second axis of the file, so that it joined in PIR alone."""
    labels, truth = spine.labels(), spine.truth.copy()
    body = (truth == 1) & (labels == Structure.CORPUS)
    planes = np.flatnonzero(body.any(axis=(0, 2)))
    upper = np.arange(truth.shape[1])[None, :, None] <= planes[len(planes) // 3]
    truth[(truth == 1) & upper] = 9
    labels[lookup(ENDPLATES)[labels] & upper] = 0
    raw = LabelMap(truth, spine.semantic.geometry, Scheme.INSTANCE)
    masks = [api.to_nii(mask).reorient(tuple(orientation)) for mask in (spine.edited(labels), raw)]
    _, vertebrae = spineps.phase_postprocess_combined(None, *masks, None, None, labeling_offset=1)
    assert [label for label in vertebrae.unique() if is_vertebra(int(label))] == [2, 3, 4, 5]


def test_7_a_label_at_the_edge_of_a_mask_does_not_smear(tmp_path: Path) -> None:
    """1000 voxels of a cropped mask became 3000 in the whole image."""
    whole = Geometry.from_spacing((30, 30, 30), (1.0, 1.0, 1.0))
    labels = np.zeros(whole.shape, np.uint16)
    labels[10:20, 10:20, 10:20] = 49
    affine = whole.affine.copy()
    affine[:3, 3] = whole.to_mm((5, 5, 10))
    part = Geometry((20, 20, 10), affine)
    write_nifti(tmp_path / "part.nii.gz", labels[5:25, 5:25, 10:20], part)
    assert np.array_equal(read_on(tmp_path / "part.nii.gz", Scheme.SEMANTIC, whole).labels, labels)


def test_8_both_generations_of_options_are_taken() -> None:
    """The newer command line refused the scripts of the older one."""
    from spineps.cli import build_parser

    older = "sample -input a.nii.gz -model_semantic t2w -model_instance instance -der_name d -nocrop -non4 -save_debug -cpu"
    newer = "sample --input a.nii.gz --model-semantic t2w --model-instance instance --derivative-name d --no-crop --no-n4 "
    found = [build_parser().parse_args(text.split()) for text in (older, newer + "--save-debug --cpu")]
    assert vars(found[0]) == vars(found[1])


@pytest.mark.parametrize("name", [f.name for f in fields(Switches) if isinstance(f.default, bool)])
def test_no_switch_is_dead(name: str) -> None:
    """Several did nothing; the one that is left could only choose a worse way to the same result."""
    model = SegmentationModel(None, InferenceConfig("any", (spineps.Modality.T2w,), n4=True))
    asked = Switches()
    other = replace(asked, **{name: not getattr(asked, name)})
    settings = [(config_of(given, model, force=False), runs_whole(given)) for given in (asked, other)]
    assert (settings[0] != settings[1]) is (name != "assign_missing_cc_fast")


def test_10_no_endplate_voxel_is_lost(spine: Spine) -> None:
    """The published growth of endplates left voxels behind, which became background."""
    result = segment_instances(
        spine.semantic, Models(None, Oracle(spine)), PipelineConfig(labeling=LabelingConfig(Labeling.NONE))
    )
    before = lookup(ENDPLATES)[spine.semantic.labels]
    assert before.any()
    assert lookup(ENDPLATES)[result.semantic.labels][before].all()
    assert (result.instance.labels[before] > 200).all()
    assert not (result.instance.labels == 226).any()  # the plate on the first vertebra is not the sacrum's


def data_set(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "rawdata" / name.split("_")[0] / "anat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found_in(folder: Path, *models: spineps.SegmentationModel) -> list[str]:
    jobs = _jobs(list(models), None, check=True)
    scans = _scans(folder, "rawdata", jobs, every=False)
    return [Path(scan.get_nii_file()).name for scan, _ in scans]


def test_11_a_data_set_is_searched_for_what_the_model_is_for(tmp_path: Path) -> None:
    """The published command looked for sagittal T2w scans alone, whatever the model."""
    names = ("sub-1_T1w.nii.gz", "sub-1_T2w.nii.gz", "sub-2_acq-sag_T1w.nii.gz", "sub-2_acq-ax_T1w.nii.gz")
    folder = data_set(tmp_path / "dataset-x", *names, "sub-3_seg-spine_T1w.nii.gz", "sub-3_mevibe.nii.gz")
    t2w, t1w, vibe = (get_semantic_model(ByDefault(name)) for name in ("t2w", "t1w", "vibe"))
    assert found_in(folder, t1w) == ["sub-1_T1w.nii.gz", "sub-2_acq-sag_T1w.nii.gz"]
    assert found_in(folder, t2w) == ["sub-1_T2w.nii.gz"]
    assert found_in(folder, vibe) == ["sub-3_mevibe.nii.gz"]
    assert sorted(found_in(folder, t1w, t2w)) == sorted([*found_in(folder, t1w), *found_in(folder, t2w)])


def test_14_integers_are_not_interpolated_as_integers() -> None:
    """Cubic interpolation in unsigned integers wrapped below zero and cut fractions off."""
    from spineps.volume import Scan

    values = np.random.default_rng(0).integers(0, 20, (40, 40, 40)).astype(np.uint16)
    values[10:30, 10:30, 10:30] += 1000
    scan = api.open_scan(nib.Nifti1Image(values, np.diag([1.0, 1, 1, 1])))
    assert isinstance(scan, Scan)
    fine = resample(scan.image, scan.geometry, scan.geometry.resampled((0.75, 0.75, 1.65)), order=3)
    assert fine.dtype == np.float32
    assert -200 < fine.min() <= 0
    assert 1000 <= fine.max() < 1250


@pytest.mark.parametrize("orientation", ORIENTATIONS[1:])
def test_17_no_function_takes_an_orientation_for_granted(spine: Spine, orientation: str) -> None:
    """Several published functions were right for PIR alone."""
    straight = _vertebrae(api.to_nii(spine.semantic), spine)
    turned = _vertebrae(api.to_nii(spine.semantic).reorient(tuple(orientation)), spine)
    assert np.array_equal(turned.reorient(("P", "I", "R")).get_seg_array(), straight.get_seg_array())


def _vertebrae(semantic: NII, spine: Spine) -> NII:
    raw, code = spineps.predict_instance_mask(semantic, OracleModel(spine), {})
    assert code == "OK"
    return spineps.phase_postprocess_combined(None, semantic, raw, None, None, labeling_offset=1)[1]


def test_an_input_of_a_phase_is_not_changed(spine: Spine) -> None:
    """The published post-processing cropped the mask that it was given."""
    semantic = api.to_nii(spine.semantic)
    before = semantic.get_seg_array().copy()
    _vertebrae(semantic, spine)
    assert semantic.shape == before.shape
    assert np.array_equal(semantic.get_seg_array(), before)
