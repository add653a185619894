"""``spineps train``: train a network on phantoms, or fine-tune one on scans of one's own."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spineps.config import ComputeConfig, Device, Precision
from spineps.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from spineps.evaluation.folds import Folds
    from spineps.training.own_cases import CaseFiles
    from spineps.training.own_source import OwnSource


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a network on digital phantoms or on your own scans",
        description="Train one of the networks and export it as a model folder: on digital phantoms, or with --data on your "
        "own scans with masks, beginning with the bundled model or --warm-start.",
    )
    parser.add_argument("kind", choices=("semantic", "instance", "labeling"), help="which network")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log and model")
    parser.add_argument("--hours", type=float, help="time to train in all, resumed parts included")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--warm-start", type=Path, metavar="MODEL", help="model folder to take the first weights from")
    parser.add_argument("--pool", type=Path, help="folder of phantoms, shared between trainings (default: OUT/pool)")
    parser.add_argument("--half-share", type=float, default=0.0, help="first share of the time at half resolution (0 to 1)")
    parser.add_argument(
        "--on-predictions",
        type=Path,
        metavar="MODEL",
        help="instance: show every second phantom as this semantic model labels it ('bundled': the bundled one)",
    )
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and phantoms (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make phantoms and samples (default 1)")
    parser.add_argument("--threads", type=int, default=0, help="threads of the network (default: cores less workers)")
    parser.add_argument("--device", choices=[d.value for d in Device], default=Device.AUTO.value)
    parser.add_argument("--precision", choices=[p.value for p in Precision], default=Precision.AUTO.value)
    own = parser.add_argument_group("own data")
    own.add_argument(
        "--data", type=Path, metavar="FOLDER", help="BIDS folder of scans with masks in the package's label scheme"
    )
    own.add_argument(
        "--labelled", metavar="IDS", help="structures that the masks name (default: all that occur in any of them)"
    )
    own.add_argument("--folds", type=int, help="patients are split into so many folds (default 5; --recipe paper: 3)")
    own.add_argument("--fold", type=int, default=0, help="the fold to validate on (default 0)")
    paper = parser.add_argument_group("the paper's recipe (SPINEPS paper, appendix A), with --data")
    paper.add_argument(
        "--recipe", choices=("paper",), help="semantic: nnU-Net v2, three folds; instance: the published network"
    )
    paper.add_argument("--baseline", action="store_true", help="the paper's baseline: nnU-Net on the instance labels")
    paper.add_argument("--epochs", type=int, help="default 1000 (semantic), 300 (instance)")
    paper.add_argument("--iterations", type=int, default=250, help="batches of an nnU-Net epoch (default 250)")
    paper.add_argument("--patch", type=int, nargs=3, metavar=("P", "I", "R"), help="default 256 256 64, cutouts 248 304 64")
    paper.add_argument("--spacing", type=float, nargs=3, metavar=("P", "I", "R"), help="in mm; default 0.75 0.75 1.65")
    paper.add_argument("--width", type=int, default=8, help="channels of the instance network (default 8)")
    paper.add_argument("--no-n4", action="store_true", help="leave the bias field as it is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.console import say
    from spineps.training.loop import TrainConfig, train
    from spineps.zoo.card import Kind
    from spineps.zoo.store import bundled_folder

    if args.recipe is not None:
        from spineps.cli.train_paper import run_paper

        return run_paper(args, shlex.join(["spineps", *_plain(sys.argv[1:])]))
    if args.hours is None:
        raise UsageError(ErrorCode.USAGE, "How long to train is not said.", remedy="Give --hours, for example --hours 4.")
    if args.on_predictions and (args.kind != "instance" or args.data is not None):
        raise UsageError(
            ErrorCode.USAGE,
            "Predictions on phantoms train the instance network, and no scans of one's own.",
            remedy="Give --on-predictions to 'spineps train instance' without --data.",
        )
    source, warm_start = (None, args.warm_start) if args.data is None else _own(args)
    config = TrainConfig(
        kind=Kind(args.kind),
        out=args.out,
        hours=args.hours,
        resume=args.resume,
        warm_start=warm_start,
        half_share=args.half_share,
        seed=args.seed,
        workers=args.workers,
        pool=args.pool,
        rate=args.rate,
        command=shlex.join(["spineps", *_plain(sys.argv[1:])]),
        compute=ComputeConfig(Device(args.device), Precision(args.precision), args.threads),
        source=source,
        on_predictions=bundled_folder(Kind.SEMANTIC) if str(args.on_predictions) == "bundled" else args.on_predictions,
    )
    card = train(config, say)
    say(f"{args.out / 'model'}: {card.name}, weights {card.weights_sha256[:12]}")
    return 0


def _own(args: argparse.Namespace) -> tuple[OwnSource, Path]:
    """The user's scans, split by patient, and the model to begin with."""
    from spineps.training.own_cases import find_cases, parse_structures
    from spineps.training.own_source import OwnSource
    from spineps.zoo.card import Kind
    from spineps.zoo.store import bundled_folder

    cases = find_cases(args.data)
    folds = split(cases, args.out, k=args.folds or 5, seed=args.seed)
    if not 0 <= args.fold < len(folds.folds):
        raise UsageError(ErrorCode.USAGE, f"There is no fold {args.fold}.", remedy=f"Give --fold 0 to {len(folds.folds) - 1}.")
    sides: tuple[list[CaseFiles], list[CaseFiles]] = ([], [])
    for case in cases:
        sides[folds.group_of(case.name) == f"fold-{args.fold}"].append(case)
    start = args.warm_start or bundled_folder(Kind(args.kind))
    labelled = parse_structures(args.labelled) if args.labelled else None
    return OwnSource(*sides, args.out / "cases", start, labelled=labelled, seed=args.seed), start


def split(cases: Sequence[CaseFiles], out: Path, *, k: int, seed: int) -> Folds:
    """The split of patients in ``out/split.json``, made where there is none; it must know just these scans.

    Raises
    ------
    UsageError
        With fewer than two patients, or where the folder's split is that of other scans.
    """
    from spineps.evaluation.folds import Folds, make_folds

    patients = {case.name: case.patient for case in cases}
    path = out / "split.json"
    if not path.is_file():
        make_folds(patients, k=min(k, max(2, len(set(patients.values())))), seed=seed).save(path)
    folds = Folds.load(path)
    if dict(folds.cases) != patients:
        raise UsageError(
            ErrorCode.USAGE,
            f"{path.name} in --out splits {len(folds.cases)} scans, and they are not the {len(patients)} of --data.",
            remedy="Give another --out folder, or the data that the training began with.",
        )
    return folds


def _plain(arguments: list[str]) -> list[str]:
    """Arguments without the folders of this machine, for the card."""
    return [Path(a).name if "/" in a or "\\" in a else a for a in arguments]
