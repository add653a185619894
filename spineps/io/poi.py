"""Centroids as a POI file, the JSON format of TPTBox: a header with the grid, then voxel coordinates by instance and part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from spineps.errors import ErrorCode, InputError
from spineps.geometry import Geometry
from spineps.io.atomic import Written, write_json
from spineps.io.shown import refusal, shown_name
from spineps.labels import BODY, SACRUM_INSTANCE, Structure
from spineps.volume import Centroid

_FORMAT: Final = "POI"
_BODY_PART: Final = int(Structure.CORPUS_INNER)
"""Vertebrae and the sacrum are listed under this part, as in the published centroid files."""


def write_poi(
    path: Path, centroids: Sequence[Centroid], geometry: Geometry, *, info: Mapping[str, Any] | None = None
) -> Written:
    """Write a POI file; see :func:`poi_document`. Equal centroids give equal bytes.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    return write_json(path, poi_document(centroids, geometry, info=info))


def poi_document(
    centroids: Sequence[Centroid], geometry: Geometry, *, info: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The content of a POI file, for JSON.

    Parameters
    ----------
    centroids : sequence of Centroid
        In voxels of ``geometry``, in any order.
    geometry : Geometry
        Grid of the instance mask.
    info : Mapping, optional
        More plain values for the header (program, version); no time, so that equal runs give equal files.

    Returns
    -------
    list of 2 dict
        The header, and ``{instance: {part: [x, y, z]}}`` sorted by both. A vertebra and the sacrum have the part 50, other
        structures their semantic id.

    Raises
    ------
    ValueError
        If two centroids have the same instance and part.
    """
    spacing = np.asarray(geometry.spacing_mm)
    header: dict[str, Any] = {
        "direction": list(geometry.axes),
        "zoom": _plain(spacing),
        "origin": _plain(geometry.affine[:3, 3]),
        "rotation": [_plain(row) for row in geometry.affine[:3, :3] / spacing],
        "shape": list(geometry.shape),
        "format": _FORMAT,
        "level_one_info": "Vertebra_Instance",
        "level_two_info": "Location",
    }
    header |= {key: value for key, value in (info or {}).items() if key not in header}
    points: dict[str, dict[str, list[float]]] = {}
    for centroid in sorted(centroids, key=lambda c: (c.instance, _part(c))):
        parts, part = points.setdefault(str(centroid.instance), {}), str(_part(centroid))
        if part in parts:
            raise ValueError(f"two centroids of instance {centroid.instance}, part {part}")
        parts[part] = _plain(centroid.voxel)
    return [header, points]


def read_poi(path: Path) -> tuple[tuple[Centroid, ...], Geometry]:
    """Read a POI file that :func:`write_poi` (or TPTBox, with a full header) wrote.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND if it cannot be opened, INPUT_FORMAT if it is no POI file with a grid.
    """
    name = shown_name(path)
    try:
        header, points = json.loads(path.read_text(encoding="utf-8"))
        x, y, z = (int(n) for n in header["shape"])
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(header["rotation"], dtype=np.float64) * np.asarray(header["zoom"], dtype=np.float64)
        affine[:3, 3] = header["origin"]
        centroids = tuple(
            Centroid(int(instance), int(part), (float(point[0]), float(point[1]), float(point[2])))
            for instance, parts in points.items()
            for part, point in parts.items()
        )
        return centroids, Geometry((x, y, z), affine)
    except OSError as error:
        raise refusal(ErrorCode.INPUT_NOT_FOUND, name, "cannot be opened", remedy="Check the path.") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _no_poi(name) from error


def _no_poi(name: str) -> InputError:
    remedy = "Give a centroid file of spineps or TPTBox, saved in the POI format."
    return refusal(ErrorCode.INPUT_FORMAT, name, "is no POI file with a grid", remedy=remedy)


def _part(centroid: Centroid) -> int:
    whole_or_body = centroid.instance == SACRUM_INSTANCE or centroid.structure in BODY
    return _BODY_PART if whole_or_body else int(centroid.structure)


def _plain(values: Any) -> list[float]:
    """Numbers for JSON, without negative zeros."""
    return [float(value) + 0.0 for value in values]
