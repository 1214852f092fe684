"""`asrd train`: train an acoustic model from a TOML file."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from asr.errors import ConfigError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "train",
        help="train an acoustic model",
        description="Train as CONFIG.toml says, with checkpoints in its run.output folder. Run "
        "the same command again to resume; torchrun starts it on several devices.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a setting; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Train to the end, or to the run's time limit."""
    import torch

    from asr.training.config import read_config
    from asr.training.trainer import Trainer

    config = read_config(args.config, args.set)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    # systemd and batch queues ask with SIGTERM; shells start background jobs with SIGINT ignored
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        trainer = Trainer(config)
        trainer.run()
    except ModuleNotFoundError as error:
        if error.name == "pyroomacoustics":
            raise ConfigError(f"{error.name} is missing: pip install 'asrd[train]'") from error
        raise
    return 0
