"""Import of models made elsewhere: every published form, and what does not fit."""

from __future__ import annotations

import json
import resource
import shutil
import zipfile

import pytest
import torch
from published_formats import config, plans, write_instance, write_labeling, write_nnunet
from safetensors.torch import load_file

from spineps.errors import ErrorCode, ModelError, UsageError
from spineps.networks.published import VertebraClassifier
from spineps.zoo.card import Kind
from spineps.zoo.published import PlainNnunet, import_folder, import_model
from spineps.zoo.store import load_model, read_card


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _refused(folder, cache, code, match=None):
    with pytest.raises(ModelError, match=match) as caught:
        import_folder(folder, cache=cache)
    assert caught.value.code is code
    assert not list(cache.rglob("card.json"))


@pytest.mark.parametrize(
    ("form", "folds", "said", "checkpoint"),
    [
        ("new", ("0",), 1, "checkpoint_final.pth"),
        ("old", ("0", "1", "2"), 3, "checkpoint_final.pth"),
        ("old", ("0",), 1, "checkpoint_best.pth"),
        ("new", ("all",), "all", "checkpoint_final.pth"),
        ("new", ("all",), 5, "checkpoint_final.pth"),
        ("new", ("0", "3"), [0, 3], "checkpoint_best.pth"),
        ("old", ("1",), ["1"], "checkpoint_final.pth"),
    ],
)
def test_semantic_folders_of_every_form(tmp_path, cache, form, folds, said, checkpoint):
    networks = write_nnunet(
        tmp_path / "m", form, folds=folds, checkpoint=checkpoint, settings=config(available_folds=said), mirror=(0, 1, 2)
    )
    folder = import_folder(tmp_path / "m", cache=cache)
    model = load_model(folder)
    assert model.card.kind is Kind.SEMANTIC
    assert model.card.labels == (0, 41, 42, 43, 44, 45, 46, 47, 48, 49, 26, 60, 61, 62, 100)
    assert model.card.spacing_mm == (2, 2, 3)
    assert model.card.patch_size == (16, 16, 8)
    assert model.card.elsewhere.mirror_axes == (0, 1, 2)
    assert not model.card.mirror
    assert len(model.network.folds) == len(folds)
    tile = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        expected = sum(network(tile) for network in networks) / len(networks)
        torch.testing.assert_close(model.network(tile), expected, rtol=1e-5, atol=1e-5)


def test_tensors_that_nnunet_writes_under_several_names_are_stored_once(tmp_path, cache):
    (network,) = write_nnunet(tmp_path / "m", "old", settings=config())
    stored = load_file(import_folder(tmp_path / "m", cache=cache) / "weights.safetensors")
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in network.parameters())
    assert not any("all_modules" in name for name in stored)


def test_zoom_range_orientation_and_a_model_for_ct(tmp_path, cache):
    given = config(
        resolution_range=[[1, 2, 3], [2, 3, 4]], model_expected_orientation=["I", "P", "L"], modality="CT", has_c1=True
    )
    write_nnunet(tmp_path / "m", settings=given)
    card = import_model(tmp_path / "m", cache=cache)
    assert card.spacing_mm == (2, 1, 3)  # along P, I, R
    assert card.elsewhere.zoom_high == (2, 3, 4)
    assert not card.elsewhere.n4
    assert not card.elsewhere.normalise_range
    assert card.elsewhere.has_c1


def test_the_same_content_is_converted_once_and_another_beside_it(tmp_path, cache):
    write_nnunet(tmp_path / "a", settings=config())
    first = import_folder(tmp_path / "a", cache=cache)
    written = (first / "card.json").stat().st_mtime_ns
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "below")
    assert import_folder(tmp_path / "b", cache=cache) == first
    assert (first / "card.json").stat().st_mtime_ns == written
    (tmp_path / "a" / "inference_config.json").write_text(json.dumps(config(default_step_size=0.75)))
    second = import_folder(tmp_path / "a", cache=cache)
    assert second != first
    assert read_card(second).step_size == 0.75
    assert sorted(path.name for path in cache.iterdir()) == sorted([first.name, second.name])


def test_a_zip_gives_what_its_folder_gives(tmp_path, cache):
    write_instance(tmp_path / "m", 8, 11)
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        for path in sorted((tmp_path / "m").rglob("*")):
            file.write(path, path.relative_to(tmp_path))
    assert import_folder(tmp_path / "m.zip", cache=cache) == import_folder(tmp_path / "m", cache=cache)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(("width", "channels"), [(16, 10), (8, 11), (8, 1)])
def test_instance_checkpoints_of_both_generations(tmp_path, cache, width, channels):
    write_instance(tmp_path / "m", width, channels, mapping={"49": 9, "41": 1, "7": 3})
    model = load_model(import_folder(tmp_path / "m", cache=cache))
    assert (model.card.kind, model.network.input_channels) == (Kind.INSTANCE, channels)
    assert model.card.patch_size == (16, 24, 8)
    assert model.card.elsewhere.mapping == {49: 9, 41: 1, 7: 3}


def _count(network):
    return sum(p.numel() for p in network.net.parameters())


@pytest.mark.parametrize(
    ("family", "blocks", "bottleneck", "parameters"),
    [
        ("densenet", (6, 12, 24, 16), False, 11_242_624),
        ("densenet", (6, 12, 32, 32), False, 18_542_720),
        ("resnet", (1, 1, 1, 1), False, 14_356_416),
        ("resnet", (2, 2, 2, 2), False, 33_160_896),
        ("resnet", (3, 4, 6, 3), False, 63_470_528),
        ("resnet", (3, 4, 6, 3), True, 46_158_912),
        ("resnet", (3, 4, 23, 3), True, 85_205_056),
        ("resnet", (3, 8, 36, 3), True, 117_363_776),
    ],
)
def test_backbones_have_the_parameters_of_the_published_ones(family, blocks, bottleneck, parameters):
    """DenseNet121 and 169, ResNet10, 18, 34, 50, 101 and 152: counted in the published package with MONAI 1.6."""
    with torch.device("meta"):
        assert _count(VertebraClassifier(family, blocks, {"VERT": 24}, bottleneck=bottleneck)) == parameters


HEADS = {"REGION": 3, "VERT": 24, "VERTEX": 26, "VT13": 2, "VERTREL": 6, "VERTGRP": 12, "FULLYVISIBLE": 2}


@pytest.mark.parametrize(
    ("family", "hidden", "options", "rotated", "size"),
    [
        ("densenet", True, {"ds_name": "sagittal_v3corpus_npz", "final_size": (64, 72, 32)}, False, (64, 72, 32)),
        ("resnet", False, {"ds_name": "sagittal_v4corpus_npz"}, True, (152, 168, 32)),
    ],
)
def test_labeling_folders(tmp_path, family, hidden, options, rotated, size):
    torch.manual_seed(0)
    network = VertebraClassifier(family, (1, 1, 1, 1), HEADS, hidden=hidden)
    write_labeling(tmp_path / "m", network, **options)
    model = load_model(import_folder(tmp_path / "m", cache=tmp_path / "cache"))
    assert (model.card.kind, model.card.patch_size) == (Kind.LABELING, size)
    assert model.card.elsewhere.heads == HEADS
    assert model.card.elsewhere.rotated is rotated
    patch = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.network(patch), network.eval()(patch))


def test_a_plain_nnunet_needs_a_label_map(tmp_path, cache):
    write_nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", folds=("0", "1"), mirror=(1,))
    with pytest.raises(UsageError, match="label map"):
        import_folder(tmp_path, cache=cache)
    plain = PlainNnunet({1: 49, 2: 100, 3: 7}, "lpi")
    card = read_card(import_folder(tmp_path, plain, cache=cache))
    assert card.labels == (0, 49, 100, *[0] * 12)
    assert card.mirror
    assert card.elsewhere.orientation == ("L", "P", "I")
    assert card.spacing_mm == (2, 3, 2)  # nnU-Net's arrays run I, P, L
    assert not card.elsewhere.normalise_range
    with pytest.raises(UsageError, match="orientation"):
        import_folder(tmp_path, PlainNnunet({1: 49}, "LRI"), cache=cache)


def _edited(change):
    made = plans("new")
    change(made["configurations"]["3d_fullres"], made)
    return made


def test_regions_have_one_channel_each(tmp_path, cache):
    write_nnunet(tmp_path / "m", labels={"background": 0, "body": [1, 2], "disc": [2]})
    card = read_card(import_folder(tmp_path / "m", PlainNnunet({1: 49, 2: 100}), cache=cache))
    assert card.elsewhere.regions
    assert card.labels == (49, 100)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"available_folds": 2}, "fold 1"),
        ({"available_folds": "../fold_0"}, "fold"),
        ({"modeltype": "other"}, "other"),
        ({"expected_inputs": ["img", "seg"]}, "inputs"),
        ({"resolution_range": [1, 2]}, "resolution_range"),
        ({"model_expected_orientation": ["P", "I", "I"]}, "orientation"),
        ({"default_step_size": 0}, "step"),
        ({"labels": "x"}, "labels"),
        ({"labels": {"1": "no such structure"}}, "no such structure"),
        ({"acquisition": "diagonal"}, "acquisition"),
        ({"available_folds": 10**9}, "1 to 100 folds"),
        ({"available_folds": 0}, "1 to 100 folds"),
        ({"default_step_size": float("nan")}, "default_step_size"),
        ({"resolution_range": [1e-9, 1e-9, 1e-9]}, "greater than or equal to 0.1"),
        ({"resolution_range": [[2, 2, 3], [2, 2, 1e6]]}, "less than or equal to 20"),
        ({"resolution_range": [float("inf"), 2, 3]}, "resolution_range"),
        ({"resolution_range": [-2, 2, 3]}, "greater than or equal to 0.1"),
        ({"resolution_range": [[2, 2, 3], [1, 1, 1]]}, "finest spacing is coarser"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, cache, change, match):
    write_nnunet(tmp_path / "m", settings=config(**change))
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, match)


@pytest.mark.parametrize(
    ("form", "change", "match"),
    [
        ("new", {"patch_size": [10**6] * 3}, "patch"),
        ("new", {"patch_size": [1024] * 3}, "67108864 voxels"),
        ("old", {"patch_size": [0, 16, 16]}, "cannot be divided"),
        ("old", {"patch_size": [8, 16, 15]}, "cannot be divided"),
        ("new", {"patch_size": [8, 16]}, "three-dimensional"),
        ("new", {"patch_size": ["x", 16, 16]}, "plans"),
        ("new", {"spacing": [1e-9, 2, 2]}, "greater than or equal to 0.1"),
        ("new", {"spacing": [float("nan"), 2, 2]}, "spacing"),
        ("old", {"spacing": [3, 2, 1e9]}, "less than or equal to 20"),
        ("old", {"UNet_base_num_features": 10**9}, "stage"),
        ("old", {"conv_kernel_sizes": [[3, 3, 3], [10**5] * 3]}, "kernel_sizes"),
        ("old", {"pool_op_kernel_sizes": [[1, 1, 1], [0, 2, 2]]}, "strides"),
        ("old", {"n_conv_per_stage_encoder": [1, 10**7]}, "n_conv_per_stage"),
        ("old", {"n_conv_per_stage_decoder": ["many"]}, "many"),
    ],
)
def test_plans_of_networks_that_no_machine_runs(tmp_path, cache, form, change, match):
    plan = plans(form)
    plan["configurations"]["3d_fullres"] |= change
    write_nnunet(tmp_path / "m", form, settings=config(), plan=plan)
    with pytest.raises(ModelError, match=match) as caught:
        import_folder(tmp_path / "m", cache=cache)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"), [({"transpose_forward": [0, 0, 1]}, "transpose"), ({"mean": float("nan")}, "mean")]
)
def test_plans_that_are_no_plans(tmp_path, cache, change, match):
    plan = plans("new")
    if "mean" in change:
        plan["foreground_intensity_properties_per_channel"]["0"] |= change
    else:
        plan |= change
    write_nnunet(tmp_path / "m", settings=config(), plan=plan)
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, match)


def test_a_network_larger_than_its_checkpoint_is_never_made(tmp_path, cache):
    """Its weights would take 3 GB; what the plans say is compared with the checkpoint before there is any memory for it."""
    plan = plans("old", UNet_base_num_features=2048, unet_max_num_features=2048)
    plan["configurations"]["3d_fullres"] |= {"n_conv_per_stage_encoder": [2, 4]}
    write_nnunet(tmp_path / "m", "old", settings=config(), plan=plan)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, "shape")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cutout_size": [10**6, 304, 64]}, "cutout_size"),
        ({"cutout_size": [1024, 1024, 1024]}, "67108864 voxels"),
        ({"cutout_size": [15, 24, 8]}, "multiples of 8"),
        ({"mapping": {"49": -1}}, "mapping"),
        ({"corpus_size_cleaning": -5}, "corpus_size_cleaning"),
        ({"vert_size_threshold": float("inf")}, "vert_size_threshold"),
    ],
)
def test_instance_configurations_that_make_no_sense(tmp_path, cache, change, match):
    write_instance(tmp_path / "m", 8, 11, **change)
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, match)


@pytest.mark.parametrize("size", [(152, 168), ("a", "b", "c"), (0, 168, 32), (10**6, 168, 32), 7])
def test_labeling_patches_that_are_none(tmp_path, cache, size):
    network = VertebraClassifier("resnet", (1, 1, 1, 1), {"VERT": 24})
    write_labeling(tmp_path / "m", network, final_size=size)
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, "patch")


def test_folders_that_hold_no_model_or_several(tmp_path, cache):
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", cache, ErrorCode.MODEL_MISSING)
    _refused(tmp_path / "absent", cache, ErrorCode.MODEL_MISSING)
    write_instance(tmp_path / "two" / "a", 8, 11)
    write_instance(tmp_path / "two" / "b", 8, 11)
    _refused(tmp_path / "two", cache, ErrorCode.MODEL_CORRUPT, "2 models")


def _resave(path, change):
    kept = torch.load(path, weights_only=False)
    change(kept)
    torch.save(kept, path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda kept: kept["network_weights"].popitem(), "lacks"),
        (lambda kept: kept["network_weights"].update({"more.weight": torch.zeros(1)}), "does not have"),
        (lambda kept: kept["network_weights"].update({"decoder.seg_layers.0.bias": torch.zeros(3)}), "shape"),
        (lambda kept: next(iter(kept["network_weights"].values())).fill_(float("nan")), "not finite"),
        (lambda kept: kept.pop("init_args"), "nnU-Net"),
        (lambda kept: kept["init_args"].update(configuration="2d"), "plans"),
    ],
)
def test_checkpoints_that_do_not_fit_their_plans(tmp_path, cache, change, match):
    write_nnunet(tmp_path / "m", settings=config())
    _resave(tmp_path / "m" / "fold_0" / "checkpoint_final.pth", change)
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, match)


def test_a_tensor_that_is_not_the_same_under_its_two_names(tmp_path, cache):
    write_nnunet(tmp_path / "m", "old", settings=config())

    def change(kept):
        weights = kept["network_weights"]
        name = next(name for name in weights if "all_modules" in name and weights[name].ndim == 5)
        weights[name] = weights[name] + 1

    _resave(tmp_path / "m" / "fold_0" / "checkpoint_final.pth", change)
    _refused(tmp_path / "m", cache, ErrorCode.MODEL_CORRUPT, "twice")
