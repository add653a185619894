"""Combining masks: priority, the cord, endplates between bodies and discs, and that the result beats its sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from spineps.cli import main
from spineps.io import atomic
from spineps.labels import BODY, ENDPLATES, POSTERIOR, SEGMENTED, VERTEBRA, Structure
from spineps.phantom.phantom import Phantom, make_phantom
from spineps.stages.combine import NamedMask, combine, endplates

SPACING = (1.0, 1.0, 2.0)


def merged(labels: np.ndarray) -> np.ndarray:
    """Endplates as one class, bodies as one."""
    out = labels.copy()
    out[np.isin(out, ENDPLATES)] = Structure.ENDPLATE
    out[np.isin(out, BODY)] = Structure.CORPUS
    return out


def blocks(truth: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """The first source: block-shaped bodies, discs, canal and sacrum; nothing behind the canal, no cord, no endplates."""
    out = np.zeros_like(truth)
    for structure in (Structure.SACRUM, Structure.DISC):
        out[truth == structure] = structure
    out[np.isin(truth, (Structure.CANAL, Structure.CORD))] = Structure.CANAL
    for vertebra in np.unique(instance[truth == Structure.CORPUS]):
        where = np.argwhere((instance == vertebra) & (truth == Structure.CORPUS))
        low, high = np.percentile(where, (8, 92), axis=0).astype(int)
        box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
        out[box] = np.where(out[box] == 0, np.uint8(Structure.CORPUS), out[box])
    return out


def dilated(truth: np.ndarray) -> np.ndarray:
    """The second source: whole vertebrae with their parts, a voxel too thick, as translated from CT."""
    bone = np.where(np.isin(truth, VERTEBRA), truth, np.uint8(0))
    grown = ndimage.grey_dilation(bone, footprint=ndimage.generate_binary_structure(3, 1))
    return np.where(bone > 0, bone, grown)


def dice(found: np.ndarray, truth: np.ndarray) -> dict[int, float]:
    sizes = {int(s): ((found == s).sum() + (truth == s).sum(), ((found == s) & (truth == s)).sum()) for s in SEGMENTED}
    return {s: 2 * both / total for s, (total, both) in sizes.items() if (truth == s).any()}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(21, vertebrae=3, spacing_mm=SPACING, pathology=0.0)


@pytest.fixture(scope="module")
def sources(phantom: Phantom) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    truth = merged(np.asarray(phantom.semantic.labels))
    cord = np.where(truth == Structure.CORD, np.uint8(1), np.uint8(0))
    return truth, blocks(truth, np.asarray(phantom.instance.labels)), dilated(truth), cord


def test_the_combination_beats_each_of_three_imperfect_sources(sources) -> None:
    truth, first, second, cord = sources
    found = combine([NamedMask("blocks", first), NamedMask("vertebrae", second)], SPACING, cord=cord)
    alone = [first, second, np.where(cord > 0, np.uint8(Structure.CORD), np.uint8(0))]
    means = [float(np.mean(list(dice(mask, truth).values()))) for mask in (*alone, found.labels)]
    assert means[3] > max(means[:3]) + 0.2
    bone = [2 * (np.isin(m, VERTEBRA) & np.isin(truth, VERTEBRA)).sum() for m in (first, second, found.labels)]
    size = [np.isin(m, VERTEBRA).sum() + np.isin(truth, VERTEBRA).sum() for m in (first, second, found.labels)]
    vertebrae = [b / n for b, n in zip(bone, size, strict=True)]
    assert vertebrae[2] > max(vertebrae[:2])
    by_structure = dice(found.labels, truth)
    for structure in (Structure.CORPUS, Structure.DISC, Structure.CANAL, Structure.CORD, Structure.ENDPLATE):
        best = max(dice(mask, truth).get(int(structure), 0) for mask in alone)
        assert by_structure[int(structure)] >= best - 0.03, structure
    assert by_structure[int(Structure.ENDPLATE)] > 0.4
    assert all(by_structure[int(s)] >= dice(second, truth)[int(s)] for s in POSTERIOR if int(s) in by_structure)


def test_what_is_labelled_stays_and_the_report_adds_up(sources) -> None:
    _, first, second, cord = sources
    found = combine([NamedMask("a", first), NamedMask("b", second)], SPACING, cord=cord, gap_mm=0)
    kept = (first > 0) & (cord == 0)
    assert np.array_equal(found.labels[kept], first[kept])
    assert found.sources == ("a", "b", "cord", "endplates")
    for number in (1, 2, 3):
        name = found.sources[number - 1]
        assert sum(s.taken for s in found.shares if s.source == name) == int((found.origin == number).sum())
    assert all(share.taken <= share.offered for share in found.shares)
    assert np.array_equal(found.origin > 0, found.labels > 0)


def test_the_cord_never_replaces_bone() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[0], labels[1] = Structure.ARCUS, Structure.CANAL
    found = combine([NamedMask("a", labels)], (1, 1, 1), cord=np.ones_like(labels)).labels
    assert set(np.unique(found[0])) == {Structure.ARCUS}
    assert set(np.unique(found[1:])) == {Structure.CORD}


def test_the_gap_between_body_and_disc_is_endplate_and_no_wider_one() -> None:
    column = np.zeros((5, 30, 5), np.uint8)
    column[:, 2:10], column[:, 12:16], column[:, 24:28] = Structure.CORPUS, Structure.DISC, Structure.CORPUS
    plate = endplates(column, (1.0, 1.0, 1.0), 4.0)
    assert plate[:, 10:12].all()
    assert plate.sum() == 5 * 2 * 5
    column[:, 10:12] = Structure.DISC
    touching = endplates(column, (1.0, 1.0, 1.0), 4.0)
    assert touching[:, 9].all()
    assert touching.sum() == 5 * 5


def test_the_command_writes_mask_table_and_origin(phantom: Phantom, sources, tmp_path: Path, capsys) -> None:
    _, first, second, cord = sources
    theirs = np.select([first == Structure.CORPUS, first == Structure.DISC, first == Structure.CANAL], [1, 2, 3], 0)
    for name, labels in (("a", theirs.astype(np.uint8)), ("b", second), ("c", cord)):
        atomic.write_nifti(tmp_path / f"{name}.nii.gz", labels, phantom.semantic.geometry)
    (tmp_path / "map.json").write_text('{"1": 49, "2": 100, "3": 61}')
    a, b, c = (str(tmp_path / f"{name}.nii.gz") for name in "abc")
    out = tmp_path / "out.nii.gz"
    base = ["combine", f"bodies={a}", f"bone={b}", "--cord", c, "-o", str(out)]
    assert main(base) == 3
    assert "--map bodies=" in capsys.readouterr().err
    assert main([*base, "--map", f"bodies={tmp_path / 'map.json'}", "--origin", str(tmp_path / "from.nii.gz")]) == 0
    rows = [line.split("\t") for line in (tmp_path / "out_sources.tsv").read_text().splitlines()]
    assert rows[0][:3] == ["source", "label", "structure"]
    assert {row[0] for row in rows[1:]} == {"bodies", "bone", "cord", "endplates"}
    assert (tmp_path / "from.nii.gz").is_file()
    assert main([*base, "--gap-mm", "99"]) == 2
    assert main(["combine", a, a, "-o", str(out)]) == 2
