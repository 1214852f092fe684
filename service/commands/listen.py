"""`asrd listen`: a microphone in, text or JSON lines out."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.arguments import positive_int
from service.config import ENDPOINT_MODES, WakeConfig
from service.errors import UsageError
from service.recognition import add_arguments, open_recognizer

if TYPE_CHECKING:
    from asr.streaming import Recognizer
    from service.numbers import Rewrite
    from service.publishers.base import Publisher
    from service.sources.base import Inlet
    from service.transcriber import StreamTranscriber

DESCRIPTION = """\
Write what is said into a microphone to standard output, an utterance a line. A microphone that
is absent or unplugged is waited for. Ctrl-C finishes the last utterance and ends; a second one
ends at once.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "listen", help="transcribe a microphone live", description=DESCRIPTION
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--device", metavar="PATTERN",
        help="part of the microphone's name, or a pattern with * and ?")  # fmt: skip
    source.add_argument("--input", type=Path, metavar="FILE",
        help="raw 16-bit little-endian PCM from a FIFO or - instead of a microphone")  # fmt: skip
    add_arguments(parser)
    add("--format", choices=("text", "json"), default="text", help="default: text")
    add("--socket", type=Path, metavar="PATH", help="also serve JSON lines on this unix socket")
    add("--wake", action="append", default=[], metavar="PHRASE",
        help="count commands only in the utterance that begins with this phrase, or within "
        f"{WakeConfig().seconds:.0f} s after it; may be repeated (needs --grammar)")  # fmt: skip
    add("--numbers", action="store_true", help="write spoken numbers as digits")
    add("--no-gate", action="store_true", help="give silence to the network too")
    add("--rate", type=positive_int, default=16_000, metavar="HZ", help="of raw PCM (16000)")
    add("--channels", type=positive_int, default=1, metavar="N", help="of raw PCM (1)")
    add("--threads", type=positive_int, default=1, metavar="N", help="CPU threads (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Listen until a signal, or until raw PCM ends; 1 if it could not be read."""
    from asr.resample import MAX_RATE, MIN_RATE
    from asr.streaming import MAX_CHANNELS
    from service.numbers import number_writer

    if not MIN_RATE <= args.rate <= MAX_RATE:
        raise UsageError(f"--rate {args.rate} is outside {MIN_RATE} to {MAX_RATE} Hz")
    if args.channels > MAX_CHANNELS:
        raise UsageError(f"--channels {args.channels} is above {MAX_CHANNELS}")
    if args.wake and not args.grammar:
        raise UsageError("--wake goes with --grammar")
    logging.basicConfig(format="asrd: %(message)s", level=logging.INFO)
    rewrite = number_writer() if args.numbers else None
    inlet = _inlet(args)
    recognizer = open_recognizer(args)
    try:
        return 0 if asyncio.run(_listen(args, inlet, recognizer, rewrite)) else 1
    except BaseExceptionGroup as group:  # of the streams, each with the same cause
        raise group.exceptions[0] from None


def _inlet(args: argparse.Namespace) -> Inlet:
    from service.sources.microphone import Microphone
    from service.sources.pcm import PcmInlet

    if args.input is not None:
        return PcmInlet(args.input, args.rate, args.channels)
    return Microphone(args.device)


async def _listen(
    args: argparse.Namespace, inlet: Inlet, recognizer: Recognizer, rewrite: Rewrite | None
) -> bool:
    from service.batcher import Batcher
    from service.gate import Gate, GateRules, silero_detector
    from service.publishers.base import Fanout
    from service.publishers.broadcast import Broadcast
    from service.publishers.stdout import JsonPublisher, TextPublisher
    from service.streams import run_streams, stop_on_signals
    from service.transcriber import StreamTranscriber
    from service.wake import make_wake

    wake = make_wake(recognizer.decoder, WakeConfig(tuple(args.wake)))
    opened: dict[str, float] = {}

    def began(name: str) -> float:
        return opened[name] + time.time() - time.monotonic()

    def make_transcriber(name: str, sample_rate: int) -> StreamTranscriber:
        opened[name] = time.monotonic()
        gate = None if args.no_gate else Gate(silero_detector, GateRules())
        return StreamTranscriber(
            name, recognizer, sample_rate, endpoint=ENDPOINT_MODES["normal"], rewrite=rewrite,
            gate=gate, wake=wake,
        )  # fmt: skip

    publishers: list[Publisher] = [
        TextPublisher(sys.stdout)
        if args.format == "text"
        else JsonPublisher(sys.stdout, began)
    ]
    if args.socket is not None:
        broadcast = Broadcast(began)
        await broadcast.listen_unix(args.socket)
        publishers.append(broadcast)
    fanout, batcher, stop = Fanout(publishers), Batcher(recognizer), asyncio.Event()
    fanout.start()
    with stop_on_signals(stop):
        try:
            return await run_streams([inlet], make_transcriber, batcher, fanout.publish, stop)
        finally:
            await batcher.aclose()
            await fanout.aclose()
