"""One scan through the small models: proven done, redone exactly as far as needed, whole after a kill at any write."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohort_scans
import numpy as np
import pytest
import torch

from spineps.api import load_models
from spineps.cohort import case as case_module
from spineps.cohort.case import Outcome, Ready, Task, finish, make_ready
from spineps.cohort.discover import find_scans
from spineps.cohort.files import KnownFiles
from spineps.cohort.layout import Case, cases_of
from spineps.cohort.proof import PROOF, Standing, intact, judge, recipe_of
from spineps.cohort.settings import CohortSettings, ModelFolders, Naming, OutputSettings, ScanSettings, Selection
from spineps.config import ComputeConfig, Device, EndplateOwner, ExtraConfig, PipelineConfig, PostprocessConfig, Precision
from spineps.errors import ErrorCode
from spineps.io.atomic import sweep
from spineps.io.load import ReadOptions
from spineps.outputs.record import DONE
from spineps.training.tasks import LabelingTask
from spineps.zoo.export import export_model

COMPUTE = ComputeConfig(Device.CPU, Precision.FP32, 1)
FOLDERS = ModelFolders(cohort_scans.MODELS / "semantic", cohort_scans.MODELS / "instance")
CONFIG = PipelineConfig(compute=COMPUTE)
OTHER = replace(CONFIG, postprocess=PostprocessConfig(endplate_owner=EndplateOwner.VERTEBRA))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    cohort_scans.make_dataset(folder, good=1, bad=0, seed=4)
    return folder


@pytest.fixture(scope="module")
def models() -> Any:
    return load_models(COMPUTE, semantic_folder=FOLDERS.semantic, instance_folder=FOLDERS.instance)


class Bench:
    """A scan, the place of its results and the models."""

    def __init__(self, dataset: Path, root: Path, models: Any, naming: Naming = Naming.SPINEPS) -> None:
        self.dataset, self.root, self.models, self.naming = dataset, root, models, naming
        (self.case,) = cases_of(find_scans(dataset, Selection()), root, naming)

    def settings(self, config: PipelineConfig = CONFIG) -> CohortSettings:
        return CohortSettings(scan=ScanSettings(config, FOLDERS), output=OutputSettings(naming=self.naming))

    @property
    def known_place(self) -> Path:
        return self.root / ".spineps" / "files" / "case.json"

    @property
    def first_place(self) -> Path:
        return self.root / ".spineps" / "first" / f"{self.case.name}.gz"

    def sweep(self) -> None:
        for folder in (self.case.folder, self.first_place.parent):
            sweep(folder, self.case.name)

    def task(self, config: PipelineConfig = CONFIG, *, keep: bool = False) -> Task:
        case, settings = self.case, self.settings(config)
        return Task(
            name=case.name,
            scan=case.scan.path,
            prefix=case.prefix,
            folder=case.folder,
            files=case.files,
            known=self.known_place,
            first_phase=self.first_place,
            crash=self.root / "crashes" / f"{case.name}.txt",
            config=config,
            models=FOLDERS,
            read=ReadOptions(),
            naming=self.naming,
            recipe=recipe_of(settings, settings.scan),
            keep_semantic=keep,
        )

    def run(self, config: PipelineConfig = CONFIG, *, keep: bool = False) -> Outcome:
        return finish(make_ready(self.task(config, keep=keep)), self.models, lambda _stage: None)

    def standing(self, config: PipelineConfig = CONFIG, *, trusted: bool = True) -> Standing:
        settings = self.settings(config)
        known = KnownFiles(self.known_place, trusted=trusted)
        return judge(self.case, recipe_of(settings, settings.scan), known, self.first_place).standing

    def record(self) -> dict[str, Any]:
        return json.loads(self.case.place("record").read_text())


@pytest.fixture
def bench(dataset: Path, models: Any, tmp_path: Path) -> Bench:
    return Bench(dataset, tmp_path / "out", models)


@pytest.fixture(scope="module")
def finished(dataset: Path, models: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    done = Bench(dataset, tmp_path_factory.mktemp("finished"), models)
    outcome = done.run()
    assert outcome.status == DONE, outcome
    return done


@pytest.fixture
def copied(finished: Bench, tmp_path: Path) -> Bench:
    """The finished results, copied: every test may spoil its own."""
    shutil.copytree(finished.root, tmp_path / "out")
    return Bench(finished.dataset, tmp_path / "out", finished.models)


def test_the_small_models_find_vertebrae(finished: Bench) -> None:
    assert len(finished.record()["vertebrae"]) >= 2


def test_a_finished_scan_is_up_to_date_and_stays_so_when_copied(copied: Bench) -> None:
    assert copied.standing() is Standing.UP_TO_DATE
    assert copied.standing(trusted=False) is Standing.UP_TO_DATE


def test_the_record_names_hashes_and_no_person(finished: Bench) -> None:
    record = finished.record()
    assert intact(record)
    assert {"semantic", "instance", "centroids", "snapshot"} <= record["outputs"].keys()
    assert record[PROOF].keys() == {"semantic_key", "key", "first_phase", "checksum"}
    for path in finished.root.rglob("*"):
        assert path.is_dir() or cohort_scans.CANARY.encode() not in path.read_bytes(), path.name
    assert "sub-000" not in finished.case.place("record").read_text()


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_any_damaged_or_missing_output_means_to_do(copied: Bench) -> None:
    for role in copied.record()["outputs"]:
        place = copied.case.place(role)
        before = place.read_bytes()
        damaged(place)
        assert copied.standing() is Standing.INSTANCE_PHASE, role
        place.unlink()
        assert copied.standing() is not Standing.UP_TO_DATE, role
        place.write_bytes(before)
        assert copied.standing() is Standing.UP_TO_DATE, role


def test_the_first_phase_is_kept_and_no_result(copied: Bench) -> None:
    damaged(copied.first_place)
    assert copied.standing() is Standing.UP_TO_DATE
    assert copied.standing(OTHER) is Standing.TO_DO
    copied.first_place.unlink()
    assert copied.standing() is Standing.UP_TO_DATE
    assert copied.standing(OTHER) is Standing.TO_DO


def test_a_changed_record_means_to_do(copied: Bench) -> None:
    place = copied.case.place("record")
    record = copied.record()
    record["vertebrae"] = []
    place.write_text(json.dumps(record))
    assert copied.standing() is Standing.TO_DO
    record["timing"] = {}
    place.write_text("{")
    assert copied.standing() is Standing.TO_DO


def test_times_are_no_part_of_the_proof(copied: Bench) -> None:
    record = copied.record()
    record["timing"] = {"semantic": 1e9}
    copied.case.place("record").write_text(json.dumps(record))
    assert copied.standing() is Standing.UP_TO_DATE


def test_another_setting_of_the_second_phase_keeps_the_semantic_mask(finished: Bench) -> None:
    assert finished.standing(OTHER) is Standing.INSTANCE_PHASE
    assert finished.standing(replace(CONFIG, force=True)) is Standing.TO_DO
    assert finished.standing(replace(CONFIG, compute=replace(COMPUTE, threads=7))) is Standing.UP_TO_DATE


def test_another_input_or_model_means_to_do(copied: Bench, tmp_path: Path) -> None:
    scan = copied.case.scan
    other = cohort_scans.phantom_scan(tmp_path / "other.nii.gz", 7)
    moved = replace(copied.case, scan=replace(scan, path=other))
    settings = copied.settings()
    known = KnownFiles(copied.known_place)
    assert judge(moved, recipe_of(settings, settings.scan), known, copied.first_place).standing is Standing.TO_DO
    bundled = replace(settings, scan=replace(settings.scan, models=ModelFolders(None, FOLDERS.instance)))
    assert judge(copied.case, recipe_of(bundled, bundled.scan), known, copied.first_place).standing is Standing.TO_DO
    second = replace(settings, scan=replace(settings.scan, models=ModelFolders(FOLDERS.semantic, None)))
    assert judge(copied.case, recipe_of(second, second.scan), known, copied.first_place).standing is Standing.INSTANCE_PHASE


def test_another_labeling_model_redoes_names_and_keeps_the_semantic_mask(copied: Bench, tmp_path: Path) -> None:
    task = LabelingTask()
    recipes = []
    for number in range(2):
        torch.manual_seed(number)
        folder = tmp_path / str(number)
        export_model(folder, task.network(), task.card_facts())
        settings = replace(copied.settings(), scan=ScanSettings(CONFIG, replace(FOLDERS, labeling=folder)))
        recipes.append(recipe_of(settings, settings.scan))
        known = KnownFiles(copied.known_place)
        assert judge(copied.case, recipes[-1], known, copied.first_place).standing is Standing.INSTANCE_PHASE
    assert recipes[0].semantic == recipes[1].semantic
    assert recipes[0].rest != recipes[1].rest


def test_a_kept_semantic_mask_gives_the_same_files(copied: Bench, bench: Bench, tmp_path: Path) -> None:
    assert copied.run(OTHER, keep=True).kept_semantic
    fresh = Bench(copied.dataset, tmp_path / "fresh", copied.models)
    assert fresh.run(OTHER).status == DONE
    assert cohort_scans.tree(copied.root) == cohort_scans.tree(fresh.root)
    assert "semantic" not in copied.record()["timing"]


def test_a_second_run_gives_the_same_files(finished: Bench, bench: Bench) -> None:
    assert bench.run().status == DONE
    assert cohort_scans.tree(bench.root) == cohort_scans.tree(finished.root)


# ---- kills


def killed_in_save(ready: Ready, result: Any, first: Any, folder: Path, number: int) -> bool:
    """Save in a copy of this process that is killed at its n-th change of a file; whether it got that far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in ("os.rename", "os.remove", "os.mkdir", "open") and str(args[0]).startswith(str(folder)):
                seen += event != "open" or (isinstance(args[2], int) and bool(args[2] & os.O_WRONLY))
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        case_module._save(ready, result, first)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_at_every_write_leaves_nothing_wrong(finished: Bench, bench: Bench) -> None:
    ready = make_ready(bench.task())
    result, first = case_module._segmented(ready, bench.models, lambda _stage: None)
    whole, number = cohort_scans.tree(finished.root), 0
    while killed_in_save(ready, result, first, bench.root, number := number + 1):
        left = cohort_scans.tree(bench.root)
        partial = {name for name in left if name.endswith(".partial")}
        assert all(left[name] == whole[name] for name in left.keys() - partial)
        if bench.standing() is Standing.UP_TO_DATE:
            assert left.keys() - partial == whole.keys()
        bench.sweep()
        assert not cohort_scans.partial_files(bench.case.folder)
    assert number > 10
    assert cohort_scans.tree(bench.root) == whole
    assert bench.standing() is Standing.UP_TO_DATE


def test_a_kill_while_results_are_replaced_is_never_taken_for_done(finished: Bench, copied: Bench, tmp_path: Path) -> None:
    ready = make_ready(copied.task(OTHER))
    result, first = case_module._segmented(ready, copied.models, lambda _stage: None)
    case_module._save(ready, result, first)
    new, number = cohort_scans.tree(copied.root), 0
    assert new != cohort_scans.tree(finished.root)
    while True:
        number += 7
        shutil.rmtree(copied.root)
        shutil.copytree(finished.root, copied.root)
        if not killed_in_save(ready, result, first, copied.root, number):
            break
        copied.sweep()
        left = cohort_scans.tree(copied.root)
        if copied.standing() is Standing.UP_TO_DATE:
            assert left == cohort_scans.tree(finished.root)
        if copied.standing(OTHER) is Standing.UP_TO_DATE:
            assert left == new


# ---- failures


def broken(bench: Bench, tmp_path: Path, kind: str) -> Case:
    folder = tmp_path / "bad"
    _, make = cohort_scans.BAD[kind]
    make(cohort_scans.scan_place(folder, 0))
    return replace(bench.case, scan=find_scans(folder, Selection())[0])


def test_a_refused_scan_leaves_its_record_alone(copied: Bench, tmp_path: Path) -> None:
    copied.case = broken(copied, tmp_path, "bit flipped")
    outcome = copied.run()
    assert outcome.status == ErrorCode.INPUT_CORRUPT
    assert "sub-000" not in outcome.message
    assert list(cohort_scans.tree(copied.root)) == [f"sub-000/anat/{copied.case.files['record']}"]
    assert copied.standing() is Standing.FAILED_BEFORE
    assert copied.record()["status"] == ErrorCode.INPUT_CORRUPT


def test_what_lies_in_the_machine_is_not_written_down(bench: Bench, tmp_path: Path) -> None:
    bench.case = broken(bench, tmp_path, "link to nowhere")
    assert bench.run().status == ErrorCode.INPUT_NOT_FOUND
    assert bench.standing() is Standing.TO_DO
    assert not bench.case.place("record").exists()


def test_a_mistake_of_the_program_gives_a_crash_text_without_names(bench: Bench) -> None:
    class Wrong:
        spacing_mm = (2.0, 2.0, 2.0)

    bench.models = replace(bench.models, semantic=Wrong())
    outcome = bench.run()
    assert outcome.status == ErrorCode.BUG
    assert "AttributeError" in outcome.message
    crash = bench.task().crash
    text = crash.read_text()
    assert "spineps/cohort/case.py" in text
    assert not [name for name in (cohort_scans.CANARY, "sub-000", str(bench.dataset)) if name in text]
    assert bench.standing() is Standing.FAILED_BEFORE
    make_ready(bench.task())
    assert not crash.exists()


def test_a_full_or_closed_disk_is_named_and_leaves_nothing(bench: Bench) -> None:
    bench.root.parent.mkdir(parents=True, exist_ok=True)
    bench.root.touch()
    outcome = bench.run()
    assert outcome.status in (ErrorCode.OUTPUT_FAILED, ErrorCode.OUTPUT_PERMISSION)
    assert bench.root.read_bytes() == b""


# ---- BIDS derivatives and what is asked for beside the masks


def test_a_profile_lies_beside_the_results_and_changes_none(bench: Bench) -> None:
    assert bench.run().status == DONE
    record = bench.case.place("record").read_bytes()
    task = replace(bench.task(), profile=True)
    assert finish(make_ready(task), bench.models, lambda _stage: None).status == DONE
    text = (bench.case.folder / f"{bench.case.prefix}_profile.txt").read_text(encoding="utf-8")
    assert "cumulative" in text
    assert "(segment_scan)" in text
    assert str(bench.root) not in text
    proven = [json.loads(said)["outputs"] for said in (record, bench.case.place("record").read_bytes())]
    assert proven[0] == proven[1]
    assert bench.standing() is Standing.UP_TO_DATE


def test_bids_derivatives_with_probabilities(dataset: Path, models: Any, tmp_path: Path) -> None:
    import nibabel as nib

    bench = Bench(dataset, tmp_path / "out", models, Naming.BIDS)
    config = replace(CONFIG, extras=ExtraConfig(softmax=True, uncertainty=True, model_mask=True))
    assert bench.run(config).status == DONE
    assert bench.standing(config) is Standing.UP_TO_DATE
    probabilities = nib.load(bench.case.place("softmax"))
    sidecar = json.loads(bench.case.place("softmax_sidecar").read_text())
    assert probabilities.shape[3] == len(sidecar["LabelMap"]) == 15
    assert np.allclose(np.asarray(probabilities.dataobj).sum(axis=3), 1, atol=0.02)
    assert nib.load(bench.case.place("semantic")).shape == probabilities.shape[:3]
    assert bench.case.place("instance_sidecar").is_file()


def test_published_names_with_probabilities(bench: Bench) -> None:
    config = replace(CONFIG, extras=ExtraConfig(softmax=True))
    assert bench.run(config).status == DONE
    assert bench.case.place("softmax").is_file()
    assert bench.standing(config) is Standing.UP_TO_DATE
    assert bench.run().status == DONE
    assert not bench.case.place("softmax").exists()
