"""`asrd status`: how the running daemon is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.formats import printable

DESCRIPTION = """\
Ask the running daemon how it is: its streams and their sources, how fast it recognises, what was
lost. The exit status is 1 if it is not running.
"""

COLUMNS = ("stream", "source", "heard", "decoded", "utterances", "rtf", "p50", "p95", "max", "lost")
LEGEND = """\
rtf: seconds of computing for a second of speech; p50, p95, max: seconds from the end of an
utterance to its text; lost: audio that nobody took in time
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "status", help="show how the running daemon is", description=DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="control socket to ask")


def run(args: argparse.Namespace) -> int:
    """Ask and print; ControlError, exit status 1, where nobody answers."""
    from service.control_client import ControlClient, find_socket

    with ControlClient(args.socket or find_socket()) as client:
        status = client.request(action="status")["status"]
    print(json.dumps(status, ensure_ascii=False, indent=2) if args.json else table(status))
    return 0


def table(status: Mapping[str, Any]) -> str:
    """The status for people to read."""
    return "\n".join(_lines(status))


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    facts = [f"up {duration(status['uptime_seconds'])}", f"{status['memory_mb']:.0f} MB of memory"]
    if "model" in status:
        facts.append(f"model {printable(status['model'])}")
    if "subscribers" in status:
        facts.append(f"{status['subscribers']} subscribers")
    if status.get("lost_finals"):
        facts.append(f"{status['lost_finals']} finals lost")
    yield f"asrd: {', '.join(facts)}"
    streams: Mapping[str, Mapping[str, Any]] = status["streams"]
    if not streams:
        yield "no streams"
        return
    rows = [COLUMNS, *(_row(name, stream) for name, stream in streams.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    yield ""
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    for name, stream in streams.items():
        if stream["detail"]:
            yield f"{printable(name)}: {printable(stream['detail'])}"
    yield ""
    yield LEGEND.rstrip()


def _row(name: str, stream: Mapping[str, Any]) -> tuple[str, ...]:
    latency = stream["latency"]
    return (
        printable(name),
        printable(stream["state"]),
        duration(stream["heard_seconds"]),
        duration(stream["decoded_seconds"]),
        str(stream["utterances"]),
        _number(stream["rtf"], 3),
        *(_number(latency[share], 2) for share in ("p50", "p95", "max")),
        duration(stream["dropped_seconds"]),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """In the largest unit and the next one."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(int(minutes), 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute} min"
    return f"{minute} min {second:.0f} s" if minute else f"{second:.1f} s"
