"""The first body of the sacrum at the end of the field of view, told from a last vertebra by how the spine bends there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spineps.errors import FindingCode
from spineps.geometry import Geometry
from spineps.labels import Scheme, Structure
from spineps.stages.instances import RawInstances
from spineps.stages.sacral import with_first_sacral
from spineps.volume import LabelMap

SHAPE = (110, 130, 12)
BODY_MM, DISC_MM = 26.0, 9.0


def column(tilts_deg: tuple[float, float, float], *, room: int = 0, last: float = 0.6) -> tuple[LabelMap, RawInstances]:
    """Three bodies under each other, each tilted backwards against the grid; below the last ``room`` voxels are free.

    ``last``: height of the last body, relative to the others. Every body has an arch, and an endplate
    and a disc below it that are tilted as it is.
    """
    semantic, instance = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    p, i, _ = np.indices(SHAPE).astype(float)
    corner = np.array([40.0, 6.0])
    for number, tilt in enumerate(tilts_deg, start=1):
        angle = np.radians(tilt)
        down, back = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
        height = BODY_MM * (last if number == 3 else 1.0)
        along = (p - corner[0]) * down[0] + (i - corner[1]) * down[1]
        across = (p - corner[0]) * back[0] + (i - corner[1]) * back[1]
        wide = np.abs(across) < 15
        for label, low, high in (
            (Structure.CORPUS, 0.0, height),
            (Structure.ENDPLATE, height, height + 1.5),
            (Structure.DISC, height + 1.5, height + DISC_MM),
        ):
            semantic[wide & (along >= low) & (along < high)] = label
        semantic[(across >= 22) & (across < 32) & (along >= 4) & (along < height - 4)] = Structure.ARCUS
        owned = (along >= 0) & (along < height) & ((semantic == Structure.CORPUS) | (semantic == Structure.ARCUS))
        instance[owned & (np.abs(across) < 33)] = number
        corner += (height + DISC_MM) * down
    semantic[..., [0, -1]], instance[..., [0, -1]] = 0, 0
    rows = np.flatnonzero((instance == 3).any(axis=(0, 2)))
    stop = int(rows[-1]) + 1 + room
    geometry = Geometry.from_spacing((SHAPE[0], stop, SHAPE[2]), (1.0, 1.0, 3.0))
    raw = RawInstances(instance[:, :stop].copy(), {1: 0.9, 2: 0.9, 3: 0.8}, ())
    return LabelMap(semantic[:, :stop].copy(), geometry, Scheme.SEMANTIC), raw


def test_a_body_behind_a_sharp_bend_is_sacrum() -> None:
    semantic, raw = column((0.0, 24.0, 40.0), room=4)
    labels, done = with_first_sacral(semantic, raw)
    assert (labels.labels[raw.labels == 3] == Structure.SACRUM).all()
    assert set(np.unique(done.labels)) == {0, 1, 2}
    assert set(done.agreement) == {1, 2}
    assert [finding.code for finding in done.findings] == [FindingCode.SACRAL_BODY]
    lowest = np.argwhere(labels.labels == Structure.DISC)[:, 1].max()
    assert lowest < np.argwhere(raw.labels == 3)[:, 1].max(), "no disc is left below the sacrum's first body"
    others = raw.labels != 3
    kept = others & (labels.labels != Structure.SACRUM)
    assert np.array_equal(labels.labels[kept], semantic.labels[kept])
    assert (semantic.labels[others & (labels.labels == Structure.SACRUM)] != Structure.CORPUS).all()


@pytest.mark.parametrize(
    ("tilts_deg", "options"),
    [
        ((0.0, 13.0, 22.0), {}),  # bends as the last two lumbar levels do
        ((0.0, 24.0, 40.0), {"room": 24}),  # room for the second sacral body, none seen
        ((0.0, 24.0, 40.0), {"last": 1.0}),  # as large as a vertebra
        ((0.0, -24.0, -40.0), {}),  # a kyphosis
    ],
)
def test_a_vertebra_stays_one(tilts_deg: tuple[float, float, float], options: dict[str, float]) -> None:
    semantic, raw = column(tilts_deg, **options)  # type: ignore[arg-type]
    labels, done = with_first_sacral(semantic, raw)
    assert labels is semantic
    assert done is raw


def test_not_where_the_cord_is_seen() -> None:
    semantic, raw = column((0.0, 24.0, 40.0))
    labels = semantic.labels.copy()
    labels[70:74, -6:] = Structure.CORD
    assert with_first_sacral(replace(semantic, labels=labels), raw)[1] is raw


def test_a_speck_of_cord_is_no_cord() -> None:
    semantic, raw = column((0.0, 24.0, 40.0))
    labels = semantic.labels.copy()
    labels[90:96, -6:, 4] = Structure.CORD
    assert [finding.code for finding in with_first_sacral(replace(semantic, labels=labels), raw)[1].findings] == [
        FindingCode.SACRAL_BODY
    ]


def test_two_bodies_say_nothing() -> None:
    semantic, raw = column((0.0, 24.0, 40.0))
    fewer = replace(raw, labels=np.where(raw.labels == 1, 0, raw.labels).astype(np.uint8))
    assert with_first_sacral(semantic, fewer)[1] is fewer
