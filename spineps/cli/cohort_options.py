"""Options of the commands that run over many scans, and what they mean for our settings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from spineps.cli import options
from spineps.cli import published_flags as flags
from spineps.cli.check import add_read_options, read_options
from spineps.cli.quantities import amount, positive
from spineps.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from spineps.cohort.settings import CohortSettings, MachineSettings, ScanSettings, Selection

_MINUTE_S: Final = 60.0
_AUTOMATIC: Final = ("T2w", "T1w")
"""Scans that ``-ms auto`` looks for."""
_SUFFIX_OF: Final = MappingProxyType({"t2w": "T2w", "t1w": "T1w", "ct": "ct", "vibe": "VIBE", "pd": "PDw", "pdw": "PDw"})


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose scans."""
    group = parser.add_argument_group("which scans")
    group.add_argument(
        "--modality",
        nargs="+",
        metavar="SUFFIX",
        help="BIDS suffixes, such as T2w T1w (default: what the semantic model is for)",
    )
    for name, what in (("participant", "sub-"), ("session", "ses-")):
        group.add_argument(
            f"--{name}-label", f"--{name}_label", nargs="+", default=[], metavar="LABEL", help=f"labels, with or without {what}"
        )
    group.add_argument("--bids-filter-file", type=Path, metavar="FILE", help="JSON of queries, as fMRIPrep reads it")
    group.add_argument(
        "--exclude", type=Path, metavar="FILE", help="TSV of scans to leave out, such as the verdicts that a page saves"
    )


def add_doing(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is done again, and with how much of the machine."""
    group = parser.add_argument_group("what is done")
    group.add_argument("--dry-run", action="store_true", help="say what would be done, a line a scan, and write nothing")
    group.add_argument("--redo", action="store_true", help="compute everything again")
    group.add_argument("--retry-failed", action="store_true", help="compute again what failed before")
    group.add_argument("--verify", action="store_true", help="hash every file again, also those that nobody touched")
    group = parser.add_argument_group("workers")
    group.add_argument("--jobs", type=positive, default=1, metavar="N", help="scans at a time, each in a process (default: 1)")
    group.add_argument(
        "--time-limit", type=amount, default=60.0, metavar="MINUTES", help="that one scan may take; 0: no limit (default: 60)"
    )
    group.add_argument(
        "--memory-limit", type=amount, default=0.0, metavar="GB", help="that one worker may hold; 0: no limit (default)"
    )
    group.add_argument(
        "--dask",
        metavar="WHERE",
        help="work on a Dask cluster: local:N (N processes here), the address or scheduler file of a running one, or slurm, "
        "pbs, lsf or sge with --dask-config",
    )
    group.add_argument(
        "--dask-config",
        type=Path,
        metavar="FILE",
        help="YAML that describes a job, as dask-jobqueue reads it, and how many (jobs)",
    )
    group.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="at the end, wait for the scans that other runs on the same folder are working on",
    )


def add_processing(parser: argparse.ArgumentParser) -> None:
    """Add the options of each scan's processing, as ``spineps sample`` has them."""
    add_read_options(parser)
    flags.add_models(parser)
    flags.add_phases(parser)
    flags.add_outputs(parser)
    flags.add_overrides(parser, note="--redo does all of it; the semantic mask is kept where only what follows is asked for")
    options.add_processing(parser)
    flags.add_machine(parser)
    options.add_verbosity(parser)


def settings_of(args: argparse.Namespace) -> CohortSettings:
    """Settings of a run, but for where its results go.

    Raises
    ------
    SpinepsError
        For a model that is not there, or a filter file that is none.
    """
    from spineps.cohort.settings import CohortSettings

    overrides = flags.overrides_of(args)
    select = _selection(args)
    by_modality = {modality: _scan_settings(args, modality) for modality in select.modalities}
    return CohortSettings(
        scan=_scan_settings(args, select.modalities[0]),
        by_modality=MappingProxyType(by_modality),
        read=read_options(args),
        select=select,
        machine=_machine(args),
        redo=args.redo or overrides.semantic,
        redo_instances=overrides.any_of_them,
        retry_failed=args.retry_failed,
        verify=args.verify,
        dry_run=args.dry_run,
    )


def _selection(args: argparse.Namespace) -> Selection:
    from spineps.cohort.filters import read_filters
    from spineps.cohort.settings import Selection

    select = Selection(
        modalities=tuple(args.modality) if args.modality else _modalities(args),
        participants=tuple(args.participant_label),
        sessions=tuple(args.session_label),
        exclude=args.exclude,
    )
    return select if args.bids_filter_file is None else replace(select, filters=read_filters(args.bids_filter_file))


def _modalities(args: argparse.Namespace) -> tuple[str, ...]:
    """BIDS suffixes of the scans that the semantic model was made for; the bundled one is for T2w first of all."""
    from spineps.cohort.settings import DEFAULT_MODALITIES
    from spineps.zoo.choose import AUTO, choose_models
    from spineps.zoo.store import read_card

    if args.model_semantic is not None and args.model_semantic.lower() == AUTO:
        return _AUTOMATIC
    folder = choose_models(flags.asked_models(args)).semantic
    elsewhere = None if folder is None else read_card(folder).elsewhere
    found = tuple(_SUFFIX_OF[name.lower()] for name in getattr(elsewhere, "modalities", ()) if name.lower() in _SUFFIX_OF)
    return found or DEFAULT_MODALITIES


def _scan_settings(args: argparse.Namespace, modality: str) -> ScanSettings:
    from spineps.cohort.settings import ModelFolders, ScanSettings
    from spineps.zoo.choose import choose_models

    chosen = choose_models(flags.asked_models(args), scan=f"sub-x_mod-{modality}")
    folders = ModelFolders(chosen.semantic, chosen.instance, chosen.labeling)
    return ScanSettings(flags.config_of(args, chosen), folders, chosen.findings)


def _machine(args: argparse.Namespace) -> MachineSettings:
    from spineps.cohort.settings import DaskSettings, MachineSettings

    if args.dask is None and args.dask_config is not None:
        raise UsageError(ErrorCode.USAGE, "--dask-config belongs to --dask.", remedy="Add --dask slurm, pbs, lsf or sge.")
    if args.dask is not None and args.jobs > 1:
        raise UsageError(
            ErrorCode.USAGE, "--jobs and --dask exclude each other.", remedy="Use --dask local:N for N workers here."
        )
    return MachineSettings(
        jobs=args.jobs,
        time_limit_s=args.time_limit * _MINUTE_S or None,
        memory_limit_gb=args.memory_limit or None,
        wait=args.wait,
        profile=args.run_cprofiler,
        dask=None if args.dask is None else DaskSettings(args.dask, args.dask_config),
    )
