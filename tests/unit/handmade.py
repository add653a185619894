"""A result made by hand: what the outputs need of a run, without running one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spineps.config import PipelineConfig
from spineps.errors import Finding, FindingCode
from spineps.geometry import PIR, Axes, Geometry, Reorientation
from spineps.labels import Scheme, Structure
from spineps.volume import Centroid, LabelMap, Result, Scan, Source, Vertebra

SHA = "ab" * 32
FIRST = 2


def made_result(
    count: int = 3, *, with_scan: bool = True, axes: Axes = PIR, prefix: str | None = None, names: bool = False
) -> Result:
    """A column of boxes with discs and a canal behind, bent to the right below; ids from 2 on."""
    shape, spacing = (60, 40 + 30 * count, 14), (1.0, 1.0, 3.3)
    grid = Geometry.from_spacing(shape, spacing, PIR)
    semantic, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    semantic[38:46, :, 4:9] = Structure.CANAL
    vertebrae, centroids = [], []
    turn = Reorientation.between(PIR, axes)
    for place in range(count):
        label, top, right = FIRST + place, 20 + 30 * place, 3 + place % 2
        body = (slice(10, 34), slice(top, top + 20), slice(right, right + 7))
        disc = (slice(10, 34), slice(top + 21, top + 29), slice(right, right + 7))
        semantic[body], instance[body] = Structure.CORPUS, label
        semantic[disc], instance[disc] = Structure.DISC, 100 + label
        centre = (21.5, top + 9.5, right + 3.0)
        centre_mm = tuple(float(value) for value in grid.to_mm(centre))
        name = f"L{place + 1}" if names else None
        vertebrae.append(Vertebra(label, name, centre_mm, 24 * 20 * 7 * 3.3e-3, 0.98, partial=place == 0))
        turned = turn.apply_geometry(grid).to_vox(centre_mm)
        centroids.append(Centroid(label, Structure.CORPUS, (float(turned[0]), float(turned[1]), float(turned[2]))))
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    image = (semantic > 0) * 100 + 20 * noise
    geometry, source = turn.apply_geometry(grid), Source(SHA, prefix=prefix)
    return Result(
        semantic=LabelMap(turn.apply(semantic), geometry, Scheme.SEMANTIC, source),
        instance=LabelMap(turn.apply(instance), geometry, Scheme.INSTANCE),
        vertebrae=tuple(vertebrae),
        centroids=tuple(centroids),
        findings=(Finding(FindingCode.PARTIAL_VERTEBRA, "Vertebra 2 is cut."),),
        provenance={
            "settings": PipelineConfig().as_dict(),
            "settings_sha256": PipelineConfig().sha256(),
            "models": {"semantic": {"name": "m", "weights_sha256": SHA}},
            "versions": {"spineps": "0", "openvino": "1.2"},
            "input_sha256": SHA,
            "seconds": {"semantic": 1.5},
        },
        scan=Scan(turn.apply(image.astype(np.float32)), geometry, source) if with_scan else None,
    )


def listing(folder: Path) -> list[str]:
    """Names of everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
