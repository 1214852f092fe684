"""`asrd devices`: what can be recorded from, and how loud it is."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from service.formats import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

DESCRIPTION = """\
List the microphones. Any part of a name selects one for asrd listen --device. With --meter the
level of one is shown live, with advice, until Ctrl-C: speak as you will later.
"""

WINDOW_BLOCKS = 40
"""Blocks of 50 ms that advice looks back on."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("devices", help="list microphones", description=DESCRIPTION)
    add = parser.add_argument
    add("--meter", action="store_true", help="show the level of a microphone")
    add("--device", metavar="PATTERN", help="part of its name, or a pattern with * and ?")


def run(args: argparse.Namespace) -> int:
    """List, or meter until interrupted; 1 where there is no microphone."""
    from service.sources.port_audio import NoInput, PortAudio, choose

    port_audio = PortAudio()
    try:
        devices = port_audio.inputs()
        if args.meter or args.device is not None:
            devices = [choose(devices, args.device)]
    except NoInput as error:
        sys.stderr.write(f"asrd: {printable(str(error))}\n")
        return 1
    if args.meter:
        asyncio.run(_meter(args.device))
        return 0
    for device in devices:
        default = " (default)" if device.default else ""
        print(f"{printable(device.name)}: {device.channels} channels, "
              f"{device.sample_rate} Hz{default}")  # fmt: skip
    if not devices:
        sys.stderr.write("asrd: no microphone\n")
    return 0 if devices else 1


async def _meter(pattern: str | None) -> None:
    from service.sources.microphone import Microphone

    microphone = Microphone(pattern)
    while True:
        async with microphone.open() as source:
            meter = Meter()
            async for samples in source:
                for line in meter.push(samples):
                    sys.stdout.write(f"\r\x1b[K{line}" if sys.stdout.isatty() else f"{line}\n")
                    sys.stdout.flush()


class Meter:
    """Levels of audio as lines of text, with advice about the last two seconds."""

    def __init__(self) -> None:
        self._peaks: list[float] = []

    def push(self, samples: NDArray[np.float32]) -> Iterator[str]:
        """Take a block; a line for every fourth."""
        import numpy as np

        self._peaks.append(float(np.abs(samples).max(initial=0.0)))
        if len(self._peaks) % 4 == 0:
            recent = self._peaks[-4:]
            level = 20 * np.log10(max(*recent, 1e-5))
            bar = "#" * round((level + 100) / 100 * 40)
            self._peaks = self._peaks[-WINDOW_BLOCKS:]
            yield f"{level:6.1f} dB |{bar:<40}| {advice(max(self._peaks))}"


def advice(peak: float) -> str:
    """What to do about the loudest sample of the last seconds."""
    if peak < 1e-4:
        return "silent: muted, or the wrong microphone?"
    if peak < 0.03:
        return "too quiet: go nearer or turn it up"
    if peak >= 0.99:
        return "clipping: turn it down"
    return "good"
