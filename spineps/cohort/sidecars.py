"""What makes a folder of results a BIDS derivative: descriptions, tables of labels, a sidecar to each mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spineps.cohort.files import ROOT
from spineps.io import atomic
from spineps.io.encode import nifti_series_chunks
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, LEVEL_NAMES, SACRUM_INSTANCE, Structure
from spineps.outputs.names import names_for

if TYPE_CHECKING:
    from spineps.volume import Result

BIDS_VERSION: Final = "1.10.0"
MASKS: Final = ("semantic", "instance")
PROBABILITIES: Final = "softmax"
UNCERTAINTY: Final = "uncertainty"
SIDECAR: Final = "_sidecar"
"""Ends the role of a mask's sidecar."""
_IGNORED: Final = (".spineps/", "crashes/", "logs/", "cohort.tsv", "group_*.tsv", "*.html", "*_uncertainty.nii.gz")
"""What BIDS has no name for, besides the files of each scan."""
_IMAGE_END: Final = "msk.nii.gz"
_DESCRIPTIONS: Final = {
    "semantic": "Structures of the spine",
    "instance": "Vertebrae, each disc with the vertebra above it (100 +), endplates (200 +)",
}


def sidecar_names(files: Mapping[str, str]) -> dict[str, str]:
    """Role and name of the sidecar of each mask."""
    images = [role for role in (*MASKS, PROBABILITIES) if role in files]
    return {f"{role}{SIDECAR}": f"{files[role].removesuffix('.nii.gz')}.json" for role in images}


def extra_names(files: Mapping[str, str]) -> dict[str, str]:
    """Role and name of the images that are written where they are asked for."""
    spine = files["semantic"].removesuffix("_dseg.nii.gz")
    mask = files["semantic"].replace("_seg-spine_", "_seg-spinemodel_")
    return {PROBABILITIES: f"{spine}_probseg.nii.gz", UNCERTAINTY: f"{spine}_uncertainty.nii.gz", "model_mask": mask}


def stage_extras(staged: atomic.Staging, result: Result, files: Mapping[str, str]) -> dict[str, str]:
    """Stage probabilities (a volume a structure), uncertainty and the network's own mask as far as they were asked for."""
    extras, geometry = result.extras, result.semantic.geometry
    if extras is None:
        return {}
    written = {}
    if extras.softmax is not None:
        softmax = extras.softmax
        volumes = (softmax.channel(index) for index in range(len(softmax.labels)))
        chunks = nifti_series_chunks(volumes, len(softmax.labels), geometry)
        written[PROBABILITIES] = staged.write_chunks(files[PROBABILITIES], chunks)
        names = [Structure(int(label)).name for label in softmax.labels]
        sidecar = {"Description": "Probability of each structure", "SpatialReference": "orig", "LabelMap": names}
        written[f"{PROBABILITIES}{SIDECAR}"] = staged.write_json(files[f"{PROBABILITIES}{SIDECAR}"], sidecar)
    if extras.uncertainty is not None:
        written[UNCERTAINTY] = staged.write_nifti(files[UNCERTAINTY], extras.uncertainty, geometry)
    if extras.model_mask is not None:
        mask = extras.model_mask
        written["model_mask"] = staged.write_nifti(files["model_mask"], mask.labels, mask.geometry)
    return {role: file.sha256 for role, file in written.items()}


def stage_sidecars(staged: atomic.Staging, files: Mapping[str, str]) -> dict[str, str]:
    """Stage a sidecar to each mask; the hash of each by its role."""
    written = {}
    for role in MASKS:
        content = {"Description": _DESCRIPTIONS[role], "SpatialReference": "orig", "Type": "ROI"}
        written[f"{role}{SIDECAR}"] = staged.write_json(files[f"{role}{SIDECAR}"], content).sha256
    return written


def dataset_files() -> dict[str, bytes]:
    """Name and content of the files in the root of a BIDS derivative."""
    import spineps

    description = {
        "Name": "SPINEPS segmentation of the spine",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [{"Name": "spineps", "Version": spineps.__version__, "Description": "Spine segmentation in MRI"}],
    }
    return {
        "dataset_description.json": atomic.json_bytes(description),
        "seg-spine_dseg.tsv": _table(_structures()),
        "seg-vert_dseg.tsv": _table(_instances()),
        ".bidsignore": ("\n".join(_ignored()) + "\n").encode(),
    }


def write_dataset_files(root: Path) -> None:
    """Write them where they are not there or differ.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    for name, content in dataset_files().items():
        if not _holds(root / name, content):
            with atomic.stage(root, ROOT) as staged:
                staged.write_bytes(name, content)
                staged.commit()


def _ignored() -> tuple[str, ...]:
    """Patterns for files that BIDS has no name for: all of a scan's but its masks."""
    ends = (name.rpartition("_")[2] for name in asdict(names_for("sub-x")).values())
    return (*_IGNORED, *sorted({f"*_{end}" for end in ends if end != _IMAGE_END}))


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _structures() -> list[tuple[int, str, str]]:
    return [(int(part), part.title, part.name) for part in Structure if part is not Structure.BACKGROUND]


def _instances() -> list[tuple[int, str, str]]:
    """Every id that an instance mask can hold; without level names the numbers run from the top."""
    levels = {number: name for number, name in LEVEL_NAMES.items() if number != SACRUM_INSTANCE}
    rows = [(number, f"vertebra {name}", name) for number, name in levels.items()]
    rows.append((SACRUM_INSTANCE, "sacrum", "S"))
    rows += [(DISC_OFFSET + number, f"disc below {name}", f"disc-{name}") for number, name in levels.items()]
    rows += [(ENDPLATE_OFFSET + number, f"endplates of {name}", f"endplates-{name}") for number, name in levels.items()]
    rows.append((ENDPLATE_OFFSET + SACRUM_INSTANCE, "endplate of the sacrum", "endplate-S"))
    return sorted(rows)


def _table(rows: list[tuple[int, str, str]]) -> bytes:
    lines = ["index\tname\tabbreviation", *("\t".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def as_tsv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A TSV table; ``n/a`` where a row has no value, as BIDS writes it."""
    lines = ["\t".join(columns), *("\t".join(_cell(row.get(column)) for column in columns) for row in rows)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(str(value).split())
