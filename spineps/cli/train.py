"""``spineps train``: train a semantic, an instance or a labeling network on phantoms."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from spineps.config import ComputeConfig, Device, Precision


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a network on digital phantoms",
        description="Train one of the networks on digital phantoms and export it as a model folder.",
    )
    parser.add_argument("kind", choices=("semantic", "instance", "labeling"), help="which network")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log and model")
    parser.add_argument("--hours", type=float, required=True, help="time to train in all, resumed parts included")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--warm-start", type=Path, metavar="MODEL", help="model folder to take the first weights from")
    parser.add_argument("--pool", type=Path, help="folder of phantoms, shared between trainings (default: OUT/pool)")
    parser.add_argument("--half-share", type=float, default=0.0, help="first share of the time at half resolution (0 to 1)")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and phantoms (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make phantoms and samples (default 1)")
    parser.add_argument("--threads", type=int, default=0, help="threads of the network (default: cores less workers)")
    parser.add_argument("--device", choices=[d.value for d in Device], default=Device.AUTO.value)
    parser.add_argument("--precision", choices=[p.value for p in Precision], default=Precision.AUTO.value)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from spineps.cli.console import say
    from spineps.training.loop import TrainConfig, train
    from spineps.zoo.card import Kind

    config = TrainConfig(
        kind=Kind(args.kind),
        out=args.out,
        hours=args.hours,
        resume=args.resume,
        warm_start=args.warm_start,
        half_share=args.half_share,
        seed=args.seed,
        workers=args.workers,
        pool=args.pool,
        rate=args.rate,
        command=shlex.join(["spineps", *_plain(sys.argv[1:])]),
        compute=ComputeConfig(Device(args.device), Precision(args.precision), args.threads),
    )
    card = train(config, say)
    say(f"{args.out / 'model'}: {card.name}, weights {card.weights_sha256[:12]}")
    return 0


def _plain(arguments: list[str]) -> list[str]:
    """Arguments without the folders of this machine, for the card."""
    return [Path(a).name if "/" in a or "\\" in a else a for a in arguments]
