"""Segment one scan and look at what comes out.

    python examples/one_scan.py [SCAN.nii.gz] [OUT]

Without a scan, a phantom is made.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import spineps
from spineps.phantom.phantom import make_phantom


def main() -> None:
    # A path, a nibabel image, a TPTBox NII or a Scan: all are fine.
    scan = sys.argv[1] if len(sys.argv) > 1 else make_phantom(3, vertebrae=4, spacing_mm=(1.0, 1.0, 3.3)).scan
    result = spineps.segment_scan(scan)

    print(f"{len(result.vertebrae)} vertebrae, from top to bottom:")
    for vertebra in result.vertebrae:
        note = " (cut by the edge of the field of view)" if vertebra.partial else ""
        print(f"  {vertebra.label:3d}  {vertebra.volume_ml:6.1f} ml  agreement {vertebra.agreement:.2f}{note}")

    # Masks are numpy arrays in the grid of the scan; Structure names their numbers.
    body = result.semantic.labels == spineps.Structure.CORPUS
    print(f"vertebral bodies: {body.sum() * result.semantic.geometry.voxel_volume_mm3 / 1000:.1f} ml")

    # What is worth knowing, but did not stop the run.
    for finding in result.findings:
        print(f"{finding.code}: {finding.message}")

    # Nothing is on the disk yet.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary)
        spineps.save(result, folder, prefix="sub-example_mod-T2w")
        print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))


if __name__ == "__main__":
    main()
