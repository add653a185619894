"""Several scans into one table of vertebrae, and from there into a statistic or a spreadsheet.

    python examples/results_into_pandas.py [SCAN.nii.gz ...]

Without scans, two phantoms are made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd

import spineps
from spineps.phantom.phantom import make_phantom


def scans() -> Iterator[tuple[str, Any]]:
    """Name and scan of each case."""
    for path in sys.argv[1:]:
        yield path, path
    if len(sys.argv) == 1:
        for seed in (11, 12):
            yield f"phantom {seed}", make_phantom(seed, vertebrae=3, spacing_mm=(1.0, 1.0, 3.3)).scan


def rows(name: str, result: spineps.Result) -> Iterator[dict[str, Any]]:
    """One row a vertebra."""
    for vertebra in result.vertebrae:
        right_mm, front_mm, up_mm = vertebra.centroid_mm  # RAS+
        yield {
            "scan": name,
            "label": vertebra.label,
            "right_mm": right_mm,
            "front_mm": front_mm,
            "up_mm": up_mm,
            "volume_ml": vertebra.volume_ml,
            "partial": vertebra.partial,
        }


def main() -> None:
    table = pd.DataFrame([row for name, scan in scans() for row in rows(name, spineps.segment_scan(scan))])
    # Distance from each vertebra to the next one below, along the three axes together.
    steps = table.groupby("scan")[["right_mm", "front_mm", "up_mm"]].diff().pow(2).sum(axis=1, skipna=False).pow(0.5)
    table["distance_to_upper_mm"] = steps
    print(table.round(1).to_string(index=False))
    whole = table[~table["partial"]]
    print("\nvertebrae that lie whole in the field of view, mean volume:")
    print(whole.groupby("scan")["volume_ml"].agg(["count", "mean"]).round(1).to_string())


if __name__ == "__main__":
    main()
