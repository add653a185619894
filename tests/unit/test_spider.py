"""The SPIDER layout, made from a phantom, becomes a folder that a training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spineps.cli import main
from spineps.labels import SACRUM_INSTANCE, Structure, is_vertebra
from spineps.phantom.phantom import Phantom, make_phantom
from spineps.training.own_cases import find_cases, read_case

LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(3, vertebrae=3, spacing_mm=(2.0, 2.0, 3.0), pathology=0.0, orientation=("L", "A", "S"))


def spider_labels(phantom: Phantom) -> np.ndarray:
    """Vertebrae from the bottom as 1, 2 ..., discs 201 ..., canal 100; the topmost one cut."""
    instance, semantic = np.asarray(phantom.instance.labels), np.asarray(phantom.semantic.labels)
    out = np.zeros(instance.shape, np.uint8)
    out[np.isin(semantic, (Structure.CANAL, Structure.CORD))] = 100
    ours = [int(i) for i in np.unique(instance) if is_vertebra(int(i)) and i != SACRUM_INSTANCE]
    for k, vertebra in enumerate(sorted(ours, reverse=True), start=1):
        out[instance == vertebra] = k + 100 * (k == len(ours))
        out[instance == 100 + vertebra] = 200 + k
    return out


def write_mha(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).reshape(-1).tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def write_spider(folder: Path, phantom: Phantom) -> np.ndarray:
    labels, affine = spider_labels(phantom), phantom.scan.geometry.affine
    stored = np.round(phantom.scan.image * 10).astype(np.int16)
    for name in ("1_t2", "1_t1", "2_t2_SPACE"):
        write_mha(folder / "images" / f"{name}.mha", stored, affine)
        write_mha(folder / "masks" / f"{name}.mha", labels, affine)
    write_mha(folder / "images" / "3_t2.mha", stored, affine)
    return labels


def test_spider_becomes_a_folder_to_train_on(phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    theirs = write_spider(tmp_path / "spider", phantom)
    assert main(["convert-spider", str(tmp_path / "spider"), str(tmp_path / "bids")]) == 0
    assert "3 scans in bids" in capsys.readouterr().err
    cases = {case.name: case for case in find_cases(tmp_path / "bids")}
    assert {name: case.patient for name, case in cases.items()} == {
        "sub-1_T1w": "1",
        "sub-1_T2w": "1",
        "sub-2_acq-space_T2w": "2",
    }
    case = read_case(cases["sub-1_T2w"])
    assert case.scan.geometry.matches(phantom.scan.geometry, tolerance_mm=1e-3)
    assert np.array_equal(case.scan.image, np.round(phantom.scan.image * 10))
    present = {int(k) for k in np.unique(theirs)} - {0}
    cut = max(k for k in present if 100 < k < 200) - 100
    assert set(np.unique(case.instance)) - {0} == {25 - k for k in range(1, cut + 1)} | {325 - k for k in present if k > 200}
    assert int((case.instance == 24).sum()) == int((theirs == 1).sum())
    assert int((case.semantic == Structure.CANAL).sum()) == int((theirs == 100).sum())
    assert case.parts_unknown()
    assert {Structure.CANAL, Structure.DISC, Structure.CORPUS} <= case.labelled()
    assert Structure.SACRUM not in case.labelled()


def test_what_is_not_spider_is_refused(phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def refused(what: str) -> bool:
        code = main(["convert-spider", str(tmp_path / "spider"), str(tmp_path / "bids")])
        return code == 3 and what in capsys.readouterr().err

    assert refused("none named as in SPIDER")
    labels = write_spider(tmp_path / "spider", phantom)
    affine = phantom.scan.geometry.affine
    mask = tmp_path / "spider" / "masks" / "1_t1.mha"
    write_mha(mask, np.where(labels == 1, 77, labels).astype(np.uint8), affine)
    assert refused("holds 77")
    write_mha(mask, labels, affine + np.outer([0, 0, 1, 0], [0, 0, 0, 5]))
    assert refused("does not lie on its grid")
    mask.write_bytes(mask.read_bytes()[:400])
    assert refused("INPUT_CORRUPT")
