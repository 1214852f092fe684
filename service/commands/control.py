"""`asrd control`: mute, flush, push-to-talk, audio from elsewhere; see docs/control.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.arguments import positive_int
from service.formats import printable

if TYPE_CHECKING:
    from service.control_client import ControlClient

PACKET_SECONDS = 0.1

ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "mute": ("hear nothing until unmute", {"action": "mute"}),
    "unmute": ("hear again", {"action": "unmute"}),
    "flush": ("end the utterance now", {"action": "flush"}),
    "talk-on": ("take all audio for speech until talk-off",
                {"action": "talk", "on": True, "keep": True}),
    "talk-off": ("end that, and the utterance", {"action": "talk", "on": False}),
}  # fmt: skip
"""Those that are one request: what they do, and the request."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "control", help="mute, flush, push-to-talk, send audio",
        description="Tell the running daemon what to do.",
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, _) in ACTIONS.items():
        _add_common(actions.add_parser(name, help=text, description=f"{text.capitalize()}."))
    text = "push-to-talk until Enter or Ctrl-C"
    _add_common(actions.add_parser("talk", help=text, description=f"{text.capitalize()}."))
    text = "send a recording or raw PCM to be recognised as one more stream"
    send = actions.add_parser("send", help=text, description=f"{text.capitalize()}.")
    send.add_argument("file", metavar="FILE",
        help="recording; raw 16-bit little-endian PCM if it is - or --rate is given")  # fmt: skip
    _add_common(send)
    send.add_argument("--rate", type=positive_int, metavar="HZ", help="of raw PCM (16000)")
    send.add_argument("--channels", type=positive_int, default=1, metavar="N",
        help="of raw PCM (1)")  # fmt: skip


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", metavar="NAME", help="one stream (default: all); "
        "for send, what the new one is called")  # fmt: skip
    parser.add_argument("--socket", type=Path, metavar="PATH", help="control socket to ask")


def run(args: argparse.Namespace) -> int:
    """Ask for one thing; ControlError, exit status 1, where it is refused or nobody answers."""
    from service.control_client import ControlClient, find_socket

    with ControlClient(args.socket or find_socket()) as client:
        if args.action == "send":
            _send(client, args)
        elif args.action == "talk":
            _talk(client, args.stream)
        else:
            client.request(**ACTIONS[args.action][1], stream=args.stream)
    return 0


def _talk(client: ControlClient, stream: str | None) -> None:
    import select

    client.request(action="talk", on=True, stream=stream)
    with suppress(KeyboardInterrupt):
        sys.stderr.write("talk now; Enter or Ctrl-C ends it\n")
        sys.stderr.flush()
        ready, _, _ = select.select([sys.stdin, client], [], [])
        if client in ready:  # nothing was asked: it has gone
            client.reply()
    client.request(action="talk", on=False, stream=stream)


def _send(client: ControlClient, args: argparse.Namespace) -> None:
    name = args.stream or ("stdin" if args.file == "-" else Path(args.file).stem)
    with _packets(args) as (rate, channels, packets):
        client.request(
            action="audio", stream=printable(name)[:64], rate=rate, channels=channels
        )
        client.send(packets)


@contextmanager
def _packets(args: argparse.Namespace) -> Iterator[tuple[int, int, Iterator[bytes]]]:
    """Rate, channels and the packets of a recording or of raw PCM."""
    if args.file == "-" or args.rate is not None:
        rate = args.rate or 16_000
        size = round(PACKET_SECONDS * rate) * 2 * args.channels
        # unbuffered: what a pipe holds is sent at once
        source: int | str = 0 if args.file == "-" else args.file
        with open(source, "rb", buffering=0, closefd=source != 0) as raw:
            yield rate, args.channels, iter(lambda: os.read(raw.fileno(), size), b"")
        return

    import numpy as np

    from asr.audio import open_audio

    with open_audio(Path(args.file), PACKET_SECONDS) as audio:
        packets = (
            (block.mean(axis=1) * 32_768).clip(-32_768, 32_767).astype(np.dtype("<i2")).tobytes()
            for block in audio.blocks
        )
        yield audio.sample_rate, 1, packets
