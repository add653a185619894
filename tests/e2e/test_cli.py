"""The commands on a small phantom with the bundled models, from the file to the files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spineps.cli import main
from spineps.labels import Structure, is_vertebra
from tests.cohort_scans import MODEL_FLAGS, phantom_scan

PREFIX = "sub-CANARY_mod-T2w"
NAMES = {
    "semantic mask": f"{PREFIX}_seg-spine_msk.nii.gz",
    "instance mask": f"{PREFIX}_seg-vert_msk.nii.gz",
    "centroids": f"{PREFIX}_seg-spine_ctd.json",
    "picture": f"{PREFIX}_seg-spine_snp.png",
    "page": f"{PREFIX}_report.html",
    "levels": f"{PREFIX}_levels.tsv",
    "points": f"{PREFIX}_seg-spine_poi.json",
    "points as in VerSe": f"{PREFIX}_seg-vb_ctd.json",
    "measurements": f"{PREFIX}_measures.tsv",
    "record": f"{PREFIX}_run.json",
}
FILES = {*NAMES.values(), f"{PREFIX}_measures.json"}


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / NAMES["record"]).read_text())


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def found(mask: np.ndarray) -> list[int]:
    return [int(label) for label in np.unique(mask) if is_vertebra(int(label))]


def test_sample_names_its_files_and_writes_no_other(sample_run) -> None:
    lines = dict(line.split(": ", 1) for line in sample_run.stdout.splitlines())
    assert lines == {role: str(sample_run.folder / name) for role, name in NAMES.items()}
    assert names_in(sample_run.folder) == FILES


def test_sample_says_what_it_did_and_nothing_about_the_patient(sample_run) -> None:
    assert "Traceback" not in sample_run.stderr
    assert "semantic done after" in sample_run.stderr
    assert "settings {" in sample_run.stderr
    assert "vertebrae from top to bottom: " in sample_run.stderr
    assert "CANARY" not in sample_run.stderr
    for name in (NAMES["record"], NAMES["centroids"], NAMES["picture"]):
        assert b"CANARY" not in (sample_run.folder / name).read_bytes()


def test_masks_lie_on_the_grid_of_the_scan_and_agree(phantom, sample_run) -> None:
    scan = nib.load(phantom.scan)
    semantic, instance = (nib.load(sample_run.folder / NAMES[role]) for role in ("semantic mask", "instance mask"))
    for mask in (semantic, instance):
        assert mask.shape == scan.shape
        assert np.allclose(mask.affine, scan.affine, atol=1e-3)
        assert mask.get_data_dtype() == np.uint16
    assert (np.asarray(semantic.dataobj)[np.asarray(instance.dataobj) > 0] > 0).all()
    bodies = voxels(sample_run.folder / NAMES["semantic mask"]) == Structure.CORPUS
    true = voxels(phantom.semantic) == Structure.CORPUS
    assert 2 * (bodies & true).sum() / (bodies.sum() + true.sum()) > 0.5  # it is the spine that was found


def test_record_of_a_sample_run(sample_run) -> None:
    content = record(sample_run.folder)
    assert content["status"] == "DONE"
    assert content["models"].keys() >= {"semantic", "instance"}
    labels = [vertebra["label"] for vertebra in content["vertebrae"]]
    assert labels == found(voxels(sample_run.folder / NAMES["instance mask"]))
    assert content["timing"].keys() >= {"semantic", "instance", "postprocess"}


def test_centroids_lie_in_their_vertebrae(sample_run) -> None:
    _, points = json.loads((sample_run.folder / NAMES["centroids"]).read_text())
    mask = voxels(sample_run.folder / NAMES["instance mask"])
    whole = [vertebra["label"] for vertebra in record(sample_run.folder)["vertebrae"] if not vertebra["partial"]]
    assert whole
    for label in whole:
        assert mask[tuple(np.rint(points[str(label)]["50"]).astype(int))] == label


def test_second_run_gives_the_same_bytes(phantom, sample_run, tmp_path: Path, capsys) -> None:
    assert main(["sample", "-i", str(phantom.scan).removesuffix(".nii.gz"), "-o", str(tmp_path), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(NAMES)
    assert err == ""
    for role in ("semantic mask", "instance mask", "centroids", "picture"):
        assert (tmp_path / NAMES[role]).read_bytes() == (sample_run.folder / NAMES[role]).read_bytes(), role
    first, second = record(sample_run.folder), record(tmp_path)
    assert first.pop("timing").keys() == second.pop("timing").keys()
    assert first == second


def test_instance_alone_from_the_true_mask(phantom, tmp_path: Path, capsys) -> None:
    assert main(["instance", "-i", str(phantom.semantic), "-o", str(tmp_path)]) == 0
    assert "picture: " in capsys.readouterr().out
    mask, true = voxels(tmp_path / NAMES["instance mask"]), voxels(phantom.instance)
    for label in found(true):
        own = true == label
        if (own & (voxels(phantom.semantic) == Structure.CORPUS)).sum() < 500:
            continue  # of a vertebra at the edge little is to be seen
        best = np.bincount(mask[own]).argmax()
        assert 2 * (own & (mask == best)).sum() / (own.sum() + (mask == best).sum()) > 0.8, label
    assert "semantic" not in record(tmp_path)["models"]


def test_instance_writes_beside_the_mask_and_shows_the_image(phantom, sample_run, tmp_path: Path) -> None:
    mask = Path(shutil.copy(sample_run.folder / NAMES["semantic mask"], tmp_path))
    before = mask.read_bytes()
    assert main(["instance", "-i", str(mask), "--image", str(phantom.scan), "--no-postprocess", "--quiet"]) == 0
    folder = mask.parent / "derivatives_instance"
    assert names_in(folder) == FILES
    assert mask.read_bytes() == before
    assert record(folder)["settings"]["postprocess"]["enabled"] is False


def test_instance_never_overwrites_its_input(phantom, capsys) -> None:
    before = phantom.semantic.read_bytes()
    assert main(["instance", "-i", str(phantom.semantic), "-o", str(phantom.semantic.parent)]) == 6
    assert capsys.readouterr().err.startswith("OUTPUT_NAME: ")
    assert phantom.semantic.read_bytes() == before


def test_instance_from_a_mask_with_other_ids(phantom, tmp_path: Path, capsys) -> None:
    image = nib.load(phantom.semantic)
    ours = np.asarray(image.dataobj).astype(np.uint16)
    theirs = np.where(ours == Structure.CORPUS, 1, np.where(ours > 0, 1000 + ours, 0))
    foreign = tmp_path / "foreign.nii.gz"
    nib.Nifti1Image(theirs, image.affine).to_filename(foreign)
    assert main(["instance", "-i", str(foreign), "-o", str(tmp_path / "out")]) == 3
    err = capsys.readouterr().err
    assert err.startswith("INPUT_LABELS: the label map holds the ids 1, 10")
    assert "--label-map" in err

    ids = {"1": "CORPUS", **{str(1000 + int(label)): int(label) for label in np.unique(ours) if label not in (0, 61)}}
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    arguments = ["--label-map", str(tmp_path / "ids.json"), "-o", str(tmp_path / "out")]
    assert main(["instance", "-i", str(foreign), *arguments]) == 0
    assert "LABELS_IGNORED: The ids 1061 " in capsys.readouterr().err
    mask = voxels(tmp_path / "out" / "sub-foreign_mod-foreign_seg-vert_msk.nii.gz")
    assert len(found(mask)) >= 3


def test_input_errors_leave_nothing(phantom, tmp_path: Path, capsys) -> None:
    assert main(["sample", "-i", str(tmp_path / "none.nii.gz"), "-o", str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err.startswith("INPUT_NOT_FOUND: ")
    assert main(["sample", "-i", str(phantom.instance), "-o", str(tmp_path / "out")]) == 3
    err = capsys.readouterr().err
    assert err.startswith("INPUT_LOOKS_LIKE_LABELS: ")
    assert "spineps instance" in err
    assert not (tmp_path / "out").exists()


def test_output_folder_is_tried_before_the_networks_run(phantom, tmp_path: Path, capsys, monkeypatch) -> None:
    def never(*_args: object, **_options: object) -> None:
        pytest.fail("the networks ran")

    monkeypatch.setattr("spineps.api.segment_scan", never)
    (tmp_path / "file").touch()
    assert main(["sample", "-i", str(phantom.scan), "-o", str(tmp_path / "file" / "folder")]) == 6
    assert capsys.readouterr().err.startswith("OUTPUT_")
    assert names_in(tmp_path) == {"file"}


def test_scan_without_a_spine_ends_with_4_and_a_record(phantom, tmp_path: Path, capsys) -> None:
    scan = nib.load(phantom.scan)
    noise = np.random.default_rng(0).normal(100, 20, scan.shape).astype(np.float32)
    nib.Nifti1Image(noise, scan.affine).to_filename(tmp_path / "noise.nii.gz")
    assert main(["sample", "-i", str(tmp_path / "noise.nii.gz"), "-o", str(tmp_path / "out")]) == 4
    assert capsys.readouterr().err.splitlines()[-1].startswith("NO_SPINE: ")
    assert names_in(tmp_path / "out") == {"sub-noise_mod-noise_run.json"}
    content = json.loads((tmp_path / "out" / "sub-noise_mod-noise_run.json").read_text())
    assert content["status"] == "NO_SPINE"


@pytest.mark.parametrize(("ambiguous", "status"), [("keep", "ambiguous"), ("number", "numbered"), ("fail", None)])
def test_what_becomes_of_a_scan_of_two_vertebrae(ambiguous: str, status: str | None, tmp_path: Path) -> None:
    scan, folder, prefix = phantom_scan(tmp_path / "scan_T2w.nii.gz", 8, vertebrae=2), tmp_path / "out", "sub-scan-T2w_mod-T2w"
    command = [sys.executable, "-m", "spineps", "sample", "-i", str(scan), "-o", str(folder), *MODEL_FLAGS]
    quick = ["--labeling", "masks", "--no-measures", "--ambiguous", ambiguous]
    done = subprocess.run([*command, *quick], capture_output=True, text=True, check=False)
    if status is None:
        assert done.returncode == 4, done.stderr
        assert done.stderr.splitlines()[-1].startswith("LEVELS_AMBIGUOUS: ")
        assert names_in(folder) == {f"{prefix}_run.json"}
        return
    assert done.returncode == 0, done.stderr
    content = json.loads((folder / f"{prefix}_run.json").read_text())
    assert content["levels"]["level_status"] == status
    assert "AMBIGUOUS_LEVELS" in [finding["code"] for finding in content["findings"]]
    names, *rows = [line.split("\t") for line in (folder / f"{prefix}_levels.tsv").read_text().splitlines()]
    assert {row[names.index("level_status")] for row in rows} == {status}
    ids = found(voxels(folder / f"{prefix}_seg-vert_msk.nii.gz"))
    assert (ids == list(range(2, 2 + len(rows)))) == (status == "numbered")


def test_sigterm_in_the_middle_leaves_nothing(phantom, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spineps", "sample", "-i", str(phantom.scan), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "Segmenting\n"
        child.send_signal(signal.SIGTERM)
        rest = child.stderr.read()
        assert child.wait(60) == 143
    assert rest.splitlines()[-1].startswith("Terminated")
    assert not list(tmp_path.rglob("*"))
