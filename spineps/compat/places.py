"""Where the published package writes: the paths of all files of a scan, by their published keys."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from TPTBox import BIDS_FILE

_log = logging.getLogger("spineps")


def output_paths_from_input(
    img_ref: BIDS_FILE,
    derivative_name: str,
    snapshot_copy_folder: Path | str | None,
    input_format: str,
    non_strict_mode: bool = False,
    _dataset_id_ct_crop: int = 100,
) -> dict[str, Path]:
    """Paths of all files that may be made from a scan. Nothing is made.

    Parameters
    ----------
    img_ref : BIDS_FILE
        The scan.
    derivative_name : str
        Folder of the results in the dataset; the scan's own folders below the first are mirrored in it.
    snapshot_copy_folder : path, optional
        Folder of a second copy of the picture.
    input_format : str
        BIDS suffix of the scan, in the names of the folders of raw masks and debug files.
    non_strict_mode : bool
        Name after the whole file name where that is no BIDS name; taken by itself where it is none.

    Returns
    -------
    dict of str to Path
        Keys ``out_spine``, ``out_vert``, ``out_ctd``, ``out_snap``, ``out_snap2``, ``out_raw``, ``out_spine_raw``,
        ``out_vert_raw``, ``out_logits``, ``out_debug``, ``out_vibeseg``, and ``out_unc`` of the older generation.
    """
    place = _Namer(img_ref, derivative_name, non_strict_mode)
    spine, vertebrae, snapshot = place("spine", "msk"), place("vert", "msk"), place("spine", "snp", "png")
    raw = vertebrae.parent / f"output_raw_{input_format}"
    return {
        "out_spine": spine,
        "out_spine_raw": raw / place("spine-raw", "msk").name,
        "out_vert": vertebrae,
        "out_vert_raw": raw / place("vert-raw", "msk").name,
        "out_unc": raw / spine.name.replace("_msk.", "_unc."),
        "out_logits": raw / place("spine", "logit", "npz").name,
        "out_snap": snapshot,
        "out_ctd": place("spine", "ctd", "json"),
        "out_snap2": snapshot if snapshot_copy_folder is None else Path(snapshot_copy_folder) / snapshot.name,
        "out_debug": vertebrae.parent / f"debug_{input_format}",
        "out_raw": raw,
        "out_vibeseg": place(f"VIBESeg-{_dataset_id_ct_crop}", "msk"),
    }


class _Namer:
    """Names by TPTBox's own rules: strict where they take the scan's name, else by the whole file name."""

    def __init__(self, image: BIDS_FILE, derivative: str, by_whole_name: bool) -> None:
        self._image, self._derivative, self._by_whole_name = image, derivative, by_whole_name

    def __call__(self, segmentation: str, suffix: str, file_type: str = "nii.gz") -> Path:
        try:
            return self._path(segmentation, suffix, file_type)
        except (AssertionError, ValueError):  # TPTBox's way to say that a name is not a BIDS name
            if self._by_whole_name:
                raise
            _log.info("The file name is no BIDS name; the whole of it names the subject.")
            self._by_whole_name = True
            return self._path(segmentation, suffix, file_type)

    def _path(self, segmentation: str, suffix: str, file_type: str) -> Path:
        entities: dict[str, Any] = {"seg": segmentation, "mod": self._image.format}
        path = self._image.get_changed_path(
            file_type, suffix, self._derivative, info=entities, non_strict_mode=self._by_whole_name
        )
        return Path(path)
