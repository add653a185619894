"""``spineps sample``: one scan in, two masks, centroids, a picture and the record of the run out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from spineps.cli import options
from spineps.cli.check import add_read_options, read_options
from spineps.config import PipelineConfig, PreprocessConfig, SemanticConfig
from spineps.errors import NoSpineError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "sample",
        help="segment the spine in one scan",
        description="Segment the spine in one sagittal MRI scan with the models inside the package. Writes a semantic mask, an "
        "instance mask, centroids, a picture and the record of the run, and names them.",
        allow_abbrev=False,
    )
    parser.add_argument("--input", "-i", type=Path, required=True, metavar="SCAN", help="NIfTI file (.nii or .nii.gz)")
    options.add_output(parser, "derivatives_seg beside the scan")
    add_read_options(parser)
    parser.add_argument("--force", action="store_true", help="segment a scan that the models were not made for")
    group = parser.add_argument_group("semantic phase")
    group.add_argument("--n4", action=argparse.BooleanOptionalAction, default=False, help="N4 bias field correction")
    group.add_argument(
        "--crop", action=argparse.BooleanOptionalAction, default=True, help="look only at the voxels that hold signal"
    )
    group.add_argument(
        "--step-size", type=_share, metavar="SHARE", help="step between tiles as a share of a tile (default: the model's)"
    )
    group.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        help="average with the prediction of the mirrored scan (default: the model's)",
    )
    options.add_processing(parser)
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def config_of(args: argparse.Namespace) -> PipelineConfig:
    """Settings of the run."""
    return replace(
        options.processing_config(args),
        preprocess=PreprocessConfig(n4=args.n4, crop=args.crop),
        semantic=SemanticConfig(step_size=args.step_size, mirror=args.tta),
        force=args.force,
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps import api
    from spineps.cli.report import show_saved, show_settings
    from spineps.io.atomic import check_writable
    from spineps.outputs import names
    from spineps.outputs.save import save_failure

    console = options.console_of(args)
    path = options.existing_or_with_suffix(args.input)
    config = config_of(args)
    scan = api.open_scan(path, read_options(args))
    prefix = names.prefix_of(path)
    folder = names.output_folder(path) if args.output is None else args.output
    names.check_places(folder, names.names_for(prefix), inputs=(path,))
    check_writable(folder)
    show_settings(console, config)
    with console.work("Segmenting") as work:
        try:
            result = api.segment_scan(scan, config=config, on_stage=work.stage_done, progress=work.progress)
        except NoSpineError as error:
            save_failure(scan, config, error, folder, prefix=prefix)
            raise
        saved = api.save(result, folder, prefix=prefix)
    show_saved(console, result, saved)
    return 0


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1, found {text}")
    return share
