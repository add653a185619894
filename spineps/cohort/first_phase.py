"""What the first phase gave, kept with a cohort's state: a change of the second phase then costs no first phase.

One gzipped file a scan: a line of JSON (shape, affine, types), then the labels and, where it is known, the network's certainty.
The affine stands there with all its digits, which a NIfTI header does not hold, so that what goes on from the file gives the
same bytes as what never stopped. Its hash is in the run record; a file without that hash is not opened.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Geometry
from spineps.io.encode import gzip_chunks
from spineps.labels import Scheme
from spineps.volume import FirstPhase, LabelMap

FORMAT: Final = 1


def packed(first: FirstPhase) -> Iterator[bytes]:
    """Bytes of the file; the same for the same content."""
    return gzip_chunks(_content(first))


def unpacked(path: Path) -> FirstPhase:
    """What :func:`packed` wrote.

    Raises
    ------
    OSError, ValueError, KeyError
        If the file is none of ours; its hash is to be checked before.
    """
    head, _, body = gzip.decompress(path.read_bytes()).partition(b"\n")
    facts: dict[str, Any] = json.loads(head)
    if facts["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, found {facts['format']}")
    x, y, z = facts["shape"]
    labels, rest = _array(body, (x, y, z))
    geometry = Geometry((x, y, z), np.asarray(facts["affine"], dtype=np.float64))
    certainty = _array(rest, tuple(facts["certainty"]))[0] if facts["certainty"] is not None else None
    return FirstPhase(LabelMap(labels, geometry, Scheme.SEMANTIC), certainty)


def _content(first: FirstPhase) -> Iterator[bytes]:
    labels, certainty = first.labels, first.certainty
    facts = {
        "format": FORMAT,
        "shape": labels.geometry.shape,
        "affine": labels.geometry.affine.tolist(),
        "certainty": None if certainty is None else certainty.shape,
    }
    yield json.dumps(facts).encode("ascii") + b"\n"
    yield labels.labels.astype(np.uint8).tobytes(order="C")
    if certainty is not None:
        yield certainty.tobytes(order="C")


def _array(data: bytes, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bytes]:
    """The next array of a file, and what follows it."""
    size = int(np.prod(shape))
    if len(data) < size:
        raise ValueError(f"expected {size} bytes of voxels, found {len(data)}")
    return np.frombuffer(data[:size], dtype=np.uint8).reshape(shape), data[size:]
