"""``spineps combine``: one semantic mask from several automatic ones, for training labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spineps.errors import ErrorCode, ExitCode, InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spineps.stages.combine import Combination
    from spineps.volume import LabelMap

_COLUMNS: Final = ("source", "label", "structure", "offered_voxels", "taken_voxels", "taken_ml")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "combine",
        help="combine masks of several sources into one for training",
        description="Combine semantic masks of one scan in order of priority: what an earlier source has labelled, no later "
        "one changes. Gaps between vertebral bodies and discs become endplates. A table says what came from where.",
    )
    parser.add_argument("masks", nargs="+", metavar="[NAME=]MASK", help="semantic masks, the most trusted first")
    parser.add_argument(
        "--cord", type=Path, metavar="MASK", help="mask of the spinal cord (any label); replaces canal, not bone"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help='labels of a source that are not ours, {"1": 49, "2": 100}',
    )
    parser.add_argument(
        "--gap-mm", type=float, default=4.0, help="widest gap between body and disc to close (default 4; 0: none)"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="MASK", help="the combined mask (.nii.gz)")
    parser.add_argument("--origin", type=Path, metavar="MASK", help="write which source each voxel came from as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import numpy as np

    from spineps.cli.console import Console
    from spineps.io import atomic
    from spineps.io.nifti import read_labels
    from spineps.stages.combine import NamedMask, combine

    if not 0 <= args.gap_mm <= 20:
        raise UsageError(ErrorCode.USAGE, f"A gap of {args.gap_mm:g} mm is none.", remedy="Give --gap-mm 0 to 20.")
    named = [_named(text) for text in args.masks]
    maps = {name: _read_map(path) for name, path in map(_named, args.map)}
    unknown = sorted({name for name, _ in named if [n for n, _ in named].count(name) > 1} | set(maps) - {n for n, _ in named})
    if unknown:
        raise UsageError(
            ErrorCode.USAGE, f"{unknown[0]!r} is not the name of just one mask.", remedy="Name masks: bodies=a.nii.gz."
        )
    read = {name: read_labels(path, allow_empty=True) for name, path in named}
    first = read[named[0][0]]
    masks = [NamedMask(name, _ours(mask, first, name, maps.get(name))) for name, mask in read.items()]
    any_label = np.minimum(np.arange(256), 1).astype(np.uint8)
    cord = _ours(read_labels(args.cord, allow_empty=True), first, "cord", any_label) if args.cord else None
    found = combine(masks, first.geometry.spacing_mm, cord=cord, gap_mm=args.gap_mm)
    table = args.output.with_name(args.output.name.removesuffix(".gz").removesuffix(".nii") + "_sources.tsv")
    atomic.write_text(table, report(found, first.geometry.voxel_volume_mm3))
    if args.origin:
        atomic.write_nifti(args.origin, found.origin, first.geometry)
    atomic.write_nifti(args.output, found.labels, first.geometry)
    taken = {name: sum(share.taken for share in found.shares if share.source == name) for name in found.sources}
    Console().result(f"{args.output}: " + ", ".join(f"{name} {count} voxels" for name, count in taken.items() if count))
    return int(ExitCode.OK)


def report(found: Combination, voxel_mm3: float) -> str:
    """What came from where, as a TSV table."""
    rows = [
        (s.source, int(s.structure), s.structure.title, s.offered, s.taken, f"{s.taken * voxel_mm3 / 1000:.3f}")
        for s in found.shares
    ]
    return "".join("\t".join(map(str, row)) + "\n" for row in (_COLUMNS, *rows))


def _named(text: str) -> tuple[str, Path]:
    """Name and file; without a name that of the file."""
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (Path(text).name.partition(".")[0], Path(text))


def _ours(mask: LabelMap, first: LabelMap, name: str, table: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Labels of a mask in our scheme.

    Raises
    ------
    InputError
        INPUT_AFFINE where it does not lie on the grid of the first, INPUT_LABELS where it holds labels of no structure.
    """
    import numpy as np

    from spineps.labels import Structure

    if not mask.geometry.matches(first.geometry, tolerance_mm=0.1):
        raise InputError(
            ErrorCode.INPUT_AFFINE, f"The mask {name!r} lies on another grid than the first one.", remedy="Resample it."
        )
    if table is not None:
        return np.asarray(table[np.minimum(mask.labels, 255)])
    unknown = set(np.unique(mask.labels).tolist()) - {int(s) for s in Structure}
    if unknown:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"The mask {name!r} holds the label {min(unknown)}, which is no structure.",
            remedy=f"Say what its labels mean with --map {name}=labels.json.",
        )
    return mask.labels.astype(np.uint8)


def _read_map(path: Path) -> NDArray[np.uint8]:
    """A table of 256 entries from a JSON object of labels; what it does not name is background."""
    import numpy as np

    from spineps.labels import Structure

    table = np.zeros(256, np.uint8)
    try:
        pairs = {int(theirs): int(ours) for theirs, ours in json.loads(path.read_text(encoding="utf-8")).items()}
        known = all(0 <= theirs < 255 for theirs in pairs) and set(pairs.values()) <= {int(s) for s in Structure}
    except (OSError, ValueError, AttributeError, TypeError):
        known = False
    if not known:
        raise UsageError(
            ErrorCode.USAGE, f"{path.name!r} is no map of labels.", remedy='Give JSON such as {"1": 49, "2": 100, "3": 61}.'
        )
    table[list(pairs)] = list(pairs.values())
    return table
