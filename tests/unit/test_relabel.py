"""Other names for a finished result, from its masks alone."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spineps import api
from spineps.cli import main
from spineps.errors import InputError, UsageError
from spineps.io.poi import read_poi
from spineps.labels import Structure
from spineps.outputs.relabel import Correction, parse_anchors
from spineps.outputs.save import SavedFiles
from spineps.pipeline import Models, segment_instances
from spineps.volume import LevelStatus
from tests.spines import Oracle, make_spine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SavedFiles:
    spine = make_spine(4)
    folder = tmp_path_factory.mktemp("made")
    return api.save(segment_instances(spine.semantic, Models(None, Oracle(spine))), folder, prefix="sub-X_mod-T2w")


@pytest.fixture
def saved(made: SavedFiles, tmp_path: Path) -> SavedFiles:
    folder = tmp_path / "result"
    shutil.copytree(made.record.parent, folder)
    places = {f.name: getattr(made, f.name) for f in fields(made)}
    return replace(made, **{name: folder / path.name for name, path in places.items() if isinstance(path, Path)})


def _ids(path: Path) -> list[int]:
    labels = np.unique(np.asarray(nib.load(path).dataobj))
    return [int(v) for v in labels if 0 < v < 100 and v != 26]


def test_an_anchor_names_all(saved: SavedFiles) -> None:
    first = _ids(saved.instance)[0]
    again = api.relabel(saved.record.parent, Correction({str(first): "T12"}))
    assert _ids(again.instance) == [19, 20, 21, 22]
    rows = list(csv.DictReader(again.levels.open(encoding="utf-8"), delimiter="\t"))
    assert [row["level"] for row in rows] == ["T12", "L1", "L2", "L3"]
    assert {row["level_status"] for row in rows} == {LevelStatus.NAMED.value}
    record = json.loads(again.record.read_text(encoding="utf-8"))
    assert record["relabelled"] == {"anchors": {str(first): "T12"}}
    assert record["levels"]["level_status"] == "named"
    assert [v["name"] for v in record["vertebrae"]] == ["T12", "L1", "L2", "L3"]
    assert all(v["agreement"] > 0 for v in record["vertebrae"])
    assert "AMBIGUOUS_LEVELS" not in [f["code"] for f in record["findings"]]
    assert "measures" in record["outputs"]


def test_names_can_be_given_by_their_present_name_and_shifted(saved: SavedFiles) -> None:
    folder = saved.record.parent
    api.relabel(folder, Correction({str(_ids(saved.instance)[-1]): "L5"}))
    assert _ids(saved.instance) == [21, 22, 23, 24]
    assert main(["relabel", str(folder), "--shift", "-1", "--quiet"]) == 0
    assert _ids(saved.instance) == [20, 21, 22, 23]
    assert main(["relabel", str(folder), "--anchor", "L4=L5", "--quiet"]) == 0
    assert _ids(saved.instance) == [21, 22, 23, 24]


def test_a_thirteenth_thoracic_vertebra_needs_two_anchors(saved: SavedFiles) -> None:
    ids = _ids(saved.instance)
    again = api.relabel(saved.record.parent, Correction(parse_anchors([f"{ids[1]}=T12", f"{ids[2]}=t13"])))
    assert _ids(again.instance) == [18, 19, 20, 28]
    voxels = np.asarray(nib.load(again.instance).dataobj)
    assert {118, 119, 128} <= set(np.unique(voxels).tolist())


def test_what_cannot_be_named_is_refused(saved: SavedFiles, tmp_path: Path) -> None:
    folder = saved.record.parent
    before = saved.instance.read_bytes()
    first = _ids(saved.instance)[0]
    for correction in (Correction(), Correction({"99": "L1"}), Correction({"nobody": "L1"}), Correction({str(first): "L5"})):
        with pytest.raises(UsageError):
            api.relabel(folder, correction)
    with pytest.raises(UsageError, match="no level"):
        api.relabel(folder, Correction(shift=-40))
    with pytest.raises(UsageError, match="anchor"):
        parse_anchors(["3-L5"])
    with pytest.raises(InputError, match="record"):
        api.relabel(tmp_path / "nowhere", Correction(shift=1))
    assert saved.instance.read_bytes() == before


def test_points_of_each_level(saved: SavedFiles) -> None:
    points, geometry = read_poi(saved.points)
    ids = _ids(saved.instance)
    found = {(p.instance, p.structure): geometry.to_mm(p.voxel) for p in points}
    parts = (Structure.CORPUS_INNER, Structure.SPINOUS, Structure.CANAL, Structure.DISC)
    assert {(number, int(part)) for number in ids for part in parts} <= set(found)
    for number in ids:
        body, spinous, canal, disc = (found[number, int(part)] for part in parts)
        assert body[1] > canal[1] > spinous[1]  # RAS+: to anterior
        assert disc[2] < body[2]
        plates = [found[number, int(s)][2] for s in (Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR)]
        assert plates[0] > body[2] > plates[1]
    verse = json.loads(saved.verse.read_text(encoding="utf-8"))
    assert verse[0] == {"direction": list(geometry.axes)}
    assert [entry["label"] for entry in verse[1:]] == ids
