"""Published labeling networks: each head as evidence, how patches are cut, and the way from a folder to names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from published_formats import write_labeling

from spineps.config import ComputeConfig, Device, Precision
from spineps.inference.load import load_labeling
from spineps.labeling.evidence import Evidence, gather_evidence, mask_evidence
from spineps.labeling.naming import decide
from spineps.labeling.published import (
    body_centres,
    cut_patches,
    name_scores,
    published_scores,
    relations,
    upright_turns,
    visibility,
)
from spineps.labeling.sequence import INDEX, NAMES, legal_sequences, solve
from spineps.labels import Scheme
from spineps.networks.published import VertebraClassifier
from spineps.phantom.anatomy import AnatomySpec, build_anatomy
from spineps.phantom.morphometry import Variant
from spineps.volume import LabelMap

SPACING = (1.5, 1.5, 3.0)
CLASSES = {"VERT": 24, "VERTEX": 26, "VERTGRP": 12, "REGION": 3, "VERTREL": 6, "VT13": 2, "FULLYVISIBLE": 2}
GROUPS = ["C1 C2", "C3 C4 C5", "C6 C7", "T1 T2", "T3 T4", "T5 T6 T7", "T8 T9", "T10 T11", "T12 T13", "L1 L2", "L3 L4", "L5 L6"]
ENDS = {"C7": 1, "T1": 2, "L1": 4}
BORDER = ("T10", "T11", "T12", "L1", "L2", "L3")


class Seer:
    """Knows the level by the brightness in the middle of its patch, and gives the opinions of some heads, nearly sure."""

    patch_size = (24, 24, 16)
    rotated = False
    t13 = True

    def __init__(self, heads: tuple[str, ...], spine: tuple[str, ...] = BORDER, *, whole: float = 1.0) -> None:
        self.heads = {head: CLASSES[head] for head in heads}
        self._spine, self._whole = spine, whole

    def spacing_for(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        return spacing_mm

    def __call__(self, patch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        place = round(float(patch[12, 12, 8]) / 100) - 1
        return {head: self._opinion(head, place) for head in self.heads}

    def _opinion(self, head: str, place: int) -> NDArray[np.float32]:
        name, below = self._spine[place], (*self._spine, "")[place + 1]
        regular = [other for other in NAMES if other not in ("T13", "L6", "S1")]
        ends_region = below != "" and below[0] != name[0]
        found = {
            "VERT": lambda: regular.index({"T13": "T12", "L6": "L5"}.get(name, name)),
            "VERTEX": lambda: INDEX[name],
            "VERTGRP": lambda: [name in group.split() for group in GROUPS].index(True),
            "REGION": lambda: "CTL".index(name[0]),
            "VERTREL": lambda: {"T": 3, "L": 5}[name[0]] if ends_region else ENDS.get(name, 0),
            "VT13": lambda: int(name == "T13" and self.t13),
        }
        if head == "FULLYVISIBLE":
            return np.array([1 - self._whole, self._whole], np.float32)
        said = np.full(CLASSES[head], 0.05 / (CLASSES[head] - 1), np.float32)
        said[found[head]()] = 0.95
        return said


@dataclass(frozen=True)
class Spine:
    """Both masks of six vertebrae at the border of thorax and loins."""

    semantic: LabelMap
    instance: LabelMap
    image: NDArray[np.float32]
    """A hundred times the place of the vertebra, from one to the next."""


@pytest.fixture(scope="module")
def spine() -> Spine:
    spec = AnatomySpec((110, 1, 28), SPACING, first=17, last=22, variant=Variant.NONE, pathology=0.0)
    made = build_anatomy(np.random.default_rng(3), spec)
    wanted = [number for number, name in made.levels.items() if name in BORDER]
    instance = np.where(np.isin(made.instance, wanted), made.instance, 0).astype(np.uint16)
    semantic = np.where((made.instance > 0) & (instance == 0), 0, made.semantic).astype(np.uint8)
    middles = [np.argwhere(instance == number)[:, 1].mean() for number in wanted]
    nearest = np.abs(np.arange(made.instance.shape[1])[:, None] - np.array(middles)).argmin(axis=1)
    image = np.broadcast_to(100.0 * (nearest[None, :, None] + 1), made.instance.shape).astype(np.float32)
    masks = LabelMap(semantic, made.geometry, Scheme.SEMANTIC), LabelMap(instance, made.geometry, Scheme.INSTANCE)
    return Spine(*masks, image)


def _evidence(spine: Spine, network: Seer | None) -> Evidence:
    found = gather_evidence(spine.semantic, spine.instance, spine.image, network)
    assert found is not None
    return found


def _masks(spine: Spine) -> Evidence:
    found = mask_evidence(spine.semantic.labels, spine.instance.labels, SPACING)
    assert found is not None
    return found


def _preference(spine: Spine, network: Seer, names: tuple[str, ...]) -> float:
    """By how much the network's evidence prefers the names to the best of all other sequences."""
    scores, whole = published_scores(network, spine.image, spine.semantic, spine.instance, _masks(spine).column)
    walks = legal_sequences(6).names
    said = scores[np.arange(6), walks].sum(axis=1) + whole
    right = np.array([tuple(NAMES[i] for i in walk) == names for walk in walks])
    return float(said[right][0] - said[~right].max())


@pytest.mark.parametrize("head", ["VERTEX", "VERTGRP", "REGION", "VERTREL"])
def test_a_head_alone_finds_the_border_of_two_regions(head: str, spine: Spine) -> None:
    assert _preference(spine, Seer((head,)), BORDER) >= (
        0.5 if head == "VERTEX" else -1e-9
    )  # others leave T10 or not to the masks


def test_a_head_with_variants_tells_a_thirteenth_thoracic_vertebra_better(spine: Spine) -> None:
    names = ("T11", "T12", "T13", "L1", "L2", "L3")
    twelve = ("T11", "T12", "L1", "L2", "L3", "L4")
    assert _preference(spine, Seer(("VERT",), names), names) < _preference(spine, Seer(("VERTEX",), names), names)
    assert _preference(spine, Seer(("VERTEX",), names), names) > 0.5
    assert _preference(spine, Seer(("VERT",), twelve), twelve) > 0.5


@pytest.mark.parametrize("heads", [("VERTEX",), ("VERT", "VERTGRP", "REGION", "VERTREL", "FULLYVISIBLE"), tuple(CLASSES)])
def test_the_opinions_name_the_vertebrae(heads: tuple[str, ...], spine: Spine) -> None:
    assert decide(_evidence(spine, Seer(heads))).levels.best == BORDER
    assert decide(_evidence(spine, Seer(heads))).levels.probability > decide(_masks(spine)).levels.probability


def test_the_head_for_a_thirteenth_thoracic_vertebra_is_heard(spine: Spine) -> None:
    names = ("T11", "T12", "T13", "L1", "L2", "L3")
    heads = ("VERT", "REGION", "VERTREL", "VT13")
    denies, says = Seer(heads, names), Seer(heads, names)
    denies.t13 = False
    share = []
    for network in (denies, says):
        found = _evidence(spine, network)
        solution = solve(found.scores, found.whole)
        assert solution is not None
        share.append(solution.variants["T13"])
    assert share[1] > share[0]
    assert decide(_evidence(spine, Seer(("VERTEX", "VT13"), names))).levels.best == names


def test_a_vertebra_that_is_cut_counts_less(spine: Spine) -> None:
    whole, cut = (_preference(spine, Seer(("VERTEX", "FULLYVISIBLE"), whole=value), BORDER) for value in (1.0, 0.0))
    assert cut == pytest.approx(whole / 2)
    assert visibility({}) == 1


def test_more_heads_are_not_more_witnesses() -> None:
    """The weights are shares: the opinions of one network on one vertebra count as one."""
    network = Seer(("VERTEX", "VERT", "VERTGRP", "REGION"))
    said = {head: network._opinion(head, 2) for head in network.heads}
    alone, all_of_them = name_scores({"VERTEX": said["VERTEX"]}) / 0.9, name_scores(said) / 3.7
    assert all_of_them[INDEX["T12"]] == pytest.approx(alone[INDEX["T12"]])


def test_which_end_of_a_region_a_vertebra_is() -> None:
    walks = [tuple(NAMES[i] for i in walk) for walk in legal_sequences(4).names]

    def of(*names: str) -> list[int]:
        return [int(k) for k in relations(4)[walks.index(names)]]

    assert of("C6", "C7", "T1", "T2") == [0, 1, 2, 0]
    assert of("T11", "T12", "L1", "L2") == [0, 3, 4, 0]
    assert of("T12", "T13", "L1", "L2") == [0, 3, 4, 0]
    assert of("T10", "T11", "L1", "L2") == [0, 3, 4, 0]
    assert of("L3", "L4", "L5", "S1") == [0, 0, 5, 0]
    assert of("L3", "L4", "L5", "L6") == [0, 0, 0, 5]
    assert of("T9", "T10", "T11", "T12") == [0, 0, 0, 3]
    assert of("L2", "L3", "L4", "S1") == [0, 0, 5, 0]


def test_patches_lie_around_the_middle_of_the_body(spine: Spine) -> None:
    column = _masks(spine).column
    centres = body_centres(spine.semantic, spine.instance, column)
    assert np.abs(centres * SPACING - column.centres_mm).max() < 6
    image = np.zeros(spine.image.shape, np.float32)
    image[tuple(np.rint(centres[2]).astype(int))] = 100
    patch = cut_patches(Seer(()), image, SPACING, centres, column.centres_mm)[2]
    assert np.unravel_index(patch.argmax(), patch.shape) == (12, 12, 8)


def test_a_patch_is_turned_along_the_spine() -> None:
    network, tilt = Seer(()), np.tan(np.radians(25))
    network.rotated = True  # type: ignore[misc]
    heights = np.arange(20.0, 81.0, 15.0)
    column = np.stack([10 + tilt * heights, heights, np.full(len(heights), 12.0)], axis=1)
    p, i = np.mgrid[0:70, 0:100]
    line = np.exp(-((p - 10 - tilt * i) ** 2) / 8).astype(np.float32)
    image = np.repeat(line[..., None], 24, axis=2)
    assert len(upright_turns(column)) == len(column)
    upright = cut_patches(network, image, (1.0, 1.0, 1.0), column, column)[2]
    assert {int(row) for row in upright[:, 2:-2, 8].argmax(axis=0)} == {12}
    network.rotated = False  # type: ignore[misc]
    tilted = cut_patches(network, image, (1.0, 1.0, 1.0), column, column)[2]
    assert len({int(row) for row in tilted[:, 2:-2, 8].argmax(axis=0)}) > 5


def test_a_folder_with_every_head_runs(tmp_path, monkeypatch, spine: Spine) -> None:
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = VertebraClassifier("resnet", (1, 1, 1, 1), CLASSES).eval()
    write_labeling(tmp_path / "m", network, final_size=(40, 40, 32), ds_name="sagittal_v4corpus_npz")
    engine = load_labeling(ComputeConfig(Device.CPU, Precision.FP32, 1), tmp_path / "m")
    assert engine.rotated
    found = gather_evidence(spine.semantic, spine.instance, spine.image, engine)
    masks = _masks(spine)
    assert found is not None
    assert np.isfinite(found.scores[:, INDEX["C2"] : INDEX["L6"]]).all()
    assert not np.allclose(found.scores[:, INDEX["C2"] : INDEX["L6"]], masks.scores[:, INDEX["C2"] : INDEX["L6"]])
    assert not np.allclose(found.whole, masks.whole)
