"""Files of what a run gives beside its masks: probabilities, uncertainty, the network's own mask, values of the stages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import PIR, Geometry, Reorientation
from spineps.io import atomic
from spineps.outputs.names import extra_names
from spineps.stages.instances import RawInstances
from spineps.stages.postprocess import Postprocessed
from spineps.stages.preprocess import Prepared
from spineps.volume import LabelMap, Result, Scan, Softmax

SOFTMAX_KEY: Final = "softmax"
LABELS_KEY: Final = "labels"
_DEFLATE_LEVEL: Final = 1  # probabilities are noise in their last bits: a higher level costs time and gains little


def save_extras(result: Result, folder: Path, *, prefix: str, tag: str = "") -> dict[str, atomic.Written]:
    """Write what was asked for beside the masks, under the folder of the result and before its record.

    Parameters
    ----------
    result : Result
        Its ``extras`` are written; none is nothing to do.
    folder : Path
        Of the result.
    prefix : str
        Of its names.
    tag : str
        As in :class:`spineps.io.atomic.Staging`.

    Returns
    -------
    dict of str to Written
        What each file is ("softmax", "uncertainty", "model_mask"), its name under ``raw`` and its hash.
    """
    if result.extras is None:
        return {}
    names, extras, geometry = extra_names(prefix), result.extras, result.semantic.geometry
    written: dict[str, atomic.Written] = {}
    with atomic.stage(folder / names.raw, tag) as staged:
        if extras.softmax is not None:
            written["softmax"] = staged.write_chunks(names.softmax, npz_chunks(extras.softmax))
        if extras.uncertainty is not None:
            written["uncertainty"] = staged.write_nifti(names.uncertainty, extras.uncertainty, geometry)
        if extras.model_mask is not None:
            mask = extras.model_mask
            written["model_mask"] = staged.write_nifti(names.model_mask, mask.labels.astype(np.uint16), mask.geometry)
        staged.commit()
    return written


def npz_chunks(softmax: Softmax) -> Iterator[bytes]:
    """Bytes of a ``.npz`` file of the probabilities in the grid of the scan, a class at a time.

    ``numpy.load(path)["softmax"]`` has the shape (C, X, Y, Z) and the type float16; ``["labels"]`` says which structure each
    of the C is. The same probabilities give the same bytes.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE_LEVEL) as archive:
        archive.writestr(
            zipfile.ZipInfo(f"{LABELS_KEY}.npy"), _npy_header(softmax.labels.shape, "|u1") + softmax.labels.tobytes()
        )
        info = zipfile.ZipInfo(f"{SOFTMAX_KEY}.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as member:
            for index in range(len(softmax.labels)):
                values = softmax.channel(index)
                if index == 0:
                    member.write(_npy_header((len(softmax.labels), *values.shape), "<f2"))
                member.write(values.astype("<f2").tobytes())
                yield sink.take()
    yield sink.take()


class StageKeeper:
    """Keeps the value of each stage as an image: an observer of a run, for ``--save-debug``.

    Images in the grid of the scan are kept in its orientation, those on the grid of a network in PIR orientation.

    Parameters
    ----------
    scan : Scan
        That is segmented.
    """

    def __init__(self, scan: Scan) -> None:
        self._geometry = scan.geometry
        self._turn = Reorientation.between(scan.geometry.axes, PIR)
        self._upright: Geometry | None = None
        self._last: Geometry | None = None
        self._kept: dict[str, tuple[NDArray[Any], Geometry]] = {}

    def __call__(self, name: str, value: object) -> None:
        """Keep the value of a stage, if it is an image."""
        if isinstance(value, Prepared):
            self._upright = self._last = value.full
            whole = np.zeros(value.full.shape, np.float32)
            whole[value.box.slices] = value.image
            self._keep(name, whole)
        elif isinstance(value, LabelMap):
            self._last = value.geometry
            self._keep(name, value.labels)
        elif isinstance(value, RawInstances):  # in the grid of the mask that they were found in
            self._keep(name, value.labels)
        elif isinstance(value, Postprocessed):
            self._last = value.semantic.geometry
            self._keep(f"{name}-semantic", value.semantic.labels)
            self._keep(f"{name}-instance", value.instance.labels)

    def save(self, folder: Path, *, prefix: str) -> Path:
        """Write one file a stage, such as ``debug_T2w/clean_T2w.nii.gz``; returns their folder."""
        names = extra_names(prefix)
        place, end = folder / names.debug, f"_{names.kind}" if names.kind else ""
        with atomic.stage(place) as staged:
            for name, (image, geometry) in self._kept.items():
                staged.write_nifti(f"{name}{end}.nii.gz", image, geometry)
            staged.commit()
        return place

    def _keep(self, name: str, image: NDArray[Any]) -> None:
        image = image if image.dtype == np.float32 else image.astype(np.uint16)
        placed = self._turn.apply_geometry(self._geometry)
        if image.shape == placed.shape:
            self._kept[name] = (self._turn.inverse().apply(image), self._geometry)
        elif self._upright is not None and self._last is not None and image.shape == self._last.shape:
            affine = placed.affine @ np.linalg.inv(self._upright.affine) @ self._last.affine
            self._kept[name] = (image, Geometry(self._last.shape, affine))


class _Sink(io.RawIOBase):
    """Takes the bytes of an archive that is written front to back, and hands them on."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What has been written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _npy_header(shape: tuple[int, ...], kind: str) -> bytes:
    buffer = io.BytesIO()
    write: Any = np.lib.format.write_array_header_1_0  # without a type in numpy
    write(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
