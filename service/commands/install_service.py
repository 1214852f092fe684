"""`asrd install-service`: make asrd a service of systemd."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Write the systemd units with the path of this asrd, and a default configuration where there is
none; then make systemd read and enable them. Without --user it is a system service that opens
the microphone through ALSA; with it, one of your session, where PipeWire or PulseAudio is.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "install-service", help="make asrd a service of systemd", description=DESCRIPTION
    )
    add = parser.add_argument
    add("--user", action="store_true", help="for your session, not for the system")
    add("--dry-run", action="store_true", help="show the files and commands, change nothing")
    add("--prefix", type=Path, metavar="DIR",
        help="write below this folder and leave systemd alone, to build a package")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Install; raises InstallError or OSError, exit status 1."""
    from service.installation import plan

    installation = plan(user=args.user, prefix=args.prefix)
    if args.dry_run:
        for file in installation.files:
            kept = " (kept as it is)" if file.keep and file.path.exists() else ""
            print(f"# {file.path}{kept}")
            if not kept:
                print(file.text)
        for command in installation.commands:
            print(f"# run: {' '.join(command)}")
        return 0
    for path in installation.write():
        print(f"wrote {path}")
    installation.activate()
    for command in installation.commands:
        print(f"ran {' '.join(command)}")
    return 0
