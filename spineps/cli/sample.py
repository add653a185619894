"""``spineps sample``: one scan in, two masks, centroids, a picture and the record of the run out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spineps.cli import options
from spineps.cli import published_flags as flags
from spineps.cli.check import add_read_options, read_options
from spineps.errors import NoSpineError

if TYPE_CHECKING:
    from spineps.cli.console import Work
    from spineps.outputs.save import SavedFiles
    from spineps.volume import Result, Scan
    from spineps.zoo.choose import Chosen


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "sample",
        help="segment the spine in one scan",
        description="Segment the spine in one sagittal MRI scan with the models inside the package. Writes a semantic mask, an "
        "instance mask, centroids, a picture and the record of the run, and names them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input", "-i", "-input", type=Path, required=True, metavar="SCAN", help="NIfTI file (.nii or .nii.gz)"
    )
    options.add_output(parser, "derivatives_seg beside the scan")
    add_read_options(parser)
    flags.add_models(parser)
    flags.add_phases(parser)
    flags.add_outputs(parser)
    flags.add_overrides(parser, note="accepted as published; one scan is always computed anew")
    options.add_processing(parser)
    flags.add_machine(parser)
    options.add_verbosity(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps import api
    from spineps.cli.report import show_saved, show_settings
    from spineps.io.atomic import check_writable
    from spineps.outputs import names
    from spineps.outputs.profile import profiled
    from spineps.zoo.choose import choose_models

    console = options.console_of(args)
    path = options.existing_or_with_suffix(args.input)
    scan = api.open_scan(path, read_options(args))
    prefix = names.prefix_of(path)
    folder = names.output_folder(path, derivative=flags.derivative_of(args)) if args.output is None else args.output
    names.check_places(folder, names.names_for(prefix), inputs=(path,))
    check_writable(folder)
    chosen = choose_models(flags.asked_models(args), scan=prefix)
    findings = (*scan.source.findings, *chosen.findings)
    scan = replace(scan, source=replace(scan.source, findings=findings))
    show_settings(console, flags.config_of(args, chosen))
    with console.work("Segmenting") as work, profiled(folder, prefix, wanted=args.run_cprofiler):
        result, saved = _segment(args, chosen, scan, folder, work)
    show_saved(console, result, saved)
    return 0


def _segment(args: argparse.Namespace, chosen: Chosen, scan: Scan, folder: Path, work: Work) -> tuple[Result, SavedFiles]:
    """Segment a scan and write what came out; of one without a spine the record alone."""
    from spineps import api
    from spineps.inference.memory import in_gb, limit_of, plan_for
    from spineps.outputs.extras import StageKeeper
    from spineps.outputs.save import save_failure

    config = flags.config_of(args, chosen)
    keeper = StageKeeper(scan) if config.extras.stages else None

    def on_stage(name: str, value: object) -> None:
        work.stage_done(name, value)
        if keeper is not None:
            keeper(name, value)

    prefix = scan.source.prefix or "scan"
    models = api.load_models(
        config.compute,
        semantic_folder=chosen.semantic,
        instance_folder=chosen.instance,
        labeling_folder=chosen.labeling,
    )
    plan = plan_for(scan.geometry, models.semantic, models.instance)
    work.note(f"memory: about {in_gb(plan.peak(limit_of(config.compute)))} GB will be needed")
    try:
        result = api.segment_scan(scan, config=config, models=models, on_stage=on_stage, progress=work.progress)
    except NoSpineError as error:
        save_failure(scan, config, error, folder, prefix=prefix)
        raise
    finally:
        if keeper is not None:
            keeper.save(folder, prefix=prefix)
    return result, api.save(result, folder, prefix=prefix)
