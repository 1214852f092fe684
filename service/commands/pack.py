"""`asrd pack`: a training run, or a checkpoint, in parts of a limited size."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.errors import UsageError

RUN_MB, WEIGHTS_MB, LARGEST_MB = 60.0, 15.0, 1e6


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "pack",
        help="make parts of a training run, to carry it to another machine",
        description="Write all that CONFIG.toml's run reads (audio as it is, noise, rooms, start "
        "weights, a teacher's states) as part-00.tar, ... and index.json into DIR, for `asrd "
        "unpack` elsewhere. With --weights the source is a checkpoint.",
    )
    parser.add_argument("source", type=Path, metavar="CONFIG.toml")
    parser.add_argument("output", type=Path, metavar="DIR")
    parser.add_argument(
        "--weights", action="store_true",
        help="the source is a checkpoint (last.pt): pack that alone, to resume elsewhere",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help="pack this checkpoint of the run as well: training there goes on from it",
    )
    parser.add_argument(
        "--part-mb", type=float, metavar="MB",
        help=f"size of a part at most ({RUN_MB:g}; of weights {WEIGHTS_MB:g})",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a setting; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Write the parts."""
    from asr.training.config import read_config
    from asr.training.pack import pack_checkpoint, pack_run
    from asr.training.parts import MEGABYTE

    if args.weights and (args.set or args.checkpoint):
        raise UsageError("--weights packs a checkpoint alone: no --set, no --checkpoint")
    size = args.part_mb
    if size is None:
        size = WEIGHTS_MB if args.weights else RUN_MB
    if not 0 < size < LARGEST_MB:  # NaN fails, too
        raise UsageError(f"--part-mb must be between 0 and {LARGEST_MB:g}, got {size:g}")
    limit = round(size * MEGABYTE)
    if args.weights:
        parts = pack_checkpoint(args.source, args.output, limit)
    else:
        config = read_config(args.source, args.set)
        parts = pack_run(config, args.output, limit, args.checkpoint)
    print(f"{args.output}: {parts} {'part' if parts == 1 else 'parts'} and an index")
    return 0
