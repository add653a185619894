"""The installed command line as scripts for the published program call it, both generations, on a small phantom."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spineps.cli import main
from spineps.labels import ENDPLATE_OFFSET, Structure

PREFIX = "sub-CANARY_mod-T2w"
OLDER = (
    "-input {scan} -der_name results -nocrop -save_softmax_logits -save_modelres_mask -save_debug -cpu -override_semantic "
    "-run_cprofiler -verbose"
)
NEWER = (
    "--input {scan} --derivative-name results --no-crop --save-softmax-logits --save-modelres-mask --save-debug --cpu "
    "--override-semantic --verbose --model-semantic auto"
)
PROFILE = f"{PREFIX}_profile.txt"


def program() -> list[str]:
    """The installed program, or where it is not installed the module."""
    installed = Path(sys.executable).with_name("spineps")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "spineps"]


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def runs(phantom, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of the same call in both generations: the older one of the installed program, the suffix of the scan left out."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("older", "newer", "cache")}
    for name in ("older", "newer"):
        shutil.copy(phantom.scan, folders[name])
    older, newer = (folders[name] / phantom.scan.name for name in ("older", "newer"))
    words = shlex.split(OLDER.format(scan=str(older).removesuffix(".nii.gz")))
    done = subprocess.run([*program(), "sample", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CANARY" not in done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINEPS_MODELS", str(folders["cache"]))
        patch.delenv("SPINEPS_SEGMENTOR_MODELS", raising=False)
        assert main(["sample", *shlex.split(NEWER.format(scan=newer))]) == 0
    return {name: folders[name] / "results" for name in ("older", "newer")}


def test_both_generations_write_the_same(runs: dict[str, Path]) -> None:
    older, newer = runs["older"], runs["newer"]
    names = {path.relative_to(older).as_posix() for path in older.rglob("*") if path.is_file()}
    assert names == {PROFILE, *(path.relative_to(newer).as_posix() for path in newer.rglob("*") if path.is_file())}
    assert names >= {
        f"{PREFIX}_seg-spine_msk.nii.gz",
        f"{PREFIX}_seg-vert_msk.nii.gz",
        f"{PREFIX}_seg-spine_ctd.json",
        f"{PREFIX}_seg-spine_snp.png",
        f"{PREFIX}_run.json",
        f"output_raw_T2w/{PREFIX}_seg-spine_logit.npz",
        f"output_raw_T2w/{PREFIX}_seg-spine_unc.nii.gz",
        f"output_raw_T2w/{PREFIX}_seg-spine-modelres_msk.nii.gz",
        "debug_T2w/clean_T2w.nii.gz",
    }
    for name in names:
        if name.endswith((".nii.gz", ".npz", "_ctd.json")):
            assert (older / name).read_bytes() == (newer / name).read_bytes(), name


def test_probabilities_and_uncertainty_belong_to_the_mask(runs: dict[str, Path], phantom) -> None:
    folder = runs["newer"]
    mask = voxels(folder / f"{PREFIX}_seg-spine_msk.nii.gz")
    with np.load(folder / "output_raw_T2w" / f"{PREFIX}_seg-spine_logit.npz") as file:
        softmax, labels = file["softmax"].astype(np.float32), file["labels"]
    assert softmax.shape == (len(labels), *nib.load(phantom.scan).shape)
    np.testing.assert_allclose(softmax.sum(axis=0), 1, atol=5e-3)
    body = labels[softmax.argmax(axis=0)] == Structure.CORPUS
    assert 2 * (body & (mask == Structure.CORPUS)).sum() / (body.sum() + (mask == Structure.CORPUS).sum()) > 0.9
    uncertainty = voxels(folder / "output_raw_T2w" / f"{PREFIX}_seg-spine_unc.nii.gz")
    assert uncertainty.dtype == np.float32
    assert 0 <= uncertainty.min() < 0.05
    assert 0.2 < uncertainty.max() <= 1
    sure = softmax.max(axis=0) > 0.999
    assert uncertainty[sure].mean() < uncertainty[~sure].mean()


def test_the_record_names_every_file_and_the_profile_no_folder(runs: dict[str, Path]) -> None:
    record = json.loads((runs["older"] / f"{PREFIX}_run.json").read_text())
    assert record["outputs"].keys() >= {"semantic", "instance", "softmax", "uncertainty", "model_mask"}
    assert record["settings"]["preprocess"]["crop"] is False
    profile = (runs["older"] / PROFILE).read_text()
    assert "cumulative" in profile
    assert "CANARY" not in profile
    assert str(Path.home()) not in profile


def test_auto_says_that_the_bundled_model_ran(runs: dict[str, Path]) -> None:
    older, newer = (json.loads((runs[name] / f"{PREFIX}_run.json").read_text())["findings"] for name in ("older", "newer"))
    (finding,) = (finding for finding in newer if finding["code"] == "MODEL_BUNDLED")
    assert finding["message"].startswith("The bundled semantic model ran: t2w is not on this machine")
    assert [finding for finding in newer if finding["code"] != "MODEL_BUNDLED"] == older


def test_endplate_switches(runs: dict[str, Path], phantom, tmp_path: Path) -> None:
    arguments = ["--no-crop", "--cpu", "--endplate-labels", "merged", "--endplate-owner", "vertebra", "--quiet"]
    assert main(["sample", "-i", str(phantom.scan), "-o", str(tmp_path), *arguments]) == 0
    split, merged = (voxels(folder / f"{PREFIX}_seg-spine_msk.nii.gz") for folder in (runs["newer"], tmp_path))
    plates = np.isin(split, [Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR, Structure.ENDPLATE])
    assert plates.any()
    assert np.array_equal(plates, merged == Structure.ENDPLATE)
    by_disc, by_vertebra = (voxels(folder / f"{PREFIX}_seg-vert_msk.nii.gz") for folder in (runs["newer"], tmp_path))
    superior = split == Structure.ENDPLATE_SUPERIOR
    inferior = (split == Structure.ENDPLATE_INFERIOR) & (by_disc > ENDPLATE_OFFSET)
    assert np.array_equal(by_disc[inferior], by_vertebra[inferior])
    both = superior & (by_disc > ENDPLATE_OFFSET) & (by_vertebra > ENDPLATE_OFFSET)
    assert both.any()
    assert (by_disc[both] != by_vertebra[both]).mean() > 0.9


def test_a_published_model_by_its_folder(phantom, tmp_path: Path, monkeypatch, capsys) -> None:
    from published_models import instance_folder, semantic_folder

    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("SPINEPS_SEGMENTOR_MODELS", str(tmp_path / "models"))
    semantic_folder(tmp_path / "models" / "T2w_semantic_v1.0.9")
    instance_folder(tmp_path / "models" / "instance_sagittal_v1.2.0")
    words = [
        "-i",
        str(phantom.scan),
        "-model_semantic",
        "t2w",
        "-model_instance",
        "instance",
        "-non4",
        "-ssl",
        "-sd",
        "-o",
        str(tmp_path / "out"),
    ]
    code = main(["sample", *words])  # networks of random weights find no spine, or nonsense; what counts is that they ran
    assert code in (0, 4), capsys.readouterr().err
    assert sorted(path.name.rpartition("-")[0] for path in (tmp_path / "cache").iterdir()) == [
        "instance-vertebra-test",
        "t2w-test",
    ]
    assert (tmp_path / "out" / f"{PREFIX}_run.json").exists()
    mask, scan = nib.load(tmp_path / "out" / "debug_T2w" / "semantic_T2w.nii.gz"), nib.load(phantom.scan)
    np.testing.assert_allclose(mask.header.get_zooms(), (2, 2, 4), atol=1e-3)
    centres = [image.affine @ [*((np.array(image.shape) - 1) / 2), 1] for image in (mask, scan)]
    assert np.linalg.norm(centres[0] - centres[1]) < 4  # it lies where the scan does
