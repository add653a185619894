"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from spineps.cli.console import Console, Verbosity
from spineps.cli.quantities import count, size
from spineps.config import (
    Ambiguous,
    ComputeConfig,
    Device,
    EndplateLabels,
    EndplateOwner,
    EngineName,
    Labeling,
    LabelingConfig,
    MeasureConfig,
    PipelineConfig,
    PostprocessConfig,
    Precision,
)


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``-o``."""
    parser.add_argument("--output", "-o", type=Path, metavar="FOLDER", help=f"folder of the results (default: {default})")


def add_processing(parser: argparse.ArgumentParser) -> None:
    """Add the options of post-processing and of the networks' machine."""
    group = parser.add_argument_group("post-processing")
    group.add_argument(
        "--no-postprocess", dest="postprocess", action="store_false", help="leave out all post-processing (for comparisons)"
    )
    group.add_argument(
        "--endplate-labels",
        choices=[choice.value for choice in EndplateLabels],
        default=EndplateLabels.SPLIT.value,
        help="endplates in the semantic mask: 52 and 53 for a vertebra's superior and inferior one, or 62 for both "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--endplate-owner",
        choices=[choice.value for choice in EndplateOwner],
        default=EndplateOwner.DISC.value,
        help="whose number an endplate has in the instance mask (200 + number): that of the disc's level, as published, or "
        "of its own vertebra (default: %(default)s)",
    )
    add_labeling(parser)
    parser.add_argument(
        "--no-measures", dest="measures", action="store_false", help="leave out the measurements of bodies, discs and canal"
    )
    add_machine(parser)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the options of how networks run; read back by :func:`compute_config`."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=[choice.value for choice in Device], default=Device.AUTO.value)
    group.add_argument(
        "--precision",
        choices=[choice.value for choice in Precision],
        default=Precision.AUTO.value,
        help="number format of the networks; auto follows from the machine",
    )
    group.add_argument(
        "--engine",
        choices=[choice.value for choice in EngineName],
        default=EngineName.AUTO.value,
        help="what runs the networks; auto follows from the machine ('spineps engines' says how)",
    )
    group.add_argument("--threads", type=count, default=0, metavar="N", help="threads (default: all cores)")
    group.add_argument(
        "--max-memory",
        type=size,
        default=0.0,
        metavar="GB",
        help="memory that the process may hold; a scan that needs more is refused with the number (default: what is free)",
    )


def add_labeling(parser: argparse.ArgumentParser) -> None:
    """Add the options of level names; read back by :func:`labeling_config`."""
    group = parser.add_argument_group("levels")
    group.add_argument(
        "--labeling",
        choices=[choice.value for choice in Labeling],
        default=Labeling.AUTO.value,
        help="where the names of the levels come from: auto takes the masks and the labeling network, masks the masks alone; "
        "none numbers the vertebrae 2, 3, ... from the top (default: %(default)s)",
    )
    group.add_argument(
        "--ambiguous",
        choices=[choice.value for choice in Ambiguous],
        default=Ambiguous.KEEP.value,
        help="a scan whose levels are not certain keeps its most probable names and says so, is numbered, or fails "
        "(default: %(default)s)",
    )


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add ``-v``, ``--quiet`` and ``--debug``."""
    group = parser.add_argument_group("messages")
    levels = group.add_mutually_exclusive_group()
    levels.add_argument(
        "--verbose", "-v", "-verbose", action="store_true", help="say the settings and the seconds of each stage"
    )
    levels.add_argument("--quiet", action="store_true", help="say nothing but results and errors")
    group.add_argument("--debug", action="store_true", help="show where in the program an error arose")


def console_of(args: argparse.Namespace) -> Console:
    """The console that the options of :func:`add_verbosity` ask for."""
    if args.quiet:
        return Console(Verbosity.QUIET)
    return Console(Verbosity.VERBOSE if args.verbose else Verbosity.NORMAL)


def processing_config(args: argparse.Namespace) -> PipelineConfig:
    """Settings from the options of :func:`add_processing`; all others as they are by default."""
    return PipelineConfig(
        postprocess=PostprocessConfig(
            args.postprocess, EndplateLabels(args.endplate_labels), EndplateOwner(args.endplate_owner)
        ),
        labeling=labeling_config(args),
        measures=MeasureConfig(args.measures),
        compute=compute_config(args),
    )


def compute_config(args: argparse.Namespace) -> ComputeConfig:
    """How networks run, from the options of :func:`add_machine`."""
    amp = getattr(args, "amp", False)
    return ComputeConfig(
        Device(args.device), Precision(args.precision), args.threads, amp, EngineName(args.engine), args.max_memory
    )


def labeling_config(args: argparse.Namespace) -> LabelingConfig:
    """Settings from the options of :func:`add_labeling`, and from the published ``-ml none`` and ``--enforce-12-thoracic``."""
    unnamed = (getattr(args, "model_labeling", None) or "").lower() == "none"
    method = Labeling.NONE if unnamed else Labeling(args.labeling)
    return LabelingConfig(method, Ambiguous(args.ambiguous), variants=not getattr(args, "enforce_12_thoracic", False))


def existing_or_with_suffix(path: Path) -> Path:
    """The path, or that with ``.nii.gz`` or ``.nii`` added if only such a file exists: the suffix may be left out."""
    if path.exists():
        return path
    candidates = (path.parent / f"{path.name}{suffix}" for suffix in (".nii.gz", ".nii"))
    return next((candidate for candidate in candidates if path.name and candidate.exists()), path)
