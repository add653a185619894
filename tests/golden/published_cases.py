"""Models in the published formats and images, made from seeds; ``published.npz`` keeps what SPINEPS 2.1.3 gives for them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from published_formats import config, plans, write_instance, write_nnunet

from spineps.labels import Structure
from tests.spines import Spine, fused_with_a_waist, make_spine

GOLDEN = Path(__file__).with_name("published.npz")
SPACING = (0.75, 0.75, 1.65)
CUTOUT = (248, 304, 64)
NUMBERS = {"int16": (1.7, 1.7, 3.3), "uint16": (2.0, 2.0, 3.0), "float32": (2.4, 1.9, 2.6)}
"""Kinds of numbers that scanners write, each with a spacing; that of the models is 2 x 2 x 3 mm."""
SEMANTIC = {"folds": "int16", "mirrored": "uint16", "residual": "float32"}
RESAMPLING = {
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    **{
        f"resampling_fn_{what}_kwargs": {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        for what, order in (("data", 3), ("seg", 1), ("probabilities", 1))
    },
}
"""The published package wants these settings of nnU-Net in every plan."""
INSTANCE = {"wide": (16, 10), "narrow": (8, 11)}
"""Width and input channels of the networks of both generations."""


def semantic_model(folder: Path, name: str) -> Path:
    """Three folds of the older plans, one that is mirrored, and one residual network of the newer plans."""
    plan = plans("new" if name == "residual" else "old", **RESAMPLING)
    if name == "folds":
        write_nnunet(folder, "old", folds="012", settings=config(available_folds=3), plan=plan)
    elif name == "mirrored":
        write_nnunet(folder, "old", mirror=(0, 1, 2), settings=config(inference_augmentation=True), plan=plan)
    else:
        write_nnunet(folder, "new", settings=config(), plan=plan)
    return folder


def instance_model(folder: Path, name: str) -> Path:
    width, channels = INSTANCE[name]
    write_instance(folder, width, channels)
    return folder


def perfect_model(folder: Path) -> Path:
    """Settings of an instance model whose network the oracle takes the place of."""
    write_instance(folder, 8, 11, resolution_range=list(SPACING), cutout_size=list(CUTOUT))
    return folder


def image(numbers: str) -> nib.Nifti1Image:
    """Smooth noise within a black frame."""
    rng = np.random.default_rng(len(numbers))
    coarse = rng.gamma(2, 150, (9, 8, 6)).repeat(4, 0).repeat(4, 1).repeat(3, 2)
    values = coarse + rng.normal(0, 30, coarse.shape)
    values[:3], values[:, -2:], values[..., :1] = 0, 0, 0
    return nib.Nifti1Image(np.clip(values, 0, None).astype(numbers), np.diag([*NUMBERS[numbers], 1.0]))


def cutout() -> NDArray[np.uint8]:
    """All kinds of labels, in blocks."""
    labels = np.random.default_rng(0).choice([0, 0, 26, 41, 45, 48, 49, 60, 62, 100], (6, 8, 4)).astype(np.uint8)
    return labels.repeat(4, 0).repeat(4, 1).repeat(4, 2)


def damaged() -> tuple[Spine, NDArray[np.uint8]]:
    """A spine, and its mask with two fused bodies that are thinnest within the upper one, a hole, a lost arch and a speck."""
    spine = make_spine(5, (1.0, 1.0, 2.0))
    labels = fused_with_a_waist(spine)
    a, b, c = (int(v) for v in spine.centres_vox[0])
    labels[a - 2 : a + 2, b - 2 : b + 2, c - 1 : c + 1] = 0
    labels[(spine.truth == 2) & (labels == Structure.ARCUS)] = 0
    labels[2:4, 2:4, 2] = Structure.ARCUS
    return spine, labels
