"""`asrd unpack`: put together what `asrd pack` took apart."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.errors import PackError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "unpack",
        help="unpack the parts of `asrd pack` as they arrive",
        description="Check and unpack the parts that lie in DIR beside index.json. Run it again "
        "when more have arrived: the exit status is 1 until all are there.",
    )
    parser.add_argument("source", type=Path, metavar="DIR")
    parser.add_argument("output", type=Path, metavar="OUT")


def run(args: argparse.Namespace) -> int:
    """Unpack what is new; PackError while parts are missing."""
    from asr.training.parts import receive

    received = receive(args.source, args.output)
    if not received.complete:
        raise PackError(
            args.output,
            f"{len(received.missing)} of {received.parts} parts are still missing: "
            + ", ".join(received.missing),
        )
    print(f"{args.output}: all {received.parts} parts unpacked")
    return 0
