"""`asrd config`: write the commented default configuration of the daemon, check a changed one."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("config", help="write or check the daemon's configuration")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser(
        "init",
        help="write the default configuration with every key explained",
        description="Write the default configuration with every key explained.",
    )
    init.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="file to write (default: stdout)"
    )
    init.add_argument("--force", action="store_true", help="overwrite PATH")
    check = actions.add_parser(
        "check",
        help="tell what is wrong with a configuration",
        description="Tell what is wrong with a configuration, with file, line and the nearest "
        "valid key. The exit status is 1 if anything is.",
    )
    check.add_argument("path", type=Path, metavar="PATH")


def run(args: argparse.Namespace) -> int:
    """Write or check; mistakes are raised as ConfigError, exit status 1."""
    from service.config_file import default_file, read_config

    if args.action == "check":
        read_config(args.path)
        print(f"{args.path}: all right")
    elif args.path is None:
        print(default_file(), end="")
    else:
        try:
            with args.path.open("w" if args.force else "x", encoding="utf-8") as file:
                file.write(default_file())
        except FileExistsError as error:
            raise UsageError(f"{args.path} exists; --force overwrites it") from error
    return 0
