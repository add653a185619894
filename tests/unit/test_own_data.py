"""Fine-tuning on a user's own folder: pairing, partial masks, split, resumption, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_dataset import write_dataset

from spineps.cli import main
from spineps.config import ComputeConfig, Device, Precision
from spineps.errors import InputError, ModelError, UsageError
from spineps.inference.load import load_semantic
from spineps.labels import LEFT_RIGHT_PAIRS, Structure
from spineps.networks.classes import SEMANTIC_TABLE
from spineps.training.loop import TrainConfig, Trainer, train
from spineps.training.marginal import ANY_PART, ANYTHING
from spineps.training.own_cases import find_cases, labelled_in, parse_structures, read_case
from spineps.training.own_samples import _linear, draw_own_patch, own_volume
from spineps.training.own_source import OwnSource
from spineps.training.placement import Placement, sample_grid
from spineps.zoo.card import Kind
from spineps.zoo.store import load_model

MODELS = Path(__file__).parents[1] / "data" / "models"
CPU = ComputeConfig(Device.CPU, Precision.FP32, 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_dataset(folder, 3)
    return folder


def bit(structure: Structure) -> int:
    return 1 << int(SEMANTIC_TABLE[structure])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_masks_find_their_scans_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_ses-a_T2w.nii.gz", "sub-1/anat/sub-1_ses-a_T1w.nii.gz", "sub-2_T2w.nii")
    touch(
        tmp_path, "derivatives/sub-1_ses-a_mod-T2w_seg-spine_msk.nii.gz", "derivatives/sub-1_ses-a_mod-T2w_seg-vert_msk.nii.gz"
    )
    touch(tmp_path, "masks/sub-2_dseg.nii.gz", "sub-3_T2w.nii.gz", "sourcedata/sub-3_seg-spine_msk.nii.gz")
    cases = {case.name: case for case in find_cases(tmp_path)}
    assert sorted(cases) == ["sub-1_ses-a_T2w", "sub-2_T2w"]
    first = cases["sub-1_ses-a_T2w"]
    assert first.patient == "1"
    assert first.semantic is not None
    assert first.instance is not None
    assert "seg-spine" in first.semantic.name
    assert "seg-vert" in first.instance.name
    assert cases["sub-2_T2w"].semantic == tmp_path / "masks" / "sub-2_dseg.nii.gz"


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        find_cases(tmp_path / "nowhere")
    touch(tmp_path, "sub-1_T2w.nii.gz", "scan.nii.gz")
    with pytest.raises(InputError, match="no pair"):
        find_cases(tmp_path)
    touch(tmp_path, "sub-1_seg-spine_msk.nii.gz", "a/sub-1_seg-spine_msk.nii.gz")
    with pytest.raises(InputError, match="are both the semantic mask"):
        find_cases(tmp_path)
    with pytest.raises(UsageError, match="'nose' is no structure"):
        parse_structures("49,nose")
    assert parse_structures("49, disc") == {Structure.CORPUS, Structure.DISC}


def test_a_mask_on_another_grid_or_with_other_labels_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", 1, semantic=lambda labels: np.where(labels > 0, np.uint8(7), labels))
    with pytest.raises(InputError, match="holds the labels 7, which are no structures"):
        read_case(find_cases(tmp_path / "a")[0])
    write_dataset(tmp_path / "b", 2, vertebrae=2)
    one, two = find_cases(tmp_path / "b")
    with pytest.raises(InputError, match="does not lie on the grid"):
        read_case(replace(one, semantic=two.semantic))


def test_whole_vertebrae_without_parts_may_be_any_part(tmp_path: Path) -> None:
    """Only an instance mask: as SPIDER's."""
    write_dataset(tmp_path, 1, semantic=lambda _: None, instance=lambda labels: np.where(labels > 200, np.uint8(0), labels))
    case = read_case(find_cases(tmp_path)[0])
    labelled = labelled_in([case])
    assert labelled >= {Structure.CORPUS, Structure.SPINOUS, Structure.DISC}
    assert not labelled & {Structure.SACRUM, Structure.CANAL, Structure.ENDPLATE}
    sets = case.sets(labelled)
    assert set(np.unique(sets[(case.instance > 0) & (case.instance < 26)])) == {ANY_PART | bit(Structure.ENDPLATE)}
    hidden = {Structure.SACRUM, Structure.CANAL, Structure.CORD, Structure.ENDPLATE}
    assert set(np.unique(sets[case.instance == 0])) == {1 + sum(bit(s) for s in hidden)}


def test_a_structure_that_no_mask_names_is_unlabelled(tmp_path: Path) -> None:
    keep = (Structure.CORPUS, Structure.DISC)
    write_dataset(
        tmp_path, 1, semantic=lambda labels: np.where(np.isin(labels, keep), labels, np.uint8(0)), instance=lambda _: None
    )
    case = read_case(find_cases(tmp_path)[0])
    assert case.labelled() == set(keep)
    background = int(case.sets(case.labelled())[case.semantic == 0][0])
    assert background == ANYTHING & ~bit(Structure.CORPUS) & ~bit(Structure.DISC)


def test_patches_show_the_scan_and_mirroring_swaps_all_three_pairs(dataset: Path) -> None:
    case = read_case(find_cases(dataset)[0])
    volume = own_volume(case, labelled_in([case]), (2.0, 2.0, 2.0), 0)
    image, sets = draw_own_patch(volume, np.random.default_rng(3), (48, 40, 32), augment=False)
    assert image.shape == sets.shape == (48, 40, 32)
    seen = set()
    for seed in range(40):
        _, sets = draw_own_patch(volume, np.random.default_rng(seed), (60, 60, 40))
        for pair in LEFT_RIGHT_PAIRS:
            left, right = (np.argwhere(sets == bit(structure)) for structure in pair)
            if min(len(left), len(right)) > 60:
                seen.add((pair, bool(left[:, 2].mean() < right[:, 2].mean())))
    assert seen == {(pair, True) for pair in LEFT_RIGHT_PAIRS}  # left lies at low R, mirrored or not


def test_an_aligned_patch_is_a_crop_of_the_scan() -> None:
    image = np.random.default_rng(0).normal(size=(20, 24, 10)).astype(np.float16)
    placement = Placement(np.array([18.0, 20.0, 8.0]), np.eye(3), mirrored=False)
    patch = _linear(image, sample_grid((7, 9, 3), (2.0, 2.0, 2.0)), placement, (2.0, 2.0, 2.0))
    assert np.allclose(patch, image[6:13, 6:15, 3:6], atol=1e-3)


def own_source(dataset: Path, out: Path, kind: Kind) -> OwnSource:
    *training, held_out = find_cases(dataset)
    return OwnSource(training, [held_out], out / "cases", MODELS / kind.value)


def test_fine_tuning_ends_with_a_model_no_worse_than_its_start_and_its_card_says_so(dataset: Path, tmp_path: Path) -> None:
    source = own_source(dataset, tmp_path, Kind.SEMANTIC)
    start = MODELS / "semantic"
    card = train(TrainConfig(Kind.SEMANTIC, tmp_path, 0.5 / 3600, warm_start=start, compute=CPU, source=source), lambda _: None)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[0]["step"] == 0
    assert np.mean(list(card.training["validation_dice"].values())) >= log[0]["dice"] - 1e-4
    assert card.training["data"] == "the user's own scans and masks"
    assert card.training["scans"] == {"training": 2, "validation": 1}
    assert "sub-" not in json.dumps(card.training)
    assert card.spacing_mm == load_model(start).card.spacing_mm
    assert load_semantic(CPU, tmp_path / "model").labels.size == 15


def test_steps_on_partly_labelled_scans_make_the_loss_smaller(tmp_path: Path) -> None:
    keep = (Structure.CORPUS, Structure.DISC)
    write_dataset(tmp_path / "data", 2, semantic=lambda labels: np.where(np.isin(labels, keep), labels, np.uint8(0)))
    source = own_source(tmp_path / "data", tmp_path, Kind.SEMANTIC)
    assert not source.labelled & {Structure.SACRUM, Structure.CANAL}
    config = TrainConfig(Kind.SEMANTIC, tmp_path, 1.0, warm_start=MODELS / "semantic", rate=1e-2, compute=CPU, source=source)
    trainer = Trainer(config, lambda _: None)
    sample = source.stream(None).next()
    losses = [trainer.train_step(sample) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_resumed_fine_tuning_draws_the_samples_that_come_next(dataset: Path, tmp_path: Path) -> None:
    def trainer(out: Path, *, resume: bool = False) -> Trainer:
        source = own_source(dataset, tmp_path, Kind.SEMANTIC)
        return Trainer(
            TrainConfig(Kind.SEMANTIC, out, 1.0, resume=resume, warm_start=MODELS / "semantic", compute=CPU, source=source),
            lambda _: None,
        )

    def steps(one: Trainer, count: int, stream=None):
        stream = stream or one.source.stream(one.stream_state)
        losses = [one.train_step(stream.next()) for _ in range(count)]
        return losses, stream

    through = trainer(tmp_path / "a")
    losses, _ = steps(through, 3)
    first = trainer(tmp_path / "b")
    before, stream = steps(first, 1)
    first.save(stream)
    again = trainer(tmp_path / "b", resume=True)
    again.first_step = 0  # no second warm-up, so that the steps are comparable
    after, _ = steps(again, 2)
    assert before + after == pytest.approx(losses, rel=1e-4)


def test_an_instance_network_is_fine_tuned_too(dataset: Path, tmp_path: Path) -> None:
    source = own_source(dataset, tmp_path, Kind.INSTANCE)
    config = TrainConfig(Kind.INSTANCE, tmp_path, 0.3 / 3600, warm_start=MODELS / "instance", compute=CPU, source=source)
    card = train(config, lambda _: None)
    assert card.kind is Kind.INSTANCE
    assert set(card.training["validation_dice"]) <= {"1", "2", "3"}


def test_the_command_line_splits_by_patient_and_refuses_what_cannot_be(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["train", "semantic", "--data", str(dataset), "--warm-start", str(MODELS / "semantic"), "--device", "cpu"]
    assert main([*common, "--out", str(tmp_path / "a"), "--threads", "1"]) == 2
    assert "Give --hours" in capsys.readouterr().err
    short = [*common, "--hours", "0.0001", "--threads", "1", "--precision", "fp32"]
    assert main([*short, "--out", str(tmp_path / "a"), "--folds", "3"]) == 0
    split = json.loads((tmp_path / "a" / "split.json").read_text())
    assert sorted(p for fold in split["folds"] for p in fold) == ["00", "01", "02"]
    assert (tmp_path / "a" / "model" / "card.json").is_file()
    assert main([*short, "--out", str(tmp_path / "a"), "--fold", "3"]) == 2
    assert "no fold 3" in capsys.readouterr().err
    write_dataset(tmp_path / "other", 1)
    other = [str(tmp_path / "other") if word == str(dataset) else word for word in short]
    assert main([*other, "--out", str(tmp_path / "a")]) == 2
    assert "another --out folder" in capsys.readouterr().err
    assert main([*other, "--out", str(tmp_path / "b")]) == 2
    assert "cannot be split" in capsys.readouterr().err


def test_a_model_of_another_kind_is_refused(dataset: Path, tmp_path: Path) -> None:
    source = own_source(dataset, tmp_path, Kind.SEMANTIC)
    config = TrainConfig(Kind.SEMANTIC, tmp_path, 1.0, warm_start=MODELS / "instance", compute=CPU, source=source)
    with pytest.raises(ModelError, match="does not fit the network"):
        Trainer(config, lambda _: None)
