"""Models made elsewhere give what a plain computation gives: every step that the published tool takes, none of its code."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from published_formats import (
    IDS,
    PATCH,
    SPACING,
    config,
    plain_logits,
    plain_unet,
    plain_window,
    plans,
    write_instance,
    write_labeling,
    write_nnunet,
)
from torch.nn import functional

from spineps.config import ComputeConfig, Device, PipelineConfig, Precision, PreprocessConfig, SemanticConfig
from spineps.geometry import PIR, Geometry, Reorientation
from spineps.inference.load import load_instance, load_labeling, load_semantic
from spineps.inference.nnunet import gaussian_window, normalised, tile_starts
from spineps.inference.protocols import InstancePredictor, ScanPredictor, SpacedInstancePredictor
from spineps.io.nifti import from_nibabel
from spineps.labels import Structure
from spineps.networks.published import VertebraClassifier
from spineps.stages.published import Numbers, in_range, label_scan, on_grid, without_bias
from spineps.volume import Scan, Source
from spineps.zoo.elsewhere import Channel
from spineps.zoo.published import PlainNnunet, import_folder

FP32 = ComputeConfig(Device.CPU, Precision.FP32, threads=1)
LABELS = np.array([0, *IDS], np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))


def _image(shape=(30, 26, 14), seed=0):
    """Noise with a black frame, so that something is cut away, in whole numbers."""
    image = np.rint(np.random.default_rng(seed).gamma(2, 150, shape)).astype(np.float32)
    image[:3], image[:, -2:], image[..., :1] = 0, 0, 0
    return image


def _plain_labels(image, networks, *, axes=PIR, mirror=(), normalise=None):
    """Ids of an image in PIR orientation that is at the model's spacing: the published order of steps, written down plainly."""
    turned = Reorientation.between(PIR, axes).apply(image)
    given = turned.transpose(2, 1, 0).astype(np.float16)
    seen = np.argwhere(given != 0)
    low, high = seen.min(axis=0), seen.max(axis=0) + 1
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    values = given[part].astype(np.float32)
    values = (values - values.mean()) / values.std() if normalise is None else normalise(values)
    found = np.zeros(given.shape, int)
    found[part] = plain_logits(values.astype(np.float16).astype(np.float32), networks, mirror).argmax(axis=0)
    return Reorientation.between(axes, PIR).apply(LABELS[found.transpose(2, 1, 0)])


def _agree(ours, plain):
    assert ours.shape == plain.shape
    assert len(np.unique(ours)) > 3
    assert (ours == plain).mean() >= 0.9995


def _label(folder, image, **changes):
    engine = load_semantic(FP32, folder)
    assert isinstance(engine, ScanPredictor)
    spacing = engine.spacing_for((2, 2, 3))
    return engine.label(image, spacing, step_share=engine.step_share, mirror=engine.mirror, **changes)


@pytest.mark.parametrize(
    ("form", "folds", "mirror", "shape"),
    [
        ("new", ("0",), None, (30, 26, 14)),
        ("old", ("0", "1", "2"), None, (30, 26, 14)),
        ("old", ("0",), (0, 1, 2), (20, 26, 14)),
        ("new", ("all",), (0, 2), (17, 21, 11)),
        ("old", ("0",), None, (12, 40, 9)),  # thinner than a tile
    ],
)
def test_labels_of_a_semantic_model(tmp_path, form, folds, mirror, shape):
    said = "all" if folds == ("all",) else len(folds)
    settings = config(available_folds=said, inference_augmentation=mirror is not None)
    networks = write_nnunet(tmp_path / "m", form, folds=folds, mirror=mirror, settings=settings)
    image = _image(shape)
    _agree(_label(tmp_path / "m", image), _plain_labels(image, networks, mirror=mirror or ()))


def test_mirroring_and_step_can_be_chosen(tmp_path):
    networks = write_nnunet(tmp_path / "m", mirror=(0, 1), settings=config())
    image = _image()
    engine = load_semantic(FP32, tmp_path / "m")
    both = [engine.label(image, (2, 2, 3), step_share=0.5, mirror=mirror) for mirror in (False, True)]
    _agree(both[0], _plain_labels(image, networks))
    _agree(both[1], _plain_labels(image, networks, mirror=(0, 1)))
    seen = []
    engine.label(image, (2, 2, 3), step_share=1.0, mirror=False, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize("axes", ["IPL", "RAS", "SLA"])
def test_a_model_of_another_orientation(tmp_path, axes):
    spacing = {"P": 2.0, "A": 2.0, "I": 2.0, "S": 2.0, "R": 2.0, "L": 2.0}
    zoom = [spacing[code] for code in axes]
    networks = write_nnunet(
        tmp_path / "m",
        settings=config(model_expected_orientation=list(axes), resolution_range=zoom),
        plan=plans("new", spacing=[2.0, 2.0, 2.0]),
    )
    image = _image((18, 24, 20))
    engine = load_semantic(FP32, tmp_path / "m")
    ours = engine.label(image, (2, 2, 2), step_share=0.5, mirror=False)
    _agree(ours, _plain_labels(image, networks, axes=tuple(axes)))


@pytest.mark.parametrize(
    ("scheme", "plain"),
    [
        ("CTNormalization", lambda v: (np.clip(v, 20, 900) - 300) / 150),
        ("NoNormalization", lambda v: v),
        ("RescaleTo01Normalization", lambda v: (v - v.min()) / (v.max() - v.min())),
    ],
)
def test_every_normalisation(tmp_path, scheme, plain):
    networks = write_nnunet(tmp_path / "m", settings=config(), plan=plans("new", normalization_schemes=[scheme]))
    image = _image() / (100 if scheme == "NoNormalization" else 1)
    _agree(_label(tmp_path / "m", image), _plain_labels(image, networks, normalise=plain))


def test_normalisation_within_a_mask_leaves_the_rest():
    image = _image((6, 6, 6)).astype(np.float16)
    inside = image != 0
    values = normalised(image, inside, Channel(scheme="ZScoreNormalization", inside_mask=True))
    assert not values[~inside].any()
    assert abs(float(values[inside].mean())) < 1e-5
    assert abs(float(values[inside].std()) - 1) < 1e-5


def test_an_image_of_another_spacing_is_resampled_as_nnunet_does(tmp_path):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape as resampled

    settings = config(resolution_range=[[1.5, 1.5, 2.0], [3.0, 3.0, 4.0]])
    networks = write_nnunet(tmp_path / "m", settings=settings)
    engine = load_semantic(FP32, tmp_path / "m")
    assert engine.spacing_for((0.5, 2.5, 9.0)) == (1.5, 2.5, 4.0)
    image = _image((24, 26, 14))
    ours = engine.label(image, (2.5, 2.5, 3.5), step_share=0.5, mirror=False)
    given = image.transpose(2, 1, 0).astype(np.float16)
    seen = np.argwhere(given != 0)
    part = tuple(slice(a, b) for a, b in zip(seen.min(axis=0), seen.max(axis=0) + 1, strict=True))
    values = given[part].astype(np.float32)
    values = ((values - values.mean()) / values.std()).astype(np.float16)
    old, options = (3.5, 2.5, 2.5), {"is_seg": False, "order_z": 0, "force_separate_z": None}
    shape = [round(a / b * n) for a, b, n in zip(old, SPACING, values.shape, strict=True)]
    logits = plain_logits(resampled(values[None], shape, old, SPACING, order=3, **options)[0].astype(np.float32), networks)
    found = np.zeros(given.shape, int)
    found[part] = resampled(logits.astype(np.float32), values.shape, SPACING, old, order=1, **options).argmax(axis=0)
    _agree(ours, LABELS[found.transpose(2, 1, 0)])


def test_regions_are_painted_over_each_other(tmp_path):
    (network,) = write_nnunet(tmp_path / "m", labels={"background": 0, "body": [1, 2], "disc": [2]})
    folder = import_folder(tmp_path / "m", PlainNnunet({1: 49, 2: 100}))
    engine, image = load_semantic(FP32, folder), _image()
    scores = []
    ours = engine.label(image, (2, 2, 3), step_share=0.5, mirror=False, on_scores=scores.append)
    assert set(np.unique(ours)) <= {0, 49, 100}
    (probability,) = scores
    plain = np.where(probability[1] > 0.5, 100, np.where(probability[0] > 0.5, 49, 0))
    np.testing.assert_array_equal(ours, plain)
    tile = torch.randn(1, 1, *PATCH)
    with torch.no_grad():
        assert network(tile).shape[1] == 2


def test_probabilities_belong_to_the_labels(tmp_path):
    write_nnunet(tmp_path / "m", settings=config())
    engine, image, scores = load_semantic(FP32, tmp_path / "m"), _image(), []
    ours = engine.label(image, (2, 2, 3), step_share=0.5, mirror=False, on_scores=scores.append)
    (probability,) = scores
    assert probability.shape == (15, *image.shape)
    np.testing.assert_allclose(probability.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(engine.labels[probability.argmax(axis=0)], ours)


def test_an_image_of_zeros_is_background(tmp_path):
    write_nnunet(tmp_path / "m", settings=config())
    assert not _label(tmp_path / "m", np.zeros((20, 20, 10), np.float32)).any()


def test_the_window_is_quantised_before_it_is_scaled():
    ours = gaussian_window(PATCH)
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours.astype(float), plain_window(), rtol=1e-3)
    assert ours.min() > 0
    large = gaussian_window((64, 256, 256))
    assert (large == large.min()).mean() > 0.5  # the floor that the published order of rounding makes


@pytest.mark.parametrize(("length", "starts"), [(16, [0]), (17, [0, 1]), (32, [0, 8, 16]), (40, [0, 8, 16, 24]), (9, [0])])
def test_tiles_as_nnunet_lays_them(length, starts):
    assert tile_starts(max(length, 16), 16, 0.5) == starts


# ---- the instance network


@pytest.mark.parametrize(("width", "channels"), [(16, 10), (8, 11), (8, 1)])
def test_logits_of_the_instance_networks(tmp_path, width, channels):
    state = write_instance(tmp_path / "m", width, channels)
    engine = load_instance(FP32, tmp_path / "m")
    cutout = np.random.default_rng(0).choice([0, 26, 41, 45, 48, 49, 50, 51, 60, 62, 100], (16, 24, 8)).astype(np.uint8)
    classes = {**{label: label - 40 for label in range(41, 50)}, 50: 9, 51: 9}
    numbers = torch.from_numpy(np.vectorize(lambda label: classes.get(label, 0))(cutout))
    if channels == 1:
        given = (numbers / 9.0)[None].float()
    else:
        given = functional.one_hot(numbers, channels).permute(3, 0, 1, 2).float()
    with torch.no_grad():
        plain = plain_unet(state, given[None])[0].numpy()
    assert np.abs(engine.logits(cutout) - plain).max() <= 1e-4
    batch = np.stack([cutout, cutout[::-1]])
    np.testing.assert_array_equal(engine(batch)[0], plain.argmax(axis=0))
    np.testing.assert_array_equal(engine(batch[1:])[0], engine(batch)[1])
    assert engine(batch[:0]).shape == (0, 16, 24, 8)


def test_an_instance_network_with_a_range_of_spacings_takes_that_of_the_mask(tmp_path):
    write_instance(tmp_path / "m", 8, 11, resolution_range=[[0.5, 0.5, 1.0], [2.0, 2.0, 4.0]])
    engine = load_instance(FP32, tmp_path / "m")
    assert isinstance(engine, SpacedInstancePredictor)
    adapted: InstancePredictor = engine.adapted((1.0, 0.3, 9.0))
    assert adapted.spacing_mm == (1.0, 0.5, 4.0)
    assert (adapted.cutout_size, adapted.shift_mm) == (engine.cutout_size, engine.shift_mm)
    assert adapted.parts_fused  # as published: the votes alone tell where a body ends
    cutout = np.full((1, 16, 24, 8), Structure.CORPUS, np.uint8)
    np.testing.assert_array_equal(adapted(cutout), engine(cutout))


def test_outputs_are_named_as_the_folder_says(tmp_path):
    write_instance(tmp_path / "a", 8, 11)
    write_instance(tmp_path / "b", 8, 11, labels={"1": 3, "2": 2, "3": 1})
    cutout = np.random.default_rng(1).choice([0, 41, 49], (1, 16, 24, 8)).astype(np.uint8)
    straight, swapped = (load_instance(FP32, tmp_path / name)(cutout) for name in "ab")
    np.testing.assert_array_equal(np.array([0, 3, 2, 1])[straight], swapped)


# ---- the labeling network


def test_opinions_of_a_labeling_network(tmp_path):
    torch.manual_seed(0)
    heads = {"VERT": 24, "REGION": 3}
    network = VertebraClassifier("densenet", (1, 1, 1, 1), heads).eval()
    write_labeling(tmp_path / "m", network, final_size=(48, 40, 32))
    engine = load_labeling(FP32, tmp_path / "m")
    assert (engine.patch_size, engine.rotated, dict(engine.heads)) == ((48, 40, 32), False, heads)
    patch = _image((52, 44, 34))
    seen = patch[patch != 0]
    plain = np.where(patch != 0, (patch - seen.mean()) / seen.std(), 0)[2:50, 2:42, 1:33]
    with torch.no_grad():
        logits = network(torch.from_numpy(plain).float()[None, None])[0]
    said = engine(patch)
    np.testing.assert_allclose(said["VERT"], torch.softmax(logits[:24], 0).numpy(), atol=1e-5)
    np.testing.assert_allclose(said["REGION"], torch.softmax(logits[24:], 0).numpy(), atol=1e-5)


# ---- how a scan is prepared


def _scan(image, spacing=(2.0, 2.0, 3.0), stored_as="int16"):
    return Scan(image, Geometry.from_spacing(image.shape, spacing), Source(stored_as=stored_as))


def test_intensities_are_brought_to_the_range_of_training():
    image = np.array([[[-100.0, 0.0, 2900.0]]], np.float32)
    np.testing.assert_array_equal(in_range(image, Numbers(whole=False)), [[[0, 50, 1500]]])
    assert in_range(image + 0.5, Numbers(whole=True)).tolist() == [[[0, 50, 1500]]]
    small = np.array([[[5.0, 6.0]]], np.float32)
    np.testing.assert_array_equal(in_range(small, Numbers(whole=False)), [[[0, 1]]])


@pytest.mark.parametrize(
    ("stored_as", "numbers"),
    [
        ("int16", Numbers(whole=True)),
        ("uint16", Numbers(whole=True, signed=False)),
        ("float32", Numbers(whole=False)),
        (None, Numbers(whole=True)),
    ],
)
def test_numbers_are_those_of_the_file(stored_as, numbers):
    assert Numbers.of(_scan(_image((4, 4, 4)), stored_as=stored_as)) == numbers
    assert Numbers.of(_scan(_image((4, 4, 4)) + 0.25, stored_as=None)) == Numbers(whole=False)


@pytest.mark.parametrize("stored_as", ["int16", "uint16", "float32"])
def test_the_reader_says_how_voxels_were_stored(stored_as):
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 900, (30, 60, 20)).astype(stored_as), np.diag([2, 2, 3, 1]))
    assert from_nibabel(image).source.stored_as == stored_as


def test_a_scan_is_labelled_on_the_grid_of_the_model(tmp_path):
    networks = write_nnunet(tmp_path / "m", settings=config())
    engine, image = load_semantic(FP32, tmp_path / "m"), _image((20, 24, 12))
    plain = PipelineConfig(preprocess=PreprocessConfig(n4=False))
    mask = label_scan(_scan(image), engine, plain)
    assert mask.geometry.shape == (28, 32, 20)  # four voxels on each side
    scaled = in_range(image, Numbers(whole=True))
    _agree(mask.labels, _plain_labels(np.pad(scaled, 4), networks))
    back = on_grid(mask, _scan(image).geometry)
    np.testing.assert_array_equal(back.labels, mask.labels[4:-4, 4:-4, 4:-4])
    assert on_grid(back, back.geometry) is back
    other = label_scan(_scan(image), engine, PipelineConfig(plain.preprocess, SemanticConfig(step_size=0.25)))
    assert (other.labels != mask.labels).any()


def test_a_scan_of_another_spacing_is_sampled_from_its_first_voxel(tmp_path):
    write_nnunet(tmp_path / "m", settings=config())
    engine = load_semantic(FP32, tmp_path / "m")
    mask = label_scan(_scan(_image((20, 24, 12)), (1.0, 2.0005, 4.5)), engine, PipelineConfig(PreprocessConfig(n4=False)))
    assert mask.geometry.shape == (14, 32, 30)
    scan = _scan(_image((20, 24, 12)), (1.0, 2.0005, 4.5)).geometry
    np.testing.assert_allclose(mask.geometry.to_mm((0, 0, 0)), scan.to_mm((-4, -4, -4)), atol=0.02)


def test_bias_is_removed_and_a_dark_image_too():
    """The published tool ends with an error where nothing is brighter than 60."""
    p, i, r = np.ogrid[0:40, 0:48, 0:24]
    field = np.exp(0.02 * p - 0.015 * i + 0 * r)
    body = (np.hypot(p - 20, i - 24) < 16) & (r > 2) & (r < 21)
    truth = np.where(body, 400 + 100 * ((p // 4 + i // 4) % 2), 0)
    for scale in (1.0, 1e-3):
        image = (truth * field * scale).astype(np.float32)
        corrected = without_bias(image, (2.0, 2.0, 3.0))
        before, after = (float((v[body] / truth[body]).std() / (v[body] / truth[body]).mean()) for v in (image, corrected))
        assert after < 0.5 * before
    assert not without_bias(np.zeros((8, 8, 8), np.float32), (1, 1, 1)).any()


@pytest.mark.parametrize("form", ["old", "new"])
def test_half_precision_is_near_full_precision(form, tmp_path):
    write_nnunet(tmp_path / "m", form, settings=config(), plan=plans(form))
    image, found = _image(), []
    for precision in (Precision.AUTO, Precision.BF16):
        engine = load_semantic(ComputeConfig(Device.CPU, precision, threads=1), tmp_path / "m")
        found.append(engine.label(image, (2.0, 2.0, 3.0), step_share=0.5, mirror=False))
        assert engine.engine.name.endswith("bf16" if precision is Precision.BF16 else "fp32")
    assert (found[0] == found[1]).mean() > 0.9
