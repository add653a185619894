"""The published package's names on our functions: arguments, return values, models by id, switches, places of files."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import published_models
import pytest
from oracle_model import OracleModel
from published_contract import NAMES, PATH_KEYS, REQUIRED, SIGNATURES, SUBMODULES
from scipy import ndimage
from TPTBox import BIDS_FILE, NII, to_nii

import spineps
from spineps import api
from spineps.api import load_models
from spineps.cli import build_parser
from spineps.cli.options import processing_config
from spineps.compat.codes import ErrCode, Modality, err_code_of
from spineps.compat.configs import Switches
from spineps.compat.dataset import _jobs
from spineps.compat.find import ByDefault, get_actual_model, get_semantic_model, looks_like_model_path
from spineps.compat.grids import in_world, read_on, to_poi
from spineps.compat.models import BundledModel
from spineps.compat.oneshot import SpinepsPipeline
from spineps.compat.places import output_paths_from_input
from spineps.compat.settings import LargestComponents, config_of, numbered_from, partly_cleaned
from spineps.config import Labeling, LabelingConfig, PipelineConfig, Step
from spineps.errors import ErrorCode, FindingCode, InputError, ModelError, NoSpineError, UsageError
from spineps.geometry import Geometry, Reorientation, resample
from spineps.io.atomic import write_nifti
from spineps.labels import Scheme, Structure, is_vertebra
from spineps.pipeline import Models, segment_instances
from spineps.volume import Centroid, LabelMap, Scan
from spineps.zoo.card import Kind
from tests.spines import Oracle, Spine, make_spine

NUMBERED = PipelineConfig(labeling=LabelingConfig(Labeling.NONE))


@pytest.fixture(scope="module")
def spine() -> Spine:
    return make_spine(4)


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("SPINEPS_SEGMENTOR_MODELS", raising=False)


# ---- names and arguments


@pytest.mark.parametrize("name", NAMES)
def test_every_published_name_is_there(name: str) -> None:
    assert name in spineps.__all__
    assert getattr(spineps, name) is not None


@pytest.mark.parametrize("module", SUBMODULES)
def test_published_submodules_are_there(module: str) -> None:
    found = import_module(module)
    assert all(hasattr(found, name) for name in SUBMODULES[module])


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_in_their_order_with_their_defaults(name: str) -> None:
    given = inspect.signature(getattr(spineps, name)).parameters.values()
    found = {p.name: REQUIRED if p.default is inspect.Parameter.empty else p.default for p in given}
    assert found == SIGNATURES[name]
    assert list(found) == list(SIGNATURES[name])


def test_no_published_name_is_one_of_ours() -> None:
    ours = {"segment_scan", "segment_instances", "save", "to_nii", "to_nibabel"}
    assert not ours & set(NAMES)


def test_our_settings_of_the_same_name_are_in_their_module() -> None:
    from spineps.config import SemanticConfig

    assert SemanticConfig is not spineps.SemanticConfig
    assert set(spineps.SemanticConfig().to_kwargs()) <= set(SIGNATURES["segment_image"])


def test_published_names_import_neither_torch_nor_tptbox() -> None:
    code = (
        "import sys, spineps; spineps.ErrCode, spineps.segment_image, spineps.get_semantic_model; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- codes and settings


def test_a_code_equals_its_name() -> None:
    assert ErrCode.OK == "OK"
    assert ErrCode.OK != "ok"
    assert ErrCode.OK != ErrCode.EMPTY
    assert str(ErrCode.ALL_DONE) == "ErrCode.ALL_DONE"
    assert {ErrCode.OK: 1}[ErrCode.OK] == 1


def test_which_errors_have_a_published_code() -> None:
    assert err_code_of(NoSpineError(ErrorCode.NO_SPINE, "", remedy="")) == ErrCode.EMPTY
    assert err_code_of(InputError(ErrorCode.COMPAT, "", remedy="")) == ErrCode.COMPATIBILITY
    assert err_code_of(InputError(ErrorCode.INPUT_SHAPE, "", remedy="")) == ErrCode.SHAPE
    assert err_code_of(InputError(ErrorCode.INPUT_CORRUPT, "", remedy="")) is None


def test_settings_become_arguments() -> None:
    configs = (spineps.SemanticConfig(), spineps.InstanceConfig(), spineps.LabelingConfig(), spineps.PostConfig())
    arguments = {name: value for config in configs for name, value in config.to_kwargs().items()}
    published = SIGNATURES["segment_image"]
    assert arguments == {name: published[name] for name in arguments}
    assert Switches.of(arguments) == Switches()


def test_what_the_switches_mean() -> None:
    switches = Switches(sem_step_size=0.7, sem_crop_input=False, inst_detect_and_solve_merged_corpi=False, inst_batch_size=2)
    model = BundledModel(Kind.SEMANTIC)
    model.set_test_time_augmentation(True)
    config = config_of(switches, model, force=True)
    assert (config.semantic.step_size, config.semantic.mirror, config.preprocess.crop) == (0.7, True, False)
    assert (config.instance.split_merged, config.instance.batch_size, config.force) == (False, 2, True)


def test_n4_is_for_models_that_expect_it() -> None:
    model = BundledModel(Kind.SEMANTIC)
    assert not config_of(Switches(), model, force=False).preprocess.n4
    model.inference_config = replace(model.inference_config, n4=True)
    assert config_of(Switches(), model, force=False).preprocess.n4
    assert not config_of(Switches(sem_n4_bias_correction=False), model, force=False).preprocess.n4


@pytest.mark.parametrize(
    ("argument", "step"),
    [
        ("proc_inst_corpus_clean", Step.BODY_EROSION),
        ("proc_inst_clean_small_cc_artifacts", Step.INSTANCE_SPECKS),
        ("proc_fill_3d_holes", Step.HOLES),
        ("proc_clean_inst_by_sem", Step.CLIP),
        ("proc_vertebra_inconsistency", Step.ARTICULAR),
        ("proc_assign_missing_cc", Step.MISSING),
    ],
)
def test_a_step_that_is_switched_off_is_left_out(argument: str, step: Step) -> None:
    model = BundledModel(Kind.SEMANTIC)
    config = config_of(Switches.of({argument: False}), model, force=False)
    assert config.instance.without == config.postprocess.without == (step,)
    usual = config_of(Switches(assign_missing_cc_fast=True), model, force=False)  # a matter of speed, which ours has anyway
    assert usual.instance.without == usual.postprocess.without == ()


def test_published_phases_leave_steps_out(spine: Spine) -> None:
    raw = spine.truth.copy()
    raw[spine.semantic.labels == Structure.SPINOUS] = 0
    given = nii_of(spine), api.to_nii(LabelMap(raw, spine.semantic.geometry, Scheme.INSTANCE))
    spinous = spine.semantic.labels == Structure.SPINOUS
    for switched, expected in ((True, True), (False, False)):
        _, vertebrae = spineps.phase_postprocess_combined(None, *given, None, None, proc_assign_missing_cc=switched)
        assert bool(vertebrae.reorient().get_seg_array()[spinous].any()) is expected


# ---- models


def test_a_path_is_told_from_an_id() -> None:
    assert looks_like_model_path("folder/model")
    assert looks_like_model_path("folder\\model")
    assert looks_like_model_path(Path("model"))
    assert not looks_like_model_path("t2w")


def test_a_bundled_model_stands_in_and_says_so() -> None:
    model = SpinepsPipeline(use_cpu=True).model_semantic
    assert model.modalities() == [Modality.T2w]
    (finding,) = model.findings()
    assert finding.code is FindingCode.MODEL_BUNDLED
    assert "spineps models fetch t2w" in finding.message
    assert get_semantic_model("bundled").findings() == ()


@pytest.mark.parametrize(
    ("get", "name"),
    [
        (spineps.get_semantic_model, "t2w"),
        (spineps.get_semantic_model, "ct"),
        (spineps.get_instance_model, "instance"),
        (spineps.get_labeling_model, "t2w_labeling"),
    ],
)
def test_a_named_model_that_is_not_here_is_an_error_with_its_remedy(get: Any, name: str) -> None:
    """As on the command line: who types an id wants those weights."""
    with pytest.raises(ModelError, match=f"spineps models fetch {name}") as caught:
        get(name)
    assert (caught.value.code, caught.value.exit_code) == (ErrorCode.MODEL_MISSING, 5)


def test_what_a_signature_names_is_named_by_nobody() -> None:
    with pytest.raises(ModelError):
        SpinepsPipeline("t2w")
    chosen = SpinepsPipeline()
    assert [model.stands_in_for for model in (chosen.model_semantic, chosen.model_instance)] == ["t2w", "instance"]


def test_unknown_ids_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        get_semantic_model("no_such_model")
    with pytest.raises(FileNotFoundError, match="inference_config"):
        get_actual_model(tmp_path)


def test_a_model_of_another_phase_is_not_taken(repository: Path) -> None:
    with pytest.raises(KeyError, match="instance phase"):
        get_semantic_model(repository / "models" / "instance")


def test_loading_gives_the_model_itself(repository: Path) -> None:
    model = get_actual_model(repository / "models" / "instance", use_cpu=True)
    assert model.predictor is None
    assert model.load() is model
    assert model.predictor is not None
    assert str(repository) not in str(model.dict_representation())


def test_an_instance_model_takes_no_scan() -> None:
    with pytest.raises(UsageError, match="predict_instance_mask"):
        spineps.get_instance_model("bundled").segment_scan("scan.nii.gz")


# ---- phases


def nii_of(spine: Spine, orientation: str = "PIR") -> NII:
    turned: NII = api.to_nii(spine.semantic).reorient(tuple(orientation))
    return turned


def test_phases_one_by_one_are_the_whole(spine: Spine) -> None:
    """As TPTBox runs them: raw instances, then both masks, in the mask's own orientation."""
    whole = segment_instances(spine.semantic, Models(None, Oracle(spine)), NUMBERED)
    for orientation in ("PIR", "LAS"):
        semantic, debug = nii_of(spine, orientation), {}
        before = semantic.get_seg_array().copy()
        raw, code = spineps.predict_instance_mask(semantic, OracleModel(spine), debug)
        assert code == "OK"
        assert list(raw.unique()) == [1, 2, 3, 4]
        clean, vertebrae = spineps.phase_postprocess_combined(None, semantic, raw, None, debug, labeling_offset=1)
        assert np.array_equal(semantic.get_seg_array(), before)
        assert vertebrae.orientation == tuple(orientation)
        back = vertebrae.reorient(("P", "I", "R")).get_seg_array(), clean.reorient(("P", "I", "R")).get_seg_array()
        assert np.array_equal(back[0], whole.instance.labels)
        assert np.array_equal(back[1], whole.semantic.labels)
        assert {"inst_uncropped_vert_arr_a", "vert_arr_return_final"} <= debug.keys()


def test_vertebrae_counted_from_one(spine: Spine) -> None:
    raw = LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE)
    masks = [
        spineps.phase_postprocess_combined(None, nii_of(spine), api.to_nii(raw), None, None, labeling_offset=offset)[1]
        for offset in (0, 1)
    ]
    one, two = (mask.get_seg_array() for mask in masks)
    assert set(np.unique(two)) - {0, 26} == {label + 1 for label in set(np.unique(one)) - {0, 26}}
    assert np.array_equal(one == 26, two == 26)


def test_a_mask_without_vertebrae_is_empty(spine: Spine) -> None:
    canal = spine.edited(np.where(spine.labels() == Structure.CANAL, Structure.CANAL, 0).astype(np.uint8))
    assert spineps.predict_instance_mask(api.to_nii(canal), OracleModel(spine), {}) == (None, ErrCode.EMPTY)


def test_centres_of_two_masks(spine: Spine) -> None:
    from spineps.seg_pipeline import predict_centroids_from_both

    raw = LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE)
    clean, vertebrae = spineps.phase_postprocess_combined(None, nii_of(spine), api.to_nii(raw), None, None, labeling_offset=1)
    points = predict_centroids_from_both(vertebrae, clean, [OracleModel(spine), None], {"proc_x": 1})
    assert [label for label, part in points.keys() if part == 50] == [2, 3, 4, 5, 26]  # noqa: SIM118  (a POI is no dict)
    assert np.allclose(points[2, 50], spine.centres_vox[0], atol=2)
    assert points.info["proc_x"] == "1"


def test_other_ids_of_the_sacrum(spine: Spine) -> None:
    labels = np.where(spine.labels() == Structure.SACRUM, 27, spine.labels()).astype(np.uint8)
    raw = LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE)
    mask = api.to_nii(spine.edited(labels))
    _, vertebrae = spineps.phase_postprocess_combined(None, mask, api.to_nii(raw), None, None, sacrum_ids=(27,))
    assert 26 in vertebrae.unique()


def test_parts_of_the_clean_up(spine: Spine) -> None:
    labels = spine.labels()
    free = np.argwhere(ndimage.minimum_filter(labels == 0, 5))
    inside = free[(free[:, 0] > 15) & (free[:, 1] > 30) & (free[:, 2] > 5)][0]
    speck = tuple(slice(int(n), int(n) + 1) for n in inside)
    island = (slice(2, 10), slice(0, 6), slice(0, 6))
    labels[speck], labels[island] = Structure.ARCUS, Structure.CORPUS
    mask = spine.edited(labels)

    def kept(**switches: bool) -> tuple[bool, bool]:
        out = partly_cleaned(mask, Switches(**switches)).labels
        return bool(out[speck].any()), bool(out[island].any())

    assert kept(sem_clean_small_cc_artifacts=False, sem_clean_beyond_largest_bounding_box=False) == (True, True)
    assert kept(sem_clean_beyond_largest_bounding_box=False) == (False, True)
    assert kept(sem_clean_small_cc_artifacts=False) == (True, False)


def test_what_lies_below_the_canal_goes(spine: Spine) -> None:
    labels = spine.labels()
    last = int(np.flatnonzero((labels == Structure.CANAL).any(axis=(0, 2)))[-1])
    labels[4:8, last + 2 : last + 6, 10:14] = Structure.CORPUS
    out = partly_cleaned(spine.edited(labels), Switches(sem_remove_inferior_beyond_canal=True)).labels
    below = out[:, last + 1 :]
    assert set(np.unique(below)) <= {0, Structure.SACRUM}
    assert (below == Structure.SACRUM).any()
    assert np.array_equal(out[:, : last + 1], labels[:, : last + 1])


def test_only_the_largest_components_of_a_cutout_count() -> None:
    class Network:
        spacing_mm, cutout_size, shift_mm = (1.0, 1.0, 1.0), (10, 10, 10), (0.0, 0.0, 0.0)
        parts_fused = False

        def __call__(self, cutouts: np.ndarray) -> np.ndarray:
            out = np.zeros(cutouts.shape, np.uint8)
            out[:, :4, :4, :4], out[:, 6:8, 6:8, 6:8], out[:, 9, 9, 9] = 2, 2, 2
            return out

    one, two = (LargestComponents(Network(), count)(np.zeros((1, 10, 10, 10), np.uint8)) for count in (1, 2))
    assert np.count_nonzero(one) == 64
    assert np.count_nonzero(two) == 64 + 8


def test_a_result_is_counted_from_another_number(spine: Spine) -> None:
    result = segment_instances(spine.semantic, Models(None, Oracle(spine)), NUMBERED)
    moved = numbered_from(result, 1)
    assert [vertebra.label for vertebra in moved.vertebrae] == [1, 2, 3, 4]
    assert {c.instance for c in moved.centroids} == {c.instance - (c.instance != 26) for c in result.centroids}
    others = (result.instance.labels != 0) & (result.instance.labels != 26)
    assert np.array_equal(moved.instance.labels, result.instance.labels - others)
    named = segment_instances(spine.semantic, Models(None, Oracle(spine)))
    assert numbered_from(named, 1) is named


def test_levels_are_named_with_a_labeling_model_alone(spine: Spine) -> None:
    raw = api.to_nii(LabelMap(spine.truth, spine.semantic.geometry, Scheme.INSTANCE))
    model = spineps.get_labeling_model("bundled")
    clean, named = spineps.phase_postprocess_combined(None, nii_of(spine), raw, model, None)
    _, numbered = spineps.phase_postprocess_combined(None, nii_of(spine), raw, None, None, labeling_offset=1)
    lumbar = [label for label in named.unique() if is_vertebra(int(label))]
    assert lumbar[-1] in (23, 24, 25)
    assert [label for label in numbered.unique() if is_vertebra(int(label))] == [2, 3, 4, 5]
    image = to_nii(clean.copy(), seg=False)
    image.set_array_(np.random.default_rng(0).random(image.shape).astype(np.float32) * 900)
    again = spineps.perform_labeling_step(model, image, numbered, clean)
    assert np.array_equal(again.get_seg_array(), named.get_seg_array())
    assert spineps.perform_labeling_step(model, image, numbered).orientation == numbered.orientation


# ---- files


@pytest.mark.parametrize(
    ("file", "prefix"),
    [
        ("rawdata/sub-1/ses-2/anat/sub-1_ses-2_acq-sag_run-1_T2w.nii.gz", "sub-1_ses-2_acq-sag_mod-T2w_seg-{}_run-1"),
        ("sub-X_T2w.nii.gz", "sub-X_mod-T2w_seg-{}"),
        ("my_scan.nii.gz", "sub-my-scan_mod-scan_seg-{}"),
    ],
)
def test_paths_of_files(tmp_path: Path, file: str, prefix: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    image = BIDS_FILE(path, tmp_path, verbose=False)
    paths = output_paths_from_input(image, "derivatives_seg", tmp_path / "snaps", image.format)
    assert paths.keys() >= PATH_KEYS
    folder = tmp_path.joinpath("derivatives_seg", *Path(file).parent.parts[1:])
    assert paths["out_spine"] == folder / f"{prefix.format('spine')}_msk.nii.gz"
    assert paths["out_vert"] == folder / f"{prefix.format('vert')}_msk.nii.gz"
    assert paths["out_ctd"] == folder / f"{prefix.format('spine')}_ctd.json"
    assert paths["out_snap2"] == tmp_path / "snaps" / f"{prefix.format('spine')}_snp.png"
    assert paths["out_vert_raw"] == folder / f"output_raw_{image.format}" / f"{prefix.format('vert-raw')}_msk.nii.gz"
    assert paths["out_debug"] == folder / f"debug_{image.format}"
    assert not folder.exists() or folder == tmp_path / "derivatives_seg"


def test_a_mask_at_the_models_resolution_is_brought_to_the_scan(tmp_path: Path) -> None:
    """As the published tool keeps them: other spacing and orientation, four voxels of padding."""
    fine = Geometry.from_spacing((40, 60, 20), (1.0, 1.0, 3.0), ("L", "A", "S"))
    coarse = Geometry.from_spacing((68, 38, 28), (1.0, 1.0, 2.0), ("P", "I", "R"))
    labels = np.zeros(coarse.shape, np.uint16)
    labels[20:40, 10:30, 10:20] = 49
    write_nifti(tmp_path / "raw.nii.gz", labels, coarse)
    found = read_on(tmp_path / "raw.nii.gz", Scheme.SEMANTIC, fine)
    assert found.geometry is fine
    volume = np.count_nonzero(found.labels) * fine.voxel_volume_mm3
    assert volume == pytest.approx(np.count_nonzero(labels) * coarse.voxel_volume_mm3, rel=0.15)
    centre = fine.to_mm(np.argwhere(found.labels).mean(axis=0))
    assert np.abs(centre - coarse.to_mm(np.argwhere(labels).mean(axis=0))).max() < 1.6


@pytest.mark.parametrize("axes", [("P", "I", "R"), ("L", "A", "S"), ("S", "R", "A")])
def test_a_mask_on_a_models_grid_lies_where_its_scan_lies(axes: tuple[str, str, str], tmp_path: Path) -> None:
    """Written on that grid and read again on the scan's, it is the mask that the stage saw."""
    turn = Reorientation.between(("P", "I", "R"), axes)
    upright = Geometry.from_spacing((40, 60, 20), (1.0, 1.0, 3.0))
    own = turn.apply_geometry(upright)
    affine = own.affine.copy()
    affine[:3, 3] += (37, -12, 250)
    scan = Scan(np.zeros(own.shape, np.float32), Geometry(own.shape, affine))
    mask = np.zeros(upright.shape, np.uint8)
    mask[10:30, 20:50, 5:15] = 49
    whole = in_world(mask, None, scan, Scheme.SEMANTIC)
    assert whole.geometry is scan.geometry
    assert np.array_equal(turn.inverse().apply(whole.labels), mask)
    grid = upright.resampled((0.5, 0.5, 1.5))
    fine = in_world(resample(mask, upright, grid, order=0), grid, scan, Scheme.SEMANTIC)
    assert fine.geometry.axes == ("P", "I", "R")
    write_nifti(tmp_path / "raw.nii.gz", fine.labels, fine.geometry)
    assert np.array_equal(read_on(tmp_path / "raw.nii.gz", Scheme.SEMANTIC, scan.geometry).labels, whole.labels)


def test_published_networks_run_in_full_precision_from_the_shell_and_from_python(tmp_path: Path) -> None:
    semantic, instance = published_models.semantic_folder(tmp_path / "s"), published_models.instance_folder(tmp_path / "i")
    shell = load_models(
        processing_config(build_parser().parse_args(["sample", "-i", "x", "--cpu"])).compute,
        semantic_folder=semantic,
        instance_folder=instance,
    )
    python = get_actual_model(semantic, use_cpu=True).engine(), get_actual_model(instance, use_cpu=True).engine()
    assert {engine.engine.name.rpartition("-")[2] for engine in (shell.semantic, shell.instance, *python)} == {"fp32"}


def test_amp_is_for_the_instance_network_from_the_shell_and_from_python(tmp_path: Path) -> None:
    semantic, instance = published_models.semantic_folder(tmp_path / "s"), published_models.instance_folder(tmp_path / "i")
    shell = processing_config(build_parser().parse_args(["sample", "-i", "x", "--cpu", "--amp"])).compute
    model = get_actual_model(instance, use_cpu=True)
    assert config_of(Switches(inst_amp=True), model, force=False).compute == shell
    models = load_models(shell, semantic_folder=semantic, instance_folder=instance)
    names = models.semantic.engine.name, models.instance.engine.name, model.engine(amp=True).engine.name
    assert [name.rpartition("-")[2] for name in names] == ["fp32", "bf16", "bf16"]


def test_a_turned_mask_is_none_of_the_scan(tmp_path: Path) -> None:
    grid = Geometry.from_spacing((20, 20, 20), (2.0, 2.0, 2.0))
    turned = grid.affine.copy()
    turned[:3, :3] = turned[:3, :3] @ np.array([[0.9, -0.436, 0], [0.436, 0.9, 0], [0, 0, 1]])
    labels = np.zeros(grid.shape, np.uint16)
    labels[5:15, 5:15, 5:15] = 49
    write_nifti(tmp_path / "raw.nii.gz", labels, Geometry(grid.shape, turned))
    with pytest.raises(InputError, match="turned against its scan"):
        read_on(tmp_path / "raw.nii.gz", Scheme.SEMANTIC, grid)


def test_centroids_as_tptbox_reads_them(tmp_path: Path) -> None:
    from TPTBox import POI

    from spineps.io.poi import write_poi

    grid = Geometry.from_spacing((20, 30, 10), (1.0, 1.5, 4.0), ("L", "A", "S"))
    centres = (Centroid(20, 50, (1.5, 2.0, 3.0)), Centroid(120, 100, (4.0, 5.0, 6.0)))
    write_poi(tmp_path / "ctd.json", centres, grid)
    read, made = POI.load(tmp_path / "ctd.json"), to_poi(centres, grid, {"source": "spineps"})
    assert made[20, 50] == read[20, 50]
    assert made.shape == read.shape
    assert made.orientation == read.orientation
    assert np.allclose(made.affine, read.affine)


# ---- data sets


def test_each_kind_of_scan_gets_its_model() -> None:
    t2w, t1w = get_semantic_model(ByDefault("t2w")), get_semantic_model(ByDefault("t1w"))
    sag = spineps.Acquisition.sag
    assert _jobs(t1w, None, check=True) == [(t1w, Modality.T1w, sag)]
    pairs = [(Modality.T2w, sag), (Modality.T1w, sag)]
    assert _jobs([t2w, t1w], pairs, check=True) == [(t2w, *pairs[0]), (t1w, *pairs[1])]
    with pytest.raises(ValueError, match="ignore_model_compatibility"):
        _jobs(t2w, pairs, check=True)
    assert len(_jobs(t2w, pairs, check=False)) == 2
    with pytest.raises(ValueError, match="found 2 models for 1 kinds"):
        _jobs([t2w, t1w], pairs[0], check=True)
    assert Modality.T1w in {kind for _, kind, _ in _jobs(None, None, check=True)}


def test_an_nii_needs_its_results_in_memory(spine: Spine) -> None:
    with pytest.raises(UsageError, match="output_in_memory"):
        spineps.segment(to_nii(nii_of(spine), seg=False), model_semantic="bundled", model_instance="bundled")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spineps.segment(tmp_path / "sub-1_T2w.nii.gz")
