"""``spineps train --recipe paper``: both models of the SPINEPS paper, and its baseline, on one's own scans."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from spineps.config import ComputeConfig, Device, Precision
from spineps.errors import ErrorCode, ExitCode, UsageError
from spineps.geometry import Shape, Spacing


def run_paper(args: argparse.Namespace, command: str) -> int:
    """Train by the recipe.

    Raises
    ------
    UsageError
        Where the recipe knows no such model, or there is no data.
    """
    from spineps.cli.console import say
    from spineps.cli.train import split
    from spineps.training.own_cases import find_cases

    _check(args)
    cases = find_cases(args.data)
    folds = split(cases, args.out, k=args.folds or 3, seed=args.seed)
    sides = folds.splits()[0]
    facts = {
        "command": command,
        "data": "the user's own scans and masks",
        "scans": {"all": len(cases), "validation": len(sides[1])},
        "recipe": "SPINEPS paper, appendix A",
    }
    if args.kind == "instance" and not args.baseline:
        card = _instance(args, [[case for case in cases if case.name in side] for side in sides], facts)
        say(f"{args.out / 'model'}: {card.name}, weights {card.weights_sha256[:12]}")
    else:
        splits = args.out / "splits_final.json"
        folds.save_nnunet(splits)
        say(f"{_semantic(args, cases, len(folds.folds), facts)}: the average of {len(folds.folds)} folds")
    return int(ExitCode.OK)


def _instance(args: argparse.Namespace, sides: Sequence[Sequence[Any]], facts: dict[str, Any]) -> Any:
    from spineps.cli.console import say
    from spineps.training.paper_instance import PAPER_CUTOUT, PAPER_EPOCHS, PaperInstance, train_paper_instance

    config = PaperInstance(
        args.out,
        epochs=args.epochs or PAPER_EPOCHS,
        cutout=_triple(args.patch) or PAPER_CUTOUT,
        spacing_mm=_spacing(args),
        width=args.width,
        seed=args.seed,
        compute=ComputeConfig(Device(args.device), Precision(args.precision), args.threads),
    )
    return train_paper_instance(sides[0], sides[1], config, say, facts)


def _semantic(args: argparse.Namespace, cases: Sequence[Any], folds: int, facts: dict[str, Any]) -> Any:
    from spineps.cli.console import say
    from spineps.inference.machine import choose_engine, thread_count
    from spineps.training.paper_semantic import PAPER_EPOCHS, PAPER_PATCH, PaperSemantic, train_paper_semantic

    compute = ComputeConfig(Device(args.device), Precision(args.precision), args.threads)
    config = PaperSemantic(
        args.out,
        args.out / "splits_final.json",
        baseline=args.baseline,
        folds=folds,
        epochs=args.epochs or PAPER_EPOCHS,
        iterations=args.iterations,
        patch=_triple(args.patch) or PAPER_PATCH,
        spacing_mm=_spacing(args),
        n4=not args.no_n4,
        device=choose_engine(compute).device.type,
        threads=thread_count(compute),
    )
    return train_paper_semantic(cases, config, say, facts)


def _check(args: argparse.Namespace) -> None:
    wrong = None
    if args.data is None:
        wrong = "The paper's recipe needs scans with masks.", "Give --data FOLDER."
    elif args.kind == "labeling":
        wrong = "The paper knows no labeling network.", "Train semantic or instance."
    elif args.hours is not None:
        wrong = "The paper's recipe counts epochs, not hours.", "Leave --hours out, or give --epochs."
    elif args.kind == "instance" and args.patch and any(n % 8 for n in args.patch):
        wrong = "A cutout must be of multiples of 8 voxels.", "Give for example --patch 96 96 32."
    elif min(args.iterations, args.epochs or 1, args.width) < 1 or min(args.patch or [8]) < 8 or args.width % 8:
        wrong = "A number of the recipe is too small.", "Give epochs and iterations from 1, --patch from 8, --width 8 or 16."
    if wrong:
        raise UsageError(ErrorCode.USAGE, wrong[0], remedy=wrong[1])


def _spacing(args: argparse.Namespace) -> Spacing:
    from spineps.training.paper_dataset import PAPER_SPACING_MM

    if args.spacing is None:
        return PAPER_SPACING_MM
    p, i, r = args.spacing
    return float(p), float(i), float(r)


def _triple(values: Sequence[int] | None) -> Shape | None:
    return (values[0], values[1], values[2]) if values else None
