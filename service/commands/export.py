"""`asrd export`: make a model bundle of a training checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "export",
        help="make a model folder of a checkpoint",
        description="Write the weights of a checkpoint (best.pt or last.pt of a training run) as "
        "a model folder in fp16, ready for --model.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("output", type=Path, metavar="DIR")
    parser.add_argument("--name", help="name of the model (default: the folder's)")
    parser.add_argument(
        "--language-model", type=Path, metavar="FILE",
        help="word n-grams of `asrd lm build` (default: those that DIR holds already)",
    )
    parser.add_argument(
        "--decoder", metavar="NAME", help="the model's best decoder: greedy, beam or lm"
    )


def run(args: argparse.Namespace) -> int:
    """Write the bundle."""
    from asr.training.export import export

    export(
        args.checkpoint, args.output, args.name, language_model=args.language_model,
        decoder=args.decoder,
    )
    return 0
