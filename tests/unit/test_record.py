"""Saving: nine files or none, a record that proves them, the same bytes for the same result, and nobody's name inside."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import spineps
from spineps.config import PipelineConfig
from spineps.errors import ErrorCode, NoSpineError, OutputError
from spineps.outputs.save import save, save_failure
from spineps.volume import LabelMap, Scan
from tests.unit.handmade import SHA, listing, made_result


def test_nine_files_and_nothing_else(tmp_path: Path) -> None:
    saved = save(made_result(prefix="sub-X_mod-T2w"), tmp_path / "new" / "folder")
    assert saved.record == tmp_path / "new" / "folder" / "sub-X_mod-T2w_run.json"
    assert len(listing(saved.record.parent)) == 9
    assert all(path.is_file() for path in (saved.semantic, saved.instance, saved.centroids, saved.snapshot))


def test_masks_are_uint16_in_the_grid_of_the_input(tmp_path: Path) -> None:
    result = made_result(axes=("R", "A", "S"))
    saved = save(result, tmp_path, prefix="a")
    for path, label_map in ((saved.semantic, result.semantic), (saved.instance, result.instance)):
        image = nib.load(path)
        assert image.get_data_dtype() == np.uint16
        assert np.array_equal(np.asarray(image.dataobj), label_map.labels)
        assert np.allclose(image.affine, label_map.geometry.affine, atol=1e-4)


def test_centroids_load_in_tptbox(tmp_path: Path) -> None:
    from TPTBox import POI

    result = made_result()
    poi = POI.load(save(result, tmp_path).centroids)
    assert sorted(poi.keys_region()) == [2, 3, 4]
    assert poi[3, 50] == pytest.approx(result.centroids[1].voxel, abs=1e-3)


def test_record_says_what_was_done(tmp_path: Path) -> None:
    record = json.loads(save(made_result(), tmp_path).record.read_text())
    assert record["status"] == "DONE"
    assert record["spineps"] == spineps.__version__
    assert {"python", "numpy", "torch", "nibabel", "openvino"} <= record["versions"].keys()
    assert not {"seconds", "input_sha256"} & record.keys()
    assert record["models"]["semantic"]["weights_sha256"] == SHA
    assert record["settings_sha256"] == PipelineConfig().sha256()
    assert record["input"] == {
        "sha256": SHA,
        "shape": [60, 130, 14],
        "spacing_mm": [1.0, 1.0, 3.3],
        "orientation": "PIR",
    }
    assert record["findings"] == [{"code": "PARTIAL_VERTEBRA", "message": "Vertebra 2 is cut."}]
    assert [vertebra["label"] for vertebra in record["vertebrae"]] == [2, 3, 4]
    assert record["vertebrae"][0]["partial"] is True
    assert list(record)[-1] == "timing"
    assert record["timing"] == {"semantic": 1.5}


def test_record_holds_the_hash_of_every_file(tmp_path: Path) -> None:
    saved = save(made_result(), tmp_path)
    hashes = json.loads(saved.record.read_text())["outputs"]
    for role in ("semantic", "instance", "centroids", "snapshot", "page"):
        assert hashes[role] == hashlib.sha256(getattr(saved, role).read_bytes()).hexdigest()
    assert len(hashes) == 8


def test_same_result_same_bytes(tmp_path: Path) -> None:
    first, second = save(made_result(), tmp_path / "a"), save(made_result(), tmp_path / "b")
    for role in ("semantic", "instance", "centroids", "snapshot", "record"):
        assert getattr(first, role).read_bytes() == getattr(second, role).read_bytes(), role


def test_nobodys_name_inside(tmp_path: Path) -> None:
    saved = save(made_result(prefix="sub-CANARY_mod-T2w"), tmp_path / "CANARY")
    for path in (saved.centroids, saved.record, saved.snapshot):
        content = path.read_bytes()
        assert b"CANARY" not in content
        assert str(tmp_path).encode() not in content
    for path in (saved.semantic, saved.instance):
        assert b"CANARY" not in nib.load(path).header.binaryblock


def test_names_without_a_file(tmp_path: Path) -> None:
    assert save(made_result(), tmp_path).record.name == f"scan-{SHA[:8]}_run.json"
    result = made_result(with_scan=False)
    from_memory = replace(result, semantic=replace(result.semantic, source=spineps.Source()))
    assert save(from_memory, tmp_path).record.name == "scan_run.json"


def test_nothing_is_written_where_a_name_is_impossible(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        save(made_result(), tmp_path / "out", prefix="x" * 300)
    assert listing(tmp_path) == []


def test_old_files_stay_until_all_new_ones_are_whole(tmp_path: Path) -> None:
    before = save(made_result(), tmp_path, prefix="a").semantic.read_bytes()
    (tmp_path / "a_seg-spine_snp.png").unlink()
    (tmp_path / "a_seg-spine_snp.png").mkdir()  # the fourth file cannot be put in place
    with pytest.raises(OutputError):
        save(made_result(2), tmp_path, prefix="a")
    assert (tmp_path / "a_seg-spine_msk.nii.gz").read_bytes() == before
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


def test_scan_without_a_spine_leaves_a_record_alone(tmp_path: Path) -> None:
    scan = made_result().scan
    assert isinstance(scan, Scan)
    error = NoSpineError(ErrorCode.NO_SPINE, "nothing was found.", remedy="Check the scan.")
    place = save_failure(scan, PipelineConfig(), error, tmp_path, prefix="sub-X_mod-T2w")
    record = json.loads(place.read_text())
    assert listing(tmp_path) == ["sub-X_mod-T2w_run.json"]
    assert record["status"] == "NO_SPINE"
    assert record["outputs"] == {}


def test_label_maps_go_to_other_packages() -> None:
    from TPTBox import NII

    result = made_result()
    nii = spineps.to_nii(result.instance)
    assert isinstance(nii, NII)
    assert nii.seg
    assert np.array_equal(nii.get_seg_array(), result.instance.labels)
    assert spineps.to_nibabel(result.scan).get_data_dtype() == np.float32
    assert isinstance(result.instance, LabelMap)
