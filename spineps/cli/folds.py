"""``spineps folds``: split patients into folds for cross-validation."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "folds",
        help="split patients into folds for cross-validation",
        description="Split the scans of a folder into folds by patient (the sub- part of their names), for 'spineps evaluate "
        "--protocol cervical --folds' and for nnU-Net. The same scans and seed give the same folds.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of masks")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="JSON", help="file to write")
    parser.add_argument("-k", type=int, default=5, metavar="K", help="number of folds (default: 5)")
    parser.add_argument("--holdout", type=float, default=0.0, metavar="SHARE", help="patients kept out (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="which split (default: 0)")
    parser.add_argument("--nnunet", type=Path, metavar="JSON", help="write nnU-Net's splits_final.json as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.console import Console
    from spineps.errors import ExitCode
    from spineps.evaluation.folds import make_folds, patients_of
    from spineps.evaluation.pairs import find_masks

    folds = make_folds(patients_of(find_masks(args.folder)), k=args.k, holdout=args.holdout, seed=args.seed)
    folds.save(args.output)
    if args.nnunet is not None:
        folds.save_nnunet(args.nnunet)
    sizes = ", ".join(str(len(fold)) for fold in folds.folds)
    Console().result(f"{args.output}: {len(folds.cases)} scans, patients a fold {sizes}, kept out {len(folds.holdout)}")
    return int(ExitCode.OK)
