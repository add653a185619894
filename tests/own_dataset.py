"""A user's BIDS folder: small painted phantoms with their masks under the published names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spineps.io import atomic
from spineps.phantom.phantom import Phantom, make_phantom

SPACING_MM = (2.0, 2.0, 2.0)
FIRST_SEED = 600


def write_dataset(folder: Path, patients: int, *, vertebrae: int = 2, **changes: Any) -> list[Phantom]:
    """Phantoms as ``sub-00`` and so on, masks in ``derivatives``; ``changes`` are functions on their label arrays by scheme."""
    phantoms = []
    for number in range(patients):
        phantom = make_phantom(FIRST_SEED + number, vertebrae=vertebrae, spacing_mm=SPACING_MM, pathology=0.0)
        patient = f"sub-{number:02d}"
        masks = folder / "derivatives" / patient
        (folder / patient).mkdir(parents=True)
        atomic.write_nifti(folder / patient / f"{patient}_T2w.nii.gz", phantom.scan.image, phantom.scan.geometry)
        for scheme, name in (("semantic", "seg-spine"), ("instance", "seg-vert")):
            labels = np.asarray(getattr(phantom, scheme).labels)
            changed = changes.get(scheme, np.array)(labels)
            if changed is not None:
                atomic.write_nifti(masks / f"{patient}_mod-T2w_{name}_msk.nii.gz", changed, phantom.semantic.geometry)
        phantoms.append(phantom)
    return phantoms
