"""`asrd doctor`: what may be wrong, and what to do about it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from service.formats import printable

DESCRIPTION = """\
Check configuration, model, speed, microphones, sockets and service, a line each. It needs neither
a running daemon nor a sound system. The exit status is 1 if any check fails.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "doctor", help="check this installation", description=DESCRIPTION
    )
    parser.add_argument("--config", type=Path, metavar="FILE",
        help="configuration (default: that of the user's or the system's service)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Make all checks; 1 if any failed."""
    from service.doctor import Doctor, guarded
    from service.doctor_system import services, sockets

    doctor = Doctor(args.config)
    findings = []
    for name, check in (
        ("configuration", doctor.configuration),
        ("model", doctor.model),
        ("speed", doctor.speed),
        ("microphone", doctor.microphones),
        ("sockets", lambda: sockets(doctor.config.outputs)),
        ("service", services),
    ):
        for finding in guarded(name, check):
            findings.append(finding)
            if not args.json:  # as they come: some take seconds
                print(f"{finding.level:4} {printable(finding.name)}: {printable(finding.text)}",
                      flush=True)  # fmt: skip
    well = all(finding.level != "FAIL" for finding in findings)
    if args.json:
        document = {"ok": well, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(document, ensure_ascii=False, indent=2))
    return 0 if well else 1
